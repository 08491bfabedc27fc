/* The transit reader: brackets, maps, tags and the string cache.  What tags mean is in transit_tag.c. */
#include "chsk/json.h"
#include "chsk/transit.h"

enum frame_kind {
    IN_ARRAY,
    IN_MAP,          /* an array that began with "^ " */
    IN_TAGGED,       /* an array that began with a tag; aux: the tag */
    IN_OBJECT,       /* verbose map */
    IN_TAGGED_OBJECT /* verbose tagged value; aux: the tag */
};
enum { FIRST, NEXT, MORE };

struct transit {
    struct dw_reader reader;
    size_t cached;
    const struct dw_value *cache[DW_TRANSIT_CACHE];
    bool is_tag[DW_TRANSIT_CACHE];
};

/* What a string token is. */
enum token_kind { A_VALUE, A_TAG, A_MAP_MARK };

struct token {
    enum token_kind kind;
    const struct dw_value *value; /* the tag's name for A_TAG */
};

bool dw_transit_cacheable(const char *bytes, size_t len, bool as_key)
{
    size_t units = 0;

    if (!as_key && (len < 2 || bytes[0] != '~' || (bytes[1] != ':' && bytes[1] != '$' && bytes[1] != '#')))
        return false;
    for (size_t i = 0; i < len && units < 4; i++) {
        unsigned char c = (unsigned char)bytes[i];

        if ((c & 0xc0) != 0x80)
            units += c >= 0xf0 ? 2 : 1;
    }
    return units >= 4;
}

/* "^0" or "^01". */
static bool read_code(struct transit *transit, const struct dw_json_text *text, struct token *token)
{
    size_t index = 0;

    for (size_t i = 1; i < text->len; i++) {
        size_t digit = (size_t)(unsigned char)text->bytes[i] - DW_TRANSIT_FIRST;

        if (digit >= DW_TRANSIT_BASE || i > 2) {
            (void)dw_reader_bad(&transit->reader, "malformed cache code");
            return false;
        }
        index = index * DW_TRANSIT_BASE + digit;
    }
    if (text->len < 2 || index >= transit->cached) {
        (void)dw_reader_bad(&transit->reader, "cache code for nothing");
        return false;
    }
    token->kind = transit->is_tag[index] ? A_TAG : A_VALUE;
    token->value = transit->cache[index];
    return true;
}

static const struct dw_value *plain_string(struct transit *transit, const struct dw_json_text *text, size_t skip)
{
    const struct dw_value *value;

    if (skip == 0 && text->value != NULL)
        return text->value;
    value = dw_text(transit->reader.arena, DW_T_STRING, text->bytes + skip, text->len - skip);
    if (value == NULL)
        (void)dw_reader_short(&transit->reader);
    return value;
}

static const struct dw_value *tag_name(struct transit *transit, const struct dw_json_text *text)
{
    const struct dw_value *value;

    if (text->len == 2) {
        (void)dw_reader_bad(&transit->reader, "empty tag");
        return NULL;
    }
    value = dw_text(transit->reader.arena, DW_T_SYMBOL, text->bytes + 2, text->len - 2);
    if (value == NULL)
        (void)dw_reader_short(&transit->reader);
    return value;
}

/* A string that is no cache code and no map mark. */
static bool decode_text(struct transit *transit, const struct dw_json_text *text, struct token *token)
{
    token->kind = A_VALUE;
    if (text->len == 0 || text->bytes[0] != '~') {
        token->value = plain_string(transit, text, 0);
    } else if (text->len == 1 || (unsigned char)text->bytes[1] >= 0x80) {
        (void)dw_reader_bad(&transit->reader, "malformed escape");
        return false;
    } else if (text->bytes[1] == '~' || text->bytes[1] == '^' || text->bytes[1] == '`') {
        token->value = plain_string(transit, text, 1);
    } else if (text->bytes[1] == '#') {
        token->kind = A_TAG;
        token->value = tag_name(transit, text);
    } else {
        token->value = dw_transit_scalar(&transit->reader, text->bytes[1], text->bytes + 2, text->len - 2);
    }
    return token->value != NULL;
}

/* Reads a string token; false (and latched) on failure. */
static bool read_string(struct transit *transit, bool as_key, struct token *token)
{
    struct dw_json_text text;

    if (!dw_json_string(&transit->reader, &text))
        return false;
    if (text.len != 0 && text.bytes[0] == '^') {
        if (text.len != 2 || text.bytes[1] != ' ')
            return read_code(transit, &text, token);
        token->kind = A_MAP_MARK;
        token->value = NULL;
        return true;
    }
    if (!decode_text(transit, &text, token))
        return false;
    if (dw_transit_cacheable(text.bytes, text.len, as_key)) {
        if (transit->cached == DW_TRANSIT_CACHE)
            transit->cached = 0;
        transit->cache[transit->cached] = token->value;
        transit->is_tag[transit->cached++] = token->kind == A_TAG;
    }
    return true;
}

/* A string where `top` (NULL: nothing) waits for a value or array element.  A tag or map mark changes
 * what the bracket is and returns NULL. */
static const struct dw_value *take_string(struct transit *transit, struct dw_frame *top, bool first)
{
    struct dw_reader *reader = &transit->reader;
    bool as_key = top != NULL && top->kind == IN_MAP && (reader->count - top->base) % 2 == 0;
    struct token token;

    if (!read_string(transit, as_key, &token))
        return NULL;
    if (token.kind == A_VALUE)
        return token.value;
    if (top == NULL || top->kind != IN_ARRAY || !first) {
        (void)dw_reader_bad(reader, token.kind == A_TAG ? "a tag outside the head of an array"
                                                        : "a map mark outside the head of an array");
        return NULL;
    }
    top->kind = token.kind == A_TAG ? IN_TAGGED : IN_MAP;
    top->aux = token.value;
    return NULL;
}

