/* The store: the event queue that apps see, and the connection table that only we see.
 *
 * One interface, several backends (sqlite, memory; tests/conformance runs over each).  Nothing above
 * this folder includes sqlite3.h or knows a table.
 *
 *   queue file  dw_push dw_inbox dw_reply dw_session dw_member dw_online   an app's own database may be it;
 *               every commit here wakes all waiting processes, so only real events are written
 *   state file  clients, workers, counters, dirty presence                 written on every poll, wakes nobody
 *   claims      one 64-bit word per client in shared memory                what the answer under way contains
 *
 * Lock order: state before queue is never held; a function takes one file's write lock at a time.
 * A `struct dw_store` is used by one thread at a time; open one per thread.  Pushes, replies and
 * inbox rows are handed to callbacks; their strings live only during the call.  A callback that
 * returns non-zero stops the reading and its value is returned; it must not call the function that
 * called it on the same store.
 *
 * All functions return DW_OK or a code of base/err.h and leave a sentence in `err` (may be NULL).
 * DW_BUSY means that another program held the lock for longer than `busy_ms`: nothing was changed.
 *
 * Claims.  An answer's content is recorded before its first byte leaves, by a compare-and-swap on the
 * client's word (epoch, end-of-answer): no database write stands between a push and its delivery, a
 * SIGKILL loses no claim (the page is the kernel's), and of two polls of one client only the newest
 * can claim.  The next request of the client tells whether the claimed answer arrived (chsk/session.h)
 * and only then the durable cursor moves. */
#ifndef DW_STORE_STORE_H
#define DW_STORE_STORE_H

#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct dw_store;

enum dw_transport { DW_AJAX, DW_WS };

/* Bounds of what clients can make the files hold; 0: none.  See docs/settings.md, limits.*. */
struct dw_store_limits {
    int64_t clients;                         /* rows of clients, connected or not */
    int64_t clients_per_uid;                 /* rows of one uid's clients that are not connected */
    int64_t inbox_rows, inbox_bytes;         /* of dw_inbox; clients without uid get half of it, all together */
    int64_t inbox_uid_rows, inbox_uid_bytes; /* of one uid, or of one client without uid */
};

struct dw_store_options {
    const char *path;        /* queue file */
    int64_t retain_ms;       /* how long pushes and absent clients are kept; inbox rows and replies at least a day */
    int busy_ms;             /* how long to wait for another program's lock, with jittered back-off */
    const char *session_sql; /* auth.session_sql */
    int session_ms;          /* how long that may run; 0: any time */
    bool create;             /* make the files and schema when missing; else DW_NOTFOUND */
    struct dw_store_limits limits;
};

/* Opens (and with `create` makes or migrates) queue, state and claims files.  `*out` is to be closed
 * with dw_store_close.  DW_NEWER: schema of a newer program; DW_NETFS: network file system; DW_DENIED,
 * DW_CORRUPT, DW_IO.  Files are created 0660, the folder 0770, less the umask. */
int dw_store_open_sqlite(const struct dw_store_options *options, struct dw_store **out, struct dw_err *err);

/* The memory twin for tests: stores opened on one world see the same data, as processes on one file
 * would. */
struct dw_memory;
struct dw_inbox;
struct dw_memory *dw_memory_new(void);
void dw_memory_free(struct dw_memory *world); /* after all its stores are closed */
int dw_store_open_memory(struct dw_memory *world, const struct dw_store_options *options, struct dw_store **out,
                         struct dw_err *err);

/* Stands in for the app's triggers on dw_inbox: called inside inbox_add and presence_sync for every new
 * row.  It may set *replied and fill `reply` with JSON; any value but DW_OK is a failed trigger. */
typedef int dw_memory_handler(void *context, const struct dw_inbox *row, bool *replied, struct dw_buf *reply);
void dw_memory_on_inbox(struct dw_memory *world, dw_memory_handler *handler, void *context);

void dw_store_close(struct dw_store *store); /* NULL is fine */
/* For tests: drops a store as SIGKILL would.  Its locks become free, nothing is tidied up. */
void dw_store_kill(struct dw_store *store);

/* ---- queue: pushes ---- */

struct dw_push {
    int64_t id;
    /* room alone, or uid, client_id, or both: that client as long as it is that user's; uid "" = clients without uid */
    const char *uid;
    const char *client_id;
    const char *room;  /* "*" = every client */
    const char *event; /* namespaced name without colon */
    const char *data;  /* NULL: event without data */
    size_t data_len;
    const char *format; /* json, edn or transit */
};
typedef int dw_push_fn(void *context, const struct dw_push *push);

