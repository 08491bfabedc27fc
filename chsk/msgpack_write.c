/* The MessagePack writer: the bytes of Sente's own packer (smallest integers, its extension types, its
 * key cache).  What that refuses to write is written as docs/values.md tells.
 *
 * A set's length stands before its members: room for the longest head is left, and closed up when the
 * set is complete. */
#include "chsk/msgpack.h"
#include "chsk/num.h"
#include "chsk/utf8.h"
#include "chsk/writer.h"

#include <stdlib.h>

enum { ARRAY, MAP, SET, TAGGED };
enum { LONGEST_HEAD = 6 }; /* c9, length in four bytes, type */

/* A key that was written. */
struct key {
    const struct dw_value *value;
    uint32_t hash;
};

struct msgpack {
    struct dw_writer writer;
    bool caching;
    size_t cached;
    struct key keys[DW_MSGPACK_CACHE];
    uint16_t slots[2 * DW_MSGPACK_CACHE]; /* key number plus one; 0: free */
};

static void put_number(struct dw_buf *out, unsigned char head, uint64_t number, size_t width)
{
    char bytes[9] = {(char)head};

    for (size_t i = 0; i < width; i++)
        bytes[1 + i] = (char)(number >> (8 * (width - 1 - i)));
    dw_put(out, bytes, 1 + width);
}

/* Non-negative integers are written unsigned up to 32 bits, and signed above, as Sente does. */
static void put_int(struct dw_buf *out, int64_t value)
{
    if (value >= -32 && value <= 127)
        dw_putc(out, (char)value);
    else if (value >= 0 && value <= UINT8_MAX)
        put_number(out, 0xcc, (uint64_t)value, 1);
    else if (value >= 0 && value <= UINT16_MAX)
        put_number(out, 0xcd, (uint64_t)value, 2);
    else if (value >= 0 && value <= UINT32_MAX)
        put_number(out, 0xce, (uint64_t)value, 4);
    else if (value >= INT8_MIN && value < 0)
        put_number(out, 0xd0, (uint64_t)value, 1);
    else if (value >= INT16_MIN && value < 0)
        put_number(out, 0xd1, (uint64_t)value, 2);
    else if (value >= INT32_MIN && value < 0)
        put_number(out, 0xd2, (uint64_t)value, 4);
    else
        put_number(out, 0xd3, (uint64_t)value, 8);
}

static void put_double(struct dw_buf *out, double value)
{
    uint64_t bits;

    memcpy(&bits, &value, sizeof bits);
    put_number(out, 0xcb, bits, 8);
}

static void put_float(struct dw_buf *out, double value)
{
    float narrow = (float)value;
    uint32_t bits;

    memcpy(&bits, &narrow, sizeof bits);
    put_number(out, 0xca, bits, 4);
}

static void put_string(struct dw_buf *out, const char *bytes, size_t len)
{
    if (len < 32)
        dw_putc(out, (char)(0xa0 | len));
    else if (len <= UINT8_MAX)
        put_number(out, 0xd9, len, 1);
    else if (len <= UINT16_MAX)
        put_number(out, 0xda, len, 2);
    else
        put_number(out, 0xdb, len, 4);
    dw_put_run(out, bytes, len);
}

static void put_bytes(struct dw_buf *out, const char *bytes, size_t len)
{
    if (len <= UINT8_MAX)
        put_number(out, 0xc4, len, 1);
    else if (len <= UINT16_MAX)
        put_number(out, 0xc5, len, 2);
    else
        put_number(out, 0xc6, len, 4);
    dw_put(out, bytes, len);
}

/* The head of an extension, into `head`; returns its length. */
static size_t extension_head(char head[LONGEST_HEAD], int type, size_t len)
{
    size_t width = len <= UINT8_MAX ? 1 : len <= UINT16_MAX ? 2 : 4, fixed = 0;

    while (fixed < 5 && len != (size_t)1 << fixed)
        fixed++;
    if (fixed < 5) {
        head[0] = (char)(0xd4 + fixed);
        head[1] = (char)type;
        return 2;
    }
    head[0] = (char)(width == 1 ? 0xc7 : width == 2 ? 0xc8 : 0xc9);
    for (size_t i = 0; i < width; i++)
        head[1 + i] = (char)(len >> (8 * (width - 1 - i)));
    head[1 + width] = (char)type;
    return 2 + width;
}

