/* Private to store/sqlite*.c: the backend's state and the helpers that its files share.  The only header
 * that includes sqlite3.h. */
#ifndef DW_STORE_SQLITE_PRIV_H
#define DW_STORE_SQLITE_PRIV_H

#include "base/clock.h"
#include "store/claims.h"
#include "store/locks.h"
#include "store/migrate.h"
#include "store/netfs.h"
#include "store/ops.h"
#include "store/sqlite_sql.h"
#include "store/store.h"

#include <sqlite3.h>
#include <sys/types.h>

enum dw_db { DW_QUEUE, DW_STATE, DW_DBS };

/* Which file a path named when it was opened. */
struct dw_file_id {
    dev_t dev;
    ino_t ino; /* 0: none */
};

enum dw_state_file { DW_STATE_DB, DW_STATE_CLAIMS, DW_STATE_LOCK, DW_STATE_FILES };

/* The newest push at some moment.  Ids are given out again where a backup is restored; a push's time is not. */
struct dw_mark {
    int64_t id, ms; /* ms 0: not known, the row is gone */
};

struct dw_sqlite {
    struct dw_store base;
    char *queue_path, *state_dir, *state_path, *claims_path, *lock_path, *session_sql;
    int64_t retain_ms;
    int busy_ms;           /* budget of the busy handler */
    int64_t busy_since_us; /* when the wait under way began */
    bool create;
    sqlite3 *db[DW_DBS]; /* NULL: could not be opened again after the file was replaced */
    sqlite3_stmt *stmt[DW_SQL_COUNT_OF];
    sqlite3_stmt *session_stmt;
    int session_ms;                             /* how long it may run; 0: any time */
    bool session_custom;                        /* it is not the default: any table may decide */
    bool guarded;                               /* what is compiled or run now is session_sql */
    bool guard_overdue;                         /* it took too long */
    int64_t guard_until_us;                     /* monotonic */
    char guard_refused[128];                    /* what it tried; "": nothing */
    struct dw_file_id queue_id;                 /* what is open, to notice that another file took its place */
    struct dw_file_id state_id[DW_STATE_FILES]; /* likewise */
    struct dw_mark mark;                        /* of the queue when it was last looked at */
    uint32_t generation;                        /* of the claims file, when the queue was attached */
    bool suspect;                               /* the queue's content may be that of a backup */
    bool damaged;                               /* the state file is */
    unsigned data_version;                      /* as of the last dw_store_version, whose answers are `news` */
    int64_t rows_added; /* what dw_store_version compares: rises with every push, reply and inbox row */
    bool version_known; /* data_version and rows_added are of the file that is open */
    uint32_t news;
    int64_t session_changes; /* as of then, and what dw_store_session_version says */
    uint32_t session_news;
    uint32_t moves; /* how often another file or content has taken the queue's or the state's place */
    struct dw_claims claims;
    int lock_fd;
    int32_t worker;      /* -1: not joined */
    int32_t last_worker; /* what it was before the state was lost; -1: none */
    bool housekeeper;
    bool audited; /* set with the next, which is for once */
    bool audit;   /* presence is to be compared once, a power cut may have split the two files */
};

static inline struct dw_sqlite *dw_sqlite_of(struct dw_store *store)
{
    return (struct dw_sqlite *)store;
}

/* ---- sqlite_stmt.c: statements, errors, transactions ---- */

/* Our code for an SQLite result code. */
int dw_sqlite_code(int rc);
/* Records what the connection reports; returns our code for `rc`. */
int dw_sqlite_fail(sqlite3 *db, int rc, struct dw_err *err);
/* What was last asked of the state file failed since it is damaged: dw_sqlite_follow puts it aside. */
bool dw_sqlite_is_damaged(const struct dw_sqlite *s);
/* The statement, reset and without bindings. */
int dw_sqlite_stmt(struct dw_sqlite *s, enum dw_sql id, sqlite3_stmt **stmt, struct dw_err *err);
/* Steps once: *row tells whether there is one.  Resets the statement at its end and on failure. */
int dw_sqlite_step(sqlite3_stmt *stmt, bool *row, struct dw_err *err);
/* Steps a statement that gives no rows, and resets it. */
int dw_sqlite_run(sqlite3_stmt *stmt, struct dw_err *err);
/* Resets it and passes `rc` on: for leaving a loop over rows early. */
int dw_sqlite_done(sqlite3_stmt *stmt, int rc);
/* Runs a statement without parameters or rows. */
int dw_sqlite_exec(struct dw_sqlite *s, enum dw_sql id, struct dw_err *err);
/* First column of the first row of an unbound or bound statement; `none` where there is no row or it is NULL. */
int dw_sqlite_int(sqlite3_stmt *stmt, int64_t none, int64_t *value, struct dw_err *err);
/* Binds a string that outlives the statement's run; NULL = SQL NULL. */
void dw_sqlite_text(sqlite3_stmt *stmt, int index, const char *text);
void dw_sqlite_bytes(sqlite3_stmt *stmt, int index, const char *text, size_t len);
const char *dw_sqlite_column(sqlite3_stmt *stmt, int column);
void dw_sqlite_finalize(struct dw_sqlite *s, enum dw_db db);