/* Highest push id ever committed (0: none); survives deletion of rows. */
int dw_store_end(struct dw_store *store, int64_t *end, struct dw_err *err);

/* All pushes with id > after, ascending, at most `max`, whoever they are for.  DW_BUSY also where the queue has
 * turned out to be a restored backup: what was handed out is void, follow and read again. */
int dw_store_pushes(struct dw_store *store, int64_t after, size_t max, dw_push_fn *fn, void *context,
                    struct dw_err *err);

/* The pushes for one client (by uid, client id, '*', or a room that its uid was a member of when the
 * push was committed) with id > after, ascending, at most `max`.  `*checked` is the id up to which
 * the client now has been shown everything: the queue's end in the same snapshot, or the last id
 * handed out where `max` cut the list.  uid NULL: client without uid. */
int dw_store_mailbox(struct dw_store *store, const char *uid, const char *client_id, int64_t after, size_t max,
                     dw_push_fn *fn, void *context, int64_t *checked, struct dw_err *err);

/* The uids that were members of `room` when push `id` was committed. */
typedef int dw_uid_fn(void *context, const char *uid);
int dw_store_members(struct dw_store *store, const char *room, int64_t id, dw_uid_fn *fn, void *context,
                     struct dw_err *err);

/* Highest push id that retention has removed (0: none): a cursor below it may have missed something. */
int dw_store_horizon(struct dw_store *store, int64_t *horizon, struct dw_err *err);

/* Adds a push as an app's INSERT would; `*id` (may be NULL) receives its id.  DW_INVALID with the
 * trigger's sentence. */
int dw_store_push(struct dw_store *store, const struct dw_push *push, int64_t *id, struct dw_err *err);

/* ---- queue: inbox and replies ---- */

struct dw_inbox {
    int64_t id;            /* out */
    const char *uid;       /* NULL: none */
    const char *client_id; /* NULL: none (server-side events) */
    const char *event;
    const char *data; /* NULL: event without data; text in `format` */
    size_t data_len;
    const char *format; /* json or edn */
    bool wants_reply;
    int64_t received_at; /* Unix ms; out for readers */
    const char *packer;  /* what the client packed it with; NULL: not from a client */
    const void *raw;     /* the client's own bytes, so that nothing is lost in `data`; NULL: none */
    size_t raw_len;
};
typedef int dw_inbox_fn(void *context, const struct dw_inbox *row);

struct dw_reply {
    int64_t id; /* order of commit */
    int64_t inbox_id;
    const char *data; /* NULL: nil */
    size_t data_len;
    const char *format;
};
typedef int dw_reply_fn(void *context, const struct dw_reply *reply);

/* Adds what a client sent.  Where a trigger of the app answers in the same transaction, `fn` is called
 * with that reply after the commit.  DW_HANDLER: the app's trigger failed, nothing was stored.  DW_QUOTA: its
 * uid (or the client, where it has none) has as much in the inbox as it may; DW_CROWDED: all together have.
 * Several threads at once may each add one row beyond that. */
int dw_store_inbox_add(struct dw_store *store, const struct dw_inbox *row, int64_t *id, dw_reply_fn *fn, void *context,
                       struct dw_err *err);
/* Rows with id > after, ascending, at most `max`. */
int dw_store_inbox(struct dw_store *store, int64_t after, size_t max, dw_inbox_fn *fn, void *context,
                   struct dw_err *err);

int dw_store_reply(struct dw_store *store, int64_t inbox_id, const char *data, size_t data_len, const char *format,
                   struct dw_err *err);
/* Highest reply id ever committed; replies with id > after, ascending; the reply to one row, if any. */
int dw_store_reply_end(struct dw_store *store, int64_t *end, struct dw_err *err);
int dw_store_replies(struct dw_store *store, int64_t after, size_t max, dw_reply_fn *fn, void *context,
                     struct dw_err *err);
int dw_store_reply_get(struct dw_store *store, int64_t inbox_id, dw_reply_fn *fn, void *context, struct dw_err *err);

/* ---- queue: sessions, presence ---- */

struct dw_session {
    bool found;
    struct dw_buf uid; /* has_uid tells NULL from "" */
    bool has_uid;
    struct dw_buf csrf_token;
    bool has_csrf_token;
    struct dw_buf handshake_data; /* JSON */
    bool has_handshake_data;
    int64_t expires_at; /* Unix ms, later than the look-up; 0: never */
};
/* A query of three columns does not say when the session ends: it is asked again after this time. */
#define DW_SESSION_UNTOLD_MS 20000
/* Longest values of a session, in bytes. */
#define DW_SESSION_UID_MAX 255
#define DW_SESSION_TOKEN_MAX 1024
#define DW_SESSION_DATA_MAX 65536

