/* Waiting for news of the queue (see follow.h).
 *
 * One poll(2) watches the doorbell, the signals and standard output.  The doorbell is answered while the
 * output is stuck, too: this process may be the one that rings for all others. */
#include "cli/follow.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

/* A pipe that poll(2) calls writable takes as much as this without waiting. */
#define PIPE_ROOM 4096

int dw_follow_open(struct dw_follow *follow, struct dw_store *store, struct dw_err *err)
{
    sigset_t set;

    *follow = (struct dw_follow){.store = store, .signals = -1};
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGHUP);
    if (sigprocmask(SIG_BLOCK, &set, NULL) != 0)
        return dw_err_set(err, DW_SYSTEM, "sigprocmask: %s", strerror(errno));
    follow->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (follow->signals < 0)
        return dw_err_set(err, DW_SYSTEM, "signalfd: %s", strerror(errno));
    return dw_wake_open(store, DW_WAKE_AUTO, &follow->wake, err);
}

void dw_follow_close(struct dw_follow *follow)
{
    dw_wake_close(follow->wake);
    follow->wake = NULL;
    if (follow->signals >= 0)
        (void)close(follow->signals);
    follow->signals = -1;
}

/* Another file took the queue's place: the old doorbell would stay silent. */
static int renew(struct dw_follow *follow, struct dw_err *err)
{
    if (!dw_wake_replaced(follow->wake))
        return DW_OK;
    dw_wake_close(follow->wake);
    follow->wake = NULL;
    follow->changed = true;
    return dw_wake_open(follow->store, DW_WAKE_AUTO, &follow->wake, err);
}

/* Waits once, for output that can be written where `want_output`; *writable tells. */
static int wait_once(struct dw_follow *follow, bool want_output, int timeout_ms, bool *writable, struct dw_err *err)
{
    struct pollfd fds[] = {
        {.fd = dw_wake_fd(follow->wake), .events = POLLIN},
        {.fd = follow->signals, .events = POLLIN},
        {.fd = STDOUT_FILENO, .events = want_output ? POLLOUT : 0},
    };
    int ready = poll(fds, sizeof fds / sizeof fds[0], timeout_ms);

    *writable = false;
    if (ready < 0 && errno != EINTR)
        return dw_err_set(err, DW_SYSTEM, "poll: %s", strerror(errno));
    if (ready <= 0)
        return DW_OK;
    if (fds[1].revents != 0 || (fds[2].revents & (POLLERR | POLLHUP | POLLNVAL)) != 0)
        follow->stop = true;
    *writable = (fds[2].revents & POLLOUT) != 0;
    if (fds[0].revents == 0)
        return DW_OK;
    if (dw_wake_check(follow->wake))
        follow->changed = true;
    return renew(follow, err);
}

int dw_follow_wait(struct dw_follow *follow, int timeout_ms, struct dw_err *err)
{
    bool writable;
    int rc = DW_OK;

    if (timeout_ms >= 0)
        return wait_once(follow, false, timeout_ms, &writable, err);
    while (rc == DW_OK && !follow->changed && !follow->stop)
        rc = wait_once(follow, false, -1, &writable, err);
    follow->changed = false;
    return rc;
}

int dw_follow_write(struct dw_follow *follow, struct dw_buf *buf, struct dw_err *err)
{
    size_t done = 0;
    size_t size;
    ssize_t wrote;
    bool writable;
    int rc = DW_OK;

    if (dw_buf_failed(buf))
        return dw_err_set(err, DW_NOMEM, "out of memory");
    while (rc == DW_OK && done < buf->len && !follow->stop) {
        rc = wait_once(follow, true, -1, &writable, err);
        if (rc != DW_OK || !writable || follow->stop)
            continue;
        size = buf->len - done < PIPE_ROOM ? buf->len - done : PIPE_ROOM;
        wrote = write(STDOUT_FILENO, buf->data + done, size);
        if (wrote >= 0)
            done += (size_t)wrote;
        else if (errno == EPIPE)
            follow->stop = true;
        else if (errno != EINTR && errno != EAGAIN)
            rc = dw_err_set(err, DW_SYSTEM, "cannot write the output: %s", strerror(errno));
    }
    dw_buf_reset(buf);
    return rc;
}
