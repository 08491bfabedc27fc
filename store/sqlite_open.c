/* Opening and closing: paths, settings of the connections, the state folder.  sqlite_follow.c moves over when
 * other files take their place.
 *
 * The database files themselves are opened by SQLite alone: closing a descriptor of our own on one
 * would drop SQLite's locks in the whole process. */
#include "base/conf.h"
#include "base/log.h"
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

static void note_file(const char *path, struct dw_file_id *id)
{
    struct stat status;

    *id = (struct dw_file_id){0};
    if (stat(path, &status) == 0)
        *id = (struct dw_file_id){status.st_dev, status.st_ino};
}

int dw_sqlite_open_queue(struct dw_sqlite *s, struct dw_err *err)
{
    struct stat status;
    int rc = prepare_queue(s->queue_path, s->create, err);

    if (rc != DW_OK)
        return rc;
    if (stat(s->queue_path, &status) != 0 && errno == ENOENT)
        return dw_err_set(err, DW_NOTFOUND, "there is no %s: run `dumbwaiter init --db %s`", s->queue_path,
                          s->queue_path);
    note_file(s->queue_path, &s->queue_id);
    rc = dw_sqlite_connect(s->queue_path, s, &s->db[DW_QUEUE], err);
    if (rc == DW_OK)
        (void)sqlite3_set_authorizer(s->db[DW_QUEUE], dw_sqlite_authorize, s);
    if (rc == DW_OK)
        rc = dw_sqlite_migrate(s->db[DW_QUEUE], DW_SCHEMA_QUEUE, dw_sql_queue, dw_sql_queue_count, s->create,
                               s->queue_path, err);
    return rc;
}

static int open_state_db(struct dw_sqlite *s, struct dw_err *err)
{
    int rc = dw_file_make(s->state_path, s->state_dir, err);

    note_file(s->state_path, &s->state_id[DW_STATE_DB]); /* before it is opened: at worst it is opened twice */
    if (rc == DW_OK)
        rc = dw_sqlite_connect(s->state_path, s, &s->db[DW_STATE], err);
    if (rc == DW_OK)
        rc = dw_sqlite_migrate(s->db[DW_STATE], DW_SCHEMA_STATE, dw_sql_state, dw_sql_state_count, true, s->state_path,
                               err);
    return rc;
}

static int open_claims(struct dw_sqlite *s, struct dw_err *err)
{
    int rc = dw_claims_open(&s->claims, s->claims_path, s->state_dir, err);

    note_file(s->claims_path, &s->state_id[DW_STATE_CLAIMS]);
    return rc;
}

/* A damaged file of the state is put aside, to be looked at, and made anew: it is expendable by design.  Only
 * the file that was found damaged: another process may have been quicker. */
static bool set_aside(const char *path, const struct dw_file_id *id, const char *why)
{
    static const char *const parts[] = {"-wal", "-shm", ""}; /* a WAL left behind would be read into the new file */
    char from[4096];
    char to[4096];
    struct dw_file_id now;

    note_file(path, &now);
    if (now.ino != id->ino || now.dev != id->dev)
        return true;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        if (snprintf(from, sizeof from, "%s%s", path, parts[i]) >= (int)sizeof from ||
            snprintf(to, sizeof to, "%s.damaged%s", path, parts[i]) >= (int)sizeof to)
            return false;
        if (rename(from, to) != 0 && errno != ENOENT) {
            dw_log_error("%s is damaged and can't be moved away: %s", from, strerror(errno));
            return false;
        }
    }
    dw_log_error("%s is damaged and now called %s, a new one is made: %s", path, to, why);
    return true;
}

int dw_sqlite_open_state(struct dw_sqlite *s, struct dw_err *err)
{
    struct dw_err why = {0};
    int rc = dw_file_make_folder(s->state_dir, s->queue_path, err);

    if (rc == DW_OK)
        dw_file_fence(s->state_dir);
    if (rc == DW_OK)
        rc = s->damaged ? DW_CORRUPT : open_state_db(s, &why);
    if (rc == DW_CORRUPT) {
        dw_sqlite_close_db(s, DW_STATE);
        if (set_aside(s->state_path, &s->state_id[DW_STATE_DB], dw_err_say(&why, rc))) {
            s->damaged = false;
            rc = open_state_db(s, &why);
        }
    }
    if (rc == DW_OK)
        rc = open_claims(s, &why);
    if (rc == DW_CORRUPT && set_aside(s->claims_path, &s->state_id[DW_STATE_CLAIMS], dw_err_say(&why, rc)))
        rc = open_claims(s, &why);
    if (rc != DW_OK)
        return dw_err_set(err, rc, "%s", dw_err_say(&why, rc));
    rc = dw_file_open(s->lock_path, s->state_dir, &s->lock_fd, err);
    note_file(s->lock_path, &s->state_id[DW_STATE_LOCK]);
    return rc;
}

