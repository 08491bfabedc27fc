/* A growable byte buffer.
 *
 * Appending never fails visibly: an allocation failure is latched, later appends are ignored, and
 * the owner asks once at the end (dw_buf_failed).  The content is always NUL-terminated behind its
 * length, so that it can be handed to C string functions. */
#ifndef DW_BASE_BUF_H
#define DW_BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct dw_buf {
    char *data; /* NULL until the first append */
    size_t len;
    size_t cap;
    bool failed;
};

#define DW_BUF_INIT                                                                                                    \
    {                                                                                                                  \
        NULL, 0, 0, false                                                                                              \
    }

void dw_buf_init(struct dw_buf *buf);
/* Frees the content and leaves an empty buffer that can be used again. */
void dw_buf_fini(struct dw_buf *buf);
/* Empties the buffer and forgets a latched failure; keeps the allocation. */
void dw_buf_reset(struct dw_buf *buf);

/* Makes room for `more` bytes behind the content; false (and latched) when memory is short. */
bool dw_buf_reserve(struct dw_buf *buf, size_t more);
void dw_buf_add(struct dw_buf *buf, const void *bytes, size_t len);
void dw_buf_adds(struct dw_buf *buf, const char *string);
void dw_buf_addc(struct dw_buf *buf, char byte);
void dw_buf_addf(struct dw_buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* True when any append since init/reset was lost for want of memory. */
static inline bool dw_buf_failed(const struct dw_buf *buf)
{
    return buf->failed;
}

/* The content as a C string; "" while nothing was appended.  Valid until the next append. */
static inline const char *dw_buf_str(const struct dw_buf *buf)
{
    return buf->data != NULL ? buf->data : "";
}

#endif
