/* Raw FastCGI from the web server's side; see lib_client.h. */
#include "bench/lib_client.h"

#include "bench/lib.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { BEGIN_REQUEST = 1, PARAMS = 4, STDIN = 5, STDOUT = 6, HEADER = 8, EVENTS = 256 };

/* ---- a request ---- */

static void add_record(struct dw_buf *out, int type, const char *content, size_t len)
{
    const unsigned char header[HEADER] = {
        1, (unsigned char)type, 0, 1, (unsigned char)(len >> 8), (unsigned char)(len & 0xff), 0, 0};

    dw_buf_add(out, header, sizeof header);
    dw_buf_add(out, content, len);
}

static void add_param(struct dw_buf *out, const char *name, const char *value)
{
    size_t name_len = strlen(name), value_len = strlen(value);
    const char longer[] = {(char)0x80, 0, (char)(value_len >> 8), (char)value_len}; /* and never than 65535 */

    dw_buf_addc(out, (char)name_len); /* all names here are shorter than 128 bytes */
    if (value_len < 128)
        dw_buf_addc(out, (char)value_len);
    else
        dw_buf_add(out, longer, sizeof longer);
    dw_buf_add(out, name, name_len);
    dw_buf_add(out, value, value_len);
}

/* What a web server sends along with a browser's request. */
static void add_surroundings(struct dw_buf *out)
{
    static const char *const pairs[][2] = {
        {"SERVER_SOFTWARE", "bench"},
        {"SERVER_NAME", "www.example.org"},
        {"SERVER_PORT", "80"},
        {"SERVER_PROTOCOL", "HTTP/1.1"},
        {"GATEWAY_INTERFACE", "CGI/1.1"},
        {"REMOTE_ADDR", "192.0.2.7"},
        {"REMOTE_PORT", "50123"},
        {"DOCUMENT_ROOT", "/var/www/html"},
        {"SCRIPT_NAME", "/chsk"},
        {"REQUEST_URI", "/chsk"},
        {"HTTP_HOST", "www.example.org"},
        {"HTTP_USER_AGENT", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"},
        {"HTTP_ACCEPT", "*/*"},
        {"HTTP_ACCEPT_LANGUAGE", "en-US,en;q=0.5"},
        {"HTTP_ACCEPT_ENCODING", "gzip, deflate"},
        {"HTTP_X_REQUESTED_WITH", "XMLHTTPRequest"},
        {"HTTP_CONNECTION", "keep-alive"},
    };

    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++)
        add_param(out, pairs[i][0], pairs[i][1]);
}

static void compose(struct dw_buf *out, const struct dw_bench_pool *pool, size_t client, int64_t udt,
                    enum dw_bench_request request)
{
    static const char begin[8] = {0, 1, 0, 0, 0, 0, 0, 0}; /* responder, close behind the answer */
    bool post = request == DW_BENCH_POST || request == DW_BENCH_CALLBACK;
    struct dw_buf params = DW_BUF_INIT;
    char query[512] = "", body[192] = "", length[16], cookie[64];

    if (post)
        (void)snprintf(body, sizeof body,
                       "udt=%lld&client-id=c%zu&ppstr=%%5B%%5B%%3Aapp%%2Fping%%20%%7B%%3An%%201%%7D%%5D%%20%s%%5D",
                       (long long)udt, client, request == DW_BENCH_CALLBACK ? "%3Aajax" : "nil");
    else
        (void)snprintf(query, sizeof query, "udt=%lld&client-id=c%zu%s%s", (long long)udt, client,
                       request == DW_BENCH_HANDSHAKE ? "&handshake%3F=1" : "", pool->query != NULL ? pool->query : "");
    (void)snprintf(cookie, sizeof cookie, "%s%zu", pool->cookie != NULL ? pool->cookie : "", client);
    (void)snprintf(length, sizeof length, "%zu", strlen(body));
    add_param(&params, "REQUEST_METHOD", post ? "POST" : "GET");
    add_param(&params, "QUERY_STRING", query);
    if (post) {
        add_param(&params, "CONTENT_TYPE", "application/x-www-form-urlencoded;charset=UTF-8");
        add_param(&params, "CONTENT_LENGTH", length);
    }
    if (pool->cookie != NULL)
        add_param(&params, "HTTP_COOKIE", cookie);
    if (pool->csrf_token != NULL)
        add_param(&params, "HTTP_X_CSRF_TOKEN", pool->csrf_token);
    add_surroundings(&params);
    add_record(out, BEGIN_REQUEST, begin, sizeof begin);
    add_record(out, PARAMS, params.data, params.len);
    add_record(out, PARAMS, "", 0);
    if (post)
        add_record(out, STDIN, body, strlen(body));
    add_record(out, STDIN, "", 0);
    if (dw_buf_failed(out) || dw_buf_failed(&params))
        dw_bench_die("out of memory");
    dw_buf_fini(&params);
}

