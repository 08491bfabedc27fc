/* Housekeeping, in small steps: clients that are gone, rows past retention, checkpoints.  A step takes a
 * write lock only when it has something to do, and holds it for `chunk` rows at most, so that an app's
 * INSERT never waits for long. */
#include "store/sqlite_priv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define RELEASE_MAX 256                         /* clients in one step */
#define SESSION_KEEP_MS ((int64_t)24 * 3600000) /* expired sessions stay for a day, to be looked at */
#define WAL_LIMIT ((int64_t)16 << 20)           /* above it, a checkpoint truncates even when busy */
#define TRUNCATE_BUSY_MS 20
#define TRUNCATE_QUICK_MS 1

/* ---- clients ---- */

struct gone {
    char *client_id, *uid; /* uid NULL: none */
    int transport;
    uint32_t slot, epoch;
};

static void free_gone(struct gone *gone, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(gone[i].client_id);
        free(gone[i].uid);
    }
}

static bool load_gone(sqlite3_stmt *stmt, struct gone *one)
{
    bool has_uid = sqlite3_column_type(stmt, 1) == SQLITE_TEXT;

    one->client_id = strdup(dw_sqlite_column(stmt, 0));
    one->uid = has_uid ? strdup(dw_sqlite_column(stmt, 1)) : NULL;
    one->transport = sqlite3_column_int(stmt, 2);
    one->slot = (uint32_t)sqlite3_column_int64(stmt, 3);
    one->epoch = (uint32_t)sqlite3_column_int64(stmt, 4);
    return one->client_id != NULL && (one->uid != NULL || !has_uid);
}

/* Copies of the first rows of a list, since the rows are changed while it is walked. */
static int list_gone(struct dw_sqlite *s, enum dw_sql id, int64_t before_ms, size_t max, struct gone *gone,
                     size_t *count, struct dw_err *err)
{
    sqlite3_stmt *stmt;
    bool row;
    int rc = dw_sqlite_stmt(s, id, &stmt, err);

    *count = 0;
    if (rc != DW_OK)
        return rc;
    (void)sqlite3_bind_int64(stmt, 1, before_ms);
    (void)sqlite3_bind_int64(stmt, 2, (sqlite3_int64)max);
    for (rc = dw_sqlite_step(stmt, &row, err); rc == DW_OK && row; rc = dw_sqlite_step(stmt, &row, err))
        if (!load_gone(stmt, &gone[(*count)++]))
            return dw_sqlite_done(stmt, dw_err_set(err, DW_NOMEM, "out of memory"));
    return rc;
}

static int run_keyed(struct dw_sqlite *s, enum dw_sql id, const struct gone *one, int64_t ms, struct dw_err *err)
{
    sqlite3_stmt *stmt;
    int rc = dw_sqlite_stmt(s, id, &stmt, err);

    if (rc != DW_OK)
        return rc;
    dw_sqlite_bind_key(stmt, one->client_id, one->uid, one->transport);
    if (id != DW_SQL_CLIENT_DROP) {
        (void)sqlite3_bind_int64(stmt, 4, one->epoch);
        (void)sqlite3_bind_int64(stmt, 5, ms);
    }
    return dw_sqlite_run(stmt, err);
}

static int disconnect_one(struct dw_sqlite *s, const struct gone *one, const struct dw_housework *work,
                          struct dw_removed *done, struct dw_err *err)
{
    int rc = run_keyed(s, DW_SQL_CLIENT_LEAVE, one, work->now_ms, err);

    done->departed += sqlite3_changes(s->db[DW_STATE]);
    return rc == DW_OK ? dw_sqlite_dirty(s, one->uid, err) : rc;
}

static int forget_one(struct dw_sqlite *s, const struct gone *one, struct dw_removed *done, struct dw_err *err)
{
    sqlite3_stmt *stmt;
    int rc = run_keyed(s, DW_SQL_CLIENT_DROP, one, 0, err);

    done->clients += sqlite3_changes(s->db[DW_STATE]);
    if (rc == DW_OK)
        rc = dw_sqlite_stmt(s, DW_SQL_SLOT_FREE, &stmt, err);
    if (rc != DW_OK)
        return rc;
    (void)sqlite3_bind_int64(stmt, 1, one->slot);
    return dw_sqlite_run(stmt, err);
}

