/* 100 responder processes with one parked poll each, as under mod_fcgid: does the herd that a commit wakes
 * hold up the app's own INSERT, and when do all have their event?
 *
 * The answers are all read and the CPU time is taken before the clients poll again, so that the figures
 * are the push's alone. */
#include "bench/lib_app.h"
#include "bench/lib_client.h"
#include "bench/lib_host.h"
#include "bench/peer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WARM_UP 3 /* rounds that are not counted: the first wakes find nothing in the caches */

struct herd {
    struct dw_bench_host host;
    struct dw_bench_app app;
    struct dw_bench_pool pool;
    struct dw_bench_responder *responders;
    size_t size, answered;
    int64_t last_ns;
    struct dw_bench_spread insert, all;
    struct dw_bench_spread one; /* all answers, one by one */
    int64_t *at_ns;
    int64_t cpu_ns;
    int64_t alone_ns, bare_ns; /* medians: INSERT without anybody waiting; the peer */
};

static void on_answer(void *context, const struct dw_bench_answer *answer)
{
    struct herd *herd = context;

    errno = 0;
    if (answer->status != 200 || strcmp(answer->body, "[[[:bench/tick {:text \"hi\"}]] nil]") != 0)
        dw_bench_die("client %zu: unexpected answer %d: %s", answer->client, answer->status, answer->body);
    herd->at_ns[herd->answered++] = answer->first_ns;
    herd->last_ns = answer->at_ns;
}

static int64_t cpu_of_all(const struct herd *herd)
{
    int64_t sum = 0;

    for (size_t i = 0; i < herd->size; i++)
        sum += dw_bench_cpu_of(herd->responders[i].pid);
    return sum;
}

static void push(struct herd *herd, bool with_cpu)
{
    struct dw_bench_commit commit;
    int64_t cpu;

    for (size_t i = 0; i < herd->size; i++)
        dw_bench_send(&herd->pool, i, DW_BENCH_POLL);
    dw_bench_host_parked(&herd->host, herd->size);
    dw_bench_sleep_us(20000);
    cpu = with_cpu ? cpu_of_all(herd) : 0;
    herd->answered = 0;
    dw_bench_app_order(&herd->app, "*", NULL);
    while (herd->answered < herd->size) {
        bool waited = dw_bench_wait(&herd->pool, 10000, on_answer, herd);

        errno = 0;
        if (!waited)
            dw_bench_die("%zu of %zu answers after 10 s of silence", herd->answered, herd->size);
    }
    commit = dw_bench_app_result(&herd->app);
    dw_bench_spread_add(&herd->insert, commit.done_ns - commit.begin_ns);
    dw_bench_spread_add(&herd->all, herd->last_ns - commit.done_ns);
    for (size_t i = 0; i < herd->size; i++)
        dw_bench_spread_add(&herd->one, herd->at_ns[i] - commit.done_ns);
    dw_bench_sleep_us(20000);
    if (with_cpu)
        herd->cpu_ns += cpu_of_all(herd) - cpu;
}

/* The same INSERT while nobody waits for it. */
static void insert_alone(struct herd *herd, int rounds, const char *mode)
{
    struct dw_bench_spread alone = {NULL, 0, 0};
    char what[96];

    for (int i = 0; i < rounds; i++) {
        struct dw_bench_commit commit;

        dw_bench_sleep_us(5000);
        dw_bench_app_order(&herd->app, "*", NULL);
        commit = dw_bench_app_result(&herd->app);
        dw_bench_spread_add(&alone, commit.done_ns - commit.begin_ns);
    }
    (void)snprintf(what, sizeof what, "herd (%s): the app's INSERT before any responder runs", mode);
    dw_bench_row_spread(what, "", &alone);
    herd->alone_ns = dw_bench_spread_at(&alone, 0.5);
    dw_bench_spread_free(&alone);
}

