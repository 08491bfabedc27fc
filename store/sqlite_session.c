/* Who is behind a request (session_sql, which may read any of the app's tables), and the small writes
 * that apps otherwise do themselves. */
#include "store/sqlite_priv.h"

#include <string.h>

/* A column as text.  DW_CONF: it is longer than `most`, or a C string would end before it does. */
static int load_column(sqlite3_stmt *stmt, int column, const char *name, size_t most, bool *has, struct dw_buf *buf,
                       struct dw_err *err)
{
    const char *text = dw_sqlite_column(stmt, column);
    size_t len = text != NULL ? (size_t)sqlite3_column_bytes(stmt, column) : 0;

    if (len > most)
        return dw_err_set(err, DW_CONF, "auth.session_sql: %s has %zu bytes, at most %zu are possible", name, len,
                          most);
    if (text != NULL && memchr(text, '\0', len) != NULL)
        return dw_err_set(err, DW_CONF, "auth.session_sql: %s has a NUL character", name);
    *has = text != NULL;
    if (text != NULL)
        dw_buf_add(buf, text, len);
    if (dw_buf_failed(buf))
        return dw_err_set(err, DW_NOMEM, "out of memory while reading a session");
    return DW_OK;
}

static int load_expiry(sqlite3_stmt *stmt, int64_t now_ms, int64_t *expires_at, bool *never, struct dw_err *err)
{
    int type;

    if (sqlite3_column_count(stmt) == 3) {
        *never = false;
        *expires_at = now_ms + DW_SESSION_UNTOLD_MS;
        return DW_OK;
    }
    type = sqlite3_column_type(stmt, 3);
    *never = type == SQLITE_NULL;
    *expires_at = sqlite3_column_int64(stmt, 3);
    if (!*never && type != SQLITE_INTEGER && type != SQLITE_FLOAT)
        return dw_err_set(err, DW_CONF,
                          "auth.session_sql: expires_at must be Unix time in milliseconds (a number), or NULL");
    if (*expires_at >= 1000000000 && *expires_at <= 99999999999)
        return dw_err_set(err, DW_CONF,
                          "auth.session_sql: expires_at must be Unix time in milliseconds (this looks like seconds): "
                          "multiply by 1000");
    return DW_OK;
}

static int load(sqlite3_stmt *stmt, int64_t now_ms, struct dw_session *session, struct dw_err *err)
{
    bool never = true;
    int64_t expires_at = 0;
    int rc = load_expiry(stmt, now_ms, &expires_at, &never, err);

    if (rc != DW_OK || (!never && expires_at <= now_ms))
        return rc;
    rc = load_column(stmt, 0, "the uid", DW_SESSION_UID_MAX, &session->has_uid, &session->uid, err);
    if (rc == DW_OK)
        rc = load_column(stmt, 1, "the csrf_token", DW_SESSION_TOKEN_MAX, &session->has_csrf_token,
                         &session->csrf_token, err);
    if (rc == DW_OK)
        rc = load_column(stmt, 2, "the handshake_data", DW_SESSION_DATA_MAX, &session->has_handshake_data,
                         &session->handshake_data, err);
    session->found = rc == DW_OK;
    session->expires_at = never ? 0 : expires_at;
    return rc;
}

int dw_sqlite_session(struct dw_store *store, const char *sid, int64_t now_ms, struct dw_session *session,
                      struct dw_err *err)
{
    struct dw_sqlite *s = dw_sqlite_of(store);
    bool row = false;
    int rc;

    session->found = session->has_uid = session->has_csrf_token = session->has_handshake_data = false;
    session->expires_at = 0;
    dw_buf_reset(&session->uid);
    dw_buf_reset(&session->csrf_token);
    dw_buf_reset(&session->handshake_data);
    rc = dw_sqlite_session_prepare(s, err);
    if (rc != DW_OK)
        return rc;
    (void)sqlite3_clear_bindings(s->session_stmt);
    dw_sqlite_text(s->session_stmt, sqlite3_bind_parameter_index(s->session_stmt, ":sid"), sid);
    (void)sqlite3_bind_int64(s->session_stmt, sqlite3_bind_parameter_index(s->session_stmt, ":now_ms"), now_ms);
    rc = dw_sqlite_session_step(s, &row, err);
    if (rc != DW_OK || !row)
        return rc;
    rc = load(s->session_stmt, now_ms, session, err);
    (void)sqlite3_reset(s->session_stmt);
    return rc;
}

uint32_t dw_sqlite_session_version(const struct dw_store *store)
{
    return ((const struct dw_sqlite *)store)->session_news;
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