static void put_extension(struct dw_buf *out, int type, const char *bytes, size_t len)
{
    char head[LONGEST_HEAD];

    dw_put(out, head, extension_head(head, type, len));
    dw_put(out, bytes, len);
}

void dw_msgpack_put_array_header(struct dw_buf *out, size_t count)
{
    if (count < 16)
        dw_putc(out, (char)(0x90 | count));
    else
        put_number(out, count <= UINT16_MAX ? 0xdc : 0xdd, count, count <= UINT16_MAX ? 2 : 4);
}

static void put_map_header(struct dw_buf *out, size_t count)
{
    if (count < 16)
        dw_putc(out, (char)(0x80 | count));
    else
        put_number(out, count <= UINT16_MAX ? 0xde : 0xdf, count, count <= UINT16_MAX ? 2 : 4);
}

/* An integer of the tree as int64 or, beyond that, as the nearest double. */
static void put_integer(struct dw_buf *out, const struct dw_value *value)
{
    bool negative;
    int64_t small;

    if (value->type == DW_T_INT) {
        put_int(out, value->u.integer);
        return;
    }
    negative = value->u.text.bytes[0] == '-';
    if (dw_num_int64(value->u.text.bytes + negative, value->u.text.len - negative, negative, &small))
        put_int(out, small);
    else
        put_double(out, dw_num_real(value->u.text.bytes, value->u.text.len));
}

static double approximate(const struct dw_value *integer)
{
    if (integer->type == DW_T_INT)
        return (double)integer->u.integer;
    return dw_num_real(integer->u.text.bytes, integer->u.text.len);
}

static void put_ratio(struct msgpack *msgpack, const struct dw_value *value)
{
    const struct dw_value *above = value->u.pair.first, *below = value->u.pair.second;
    struct dw_buf *out = msgpack->writer.out, payload = DW_BUF_INIT;

    if (above->type != DW_T_INT || below->type != DW_T_INT) {
        put_double(out, approximate(above) / approximate(below));
        return;
    }
    put_int(&payload, above->u.integer);
    put_int(&payload, below->u.integer);
    if (dw_buf_failed(&payload))
        msgpack->writer.code = DW_NOMEM;
    else
        put_extension(out, DW_EXT_RATIO, payload.data, payload.len);
    dw_buf_fini(&payload);
}

/* Twelve bytes: nanoseconds, then seconds. */
static void put_inst(struct dw_buf *out, const struct dw_value *value)
{
    int64_t seconds = value->u.inst.ms / 1000, ms = value->u.inst.ms % 1000;
    uint64_t nanos;
    char payload[12];

    if (ms < 0) {
        ms += 1000;
        seconds--;
    }
    nanos = (uint64_t)ms * 1000000 + (uint64_t)value->u.inst.ns;
    for (int i = 0; i < 4; i++)
        payload[i] = (char)(nanos >> (24 - 8 * i));
    for (int i = 0; i < 8; i++)
        payload[4 + i] = (char)((uint64_t)seconds >> (56 - 8 * i));
    put_extension(out, DW_EXT_TIMESTAMP, payload, sizeof payload);
}

static void put_array(struct dw_buf *out, const struct dw_value *array)
{
    size_t width = array->u.array.kind == DW_EXT_DOUBLES ? 8 : 4;
    const char *elements = array->u.array.elements;
    char head[LONGEST_HEAD];

    dw_put(out, head, extension_head(head, array->u.array.kind, array->u.array.count * width));
    for (size_t i = 0; i < array->u.array.count; i++) {
        uint64_t whole = 0;
        uint32_t half;
        char bytes[8];

        if (width == 8) {
            memcpy(&whole, elements + i * width, width);
        } else {
            memcpy(&half, elements + i * width, width);
            whole = half;
        }
        for (size_t k = 0; k < width; k++)
            bytes[k] = (char)(whole >> (8 * (width - 1 - k)));
        dw_put(out, bytes, width);
    }
}

static void put_char(struct dw_buf *out, uint32_t codepoint)
{
    char raw[4];

    put_extension(out, DW_EXT_CHAR, raw, dw_utf8_encode(codepoint, raw));
}

