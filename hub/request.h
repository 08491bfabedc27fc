/* A request as every adapter hands it to the hub, and what comes back.  Plain data: no FastCGI, no
 * libwebsockets in here. */
#ifndef DW_HUB_REQUEST_H
#define DW_HUB_REQUEST_H

#include "base/buf.h"
#include "base/conf.h"
#include "chsk/packer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct dw_lot;
struct dw_socket;
struct dw_guest;

/* All strings are borrowed for the call and may be NULL where the request had none. */
struct dw_request {
    const char *method, *query, *content_type;
    const char *body; /* POST */
    size_t body_len;
    const char *cookie, *host, *origin, *referer, *fetch_site, *csrf_header, *xsrf_header;
    const char *upgrade, *websocket_key; /* the headers Upgrade and Sec-WebSocket-Key */
    const char *remote_user;             /* set by the web server after authentication, never from a header */
    const char *address;                 /* the client's, as far as the web server knows it */
    bool https;
    /* Where a WebSocket will be held: the adapter can answer 101.  NULL: it speaks no WebSocket. */
    const struct dw_lot *lot;
};

/* The longest body that a message within limits.message_bytes can need: the escapes of a form make it up
 * to three times as long, and there are other fields.  Adapters refuse more without keeping it. */
size_t dw_request_body_max(const struct dw_conf *conf);

/* A complete answer.  `body` is owned by the answer.  Status 101: the request becomes a WebSocket, whose
 * first message is `body`. */
struct dw_answer {
    int status;
    bool binary;         /* octet-stream, else text/plain */
    int64_t retry_ms;    /* > 0: tell the client when to come back */
    const char *allow;   /* 405: the methods that would do */
    const char *upgrade; /* 426: the protocol that would do */
    bool claimed;        /* it has events: tell dw_store_claim_sent once all of it is written */
    uint32_t slot, epoch;
    struct dw_buf body;
};

#define DW_ANSWER_INIT                                                                                                 \
    {                                                                                                                  \
        .status = 0, .body = DW_BUF_INIT                                                                               \
    }

/* Appends the CGI response header block (RFC 3875 section 6) of `answer`, blank line included. */
void dw_answer_head(const struct dw_answer *answer, struct dw_buf *out);
/* Makes `answer` a plain-text one. */
void dw_answer_text(struct dw_answer *answer, int status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

enum dw_parked_kind {
    DW_PARKED_POLL,     /* waits for pushes */
    DW_PARKED_CALLBACK, /* waits for the app's reply to an inbox row */
    DW_PARKED_SOCKET,   /* a WebSocket: gets pushes as they come (hub/sockets.h) */
    DW_PARKED_ASKED,    /* a WebSocket client waits for the app's reply to an inbox row */
    DW_PARKED_MUTE,     /* a superseded poll or an unanswerable callback: waits for its deadline only */
};

/* What a request has taken from limits.requests_per_s; keys of hub/rates.h, 0: nothing. */
struct dw_taken {
    uint64_t client, uid, address;
};

/* A request that is held: everything that is needed to answer it, in a few hundred bytes.  The adapter
 * that parks it fills `connection` and is given it back with the answer.  The lot owns it. */
struct dw_parked {
    enum dw_parked_kind kind;
    uint8_t generation;
    uint8_t looks_failed; /* of its session, in a row, for the query's sake */
    const struct dw_packer *packer;
    uint32_t slot, epoch;  /* POLL, SOCKET: claim word and request number */
    int64_t after;         /* POLL, SOCKET: shown everything up to this push id */
    int32_t worker;        /* POLL: who holds it, according to the client's row */
    int64_t inbox_id;      /* CALLBACK, ASKED */
    int64_t deadline_ms;   /* monotonic */
    int64_t expires_at;    /* Unix ms at which its uid ends; 0: never */
    int64_t looked_us;     /* monotonic; when its session was looked up last */
    struct dw_taken taken; /* POLL: given back when pushes answer it */
    union {
        struct {
            int descriptor;
            uint16_t request_id;
            struct dw_guest *guest; /* whose it is, where it is held for another process; NULL: ours */
        } fcgi;
        void *pointer;
        size_t callback_len; /* ASKED: of the packed callback id, in `names` */
    } connection;
    struct dw_socket *socket; /* SOCKET: its state; ASKED: whose it is */
    /* the lot's: place in the deadline list, among its uid's and its client id's polls, and marks */
    struct dw_parked *earlier, *later;
    struct dw_parked *uid_prev, *uid_next, *client_prev, *client_next;
    uint32_t *marks;
    uint32_t mark_count, mark_room;
    struct dw_parked *next_marked;
    const char *uid;       /* NULL: none; stored behind the struct */
    const char *client_id; /* stored behind the struct */
    const char *sid;       /* of the session that the uid comes from, NULL: of none; stored behind the struct */
    char names[];
};

/* Monotonic ms at which its uid ends, as far as that is known; INT64_MAX: never. */
int64_t dw_parked_expiry(const struct dw_parked *parked);

/* An empty one with copies of the names (`uid` and `sid` may be NULL); to be freed with free().  NULL: out of memory.
 */
struct dw_parked *dw_parked_new(enum dw_parked_kind kind, const char *uid, const char *client_id, const char *sid);

#endif
