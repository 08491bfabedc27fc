/* WebSocket connections in an epoll set, and the three protocols on them; see lib_ws.h. */
#include "bench/lib_ws.h"

#include "bench/lib.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

/* The example of RFC 6455: key and answer belong together. */
#define KEY "dGhlIHNhbXBsZSBub25jZQ=="
#define ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

enum { TEXT = 1, CLOSE = 8, PING = 9, PONG = 10, FIN = 0x80, MASKED = 0x80 };
enum { EVENTS = 512, PIECE = 16384, AT_ONCE = 64, PER_ADDRESS = 20000 };
enum stage { HTTP, OPENING, JOINING, READY };

size_t dw_bench_ws_raise_files(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        dw_bench_die("cannot ask for the limit of open files");
    /* Only root may go beyond the hard limit, and not everywhere. */
    if (limit.rlim_max < 65536) {
        struct rlimit more = {65536, 65536};

        if (setrlimit(RLIMIT_NOFILE, &more) == 0)
            return more.rlim_cur;
    }
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        dw_bench_die("cannot raise the limit of open files");
    return limit.rlim_cur;
}

/* ---- connecting ---- */

static void request_of(char *text, size_t size, enum dw_bench_ws_kind kind, size_t client)
{
    static const char *const targets[] = {
        [DW_BENCH_WS_NCHAN] = "/own?id=c",
        [DW_BENCH_WS_NCHAN_SHARED] = "/shared?id=c",
        [DW_BENCH_WS_SENTE] = "/chsk?client-id=c",
        [DW_BENCH_WS_SOCKETIO] = "/socket.io/?EIO=4&transport=websocket&id=c",
    };

    (void)snprintf(text, size,
                   "GET %s%zu HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                   "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " KEY "\r\n\r\n",
                   targets[kind], client);
}

/* From 127.0.0.2 on: an address has fewer ports than we want connections. */
static int dial(unsigned port, size_t client)
{
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in from = {.sin_family = AF_INET,
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + (uint32_t)(client / PER_ADDRESS))};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

    if (fd < 0)
        dw_bench_die("no socket for client %zu", client);
    if (setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on) != 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0 ||
        bind(fd, (const struct sockaddr *)&from, sizeof from) != 0 ||
        connect(fd, (const struct sockaddr *)&to, sizeof to) != 0)
        dw_bench_die("client %zu cannot connect", client);
    return fd;
}

static void start(struct dw_bench_ws *ws, unsigned port, size_t index)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = index};
    struct dw_bench_ws_client *client = &ws->clients[index];
    char text[400];

    request_of(text, sizeof text, ws->kind, index);
    dw_buf_init(&client->raw);
    client->stage = HTTP;
    client->fd = dial(port, index);
    if (send(client->fd, text, strlen(text), MSG_NOSIGNAL) != (ssize_t)strlen(text))
        dw_bench_die("client %zu cannot send its handshake", index);
    if (epoll_ctl(ws->epoll_fd, EPOLL_CTL_ADD, client->fd, &event) != 0)
        dw_bench_die("cannot wait for client %zu", index);
}

int64_t dw_bench_ws_open(struct dw_bench_ws *ws, enum dw_bench_ws_kind kind, unsigned port, size_t count)
{
    int64_t begin = dw_bench_ns(), progress = begin;
    size_t next = 0;

    *ws = (struct dw_bench_ws){.kind = kind, .count = count, .epoll_fd = epoll_create1(EPOLL_CLOEXEC)};
    if (ws->epoll_fd < 0)
        dw_bench_die("no epoll set");
    ws->clients = dw_bench_alloc(count, sizeof *ws->clients);
    while (ws->ready < count) {
        size_t ready = ws->ready;

        while (next < count && next - ws->ready < AT_ONCE)
            start(ws, port, next++);
        (void)dw_bench_ws_wait(ws, 1000);
        if (ws->ready > ready)
            progress = dw_bench_ns();
        errno = 0;
        if (dw_bench_ns() > progress + 30000000000)
            dw_bench_die("%zu of %zu clients had their handshake, then none for 30 s", ws->ready, count);
    }
    return dw_bench_ns() - begin;
}

