/* Opening and closing: paths, settings of the connections, the state folder, and moving over when
 * another file takes the queue's place.
 *
 * The database files themselves are opened by SQLite alone: closing a descriptor of our own on one
 * would drop SQLite's locks in the whole process. */
#include "store/file.h"
#include "store/sqlite_priv.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define WAL_KEEP_BYTES "16777216" /* a WAL that was longer is cut to this when it starts anew */

/* ---- one connection ---- */

/* Short random pauses let the quickest go on at once; SQLite's own steps of up to 100 ms would not. */
static int wait_busy(void *context, int count)
{
    struct dw_sqlite *s = context;
    int64_t now = dw_clock_mono_us();
    int64_t most = (int64_t)50 << (count < 5 ? count : 5);

    if (count == 0)
        s->busy_since_us = now;
    if (now - s->busy_since_us >= (int64_t)s->busy_ms * 1000)
        return 0;
    dw_clock_sleep_us(50 + (int64_t)dw_clock_jitter((uint64_t)most));
    return 1;
}

static int set_up(sqlite3 *db, struct dw_sqlite *busy)
{
    int rc;

    (void)sqlite3_busy_handler(db, wait_busy, busy); /* before any statement */
    (void)sqlite3_wal_autocheckpoint(db, 0);         /* the housekeeper does it, outside of everyone's commits */
    do { /* going over to WAL needs the file for itself, which the busy handler doesn't wait for */
        rc = sqlite3_exec(db,
                          "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;"
                          "PRAGMA journal_size_limit = " WAL_KEEP_BYTES "; PRAGMA cache_size = -1024;",
                          NULL, NULL, NULL);
    } while ((rc & 0xff) == SQLITE_BUSY && wait_busy(busy, 1));
    return rc;
}

static int check_wal(sqlite3 *db, const char *path, struct dw_err *err)
{
    sqlite3_stmt *stmt;
    const char *mode;
    int rc = sqlite3_prepare_v2(db, "PRAGMA journal_mode", -1, &stmt, NULL);

    if (rc != SQLITE_OK)
        return dw_sqlite_fail(db, rc, err);
    mode = sqlite3_step(stmt) == SQLITE_ROW ? dw_sqlite_column(stmt, 0) : NULL;
    rc = DW_OK;
    if (mode == NULL || strcmp(mode, "wal") != 0)
        rc = dw_err_set(err, DW_IO,
                        "%s can't be switched to WAL (it stays in mode %s): put it on a local disk, in a folder that "
                        "this user may write",
                        path, mode != NULL ? mode : "unknown");
    (void)sqlite3_finalize(stmt);
    return rc;
}

static int open_failed(const char *path, sqlite3 *db, int rc, struct dw_err *err)
{
    int code = dw_sqlite_code(rc);

    if (code == DW_CORRUPT)
        return dw_err_set(err, code, "%s is not an SQLite database, or is damaged (%s)", path, sqlite3_errmsg(db));
    if (code == DW_DENIED)
        return dw_err_set(err, code,
                          "cannot open %s (%s): this user needs write permission on the file, on its -wal and -shm "
                          "files and on the folder",
                          path, sqlite3_errmsg(db));
    return dw_sqlite_fail(db, rc, err);
}

int dw_sqlite_connect(const char *path, struct dw_sqlite *busy, sqlite3 **db, struct dw_err *err)
{
    int rc = sqlite3_open_v2(path, db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);

    if (rc == SQLITE_OK) {
        (void)sqlite3_extended_result_codes(*db, 1);
        busy->busy_since_us = dw_clock_mono_us();
        rc = set_up(*db, busy);
    }
    if (rc != SQLITE_OK)
        rc = open_failed(path, *db, rc, err);
    else
        rc = check_wal(*db, path, err);
    if (rc != DW_OK) {
        (void)sqlite3_close(*db);
        *db = NULL;
    }
    return rc;
}

/* ---- files and folders ---- */

/* The folder that the queue file is in must not be a network's.  The database is made by us and not by SQLite,
 * for the sake of the mode: the web server's and the app's user share a group. */