void dw_session_fini(struct dw_session *session);
/* Runs session_sql with :sid and :now_ms; no row, or one that has expired, leaves found = false. `session` is
 * overwritten.  DW_CONF: the query does more than read, has other parameters or columns, or gives what is too long;
 * DW_TIMEOUT: it took longer than session_ms. */
int dw_store_session(struct dw_store *store, const char *sid, int64_t now_ms, struct dw_session *session,
                     struct dw_err *err);
/* As of the last dw_store_version: changes when a session may have ended before its time or belong to another uid
 * now.  Exactly so while session_sql is the default, else with every commit to the queue. */
uint32_t dw_store_session_version(const struct dw_store *store);

struct dw_online {
    const char *uid;
    int64_t ws, ajax, since;
};
typedef int dw_online_fn(void *context, const struct dw_online *row);
int dw_store_online(struct dw_store *store, dw_online_fn *fn, void *context, struct dw_err *err);

/* ---- what apps do by SQL, for tests and tools (the same triggers apply) ---- */

/* Joining a room twice and leaving one that the uid is not in are no errors. */
int dw_store_member_add(struct dw_store *store, const char *room, const char *uid, struct dw_err *err);
int dw_store_member_remove(struct dw_store *store, const char *room, const char *uid, struct dw_err *err);
/* Adds or replaces a row of dw_session; NULL = SQL NULL, expires_at 0 = never. */
int dw_store_session_put(struct dw_store *store, const char *sid, const char *uid, const char *csrf_token,
                         const char *handshake_data, int64_t expires_at, struct dw_err *err);

/* ---- state: clients ---- */

struct dw_client_key {
    enum dw_transport transport;
    const char *uid; /* NULL: none */
    const char *client_id;
};

/* What is remembered of a client between its requests.  chsk/session.c decides what is in it. */
struct dw_client {
    uint32_t slot;      /* its claim word; given by the store, 0 until the row exists */
    uint32_t epoch;     /* number of its newest request, 20 bits; older requests can't claim */
    int64_t cursor;     /* push id up to which receipt is proven */
    int64_t udt;        /* the client's own clock in its last request */
    int64_t seen_ms;    /* wall clock of its last request */
    int64_t due_ms;     /* when it counts as gone if nothing is heard from it, while connected; monotonic clock */
    uint8_t generation; /* envelope generation 1..3, 0 = not known yet */
    bool connected;     /* counts for presence */
    int32_t worker;     /* slot of the worker that has its newest request or socket, -1 = none */
    char packer[24];    /* "" = the default */
};

/* Loads the client's row under the state file's write lock, lets `fn` change it, stores it, commits.
 * `found` = false: the row is new (zeroed but for slot, and for epoch where the slot was another's: never 0 there,
 * and fn has to count on from it, so that the other's claims are old ones).  `claim` is the client's claim word as
 * it is now.  fn returns DW_OK to store, any other code to roll back (returned).  fn may read the queue through
 * `store`.  A change of `connected` marks the uid's presence dirty in the same transaction.
 * Where its uid has as many absent clients as it may, or all slots are taken, a new client gets the slot of the one
 * that has been absent for longest (dw_store_clients_replaced); DW_CROWDED: nobody is absent. */
typedef int dw_client_fn(void *context, struct dw_client *client, bool found, uint64_t claim);
int dw_store_client_update(struct dw_store *store, const struct dw_client_key *key, dw_client_fn *fn, void *context,
                           struct dw_err *err);
/* The same for a client that has a row: DW_NOTFOUND where it has none (any more), without calling `fn` and without
 * taking a place that another client would have to give up. */
int dw_store_client_change(struct dw_store *store, const struct dw_client_key *key, dw_client_fn *fn, void *context,
                           struct dw_err *err);
/* Reads a client's row and claim word; DW_NOTFOUND if it has no row.  Within dw_client_fn: under the same lock. */
int dw_store_client_peek(struct dw_store *store, const struct dw_client_key *key, struct dw_client *client,
                         uint64_t *claim, struct dw_err *err);
/* Reads the row of this (uid, client id) over any transport, Ajax first; DW_NOTFOUND if there is none. */
int dw_store_client_get(struct dw_store *store, const char *uid, const char *client_id, struct dw_client *client,
                        struct dw_err *err);