/* The same as a browser's request. */
static void compose_http(struct dw_buf *out, size_t client, int64_t udt, enum dw_bench_request request)
{
    char text[640];

    errno = 0;
    if (request != DW_BENCH_HANDSHAKE && request != DW_BENCH_POLL)
        dw_bench_die("messages over HTTP are not part of any benchmark");
    (void)snprintf(text, sizeof text,
                   "GET /chsk?udt=%lld&client-id=c%zu%s HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                   "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n"
                   "Accept: */*\r\nX-Requested-With: XMLHTTPRequest\r\nConnection: close\r\n\r\n",
                   (long long)udt, client, request == DW_BENCH_HANDSHAKE ? "&handshake%3F=1" : "");
    dw_buf_add(out, text, strlen(text));
    if (dw_buf_failed(out))
        dw_bench_die("out of memory");
}

/* ---- connections ---- */

static bool is_http(const char *address)
{
    return strncmp(address, "http:", 5) == 0;
}

static int dial(const char *address)
{
    struct sockaddr_un local = {.sun_family = AF_UNIX};
    struct sockaddr_in remote = {.sin_family = AF_INET};
    const char *colon = strrchr(address, ':');
    bool is_unix = strncmp(address, "unix:", 5) == 0;
    int fd = socket(is_unix ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), rc;

    if (fd < 0)
        dw_bench_die("no socket");
    if (is_unix) {
        (void)snprintf(local.sun_path, sizeof local.sun_path, "%s", address + 5);
        rc = connect(fd, (const struct sockaddr *)&local, sizeof local);
    } else {
        remote.sin_port = htons((uint16_t)strtoul(colon + 1, NULL, 10));
        remote.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        rc = connect(fd, (const struct sockaddr *)&remote, sizeof remote);
    }
    if (rc != 0)
        dw_bench_die("cannot connect to %s", address);
    return fd;
}

static void raise_limit(size_t connections)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    errno = 0;
    if (limit.rlim_cur < connections + 64)
        dw_bench_die("%zu connections need more open files than this user may have: raise ulimit -Hn", connections);
}

void dw_bench_pool_init(struct dw_bench_pool *pool, size_t count, const char *address)
{
    raise_limit(count);
    pool->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (pool->epoll_fd < 0)
        dw_bench_die("no epoll set");
    pool->clients = dw_bench_alloc(count, sizeof *pool->clients);
    pool->count = count;
    pool->busy = 0;
    pool->cookie = pool->csrf_token = pool->query = NULL;
    for (size_t i = 0; i < count; i++) {
        pool->clients[i].fd = -1;
        pool->clients[i].address = address;
    }
}

void dw_bench_pool_fini(struct dw_bench_pool *pool)
{
    for (size_t i = 0; i < pool->count; i++) {
        if (pool->clients[i].fd >= 0)
            (void)close(pool->clients[i].fd);
        dw_buf_fini(&pool->clients[i].raw);
    }
    free(pool->clients);
    (void)close(pool->epoll_fd);
}

/* As a browser's clock: milliseconds that never repeat for one client. */
static int64_t next_udt(struct dw_bench_client *client)
{
    struct timespec now;
    int64_t ms;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
    client->udt = ms > client->udt ? ms : client->udt + 1;
    return client->udt;
}

void dw_bench_send(struct dw_bench_pool *pool, size_t index, enum dw_bench_request request)
{
    struct dw_bench_client *client = &pool->clients[index];
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = index};
    struct dw_buf out = DW_BUF_INIT;

    errno = 0;
    if (client->fd >= 0)
        dw_bench_die("client %zu has a request under way already", index);
    if (is_http(client->address))
        compose_http(&out, index, next_udt(client), request);
    else
        compose(&out, pool, index, next_udt(client), request);
    client->first_ns = 0;
    client->fd = dial(client->address);
    if (send(client->fd, out.data, out.len, MSG_NOSIGNAL) != (ssize_t)out.len)
        dw_bench_die("cannot send a request");
    if (epoll_ctl(pool->epoll_fd, EPOLL_CTL_ADD, client->fd, &event) != 0)
        dw_bench_die("cannot wait for an answer");
    pool->busy++;
    dw_buf_fini(&out);
}

/* ---- answers ---- */

