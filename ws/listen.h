/* dumbwaiter-listen: what a client of a URL would receive, for looking at a server from outside.
 *
 *     listen.c      arguments, which transport, coming back
 *     listen_net.c  one request or one WebSocket at a time, over libwebsockets' client
 *     listen_say.c  messages become lines
 *
 * One thread; it shares nothing with the sidecar but the library. */
#ifndef DW_WS_LISTEN_H
#define DW_WS_LISTEN_H

#include "base/buf.h"

#include <stdbool.h>
#include <stddef.h>

struct lws_context;

struct dw_listen {
    const char *url, *client_id, *cookie, *csrf_token; /* the last two: NULL for none */
    bool json;                                         /* lines are JSON objects */
    struct lws_context *context;
    /* of the connection under way */
    struct dw_buf body; /* of an HTTP answer, or the message that is coming in */
    int status;         /* of the HTTP answer; 0: none came */
    bool done, opened;  /* it is over; the WebSocket was open */
    bool pong;          /* a ping waits for its answer */
    char why[128];      /* it ended so */
};

/* False: out of memory. */
bool dw_listen_net_open(struct dw_listen *listen);
void dw_listen_net_close(struct dw_listen *listen);
/* GET with these parameters added; fills body, status and why. */
void dw_listen_get(struct dw_listen *listen, const char *more);
/* Opens a WebSocket and says what it receives, until it is over; fills opened, status and why. */
void dw_listen_socket(struct dw_listen *listen);

/* A message of the server; `over` is the transport.  True: it was a ping, which has to be answered. */
bool dw_listen_message(const struct dw_listen *listen, const char *over, const char *bytes, size_t len);
/* What has happened to the connection: `what` is closed or refused. */
void dw_listen_note(const struct dw_listen *listen, const char *over, const char *what, const char *why, size_t len);

#endif
