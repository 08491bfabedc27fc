/* File events of the queue file: an inotify watch that notices every write which may be a commit.
 * Private to store/wake*.c; what to conclude from an event is decided in wake.c. */
#ifndef DW_STORE_WAKE_WATCH_H
#define DW_STORE_WAKE_WATCH_H

#include "base/err.h"

#include <stdbool.h>

struct dw_watch {
    int fd;           /* inotify, non-blocking; -1 = not open */
    int dir_wd;       /* the folder: files that come, go or are renamed; -1 = not armed */
    int file_wd;      /* writes to the -wal file, or to the database itself where there is none */
    bool wal;         /* file_wd is the -wal */
    char *dir, *path; /* folder and database, symbolic links resolved */
    char *wal_path;
    const char *name; /* last component of path */
};

struct dw_watch_news {
    bool touched;   /* something was written, made or removed */
    bool committed; /* a rollback journal went away: that is a commit or a rollback */
    bool overflow;  /* the kernel dropped events */
};

/* Opens and arms a watch.  DW_LIMIT: the user's inotify instances or watches, or the process's
 * descriptors, are used up; other codes: the path can't be watched.  On failure nothing is held. */
int dw_watch_open(struct dw_watch *watch, const char *path, struct dw_err *err);
void dw_watch_close(struct dw_watch *watch); /* a closed watch is fine */

/* Brings the watches in line with the files that exist now.  Cheap; also called from drain. */
int dw_watch_arm(struct dw_watch *watch);

/* Takes all waiting events, re-arms where files changed places. */
void dw_watch_drain(struct dw_watch *watch, struct dw_watch_news *news);

#endif
