/* JSON's tokens (RFC 8259): strings, numbers and words.  The input is known to be UTF-8 already. */
#include "chsk/escape.h"
#include "chsk/json.h"
#include "chsk/num.h"
#include "chsk/utf8.h"
#include "chsk/writer.h"

#include <math.h>

/* Bytes that end a run of plain characters within a string; with `astral` also those that begin a code
 * point above U+FFFF. */
static inline bool is_special(char c, bool astral)
{
    return c == '"' || c == '\\' || (unsigned char)c < 0x20 || (astral && (unsigned char)c >= 0xf0);
}

/* The first special byte at or behind `at`, or `end`.  Eight bytes at a time: a byte is special when
 * subtracting (from its difference to a sign, or 0x20 from itself) borrows from its top bit, which
 * bytes above 127 never do; or when its top four bits are set. */
static inline const char *find_special(const char *at, const char *end, bool astral)
{
    const uint64_t ones = 0x0101010101010101U, tops = 0x8080808080808080U;

    while (end - at >= 8) {
        uint64_t eight, quote, backslash, found;

        memcpy(&eight, at, sizeof eight);
        quote = eight ^ ones * '"';
        backslash = eight ^ ones * '\\';
        found = ((eight - ones * 0x20) & ~eight) | ((quote - ones) & ~quote) | ((backslash - ones) & ~backslash);
        if (astral)
            found |= eight & eight << 1 & eight << 2 & eight << 3;
        if ((found & tops) != 0)
            break;
        at += 8;
    }
    while (at < end && !is_special(*at, astral))
        at++;
    return at;
}

static const char *plain_run(const char *at, const char *end)
{
    return find_special(at, end, false);
}