/* The rows that `list` finds are disconnected (overdue) or deleted (absent). */
static int release_list(struct dw_sqlite *s, enum dw_sql list, int64_t before_ms, const struct dw_housework *work,
                        bool *more, struct dw_err *err)
{
    struct gone gone[RELEASE_MAX];
    struct dw_removed done = {.clients = 0};
    size_t max = work->chunk > 0 && work->chunk < RELEASE_MAX ? work->chunk : RELEASE_MAX;
    size_t count;
    int rc = list_gone(s, list, before_ms, 1, gone, &count, err); /* without the lock: usually nothing */

    free_gone(gone, count);
    if (rc != DW_OK || count == 0)
        return rc;
    rc = dw_sqlite_begin(s, DW_STATE, err);
    if (rc != DW_OK)
        return rc;
    rc = list_gone(s, list, before_ms, max, gone, &count, err);
    for (size_t i = 0; rc == DW_OK && i < count; i++)
        rc = list == DW_SQL_CLIENT_OVERDUE ? disconnect_one(s, &gone[i], work, &done, err)
                                           : forget_one(s, &gone[i], &done, err);
    if (count == max)
        *more = true;
    free_gone(gone, count);
    rc = dw_sqlite_end(s, DW_STATE, rc, err);
    if (rc == DW_OK && work->removed != NULL) {
        work->removed->clients += done.clients;
        work->removed->departed += done.departed;
    }
    return rc;
}

/* Due times from before the machine's last start. */
static int set_astray_to_time(struct dw_sqlite *s, const struct dw_housework *work, struct dw_err *err)
{
    int64_t count = 0;
    sqlite3_stmt *stmt;
    int rc = dw_sqlite_stmt(s, DW_SQL_CLIENT_ASTRAY, &stmt, err);

    if (rc != DW_OK)
        return rc;
    (void)sqlite3_bind_int64(stmt, 1, work->up_ms + DW_DUE_MOST_MS);
    rc = dw_sqlite_int(stmt, 0, &count, err);
    if (rc != DW_OK || count == 0)
        return rc;
    rc = dw_sqlite_begin(s, DW_STATE, err);
    if (rc != DW_OK)
        return rc;
    rc = dw_sqlite_stmt(s, DW_SQL_CLIENT_TO_TIME, &stmt, err);
    if (rc == DW_OK) {
        (void)sqlite3_bind_int64(stmt, 1, work->up_ms + DW_DUE_MOST_MS);
        (void)sqlite3_bind_int64(stmt, 2, work->up_ms);
        rc = dw_sqlite_run(stmt, err);
    }
    return dw_sqlite_end(s, DW_STATE, rc, err);
}

/* After a crash of the whole machine the two files may be from slightly different moments. */
static int audit_once(struct dw_sqlite *s, struct dw_err *err)
{
    int rc;

    if (!s->audit)
        return DW_OK;
    rc = dw_sqlite_begin(s, DW_STATE, err);
    if (rc != DW_OK)
        return rc;
    rc = dw_sqlite_end(s, DW_STATE, dw_sqlite_presence_audit(s, err), err);
    if (rc == DW_OK)
        s->audit = false;
    return rc;
}

int dw_sqlite_release(struct dw_store *store, const struct dw_housework *work, bool *more, struct dw_err *err)
{
    struct dw_sqlite *s = dw_sqlite_of(store);
    int64_t ignored = 0;
    int rc = audit_once(s, err);

    *more = false;
    if (rc == DW_OK)
        rc = dw_sqlite_bury(s, work->up_ms + work->grace_ajax_ms, work->up_ms + work->grace_ws_ms,
                            work->removed != NULL ? &work->removed->workers : &ignored, err);
    if (rc == DW_OK && s->housekeeper)
        rc = dw_sqlite_keep_mark(s, err);
    if (rc == DW_OK)
        rc = set_astray_to_time(s, work, err);
    if (rc == DW_OK)
        rc = release_list(s, DW_SQL_CLIENT_OVERDUE, work->up_ms, work, more, err);
    if (rc == DW_OK)
        rc = release_list(s, DW_SQL_CLIENT_ABSENT, work->now_ms - s->retain_ms - 1, work, more, err);
    return rc;
}

