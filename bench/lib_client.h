/* The web server's side: many FastCGI connections of one thread, each with one request of one client.
 *
 * A connection carries one request and is closed behind its answer, as all web servers do it
 * (docs/bench.md).  Client `i` is called "c<i>", which is its uid too where auth.uid is client_id. */
#ifndef DW_BENCH_LIB_CLIENT_H
#define DW_BENCH_LIB_CLIENT_H

#include "base/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct dw_bench_client {
    int fd; /* -1: no request under way */
    int64_t udt;
    int64_t first_ns; /* when the answer under way began to come; 0: not yet */
    const char *address;
    struct dw_buf raw; /* of the answer so far */
};

struct dw_bench_pool {
    int epoll_fd;
    struct dw_bench_client *clients;
    size_t count, busy; /* busy: requests under way */
    /* What shows who a client is, by FastCGI; NULL: nothing.  `cookie` has the client's number behind it. */
    const char *cookie, *csrf_token, *query;
};

/* An answer as it came in.  `body` lives during the call. */
struct dw_bench_answer {
    size_t client;
    int64_t first_ns, at_ns; /* when its first and its last bytes were read */
    int status;
    const char *body;
};
typedef void dw_bench_answer_fn(void *context, const struct dw_bench_answer *answer);

/* All clients talk to `address`: unix:PATH or 127.0.0.1:PORT, by FastCGI; http:127.0.0.1:PORT, as browsers do. */
void dw_bench_pool_init(struct dw_bench_pool *pool, size_t count, const char *address);
/* Closes what is open. */
void dw_bench_pool_fini(struct dw_bench_pool *pool);

enum dw_bench_request { DW_BENCH_HANDSHAKE, DW_BENCH_POLL, DW_BENCH_POST, DW_BENCH_CALLBACK };
void dw_bench_send(struct dw_bench_pool *pool, size_t client, enum dw_bench_request request);

/* Waits at most that long for anything, and calls `fn` for each complete answer.  False: silence all the
 * time; true says that something came, not that an answer is complete. */
bool dw_bench_wait(struct dw_bench_pool *pool, int timeout_ms, dw_bench_answer_fn *fn, void *context);
/* Has clients from..to-1 make that request, `most` at a time, and waits for all the answers. */
void dw_bench_all(struct dw_bench_pool *pool, size_t from, size_t to, size_t most, enum dw_bench_request request);

#endif
