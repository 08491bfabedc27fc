/* Private to store/: the table of functions that makes a backend.  store.c forwards to it; see store.h
 * for what each must do.  A backend embeds `struct dw_store` as its first member. */
#ifndef DW_STORE_OPS_H
#define DW_STORE_OPS_H

#include "store/claims.h"
#include "store/store.h"

#include <stdatomic.h>

/* dw_store_worker_lent's arithmetic. */
static inline uint32_t dw_lent_after(uint32_t lent, int change)
{
    if (change < 0)
        return lent > (uint32_t)-change ? lent - (uint32_t)-change : 0;
    return lent + (uint32_t)change > DW_LENT_MAX ? DW_LENT_MAX : lent + (uint32_t)change;
}

struct dw_store_ops {
    void (*close)(struct dw_store *store, bool killed);

    int (*end)(struct dw_store *store, int64_t *end, struct dw_err *err);
    int (*pushes)(struct dw_store *store, int64_t after, size_t max, dw_push_fn *fn, void *context, struct dw_err *err);
    int (*mailbox)(struct dw_store *store, const char *uid, const char *client_id, int64_t after, size_t max,
                   dw_push_fn *fn, void *context, int64_t *checked, struct dw_err *err);
    int (*members)(struct dw_store *store, const char *room, int64_t id, dw_uid_fn *fn, void *context,
                   struct dw_err *err);
    int (*horizon)(struct dw_store *store, int64_t *horizon, struct dw_err *err);
    int (*push)(struct dw_store *store, const struct dw_push *push, int64_t *id, struct dw_err *err);

    int (*inbox_add)(struct dw_store *store, const struct dw_inbox *row, int64_t *id, dw_reply_fn *fn, void *context,
                     struct dw_err *err);
    int (*inbox)(struct dw_store *store, int64_t after, size_t max, dw_inbox_fn *fn, void *context, struct dw_err *err);
    int (*reply)(struct dw_store *store, int64_t inbox_id, const char *data, size_t data_len, const char *format,
                 struct dw_err *err);
    int (*reply_end)(struct dw_store *store, int64_t *end, struct dw_err *err);
    int (*replies)(struct dw_store *store, int64_t after, size_t max, dw_reply_fn *fn, void *context,
                   struct dw_err *err);
    int (*reply_get)(struct dw_store *store, int64_t inbox_id, dw_reply_fn *fn, void *context, struct dw_err *err);

    int (*session)(struct dw_store *store, const char *sid, int64_t now_ms, struct dw_session *session,
                   struct dw_err *err);
    uint32_t (*session_version)(const struct dw_store *store);
    int (*session_put)(struct dw_store *store, const char *sid, const char *uid, const char *csrf_token,
                       const char *handshake_data, int64_t expires_at, struct dw_err *err);
    int (*member_add)(struct dw_store *store, const char *room, const char *uid, struct dw_err *err);
    int (*member_remove)(struct dw_store *store, const char *room, const char *uid, struct dw_err *err);
    int (*online)(struct dw_store *store, dw_online_fn *fn, void *context, struct dw_err *err);

    /* dw_store_client_update, or with `known` dw_store_client_change */
    int (*client_update)(struct dw_store *store, const struct dw_client_key *key, bool known, dw_client_fn *fn,
                         void *context, struct dw_err *err);
    int (*client_peek)(struct dw_store *store, const struct dw_client_key *key, struct dw_client *client,
                       uint64_t *claim, struct dw_err *err);
    int (*client_get)(struct dw_store *store, const char *uid, const char *client_id, struct dw_client *client,
                      struct dw_err *err);
    int (*clients_connected)(struct dw_store *store, const char *uid, const char *except, int64_t max, int64_t *count,
                             struct dw_err *err);
    int (*state_is_new)(struct dw_store *store, int64_t now_ms, bool *is_new, struct dw_err *err);
    int (*clients_leave)(struct dw_store *store, const struct dw_departed *departed, size_t count, int64_t now_ms,
                         struct dw_err *err);
    /* The client's claim word; NULL where there is none and none can be made.  From any thread. */
    _Atomic uint64_t *(*claim)(struct dw_store *store, uint32_t slot);
    /* DW_ARRIVALS notes, zeroed at first.  From any thread. */
    struct dw_arrival_note *(*arrivals)(struct dw_store *store);

    int (*worker_join)(struct dw_store *store, int32_t *worker, struct dw_err *err);
    void (*worker_parked)(struct dw_store *store, int32_t worker, uint32_t parked);
    uint32_t (*worker_lent)(struct dw_store *store, int32_t worker, int change);
    int (*workers)(struct dw_store *store, dw_worker_fn *fn, void *context, struct dw_err *err);
    int (*worker_sockets)(struct dw_store *store, int32_t worker, int64_t *sockets, struct dw_err *err);
    int (*holders)(struct dw_store *store, int32_t except, uint32_t *holders, struct dw_err *err);
    bool (*housekeeper)(struct dw_store *store);
    void (*housekeeper_leave)(struct dw_store *store);

    int (*presence_sync)(struct dw_store *store, int64_t now_ms, bool *more, struct dw_err *err);
    int (*release)(struct dw_store *store, const struct dw_housework *work, bool *more, struct dw_err *err);
    int (*gc)(struct dw_store *store, const struct dw_housework *work, bool *more, struct dw_err *err);
    int (*checkpoint)(struct dw_store *store, const struct dw_housework *work, struct dw_err *err);
    int (*release_due)(struct dw_store *store, const struct dw_housework *work, int64_t *wait_ms, struct dw_err *err);

    int (*count)(struct dw_store *store, const char *name, int64_t add, struct dw_err *err);
    int (*counters)(struct dw_store *store, dw_counter_fn *fn, void *context, struct dw_err *err);
    int (*figures)(struct dw_store *store, struct dw_store_figures *figures, struct dw_err *err);

    int (*follow)(struct dw_store *store, uint32_t *moves, struct dw_err *err);
    int (*version)(struct dw_store *store, uint32_t *version, struct dw_err *err);
    const char *(*queue_path)(const struct dw_store *store);
    const char *(*state_dir)(const struct dw_store *store);
};

struct dw_store {
    const struct dw_store_ops *ops;
    struct dw_store_limits limits;
    uint64_t clients_replaced;
};

/* The store's part of limits.inbox_*, the same for every backend: `own` of the sender, `strangers` of all without
 * a uid, `all`.  A message of `bytes` is to be added. */
struct dw_inbox_load {
    int64_t rows, bytes;
};
int dw_inbox_check(const struct dw_store_limits *limits, bool has_uid, const struct dw_inbox_load *own,
                   const struct dw_inbox_load *strangers, const struct dw_inbox_load *all, int64_t bytes,
                   struct dw_err *err);
int64_t dw_inbox_bytes(const struct dw_inbox *row);

/* Nobody whom no process holds is given more time: the longest grace period, and the pause of one that was sent
 * away.  A later due time is from before the machine's last start, when its monotonic clock began anew. */
#define DW_DUE_MOST_MS ((int64_t)11 * 60000)

/* How long inbox rows and replies are kept: a handler that was down for a while still finds them. */
#define DW_INBOX_RETAIN_MS ((int64_t)24 * 3600 * 1000)
static inline int64_t dw_inbox_retain(int64_t retain_ms)
{
    return retain_ms > DW_INBOX_RETAIN_MS ? retain_ms : DW_INBOX_RETAIN_MS;
}

#endif