static void put_scalar(struct msgpack *msgpack, const struct dw_value *value)
{
    struct dw_buf *out = msgpack->writer.out;

    switch (value->type) {
    case DW_T_NIL:
        dw_putc(out, (char)0xc0);
        break;
    case DW_T_BOOL:
        dw_putc(out, (char)(value->u.boolean ? 0xc3 : 0xc2));
        break;
    case DW_T_INT:
    case DW_T_BIGINT:
        put_integer(out, value);
        break;
    case DW_T_DOUBLE:
        put_double(out, value->u.real);
        break;
    case DW_T_FLOAT:
        put_float(out, value->u.real);
        break;
    case DW_T_DECIMAL:
        put_double(out, dw_num_real(value->u.text.bytes, value->u.text.len));
        break;
    case DW_T_RATIO:
        put_ratio(msgpack, value);
        break;
    case DW_T_CHAR:
        put_char(out, value->u.codepoint);
        break;
    case DW_T_KEYWORD:
        put_extension(out, DW_EXT_KEYWORD, value->u.text.bytes, value->u.text.len);
        break;
    case DW_T_SYMBOL:
        put_extension(out, DW_EXT_SYMBOL, value->u.text.bytes, value->u.text.len);
        break;
    case DW_T_INST:
        put_inst(out, value);
        break;
    case DW_T_UUID:
        put_extension(out, DW_EXT_UUID, value->u.text.bytes, value->u.text.len);
        break;
    case DW_T_BYTES:
        put_bytes(out, value->u.text.bytes, value->u.text.len);
        break;
    case DW_T_ARRAY:
        put_array(out, value);
        break;
    default: /* STRING URI */
        put_string(out, value->u.text.bytes, value->u.text.len);
        break;
    }
}

/* A client may choose the keys, so the hash starts from an address that it does not know. */
static uint32_t hash_key(const struct msgpack *msgpack, const struct dw_value *key)
{
    return dw_text_hash((uint64_t)(uintptr_t)msgpack ^ key->type, key->u.text.bytes, key->u.text.len);
}

/* Writes a key's number if it has one; otherwise gives it one while there are any, and is false. */
static bool put_cached(struct msgpack *msgpack, const struct dw_value *key)
{
    const size_t mask = 2 * DW_MSGPACK_CACHE - 1;
    uint32_t hash = hash_key(msgpack, key);
    size_t slot = hash & mask;

    for (; msgpack->slots[slot] != 0; slot = (slot + 1) & mask) {
        const struct key *old = &msgpack->keys[msgpack->slots[slot] - 1];

        if (old->hash == hash && dw_is_text(old->value, (enum dw_type)key->type, key->u.text.bytes, key->u.text.len)) {
            char number = (char)(msgpack->slots[slot] - 1);

            put_extension(msgpack->writer.out, DW_EXT_CACHED, &number, 1);
            return true;
        }
    }
    if (msgpack->cached < DW_MSGPACK_CACHE) {
        msgpack->keys[msgpack->cached] = (struct key){key, hash};
        msgpack->slots[slot] = (uint16_t)++msgpack->cached;
    }
    return false;
}

static bool is_cacheable(const struct dw_value *key)
{
    return key->type == DW_T_KEYWORD || key->type == DW_T_STRING;
}

/* The number in the tag of an extension value that is none of Sente's. */
static bool is_extension(const struct dw_value *value, int *type)
{
    const struct dw_value *tag = value->u.pair.first;
    size_t prefix = sizeof DW_MSGPACK_TAG - 1;
    int64_t number;
    bool negative;

    if (value->u.pair.second->type != DW_T_BYTES || tag->u.text.len <= prefix || tag->u.text.len > prefix + 4 ||
        memcmp(tag->u.text.bytes, DW_MSGPACK_TAG, prefix) != 0 ||
        !dw_num_is_integer(tag->u.text.bytes + prefix, tag->u.text.len - prefix))
        return false;
    negative = tag->u.text.bytes[prefix] == '-';
    if (!dw_num_int64(tag->u.text.bytes + prefix + negative, tag->u.text.len - prefix - negative, negative, &number) ||
        number < INT8_MIN || number > INT8_MAX)
        return false;
    *type = (int)number;
    return true;
}

/* A record (a class name before a map) is written as its map, as Sente does. */
static bool is_record(const struct dw_value *value)
{
    const struct dw_value *tag = value->u.pair.first;

    return value->u.pair.second->type == DW_T_MAP && memchr(tag->u.text.bytes, '.', tag->u.text.len) != NULL &&
           memchr(tag->u.text.bytes, '/', tag->u.text.len) == NULL;
}

static void write_key(struct msgpack *msgpack, const struct dw_value *key)
{
    if (!msgpack->caching || !put_cached(msgpack, key))
        put_scalar(msgpack, key);
}

