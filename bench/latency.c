/* From an app's commit to the bytes on the waiting poll's socket, beside the limits of the machine in the
 * same run.  One responder, one client: it polls, the poll is parked, the app commits one push for it,
 * the answer is read, the client polls again. */
#include "bench/lib_client.h"
#include "bench/limits.h"

#include <stdio.h>
#include <string.h>

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
                          struct dw_bench_spread *spread)
{
    struct seen seen = {0, 0};
    struct dw_bench_commit commit;

    dw_bench_send(pool, 0, DW_BENCH_POLL);
    dw_bench_host_parked(host, 1);
    dw_bench_sleep_us(2000); /* the responder sleeps again */
    dw_bench_app_order(app, NULL, "c0");
    while (seen.answers == 0) {
        size_t busy = pool->busy;

        dw_bench_wait(pool, 5000, on_answer, &seen);
        if (seen.answers == 0 && busy == 0)
            dw_bench_die("the push was lost");
    }
    commit = dw_bench_app_result(app);
    dw_bench_spread_add(spread, seen.at_ns - commit.done_ns);
}

static int64_t run_limits(struct dw_bench_host *host, struct dw_bench_app *app, int rounds, const char *mode)
{
    static const char *const names[] = {"a byte over a pipe", "spinning on data_version, then SELECT",
                                        "file events, data_version, SELECT"};
    int64_t least = 0;

    for (int limit = DW_BENCH_LIMIT_PIPE; limit <= DW_BENCH_LIMIT_FILE; limit++) {
        struct dw_bench_spread spread = {NULL, 0, 0};
        char what[96];

        dw_bench_limit_run((enum dw_bench_limit)limit, host, app, rounds, &spread);
        (void)snprintf(what, sizeof what, "limit (%s): %s", mode, names[limit]);
        dw_bench_row_spread(what, "", &spread);
        if (limit == DW_BENCH_LIMIT_PIPE)
            least = dw_bench_spread_at(&spread, 0.5);
        dw_bench_spread_free(&spread);
    }
    return least;
}

static void run(const struct dw_bench_options *options, int wal_sync, const char *mode)
{
    int rounds = options->quick ? 100 : 2000;
    struct dw_bench_spread spread = {NULL, 0, 0};
    struct dw_bench_responder responder;
    struct dw_bench_host host;
    struct dw_bench_pool pool;
    struct dw_bench_app app;
    char address[112], what[96];
    int64_t limit;

    dw_bench_host_init(&host);
    (void)snprintf(address, sizeof address, "unix:%s/dw.sock", host.dir);
    dw_bench_app_start(&app, host.db, wal_sync);
    limit = run_limits(&host, &app, rounds, mode);
    dw_bench_listen(&responder, options, &host, address);
    dw_bench_pool_init(&pool, 1, responder.address);
    dw_bench_all(&pool, 0, 1, 1, DW_BENCH_HANDSHAKE);
    for (int i = 0; i < rounds; i++)
        push_and_wait(&host, &app, &pool, &spread);
    (void)snprintf(what, sizeof what, "latency (%s): commit -> bytes on the poll's socket", mode);
    dw_bench_row_spread(
        what, dw_bench_aim("p50 < 1 ms above the pipe", dw_bench_spread_at(&spread, 0.5) < limit + 1000000), &spread);
    dw_bench_spread_free(&spread);
    dw_bench_pool_fini(&pool);
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