void dw_bench_ws_close(struct dw_bench_ws *ws)
{
    for (size_t i = 0; i < ws->count; i++) {
        (void)close(ws->clients[i].fd);
        dw_buf_fini(&ws->clients[i].raw);
    }
    free(ws->clients);
    (void)close(ws->epoll_fd);
}

/* ---- frames ---- */

static void send_frame(struct dw_bench_ws *ws, size_t index, int opcode, const char *payload, size_t len)
{
    static const unsigned char mask[4] = {0x5a, 0xc3, 0x17, 0xe9};
    unsigned char frame[6 + 125] = {(unsigned char)(FIN | opcode), (unsigned char)(MASKED | len)};

    errno = 0;
    if (len > 125)
        dw_bench_die("client %zu is to answer %zu bytes", index, len);
    memcpy(frame + 2, mask, sizeof mask);
    for (size_t i = 0; i < len; i++)
        frame[6 + i] = (unsigned char)payload[i] ^ mask[i % 4];
    if (send(ws->clients[index].fd, frame, 6 + len, MSG_NOSIGNAL) != (ssize_t)(6 + len))
        dw_bench_die("client %zu cannot send", index);
}

static bool is(const char *payload, size_t len, const char *text)
{
    return len == strlen(text) && memcmp(payload, text, len) == 0;
}

static bool begins(const char *payload, size_t len, const char *text)
{
    return len >= strlen(text) && memcmp(payload, text, strlen(text)) == 0;
}

static void make_ready(struct dw_bench_ws *ws, size_t index)
{
    ws->clients[index].stage = READY;
    ws->ready++;
}

/* What belongs to the protocol and is no event.  True: it was that. */
static bool on_protocol(struct dw_bench_ws *ws, size_t index, const char *payload, size_t len)
{
    struct dw_bench_ws_client *client = &ws->clients[index];
    char wanted[64];

    if (ws->kind == DW_BENCH_WS_SENTE) {
        (void)snprintf(wanted, sizeof wanted, "[[:chsk/handshake [\"c%zu\" ", index);
        if (client->stage == OPENING && begins(payload, len, wanted)) {
            make_ready(ws, index);
            return true;
        }
        if (client->stage == READY && is(payload, len, "[:chsk/ws-ping nil]")) {
            send_frame(ws, index, TEXT, "[[:chsk/ws-pong] nil]", 21);
            ws->pings++;
            return true;
        }
    } else if (ws->kind == DW_BENCH_WS_SOCKETIO) {
        if (client->stage == OPENING && begins(payload, len, "0{\"sid\":")) {
            send_frame(ws, index, TEXT, "40", 2);
            client->stage = JOINING;
            return true;
        }
        if (client->stage == JOINING && begins(payload, len, "40{\"sid\":")) {
            make_ready(ws, index);
            return true;
        }
        if (is(payload, len, "2")) {
            send_frame(ws, index, TEXT, "3", 1);
            ws->pings++;
            return true;
        }
    }
    return false;
}

static void on_text(struct dw_bench_ws *ws, size_t index, const char *payload, size_t len, int64_t at_ns)
{
    static const char *const expected[] = {
        [DW_BENCH_WS_NCHAN] = "[[[:bench/tick {:text \"hi\"}]] nil]",
        [DW_BENCH_WS_NCHAN_SHARED] = "[[[:bench/tick {:text \"hi\"}]] nil]",
        [DW_BENCH_WS_SENTE] = "[[[:bench/tick {:text \"hi\"}]] nil]",
        [DW_BENCH_WS_SOCKETIO] = "42[\"bench/tick\",{\"text\":\"hi\"}]",
    };

    if (on_protocol(ws, index, payload, len))
        return;
    errno = 0;
    if (ws->clients[index].stage != READY || !is(payload, len, expected[ws->kind]))
        dw_bench_die("client %zu: unexpected message: %.*s", index, (int)len, payload);
    ws->clients[index].got++;
    if (ws->received++ == 0)
        ws->first_ns = at_ns;
    ws->last_ns = at_ns;
    ws->last = index;
}

