/* Forwards the store's interface to the backend that was opened, and does what is the same in all of
 * them: the claims, and tidying of results.  No SQL and no data here. */
#include "store/store.h"

#include "store/claims.h"
#include "store/ops.h"

#include <string.h>

void dw_store_close(struct dw_store *store)
{
    if (store != NULL)
        store->ops->close(store, false);
}

void dw_store_kill(struct dw_store *store)
{
    store->ops->close(store, true);
}

void dw_session_fini(struct dw_session *session)
{
    dw_buf_fini(&session->uid);
    dw_buf_fini(&session->csrf_token);
    dw_buf_fini(&session->handshake_data);
    session->found = session->has_uid = session->has_csrf_token = session->has_handshake_data = false;
}

/* ---- claims ---- */

bool dw_store_claim_begin(struct dw_store *store, uint32_t slot, uint32_t epoch, int64_t upto)
{
    _Atomic uint64_t *word = store->ops->claim(store, slot);

    /* Without a word the answer may be repeated, which is better than to be lost. */
    return word == NULL || dw_claim_begin(word, epoch, upto);
}

void dw_store_claim_sent(struct dw_store *store, uint32_t slot, uint32_t epoch)
{
    _Atomic uint64_t *word = store->ops->claim(store, slot);

    if (word != NULL)
        dw_claim_sent(word, epoch);
}

bool dw_store_claim_answer(struct dw_store *store, uint32_t slot, uint32_t epoch, int64_t upto)
{
    _Atomic uint64_t *word = store->ops->claim(store, slot);

    return word != NULL && dw_claim_answer(word, epoch, upto);
}

void dw_store_arrival_note(struct dw_store *store, uint64_t key, int64_t udt)
{
    dw_arrival_note(store->ops->arrivals(store), key, udt);
}

void dw_store_arrival_bind(struct dw_store *store, uint64_t key, uint32_t epoch)
{
    dw_arrival_bind(store->ops->arrivals(store), key, epoch);
}

bool dw_store_arrival_find(struct dw_store *store, uint64_t key, uint32_t epoch, int64_t *udt)
{
    return dw_arrival_find(store->ops->arrivals(store), key, epoch, udt);
}

uint64_t dw_store_claim_read(struct dw_store *store, uint32_t slot)
{
    _Atomic uint64_t *word = store->ops->claim(store, slot);

    return word != NULL ? atomic_load(word) : 0;
}

/* ---- limits ---- */

uint64_t dw_store_clients_replaced(const struct dw_store *store)
{
    return store->clients_replaced;
}

int64_t dw_inbox_bytes(const struct dw_inbox *row)
{
    size_t data = row->data != NULL ? row->data_len : 0, raw = row->raw != NULL ? row->raw_len : 0;

    return (int64_t)(strlen(row->event) + data + raw);
}

static bool is_over(const struct dw_inbox_load *load, int64_t bytes, int64_t rows_max, int64_t bytes_max)
{
    return (rows_max > 0 && load->rows >= rows_max) || (bytes_max > 0 && load->bytes + bytes > bytes_max);
}

int dw_inbox_check(const struct dw_store_limits *limits, bool has_uid, const struct dw_inbox_load *own,
                   const struct dw_inbox_load *strangers, const struct dw_inbox_load *all, int64_t bytes,
                   struct dw_err *err)
{
    if (is_over(own, bytes, limits->inbox_uid_rows, limits->inbox_uid_bytes))
        return dw_err_set(err, DW_QUOTA, "too many messages of this %s wait in the inbox", has_uid ? "user" : "client");
    /* Client ids cost nothing: those who are nobody can't fill what users need. */
    if (is_over(all, bytes, limits->inbox_rows, limits->inbox_bytes) ||
        (!has_uid && is_over(strangers, bytes, (limits->inbox_rows + 1) / 2, (limits->inbox_bytes + 1) / 2)))
        return dw_err_set(err, DW_CROWDED, "the inbox is full");
    return DW_OK;
}

/* ---- everything else is the backend's ---- */

