/* Routing: from the queue to the parked requests.
 *
 * A round reads the pushes behind `routed` once, marks for each whom it concerns, and then answers every
 * marked poll with all its events in one message.  A poll in the index has always been shown everything
 * up to `routed`: it catches up when it is adopted. */
#include "hub/lot_internal.h"

#include "base/clock.h"
#include "base/log.h"
#include "hub/serve.h"

#include <stdlib.h>
#include <string.h>

#define ROUND 512    /* pushes read at once; what is left makes the next round */
#define RETRY_MS 100 /* after a round that failed */

static void free_target(struct dw_target *target)
{
    free(target->name);
    free(target->uid);
}

int dw_lot_take_push(void *context, const struct dw_push *push)
{
    struct dw_lot *lot = context;
    struct dw_target *target;
    size_t at = dw_outbox_count(lot->outbox);
    bool has_both = push->client_id != NULL && push->uid != NULL;
    int rc;

    if (at == lot->target_room) {
        size_t room = lot->target_room != 0 ? lot->target_room * 2 : 64;
        struct dw_target *grown = reallocarray(lot->targets, room, sizeof *grown);

        if (grown == NULL)
            return DW_NOMEM;
        lot->targets = grown;
        lot->target_room = room;
    }
    target = &lot->targets[at];
    if (push->client_id != NULL)
        target->kind = DW_TO_CLIENT;
    else if (push->uid != NULL)
        target->kind = DW_TO_UID;
    else
        target->kind = strcmp(push->room, "*") == 0 ? DW_TO_ALL : DW_TO_ROOM;
    target->name = strdup(push->client_id != NULL ? push->client_id : push->uid != NULL ? push->uid : push->room);
    target->uid = has_both ? strdup(push->uid) : NULL;
    rc = target->name != NULL && (target->uid != NULL) == has_both ? DW_OK : DW_NOMEM;
    if (rc == DW_OK)
        rc = dw_outbox_add(lot->outbox, push);
    if (rc != DW_OK)
        free_target(target);
    return rc;
}

void dw_lot_end_round(struct dw_lot *lot)
{
    size_t i;

    for (i = 0; i < dw_outbox_count(lot->outbox); i++)
        free_target(&lot->targets[i]);
    dw_outbox_clear(lot->outbox);
}

static int mark(struct dw_lot *lot, struct dw_parked *parked, uint32_t index)
{
    if (dw_outbox_id(lot->outbox, index) <= parked->after)
        return DW_OK;
    if (parked->kind == DW_PARKED_SOCKET && parked->socket->behind)
        return DW_OK; /* it gets this from its mailbox, behind what it has missed */
    /* A uid may be listed twice for a room that it left and joined again. */
    if (parked->mark_count > 0 && parked->marks[parked->mark_count - 1] == index)
        return DW_OK;
    if (parked->mark_count == parked->mark_room) {
        uint32_t room = parked->mark_room != 0 ? parked->mark_room * 4 : 4;
        uint32_t *grown = reallocarray(parked->marks, room, sizeof *grown);

        if (grown == NULL)
            return DW_NOMEM;
        parked->marks = grown;
        parked->mark_room = room;
    }
    if (parked->mark_count == 0) {
        parked->next_marked = lot->marked;
        lot->marked = parked;
    }
    parked->marks[parked->mark_count++] = index;
    return DW_OK;
}

struct member {
    struct dw_lot *lot;
    uint32_t index;
};

static int mark_uid(void *context, const char *uid)
{
    struct member *member = context;
    struct dw_parked *parked;
    int rc = DW_OK;

    for (parked = dw_index_uid(&member->lot->index, uid); parked != NULL && rc == DW_OK; parked = parked->uid_next)
        rc = mark(member->lot, parked, member->index);
    return rc;
}

static int mark_targets(struct dw_lot *lot, uint32_t index, struct dw_err *err)
{
    const struct dw_target *target = &lot->targets[index];
    struct member member = {lot, index};
    struct dw_parked *parked;
    int rc = DW_OK;

    switch (target->kind) {
    case DW_TO_UID:
        return mark_uid(&member, target->name);
    case DW_TO_CLIENT:
        parked = dw_index_client(&lot->index, target->name);
        for (; parked != NULL && rc == DW_OK; parked = parked->client_next) {
            if (target->uid == NULL || strcmp(target->uid, parked->uid != NULL ? parked->uid : "") == 0)
                rc = mark(lot, parked, index);
        }
        return rc;
    case DW_TO_ALL:
        for (parked = lot->earliest; parked != NULL && rc == DW_OK; parked = parked->later) {
            if (parked->kind == DW_PARKED_POLL)
                rc = mark(lot, parked, index);
        }
        for (parked = lot->sockets; parked != NULL && rc == DW_OK; parked = parked->later) {
            if (parked->socket->indexed)
                rc = mark(lot, parked, index);
        }
        return rc;
    case DW_TO_ROOM:
        break;
    }
    return dw_store_members(lot->store, target->name, dw_outbox_id(lot->outbox, index), mark_uid, &member, err);
}

