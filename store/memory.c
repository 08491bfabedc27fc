/* The memory twin of the store, for tests: the same promises without files.  Stores opened on one world
 * behave like processes on one queue file.  Speed is not a goal: everything is a scan under one lock. */
#include "store/memory_priv.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* ---- helpers for the other files ---- */

struct dw_memory *dw_mem_lock(struct dw_store *store)
{
    struct dw_memory *world = dw_mem_of(store)->world;

    (void)pthread_mutex_lock(&world->lock);
    return world;
}

int dw_mem_unlock(struct dw_memory *world, int rc)
{
    (void)pthread_mutex_unlock(&world->lock);
    return rc;
}

bool dw_mem_grow(void **rows, size_t *cap, size_t count, size_t size)
{
    size_t more = *cap == 0 ? 16 : *cap * 2;
    void *grown;

    if (count < *cap)
        return true;
    grown = realloc(*rows, more * size);
    if (grown == NULL)
        return false;
    *rows = grown;
    *cap = more;
    return true;
}

char *dw_mem_copy(const char *text, bool *ok)
{
    char *copy = text != NULL ? strdup(text) : NULL;

    if (text != NULL && copy == NULL)
        *ok = false;
    return copy;
}

bool dw_mem_same(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

void dw_mem_committed(struct dw_store *store)
{
    dw_mem_of(store)->world->commits++;
}

int dw_mem_nomem(struct dw_err *err)
{
    return dw_err_set(err, DW_NOMEM, "out of memory");
}

/* ---- sessions ---- */

static struct dw_mem_session *find_session(struct dw_memory *w, const char *sid)
{
    for (size_t i = 0; i < w->sessions.count; i++)
        if (strcmp(w->sessions.at[i].sid, sid) == 0)
            return &w->sessions.at[i];
    return NULL;
}

static void free_session(struct dw_mem_session *row)
{
    free(row->sid);
    free(row->uid);
    free(row->csrf_token);
    free(row->handshake_data);
}

static int session(struct dw_store *store, const char *sid, int64_t now_ms, struct dw_session *out, struct dw_err *err)
{
    struct dw_memory *w = dw_mem_lock(store);
    const struct dw_mem_session *row = find_session(w, sid);

    (void)err;
    dw_buf_reset(&out->uid);
    dw_buf_reset(&out->csrf_token);
    dw_buf_reset(&out->handshake_data);
    out->found = row != NULL && (row->expires_at == 0 || row->expires_at > now_ms);
    out->expires_at = out->found ? row->expires_at : 0;
    out->has_uid = out->found && row->uid != NULL;
    out->has_csrf_token = out->found && row->csrf_token != NULL;
    out->has_handshake_data = out->found && row->handshake_data != NULL;
    if (out->has_uid)
        dw_buf_adds(&out->uid, row->uid);
    if (out->has_csrf_token)
        dw_buf_adds(&out->csrf_token, row->csrf_token);
    if (out->has_handshake_data)
        dw_buf_adds(&out->handshake_data, row->handshake_data);
    return dw_mem_unlock(w, DW_OK);
}

static int session_insert(struct dw_memory *w, struct dw_mem_session *row)
{
    struct dw_mem_session *old = find_session(w, row->sid);

    if (old != NULL) {
        if (!dw_mem_same(old->uid, row->uid) ||
            (row->expires_at != 0 && (old->expires_at == 0 || row->expires_at < old->expires_at)))
            w->session_changes++;
        free_session(old);
        *old = *row;
        return DW_OK;
    }
    if (!dw_mem_room(w->sessions))
        return DW_NOMEM;
    w->sessions.at[w->sessions.count++] = *row;
    return DW_OK;
}

static int session_put(struct dw_store *store, const char *sid, const char *uid, const char *csrf_token,
                       const char *handshake_data, int64_t expires_at, struct dw_err *err)
{
    struct dw_memory *w;
    struct dw_mem_session row = {.expires_at = expires_at};
    bool ok = true;
    int rc;

    if (sid == NULL || sid[0] == '\0')
        return dw_err_set(err, DW_INVALID, "dw_session: sid must be text");
    if (handshake_data != NULL && !dw_mem_json_valid(handshake_data, strlen(handshake_data)))
        return dw_err_set(err, DW_INVALID, "dw_session: handshake_data is not valid JSON");
    if (expires_at >= 1000000000 && expires_at <= 99999999999)
        return dw_err_set(err, DW_INVALID, "dw_session: expires_at looks like seconds");
    w = dw_mem_lock(store);
    row.sid = dw_mem_copy(sid, &ok);
    row.uid = dw_mem_copy(uid, &ok);
    row.csrf_token = dw_mem_copy(csrf_token, &ok);
    row.handshake_data = dw_mem_copy(handshake_data, &ok);
    rc = ok ? session_insert(w, &row) : DW_NOMEM;
    if (rc != DW_OK) {
        free_session(&row);
        return dw_mem_unlock(w, dw_mem_nomem(err));
    }
    return dw_mem_unlock(w, DW_OK);
}

/* ---- counters and the rest ---- */

static int count(struct dw_store *store, const char *name, int64_t add, struct dw_err *err)
{
    struct dw_memory *w = dw_mem_lock(store);
    bool ok = true;
    size_t i = 0;

    while (i < w->counters.count && strcmp(w->counters.at[i].name, name) != 0)
        i++;
    if (i == w->counters.count) {
        struct dw_mem_counter row = {dw_mem_copy(name, &ok), 0};

        if (!ok || !dw_mem_room(w->counters)) {
            free(row.name);
            return dw_mem_unlock(w, dw_mem_nomem(err));
        }
        w->counters.at[w->counters.count++] = row;
    }
    w->counters.at[i].value += add;
    return dw_mem_unlock(w, DW_OK);
}

static int counters(struct dw_store *store, dw_counter_fn *fn, void *context, struct dw_err *err)
{
    struct dw_memory *w = dw_mem_lock(store);
    int rc = DW_OK;

    (void)err;
    for (size_t i = 0; rc == DW_OK && i < w->counters.count; i++)
        rc = fn(context, w->counters.at[i].name, w->counters.at[i].value);
    return dw_mem_unlock(w, rc);
}

static int figures(struct dw_store *store, struct dw_store_figures *out, struct dw_err *err)
{
    struct dw_memory *w = dw_mem_lock(store);

    (void)err;
    memset(out, 0, sizeof *out);
    out->pushes = (int64_t)w->pushes.count;
    out->inbox = (int64_t)w->inbox.count;
    out->replies = (int64_t)w->replies.count;
    out->clients = (int64_t)w->clients.count;
    out->online = (int64_t)w->online.count;
    out->sessions = (int64_t)w->sessions.count;
    out->end = w->end;
    out->inbox_end = w->inbox_end;
    out->horizon = w->horizon;
    for (size_t i = 0; i < w->clients.count; i++) {
        bool connected = w->clients.at[i].client.connected;

        out->connected += connected;
        out->ajax += connected && w->clients.at[i].transport == DW_AJAX;
        out->ws += connected && w->clients.at[i].transport == DW_WS;
    }
    return dw_mem_unlock(w, DW_OK);
}

static int checkpoint(struct dw_store *store, const struct dw_housework *work, struct dw_err *err)
{
    (void)store;
    (void)work;
    (void)err;
    return DW_OK;
}

/* A world has one queue for ever. */
static int follow(struct dw_store *store, uint32_t *moves, struct dw_err *err)
{
    (void)store;
    (void)err;
    *moves = 0;
    return DW_OK;
}

static int version(struct dw_store *store, uint32_t *out, struct dw_err *err)
{
    struct dw_memory *w = dw_mem_lock(store);

    (void)err;
    *out = w->commits;
    return dw_mem_unlock(w, DW_OK);
}

static uint32_t session_version(const struct dw_store *store)
{
    struct dw_memory *w = ((const struct dw_mem_store *)store)->world;
    uint32_t changes;

    (void)pthread_mutex_lock(&w->lock);
    changes = w->session_changes;
    (void)pthread_mutex_unlock(&w->lock);
    return changes;
}

static const char *no_path(const struct dw_store *store)
{
    (void)store;
    return NULL;
}

/* ---- the world ---- */

struct dw_memory *dw_memory_new(void)
{
    struct dw_memory *w = calloc(1, sizeof *w);
    pthread_mutexattr_t attr;

    if (w == NULL)
        return NULL;
    w->claims = calloc(DW_MEM_SLOTS, sizeof *w->claims);
    if (w->claims == NULL || pthread_mutexattr_init(&attr) != 0) {
        free(w->claims);
        free(w);
        return NULL;
    }
    (void)pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
    (void)pthread_mutex_init(&w->lock, &attr);
    (void)pthread_mutexattr_destroy(&attr);
    return w;
}

static void free_rows(struct dw_memory *w)
{
    for (size_t i = 0; i < w->pushes.count; i++)
        dw_mem_free_push(&w->pushes.at[i]);
    for (size_t i = 0; i < w->inbox.count; i++)
        dw_mem_free_inbox(&w->inbox.at[i]);
    for (size_t i = 0; i < w->replies.count; i++)
        dw_mem_free_reply(&w->replies.at[i]);
    for (size_t i = 0; i < w->members.count; i++) {
        free(w->members.at[i].room);
        free(w->members.at[i].uid);
    }
    for (size_t i = 0; i < w->sessions.count; i++)
        free_session(&w->sessions.at[i]);
    for (size_t i = 0; i < w->online.count; i++)
        free(w->online.at[i].uid);
    for (size_t i = 0; i < w->clients.count; i++) {
        free(w->clients.at[i].uid);
        free(w->clients.at[i].client_id);
    }
    for (size_t i = 0; i < w->dirty.count; i++)
        free(w->dirty.at[i].uid);
    for (size_t i = 0; i < w->counters.count; i++)
        free(w->counters.at[i].name);
}

void dw_memory_free(struct dw_memory *world)
{
    if (world == NULL)
        return;
    assert(world->stores == 0);
    free_rows(world);
    free(world->pushes.at);
    free(world->inbox.at);
    free(world->replies.at);
    free(world->members.at);
    free(world->sessions.at);
    free(world->online.at);
    free(world->clients.at);
    free(world->dirty.at);
    free(world->counters.at);
    free(world->claims);
    (void)pthread_mutex_destroy(&world->lock);
    free(world);
}

void dw_memory_on_inbox(struct dw_memory *world, dw_memory_handler *handler, void *context)
{
    world->handler = handler;
    world->handler_context = context;
}

static void close_store(struct dw_store *store, bool killed)
{
    struct dw_memory *w = dw_mem_lock(store);
    int32_t worker = dw_mem_of(store)->worker;

    (void)killed; /* what a kill leaves behind is what closing leaves, too */
    if (worker >= 0)
        w->workers[worker].alive = false;
    if (w->housekeeper == store)
        w->housekeeper = NULL;
    w->stores--;
    (void)dw_mem_unlock(w, DW_OK);
    free(store);
}

static struct dw_store_ops ops;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void merge_ops(void)
{
    ops = dw_mem_queue_ops;
    ops.client_update = dw_mem_client_ops.client_update;
    ops.client_peek = dw_mem_client_ops.client_peek;
    ops.client_get = dw_mem_client_ops.client_get;
    ops.state_is_new = dw_mem_client_ops.state_is_new;
    ops.clients_leave = dw_mem_client_ops.clients_leave;
    ops.claim = dw_mem_client_ops.claim;
    ops.arrivals = dw_mem_client_ops.arrivals;
    ops.online = dw_mem_client_ops.online;
    ops.presence_sync = dw_mem_client_ops.presence_sync;
    ops.worker_join = dw_mem_client_ops.worker_join;
    ops.worker_parked = dw_mem_client_ops.worker_parked;
    ops.worker_lent = dw_mem_client_ops.worker_lent;
    ops.workers = dw_mem_client_ops.workers;
    ops.worker_sockets = dw_mem_client_ops.worker_sockets;
    ops.holders = dw_mem_client_ops.holders;
    ops.housekeeper = dw_mem_client_ops.housekeeper;
    ops.housekeeper_leave = dw_mem_client_ops.housekeeper_leave;
    ops.release = dw_mem_client_ops.release;
    ops.release_due = dw_mem_client_ops.release_due;
    ops.close = close_store;
    ops.session = session;
    ops.session_version = session_version;
    ops.session_put = session_put;
    ops.count = count;
    ops.counters = counters;
    ops.figures = figures;
    ops.checkpoint = checkpoint;
    ops.follow = follow;
    ops.version = version;
    ops.queue_path = no_path;
    ops.state_dir = no_path;
}

int dw_store_open_memory(struct dw_memory *world, const struct dw_store_options *options, struct dw_store **out,
                         struct dw_err *err)
{
    struct dw_mem_store *s = calloc(1, sizeof *s);

    *out = NULL;
    if (s == NULL)
        return dw_mem_nomem(err);
    (void)pthread_once(&once, merge_ops);
    s->base.ops = &ops;
    s->world = world;
    s->retain_ms = options->retain_ms;
    s->worker = -1;
    (void)dw_mem_lock(&s->base);
    world->stores++;
    (void)dw_mem_unlock(world, DW_OK);
    *out = &s->base;
    return DW_OK;
}
