/* An app that inserts 1,000 times a second while the responder serves polls, deletes what is past
 * retention and checkpoints: how long does each INSERT take, and how far behind its time is it done (one that
 * takes long holds up the next)?  Beside it the same without a responder.  Retention is short, so that it
 * really deletes; the WAL's size is looked at all the time, the rows left afterwards. */
#include "bench/lib_app.h"
#include "bench/lib_client.h"
#include "bench/lib_host.h"

#include <stdio.h>

#define POLLS 5
#define PER_SECOND 1000

struct inserts {
    struct dw_bench_host host;
    struct dw_bench_app app;
    const char *mode;
    int seconds;
    int64_t wal_max;
    int64_t alone_p99; /* of INSERTs while no responder runs */
};

static void look(void *context)
{
    struct inserts *inserts = context;
    int64_t bytes = dw_bench_wal_bytes(&inserts->host);

    if (bytes > inserts->wal_max)
        inserts->wal_max = bytes;
}

static void fill(struct dw_bench_spread *spread, const int64_t *ns, size_t count)
{
    for (size_t i = 0; i < count; i++)
        dw_bench_spread_add(spread, ns[i]);
}

/* Inserts at that pace; returns the 99th percentile. */
static int64_t pace(struct inserts *inserts, int seconds, const char *with)
{
    size_t count = dw_bench_app_pace(&inserts->app, "elsewhere", PER_SECOND, seconds, look, inserts);
    struct dw_bench_spread took = {NULL, 0, 0}, late = {NULL, 0, 0};
    char what[96];
    int64_t p99;

    fill(&took, inserts->app.took, count);
    fill(&late, inserts->app.late, count);
    p99 = dw_bench_spread_at(&took, 0.99);
    (void)snprintf(what, sizeof what, "inserts (%s): %d/s for %d s, %s", inserts->mode, PER_SECOND, seconds, with);
    dw_bench_row_spread(
        what, inserts->alone_p99 > 0 ? dw_bench_ratio((double)p99, (double)inserts->alone_p99, "alone (p99)", "") : "",
        &took);
    (void)snprintf(what, sizeof what, "inserts (%s): done behind their time, %s", inserts->mode, with);
    dw_bench_row_spread(what, "", &late);
    dw_bench_spread_free(&took);
    dw_bench_spread_free(&late);
    return p99;
}

static void report(struct inserts *inserts)
{
    int64_t last = dw_bench_app_ask(&inserts->app, "SELECT seq FROM sqlite_sequence WHERE name = 'dw_push'");
    int64_t left = dw_bench_app_ask(&inserts->app, "SELECT count(*) FROM dw_push");
    char what[96];

    (void)snprintf(what, sizeof what, "inserts (%s): what GC and checkpoints did meanwhile", inserts->mode);
    dw_bench_row(what, dw_bench_aim("WAL <= 16 MiB", inserts->wal_max <= 16 << 20),
                 "%lld of %lld rows deleted, WAL <= %.2f MB", (long long)(last - left), (long long)last,
                 (double)inserts->wal_max / 1e6);
}

static void run(const struct dw_bench_options *options, int wal_sync, const char *mode)
{
    struct inserts inserts = {.mode = mode, .seconds = options->quick ? 8 : 20}; /* deleting begins after 5 s */
    struct dw_bench_responder responder;
    struct dw_bench_pool pool;
    char address[112];

    dw_bench_host_init(&inserts.host);
    (void)snprintf(address, sizeof address, "unix:%s/dw.sock", inserts.host.dir);
    dw_bench_app_start(&inserts.app, inserts.host.db, wal_sync);
    inserts.alone_p99 = pace(&inserts, options->quick ? 2 : 5, "alone");
    dw_bench_listen(&responder, options, &inserts.host, address);
    dw_bench_pool_init(&pool, POLLS, responder.address);
    dw_bench_all(&pool, 0, POLLS, POLLS, DW_BENCH_HANDSHAKE);
    for (size_t i = 0; i < POLLS; i++)
        dw_bench_send(&pool, i, DW_BENCH_POLL);
    dw_bench_host_parked(&inserts.host, POLLS);
    inserts.wal_max = 0;
    (void)pace(&inserts, inserts.seconds, "GC and checkpoints");
    report(&inserts);
    dw_bench_pool_fini(&pool);
    dw_bench_stop(&responder);
    dw_bench_app_stop(&inserts.app);
    dw_bench_host_fini(&inserts.host);
}

int main(int argc, char **argv)
{
    struct dw_bench_options options;

    dw_bench_parse(argc, argv, &options);
    dw_bench_setting("AUTH_UID", "client_id");
    dw_bench_setting("AUTH_CSRF", "off");
    dw_bench_setting("CHSK_LP_TIMEOUT_MS", "600000");
    dw_bench_setting("STORE_RETAIN_MS", "1000");
    if (dw_bench_wants(&options, "normal"))
        run(&options, 1, "NORMAL");
    if (dw_bench_wants(&options, "full"))
        run(&options, 2, "FULL");
    return 0;
}
