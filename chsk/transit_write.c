/* The transit writer: the same bytes as transit-java writes, which Sente's server sends.  Four forms:
 * with the string cache, without it (parts of a message that are joined later), and the same two in
 * verbose JSON, where only the quote around a bare scalar differs. */
#include "chsk/base64.h"
#include "chsk/inst.h"
#include "chsk/json.h"
#include "chsk/num.h"
#include "chsk/transit.h"
#include "chsk/transit_cache.h"
#include "chsk/utf8.h"
#include "chsk/writer.h"

#include <math.h>

static const int64_t json_safe = 9007199254740991; /* 2^53 - 1: what a JSON number can carry everywhere */

/* What closes an open collection (dw_open.state). */
enum { ARRAY, WRAPPED_ARRAY, MAP, CMAP, TAGGED };

struct transit {
    struct dw_writer writer;
    bool verbose;
    bool caching;
    struct dw_transit_cache cache;
};

static void put_code(struct dw_buf *out, size_t number)
{
    char code[3] = {'^'};
    size_t len = 1;

    if (number >= DW_TRANSIT_BASE)
        code[len++] = (char)(DW_TRANSIT_FIRST + number / DW_TRANSIT_BASE);
    code[len++] = (char)(DW_TRANSIT_FIRST + number % DW_TRANSIT_BASE);
    dw_put(out, code, len);
}

/* Replaces the string that was just written at `at` by its code if it was written before. */
static void replace_by_code(struct transit *transit, size_t at)
{
    struct dw_buf *out = transit->writer.out;
    size_t number;

    if (dw_buf_failed(out))
        return;
    if (dw_transit_cache_find(&transit->cache, out, at, out->len - at, &number)) {
        out->len = at;
        put_code(out, number);
    }
    if (transit->cache.failed && transit->writer.code == 0)
        transit->writer.code = DW_NOMEM;
}

/* As dw_transit_cacheable, for a string in two pieces: a key, keyword, symbol or tag of four UTF-16 units. */
static bool is_cacheable(const char *prefix, size_t prefix_len, const char *bytes, size_t len, bool as_key)
{
    size_t units = prefix_len;

    if (!as_key && (prefix_len != 2 || (prefix[1] != ':' && prefix[1] != '$' && prefix[1] != '#')))
        return false;
    for (size_t i = 0; i < len && units < 4; i++) {
        unsigned char c = (unsigned char)bytes[i];

        if ((c & 0xc0) != 0x80)
            units += c >= 0xf0 ? 2 : 1;
    }
    return units >= 4;
}

/* An encoded string: `prefix` ("~:", "~#", "~", ...) and text. */
static void put_prefixed(struct transit *transit, const char *prefix, size_t prefix_len, const char *bytes, size_t len,
                         bool as_key)
{
    struct dw_buf *out = transit->writer.out;
    size_t at;

    dw_putc(out, '"');
    at = out->len;
    if (prefix_len != 0)
        dw_put(out, prefix, prefix_len);
    dw_json_put_text(out, bytes, len, true);
    if (transit->caching && is_cacheable(prefix, prefix_len, bytes, len, as_key))
        replace_by_code(transit, at);
    dw_putc(out, '"');
}

/* With a literal as prefix. */
#define put_encoded(transit, prefix, bytes, len, as_key)                                                               \
    put_prefixed(transit, prefix, sizeof(prefix) - 1, bytes, len, as_key)
#define put_value(transit, prefix, value, as_key)                                                                      \
    put_encoded(transit, prefix, (value)->u.text.bytes, (value)->u.text.len, as_key)

static void put_string(struct transit *transit, const struct dw_value *value, bool as_key)
{
    char first = (char)(value->u.text.len != 0 ? value->u.text.bytes[0] : '\0');

    if (first == '~' || first == '^' || first == '`')
        put_value(transit, "~", value, as_key);
    else
        put_value(transit, "", value, as_key);
}

static void put_int(struct transit *transit, int64_t value, bool as_key)
{
    char text[DW_NUM_MAX];
    size_t len = dw_num_print_int(value, text);

    if (as_key || value > json_safe || value < -json_safe)
        put_encoded(transit, "~i", text, len, as_key);
    else
        dw_put(transit->writer.out, text, len);
}

