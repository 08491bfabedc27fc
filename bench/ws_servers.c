/* Our sidecar, nginx with nchan, socket.io; see ws_servers.h. */
#include "bench/ws_servers.h"

#include "bench/lib.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* Where Debian's package puts it. */
#define NCHAN_MODULE "/usr/lib/nginx/modules/ngx_nchan_module.so"

const char *dw_bench_ws_name(enum dw_bench_ws_kind kind)
{
    static const char *const names[] = {
        [DW_BENCH_WS_NCHAN] = "nchan",
        [DW_BENCH_WS_NCHAN_SHARED] = "nchan, one channel",
        [DW_BENCH_WS_SENTE] = "dumbwaiter-ws",
        [DW_BENCH_WS_SOCKETIO] = "socket.io",
    };

    return names[kind];
}

/* ---- starting ---- */

/* One worker, as the others are one process.  Pings as often as the others' default. */
static void write_nginx_conf(const struct dw_bench_ws_server *server, const char *path, size_t clients)
{
    const char *dir = server->host.dir;
    size_t connections = clients + clients / 8 + 64; /* nginx closes new ones when less than a sixteenth is free */
    FILE *file = fopen(path, "w");

    if (file == NULL)
        dw_bench_die("cannot write %s", path);
    (void)fprintf(file,
                  "load_module " NCHAN_MODULE ";\n%sdaemon off;\nworker_processes 1;\npid %s/nginx.pid;\n"
                  "error_log %s/nginx.log error;\nevents { worker_connections %zu; }\n"
                  "http {\n  access_log off;\n  nchan_shared_memory_size 512M;\n  keepalive_timeout 3600s;\n"
                  "  keepalive_requests 1000000;\n  tcp_nodelay on;\n  client_body_temp_path %s/body;\n"
                  "  proxy_temp_path %s/proxy;\n  fastcgi_temp_path %s/fastcgi;\n  uwsgi_temp_path %s/uwsgi;\n"
                  "  scgi_temp_path %s/scgi;\n  server {\n    listen 127.0.0.1:%u backlog=4096;\n",
                  geteuid() == 0 ? "user root;\n" : "", dir, dir, connections, dir, dir, dir, dir, dir, server->port);
    (void)fputs("    location = /own {\n      nchan_subscriber websocket;\n      nchan_channel_id $arg_id all;\n"
                "      nchan_websocket_ping_interval 25s;\n    }\n"
                "    location = /shared {\n      nchan_subscriber websocket;\n      nchan_channel_id all;\n"
                "      nchan_websocket_ping_interval 25s;\n    }\n"
                "    location = /one {\n      nchan_publisher;\n      nchan_channel_id $arg_id;\n"
                "      nchan_message_timeout 5m;\n    }\n"
                "    location = /all {\n      nchan_publisher;\n      nchan_channel_id all;\n"
                "      nchan_message_timeout 5m;\n    }\n  }\n}\n",
                file);
    if (fclose(file) != 0)
        dw_bench_die("cannot write %s", path);
}

