/* Growable byte buffer with a latched failure; see buf.h for the contract. */
#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void dw_buf_init(struct dw_buf *buf)
{
    *buf = (struct dw_buf)DW_BUF_INIT;
}

void dw_buf_fini(struct dw_buf *buf)
{
    free(buf->data);
    dw_buf_init(buf);
}

void dw_buf_reset(struct dw_buf *buf)
{
    buf->len = 0;
    buf->failed = false;
    if (buf->data != NULL)
        buf->data[0] = '\0';
}

bool dw_buf_reserve(struct dw_buf *buf, size_t more)
{
    size_t want, cap;
    char *data;

    if (buf->failed)
        return false;
    if (more >= SIZE_MAX / 2 - buf->len) {
        buf->failed = true;
        return false;
    }
    want = buf->len + more + 1; /* the terminating NUL */
    if (want <= buf->cap)
        return true;
    cap = buf->cap != 0 ? buf->cap : 64;
    while (cap < want)
        cap *= 2;
    data = realloc(buf->data, cap);
    if (data == NULL) {
        buf->failed = true;
        return false;
    }
    buf->data = data;
    buf->cap = cap;
    return true;
}

void dw_buf_add(struct dw_buf *buf, const void *bytes, size_t len)
{
    if (!dw_buf_reserve(buf, len))
        return;
    if (len != 0)
        memcpy(buf->data + buf->len, bytes, len);
    buf->len += len;
    buf->data[buf->len] = '\0';
}

void dw_buf_adds(struct dw_buf *buf, const char *string)
{
    dw_buf_add(buf, string, strlen(string));
}

void dw_buf_addc(struct dw_buf *buf, char byte)
{
    dw_buf_add(buf, &byte, 1);
}

void dw_buf_addf(struct dw_buf *buf, const char *format, ...)
{
    va_list args;
    int len;

    va_start(args, format);
    len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (len < 0) {
        buf->failed = true;
        return;
    }
    if (!dw_buf_reserve(buf, (size_t)len))
        return;
    va_start(args, format);
    (void)vsnprintf(buf->data + buf->len, (size_t)len + 1, format, args);
    va_end(args);
    buf->len += (size_t)len;
}
