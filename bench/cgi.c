/* The responder as a plain CGI program, one process a request, beside the smallest CGI program: what a
 * web server's fork and exec cost, and what is ours.  One request at a time; times are from the start of
 * the process to its end, with the answer read. */
#include "bench/lib_app.h"
#include "bench/lib_host.h"

#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct cgi {
    char *environment[16];
    int count;
    const char *body;   /* of a POST; NULL: a GET */
    const char *wanted; /* begin of the answer's body */
};

static void set(struct cgi *cgi, const char *name, const char *value)
{
    char *pair = NULL;

    if (cgi->count + 1 >= (int)(sizeof cgi->environment / sizeof cgi->environment[0]) ||
        asprintf(&pair, "%s=%s", name, value) < 0)
        dw_bench_die("out of memory");
    cgi->environment[cgi->count++] = pair;
}

static void init(struct cgi *cgi, const char *db, const char *query, const char *body, const char *wanted)
{
    char length[24];

    *cgi = (struct cgi){.body = body, .wanted = wanted};
    set(cgi, "DUMBWAITER_DB", db);
    set(cgi, "DUMBWAITER_AUTH_UID", "client_id");
    set(cgi, "DUMBWAITER_AUTH_CSRF", "off");
    set(cgi, "DUMBWAITER_LOG_LEVEL", "error");
    set(cgi, "DUMBWAITER_LIMITS_REQUESTS_PER_S", "1000000");
    set(cgi, "DUMBWAITER_LIMITS_REQUESTS_PER_S_UID", "1000000");
    set(cgi, "GATEWAY_INTERFACE", "CGI/1.1");
    set(cgi, "SERVER_PROTOCOL", "HTTP/1.1");
    set(cgi, "HTTP_HOST", "www.example.org");
    set(cgi, "REQUEST_METHOD", body != NULL ? "POST" : "GET");
    set(cgi, "QUERY_STRING", query);
    if (body == NULL)
        return;
    (void)snprintf(length, sizeof length, "%zu", strlen(body));
    set(cgi, "CONTENT_TYPE", "application/x-www-form-urlencoded");
    set(cgi, "CONTENT_LENGTH", length);
}

static void fini(struct cgi *cgi)
{
    while (cgi->count > 0)
        free(cgi->environment[--cgi->count]);
}

/* The answer, up to the program's closing of its output. */
static void read_answer(const struct cgi *cgi, int fd)
{
    char answer[4096], *body;
    size_t len = 0;
    ssize_t got;

    while ((got = read(fd, answer + len, sizeof answer - 1 - len)) > 0)
        len += (size_t)got;
    answer[len] = '\0';
    body = strstr(answer, "\r\n\r\n");
    errno = 0;
    if (body == NULL || strncmp(body + 4, cgi->wanted, strlen(cgi->wanted)) != 0)
        dw_bench_die("the CGI program answered: %s", answer);
}

/* One request; nanoseconds. */
static int64_t request(const struct cgi *cgi, const char *program)
{
    char *const argv[] = {(char *)(uintptr_t)program, NULL};
    int in[2], out[2], status;
    posix_spawn_file_actions_t actions;
    int64_t begin = dw_bench_ns();
    pid_t pid;

    if (pipe(in) != 0 || pipe(out) != 0 || posix_spawn_file_actions_init(&actions) != 0 ||
        posix_spawn_file_actions_adddup2(&actions, in[0], STDIN_FILENO) != 0 ||
        posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO) != 0 ||
        posix_spawn_file_actions_addclosefrom_np(&actions, 3) != 0)
        dw_bench_die("no pipe");
    if (cgi->body != NULL && write(in[1], cgi->body, strlen(cgi->body)) < 0)
        dw_bench_die("cannot write to a pipe");
    errno = posix_spawn(&pid, program, &actions, NULL, argv, cgi->environment);
    if (errno != 0)
        dw_bench_die("cannot run %s", program);
    (void)posix_spawn_file_actions_destroy(&actions);
    (void)close(in[0]);
    (void)close(in[1]);
    (void)close(out[1]);
    read_answer(cgi, out[0]);
    (void)close(out[0]);
    errno = 0;
    if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
        dw_bench_die("%s ended with status %d", program, status);
    return dw_bench_ns() - begin;
}

static int64_t hello_ns;

static void measure(struct cgi *cgi, const char *program, int rounds, const char *what)
{
    struct dw_bench_spread spread = {NULL, 0, 0};
    int64_t half;

    for (int i = -3; i < rounds; i++) {
        int64_t ns = request(cgi, program);

        if (i >= 0)
            dw_bench_spread_add(&spread, ns);
    }
    half = dw_bench_spread_at(&spread, 0.5);
    dw_bench_row_spread(what, hello_ns > 0 ? dw_bench_ratio((double)half, (double)hello_ns, "hello's", "") : "",
                        &spread);
    if (hello_ns == 0)
        hello_ns = half;
    dw_bench_spread_free(&spread);
    fini(cgi);
}

int main(int argc, char **argv)
{
    struct dw_bench_options options;
    struct dw_bench_host host;
    struct cgi cgi;
    char query[96], body[160];
    long long udt = (long long)time(NULL) * 1000;
    int rounds;

    dw_bench_parse(argc, argv, &options);
    rounds = options.quick ? 20 : 300;
    dw_bench_host_init(&host);
    init(&cgi, host.db, "", NULL, "[[:chsk/handshake ");
    measure(&cgi, options.hello, rounds, "cgi: peer: a hello, one process a request");
    (void)snprintf(query, sizeof query, "udt=%lld&client-id=c1&handshake%%3F=1", udt);
    init(&cgi, host.db, query, NULL, "[[:chsk/handshake ");
    measure(&cgi, options.responder, rounds, "cgi: handshakes, one process a request");
    (void)snprintf(body, sizeof body,
                   "udt=%lld&client-id=c1&ppstr=%%5B%%5B%%3Aapp%%2Fping%%20%%7B%%3An%%201%%7D%%5D%%20nil%%5D", udt);
    init(&cgi, host.db, "", body, "[:chsk/dummy-cb-200 nil]");
    measure(&cgi, options.responder, rounds, "cgi: messages, one process a request");
    dw_bench_host_fini(&host);
    return 0;
}
