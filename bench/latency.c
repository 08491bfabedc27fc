/* From an app's commit to the bytes on the waiting poll's socket, beside the limits of the machine in the
 * same run.  One responder, one client: it polls, the poll is parked, the app commits one push for it,
 * the answer is read, the client polls again.  Then the same with lighttpd between. */
#include "bench/lib_client.h"
#include "bench/limits.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define WARM_UP 20 /* pushes that are not counted */

struct seen {
    int64_t at_ns;
    size_t answers;
};

static void on_answer(void *context, const struct dw_bench_answer *answer)
{
    struct seen *seen = context;

    if (answer->status != 200 || strcmp(answer->body, "[[[:bench/tick {:text \"hi\"}]] nil]") != 0)
        dw_bench_die("unexpected answer %d: %s", answer->status, answer->body);
    seen->at_ns = answer->first_ns;
    seen->answers++;
}

static void push_and_wait(struct dw_bench_host *host, struct dw_bench_app *app, struct dw_bench_pool *pool,
                          size_t client, struct dw_bench_spread *spread)
{
    struct seen seen = {0, 0};
    struct dw_bench_commit commit;
    char uid[32];

    (void)snprintf(uid, sizeof uid, "c%zu", client);
    dw_bench_send(pool, client, DW_BENCH_POLL);
    dw_bench_host_parked(host, 1);
    dw_bench_sleep_us(2000); /* the responder sleeps again */
    dw_bench_app_order(app, NULL, uid);
    while (seen.answers == 0) {
        bool waited = dw_bench_wait(pool, 5000, on_answer, &seen);

        errno = 0;
        if (!waited || (seen.answers == 0 && pool->busy == 0))
            dw_bench_die("the push was lost");
    }
    commit = dw_bench_app_result(app);
    dw_bench_spread_add(spread, seen.at_ns - commit.done_ns);
}

struct limits {
    int64_t pipe_ns, spin_ns; /* medians */
};

static struct limits run_limits(struct dw_bench_host *host, struct dw_bench_app *app, int rounds, const char *mode)
{
    static const char *const names[] = {"a byte over a pipe", "spinning on data_version, then SELECT",
                                        "file events, data_version, SELECT"};
    int64_t medians[3];

    for (int limit = DW_BENCH_LIMIT_PIPE; limit <= DW_BENCH_LIMIT_FILE; limit++) {
        struct dw_bench_spread spread = {NULL, 0, 0};
        char what[96];

        dw_bench_limit_run((enum dw_bench_limit)limit, host, app, rounds, &spread);
        (void)snprintf(what, sizeof what, "limit (%s): %s", mode, names[limit]);
        dw_bench_row_spread(what, "", &spread);
        medians[limit] = dw_bench_spread_at(&spread, 0.5);
        dw_bench_spread_free(&spread);
    }
    return (struct limits){medians[DW_BENCH_LIMIT_PIPE], medians[DW_BENCH_LIMIT_SPIN]};
}

/* Pushes to one client that talks to `address`; a new one each time, which has no mail left. */
static void run_pushes(struct dw_bench_host *host, struct dw_bench_app *app, const char *address, size_t client,
                       int rounds, const struct limits *limits, const char *what)
{
    struct dw_bench_spread spread = {NULL, 0, 0};
    struct dw_bench_pool pool;
    int64_t half;

    dw_bench_pool_init(&pool, client + 1, address);
    dw_bench_all(&pool, client, client + 1, 1, DW_BENCH_HANDSHAKE);
    for (int i = 0; i < rounds + WARM_UP; i++) {
        push_and_wait(host, app, &pool, client, &spread);
        if (i == WARM_UP - 1)
            spread.count = 0;
    }
    half = dw_bench_spread_at(&spread, 0.5);
    dw_bench_row_spread(what,
                        dw_bench_ratio((double)half, (double)limits->spin_ns, "spinning",
                                       dw_bench_aim("p50 < pipe + 1 ms", half < limits->pipe_ns + 1000000)),
                        &spread);
    dw_bench_spread_free(&spread);
    dw_bench_pool_fini(&pool);
}

static void run_lighttpd(struct dw_bench_host *host, struct dw_bench_app *app,
                         const struct dw_bench_responder *responder, int rounds, const struct limits *limits,
                         const char *mode)
{
    struct dw_bench_responder lighttpd;
    char what[96];

    (void)snprintf(what, sizeof what, "latency (%s): the same through lighttpd", mode);
    if (!dw_bench_lighttpd(&lighttpd, responder, host)) {
        dw_bench_row(what, "", "lighttpd is not installed: not measured");
        return;
    }
    run_pushes(host, app, lighttpd.address, 1, rounds, limits, what);
    dw_bench_stop_other(&lighttpd);
}

static void run(const struct dw_bench_options *options, int wal_sync, const char *mode)
{
    int rounds = options->quick ? 100 : 2000;
    struct dw_bench_responder responder;
    struct dw_bench_host host;
    struct dw_bench_app app;
    struct limits limits;
    char address[112], what[96];

    dw_bench_host_init(&host);
    (void)snprintf(address, sizeof address, "unix:%s/dw.sock", host.dir);
    dw_bench_app_start(&app, host.db, wal_sync);
    limits = run_limits(&host, &app, rounds, mode);
    dw_bench_listen(&responder, options, &host, address);
    (void)snprintf(what, sizeof what, "latency (%s): commit -> bytes on the poll's socket", mode);
    run_pushes(&host, &app, responder.address, 0, rounds, &limits, what);
    run_lighttpd(&host, &app, &responder, rounds, &limits, mode);
    dw_bench_stop(&responder);
    dw_bench_app_stop(&app);
    dw_bench_host_fini(&host);
}

int main(int argc, char **argv)
{
    struct dw_bench_options options;

    dw_bench_parse(argc, argv, &options);
    dw_bench_setting("AUTH_UID", "client_id");
    dw_bench_setting("AUTH_CSRF", "off");
    dw_bench_setting("CHSK_LP_TIMEOUT_MS", "600000");
    if (dw_bench_wants(&options, "full"))
        run(&options, 2, "FULL");
    if (dw_bench_wants(&options, "normal"))
        run(&options, 1, "NORMAL");
    return 0;
}