/* An order to close: its place is passed at once, or the client would run into it again and again. */
static int pass_close(void *context, struct dw_client *client, bool found, uint64_t claim)
{
    const struct dw_parked *parked = context;

    (void)found;
    (void)claim;
    if (client->epoch != parked->epoch)
        return DW_SUPERSEDED;
    client->cursor = parked->after;
    return DW_OK;
}

static void close_poll(struct dw_lot *lot, struct dw_parked *parked, int64_t close_id)
{
    struct dw_client_key key = {DW_AJAX, parked->uid, parked->client_id};
    struct dw_answer answer = DW_ANSWER_INIT;
    struct dw_err err = {0};
    int64_t before = parked->after;
    int rc;

    parked->after = close_id;
    rc = dw_store_client_change(lot->store, &key, pass_close, parked, &err);
    if (rc == DW_BUSY) { /* all others wait for this thread: it does not wait for a lock */
        parked->after = before;
        if (lot->again > close_id - 1)
            lot->again = close_id - 1;
        return;
    }
    if (rc == DW_SUPERSEDED || rc == DW_NOTFOUND) {
        dw_lot_mute(lot, parked);
        return;
    }
    if (rc != DW_OK)
        dw_log_error("closing a client's poll failed: %s", dw_err_say(&err, rc));
    dw_answer_closed(&answer);
    dw_lot_answer(lot, parked, &answer);
    dw_buf_fini(&answer.body);
}

/* Answers `parked` with the outbox's entries `indexes`, the end of which is `end` where all of them fit. */
static void deliver(struct dw_lot *lot, struct dw_parked *parked, const uint32_t *indexes, size_t count, int64_t end)
{
    struct dw_answer answer = {.status = 200, .binary = parked->packer->binary};
    struct dw_part packed;
    struct dw_err err = {0};
    size_t taken, events;
    int64_t upto;
    int rc;

    if (parked->kind == DW_PARKED_SOCKET) {
        dw_sockets_deliver(lot, parked, indexes, count, end);
        return;
    }
    if (dw_outbox_is_close(lot->outbox, indexes[0])) {
        close_poll(lot, parked, dw_outbox_id(lot->outbox, indexes[0]));
        return;
    }
    rc =
        dw_outbox_pack(lot->outbox, parked->packer, parked->generation, indexes, count, &taken, &packed, &events, &err);
    if (rc != DW_OK) {
        dw_lot_fail(lot, parked, "packing events", &err, rc);
        return;
    }
    upto = taken == count ? end : dw_outbox_id(lot->outbox, indexes[taken - 1]);
    if (events == 0) {
        parked->after = upto;
        return;
    }
    if (!dw_store_claim_answer(lot->store, parked->slot, parked->epoch, upto)) {
        dw_lot_mute(lot, parked);
        return;
    }
    dw_counter_add(&lot->hub->counters.events, events);
    dw_hub_give_back(lot->hub, &parked->taken);
    /* Borrowed: the outbox keeps the bytes for the next client with the same mail. */
    answer.body.data = (char *)(uintptr_t)packed.bytes;
    answer.body.len = packed.len;
    dw_lot_answer(lot, parked, &answer);
}

/* `limit`: the first entry that may not be marked everywhere. */
static void deliver_marked(struct dw_lot *lot, uint32_t limit, int64_t end)
{
    while (lot->marked != NULL) {
        struct dw_parked *parked = lot->marked;
        uint32_t *marks = parked->marks;
        uint32_t count = parked->mark_count;

        lot->marked = parked->next_marked;
        parked->marks = NULL;
        parked->mark_count = parked->mark_room = 0;
        while (count > 0 && marks[count - 1] >= limit)
            count--;
        if (count > 0)
            deliver(lot, parked, marks, count, end);
        free(marks);
    }
}

/* Nothing is lost: the position stays where it is, and the round is tried again. */
static void retry_later(struct dw_lot *lot, const char *doing, const struct dw_err *err, int rc)
{
    dw_log_error("%s failed: %s", doing, dw_err_say(err, rc));
    dw_counter_add(&lot->hub->counters.store_errors, 1);
    lot->route_due_ms = dw_clock_mono_ms() + RETRY_MS;
}

/* Goes back to where somebody could not be served.  Those who have had what is read again are gone, or have
 * passed it (`after`). */
static bool go_back(struct dw_lot *lot)
{
    if (lot->again == INT64_MAX)
        return false;
    if (lot->again < lot->routed)
        lot->routed = lot->again;
    lot->again = INT64_MAX;
    lot->route_due_ms = dw_clock_mono_ms() + RETRY_MS;
    return true;
}

