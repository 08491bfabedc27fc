/* What the loop thread holds: parked requests on their way in and out of the lot.  Where many processes hold one
 * poll each, handover.c has most of them go on to one that holds them all. */
#include "fcgi/server_internal.h"

#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define LOOP_BUSY_MS 20    /* everyone waits while the loop waits for a lock: what needs it is tried again */
#define LOOP_SESSION_MS 50 /* likewise while it looks a session up again */

static void on_answer(void *context, struct dw_parked *parked, const struct dw_answer *answer)
{
    struct dw_fcgi *fcgi = context;
    bool sent;

    dw_handover_returned(fcgi, parked); /* the web server may send its next request there at once */
    sent = dw_fcgi_send(fcgi, parked->connection.fcgi.descriptor, parked->connection.fcgi.request_id, answer);
    if (sent && parked->kind == DW_PARKED_POLL)
        dw_store_claim_sent(fcgi->store, parked->slot, parked->epoch);
}

static void on_departed(void *context, const struct dw_departed *departed)
{
    struct dw_fcgi *fcgi = context;

    dw_house_departed(fcgi->backend.house, departed);
}

/* Anything from the peer of a parked request but silence: stray bytes, or its end. */
void dw_fcgi_on_parked(struct dw_fcgi *fcgi, struct dw_parked *parked)
{
    int descriptor = parked->connection.fcgi.descriptor;
    char piece[1024];
    ssize_t got;

    do {
        got = recv(descriptor, piece, sizeof piece, MSG_DONTWAIT);
    } while (got > 0 || (got < 0 && errno == EINTR));
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return;
    dw_handover_returned(fcgi, parked);
    dw_output_end(descriptor, &fcgi->scratch, &fcgi->head, parked->connection.fcgi.request_id);
    dw_lot_drop(fcgi->lot, parked);
}

static int open_lot(struct dw_fcgi *fcgi, struct dw_err *err)
{
    const struct dw_lot_callbacks callbacks = {.answer = on_answer, .departed = on_departed, .context = fcgi};
    struct dw_store_options options = dw_hub_store_options(fcgi->conf, false);
    int rc = DW_OK;

    if (fcgi->lot != NULL)
        return DW_OK;
    if (options.busy_ms > LOOP_BUSY_MS)
        options.busy_ms = LOOP_BUSY_MS;
    if (options.session_ms > LOOP_SESSION_MS)
        options.session_ms = LOOP_SESSION_MS;
    if (fcgi->store == NULL)
        rc = dw_store_open_sqlite(&options, &fcgi->store, err);
    if (rc == DW_OK && fcgi->wake == NULL)
        rc = dw_wake_open(fcgi->store, DW_WAKE_AUTO, &fcgi->wake, err);
    if (rc != DW_OK)
        return rc;
    fcgi->lot = dw_lot_new(&fcgi->backend.hub, fcgi->store, &callbacks, err);
    if (fcgi->lot == NULL)
        return err->code;
    if (!dw_fcgi_watch(fcgi, EPOLL_CTL_ADD, dw_wake_fd(fcgi->wake), EPOLLIN, NULL, DW_KIND_WAKE)) {
        dw_lot_free(fcgi->lot);
        fcgi->lot = NULL;
        return dw_err_set(err, DW_SYSTEM, "cannot watch the doorbell: %s", strerror(errno));
    }
    return DW_OK;
}

void dw_fcgi_hold(struct dw_fcgi *fcgi, struct dw_parked *parked)
{
    int descriptor = parked->connection.fcgi.descriptor;
    struct dw_err err = {0};
    int rc = open_lot(fcgi, &err);

    if (rc == DW_OK && !dw_fcgi_watch(fcgi, EPOLL_CTL_ADD, descriptor, EPOLLIN | EPOLLRDHUP, parked, DW_KIND_PARKED))
        rc = dw_err_set(&err, DW_SYSTEM, "%s", strerror(errno));
    if (rc == DW_OK) {
        dw_lot_adopt(fcgi->lot, parked);
        return;
    }
    dw_log_error("a request can't be held: %s", dw_err_say(&err, rc));
    dw_handover_returned(fcgi, parked);
    (void)close(descriptor);
    free(parked);
}

/* Without a poll of its own a process has nothing to wake up for.  The housekeeper has: it follows the writing. */
static void rest(struct dw_fcgi *fcgi)
{
    if (fcgi->lot == NULL || dw_lot_count(fcgi->lot) > 0 || dw_house_is_keeper(fcgi->backend.house))
        return;
    dw_lot_free(fcgi->lot);
    fcgi->lot = NULL;
    dw_wake_close(fcgi->wake);
    fcgi->wake = NULL;
}

void dw_fcgi_turn_back(struct dw_fcgi *fcgi, struct dw_parked *parked)
{
    struct dw_err err = {0};
    int rc = open_lot(fcgi, &err);

    if (rc == DW_OK) {
        dw_lot_turn_back(fcgi->lot, parked);
        return;
    }
    dw_log_error("a request can't be answered: %s", dw_err_say(&err, rc));
    dw_handover_returned(fcgi, parked);
    (void)close(parked->connection.fcgi.descriptor);
    free(parked);
}

void dw_fcgi_park(struct dw_fcgi *fcgi, struct dw_parked *parked)
{
    if (parked->kind != DW_PARKED_POLL || parked->worker == atomic_load(&fcgi->backend.hub.worker)) {
        dw_fcgi_hold(fcgi, parked);
        if (fcgi->lot != NULL)
            dw_handover_seek(fcgi);
    } else {
        if (!dw_handover_lend(fcgi, parked))
            dw_fcgi_turn_back(fcgi, parked);
        rest(fcgi);
    }
}
