/* An app that inserts 1,000 times a second while the responder serves polls, deletes what is past
 * retention and checkpoints: how long does each INSERT take?  Retention is short, so that it really
 * deletes; the rows left and the size of the WAL are looked at afterwards. */
#include "bench/lib_app.h"
#include "bench/lib_client.h"
#include "bench/lib_host.h"

#include <stdio.h>
#include <sys/stat.h>

#define POLLS 5
#define PER_SECOND 1000

static int64_t wal_bytes(const struct dw_bench_host *host)
{
    struct stat status;
    char path[112];

    (void)snprintf(path, sizeof path, "%s-wal", host->db);
    return stat(path, &status) == 0 ? (int64_t)status.st_size : 0;
}

static void report(struct dw_bench_host *host, struct dw_bench_app *app, size_t count, const char *mode)
{
    int64_t last = dw_bench_app_ask(app, "SELECT seq FROM sqlite_sequence WHERE name = 'dw_push'");
    int64_t left = dw_bench_app_ask(app, "SELECT count(*) FROM dw_push");
    struct dw_bench_spread spread = {NULL, 0, 0};
    char what[96];

    for (size_t i = 0; i < count; i++)
        dw_bench_spread_add(&spread, app->took[i]);
    (void)snprintf(what, sizeof what, "inserts (%s): %d/s for %zu s, GC and checkpoints at work", mode, PER_SECOND,
                   count / PER_SECOND);
    dw_bench_row_spread(what, "", &spread);
    (void)snprintf(what, sizeof what, "inserts (%s): what GC and checkpoints did meanwhile", mode);
    dw_bench_row(what, "", "%lld of %lld rows deleted, WAL %.1f MB", (long long)(last - left), (long long)last,
                 (double)wal_bytes(host) / 1e6);
    dw_bench_spread_free(&spread);
}

static void run(const struct dw_bench_options *options, int wal_sync, const char *mode)
{
    int seconds = options->quick ? 8 : 20; /* the first deletion is due after 5 s */
    struct dw_bench_responder responder;
    struct dw_bench_host host;
    struct dw_bench_pool pool;
    struct dw_bench_app app;
    char address[112];
    size_t count;

    dw_bench_host_init(&host);
    (void)snprintf(address, sizeof address, "unix:%s/dw.sock", host.dir);
    dw_bench_app_start(&app, host.db, wal_sync);
    dw_bench_listen(&responder, options, &host, address);
    dw_bench_pool_init(&pool, POLLS, responder.address);
    dw_bench_all(&pool, 0, POLLS, POLLS, DW_BENCH_HANDSHAKE);
    for (size_t i = 0; i < POLLS; i++)
        dw_bench_send(&pool, i, DW_BENCH_POLL);
    dw_bench_host_parked(&host, POLLS);
    count = dw_bench_app_pace(&app, "elsewhere", PER_SECOND, seconds);
    report(&host, &app, count, mode);
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
    dw_bench_setting("STORE_RETAIN_MS", "1000");
    if (dw_bench_wants(&options, "normal"))
        run(&options, 1, "NORMAL");
    if (dw_bench_wants(&options, "full"))
        run(&options, 2, "FULL");
    return 0;
}