/* How many absent clients this store has forgotten, to give their slots to new ones. */
uint64_t dw_store_clients_replaced(const struct dw_store *store);
/* Counts the clients of `uid` that are connected, but for `except`, as far as `max`; a client that changes its
 * transport may count twice.  Meant for dw_client_fn: under the same lock. */
int dw_store_clients_connected(struct dw_store *store, const char *uid, const char *except, int64_t max, int64_t *count,
                               struct dw_err *err);
/* True when the state file was lost and made anew later than the queue file, less than retain_ms ago:
 * a client that is not in it may still be owed what is retained. */
int dw_store_state_is_new(struct dw_store *store, int64_t now_ms, bool *is_new, struct dw_err *err);

struct dw_departed {
    enum dw_transport transport;
    const char *uid, *client_id;
    uint32_t slot, epoch;
};
/* Marks those clients as no longer connected that have made no newer request (same epoch).  Their
 * seen_ms becomes now_ms: retention of an absent client counts from its leaving. */
int dw_store_clients_leave(struct dw_store *store, const struct dw_departed *departed, size_t count, int64_t now_ms,
                           struct dw_err *err);

/* ---- claims: any thread, no locks, never fail ---- */

#define DW_EPOCH_BITS 20
#define DW_EPOCH_MASK ((1u << DW_EPOCH_BITS) - 1)
#define DW_CLAIM_NONE (-1)

/* Word of request `epoch` with an answer that ends at push `upto` (DW_CLAIM_NONE: none yet). */
uint64_t dw_claim_word(uint32_t epoch, int64_t upto);
uint32_t dw_claim_epoch(uint64_t word);
int64_t dw_claim_upto(uint64_t word);
bool dw_claim_is_sent(uint64_t word);

/* Makes (epoch, upto) the client's word; false: it belongs to a newer epoch already, send no events. */
bool dw_store_claim_begin(struct dw_store *store, uint32_t slot, uint32_t epoch, int64_t upto);
/* Turns (epoch, none) into (epoch, upto); false: superseded or answered already, send no events. */
bool dw_store_claim_answer(struct dw_store *store, uint32_t slot, uint32_t epoch, int64_t upto);
/* The whole answer of request `epoch` has been handed to the web server. */
void dw_store_claim_sent(struct dw_store *store, uint32_t slot, uint32_t epoch);
uint64_t dw_store_claim_read(struct dw_store *store, uint32_t slot);

/* ---- arrival notes: any thread, no locks, never fail ----
 *
 * A poll is the client's only receipt for the answer before.  A worker that is killed between reading a
 * poll and committing what it proves would take the receipt with it, and the answer would be sent twice.
 * So the arrival is noted in shared memory first.  The processing of the poll binds its note to the
 * request number that it follows (which the commit makes an old one); a note that is still valid for
 * the client's newest request when a handshake comes says that a poll was here and died.
 * A note may be lost to another client's, never taken for it. */

/* Notes that a poll with this key (not 0: client, cookie and user, hashed) and client clock has come. */
void dw_store_arrival_note(struct dw_store *store, uint64_t key, int64_t udt);
/* Binds the note of that poll to the request that it follows. */
void dw_store_arrival_bind(struct dw_store *store, uint64_t key, uint32_t epoch);
/* True: a poll with this key has come and follows request `epoch`; `*udt` is its client clock. */
bool dw_store_arrival_find(struct dw_store *store, uint64_t key, uint32_t epoch, int64_t *udt);

/* ---- state: workers, housekeeping ---- */

#define DW_WORKERS_MAX 1024

/* Takes a free worker slot and its byte of the lock file until the store is closed or the process
 * dies.  One per process; other stores of the process use the number.  `parked` of all live workers
 * can be read and set without a lock. */
int dw_store_worker_join(struct dw_store *store, int32_t *worker, struct dw_err *err);
void dw_store_worker_parked(struct dw_store *store, int32_t worker, uint32_t parked);
/* Adds `change` to the number of polls that others hold for that worker, and returns what it is then: never
 * below 0 or above DW_LENT_MAX.  Any thread, without a lock; whoever holds a poll counts it down again. */
#define DW_LENT_MAX 255
uint32_t dw_store_worker_lent(struct dw_store *store, int32_t worker, int change);
struct dw_worker {
    int32_t worker;
    int64_t pid, started_ms;
    uint32_t parked; /* polls and callbacks that it holds, ... */
    uint32_t lent;   /* ... and polls of its own that another worker holds */
    bool alive;
};
typedef int dw_worker_fn(void *context, const struct dw_worker *worker);
int dw_store_workers(struct dw_store *store, dw_worker_fn *fn, void *context, struct dw_err *err);
/* Number of WebSocket clients that are connected to that worker, or were when it died. */
int dw_store_worker_sockets(struct dw_store *store, int32_t worker, int64_t *sockets, struct dw_err *err);
/* Number of live workers that hold at least one parked poll or have lent one, not counting `except`. */
int dw_store_holders(struct dw_store *store, int32_t except, uint32_t *holders, struct dw_err *err);

