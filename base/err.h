/* Error codes and the error record that every module reports with.
 *
 * One list (DW_ERRORS) names every code and its general text.  A function that can fail returns an
 * int: 0 for success or one of these codes.  Where a `struct dw_err *` is passed, a failure also
 * leaves a sentence there that names what was wrong and, where possible, what to do about it; the
 * pointer may be NULL.  On success the record is left alone. */
#ifndef DW_BASE_ERR_H
#define DW_BASE_ERR_H

#include <stdarg.h>
#include <stddef.h>

#define DW_ERRORS(X)                                                                                                   \
    X(DW_OK, "success")                                                                                                \
    X(DW_NOMEM, "out of memory")                                                                                       \
    X(DW_INVALID, "invalid input")                                                                                     \
    X(DW_LIMIT, "a limit was exceeded")                                                                                \
    X(DW_QUOTA, "one user or client has used up its share")                                                            \
    X(DW_CROWDED, "all clients together have used up what there is")                                                   \
    X(DW_NOTFOUND, "not found")                                                                                        \
    X(DW_BUSY, "the database stayed locked by another program")                                                        \
    X(DW_FULL, "no space left on the device")                                                                          \
    X(DW_IO, "input/output error")                                                                                     \
    X(DW_CORRUPT, "the database is damaged")                                                                           \
    X(DW_NEWER, "the database was made by a newer program")                                                            \
    X(DW_NETFS, "the database is on a network file system")                                                            \
    X(DW_DENIED, "permission denied")                                                                                  \
    X(DW_CONF, "invalid configuration")                                                                                \
    X(DW_HANDLER, "the application's SQL handler failed")                                                              \
    X(DW_SUPERSEDED, "superseded by a newer connection")                                                               \
    X(DW_SYSTEM, "a system call failed")                                                                               \
    X(DW_TIMEOUT, "it took too long")

enum dw_code {
#define DW_ERR_ENUM(code, text) code,
    DW_ERRORS(DW_ERR_ENUM)
#undef DW_ERR_ENUM
};

struct dw_err {
    int code;
    char text[512];
};

/* General text of `code`; never NULL. */
const char *dw_err_text(int code);

/* Records `code` and a printf-style sentence in `err` (may be NULL); returns `code`. */
int dw_err_set(struct dw_err *err, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* The sentence in `err`, or the general text of `code` where none was recorded. */
const char *dw_err_say(const struct dw_err *err, int code);

#endif
