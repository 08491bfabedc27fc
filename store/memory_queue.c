/* The memory backend's queue: pushes, rooms, inbox, replies, sessions.  Rows lie in order of id. */
#include "store/memory_priv.h"

#include <stdlib.h>
#include <string.h>

/* ---- pushes ---- */

static int end(struct dw_store *store, int64_t *value, struct dw_err *err)
{
    struct dw_memory *w = dw_mem_lock(store);

    (void)err;
    *value = w->end;
    return dw_mem_unlock(w, DW_OK);
}

static int horizon(struct dw_store *store, int64_t *value, struct dw_err *err)
{
    struct dw_memory *w = dw_mem_lock(store);

    (void)err;
    *value = w->horizon;
    return dw_mem_unlock(w, DW_OK);
}

void dw_mem_free_push(struct dw_mem_push *row)
{
    free(row->uid);
    free(row->client_id);
    free(row->room);
    free(row->event);
    free(row->data);
    free(row->format);
}

static int push_insert(struct dw_store *store, const struct dw_push *push, int64_t *id, struct dw_err *err)
{
    struct dw_memory *w = dw_mem_of(store)->world;
    struct dw_mem_push row = {.id = w->end + 1, .created_at = dw_clock_wall_ms(), .data_len = push->data_len};
    bool ok = true;
    int rc = dw_mem_check_push(push, err);

    if (rc != DW_OK)
        return rc;
    row.uid = dw_mem_copy(push->uid, &ok);
    row.client_id = dw_mem_copy(push->client_id, &ok);
    row.room = dw_mem_copy(push->room, &ok);
    row.event = dw_mem_copy(push->event, &ok);
    row.format = dw_mem_copy(push->format != NULL ? push->format : "json", &ok);
    row.data = push->data != NULL ? strndup(push->data, push->data_len) : NULL;
    if (!ok || (push->data != NULL && row.data == NULL) || !dw_mem_room(w->pushes)) {
        dw_mem_free_push(&row);
        return dw_mem_nomem(err);
    }
    w->pushes.at[w->pushes.count++] = row;
    w->end = row.id;
    dw_mem_committed(store);
    if (id != NULL)
        *id = row.id;
    return DW_OK;
}

static int push(struct dw_store *store, const struct dw_push *row, int64_t *id, struct dw_err *err)
{
    struct dw_memory *w = dw_mem_lock(store);

    return dw_mem_unlock(w, push_insert(store, row, id, err));
}

static int hand_out(const struct dw_mem_push *row, dw_push_fn *fn, void *context)
{
    struct dw_push out = {.id = row->id,
                          .uid = row->uid,
                          .client_id = row->client_id,
                          .room = row->room,
                          .event = row->event,
                          .data = row->data,
                          .data_len = row->data != NULL ? row->data_len : 0,
                          .format = row->format};

    return fn(context, &out);
}

static int pushes(struct dw_store *store, int64_t after, size_t max, dw_push_fn *fn, void *context, struct dw_err *err)
{
    struct dw_memory *w = dw_mem_lock(store);
    size_t count = 0;
    int rc = DW_OK;

    (void)err;
    for (size_t i = 0; rc == DW_OK && count < max && i < w->pushes.count; i++)
        if (w->pushes.at[i].id > after) {
            rc = hand_out(&w->pushes.at[i], fn, context);
            count++;
        }
    return dw_mem_unlock(w, rc);
}

static bool was_member(const struct dw_memory *w, const char *room, const char *uid, int64_t id)
{
    for (size_t i = 0; i < w->members.count; i++) {
        const struct dw_mem_member *m = &w->members.at[i];

        if (m->since_id < id && id <= m->until_id && strcmp(m->room, room) == 0 && strcmp(m->uid, uid) == 0)
            return true;
    }
    return false;
}

