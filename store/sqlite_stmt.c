/* Prepared statements, error codes and transactions of the SQLite backend: what all its other files
 * stand on. */
#include "store/sqlite_priv.h"

#include <assert.h>

struct text {
    enum dw_db db;
    const char *sql;
};

static const struct text texts[] = {
#define DW_SQL_TEXT(id, db, text) {db, text},
    DW_SQL_STATEMENTS(DW_SQL_TEXT)
#undef DW_SQL_TEXT
};

int dw_sqlite_code(int rc)
{
    switch (rc & 0xff) {
    case SQLITE_OK:
    case SQLITE_ROW:
    case SQLITE_DONE:
        return DW_OK;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_PROTOCOL:
        return DW_BUSY;
    case SQLITE_FULL:
        return DW_FULL;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return DW_CORRUPT;
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
    case SQLITE_CANTOPEN:
        return DW_DENIED;
    case SQLITE_NOMEM:
        return DW_NOMEM;
    case SQLITE_CONSTRAINT:
    case SQLITE_ERROR:
    case SQLITE_MISMATCH:
        return DW_INVALID;
    case SQLITE_TOOBIG:
        return DW_LIMIT;
    default:
        return DW_IO;
    }
}

int dw_sqlite_fail(sqlite3 *db, int rc, struct dw_err *err)
{
    int code = dw_sqlite_code(rc);

    switch (code) {
    case DW_BUSY:
        return dw_err_set(err, code, "the database stayed locked by another program: nothing was changed, try again");
    case DW_FULL:
        return dw_err_set(err, code, "no space left for the database: free some disk space");
    case DW_DENIED:
        return dw_err_set(err, code,
                          "cannot write the database (%s): this user needs write permission on the file, its "
                          "-wal and -shm, and the folder",
                          sqlite3_errmsg(db));
    default:
        return dw_err_set(err, code, "%s", db != NULL ? sqlite3_errmsg(db) : sqlite3_errstr(rc));
    }
}

bool dw_sqlite_is_damaged(const struct dw_sqlite *s)
{
    return s->damaged || (s->db[DW_STATE] != NULL && dw_sqlite_code(sqlite3_errcode(s->db[DW_STATE])) == DW_CORRUPT);
}

int dw_sqlite_stmt(struct dw_sqlite *s, enum dw_sql id, sqlite3_stmt **stmt, struct dw_err *err)
{
    const struct text *text = &texts[id];
    int rc;

    if (s->stmt[id] != NULL) {
        assert(!sqlite3_stmt_busy(s->stmt[id])); /* a callback called the function that called it */
        (void)sqlite3_clear_bindings(s->stmt[id]);
        *stmt = s->stmt[id];
        return DW_OK;
    }
    if (s->db[text->db] == NULL)
        return dw_err_set(err, DW_IO, "the database was replaced by a file that could not be opened: %s",
                          text->db == DW_QUEUE ? s->queue_path : s->state_path);
    rc = sqlite3_prepare_v3(s->db[text->db], text->sql, -1, SQLITE_PREPARE_PERSISTENT, &s->stmt[id], NULL);
    if (rc != SQLITE_OK)
        return dw_sqlite_fail(s->db[text->db], rc, err);
    *stmt = s->stmt[id];
    return DW_OK;
}

int dw_sqlite_step(sqlite3_stmt *stmt, bool *row, struct dw_err *err)
{
    int rc = sqlite3_step(stmt);

    *row = rc == SQLITE_ROW;
    if (*row)
        return DW_OK;
    rc = rc == SQLITE_DONE ? DW_OK : dw_sqlite_fail(sqlite3_db_handle(stmt), rc, err);
    (void)sqlite3_reset(stmt);
    return rc;
}

int dw_sqlite_run(sqlite3_stmt *stmt, struct dw_err *err)
{
    bool row;
    int rc;

    do
        rc = dw_sqlite_step(stmt, &row, err);
    while (rc == DW_OK && row);
    return rc;
}

int dw_sqlite_done(sqlite3_stmt *stmt, int rc)
{
    (void)sqlite3_reset(stmt);
    return rc;
}

int dw_sqlite_exec(struct dw_sqlite *s, enum dw_sql id, struct dw_err *err)
{
    sqlite3_stmt *stmt = NULL;
    int rc = dw_sqlite_stmt(s, id, &stmt, err);

    return rc == DW_OK ? dw_sqlite_run(stmt, err) : rc;
}

int dw_sqlite_int(sqlite3_stmt *stmt, int64_t none, int64_t *value, struct dw_err *err)
{
    bool row;
    int rc = dw_sqlite_step(stmt, &row, err);

    *value = none;
    if (rc != DW_OK || !row)
        return rc;
    if (sqlite3_column_type(stmt, 0) != SQLITE_NULL)
        *value = sqlite3_column_int64(stmt, 0);
    /* Run it to its end: RETURNING has not written before that is reached. */
    return dw_sqlite_run(stmt, err);
}

/* Binding fails only for a wrong index or a value over SQLite's size limit; the latter is kept out by
 * the callers' limits, and an unbound parameter is NULL, which the triggers refuse. */
void dw_sqlite_text(sqlite3_stmt *stmt, int index, const char *text)
{
    if (text != NULL)
        (void)sqlite3_bind_text(stmt, index, text, -1, SQLITE_STATIC);
}

void dw_sqlite_bytes(sqlite3_stmt *stmt, int index, const char *text, size_t len)
{
    if (text != NULL)
        (void)sqlite3_bind_text64(stmt, index, text, len, SQLITE_STATIC, SQLITE_UTF8);
}

const char *dw_sqlite_column(sqlite3_stmt *stmt, int column)
{
    return (const char *)sqlite3_column_text(stmt, column);
}

void dw_sqlite_finalize(struct dw_sqlite *s, enum dw_db db)
{
    for (size_t i = 0; i < DW_SQL_COUNT_OF; i++)
        if (texts[i].db == db) {
            (void)sqlite3_finalize(s->stmt[i]);
            s->stmt[i] = NULL;
        }
    if (db == DW_QUEUE) {
        (void)sqlite3_finalize(s->session_stmt);
        s->session_stmt = NULL;
    }
}

int dw_sqlite_begin(struct dw_sqlite *s, enum dw_db db, struct dw_err *err)
{
    return dw_sqlite_exec(s, db == DW_QUEUE ? DW_SQL_QUEUE_BEGIN : DW_SQL_STATE_BEGIN, err);
}

int dw_sqlite_read(struct dw_sqlite *s, struct dw_err *err)
{
    return dw_sqlite_exec(s, DW_SQL_QUEUE_READ, err);
}

int dw_sqlite_end(struct dw_sqlite *s, enum dw_db db, int rc, struct dw_err *err)
{
    if (rc == DW_OK)
        rc = dw_sqlite_exec(s, db == DW_QUEUE ? DW_SQL_QUEUE_COMMIT : DW_SQL_STATE_COMMIT, err);
    if (rc == DW_CORRUPT && db == DW_STATE && dw_sqlite_is_damaged(s))
        s->damaged = true; /* rolling back succeeds */
    /* Some failures (and an app's RAISE(ROLLBACK)) have rolled back already. */
    if (rc != DW_OK && s->db[db] != NULL && !sqlite3_get_autocommit(s->db[db]))
        (void)sqlite3_exec(s->db[db], "ROLLBACK", NULL, NULL, NULL);
    return rc;
}
