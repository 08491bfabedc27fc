/* The gzip wrapper.  zlib works on memory that the caller gives it; nothing here does I/O.  What a
 * message may inflate to is bounded by the same limit as an uncompressed one, so that a few bytes
 * cannot fill the memory. */
#include "chsk/gzip.h"

#include <limits.h>
#include <zlib.h>

enum {
    STORED = 0,
    COMPRESSED = 1,
    THRESHOLD = 1024,
    GZIP_WINDOW = MAX_WBITS + 16, /* zlib's way to ask for a gzip head */
    MEMORY_LEVEL = 8              /* zlib's default */
};

static int deflate_into(z_stream *stream, const char *bytes, size_t len, struct dw_buf *out)
{
    size_t bound = deflateBound(stream, (uLong)len);
    int code;

    if (bound > UINT_MAX || len > UINT_MAX)
        return DW_LIMIT;
    if (!dw_buf_reserve(out, bound))
        return DW_NOMEM;
    stream->next_in = (z_const Bytef *)bytes;
    stream->avail_in = (uInt)len;
    stream->next_out = (Bytef *)out->data + out->len;
    stream->avail_out = (uInt)bound;
    code = deflate(stream, Z_FINISH);
    if (code != Z_STREAM_END)
        return DW_SYSTEM;
    out->len += bound - stream->avail_out;
    out->data[out->len] = '\0';
    return 0;
}

int dw_gzip_wrap(const char *bytes, size_t len, struct dw_buf *out, struct dw_err *err)
{
    z_stream stream = {.zalloc = Z_NULL};
    int code;

    dw_buf_addc(out, len < THRESHOLD ? STORED : COMPRESSED);
    if (len < THRESHOLD) {
        dw_buf_add(out, bytes, len);
        code = dw_buf_failed(out) ? DW_NOMEM : 0;
    } else if (deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, GZIP_WINDOW, MEMORY_LEVEL,
                            Z_DEFAULT_STRATEGY) != Z_OK) {
        code = DW_NOMEM;
    } else {
        code = deflate_into(&stream, bytes, len, out);
        (void)deflateEnd(&stream);
    }
    return code == 0 ? 0 : dw_err_set(err, code, "the message could not be compressed");
}

/* Inflates one member of `len` bytes to at most `most` bytes. */
static int inflate_member(z_stream *stream, const char *bytes, size_t len, size_t most, struct dw_buf *plain,
                          struct dw_err *err)
{
    int code;

    stream->next_in = (z_const Bytef *)bytes;
    stream->avail_in = (uInt)len;
    do {
        size_t room = plain->len == 0 ? 4 * len + 64 : plain->len; /* doubles from a likely size */

        if (room > most - plain->len)
            room = most - plain->len + 1; /* one more than allowed shows that there is more */
        if (room > UINT_MAX || !dw_buf_reserve(plain, room))
            return dw_err_set(err, DW_NOMEM, "out of memory while inflating a message");
        stream->next_out = (Bytef *)plain->data + plain->len;
        stream->avail_out = (uInt)room;
        code = inflate(stream, Z_NO_FLUSH);
        plain->len += room - stream->avail_out;
        if (plain->len > most)
            return dw_err_set(err, DW_LIMIT, "the message inflates to more than %zu bytes", most);
    } while (code == Z_OK && (stream->avail_out == 0 || stream->avail_in != 0));
    if (code == Z_MEM_ERROR)
        return dw_err_set(err, DW_NOMEM, "out of memory while inflating a message");
    if (code != Z_STREAM_END)
        return dw_err_set(err, DW_INVALID, "damaged or unfinished gzip data");
    return 0;
}

static int unwrap(const char *bytes, size_t len, const struct dw_limits *limits, struct dw_buf *plain, size_t *used,
                  struct dw_err *err)
{
    z_stream stream = {.zalloc = Z_NULL};
    int code;

