/* The edn reader: brackets, tags, metadata, discarded forms and comments.  Atoms are in edn_token.c.
 *
 * Everything that Clojure's and ClojureScript's printers emit is read, namespaced maps and printed
 * patterns included; reader macros that call for evaluation are malformed. */
#include "chsk/edn.h"
#include "chsk/inst.h"
#include "chsk/uuid.h"

enum frame_kind {
    IN_LIST,
    IN_VECTOR,
    IN_MAP,
    IN_SET,
    IN_TAG,     /* aux: the tag; waits for one form */
    IN_DISCARD, /* waits for one form, which is dropped */
    IN_META,    /* waits for the metadata form */
    IN_TARGET,  /* waits for the form that the metadata belongs to */
};

static void skip_space(struct dw_reader *reader)
{
    const char *at = reader->p;

    for (; at < reader->end; at++) {
        if (*at == ';') {
            const char *newline = memchr(at, '\n', (size_t)(reader->end - at));

            at = newline != NULL ? newline : reader->end - 1;
        } else if ((dw_edn_class[(unsigned char)*at] & DW_EDN_SPACE) == 0) {
            break;
        }
    }
    reader->p = at;
}

static const struct dw_value *read_inst(struct dw_reader *reader, const struct dw_value *value)
{
    int64_t ms;
    int32_t ns;

    if (value->type != DW_T_STRING || !dw_inst_parse(value->u.text.bytes, value->u.text.len, &ms, &ns)) {
        (void)dw_reader_bad(reader, "#inst needs a timestamp string");
        return NULL;
    }
    return dw_inst(reader->arena, ms, ns);
}

static const struct dw_value *read_uuid(struct dw_reader *reader, const struct dw_value *value)
{
    char lower[36];

    if (value->type != DW_T_STRING || !dw_uuid_canonical(value->u.text.bytes, value->u.text.len, lower)) {
        (void)dw_reader_bad(reader, "#uuid needs a string of 36 characters");
        return NULL;
    }
    return dw_text(reader->arena, DW_T_UUID, lower, sizeof lower);
}

static const struct dw_value *apply_tag(struct dw_reader *reader, const struct dw_value *tag,
                                        const struct dw_value *value)
{
    const struct dw_value *made;

    if (dw_is_text(tag, DW_T_SYMBOL, "inst", 4))
        made = read_inst(reader, value);
    else if (dw_is_text(tag, DW_T_SYMBOL, "uuid", 4))
        made = read_uuid(reader, value);
    else
        made = dw_pair(reader->arena, DW_T_TAGGED, tag, value);
    if (made == NULL)
        (void)dw_reader_short(reader);
    return made;
}

static bool carries_metadata(const struct dw_value *value)
{
    switch (value->type) {
    case DW_T_SYMBOL:
    case DW_T_LIST:
    case DW_T_VECTOR:
    case DW_T_MAP:
    case DW_T_SET:
    case DW_T_TAGGED:
        return true;
    default:
        return false;
    }
}

static bool is_metadata(const struct dw_value *value)
{
    return value->type == DW_T_MAP || value->type == DW_T_SYMBOL || value->type == DW_T_KEYWORD ||
           value->type == DW_T_STRING;
}

/* Hands a finished form to whatever waits for it.  Returns it when it is the whole message's. */
static const struct dw_value *deliver(struct dw_reader *reader, const struct dw_value *value)
{
    for (struct dw_frame *top = dw_reader_top(reader); top != NULL; top = dw_reader_top(reader)) {
        switch (top->kind) {
        case IN_TAG:
            reader->depth--;
            value = apply_tag(reader, top->aux, value);
            if (value == NULL)
                return NULL;
            break;
        case IN_DISCARD:
            reader->depth--;
            return NULL;
        case IN_META:
            if (!is_metadata(value))
                (void)dw_reader_bad(reader, "metadata must be a map, symbol, keyword or string");
            top->kind = IN_TARGET;
            return NULL;
        case IN_TARGET:
            if (!carries_metadata(value)) {
                (void)dw_reader_bad(reader, "metadata before something that cannot carry it");
                return NULL;
            }
            reader->depth--;
            break;
        default:
            (void)dw_reader_push(reader, value);
            return NULL;
        }
    }
    return value;
}

