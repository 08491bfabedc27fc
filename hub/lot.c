/* Parking, deadlines and single answers; routing of what the queue brings is in lot_route.c. */
#include "hub/lot.h"

#include "base/clock.h"
#include "base/log.h"
#include "hub/lot_internal.h"
#include "hub/serve.h"

#include <stdlib.h>
#include <string.h>

/* By how much a busy process may answer too late. */
#define LATE_MS 1000

/* Deadlines are rounded up to a grid, so that many polls share one wake-up. */
static int64_t grid_ms(const struct dw_hub *hub)
{
    int64_t grid = hub->conf->chsk_lp_timeout_ms / 40;

    return grid < 1 ? 1 : grid > 500 ? 500 : grid;
}

int64_t dw_lot_hold_ms(const struct dw_hub *hub)
{
    return hub->conf->chsk_lp_timeout_ms + grid_ms(hub) + LATE_MS;
}

static int start_at_end(struct dw_lot *lot, struct dw_err *err)
{
    int rc = dw_store_end(lot->store, &lot->routed, err);

    return rc == DW_OK ? dw_store_reply_end(lot->store, &lot->routed_reply, err) : rc;
}

struct dw_lot *dw_lot_new(struct dw_hub *hub, struct dw_store *store, const struct dw_lot_callbacks *callbacks,
                          struct dw_err *err)
{
    struct dw_lot *lot = calloc(1, sizeof *lot);
    int rc = DW_NOMEM;

    if (lot == NULL) {
        dw_err_set(err, DW_NOMEM, "out of memory");
        return NULL;
    }
    lot->hub = hub;
    lot->store = store;
    lot->callbacks = *callbacks;
    lot->route_due_ms = lot->again = lot->review.due_ms = INT64_MAX;
    lot->review.version = dw_store_session_version(store) - 1; /* who was looked up before is looked up again once */
    dw_wheel_init(&lot->wheel, dw_clock_mono_ms());
    lot->times = (struct dw_ws_times){
        .silence_ms = hub->conf->chsk_ws_kalive_ms / 2,
        .timeout_ms = hub->conf->chsk_ws_ping_timeout_ms,
        .barrier_ms = hub->conf->chsk_ws_barrier_ms,
    };
    lot->outbox = dw_outbox_new(hub);
    lot->arena = dw_arena_new(0);
    if (lot->outbox != NULL && lot->arena != NULL)
        rc = dw_store_follow(store, &lot->moves, err);
    else
        dw_err_set(err, DW_NOMEM, "out of memory");
    if (rc == DW_OK)
        rc = start_at_end(lot, err);
    if (rc != DW_OK) {
        dw_lot_free(lot);
        return NULL;
    }
    return lot;
}

void dw_lot_free(struct dw_lot *lot)
{
    if (lot == NULL)
        return;
    while (lot->earliest != NULL) {
        struct dw_parked *parked = lot->earliest;

        dw_lot_remove(lot, parked);
        free(parked);
    }
    dw_sockets_free_all(lot);
    dw_buf_fini(&lot->packed);
    dw_session_fini(&lot->review.session);
    dw_outbox_free(lot->outbox);
    dw_arena_free(lot->arena);
    free(lot->targets);
    free(lot);
}

/* Into the deadline list, which is almost always at its end. */
static void link_deadline(struct dw_lot *lot, struct dw_parked *parked)
{
    struct dw_parked *before = lot->latest;

    while (before != NULL && before->deadline_ms > parked->deadline_ms)
        before = before->earlier;
    parked->earlier = before;
    parked->later = before != NULL ? before->later : lot->earliest;
    *(parked->earlier != NULL ? &parked->earlier->later : &lot->earliest) = parked;
    *(parked->later != NULL ? &parked->later->earlier : &lot->latest) = parked;
}

static void unlink_deadline(struct dw_lot *lot, struct dw_parked *parked)
{
    *(parked != lot->earliest ? &parked->earlier->later : &lot->earliest) = parked->later;
    *(parked != lot->latest ? &parked->later->earlier : &lot->latest) = parked->earlier;
}