/* The least that waking as many processes takes, each of which writes one answer. */
static void wake_bare(struct herd *herd, int rounds, const char *mode)
{
    struct dw_bench_spread spread = {NULL, 0, 0};
    struct dw_bench_peer peer;
    struct dw_bench_pool pool;
    char what[96];

    dw_bench_pool_init(&pool, herd->size, "");
    dw_bench_peer_start(&peer, &herd->host, &pool, herd->size, "unix");
    for (int i = 0; i < rounds; i++)
        dw_bench_spread_add(&spread, dw_bench_peer_round(&peer, &pool));
    herd->bare_ns = dw_bench_spread_at(&spread, 0.5);
    (void)snprintf(what, sizeof what, "herd (%s): limit: a pipe wakes %zu, each writes", mode, herd->size);
    dw_bench_row_spread(what, "", &spread);
    dw_bench_spread_free(&spread);
    dw_bench_peer_stop(&peer);
    dw_bench_pool_fini(&pool);
}

static void report(struct herd *herd, const char *mode, int rounds)
{
    int64_t insert = dw_bench_spread_at(&herd->insert, 0.5), all = dw_bench_spread_at(&herd->all, 0.5);
    char what[96];

    (void)snprintf(what, sizeof what, "herd (%s): the app's INSERT, %zu processes waiting", mode, herd->size);
    dw_bench_row_spread(what,
                        dw_bench_ratio((double)insert, (double)herd->alone_ns, "alone",
                                       strcmp(mode, "NORMAL") == 0 ? dw_bench_aim("p50 <= 300 us", insert <= 300000)
                                                                   : "mostly the disk's fsync"),
                        &herd->insert);
    (void)snprintf(what, sizeof what, "herd (%s): commit -> answer, each of %zu", mode, herd->size);
    dw_bench_row_spread(what, "", &herd->one);
    (void)snprintf(what, sizeof what, "herd (%s): commit -> all %zu have their answer", mode, herd->size);
    dw_bench_row_spread(
        what,
        dw_bench_ratio((double)all, (double)herd->bare_ns, "the limit", dw_bench_aim("p50 <= 3 ms", all <= 3000000)),
        &herd->all);
    (void)snprintf(what, sizeof what, "herd (%s): CPU of all responders", mode);
    dw_bench_row(what, "", "%.2f ms a push", (double)herd->cpu_ns / 1e6 / rounds);
}

static void run(const struct dw_bench_options *options, int wal_sync, const char *mode)
{
    struct herd herd = {.size = options->quick ? 20 : 100};
    int rounds = options->quick ? 20 : 200;

    herd.responders = dw_bench_alloc(herd.size, sizeof *herd.responders);
    herd.at_ns = dw_bench_alloc(herd.size, sizeof *herd.at_ns);
    dw_bench_host_init(&herd.host);
    dw_bench_app_start(&herd.app, herd.host.db, wal_sync);
    wake_bare(&herd, rounds, mode);
    insert_alone(&herd, rounds, mode);
    dw_bench_pool_init(&herd.pool, herd.size, "");
    for (size_t i = 0; i < herd.size; i++) {
        dw_bench_spawn(&herd.responders[i], options, &herd.host, (unsigned)i);
        herd.pool.clients[i].address = herd.responders[i].address;
    }
    dw_bench_all(&herd.pool, 0, herd.size, 2, DW_BENCH_HANDSHAKE);
    for (int i = 0; i < WARM_UP; i++)
        push(&herd, false);
    herd.insert.count = herd.all.count = herd.one.count = 0;
    for (int i = 0; i < rounds; i++)
        push(&herd, true);
    report(&herd, mode, rounds);
    dw_bench_pool_fini(&herd.pool);
    for (size_t i = 0; i < herd.size; i++)
        dw_bench_stop(&herd.responders[i]);
    dw_bench_app_stop(&herd.app);
    dw_bench_host_fini(&herd.host);
    dw_bench_spread_free(&herd.insert);
    dw_bench_spread_free(&herd.all);
    dw_bench_spread_free(&herd.one);
    free(herd.responders);
    free(herd.at_ns);
}

int main(int argc, char **argv)
{
    struct dw_bench_options options;

    dw_bench_parse(argc, argv, &options);
    dw_bench_setting("AUTH_UID", "client_id");
    dw_bench_setting("AUTH_CSRF", "off");
    dw_bench_setting("CHSK_LP_TIMEOUT_MS", "600000");
    dw_bench_setting("LIMITS_HOLDERS", "1000");
    if (dw_bench_wants(&options, "normal"))
        run(&options, 1, "NORMAL");
    if (dw_bench_wants(&options, "full"))
        run(&options, 2, "FULL");
    return 0;
}