int dw_sqlite_release_due(struct dw_store *store, const struct dw_housework *work, int64_t *wait_ms, struct dw_err *err)
{
    struct dw_sqlite *s = dw_sqlite_of(store);
    sqlite3_stmt *stmt;
    int64_t due = INT64_MAX;
    int64_t oldest = INT64_MAX;
    int rc = dw_sqlite_stmt(s, DW_SQL_CLIENT_DUE, &stmt, err);

    *wait_ms = INT64_MAX;
    if (rc == DW_OK)
        rc = dw_sqlite_int(stmt, INT64_MAX, &due, err);
    if (rc == DW_OK)
        rc = dw_sqlite_stmt(s, DW_SQL_CLIENT_OLDEST, &stmt, err);
    if (rc == DW_OK)
        rc = dw_sqlite_int(stmt, INT64_MAX, &oldest, err);
    if (rc == DW_OK && due != INT64_MAX)
        *wait_ms = due - work->up_ms;
    if (rc == DW_OK && oldest < INT64_MAX - s->retain_ms - 1 && oldest + s->retain_ms + 1 - work->now_ms < *wait_ms)
        *wait_ms = oldest + s->retain_ms + 1 - work->now_ms;
    return rc;
}

/* ---- rows past retention ---- */

/* Which table, by the statements that walk it. */
struct aging {
    enum dw_sql oldest, due;
};

static const struct aging aging_pushes = {DW_SQL_OLD_PUSHES, DW_SQL_DUE_PUSHES};
static const struct aging aging_inbox = {DW_SQL_OLD_INBOX, DW_SQL_DUE_INBOX};
static const struct aging aging_replies = {DW_SQL_OLD_REPLIES, DW_SQL_DUE_REPLIES};

/* Highest id of the oldest rows, taken in order of id while they are older than `before_ms`; 0: none.  A row
 * dated in the future (an app's doing, or a clock's) is at least as old as the next one that is not. */
static int old_prefix(struct dw_sqlite *s, const struct aging *table, int64_t before_ms, int64_t now_ms, size_t chunk,
                      int64_t *upto, bool *more, struct dw_err *err)
{
    sqlite3_stmt *stmt;
    bool row;
    bool is_front = true;
    int64_t due;
    size_t count = 0;
    int rc = dw_sqlite_stmt(s, table->due, &stmt, err);

    *upto = 0;
    if (rc != DW_OK)
        return rc;
    (void)sqlite3_bind_int64(stmt, 1, now_ms);
    rc = dw_sqlite_int(stmt, INT64_MAX, &due, err);
    if (rc != DW_OK || due >= before_ms)
        return rc;
    rc = dw_sqlite_stmt(s, table->oldest, &stmt, err);
    if (rc != DW_OK)
        return rc;
    (void)sqlite3_bind_int64(stmt, 1, (sqlite3_int64)chunk);
    for (rc = dw_sqlite_step(stmt, &row, err); rc == DW_OK && row; rc = dw_sqlite_step(stmt, &row, err)) {
        int64_t made = sqlite3_column_int64(stmt, 1);

        if (made >= before_ms && made <= now_ms)
            return dw_sqlite_done(stmt, DW_OK);
        /* In front of the first that is due they are old with it; behind it, the next step tells. */
        if (made <= now_ms)
            is_front = false;
        if (made < before_ms || is_front)
            *upto = sqlite3_column_int64(stmt, 0);
        count++;
    }
    if (count == chunk)
        *more = true;
    return rc;
}