int dw_sqlite_begin(struct dw_sqlite *s, enum dw_db db, struct dw_err *err);
/* One snapshot of the queue for several statements; ended by dw_sqlite_end as soon as possible. */
int dw_sqlite_read(struct dw_sqlite *s, struct dw_err *err);
/* Commits when rc is DW_OK (and rolls back if that fails), else rolls back; returns the outcome. */
int dw_sqlite_end(struct dw_sqlite *s, enum dw_db db, int rc, struct dw_err *err);

/* ---- sqlite_open.c ---- */

/* Opens one file with our settings; `busy` waits in its handler. */
int dw_sqlite_connect(const char *path, struct dw_sqlite *busy, sqlite3 **db, struct dw_err *err);
int dw_sqlite_open_queue(struct dw_sqlite *s, struct dw_err *err);
/* Opens the state folder's three files; damaged ones are put aside and made anew. */
int dw_sqlite_open_state(struct dw_sqlite *s, struct dw_err *err);
void dw_sqlite_close_db(struct dw_sqlite *s, enum dw_db db);

/* ---- sqlite_follow.c ---- */

/* Ties the state to the queue, and mends it where the queue is another or was restored. */
int dw_sqlite_attach(struct dw_sqlite *s, struct dw_err *err);
/* Notices that other files took the place of the queue or the state, or a backup that of the queue's content,
 * and moves over to it.  Not inside a transaction. */
int dw_sqlite_follow(struct dw_sqlite *s, struct dw_err *err);
/* Compares the queue with what was seen of it last; sets `suspect`. */
int dw_sqlite_look(struct dw_sqlite *s, struct dw_err *err);
/* Writes down in the state how far the queue has come; the housekeeper's. */
int dw_sqlite_keep_mark(struct dw_sqlite *s, struct dw_err *err);
/* A client has proven receipt up to here: the queue has been that far.  In a state transaction. */
int dw_sqlite_raise_end(struct dw_sqlite *s, int64_t end, struct dw_err *err);

/* ---- sqlite_migrate.c ---- */

/* Version of the tables that are in the file; 0: none of ours. */
int dw_sqlite_schema(sqlite3 *db, enum dw_schema schema, int64_t *version, struct dw_err *err);
int dw_sqlite_migrate(sqlite3 *db, enum dw_schema schema, const struct dw_migration *list, size_t count, bool create,
                      const char *path, struct dw_err *err);

/* ---- the operations, by topic ---- */

/* sqlite_queue.c */
int dw_sqlite_sequence(struct dw_sqlite *s, const char *table, int64_t *value, struct dw_err *err);
int dw_sqlite_meta(struct dw_sqlite *s, const char *key, int64_t *value, struct dw_err *err);
int dw_sqlite_meta_put(struct dw_sqlite *s, const char *key, int64_t value, struct dw_err *err);
int dw_sqlite_store_end(struct dw_store *store, int64_t *end, struct dw_err *err);
int dw_sqlite_pushes(struct dw_store *store, int64_t after, size_t max, dw_push_fn *fn, void *context,
                     struct dw_err *err);
int dw_sqlite_mailbox(struct dw_store *store, const char *uid, const char *client_id, int64_t after, size_t max,
                      dw_push_fn *fn, void *context, int64_t *checked, struct dw_err *err);
int dw_sqlite_members(struct dw_store *store, const char *room, int64_t id, dw_uid_fn *fn, void *context,
                      struct dw_err *err);
int dw_sqlite_horizon(struct dw_store *store, int64_t *horizon, struct dw_err *err);
int dw_sqlite_push(struct dw_store *store, const struct dw_push *push, int64_t *id, struct dw_err *err);
int dw_sqlite_version(struct dw_store *store, uint32_t *version, struct dw_err *err);

/* sqlite_inbox.c */
/* Once a day: mends what dw_inbox_load says. */
int dw_sqlite_inbox_recount(struct dw_sqlite *s, int64_t now_ms, struct dw_err *err);
int dw_sqlite_inbox_add(struct dw_store *store, const struct dw_inbox *row, int64_t *id, dw_reply_fn *fn, void *context,
                        struct dw_err *err);
int dw_sqlite_inbox(struct dw_store *store, int64_t after, size_t max, dw_inbox_fn *fn, void *context,
                    struct dw_err *err);
int dw_sqlite_reply(struct dw_store *store, int64_t inbox_id, const char *data, size_t data_len, const char *format,
                    struct dw_err *err);
int dw_sqlite_reply_end(struct dw_store *store, int64_t *end, struct dw_err *err);
int dw_sqlite_replies(struct dw_store *store, int64_t after, size_t max, dw_reply_fn *fn, void *context,
                      struct dw_err *err);
int dw_sqlite_reply_get(struct dw_store *store, int64_t inbox_id, dw_reply_fn *fn, void *context, struct dw_err *err);

