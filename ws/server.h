/* The WebSocket sidecar: one loop thread and one housekeeping thread.
 *
 *     web server --accept--> [ libuv loop: libwebsockets, the doorbell, the lot, timers ] <--> queue
 *
 * libuv waits for everything (libwebsockets' own poll() scales badly); libwebsockets speaks HTTP and
 * RFC 6455 and knows nothing of us; client.c translates between its callbacks and the hub. */
#ifndef DW_WS_SERVER_H
#define DW_WS_SERVER_H

#include "base/conf.h"
#include "base/err.h"

/* Serves on `address` until SIGTERM or SIGINT, then closes all clients over ws.drain_ms and returns DW_OK; an
 * error when the queue can't be opened or the system refuses what is needed. */
int dw_sidecar_run(struct dw_conf *conf, const char *address, struct dw_err *err);

#endif
