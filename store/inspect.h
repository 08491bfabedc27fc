/* A look at the files of a queue from outside, for people who ask why it does not work: changes nothing,
 * makes nothing, and goes on where opening a store gives up. */
#ifndef DW_STORE_INSPECT_H
#define DW_STORE_INSPECT_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

enum dw_inspect_file { DW_INSPECT_QUEUE, DW_INSPECT_STATE };

struct dw_inspection {
    char journal_mode[16]; /* "wal" once a program of ours has opened it */
    int64_t schema;        /* 0: none of our tables */
    int64_t schema_known;  /* what this program makes of it */
    bool foreign_tables;   /* an app's own tables are in the file too */
    bool read_only;        /* SQLite may not write it */
    bool locked;           /* another program held the write lock for all of busy_ms */
};

/* The version of the SQLite library that is loaded, such as "3.40.1", and the one that this program was built
 * with: an older library may lack what it needs. */
const char *dw_inspect_sqlite(void);
int dw_inspect_sqlite_number(void);
int dw_inspect_sqlite_built(void);

/* Looks at the queue file at `path`, or at the state file that belongs to it.  DW_NOTFOUND: there is none;
 * DW_DENIED, DW_CORRUPT, DW_IO as when a store is opened. */
int dw_inspect(const char *path, enum dw_inspect_file which, int busy_ms, struct dw_inspection *out,
               struct dw_err *err);

#endif