static void put_real(struct transit *transit, const struct dw_value *value, bool as_key)
{
    char text[DW_NUM_MAX];
    size_t len;

    if (isnan(value->u.real)) {
        put_encoded(transit, "~z", "NaN", 3, as_key);
    } else if (isinf(value->u.real)) {
        put_encoded(transit, "~z", value->u.real > 0 ? "INF" : "-INF", value->u.real > 0 ? 3 : 4, as_key);
    } else {
        len = value->type == DW_T_FLOAT ? dw_num_print_float(value->u.real, text)
                                        : dw_num_print_double(value->u.real, text);
        if (as_key)
            put_encoded(transit, "~d", text, len, true);
        else
            dw_put(transit->writer.out, text, len);
    }
}

/* Transit's instants have milliseconds. */
static void put_inst(struct transit *transit, const struct dw_value *value, bool as_key)
{
    char text[DW_INST_MAX], number[DW_NUM_MAX];

    if (transit->verbose)
        put_encoded(transit, "~t", text, dw_inst_print(value->u.inst.ms, 0, "Z", text), as_key);
    else
        put_encoded(transit, "~m", number, dw_num_print_int(value->u.inst.ms, number), as_key);
}

static void put_char(struct transit *transit, uint32_t codepoint, bool as_key)
{
    char raw[4];

    put_encoded(transit, "~c", raw, dw_utf8_encode(codepoint, raw), as_key);
}

static void put_bytes(struct transit *transit, const struct dw_value *value, bool as_key)
{
    struct dw_buf text = DW_BUF_INIT;

    dw_base64_put(&text, value->u.text.bytes, value->u.text.len);
    if (dw_buf_failed(&text))
        transit->writer.code = DW_NOMEM;
    else
        put_encoded(transit, "~b", dw_buf_str(&text), text.len, as_key);
    dw_buf_fini(&text);
}

/* transit-java writes a Java array of numbers as a plain array. */
static void put_array(struct transit *transit, const struct dw_value *array)
{
    static const char *const odd[3] = {"\"~zNaN\"", "\"~zINF\"", "\"~z-INF\""};

    dw_putc(transit->writer.out, '[');
    for (size_t i = 0; i < array->u.array.count; i++) {
        if (i != 0)
            dw_putc(transit->writer.out, ',');
        dw_put_element(transit->writer.out, array, i, odd);
    }
    dw_putc(transit->writer.out, ']');
}

/* True for the tags that transit gives a meaning of its own: around anything but what transit means
 * by them they could not be read, so such a value is written as a map. */
static bool is_reserved(const struct dw_value *tag)
{
    static const char *const words[] = {"list", "set", "cmap", "ratio"};

    if (tag->u.text.len == 1)
        return tag->u.text.bytes[0] != '\0' && strchr(":$indftmubzcr_?'", tag->u.text.bytes[0]) != NULL;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (tag->u.text.len == strlen(words[i]) && memcmp(tag->u.text.bytes, words[i], tag->u.text.len) == 0)
            return true;
    return false;
}

/* A tagged value that fits into a string, "~Xtext": a tag of one character around a string. */
static bool is_short_tagged(const struct dw_value *value)
{
    const struct dw_value *tag = value->u.pair.first;

    return value->type == DW_T_TAGGED && tag->u.text.len == 1 && value->u.pair.second->type == DW_T_STRING &&
           (unsigned char)tag->u.text.bytes[0] < 0x80 && memchr("~^`#", tag->u.text.bytes[0], 4) == NULL &&
           (tag->u.text.bytes[0] == '\'' || !is_reserved(tag));
}

static void put_short_tagged(struct transit *transit, const struct dw_value *value, bool as_key)
{
    const struct dw_value *tag = value->u.pair.first, *text = value->u.pair.second;
    struct dw_buf whole = DW_BUF_INIT;

    dw_put_text(&whole, tag);
    dw_put_text(&whole, text);
    if (dw_buf_failed(&whole))
        transit->writer.code = DW_NOMEM;
    else
        put_encoded(transit, "~", dw_buf_str(&whole), whole.len, as_key);
    dw_buf_fini(&whole);
}

