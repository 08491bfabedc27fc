/* The least that any server must do to answer held requests: processes that hold sockets, sleep until they
 * are told, and write the same bytes to each.  No database, no protocol, no state: a limit to measure
 * against, not a rival. */
#ifndef DW_BENCH_PEER_H
#define DW_BENCH_PEER_H

#include "bench/lib_client.h"
#include "bench/lib_host.h"

struct dw_bench_peer {
    pid_t *pids;
    size_t processes, each; /* sockets that each of them holds */
    int trigger[2], ready[2];
};

/* Starts `processes` of them and has the clients of `pool` talk to them, `each` to one.  Before any
 * database is open here. */
void dw_bench_peer_start(struct dw_bench_peer *peer, struct dw_bench_host *host, struct dw_bench_pool *pool,
                         size_t processes, const char *way);
void dw_bench_peer_stop(struct dw_bench_peer *peer);

/* One round: all clients poll, all are answered; nanoseconds from the word to the last answer read. */
int64_t dw_bench_peer_round(struct dw_bench_peer *peer, struct dw_bench_pool *pool);

#endif
