/* Sente's MessagePack extension types, to values of the tree.  An extension whose payload is not what
 * Sente puts there is kept as bytes under the tag msgpack/extN, and written back the same. */
#include "chsk/msgpack.h"
#include "chsk/num.h"
#include "chsk/utf8.h"
#include "chsk/uuid.h"

static const struct dw_value *checked(struct dw_reader *reader, const struct dw_value *value)
{
    if (value == NULL)
        (void)dw_reader_short(reader);
    return value;
}

static const struct dw_value *opaque(struct dw_reader *reader, int type, const char *bytes, size_t len)
{
    char number[DW_NUM_MAX], tag[sizeof DW_MSGPACK_TAG + DW_NUM_MAX] = DW_MSGPACK_TAG;
    size_t number_len = dw_num_print_int(type, number), tag_len = sizeof DW_MSGPACK_TAG - 1 + number_len;

    memcpy(tag + sizeof DW_MSGPACK_TAG - 1, number, number_len);
    return checked(reader, dw_pair(reader->arena, DW_T_TAGGED, dw_text(reader->arena, DW_T_SYMBOL, tag, tag_len),
                                   dw_text(reader->arena, DW_T_BYTES, bytes, len)));
}

static bool valid_text(struct dw_reader *reader, const char *bytes, size_t len)
{
    if (dw_utf8_valid(bytes, len) == len)
        return true;
    (void)dw_reader_bad_at(reader, (size_t)(bytes - reader->start), "invalid UTF-8");
    return false;
}

static const struct dw_value *name(struct dw_reader *reader, int type, const char *bytes, size_t len)
{
    if (!valid_text(reader, bytes, len))
        return NULL;
    return checked(reader, dw_text(reader->arena, type == DW_EXT_KEYWORD ? DW_T_KEYWORD : DW_T_SYMBOL, bytes, len));
}

static const struct dw_value *character(struct dw_reader *reader, const char *bytes, size_t len)
{
    size_t width = 0;
    uint32_t codepoint = 0;

    if (!valid_text(reader, bytes, len))
        return NULL;
    if (len != 0)
        codepoint = dw_utf8_decode(bytes, &width);
    if (len == 0 || width != len)
        return opaque(reader, DW_EXT_CHAR, bytes, len);
    return checked(reader, dw_char(reader->arena, codepoint));
}

size_t dw_msgpack_integer(const char *bytes, size_t len, int64_t *out)
{
    unsigned char head = len != 0 ? (unsigned char)bytes[0] : 0xc1;
    size_t width;
    uint64_t raw;

    if (head < 0x80 || head >= 0xe0) {
        *out = (int8_t)head; /* NOLINT(bugprone-signed-char-misuse,cert-str34-c): a negative fixint */
        return 1;
    }
    if (head < 0xcc || head > 0xd3)
        return 0;
    width = (size_t)1 << (head & 3);
    if (len < 1 + width)
        return 0;
    raw = dw_msgpack_load(bytes + 1, width);
    if (head < 0xd0) {
        if (raw > INT64_MAX)
            return 0;
        *out = (int64_t)raw;
    } else {
        unsigned shift = (unsigned)(64 - 8 * width);

        *out = (int64_t)(raw << shift) >> shift; /* extends the sign */
    }
    return 1 + width;
}

static const struct dw_value *ratio(struct dw_reader *reader, const char *bytes, size_t len)
{
    int64_t above = 0, below = 0;
    size_t first = dw_msgpack_integer(bytes, len, &above), second = 0;

    if (first != 0)
        second = dw_msgpack_integer(bytes + first, len - first, &below);
    if (second == 0 || first + second != len || below <= 0)
        return opaque(reader, DW_EXT_RATIO, bytes, len);
    return checked(reader, dw_num_ratio(reader->arena, dw_int(reader->arena, above), dw_int(reader->arena, below)));
}

static const struct dw_value *array(struct dw_reader *reader, int type, const char *bytes, size_t len)
{
    size_t width = type == DW_EXT_DOUBLES ? 8 : 4;
    struct dw_value *value;
    char *elements;

    if (len % width != 0)
        return opaque(reader, type, bytes, len);
    value = dw_arena_take(reader->arena, sizeof *value + len);
    if (value == NULL)
        return checked(reader, NULL);
    elements = (char *)(value + 1);
    for (size_t i = 0; i < len; i += width) {
        uint64_t raw = dw_msgpack_load(bytes + i, width);
        uint32_t half = (uint32_t)raw;

        memcpy(elements + i, width == 8 ? (const void *)&raw : (const void *)&half, width);
    }
    value->type = DW_T_ARRAY;
    value->u.array.kind = (uint8_t)type;
    value->u.array.count = (uint32_t)(len / width); /* `len` has 32 bits */
    value->u.array.elements = elements;
    return value;
}

static const struct dw_value *uuid(struct dw_reader *reader, const char *bytes, size_t len)
{
    char lower[36];

    if (!dw_uuid_canonical(bytes, len, lower))
        return opaque(reader, DW_EXT_UUID, bytes, len);
    return checked(reader, dw_text(reader->arena, DW_T_UUID, lower, sizeof lower));
}

/* The specification's three forms: seconds in 32 bits; 30 bits of nanoseconds and 34 of seconds;
 * nanoseconds in 32 bits and signed seconds in 64. */
static const struct dw_value *timestamp(struct dw_reader *reader, const char *bytes, size_t len)
{
    uint64_t nanos = 0;
    int64_t seconds, ms;

    if (len == 4) {
        seconds = (int64_t)dw_msgpack_load(bytes, 4);
    } else if (len == 8) {
        uint64_t both = dw_msgpack_load(bytes, 8);

        nanos = both >> 34;
        seconds = (int64_t)(both & 0x3ffffffffU);
    } else if (len == 12) {
        nanos = dw_msgpack_load(bytes, 4);
        seconds = (int64_t)dw_msgpack_load(bytes + 4, 8);
    } else {
        return opaque(reader, DW_EXT_TIMESTAMP, bytes, len);
    }
    if (nanos > 999999999 || __builtin_mul_overflow(seconds, 1000, &ms) ||
        __builtin_add_overflow(ms, (int64_t)(nanos / 1000000), &ms)) {
        (void)dw_reader_bad_at(reader, (size_t)(bytes - reader->start), "timestamp out of range");
        return NULL;
    }
    return checked(reader, dw_inst(reader->arena, ms, (int32_t)(nanos % 1000000)));
}

const struct dw_value *dw_msgpack_extension(struct dw_reader *reader, int type, const char *bytes, size_t len)
{
    switch (type) {
    case DW_EXT_KEYWORD:
    case DW_EXT_SYMBOL:
        return name(reader, type, bytes, len);
    case DW_EXT_CHAR:
        return character(reader, bytes, len);
    case DW_EXT_RATIO:
        return ratio(reader, bytes, len);
    case DW_EXT_INTS:
    case DW_EXT_FLOATS:
    case DW_EXT_DOUBLES:
        return array(reader, type, bytes, len);
    case DW_EXT_UUID:
        return uuid(reader, bytes, len);
    case DW_EXT_TIMESTAMP:
        return timestamp(reader, bytes, len);
    default:
        return opaque(reader, type, bytes, len);
    }
}