static bool is_name(const struct dw_value *value)
{
    return value->type == DW_T_KEYWORD || value->type == DW_T_SYMBOL;
}

/* True for a name that is read as what it is when it is written without more ado. */
static bool reads_back(const struct dw_value *name)
{
    const char *text = name->u.text.bytes;
    size_t len = name->u.text.len, sign = len > 1 && (text[0] == '-' || text[0] == '+') ? 1 : 0;

    if (!dw_edn_is_name(text, len, name->type == DW_T_KEYWORD))
        return false;
    return name->type == DW_T_KEYWORD ||
           (text[0] != ':' && text[0] != '#' && (text[sign] < '0' || text[sign] > '9') && strcmp(text, "nil") != 0 &&
            strcmp(text, "true") != 0 && strcmp(text, "false") != 0);
}

/* A key of #:ns{...}: bare keywords and symbols get the namespace, `_` as namespace is taken off. */
static const struct dw_value *qualify(struct dw_reader *reader, const struct dw_value *space,
                                      const struct dw_value *key)
{
    size_t len = key->u.text.len, space_len = space->u.text.len;
    struct dw_value *made;
    char *text;

    if (!is_name(key))
        return key;
    if (len > 2 && memcmp(key->u.text.bytes, "_/", 2) == 0)
        return dw_text(reader->arena, key->type, key->u.text.bytes + 2, len - 2);
    if (len > 1 && memchr(key->u.text.bytes, '/', len) != NULL)
        return key;
    made = dw_text_take(reader->arena, key->type, space_len + 1 + len, &text);
    if (made == NULL)
        return NULL;
    memcpy(text, space->u.text.bytes, space_len);
    text[space_len] = '/';
    memcpy(text + space_len + 1, key->u.text.bytes, len);
    return made;
}

static const struct dw_value *close_map(struct dw_reader *reader)
{
    struct dw_frame *top = dw_reader_top(reader);

    if ((reader->count - top->base) % 2 != 0) {
        (void)dw_reader_bad(reader, "a map needs a value for each key");
        return NULL;
    }
    for (size_t i = top->base; top->aux != NULL && i < reader->count; i += 2) {
        reader->values[i] = qualify(reader, top->aux, reader->values[i]);
        if (reader->values[i] == NULL) {
            (void)dw_reader_short(reader);
            return NULL;
        }
        if (is_name(reader->values[i]) && !reads_back(reader->values[i])) {
            (void)dw_reader_bad(reader, "a key that cannot stand in the namespace of its map");
            return NULL;
        }
    }
    return dw_reader_close(reader, DW_T_MAP, DW_DUP_REFUSE);
}

static const struct dw_value *close_bracket(struct dw_reader *reader)
{
    struct dw_frame *top = dw_reader_top(reader);
    char bracket = *reader->p++;

    if (top == NULL)
        (void)dw_reader_bad(reader, "closing bracket without an opening one");
    else if (top->kind == IN_LIST && bracket == ')')
        return dw_reader_close(reader, DW_T_LIST, DW_DUP_KEEP);
    else if (top->kind == IN_VECTOR && bracket == ']')
        return dw_reader_close(reader, DW_T_VECTOR, DW_DUP_KEEP);
    else if (top->kind == IN_MAP && bracket == '}')
        return close_map(reader);
    else if (top->kind == IN_SET && bracket == '}')
        return dw_reader_close(reader, DW_T_SET, DW_DUP_REFUSE);
    else
        (void)dw_reader_bad(reader, top->kind >= IN_TAG ? "closing bracket where a form is missing"
                                                        : "closing bracket of another kind");
    return NULL;
}

/* Opens a bracket of `width` characters at reader->p. */
static struct dw_frame *open_frame(struct dw_reader *reader, enum frame_kind kind, size_t width)
{
    struct dw_frame *frame;

    if (!dw_reader_spend(reader))
        return NULL;
    frame = dw_reader_open(reader, (uint8_t)kind, dw_reader_offset(reader));
    reader->p += width;
    return frame;
}

