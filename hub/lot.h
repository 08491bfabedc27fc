/* The parking lot: all requests and WebSockets that one process holds, and the routing of pushes and replies
 * to them.
 *
 *     reader threads --dw_lot_adopt--> [ parked polls and callbacks ] --answer()--> adapter
 *     doorbell ------dw_lot_wake-----^                 |
 *     deadlines -----dw_lot_tick-----^                 +--departed()--> housekeeping
 *
 * One thread owns a lot and its store.  New pushes are read once for all parked polls and routed in
 * memory; a poll that was parked behind the routed position catches up from its mailbox first, so the
 * moment of parking does not matter.  Before an answer with events leaves, it is claimed; a poll that
 * has been superseded can't claim, gets nothing, and is held to its deadline so that two clients
 * that share an id don't chase each other. */
#ifndef DW_HUB_LOT_H
#define DW_HUB_LOT_H

#include "hub/hub.h"
#include "hub/request.h"

struct dw_lot;

struct dw_lot_callbacks {
    /* Writes the answer to the parked request's connection and ends it.  `parked` is freed after. */
    void (*answer)(void *context, struct dw_parked *parked, const struct dw_answer *answer);
    /* A poll has ended: unless the client polls again within the grace period, it is gone.  Strings live
     * during the call. */
    void (*departed)(void *context, const struct dw_departed *departed);
    /* For WebSockets (hub/sockets.h); NULL where there are none.  None of these may call back into the lot.
     * send: queues one message, which is borrowed for the call.  False: too much is waiting already. */
    bool (*send)(void *context, struct dw_parked *parked, const char *bytes, size_t len);
    /* True while nothing is waiting for the client: it may be sent what it missed. */
    bool (*has_room)(void *context, const struct dw_parked *parked);
    /* Closes with that code once what is queued has been sent, or soon.  dw_socket_closed follows later. */
    void (*close)(void *context, struct dw_parked *parked, int code);
    void *context;
};

/* NULL and `err`: out of memory, or the queue can't be read. */
struct dw_lot *dw_lot_new(struct dw_hub *hub, struct dw_store *store, const struct dw_lot_callbacks *callbacks,
                          struct dw_err *err);
/* Frees the lot; what is still parked is freed without an answer. */
void dw_lot_free(struct dw_lot *lot);

/* Takes a parked request over; it may be answered before this returns. */
void dw_lot_adopt(struct dw_lot *lot, struct dw_parked *parked);
/* Instead of taking it over: answers a poll with its time-out, so that its client polls again at once. */
void dw_lot_turn_back(struct dw_lot *lot, struct dw_parked *parked);
/* The client went away: forgets and frees the request. */
void dw_lot_drop(struct dw_lot *lot, struct dw_parked *parked);

/* The doorbell rang: reads new pushes and replies and answers whom they concern. */
void dw_lot_wake(struct dw_lot *lot);
/* Answers those whose deadline has passed, and does what waited for a time.  `now_ms` is monotonic. */
void dw_lot_tick(struct dw_lot *lot, int64_t now_ms);
/* When dw_lot_tick is needed next (monotonic ms), INT64_MAX: not at all. */
int64_t dw_lot_due(const struct dw_lot *lot);
/* Going down: answers everything with a time-out at once, so that clients poll elsewhere. */
void dw_lot_drain(struct dw_lot *lot);

size_t dw_lot_count(const struct dw_lot *lot);

#endif
