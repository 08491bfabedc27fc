/* A look at the database files without the settings that opening a store makes (see inspect.h): journal
 * mode and schema stay what they are, and nothing is made. */
#include "store/inspect.h"
#include "store/sqlite_priv.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

const char *dw_inspect_sqlite(void)
{
    return sqlite3_libversion();
}

int dw_inspect_sqlite_number(void)
{
    return sqlite3_libversion_number();
}

int dw_inspect_sqlite_built(void)
{
    return SQLITE_VERSION_NUMBER;
}

static int look(sqlite3 *db, enum dw_inspect_file which, struct dw_inspection *out, struct dw_err *err)
{
    static const char foreign[] = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name NOT GLOB 'dw_*'"
                                  " AND name NOT GLOB 'sqlite_*'";
    enum dw_schema schema = which == DW_INSPECT_QUEUE ? DW_SCHEMA_QUEUE : DW_SCHEMA_STATE;
    sqlite3_stmt *stmt = NULL;
    int rc = sqlite3_prepare_v2(db, "PRAGMA journal_mode", -1, &stmt, NULL);
    int step = rc == SQLITE_OK ? sqlite3_step(stmt) : rc;

    if (step == SQLITE_ROW)
        (void)snprintf(out->journal_mode, sizeof out->journal_mode, "%s", dw_sqlite_column(stmt, 0));
    (void)sqlite3_finalize(stmt);
    if (step != SQLITE_ROW)
        return dw_sqlite_fail(db, step, err);
    rc = dw_sqlite_schema(db, schema, &out->schema, err);
    if (rc != DW_OK || which == DW_INSPECT_STATE)
        return rc;
    rc = sqlite3_prepare_v2(db, foreign, -1, &stmt, NULL);
    if (rc == SQLITE_OK)
        out->foreign_tables = sqlite3_step(stmt) == SQLITE_ROW && sqlite3_column_int(stmt, 0) > 0;
    (void)sqlite3_finalize(stmt);
    return rc == SQLITE_OK ? DW_OK : dw_sqlite_fail(db, rc, err);
}

/* Takes the write lock and gives it back: an empty transaction writes nothing. */
static int try_lock(sqlite3 *db, struct dw_inspection *out, struct dw_err *err)
{
    int rc = sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL);

    out->locked = (rc & 0xff) == SQLITE_BUSY;
    if (out->locked)
        return DW_OK;
    if (rc == SQLITE_OK)
        rc = sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
    return rc == SQLITE_OK ? DW_OK : dw_sqlite_fail(db, rc, err);
}

int dw_inspect(const char *path, enum dw_inspect_file which, int busy_ms, struct dw_inspection *out, struct dw_err *err)
{
    char file[4096];
    sqlite3 *db = NULL;
    int rc;

    memset(out, 0, sizeof *out);
    out->schema_known = which == DW_INSPECT_QUEUE ? dw_sql_queue[dw_sql_queue_count - 1].version
                                                  : dw_sql_state[dw_sql_state_count - 1].version;
    if (snprintf(file, sizeof file, "%s%s", path, which == DW_INSPECT_STATE ? "-dw/state.db" : "") >= (int)sizeof file)
        return dw_err_set(err, DW_LIMIT, "the path of the database is too long");
    if (access(file, F_OK) != 0)
        return dw_err_set(err, errno == ENOENT || errno == ENOTDIR ? DW_NOTFOUND : DW_DENIED, "%s: %s", file,
                          strerror(errno));
    rc = sqlite3_open_v2(file, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    if (rc == SQLITE_OK) {
        (void)sqlite3_busy_timeout(db, busy_ms);
        (void)sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
        rc = look(db, which, out, err);
        out->read_only = sqlite3_db_readonly(db, "main") == 1;
        if (rc == DW_OK && !out->read_only)
            rc = try_lock(db, out, err);
    } else
        rc = dw_sqlite_fail(db, rc, err);
    (void)sqlite3_close(db);
    return rc;
}