/* Joins the content of the STDOUT records in place; returns the CGI answer. */
static char *join_records(struct dw_buf *raw)
{
    size_t at = 0, out = 0;

    while (raw->len - at >= HEADER) {
        const unsigned char *header = (const unsigned char *)raw->data + at;
        size_t content = (size_t)header[4] << 8 | header[5], padding = header[6];
        int type = header[1];

        if (raw->len - at - HEADER < content)
            break;
        if (type == STDOUT) {
            memmove(raw->data + out, raw->data + at + HEADER, content);
            out += content;
        }
        at += HEADER + content + padding;
        if (at > raw->len)
            break;
    }
    if (raw->data != NULL)
        raw->data[out] = '\0';
    return raw->data;
}

/* An HTTP answer ends with its connection; lighttpd sends short ones whole, not in chunks. */
static char *plain_text(struct dw_buf *raw)
{
    dw_buf_addc(raw, '\0');
    if (dw_buf_failed(raw))
        dw_bench_die("out of memory");
    return raw->data;
}

static int status_of(const char *text)
{
    if (strncmp(text, "HTTP/1.1 ", 9) == 0)
        return atoi(text + 9);
    return strncmp(text, "Status: ", 8) == 0 ? atoi(text + 8) : 200;
}

static void finish(struct dw_bench_pool *pool, size_t index, int64_t at_ns, dw_bench_answer_fn *fn, void *context)
{
    struct dw_bench_client *client = &pool->clients[index];
    struct dw_buf raw = client->raw;
    struct dw_bench_answer answer = {.client = index, .first_ns = client->first_ns, .at_ns = at_ns};
    char *text = is_http(client->address) ? plain_text(&raw) : join_records(&raw);
    char *body = text != NULL ? strstr(text, "\r\n\r\n") : NULL;

    errno = 0;
    if (body == NULL)
        dw_bench_die("client %zu got no answer, its connection was closed after %zu bytes", index, raw.len);
    answer.status = status_of(text);
    answer.body = body + 4;
    (void)close(client->fd);
    client->fd = -1;
    dw_buf_init(&client->raw);
    pool->busy--;
    fn(context, &answer); /* may send the client's next request */
    dw_buf_fini(&raw);
}

/* Reads what is there, up to the end of the connection. */
static void receive(struct dw_bench_pool *pool, size_t index, dw_bench_answer_fn *fn, void *context)
{
    struct dw_bench_client *client = &pool->clients[index];
    int64_t at_ns = 0;
    char piece[16384];
    ssize_t got;

    while ((got = recv(client->fd, piece, sizeof piece, MSG_DONTWAIT)) > 0) {
        at_ns = dw_bench_ns();
        if (client->first_ns == 0)
            client->first_ns = at_ns;
        dw_buf_add(&client->raw, piece, (size_t)got);
    }
    if (got < 0 && errno == EAGAIN) {
        /* An answer is complete with END_REQUEST: the peer's close may come a little later. */
        if (is_http(client->address) || client->raw.len < 16 || client->raw.data[client->raw.len - 15] != 3)
            return;
    } else if (got < 0) {
        dw_bench_die("client %zu cannot read its answer", index);
    }
    finish(pool, index, at_ns, fn, context);
}

bool dw_bench_wait(struct dw_bench_pool *pool, int timeout_ms, dw_bench_answer_fn *fn, void *context)
{
    struct epoll_event events[EVENTS];
    int count = epoll_wait(pool->epoll_fd, events, EVENTS, timeout_ms);

    if (count < 0 && errno != EINTR)
        dw_bench_die("waiting failed");
    for (int i = 0; i < count; i++)
        receive(pool, (size_t)events[i].data.u64, fn, context);
    return count != 0; /* -1: a signal, which is no silence */
}

struct all {
    struct dw_bench_pool *pool;
    size_t next, to, answered;
    enum dw_bench_request request;
};

static void on_all(void *context, const struct dw_bench_answer *answer)
{
    struct all *all = context;

    errno = 0;
    if (answer->status != 200)
        dw_bench_die("client %zu was answered %d: %s", answer->client, answer->status, answer->body);
    all->answered++;
    if (all->next < all->to)
        dw_bench_send(all->pool, all->next++, all->request);
}

void dw_bench_all(struct dw_bench_pool *pool, size_t from, size_t to, size_t most, enum dw_bench_request request)
{
    struct all all = {pool, from, to, 0, request};

    while (all.next < to && all.next - from < most)
        dw_bench_send(pool, all.next++, request);
    while (pool->busy > 0) {
        bool waited = dw_bench_wait(pool, 30000, on_all, &all);

        errno = 0;
        if (!waited)
            dw_bench_die("no answer within 30 s");
    }
}