/* A key of an object and its colon; a tag as the first key makes the object a tagged value. */
static void take_key(struct transit *transit, struct dw_frame *top, bool first)
{
    struct dw_reader *reader = &transit->reader;
    struct token token;

    if (*reader->p != '"') {
        (void)dw_reader_bad(reader, "a key must be a string");
        return;
    }
    if (!dw_reader_spend(reader) || !read_string(transit, true, &token))
        return;
    if (token.kind == A_VALUE && top->kind == IN_OBJECT) {
        (void)dw_reader_push(reader, token.value);
    } else if (token.kind == A_TAG && first) {
        top->kind = IN_TAGGED_OBJECT;
        top->aux = token.value;
    } else {
        (void)dw_reader_bad(reader, "a tag beside other keys");
        return;
    }
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

static const struct dw_value *close_tagged(struct dw_reader *reader, const struct dw_frame *top)
{
    const struct dw_value *tag = top->aux, *rep;

    if (reader->count - top->base != 1) {
        (void)dw_reader_bad(reader, "a tag needs exactly one value");
        return NULL;
    }
    rep = reader->values[top->base];
    reader->count = top->base;
    reader->depth--;
    return dw_transit_tagged(reader, tag, rep);
}

static bool is_object(const struct dw_frame *frame)
{
    return frame->kind == IN_OBJECT || frame->kind == IN_TAGGED_OBJECT;
}

static const struct dw_value *close_bracket(struct dw_reader *reader, const struct dw_frame *top)
{
    reader->p++;
    switch (top->kind) {
    case IN_ARRAY:
        return dw_reader_close(reader, DW_T_VECTOR, DW_DUP_KEEP);
    case IN_TAGGED:
    case IN_TAGGED_OBJECT:
        return close_tagged(reader, top);
    default:
        if ((reader->count - top->base) % 2 != 0) {
            (void)dw_reader_bad(reader, "a map needs a value for each key");
            return NULL;
        }
        return dw_reader_close(reader, DW_T_MAP, DW_DUP_LAST);
    }
}

/* Between values: a comma or the closing bracket. */
static const struct dw_value *between(struct dw_reader *reader, struct dw_frame *top)
{
    if (*reader->p == (is_object(top) ? '}' : ']'))
        return close_bracket(reader, top);
    if (*reader->p != ',')
        (void)dw_reader_bad(reader, "a comma or closing bracket is missing");
    reader->p++;
    top->state = MORE;
    return NULL;
}

/* A value for `top` (NULL: the whole message): an opened bracket returns NULL. */
static const struct dw_value *take_value(struct transit *transit, struct dw_frame *top, bool first)
{
    struct dw_reader *reader = &transit->reader;
    char c = *reader->p;

    if (!dw_reader_spend(reader))
        return NULL;
    if (c == '"')
        return take_string(transit, top, first);
    if (c == '-' || (c >= '0' && c <= '9'))
        return dw_json_number(reader);
    if (c != '[' && c != '{')
        return dw_json_word(reader);
    if (dw_reader_open(reader, c == '[' ? IN_ARRAY : IN_OBJECT, dw_reader_offset(reader)) != NULL)
        reader->p++;
    return NULL;
}

/* One step at a character that is no space; returns a finished value if it ends one. */
static const struct dw_value *step(struct transit *transit)
{
    struct dw_reader *reader = &transit->reader;
    struct dw_frame *top = dw_reader_top(reader);
    bool first;

    if (top == NULL)
        return take_value(transit, NULL, false);
    if (top->state == NEXT)
        return between(reader, top);
    first = top->state == FIRST;
    if (first && *reader->p == (is_object(top) ? '}' : ']'))
        return close_bracket(reader, top);
    top->state = NEXT;
    if (is_object(top)) {
        take_key(transit, top, first);
        if (reader->code != 0)
            return NULL;
    }
    return take_value(transit, top, first);
}

static void read_value(struct transit *transit, const struct dw_value **out)
{
    struct dw_reader *reader = &transit->reader;

    while (reader->code == 0) {
        const struct dw_value *value;

        dw_json_skip_space(reader);
        if (reader->p == reader->end) {
            (void)dw_reader_bad(reader, reader->depth != 0 ? "unfinished array or object" : "no value");
            return;
        }
        value = step(transit);
        if (value == NULL || reader->code != 0)
            continue;
        if (reader->depth == 0) {
            *out = value;
            return;
        }
        (void)dw_reader_push(reader, value);
    }
}

int dw_transit_read(const char *bytes, size_t len, const struct dw_limits *limits, struct dw_arena *arena,
                    const struct dw_value **out, size_t *rest, struct dw_err *err)
{
    struct transit transit; /* the cache is not cleared: entries from `cached` on are never looked at */
    struct dw_reader *reader = &transit.reader;

    transit.cached = 0;
    if (dw_reader_init(reader, bytes, len, limits, arena, err) == 0 && dw_reader_utf8(reader) == 0)
        read_value(&transit, out);
    if (reader->code == 0 && rest == NULL) {
        dw_json_skip_space(reader);
        if (reader->p != reader->end)
            (void)dw_reader_bad(reader, "something behind the value");
    }
    if (reader->code == 0 && rest != NULL)
        *rest = dw_reader_offset(reader);
    dw_reader_fini(reader);
    return reader->code;
}
