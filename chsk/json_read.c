/* The JSON reader (RFC 8259, strict).  Object keys become strings, or keywords where they can be: the
 * latter is what an app's JSON means for clients that speak edn, transit or msgpack. */
#include "chsk/edn.h"
#include "chsk/json.h"
#include "chsk/utf8.h"

enum { IN_ARRAY, IN_OBJECT };
/* How to read: keys become keywords where they can; an object that has a key twice is refused. */
enum { KEYWORDS = 1, UNIQUE = 2 };
/* What may come next inside a bracket. */
enum { FIRST, NEXT, MORE };

/* A space that Java or JavaScript may take for a separator. */
static bool is_wide_space(uint32_t codepoint)
{
    return codepoint == 0x85 || codepoint == 0xa0 || codepoint == 0x1680 ||
           (codepoint >= 0x2000 && codepoint <= 0x200f) || (codepoint >= 0x2028 && codepoint <= 0x202f) ||
           codepoint == 0x205f || codepoint == 0x3000 || codepoint == 0xfeff;
}

/* True for a key whose keyword every edn reader reads back: no space, bracket, quote or reader macro
 * in it, and slash and colons where a keyword may have them. */
static bool can_be_keyword(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        size_t width;

        if ((dw_edn_class[(unsigned char)text[i]] & DW_EDN_ENDS_TOKEN) != 0 || memchr("@`~", text[i], 3) != NULL)
            return false;
        if ((unsigned char)text[i] >= 0xc2 && is_wide_space(dw_utf8_decode(text + i, &width)))
            return false;
    }
    if (!dw_edn_is_name(text, len, true))
        return false;
    /* two slashes are read in two ways (which one ends the namespace?) */
    return memchr(text, '/', len) == memrchr(text, '/', len);
}

static const struct dw_value *text_value(struct dw_reader *reader, const struct dw_json_text *text, bool keyword)
{
    const struct dw_value *value;

    if (text->value != NULL) {
        text->value->type = (uint8_t)(keyword ? DW_T_KEYWORD : DW_T_STRING);
        return text->value;
    }
    value = dw_text(reader->arena, keyword ? DW_T_KEYWORD : DW_T_STRING, text->bytes, text->len);
    if (value == NULL)
        (void)dw_reader_short(reader);
    return value;
}

/* A key and its colon. */
static void read_key(struct dw_reader *reader, bool keywords)
{
    struct dw_json_text text;
    const struct dw_value *key;

    if (!dw_reader_spend(reader) || !dw_json_string(reader, &text))
        return;
    key = text_value(reader, &text, keywords && can_be_keyword(text.bytes, text.len));
    if (key == NULL || !dw_reader_push(reader, key))
        return;
    dw_json_skip_space(reader);
    if (reader->p == reader->end || *reader->p != ':') {
        (void)dw_reader_bad(reader, "a colon is missing behind a key");
        return;
    }
    reader->p++;
    dw_json_skip_space(reader);
    if (reader->p == reader->end)
        (void)dw_reader_bad(reader, "a value is missing behind a key");
}

static const struct dw_value *read_scalar(struct dw_reader *reader)
{
    struct dw_json_text text;

    if (!dw_reader_spend(reader))
        return NULL;
    if (*reader->p == '"')
        return dw_json_string(reader, &text) ? text_value(reader, &text, false) : NULL;
    if (*reader->p == '-' || (*reader->p >= '0' && *reader->p <= '9'))
        return dw_json_number(reader);
    return dw_json_word(reader);
}

static const struct dw_value *close_bracket(struct dw_reader *reader, const struct dw_frame *top, unsigned how)
{
    reader->p++;
    if (top->kind == IN_ARRAY)
        return dw_reader_close(reader, DW_T_VECTOR, DW_DUP_KEEP);
    return dw_reader_close(reader, DW_T_MAP, (how & UNIQUE) != 0 ? DW_DUP_REFUSE : DW_DUP_LAST);
}

