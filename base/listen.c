/* Listening sockets; see listen.h. */
#include "base/listen.h"

#include "base/log.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 4096

static bool is_live(const struct sockaddr_un *name, int type)
{
    int probe = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
    bool live = probe >= 0 && connect(probe, (const struct sockaddr *)name, sizeof *name) == 0;

    if (probe >= 0)
        (void)close(probe);
    return live;
}

static int open_unix(const char *path, int *descriptor, struct dw_err *err)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    struct stat st;
    mode_t mask;
    int fd, rc;

    if (path[0] == '\0' || strlen(path) >= sizeof name.sun_path)
        return dw_err_set(err, DW_CONF, "a Unix socket's path must have 1 to %zu bytes", sizeof name.sun_path - 1);
    memcpy(name.sun_path, path, strlen(path) + 1);
    if (lstat(path, &st) == 0 && !S_ISSOCK(st.st_mode))
        return dw_err_set(err, DW_SYSTEM, "%s exists and is no socket: move it away, or listen elsewhere", path);
    if (lstat(path, &st) == 0) {
        if (is_live(&name, SOCK_STREAM))
            return dw_err_set(err, DW_SYSTEM, "another program is listening on unix:%s", path);
        (void)unlink(path);
    }
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return dw_err_set(err, DW_SYSTEM, "cannot make a socket: %s", strerror(errno));
    mask = umask(0117);
    rc = bind(fd, (const struct sockaddr *)&name, sizeof name);
    (void)umask(mask);
    if (rc != 0 || listen(fd, BACKLOG) != 0) {
        rc = dw_err_set(err, DW_SYSTEM, "cannot listen on unix:%s: %s", path, strerror(errno));
        (void)close(fd);
        return rc;
    }
    if (geteuid() == 0)
        dw_log_warn(
            "running as root: only root and its group may connect to unix:%s; run this as the web server's user "
            "(see etc/dumbwaiter-fcgi.service)",
            path);
    *descriptor = fd;
    return DW_OK;
}

int dw_listen_private(const char *path, int *descriptor, struct dw_err *err)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int fd, rc = DW_OK;

    if (strlen(path) >= sizeof name.sun_path)
        return dw_err_set(err, DW_CONF, "%s is too long for a socket's path", path);
    memcpy(name.sun_path, path, strlen(path) + 1);
    if (is_live(&name, SOCK_SEQPACKET))
        return dw_err_set(err, DW_BUSY, "another process is listening on unix:%s", path);
    (void)unlink(path);
    fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    /* On Linux a socket's mode before bind() becomes its name's; a process's umask is its threads' in common. */
    if (fd < 0 || fchmod(fd, 0600) != 0 || bind(fd, (const struct sockaddr *)&name, sizeof name) != 0 ||
        listen(fd, BACKLOG) != 0)
        rc = dw_err_set(err, DW_SYSTEM, "cannot listen on unix:%s: %s", path, strerror(errno));
    if (rc != DW_OK && fd >= 0)
        (void)close(fd);
    if (rc == DW_OK)
        *descriptor = fd;
    return rc;
}

static int try_address(const struct addrinfo *info)
{
    const int on = 1;
    int fd = socket(info->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -1;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        bind(fd, info->ai_addr, info->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0) {
        int saved = errno;

        (void)close(fd);
        errno = saved;
        return -1;
    }
    return fd;
}

static int open_tcp(const char *address, int *descriptor, struct dw_err *err)
{
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    const char *colon = strrchr(address, ':');
    struct addrinfo *list = NULL, *info;
    char host[256];
    int fd = -1, rc;

    if (colon == NULL || colon == address || colon[1] == '\0' || (size_t)(colon - address) >= sizeof host)
        return dw_err_set(err, DW_CONF, "listen on unix:PATH or HOST:PORT, not on \"%s\"", address);
    (void)snprintf(host, sizeof host, "%.*s", (int)(colon - address), address);
    if (host[0] == '[' && host[strlen(host) - 1] == ']') {
        host[strlen(host) - 1] = '\0';
        memmove(host, host + 1, strlen(host));
    }
    rc = getaddrinfo(host, colon + 1, &hints, &list);
    if (rc != 0)
        return dw_err_set(err, DW_CONF, "cannot listen on %s: %s", address, gai_strerror(rc));
    for (info = list; info != NULL && fd < 0; info = info->ai_next)
        fd = try_address(info);
    freeaddrinfo(list);
    if (fd < 0)
        return dw_err_set(err, DW_SYSTEM, "cannot listen on %s: %s", address, strerror(errno));
    *descriptor = fd;
    return DW_OK;
}

int dw_listen_open(const char *address, int *descriptor, struct dw_err *err)
{
    if (strncmp(address, "unix:", 5) == 0)
        return open_unix(address + 5, descriptor, err);
    return open_tcp(address, descriptor, err);
}

void dw_listen_unlink(const char *address)
{
    if (strncmp(address, "unix:", 5) == 0)
        (void)unlink(address + 5);
}

bool dw_listen_inherited(void)
{
    int listening = 0;
    socklen_t len = sizeof listening;

    return getsockopt(STDIN_FILENO, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) == 0 && listening != 0;
}

/* The peer's address as text, "" for none. */
static void name_peer(const struct sockaddr_storage *peer, char address[DW_LISTEN_ADDRESS])
{
    address[0] = '\0';
    if (peer->ss_family == AF_INET)
        (void)inet_ntop(AF_INET, &((const struct sockaddr_in *)peer)->sin_addr, address, DW_LISTEN_ADDRESS);
    else if (peer->ss_family == AF_INET6)
        (void)inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)peer)->sin6_addr, address, DW_LISTEN_ADDRESS);
}

static bool is_welcome(const char *welcome, const char *address)
{
    size_t len;

    for (; *welcome != '\0'; welcome += len + (welcome[len] == ',')) {
        len = strcspn(welcome, ",");
        if (strlen(address) == len && strncmp(welcome, address, len) == 0)
            return true;
    }
    return false;
}

int dw_listen_accept(int descriptor, const char *welcome, char address[DW_LISTEN_ADDRESS])
{
    struct sockaddr_storage peer = {.ss_family = AF_UNIX};
    socklen_t len = sizeof peer;
    int fd = accept4(descriptor, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    char name[DW_LISTEN_ADDRESS];

    if (fd < 0)
        return -1;
    name_peer(&peer, name);
    if (welcome != NULL && peer.ss_family != AF_UNIX && !is_welcome(welcome, name)) {
        (void)close(fd);
        errno = EAGAIN;
        return -1;
    }
    if (address != NULL)
        memcpy(address, name, sizeof name);
    return fd;
}

long dw_listen_raise_limit(long want)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return 1024;
    if (limit.rlim_cur >= (rlim_t)want)
        return (long)limit.rlim_cur;
    if (limit.rlim_max < (rlim_t)want) {
        const struct rlimit more = {.rlim_cur = (rlim_t)want, .rlim_max = (rlim_t)want};

        if (setrlimit(RLIMIT_NOFILE, &more) == 0) /* needs privilege */
            return want;
    }
    limit.rlim_cur = limit.rlim_max < (rlim_t)want ? limit.rlim_max : (rlim_t)want;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    return (long)limit.rlim_cur;
}