/* True for what is written as one string or number, so that it can be a map's key. */
static inline bool is_scalar(const struct dw_value *value)
{
    static const uint32_t composite = 1U << DW_T_RATIO | 1U << DW_T_LIST | 1U << DW_T_VECTOR | 1U << DW_T_MAP |
                                      1U << DW_T_SET | 1U << DW_T_ARRAY | 1U << DW_T_TAGGED;

    return (composite >> value->type & 1) == 0 || is_short_tagged(value);
}

static void put_scalar(struct transit *transit, const struct dw_value *value, bool as_key)
{
    struct dw_buf *out = transit->writer.out;

    switch (value->type) {
    case DW_T_NIL:
        if (as_key)
            dw_put_literal(out, "\"~_\"");
        else
            dw_put_literal(out, "null");
        break;
    case DW_T_BOOL:
        if (as_key)
            put_encoded(transit, "~?", value->u.boolean ? "t" : "f", 1, true);
        else
            dw_put(out, value->u.boolean ? "true" : "false", value->u.boolean ? 4 : 5);
        break;
    case DW_T_INT:
        put_int(transit, value->u.integer, as_key);
        break;
    case DW_T_BIGINT:
        put_value(transit, "~n", value, as_key);
        break;
    case DW_T_DOUBLE:
    case DW_T_FLOAT:
        put_real(transit, value, as_key);
        break;
    case DW_T_DECIMAL:
        put_value(transit, "~f", value, as_key);
        break;
    case DW_T_CHAR:
        put_char(transit, value->u.codepoint, as_key);
        break;
    case DW_T_STRING:
        put_string(transit, value, as_key);
        break;
    case DW_T_KEYWORD:
        put_value(transit, "~:", value, as_key);
        break;
    case DW_T_SYMBOL:
        put_value(transit, "~$", value, as_key);
        break;
    case DW_T_INST:
        put_inst(transit, value, as_key);
        break;
    case DW_T_UUID:
        put_value(transit, "~u", value, as_key);
        break;
    case DW_T_URI:
        put_value(transit, "~r", value, as_key);
        break;
    case DW_T_BYTES:
        put_bytes(transit, value, as_key);
        break;
    default: /* DW_T_TAGGED, short */
        put_short_tagged(transit, value, as_key);
        break;
    }
}

/* ["~#tag",  or  {"~#tag": */
static void open_tagged(struct transit *transit, const char *tag, size_t len)
{
    dw_putc(transit->writer.out, transit->verbose ? '{' : '[');
    put_encoded(transit, "~#", tag, len, transit->verbose);
    dw_putc(transit->writer.out, transit->verbose ? ':' : ',');
}

/* ["^ ","tag","list","value",  or  {"tag":"list","value": */
static void open_reserved(struct transit *transit, const struct dw_value *tag)
{
    struct dw_buf *out = transit->writer.out;
    char between = transit->verbose ? ':' : ',';

    if (transit->verbose)
        dw_put_literal(out, "{\"tag\":");
    else
        dw_put_literal(out, "[\"^ \",\"tag\",");
    put_value(transit, "", tag, false);
    dw_putc(out, ',');
    put_encoded(transit, "", "value", 5, true);
    dw_putc(out, between);
}

static void close_tagged(struct transit *transit)
{
    dw_putc(transit->writer.out, transit->verbose ? '}' : ']');
}

static void put_ratio(struct transit *transit, const struct dw_value *value)
{
    struct dw_buf *out = transit->writer.out;

    open_tagged(transit, "ratio", 5);
    dw_put_literal(out, "[\"~n");
    dw_put_integer(out, value->u.pair.first);
    dw_put_literal(out, "\",\"~n");
    dw_put_integer(out, value->u.pair.second);
    dw_put_literal(out, "\"]");
    close_tagged(transit);
}

static bool has_scalar_keys(const struct dw_value *map)
{
    for (size_t i = 0; i < map->u.seq.count; i++)
        if (!is_scalar(map->u.seq.items[2 * i]))
            return false;
    return true;
}

static void open_map(struct transit *transit, const struct dw_value *value)
{
    uint8_t state = MAP;

    if (!has_scalar_keys(value)) {
        open_tagged(transit, "cmap", 4);
        dw_putc(transit->writer.out, '[');
        state = CMAP;
    } else if (transit->verbose) {
        dw_putc(transit->writer.out, '{');
    } else {
        dw_put_literal(transit->writer.out, "[\"^ \"");
    }
    dw_writer_push(&transit->writer, value, state);
}