void dw_sqlite_close_db(struct dw_sqlite *s, enum dw_db db)
{
    dw_sqlite_finalize(s, db);
    if (db == DW_STATE && s->db[db] != NULL) /* on every CGI request a checkpoint would be too dear */
        (void)sqlite3_db_config(s->db[db], SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    (void)sqlite3_close(s->db[db]);
    s->db[db] = NULL;
}

/* ---- open and close ---- */

static void close_store(struct dw_store *store, bool killed)
{
    struct dw_sqlite *s = dw_sqlite_of(store);

    /* Nothing else is tidied up that a kill would leave: the worker's row stays until release. */
    if (!killed && s->housekeeper)
        (void)dw_sqlite_keep_mark(s, NULL);
    dw_sqlite_close_db(s, DW_QUEUE);
    dw_sqlite_close_db(s, DW_STATE);
    dw_claims_close(&s->claims);
    if (s->lock_fd >= 0)
        (void)close(s->lock_fd);
    free(s->queue_path);
    free(s->state_dir);
    free(s->state_path);
    free(s->claims_path);
    free(s->lock_path);
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
    .session_version = dw_sqlite_session_version,
    .session_put = dw_sqlite_session_put,
    .member_add = dw_sqlite_member_add,
    .member_remove = dw_sqlite_member_remove,
    .online = dw_sqlite_online,
    .client_update = dw_sqlite_client_update,
    .client_peek = dw_sqlite_client_peek,
    .client_get = dw_sqlite_client_get,
    .state_is_new = dw_sqlite_state_is_new,
    .clients_leave = dw_sqlite_clients_leave,
    .claim = dw_sqlite_claim,
    .arrivals = dw_sqlite_arrivals,
    .worker_join = dw_sqlite_worker_join,
    .worker_parked = dw_sqlite_worker_parked,
    .workers = dw_sqlite_workers,
    .worker_sockets = dw_sqlite_worker_sockets,
    .worker_lent = dw_sqlite_worker_lent,
    .holders = dw_sqlite_holders,
    .housekeeper = dw_sqlite_housekeeper,
    .housekeeper_leave = dw_sqlite_housekeeper_leave,
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

static char *join(const char *path, const char *suffix)
{
    size_t size = strlen(path) + strlen(suffix) + 1;
    char *joined = malloc(size);

    if (joined != NULL)
        (void)snprintf(joined, size, "%s%s", path, suffix);
    return joined;
}

static struct dw_sqlite *make(const struct dw_store_options *options)
{
    struct dw_sqlite *s = calloc(1, sizeof *s);

    if (s == NULL)
        return NULL;
    s->base.ops = &ops;
    s->claims.fd = s->lock_fd = s->worker = s->last_worker = -1;
    s->retain_ms = options->retain_ms;
    s->busy_ms = options->busy_ms;
    s->session_ms = options->session_ms;
    s->session_custom = options->session_sql == NULL || strcmp(options->session_sql, DW_SESSION_SQL) != 0;
    s->create = options->create;
    s->queue_path = strdup(options->path);
    s->session_sql = strdup(options->session_sql != NULL ? options->session_sql : "");
    s->state_dir = join(options->path, "-dw");
    s->state_path = join(options->path, "-dw/state.db");
    s->claims_path = join(options->path, "-dw/claims");
    s->lock_path = join(options->path, "-dw/lock");
    if (s->queue_path == NULL || s->session_sql == NULL || s->state_dir == NULL || s->state_path == NULL ||
        s->claims_path == NULL || s->lock_path == NULL) {
        close_store(&s->base, false);
        return NULL;
    }
    return s;
}

int dw_store_open_sqlite(const struct dw_store_options *options, struct dw_store **out, struct dw_err *err)
{
    struct dw_sqlite *s = make(options);
    int rc;

    *out = NULL;
    if (s == NULL)
        return dw_err_set(err, DW_NOMEM, "out of memory");
    rc = dw_sqlite_open_queue(s, err);
    if (rc == DW_OK)
        rc = dw_sqlite_open_state(s, err);
    if (rc == DW_OK)
        rc = dw_sqlite_attach(s, err);
    if (rc == DW_CORRUPT && dw_sqlite_is_damaged(s))
        rc = dw_sqlite_follow(s, err);
    if (rc != DW_OK) {
        close_store(&s->base, false);
        return rc;
    }
    *out = &s->base;
    return DW_OK;
}
