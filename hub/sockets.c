/* Holding WebSockets; see sockets.h. */
#include "hub/sockets.h"

#include "base/clock.h"
#include "base/log.h"
#include "hub/lot_internal.h"
#include "hub/receive.h"

#include <stdlib.h>
#include <string.h>

/* Close codes of RFC 6455 section 7.4.1 and IANA's registry. */
#define NORMAL 1000
#define SERVER_FAILED 1011
#define COME_AGAIN 1013
#define SESSION_ENDED 4401 /* of those for private use: a page can tell it, and the next handshake is refused */

/* ---- sending ---- */

static void stop_routing(struct dw_lot *lot, struct dw_parked *parked)
{
    if (parked->socket->indexed)
        dw_index_remove(&lot->index, parked);
    parked->socket->indexed = false;
}

static void close_socket(struct dw_lot *lot, struct dw_parked *parked, int code)
{
    struct dw_socket *socket = parked->socket;

    if (socket->closing)
        return;
    socket->closing = true;
    stop_routing(lot, parked);
    dw_wheel_unset(&lot->wheel, &socket->timer);
    lot->callbacks.close(lot->callbacks.context, parked, code);
}

static bool has_room(const struct dw_lot *lot, const struct dw_parked *parked)
{
    return lot->callbacks.has_room(lot->callbacks.context, parked);
}

static bool send_bytes(struct dw_lot *lot, struct dw_parked *parked, const char *bytes, size_t len)
{
    return !parked->socket->closing && lot->callbacks.send(lot->callbacks.context, parked, bytes, len);
}

static void close_slow(struct dw_lot *lot, struct dw_parked *parked)
{
    char who[DW_LOG_WHO];

    dw_counter_add(&lot->hub->counters.sockets_slow, 1);
    dw_log_info("a WebSocket client reads too slowly and is closed; it resumes when it comes back%s",
                dw_log_who(who, parked->uid, parked->client_id));
    close_socket(lot, parked, COME_AGAIN);
}

static void send_value(struct dw_lot *lot, struct dw_parked *parked, struct dw_arena *arena,
                       const struct dw_value *value, const struct dw_value *callback)
{
    struct dw_err err = {0};
    int rc;

    dw_buf_reset(&lot->packed);
    rc = dw_envelope_write(parked->packer, parked->generation, arena, value, callback, &lot->packed, &err);
    if (rc == DW_OK && dw_buf_failed(&lot->packed))
        rc = DW_NOMEM;
    if (rc == DW_OK) {
        if (!send_bytes(lot, parked, lot->packed.data, lot->packed.len))
            close_slow(lot, parked);
        return;
    }
    dw_log_error("packing a message failed: %s", dw_err_say(&err, rc));
    close_socket(lot, parked, SERVER_FAILED);
}

/* ---- the state machine's effects ---- */

static void send_ping(struct dw_lot *lot, struct dw_parked *parked)
{
    dw_arena_reset(lot->arena);
    send_value(lot, parked, lot->arena, dw_chsk_ws_ping(lot->arena), NULL);
}

static int64_t due_of(const struct dw_lot *lot, const struct dw_socket *socket)
{
    int64_t due = dw_ws_due(&socket->ws, &lot->times), expiry = dw_parked_expiry(socket->parked);

    return expiry < due ? expiry : due;
}

static void step_at(struct dw_lot *lot, struct dw_parked *parked, enum dw_ws_input input, int64_t upto, int64_t now_ms)
{
    struct dw_socket *socket = parked->socket;
    struct dw_ws_effect effect = dw_ws_step(&socket->ws, input, upto, now_ms, &lot->times);

    if (effect.proof)
        (void)dw_store_claim_begin(lot->store, parked->slot, parked->epoch, socket->ws.proven);
    switch (effect.kind) {
    case DW_WS_NOTHING:
        break;
    case DW_WS_PING:
        send_ping(lot, parked);
        break;
    case DW_WS_LOST:
        dw_counter_add(&lot->hub->counters.sockets_lost, 1);
        close_socket(lot, parked, NORMAL);
        break;
    case DW_WS_CLOSE:
        close_socket(lot, parked, NORMAL);
        break;
    }
    if (!socket->closing)
        dw_wheel_set(&lot->wheel, &socket->timer, due_of(lot, socket));
}