_Noreturn static void become(const struct dw_bench_ws_server *server, const struct dw_bench_options *options,
                             size_t clients)
{
    char port[16], address[32], path[96], most[24];

    (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
    (void)snprintf(port, sizeof port, "%u", server->port);
    (void)snprintf(address, sizeof address, "127.0.0.1:%u", server->port);
    (void)snprintf(path, sizeof path, "%s/nginx.conf", server->host.dir);
    (void)snprintf(most, sizeof most, "%zu", clients + 64);
    switch (server->kind) {
    case DW_BENCH_WS_SENTE:
        dw_bench_setting("LIMITS_SOCKETS", most);
        dw_bench_setting("AUTH_UID", "client_id");
        dw_bench_setting("AUTH_CSRF", "off");
        dw_bench_setting("LOG_LEVEL", "error");
        dw_bench_setting("WS_DRAIN_MS", "0");
        dw_bench_no_limits();
        (void)execl(options->sidecar, options->sidecar, "--listen", address, "--db", server->host.db, (char *)NULL);
        break;
    case DW_BENCH_WS_SOCKETIO:
        (void)execlp("node", "node", options->socketio, port, (char *)NULL);
        break;
    default:
        (void)execlp("nginx", "nginx", "-p", server->host.dir, "-c", path, (char *)NULL);
        (void)execl("/usr/sbin/nginx", "nginx", "-p", server->host.dir, "-c", path, (char *)NULL);
    }
    (void)fprintf(stderr, "bench: cannot run %s: %s\n", dw_bench_ws_name(server->kind), strerror(errno));
    _exit(127);
}

static bool is_installed(enum dw_bench_ws_kind kind, const struct dw_bench_options *options)
{
    const char *what = options->sidecar, *how = "built with libwebsockets and libuv";

    if (kind == DW_BENCH_WS_SOCKETIO) {
        what = options->socketio;
        how = "installed; it needs node and npm";
    } else if (kind != DW_BENCH_WS_SENTE) {
        what = NCHAN_MODULE;
        how = "installed; apt-get install nginx-light libnginx-mod-nchan";
    }
    if (what != NULL && access(what, R_OK) == 0)
        return true;
    (void)fprintf(stderr, "bench: %s is left out: it is not %s\n", dw_bench_ws_name(kind), how);
    return false;
}

static int connect_publisher(unsigned port)
{
    struct sockaddr_in name = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

    if (fd < 0 || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0 ||
        connect(fd, (const struct sockaddr *)&name, sizeof name) != 0)
        dw_bench_die("cannot connect to publish");
    return fd;
}

bool dw_bench_ws_start(struct dw_bench_ws_server *server, enum dw_bench_ws_kind kind,
                       const struct dw_bench_options *options, size_t clients)
{
    int64_t deadline = dw_bench_ns() + 20000000000;
    char path[96];

    if (!is_installed(kind, options))
        return false;
    *server = (struct dw_bench_ws_server){.kind = kind, .port = dw_bench_free_port(), .publisher = -1};
    dw_bench_host_init(&server->host);
    (void)snprintf(path, sizeof path, "%s/nginx.conf", server->host.dir);
    if (kind == DW_BENCH_WS_NCHAN || kind == DW_BENCH_WS_NCHAN_SHARED)
        write_nginx_conf(server, path, clients);
    else if (kind == DW_BENCH_WS_SENTE)
        dw_bench_app_start(&server->app, server->host.db, options->wal_sync);
    server->pid = fork();
    if (server->pid == 0)
        become(server, options, clients);
    if (server->pid < 0)
        dw_bench_die("cannot start a server");
    while (!dw_bench_answers_on(server->port)) {
        errno = 0;
        if (waitpid(server->pid, NULL, WNOHANG) == server->pid || dw_bench_ns() > deadline)
            dw_bench_die("%s did not start", dw_bench_ws_name(kind));
        dw_bench_sleep_us(5000);
    }
    return true;
}

void dw_bench_ws_stop(struct dw_bench_ws_server *server)
{
    (void)kill(server->pid, SIGTERM);
    (void)waitpid(server->pid, NULL, 0);
    if (server->kind == DW_BENCH_WS_SENTE)
        dw_bench_app_stop(&server->app);
    else if (server->publisher >= 0)
        (void)close(server->publisher);
    dw_bench_host_fini(&server->host);
}

/* ---- publishing ---- */

static struct dw_bench_commit posted;

static void post(struct dw_bench_ws_server *server, size_t client)
{
    static const char body[] = "[[[:bench/tick {:text \"hi\"}]] nil]"; /* socket.io makes its own */
    char target[48] = "/all", text[256];
    int len;

    if (client != DW_BENCH_WS_ALL)
        (void)snprintf(target, sizeof target, "/one?id=c%zu", client);
    len = snprintf(text, sizeof text, "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %zu\r\n\r\n%s", target,
                   sizeof body - 1, body);
    if (server->publisher < 0) /* not before it is needed: the servers close who sends no request for a minute */
        server->publisher = connect_publisher(server->port);
    posted.begin_ns = dw_bench_ns();
    if (send(server->publisher, text, (size_t)len, MSG_NOSIGNAL) != len)
        dw_bench_die("cannot publish");
}

/* Reads one answer, whole, so that the connection can be used again. */
static void read_answer(struct dw_bench_ws_server *server)
{
    char text[2048];
    size_t len = 0, whole = 0;

    errno = 0;
    while (whole == 0 || len < whole) {
        ssize_t got = recv(server->publisher, text + len, sizeof text - 1 - len, 0);
        const char *end, *length;

        if (got <= 0)
            dw_bench_die("%s does not answer to a publication", dw_bench_ws_name(server->kind));
        len += (size_t)got;
        text[len] = '\0';
        end = strstr(text, "\r\n\r\n");
        length = strcasestr(text, "content-length:");
        if (end != NULL && whole == 0)
            whole = (size_t)(end + 4 - text) + (length != NULL ? strtoul(length + 15, NULL, 10) : 0);
    }
    posted.done_ns = dw_bench_ns();
    if (strncmp(text, "HTTP/1.1 20", 11) != 0 || len != whole)
        dw_bench_die("%s: publication refused: %s", dw_bench_ws_name(server->kind), text);
}

void dw_bench_ws_publish(struct dw_bench_ws_server *server, size_t client)
{
    char uid[32];

    (void)snprintf(uid, sizeof uid, "c%zu", client);
    if (server->kind != DW_BENCH_WS_SENTE)
        post(server, client);
    else if (client == DW_BENCH_WS_ALL)
        dw_bench_app_order(&server->app, "*", NULL);
    else
        dw_bench_app_order(&server->app, NULL, uid);
}

struct dw_bench_commit dw_bench_ws_published(struct dw_bench_ws_server *server)
{
    if (server->kind == DW_BENCH_WS_SENTE)
        return dw_bench_app_result(&server->app);
    read_answer(server);
    return posted;
}

/* ---- weighing ---- */

enum { MOST_PROCESSES = 16 };

/* The process itself and its children: nginx's master and worker. */
static size_t processes_of(pid_t pid, pid_t *pids)
{
    char path[64];
    size_t count = 1;
    FILE *file;
    int child;

    pids[0] = pid;
    (void)snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)pid, (int)pid);
    file = fopen(path, "r");
    if (file == NULL)
        dw_bench_die("cannot read %s", path);
    while (count < MOST_PROCESSES && fscanf(file, "%d", &child) == 1)
        pids[count++] = child;
    (void)fclose(file);
    return count;
}

int64_t dw_bench_ws_cpu(const struct dw_bench_ws_server *server)
{
    pid_t pids[MOST_PROCESSES];
    size_t count = processes_of(server->pid, pids);
    int64_t sum = 0;

    for (size_t i = 0; i < count; i++)
        sum += dw_bench_cpu_of(pids[i]);
    return sum;
}

int64_t dw_bench_ws_rss(const struct dw_bench_ws_server *server)
{
    pid_t pids[MOST_PROCESSES];
    size_t count = processes_of(server->pid, pids);
    int64_t sum = 0;

    for (size_t i = 0; i < count; i++)
        sum += dw_bench_memory_of(pids[i]).rss;
    return sum;
}
