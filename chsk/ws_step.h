/* The protocol's state machine for one WebSocket connection, as pure functions: what happened goes in, what
 * is to be done comes out.  No clock, no I/O, no allocation; hub/sockets.c carries the effects out.
 *
 * Receipt.  A stock Sente client acknowledges no push, but it answers :chsk/ws-ping, and answers come in
 * order (asks.md).  So a ping behind a batch is a barrier: its pong proves that the batch arrived, and
 * only then the client's cursor moves.  A ping goes out a moment after the first unproven batch, and none
 * while one is under way: many batches share one.
 *
 *      push 5, push 6, ping, push 7, pong  =>  6 is proven;  ping, pong  =>  7 is proven
 *
 * Keep-alive uses the same pings: one after some silence, and the end of a connection from which nothing
 * at all was heard within the time-out after a ping.
 *
 * An order to close ([:chsk/close]) is passed over with the cursor, or the client would run into it at each
 * return; therefore everything before it is proven first. */
#ifndef DW_CHSK_WS_STEP_H
#define DW_CHSK_WS_STEP_H

#include "chsk/step.h"

/* One connection.  Times are monotonic ms. */
struct dw_ws {
    int64_t sent;      /* everything for this client up to this push id has been sent */
    int64_t proven;    /* ... and is known to have arrived up to this one */
    int64_t barrier;   /* what the pong to the oldest unanswered ping proves */
    int64_t close_id;  /* push id of an order to close that is waiting for proof; 0: none */
    int64_t heard_ms;  /* last frame of the client */
    int64_t active_ms; /* last frame of the client or push to it */
    int64_t pinged_ms; /* last ping */
    int64_t waits_ms;  /* since when something sent is unproven and behind all pings; 0: nothing is */
    uint32_t pings;    /* not answered */
};

struct dw_ws_times {
    int64_t silence_ms; /* then a ping is sent: half of chsk.ws_kalive_ms */
    int64_t timeout_ms; /* after a ping: chsk.ws_ping_timeout_ms */
    int64_t barrier_ms; /* how long a batch waits for company before its barrier: chsk.ws_barrier_ms */
};

/* A WebSocket handshake that passed all checks, seen from the client's row. */
struct dw_ws_opening {
    int64_t now_ms;       /* wall clock */
    uint32_t claim_epoch; /* the connection before: its number, ... */
    int64_t claim_upto;   /* ... and what was proven on it; -1: nothing */
    int64_t end, horizon; /* as struct dw_place */
    bool amnesia;         /* the client table was lost lately */
    bool changes_over;    /* the client is known over Ajax too: ... */
    int64_t elsewhere;    /* ... push id up to which receipt is proven there */
};

/* Advances the row: the connection becomes the client's newest, its cursor says what to send next.
 * True: pushes for the client may be lost to retention. */
bool dw_ws_open(struct dw_chsk *state, const struct dw_ws_opening *opening);

enum dw_ws_input {
    DW_WS_BEGIN, /* the handshake was sent; upto: the row's cursor */
    DW_WS_SENT,  /* pushes were sent; upto: where they end */
    DW_WS_HEARD, /* any frame but a pong to our ping */
    DW_WS_PONG,  /* [:chsk/ws-pong] */
    DW_WS_ORDER, /* [:chsk/close] is the next push; upto: its id */
    DW_WS_TICK,  /* dw_ws_due has come; upto: nothing else up to there is for this client.  So the cursor of a
                  * client that gets no pushes keeps up with retention. */
};

enum dw_ws_effect_kind {
    DW_WS_NOTHING,
    DW_WS_PING,  /* send :chsk/ws-ping */
    DW_WS_LOST,  /* the client is silent: close, it comes back if it lives */
    DW_WS_CLOSE, /* carry the order to close out */
};

struct dw_ws_effect {
    enum dw_ws_effect_kind kind;
    bool proof; /* `proven` has moved: note it */
};

struct dw_ws_effect dw_ws_step(struct dw_ws *ws, enum dw_ws_input input, int64_t upto, int64_t now_ms,
                               const struct dw_ws_times *times);

/* When DW_WS_TICK is due if nothing else happens before. */
int64_t dw_ws_due(const struct dw_ws *ws, const struct dw_ws_times *times);

#endif