static bool is_for(const struct dw_memory *w, const struct dw_mem_push *row, const char *uid, const char *client_id)
{
    if (row->uid != NULL || row->client_id != NULL)
        return (row->uid == NULL || strcmp(row->uid, uid) == 0) &&
               (row->client_id == NULL || dw_mem_same(row->client_id, client_id));
    return strcmp(row->room, "*") == 0 || was_member(w, row->room, uid, row->id);
}

static int mailbox(struct dw_store *store, const char *uid, const char *client_id, int64_t after, size_t max,
                   dw_push_fn *fn, void *context, int64_t *checked, struct dw_err *err)
{
    struct dw_memory *w = dw_mem_lock(store);
    int64_t last = after;
    size_t count = 0;
    int rc = DW_OK;

    (void)err;
    *checked = w->end;
    for (size_t i = 0; rc == DW_OK && count < max && i < w->pushes.count; i++) {
        const struct dw_mem_push *row = &w->pushes.at[i];

        if (row->id <= after || row->id > *checked || !is_for(w, row, uid != NULL ? uid : "", client_id))
            continue;
        last = row->id;
        count++;
        rc = hand_out(row, fn, context);
    }
    if (rc == DW_OK && count == max)
        *checked = last;
    return dw_mem_unlock(w, rc);
}

/* ---- rooms ---- */

static int members(struct dw_store *store, const char *room, int64_t id, dw_uid_fn *fn, void *context,
                   struct dw_err *err)
{
    struct dw_memory *w = dw_mem_lock(store);
    int rc = DW_OK;

    (void)err;
    for (size_t i = 0; rc == DW_OK && i < w->members.count; i++) {
        const struct dw_mem_member *m = &w->members.at[i];

        if (m->since_id < id && id <= m->until_id && strcmp(m->room, room) == 0)
            rc = fn(context, m->uid);
    }
    return dw_mem_unlock(w, rc);
}

static struct dw_mem_member *find_member(struct dw_memory *w, const char *room, const char *uid)
{
    for (size_t i = 0; i < w->members.count; i++) {
        struct dw_mem_member *m = &w->members.at[i];

        if (m->until_id == INT64_MAX && strcmp(m->room, room) == 0 && strcmp(m->uid, uid) == 0)
            return m;
    }
    return NULL;
}

static int member_insert(struct dw_memory *w, const char *room, const char *uid, struct dw_err *err)
{
    struct dw_mem_member row = {.since_id = w->end, .until_id = INT64_MAX};
    bool ok = true;

    if (room == NULL || room[0] == '\0' || strcmp(room, "*") == 0 || uid == NULL)
        return dw_err_set(err, DW_INVALID, "dw_member: room must be a name, and not *; uid must be text");
    if (find_member(w, room, uid) != NULL)
        return DW_OK;
    row.room = dw_mem_copy(room, &ok);
    row.uid = dw_mem_copy(uid, &ok);
    if (!ok || !dw_mem_room(w->members)) {
        free(row.room);
        free(row.uid);
        return dw_mem_nomem(err);
    }
    w->members.at[w->members.count++] = row;
    return DW_OK;
}

static int member_add(struct dw_store *store, const char *room, const char *uid, struct dw_err *err)
{
    struct dw_memory *w = dw_mem_lock(store);
    int rc = member_insert(w, room, uid, err);

    return dw_mem_unlock(w, rc);
}

static int member_remove(struct dw_store *store, const char *room, const char *uid, struct dw_err *err)
{
    struct dw_memory *w = dw_mem_lock(store);
    struct dw_mem_member *m = find_member(w, room, uid);

    (void)err;
    if (m != NULL)
        m->until_id = w->end;
    return dw_mem_unlock(w, DW_OK);
}

/* ---- inbox and replies ---- */

void dw_mem_free_inbox(struct dw_mem_inbox *row)
{
    free(row->uid);
    free(row->client_id);
    free(row->event);
    free(row->data);
    free(row->format);
    free(row->packer);
    free(row->raw);
}