/* Writes a scalar whole, of a collection what comes before its children. */
static void write_value(struct transit *transit, const struct dw_value *value, bool as_key)
{
    if (is_scalar(value)) {
        put_scalar(transit, value, as_key);
        return;
    }
    switch (value->type) {
    case DW_T_VECTOR:
        dw_putc(transit->writer.out, '[');
        dw_writer_push(&transit->writer, value, ARRAY);
        break;
    case DW_T_LIST:
    case DW_T_SET:
        open_tagged(transit, value->type == DW_T_LIST ? "list" : "set", value->type == DW_T_LIST ? 4 : 3);
        dw_putc(transit->writer.out, '[');
        dw_writer_push(&transit->writer, value, WRAPPED_ARRAY);
        break;
    case DW_T_MAP:
        open_map(transit, value);
        break;
    case DW_T_TAGGED:
        if (is_reserved(value->u.pair.first))
            open_reserved(transit, value->u.pair.first);
        else
            open_tagged(transit, value->u.pair.first->u.text.bytes, value->u.pair.first->u.text.len);
        dw_writer_push(&transit->writer, value, TAGGED);
        break;
    case DW_T_RATIO:
        put_ratio(transit, value);
        break;
    default: /* DW_T_ARRAY */
        put_array(transit, value);
        break;
    }
}

/* True while `top` has another child; writes the child's beginning. */
static bool write_child(struct transit *transit, struct dw_open *top)
{
    struct dw_buf *out = transit->writer.out;
    bool as_key = top->state == MAP && top->next % 2 == 0;

    if (top->state == TAGGED) {
        if (top->next++ != 0)
            return false;
        write_value(transit, top->value->u.pair.second, false);
        return true;
    }
    if (top->next == dw_writer_children(top->value))
        return false;
    if (top->state == MAP && transit->verbose && !as_key)
        dw_putc(out, ':');
    else if (top->next != 0 || (top->state == MAP && !transit->verbose))
        dw_putc(out, ',');
    write_value(transit, top->value->u.seq.items[top->next++], as_key);
    return true;
}

static void close_collection(struct transit *transit, uint8_t state)
{
    struct dw_buf *out = transit->writer.out;

    switch (state) {
    case MAP:
        dw_putc(out, transit->verbose ? '}' : ']');
        break;
    case TAGGED:
        close_tagged(transit);
        break;
    case ARRAY:
        dw_putc(out, ']');
        break;
    default:
        dw_putc(out, ']');
        close_tagged(transit);
        break;
    }
}

static int write_transit(const struct dw_value *value, struct dw_buf *out, struct dw_err *err, bool verbose, bool whole)
{
    struct transit transit = {.verbose = verbose, .caching = whole && !verbose};
    bool quoted = whole && is_scalar(value); /* a bare scalar is no JSON text of its own: ["~#'",1] */

    dw_writer_init(&transit.writer, out, err);
    dw_transit_cache_init(&transit.cache);
    if (quoted)
        open_tagged(&transit, "'", 1);
    write_value(&transit, value, false);
    while (transit.writer.depth != 0 && transit.writer.code == 0) {
        struct dw_open *top = &transit.writer.open[transit.writer.depth - 1];
        uint8_t state = top->state;

        if (write_child(&transit, top))
            continue;
        close_collection(&transit, state);
        transit.writer.depth--;
    }
    if (quoted)
        close_tagged(&transit);
    dw_transit_cache_fini(&transit.cache);
    return dw_writer_fini(&transit.writer);
}

int dw_transit_write(const struct dw_value *value, struct dw_buf *out, struct dw_err *err)
{
    return write_transit(value, out, err, false, true);
}

int dw_transit_write_part(const struct dw_value *value, struct dw_buf *out, struct dw_err *err)
{
    return write_transit(value, out, err, false, false);
}

int dw_transit_write_verbose(const struct dw_value *value, struct dw_buf *out, struct dw_err *err)
{
    return write_transit(value, out, err, true, true);
}

int dw_transit_write_verbose_part(const struct dw_value *value, struct dw_buf *out, struct dw_err *err)
{
    return write_transit(value, out, err, true, false);
}
