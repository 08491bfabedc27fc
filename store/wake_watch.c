/* The inotify side of the doorbell: which files are watched, and which events count.
 *
 * Runs in a doorbell that watches for itself or leads; nobody else calls it.  It must never open the
 * database, its -wal or its -shm: closing any descriptor of these would drop the POSIX locks that
 * SQLite holds in this process.  Paths and inotify are enough.
 *
 * Two watches, so that a log or upload beside the database costs no wake-up:
 *
 *   folder   IN_CREATE, IN_DELETE, moves; only our three names count.  It sees a -wal or journal come
 *            and go, which a watch on the file itself can't.
 *   file     IN_MODIFY of the -wal, where every commit is written; of the database where there is no
 *            -wal.  The database is not watched beside a -wal: a checkpoint writes each page to it.
 *
 * The folder is armed before the file, and both before the caller looks at data_version: a file that
 * appears in between leaves a folder event behind. */
#include "store/wake_watch.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#define DIR_MASK (IN_CREATE | IN_DELETE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR)
#define FILE_MASK (IN_MODIFY | IN_DELETE_SELF | IN_MOVE_SELF)
#define COME_OR_GO (IN_CREATE | IN_DELETE | IN_MOVED_TO | IN_MOVED_FROM)

static void reset(struct dw_watch *watch)
{
    *watch = (struct dw_watch){.fd = -1, .dir_wd = -1, .file_wd = -1};
}

static int set_paths(struct dw_watch *watch, const char *path, struct dw_err *err)
{
    char *slash;

    watch->path = realpath(path, NULL);
    if (watch->path == NULL)
        return dw_err_set(err, errno == ENOMEM ? DW_NOMEM : DW_NOTFOUND, "%s: %s", path, strerror(errno));
    slash = strrchr(watch->path, '/');
    assert(slash != NULL); /* realpath answers with an absolute path */
    watch->name = slash + 1;
    /* "/queue.db" lies in "/" and not in "". */
    watch->dir = strndup(watch->path, slash == watch->path ? 1 : (size_t)(slash - watch->path));
    if (watch->dir == NULL || asprintf(&watch->wal_path, "%s-wal", watch->path) < 0) {
        watch->wal_path = NULL;
        return dw_err_set(err, DW_NOMEM, "%s", dw_err_text(DW_NOMEM));
    }
    return DW_OK;
}

int dw_watch_open(struct dw_watch *watch, const char *path, struct dw_err *err)
{
    int rc;

    reset(watch);
    rc = set_paths(watch, path, err);
    if (rc == DW_OK) {
        watch->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
        if (watch->fd < 0)
            rc = dw_err_set(err, DW_LIMIT, "no file events, inotify_init: %s", strerror(errno));
    }
    if (rc == DW_OK) {
        rc = dw_watch_arm(watch);
        if (rc != DW_OK)
            (void)dw_err_set(err, rc, "no file events for %s: %s", watch->path, strerror(errno));
    }
    if (rc != DW_OK)
        dw_watch_close(watch);
    return rc;
}

void dw_watch_close(struct dw_watch *watch)
{
    if (watch->fd >= 0)
        (void)close(watch->fd);
    free(watch->dir);
    free(watch->path);
    free(watch->wal_path);
    reset(watch);
}

/* Puts a watch on `path` in the place of *wd: the same number where it is the same inode still. */
static int place(const struct dw_watch *watch, const char *path, uint32_t mask, int *wd)
{
    int fresh = inotify_add_watch(watch->fd, path, mask);

    if (fresh < 0)
        return errno == ENOSPC ? DW_LIMIT : DW_NOTFOUND;
    if (*wd >= 0 && *wd != fresh)
        (void)inotify_rm_watch(watch->fd, *wd); /* fails where the kernel removed it first */
    *wd = fresh;
    return DW_OK;
}

int dw_watch_arm(struct dw_watch *watch)
{
    int rc = place(watch, watch->dir, DIR_MASK, &watch->dir_wd);

    if (rc != DW_OK)
        return rc;
    rc = place(watch, watch->wal_path, FILE_MASK, &watch->file_wd);
    watch->wal = rc == DW_OK;
    if (rc == DW_NOTFOUND)
        rc = place(watch, watch->path, FILE_MASK, &watch->file_wd);
    return rc;
}

/* What was added to the database's name: "" for itself; NULL for a file that is not ours. */
static const char *suffix_of(const struct dw_watch *watch, const struct inotify_event *event)
{
    size_t len = strlen(watch->name);

    if (event->len == 0 || strncmp(event->name, watch->name, len) != 0)
        return NULL;
    if (event->name[len] == '\0' || strcmp(event->name + len, "-wal") == 0 ||
        strcmp(event->name + len, "-journal") == 0)
        return event->name + len;
    return NULL;
}

/* Returns true where the watches may have to move. */
static bool read_dir_event(const struct dw_watch *watch, const struct inotify_event *event, struct dw_watch_news *news)
{
    const char *suffix;

    if ((event->mask & COME_OR_GO) == 0) { /* the folder itself was moved, removed or unmounted */
        news->touched = true;
        return true;
    }
    suffix = suffix_of(watch, event);
    if (suffix == NULL)
        return false;
    news->touched = true;
    if (strcmp(suffix, "-journal") == 0) {
        if ((event->mask & IN_DELETE) != 0)
            news->committed = true;
        return false;
    }
    return true;
}

static bool read_event(struct dw_watch *watch, const struct inotify_event *event, struct dw_watch_news *news)
{
    if ((event->mask & IN_Q_OVERFLOW) != 0) {
        news->overflow = news->touched = true;
        return true;
    }
    if (event->wd == watch->dir_wd) {
        if ((event->mask & IN_IGNORED) != 0)
            watch->dir_wd = -1;
        return read_dir_event(watch, event, news);
    }
    if (event->wd != watch->file_wd)
        return false; /* the last words of a watch that was replaced */
    news->touched = true;
    if ((event->mask & IN_IGNORED) != 0)
        watch->file_wd = -1;
    return (event->mask & (IN_IGNORED | IN_DELETE_SELF | IN_MOVE_SELF)) != 0;
}

void dw_watch_drain(struct dw_watch *watch, struct dw_watch_news *news)
{
    /* Room for many plain events; one with the longest name always fits. */
    char space[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
    bool moved = false;
    ssize_t got;

    *news = (struct dw_watch_news){0};
    while ((got = read(watch->fd, space, sizeof space)) > 0) {
        for (const char *at = space; at < space + got;) {
            const struct inotify_event *event = (const struct inotify_event *)(const void *)at;

            moved |= read_event(watch, event, news);
            at += sizeof *event + event->len;
        }
    }
    if (moved)
        (void)dw_watch_arm(watch); /* what can't be armed now is tried again on the safety tick */
}