void dw_mem_free_reply(struct dw_mem_reply *row)
{
    free(row->data);
    free(row->format);
}

static int reply_insert(struct dw_memory *w, int64_t inbox_id, const char *data, size_t len, const char *format,
                        struct dw_err *err)
{
    struct dw_mem_reply row = {.id = w->reply_end + 1, .inbox_id = inbox_id, .created_at = dw_clock_wall_ms()};
    const struct dw_mem_inbox *asked = NULL;
    bool ok = true;
    int rc = dw_mem_check_data(data, len, format, err);

    if (rc != DW_OK)
        return rc;
    for (size_t i = 0; i < w->inbox.count; i++)
        if (w->inbox.at[i].id == inbox_id)
            asked = &w->inbox.at[i];
    if (asked == NULL || !asked->wants_reply)
        return dw_err_set(err, DW_INVALID, "dw_reply: there is no dw_inbox row with this id that wants a reply");
    for (size_t i = 0; i < w->replies.count; i++)
        if (w->replies.at[i].inbox_id == inbox_id)
            return dw_err_set(err, DW_INVALID, "dw_reply: this dw_inbox row has been answered already");
    row.format = dw_mem_copy(format, &ok);
    row.data = data != NULL ? strndup(data, len) : NULL;
    row.data_len = data != NULL ? len : 0;
    if (!ok || (data != NULL && row.data == NULL) || !dw_mem_room(w->replies)) {
        dw_mem_free_reply(&row);
        return dw_mem_nomem(err);
    }
    w->replies.at[w->replies.count++] = row;
    w->reply_end = row.id;
    return DW_OK;
}

/* Runs the test's handler on the row that was added last. */
static int run_handler(struct dw_memory *w, const struct dw_inbox *row, struct dw_err *err)
{
    struct dw_buf data = DW_BUF_INIT;
    bool replied = false;
    int rc;

    if (w->handler == NULL)
        return DW_OK;
    rc = w->handler(w->handler_context, row, &replied, &data);
    if (rc == DW_OK && replied)
        rc = reply_insert(w, row->id, dw_buf_str(&data), data.len, "json", err);
    dw_buf_fini(&data);
    return rc == DW_OK ? DW_OK : dw_err_set(err, DW_HANDLER, "the app's trigger on dw_inbox failed");
}

int dw_mem_inbox_insert(struct dw_store *store, const struct dw_inbox *row, int64_t *id, struct dw_err *err)
{
    struct dw_memory *w = dw_mem_of(store)->world;
    struct dw_mem_inbox added = {.id = w->inbox_end + 1,
                                 .received_at = row->received_at,
                                 .data_len = row->data != NULL ? row->data_len : 0,
                                 .raw_len = row->raw != NULL ? row->raw_len : 0,
                                 .wants_reply = row->wants_reply};
    struct dw_inbox seen = *row;
    bool ok = true;
    int rc;

    added.uid = dw_mem_copy(row->uid, &ok);
    added.client_id = dw_mem_copy(row->client_id, &ok);
    added.event = dw_mem_copy(row->event, &ok);
    added.format = dw_mem_copy(row->format, &ok);
    added.packer = dw_mem_copy(row->packer, &ok);
    added.data = row->data != NULL ? strndup(row->data, row->data_len) : NULL;
    added.raw = row->raw != NULL ? malloc(row->raw_len + 1) : NULL;
    if (!ok || (row->data != NULL && added.data == NULL) || (row->raw != NULL && added.raw == NULL) ||
        !dw_mem_room(w->inbox)) {
        dw_mem_free_inbox(&added);
        return dw_mem_nomem(err);
    }
    if (added.raw != NULL)
        memcpy(added.raw, row->raw, row->raw_len);
    w->inbox.at[w->inbox.count++] = added;
    seen.id = added.id;
    rc = run_handler(w, &seen, err);
    if (rc != DW_OK) {
        w->inbox.count--;
        dw_mem_free_inbox(&added);
        return rc;
    }
    w->inbox_end = added.id;
    dw_mem_committed(store);
    *id = added.id;
    return DW_OK;
}

