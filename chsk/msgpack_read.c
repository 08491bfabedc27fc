/* The MessagePack reader: heads, collections, sets and the key cache.  Other extension types are in
 * msgpack_ext.c.
 *
 * Collections say in advance how many values they have: a frame counts down what is still to come.  A
 * set's payload has an end of its own besides, which nothing within it may cross. */
#include "chsk/msgpack.h"
#include "chsk/num.h"
#include "chsk/utf8.h"

enum { IN_ARRAY, IN_MAP, IN_SET };

struct msgpack {
    struct dw_reader reader;
    size_t cached;
    bool from_cache; /* the value just read is a cached key */
    const struct dw_value *cache[DW_MSGPACK_CACHE];
};

static const struct dw_value *checked(struct dw_reader *reader, const struct dw_value *value)
{
    if (value == NULL)
        (void)dw_reader_short(reader);
    return value;
}

/* Takes `len` bytes; NULL (and latched) when they are not there. */
static const char *take(struct dw_reader *reader, size_t len)
{
    const char *bytes = reader->p;

    if ((size_t)(reader->end - reader->p) < len) {
        (void)dw_reader_bad(reader, "unfinished value");
        return NULL;
    }
    reader->p += len;
    return bytes;
}

static bool take_number(struct dw_reader *reader, size_t width, uint64_t *number)
{
    const char *bytes = take(reader, width);

    if (bytes == NULL)
        return false;
    *number = dw_msgpack_load(bytes, width);
    return true;
}

__attribute__((always_inline)) static inline const struct dw_value *text(struct dw_reader *reader, enum dw_type type,
                                                                         size_t len)
{
    const char *bytes = take(reader, len);

    if (bytes == NULL)
        return NULL;
    if (type == DW_T_STRING && !dw_utf8_is_short_ascii(bytes, len) && dw_utf8_valid(bytes, len) != len) {
        (void)dw_reader_bad_at(reader, (size_t)(bytes - reader->start), "invalid UTF-8 in the text");
        return NULL;
    }
    return checked(reader, dw_text_made(reader->arena, type, bytes, len));
}

/* Opens a collection of `count` values (for a map: twice its entries). */
static struct dw_frame *open_frame(struct dw_reader *reader, uint8_t kind, uint64_t count)
{
    struct dw_frame *frame;

    if (count > (uint64_t)(reader->end - reader->p)) { /* a value takes a byte at least */
        (void)dw_reader_bad(reader, "collection without all its values");
        return NULL;
    }
    frame = dw_reader_open(reader, kind, dw_reader_offset(reader));
    if (frame != NULL)
        frame->left = count;
    return frame;
}

/* The number of elements in the array head at reader->p; false where there is none. */
static bool array_head(struct dw_reader *reader, uint64_t *count)
{
    unsigned char head = reader->p < reader->end ? (unsigned char)*reader->p : 0xc1;

    if ((head & 0xf0) == 0x90)
        *count = head & 0x0f;
    else if (head != 0xdc && head != 0xdd)
        return false;
    reader->p++;
    return (head & 0xf0) == 0x90 || take_number(reader, head == 0xdc ? 2 : 4, count);
}

/* A set: its members are read up to the payload's end. */
static const struct dw_value *open_set(struct dw_reader *reader, size_t len)
{
    const char *outer_end = reader->end;
    const char *start = reader->p;
    struct dw_frame *frame;
    uint64_t count;

    reader->end = start + len;
    if (!array_head(reader, &count)) {
        reader->end = outer_end;
        reader->p = start + len;
        return reader->code != 0 ? NULL : dw_msgpack_extension(reader, DW_EXT_SET, start, len);
    }
    frame = open_frame(reader, IN_SET, count);
    if (frame != NULL)
        frame->outer_end = outer_end;
    return NULL;
}

static const struct dw_value *cached_key(struct msgpack *msgpack, const char *bytes, size_t len, bool as_key)
{
    if (len != 1 || !as_key || (unsigned char)bytes[0] >= msgpack->cached) {
        (void)dw_reader_bad(&msgpack->reader, as_key ? "cached key for nothing" : "cached key outside a map");
        return NULL;
    }
    msgpack->from_cache = true;
    return msgpack->cache[(unsigned char)bytes[0]];
}

static const struct dw_value *extension(struct msgpack *msgpack, size_t len, bool as_key)
{
    struct dw_reader *reader = &msgpack->reader;
    const char *bytes = take(reader, 1);
    int type;

    if (bytes == NULL)
        return NULL;
    type = (int8_t)*bytes; /* NOLINT(bugprone-signed-char-misuse,cert-str34-c): types are signed */
    bytes = take(reader, len);
    if (bytes == NULL)
        return NULL;
    if (type == DW_EXT_CACHED)
        return cached_key(msgpack, bytes, len, as_key);
    if (type != DW_EXT_SET)
        return dw_msgpack_extension(reader, type, bytes, len);
    reader->p = bytes;
    return open_set(reader, len);
}

static const struct dw_value *unsigned_integer(struct dw_reader *reader, uint64_t number)
{
    char digits[20];
    size_t at = sizeof digits;

    if (number <= INT64_MAX)
        return checked(reader, dw_int_made(reader->arena, (int64_t)number));
    for (; number != 0; number /= 10)
        digits[--at] = (char)('0' + number % 10);
    return checked(reader, dw_text(reader->arena, DW_T_BIGINT, digits + at, sizeof digits - at));
}

static const struct dw_value *real(struct dw_reader *reader, uint64_t bits, bool single)
{
    uint32_t half = (uint32_t)bits;
    double value;
    float narrow;

    if (!single) {
        memcpy(&value, &bits, sizeof value);
        return checked(reader, dw_double(reader->arena, value));
    }
    memcpy(&narrow, &half, sizeof narrow);
    return checked(reader, dw_float(reader->arena, (double)narrow));
}

