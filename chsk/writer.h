/* What all writers share: fast appends and a stack of collections begun but not finished, in place of
 * recursion.  Memory shortage is latched: in the buffer for text, in `failed` for the stack. */
#ifndef DW_CHSK_WRITER_H
#define DW_CHSK_WRITER_H

#include "base/buf.h"
#include "base/err.h"
#include "chsk/text.h"
#include "chsk/value.h"

enum { DW_WRITER_ROOM = 32 };

struct dw_open {
    const struct dw_value *value;
    size_t next;   /* child to be written next */
    uint8_t state; /* each format's own */
    size_t at;     /* each format's own: a place in the output */
};

struct dw_writer {
    struct dw_buf *out;
    struct dw_err *err;
    int code;
    struct dw_open *open, room[DW_WRITER_ROOM];
    size_t depth, cap;
};

void dw_writer_init(struct dw_writer *writer, struct dw_buf *out, struct dw_err *err);
/* Frees the stack and returns what the write function returns. */
int dw_writer_fini(struct dw_writer *writer);
/* Latches DW_INVALID with a sentence that ends in what could not be written. */
void dw_writer_refuse(struct dw_writer *writer, const char *what);
/* Begins a collection (tagged values and ratios count as one). */
void dw_writer_push(struct dw_writer *writer, const struct dw_value *value, uint8_t state);

/* Number of children in writing order, and child number `i`. */
static inline size_t dw_writer_children(const struct dw_value *value)
{
    switch (value->type) {
    case DW_T_MAP:
        return 2 * value->u.seq.count;
    case DW_T_RATIO:
    case DW_T_TAGGED:
        return 2;
    default:
        return value->u.seq.count;
    }
}

static inline void dw_put(struct dw_buf *out, const char *bytes, size_t len)
{
    if (out->cap - out->len <= len) { /* <=: the NUL needs a place too */
        dw_buf_add(out, bytes, len);
        return;
    }
    /* `bytes` may be filled by the call that gives `len`: dw_put(out, text, print(value, text)) */
    /* cppcheck-suppress uninitvar */
    memcpy(out->data + out->len, bytes, len);
    out->len += len;
    out->data[out->len] = '\0';
}

/* The same for text of any length that is short as a rule. */
static inline void dw_put_run(struct dw_buf *out, const char *bytes, size_t len)
{
    if (out->data == NULL || out->cap - out->len <= len) {
        dw_buf_add(out, bytes, len);
        return;
    }
    dw_text_copy(out->data + out->len, bytes, len);
    out->len += len;
    out->data[out->len] = '\0';
}

static inline void dw_putc(struct dw_buf *out, char byte)
{
    dw_put(out, &byte, 1);
}

#define dw_put_literal(out, literal) dw_put(out, literal, sizeof(literal) - 1)

static inline void dw_put_text(struct dw_buf *out, const struct dw_value *value)
{
    dw_put_run(out, value->u.text.bytes, value->u.text.len);
}

void dw_put_int(struct dw_buf *out, int64_t value);
/* A finite DOUBLE or FLOAT, as Java prints it. */
void dw_put_real(struct dw_buf *out, const struct dw_value *value);
/* An INT or BIGINT as decimal digits. */
void dw_put_integer(struct dw_buf *out, const struct dw_value *value);
/* Element `i` of an ARRAY; nan and infinities are written as `odd` says (NaN, Inf, -Inf). */
void dw_put_element(struct dw_buf *out, const struct dw_value *array, size_t i, const char *const odd[3]);
/* One of `odd` (NaN, Inf, -Inf) for a real that is not finite; false for a finite one. */
bool dw_put_odd_real(struct dw_buf *out, double value, const char *const odd[3]);

#endif
