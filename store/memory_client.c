/* The memory backend's state: clients, presence, workers, release. */
#include "store/memory_priv.h"

#include <stdlib.h>
#include <string.h>

/* ---- clients ---- */

static struct dw_mem_client *find(struct dw_memory *w, int transport, const char *uid, const char *client_id)
{
    for (size_t i = 0; i < w->clients.count; i++) {
        struct dw_mem_client *c = &w->clients.at[i];

        if ((transport < 0 || (int)c->transport == transport) && dw_mem_same(c->uid, uid) &&
            strcmp(c->client_id, client_id) == 0)
            return c;
    }
    return NULL;
}

static int mark(struct dw_memory *w, const char *uid, struct dw_err *err)
{
    bool ok = true;

    if (uid == NULL)
        return DW_OK;
    for (size_t i = 0; i < w->dirty.count; i++)
        if (strcmp(w->dirty.at[i].uid, uid) == 0)
            return DW_OK;
    if (!dw_mem_room(w->dirty))
        return dw_mem_nomem(err);
    w->dirty.at[w->dirty.count].uid = dw_mem_copy(uid, &ok);
    if (!ok)
        return dw_mem_nomem(err);
    w->dirty.count++;
    return DW_OK;
}

/* The lowest slot that no client has. */
static uint32_t free_slot(const struct dw_memory *w)
{
    for (uint32_t slot = 1;; slot++) {
        bool taken = false;

        for (size_t i = 0; i < w->clients.count && !taken; i++)
            taken = w->clients.at[i].client.slot == slot;
        if (!taken)
            return slot;
    }
}

static void remove_client(struct dw_memory *w, size_t at)
{
    free(w->clients.at[at].uid);
    free(w->clients.at[at].client_id);
    w->clients.at[at] = w->clients.at[--w->clients.count];
}

/* The client that has been absent for longest, of `uid`, or with `any` of all; -1: nobody is absent. */
static int64_t longest_absent(const struct dw_memory *w, bool any, const char *uid, int64_t *count)
{
    int64_t at = -1;

    *count = 0;
    for (size_t i = 0; i < w->clients.count; i++) {
        const struct dw_mem_client *c = &w->clients.at[i];

        if (c->client.connected || (!any && !dw_mem_same(c->uid, uid)))
            continue;
        ++*count;
        if (at < 0 || c->client.seen_ms < w->clients.at[at].client.seen_ms)
            at = (int64_t)i;
    }
    return at;
}

/* Whose slot a new client is to get: an absent one's place in *at, or -1: a free one. */
static int choose_slot(struct dw_store *store, const char *uid, int64_t *at, struct dw_err *err)
{
    const struct dw_store_limits *limits = &store->limits;
    const struct dw_memory *w = dw_mem_of(store)->world;
    int64_t most = limits->clients > 0 && limits->clients < DW_MEM_SLOTS ? limits->clients : DW_MEM_SLOTS - 1, absent;

    *at = longest_absent(w, false, uid, &absent);
    if (uid != NULL && limits->clients_per_uid > 0 && absent >= limits->clients_per_uid)
        return DW_OK;
    *at = -1;
    if ((int64_t)w->clients.count < most)
        return DW_OK;
    *at = longest_absent(w, false, NULL, &absent);
    if (*at < 0)
        *at = longest_absent(w, true, NULL, &absent);
    return *at >= 0 ? DW_OK : dw_err_set(err, DW_CROWDED, "as many clients are connected as can be remembered");
}

static int insert(struct dw_memory *w, const struct dw_client_key *key, const struct dw_client *client,
                  struct dw_err *err)
{
    struct dw_mem_client row = {.transport = key->transport, .client = *client};
    bool ok = true;

    row.uid = dw_mem_copy(key->uid, &ok);
    row.client_id = dw_mem_copy(key->client_id, &ok);
    if (!ok || !dw_mem_room(w->clients)) {
        free(row.uid);
        free(row.client_id);
        return dw_mem_nomem(err);
    }
    w->clients.at[w->clients.count++] = row;
    return DW_OK;
}

