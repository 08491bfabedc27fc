/* edn's atoms: strings, characters, numbers, symbols and keywords.  The grammar is that of Clojure's
 * own edn reader, so that everything its printer emits is read; the bracket structure is in
 * edn_read.c. */
#include "chsk/edn.h"
#include "chsk/escape.h"
#include "chsk/num.h"
#include "chsk/utf8.h"

#include <math.h>

/* Java's whitespace below 128 and the comma separate; brackets, quotes and a few signs end a token
 * without being part of it; other control characters are nobody's. */
#define SPACE (DW_EDN_SPACE | DW_EDN_ENDS_TOKEN)
#define ENDS DW_EDN_ENDS_TOKEN
#define BAD (DW_EDN_BAD | DW_EDN_ENDS_TOKEN)
const uint8_t dw_edn_class[256] = {
    [0 ... 8] = BAD, [9 ... 13] = SPACE, [14 ... 27] = BAD, [28 ... 31] = SPACE, [' '] = SPACE, [','] = SPACE,
    ['"'] = ENDS,    [';'] = ENDS,       ['^'] = ENDS,      ['('] = ENDS,        [')'] = ENDS,  ['['] = ENDS,
    [']'] = ENDS,    ['{'] = ENDS,       ['}'] = ENDS,      ['\\'] = ENDS,       [127] = BAD,
};

static uint8_t class_at(const char *at)
{
    return dw_edn_class[(unsigned char)*at];
}

/* Up to three octal digits at reader->p, at most 0377. */
static bool octal_escape(struct dw_reader *reader, uint32_t *codepoint)
{
    uint32_t sum = 0;
    int count = 0;

    while (count < 3 && reader->p < reader->end && *reader->p >= '0' && *reader->p <= '7') {
        sum = sum * 8 + (uint32_t)(*reader->p++ - '0');
        count++;
    }
    *codepoint = sum;
    return count != 0 && sum <= 0377;
}

/* The escape behind a backslash; reader->p is at its letter. */
static bool escape(struct dw_reader *reader, uint32_t *codepoint)
{
    static const char letters[] = "\"\\ntrbf", meant[] = "\"\\\n\t\r\b\f";
    const char *found;

    if (reader->p == reader->end)
        return false;
    if (*reader->p == 'u')
        return dw_unicode_escape(&reader->p, reader->end, codepoint);
    found = *reader->p != '\0' ? strchr(letters, *reader->p) : NULL;
    if (found == NULL)
        return octal_escape(reader, codepoint);
    *codepoint = (unsigned char)meant[found - letters];
    reader->p++;
    return true;
}

/* The end of the string that starts behind `at`: its closing quote, or NULL. */
static const char *closing_quote(const char *at, const char *end, bool *escapes)
{
    *escapes = false;
    for (; at < end && *at != '"'; at++) {
        if (*at != '\\')
            continue;
        *escapes = true;
        if (++at == end)
            return NULL;
    }
    return at < end ? at : NULL;
}

/* Unescapes up to `quote` into `to`, which has room: no escape is shorter than what it means. */
static size_t unescape(struct dw_reader *reader, const char *quote, char *to)
{
    char *start = to;

    while (reader->p < quote) {
        const char *backslash = memchr(reader->p, '\\', (size_t)(quote - reader->p));
        size_t plain = (size_t)((backslash != NULL ? backslash : quote) - reader->p);
        uint32_t codepoint;

        memcpy(to, reader->p, plain);
        to += plain;
        reader->p += plain;
        if (backslash == NULL)
            break;
        reader->p++;
        if (!escape(reader, &codepoint)) {
            (void)dw_reader_bad_at(reader, (size_t)(backslash - reader->start), "unknown escape in a string");
            return 0;
        }
        to += dw_utf8_encode(codepoint, to);
    }
    return (size_t)(to - start);
}

