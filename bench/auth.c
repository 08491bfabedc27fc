/* What it costs to know who is asking: the same polls, 20,000 times each, to responders that take the client's
 * word for it, that look its session up by SQL, and that check a signed token.
 *
 * All of them run on one queue at the same time, and the rounds take turns, so that what else the machine does
 * meets each of them alike.  Enough events lie ready, of which an answer has one: each poll is answered at once. */
#include "bench/lib_app.h"
#include "bench/lib_client.h"
#include "bench/lib_host.h"

#include "base/conf.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define AT_ONCE 16
#define ROUNDS 10
#define APP_SQL                                                                                                        \
    "SELECT m.name, l.csrf, json_object('theme', m.theme), l.ends FROM login l JOIN member m ON m.id = l.member "      \
    "WHERE l.token = :sid"
#define TOKEN_KEY "0123456789abcdef0123456789abcdef"
/* {"alg":"HS256","typ":"JWT"} {"sub":"bench","exp":4102444800}, signed with it */
#define TOKEN                                                                                                          \
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJiZW5jaCIsImV4cCI6NDEwMjQ0NDgwMH0."                                \
    "yCuEtRf2IkAOrpxf0J73PIG3qc-px4aUkEqTnP9VmzY"

struct mode {
    const char *what, *uid, *csrf, *session_sql;
    const char *cookie, *csrf_token, *query; /* what a client shows */
    struct dw_bench_responder responder;
    struct dw_bench_pool pool;
    int64_t took_ns, cpu_ns;
    size_t answered;
};

static struct mode modes[] = {
    {.what = "auth: nobody asked (auth.uid = client_id, csrf off)",
     .uid = "client_id",
     .csrf = "off",
     .session_sql = DW_SESSION_SQL},
    {.what = "auth: session, the default query",
     .uid = "session",
     .csrf = "on",
     .session_sql = DW_SESSION_SQL,
     .cookie = "dw_sid=s",
     .csrf_token = "token"},
    {.what = "auth: session, a join of two tables of an app",
     .uid = "session",
     .csrf = "on",
     .session_sql = APP_SQL,
     .cookie = "dw_sid=s",
     .csrf_token = "token"},
    {.what = "auth: token", .uid = "token", .csrf = "on", .session_sql = DW_SESSION_SQL, .query = "&token=" TOKEN},
};
#define MODES (sizeof modes / sizeof modes[0])

/* ---- settings ---- */

static void write_key(const struct dw_bench_host *host)
{
    char path[96];
    FILE *file;

    (void)snprintf(path, sizeof path, "%s/token.key", host->dir);
    file = fopen(path, "w");
    if (file == NULL || fputs(TOKEN_KEY "\n", file) < 0 || fclose(file) != 0)
        dw_bench_die("cannot write %s", path);
    dw_bench_setting("AUTH_TOKEN_KEY_FILE", path);
}

static void start(struct mode *mode, const struct dw_bench_options *options, struct dw_bench_host *host)
{
    bool token = strcmp(mode->uid, "token") == 0;

    if (token)
        write_key(host);
    dw_bench_setting("AUTH_UID", mode->uid);
    dw_bench_setting("AUTH_CSRF", mode->csrf);
    dw_bench_setting("AUTH_SESSION_SQL", mode->session_sql);
    dw_bench_spawn(&mode->responder, options, host, (unsigned)(mode - modes));
    dw_bench_pool_init(&mode->pool, AT_ONCE, mode->responder.address);
    mode->pool.cookie = mode->cookie;
    mode->pool.csrf_token = mode->csrf_token;
    mode->pool.query = mode->query;
}

/* ---- the load ---- */

struct load {
    struct dw_bench_pool *pool;
    size_t left, answered; /* not sent yet; answered */
};

