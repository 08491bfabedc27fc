/* What all benchmarks share: options, time, spreads and the lines of the result table.
 *
 * A benchmark is a program of its own that starts real responder processes, talks raw FastCGI to them as
 * a web server would, and has a separate process commit as a foreign app does.  Whatever goes wrong ends
 * it at once with a sentence and status 2: there are no half results. */
#ifndef DW_BENCH_LIB_H
#define DW_BENCH_LIB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct dw_bench_options {
    const char *responder; /* path of dumbwaiter.fcgi */
    const char *hello;     /* path of bench/hello, the peer */
    const char *sidecar;   /* path of dumbwaiter-ws */
    const char *socketio;  /* path of socketio.js beside its node_modules, NULL: not installed */
    bool quick;            /* fewer rounds: shows that it works, its figures say little */
    int wal_sync;          /* of the app's process: 2 = FULL, SQLite's and so most apps' default; 1 = NORMAL */
    const char *only;      /* a part of the benchmark by name, NULL: all */
};

/* Reads --responder PATH, --hello PATH, --sidecar PATH, --socketio PATH, --quick, --sync full|normal, --only PART;
 * ends the program on anything else. */
void dw_bench_parse(int argc, char **argv, struct dw_bench_options *options);
/* True if that part is wanted. */
bool dw_bench_wants(const struct dw_bench_options *options, const char *part);

/* Says what failed (with errno's text where that is set) and exits. */
_Noreturn void dw_bench_die(const char *format, ...) __attribute__((format(printf, 1, 2)));

void *dw_bench_alloc(size_t count, size_t size); /* zeroed; never NULL */
int64_t dw_bench_ns(void);                       /* CLOCK_MONOTONIC, the same in all processes */
void dw_bench_sleep_us(int64_t us);

/* A spread of times in nanoseconds. */
struct dw_bench_spread {
    int64_t *ns;
    size_t count, room;
};
void dw_bench_spread_add(struct dw_bench_spread *spread, int64_t ns);
void dw_bench_spread_free(struct dw_bench_spread *spread);
/* The value that `share` (0..1) of them don't exceed; sorts. */
int64_t dw_bench_spread_at(struct dw_bench_spread *spread, double share);

/* One line of the result table: what, figures, and the aim or a remark ("" = none). */
void dw_bench_row(const char *what, const char *remark, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* The same for a spread: p50, p99 and max in microseconds. */
void dw_bench_row_spread(const char *what, const char *remark, struct dw_bench_spread *spread);
/* "aim <= 300 us: met" or "... MISSED", for the remark. */
const char *dw_bench_aim(const char *aim, bool met);
/* "x 1.25 of the limit", and what is said besides ("" = nothing), for the remark. */
const char *dw_bench_ratio(double figure, double peer, const char *of, const char *besides);

#endif
