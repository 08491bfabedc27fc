/* What nothing can beat on this machine: the shortest ways from one process's commit to another's eyes. */
#ifndef DW_BENCH_LIMITS_H
#define DW_BENCH_LIMITS_H

#include "bench/lib_app.h"
#include "bench/lib_host.h"

enum dw_bench_limit {
    DW_BENCH_LIMIT_PIPE, /* a byte through a pipe to a sleeping process; no database */
    DW_BENCH_LIMIT_SPIN, /* a process that spins on PRAGMA data_version, then selects */
    DW_BENCH_LIMIT_FILE, /* a process that sleeps on file events of the -wal, looks at data_version with re-checks, then
                            selects */
};

/* Fills `spread` with `rounds` times from the end of the commit (the write) to the row (the byte) being
 * read. */
void dw_bench_limit_run(enum dw_bench_limit limit, struct dw_bench_host *host, struct dw_bench_app *app, int rounds,
                        struct dw_bench_spread *spread);

#endif
