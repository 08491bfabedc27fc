/* A store with the few functions that the doorbell needs, over any SQLite file as it is: a stand-in
 * that does not insist on WAL, so that rollback-journal databases can be tested too. */
#include "store/store.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct dw_store {
    sqlite3 *db;
    sqlite3_stmt *version, *end;
    char path[256], dir[256];
};

int dw_store_open_sqlite(const struct dw_store_options *options, struct dw_store **out, struct dw_err *err)
{
    struct dw_store *store = calloc(1, sizeof *store);

    (void)err;
    if (store == NULL)
        return DW_NOMEM;
    (void)snprintf(store->path, sizeof store->path, "%s", options->path);
    (void)snprintf(store->dir, sizeof store->dir, "%s-dw", options->path);
    (void)mkdir(store->dir, 0700);
    if (sqlite3_open(store->path, &store->db) != SQLITE_OK ||
        sqlite3_exec(store->db, "CREATE TABLE IF NOT EXISTS dw_push (id INTEGER PRIMARY KEY, uid, event, data)", NULL,
                     NULL, NULL) != SQLITE_OK ||
        sqlite3_prepare_v2(store->db, "PRAGMA data_version", -1, &store->version, NULL) != SQLITE_OK ||
        sqlite3_prepare_v2(store->db, "SELECT max(id) FROM dw_push", -1, &store->end, NULL) != SQLITE_OK) {
        dw_store_close(store);
        return DW_IO;
    }
    *out = store;
    return DW_OK;
}

void dw_store_close(struct dw_store *store)
{
    if (store == NULL)
        return;
    (void)sqlite3_finalize(store->version);
    (void)sqlite3_finalize(store->end);
    (void)sqlite3_close(store->db);
    free(store);
}

static int one_number(sqlite3_stmt *stmt, int64_t *number)
{
    int rc = sqlite3_step(stmt);

    if (rc == SQLITE_ROW)
        *number = sqlite3_column_int64(stmt, 0);
    (void)sqlite3_reset(stmt);
    return rc == SQLITE_ROW ? DW_OK : rc == SQLITE_BUSY ? DW_BUSY : DW_IO;
}

int dw_store_end(struct dw_store *store, int64_t *end, struct dw_err *err)
{
    (void)err;
    return one_number(store->end, end);
}

uint32_t dw_store_session_version(const struct dw_store *store)
{
    (void)store;
    return 0;
}

int dw_store_version(struct dw_store *store, uint32_t *version, struct dw_err *err)
{
    int64_t number = 0;
    unsigned int own = 0;
    int rc = one_number(store->version, &number);

    (void)err;
    if (rc == DW_OK && sqlite3_file_control(store->db, "main", SQLITE_FCNTL_DATA_VERSION, &own) != SQLITE_OK)
        rc = DW_IO;
    *version = own;
    return rc;
}

const char *dw_store_queue_path(const struct dw_store *store)
{
    return store->path;
}

const char *dw_store_state_dir(const struct dw_store *store)
{
    return store->dir;
}
