/* How much one responder process does: handshakes, rounds of poll and answer, messages without and with a
 * reply by a trigger; beside it, what the smallest libfcgi program does, which shows what connections and
 * the client cost.  The client runs on the same machine and takes its share of the CPUs. */
#include "bench/lib_app.h"
#include "bench/lib_client.h"
#include "bench/lib_host.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define CLIENTS 200
#define AT_ONCE 16

struct load {
    struct dw_bench_pool *pool;
    enum dw_bench_request request;
    const char *wanted; /* the answer */
    int64_t until_ns;
    size_t next, answered;
};

static void on_answer(void *context, const struct dw_bench_answer *answer)
{
    struct load *load = context;

    errno = 0;
    if (answer->status != 200 || strncmp(answer->body, load->wanted, strlen(load->wanted)) != 0)
        dw_bench_die("client %zu was answered %d: %s", answer->client, answer->status, answer->body);
    load->answered++;
    if (answer->at_ns < load->until_ns)
        dw_bench_send(load->pool, answer->client, load->request);
}

static double hello_rate; /* 0: not yet measured */

static double report(const char *what, const struct load *load, int64_t took_ns, int64_t cpu_ns)
{
    double rate = (double)load->answered * 1e9 / (double)took_ns;

    if (what == NULL) /* a warm-up */
        return rate;
    dw_bench_row(what, hello_rate > 0 ? dw_bench_ratio(rate, hello_rate, "hello's", "") : "",
                 "%.0f a second, %.0f us CPU each", rate, (double)cpu_ns / 1e3 / (double)load->answered);
    return rate;
}

/* AT_ONCE clients make that request again and again. */
static double repeat(struct dw_bench_pool *pool, pid_t pid, enum dw_bench_request request, const char *wanted,
                     int seconds, const char *what)
{
    int64_t begin = dw_bench_ns(), cpu = dw_bench_cpu_of(pid);
    struct load load = {pool, request, wanted, begin + (int64_t)seconds * 1000000000, 0, 0};

    for (size_t i = 0; i < AT_ONCE; i++)
        dw_bench_send(pool, i, request);
    while (pool->busy > 0) {
        bool waited = dw_bench_wait(pool, 30000, on_answer, &load);

        errno = 0;
        if (!waited)
            dw_bench_die("no answer within 30 s");
    }
    return report(what, &load, dw_bench_ns() - begin, dw_bench_cpu_of(pid) - cpu);
}

static void on_event(void *context, const struct dw_bench_answer *answer)
{
    struct load *load = context;

    errno = 0;
    if (answer->status != 200 || strcmp(answer->body, load->wanted) != 0)
        dw_bench_die("client %zu was answered %d: %s", answer->client, answer->status, answer->body);
    load->answered++;
    dw_bench_send(load->pool, answer->client, DW_BENCH_POLL);
}

/* CLIENTS clients poll; a push for all as soon as all have had the last one. */
static void poll_rounds(struct dw_bench_pool *pool, pid_t pid, struct dw_bench_app *app, int seconds)
{
    int64_t begin = dw_bench_ns(), cpu = dw_bench_cpu_of(pid), until = begin + (int64_t)seconds * 1000000000;
    struct load load = {pool, DW_BENCH_POLL, "[[[:bench/tick {:text \"hi\"}]] nil]", until, 0, 0};
    size_t rounds = 0;

    for (size_t i = 0; i < CLIENTS; i++)
        dw_bench_send(pool, i, DW_BENCH_POLL);
    while (dw_bench_ns() < until) {
        dw_bench_app_order(app, "*", NULL);
        rounds++;
        while (load.answered < rounds * CLIENTS) {
            bool waited = dw_bench_wait(pool, 10000, on_event, &load);

            errno = 0;
            if (!waited)
                dw_bench_die("no answer within 10 s");
        }
        (void)dw_bench_app_result(app);
    }
    (void)report("requests: polls answered with an event, 200 clients", &load, dw_bench_ns() - begin,
                 dw_bench_cpu_of(pid) - cpu);
}

static void run_hello(const struct dw_bench_options *options, struct dw_bench_host *host, int seconds)
{
    struct dw_bench_responder hello;
    struct dw_bench_pool pool;

    dw_bench_spawn_other(&hello, options->hello, host);
    dw_bench_pool_init(&pool, AT_ONCE, hello.address);
    (void)repeat(&pool, hello.pid, DW_BENCH_HANDSHAKE, "[[:chsk/handshake ", 1, NULL);
    hello_rate = repeat(&pool, hello.pid, DW_BENCH_HANDSHAKE, "[[:chsk/handshake ", seconds,
                        "requests: peer: libfcgi's hello, one thread");
    dw_bench_pool_fini(&pool);
    dw_bench_stop_other(&hello);
}

int main(int argc, char **argv)
{
    struct dw_bench_options options;
    struct dw_bench_responder responder;
    struct dw_bench_host host;
    struct dw_bench_pool pool;
    struct dw_bench_app app;
    char address[112];
    int seconds;

    dw_bench_parse(argc, argv, &options);
    seconds = options.quick ? 1 : 5;
    dw_bench_setting("AUTH_UID", "client_id");
    dw_bench_setting("AUTH_CSRF", "off");
    dw_bench_setting("CHSK_LP_TIMEOUT_MS", "600000");
    dw_bench_host_init(&host);
    run_hello(&options, &host, seconds);
    (void)snprintf(address, sizeof address, "unix:%s/dw.sock", host.dir);
    dw_bench_app_start(&app, host.db, options.wal_sync);
    dw_bench_app_sql(&app, "CREATE TRIGGER answer AFTER INSERT ON dw_inbox WHEN NEW.wants_reply "
                           "BEGIN INSERT INTO dw_reply (inbox_id, data) VALUES (NEW.id, '{\"ok\":true}'); END");
    dw_bench_listen(&responder, &options, &host, address);
    dw_bench_pool_init(&pool, CLIENTS, responder.address);
    dw_bench_all(&pool, 0, CLIENTS, AT_ONCE, DW_BENCH_HANDSHAKE);
    (void)repeat(&pool, responder.pid, DW_BENCH_HANDSHAKE, "[[:chsk/handshake ", seconds, "requests: handshakes");
    (void)repeat(&pool, responder.pid, DW_BENCH_POST, "[:chsk/dummy-cb-200 nil]", seconds,
                 "requests: messages without callback");
    (void)repeat(&pool, responder.pid, DW_BENCH_CALLBACK, "[{:ok true} nil]", seconds,
                 "requests: messages answered by a trigger");
    poll_rounds(&pool, responder.pid, &app, seconds);
    dw_bench_pool_fini(&pool);
    dw_bench_stop(&responder);
    dw_bench_app_stop(&app);
    dw_bench_host_fini(&host);
    return 0;
}
