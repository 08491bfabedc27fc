/* What transit's tags mean: scalars in strings and tagged values, to values of the tree. */
#include "chsk/base64.h"
#include "chsk/inst.h"
#include "chsk/num.h"
#include "chsk/transit.h"
#include "chsk/utf8.h"
#include "chsk/uuid.h"

#include <math.h>

/* Latches "malformed" unless it is memory that is short. */
static const struct dw_value *checked(struct dw_reader *reader, const struct dw_value *value)
{
    if (value == NULL)
        (void)dw_reader_short(reader);
    return value;
}

static const struct dw_value *bad(struct dw_reader *reader, const char *what)
{
    (void)dw_reader_bad(reader, what);
    return NULL;
}

static bool is_digits(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (text[i] < '0' || text[i] > '9')
            return false;
    return len != 0;
}

/* "~i" and "~n".  ClojureScript's writer also puts doubles behind "~i" when they are map keys; they
 * are taken for what they are. */
static const struct dw_value *integer(struct dw_reader *reader, const char *text, size_t len, bool big)
{
    size_t sign = len != 0 && text[0] == '-' ? 1 : 0;

    if (is_digits(text + sign, len - sign))
        return checked(reader, dw_num_integer(reader->arena, text + sign, len - sign, sign != 0, big));
    if (!big && dw_num_is_real(text, len))
        return checked(reader, dw_double(reader->arena, dw_num_real(text, len)));
    return bad(reader, "malformed integer");
}

static const struct dw_value *instant_ms(struct dw_reader *reader, const char *text, size_t len)
{
    size_t sign = len != 0 && text[0] == '-' ? 1 : 0;
    int64_t ms;

    if (!is_digits(text + sign, len - sign) || !dw_num_int64(text + sign, len - sign, sign != 0, &ms))
        return bad(reader, "malformed instant");
    return checked(reader, dw_inst(reader->arena, ms, 0));
}

static const struct dw_value *instant_text(struct dw_reader *reader, const char *text, size_t len)
{
    int64_t ms;
    int32_t ns;

    if (!dw_inst_parse(text, len, &ms, &ns))
        return bad(reader, "malformed instant");
    return checked(reader, dw_inst(reader->arena, ms, ns));
}

static const struct dw_value *uuid(struct dw_reader *reader, const char *text, size_t len)
{
    char lower[36];

    if (!dw_uuid_canonical(text, len, lower))
        return bad(reader, "malformed UUID");
    return checked(reader, dw_text(reader->arena, DW_T_UUID, lower, sizeof lower));
}

static const struct dw_value *bytes(struct dw_reader *reader, const char *text, size_t len)
{
    char *decoded;
    struct dw_value *value = dw_text_take(reader->arena, DW_T_BYTES, len / 4 * 3, &decoded);

    if (value == NULL)
        return checked(reader, NULL);
    if (!dw_base64_decode(text, len, decoded, &value->u.text.len))
        return bad(reader, "malformed base64");
    decoded[value->u.text.len] = '\0';
    return value;
}

static const struct dw_value *special_number(struct dw_reader *reader, const char *text, size_t len)
{
    double value;

    if (len == 3 && memcmp(text, "NaN", 3) == 0)
        value = NAN;
    else if (len == 3 && memcmp(text, "INF", 3) == 0)
        value = INFINITY;
    else if (len == 4 && memcmp(text, "-INF", 4) == 0)
        value = -INFINITY;
    else
        return bad(reader, "unknown special number");
    return checked(reader, dw_double(reader->arena, value));
}

static const struct dw_value *character(struct dw_reader *reader, const char *text, size_t len)
{
    uint32_t codepoint;
    size_t width;

    if (len == 0)
        return bad(reader, "empty character");
    codepoint = dw_utf8_decode(text, &width);
    if (width != len)
        return bad(reader, "more than one character");
    return checked(reader, dw_char(reader->arena, codepoint));
}

static const struct dw_value *real(struct dw_reader *reader, const char *text, size_t len, bool exact)
{
    if (!dw_num_is_real(text, len))
        return bad(reader, "malformed number");
    if (text[0] == '+') {
        text++;
        len--;
    }
    if (exact)
        return checked(reader, dw_text(reader->arena, DW_T_DECIMAL, text, len));
    return checked(reader, dw_double(reader->arena, dw_num_real(text, len)));
}

