/* Sessions that end while their clients are held.
 *
 * A client whose session is no longer found, or is another user's, loses its connection:
 *
 *     by time      the deadline of a poll is not behind the end of its session: it is answered with a time-out then,
 *                  and its next request is judged anew.  A WebSocket is looked up again when its timer says so.
 *     by log-out   dw_store_session_version changes: all that were looked up before are looked up again, in a round
 *                  that begins at most every EVERY_MS and works in slices, so that pushes go out in between
 *
 * Where the query is too slow or wrong, nobody stays because it can't be asked: a client of whom that is so
 * FAILURES_MOST times in a row, and in a round those that are left after SLOW_MOST such look-ups, lose their
 * connection too.  They may come again, and are judged by whoever serves them with all of auth.session_ms.
 *
 * Without a change there is no round and no timer. */
#include "hub/lot_internal.h"

#include "base/clock.h"
#include "base/log.h"

#include <string.h>

#define DELAY_MS 50     /* a change seldom comes alone */
#define EVERY_MS 2000   /* between the beginnings of two rounds */
#define SLICE_US 2000   /* of a round, before the loop looks after others */
#define PAUSE_MS 2      /* between slices, at least; else as long as the last one took */
#define FAILED_MS 500   /* after a look-up that failed, but not for the query's sake */
#define PATIENCE_MOST 4 /* a round with failures is repeated after EVERY_MS, doubled so often at most */
#define FAILURES_MOST 3
#define SLOW_US 25000 /* of a look-up that counts as slow even if it succeeds */
#define SLOW_MOST 100 /* at 250 ms each, and as long a pause, a round is at its end within a minute */

static bool is_same(const struct dw_session *session, const struct dw_parked *parked)
{
    /* An empty name is nobody, as in hub/identity.c. */
    const char *uid = session->has_uid && session->uid.len > 0 ? dw_buf_str(&session->uid) : NULL;

    return session->found && (uid == NULL || parked->uid == NULL ? uid == parked->uid : strcmp(uid, parked->uid) == 0);
}

static void end(struct dw_lot *lot, struct dw_parked *parked)
{
    struct dw_answer answer = DW_ANSWER_INIT;

    dw_counter_add(&lot->hub->counters.sessions_ended, 1);
    dw_log_debug("a client's session has ended: its connection ends too");
    if (parked->kind == DW_PARKED_SOCKET) {
        dw_sockets_end(lot, parked);
        return;
    }
    /* As its next request would be, if it came with the same cookie: a client begins with a handshake then. */
    dw_answer_text(&answer, 403, "The session has ended");
    dw_lot_answer(lot, parked, &answer);
    dw_buf_fini(&answer.body);
}

/* A poll is answered with its time-out, and its next request is judged without the client's noticing. */
static void give_up(struct dw_lot *lot, struct dw_parked *parked)
{
    if (parked->kind == DW_PARKED_SOCKET)
        end(lot, parked);
    else
        dw_lot_hasten(lot, parked, dw_clock_mono_ms());
}

/* The query's fault, which no waiting mends. */
static bool is_of_the_query(int rc)
{
    return rc == DW_TIMEOUT || rc == DW_CONF;
}

static int failed_to(struct dw_lot *lot, struct dw_parked *parked, const struct dw_err *err, int rc)
{
    static struct dw_log_limit failed;

    dw_counter_add(&lot->hub->counters.store_errors, 1);
    dw_log_limited(&failed, DW_LOG_ERROR, "looking up the session of a connected client failed: %s",
                   dw_err_say(err, rc));
    if (!is_of_the_query(rc) || ++parked->looks_failed < FAILURES_MOST)
        return rc;
    give_up(lot, parked);
    return DW_SUPERSEDED;
}

/* DW_OK: it may stay; DW_SUPERSEDED: it is gone (a WebSocket: closing), or about to; else it could not be looked up. */
static int look_up(struct dw_lot *lot, struct dw_parked *parked)
{
    struct dw_err err = {0};
    int64_t now_us = dw_clock_mono_us();
    int rc = dw_store_session(lot->store, parked->sid, dw_clock_wall_ms(), &lot->review.session, &err);

    if (is_of_the_query(rc) || dw_clock_mono_us() - now_us >= SLOW_US)
        lot->review.slow++;
    if (rc != DW_OK)
        return failed_to(lot, parked, &err, rc);
    parked->looks_failed = 0;
    if (!is_same(&lot->review.session, parked)) {
        end(lot, parked);
        return DW_SUPERSEDED;
    }
    parked->looked_us = now_us > lot->review.noticed_us ? now_us : lot->review.noticed_us + 1;
    lot->review.looked_us = parked->looked_us;
    parked->expires_at = lot->review.session.expires_at;
    return DW_OK;
}

static bool is_due(const struct dw_lot *lot, const struct dw_parked *parked)
{
    return parked->sid != NULL && parked->looked_us <= lot->review.noticed_us &&
           (parked->kind != DW_PARKED_SOCKET || !parked->socket->closing);
}

