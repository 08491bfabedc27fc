/* The MessagePack packer's insides: the format's bytes, and Sente's extension types.
 *
 *      type  0 keyword   1 symbol   2 character   (text)
 *            3 ratio: two packed integers        4 set: a packed array
 *            5 int32s    6 floats   7 doubles    (big-endian)
 *            8 cached map key: one byte          9 UUID: 36 characters
 *           -1 timestamp
 *
 * The key cache: within one message the first 256 keyword and string map keys get numbers in order
 * of appearance; when one comes again as a map key, d4 08 <number> stands for it. */
#ifndef DW_CHSK_MSGPACK_H
#define DW_CHSK_MSGPACK_H

#include "chsk/reader.h"

enum dw_msgpack_ext {
    DW_EXT_KEYWORD,
    DW_EXT_SYMBOL,
    DW_EXT_CHAR,
    DW_EXT_RATIO,
    DW_EXT_SET,
    DW_EXT_INTS,
    DW_EXT_FLOATS,
    DW_EXT_DOUBLES,
    DW_EXT_CACHED,
    DW_EXT_UUID,
    DW_EXT_TIMESTAMP = -1
};

enum { DW_MSGPACK_CACHE = 256 };

/* The tag of an extension value that is none of Sente's: "msgpack/ext" and its number, around bytes. */
#define DW_MSGPACK_TAG "msgpack/ext"

int dw_msgpack_read(const char *bytes, size_t len, const struct dw_limits *limits, struct dw_arena *arena,
                    const struct dw_value **out, size_t *rest, struct dw_err *err);
int dw_msgpack_write(const struct dw_value *value, struct dw_buf *out, struct dw_err *err);
int dw_msgpack_write_part(const struct dw_value *value, struct dw_buf *out, struct dw_err *err);
void dw_msgpack_put_array_header(struct dw_buf *out, size_t count);

/* An unsigned number of 1 to 8 bytes, most significant first. */
static inline uint64_t dw_msgpack_load(const char *bytes, size_t width)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < width; i++)
        sum = sum << 8 | (unsigned char)bytes[i];
    return sum;
}

/* A packed integer at `bytes`: its length, or 0 when it is none or does not fit an int64. */
size_t dw_msgpack_integer(const char *bytes, size_t len, int64_t *out);
/* The value of an extension of `type`, all but sets and cached keys.  NULL (and latched) when malformed. */
const struct dw_value *dw_msgpack_extension(struct dw_reader *reader, int type, const char *bytes, size_t len);

#endif
