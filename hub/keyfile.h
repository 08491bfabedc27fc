/* The file with the keys of signed tokens (chsk/token.h): where it is, making it, and having its keys at hand.
 *
 * It lies in the state folder unless auth.token_key_file names another place, and is made as the files there
 * are (store/file.h): by owner and group to be read and written, by nobody else. */
#ifndef DW_HUB_KEYFILE_H
#define DW_HUB_KEYFILE_H

#include "base/buf.h"
#include "base/conf.h"
#include "base/err.h"
#include "chsk/token.h"

#include <stdbool.h>
#include <sys/stat.h>

/* Appends the path; asks nobody whether there is such a file.  DW_NOMEM; DW_CONF for a relative one, which would
 * be another file for each program. */
int dw_keyfile_path(const struct dw_conf *conf, struct dw_buf *path, struct dw_err *err);

/* Makes the file with a random key where it is missing; one that is there is left alone.  It is whole from the
 * first moment on, also where two programs make it at once.  DW_NOTFOUND without its folder, DW_DENIED, DW_FULL. */
int dw_keyfile_make(const struct dw_conf *conf, const char *path, struct dw_err *err);

/* Reads the file.  DW_NOTFOUND, DW_DENIED, DW_CONF (what is in it is no key), DW_IO; `keys` is then empty. */
int dw_keyfile_read(const char *path, struct dw_token_keys *keys, struct dw_err *err);

/* The keys at hand, for one thread.  Starts zeroed. */
struct dw_keyfile {
    struct dw_buf path;
    struct dw_token_keys keys; /* as the file was when it looked like `seen` */
    struct stat seen;
};
void dw_keyfile_fini(struct dw_keyfile *file);

/* Reads the file if it is another one than at the last call, or looks changed: one stat(2) otherwise.  Errors as
 * dw_keyfile_path and dw_keyfile_read; there are no keys then, whatever there was before. */
int dw_keyfile_fresh(struct dw_keyfile *file, const struct dw_conf *conf, struct dw_err *err);

#endif