/* Takes one frame; returns its bytes, 0 when it is not complete. */
static size_t take_frame(struct dw_bench_ws *ws, size_t index, const char *data, size_t len, int64_t at_ns)
{
    const unsigned char *bytes = (const unsigned char *)data;
    size_t head = 2, size;

    if (len < 2)
        return 0;
    size = bytes[1];
    errno = 0;
    if (size > 126 || (bytes[0] & 0x70) != 0 || (bytes[0] & FIN) == 0)
        dw_bench_die("client %zu: a frame that no server here should send: %02x %02x", index, bytes[0], bytes[1]);
    if (size == 126) {
        if (len < 4)
            return 0;
        head = 4;
        size = (size_t)bytes[2] << 8 | bytes[3];
    }
    if (len < head + size)
        return 0;
    if (bytes[0] == (FIN | TEXT)) {
        on_text(ws, index, data + head, size, at_ns);
    } else if (bytes[0] == (FIN | PING)) {
        send_frame(ws, index, PONG, data + head, size);
        ws->pings++;
    } else {
        dw_bench_die("client %zu got a frame %02x: %.*s", index, bytes[0], size > 2 ? (int)size - 2 : 0,
                     data + head + 2);
    }
    return head + size;
}

/* The answer to the handshake; returns its bytes, 0 when it is not complete. */
static size_t take_http(struct dw_bench_ws *ws, size_t index, const char *data, size_t len)
{
    struct dw_bench_ws_client *client = &ws->clients[index];
    const char *end = memmem(data, len, "\r\n\r\n", 4);
    size_t size;

    errno = 0;
    if (end == NULL)
        return 0;
    size = (size_t)(end + 4 - data);
    if (!begins(data, size, "HTTP/1.1 101 ") || memmem(data, size, ACCEPT "\r\n", strlen(ACCEPT) + 2) == NULL)
        dw_bench_die("client %zu was refused: %.*s", index, (int)len, data);
    client->stage = OPENING;
    if (ws->kind == DW_BENCH_WS_NCHAN || ws->kind == DW_BENCH_WS_NCHAN_SHARED)
        make_ready(ws, index); /* nothing above the WebSocket */
    return size;
}

static void receive(struct dw_bench_ws *ws, size_t index)
{
    struct dw_bench_ws_client *client = &ws->clients[index];
    char piece[PIECE];
    ssize_t got = recv(client->fd, piece, sizeof piece, MSG_DONTWAIT);
    int64_t at_ns = dw_bench_ns();
    const char *data = piece;
    size_t len, at = 0, took = 1;

    if (got < 0 && errno == EAGAIN)
        return;
    if (got <= 0)
        dw_bench_die("client %zu was closed", index);
    len = (size_t)got;
    if (client->raw.len > 0) { /* rarely: messages are short and come whole */
        dw_buf_add(&client->raw, piece, len);
        data = client->raw.data;
        len = client->raw.len;
    }
    while (at < len && took > 0) {
        took = client->stage == HTTP ? take_http(ws, index, data + at, len - at)
                                     : take_frame(ws, index, data + at, len - at, at_ns);
        at += took;
    }
    if (at < len || client->raw.len > 0) {
        struct dw_buf rest = DW_BUF_INIT;

        dw_buf_add(&rest, data + at, len - at);
        if (dw_buf_failed(&rest) || dw_buf_failed(&client->raw))
            dw_bench_die("out of memory");
        dw_buf_fini(&client->raw);
        client->raw = rest;
    }
}

bool dw_bench_ws_wait(struct dw_bench_ws *ws, int timeout_ms)
{
    struct epoll_event events[EVENTS];
    int count = epoll_wait(ws->epoll_fd, events, EVENTS, timeout_ms);

    if (count < 0 && errno != EINTR)
        dw_bench_die("waiting failed");
    for (int i = 0; i < count; i++)
        receive(ws, (size_t)events[i].data.u64);
    return count != 0;
}

void dw_bench_ws_serve(struct dw_bench_ws *ws, int ms)
{
    int64_t end = dw_bench_ns() + (int64_t)ms * 1000000, now;

    while ((now = dw_bench_ns()) < end)
        (void)dw_bench_ws_wait(ws, (int)((end - now) / 1000000) + 1);
}