int dw_store_end(struct dw_store *store, int64_t *end, struct dw_err *err)
{
    return store->ops->end(store, end, err);
}

int dw_store_pushes(struct dw_store *store, int64_t after, size_t max, dw_push_fn *fn, void *context,
                    struct dw_err *err)
{
    return store->ops->pushes(store, after, max, fn, context, err);
}

int dw_store_mailbox(struct dw_store *store, const char *uid, const char *client_id, int64_t after, size_t max,
                     dw_push_fn *fn, void *context, int64_t *checked, struct dw_err *err)
{
    return store->ops->mailbox(store, uid, client_id, after, max, fn, context, checked, err);
}

int dw_store_members(struct dw_store *store, const char *room, int64_t id, dw_uid_fn *fn, void *context,
                     struct dw_err *err)
{
    return store->ops->members(store, room, id, fn, context, err);
}

int dw_store_horizon(struct dw_store *store, int64_t *horizon, struct dw_err *err)
{
    return store->ops->horizon(store, horizon, err);
}

int dw_store_push(struct dw_store *store, const struct dw_push *push, int64_t *id, struct dw_err *err)
{
    return store->ops->push(store, push, id, err);
}

int dw_store_inbox_add(struct dw_store *store, const struct dw_inbox *row, int64_t *id, dw_reply_fn *fn, void *context,
                       struct dw_err *err)
{
    return store->ops->inbox_add(store, row, id, fn, context, err);
}

int dw_store_inbox(struct dw_store *store, int64_t after, size_t max, dw_inbox_fn *fn, void *context,
                   struct dw_err *err)
{
    return store->ops->inbox(store, after, max, fn, context, err);
}

int dw_store_reply(struct dw_store *store, int64_t inbox_id, const char *data, size_t data_len, const char *format,
                   struct dw_err *err)
{
    return store->ops->reply(store, inbox_id, data, data_len, format, err);
}

int dw_store_reply_end(struct dw_store *store, int64_t *end, struct dw_err *err)
{
    return store->ops->reply_end(store, end, err);
}

int dw_store_replies(struct dw_store *store, int64_t after, size_t max, dw_reply_fn *fn, void *context,
                     struct dw_err *err)
{
    return store->ops->replies(store, after, max, fn, context, err);
}

int dw_store_reply_get(struct dw_store *store, int64_t inbox_id, dw_reply_fn *fn, void *context, struct dw_err *err)
{
    return store->ops->reply_get(store, inbox_id, fn, context, err);
}

int dw_store_session(struct dw_store *store, const char *sid, int64_t now_ms, struct dw_session *session,
                     struct dw_err *err)
{
    return store->ops->session(store, sid, now_ms, session, err);
}

uint32_t dw_store_session_version(const struct dw_store *store)
{
    return store->ops->session_version(store);
}

int dw_store_session_put(struct dw_store *store, const char *sid, const char *uid, const char *csrf_token,
                         const char *handshake_data, int64_t expires_at, struct dw_err *err)
{
    return store->ops->session_put(store, sid, uid, csrf_token, handshake_data, expires_at, err);
}

int dw_store_member_add(struct dw_store *store, const char *room, const char *uid, struct dw_err *err)
{
    return store->ops->member_add(store, room, uid, err);
}

int dw_store_member_remove(struct dw_store *store, const char *room, const char *uid, struct dw_err *err)
{
    return store->ops->member_remove(store, room, uid, err);
}

int dw_store_online(struct dw_store *store, dw_online_fn *fn, void *context, struct dw_err *err)
{
    return store->ops->online(store, fn, context, err);
}

int dw_store_client_update(struct dw_store *store, const struct dw_client_key *key, dw_client_fn *fn, void *context,
                           struct dw_err *err)
{
    return store->ops->client_update(store, key, false, fn, context, err);
}

int dw_store_client_change(struct dw_store *store, const struct dw_client_key *key, dw_client_fn *fn, void *context,
                           struct dw_err *err)
{
    return store->ops->client_update(store, key, true, fn, context, err);
}