static int update(struct dw_store *store, const struct dw_client_key *key, bool known, dw_client_fn *fn, void *context,
                  struct dw_err *err)
{
    struct dw_memory *w = dw_mem_of(store)->world;
    struct dw_mem_client *row = find(w, (int)key->transport, key->uid, key->client_id);
    struct dw_client client = {.worker = -1};
    int64_t replaced = -1;
    bool was_connected = row != NULL && row->client.connected;
    int rc;

    if (row != NULL) {
        client = row->client;
    } else if (known) {
        return dw_err_set(err, DW_NOTFOUND, "no such client");
    } else {
        rc = choose_slot(store, key->uid, &replaced, err);
        if (rc != DW_OK)
            return rc;
        client.slot = replaced >= 0 ? w->clients.at[replaced].client.slot : free_slot(w);
        if (replaced < 0)
            atomic_store(&w->claims[client.slot], 0);
        else if (w->clients.at[replaced].client.epoch != 0)
            client.epoch = w->clients.at[replaced].client.epoch;
        else
            client.epoch = 1; /* 0 would say that the slot was nobody's */
    }
    dw_claim_mend(&w->claims[client.slot], client.epoch);
    rc = fn(context, &client, row != NULL, row != NULL ? atomic_load(&w->claims[client.slot]) : 0);
    if (rc != DW_OK)
        return rc;
    if (replaced >= 0) {
        remove_client(w, (size_t)replaced);
        store->clients_replaced++;
    }
    row = find(w, (int)key->transport, key->uid, key->client_id);
    if (row != NULL)
        row->client = client;
    else
        rc = insert(w, key, &client, err);
    if (rc == DW_OK && client.connected != was_connected)
        rc = mark(w, key->uid, err);
    return rc;
}

static int client_update(struct dw_store *store, const struct dw_client_key *key, bool known, dw_client_fn *fn,
                         void *context, struct dw_err *err)
{
    struct dw_memory *w = dw_mem_lock(store);

    return dw_mem_unlock(w, update(store, key, known, fn, context, err));
}

static int client_peek(struct dw_store *store, const struct dw_client_key *key, struct dw_client *client,
                       uint64_t *claim, struct dw_err *err)
{
    struct dw_memory *w = dw_mem_lock(store);
    const struct dw_mem_client *row = find(w, (int)key->transport, key->uid, key->client_id);

    if (row == NULL)
        return dw_mem_unlock(w, dw_err_set(err, DW_NOTFOUND, "no such client"));
    *client = row->client;
    *claim = atomic_load(&w->claims[client->slot]);
    return dw_mem_unlock(w, DW_OK);
}

static int client_get(struct dw_store *store, const char *uid, const char *client_id, struct dw_client *client,
                      struct dw_err *err)
{
    struct dw_memory *w = dw_mem_lock(store);
    const struct dw_mem_client *row = find(w, DW_AJAX, uid, client_id);

    if (row == NULL)
        row = find(w, DW_WS, uid, client_id);
    if (row == NULL)
        return dw_mem_unlock(w, dw_err_set(err, DW_NOTFOUND, "no such client"));
    *client = row->client;
    return dw_mem_unlock(w, DW_OK);
}

static int clients_connected(struct dw_store *store, const char *uid, const char *except, int64_t max, int64_t *count,
                             struct dw_err *err)
{
    struct dw_memory *w = dw_mem_lock(store);

    (void)err;
    *count = 0;
    for (size_t i = 0; i < w->clients.count && *count < max; i++) {
        const struct dw_mem_client *c = &w->clients.at[i];

        *count += c->client.connected && dw_mem_same(c->uid, uid) && strcmp(c->client_id, except) != 0;
    }
    return dw_mem_unlock(w, DW_OK);
}

static int state_is_new(struct dw_store *store, int64_t now_ms, bool *is_new, struct dw_err *err)
{
    (void)store;
    (void)now_ms;
    (void)err;
    *is_new = false; /* its two halves can't be lost apart */
    return DW_OK;
}

