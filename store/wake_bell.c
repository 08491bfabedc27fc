/* One FIFO in the state folder is both bell and election.
 *
 *   leader     holds the write end and, on the same open file, an OFD lock on byte 0
 *   deputy     the same with byte 1, when the leader holds its lock but doesn't ring (stopped, busy)
 *   followers  hold the read end only, edge-triggered
 *
 * Why a FIFO: a write wakes every edge-triggered listener though nobody reads; it uses none of the
 * user's inotify instances, so a crowd of any size needs just the leader's; it needs no disk space;
 * and when the leader dies, also by SIGKILL, the kernel reports a hang-up to all listeners.  Closing
 * an open file drops its locks before the pipe sees the end of its writer, so that whoever hears
 * the hang-up finds the lock free already.
 *
 * The content is never read by followers.  The leader empties the pipe before it writes: the pipe can't
 * fill up, and each byte meets an empty pipe, where every kernel wakes all listeners.
 *
 * OFD locks belong to the open file, not to the process: several doorbells of one process compete like
 * strangers, and closing one doesn't free another's lock.  A child made by fork() shares them. */
#include "store/wake_bell.h"

#include "base/clock.h"
#include "store/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LEADER_BYTE = 0, DEPUTY_BYTE = 1 };

static bool set_lock(int fd, int type, int byte)
{
    struct flock lock = {.l_type = (short)type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
    int rc;

    do
        rc = fcntl(fd, F_OFD_SETLK, &lock);
    while (rc < 0 && errno == EINTR);
    return rc == 0;
}

int dw_bell_open(struct dw_bell *bell, const char *dir, struct dw_err *err)
{
    struct stat st;
    bool made;

    *bell = (struct dw_bell){.ear = -1, .hammer = -1};
    if (asprintf(&bell->path, "%s/wake.bell", dir) < 0) {
        bell->path = NULL;
        return dw_err_set(err, DW_NOMEM, "%s", dw_err_text(DW_NOMEM));
    }
    made = mkfifo(bell->path, 0660) == 0;
    if (made)
        dw_file_give(bell->path, dir);
    if (made || errno == EEXIST)
        bell->ear = open(bell->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
    if (bell->ear < 0 || fstat(bell->ear, &st) != 0 || !S_ISFIFO(st.st_mode)) {
        int rc = dw_err_set(err, errno == EACCES ? DW_DENIED : DW_SYSTEM, "%s can't be used as the bell: %s",
                            bell->path, bell->ear < 0 ? strerror(errno) : "it is not a FIFO");

        dw_bell_close(bell);
        return rc;
    }
    return DW_OK;
}

void dw_bell_close(struct dw_bell *bell)
{
    dw_bell_yield(bell);
    if (bell->ear >= 0)
        (void)close(bell->ear);
    free(bell->path);
    *bell = (struct dw_bell){.ear = -1, .hammer = -1};
}

enum dw_bell_claim dw_bell_lead(struct dw_bell *bell, bool deputy)
{
    int fd = open(bell->path, O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);

    if (fd < 0)
        return DW_BELL_FAILED;
    if (!set_lock(fd, F_WRLCK, deputy ? DEPUTY_BYTE : LEADER_BYTE)) {
        enum dw_bell_claim claim = errno == EAGAIN || errno == EACCES ? DW_BELL_TAKEN : DW_BELL_FAILED;

        /* No false hang-up comes of this: the lock's owner holds the write end as well. */
        (void)close(fd);
        return claim;
    }
    bell->hammer = fd;
    bell->deputy = deputy;
    return DW_BELL_LED;
}

void dw_bell_yield(struct dw_bell *bell)
{
    if (bell->hammer >= 0)
        (void)close(bell->hammer);
    bell->hammer = -1;
    bell->deputy = false;
}

int64_t dw_bell_ring(struct dw_bell *bell)
{
    int64_t start = dw_clock_mono_us();
    char space[64];

    while (read(bell->ear, space, sizeof space) > 0)
        ;
    if (write(bell->hammer, "!", 1) != 1) {
        /* Only a full pipe, filled by a stranger at this moment, gets here: his bytes woke everyone. */
    }
    return dw_clock_mono_us() - start;
}

bool dw_bell_has_deputy(const struct dw_bell *bell)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = DEPUTY_BYTE, .l_len = 1};

    return fcntl(bell->hammer, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

void dw_bell_promote(struct dw_bell *bell)
{
    if (!set_lock(bell->hammer, F_WRLCK, LEADER_BYTE))
        return;
    (void)set_lock(bell->hammer, F_UNLCK, DEPUTY_BYTE);
    bell->deputy = false;
}

bool dw_bell_lost(const struct dw_bell *bell)
{
    struct stat here, there;

    return fstat(bell->ear, &here) != 0 || stat(bell->path, &there) != 0 || here.st_ino != there.st_ino ||
           here.st_dev != there.st_dev;
}

int dw_seat_take(const char *dir, int seats)
{
    char *path;
    int fd;

    if (asprintf(&path, "%s/wake.seats", dir) < 0)
        return -1;
    (void)dw_file_open(path, dir, &fd, NULL);
    free(path);
    for (int seat = 0; fd >= 0 && seat < seats; seat++) {
        if (set_lock(fd, F_WRLCK, seat))
            return fd;
    }
    if (fd >= 0)
        (void)close(fd);
    return -1;
}