static int prepare_queue(const char *path, bool create, struct dw_err *err)
{
    char name[64];
    char *copy = strdup(path);
    char *slash;
    const char *folder = ".";
    int rc;

    if (copy == NULL)
        return dw_err_set(err, DW_NOMEM, "out of memory");
    slash = strrchr(copy, '/');
    if (slash != NULL) {
        slash[slash == copy ? 1 : 0] = '\0';
        folder = copy;
    }
    rc = dw_file_place(path, folder, err);
    if (rc == DW_OK)
        rc = dw_netfs_check(folder, name, sizeof name, err);
    if (rc == DW_OK && create)
        rc = dw_file_make(path, folder, err);
    free(copy);
    return rc;
}

static void note_queue(struct dw_sqlite *s)
{
    struct stat status;

    if (stat(s->queue_path, &status) == 0) {
        s->queue_dev = status.st_dev;
        s->queue_ino = status.st_ino;
    }
}

static int open_queue(struct dw_sqlite *s, struct dw_err *err)
{
    struct stat status;
    int rc = prepare_queue(s->queue_path, s->create, err);

    if (rc != DW_OK)
        return rc;
    if (stat(s->queue_path, &status) != 0 && errno == ENOENT)
        return dw_err_set(err, DW_NOTFOUND, "there is no %s: run `dumbwaiter init --db %s`", s->queue_path,
                          s->queue_path);
    note_queue(s);
    rc = dw_sqlite_connect(s->queue_path, s, &s->db[DW_QUEUE], err);
    if (rc == DW_OK)
        rc = dw_sqlite_migrate(s->db[DW_QUEUE], DW_SCHEMA_QUEUE, dw_sql_queue, dw_sql_queue_count, s->create,
                               s->queue_path, err);
    return rc;
}

static int open_state(struct dw_sqlite *s, struct dw_err *err)
{
    char path[4096];
    int rc = dw_file_make_folder(s->state_dir, s->queue_path, err);

    if (rc == DW_OK)
        dw_file_fence(s->state_dir);
    if (rc == DW_OK)
        rc = dw_file_make(s->state_path, s->state_dir, err);
    if (rc == DW_OK)
        rc = dw_sqlite_connect(s->state_path, s, &s->db[DW_STATE], err);
    if (rc == DW_OK)
        rc = dw_sqlite_migrate(s->db[DW_STATE], DW_SCHEMA_STATE, dw_sql_state, dw_sql_state_count, true, s->state_path,
                               err);
    if (rc != DW_OK)
        return rc;
    if (snprintf(path, sizeof path, "%s/claims", s->state_dir) >= (int)sizeof path)
        return dw_err_set(err, DW_LIMIT, "the path of the database is too long");
    rc = dw_claims_open(&s->claims, path, s->state_dir, err);
    (void)snprintf(path, sizeof path, "%s/lock", s->state_dir);
    return rc == DW_OK ? dw_file_open(path, s->state_dir, &s->lock_fd, err) : rc;
}

/* ---- the state belongs to one queue ---- */

static int copy_text(struct dw_sqlite *s, enum dw_sql id, const char *key, char *text, size_t size, struct dw_err *err)
{
    sqlite3_stmt *stmt;
    bool row;
    int rc = dw_sqlite_stmt(s, id, &stmt, err);

    text[0] = '\0';
    if (rc != DW_OK)
        return rc;
    dw_sqlite_text(stmt, 1, key);
    rc = dw_sqlite_step(stmt, &row, err);
    if (rc != DW_OK || !row)
        return rc;
    (void)snprintf(text, size, "%s", dw_sqlite_column(stmt, 0));
    return dw_sqlite_done(stmt, DW_OK);
}

static int put_state(struct dw_sqlite *s, const char *key, const char *text, int64_t number, struct dw_err *err)
{
    sqlite3_stmt *stmt;
    int rc = dw_sqlite_stmt(s, DW_SQL_STATE_PUT, &stmt, err);

    if (rc != DW_OK)
        return rc;
    dw_sqlite_text(stmt, 1, key);
    if (text != NULL)
        dw_sqlite_text(stmt, 2, text);
    else
        (void)sqlite3_bind_int64(stmt, 2, number);
    return dw_sqlite_run(stmt, err);
}