static int hand_reply(const struct dw_mem_reply *row, dw_reply_fn *fn, void *context)
{
    struct dw_reply out = {row->id, row->inbox_id, row->data, row->data_len, row->format};

    return fn(context, &out);
}

static int reply_get(struct dw_store *store, int64_t inbox_id, dw_reply_fn *fn, void *context, struct dw_err *err)
{
    struct dw_memory *w = dw_mem_lock(store);
    int rc = DW_OK;

    (void)err;
    for (size_t i = 0; rc == DW_OK && i < w->replies.count; i++)
        if (w->replies.at[i].inbox_id == inbox_id)
            rc = hand_reply(&w->replies.at[i], fn, context);
    return dw_mem_unlock(w, rc);
}

static void add_load(struct dw_inbox_load *load, const struct dw_mem_inbox *row)
{
    load->rows++;
    load->bytes += (int64_t)(strlen(row->event) + row->data_len + row->raw_len);
}

static int check_load(struct dw_store *store, const struct dw_inbox *row, struct dw_err *err)
{
    const struct dw_memory *w = dw_mem_of(store)->world;
    struct dw_inbox_load own = {0, 0}, strangers = {0, 0}, all = {0, 0};

    for (size_t i = 0; i < w->inbox.count; i++) {
        const struct dw_mem_inbox *there = &w->inbox.at[i];

        add_load(&all, there);
        if (there->uid == NULL)
            add_load(&strangers, there);
        if (dw_mem_same(there->uid, row->uid) && (row->uid != NULL || dw_mem_same(there->client_id, row->client_id)))
            add_load(&own, there);
    }
    return dw_inbox_check(&store->limits, row->uid != NULL, &own, &strangers, &all, dw_inbox_bytes(row), err);
}

static int inbox_add(struct dw_store *store, const struct dw_inbox *row, int64_t *id, dw_reply_fn *fn, void *context,
                     struct dw_err *err)
{
    struct dw_memory *w = dw_mem_lock(store);
    int64_t added = 0;
    int rc = check_load(store, row, err);

    rc = dw_mem_unlock(w, rc == DW_OK ? dw_mem_inbox_insert(store, row, &added, err) : rc);
    if (rc != DW_OK)
        return rc;
    if (id != NULL)
        *id = added;
    return row->wants_reply && fn != NULL ? reply_get(store, added, fn, context, err) : DW_OK;
}

static int inbox(struct dw_store *store, int64_t after, size_t max, dw_inbox_fn *fn, void *context, struct dw_err *err)
{
    struct dw_memory *w = dw_mem_lock(store);
    size_t count = 0;
    int rc = DW_OK;

    (void)err;
    for (size_t i = 0; rc == DW_OK && count < max && i < w->inbox.count; i++) {
        const struct dw_mem_inbox *row = &w->inbox.at[i];
        struct dw_inbox out = {row->id,     row->uid,         row->client_id,   row->event,  row->data, row->data_len,
                               row->format, row->wants_reply, row->received_at, row->packer, row->raw,  row->raw_len};

        if (row->id <= after)
            continue;
        rc = fn(context, &out);
        count++;
    }
    return dw_mem_unlock(w, rc);
}

static int reply(struct dw_store *store, int64_t inbox_id, const char *data, size_t data_len, const char *format,
                 struct dw_err *err)
{
    struct dw_memory *w = dw_mem_lock(store);
    int rc = reply_insert(w, inbox_id, data, data_len, format != NULL ? format : "json", err);

    if (rc == DW_OK)
        dw_mem_committed(store);
    return dw_mem_unlock(w, rc);
}