/* The same, and its end by time is that of the session as it is now. */
static int look_again(struct dw_lot *lot, struct dw_parked *parked)
{
    int rc = look_up(lot, parked);

    if (rc == DW_OK && parked->kind == DW_PARKED_SOCKET)
        dw_sockets_hasten(lot, parked);
    else if (rc == DW_OK)
        dw_lot_hasten(lot, parked, dw_parked_expiry(parked));
    return rc;
}

/* The next one that has to be looked up, NULL: the round is at its end. */
static struct dw_parked *next(struct dw_lot *lot)
{
    struct dw_review *review = &lot->review;
    struct dw_parked *parked;

    while (review->poll != NULL || review->socket != NULL) {
        struct dw_parked **list = review->poll != NULL ? &review->poll : &review->socket;

        parked = *list;
        *list = parked->later;
        if (is_due(lot, parked))
            return parked;
    }
    return NULL;
}

static void plan(struct dw_lot *lot)
{
    struct dw_review *review = &lot->review;
    int64_t soonest = dw_clock_mono_ms() + DELAY_MS;

    if (review->due_ms != INT64_MAX)
        return; /* a round that each change put off would never begin */
    review->due_ms = review->begun_ms + ((int64_t)EVERY_MS << review->failures);
    if (review->begun_ms == 0 || review->due_ms < soonest)
        review->due_ms = soonest;
}

void dw_lot_review_changes(struct dw_lot *lot)
{
    struct dw_review *review = &lot->review;
    uint32_t version = dw_store_session_version(lot->store);

    if (version == review->version)
        return;
    review->version = version;
    review->noticed_us = dw_clock_mono_us();
    if (review->noticed_us < review->looked_us) /* both in one microsecond */
        review->noticed_us = review->looked_us;
    review->failures = 0;
    if (review->under_way)
        review->again = true;
    else if (strcmp(lot->hub->conf->auth_uid, "session") == 0 && (lot->earliest != NULL || lot->sockets != NULL))
        plan(lot);
}

static void end_round(struct dw_lot *lot)
{
    struct dw_review *review = &lot->review;

    review->under_way = false;
    review->due_ms = INT64_MAX;
    if (review->failed && review->failures < PATIENCE_MOST)
        review->failures++;
    if (review->failed || review->again)
        plan(lot);
}

/* One of the round: as look_again, or without asking, once that has taken too long. */
static int review_one(struct dw_lot *lot, struct dw_parked *parked)
{
    static struct dw_log_limit too_long;

    if (lot->review.slow < SLOW_MOST)
        return look_again(lot, parked);
    dw_log_limited(&too_long, DW_LOG_WARN,
                   "looking up the sessions of all connected clients takes too long: the connections of the rest end, "
                   "and are looked up when they come again (make auth.session_sql quick)");
    give_up(lot, parked);
    return DW_SUPERSEDED;
}

void dw_lot_review(struct dw_lot *lot, int64_t now_ms)
{
    struct dw_review *review = &lot->review;
    int64_t begin_us = dw_clock_mono_us(), took_us = 0;
    struct dw_parked *parked;
    int rc = DW_OK;

    if (review->due_ms > now_ms)
        return;
    if (!review->under_way) {
        review->poll = lot->earliest;
        review->socket = lot->sockets;
        review->begun_ms = now_ms;
        review->under_way = true;
        review->failed = review->again = false;
        review->slow = 0;
    }
    while (took_us < SLICE_US && (rc == DW_OK || rc == DW_SUPERSEDED)) {
        parked = next(lot);
        if (parked == NULL) {
            end_round(lot);
            return;
        }
        rc = review_one(lot, parked);
        took_us = dw_clock_mono_us() - begin_us;
    }
    review->due_ms = dw_clock_mono_ms() + PAUSE_MS + took_us / 1000;
    if (rc != DW_OK && rc != DW_SUPERSEDED) {
        review->failed = true;
        review->due_ms += is_of_the_query(rc) ? 0 : FAILED_MS;
    }
}

bool dw_lot_review_new(struct dw_lot *lot, struct dw_parked *parked)
{
    int rc = is_due(lot, parked) ? look_again(lot, parked) : DW_OK;

    if (rc == DW_OK || rc == DW_SUPERSEDED)
        return rc == DW_OK;
    if (lot->review.under_way)
        lot->review.again = true;
    else
        plan(lot);
    return true;
}

void dw_lot_review_expired(struct dw_lot *lot, struct dw_parked *parked)
{
    /* An application may have put the end off.  Without sid there is nothing to look up; where that fails, the
     * client may come again. */
    int rc = parked->sid != NULL ? look_up(lot, parked) : DW_NOTFOUND;

    if (rc != DW_OK && rc != DW_SUPERSEDED)
        end(lot, parked);
}

void dw_lot_review_forget(struct dw_lot *lot, const struct dw_parked *parked)
{
    if (lot->review.poll == parked)
        lot->review.poll = parked->later;
    if (lot->review.socket == parked)
        lot->review.socket = parked->later;
}