/* One round; true: there may be more. */
static bool route_pushes(struct dw_lot *lot)
{
    struct dw_err err = {0};
    size_t count, ready = 0;
    int64_t end;
    int rc = dw_store_pushes(lot->store, lot->routed, ROUND, dw_lot_take_push, lot, &err);

    count = dw_outbox_count(lot->outbox);
    while (ready < count && rc == DW_OK) {
        rc = mark_targets(lot, (uint32_t)ready, &err);
        if (rc == DW_OK)
            ready++;
    }
    if (rc != DW_OK)
        retry_later(lot, "reading new pushes", &err, rc);
    end = ready > 0 ? dw_outbox_id(lot->outbox, ready - 1) : lot->routed;
    deliver_marked(lot, (uint32_t)ready, end);
    lot->routed = end;
    dw_lot_end_round(lot);
    return !go_back(lot) && rc == DW_OK && count == ROUND;
}

static int answer_reply(struct dw_lot *lot, const struct dw_reply *reply)
{
    struct dw_parked *parked = dw_index_inbox(&lot->index, reply->inbox_id);
    struct dw_answer answer = DW_ANSWER_INIT;
    struct dw_err err = {0};
    int rc;

    if (parked == NULL)
        return DW_OK; /* held by another process, or timed out */
    if (parked->kind == DW_PARKED_ASKED) {
        dw_sockets_reply(lot, parked, reply);
        return DW_OK;
    }
    dw_arena_reset(lot->arena);
    rc = dw_answer_reply(&answer, lot->hub, parked->packer, parked->generation, lot->arena, reply, &err);
    if (rc == DW_OK)
        dw_lot_answer(lot, parked, &answer);
    else
        dw_lot_fail(lot, parked, "sending a reply", &err, rc);
    dw_buf_fini(&answer.body);
    return DW_OK;
}

static int on_reply(void *context, const struct dw_reply *reply)
{
    struct dw_lot *lot = context;

    lot->routed_reply = reply->id;
    return answer_reply(lot, reply);
}

static int on_own_reply(void *context, const struct dw_reply *reply)
{
    return answer_reply(context, reply);
}

static bool route_replies(struct dw_lot *lot)
{
    int64_t before = lot->routed_reply;
    struct dw_err err = {0};
    int rc = dw_store_replies(lot->store, before, ROUND, on_reply, lot, &err);

    if (rc != DW_OK)
        retry_later(lot, "reading replies", &err, rc);
    return rc == DW_OK && lot->routed_reply > before;
}

void dw_lot_route(struct dw_lot *lot)
{
    lot->route_due_ms = INT64_MAX;
    if (!dw_lot_follow(lot)) {
        lot->route_due_ms = dw_clock_mono_ms() + RETRY_MS;
        return;
    }
    while (route_pushes(lot))
        ;
    while (lot->index.by_inbox != NULL && route_replies(lot))
        ;
}

void dw_lot_catch_up(struct dw_lot *lot, struct dw_parked *parked)
{
    struct dw_err err = {0};
    uint32_t *indexes;
    size_t count, i;
    int64_t checked = 0;
    int rc;

    if (parked->after >= lot->routed)
        return; /* routing passes over what it has been shown already */
    rc = dw_store_mailbox(lot->store, parked->uid, parked->client_id, parked->after,
                          (size_t)lot->hub->conf->limits_batch, dw_lot_take_push, lot, &checked, &err);
    count = dw_outbox_count(lot->outbox);
    indexes = reallocarray(NULL, count + 1, sizeof *indexes);
    if (rc == DW_OK && indexes == NULL)
        rc = DW_NOMEM;
    if (rc != DW_OK) {
        dw_lot_fail(lot, parked, "reading a client's mail", &err, rc);
    } else if (count > 0) {
        for (i = 0; i < count; i++)
            indexes[i] = (uint32_t)i;
        deliver(lot, parked, indexes, count, checked);
    } else {
        parked->after = checked;
    }
    free(indexes);
    dw_lot_end_round(lot);
    (void)go_back(lot);
}

void dw_lot_await_reply(struct dw_lot *lot, const struct dw_parked *parked, bool first)
{
    struct dw_err err = {0};
    int64_t end;
    int rc;

    /* First the end, then the look: a reply is before the end and seen, or behind it and followed. */
    if (first && dw_store_reply_end(lot->store, &end, &err) == DW_OK && end > lot->routed_reply)
        lot->routed_reply = end;
    rc = dw_store_reply_get(lot->store, parked->inbox_id, on_own_reply, lot, &err);
    if (rc != DW_OK && rc != DW_NOTFOUND)
        dw_log_error("looking for a reply failed: %s", dw_err_say(&err, rc));
}