/* #:ns{, with reader->p behind the colon. */
static void open_namespaced(struct dw_reader *reader)
{
    const struct dw_value *space = dw_edn_symbol(reader);
    struct dw_frame *frame;

    if (space == NULL)
        return;
    if (memchr(space->u.text.bytes, '/', space->u.text.len) != NULL) {
        (void)dw_reader_bad(reader, "the namespace of a map must be a plain symbol");
        return;
    }
    skip_space(reader);
    if (reader->p == reader->end || *reader->p != '{') {
        (void)dw_reader_bad(reader, "a map must follow its namespace");
        return;
    }
    frame = open_frame(reader, IN_MAP, 1);
    if (frame != NULL)
        frame->aux = space;
}

static void open_tag(struct dw_reader *reader)
{
    struct dw_frame *frame = open_frame(reader, IN_TAG, 1);
    const struct dw_value *tag;

    if (frame == NULL)
        return;
    tag = dw_edn_symbol(reader);
    if (tag != NULL)
        frame->aux = tag;
}

/* Everything that begins with #; reader->p is at it.  Returns an atom or NULL after opening a frame. */
static const struct dw_value *dispatch(struct dw_reader *reader)
{
    char next = (char)(reader->end - reader->p > 1 ? reader->p[1] : '\0');

    switch (next) {
    case '{':
        (void)open_frame(reader, IN_SET, 2);
        return NULL;
    case '_':
        (void)open_frame(reader, IN_DISCARD, 2);
        return NULL;
    case '^':
        (void)open_frame(reader, IN_META, 2);
        return NULL;
    case ':':
        reader->p += 2;
        open_namespaced(reader);
        return NULL;
    case '#':
        reader->p += 2;
        return dw_edn_symbolic(reader);
    case '"':
        reader->p++;
        return dw_edn_regex(reader);
    case '<':
    case '(':
    case '!':
    case '?':
    case '=':
        (void)dw_reader_bad(reader, "a reader macro that edn does not have");
        return NULL;
    default:
        open_tag(reader);
        return NULL;
    }
}

/* One step at a character that is no space: an atom or a closed collection is returned, an opened
 * frame is not. */
static const struct dw_value *step(struct dw_reader *reader)
{
    switch (*reader->p) {
    case '[':
        (void)open_frame(reader, IN_VECTOR, 1);
        return NULL;
    case '{':
        (void)open_frame(reader, IN_MAP, 1);
        return NULL;
    case '(':
        (void)open_frame(reader, IN_LIST, 1);
        return NULL;
    case '^':
        (void)open_frame(reader, IN_META, 1);
        return NULL;
    case ']':
    case '}':
    case ')':
        return close_bracket(reader);
    case '#':
        return dispatch(reader);
    default:
        break;
    }
    if (!dw_reader_spend(reader))
        return NULL;
    if (*reader->p == '"')
        return dw_edn_string(reader);
    if (*reader->p == '\\')
        return dw_edn_character(reader);
    return dw_edn_token(reader);
}

static void read_form(struct dw_reader *reader, const struct dw_value **out)
{
    while (reader->code == 0) {
        const struct dw_value *value;

        skip_space(reader);
        if (reader->p == reader->end) {
            (void)dw_reader_bad(reader, reader->depth != 0 ? "unfinished form" : "no form");
            return;
        }
        value = step(reader);
        if (value == NULL || reader->code != 0)
            continue;
        value = deliver(reader, value);
        if (value != NULL && reader->code == 0) {
            *out = value;
            return;
        }
    }
}

int dw_edn_read(const char *bytes, size_t len, const struct dw_limits *limits, struct dw_arena *arena,
                const struct dw_value **out, size_t *rest, struct dw_err *err)
{
    struct dw_reader reader;

    if (dw_reader_init(&reader, bytes, len, limits, arena, err) == 0 && dw_reader_utf8(&reader) == 0)
        read_form(&reader, out);
    if (reader.code == 0 && rest == NULL) {
        skip_space(&reader);
        if (reader.p != reader.end)
            (void)dw_reader_bad(&reader, "something behind the form");
    }
    if (reader.code == 0 && rest != NULL)
        *rest = dw_reader_offset(&reader);
    dw_reader_fini(&reader);
    return reader.code;
}
