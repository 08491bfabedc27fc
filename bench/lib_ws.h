/* The clients' side of WebSocket servers: many connections of one thread, each a browser's tab.
 *
 * A client answers what its server asks of it (pings of either kind), and every other message must be
 * exactly the one that is expected: anything else ends the program.  Client `i` is called "c<i>", whatever
 * the server. */
#ifndef DW_BENCH_LIB_WS_H
#define DW_BENCH_LIB_WS_H

#include "base/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum dw_bench_ws_kind {
    DW_BENCH_WS_NCHAN,        /* a client has a channel of its own and one for all */
    DW_BENCH_WS_NCHAN_SHARED, /* all have but one channel together: the least that nchan can do */
    DW_BENCH_WS_SENTE,
    DW_BENCH_WS_SOCKETIO,
};

struct dw_bench_ws_client {
    int fd, stage;
    unsigned got;      /* expected messages so far */
    struct dw_buf raw; /* a piece of a frame whose rest has not come yet */
};

struct dw_bench_ws {
    enum dw_bench_ws_kind kind;
    int epoll_fd;
    struct dw_bench_ws_client *clients;
    size_t count, ready;       /* ready: handshakes done */
    size_t received;           /* expected messages since the caller set it to 0 */
    size_t last;               /* who got the last one */
    int64_t first_ns, last_ns; /* when the first and the last of `received` were read */
    size_t pings;              /* answered */
};

/* Raises the limit of open files, of this process and those it starts, as far as it goes; returns it. */
size_t dw_bench_ws_raise_files(void);

/* Connects `count` clients, some at a time, from as many addresses of 127/8 as ports require, and waits for
 * all handshakes, the protocol's own included.  Nanoseconds that took. */
int64_t dw_bench_ws_open(struct dw_bench_ws *ws, enum dw_bench_ws_kind kind, unsigned port, size_t count);
void dw_bench_ws_close(struct dw_bench_ws *ws);

/* Waits at most that long for anything and takes it in.  False: silence. */
bool dw_bench_ws_wait(struct dw_bench_ws *ws, int timeout_ms);
/* Goes on for that long, come what may. */
void dw_bench_ws_serve(struct dw_bench_ws *ws, int ms);

#endif
