/* What lot.c and lot_route.c share. */
#ifndef DW_HUB_LOT_INTERNAL_H
#define DW_HUB_LOT_INTERNAL_H

#include "hub/index.h"
#include "hub/lot.h"
#include "hub/outbox.h"

/* Whom a push of the round is for. */
struct dw_target {
    char *name; /* uid, client id or room */
    enum { DW_TO_UID, DW_TO_CLIENT, DW_TO_ROOM, DW_TO_ALL } kind;
};

struct dw_lot {
    struct dw_hub *hub;
    struct dw_store *store;
    struct dw_lot_callbacks callbacks;
    struct dw_index index;
    struct dw_parked *earliest, *latest; /* by deadline */
    size_t count;
    int64_t routed, routed_reply; /* everything up to these ids has been routed */
    uint32_t moves;               /* of the store, when these ids were read */
    int64_t again;                /* some of what is behind this id has to be routed again; INT64_MAX: nothing */
    int64_t route_due_ms;         /* monotonic; pushes are waiting for the batch to fill until then */
    struct dw_outbox *outbox;     /* the round's pushes, in the order of `targets` */
    struct dw_target *targets;
    size_t target_room;
    struct dw_parked *marked; /* those that get something in this round */
    struct dw_arena *arena;
};

/* lot.c */
/* Starts anew where another file has taken the queue's place; false: the queue can't be read now. */
bool dw_lot_follow(struct dw_lot *lot);
void dw_lot_remove(struct dw_lot *lot, struct dw_parked *parked);
void dw_lot_mute(struct dw_lot *lot, struct dw_parked *parked);
void dw_lot_answer(struct dw_lot *lot, struct dw_parked *parked, const struct dw_answer *answer);
void dw_lot_fail(struct dw_lot *lot, struct dw_parked *parked, const char *doing, const struct dw_err *err, int rc);

/* lot_route.c: reads and delivers what came since the last time */
void dw_lot_route(struct dw_lot *lot);
/* Delivers what came for a poll between its mailbox reading and now. */
void dw_lot_catch_up(struct dw_lot *lot, struct dw_parked *parked);
/* Delivers the reply that came between the storing of the message and now. */
void dw_lot_look_for_reply(struct dw_lot *lot, struct dw_parked *parked);

#endif