/* *dropped: how many rows that were. */
static int drop_upto(struct dw_sqlite *s, enum dw_sql id, int64_t upto, int64_t *dropped, struct dw_err *err)
{
    sqlite3_stmt *stmt;
    int rc;

    if (upto == 0)
        return DW_OK;
    rc = dw_sqlite_stmt(s, id, &stmt, err);
    if (rc != DW_OK)
        return rc;
    (void)sqlite3_bind_int64(stmt, 1, upto);
    rc = dw_sqlite_run(stmt, err);
    if (rc == DW_OK)
        *dropped = sqlite3_changes64(s->db[DW_QUEUE]);
    return rc;
}

/* Binds what the statements on rows that are not found by id take. */
static int other_stmt(struct dw_sqlite *s, enum dw_sql id, size_t chunk, int64_t before_ms, sqlite3_stmt **stmt,
                      struct dw_err *err)
{
    int rc = dw_sqlite_stmt(s, id, stmt, err);

    if (rc != DW_OK)
        return rc;
    (void)sqlite3_bind_int64(*stmt, 1, (sqlite3_int64)chunk);
    if (sqlite3_bind_parameter_count(*stmt) > 1)
        (void)sqlite3_bind_int64(*stmt, 2, before_ms);
    return DW_OK;
}

static int count_other(struct dw_sqlite *s, enum dw_sql id, size_t chunk, int64_t before_ms, int64_t *count, bool *more,
                       struct dw_err *err)
{
    sqlite3_stmt *stmt;
    int rc = other_stmt(s, id, chunk, before_ms, &stmt, err);

    if (rc == DW_OK)
        rc = dw_sqlite_int(stmt, 0, count, err);
    if (*count == (int64_t)chunk)
        *more = true;
    return rc;
}

static int drop_other(struct dw_sqlite *s, enum dw_sql id, size_t chunk, int64_t before_ms, int64_t *dropped,
                      struct dw_err *err)
{
    sqlite3_stmt *stmt;
    int rc = other_stmt(s, id, chunk, before_ms, &stmt, err);

    if (rc == DW_OK)
        rc = dw_sqlite_run(stmt, err);
    if (rc == DW_OK)
        *dropped = sqlite3_changes64(s->db[DW_QUEUE]);
    return rc;
}

static int drop_pushes(struct dw_sqlite *s, int64_t upto, int64_t *dropped, struct dw_err *err)
{
    int64_t horizon;
    int rc;

    if (upto == 0)
        return DW_OK;
    rc = dw_sqlite_meta(s, "horizon", &horizon, err);
    if (rc == DW_OK && upto > horizon)
        rc = dw_sqlite_meta_put(s, "horizon", upto, err);
    return rc == DW_OK ? drop_upto(s, DW_SQL_DROP_PUSHES, upto, dropped, err) : rc;
}

static void add_removed(struct dw_removed *to, const struct dw_removed *done)
{
    if (to == NULL)
        return;
    to->pushes += done->pushes;
    to->inbox += done->inbox;
    to->replies += done->replies;
    to->memberships += done->memberships;
    to->sessions += done->sessions;
}

static int collect(struct dw_store *store, const struct dw_housework *work, bool *more, struct dw_err *err)
{
    struct dw_sqlite *s = dw_sqlite_of(store);
    size_t chunk = work->chunk > 0 ? work->chunk : 200;
    int64_t inbox_before = work->now_ms - dw_inbox_retain(s->retain_ms);
    int64_t sessions_before = work->now_ms - SESSION_KEEP_MS;
    int64_t pushes = 0;
    int64_t inbox = 0;
    int64_t replies = 0;
    int64_t left = 0;
    int64_t sessions = 0;
    struct dw_removed done = {.pushes = 0};
    int rc;

    /* What to delete is found without a lock: rows with lower ids can't appear, and none gets younger. */
    *more = false;
    rc = old_prefix(s, &aging_pushes, work->now_ms - s->retain_ms, work->now_ms, chunk, &pushes, more, err);
    if (rc == DW_OK)
        rc = old_prefix(s, &aging_inbox, inbox_before, work->now_ms, chunk, &inbox, more, err);
    if (rc == DW_OK)
        rc = old_prefix(s, &aging_replies, inbox_before, work->now_ms, chunk, &replies, more, err);
    if (rc == DW_OK)
        rc = count_other(s, DW_SQL_OLD_LEFT, chunk, 0, &left, more, err);
    if (rc == DW_OK)
        rc = count_other(s, DW_SQL_OLD_SESSIONS, chunk, sessions_before, &sessions, more, err);
    if (rc != DW_OK || (pushes | inbox | replies | left | sessions) == 0)
        return rc;
    rc = dw_sqlite_begin(s, DW_QUEUE, err);
    if (rc != DW_OK)
        return rc;
    rc = drop_pushes(s, pushes, &done.pushes, err);
    if (rc == DW_OK)
        rc = drop_upto(s, DW_SQL_DROP_REPLIES, replies, &done.replies, err);
    if (rc == DW_OK)
        rc = drop_upto(s, DW_SQL_DROP_INBOX, inbox, &done.inbox, err);
    if (rc == DW_OK)
        rc = drop_other(s, DW_SQL_DROP_LEFT, left > 0 ? chunk : 0, 0, &done.memberships, err);
    if (rc == DW_OK)
        rc = drop_other(s, DW_SQL_DROP_SESSIONS, sessions > 0 ? chunk : 0, sessions_before, &done.sessions, err);
    rc = dw_sqlite_end(s, DW_QUEUE, rc, err);
    if (rc == DW_OK)
        add_removed(work->removed, &done);
    return rc;
}

