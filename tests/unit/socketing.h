/* A world of WebSocket clients, and of polls, over the memory store, without network: the adapter here writes down what
 * the hub tells it to do.  One world at a time. */
#ifndef DW_TESTS_UNIT_SOCKETING_H
#define DW_TESTS_UNIT_SOCKETING_H

#include "hub/sockets.h"
#include "tests/unit/tap.h"

#include <stdbool.h>

/* One connection as the adapter sees it. */
struct wire {
    struct dw_parked *parked; /* NULL: not held (any more) */
    char got[4096];           /* all messages, each with a line feed behind it */
    size_t len;
    int status, code; /* of the handshake; of the close, 0: open */
    bool no_room, refuse;
};

struct world {
    struct dw_conf conf;
    struct dw_memory *memory;
    struct dw_hub hub;
    struct dw_store *store;
    struct dw_server *server;
    struct dw_lot *lot;
    int departed;       /* WebSockets */
    const char *cookie; /* that requests come with from now on */
};

extern struct world w;

int open_world(void **unused); /* cmocka's set-up and tear-down */
int close_world(void **unused);
void set(const char *section, const char *key, const char *value);

/* A request of an Ajax client; it is held while `wire` has no status. */
void poll_as(struct wire *wire, const char *query);

/* A WebSocket handshake; `wire` has the answer. */
void connect_as(struct wire *wire, const char *query);
void disconnect(struct wire *wire);

/* Commits a push to a uid; the second rings the doorbell too. */
void push_to(const char *uid, const char *event, const char *data);
void push(const char *uid, const char *event, const char *data);

/* A text frame of the client; what dw_socket_receive returns. */
int say(struct wire *wire, const char *text);
/* What has come since the last look. */
void assert_got(struct wire *wire, const char *expected);
/* The barrier behind what was sent, and its pong; forgets what has come. */
void prove(struct wire *wire);
/* Id of the newest inbox row. */
int64_t inbox_end(void);

#endif
