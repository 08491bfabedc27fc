/* Processes that hold sockets and write; see peer.h. */
#include "bench/peer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define BURST 1000 /* connections made before they have been accepted: less than any backlog */
#define BODY "[[[:bench/tick {:text \"hi\"}]] nil]"

/* ---- in the peer's processes ---- */

/* What the responder's answers look like, as FastCGI records. */
static size_t compose(char *out, size_t room)
{
    char text[512];
    int len = snprintf(text, sizeof text,
                       "Status: 200 OK\r\nContent-Type: text/plain; charset=UTF-8\r\nCache-Control: no-store\r\n"
                       "Content-Length: %zu\r\n\r\n%s",
                       strlen(BODY), BODY);
    const char head[8] = {1, 6, 0, 1, (char)(len >> 8), (char)(len & 0xff), 0, 0};
    const char end[16] = {1, 3, 0, 1, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};

    if (len < 0 || (size_t)len + sizeof head + sizeof end > room)
        _exit(1);
    memcpy(out, head, sizeof head);
    memcpy(out + sizeof head, text, (size_t)len);
    memcpy(out + sizeof head + len, end, sizeof end);
    return sizeof head + (size_t)len + sizeof end;
}

/* Accepts the next one and reads its request, which comes in one piece. */
static int take_one(int listen_fd)
{
    char request[4096];
    int fd = accept(listen_fd, NULL, NULL);

    if (fd < 0 || recv(fd, request, sizeof request, 0) <= 0)
        _exit(1);
    return fd;
}

_Noreturn static void be_peer(const struct dw_bench_peer *peer, int listen_fd)
{
    int *held = dw_bench_alloc(peer->each, sizeof *held);
    struct pollfd word = {.fd = peer->trigger[0], .events = POLLIN};
    char answer[640];
    size_t len = compose(answer, sizeof answer);

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) {
        for (size_t i = 0; i < peer->each; i++) {
            held[i] = take_one(listen_fd);
            if ((i + 1) % BURST == 0 && write(peer->ready[1], "!", 1) != 1)
                _exit(0);
        }
        if (peer->each % BURST != 0 && write(peer->ready[1], "!", 1) != 1)
            _exit(0);
        if (poll(&word, 1, -1) != 1)
            _exit(0);
        for (size_t i = 0; i < peer->each; i++) {
            (void)send(held[i], answer, len, MSG_NOSIGNAL);
            (void)close(held[i]);
        }
    }
}

/* ---- in the benchmark ---- */

static int listen_unix(const char *path)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)snprintf(name.sun_path, sizeof name.sun_path, "%s", path);
    if (fd < 0 || bind(fd, (const struct sockaddr *)&name, sizeof name) != 0 || listen(fd, 4096) != 0)
        dw_bench_die("the peer cannot listen on %s", path);
    return fd;
}

static int listen_tcp(unsigned port)
{
    struct sockaddr_in name = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || bind(fd, (const struct sockaddr *)&name, sizeof name) != 0 || listen(fd, 4096) != 0)
        dw_bench_die("the peer cannot listen on port %u", port);
    return fd;
}

static void start_one(struct dw_bench_peer *peer, struct dw_bench_host *host, struct dw_bench_pool *pool, size_t number,
                      const char *way)
{
    char address[112];
    char *kept;
    int fd;

    if (strcmp(way, "tcp") == 0) {
        unsigned port = dw_bench_free_port();

        (void)snprintf(address, sizeof address, "127.0.0.1:%u", port);
        fd = listen_tcp(port);
    } else {
        (void)snprintf(address, sizeof address, "unix:%s/peer%zu.sock", host->dir, number);
        fd = listen_unix(address + strlen("unix:"));
    }
    kept = strdup(address); /* for the rest of the program: a few bytes */
    for (size_t i = 0; i < peer->each; i++)
        pool->clients[number * peer->each + i].address = kept;
    peer->pids[number] = fork();
    if (peer->pids[number] < 0 || kept == NULL)
        dw_bench_die("cannot start the peer");
    if (peer->pids[number] == 0) {
        (void)close(peer->ready[0]);
        be_peer(peer, fd);
    }
    (void)close(fd);
}

void dw_bench_peer_start(struct dw_bench_peer *peer, struct dw_bench_host *host, struct dw_bench_pool *pool,
                         size_t processes, const char *way)
{
    struct rlimit limit;

    /* The processes inherit the pool's raised limit. */
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || pipe(peer->trigger) != 0 || pipe(peer->ready) != 0)
        dw_bench_die("no pipe");
    peer->processes = processes;
    peer->each = pool->count / processes;
    errno = 0;
    if (peer->each * processes != pool->count)
        dw_bench_die("%zu clients don't fit %zu processes", pool->count, processes);
    peer->pids = dw_bench_alloc(processes, sizeof *peer->pids);
    for (size_t i = 0; i < processes; i++)
        start_one(peer, host, pool, i, way);
}

void dw_bench_peer_stop(struct dw_bench_peer *peer)
{
    for (size_t i = 0; i < peer->processes; i++) {
        (void)kill(peer->pids[i], SIGKILL);
        (void)waitpid(peer->pids[i], NULL, 0);
    }
    free(peer->pids);
    for (int i = 0; i < 2; i++) {
        (void)close(peer->trigger[i]);
        (void)close(peer->ready[i]);
    }
}

struct round {
    size_t answered;
    int64_t last_ns;
};

static void on_answer(void *context, const struct dw_bench_answer *answer)
{
    struct round *round = context;

    errno = 0;
    if (strcmp(answer->body, BODY) != 0)
        dw_bench_die("the peer answered: %s", answer->body);
    round->answered++;
    round->last_ns = answer->at_ns;
}

static void wait_ready(struct dw_bench_peer *peer, size_t words)
{
    char byte;

    for (size_t i = 0; i < words; i++)
        if (read(peer->ready[0], &byte, 1) != 1)
            dw_bench_die("the peer has gone");
}

int64_t dw_bench_peer_round(struct dw_bench_peer *peer, struct dw_bench_pool *pool)
{
    struct round round = {0, 0};
    int64_t begin;
    char byte;

    for (size_t i = 0; i < pool->count; i++) {
        dw_bench_send(pool, i, DW_BENCH_POLL);
        if (peer->processes == 1 && (i + 1) % BURST == 0)
            wait_ready(peer, 1);
    }
    if (peer->processes > 1 || pool->count % BURST != 0)
        wait_ready(peer, peer->processes);
    dw_bench_sleep_us(20000);
    begin = dw_bench_ns();
    if (write(peer->trigger[1], "!", 1) != 1)
        dw_bench_die("the peer has gone");
    while (round.answered < pool->count) {
        bool waited = dw_bench_wait(pool, 10000, on_answer, &round);

        errno = 0;
        if (!waited)
            dw_bench_die("the peer gave %zu of %zu answers", round.answered, pool->count);
    }
    if (read(peer->trigger[0], &byte, 1) != 1)
        dw_bench_die("the peer has gone");
    return round.last_ns - begin;
}
