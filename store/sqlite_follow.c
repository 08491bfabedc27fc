/* Which queue does the state belong to, and is it still the same one?
 *
 * Anything may happen to the files while we run: a backup takes the queue's place, by another file or by
 * other content in the same one; somebody clears the state folder.  Ids are then given out again, so
 * cursors and claims must be mended before a client is served by them:
 *
 *   the queue's uuid is another           all clients are forgotten
 *   it ends before where it has been, or  restored: cursors go back to where the backup ended, answers under
 *   its newest push then is another now   way prove nothing, every client may have lost something: told
 *   only the file is another              moved or copied: nothing is lost, answers under way prove nothing
 *
 * Whoever notices first mends the state under its write lock and changes the claims file's generation, by
 * which all other stores learn of it. */
#include "base/log.h"
#include "store/sqlite_priv.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum verdict { FITS, MOVED, RESTORED, FOREIGN };

/* ---- values ---- */

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

static int get_state(struct dw_sqlite *s, const char *key, int64_t *number, struct dw_err *err)
{
    sqlite3_stmt *stmt;
    int rc = dw_sqlite_stmt(s, DW_SQL_STATE_GET, &stmt, err);

    if (rc != DW_OK)
        return rc;
    dw_sqlite_text(stmt, 1, key);
    return dw_sqlite_int(stmt, 0, number, err);
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

/* Where the queue ends, and the time of push `id` (-1: of the newest one).  `newest` (may be NULL): the same with
 * the newest one's time. */
static int read_marks(struct dw_sqlite *s, int64_t id, struct dw_mark *mark, struct dw_mark *newest, struct dw_err *err)
{
    sqlite3_stmt *stmt;
    bool row;
    int rc = dw_sqlite_stmt(s, DW_SQL_MARK, &stmt, err);

    *mark = (struct dw_mark){0};
    if (newest != NULL)
        *newest = *mark;
    if (rc != DW_OK)
        return rc;
    if (id >= 0)
        (void)sqlite3_bind_int64(stmt, 1, id);
    rc = dw_sqlite_step(stmt, &row, err);
    if (rc != DW_OK || !row)
        return rc;
    mark->id = sqlite3_column_int64(stmt, 0);
    mark->ms = sqlite3_column_int64(stmt, 1);
    if (newest != NULL)
        *newest = (struct dw_mark){mark->id, sqlite3_column_int64(stmt, 2)};
    return dw_sqlite_done(stmt, DW_OK);
}

static int read_mark(struct dw_sqlite *s, int64_t id, struct dw_mark *mark, struct dw_err *err)
{
    return read_marks(s, id, mark, NULL, err);
}

/* Does `now`, read for push `then.id`, show another past? */
static bool contradicts(const struct dw_mark *now, const struct dw_mark *then)
{
    return now->id < then->id || (now->ms != 0 && then->ms != 0 && now->ms != then->ms);
}

/* ---- how far the queue has come ---- */

int dw_sqlite_look(struct dw_sqlite *s, struct dw_err *err)
{
    struct dw_mark now, newest;
    int rc = read_marks(s, s->mark.id, &now, &newest, err);

    if (rc == DW_OK && contradicts(&now, &s->mark))
        s->suspect = true;
    if (rc == DW_OK && !s->suspect && now.id > s->mark.id)
        s->mark = newest;
    return rc;
}

int dw_sqlite_raise_end(struct dw_sqlite *s, int64_t end, struct dw_err *err)
{
    sqlite3_stmt *stmt;
    int rc = dw_sqlite_stmt(s, DW_SQL_STATE_RAISE, &stmt, err);

    if (rc != DW_OK)
        return rc;
    dw_sqlite_text(stmt, 1, "queue_end");
    (void)sqlite3_bind_int64(stmt, 2, end);
    return dw_sqlite_run(stmt, err);
}

static int put_mark(struct dw_sqlite *s, const struct dw_mark *mark, struct dw_err *err)
{
    int rc = put_state(s, "mark_id", NULL, mark->id, err);

    return rc == DW_OK ? put_state(s, "mark_ms", NULL, mark->ms, err) : rc;
}

int dw_sqlite_keep_mark(struct dw_sqlite *s, struct dw_err *err)
{
    int64_t known = 0;
    int rc = dw_sqlite_look(s, err);

    if (rc == DW_OK && !s->suspect)
        rc = get_state(s, "mark_id", &known, err);
    if (rc != DW_OK || s->suspect || s->mark.id <= known ||
        s->generation != atomic_load(dw_claims_generation(&s->claims)))
        return rc;
    rc = dw_sqlite_begin(s, DW_STATE, err);
    if (rc != DW_OK)
        return rc;
    rc = put_mark(s, &s->mark, err);
    if (rc == DW_OK)
        rc = dw_sqlite_raise_end(s, s->mark.id, err);
    return dw_sqlite_end(s, DW_STATE, rc, err);
}

/* ---- the state belongs to one queue ---- */

struct judgement {
    char uuid[64]; /* the queue's */
    enum verdict verdict;
    bool had_queue;       /* the state has belonged to a queue before */
    struct dw_mark known; /* the queue has been like this */
};

static int judge(struct dw_sqlite *s, struct judgement *j, struct dw_err *err)
{
    char known[64];
    int64_t ino = 0;
    int64_t end = 0;
    struct dw_mark now = {0};
    int rc = copy_text(s, DW_SQL_META_GET, "uuid", j->uuid, sizeof j->uuid, err);

    j->known = (struct dw_mark){0};
    if (rc == DW_OK)
        rc = copy_text(s, DW_SQL_STATE_GET, "queue_uuid", known, sizeof known, err);
    if (rc == DW_OK)
        rc = get_state(s, "queue_ino", &ino, err);
    if (rc == DW_OK)
        rc = get_state(s, "queue_end", &end, err);
    if (rc == DW_OK)
        rc = get_state(s, "mark_id", &j->known.id, err);
    if (rc == DW_OK)
        rc = get_state(s, "mark_ms", &j->known.ms, err);
    /* Unless another store has mended it since, this one may have seen more. */
    if (s->mark.id > j->known.id && s->generation == atomic_load(dw_claims_generation(&s->claims)))
        j->known = s->mark;
    if (rc == DW_OK)
        rc = read_mark(s, j->known.id, &now, err);
    if (rc != DW_OK)
        return rc;
    j->had_queue = known[0] != '\0';
    if (strcmp(j->uuid, known) != 0)
        j->verdict = FOREIGN;
    else if (now.id < end || contradicts(&now, &j->known))
        j->verdict = RESTORED;
    else if (ino != (int64_t)s->queue_id.ino)
        j->verdict = j->known.id == 0 || now.ms != 0 ? MOVED : RESTORED;
    else
        j->verdict = FITS;
    return DW_OK;
}

/* The last push that may have been there before the backup came: what was pushed since is younger than
 * everything that was seen before. */
static int restored_end(struct dw_sqlite *s, const struct dw_mark *known, int64_t *end, struct dw_err *err)
{
    sqlite3_stmt *stmt;
    int rc = dw_sqlite_store_end(&s->base, end, err);

    if (rc != DW_OK || known->ms == 0)
        return rc;
    rc = dw_sqlite_stmt(s, DW_SQL_MADE_AFTER, &stmt, err);
    if (rc != DW_OK)
        return rc;
    (void)sqlite3_bind_int64(stmt, 1, known->ms);
    return dw_sqlite_int(stmt, *end, end, err);
}

/* *clients: how many there are. */
static int set_back(struct dw_sqlite *s, int64_t end, int64_t *clients, struct dw_err *err)
{
    sqlite3_stmt *stmt;
    int rc = dw_sqlite_stmt(s, DW_SQL_CLIENT_SET_BACK, &stmt, err);

    if (rc != DW_OK)
        return rc;
    (void)sqlite3_bind_int64(stmt, 1, end);
    rc = dw_sqlite_run(stmt, err);
    *clients = sqlite3_changes64(s->db[DW_STATE]);
    return rc;
}

/* Empties the client table: its cursors are those of another queue, or there are none. */
static int forget(struct dw_sqlite *s, const char *uuid, int64_t lost_ms, struct dw_err *err)
{
    int rc = dw_sqlite_exec(s, DW_SQL_CLIENT_FREE_ALL, err);

    if (rc == DW_OK)
        rc = dw_sqlite_exec(s, DW_SQL_CLIENT_DROP_ALL, err);
    if (rc == DW_OK)
        rc = put_state(s, "queue_uuid", uuid, 0, err);
    return rc == DW_OK ? put_state(s, "lost_ms", NULL, lost_ms, err) : rc;
}

/* In a state transaction.  *clients: those that may have lost something. */
static int mend(struct dw_sqlite *s, const struct judgement *j, bool made, int64_t *clients, struct dw_err *err)
{
    struct dw_mark now;
    int64_t end = 0;
    int64_t all = 0;
    int rc;

    if (j->verdict == FOREIGN) {
        rc = forget(s, j->uuid, made || j->had_queue ? dw_clock_wall_ms() : 0, err);
    } else {
        rc = j->verdict == RESTORED ? restored_end(s, &j->known, &end, err) : dw_sqlite_store_end(&s->base, &end, err);
        if (rc == DW_OK)
            rc = set_back(s, end, &all, err);
    }
    *clients = j->verdict == RESTORED ? all : 0;
    if (rc == DW_OK && *clients > 0)
        rc = dw_sqlite_count(&s->base, "gaps", *clients, err);
    if (rc == DW_OK)
        rc = put_state(s, "queue_ino", NULL, (int64_t)s->queue_id.ino, err);
    if (rc == DW_OK)
        rc = read_mark(s, -1, &now, err);
    if (rc == DW_OK)
        rc = put_mark(s, &now, err);
    if (rc == DW_OK)
        rc = put_state(s, "queue_end", NULL, now.id, err);
    /* Whoever the queue says is here may have no client in this table. */
    if (rc == DW_OK)
        rc = dw_sqlite_presence_audit(s, err);
    /* Before the commit: those who see it wait for the lock, and nobody misses it if we die now. */
    if (rc == DW_OK)
        atomic_fetch_add(dw_claims_generation(&s->claims), 1);
    return rc;
}

static void tell(const struct judgement *j, int64_t clients)
{
    if (j->verdict == RESTORED)
        dw_log_warn("the queue was restored from a backup: its clients' places were set back to the backup's end, and "
                    "pushes made after the backup are lost for %lld of them",
                    (long long)clients);
    else if (j->verdict == MOVED)
        dw_log_info("the queue file is another than before, with the same content");
}

/* A queue that has had a state before (state_made) and finds another now has lost it: that moment is kept, for
 * dw_store_state_is_new. */
int dw_sqlite_attach(struct dw_sqlite *s, struct dw_err *err)
{
    struct judgement j;
    int64_t made = 0;
    int64_t clients = 0;
    uint32_t generation = atomic_load(dw_claims_generation(&s->claims)); /* before anything is read */
    int rc = judge(s, &j, err);

    if (rc == DW_OK)
        rc = dw_sqlite_meta(s, "state_made", &made, err);
    if (rc == DW_OK && j.verdict != FITS) {
        rc = dw_sqlite_begin(s, DW_STATE, err);
        if (rc != DW_OK)
            return rc;
        rc = judge(s, &j, err); /* another may have been quicker */
        if (rc == DW_OK && j.verdict != FITS) {
            rc = mend(s, &j, made != 0, &clients, err);
            generation = atomic_load(dw_claims_generation(&s->claims));
        }
        rc = dw_sqlite_end(s, DW_STATE, rc, err);
        if (rc == DW_OK)
            tell(&j, clients);
    }
    if (rc == DW_OK)
        rc = read_mark(s, -1, &s->mark, err);
    if (rc != DW_OK)
        return rc;
    s->generation = generation;
    s->suspect = false;
    return made == 0 ? dw_sqlite_meta_put(s, "state_made", 1, err) : DW_OK;
}

/* ---- other files ---- */

static bool is_other(const char *path, const struct dw_file_id *id)
{
    struct stat status;

    if (stat(path, &status) != 0)
        return errno == ENOENT;
    return status.st_ino != id->ino || status.st_dev != id->dev;
}

static bool state_is_other(struct dw_sqlite *s)
{
    return s->db[DW_STATE] == NULL || s->damaged || is_other(s->state_path, &s->state_id[DW_STATE_DB]) ||
           is_other(s->claims_path, &s->state_id[DW_STATE_CLAIMS]) ||
           is_other(s->lock_path, &s->state_id[DW_STATE_LOCK]);
}

/* The worker takes a number again with its next dw_store_worker_join. */
static int reopen_state(struct dw_sqlite *s, struct dw_err *err)
{
    dw_log_warn("the state of the queue was replaced: going over to what is in %s now", s->state_dir);
    dw_sqlite_close_db(s, DW_STATE);
    if (s->lock_fd >= 0)
        (void)close(s->lock_fd);
    s->lock_fd = -1;
    s->housekeeper = false;
    if (s->worker >= 0)
        s->last_worker = s->worker;
    s->worker = -1;
    s->mark = (struct dw_mark){0};
    return dw_sqlite_open_state(s, err);
}

int dw_sqlite_follow(struct dw_sqlite *s, struct dw_err *err)
{
    struct stat status;
    bool queue;
    bool state;
    int rc = DW_OK;

    if (stat(s->queue_path, &status) != 0)
        return DW_OK; /* about to be replaced, perhaps: what is open is still there */
    queue = s->db[DW_QUEUE] == NULL || status.st_ino != s->queue_id.ino || status.st_dev != s->queue_id.dev;
    s->damaged = dw_sqlite_is_damaged(s);
    state = state_is_other(s);
    if (!queue && !state && !s->suspect && s->generation == atomic_load(dw_claims_generation(&s->claims)))
        return DW_OK;
    s->version_known = false; /* what comes now counts from its own beginning */
    s->moves++;
    if (queue) {
        dw_sqlite_close_db(s, DW_QUEUE);
        rc = dw_sqlite_open_queue(s, err);
    }
    if (rc == DW_OK && state)
        rc = reopen_state(s, err);
    if (rc == DW_OK)
        rc = dw_sqlite_attach(s, err);
    if (rc != DW_OK) { /* tried again at the next call */
        dw_sqlite_close_db(s, DW_QUEUE);
        if (s->lock_fd < 0)
            dw_sqlite_close_db(s, DW_STATE);
    }
    return rc;
}