/* sqlite_guard.c */
/* SQLite's authorizer callback, for the whole life of the queue's connection. */
int dw_sqlite_authorize(void *context, int action, const char *one, const char *two, const char *database,
                        const char *within);
/* Makes session_stmt, once all that is asked of the query has been checked. */
int dw_sqlite_session_prepare(struct dw_sqlite *s, struct dw_err *err);
/* Steps it once, for at most session_ms; resets it where there is no row. */
int dw_sqlite_session_step(struct dw_sqlite *s, bool *row, struct dw_err *err);

/* sqlite_session.c */
uint32_t dw_sqlite_session_version(const struct dw_store *store);
int dw_sqlite_session(struct dw_store *store, const char *sid, int64_t now_ms, struct dw_session *session,
                      struct dw_err *err);
int dw_sqlite_session_put(struct dw_store *store, const char *sid, const char *uid, const char *csrf_token,
                          const char *handshake_data, int64_t expires_at, struct dw_err *err);
int dw_sqlite_member_add(struct dw_store *store, const char *room, const char *uid, struct dw_err *err);
int dw_sqlite_member_remove(struct dw_store *store, const char *room, const char *uid, struct dw_err *err);

/* sqlite_presence.c */
int dw_sqlite_online(struct dw_store *store, dw_online_fn *fn, void *context, struct dw_err *err);
int dw_sqlite_presence_sync(struct dw_store *store, int64_t now_ms, bool *more, struct dw_err *err);
/* Marks every uid that is in dw_online or has a connected client; inside a state transaction. */
int dw_sqlite_presence_audit(struct dw_sqlite *s, struct dw_err *err);

/* sqlite_client.c */
/* Key of a row as SQL sees it: uid is text or the integer 0. */
void dw_sqlite_bind_key(sqlite3_stmt *stmt, const char *client_id, const char *uid, int transport);
int dw_sqlite_dirty(struct dw_sqlite *s, const char *uid, struct dw_err *err);
int dw_sqlite_client_update(struct dw_store *store, const struct dw_client_key *key, bool known, dw_client_fn *fn,
                            void *context, struct dw_err *err);
int dw_sqlite_client_peek(struct dw_store *store, const struct dw_client_key *key, struct dw_client *client,
                          uint64_t *claim, struct dw_err *err);
int dw_sqlite_client_get(struct dw_store *store, const char *uid, const char *client_id, struct dw_client *client,
                         struct dw_err *err);
int dw_sqlite_clients_connected(struct dw_store *store, const char *uid, const char *except, int64_t max,
                                int64_t *count, struct dw_err *err);
int dw_sqlite_state_is_new(struct dw_store *store, int64_t now_ms, bool *is_new, struct dw_err *err);
int dw_sqlite_clients_leave(struct dw_store *store, const struct dw_departed *departed, size_t count, int64_t now_ms,
                            struct dw_err *err);
struct dw_arrival_note *dw_sqlite_arrivals(struct dw_store *store);
_Atomic uint64_t *dw_sqlite_claim(struct dw_store *store, uint32_t slot);

/* sqlite_worker.c */
int dw_sqlite_worker_join(struct dw_store *store, int32_t *worker, struct dw_err *err);
void dw_sqlite_worker_parked(struct dw_store *store, int32_t worker, uint32_t parked);
int dw_sqlite_workers(struct dw_store *store, dw_worker_fn *fn, void *context, struct dw_err *err);
int dw_sqlite_worker_sockets(struct dw_store *store, int32_t worker, int64_t *sockets, struct dw_err *err);
uint32_t dw_sqlite_worker_lent(struct dw_store *store, int32_t worker, int change);
int dw_sqlite_holders(struct dw_store *store, int32_t except, uint32_t *holders, struct dw_err *err);
bool dw_sqlite_housekeeper(struct dw_store *store);
void dw_sqlite_housekeeper_leave(struct dw_store *store);
/* Gives the clients of workers that are gone their grace period; adds to *buried how many workers these were. */
int dw_sqlite_bury(struct dw_sqlite *s, int64_t due_ajax_ms, int64_t due_ws_ms, int64_t *buried, struct dw_err *err);
int dw_sqlite_count(struct dw_store *store, const char *name, int64_t add, struct dw_err *err);
int dw_sqlite_counters(struct dw_store *store, dw_counter_fn *fn, void *context, struct dw_err *err);
int dw_sqlite_figures(struct dw_store *store, struct dw_store_figures *figures, struct dw_err *err);

/* sqlite_house.c */
int dw_sqlite_release(struct dw_store *store, const struct dw_housework *work, bool *more, struct dw_err *err);
int dw_sqlite_release_due(struct dw_store *store, const struct dw_housework *work, int64_t *wait_ms,
                          struct dw_err *err);
int dw_sqlite_gc(struct dw_store *store, const struct dw_housework *work, bool *more, struct dw_err *err);
int dw_sqlite_checkpoint(struct dw_store *store, const struct dw_housework *work, struct dw_err *err);
int64_t dw_sqlite_file_size(const char *path, const char *suffix);

#endif
