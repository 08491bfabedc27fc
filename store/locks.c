/* Byte locks of the lock file (see locks.h).  Only fcntl here: no waiting, no database. */
#include "store/locks.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static struct flock byte_lock(short type, int64_t byte)
{
    struct flock lock;

    memset(&lock, 0, sizeof lock); /* l_pid must be 0 for these locks */
    lock.l_type = type;
    lock.l_whence = SEEK_SET;
    lock.l_start = (off_t)byte;
    lock.l_len = 1;
    return lock;
}

bool dw_locks_try(int fd, int64_t byte)
{
    struct flock lock = byte_lock(F_WRLCK, byte);

    return fcntl(fd, F_OFD_SETLK, &lock) == 0;
}

void dw_locks_drop(int fd, int64_t byte)
{
    struct flock lock = byte_lock(F_UNLCK, byte);

    (void)fcntl(fd, F_OFD_SETLK, &lock);
}

bool dw_locks_held(int fd, int64_t byte)
{
    struct flock lock = byte_lock(F_WRLCK, byte);

    return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}