/* Heads 0xc4 .. 0xdf that begin with a number of fixed width: a length, a count or the value. */
static const struct dw_value *numbered(struct msgpack *msgpack, unsigned char head, bool as_key)
{
    static const uint8_t widths[] = {1, 2, 4, 1, 2, 4, 4, 8, 1, 2, 4, 8, 1, 2,
                                     4, 8, 0, 0, 0, 0, 0, 1, 2, 4, 2, 4, 2, 4};
    struct dw_reader *reader = &msgpack->reader;
    size_t width = widths[head - 0xc4];
    uint64_t number = 0;
    unsigned shift = (unsigned)(64 - 8 * width) & 63;

    if (!take_number(reader, width, &number))
        return NULL;
    if (head <= 0xc6)
        return text(reader, DW_T_BYTES, number);
    if (head <= 0xc9)
        return extension(msgpack, number, as_key);
    if (head <= 0xcb)
        return real(reader, number, head == 0xca);
    if (head <= 0xcf)
        return unsigned_integer(reader, number);
    if (head <= 0xd3) /* extends the sign */
        return checked(reader, dw_int(reader->arena, (int64_t)(number << shift) >> shift));
    if (head <= 0xd8)
        return extension(msgpack, (size_t)1 << (head - 0xd4), as_key);
    if (head <= 0xdb)
        return text(reader, DW_T_STRING, number);
    (void)open_frame(reader, head <= 0xdd ? IN_ARRAY : IN_MAP, head <= 0xdd ? number : 2 * number);
    return NULL;
}

/* A scalar, or NULL after opening a collection. */
static const struct dw_value *read_head(struct msgpack *msgpack, bool as_key)
{
    struct dw_reader *reader = &msgpack->reader;
    const char *bytes = take(reader, 1);
    unsigned char head;

    if (bytes == NULL || !dw_reader_spend(reader))
        return NULL;
    head = (unsigned char)*bytes;
    if ((head & 0xe0) == 0xa0)
        return text(reader, DW_T_STRING, head & 0x1fU);
    if (head < 0x80 || head >= 0xe0)
        return checked(reader, dw_int_made(reader->arena, (int8_t)head));
    if (head < 0x90) {
        (void)open_frame(reader, IN_MAP, (uint64_t)2 * (head & 0x0fU));
        return NULL;
    }
    if (head < 0xa0) {
        (void)open_frame(reader, IN_ARRAY, head & 0x0fU);
        return NULL;
    }
    if (head == 0xc0)
        return dw_nil();
    if (head == 0xc2 || head == 0xc3)
        return dw_bool(head == 0xc3);
    if (head >= 0xc4)
        return numbered(msgpack, head, as_key);
    (void)dw_reader_bad_at(reader, dw_reader_offset(reader) - 1, "a byte that begins no value");
    return NULL;
}

static const struct dw_value *close_collection(struct dw_reader *reader, const struct dw_frame *top)
{
    if (top->kind == IN_ARRAY)
        return dw_reader_close(reader, DW_T_VECTOR, DW_DUP_KEEP);
    if (top->kind == IN_MAP)
        return dw_reader_close(reader, DW_T_MAP, DW_DUP_LAST);
    if (reader->p != reader->end) {
        (void)dw_reader_bad(reader, "something behind a set's members");
        return NULL;
    }
    reader->end = top->outer_end;
    return dw_reader_close(reader, DW_T_SET, DW_DUP_LAST);
}

/* Reads values for the innermost collection up to its end or to where another one begins. */
static void read_values(struct msgpack *msgpack, struct dw_frame *top)
{
    struct dw_reader *reader = &msgpack->reader;
    bool map = top->kind == IN_MAP;

    while (top->left != 0) {
        bool as_key = map && top->left % 2 == 0;
        const struct dw_value *value;

        msgpack->from_cache = false;
        value = read_head(msgpack, as_key);
        if (value == NULL) /* an opened collection, which may have moved `top`, or a failure */
            return;
        if (as_key && (value->type == DW_T_KEYWORD || value->type == DW_T_STRING) &&
            msgpack->cached < DW_MSGPACK_CACHE && !msgpack->from_cache)
            msgpack->cache[msgpack->cached++] = value;
        if (!dw_reader_push(reader, value))
            return;
        top->left--;
    }
}

static void read_value(struct msgpack *msgpack, const struct dw_value **out)
{
    struct dw_reader *reader = &msgpack->reader;
    const struct dw_value *value = read_head(msgpack, false);

    while (reader->code == 0) {
        struct dw_frame *top = dw_reader_top(reader);

        if (value != NULL && top == NULL) {
            *out = value;
            return;
        }
        if (value != NULL && dw_reader_push(reader, value))
            top->left--;
        value = NULL;
        if (top->left == 0)
            value = close_collection(reader, top);
        else
            read_values(msgpack, top);
    }
}

int dw_msgpack_read(const char *bytes, size_t len, const struct dw_limits *limits, struct dw_arena *arena,
                    const struct dw_value **out, size_t *rest, struct dw_err *err)
{
    struct msgpack msgpack; /* entries of the cache from `cached` on are never looked at */
    struct dw_reader *reader = &msgpack.reader;

    msgpack.cached = 0;
    if (dw_reader_init(reader, bytes, len, limits, arena, err) == 0)
        read_value(&msgpack, out);
    if (reader->code == 0 && rest == NULL && reader->p != reader->end)
        (void)dw_reader_bad(reader, "something behind the value");
    if (reader->code == 0 && rest != NULL)
        *rest = dw_reader_offset(reader);
    dw_reader_fini(reader);
    return reader->code;
}
