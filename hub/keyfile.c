/* The key file; see keyfile.h.  Nothing here prints or logs what is in it. */
#include "hub/keyfile.h"

#include "base/log.h"
#include "store/file.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define RANDOM_LEN 32     /* bytes; the file has them in hexadecimal digits */
#define FILE_LEN_MAX 4096 /* of a key file with empty lines and the like */

int dw_keyfile_path(const struct dw_conf *conf, struct dw_buf *path, struct dw_err *err)
{
    const char *named = conf->auth_token_key_file;

    if (named[0] != '\0' && named[0] != '/')
        return dw_err_set(err, DW_CONF, "auth.token_key_file must be an absolute path, not \"%s\"", named);
    if (named[0] != '\0')
        dw_buf_adds(path, named);
    else
        dw_buf_addf(path, "%s-dw/token.key", conf->store_path);
    return dw_buf_failed(path) ? dw_err_set(err, DW_NOMEM, "out of memory") : DW_OK;
}

static int failed(const char *what, const char *path, struct dw_err *err)
{
    int code = errno == ENOENT ? DW_NOTFOUND : errno == ENOSPC ? DW_FULL : errno == EIO ? DW_IO : DW_DENIED;

    return dw_err_set(err, code, "cannot %s the key file %s: %s", what, path, strerror(errno));
}

/* ---- making it ---- */

static int fill(int fd, const char *path, struct dw_err *err)
{
    unsigned char secret[RANDOM_LEN];
    char line[2 * RANDOM_LEN + 2]; /* digits, end of line, NUL */
    ssize_t written;

    randombytes_buf(secret, sizeof secret);
    (void)sodium_bin2hex(line, sizeof line, secret, sizeof secret);
    line[sizeof line - 2] = '\n';
    written = write(fd, line, sizeof line - 1);
    sodium_memzero(secret, sizeof secret);
    sodium_memzero(line, sizeof line);
    if (written < 0 || fsync(fd) != 0)
        return failed("write", path, err);
    return written == (ssize_t)sizeof line - 1 ? DW_OK : dw_err_set(err, DW_FULL, "cannot write all of %s", path);
}

int dw_keyfile_make(const struct dw_conf *conf, const char *path, struct dw_err *err)
{
    char draft[4096];
    uint32_t number;
    int fd = -1;
    int rc;

    if (conf->auth_token_key_file[0] == '\0') {
        if (snprintf(draft, sizeof draft, "%s-dw", conf->store_path) >= (int)sizeof draft)
            return dw_err_set(err, DW_CONF, "the name of the key file is too long");
        rc = dw_file_not_led(draft, err);
        if (rc != DW_OK)
            return rc;
    }
    if (access(path, F_OK) == 0)
        return DW_OK;
    if (sodium_init() < 0) /* else a random number would be read before the system has any */
        return dw_err_set(err, DW_SYSTEM, "the system gives no random numbers");
    randombytes_buf(&number, sizeof number);
    if (snprintf(draft, sizeof draft, "%s.%08x", path, (unsigned)number) >= (int)sizeof draft)
        return dw_err_set(err, DW_CONF, "the name of the key file is too long");
    rc = dw_file_open(draft, conf->store_path, &fd, err);
    if (rc == DW_NOTFOUND)
        rc = dw_err_set(err, rc, "there is no folder for the key file %s: `dumbwaiter init` makes the state folder",
                        path);
    if (rc == DW_OK)
        rc = fill(fd, draft, err);
    /* Under its name only when it is whole, and never in the place of another. */
    if (rc == DW_OK && link(draft, path) != 0 && errno != EEXIST)
        rc = failed("make", path, err);
    if (fd >= 0) {
        (void)unlink(draft);
        (void)close(fd);
    }
    return rc;
}

/* ---- reading it ---- */

static int read_all(int fd, char *text, size_t size, size_t *len)
{
    ssize_t got = 1;

    for (*len = 0; *len < size && got != 0; *len += got > 0 ? (size_t)got : 0) {
        got = read(fd, text + *len, size - *len);
        if (got < 0 && errno != EINTR)
            return -1;
    }
    return 0;
}

static int read_keys(int fd, const char *path, struct dw_token_keys *keys, struct dw_err *err)
{
    char text[FILE_LEN_MAX + 1];
    struct dw_err why = {.code = 0};
    size_t len = 0;
    int rc = DW_OK;

    if (read_all(fd, text, sizeof text, &len) != 0)
        rc = failed("read", path, err);
    else if (len > FILE_LEN_MAX)
        rc = dw_err_set(err, DW_CONF, "the key file %s is too long", path);
    else if (dw_token_keys_read(text, len, keys, &why) != DW_OK)
        rc = dw_err_set(err, DW_CONF, "the key file %s is no good: %s", path, why.text);
    sodium_memzero(text, sizeof text);
    return rc;
}

static int read_file(const char *path, struct dw_token_keys *keys, struct stat *seen, struct dw_err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO would make a thread wait */
    int rc;

    memset(keys, 0, sizeof *keys);
    if (fd < 0 && errno == ENOENT)
        return dw_err_set(err, DW_NOTFOUND, "there is no key file %s: `dumbwaiter init` makes it", path);
    if (fd < 0)
        return failed("open", path, err);
    if (fstat(fd, seen) != 0)
        rc = failed("look at", path, err);
    else if (!S_ISREG(seen->st_mode))
        rc = dw_err_set(err, DW_CONF, "the key file %s is no ordinary file", path);
    else
        rc = read_keys(fd, path, keys, err);
    (void)close(fd);
    return rc;
}

int dw_keyfile_read(const char *path, struct dw_token_keys *keys, struct dw_err *err)
{
    struct stat unused;

    return read_file(path, keys, &unused, err);
}

/* ---- at hand ---- */

void dw_keyfile_fini(struct dw_keyfile *file)
{
    dw_token_keys_wipe(&file->keys);
    dw_buf_fini(&file->path);
}

static bool is_same(const struct stat *a, const struct stat *b)
{
    return a->st_ino == b->st_ino && a->st_dev == b->st_dev && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
           a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

int dw_keyfile_fresh(struct dw_keyfile *file, const struct dw_conf *conf, struct dw_err *err)
{
    static struct dw_log_limit open_to_all;
    struct stat now;
    int rc = DW_OK;

    if (file->path.len == 0)
        rc = dw_keyfile_path(conf, &file->path, err);
    if (rc != DW_OK) {
        dw_buf_fini(&file->path);
        return rc;
    }
    if (file->keys.count > 0 && stat(file->path.data, &now) == 0 && is_same(&now, &file->seen))
        return DW_OK;
    dw_token_keys_wipe(&file->keys);
    rc = read_file(file->path.data, &file->keys, &file->seen, err);
    if (rc == DW_OK && (file->seen.st_mode & S_IRWXO) != 0)
        dw_log_limited(&open_to_all, DW_LOG_WARN,
                       "every user of this machine can make tokens: chmod o-rwx the key file %s", file->path.data);
    return rc;
}
