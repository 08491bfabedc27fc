/* Presence: keeps dw_online and the chsk/uidport-* rows of the queue file in line with the client table
 * of the state file.
 *
 * A commit is atomic in one file only, so the client table says "look again" (a dirty mark, made in the
 * same transaction as the change) and this file looks:
 *
 *   1. read the marks                                   state, no lock
 *   2. take the queue's write lock                      so callers take turns
 *   3. count the uid's clients as they are now, write what differs, commit
 *   4. clear the marks of step 1 by their generation    state; a newer mark stays
 *
 * Killed between 3 and 4, the marks are still there and step 3 finds nothing to do.  The open or close
 * row is written in the transaction in which the dw_online row appears or disappears: they alternate. */
#include "base/log.h"
#include "store/sqlite_priv.h"

#include <stdlib.h>
#include <string.h>

#define BATCH 64

struct mark {
    int64_t generation;
    char *uid;
};

int dw_sqlite_online(struct dw_store *store, dw_online_fn *fn, void *context, struct dw_err *err)
{
    struct dw_online online;
    sqlite3_stmt *stmt;
    bool row;
    int rc = dw_sqlite_stmt(dw_sqlite_of(store), DW_SQL_ONLINE, &stmt, err);

    if (rc != DW_OK)
        return rc;
    for (rc = dw_sqlite_step(stmt, &row, err); rc == DW_OK && row; rc = dw_sqlite_step(stmt, &row, err)) {
        online.uid = dw_sqlite_column(stmt, 0);
        online.ws = sqlite3_column_int64(stmt, 1);
        online.ajax = sqlite3_column_int64(stmt, 2);
        online.since = sqlite3_column_int64(stmt, 3);
        rc = fn(context, &online);
        if (rc != DW_OK)
            return dw_sqlite_done(stmt, rc);
    }
    return rc;
}

static void free_marks(struct mark *marks, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(marks[i].uid);
}

static int read_marks(struct dw_sqlite *s, struct mark *marks, size_t *count, struct dw_err *err)
{
    sqlite3_stmt *stmt;
    bool row;
    int rc = dw_sqlite_stmt(s, DW_SQL_DIRTY_LIST, &stmt, err);

    *count = 0;
    if (rc != DW_OK)
        return rc;
    (void)sqlite3_bind_int(stmt, 1, BATCH);
    for (rc = dw_sqlite_step(stmt, &row, err); rc == DW_OK && row; rc = dw_sqlite_step(stmt, &row, err)) {
        marks[*count].generation = sqlite3_column_int64(stmt, 0);
        marks[*count].uid = strdup(dw_sqlite_column(stmt, 1));
        if (marks[*count].uid == NULL)
            return dw_sqlite_done(stmt, dw_err_set(err, DW_NOMEM, "out of memory"));
        ++*count;
    }
    return rc;
}

/* Two integers of the one row that `stmt` gives for `uid`. */
static int read_pair(struct dw_sqlite *s, enum dw_sql id, const char *uid, int64_t *ws, int64_t *ajax, bool *row,
                     struct dw_err *err)
{
    sqlite3_stmt *stmt;
    int rc = dw_sqlite_stmt(s, id, &stmt, err);

    if (rc != DW_OK)
        return rc;
    dw_sqlite_text(stmt, 1, uid);
    rc = dw_sqlite_step(stmt, row, err);
    if (rc != DW_OK || !*row)
        return rc;
    *ws = sqlite3_column_int64(stmt, 0);
    *ajax = sqlite3_column_int64(stmt, 1);
    return dw_sqlite_done(stmt, DW_OK);
}

static int write_online(struct dw_sqlite *s, enum dw_sql id, const char *uid, int64_t ws, int64_t ajax, int64_t now_ms,
                        struct dw_err *err)
{
    sqlite3_stmt *stmt;
    int rc = dw_sqlite_stmt(s, id, &stmt, err);

    if (rc != DW_OK)
        return rc;
    dw_sqlite_text(stmt, 1, uid);
    if (id != DW_SQL_ONLINE_REMOVE) {
        (void)sqlite3_bind_int64(stmt, 2, ws);
        (void)sqlite3_bind_int64(stmt, 3, ajax);
    }
    if (id == DW_SQL_ONLINE_ADD)
        (void)sqlite3_bind_int64(stmt, 4, now_ms);
    return dw_sqlite_run(stmt, err);
}

/* A trigger of the app that fails here has no sender to report to, and must not keep everyone's
 * presence from being written: the row is lost to the app, and said to be. */
