/* The Ajax client's state machine; see step.h. */
#include "chsk/step.h"

#include <assert.h>
#include <stddef.h>

/* Outside of these years (2001 to 2286) a udt is no clock reading, but what a client always says; a clock may be
 * far off ours and still tells a new request from a repeated one. */
#define UDT_MIN INT64_C(1000000000000)
#define UDT_MAX INT64_C(9999999999999)
/* A client that really polls again after this long has a later udt. */
#define UDT_TICK_MS 50

/* The newest GET over again, by its client's clock? */
static bool is_copy(const struct dw_chsk *state, int64_t udt, const struct dw_input *in)
{
    if (udt != state->udt || udt < UDT_MIN || udt > UDT_MAX)
        return false;
    return !in->u.get.claim_sent || in->now_ms - state->seen_ms > UDT_TICK_MS;
}

/* Does this GET, or one that died on the way, show that the answer under way has arrived? */
static bool is_proof(const struct dw_chsk *state, const struct dw_input *in)
{
    if (!state->known || in->u.get.claim_epoch != state->epoch || in->u.get.claim_upto < 0)
        return false;
    if (in->u.get.handshake)
        return in->u.get.lost_poll && !is_copy(state, in->u.get.lost_udt, in);
    return !is_copy(state, in->u.get.udt, in);
}

bool dw_chsk_place(struct dw_chsk *state, const struct dw_place *place)
{
    bool gap = false;

    if (!state->known && place->elsewhere >= 0) {
        state->cursor = place->elsewhere;
    } else if (!state->known) {
        /* New means now; only a client that thinks it is known, after we forgot, is owed the rest. */
        state->cursor = place->forgotten ? place->horizon : place->end;
        /* One that starts anew could be one that we forgot: it may have been owed what is there. */
        gap = place->amnesia && state->cursor > 0;
    }
    if (place->proven > state->cursor)
        state->cursor = place->proven;
    if (place->elsewhere > state->cursor)
        state->cursor = place->elsewhere;
    if (state->cursor > place->end) {
        /* The queue was restored or lost its last commits: ids there now are not the ones it saw. */
        state->cursor = place->end;
        gap = true;
    }
    if (state->cursor < place->horizon) {
        state->cursor = place->horizon;
        gap = true;
    }
    return gap;
}

/* A client that shakes hands again lives, and must have the time to poll.  Its number has ended what was to
 * become of its last poll: this is all that is left to say when it is gone. */
static void renew(struct dw_chsk *state, const struct dw_input *in)
{
    if (state->connected)
        state->due_ms = in->up_ms + in->grace_ms;
}

static struct dw_effect step_get(struct dw_chsk *state, const struct dw_input *in)
{
    struct dw_effect effect = {.kind = DW_FX_READ};
    bool was_known = state->known;
    /* A poll that follows another has not been elsewhere meanwhile. */
    bool comes = in->u.get.handshake || !was_known;
    struct dw_place place = {
        .elsewhere = comes && in->u.get.changes_over ? in->u.get.elsewhere : -1,
        .proven = is_proof(state, in) ? in->u.get.claim_upto : -1,
        .end = in->u.get.end,
        .horizon = in->u.get.horizon,
        .amnesia = in->u.get.amnesia,
        .forgotten = in->u.get.amnesia && !in->u.get.handshake,
    };

    effect.gap = dw_chsk_place(state, &place);
    effect.handshake = comes;
    state->known = true;
    state->epoch = (state->epoch + 1) % DW_CHSK_EPOCHS;
    state->udt = in->u.get.udt;
    state->seen_ms = in->now_ms;
    if (effect.handshake) {
        /* A known client that can't be held and has no mail is sent away at its handshake already:
         * a handshake that succeeds would reset its back-off and bring its next poll at once. */
        if (!(was_known && in->full))
            effect.kind = DW_FX_HANDSHAKE;
        renew(state, in);
        return effect;
    }
    effect.opened = !state->connected;
    state->connected = true;
    state->due_ms = in->up_ms + in->hold_ms + in->grace_ms;
    return effect;
}

static struct dw_effect step_mail(struct dw_chsk *state, const struct dw_effect *pending, const struct dw_input *in)
{
    struct dw_effect effect = *pending;

    if (effect.handshake) {
        effect.kind = in->u.mail.events > 0 || in->u.mail.close_id > 0 ? DW_FX_HANDSHAKE : DW_FX_AWAY;
    } else if (in->u.mail.close_id > 0) {
        state->cursor = in->u.mail.close_id;
        effect.kind = DW_FX_CLOSE;
    } else if (in->u.mail.events > 0) {
        effect.kind = DW_FX_EVENTS;
    } else {
        state->cursor = in->u.mail.checked;
        effect.kind = in->full ? DW_FX_AWAY : DW_FX_HOLD;
        effect.deadline_ms = in->up_ms + in->hold_ms;
        /* Events that could not be packed may have been counted before. */
        state->due_ms = effect.deadline_ms + in->grace_ms;
    }
    if (effect.kind == DW_FX_EVENTS || effect.kind == DW_FX_CLOSE)
        state->due_ms = in->up_ms + in->grace_ms;
    else if (effect.kind == DW_FX_AWAY && state->connected)
        state->due_ms = in->up_ms + in->grace_ms + in->retry_ms;
    return effect;
}

struct dw_effect dw_chsk_step(struct dw_chsk *state, const struct dw_effect *pending, const struct dw_input *in)
{
    if (in->kind == DW_IN_GET)
        return step_get(state, in);
    assert(pending != NULL && pending->kind == DW_FX_READ);
    return step_mail(state, pending, in);
}