static void on_answer(void *context, const struct dw_bench_answer *answer)
{
    struct load *load = context;

    errno = 0;
    if (answer->status != 200 || strncmp(answer->body, "[[[:bench/tick ", 15) != 0)
        dw_bench_die("client %zu was answered %d: %s", answer->client, answer->status, answer->body);
    load->answered++;
    if (load->left > 0) {
        load->left--;
        dw_bench_send(load->pool, answer->client, DW_BENCH_POLL);
    }
}

static void run_round(struct mode *mode, size_t requests, bool counts)
{
    int64_t begin = dw_bench_ns(), cpu = dw_bench_cpu_of(mode->responder.pid);
    struct load load = {&mode->pool, requests - AT_ONCE, 0};

    for (size_t i = 0; i < AT_ONCE; i++)
        dw_bench_send(&mode->pool, i, DW_BENCH_POLL);
    while (mode->pool.busy > 0) {
        bool waited = dw_bench_wait(&mode->pool, 30000, on_answer, &load);

        errno = 0;
        if (!waited)
            dw_bench_die("no answer within 30 s");
    }
    if (!counts)
        return;
    mode->took_ns += dw_bench_ns() - begin;
    mode->cpu_ns += dw_bench_cpu_of(mode->responder.pid) - cpu;
    mode->answered += load.answered;
}

static double rate_of(const struct mode *mode)
{
    return (double)mode->answered * 1e9 / (double)mode->took_ns;
}

static void report(const struct mode *mode)
{
    dw_bench_row(mode->what, mode == modes ? "" : dw_bench_ratio(rate_of(mode), rate_of(modes), "the first's", ""),
                 "%.0f polls a second, %.1f us CPU each", rate_of(mode),
                 (double)mode->cpu_ns / 1e3 / (double)mode->answered);
}

int main(int argc, char **argv)
{
    struct dw_bench_options options;
    struct dw_bench_host host;
    struct dw_bench_app app;
    size_t requests, i;
    char ready[256];
    int round;

    dw_bench_parse(argc, argv, &options);
    requests = (options.quick ? 2000 : 20000) / ROUNDS;
    dw_bench_host_init(&host);
    dw_bench_app_start(&app, host.db, options.wal_sync);
    dw_bench_app_sql(&app, "CREATE TABLE member (id INTEGER PRIMARY KEY, name TEXT, theme TEXT);"
                           "CREATE TABLE login (token TEXT PRIMARY KEY, member INTEGER, csrf TEXT, ends INTEGER);"
                           "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 9999)"
                           "INSERT INTO member SELECT i, 'c' || i, 'dark' FROM n;"
                           "INSERT INTO login SELECT 's' || id, id, 'token', 4102444800000 FROM member;"
                           "INSERT INTO dw_session (sid, uid, csrf_token, handshake_data, expires_at)"
                           " SELECT 's' || id, name, 'token', json_object('theme', theme), 4102444800000 FROM member");
    dw_bench_setting("LIMITS_BATCH", "1");
    for (i = 0; i < MODES; i++) {
        start(&modes[i], &options, &host);
        dw_bench_all(&modes[i].pool, 0, AT_ONCE, AT_ONCE, DW_BENCH_HANDSHAKE);
    }
    /* A quick client has more of the polls than its share. */
    (void)snprintf(ready, sizeof ready,
                   "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %zu)"
                   "INSERT INTO dw_push (room, event, data) SELECT '*', 'bench/tick', '{\"text\":\"hi\"}' FROM n",
                   (ROUNDS + 1) * requests);
    dw_bench_app_sql(&app, ready);
    for (round = -1; round < ROUNDS; round++) /* the first warms up */
        for (i = 0; i < MODES; i++)
            run_round(&modes[i], requests, round >= 0);
    for (i = 0; i < MODES; i++) {
        report(&modes[i]);
        dw_bench_pool_fini(&modes[i].pool);
        dw_bench_stop(&modes[i].responder);
    }
    dw_bench_app_stop(&app);
    dw_bench_host_fini(&host);
    return 0;
}
