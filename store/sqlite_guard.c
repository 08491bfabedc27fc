/* What keeps auth.session_sql harmless: it can read and nothing else, and not for long.
 *
 * The queue's connection has one authorizer for its whole life, which lets everything pass but what is compiled or
 * run between `guarded` and its end: SQLite compiles a statement again whenever the schema has changed, within the
 * step that finds out, and taking an authorizer off and on would have all our statements compiled again. */
#include "store/sqlite_priv.h"

#include <string.h>
#include <strings.h>

#define CLOCK_EVERY 1000    /* steps of SQLite's machine, some 20 us, between two looks at the clock */
#define VALUE_MOST 16777216 /* bytes that any value in the query may grow to */

/* They change files or the process.  Most are no part of the library, but a build may have them. */
static bool is_pure(const char *function)
{
    static const char *const others[] = {"load_extension", "readfile", "writefile", "edit",      "lsmode",
                                         "eval",           "fsdir",    "zipfile",   "sha3_query"};

    if (function == NULL || strncasecmp(function, "fts", 3) == 0)
        return false;
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        if (strcasecmp(function, others[i]) == 0)
            return false;
    return true;
}

static const char *name_of(int action)
{
    switch (action) {
    case SQLITE_FUNCTION:
        return "the function";
    case SQLITE_INSERT:
        return "writing to";
    case SQLITE_UPDATE:
        return "changing";
    case SQLITE_DELETE:
        return "deleting from";
    case SQLITE_PRAGMA:
        return "PRAGMA";
    case SQLITE_ATTACH:
        return "ATTACH";
    case SQLITE_DETACH:
        return "DETACH";
    case SQLITE_TRANSACTION:
    case SQLITE_SAVEPOINT:
        return "a transaction:";
    default:
        return "anything but SELECT:";
    }
}

int dw_sqlite_authorize(void *context, int action, const char *one, const char *two, const char *database,
                        const char *within)
{
    struct dw_sqlite *s = context;
    const char *what = action == SQLITE_FUNCTION ? two : one;

    (void)database;
    (void)within;
    if (!s->guarded || action == SQLITE_SELECT || action == SQLITE_READ || action == SQLITE_RECURSIVE ||
        (action == SQLITE_FUNCTION && is_pure(two)) ||
        /* Asked for wherever json_each and the like are used; SQLite itself lets nobody write there. */
        (action == SQLITE_UPDATE && strcmp(one, "sqlite_master") == 0))
        return SQLITE_OK;
    if (s->guard_refused[0] == '\0')
        (void)sqlite3_snprintf((int)sizeof s->guard_refused, s->guard_refused, "%s %s", name_of(action),
                               what != NULL ? what : "");
    return SQLITE_DENY;
}

static int is_overdue(void *context)
{
    struct dw_sqlite *s = context;

    s->guard_overdue = dw_clock_mono_us() >= s->guard_until_us;
    return s->guard_overdue;
}

static int begin_guard(struct dw_sqlite *s)
{
    s->guarded = true;
    s->guard_overdue = false;
    s->guard_refused[0] = '\0';
    if (s->session_ms > 0) {
        s->guard_until_us = dw_clock_mono_us() + (int64_t)s->session_ms * 1000;
        sqlite3_progress_handler(s->db[DW_QUEUE], CLOCK_EVERY, is_overdue, s);
    }
    return sqlite3_limit(s->db[DW_QUEUE], SQLITE_LIMIT_LENGTH, VALUE_MOST);
}

static void end_guard(struct dw_sqlite *s, int limit)
{
    (void)sqlite3_limit(s->db[DW_QUEUE], SQLITE_LIMIT_LENGTH, limit);
    sqlite3_progress_handler(s->db[DW_QUEUE], 0, NULL, NULL);
    s->guarded = false;
}