static int disconnect(struct dw_memory *w, struct dw_mem_client *row, int64_t now_ms, struct dw_err *err)
{
    row->client.connected = false;
    row->client.worker = -1;
    if (row->client.seen_ms < now_ms)
        row->client.seen_ms = now_ms;
    return mark(w, row->uid, err);
}

static int clients_leave(struct dw_store *store, const struct dw_departed *departed, size_t count, int64_t now_ms,
                         struct dw_err *err)
{
    struct dw_memory *w = dw_mem_lock(store);
    int rc = DW_OK;

    for (size_t i = 0; rc == DW_OK && i < count; i++) {
        const struct dw_departed *one = &departed[i];
        struct dw_mem_client *row = find(w, (int)one->transport, one->uid, one->client_id);

        if (row != NULL && row->client.connected && row->client.epoch == one->epoch)
            rc = disconnect(w, row, now_ms, err);
    }
    return dw_mem_unlock(w, rc);
}

static struct dw_arrival_note *arrivals(struct dw_store *store)
{
    return dw_mem_of(store)->world->arrivals;
}

static _Atomic uint64_t *claim(struct dw_store *store, uint32_t slot)
{
    return slot < DW_MEM_SLOTS ? &dw_mem_of(store)->world->claims[slot] : NULL;
}

/* ---- presence ---- */

static int online(struct dw_store *store, dw_online_fn *fn, void *context, struct dw_err *err)
{
    struct dw_memory *w = dw_mem_lock(store);
    int rc = DW_OK;

    (void)err;
    for (size_t i = 0; rc == DW_OK && i < w->online.count; i++) {
        const struct dw_mem_online *row = &w->online.at[i];
        struct dw_online out = {row->uid, row->ws, row->ajax, row->since};

        rc = fn(context, &out);
    }
    return dw_mem_unlock(w, rc);
}

static int write_event(struct dw_store *store, const char *event, const char *uid, int64_t now_ms, struct dw_err *err)
{
    struct dw_buf data = DW_BUF_INIT;
    struct dw_inbox row = {.uid = uid, .event = event, .format = "json", .received_at = now_ms};
    int64_t id;
    int rc;

    dw_buf_addc(&data, '"');
    for (const char *c = uid; *c != '\0'; c++) {
        if (*c == '"' || *c == '\\')
            dw_buf_addc(&data, '\\');
        if ((unsigned char)*c < 0x20)
            dw_buf_addf(&data, "\\u%04x", *c);
        else
            dw_buf_addc(&data, *c);
    }
    dw_buf_addc(&data, '"');
    row.data = dw_buf_str(&data);
    row.data_len = data.len;
    rc = dw_buf_failed(&data) ? dw_mem_nomem(err) : dw_mem_inbox_insert(store, &row, &id, NULL);
    dw_buf_fini(&data);
    return rc == DW_HANDLER ? DW_OK : rc; /* as in the SQLite backend: it has no sender to fail */
}

static int sync_uid(struct dw_store *store, const char *uid, int64_t now_ms, struct dw_err *err)
{
    struct dw_memory *w = dw_mem_of(store)->world;
    struct dw_mem_online now = {.since = now_ms};
    bool ok = true;
    size_t at = 0;

    for (size_t i = 0; i < w->clients.count; i++) {
        const struct dw_mem_client *c = &w->clients.at[i];

        if (c->client.connected && dw_mem_same(c->uid, uid))
            *(c->transport == DW_WS ? &now.ws : &now.ajax) += 1;
    }
    while (at < w->online.count && strcmp(w->online.at[at].uid, uid) != 0)
        at++;
    if (at < w->online.count && now.ws + now.ajax > 0) {
        w->online.at[at].ws = now.ws;
        w->online.at[at].ajax = now.ajax;
        return DW_OK;
    }
    if (at < w->online.count) {
        free(w->online.at[at].uid);
        w->online.at[at] = w->online.at[--w->online.count];
        return write_event(store, "chsk/uidport-close", uid, now_ms, err);
    }
    if (now.ws + now.ajax == 0)
        return DW_OK;
    now.uid = dw_mem_copy(uid, &ok);
    if (!ok || !dw_mem_room(w->online)) {
        free(now.uid);
        return dw_mem_nomem(err);
    }
    w->online.at[w->online.count++] = now;
    return write_event(store, "chsk/uidport-open", uid, now_ms, err);
}