static int write_event(struct dw_sqlite *s, const char *event, const char *uid, int64_t now_ms, struct dw_err *err)
{
    struct dw_err said = {0};
    sqlite3_stmt *stmt;
    int rc = dw_sqlite_stmt(s, DW_SQL_INBOX_EVENT, &stmt, &said);

    if (rc == DW_OK) {
        dw_sqlite_text(stmt, 1, uid);
        dw_sqlite_text(stmt, 2, event);
        (void)sqlite3_bind_int64(stmt, 3, now_ms);
        rc = dw_sqlite_run(stmt, &said);
    }
    if (rc == DW_INVALID && !sqlite3_get_autocommit(s->db[DW_QUEUE])) {
        dw_log_error("the app's trigger on dw_inbox failed for %s, the row is not stored: %s", event, said.text);
        return DW_OK;
    }
    if (rc != DW_OK)
        return dw_err_set(err, rc == DW_INVALID ? DW_HANDLER : rc, "%s", said.text);
    return DW_OK;
}

static int sync_uid(struct dw_sqlite *s, const char *uid, int64_t now_ms, struct dw_err *err)
{
    int64_t ws = 0;
    int64_t ajax = 0;
    int64_t old_ws = 0;
    int64_t old_ajax = 0;
    bool row;
    bool online = false;
    int rc = read_pair(s, DW_SQL_PRESENT, uid, &ws, &ajax, &row, err);

    if (rc == DW_OK)
        rc = read_pair(s, DW_SQL_ONLINE_GET, uid, &old_ws, &old_ajax, &online, err);
    if (rc != DW_OK)
        return rc;
    if (ws + ajax == 0 && online) {
        rc = write_online(s, DW_SQL_ONLINE_REMOVE, uid, 0, 0, now_ms, err);
        return rc == DW_OK ? write_event(s, "chsk/uidport-close", uid, now_ms, err) : rc;
    }
    if (ws + ajax != 0 && !online) {
        rc = write_online(s, DW_SQL_ONLINE_ADD, uid, ws, ajax, now_ms, err);
        return rc == DW_OK ? write_event(s, "chsk/uidport-open", uid, now_ms, err) : rc;
    }
    if (ws != old_ws || ajax != old_ajax)
        return write_online(s, DW_SQL_ONLINE_SET, uid, ws, ajax, now_ms, err);
    return DW_OK;
}

static int clear_marks(struct dw_sqlite *s, const struct mark *marks, size_t count, struct dw_err *err)
{
    sqlite3_stmt *stmt;
    int rc = dw_sqlite_begin(s, DW_STATE, err);

    if (rc != DW_OK)
        return rc;
    for (size_t i = 0; rc == DW_OK && i < count; i++) {
        rc = dw_sqlite_stmt(s, DW_SQL_DIRTY_CLEAR, &stmt, err);
        if (rc != DW_OK)
            break;
        (void)sqlite3_bind_int64(stmt, 1, marks[i].generation);
        rc = dw_sqlite_run(stmt, err);
    }
    return dw_sqlite_end(s, DW_STATE, rc, err);
}

int dw_sqlite_presence_sync(struct dw_store *store, int64_t now_ms, bool *more, struct dw_err *err)
{
    struct dw_sqlite *s = dw_sqlite_of(store);
    struct mark marks[BATCH];
    size_t count;
    int rc = read_marks(s, marks, &count, err);

    *more = count == BATCH;
    if (rc == DW_OK && count > 0) {
        rc = dw_sqlite_begin(s, DW_QUEUE, err);
        if (rc == DW_OK) {
            for (size_t i = 0; rc == DW_OK && i < count; i++)
                rc = sync_uid(s, marks[i].uid, now_ms, err);
            rc = dw_sqlite_end(s, DW_QUEUE, rc, err);
        }
        if (rc == DW_OK)
            rc = clear_marks(s, marks, count, err);
    }
    free_marks(marks, count);
    return rc;
}

int dw_sqlite_presence_audit(struct dw_sqlite *s, struct dw_err *err)
{
    sqlite3_stmt *stmt;
    bool row;
    int rc = dw_sqlite_exec(s, DW_SQL_DIRTY_ADD_PRESENT, err);

    if (rc == DW_OK)
        rc = dw_sqlite_stmt(s, DW_SQL_ONLINE, &stmt, err);
    if (rc != DW_OK)
        return rc;
    for (rc = dw_sqlite_step(stmt, &row, err); rc == DW_OK && row; rc = dw_sqlite_step(stmt, &row, err)) {
        rc = dw_sqlite_dirty(s, dw_sqlite_column(stmt, 0), err);
        if (rc != DW_OK)
            return dw_sqlite_done(stmt, rc);
    }
    return rc;
}
