/* Instants to and from text, in the proleptic Gregorian calendar, without the C library's time
 * functions (they depend on the environment's time zone). */
#include "chsk/inst.h"

#include <stdio.h>
#include <string.h>

static const int64_t ms_per_day = 86400000;
enum { DAYS_PER_ERA = 146097, YEARS_PER_ERA = 400 };

/* Years are counted from March, so that a leap day is a year's last day: then a day's number within
 * its year is (153 * month + 2) / 5 + day for months counted from March. */
static int64_t days_before(int64_t year, int64_t month, int64_t day)
{
    int64_t shifted = month > 2 ? year : year - 1;
    int64_t era = (shifted >= 0 ? shifted : shifted - (YEARS_PER_ERA - 1)) / YEARS_PER_ERA;
    int64_t in_era = shifted - era * YEARS_PER_ERA;
    int64_t in_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;

    /* 719468 days lie between 0000-03-01 and 1970-01-01 */
    return era * DAYS_PER_ERA + in_era * 365 + in_era / 4 - in_era / 100 + in_year - 719468;
}

static void date_of(int64_t days, int64_t *year, int *month, int *day)
{
    int64_t since = days + 719468;
    int64_t era = (since >= 0 ? since : since - (DAYS_PER_ERA - 1)) / DAYS_PER_ERA;
    int64_t in_era = since - era * DAYS_PER_ERA;
    int64_t year_of_era = (in_era - in_era / 1460 + in_era / 36524 - in_era / (DAYS_PER_ERA - 1)) / 365;
    int64_t in_year = in_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t shifted = (5 * in_year + 2) / 153;

    *day = (int)(in_year - (153 * shifted + 2) / 5 + 1);
    *month = (int)(shifted < 10 ? shifted + 3 : shifted - 9);
    *year = era * YEARS_PER_ERA + year_of_era + (*month <= 2 ? 1 : 0);
}

struct scan {
    const char *at, *end;
};

static bool skip(struct scan *scan, char c)
{
    if (scan->at == scan->end || *scan->at != c)
        return false;
    scan->at++;
    return true;
}

static bool digit(struct scan *scan, int *value)
{
    if (scan->at == scan->end || *scan->at < '0' || *scan->at > '9')
        return false;
    *value = *scan->at++ - '0';
    return true;
}

/* Exactly two digits, at most `most`. */
static bool two(struct scan *scan, int least, int most, int *value)
{
    int tens, ones;

    if (!digit(scan, &tens) || !digit(scan, &ones))
        return false;
    *value = tens * 10 + ones;
    return *value >= least && *value <= most;
}

/* YYYY, or a sign and 5 to 9 digits. */
static bool read_year(struct scan *scan, int64_t *year)
{
    bool minus = skip(scan, '-');
    bool sign = minus || skip(scan, '+');
    int count = 0, value;

    *year = 0;
    while (count < (sign ? 9 : 4) && digit(scan, &value)) {
        *year = *year * 10 + value;
        count++;
    }
    if (minus)
        *year = -*year;
    return sign ? count >= 4 : count == 4;
}

static int days_in(int64_t year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

    if (month == 2 && year % 4 == 0 && (year % 100 != 0 || year % 400 == 0))
        return 29;
    return days[month - 1];
}

struct parts {
    int64_t year;
    int month, day, hour, minute, second;
    int64_t nanos;
    int offset; /* minutes east of Greenwich */
};

static bool read_fraction(struct scan *scan, struct parts *parts)
{
    int64_t unit = 100000000;
    int value;

    if (!digit(scan, &value))
        return false;
    do {
        parts->nanos += value * unit;
        unit /= 10;
    } while (digit(scan, &value));
    return true;
}

/* Each part may only be there when the one before it is. */
static bool read_time(struct scan *scan, struct parts *parts)
{
    if (!skip(scan, '-'))
        return true;
    if (!two(scan, 1, 12, &parts->month))
        return false;
    if (!skip(scan, '-'))
        return true;
    if (!two(scan, 1, days_in(parts->year, parts->month), &parts->day))
        return false;
    if (!skip(scan, 'T'))
        return true;
    if (!two(scan, 0, 23, &parts->hour))
        return false;
    if (!skip(scan, ':'))
        return true;
    if (!two(scan, 0, 59, &parts->minute))
        return false;
    if (!skip(scan, ':'))
        return true;
    /* a leap second, as RFC 3339 allows at the end of an hour, is the next second */
    if (!two(scan, 0, parts->minute == 59 ? 60 : 59, &parts->second))
        return false;
    return skip(scan, '.') ? read_fraction(scan, parts) : true;
}

/* "-05:00" behind a bare date would be ambiguous with a month; dates come first, as in the grammar. */
static bool read_zone(struct scan *scan, struct parts *parts)
{
    int hours, minutes, sign;

    if (scan->at == scan->end)
        return true;
    if (skip(scan, 'Z'))
        return scan->at == scan->end;
    sign = *scan->at == '-' ? -1 : 1;
    if (!skip(scan, '-') && !skip(scan, '+'))
        return false;
    if (!two(scan, 0, 23, &hours) || !skip(scan, ':') || !two(scan, 0, 59, &minutes))
        return false;
    parts->offset = sign * (hours * 60 + minutes);
    return scan->at == scan->end;
}

bool dw_inst_parse(const char *text, size_t len, int64_t *ms, int32_t *ns)
{
    struct scan scan = {text, text + len};
    struct parts parts = {.month = 1, .day = 1};
    int64_t seconds;

    if (!read_year(&scan, &parts.year) || !read_time(&scan, &parts) || !read_zone(&scan, &parts))
        return false;
    seconds = (parts.hour * 60LL + parts.minute - parts.offset) * 60 + parts.second;
    if (__builtin_mul_overflow(days_before(parts.year, parts.month, parts.day), ms_per_day, ms) ||
        __builtin_add_overflow(*ms, seconds * 1000 + parts.nanos / 1000000, ms))
        return false;
    *ns = (int32_t)(parts.nanos % 1000000);
    return true;
}

size_t dw_inst_print(int64_t ms, int32_t ns, const char *zone, char out[DW_INST_MAX])
{
    int64_t days = ms / ms_per_day, in_day = ms % ms_per_day, year;
    int month, day, len, seconds, millis;

    if (in_day < 0) {
        in_day += ms_per_day;
        days--;
    }
    date_of(days, &year, &month, &day);
    seconds = (int)(in_day / 1000);
    millis = (int)(in_day % 1000);
    len = snprintf(out, DW_INST_MAX, year < 0 || year > 9999 ? "%+06lld" : "%04lld", (long long)year);
    len += snprintf(out + len, DW_INST_MAX - (size_t)len, "-%02d-%02dT%02d:%02d:%02d.%03d", month, day, seconds / 3600,
                    seconds / 60 % 60, seconds % 60, millis);
    if (ns != 0)
        len += snprintf(out + len, DW_INST_MAX - (size_t)len, "%06d", (int)ns);
    len += snprintf(out + len, DW_INST_MAX - (size_t)len, "%s", zone);
    return (size_t)len;
}