static int presence_sync(struct dw_store *store, int64_t now_ms, bool *more, struct dw_err *err)
{
    struct dw_memory *w = dw_mem_lock(store);
    int rc = DW_OK;

    *more = false;
    while (rc == DW_OK && w->dirty.count > 0) {
        char *uid = w->dirty.at[w->dirty.count - 1].uid;

        rc = sync_uid(store, uid, now_ms, err);
        if (rc == DW_OK) {
            w->dirty.count--;
            free(uid);
        }
    }
    return dw_mem_unlock(w, rc);
}

/* ---- workers ---- */

static int worker_join(struct dw_store *store, int32_t *worker, struct dw_err *err)
{
    struct dw_mem_store *s = dw_mem_of(store);
    struct dw_memory *w = dw_mem_lock(store);

    for (int32_t i = 0; s->worker < 0 && i < DW_MEM_WORKERS; i++)
        if (!w->workers[i].known) {
            w->workers[i] = (struct dw_mem_worker){.known = true, .alive = true, .started_ms = dw_clock_wall_ms()};
            s->worker = i;
        }
    *worker = s->worker;
    return dw_mem_unlock(w, s->worker >= 0 ? DW_OK : dw_err_set(err, DW_LIMIT, "too many workers"));
}

static void worker_parked(struct dw_store *store, int32_t worker, uint32_t parked)
{
    struct dw_memory *w = dw_mem_lock(store);

    w->workers[worker].parked = parked;
    (void)dw_mem_unlock(w, DW_OK);
}

static uint32_t worker_lent(struct dw_store *store, int32_t worker, int change)
{
    struct dw_memory *w = dw_mem_lock(store);
    uint32_t lent = dw_lent_after(w->workers[worker].lent, change);

    w->workers[worker].lent = lent;
    (void)dw_mem_unlock(w, DW_OK);
    return lent;
}

static int workers(struct dw_store *store, dw_worker_fn *fn, void *context, struct dw_err *err)
{
    struct dw_memory *w = dw_mem_lock(store);
    int rc = DW_OK;

    (void)err;
    for (int32_t i = 0; rc == DW_OK && i < DW_MEM_WORKERS; i++) {
        const struct dw_mem_worker *row = &w->workers[i];
        struct dw_worker out = {
            i, row->pid, row->started_ms, row->alive ? row->parked : 0, row->alive ? row->lent : 0, row->alive};

        if (row->known)
            rc = fn(context, &out);
    }
    return dw_mem_unlock(w, rc);
}

static int worker_sockets(struct dw_store *store, int32_t worker, int64_t *sockets, struct dw_err *err)
{
    struct dw_memory *w = dw_mem_lock(store);

    (void)err;
    *sockets = 0;
    for (size_t i = 0; i < w->clients.count; i++) {
        const struct dw_mem_client *c = &w->clients.at[i];

        *sockets += c->transport == DW_WS && c->client.connected && c->client.worker == worker;
    }
    return dw_mem_unlock(w, DW_OK);
}

static int holders(struct dw_store *store, int32_t except, uint32_t *count, struct dw_err *err)
{
    struct dw_memory *w = dw_mem_lock(store);

    (void)err;
    *count = 0;
    for (int32_t i = 0; i < DW_MEM_WORKERS; i++)
        if (i != except && w->workers[i].alive && (w->workers[i].parked > 0 || w->workers[i].lent > 0))
            ++*count;
    return dw_mem_unlock(w, DW_OK);
}

static void housekeeper_leave(struct dw_store *store)
{
    struct dw_memory *w = dw_mem_lock(store);

    if (w->housekeeper == store)
        w->housekeeper = NULL;
    (void)dw_mem_unlock(w, DW_OK);
}