int dw_store_client_peek(struct dw_store *store, const struct dw_client_key *key, struct dw_client *client,
                         uint64_t *claim, struct dw_err *err)
{
    return store->ops->client_peek(store, key, client, claim, err);
}

int dw_store_client_get(struct dw_store *store, const char *uid, const char *client_id, struct dw_client *client,
                        struct dw_err *err)
{
    return store->ops->client_get(store, uid, client_id, client, err);
}

int dw_store_clients_connected(struct dw_store *store, const char *uid, const char *except, int64_t max, int64_t *count,
                               struct dw_err *err)
{
    return store->ops->clients_connected(store, uid, except, max, count, err);
}

int dw_store_state_is_new(struct dw_store *store, int64_t now_ms, bool *is_new, struct dw_err *err)
{
    return store->ops->state_is_new(store, now_ms, is_new, err);
}

int dw_store_clients_leave(struct dw_store *store, const struct dw_departed *departed, size_t count, int64_t now_ms,
                           struct dw_err *err)
{
    return store->ops->clients_leave(store, departed, count, now_ms, err);
}

int dw_store_worker_join(struct dw_store *store, int32_t *worker, struct dw_err *err)
{
    return store->ops->worker_join(store, worker, err);
}

void dw_store_worker_parked(struct dw_store *store, int32_t worker, uint32_t parked)
{
    store->ops->worker_parked(store, worker, parked);
}

uint32_t dw_store_worker_lent(struct dw_store *store, int32_t worker, int change)
{
    return store->ops->worker_lent(store, worker, change);
}

int dw_store_workers(struct dw_store *store, dw_worker_fn *fn, void *context, struct dw_err *err)
{
    return store->ops->workers(store, fn, context, err);
}

int dw_store_worker_sockets(struct dw_store *store, int32_t worker, int64_t *sockets, struct dw_err *err)
{
    return store->ops->worker_sockets(store, worker, sockets, err);
}

int dw_store_holders(struct dw_store *store, int32_t except, uint32_t *holders, struct dw_err *err)
{
    return store->ops->holders(store, except, holders, err);
}

bool dw_store_housekeeper(struct dw_store *store)
{
    return store->ops->housekeeper(store);
}

void dw_store_housekeeper_leave(struct dw_store *store)
{
    store->ops->housekeeper_leave(store);
}

int dw_store_presence_sync(struct dw_store *store, int64_t now_ms, bool *more, struct dw_err *err)
{
    return store->ops->presence_sync(store, now_ms, more, err);
}

int dw_store_release(struct dw_store *store, const struct dw_housework *work, bool *more, struct dw_err *err)
{
    return store->ops->release(store, work, more, err);
}

int dw_store_gc(struct dw_store *store, const struct dw_housework *work, bool *more, struct dw_err *err)
{
    return store->ops->gc(store, work, more, err);
}

int dw_store_checkpoint(struct dw_store *store, const struct dw_housework *work, struct dw_err *err)
{
    return store->ops->checkpoint(store, work, err);
}

int dw_store_release_due(struct dw_store *store, const struct dw_housework *work, int64_t *wait_ms, struct dw_err *err)
{
    return store->ops->release_due(store, work, wait_ms, err);
}

int dw_store_count(struct dw_store *store, const char *name, int64_t add, struct dw_err *err)
{
    return store->ops->count(store, name, add, err);
}

int dw_store_counters(struct dw_store *store, dw_counter_fn *fn, void *context, struct dw_err *err)
{
    return store->ops->counters(store, fn, context, err);
}

int dw_store_figures(struct dw_store *store, struct dw_store_figures *figures, struct dw_err *err)
{
    return store->ops->figures(store, figures, err);
}

int dw_store_follow(struct dw_store *store, uint32_t *moves, struct dw_err *err)
{
    return store->ops->follow(store, moves, err);
}

int dw_store_version(struct dw_store *store, uint32_t *version, struct dw_err *err)
{
    return store->ops->version(store, version, err);
}

const char *dw_store_queue_path(const struct dw_store *store)
{
    return store->ops->queue_path(store);
}

const char *dw_store_state_dir(const struct dw_store *store)
{
    return store->ops->state_dir(store);
}