const struct dw_value *dw_edn_string(struct dw_reader *reader)
{
    size_t at = dw_reader_offset(reader);
    bool escapes;
    const char *quote = closing_quote(++reader->p, reader->end, &escapes);
    struct dw_value *value;
    char *text;

    if (quote == NULL) {
        (void)dw_reader_bad_at(reader, at, "unfinished string");
        return NULL;
    }
    value = dw_text_take(reader->arena, DW_T_STRING, (size_t)(quote - reader->p), &text);
    if (value == NULL) {
        (void)dw_reader_short(reader);
        return NULL;
    }
    if (escapes) {
        value->u.text.len = unescape(reader, quote, text);
        text[value->u.text.len] = '\0';
    } else if (quote != reader->p) {
        memcpy(text, reader->p, (size_t)(quote - reader->p));
    }
    reader->p = quote + 1;
    return reader->code == 0 ? value : NULL;
}

/* A pattern keeps its backslashes: they are the regular expression's own. */
const struct dw_value *dw_edn_regex(struct dw_reader *reader)
{
    bool escapes;
    const char *start = reader->p + 1, *quote = closing_quote(start, reader->end, &escapes);
    const struct dw_value *value;

    if (quote == NULL) {
        (void)dw_reader_bad(reader, "unfinished pattern");
        return NULL;
    }
    reader->p = quote + 1;
    value = dw_pair(reader->arena, DW_T_TAGGED, dw_text(reader->arena, DW_T_SYMBOL, "regex", 5),
                    dw_text(reader->arena, DW_T_STRING, start, (size_t)(quote - start)));
    if (value == NULL)
        (void)dw_reader_short(reader);
    return value;
}

/* The code point that a character's name (behind the backslash) means. */
static bool named_character(const char *name, size_t len, uint32_t *codepoint)
{
    static const struct {
        const char *name;
        uint32_t codepoint;
    } names[] = {{"newline", '\n'}, {"space", ' '},      {"tab", '\t'},
                 {"return", '\r'},  {"backspace", '\b'}, {"formfeed", '\f'}};

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strlen(names[i].name) == len && memcmp(names[i].name, name, len) == 0) {
            *codepoint = names[i].codepoint;
            return true;
        }
    if (name[0] == 'u' && len == 5) {
        int32_t value = dw_hex4(name + 1, name + len);

        *codepoint = (uint32_t)value;
        return value >= 0 && !dw_utf8_is_surrogate(*codepoint);
    }
    if (name[0] == 'o' && len >= 2 && len <= 4) {
        *codepoint = 0;
        for (size_t i = 1; i < len; i++) {
            if (name[i] < '0' || name[i] > '7')
                return false;
            *codepoint = *codepoint * 8 + (uint32_t)(name[i] - '0');
        }
        return *codepoint <= 0377;
    }
    return false;
}

const struct dw_value *dw_edn_character(struct dw_reader *reader)
{
    const char *name = ++reader->p, *end;
    const struct dw_value *value;
    uint32_t codepoint;
    size_t first;

    if (name == reader->end) {
        (void)dw_reader_bad(reader, "unfinished character");
        return NULL;
    }
    codepoint = dw_utf8_decode(name, &first); /* whatever it is: \( and \, are characters too */
    for (end = name + first; end < reader->end && (class_at(end) & DW_EDN_ENDS_TOKEN) == 0;)
        end++;
    if (end != name + first && !named_character(name, (size_t)(end - name), &codepoint)) {
        (void)dw_reader_bad(reader, "unknown character name");
        return NULL;
    }
    reader->p = end;
    value = dw_char(reader->arena, codepoint);
    if (value == NULL)
        (void)dw_reader_short(reader);
    return value;
}

bool dw_edn_is_name(const char *text, size_t len, bool keyword)
{
    const char *slash, *name = text;

    if (len == 0 || text[len - 1] == ':' || (keyword && text[0] == ':'))
        return false;
    for (size_t i = 1; i < len; i++)
        if (text[i] == ':' && text[i - 1] == ':')
            return false;
    slash = memrchr(text, '/', len);
    if (slash != NULL && len > 1) {
        if (slash == text + len - 1) { /* "ns//": the name is a slash */
            slash--;
            if (*slash != '/')
                return false;
        }
        if (slash == text || slash[-1] == ':')
            return false;
        name = slash + 1;
    }
    if (name != text && *name >= '0' && *name <= '9')
        return false;
    return keyword || *text < '0' || *text > '9';
}