/* Our code for what SQLite says about the query. */
static int fail(struct dw_sqlite *s, int rc, struct dw_err *err)
{
    sqlite3 *db = s->db[DW_QUEUE];

    if (s->guard_refused[0] != '\0')
        return dw_err_set(err, DW_CONF, "auth.session_sql may only read, and %s is refused", s->guard_refused);
    if (s->guard_overdue)
        return dw_err_set(err, DW_TIMEOUT,
                          "auth.session_sql took longer than auth.session_ms (%d ms): make it find a session by an "
                          "index",
                          s->session_ms);
    switch (dw_sqlite_code(rc)) {
    case DW_INVALID:
    case DW_LIMIT:
        return dw_err_set(err, DW_CONF, "auth.session_sql: %s", sqlite3_errmsg(db));
    case DW_DENIED:
        if ((rc & 0xff) == SQLITE_AUTH)
            return dw_err_set(err, DW_CONF, "auth.session_sql: %s", sqlite3_errmsg(db));
        break;
    default:
        break;
    }
    return dw_sqlite_fail(db, rc, err);
}

static int check_parameters(sqlite3_stmt *stmt, struct dw_err *err)
{
    int count = sqlite3_bind_parameter_count(stmt);

    for (int i = 1; i <= count; i++) {
        const char *name = sqlite3_bind_parameter_name(stmt, i);

        if (name == NULL || (strcmp(name, ":sid") != 0 && strcmp(name, ":now_ms") != 0))
            return dw_err_set(err, DW_CONF, "auth.session_sql has the parameter %s: there are only :sid and :now_ms",
                              name != NULL ? name : "?");
    }
    if (sqlite3_bind_parameter_index(stmt, ":sid") == 0)
        return dw_err_set(err, DW_CONF,
                          "auth.session_sql does not use :sid (without quotes): it would find the same session for "
                          "everybody");
    return DW_OK;
}

static int check(sqlite3_stmt *stmt, struct dw_err *err)
{
    int columns = sqlite3_column_count(stmt); /* 0 for NULL */

    if (stmt == NULL || !sqlite3_stmt_readonly(stmt) || sqlite3_stmt_isexplain(stmt) != 0 || columns < 3 || columns > 4)
        return dw_err_set(err, DW_CONF,
                          "auth.session_sql must be one SELECT of three or four columns: uid, csrf_token, "
                          "handshake_data, and expires_at if you like");
    return check_parameters(stmt, err);
}

/* Behind the query there may be semicolons and comments, but no other statement. */
static int check_tail(struct dw_sqlite *s, const char *tail, struct dw_err *err)
{
    while (tail != NULL && *tail != '\0') {
        const char *next = NULL;
        sqlite3_stmt *more = NULL;
        int rc = sqlite3_prepare_v2(s->db[DW_QUEUE], tail, -1, &more, &next);
        bool empty = rc == SQLITE_OK && more == NULL;

        (void)sqlite3_finalize(more);
        if (!empty)
            return dw_err_set(err, DW_CONF, "auth.session_sql must be one statement: there is something behind it");
        tail = next;
    }
    return DW_OK;
}

static int prepare(struct dw_sqlite *s, struct dw_err *err)
{
    sqlite3 *db = s->db[DW_QUEUE];
    const char *tail = NULL;
    int rc = sqlite3_prepare_v3(db, s->session_sql, -1, SQLITE_PREPARE_PERSISTENT, &s->session_stmt, &tail);

    rc = rc == SQLITE_OK ? DW_OK : fail(s, rc, err);
    if (rc == DW_OK)
        rc = check_tail(s, tail, err);
    if (rc == DW_OK)
        rc = check(s->session_stmt, err);
    if (rc != DW_OK) {
        (void)sqlite3_finalize(s->session_stmt);
        s->session_stmt = NULL;
    }
    return rc;
}

int dw_sqlite_session_prepare(struct dw_sqlite *s, struct dw_err *err)
{
    int limit;
    int rc;

    if (s->session_stmt != NULL)
        return DW_OK;
    if (s->db[DW_QUEUE] == NULL)
        return dw_err_set(err, DW_IO, "the database was replaced by a file that could not be opened: %s",
                          s->queue_path);
    limit = begin_guard(s);
    rc = prepare(s, err);
    end_guard(s, limit);
    return rc;
}

int dw_sqlite_session_step(struct dw_sqlite *s, bool *row, struct dw_err *err)
{
    int limit = begin_guard(s);
    int rc = sqlite3_step(s->session_stmt);

    *row = rc == SQLITE_ROW;
    if (rc == SQLITE_ROW || rc == SQLITE_DONE)
        rc = DW_OK;
    else
        rc = fail(s, rc, err);
    end_guard(s, limit);
    if (!*row)
        (void)sqlite3_reset(s->session_stmt);
    return rc;
}
