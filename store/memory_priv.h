/* Private to store/memory*.c: the world that memory stores share, plain arrays under one lock. */
#ifndef DW_STORE_MEMORY_PRIV_H
#define DW_STORE_MEMORY_PRIV_H

#include "base/clock.h"
#include "store/claims.h"
#include "store/ops.h"
#include "store/store.h"

#include <pthread.h>

/* A growing array of rows of one type; the rows move when it grows, their strings don't. */
#define DW_ROWS(type)                                                                                                  \
    struct {                                                                                                           \
        type *at;                                                                                                      \
        size_t count, cap;                                                                                             \
    }

struct dw_mem_push {
    int64_t id, created_at;
    char *uid, *client_id, *room, *event, *data, *format;
    size_t data_len;
};
struct dw_mem_member { /* member for since_id < id <= until_id; INT64_MAX: still is */
    char *room, *uid;
    int64_t since_id, until_id;
};
struct dw_mem_inbox {
    int64_t id, received_at;
    char *uid, *client_id, *event, *data, *format, *packer, *raw;
    size_t data_len, raw_len;
    bool wants_reply;
};
struct dw_mem_reply {
    int64_t id, inbox_id, created_at;
    char *data, *format;
    size_t data_len;
};
struct dw_mem_session {
    char *sid, *uid, *csrf_token, *handshake_data;
    int64_t expires_at;
};
struct dw_mem_online {
    char *uid;
    int64_t ws, ajax, since;
};
struct dw_mem_client {
    enum dw_transport transport;
    char *uid, *client_id;
    struct dw_client client;
};
struct dw_mem_worker {
    bool known, alive;
    int64_t pid, started_ms;
    uint32_t parked, lent;
};
struct dw_mem_counter {
    char *name;
    int64_t value;
};
struct dw_mem_uid {
    char *uid;
};

#define DW_MEM_WORKERS 64
#define DW_MEM_SLOTS 65536

struct dw_memory {
    pthread_mutex_t lock; /* recursive: client_update's callback reads the queue */
    int stores;
    int64_t end, horizon, inbox_end, reply_end;
    DW_ROWS(struct dw_mem_push) pushes;
    DW_ROWS(struct dw_mem_member) members;
    DW_ROWS(struct dw_mem_inbox) inbox;
    DW_ROWS(struct dw_mem_reply) replies;
    DW_ROWS(struct dw_mem_session) sessions;
    DW_ROWS(struct dw_mem_online) online;
    DW_ROWS(struct dw_mem_client) clients;
    DW_ROWS(struct dw_mem_uid) dirty;
    DW_ROWS(struct dw_mem_counter) counters;
    struct dw_mem_worker workers[DW_MEM_WORKERS];
    struct dw_store *housekeeper;
    uint32_t next_slot, commits, session_changes;
    _Atomic uint64_t *claims;
    struct dw_arrival_note arrivals[DW_ARRIVALS];
    dw_memory_handler *handler;
    void *handler_context;
};

struct dw_mem_store {
    struct dw_store base;
    struct dw_memory *world;
    int64_t retain_ms;
    int32_t worker;
};

static inline struct dw_mem_store *dw_mem_of(struct dw_store *store)
{
    return (struct dw_mem_store *)store;
}

/* ---- memory.c ---- */
struct dw_memory *dw_mem_lock(struct dw_store *store);
int dw_mem_unlock(struct dw_memory *world, int rc);
/* Room for one more row of `size` bytes; false: no memory. */
bool dw_mem_grow(void **rows, size_t *cap, size_t count, size_t size);
#define dw_mem_room(rows) dw_mem_grow((void **)&(rows).at, &(rows).cap, (rows).count, sizeof *(rows).at)
/* Copy of a string; NULL stays NULL; clears *ok when memory is short. */
char *dw_mem_copy(const char *text, bool *ok);
bool dw_mem_same(const char *a, const char *b);
/* Others waiting for rows shall look: a push, reply or inbox row was added. */
void dw_mem_committed(struct dw_store *store);
int dw_mem_nomem(struct dw_err *err);

/* ---- memory_check.c: what the triggers of the queue schema refuse ---- */
int dw_mem_check_push(const struct dw_push *push, struct dw_err *err);
int dw_mem_check_data(const char *data, size_t len, const char *format, struct dw_err *err);
bool dw_mem_json_valid(const char *text, size_t len);

/* ---- memory_queue.c ---- */
extern const struct dw_store_ops dw_mem_queue_ops; /* only its own functions are set */
int dw_mem_inbox_insert(struct dw_store *store, const struct dw_inbox *row, int64_t *id, struct dw_err *err);
void dw_mem_free_push(struct dw_mem_push *row);
void dw_mem_free_inbox(struct dw_mem_inbox *row);
void dw_mem_free_reply(struct dw_mem_reply *row);
int dw_mem_gc(struct dw_store *store, const struct dw_housework *work, bool *more, struct dw_err *err);

/* ---- memory_client.c ---- */
extern const struct dw_store_ops dw_mem_client_ops;

#endif