static const struct dw_value *name_value(struct dw_reader *reader, const char *text, size_t len)
{
    bool keyword = text[0] == ':';
    const struct dw_value *value;

    if (!dw_edn_is_name(text + keyword, len - keyword, keyword)) {
        (void)dw_reader_bad_at(reader, (size_t)(text - reader->start), keyword ? "not a keyword" : "not a symbol");
        return NULL;
    }
    value = dw_text(reader->arena, keyword ? DW_T_KEYWORD : DW_T_SYMBOL, text + keyword, len - keyword);
    if (value == NULL)
        (void)dw_reader_short(reader);
    return value;
}

/* reader->p is still at the number's start. */
static const struct dw_value *bad_number(struct dw_reader *reader)
{
    (void)dw_reader_bad(reader, "malformed number");
    return NULL;
}

enum { RADIX_DIGITS = 1024 };

/* Digits in another base than ten to decimal text, by multiplying limbs of nine digits.  Quadratic,
 * hence the bound; no printer emits such numbers at all. */
static const struct dw_value *other_base(struct dw_reader *reader, const char *digits, size_t len, uint32_t base,
                                         bool negative, bool big)
{
    uint32_t limbs[RADIX_DIGITS * 6 / 29 + 2] = {0}; /* 36^n < 2^(5.2 n), a limb holds 29 bits */
    char text[sizeof limbs / sizeof limbs[0] * 9 + 1];
    size_t used = 1, text_len = 0;

    if (len == 0 || len > RADIX_DIGITS)
        return bad_number(reader);
    for (size_t i = 0; i < len; i++) {
        char c = digits[i];
        uint32_t digit = c >= '0' && c <= '9' ? (uint32_t)(c - '0') : (uint32_t)((c | 32) - 'a') + 10;
        uint64_t carry = digit;

        if (digit >= base)
            return bad_number(reader);
        for (size_t k = 0; k < used; k++) {
            carry += (uint64_t)limbs[k] * base;
            limbs[k] = (uint32_t)(carry % 1000000000);
            carry /= 1000000000;
        }
        if (carry != 0)
            limbs[used++] = (uint32_t)carry;
    }
    while (used-- > 0)
        for (uint32_t unit = 100000000; unit != 0; unit /= 10)
            text[text_len++] = (char)('0' + limbs[used] / unit % 10);
    return dw_num_integer(reader->arena, text, text_len, negative, big);
}

/* "0x1F", "017", "36rZZ"; NULL for anything else that begins with digits. */
static const struct dw_value *odd_integer(struct dw_reader *reader, const char *digits, size_t len, bool negative)
{
    bool big = len > 1 && digits[len - 1] == 'N';
    size_t radix_len = 0;

    if (big)
        len--;
    if (len > 2 && digits[0] == '0' && (digits[1] | 32) == 'x')
        return other_base(reader, digits + 2, len - 2, 16, negative, big);
    while (radix_len < len && digits[radix_len] >= '0' && digits[radix_len] <= '9')
        radix_len++;
    if (radix_len >= 1 && radix_len <= 2 && radix_len < len && (digits[radix_len] | 32) == 'r') {
        uint32_t base = (uint32_t)(digits[0] - '0');

        if (radix_len == 2)
            base = base * 10 + (uint32_t)(digits[1] - '0');
        if (digits[0] != '0' && base >= 2 && base <= 36)
            return other_base(reader, digits + radix_len + 1, len - radix_len - 1, base, negative, big);
        return bad_number(reader);
    }
    if (radix_len == len && digits[0] == '0')
        return other_base(reader, digits + 1, len - 1, 8, negative, big);
    return bad_number(reader);
}

static const struct dw_value *decimal(struct dw_reader *reader, const char *text, size_t len)
{
    if (text[0] == '+') {
        text++;
        len--;
    }
    return dw_text(reader->arena, DW_T_DECIMAL, text, len);
}