/* Empties the client table: its cursors are those of another queue, or there are none. */
static int adopt(struct dw_sqlite *s, const char *uuid, int64_t lost_ms, struct dw_err *err)
{
    int rc = dw_sqlite_exec(s, DW_SQL_CLIENT_FREE_ALL, err);

    if (rc == DW_OK)
        rc = dw_sqlite_exec(s, DW_SQL_CLIENT_DROP_ALL, err);
    if (rc == DW_OK)
        rc = put_state(s, "queue_uuid", uuid, 0, err);
    if (rc == DW_OK)
        rc = put_state(s, "lost_ms", NULL, lost_ms, err);
    /* Whoever the queue says is here has no client in this table. */
    return rc == DW_OK ? dw_sqlite_presence_audit(s, err) : rc;
}

/* Ties the state to the queue.  A queue that has had a state before (state_made) and finds another now
 * has lost it: that moment is kept, for dw_store_state_is_new. */
static int attach(struct dw_sqlite *s, struct dw_err *err)
{
    char uuid[64];
    char known[64] = "";
    int64_t made = 0;
    int rc = copy_text(s, DW_SQL_META_GET, "uuid", uuid, sizeof uuid, err);

    if (rc == DW_OK)
        rc = copy_text(s, DW_SQL_STATE_GET, "queue_uuid", known, sizeof known, err);
    if (rc == DW_OK)
        rc = dw_sqlite_meta(s, "state_made", &made, err);
    if (rc == DW_OK && strcmp(uuid, known) != 0) {
        rc = dw_sqlite_begin(s, DW_STATE, err);
        if (rc != DW_OK)
            return rc;
        rc = copy_text(s, DW_SQL_STATE_GET, "queue_uuid", known, sizeof known, err); /* another was quicker? */
        if (rc == DW_OK && strcmp(uuid, known) != 0)
            rc = adopt(s, uuid, made != 0 || known[0] != '\0' ? dw_clock_wall_ms() : 0, err);
        rc = dw_sqlite_end(s, DW_STATE, rc, err);
    }
    return rc == DW_OK && made == 0 ? dw_sqlite_meta_put(s, "state_made", 1, err) : rc;
}

static void close_db(struct dw_sqlite *s, enum dw_db db)
{
    dw_sqlite_finalize(s, db);
    (void)sqlite3_close(s->db[db]);
    s->db[db] = NULL;
}

int dw_sqlite_follow(struct dw_sqlite *s, struct dw_err *err)
{
    struct stat status;
    int rc;

    if (stat(s->queue_path, &status) != 0)
        return DW_OK; /* about to be replaced, perhaps: what is open is still there */
    if (s->db[DW_QUEUE] != NULL && status.st_ino == s->queue_ino && status.st_dev == s->queue_dev)
        return DW_OK;
    close_db(s, DW_QUEUE);
    s->version_known = false; /* the new file counts from its own beginning */
    s->moves++;
    rc = open_queue(s, err);
    if (rc == DW_OK)
        rc = attach(s, err);
    if (rc != DW_OK && s->db[DW_QUEUE] != NULL)
        close_db(s, DW_QUEUE); /* tried again at the next call */
    return rc;
}

/* ---- open and close ---- */