static void step(struct dw_lot *lot, struct dw_parked *parked, enum dw_ws_input input, int64_t upto)
{
    step_at(lot, parked, input, upto, dw_clock_mono_ms());
}

/* ---- pushes ---- */

static bool is_newest(const struct dw_lot *lot, const struct dw_parked *parked)
{
    uint64_t claim = dw_store_claim_read(lot->store, parked->slot);

    return claim == 0 || dw_claim_epoch(claim) == parked->epoch;
}

void dw_sockets_deliver(struct dw_lot *lot, struct dw_parked *parked, const uint32_t *indexes, size_t count,
                        int64_t end)
{
    struct dw_socket *socket = parked->socket;
    bool kept_up = has_room(lot, parked);
    struct dw_part packed;
    struct dw_err err = {0};
    size_t taken, events;
    int rc;

    if (!is_newest(lot, parked)) {
        stop_routing(lot, parked); /* the client's newest connection gets them, maybe in another process */
        return;
    }
    while (count > 0 && !socket->closing) {
        if (dw_outbox_is_close(lot->outbox, indexes[0])) {
            socket->behind = true; /* nothing more until it has come back */
            step(lot, parked, DW_WS_ORDER, dw_outbox_id(lot->outbox, indexes[0]));
            return;
        }
        rc = dw_outbox_pack(lot->outbox, parked->packer, parked->generation, indexes, count, &taken, &packed, &events,
                            &err);
        if (rc != DW_OK) {
            dw_log_error("packing events failed: %s", dw_err_say(&err, rc));
            close_socket(lot, parked, COME_AGAIN);
            return;
        }
        if (events > 0 && !send_bytes(lot, parked, packed.bytes, packed.len)) {
            /* Too much at once for one that has kept up so far is no fault of its own: the rest comes in portions. */
            if (kept_up)
                socket->behind = true;
            else
                close_slow(lot, parked);
            return;
        }
        parked->after = taken == count ? end : dw_outbox_id(lot->outbox, indexes[taken - 1]);
        if (events > 0)
            step(lot, parked, DW_WS_SENT, parked->after);
        dw_counter_add(&lot->hub->counters.events, events);
        if (socket->behind)
            return; /* one message is a portion */
        indexes += taken;
        count -= taken;
    }
}

struct portion {
    struct dw_lot *lot;
    size_t bytes;
};

static int take_portion(void *context, const struct dw_push *push)
{
    struct portion *portion = context;
    int rc = dw_lot_take_push(portion->lot, push);

    portion->bytes += push->data_len;
    if (rc == DW_OK && portion->bytes >= (size_t)portion->lot->hub->conf->limits_batch_bytes)
        rc = DW_LIMIT; /* enough for one message */
    return rc;
}

/* Sends the next portion of what the client has missed; false: it failed. */
static bool read_portion(struct dw_lot *lot, struct dw_parked *parked)
{
    struct portion portion = {.lot = lot};
    struct dw_err err = {0};
    int64_t checked = 0;
    uint32_t *indexes = NULL;
    size_t count = 0, i;
    int rc = dw_store_mailbox(lot->store, parked->uid, parked->client_id, parked->after,
                              (size_t)lot->hub->conf->limits_batch, take_portion, &portion, &checked, &err);

    if (rc == DW_LIMIT) {
        checked = dw_outbox_id(lot->outbox, dw_outbox_count(lot->outbox) - 1);
        rc = DW_OK;
    }
    if (rc == DW_OK) {
        count = dw_outbox_count(lot->outbox);
        indexes = reallocarray(NULL, count + 1, sizeof *indexes);
        if (indexes == NULL)
            rc = DW_NOMEM;
    }
    if (rc != DW_OK) {
        dw_log_error("reading a client's mail failed: %s", dw_err_say(&err, rc));
        dw_counter_add(&lot->hub->counters.store_errors, 1);
        close_socket(lot, parked, COME_AGAIN);
    } else {
        for (i = 0; i < count; i++)
            indexes[i] = (uint32_t)i;
        if (count > 0)
            dw_sockets_deliver(lot, parked, indexes, count, checked);
        else
            parked->after = checked;
    }
    free(indexes);
    dw_lot_end_round(lot);
    return rc == DW_OK;
}

