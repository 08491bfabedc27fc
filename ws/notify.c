/* systemd's protocol without its library; see notify.h. */
#include "ws/notify.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int64_t number(const char *text)
{
    char *end;
    long long value;

    if (text == NULL || text[0] == '\0')
        return 0;
    errno = 0;
    value = strtoll(text, &end, 10);
    return errno == 0 && *end == '\0' && value > 0 ? value : 0;
}

void dw_notify_init(struct dw_notify *notify, int64_t now_ms)
{
    const char *pid = getenv("WATCHDOG_PID");
    int64_t interval_ms = number(getenv("WATCHDOG_USEC")) / 1000 / 2;

    notify->socket = getenv("NOTIFY_SOCKET");
    if (notify->socket == NULL || (pid != NULL && number(pid) != getpid()))
        interval_ms = 0;
    notify->interval_ms = interval_ms;
    notify->due_ms = interval_ms > 0 ? now_ms + interval_ms : INT64_MAX;
}

void dw_notify_say(const struct dw_notify *notify, const char *text)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    size_t len = notify->socket != NULL ? strlen(notify->socket) : 0;
    int fd;

    if (len < 2 || len >= sizeof name.sun_path)
        return;
    memcpy(name.sun_path, notify->socket, len);
    if (name.sun_path[0] == '@')
        name.sun_path[0] = '\0'; /* in the abstract name space */
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    (void)sendto(fd, text, strlen(text), MSG_NOSIGNAL, (const struct sockaddr *)&name,
                 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len));
    (void)close(fd);
}

void dw_notify_tick(struct dw_notify *notify, int64_t now_ms)
{
    if (notify->due_ms > now_ms)
        return;
    dw_notify_say(notify, "WATCHDOG=1");
    notify->due_ms = now_ms + notify->interval_ms;
}
