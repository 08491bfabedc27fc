/* Schema migrations: numbered SQL scripts from sql/, embedded at build time, applied in one transaction.
 *
 * The version of the state file is its `PRAGMA user_version`.  The queue file may be an app's own
 * database, and user_version may be the app's: there the version is the row `schema_version` of
 * dw_meta, and user_version follows it only in a file that we made. */
#ifndef DW_STORE_MIGRATE_H
#define DW_STORE_MIGRATE_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

struct dw_migration {
    int version; /* 1, 2, 3 ... without a gap */
    const char *sql;
};

extern const struct dw_migration dw_sql_queue[];
extern const size_t dw_sql_queue_count;
extern const struct dw_migration dw_sql_state[];
extern const size_t dw_sql_state_count;

enum dw_schema { DW_SCHEMA_QUEUE, DW_SCHEMA_STATE };

/* For tests: brings the file at `path` (made when missing) to the last version of `list`, as opening a
 * store does with the lists above.  DW_NEWER where the file's version is higher than that. */
int dw_migrate_file(const char *path, enum dw_schema schema, const struct dw_migration *list, size_t count,
                    struct dw_err *err);

#endif
