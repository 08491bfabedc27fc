/* What the files of the lot share. */
#ifndef DW_HUB_LOT_INTERNAL_H
#define DW_HUB_LOT_INTERNAL_H

#include "chsk/ws_step.h"
#include "hub/index.h"
#include "hub/lot.h"
#include "hub/outbox.h"
#include "hub/wheel.h"

/* Whom a push of the round is for. */
struct dw_target {
    char *name; /* uid, client id or room */
    char *uid;  /* DW_TO_CLIENT: whose client it must be; NULL: anybody's */
    enum { DW_TO_UID, DW_TO_CLIENT, DW_TO_ROOM, DW_TO_ALL } kind;
};

/* Looking up again the sessions of those who are held (lot_session.c). */
struct dw_review {
    uint32_t version;   /* dw_store_session_version, as of the last wake-up */
    int64_t noticed_us; /* monotonic; when it changed last: who was looked up until then is looked up again */
    int64_t looked_us;  /* the latest look-up here */
    int64_t due_ms;     /* monotonic; of the next round or slice, INT64_MAX: nothing has changed */
    int64_t begun_ms;   /* of the last round */
    struct dw_parked *poll, *socket; /* where the round under way goes on, by `later` */
    bool under_way;
    bool again;   /* something has changed since it began */
    bool failed;  /* somebody could not be looked up in it */
    int failures; /* rounds with such, in a row */
    int slow;     /* look-ups of the round that took long, or too long */
    struct dw_session session;
};

struct dw_lot {
    struct dw_hub *hub;
    struct dw_store *store;
    struct dw_lot_callbacks callbacks;
    struct dw_index index;
    struct dw_parked *earliest, *latest; /* by deadline */
    size_t count;                        /* without the WebSockets */
    struct dw_parked *sockets;           /* by later */
    size_t socket_count;
    struct dw_wheel wheel; /* of the WebSockets */
    struct dw_ws_times times;
    struct dw_buf packed;         /* a message to a WebSocket */
    int64_t routed, routed_reply; /* everything up to these ids has been routed */
    uint32_t moves;               /* of the store, when these ids were read */
    int64_t again;                /* some of what is behind this id has to be routed again; INT64_MAX: nothing */
    struct dw_review review;
    int64_t route_due_ms;     /* monotonic; pushes are waiting for the batch to fill until then */
    struct dw_outbox *outbox; /* the round's pushes, in the order of `targets` */
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

/* Its deadline is not behind `deadline_ms`. */
void dw_lot_hasten(struct dw_lot *lot, struct dw_parked *parked, int64_t deadline_ms);

/* lot_session.c */
/* The doorbell rang: have sessions changed? */
void dw_lot_review_changes(struct dw_lot *lot);
/* Goes on with a round, if it is time. */
void dw_lot_review(struct dw_lot *lot, int64_t now_ms);
/* Looks the session of a newcomer up again if something has changed since.  False: it has ended, `parked` is gone
 * (a WebSocket: closing), or about to. */
bool dw_lot_review_new(struct dw_lot *lot, struct dw_parked *parked);
/* The expiry of a WebSocket's uid has come: closes it unless it has been put off. */
void dw_lot_review_expired(struct dw_lot *lot, struct dw_parked *parked);
/* It leaves the list that it is in. */
void dw_lot_review_forget(struct dw_lot *lot, const struct dw_parked *parked);

/* lot_route.c: reads and delivers what came since the last time */
void dw_lot_route(struct dw_lot *lot);
/* Delivers what came for a poll between its mailbox reading and now. */
void dw_lot_catch_up(struct dw_lot *lot, struct dw_parked *parked);
/* From now on `parked`, in the index already, is answered with the reply to its message, which may have come
 * between the storing of the message and now: `parked` may be gone afterwards.  `first`: nobody else waits for
 * a reply.  While nobody does, replies are not followed. */
void dw_lot_await_reply(struct dw_lot *lot, const struct dw_parked *parked, bool first);

int dw_lot_take_push(void *context, const struct dw_push *push); /* a dw_push_fn; into the outbox and `targets` */
void dw_lot_end_round(struct dw_lot *lot);

/* sockets.c */
struct dw_socket {
    struct dw_parked *parked;
    struct dw_ws ws;
    struct dw_wheel_item timer;
    struct dw_parked *asked, *last_asked; /* callbacks that wait for a reply, oldest first, by later */
    uint32_t asked_count;
    bool behind;  /* gets what it missed from its mailbox; new pushes are not routed to it meanwhile */
    bool indexed; /* not superseded, not closing */
    bool closing;
};

void dw_sockets_adopt(struct dw_lot *lot, struct dw_parked *parked);
void dw_sockets_deliver(struct dw_lot *lot, struct dw_parked *parked, const uint32_t *indexes, size_t count,
                        int64_t end);
void dw_sockets_reply(struct dw_lot *lot, struct dw_parked *asked, const struct dw_reply *reply);
void dw_sockets_tick(struct dw_lot *lot, int64_t now_ms);
/* The client's session has ended. */
void dw_sockets_end(struct dw_lot *lot, struct dw_parked *parked);
/* Its expiry has changed. */
void dw_sockets_hasten(struct dw_lot *lot, struct dw_parked *parked);
void dw_sockets_close_all(struct dw_lot *lot, int code);
void dw_sockets_free_all(struct dw_lot *lot);

#endif