/* {"tag" tag, "value" value}, up to the value. */
static void open_tagged(struct msgpack *msgpack, const struct dw_value *value)
{
    static const struct dw_value tag_key = {.type = DW_T_STRING, .u.text = {"tag", 3}};
    static const struct dw_value value_key = {.type = DW_T_STRING, .u.text = {"value", 5}};
    const struct dw_value *tag = value->u.pair.first;

    put_map_header(msgpack->writer.out, 2);
    write_key(msgpack, &tag_key);
    put_string(msgpack->writer.out, tag->u.text.bytes, tag->u.text.len);
    write_key(msgpack, &value_key);
    dw_writer_push(&msgpack->writer, value, TAGGED);
}

static void open_set(struct msgpack *msgpack, const struct dw_value *value)
{
    struct dw_writer *writer = &msgpack->writer;
    static const char room[LONGEST_HEAD];
    size_t at = writer->out->len;

    dw_put(writer->out, room, sizeof room);
    dw_msgpack_put_array_header(writer->out, value->u.seq.count);
    dw_writer_push(writer, value, SET);
    if (writer->code == 0)
        writer->open[writer->depth - 1].at = at;
}

static void close_set(struct dw_buf *out, size_t at)
{
    char head[LONGEST_HEAD];
    size_t len, head_len;

    if (dw_buf_failed(out))
        return;
    len = out->len - at - LONGEST_HEAD;
    head_len = extension_head(head, DW_EXT_SET, len);
    memcpy(out->data + at, head, head_len);
    memmove(out->data + at + head_len, out->data + at + LONGEST_HEAD, len);
    out->len = at + head_len + len;
    out->data[out->len] = '\0';
}

/* Writes a scalar whole, of a collection what comes before its children. */
static void write_value(struct msgpack *msgpack, const struct dw_value *value)
{
    int type;

    while (value->type == DW_T_TAGGED) {
        if (is_extension(value, &type)) {
            put_extension(msgpack->writer.out, type, value->u.pair.second->u.text.bytes,
                          value->u.pair.second->u.text.len);
            return;
        }
        if (!is_record(value)) {
            open_tagged(msgpack, value);
            return;
        }
        value = value->u.pair.second;
    }
    switch (value->type) {
    case DW_T_LIST:
    case DW_T_VECTOR:
        dw_msgpack_put_array_header(msgpack->writer.out, value->u.seq.count);
        dw_writer_push(&msgpack->writer, value, ARRAY);
        break;
    case DW_T_MAP:
        put_map_header(msgpack->writer.out, value->u.seq.count);
        dw_writer_push(&msgpack->writer, value, MAP);
        break;
    case DW_T_SET:
        open_set(msgpack, value);
        break;
    default:
        put_scalar(msgpack, value);
        break;
    }
}

/* Writes the next child of `top` or closes it. */
static void write_next(struct msgpack *msgpack, struct dw_open *top)
{
    const struct dw_value *child;

    if (top->state == TAGGED && top->next++ == 0) {
        write_value(msgpack, top->value->u.pair.second);
        return;
    }
    if (top->state == TAGGED || top->next == dw_writer_children(top->value)) {
        if (top->state == SET)
            close_set(msgpack->writer.out, top->at);
        msgpack->writer.depth--;
        return;
    }
    child = top->value->u.seq.items[top->next];
    if (top->state == MAP && top->next++ % 2 == 0 && is_cacheable(child))
        write_key(msgpack, child);
    else {
        top->next += top->state == MAP ? 0 : 1;
        write_value(msgpack, child);
    }
}

static int write_msgpack(const struct dw_value *value, struct dw_buf *out, struct dw_err *err, bool caching)
{
    struct msgpack msgpack;

    msgpack.caching = caching;
    msgpack.cached = 0;
    memset(msgpack.slots, 0, sizeof msgpack.slots);
    dw_writer_init(&msgpack.writer, out, err);
    write_value(&msgpack, value);
    while (msgpack.writer.depth != 0 && msgpack.writer.code == 0)
        write_next(&msgpack, &msgpack.writer.open[msgpack.writer.depth - 1]);
    return dw_writer_fini(&msgpack.writer);
}

int dw_msgpack_write(const struct dw_value *value, struct dw_buf *out, struct dw_err *err)
{
    return write_msgpack(value, out, err, true);
}

int dw_msgpack_write_part(const struct dw_value *value, struct dw_buf *out, struct dw_err *err)
{
    return write_msgpack(value, out, err, false);
}