/* A token that begins like a number, sign included in `text`. */
static const struct dw_value *number(struct dw_reader *reader, const char *text, size_t len)
{
    size_t sign = text[0] == '-' || text[0] == '+' ? 1 : 0;
    const char *digits = text + sign;
    size_t left = len - sign, run = 0;
    bool negative = text[0] == '-';

    while (run < left && digits[run] >= '0' && digits[run] <= '9')
        run++;
    if (run == left || (run + 1 == left && digits[run] == 'N')) {
        if (digits[0] == '0' && run > 1)
            return odd_integer(reader, digits, left, negative);
        return dw_num_integer(reader->arena, digits, run, negative, run != left);
    }
    if (digits[run] == '/') {
        const char *below = digits + run + 1;
        size_t below_len = left - run - 1;
        bool zero = true;

        for (size_t i = 0; i < below_len; i++) {
            if (below[i] < '0' || below[i] > '9')
                return bad_number(reader);
            zero &= below[i] == '0';
        }
        if (zero)
            return bad_number(reader);
        return dw_num_ratio(reader->arena, dw_num_integer(reader->arena, digits, run, negative, false),
                            dw_num_integer(reader->arena, below, below_len, false, false));
    }
    if (dw_num_is_real(text, len))
        return dw_double(reader->arena, dw_num_real(text, len));
    if (text[len - 1] == 'M' && dw_num_is_real(text, len - 1))
        return decimal(reader, text, len - 1);
    return odd_integer(reader, digits, left, negative);
}

/* Takes a token's characters; false (and latched) for one that belongs to no token. */
static bool take_token(struct dw_reader *reader, const char **text, size_t *len)
{
    const char *at = reader->p;

    while (at < reader->end && (class_at(at) & DW_EDN_ENDS_TOKEN) == 0)
        at++;
    *text = reader->p;
    *len = (size_t)(at - reader->p);
    reader->p = at;
    if (at < reader->end && (class_at(at) & DW_EDN_BAD) != 0) {
        (void)dw_reader_bad(reader, "control character");
        return false;
    }
    return true;
}

const struct dw_value *dw_edn_token(struct dw_reader *reader)
{
    const struct dw_value *value;
    const char *text;
    size_t len, sign;

    if (!take_token(reader, &text, &len))
        return NULL;
    sign = len > 1 && (text[0] == '-' || text[0] == '+') ? 1 : 0;
    if (text[sign] >= '0' && text[sign] <= '9') {
        reader->p = text;
        value = number(reader, text, len);
        reader->p = text + len;
        if (value == NULL)
            (void)dw_reader_short(reader); /* unless malformed: the first failure counts */
        return value;
    }
    if (len == 3 && memcmp(text, "nil", 3) == 0)
        return dw_nil();
    if (len == 4 && memcmp(text, "true", 4) == 0)
        return dw_bool(true);
    if (len == 5 && memcmp(text, "false", 5) == 0)
        return dw_bool(false);
    return name_value(reader, text, len);
}

const struct dw_value *dw_edn_symbol(struct dw_reader *reader)
{
    const char *text;
    size_t len;

    if (!take_token(reader, &text, &len))
        return NULL;
    if (len == 0 || text[0] == ':' || text[0] == '#') {
        (void)dw_reader_bad_at(reader, (size_t)(text - reader->start), "a tag must be a symbol");
        return NULL;
    }
    return name_value(reader, text, len);
}

const struct dw_value *dw_edn_symbolic(struct dw_reader *reader)
{
    const struct dw_value *value = NULL;
    const char *text;
    size_t len;

    if (!take_token(reader, &text, &len))
        return NULL;
    if (len == 3 && memcmp(text, "NaN", 3) == 0)
        value = dw_double(reader->arena, NAN);
    else if (len == 3 && memcmp(text, "Inf", 3) == 0)
        value = dw_double(reader->arena, INFINITY);
    else if (len == 4 && memcmp(text, "-Inf", 4) == 0)
        value = dw_double(reader->arena, -INFINITY);
    else
        (void)dw_reader_bad_at(reader, (size_t)(text - reader->start), "unknown symbolic value");
    if (value == NULL && reader->code == 0)
        (void)dw_reader_short(reader);
    return value;
}