static void publish_count(struct dw_lot *lot)
{
    int32_t worker = atomic_load_explicit(&lot->hub->worker, memory_order_relaxed);

    atomic_store_explicit(&lot->hub->parked, (uint32_t)lot->count, memory_order_relaxed);
    if (worker >= 0)
        dw_store_worker_parked(lot->store, worker, (uint32_t)lot->count);
}

void dw_lot_remove(struct dw_lot *lot, struct dw_parked *parked)
{
    if (parked->kind != DW_PARKED_MUTE)
        dw_index_remove(&lot->index, parked);
    dw_lot_review_forget(lot, parked);
    unlink_deadline(lot, parked);
    free(parked->marks);
    parked->marks = NULL;
    lot->count--;
    publish_count(lot);
}

void dw_lot_mute(struct dw_lot *lot, struct dw_parked *parked)
{
    dw_index_remove(&lot->index, parked);
    parked->kind = DW_PARKED_MUTE;
    dw_counter_add(&lot->hub->counters.superseded, 1);
}

static void depart(struct dw_lot *lot, const struct dw_parked *parked)
{
    struct dw_departed departed = {DW_AJAX, parked->uid, parked->client_id, parked->slot, parked->epoch};

    if (parked->kind == DW_PARKED_POLL && lot->callbacks.departed != NULL)
        lot->callbacks.departed(lot->callbacks.context, &departed);
}

void dw_lot_answer(struct dw_lot *lot, struct dw_parked *parked, const struct dw_answer *answer)
{
    depart(lot, parked);
    dw_lot_remove(lot, parked);
    lot->callbacks.answer(lot->callbacks.context, parked, answer);
    free(parked);
}

void dw_lot_fail(struct dw_lot *lot, struct dw_parked *parked, const char *doing, const struct dw_err *err, int rc)
{
    struct dw_answer answer = DW_ANSWER_INIT;

    dw_log_error("%s failed: %s", doing, dw_err_say(err, rc));
    dw_counter_add(&lot->hub->counters.store_errors, 1);
    dw_answer_text(&answer, 500, "The server failed; its log says why");
    dw_lot_answer(lot, parked, &answer);
    dw_buf_fini(&answer.body);
}

/* The end of a held request without an event.  A poll's time-out is claimed like events: it says that
 * there was nothing up to here. */
static void answer_timeout(struct dw_lot *lot, struct dw_parked *parked, bool claim)
{
    struct dw_answer answer = DW_ANSWER_INIT;
    struct dw_err err = {0};
    int rc;

    dw_arena_reset(lot->arena);
    rc = dw_answer_timeout(&answer, parked->packer, parked->generation, lot->arena, &err);
    if (rc != DW_OK) {
        dw_lot_fail(lot, parked, "packing a time-out", &err, rc);
    } else {
        if (parked->kind == DW_PARKED_POLL && claim)
            (void)dw_store_claim_answer(lot->store, parked->slot, parked->epoch,
                                        parked->after > lot->routed ? parked->after : lot->routed);
        dw_counter_add(&lot->hub->counters.timeouts, 1);
        dw_lot_answer(lot, parked, &answer);
    }
    dw_buf_fini(&answer.body);
}

static int64_t on_grid(const struct dw_lot *lot, int64_t deadline_ms)
{
    int64_t grid = grid_ms(lot->hub);

    return (deadline_ms + grid - 1) / grid * grid;
}

void dw_lot_hasten(struct dw_lot *lot, struct dw_parked *parked, int64_t deadline_ms)
{
    if (deadline_ms >= parked->deadline_ms)
        return;
    unlink_deadline(lot, parked);
    parked->deadline_ms = on_grid(lot, deadline_ms);
    link_deadline(lot, parked);
}

static void add(struct dw_lot *lot, struct dw_parked *parked)
{
    parked->deadline_ms = on_grid(lot, parked->deadline_ms);
    link_deadline(lot, parked);
    lot->count++;
    publish_count(lot);
}