static void catch_up(struct dw_lot *lot, struct dw_parked *parked)
{
    struct dw_socket *socket = parked->socket;

    while (socket->behind && socket->indexed && socket->ws.close_id == 0) {
        if (parked->after >= lot->routed) {
            socket->behind = false; /* routing passes over what it has been shown already */
            return;
        }
        if (!has_room(lot, parked) || !read_portion(lot, parked))
            return;
    }
}

void dw_sockets_tick(struct dw_lot *lot, int64_t now_ms)
{
    struct dw_wheel_item *item;

    while ((item = dw_wheel_take(&lot->wheel, now_ms)) != NULL) {
        struct dw_socket *socket = (struct dw_socket *)(void *)((char *)item - offsetof(struct dw_socket, timer));
        int64_t due;

        if (dw_parked_expiry(socket->parked) <= now_ms)
            dw_lot_review_expired(lot, socket->parked);
        if (socket->closing)
            continue;
        due = due_of(lot, socket);
        if (dw_parked_expiry(socket->parked) <= now_ms) /* the two clocks don't agree yet */
            due = now_ms + DW_WHEEL_GRAIN_MS;
        if (due > now_ms)
            dw_wheel_set(&lot->wheel, item, due); /* it was put off meanwhile */
        else
            step_at(lot, socket->parked, DW_WS_TICK, socket->indexed && !socket->behind ? lot->routed : 0, now_ms);
        catch_up(lot, socket->parked); /* should the adapter have had no memory to go on with */
    }
}

void dw_socket_drained(struct dw_lot *lot, struct dw_parked *parked)
{
    if (parked->socket != NULL)
        catch_up(lot, parked);
}

void dw_sockets_end(struct dw_lot *lot, struct dw_parked *parked)
{
    close_socket(lot, parked, SESSION_ENDED);
}

void dw_sockets_hasten(struct dw_lot *lot, struct dw_parked *parked)
{
    dw_wheel_set(&lot->wheel, &parked->socket->timer, due_of(lot, parked->socket));
}

/* ---- coming and going ---- */

void dw_sockets_adopt(struct dw_lot *lot, struct dw_parked *parked)
{
    struct dw_socket *socket = calloc(1, sizeof *socket);

    if (socket == NULL || !dw_index_add(&lot->index, parked)) {
        free(socket);
        dw_log_error("holding a WebSocket failed: out of memory");
        lot->callbacks.close(lot->callbacks.context, parked, COME_AGAIN);
        return;
    }
    socket->parked = parked;
    socket->behind = socket->indexed = true;
    parked->socket = socket;
    parked->earlier = NULL;
    parked->later = lot->sockets;
    if (lot->sockets != NULL)
        lot->sockets->earlier = parked;
    lot->sockets = parked;
    lot->socket_count++;
    if (!dw_lot_review_new(lot, parked))
        return;
    step(lot, parked, DW_WS_BEGIN, parked->after);
    catch_up(lot, parked);
}

static void forget_asked(struct dw_lot *lot, struct dw_parked *asked)
{
    struct dw_socket *socket = asked->socket;

    dw_index_remove(&lot->index, asked);
    *(asked != socket->asked ? &asked->earlier->later : &socket->asked) = asked->later;
    *(asked != socket->last_asked ? &asked->later->earlier : &socket->last_asked) = asked->earlier;
    socket->asked_count--;
    free(asked);
}

static void free_socket(struct dw_lot *lot, struct dw_parked *parked)
{
    struct dw_socket *socket = parked->socket;
    struct dw_parked *asked, *next;

    if (socket != NULL) {
        stop_routing(lot, parked);
        dw_wheel_unset(&lot->wheel, &socket->timer);
        for (asked = socket->asked; asked != NULL; asked = next) {
            next = asked->later;
            forget_asked(lot, asked);
        }
        dw_lot_review_forget(lot, parked);
        *(parked != lot->sockets ? &parked->earlier->later : &lot->sockets) = parked->later;
        if (parked->later != NULL)
            parked->later->earlier = parked->earlier;
        lot->socket_count--;
        free(socket);
    }
    free(parked->marks);
    free(parked);
}

void dw_socket_closed(struct dw_lot *lot, struct dw_parked *parked)
{
    struct dw_departed departed = {DW_WS, parked->uid, parked->client_id, parked->slot, parked->epoch};

    if (lot->callbacks.departed != NULL)
        lot->callbacks.departed(lot->callbacks.context, &departed);
    free_socket(lot, parked);
}

