/* What the sidecar's files share: the loop (server.c), the queue (backend.c), clients (client.c, output.c,
 * reading.c, stall.c), handshakes (handshake.c), addresses (addresses.c), systemd (notify.c). */
#ifndef DW_WS_SERVER_INTERNAL_H
#define DW_WS_SERVER_INTERNAL_H

#include "base/buf.h"
#include "base/listen.h"
#include "hub/house.h"
#include "hub/lot.h"
#include "hub/serve.h"
#include "hub/sockets.h"
#include "store/wake.h"
#include "ws/addresses.h"
#include "ws/masks.h"
#include "ws/notify.h"

#include <libwebsockets.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

/* A message on its way to one or more clients: packed once, framed for each in the room before it. */
struct dw_ws_message {
    size_t len;
    uint32_t users;
    unsigned char bytes[]; /* LWS_PRE of room, then `len` */
};

struct dw_ws_queued {
    struct dw_ws_queued *next;
    struct dw_ws_message *message;
};

/* A message that could not be received yet. */
struct dw_ws_stashed {
    struct dw_ws_stashed *next;
    size_t len;
    bool binary;
    char bytes[];
};

/* One connection, from accept(2) until libwebsockets has forgotten it. */
struct dw_ws_client {
    struct lws *wsi;
    struct dw_parked *parked; /* NULL: no WebSocket (yet, or any more) */
    struct dw_ws_client *prev, *next;
    struct dw_ws_queued *first, *last;
    size_t queued;    /* bytes */
    size_t written;   /* bytes, since the loop last said that it can be written to */
    struct dw_buf in; /* fragments of a message */
    struct dw_ws_stashed *stashed, *last_stashed;
    size_t stashed_bytes;
    struct dw_ws_client *prev_stalled, *next_stalled;
    bool stalled;
    struct dw_ws_client *next_closing;
    bool closing;               /* waits for its close frame */
    int descriptor;             /* for reading.c; -1: none */
    struct dw_ws_masks masks;   /* of its frames */
    bool unmasked;              /* one of them had none: what came before it may still be received */
    struct dw_address *address; /* NULL: not counted */
    int64_t allowance_us;       /* monotonic; see stall.c */
    uint16_t close_code;        /* 0: open */
    bool binary;                /* its frames */
    bool listed;                /* among the clients: its handshake is done */
    bool broken;                /* writing has failed */
    bool peer_closed;           /* it has sent a close frame, which the library answers */
    char peer[DW_LISTEN_ADDRESS];
};

struct dw_sidecar {
    struct dw_conf *conf;
    /* backend.c */
    struct dw_hub hub;
    struct dw_store *house_store, *store, *patient;
    struct dw_house *house;
    pthread_t house_thread;
    bool house_runs;
    struct dw_wake *wake;
    struct dw_lot *lot;
    struct dw_server *server;
    /* server.c */
    uv_loop_t loop;
    uv_poll_t listening, bell;
    uv_signal_t terminate, interrupt;
    uv_timer_t timer;
    uv_prepare_t prepare;
    bool handles; /* the handles above are initialised */
    struct lws_context *context;
    bool writes_at_once; /* see output.c */
    int listen_fd;
    int64_t accept_again_ms; /* out of descriptors until then; 0: accepting */
    size_t connections;      /* accepted and not closed yet */
    bool stopping;
    int64_t stop_began_ms, stop_due_ms;
    size_t stop_clients; /* when it began */
    struct dw_notify notify;
    /* clients */
    struct dw_ws_client *clients;
    size_t client_count;
    struct dw_ws_client *stalled, *closing;
    int64_t stall_due_ms; /* INT64_MAX: nobody is stalled */
    struct dw_addresses addresses;
    struct dw_ws_message *latest; /* packed last: the next client may get the same */
};

/* backend.c */
int dw_sidecar_open(struct dw_sidecar *sidecar, const struct dw_lot_callbacks *callbacks, struct dw_err *err);
void dw_sidecar_close(struct dw_sidecar *sidecar);

/* client.c */
struct dw_ws_client *dw_ws_client_new(struct dw_sidecar *sidecar, const char *peer); /* NULL: out of memory */
void dw_ws_client_free(struct dw_sidecar *sidecar, struct dw_ws_client *client);
int dw_ws_callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t len);
void dw_ws_callbacks(struct dw_sidecar *sidecar, struct dw_lot_callbacks *callbacks);
/* Closes with that code once what is queued has been sent, or soon. */
void dw_ws_close(struct dw_ws_client *client, int code);

/* All is sent: sends the close frame from the loop. */
void dw_ws_close_soon(struct dw_sidecar *sidecar, struct dw_ws_client *client);
void dw_ws_send_closes(struct dw_sidecar *sidecar);

/* output.c */
/* False: above limits.outbound_bytes, or out of memory. */
bool dw_ws_send(struct dw_sidecar *sidecar, struct dw_ws_client *client, const char *bytes, size_t len);
bool dw_ws_has_room(const struct dw_ws_client *client); /* nothing is waiting */
/* The connection can be written to; -1: close it. */
int dw_ws_writable(struct dw_sidecar *sidecar, struct dw_ws_client *client);
void dw_ws_forget_output(struct dw_ws_client *client);
void dw_ws_message_unref(struct dw_ws_message *message);

/* reading.c */
/* From now on what the connection sends is looked at.  False: out of memory. */
bool dw_ws_watch_reading(struct dw_ws_client *client, int descriptor);
void dw_ws_unwatch_reading(const struct dw_ws_client *client);
/* The handshake is done: was it seen?  If not, says so, once. */
void dw_ws_check_reading(const struct dw_ws_client *client);
void dw_ws_forget_reading(void); /* nobody is watched any more */

/* stall.c */
/* Receives a message, now or later.  False: out of memory. */
bool dw_ws_receive(struct dw_sidecar *sidecar, struct dw_ws_client *client, const char *bytes, size_t len, bool binary);
/* Goes on with the clients that are not read from; `stall_due_ms` has come. */
void dw_ws_unstall(struct dw_sidecar *sidecar, int64_t now_ms);
void dw_ws_forget_stash(struct dw_sidecar *sidecar, struct dw_ws_client *client);

/* handshake.c */
/* Serves the handshake, with client->parked set and the first message queued, or the refusal written.  0: go
 * on; else what LWS_CALLBACK_HTTP_CONFIRM_UPGRADE is to return. */
int dw_ws_handshake(struct dw_sidecar *sidecar, struct dw_ws_client *client);
/* Answers a request that is no handshake; returns what the callback is to return. */
int dw_ws_not_upgraded(struct lws *wsi);

#endif
