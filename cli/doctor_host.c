/* dumbwaiter doctor: what the machine gives to a process. */
#include "cli/doctor.h"

#include "store/inspect.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define OWN_DESCRIPTORS 256 /* of a responder: databases, sockets, requests under way */
#define FEW_DESCRIPTORS 128 /* no program of ours works well with less */
#define FEW_BYTES ((uint64_t)64 << 20)

static void check_sqlite(struct dw_doctor *d)
{
    if (dw_inspect_sqlite_number() < dw_inspect_sqlite_built())
        dw_doctor_say(d, DW_FINDING_WARN, "sqlite",
                      "SQLite %s is loaded, older than the one this program was built with: install the newer library",
                      dw_inspect_sqlite());
    else
        dw_doctor_say(d, DW_FINDING_OK, "sqlite", "SQLite %s", dw_inspect_sqlite());
}

static long read_number(const char *path)
{
    char text[32] = "";
    FILE *file = fopen(path, "re");

    if (file == NULL)
        return -1;
    if (fgets(text, sizeof text, file) == NULL)
        text[0] = '\0';
    (void)fclose(file);
    return text[0] != '\0' ? strtol(text, NULL, 10) : -1;
}

static void check_events(struct dw_doctor *d)
{
    long instances = read_number("/proc/sys/fs/inotify/max_user_instances");
    int fd = inotify_init1(IN_CLOEXEC);
    int saved = errno;
    int watch = fd >= 0 ? inotify_add_watch(fd, "/", IN_ATTRIB) : -1;

    if (fd >= 0 && watch < 0)
        saved = errno;
    if (watch < 0)
        dw_doctor_say(d, DW_FINDING_WARN, "inotify",
                      "file events can't be used (%s): pushes still arrive, by a timer and a little later; raise "
                      "fs.inotify.max_user_instances (it is %ld) or max_user_watches with sysctl",
                      strerror(saved), instances);
    else
        dw_doctor_say(d, DW_FINDING_OK, "inotify",
                      "file events work (fs.inotify.max_user_instances is %ld: each waiting process of a user takes "
                      "one)",
                      instances);
    if (fd >= 0)
        (void)close(fd);
}

static void check_descriptors(struct dw_doctor *d)
{
    struct rlimit limit;
    uint64_t have;
    uint64_t want = (uint64_t)d->conf->limits_parked + OWN_DESCRIPTORS;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        dw_doctor_say(d, DW_FINDING_WARN, "nofile", "the limit of open files can't be read: %s", strerror(errno));
        return;
    }
    have = limit.rlim_max == RLIM_INFINITY ? UINT64_MAX : limit.rlim_max;
    if (have < FEW_DESCRIPTORS)
        dw_doctor_say(d, DW_FINDING_FAIL, "nofile",
                      "a process may open only %" PRIu64
                      " files: raise the hard limit (ulimit -Hn, LimitNOFILE= of the "
                      "service)",
                      have);
    else if (have < want)
        dw_doctor_say(d, DW_FINDING_WARN, "nofile",
                      "a process may open %" PRIu64 " files, so a responder started like this holds %" PRIu64
                      " polls, not limits.parked = %" PRId64 ": raise the hard limit (ulimit -Hn, LimitNOFILE=), or "
                      "lower limits.parked",
                      have, have > OWN_DESCRIPTORS ? have - OWN_DESCRIPTORS : have / 2, d->conf->limits_parked);
    else
        dw_doctor_say(d, DW_FINDING_OK, "nofile", "a process may open enough files for limits.parked = %" PRId64,
                      d->conf->limits_parked);
}

static void check_space(struct dw_doctor *d)
{
    struct statvfs fs;
    uint64_t free_bytes;

    if (statvfs(d->path, &fs) != 0)
        return; /* no queue: said elsewhere */
    free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
    if (free_bytes < FEW_BYTES)
        dw_doctor_say(d, free_bytes < (uint64_t)1 << 20 ? DW_FINDING_FAIL : DW_FINDING_WARN, "space",
                      "only %" PRIu64 " bytes are free for the queue: on a full disk every insert fails, and "
                      "housekeeping too; free some space",
                      free_bytes);
    else
        dw_doctor_say(d, DW_FINDING_OK, "space", "%" PRIu64 " MiB are free for the queue", free_bytes >> 20);
}

void dw_doctor_host(struct dw_doctor *d)
{
    check_sqlite(d);
    check_events(d);
    check_descriptors(d);
    check_space(d);
}