/* Decodes the escape behind a backslash at `*at - 1`. */
static bool escape(const char **at, const char *end, uint32_t *codepoint)
{
    static const char letters[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
    const char *found;

    if (*at == end)
        return false;
    if (**at == 'u')
        return dw_unicode_escape(at, end, codepoint);
    found = **at != '\0' ? strchr(letters, **at) : NULL;
    if (found == NULL)
        return false;
    *codepoint = (unsigned char)meant[found - letters];
    (*at)++;
    return true;
}

/* The closing quote of a string with escapes, or NULL; its content is at most as long decoded. */
static const char *closing_quote(const char *at, const char *end)
{
    for (;;) {
        at = plain_run(at, end);
        if (at == end)
            return NULL;
        if (*at == '"')
            return at;
        if (*at++ == '\\' && at < end)
            at++;
    }
}

static bool decode(struct dw_reader *reader, const char *start, const char *quote, struct dw_json_text *text)
{
    const char *at = start;
    char *to;

    text->value = dw_text_take(reader->arena, DW_T_STRING, (size_t)(quote - start), &to);
    if (text->value == NULL) {
        (void)dw_reader_short(reader);
        return false;
    }
    text->bytes = to;
    while (at < quote) {
        const char *special = plain_run(at, quote);
        uint32_t codepoint;

        memcpy(to, at, (size_t)(special - at));
        to += special - at;
        at = special;
        if (at == quote)
            break;
        if (*at++ != '\\' || !escape(&at, quote, &codepoint)) {
            (void)dw_reader_bad_at(reader, (size_t)(special - reader->start),
                                   *special == '\\' ? "malformed escape in a string" : "control character in a string");
            return false;
        }
        to += dw_utf8_encode(codepoint, to);
    }
    *to = '\0';
    text->len = text->value->u.text.len = (size_t)(to - text->bytes);
    reader->p = quote + 1;
    return true;
}

bool dw_json_string(struct dw_reader *reader, struct dw_json_text *text)
{
    const char *start = reader->p + 1, *quote = plain_run(start, reader->end);

    if (quote < reader->end && *quote == '"') {
        text->bytes = start;
        text->len = (size_t)(quote - start);
        text->value = NULL;
        reader->p = quote + 1;
        return true;
    }
    quote = closing_quote(quote, reader->end);
    if (quote == NULL) {
        (void)dw_reader_bad(reader, "unfinished string");
        return false;
    }
    return decode(reader, start, quote, text);
}

static const char *skip_digits(const char *at, const char *end)
{
    while (at < end && *at >= '0' && *at <= '9')
        at++;
    return at;
}

/* The end of the number's fraction and exponent, NULL when they are malformed. */
static const char *real_part(const char *at, const char *end)
{
    const char *digits;

    if (at < end && *at == '.') {
        digits = at + 1;
        at = skip_digits(digits, end);
        if (at == digits)
            return NULL;
    }
    if (at < end && (*at == 'e' || *at == 'E')) {
        digits = at + 1;
        if (digits < end && (*digits == '+' || *digits == '-'))
            digits++;
        at = skip_digits(digits, end);
        if (at == digits)
            return NULL;
    }
    return at;
}

const struct dw_value *dw_json_number(struct dw_reader *reader)
{
    const char *text = reader->p, *digits = text + (*text == '-' ? 1 : 0);
    const char *whole = skip_digits(digits, reader->end), *end = real_part(whole, reader->end);
    const struct dw_value *value;

    if (whole == digits || (*digits == '0' && whole - digits > 1) || end == NULL) {
        (void)dw_reader_bad(reader, "malformed number");
        return NULL;
    }
    reader->p = end;
    if (end == whole) {
        value = dw_num_integer(reader->arena, digits, (size_t)(whole - digits), digits != text, false);
    } else {
        double real = dw_num_real(text, (size_t)(end - text));

        if (!isfinite(real)) {
            (void)dw_reader_bad_at(reader, (size_t)(text - reader->start), "number too large for a double");
            return NULL;
        }
        value = dw_double(reader->arena, real);
    }
    if (value == NULL)
        (void)dw_reader_short(reader);
    return value;
}

const struct dw_value *dw_json_word(struct dw_reader *reader)
{
    size_t left = (size_t)(reader->end - reader->p);

    if (left >= 4 && memcmp(reader->p, "null", 4) == 0) {
        reader->p += 4;
        return dw_nil();
    }
    if (left >= 4 && memcmp(reader->p, "true", 4) == 0) {
        reader->p += 4;
        return dw_bool(true);
    }
    if (left >= 5 && memcmp(reader->p, "false", 5) == 0) {
        reader->p += 5;
        return dw_bool(false);
    }
    (void)dw_reader_bad(reader, "no JSON value");
    return NULL;
}

static void put_escape(struct dw_buf *out, unsigned char c)
{
    static const char hex[] = "0123456789ABCDEF";
    static const char letters[] = "\"\\bfnrt", meant[] = "\"\\\b\f\n\r\t";
    const char *found = c != 0 ? strchr(meant, c) : NULL;
    char text[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};

    if (found == NULL) {
        dw_buf_add(out, text, sizeof text);
        return;
    }
    text[1] = letters[found - meant];
    dw_buf_add(out, text, 2);
}

static void put_astral(struct dw_buf *out, uint32_t codepoint)
{
    uint32_t bits = codepoint - 0x10000;

    dw_buf_addf(out, "\\u%04X\\u%04X", 0xd800 + (bits >> 10), 0xdc00 + (bits & 0x3ff));
}

void dw_json_put_text(struct dw_buf *out, const char *bytes, size_t len, bool astral)
{
    const char *at = bytes, *end = bytes + len, *run = at;

    for (;;) {
        at = astral ? find_special(at, end, true) : plain_run(at, end);
        dw_put_run(out, run, (size_t)(at - run));
        if (at == end)
            break;
        if ((unsigned char)*at >= 0xf0) {
            size_t width;

            put_astral(out, dw_utf8_decode(at, &width));
            at += width;
        } else {
            put_escape(out, (unsigned char)*at++);
        }
        run = at;
    }
}

void dw_json_put_string(struct dw_buf *out, const char *bytes, size_t len, bool astral)
{
    dw_putc(out, '"');
    dw_json_put_text(out, bytes, len, astral);
    dw_putc(out, '"');
}