static bool housekeeper(struct dw_store *store)
{
    struct dw_memory *w = dw_mem_lock(store);
    bool is;

    if (w->housekeeper == NULL)
        w->housekeeper = store;
    is = w->housekeeper == store;
    (void)dw_mem_unlock(w, DW_OK);
    return is;
}

/* ---- release ---- */

static int64_t grace_of(const struct dw_mem_client *row, const struct dw_housework *work)
{
    return row->transport == DW_WS ? work->grace_ws_ms : work->grace_ajax_ms;
}

static int64_t bury(struct dw_memory *w, const struct dw_housework *work)
{
    int64_t count = 0;

    for (int32_t i = 0; i < DW_MEM_WORKERS; i++) {
        if (!w->workers[i].known || w->workers[i].alive)
            continue;
        w->workers[i].known = false;
        count++;
        for (size_t k = 0; k < w->clients.count; k++) {
            struct dw_mem_client *row = &w->clients.at[k];

            if (row->client.worker != i)
                continue;
            row->client.worker = -1;
            if (row->client.connected && row->client.due_ms > work->up_ms + grace_of(row, work))
                row->client.due_ms = work->up_ms + grace_of(row, work);
        }
    }
    return count;
}

static int release(struct dw_store *store, const struct dw_housework *work, bool *more, struct dw_err *err)
{
    struct dw_memory *w = dw_mem_lock(store);
    struct dw_removed ignored = {.clients = 0};
    struct dw_removed *removed = work->removed != NULL ? work->removed : &ignored;
    size_t kept = 0;
    int rc = DW_OK;

    *more = false;
    removed->workers += bury(w, work);
    for (size_t i = 0; rc == DW_OK && i < w->clients.count; i++) {
        struct dw_mem_client *row = &w->clients.at[i];

        if (row->client.worker < 0 && row->client.due_ms != INT64_MAX &&
            row->client.due_ms > work->up_ms + DW_DUE_MOST_MS)
            row->client.due_ms = work->up_ms;
        if (row->client.connected && row->client.due_ms <= work->up_ms) {
            rc = disconnect(w, row, work->now_ms, err);
            removed->departed += rc == DW_OK;
        }
    }
    for (size_t i = 0; i < w->clients.count; i++) {
        struct dw_mem_client *row = &w->clients.at[i];

        if (!row->client.connected && row->client.seen_ms < work->now_ms - dw_mem_of(store)->retain_ms) {
            free(row->uid);
            free(row->client_id);
        } else
            w->clients.at[kept++] = *row;
    }
    removed->clients += (int64_t)(w->clients.count - kept);
    w->clients.count = kept;
    return dw_mem_unlock(w, rc);
}

static int release_due(struct dw_store *store, const struct dw_housework *work, int64_t *wait_ms, struct dw_err *err)
{
    struct dw_memory *w = dw_mem_lock(store);

    (void)err;
    *wait_ms = INT64_MAX;
    for (size_t i = 0; i < w->clients.count; i++) {
        const struct dw_client *c = &w->clients.at[i].client;
        int64_t wait = c->seen_ms + dw_mem_of(store)->retain_ms + 1 - work->now_ms;

        if (c->connected)
            wait = c->due_ms != INT64_MAX ? c->due_ms - work->up_ms : INT64_MAX;
        if (wait < *wait_ms)
            *wait_ms = wait;
    }
    return dw_mem_unlock(w, DW_OK);
}

const struct dw_store_ops dw_mem_client_ops = {
    .client_update = client_update,
    .client_peek = client_peek,
    .client_get = client_get,
    .clients_connected = clients_connected,
    .state_is_new = state_is_new,
    .clients_leave = clients_leave,
    .claim = claim,
    .arrivals = arrivals,
    .online = online,
    .presence_sync = presence_sync,
    .worker_join = worker_join,
    .worker_parked = worker_parked,
    .worker_lent = worker_lent,
    .workers = workers,
    .worker_sockets = worker_sockets,
    .holders = holders,
    .housekeeper = housekeeper,
    .housekeeper_leave = housekeeper_leave,
    .release = release,
    .release_due = release_due,
};