/* Between values: a comma or the closing bracket. */
static const struct dw_value *between(struct dw_reader *reader, struct dw_frame *top, unsigned how)
{
    if (*reader->p == (top->kind == IN_ARRAY ? ']' : '}'))
        return close_bracket(reader, top, how);
    if (*reader->p != ',') {
        (void)dw_reader_bad(reader, "a comma or closing bracket is missing");
        return NULL;
    }
    reader->p++;
    top->state = MORE;
    return NULL;
}

static const struct dw_value *open_or_scalar(struct dw_reader *reader)
{
    char c = *reader->p;

    if (c != '[' && c != '{')
        return read_scalar(reader);
    if (dw_reader_spend(reader) &&
        dw_reader_open(reader, c == '[' ? IN_ARRAY : IN_OBJECT, dw_reader_offset(reader)) != NULL)
        reader->p++;
    return NULL;
}

/* One step at a character that is no space; returns a finished value if it ends one. */
static const struct dw_value *step(struct dw_reader *reader, unsigned how)
{
    struct dw_frame *top = dw_reader_top(reader);

    if (top == NULL)
        return open_or_scalar(reader);
    if (top->state == NEXT)
        return between(reader, top, how);
    if (top->state == FIRST && *reader->p == (top->kind == IN_ARRAY ? ']' : '}'))
        return close_bracket(reader, top, how);
    if (top->kind == IN_OBJECT) {
        if (*reader->p != '"') {
            (void)dw_reader_bad(reader, "a key must be a string");
            return NULL;
        }
        read_key(reader, (how & KEYWORDS) != 0);
        if (reader->code != 0)
            return NULL;
    }
    top->state = NEXT;
    return open_or_scalar(reader);
}

static void read_value(struct dw_reader *reader, unsigned how, const struct dw_value **out)
{
    while (reader->code == 0) {
        const struct dw_value *value;

        dw_json_skip_space(reader);
        if (reader->p == reader->end) {
            (void)dw_reader_bad(reader, reader->depth != 0 ? "unfinished array or object" : "no value");
            return;
        }
        value = step(reader, how);
        if (value == NULL || reader->code != 0)
            continue;
        if (reader->depth == 0) {
            *out = value;
            return;
        }
        (void)dw_reader_push(reader, value);
    }
}

static int read_json(const char *bytes, size_t len, const struct dw_limits *limits, struct dw_arena *arena,
                     const struct dw_value **out, size_t *rest, struct dw_err *err, unsigned how)
{
    struct dw_reader reader;

    if (dw_reader_init(&reader, bytes, len, limits, arena, err) == 0 && dw_reader_utf8(&reader) == 0)
        read_value(&reader, how, out);
    if (reader.code == 0 && rest == NULL) {
        dw_json_skip_space(&reader);
        if (reader.p != reader.end)
            (void)dw_reader_bad(&reader, "something behind the value");
    }
    if (reader.code == 0 && rest != NULL)
        *rest = dw_reader_offset(&reader);
    dw_reader_fini(&reader);
    return reader.code;
}

int dw_json_read(const char *bytes, size_t len, const struct dw_limits *limits, struct dw_arena *arena,
                 const struct dw_value **out, size_t *rest, struct dw_err *err)
{
    return read_json(bytes, len, limits, arena, out, rest, err, 0);
}

int dw_json_read_keywords(const char *bytes, size_t len, const struct dw_limits *limits, struct dw_arena *arena,
                          const struct dw_value **out, size_t *rest, struct dw_err *err)
{
    return read_json(bytes, len, limits, arena, out, rest, err, KEYWORDS);
}

int dw_json_read_unique(const char *bytes, size_t len, const struct dw_limits *limits, struct dw_arena *arena,
                        const struct dw_value **out, struct dw_err *err)
{
    return read_json(bytes, len, limits, arena, out, NULL, err, UNIQUE);
}