static void close_store(struct dw_store *store, bool killed)
{
    struct dw_sqlite *s = dw_sqlite_of(store);

    (void)killed; /* closing tidies nothing up that a kill would leave: the worker's row stays until release */
    close_db(s, DW_QUEUE);
    if (s->db[DW_STATE] != NULL) /* on every CGI request a checkpoint would be too dear; the queue's is the app's */
        (void)sqlite3_db_config(s->db[DW_STATE], SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    close_db(s, DW_STATE);
    dw_claims_close(&s->claims);
    if (s->lock_fd >= 0)
        (void)close(s->lock_fd);
    free(s->queue_path);
    free(s->state_dir);
    free(s->state_path);
    free(s->session_sql);
    free(s);
}

static const char *queue_path(const struct dw_store *store)
{
    return ((const struct dw_sqlite *)store)->queue_path;
}

static const char *state_dir(const struct dw_store *store)
{
    return ((const struct dw_sqlite *)store)->state_dir;
}

static int follow(struct dw_store *store, uint32_t *moves, struct dw_err *err)
{
    int rc = dw_sqlite_follow(dw_sqlite_of(store), err);

    *moves = dw_sqlite_of(store)->moves;
    return rc;
}

static const struct dw_store_ops ops = {
    .close = close_store,
    .end = dw_sqlite_store_end,
    .pushes = dw_sqlite_pushes,
    .mailbox = dw_sqlite_mailbox,
    .members = dw_sqlite_members,
    .horizon = dw_sqlite_horizon,
    .push = dw_sqlite_push,
    .inbox_add = dw_sqlite_inbox_add,
    .inbox = dw_sqlite_inbox,
    .reply = dw_sqlite_reply,
    .reply_end = dw_sqlite_reply_end,
    .replies = dw_sqlite_replies,
    .reply_get = dw_sqlite_reply_get,
    .session = dw_sqlite_session,
    .session_put = dw_sqlite_session_put,
    .member_add = dw_sqlite_member_add,
    .member_remove = dw_sqlite_member_remove,
    .online = dw_sqlite_online,
    .client_update = dw_sqlite_client_update,
    .client_get = dw_sqlite_client_get,
    .state_is_new = dw_sqlite_state_is_new,
    .clients_leave = dw_sqlite_clients_leave,
    .claim = dw_sqlite_claim,
    .arrivals = dw_sqlite_arrivals,
    .worker_join = dw_sqlite_worker_join,
    .worker_parked = dw_sqlite_worker_parked,
    .workers = dw_sqlite_workers,
    .holders = dw_sqlite_holders,
    .housekeeper = dw_sqlite_housekeeper,
    .presence_sync = dw_sqlite_presence_sync,
    .release = dw_sqlite_release,
    .gc = dw_sqlite_gc,
    .checkpoint = dw_sqlite_checkpoint,
    .release_due = dw_sqlite_release_due,
    .count = dw_sqlite_count,
    .counters = dw_sqlite_counters,
    .figures = dw_sqlite_figures,
    .follow = follow,
    .version = dw_sqlite_version,
    .queue_path = queue_path,
    .state_dir = state_dir,
};

static struct dw_sqlite *make(const struct dw_store_options *options)
{
    struct dw_sqlite *s = calloc(1, sizeof *s);
    size_t len = strlen(options->path);

    if (s == NULL)
        return NULL;
    s->base.ops = &ops;
    s->claims.fd = s->lock_fd = s->worker = -1;
    s->retain_ms = options->retain_ms;
    s->busy_ms = options->busy_ms;
    s->create = options->create;
    s->queue_path = strdup(options->path);
    s->session_sql = strdup(options->session_sql != NULL ? options->session_sql : "");
    s->state_dir = malloc(len + sizeof "-dw");
    s->state_path = malloc(len + sizeof "-dw/state.db");
    if (s->queue_path == NULL || s->session_sql == NULL || s->state_dir == NULL || s->state_path == NULL) {
        close_store(&s->base, false);
        return NULL;
    }
    (void)snprintf(s->state_dir, len + sizeof "-dw", "%s-dw", options->path);
    (void)snprintf(s->state_path, len + sizeof "-dw/state.db", "%s-dw/state.db", options->path);
    return s;
}

int dw_store_open_sqlite(const struct dw_store_options *options, struct dw_store **out, struct dw_err *err)
{
    struct dw_sqlite *s = make(options);
    int rc;

    *out = NULL;
    if (s == NULL)
        return dw_err_set(err, DW_NOMEM, "out of memory");
    rc = open_queue(s, err);
    if (rc == DW_OK)
        rc = open_state(s, err);
    if (rc == DW_OK)
        rc = attach(s, err);
    if (rc != DW_OK) {
        close_store(&s->base, false);
        return rc;
    }
    *out = &s->base;
    return DW_OK;
}
