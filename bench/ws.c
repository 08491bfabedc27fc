/* WebSocket servers side by side: our sidecar, nchan in nginx, socket.io.  The same clients for all of them:
 * what an idle one costs in memory and CPU, how long a push to one of them takes, and a push to all. */
#include "bench/lib.h"
#include "bench/lib_ws.h"
#include "bench/ws_servers.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OTHER_FILES 128 /* of a server or of us, beside the clients' connections */
#define WARM 50         /* clients that come and stay before anything is weighed */

/* What the aims compare; 0: not measured. */
struct figures {
    double rss, idle_ms, one_p50, all_p50, all_cpu_ms;
};

struct run {
    struct dw_bench_ws_server server;
    struct dw_bench_ws warm, ws;
    size_t clients;
    bool quick;
    unsigned *wanted; /* messages that each client must have had */
    struct figures figures;
    const struct figures *nchan; /* of the same number of clients */
};

/* ---- rows ---- */

static const char *what(const struct run *run, const char *text)
{
    static char line[160];

    (void)snprintf(line, sizeof line, "ws (%zu) %s: %s", run->clients, dw_bench_ws_name(run->server.kind), text);
    return line;
}

static bool is_ours(const struct run *run)
{
    return run->server.kind == DW_BENCH_WS_SENTE;
}

/* The ratio to nchan, then our aims, if there are any.  Few clients say nothing about the aims. */
static const char *remark(const struct run *run, double figure, double nchan, const char *aims)
{
    static char text[320];

    text[0] = '\0';
    if (run->quick || !is_ours(run))
        aims = "";
    if (nchan > 0 && run->server.kind != DW_BENCH_WS_NCHAN)
        (void)snprintf(text, sizeof text, "%s", dw_bench_ratio(figure, nchan, "nchan", aims));
    else
        (void)snprintf(text, sizeof text, "%s", aims);
    return text;
}

static const char *no_worse(double figure, double nchan)
{
    return nchan > 0 ? dw_bench_aim("<= nchan", figure <= nchan) : "";
}

/* ---- idle ---- */

static void weigh(struct run *run, int64_t before, int64_t connecting_ns)
{
    struct figures *figures = &run->figures;
    char aims[200];

    figures->rss = (double)(dw_bench_ws_rss(&run->server) - before) / (double)run->clients;
    (void)snprintf(aims, sizeof aims, "%s", dw_bench_aim("<= 7 KB", figures->rss <= 7 * 1024));
    if (run->nchan->rss > 0)
        (void)snprintf(aims + strlen(aims), sizeof aims - strlen(aims), ", %s",
                       no_worse(figures->rss, run->nchan->rss) + 4);
    dw_bench_row(what(run, "memory of an idle client"), remark(run, figures->rss, run->nchan->rss, aims),
                 "%.2f KB RSS; connected %.0f a second", figures->rss / 1024,
                 (double)run->clients * 1e9 / (double)connecting_ns);
}

static void idle(struct run *run)
{
    int seconds = run->quick ? 2 : 50; /* two or four rounds of everybody's pings */
    int64_t before = dw_bench_ws_cpu(&run->server);
    size_t pings = run->ws.pings;

    dw_bench_ws_serve(&run->ws, seconds * 1000);
    run->figures.idle_ms = (double)(dw_bench_ws_cpu(&run->server) - before) / 1e6 * 60 / seconds;
    dw_bench_row(what(run, "CPU while idle"), remark(run, run->figures.idle_ms, run->nchan->idle_ms, ""),
                 "%.0f ms a minute; %.1f pings a minute and client", run->figures.idle_ms,
                 (double)(run->ws.pings - pings) / (double)run->clients * 60 / seconds);
}

/* ---- pushes ---- */

/* Pings come in meanwhile, so silence is no measure of a message that is lost. */
static void collect(struct run *run, size_t wanted)
{
    int64_t deadline = dw_bench_ns() + 20000000000;

    while (run->ws.received < wanted) {
        (void)dw_bench_ws_wait(&run->ws, 1000);
        errno = 0;
        if (dw_bench_ns() > deadline)
            dw_bench_die("%s: %zu of %zu messages within 20 s", dw_bench_ws_name(run->server.kind), run->ws.received,
                         wanted);
    }
}

/* Everybody has had exactly what was meant for them. */
static void check_counts(const struct run *run)
{
    errno = 0;
    for (size_t i = 0; i < run->clients; i++) {
        if (run->ws.clients[i].got != run->wanted[i])
            dw_bench_die("%s: client %zu has had %u messages, not %u", dw_bench_ws_name(run->server.kind), i,
                         run->ws.clients[i].got, run->wanted[i]);
    }
}

static void push_to_one(struct run *run, const char *how, bool aimed)
{
    struct dw_bench_spread call = {NULL, 0, 0}, commit = {NULL, 0, 0};
    int rounds = run->quick ? 20 : 200, warming = run->quick ? 2 : 10;
    char text[96], aims[160] = "";
    double p50;

    for (int i = -warming; i < rounds; i++) {
        size_t client = (size_t)(i + warming + 1) * 7919 % run->clients;
        struct dw_bench_commit publication;

        dw_bench_ws_serve(&run->ws, 5);
        run->ws.received = 0;
        dw_bench_ws_publish(&run->server, client);
        collect(run, 1);
        publication = dw_bench_ws_published(&run->server);
        errno = 0;
        if (run->ws.last != client)
            dw_bench_die("the push for client %zu went to client %zu", client, run->ws.last);
        run->wanted[client]++;
        if (i >= 0) {
            dw_bench_spread_add(&call, run->ws.first_ns - publication.begin_ns);
            dw_bench_spread_add(&commit, run->ws.first_ns - publication.done_ns);
        }
    }
    dw_bench_ws_serve(&run->ws, 300); /* a second copy would come in now */
    check_counts(run);
    p50 = (double)dw_bench_spread_at(&call, 0.5);
    if (aimed)
        run->figures.one_p50 = p50;
    if (run->nchan->one_p50 > 0)
        (void)snprintf(aims, sizeof aims, "%s", dw_bench_aim("p50 < nchan + 1 ms", p50 < run->nchan->one_p50 + 1e6));
    (void)snprintf(text, sizeof text, "push to one%s", how);
    dw_bench_row_spread(what(run, text), remark(run, p50, run->nchan->one_p50, aims), &call);
    if (is_ours(run)) {
        (void)snprintf(text, sizeof text, "... from its commit%s", how);
        dw_bench_row_spread(what(run, text), "", &commit);
    }
    dw_bench_spread_free(&call);
    dw_bench_spread_free(&commit);
}

