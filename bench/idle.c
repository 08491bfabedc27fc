/* How often a responder wakes up that holds 1,000 polls while nothing happens: context switches of all
 * its threads, per second. */
#include "bench/lib_client.h"
#include "bench/lib_host.h"

#include <stdio.h>

static void on_answer(void *context, const struct dw_bench_answer *answer)
{
    (void)context;
    dw_bench_die("a poll was answered while nothing happened: %s", answer->body);
}

/* The work of their coming is done when nothing has been written to the WAL for longer than the keeper waits
 * for the end of a burst and the doorbell looks again. */
static void wait_until_settled(struct dw_bench_host *host)
{
    int64_t bytes = -1;
    unsigned same = 0;

    for (unsigned tries = 0; same < 30; tries++) {
        int64_t now = dw_bench_wal_bytes(host);

        if (tries == 300)
            dw_bench_die("the WAL still grows after 30 s of silence");
        same = now == bytes ? same + 1 : 0;
        bytes = now;
        dw_bench_sleep_us(100000);
    }
}

int main(int argc, char **argv)
{
    struct dw_bench_options options;
    struct dw_bench_responder responder;
    struct dw_bench_host host;
    struct dw_bench_pool pool;
    char address[112], what[96];
    int polls = 1000, seconds;
    int64_t switches, cpu;
    double rate;

    dw_bench_parse(argc, argv, &options);
    seconds = options.quick ? 5 : 20;
    dw_bench_setting("AUTH_UID", "client_id");
    dw_bench_setting("AUTH_CSRF", "off");
    dw_bench_setting("CHSK_LP_TIMEOUT_MS", "600000");
    dw_bench_host_init(&host);
    (void)snprintf(address, sizeof address, "unix:%s/dw.sock", host.dir);
    dw_bench_listen(&responder, &options, &host, address);
    dw_bench_pool_init(&pool, (size_t)polls, responder.address);
    dw_bench_all(&pool, 0, pool.count, 16, DW_BENCH_HANDSHAKE);
    for (size_t i = 0; i < pool.count; i++)
        dw_bench_send(&pool, i, DW_BENCH_POLL);
    dw_bench_host_parked(&host, pool.count);
    wait_until_settled(&host);
    switches = dw_bench_switches_of(responder.pid);
    cpu = dw_bench_cpu_of(responder.pid);
    dw_bench_sleep_us((int64_t)seconds * 1000000);
    rate = (double)(dw_bench_switches_of(responder.pid) - switches) / seconds;
    cpu = dw_bench_cpu_of(responder.pid) - cpu;
    (void)dw_bench_wait(&pool, 0, on_answer, NULL);
    (void)snprintf(what, sizeof what, "idle: %d parked polls, %d s", polls, seconds);
    dw_bench_row(what, dw_bench_aim("<= 1 a second", rate <= 1), "%.2f context switches/s, %.0f us CPU/s", rate,
                 (double)cpu / 1e3 / seconds);
    dw_bench_pool_fini(&pool);
    dw_bench_stop(&responder);
    dw_bench_host_fini(&host);
    return 0;
}