    if (inflateInit2(&stream, GZIP_WINDOW) != Z_OK)
        return dw_err_set(err, DW_NOMEM, "out of memory while inflating a message");
    code = inflate_member(&stream, bytes, len, limits->max_bytes, plain, err);
    *used = len - stream.avail_in;
    (void)inflateEnd(&stream);
    return code;
}

static int read_compressed(const struct dw_packer *inner, const char *bytes, size_t len, const struct dw_limits *limits,
                           struct dw_arena *arena, const struct dw_value **out, size_t *rest, struct dw_err *err)
{
    struct dw_buf plain = DW_BUF_INIT;
    size_t used = 0, inner_rest;
    int code = unwrap(bytes, len, limits, &plain, &used, err);

    if (code == 0 && rest == NULL && used != len)
        code = dw_err_set(err, DW_INVALID, "something behind the gzip data at byte %zu", 1 + used);
    if (code == 0)
        code = inner->read(dw_buf_str(&plain), plain.len, limits, arena, out, rest != NULL ? &inner_rest : NULL, err);
    if (code == 0 && rest != NULL)
        *rest = 1 + used;
    dw_buf_fini(&plain);
    return code;
}

static int read_wrapped(const struct dw_packer *inner, const char *bytes, size_t len, const struct dw_limits *limits,
                        struct dw_arena *arena, const struct dw_value **out, size_t *rest, struct dw_err *err)
{
    int code;

    if (limits == NULL)
        limits = &dw_limits_default;
    if (len == 0)
        return dw_err_set(err, DW_INVALID, "empty message at byte 0");
    if (len - 1 > limits->max_bytes || len > UINT_MAX)
        return dw_err_set(err, DW_LIMIT, "the message has %zu bytes, the limit is %zu", len, limits->max_bytes);
    if (bytes[0] == COMPRESSED)
        return read_compressed(inner, bytes + 1, len - 1, limits, arena, out, rest, err);
    if (bytes[0] != STORED)
        return dw_err_set(err, DW_INVALID, "unknown first byte of a wrapped message at byte 0");
    code = inner->read(bytes + 1, len - 1, limits, arena, out, rest, err);
    if (code == 0 && rest != NULL)
        ++*rest;
    return code;
}

static int write_wrapped(const struct dw_packer *inner, const struct dw_value *value, struct dw_buf *out,
                         struct dw_err *err)
{
    struct dw_buf plain = DW_BUF_INIT;
    int code = inner->write(value, &plain, err);

    if (code == 0)
        code = dw_gzip_wrap(dw_buf_str(&plain), plain.len, out, err);
    dw_buf_fini(&plain);
    return code;
}

/* A packer's functions know their packer only by name: one pair for each inner packer. */
#define GZIP_PACKER(inner_name, label)                                                                                 \
    static int read_##inner_name(const char *bytes, size_t len, const struct dw_limits *limits,                        \
                                 struct dw_arena *arena, const struct dw_value **out, size_t *rest,                    \
                                 struct dw_err *err)                                                                   \
    {                                                                                                                  \
        return read_wrapped(&dw_packer_##inner_name, bytes, len, limits, arena, out, rest, err);                       \
    }                                                                                                                  \
    static int write_##inner_name(const struct dw_value *value, struct dw_buf *out, struct dw_err *err)                \
    {                                                                                                                  \
        return write_wrapped(&dw_packer_##inner_name, value, out, err);                                                \
    }                                                                                                                  \
    const struct dw_packer dw_packer_gzip_##inner_name = {.name = "gzip+" label,                                       \
                                                          .binary = true,                                              \
                                                          .inner = &dw_packer_##inner_name,                            \
                                                          .read = read_##inner_name,                                   \
                                                          .write = write_##inner_name}

GZIP_PACKER(edn, "edn");
GZIP_PACKER(json, "json");
GZIP_PACKER(transit, "transit");
GZIP_PACKER(transit_verbose, "transit-verbose");
GZIP_PACKER(msgpack, "msgpack");
