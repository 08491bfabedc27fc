/* 10,000 parked polls in one responder process: what they weigh, how long a push to one of them takes, and
 * how long a push to all, beside a process that only writes to as many sockets.  Every answer is counted
 * and its content compared. */
#include "bench/lib_app.h"
#include "bench/lib_client.h"
#include "bench/lib_host.h"
#include "bench/peer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BURST 1000 /* polls sent before looking whether they are parked: less than any backlog */

struct fanout {
    struct dw_bench_host host;
    struct dw_bench_app app;
    struct dw_bench_pool pool;
    struct dw_bench_responder responder;
    size_t polls;
    const char *way; /* unix or tcp */
    unsigned *answers;
    size_t answered;
    int64_t first_ns, last_ns;
    int64_t bare_ns; /* what the peer takes for all */
};

static void on_answer(void *context, const struct dw_bench_answer *answer)
{
    struct fanout *f = context;

    errno = 0;
    if (answer->status != 200 || strcmp(answer->body, "[[[:bench/tick {:text \"hi\"}]] nil]") != 0)
        dw_bench_die("client %zu: unexpected answer %d: %s", answer->client, answer->status, answer->body);
    if (f->answered == 0)
        f->first_ns = answer->first_ns;
    f->last_ns = answer->at_ns;
    f->answered++;
    f->answers[answer->client]++;
}

static void park(struct fanout *f, size_t from, size_t to)
{
    size_t parked = from;

    while (parked < to) {
        size_t until = parked + BURST < to ? parked + BURST : to;

        while (parked < until)
            dw_bench_send(&f->pool, parked++, DW_BENCH_POLL);
        dw_bench_host_parked(&f->host, parked);
    }
    (void)dw_bench_wait(&f->pool, 0, on_answer, f);
    errno = 0;
    if (f->answered != 0)
        dw_bench_die("a poll was answered that has had its event already");
}

static void collect(struct fanout *f, size_t wanted)
{
    while (f->answered < wanted) {
        bool waited = dw_bench_wait(&f->pool, 10000, on_answer, f);

        errno = 0;
        if (!waited)
            dw_bench_die("%zu of %zu answers after 10 s of silence", f->answered, wanted);
    }
    f->answered = 0;
}

static void row(const struct fanout *f, const char *what, const char *remark, struct dw_bench_spread *spread)
{
    char text[96];

    (void)snprintf(text, sizeof text, "fan-out (%zu, %s): %s", f->polls, f->way, what);
    dw_bench_row_spread(text, remark, spread);
}

static void push_to_one(struct fanout *f, int rounds)
{
    struct dw_bench_spread spread = {NULL, 0, 0};

    for (int i = 0; i < rounds; i++) {
        size_t client = (size_t)(i + 1) * 7919 % f->polls;
        char uid[32];

        (void)snprintf(uid, sizeof uid, "c%zu", client);
        dw_bench_sleep_us(2000);
        dw_bench_app_order(&f->app, NULL, uid);
        collect(f, 1);
        dw_bench_spread_add(&spread, f->first_ns - dw_bench_app_result(&f->app).done_ns);
        errno = 0;
        if (f->answers[client] != 1)
            dw_bench_die("the push for %s went to somebody else", uid);
        f->answers[client] = 0;
        dw_bench_send(&f->pool, client, DW_BENCH_POLL);
        dw_bench_host_parked(&f->host, f->polls);
    }
    row(f, "commit -> answer, push to one", "", &spread);
    dw_bench_spread_free(&spread);
}

static void push_to_all(struct fanout *f, int rounds)
{
    struct dw_bench_spread first = {NULL, 0, 0}, last = {NULL, 0, 0};
    char remark[240];

    for (int i = 0; i < rounds; i++) {
        struct dw_bench_commit commit;

        if (i > 0)
            park(f, 0, f->polls);
        dw_bench_sleep_us(100000);
        dw_bench_app_order(&f->app, "*", NULL);
        collect(f, f->polls);
        commit = dw_bench_app_result(&f->app);
        dw_bench_spread_add(&first, f->first_ns - commit.done_ns);
        dw_bench_spread_add(&last, f->last_ns - commit.done_ns);
        errno = 0;
        for (size_t c = 0; c < f->polls; c++) {
            if (f->answers[c] != 1)
                dw_bench_die("client %zu had %u answers to one push", c, f->answers[c]);
            f->answers[c] = 0;
        }
    }
    row(f, "push to room *, until the first has it", "", &first);
    (void)snprintf(remark, sizeof remark, "%s",
                   dw_bench_ratio((double)dw_bench_spread_at(&last, 0.5), (double)f->bare_ns, "bare writing",
                                  "each exactly one answer, with this event"));
    row(f, "push to room *, until the last has it", remark, &last);
    dw_bench_spread_free(&first);
    dw_bench_spread_free(&last);
}

