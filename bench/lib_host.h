/* The machine's side: a scratch folder with a queue in it, responder processes, and what the kernel says
 * of them. */
#ifndef DW_BENCH_LIB_HOST_H
#define DW_BENCH_LIB_HOST_H

#include "bench/lib.h"
#include "store/store.h"

#include <sys/types.h>

/* A folder in $TMPDIR or /tmp, made for one benchmark, and a look at its queue from outside. */
struct dw_bench_host {
    char dir[64], db[96];
    struct dw_store *store; /* for reading how many polls are parked; opened when that is first asked */
};

/* Makes folder and queue; the folder is removed when the program ends.  No database is open here before
 * dw_bench_listen or _spawn: processes forked until then (the app, the watchers) inherit none, which
 * SQLite doesn't bear. */
void dw_bench_host_init(struct dw_bench_host *host);
void dw_bench_host_fini(struct dw_bench_host *host);
/* Waits until the workers hold exactly `parked` polls together. */
void dw_bench_host_parked(struct dw_bench_host *host, size_t parked);

/* A setting for the responders started from now on: DUMBWAITER_<name>=value. */
void dw_bench_setting(const char *name, const char *value);
/* For a child before it becomes a server: it may be asked for as much as it can do. */
void dw_bench_no_limits(void);

/* A TCP port of 127.0.0.1 that nobody listens on. */
unsigned dw_bench_free_port(void);
/* True if a connection to that port of 127.0.0.1 is accepted. */
bool dw_bench_answers_on(unsigned port);

struct dw_bench_responder {
    pid_t pid;
    char address[112]; /* unix:PATH or 127.0.0.1:PORT */
};

/* Starts one that listens there and waits until it does. */
void dw_bench_listen(struct dw_bench_responder *responder, const struct dw_bench_options *options,
                     struct dw_bench_host *host, const char *address);
/* Starts one as mod_fcgid does: with a Unix socket of its own on descriptor 0. */
void dw_bench_spawn(struct dw_bench_responder *responder, const struct dw_bench_options *options,
                    struct dw_bench_host *host, unsigned number);
void dw_bench_stop(struct dw_bench_responder *responder);
/* Any FastCGI program, started as by mod_fcgid; not one of the queue's workers. */
void dw_bench_spawn_other(struct dw_bench_responder *other, const char *program, struct dw_bench_host *host);
/* lighttpd in front of `responder`: its address is http:127.0.0.1:PORT.  False: it is not installed. */
bool dw_bench_lighttpd(struct dw_bench_responder *lighttpd, const struct dw_bench_responder *responder,
                       struct dw_bench_host *host);
/* Ends one of the last two by SIGTERM, whatever it says. */
void dw_bench_stop_other(struct dw_bench_responder *other);
/* Bytes of the queue's WAL. */
int64_t dw_bench_wal_bytes(const struct dw_bench_host *host);

struct dw_bench_memory {
    int64_t rss, private_dirty; /* bytes */
};
struct dw_bench_memory dw_bench_memory_of(pid_t pid);
/* Sums over all threads: context switches of either kind; CPU time in nanoseconds. */
int64_t dw_bench_switches_of(pid_t pid);
int64_t dw_bench_cpu_of(pid_t pid);

#endif
