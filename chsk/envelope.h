/* The message envelope: `[<value> <?cb-uuid>]` in its three generations (protocol.md, "Envelope").
 *
 *   generation 3   [v nil]   [v cb]      Sente >= 1.21; Ajax callback marker :ajax
 *   generation 2   [v]       [v cb]      Sente 1.18-1.20; Ajax callback marker 0
 *   generation 1   -v  +[v]  +[v cb]     Sente <= 1.16, text packers only
 *
 * Pure: bytes and values in, bytes and values out. */
#ifndef DW_CHSK_ENVELOPE_H
#define DW_CHSK_ENVELOPE_H

#include "chsk/packer.h"
#include "chsk/value.h"

struct dw_envelope {
    const struct dw_value *value;    /* never NULL; nil for an empty payload */
    const struct dw_value *callback; /* NULL: no reply is wanted */
    int generation;                  /* 1..3; 0 where the payload does not tell */
};

/* Reads a payload.  An empty payload is nil (Sente reads an absent ppstr so).  Bytes behind the first
 * value are ignored for edn, as Clojure's reader does, and for binary packers, whose clients send their
 * whole buffer.  DW_INVALID, DW_LIMIT, DW_NOMEM. */
int dw_envelope_read(const struct dw_packer *packer, const char *bytes, size_t len, const struct dw_limits *limits,
                     struct dw_arena *arena, struct dw_envelope *out, struct dw_err *err);

/* Appends the envelope around `value`; callback NULL: none. */
int dw_envelope_write(const struct dw_packer *packer, int generation, struct dw_arena *arena,
                      const struct dw_value *value, const struct dw_value *callback, struct dw_buf *out,
                      struct dw_err *err);

/* Appends the message of a batch of events that are packed already (dw_packer_event); joinable packers only. */
int dw_envelope_join(const struct dw_packer *packer, int generation, const struct dw_part *events, size_t count,
                     struct dw_buf *out, struct dw_err *err);

/* The fixed messages of the protocol as values; NULL when memory is short. */
const struct dw_value *dw_chsk_handshake(struct dw_arena *arena, int generation, const char *uid,
                                         const struct dw_value *data);
const struct dw_value *dw_chsk_timeout(struct dw_arena *arena);
const struct dw_value *dw_chsk_dummy(struct dw_arena *arena);
const struct dw_value *dw_chsk_ws_ping(struct dw_arena *arena); /* WebSocket: the server's ping, a bare keyword */
const struct dw_value *dw_chsk_pong(struct dw_arena *arena);    /* WebSocket: the answer to the client's ping */
const struct dw_value *dw_chsk_error(struct dw_arena *arena);   /* a callback's result that the client library knows */

/* An event as the client sent it. */
enum dw_event_kind {
    DW_EVENT_GOOD, /* [:ns/name] or [:ns/name data], namespace not chsk */
    DW_EVENT_PING, /* [:chsk/ws-ping] */
    DW_EVENT_PONG, /* [:chsk/ws-pong] */
    DW_EVENT_BAD,  /* anything else, forged chsk/ events included */
};
/* `*name` is the text of the event id (ns/name), `*data` NULL for a one-element event. */
enum dw_event_kind dw_event_classify(const struct dw_packer *packer, const struct dw_value *value,
                                     const struct dw_value **name, const struct dw_value **data);

#endif