/* The least that writing to all of them takes. */
static void write_bare(struct fanout *f, int rounds)
{
    struct dw_bench_spread spread = {NULL, 0, 0};
    struct dw_bench_peer peer;
    struct dw_bench_pool pool;

    dw_bench_pool_init(&pool, f->polls, "");
    dw_bench_peer_start(&peer, &f->host, &pool, 1, f->way);
    for (int i = 0; i < rounds; i++)
        dw_bench_spread_add(&spread, dw_bench_peer_round(&peer, &pool));
    f->bare_ns = dw_bench_spread_at(&spread, 0.5);
    row(f, "limit: bare writing to all, last read", "", &spread);
    dw_bench_spread_free(&spread);
    dw_bench_peer_stop(&peer);
    dw_bench_pool_fini(&pool);
}

static void weigh(const struct fanout *f, const struct dw_bench_memory *idle, const struct dw_bench_memory *known)
{
    struct dw_bench_memory full = dw_bench_memory_of(f->responder.pid);
    double polls = (double)f->polls, each = (double)(full.private_dirty - known->private_dirty) / polls;
    char what[96];

    (void)snprintf(what, sizeof what, "memory (%zu, %s): started / all shook hands / all parked", f->polls, f->way);
    dw_bench_row(what, "RSS", "%.1f / %.1f / %.1f MB", (double)idle->rss / 1e6, (double)known->rss / 1e6,
                 (double)full.rss / 1e6);
    (void)snprintf(what, sizeof what, "memory (%zu, %s): own memory of a parked poll", f->polls, f->way);
    dw_bench_row(what,
                 f->polls >= 10000 ? dw_bench_aim("<= 1024 bytes", each <= 1024)
                                   : "caches included: too few polls to tell",
                 "%.0f bytes private dirty, %.0f bytes RSS", each, (double)(full.rss - known->rss) / polls);
}

static void run(const struct dw_bench_options *options, const char *way)
{
    struct fanout f = {.polls = options->quick ? 1000 : 10000, .way = way};
    struct dw_bench_memory idle, known;
    char address[112];

    f.answers = dw_bench_alloc(f.polls, sizeof *f.answers);
    dw_bench_host_init(&f.host);
    if (strcmp(way, "unix") == 0)
        (void)snprintf(address, sizeof address, "unix:%s/dw.sock", f.host.dir);
    else
        (void)snprintf(address, sizeof address, "127.0.0.1:%u", dw_bench_free_port());
    write_bare(&f, options->quick ? 2 : 5);
    dw_bench_app_start(&f.app, f.host.db, options->wal_sync);
    dw_bench_listen(&f.responder, options, &f.host, address);
    dw_bench_pool_init(&f.pool, f.polls, f.responder.address);
    idle = dw_bench_memory_of(f.responder.pid);
    dw_bench_all(&f.pool, 0, f.polls, 16, DW_BENCH_HANDSHAKE);
    known = dw_bench_memory_of(f.responder.pid);
    park(&f, 0, f.polls);
    weigh(&f, &idle, &known);
    push_to_one(&f, options->quick ? 50 : 500);
    push_to_all(&f, options->quick ? 2 : 5);
    dw_bench_pool_fini(&f.pool);
    dw_bench_stop(&f.responder);
    dw_bench_app_stop(&f.app);
    dw_bench_host_fini(&f.host);
    free(f.answers);
}

int main(int argc, char **argv)
{
    struct dw_bench_options options;

    dw_bench_parse(argc, argv, &options);
    dw_bench_setting("AUTH_UID", "client_id");
    dw_bench_setting("AUTH_CSRF", "off");
    dw_bench_setting("CHSK_LP_TIMEOUT_MS", "600000");
    if (dw_bench_wants(&options, "unix"))
        run(&options, "unix");
    if (dw_bench_wants(&options, "tcp"))
        run(&options, "tcp");
    return 0;
}