void dw_sockets_close_all(struct dw_lot *lot, int code)
{
    struct dw_parked *parked;

    for (parked = lot->sockets; parked != NULL; parked = parked->later)
        close_socket(lot, parked, code);
}

void dw_sockets_free_all(struct dw_lot *lot)
{
    struct dw_parked *parked, *next;

    for (parked = lot->sockets; parked != NULL; parked = next) {
        next = parked->later;
        free_socket(lot, parked);
    }
}

size_t dw_socket_count(const struct dw_lot *lot)
{
    return lot->socket_count;
}

size_t dw_socket_count_uid(const struct dw_lot *lot, const char *uid)
{
    const struct dw_parked *parked;
    size_t count = 0;

    for (parked = dw_index_uid(&lot->index, uid); parked != NULL; parked = parked->uid_next)
        count += parked->kind == DW_PARKED_SOCKET;
    return count;
}

/* ---- messages ---- */

struct arrival {
    struct dw_lot *lot;
    struct dw_arena *arena;
    struct dw_parked *parked;
    const struct dw_value *callback;
    bool answered;
};

static void send_reply(struct dw_lot *lot, struct dw_parked *parked, struct dw_arena *arena,
                       const struct dw_reply *reply, const struct dw_value *callback)
{
    const struct dw_value *value = dw_nil();
    struct dw_err err = {0};
    int rc = DW_OK;

    if (reply->data != NULL)
        rc = dw_data_read(lot->hub, parked->packer, reply->format, reply->data, reply->data_len, arena, &value, &err);
    if (rc != DW_OK) {
        dw_counter_add(&lot->hub->counters.handler_errors, 1);
        dw_log_error("the application's reply to a message can't be sent: %s", dw_err_say(&err, rc));
        value = dw_chsk_error(arena);
    }
    send_value(lot, parked, arena, value, callback);
}

static int on_own_reply(void *context, const struct dw_reply *reply)
{
    struct arrival *arrival = context;

    arrival->answered = true;
    send_reply(arrival->lot, arrival->parked, arrival->arena, reply, arrival->callback);
    return DW_OK;
}

/* The app replies later.  The callback id is kept packed, whatever kind of value it is. */
static int await_reply(struct dw_lot *lot, struct dw_parked *parked, const struct dw_value *callback, int64_t inbox_id)
{
    struct dw_socket *socket = parked->socket;
    struct dw_buf packed = DW_BUF_INIT;
    struct dw_parked *asked = NULL;
    bool first = lot->index.by_inbox == NULL;
    int rc = parked->packer->write(callback, &packed, NULL);

    if (rc == DW_OK && !dw_buf_failed(&packed))
        asked = calloc(1, sizeof *asked + packed.len);
    if (asked != NULL) {
        asked->kind = DW_PARKED_ASKED;
        asked->inbox_id = inbox_id;
        asked->socket = socket;
        asked->connection.callback_len = packed.len;
        memcpy(asked->names, packed.data, packed.len);
    }
    dw_buf_fini(&packed);
    if (asked == NULL || !dw_index_add(&lot->index, asked)) {
        free(asked);
        return DW_NOMEM;
    }
    /* The oldest has waited longest: its client has given up on it, most likely. */
    if (socket->asked_count >= (uint64_t)lot->hub->conf->limits_callbacks) {
        forget_asked(lot, socket->asked);
        dw_counter_add(&lot->hub->counters.callbacks_dropped, 1);
    }
    asked->earlier = socket->last_asked;
    *(socket->last_asked != NULL ? &socket->last_asked->later : &socket->asked) = asked;
    socket->last_asked = asked;
    socket->asked_count++;
    dw_lot_await_reply(lot, asked, first);
    return DW_OK;
}

void dw_sockets_reply(struct dw_lot *lot, struct dw_parked *asked, const struct dw_reply *reply)
{
    struct dw_parked *parked = asked->socket->parked;
    const struct dw_value *callback;
    int rc;

    dw_arena_reset(lot->arena);
    rc = parked->packer->read(asked->names, asked->connection.callback_len, NULL, lot->arena, &callback, NULL, NULL);
    if (rc == DW_OK)
        send_reply(lot, parked, lot->arena, reply, callback);
    forget_asked(lot, asked);
}