const struct dw_value *dw_transit_scalar(struct dw_reader *reader, char tag, const char *text, size_t len)
{
    switch (tag) {
    case ':':
        return checked(reader, dw_text(reader->arena, DW_T_KEYWORD, text, len));
    case '$':
        return checked(reader, dw_text(reader->arena, DW_T_SYMBOL, text, len));
    case 'i':
        return integer(reader, text, len, false);
    case 'n':
        return integer(reader, text, len, true);
    case 'd':
        return real(reader, text, len, false);
    case 'f':
        return real(reader, text, len, true);
    case 'm':
        return instant_ms(reader, text, len);
    case 't':
        return instant_text(reader, text, len);
    case 'u':
        return uuid(reader, text, len);
    case 'b':
        return bytes(reader, text, len);
    case 'z':
        return special_number(reader, text, len);
    case 'c':
        return character(reader, text, len);
    case 'r':
        return checked(reader, dw_text(reader->arena, DW_T_URI, text, len));
    case '_':
        return len == 0 ? dw_nil() : bad(reader, "text behind nil");
    case '?':
        if (len == 1 && (text[0] == 't' || text[0] == 'f'))
            return dw_bool(text[0] == 't');
        return bad(reader, "a boolean is t or f");
    default:
        return checked(reader, dw_pair(reader->arena, DW_T_TAGGED, dw_text(reader->arena, DW_T_SYMBOL, &tag, 1),
                                       dw_text(reader->arena, DW_T_STRING, text, len)));
    }
}

static const struct dw_value *collection(struct dw_reader *reader, enum dw_type type, const struct dw_value *rep)
{
    const struct dw_value *made = NULL;
    size_t count;

    if (rep->type != DW_T_VECTOR)
        return bad(reader, "a list, set or cmap needs an array");
    count = rep->u.seq.count;
    if (type == DW_T_MAP) {
        if (count % 2 != 0)
            return bad(reader, "a map needs a value for each key");
        count /= 2;
    }
    if (dw_seq_build(reader->arena, type, rep->u.seq.items, count, DW_DUP_LAST, &made) != 0)
        return checked(reader, NULL);
    return made;
}

static bool is_integer(const struct dw_value *value)
{
    return value->type == DW_T_INT || value->type == DW_T_BIGINT;
}

static const struct dw_value *ratio(struct dw_reader *reader, const struct dw_value *rep)
{
    const struct dw_value *const *parts;

    if (rep->type != DW_T_VECTOR || rep->u.seq.count != 2)
        return bad(reader, "a ratio needs two integers");
    parts = rep->u.seq.items;
    if (!is_integer(parts[0]) || !is_integer(parts[1]) || !dw_num_is_positive(parts[1]))
        return bad(reader, "a ratio needs two integers");
    return checked(reader, dw_num_ratio(reader->arena, parts[0], parts[1]));
}

/* A UUID as two 64-bit halves, the form that the specification gives for MessagePack. */
static const struct dw_value *uuid_halves(struct dw_reader *reader, const struct dw_value *rep)
{
    char text[36];

    if (rep->u.seq.count != 2 || rep->u.seq.items[0]->type != DW_T_INT || rep->u.seq.items[1]->type != DW_T_INT)
        return bad(reader, "a UUID needs two integers of 64 bits");
    dw_uuid_from_halves((uint64_t)rep->u.seq.items[0]->u.integer, (uint64_t)rep->u.seq.items[1]->u.integer, text);
    return checked(reader, dw_text(reader->arena, DW_T_UUID, text, sizeof text));
}

/* A scalar's tag around its representation: ["~#m",1709210096789], ["~#u","f81d4fae-..."]. */
static const struct dw_value *tagged_scalar(struct dw_reader *reader, const struct dw_value *tag,
                                            const struct dw_value *rep)
{
    char name_char = tag->u.text.bytes[0];

    if (name_char == '\'')
        return rep;
    if (rep->type == DW_T_STRING && strchr("~^`#", name_char) == NULL)
        return dw_transit_scalar(reader, name_char, rep->u.text.bytes, rep->u.text.len);
    if (name_char == 'm' && rep->type == DW_T_INT)
        return checked(reader, dw_inst(reader->arena, rep->u.integer, 0));
    if (name_char == 'u' && rep->type == DW_T_VECTOR)
        return uuid_halves(reader, rep);
    if (name_char != '\0' && strchr(":$indftmubzcr_?", name_char) != NULL)
        return bad(reader, "unexpected representation of a scalar");
    return checked(reader, dw_pair(reader->arena, DW_T_TAGGED, tag, rep));
}

const struct dw_value *dw_transit_tagged(struct dw_reader *reader, const struct dw_value *tag,
                                         const struct dw_value *rep)
{
    if (tag->u.text.len == 1 && tag->u.text.bytes[0] != '\0')
        return tagged_scalar(reader, tag, rep);
    if (dw_is_text(tag, DW_T_SYMBOL, "list", 4))
        return collection(reader, DW_T_LIST, rep);
    if (dw_is_text(tag, DW_T_SYMBOL, "set", 3))
        return collection(reader, DW_T_SET, rep);
    if (dw_is_text(tag, DW_T_SYMBOL, "cmap", 4))
        return collection(reader, DW_T_MAP, rep);
    if (dw_is_text(tag, DW_T_SYMBOL, "ratio", 5))
        return ratio(reader, rep);
    return checked(reader, dw_pair(reader->arena, DW_T_TAGGED, tag, rep));
}