/* Tries to become the housekeeper of this queue; false while another process is.  Held until left or closed. */
bool dw_store_housekeeper(struct dw_store *store);
void dw_store_housekeeper_leave(struct dw_store *store);

/* What a step has done; added to. */
struct dw_removed {
    int64_t pushes, inbox, replies, sessions; /* rows past retention, expired sessions */
    int64_t memberships;                      /* past ones that no push is left for */
    int64_t clients;                          /* forgotten: absent for longer than retain_ms */
    int64_t departed;                         /* no longer counted as connected */
    int64_t workers;                          /* dead ones */
};
struct dw_housework {
    int64_t now_ms; /* wall clock */
    int64_t up_ms;  /* monotonic clock, the same for all processes of the machine */
    int64_t grace_ajax_ms, grace_ws_ms;
    size_t chunk;               /* rows a step may delete */
    bool idle;                  /* nothing happened lately: a checkpoint may wait for readers */
    int64_t wal_least;          /* bytes: a smaller WAL is left for later, it costs nobody anything */
    struct dw_removed *removed; /* release and gc count here; NULL: nobody asks */
};
/* Presence: brings dw_online and the chsk/uidport-* rows in line with the client table for every dirty
 * uid, exactly once per real change, whoever calls it.  `*more`: call again. */
int dw_store_presence_sync(struct dw_store *store, int64_t now_ms, bool *more, struct dw_err *err);
/* One bounded step each: clients of dead workers and overdue clients are released; rows past retention
 * are deleted; the WALs are checkpointed.  `*more`: there is more of it to do now. */
int dw_store_release(struct dw_store *store, const struct dw_housework *work, bool *more, struct dw_err *err);
int dw_store_gc(struct dw_store *store, const struct dw_housework *work, bool *more, struct dw_err *err);
int dw_store_checkpoint(struct dw_store *store, const struct dw_housework *work, struct dw_err *err);
/* How long from `work`'s times until release has something to do, INT64_MAX: nothing. */
int dw_store_release_due(struct dw_store *store, const struct dw_housework *work, int64_t *wait_ms, struct dw_err *err);

/* Counters in the state file, for `status`: added to, never reset. */
int dw_store_count(struct dw_store *store, const char *name, int64_t add, struct dw_err *err);
typedef int dw_counter_fn(void *context, const char *name, int64_t value);
int dw_store_counters(struct dw_store *store, dw_counter_fn *fn, void *context, struct dw_err *err);

struct dw_store_figures {
    int64_t pushes, inbox, replies, online, sessions; /* rows */
    int64_t clients, connected, ajax, ws;             /* remembered; connected: in all, and by transport */
    int64_t end, inbox_end, horizon;                  /* highest push and inbox ids ever, dw_store_horizon */
    int64_t state_lost_ms;                            /* when a lost state file was made anew; 0: never */
    int64_t queue_bytes, wal_bytes, state_bytes, state_wal_bytes; /* of the files; 0 for memory */
};
int dw_store_figures(struct dw_store *store, struct dw_store_figures *figures, struct dw_err *err);

/* Other files may take the place of the queue or the state (a restored backup, a cleared folder), or a backup
 * that of the queue's content: goes over to them.  `*moves` counts how often this store has done so; ids, cursors
 * and claim slots from before then mean nothing any more, and dw_store_worker_join has to be called again.
 * A damaged file of the state is put aside.  Costs four stat(2).  Call it before serving a request;
 * dw_store_version, dw_store_client_update and dw_store_client_change do it too. */
int dw_store_follow(struct dw_store *store, uint32_t *moves, struct dw_err *err);

/* ---- wake-up (store/wake.h builds on these) ---- */

/* Changes when a push, reply or inbox row has been committed, by any program and by this store too (a leading
 * doorbell rings for the others, who can't see what its own store commits in any other way); cheap while
 * nothing at all was committed.  Other commits don't change it.
 * DW_BUSY is no answer: keep the old value. */
int dw_store_version(struct dw_store *store, uint32_t *version, struct dw_err *err);
/* Paths of the queue file and of the folder with state, lock and bell files; NULL for memory. */
const char *dw_store_queue_path(const struct dw_store *store);
const char *dw_store_state_dir(const struct dw_store *store);

#endif
