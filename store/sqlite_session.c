/* Who is behind a request (session_sql, which may read any of the app's tables), and the small writes
 * that apps otherwise do themselves. */
#include "store/sqlite_priv.h"

#include <string.h>

static int prepare_session(struct dw_sqlite *s, struct dw_err *err)
{
    sqlite3 *db = s->db[DW_QUEUE];
    const char *sql = s->session_sql;
    const char *tail = NULL;
    int rc;

    if (s->session_stmt != NULL)
        return DW_OK;
    if (db == NULL)
        return dw_err_set(err, DW_IO, "the database was replaced by a file that could not be opened: %s",
                          s->queue_path);
    rc = sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, &s->session_stmt, &tail);
    if (rc != SQLITE_OK && dw_sqlite_code(rc) != DW_INVALID)
        return dw_sqlite_fail(db, rc, err);
    if (rc != SQLITE_OK)
        return dw_err_set(err, DW_CONF, "auth.session_sql: %s", sqlite3_errmsg(db));
    if (s->session_stmt != NULL && sqlite3_stmt_readonly(s->session_stmt) && sqlite3_column_count(s->session_stmt) == 3)
        return DW_OK;
    (void)sqlite3_finalize(s->session_stmt);
    s->session_stmt = NULL;
    return dw_err_set(err, DW_CONF,
                      "auth.session_sql must be one SELECT of three columns: uid, csrf_token, handshake_data");
}

static bool load_column(sqlite3_stmt *stmt, int column, struct dw_buf *buf)
{
    const char *text = dw_sqlite_column(stmt, column);

    if (text == NULL)
        return false;
    dw_buf_add(buf, text, (size_t)sqlite3_column_bytes(stmt, column));
    return true;
}

int dw_sqlite_session(struct dw_store *store, const char *sid, int64_t now_ms, struct dw_session *session,
                      struct dw_err *err)
{
    struct dw_sqlite *s = dw_sqlite_of(store);
    bool row;
    int rc;

    session->found = session->has_uid = session->has_csrf_token = session->has_handshake_data = false;
    dw_buf_reset(&session->uid);
    dw_buf_reset(&session->csrf_token);
    dw_buf_reset(&session->handshake_data);
    rc = prepare_session(s, err);
    if (rc != DW_OK)
        return rc;
    (void)sqlite3_clear_bindings(s->session_stmt);
    dw_sqlite_text(s->session_stmt, sqlite3_bind_parameter_index(s->session_stmt, ":sid"), sid);
    (void)sqlite3_bind_int64(s->session_stmt, sqlite3_bind_parameter_index(s->session_stmt, ":now_ms"), now_ms);
    rc = dw_sqlite_step(s->session_stmt, &row, err);
    if (rc != DW_OK || !row)
        return rc;
    session->found = true;
    session->has_uid = load_column(s->session_stmt, 0, &session->uid);
    session->has_csrf_token = load_column(s->session_stmt, 1, &session->csrf_token);
    session->has_handshake_data = load_column(s->session_stmt, 2, &session->handshake_data);
    (void)sqlite3_reset(s->session_stmt);
    if (dw_buf_failed(&session->uid) || dw_buf_failed(&session->csrf_token) || dw_buf_failed(&session->handshake_data))
        return dw_err_set(err, DW_NOMEM, "out of memory while reading a session");
    return DW_OK;
}

int dw_sqlite_session_put(struct dw_store *store, const char *sid, const char *uid, const char *csrf_token,
                          const char *handshake_data, int64_t expires_at, struct dw_err *err)
{
    sqlite3_stmt *stmt;
    int rc = dw_sqlite_stmt(dw_sqlite_of(store), DW_SQL_SESSION_PUT, &stmt, err);

    if (rc != DW_OK)
        return rc;
    dw_sqlite_text(stmt, 1, sid);
    dw_sqlite_text(stmt, 2, uid);
    dw_sqlite_text(stmt, 3, csrf_token);
    dw_sqlite_text(stmt, 4, handshake_data);
    if (expires_at != 0)
        (void)sqlite3_bind_int64(stmt, 5, expires_at);
    return dw_sqlite_run(stmt, err);
}

static int change_member(struct dw_sqlite *s, enum dw_sql id, const char *room, const char *uid, struct dw_err *err)
{
    sqlite3_stmt *stmt;
    int rc = dw_sqlite_stmt(s, id, &stmt, err);

    if (rc != DW_OK)
        return rc;
    dw_sqlite_text(stmt, 1, room);
    dw_sqlite_text(stmt, 2, uid);
    return dw_sqlite_run(stmt, err);
}

int dw_sqlite_member_add(struct dw_store *store, const char *room, const char *uid, struct dw_err *err)
{
    return change_member(dw_sqlite_of(store), DW_SQL_MEMBER_ADD, room, uid, err);
}

int dw_sqlite_member_remove(struct dw_store *store, const char *room, const char *uid, struct dw_err *err)
{
    return change_member(dw_sqlite_of(store), DW_SQL_MEMBER_REMOVE, room, uid, err);
}
