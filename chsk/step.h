/* The protocol's state machine for one Ajax client (WebSocket: ws_step.h), as a pure step function: what happened goes
 * in, what is to be done comes out.  No clock, no I/O, no allocation; hub/ carries the effects out.
 *
 * Receipt.  A stock Sente client acknowledges only implicitly (asks.md): after a failed poll its next
 * GET carries handshake?; a poll without it proves that our last answer arrived.  So the durable
 * cursor moves when such a poll comes, to the end of the answer that was under way, and never before:
 *
 *      GET poll ----> hold ----> answer up to push 7 (claimed, cursor still 4)
 *      GET poll      (no handshake?)  =>  7 arrived: cursor 7, read on after 7
 *      GET handshake                  =>  unknown: cursor stays 4, 5..7 are sent again,
 *                                         unless a poll is known to have come in between and died
 *
 * A GET may be sent again by itself, by a browser whose kept connection broke or a web server whose
 * backend died; that copy proves nothing.  It is known by its unchanged udt, the client's clock.  A quick
 * client may really poll again in the same tick of its clock: that counts where the whole answer had left
 * before, so that no web server has a reason to try again. */
#ifndef DW_CHSK_STEP_H
#define DW_CHSK_STEP_H

#include <stdbool.h>
#include <stdint.h>

#define DW_CHSK_EPOCHS (1u << 20) /* request numbers count modulo this */

/* What is remembered of a client from one request to the next. */
struct dw_chsk {
    bool known;         /* it had a handshake and has not been forgotten */
    uint32_t epoch;     /* number of its newest GET */
    int64_t cursor;     /* push id up to which receipt is proven */
    int64_t udt;        /* its clock in its newest GET; 0: none given */
    int64_t seen_ms;    /* our wall clock then */
    int64_t due_ms;     /* when it counts as gone unless it is heard from; monotonic: the wall clock may be set */
    bool connected;     /* has polled, and not gone since */
    uint8_t generation; /* of its messages; 0: none seen yet */
};

/* What decides where a client's next event is looked for. */
struct dw_place {
    int64_t proven;       /* push id up to which receipt has been proven since the row was stored; -1: none */
    int64_t elsewhere;    /* ... over the other transport, if the client changes over; -1: it doesn't */
    int64_t end, horizon; /* newest push id; newest push id that retention removed */
    bool amnesia;         /* the client table was lost lately */
    bool forgotten;       /* an unknown client may be one that was known before the client table was lost */
};

/* Sets the cursor of a client of either transport that has come (back).  True: pushes for it that
 * stand before it may be gone. */
bool dw_chsk_place(struct dw_chsk *state, const struct dw_place *place);

enum dw_input_kind {
    DW_IN_GET,  /* a GET that passed all checks */
    DW_IN_MAIL, /* the mailbox was read as DW_FX_READ asked */
};

struct dw_input {
    enum dw_input_kind kind;
    int64_t now_ms; /* wall clock */
    int64_t up_ms;  /* monotonic */
    bool full;      /* no more polls can be held here */
    union {
        struct {
            bool handshake;       /* parameter handshake? present, whatever its value */
            int64_t udt;          /* 0: none */
            uint32_t claim_epoch; /* the answer under way: which GET it belongs to, ... */
            int64_t claim_upto;   /* ... and the push id that it ends at; -1: none */
            bool claim_sent;      /* ... and whether all of it has been, or surely will be, handed over */
            bool lost_poll;       /* a poll came after that answer, but died with its worker: ... */
            int64_t lost_udt;     /* ... its client clock */
            int64_t end;          /* newest push id */
            int64_t horizon;      /* newest push id that retention removed */
            bool amnesia;         /* the client table was lost lately: unknown may mean forgotten */
            bool changes_over;    /* the client is known over WebSocket too: ... */
            int64_t elsewhere;    /* ... push id up to which receipt is proven there */
        } get;
        struct {
            uint64_t events;  /* how many are there for it, up to the batch limit */
            int64_t checked;  /* push id up to which that is all */
            int64_t close_id; /* a chsk/close push stands first: its id; else 0 */
        } mail;
    } u;
    int64_t hold_ms, grace_ms; /* the longest that a poll is held; setting */
    int64_t retry_ms;          /* how long a client that is sent away may stay away without being gone */
};

enum dw_effect_kind {
    DW_FX_HANDSHAKE, /* answer with the handshake */
    DW_FX_READ,      /* read the mailbox after state.cursor and step again with DW_IN_MAIL */
    DW_FX_EVENTS,    /* answer with the events read; claim them */
    DW_FX_HOLD,      /* hold the request until events come or the deadline passes */
    DW_FX_CLOSE,     /* end the request so that the client reconnects */
    DW_FX_AWAY,      /* full: answer at once so that the client comes back later (503) */
};

struct dw_effect {
    enum dw_effect_kind kind;
    bool gap;            /* pushes for this client may be lost to retention: say so */
    bool opened;         /* the client has just become connected */
    bool handshake;      /* READ: a handshake is waiting for the outcome */
    int64_t deadline_ms; /* HOLD: monotonic */
};

/* Advances `state` by one input.  `pending` is the effect that the last step returned, where the input
 * answers it (DW_IN_MAIL), else NULL.  The caller stores `state` before it carries the effect out. */
struct dw_effect dw_chsk_step(struct dw_chsk *state, const struct dw_effect *pending, const struct dw_input *in);

#endif
