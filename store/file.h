/* Making the files that stand around the database.
 *
 * An administrator runs a command as root, the web server and the app run as somebody else: what root makes
 * must not lock them out.  As SQLite does with -wal and -shm, a file that root makes gets the owner and the
 * group of what it belongs to.  Nothing here touches a file that is there already, or follows a link.
 *
 * The application and the web server are often two users with a group in common.  Files are therefore made
 * 0660 and folders 0770, also under the usual umask 022; only a umask that shuts the group out altogether
 * (077) makes them 0600 and 0700, unless what they belong to is open to the group. */
#ifndef DW_STORE_FILE_H
#define DW_STORE_FILE_H

#include "base/err.h"

/* Can `path` be a file in `folder`?  DW_NOTFOUND without the folder, DW_CONF where the path is a folder. */
int dw_file_place(const char *path, const char *folder, struct dw_err *err);
/* Makes an empty file, that belongs to the owner of `like`; one that is there is left
 * alone.  DW_FULL, DW_NOTFOUND (no such folder), DW_DENIED. */
int dw_file_make(const char *path, const char *like, struct dw_err *err);
/* DW_DENIED: `path` is a link that somebody else made, and root runs this. */
int dw_file_not_led(const char *path, struct dw_err *err);
/* The same as dw_file_make for a folder, 0770; dw_file_not_led. */
int dw_file_make_folder(const char *path, const char *like, struct dw_err *err);
/* Makes the file where it is missing, and opens it for reading and writing; *fd is to be closed. */
int dw_file_open(const char *path, const char *like, int *fd, struct dw_err *err);
/* For what others made, such as a FIFO: `path`, just made, goes to the owner of `like` where root runs this, and
 * is shared with the group as above.  A failure leaves it as it is. */
void dw_file_give(const char *path, const char *like);
/* Puts a .htaccess into a folder that forbids Apache to hand it out, should it lie in a site after all.
 * Without one the folder is as good, so a failure is none. */
void dw_file_fence(const char *folder);

#endif