static void push_to_all(struct run *run)
{
    struct dw_bench_spread last = {NULL, 0, 0};
    int rounds = run->quick ? 3 : 10;
    struct figures *figures = &run->figures;
    int64_t cpu;

    cpu = dw_bench_ws_cpu(&run->server);
    for (int i = 0; i < rounds; i++) {
        struct dw_bench_commit publication;

        run->ws.received = 0;
        dw_bench_ws_publish(&run->server, DW_BENCH_WS_ALL);
        collect(run, run->clients);
        publication = dw_bench_ws_published(&run->server);
        dw_bench_spread_add(&last, run->ws.last_ns - publication.begin_ns);
        for (size_t c = 0; c < run->clients; c++)
            run->wanted[c]++;
        dw_bench_ws_serve(&run->ws, 400); /* the proofs of receipt, where there are some; a second copy */
        check_counts(run);
    }
    figures->all_cpu_ms = (double)(dw_bench_ws_cpu(&run->server) - cpu) / 1e6 / rounds;
    figures->all_p50 = (double)dw_bench_spread_at(&last, 0.5);
    dw_bench_row(what(run, "push to all, last byte"),
                 remark(run, figures->all_p50, run->nchan->all_p50, no_worse(figures->all_p50, run->nchan->all_p50)),
                 "p50 %.1f max %.1f ms; %.0f messages/s", figures->all_p50 / 1e6,
                 (double)dw_bench_spread_at(&last, 1) / 1e6, (double)run->clients * 1e9 / figures->all_p50);
    dw_bench_row(what(run, "push to all, CPU of the server"),
                 remark(run, figures->all_cpu_ms, run->nchan->all_cpu_ms, ""), "%.1f ms a push", figures->all_cpu_ms);
    dw_bench_spread_free(&last);
}

/* ---- one server, one number of clients ---- */

static void measure(const struct dw_bench_options *options, enum dw_bench_ws_kind kind, size_t clients,
                    const struct figures *nchan, struct figures *figures)
{
    struct run run = {.clients = clients, .quick = options->quick, .nchan = nchan};
    int64_t before, connecting;

    if (!dw_bench_wants(options, dw_bench_ws_name(kind)) ||
        !dw_bench_ws_start(&run.server, kind, options, clients + WARM))
        return;
    run.wanted = dw_bench_alloc(clients, sizeof *run.wanted);
    (void)dw_bench_ws_open(&run.warm, kind, run.server.port, WARM);
    dw_bench_ws_close(&run.warm);
    dw_bench_sleep_us(300000);
    before = dw_bench_ws_rss(&run.server);
    connecting = dw_bench_ws_open(&run.ws, kind, run.server.port, clients);
    dw_bench_ws_serve(&run.ws, 1000);
    weigh(&run, before, connecting);
    if (kind != DW_BENCH_WS_NCHAN_SHARED)
        idle(&run);
    if (kind == DW_BENCH_WS_SENTE) {
        dw_bench_app_sql(&run.server.app, "PRAGMA synchronous = 2");
        push_to_one(&run, " (FULL)", false);
        dw_bench_app_sql(&run.server.app, "PRAGMA synchronous = 1");
        push_to_one(&run, " (NORMAL)", true);
    } else if (kind != DW_BENCH_WS_NCHAN_SHARED) {
        push_to_one(&run, "", true);
    }
    push_to_all(&run);
    dw_bench_ws_close(&run.ws);
    dw_bench_ws_stop(&run.server);
    free(run.wanted);
    *figures = run.figures;
}

static void compare(const struct dw_bench_options *options, size_t clients)
{
    struct figures nchan = {0}, others;

    measure(options, DW_BENCH_WS_NCHAN, clients, &nchan, &nchan);
    measure(options, DW_BENCH_WS_NCHAN_SHARED, clients, &nchan, &others);
    measure(options, DW_BENCH_WS_SENTE, clients, &nchan, &others);
    measure(options, DW_BENCH_WS_SOCKETIO, clients, &nchan, &others);
}

int main(int argc, char **argv)
{
    static const size_t sizes[] = {10000, 20000};
    struct dw_bench_options options;
    size_t files;

    dw_bench_parse(argc, argv, &options);
    files = dw_bench_ws_raise_files();
    if (options.quick) {
        compare(&options, 500);
        return 0;
    }
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        size_t clients = sizes[i];

        if (clients + OTHER_FILES > files) {
            clients = files - OTHER_FILES;
            (void)fprintf(
                stderr,
                "bench: %zu clients instead of %zu: a process may open %zu files on this machine (ulimit -Hn), "
                "the server's no less than this one, and it can't be raised from here\n",
                clients, sizes[i], files);
        }
        compare(&options, clients);
    }
    return 0;
}
