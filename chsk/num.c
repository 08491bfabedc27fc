/* Numbers to and from text.  Reading a double is exact: small ones by one multiplication or division
 * of exactly representable numbers, the rest by strtod.  Printing looks for the shortest digits
 * likewise: an integer below 10^15 over a power of ten if there is one, else trial by printf. */
#include "chsk/num.h"

#include "chsk/arena.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* Every one of these is exact in a double. */
static const double powers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

enum {
    EXACT_POWER = 22,
    /* Digits beyond the 767th can only break a tie: one non-zero digit stands for all of them. */
    DIGITS_KEPT = 800,
    EXPONENT_CAP = 99999
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

bool dw_num_int64(const char *digits, size_t len, bool negative, int64_t *out)
{
    uint64_t bound = negative ? (uint64_t)INT64_MAX + 1 : (uint64_t)INT64_MAX;
    uint64_t sum = 0;

    while (len > 1 && *digits == '0') {
        digits++;
        len--;
    }
    if (len > 19)
        return false;
    for (size_t i = 0; i < len; i++)
        sum = sum * 10 + (uint64_t)(digits[i] - '0');
    if (sum > bound)
        return false;
    *out = negative ? (int64_t)(0 - sum) : (int64_t)sum;
    return true;
}

const struct dw_value *dw_num_integer(struct dw_arena *arena, const char *digits, size_t len, bool negative,
                                      bool force_big)
{
    struct dw_value *value;
    int64_t small;
    char *text;

    while (len > 1 && *digits == '0') {
        digits++;
        len--;
    }
    if (!force_big && dw_num_int64(digits, len, negative, &small))
        return dw_int(arena, small);
    if (len == 1 && *digits == '0')
        negative = false;
    value = dw_text_take(arena, DW_T_BIGINT, len + (negative ? 1 : 0), &text);
    if (value == NULL)
        return NULL;
    if (negative)
        *text++ = '-';
    memcpy(text, digits, len);
    return value;
}

bool dw_num_is_positive(const struct dw_value *integer)
{
    if (integer->type == DW_T_INT)
        return integer->u.integer > 0;
    return integer->u.text.bytes[0] != '-' && !dw_is_text(integer, DW_T_BIGINT, "0", 1);
}

static uint64_t greatest_divisor(uint64_t a, uint64_t b)
{
    while (b != 0) {
        uint64_t rest = a % b;

        a = b;
        b = rest;
    }
    return a;
}

/* The int64 in an INT or BIGINT; false when it does not fit. */
static bool small_integer(const struct dw_value *value, int64_t *out)
{
    bool negative;

    if (value->type == DW_T_INT) {
        *out = value->u.integer;
        return true;
    }
    negative = value->u.text.bytes[0] == '-';
    return dw_num_int64(value->u.text.bytes + negative, value->u.text.len - negative, negative, out);
}

const struct dw_value *dw_num_ratio(struct dw_arena *arena, const struct dw_value *above, const struct dw_value *below)
{
    int64_t top, bottom, common;

    if (above == NULL || below == NULL)
        return NULL;
    if (!small_integer(above, &top) || !small_integer(below, &bottom))
        return dw_pair(arena, DW_T_RATIO, above, below);
    /* a divisor of `bottom`, hence at most INT64_MAX */
    common = (int64_t)greatest_divisor(top < 0 ? 0 - (uint64_t)top : (uint64_t)top, (uint64_t)bottom);
    if (bottom == common)
        return dw_int(arena, top / common); /* NOLINT(clang-analyzer-core.DivideZero): bottom > 0, see num.h */
    return dw_pair(arena, DW_T_RATIO, dw_int(arena, top / common), dw_int(arena, bottom / common));
}

bool dw_num_is_real(const char *text, size_t len)
{
    size_t i = 0, digits = 0;

    if (i < len && (text[i] == '-' || text[i] == '+'))
        i++;
    for (; i < len && is_digit(text[i]); i++)
        digits++;
    if (digits == 0)
        return false;
    if (i < len && text[i] == '.')
        for (i++; i < len && is_digit(text[i]);)
            i++;
    if (i < len && (text[i] == 'e' || text[i] == 'E')) {
        i++;
        if (i < len && (text[i] == '-' || text[i] == '+'))
            i++;
        if (i == len)
            return false;
        while (i < len && is_digit(text[i]))
            i++;
        if (!is_digit(text[i - 1]))
            return false;
    }
    return i == len;
}

bool dw_num_is_integer(const char *text, size_t len)
{
    size_t i = len != 0 && text[0] == '-' ? 1 : 0;

    if (i == len || (text[i] == '0' && len > i + 1))
        return false;
    for (; i < len; i++)
        if (!is_digit(text[i]))
            return false;
    return true;
}

/* The number as sign, digits without leading zeros, and a power of ten for their last one. */
struct decimal {
    bool negative;
    bool sticky; /* non-zero digits were left out */
    char digits[DIGITS_KEPT];
    size_t count;
    uint64_t small; /* the digits' value while count <= 19 */
    long exponent;
};

static void take_digit(struct decimal *number, char digit, bool fraction)
{
    if (number->count == 0 && digit == '0') {
        number->exponent -= fraction ? 1 : 0;
        return;
    }
    if (number->count == DIGITS_KEPT) {
        number->sticky |= digit != '0';
        number->exponent += fraction ? 0 : 1;
        return;
    }
    number->digits[number->count++] = digit;
    if (number->count <= 19)
        number->small = number->small * 10 + (uint64_t)(digit - '0');
    number->exponent -= fraction ? 1 : 0;
}

static long read_exponent(const char *text, size_t len)
{
    bool negative = len != 0 && text[0] == '-';
    long sum = 0;

    for (size_t i = len != 0 && !is_digit(text[0]) ? 1 : 0; i < len; i++)
        if (sum < EXPONENT_CAP)
            sum = sum * 10 + (text[i] - '0');
    return negative ? -sum : sum;
}

static double slow_real(const struct decimal *number)
{
    char text[DIGITS_KEPT + 64];
    size_t len = number->count;
    long exponent = number->exponent;

    memcpy(text, number->digits, len);
    if (number->sticky) {
        text[len++] = '1';
        exponent--;
    }
    (void)snprintf(text + len, sizeof text - len, "e%ld", exponent);
    return strtod(text, NULL);
}

double dw_num_real(const char *text, size_t len)
{
    struct decimal number;
    bool fraction = false;
    double value;
    size_t i;

    number.negative = len != 0 && text[0] == '-';
    number.sticky = false;
    number.count = 0;
    number.small = 0;
    number.exponent = 0;
    for (i = len != 0 && !is_digit(text[0]) ? 1 : 0; i < len; i++) {
        if (text[i] == '.')
            fraction = true;
        else if (is_digit(text[i]))
            take_digit(&number, text[i], fraction);
        else
            break;
    }
    if (i < len)
        number.exponent += read_exponent(text + i + 1, len - i - 1);
    if (number.count == 0)
        value = 0;
    else if (number.count <= 15 && number.exponent >= -EXACT_POWER && number.exponent <= EXACT_POWER)
        value = number.exponent < 0 ? (double)number.small / powers[-number.exponent]
                                    : (double)number.small * powers[number.exponent];
    else
        value = slow_real(&number);
    return number.negative ? -value : value;
}

size_t dw_num_print_int(int64_t value, char out[DW_NUM_MAX])
{
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    char room[20];
    size_t at = sizeof room, len = 0;

    do {
        room[--at] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest != 0);
    if (value < 0)
        out[len++] = '-';
    memcpy(out + len, room + at, sizeof room - at);
    len += sizeof room - at;
    out[len] = '\0';
    return len;
}

/* Shortest digits of a positive finite number: 0.d1d2d3... times ten to the power of `point`. */
struct shortest {
    char digits[DW_NUM_MAX];
    int count;
    int point;
};

static void strip_zeros(struct shortest *made)
{
    while (made->count > 1 && made->digits[made->count - 1] == '0')
        made->count--;
}

/* Few digits: m / 10^k with m < 10^15 reads back as `value` for the first k that fits, and for no
 * other m (decimals of 15 digits are further apart than doubles). */
static bool shortest_exact(double value, struct shortest *made)
{
    if (value < 1e-5 || value >= 1e15)
        return false;
    for (int k = 0; k <= EXACT_POWER; k++) {
        double scaled = value * powers[k];
        uint64_t whole;

        if (scaled >= 1e15)
            return false;
        whole = (uint64_t)(scaled + 0.5);
        if (whole == 0 || (double)whole / powers[k] != value)
            continue;
        made->count = (int)dw_num_print_int((int64_t)whole, made->digits);
        made->point = made->count - k;
        strip_zeros(made);
        return true;
    }
    return false;
}

/* Prints `digits` significant digits; true when they read back as the same number. */
static bool try_digits(double value, bool single, int digits, struct shortest *made)
{
    char text[DW_NUM_MAX];
    int exponent;

    (void)snprintf(text, sizeof text, "%.*e", digits - 1, value);
    if (single ? (double)strtof(text, NULL) != value : strtod(text, NULL) != value)
        return false;
    made->digits[0] = text[0];
    if (digits > 1)
        memcpy(made->digits + 1, text + 2, (size_t)digits - 1);
    exponent = (int)strtol(text + (digits > 1 ? digits + 2 : 2), NULL, 10);
    made->count = digits;
    made->point = exponent + 1;
    strip_zeros(made);
    return true;
}

/* Just above a power of two numbers lie twice as dense below as above, so that the shortest digits
 * may be those above the nearest ones of that length. */
static bool try_above(double value, int digits, struct shortest *made)
{
    char text[DW_NUM_MAX];
    int exponent;

    (void)snprintf(text, sizeof text, "%.*e", digits - 1, value);
    if (strtod(text, NULL) > value || text[digits] == '9')
        return false;
    text[digits]++;
    exponent = (int)strtol(text + digits + 2, NULL, 10);
    if (strtod(text, NULL) != value)
        return false;
    made->digits[0] = text[0];
    memcpy(made->digits + 1, text + 2, (size_t)digits - 1);
    made->count = digits;
    made->point = exponent + 1;
    return true;
}

static void shortest_of(double value, bool single, struct shortest *made)
{
    int exponent;
    int most = single ? FLT_DIG + 3 : DBL_DIG + 2;
    int least = single ? FLT_DIG : DBL_DIG;

    if (!single && shortest_exact(value, made))
        return;
    if (value < (single ? (double)FLT_MIN : DBL_MIN))
        least = 2; /* subnormal: fewer digits may do, and Java wants two */
    for (int digits = least; digits <= most; digits++) {
        if (try_digits(value, single, digits, made))
            return;
        if (!single && digits == DBL_DIG + 1 && frexp(value, &exponent) == 0.5 && try_above(value, digits, made))
            return;
    }
}

/* Digits with a point and no exponent, at least one digit on each side of it. */
static size_t print_plain(const struct shortest *made, char *out)
{
    size_t len = 0;

    if (made->point < 1)
        out[len++] = '0';
    for (int i = 0; i < made->point; i++)
        out[len++] = (char)(i < made->count ? made->digits[i] : '0');
    out[len++] = '.';
    for (int i = made->point; i < 0; i++)
        out[len++] = '0';
    for (int i = made->point < 0 ? 0 : made->point; i < made->count; i++)
        out[len++] = made->digits[i];
    if (made->point >= made->count)
        out[len++] = '0';
    out[len] = '\0';
    return len;
}

static size_t print_exponent(const struct shortest *made, char *out)
{
    char exponent[DW_NUM_MAX];
    size_t len = 0, exponent_len = dw_num_print_int(made->point - 1, exponent);

    out[len++] = made->digits[0];
    out[len++] = '.';
    if (made->count == 1)
        out[len++] = '0';
    memcpy(out + len, made->digits + 1, (size_t)made->count - 1);
    len += (size_t)made->count - 1;
    out[len++] = 'E';
    memcpy(out + len, exponent, exponent_len + 1);
    return len + exponent_len;
}

static size_t print_real(double value, bool single, char out[DW_NUM_MAX])
{
    struct shortest made = {.count = 0};
    size_t len = 0;

    if (signbit(value))
        out[len++] = '-';
    value = fabs(value);
    if (value == 0) {
        memcpy(out + len, "0.0", 4);
        return len + 3;
    }
    shortest_of(value, single, &made);
    if (value >= 1e7 || value < 1e-3)
        return len + print_exponent(&made, out + len);
    return len + print_plain(&made, out + len);
}

size_t dw_num_print_double(double value, char out[DW_NUM_MAX])
{
    return print_real(value, false, out);
}

size_t dw_num_print_float(double value, char out[DW_NUM_MAX])
{
    return print_real(value, true, out);
}
