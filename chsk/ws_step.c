/* The WebSocket connection's state machine; see ws_step.h. */
#include "chsk/ws_step.h"

bool dw_ws_open(struct dw_chsk *state, const struct dw_ws_opening *opening)
{
    struct dw_place place = {
        .proven = state->known && opening->claim_epoch == state->epoch ? opening->claim_upto : -1,
        .elsewhere = opening->changes_over ? opening->elsewhere : -1,
        .end = opening->end,
        .horizon = opening->horizon,
        /* It does not say whether it was here before: repeating is better than losing. */
        .amnesia = opening->amnesia,
        .forgotten = opening->amnesia,
    };
    bool gap = dw_chsk_place(state, &place);

    state->known = true;
    state->connected = true;
    state->epoch = (state->epoch + 1) % DW_CHSK_EPOCHS;
    state->udt = 0;
    state->seen_ms = opening->now_ms;
    state->due_ms = INT64_MAX; /* as long as the process that holds it lives */
    return gap;
}

static bool is_unanswered(const struct dw_ws *ws)
{
    return ws->pings > 0 && ws->heard_ms < ws->pinged_ms;
}

static struct dw_ws_effect ping(struct dw_ws *ws, int64_t now_ms)
{
    if (ws->pings == 0)
        ws->barrier = ws->sent;
    ws->pings++;
    ws->pinged_ms = now_ms;
    if (ws->pings == 1)
        ws->waits_ms = 0;
    return (struct dw_ws_effect){.kind = DW_WS_PING};
}

/* The order to close can be carried out, or what is in its way is found out. */
static struct dw_ws_effect work_off_order(struct dw_ws *ws, int64_t now_ms)
{
    if (ws->proven < ws->sent)
        return ws->pings == 0 ? ping(ws, now_ms) : (struct dw_ws_effect){.kind = DW_WS_NOTHING};
    ws->sent = ws->proven = ws->close_id;
    ws->close_id = 0;
    return (struct dw_ws_effect){.kind = DW_WS_CLOSE, .proof = true};
}

static struct dw_ws_effect pong(struct dw_ws *ws, int64_t now_ms)
{
    struct dw_ws_effect effect = {.kind = DW_WS_NOTHING};

    if (ws->pings == 0)
        return effect; /* to none of ours */
    /* With several under way only the oldest's barrier is known, which proves less than it could. */
    ws->pings--;
    if (ws->barrier > ws->proven) {
        ws->proven = ws->barrier;
        effect.proof = true;
    }
    if (ws->pings == 0 && ws->proven < ws->sent)
        ws->waits_ms = now_ms;
    if (ws->close_id != 0) {
        bool proof = effect.proof;

        effect = work_off_order(ws, now_ms);
        effect.proof |= proof;
    }
    return effect;
}

static int64_t barrier_due(const struct dw_ws *ws, const struct dw_ws_times *times)
{
    return ws->waits_ms != 0 && ws->pings == 0 ? ws->waits_ms + times->barrier_ms : INT64_MAX;
}

static int64_t silence_due(const struct dw_ws *ws, const struct dw_ws_times *times)
{
    return is_unanswered(ws) ? ws->pinged_ms + times->timeout_ms : ws->active_ms + times->silence_ms;
}

static struct dw_ws_effect tick(struct dw_ws *ws, int64_t now_ms, const struct dw_ws_times *times)
{
    if (silence_due(ws, times) <= now_ms) {
        if (is_unanswered(ws))
            return (struct dw_ws_effect){.kind = DW_WS_LOST};
        return ping(ws, now_ms);
    }
    if (barrier_due(ws, times) <= now_ms)
        return ping(ws, now_ms);
    return (struct dw_ws_effect){.kind = DW_WS_NOTHING};
}

struct dw_ws_effect dw_ws_step(struct dw_ws *ws, enum dw_ws_input input, int64_t upto, int64_t now_ms,
                               const struct dw_ws_times *times)
{
    struct dw_ws_effect nothing = {.kind = DW_WS_NOTHING};

    switch (input) {
    case DW_WS_BEGIN:
        *ws = (struct dw_ws){.sent = upto, .proven = upto, .heard_ms = now_ms, .active_ms = now_ms};
        return nothing;
    case DW_WS_SENT:
        ws->sent = upto;
        ws->active_ms = now_ms;
        if (ws->waits_ms == 0)
            ws->waits_ms = now_ms;
        return nothing;
    case DW_WS_HEARD:
    case DW_WS_PONG:
        ws->heard_ms = ws->active_ms = now_ms;
        return input == DW_WS_PONG ? pong(ws, now_ms) : nothing;
    case DW_WS_ORDER:
        ws->close_id = upto;
        return work_off_order(ws, now_ms);
    case DW_WS_TICK:
        if (upto > ws->sent && ws->close_id == 0)
            ws->sent = upto;
        break;
    }
    return tick(ws, now_ms, times);
}

int64_t dw_ws_due(const struct dw_ws *ws, const struct dw_ws_times *times)
{
    int64_t silence = silence_due(ws, times), barrier = barrier_due(ws, times);

    return silence < barrier ? silence : barrier;
}