int dw_sqlite_gc(struct dw_store *store, const struct dw_housework *work, bool *more, struct dw_err *err)
{
    int rc = collect(store, work, more, err);

    return rc == DW_OK && !*more ? dw_sqlite_inbox_recount(dw_sqlite_of(store), work->now_ms, err) : rc;
}

/* ---- checkpoints ---- */

int64_t dw_sqlite_file_size(const char *path, const char *suffix)
{
    char full[4096];
    struct stat status;

    if (snprintf(full, sizeof full, "%s%s", path, suffix) >= (int)sizeof full || stat(full, &status) != 0)
        return 0;
    return (int64_t)status.st_size;
}

/* Truncating copies nothing any more behind a complete passive checkpoint, but it locks writers out while it
 * waits for readers. */
static int truncate_wal(struct dw_sqlite *s, enum dw_db db, int patience_ms)
{
    int busy_ms = s->busy_ms;
    int rc;

    if (s->busy_ms > patience_ms)
        s->busy_ms = patience_ms;
    rc = sqlite3_wal_checkpoint_v2(s->db[db], "main", SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
    s->busy_ms = busy_ms;
    return rc;
}

/* Whoever writes first behind a complete checkpoint begins the WAL anew and waits for the disk, whatever
 * `synchronous` says.  So a small WAL is left alone, and one that has been copied is emptied, which makes it
 * a small one again: one commit in many pays. */
static int checkpoint_one(struct dw_sqlite *s, enum dw_db db, const char *path, const struct dw_housework *work,
                          struct dw_err *err)
{
    int64_t wal = dw_sqlite_file_size(path, "-wal");
    bool urgent = work->idle || wal > WAL_LIMIT;
    int frames = 0, copied = 0;
    int rc;

    if (wal == 0 || wal < work->wal_least || s->db[db] == NULL)
        return DW_OK;
    rc = sqlite3_wal_checkpoint_v2(s->db[db], "main", SQLITE_CHECKPOINT_PASSIVE, &frames, &copied);
    if (rc == SQLITE_OK && (urgent || frames == copied))
        rc = truncate_wal(s, db, urgent ? TRUNCATE_BUSY_MS : TRUNCATE_QUICK_MS);
    if (rc == SQLITE_OK || dw_sqlite_code(rc) == DW_BUSY)
        return DW_OK; /* readers or writers were quicker: the next step goes on */
    return dw_sqlite_fail(s->db[db], rc, err);
}

int dw_sqlite_checkpoint(struct dw_store *store, const struct dw_housework *work, struct dw_err *err)
{
    struct dw_sqlite *s = dw_sqlite_of(store);
    int rc = checkpoint_one(s, DW_QUEUE, s->queue_path, work, err);

    return rc == DW_OK ? checkpoint_one(s, DW_STATE, s->state_path, work, err) : rc;
}