static void learn_generation(struct dw_lot *lot, struct dw_parked *parked, int generation)
{
    const struct dw_client_key key = {DW_WS, parked->uid, parked->client_id};
    struct dw_err err = {0};

    if (generation == 0 || generation == parked->generation)
        return;
    parked->generation = (uint8_t)generation;
    if (dw_receive_generation(lot->store, &key, generation, &err) != DW_OK)
        dw_log_debug("a client's generation is not remembered: %s", err.text);
}

static int store_message(struct arrival *arrival, const struct dw_receiving *receiving,
                         const struct dw_envelope *envelope)
{
    static struct dw_log_limit crowded;
    struct dw_lot *lot = arrival->lot;
    struct dw_err err = {0};
    int64_t id = 0;
    int rc;

    /* Going down: what the client has sent is taken now or never. */
    if (!atomic_load_explicit(&lot->hub->draining, memory_order_relaxed) &&
        !dw_hub_take_uid(lot->hub, arrival->parked->uid, NULL))
        return DW_QUOTA;
    rc = dw_receive_store(receiving, envelope, &id, &err);
    if (rc == DW_BUSY)
        return rc;
    if (rc == DW_OK && envelope->callback != NULL && !arrival->answered)
        rc = await_reply(lot, arrival->parked, envelope->callback, id);
    if (rc == DW_OK)
        return rc;
    if (rc == DW_CROWDED)
        dw_log_limited(&crowded, DW_LOG_WARN, "a message is refused: %s", dw_err_say(&err, rc));
    if (rc != DW_HANDLER && rc != DW_QUOTA && rc != DW_CROWDED) {
        dw_counter_add(&lot->hub->counters.store_errors, 1);
        dw_log_error("storing a message failed: %s", dw_err_say(&err, rc));
    }
    if (envelope->callback != NULL)
        send_value(lot, arrival->parked, arrival->arena, dw_chsk_error(arrival->arena), envelope->callback);
    return DW_OK;
}

/* A frame of the wrong kind can't be a message of this client's packer; as Sente, the connection stays. */
static void refuse_frame(struct dw_lot *lot, struct dw_parked *parked)
{
    dw_counter_add(&lot->hub->counters.bad_packages, 1);
    dw_log_debug("a %s frame of a client that packs %s is ignored", parked->packer->binary ? "text" : "binary",
                 parked->packer->name);
    step(lot, parked, DW_WS_HEARD, 0);
}

int dw_socket_receive(struct dw_lot *lot, struct dw_server *server, struct dw_parked *parked, const char *bytes,
                      size_t len, bool binary)
{
    struct arrival arrival = {.lot = lot, .arena = dw_server_arena(server), .parked = parked};
    const struct dw_receiving receiving = {
        .hub = lot->hub,
        .store = lot->store,
        .arena = arrival.arena,
        .packer = parked->packer,
        .uid = parked->uid,
        .client_id = parked->client_id,
        .payload = bytes,
        .payload_len = len,
        .on_reply = on_own_reply,
        .context = &arrival,
    };
    const struct dw_value *name, *data;
    struct dw_envelope envelope;
    struct dw_err err = {0};
    int rc;

    if (parked->socket == NULL || parked->socket->closing)
        return DW_OK;
    if (binary != parked->packer->binary) {
        refuse_frame(lot, parked);
        return DW_OK;
    }
    dw_arena_reset(arrival.arena);
    rc = dw_receive_unpack(&receiving, &envelope, &err);
    if (rc != DW_OK) {
        dw_log_debug("a message can't be unpacked: %s", dw_err_say(&err, rc));
        step(lot, parked, DW_WS_HEARD, 0);
        return DW_OK;
    }
    learn_generation(lot, parked, envelope.generation);
    arrival.callback = envelope.callback;
    switch (dw_event_classify(parked->packer, envelope.value, &name, &data)) {
    case DW_EVENT_PONG:
        step(lot, parked, DW_WS_PONG, 0);
        return DW_OK;
    case DW_EVENT_PING:
        step(lot, parked, DW_WS_HEARD, 0);
        if (envelope.callback != NULL)
            send_value(lot, parked, arrival.arena, dw_chsk_pong(arrival.arena), envelope.callback);
        return DW_OK;
    default:
        step(lot, parked, DW_WS_HEARD, 0);
        return store_message(&arrival, &receiving, &envelope);
    }
}

void dw_socket_heard(struct dw_lot *lot, struct dw_parked *parked)
{
    if (parked->socket != NULL && !parked->socket->closing)
        step(lot, parked, DW_WS_HEARD, 0);
}