bool dw_lot_follow(struct dw_lot *lot)
{
    struct dw_err err = {0};
    uint32_t moves = lot->moves;
    int rc = dw_store_follow(lot->store, &moves, &err);

    if (rc == DW_OK && moves == lot->moves)
        return true;
    if (rc == DW_OK) {
        dw_log_warn("the queue or its state was replaced: all polls are let go and come back to the new one");
        /* Their slots belong to nobody or to others by now. */
        while (lot->earliest != NULL)
            answer_timeout(lot, lot->earliest, false);
        dw_sockets_close_all(lot, 1012); /* service restart (IANA's registry of close codes) */
        rc = start_at_end(lot, &err);
    }
    if (rc == DW_OK)
        lot->moves = moves;
    else
        dw_log_error("following the queue file failed: %s", dw_err_say(&err, rc));
    return rc == DW_OK;
}

void dw_lot_adopt(struct dw_lot *lot, struct dw_parked *parked)
{
    bool ready = dw_lot_follow(lot);
    bool first = lot->index.by_inbox == NULL;

    if (parked->kind == DW_PARKED_SOCKET) {
        dw_sockets_adopt(lot, parked);
        return;
    }
    if (parked->kind != DW_PARKED_MUTE && !dw_index_add(&lot->index, parked)) {
        parked->kind = DW_PARKED_MUTE; /* so that it is not taken out of the index */
        add(lot, parked);
        dw_lot_fail(lot, parked, "holding a request", NULL, DW_NOMEM);
        return;
    }
    add(lot, parked);
    if (atomic_load_explicit(&lot->hub->draining, memory_order_relaxed))
        answer_timeout(lot, parked, false); /* it has not been shown what came since its mailbox was read */
    else if (!ready)
        dw_lot_wake(lot); /* once the queue can be followed, everyone is let go */
    else if (!dw_lot_review_new(lot, parked))
        return;
    else if (parked->kind == DW_PARKED_POLL)
        dw_lot_catch_up(lot, parked);
    else if (parked->kind == DW_PARKED_CALLBACK)
        dw_lot_await_reply(lot, parked, first);
}

void dw_lot_turn_back(struct dw_lot *lot, struct dw_parked *parked)
{
    depart(lot, parked);
    parked->kind = DW_PARKED_MUTE; /* it is in no index */
    add(lot, parked);
    answer_timeout(lot, parked, false);
}

void dw_lot_drop(struct dw_lot *lot, struct dw_parked *parked)
{
    depart(lot, parked);
    dw_lot_remove(lot, parked);
    free(parked);
}

void dw_lot_tick(struct dw_lot *lot, int64_t now_ms)
{
    if (lot->route_due_ms <= now_ms)
        dw_lot_route(lot);
    while (lot->earliest != NULL && lot->earliest->deadline_ms <= now_ms)
        answer_timeout(lot, lot->earliest, true);
    dw_sockets_tick(lot, now_ms);
    dw_lot_review(lot, now_ms);
}

int64_t dw_lot_due(const struct dw_lot *lot)
{
    int64_t due = lot->earliest != NULL ? lot->earliest->deadline_ms : INT64_MAX, sockets = dw_wheel_due(&lot->wheel);

    due = sockets < due ? sockets : due;
    due = lot->review.due_ms < due ? lot->review.due_ms : due;
    return due < lot->route_due_ms ? due : lot->route_due_ms;
}

void dw_lot_drain(struct dw_lot *lot)
{
    dw_lot_route(lot);
    while (lot->earliest != NULL)
        answer_timeout(lot, lot->earliest, true);
}

void dw_lot_wake(struct dw_lot *lot)
{
    const struct dw_conf *conf = lot->hub->conf;
    int64_t batch = lot->socket_count == 0 ? conf->chsk_batch_ajax_ms : conf->chsk_batch_ws_ms;

    dw_lot_review_changes(lot);
    if (batch == 0)
        dw_lot_route(lot);
    else if (lot->route_due_ms == INT64_MAX)
        lot->route_due_ms = dw_clock_mono_ms() + batch;
}

size_t dw_lot_count(const struct dw_lot *lot)
{
    return lot->count;
}