static int reply_end(struct dw_store *store, int64_t *value, struct dw_err *err)
{
    struct dw_memory *w = dw_mem_lock(store);

    (void)err;
    *value = w->reply_end;
    return dw_mem_unlock(w, DW_OK);
}

static int replies(struct dw_store *store, int64_t after, size_t max, dw_reply_fn *fn, void *context,
                   struct dw_err *err)
{
    struct dw_memory *w = dw_mem_lock(store);
    size_t count = 0;
    int rc = DW_OK;

    (void)err;
    for (size_t i = 0; rc == DW_OK && count < max && i < w->replies.count; i++)
        if (w->replies.at[i].id > after) {
            rc = hand_reply(&w->replies.at[i], fn, context);
            count++;
        }
    return dw_mem_unlock(w, rc);
}

/* ---- retention ---- */

/* Forgets memberships that no push is left for. */
static size_t drop_members(struct dw_memory *w)
{
    int64_t first = w->pushes.count > 0 ? w->pushes.at[0].id : w->end + 1;
    size_t kept = 0;
    size_t dropped;

    for (size_t i = 0; i < w->members.count; i++) {
        struct dw_mem_member *m = &w->members.at[i];

        if (m->until_id < first) {
            free(m->room);
            free(m->uid);
        } else
            w->members.at[kept++] = *m;
    }
    dropped = w->members.count - kept;
    w->members.count = kept;
    return dropped;
}

int dw_mem_gc(struct dw_store *store, const struct dw_housework *work, bool *more, struct dw_err *err)
{
    struct dw_memory *w = dw_mem_lock(store);
    size_t chunk = work->chunk > 0 ? work->chunk : 200;
    int64_t inbox_before = work->now_ms - dw_inbox_retain(dw_mem_of(store)->retain_ms);
    int64_t before = work->now_ms - dw_mem_of(store)->retain_ms;
    struct dw_removed ignored = {.pushes = 0};
    struct dw_removed *removed = work->removed != NULL ? work->removed : &ignored;
    size_t n;

    (void)err;
    for (n = 0; n < chunk && n < w->pushes.count && w->pushes.at[n].created_at < before; n++) {
        w->horizon = w->pushes.at[n].id;
        dw_mem_free_push(&w->pushes.at[n]);
    }
    *more = n == chunk;
    w->pushes.count -= n;
    removed->pushes += (int64_t)n;
    if (n > 0)
        memmove(w->pushes.at, w->pushes.at + n, w->pushes.count * sizeof *w->pushes.at);
    removed->memberships += (int64_t)drop_members(w);
    for (n = 0; n < chunk && n < w->replies.count && w->replies.at[n].created_at < inbox_before; n++)
        dw_mem_free_reply(&w->replies.at[n]);
    *more = *more || n == chunk;
    w->replies.count -= n;
    removed->replies += (int64_t)n;
    if (n > 0)
        memmove(w->replies.at, w->replies.at + n, w->replies.count * sizeof *w->replies.at);
    for (n = 0; n < chunk && n < w->inbox.count && w->inbox.at[n].received_at < inbox_before; n++)
        dw_mem_free_inbox(&w->inbox.at[n]);
    *more = *more || n == chunk;
    w->inbox.count -= n;
    removed->inbox += (int64_t)n;
    if (n > 0)
        memmove(w->inbox.at, w->inbox.at + n, w->inbox.count * sizeof *w->inbox.at);
    return dw_mem_unlock(w, DW_OK);
}

const struct dw_store_ops dw_mem_queue_ops = {
    .end = end,
    .pushes = pushes,
    .mailbox = mailbox,
    .members = members,
    .horizon = horizon,
    .push = push,
    .inbox_add = inbox_add,
    .inbox = inbox,
    .reply = reply,
    .reply_end = reply_end,
    .replies = replies,
    .reply_get = reply_get,
    .member_add = member_add,
    .member_remove = member_remove,
    .gc = dw_mem_gc,
};
