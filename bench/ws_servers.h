/* The WebSocket servers that bench/ws compares: how each is started, told to publish, and weighed. */
#ifndef DW_BENCH_WS_SERVERS_H
#define DW_BENCH_WS_SERVERS_H

#include "bench/lib_app.h"
#include "bench/lib_host.h"
#include "bench/lib_ws.h"

struct dw_bench_ws_server {
    enum dw_bench_ws_kind kind;
    pid_t pid;
    unsigned port;
    struct dw_bench_host host;
    struct dw_bench_app app; /* of SENTE: who publishes */
    int publisher;           /* of the others: a kept HTTP connection */
};

const char *dw_bench_ws_name(enum dw_bench_ws_kind kind);

/* Starts it for that many clients and waits until it listens.  False: it is not installed, which was said
 * on stderr. */
bool dw_bench_ws_start(struct dw_bench_ws_server *server, enum dw_bench_ws_kind kind,
                       const struct dw_bench_options *options, size_t clients);
void dw_bench_ws_stop(struct dw_bench_ws_server *server);

/* Publishes to client `client`, or to all with DW_BENCH_WS_ALL, and returns at once; _published waits until
 * the server has said that it is done, and returns when publishing was begun and when it was known to be
 * done: call and return of the INSERT, or the POST and its answer. */
#define DW_BENCH_WS_ALL ((size_t)-1)
void dw_bench_ws_publish(struct dw_bench_ws_server *server, size_t client);
struct dw_bench_commit dw_bench_ws_published(struct dw_bench_ws_server *server);

/* Of the server's process and its children: nanoseconds; bytes. */
int64_t dw_bench_ws_cpu(const struct dw_bench_ws_server *server);
int64_t dw_bench_ws_rss(const struct dw_bench_ws_server *server);

#endif
