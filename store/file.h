/* Making the files that stand around the database.
 *
 * An administrator runs a command as root, the web server and the app run as somebody else: what root makes
 * must not lock them out.  As SQLite does with -wal and -shm, a file that root makes gets the owner and the
 * group of what it belongs to.  Nothing here touches a file that is there already, or follows a link. */
#ifndef DW_STORE_FILE_H
#define DW_STORE_FILE_H

#include "base/err.h"

/* Makes an empty file, 0660 less the umask, that belongs to the owner of `like`; one that is there is left
 * alone.  DW_FULL, DW_NOTFOUND (no such folder), DW_DENIED. */
int dw_file_make(const char *path, const char *like, struct dw_err *err);
/* The same for a folder, 0770. */
int dw_file_make_folder(const char *path, const char *like, struct dw_err *err);
/* Makes the file where it is missing, and opens it for reading and writing; *fd is to be closed. */
int dw_file_open(const char *path, const char *like, int *fd, struct dw_err *err);
/* Where root runs this: `path`, just made, goes to the owner of `like`.  A failure only leaves it to root. */
void dw_file_give(const char *path, const char *like);

#endif
