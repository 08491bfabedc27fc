/* Writes log records; configured once per process before its threads start. */
#include "base/log.h"

#include "base/buf.h"
#include "base/clock.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

static const char *const level_names[] = {"error", "warn", "info", "debug"};
static const int syslog_levels[] = {LOG_ERR, LOG_WARNING, LOG_INFO, LOG_DEBUG};

static struct {
    const char *name;
    enum dw_log_level level;
    bool to_syslog;
    bool json;
    bool names;
} settings = {"dumbwaiter", DW_LOG_INFO, false, false, false};

bool dw_log_setup(const char *name, const char *level, const char *target, const char *format)
{
    bool known = false;
    size_t i;

    settings.name = name;
    for (i = 0; i < sizeof level_names / sizeof level_names[0]; i++) {
        if (strcmp(level, level_names[i]) == 0) {
            settings.level = (enum dw_log_level)i;
            known = true;
        }
    }
    settings.to_syslog = strcmp(target, "syslog") == 0;
    settings.json = strcmp(format, "json") == 0;
    if (settings.to_syslog)
        openlog(name, LOG_PID | LOG_NDELAY, LOG_DAEMON);
    return known && (settings.to_syslog || strcmp(target, "stderr") == 0) &&
           (settings.json || strcmp(format, "text") == 0);
}

void dw_log_names(bool shown)
{
    settings.names = shown;
}

const char *dw_log_who(char text[DW_LOG_WHO], const char *uid, const char *client_id)
{
    text[0] = '\0';
    if (settings.names)
        (void)snprintf(text, DW_LOG_WHO, " (%s%.128s, %s%.128s)", uid != NULL ? "uid " : "no uid",
                       uid != NULL ? uid : "", client_id != NULL ? "client " : "no client id",
                       client_id != NULL ? client_id : "");
    return text;
}

bool dw_log_enabled(enum dw_log_level level)
{
    return level <= settings.level;
}

/* The length of the well-formed UTF-8 sequence of a printable character beyond ASCII, 0: there is none. */
static size_t beyond_ascii(const unsigned char *p)
{
    size_t len = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2, i;

    if (p[0] < 0xc2 || p[0] > 0xf4 || (p[0] == 0xc2 && p[1] < 0xa0) || (p[0] == 0xe0 && p[1] < 0xa0) ||
        (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
        return 0;
    for (i = 1; i < len; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    }
    return len;
}

/* Parts of a record may come from strangers: a line break would begin a record of their own, a terminal obeys
 * escapes and the control characters of Latin-1 (U+0080 to U+009F), and readers of JSON want UTF-8. */
static void make_plain(char *text, bool controls_too)
{
    unsigned char *p = (unsigned char *)text;
    size_t len;

    while (*p != '\0') {
        len = *p < 0x80 ? *p != 0x7f && (*p >= 0x20 || !controls_too) : beyond_ascii(p);
        if (len == 0)
            *p = '?';
        p += len > 0 ? len : 1;
    }
}

static void add_json_string(struct dw_buf *line, const char *text)
{
    const char *p;

    for (p = text; *p != '\0'; p++) {
        unsigned char c = (unsigned char)*p;

        if (c == '"' || c == '\\')
            dw_buf_addf(line, "\\%c", c);
        else if (c < 0x20)
            dw_buf_addf(line, "\\u%04x", c);
        else
            dw_buf_addc(line, (char)c);
    }
}

void dw_log(enum dw_log_level level, const char *format, ...)
{
    char text[1024], stamp[32];
    struct dw_buf line = DW_BUF_INIT;
    int64_t now = dw_clock_wall_ms();
    time_t seconds = (time_t)(now / 1000);
    struct tm tm;
    va_list args;

    if (!dw_log_enabled(level))
        return;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    make_plain(text, settings.to_syslog || !settings.json);
    if (settings.to_syslog) {
        syslog(syslog_levels[level], "%s", text);
        return;
    }
    if (gmtime_r(&seconds, &tm) == NULL || strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &tm) == 0)
        stamp[0] = '\0';
    if (settings.json) {
        dw_buf_addf(&line, "{\"time\":\"%s.%03dZ\",\"level\":\"%s\",\"name\":\"%s\",\"pid\":%ld,\"message\":\"", stamp,
                    (int)(now % 1000), level_names[level], settings.name, (long)getpid());
        add_json_string(&line, text);
        dw_buf_adds(&line, "\"}\n");
    } else {
        dw_buf_addf(&line, "%s.%03dZ %s[%ld] %s: %s\n", stamp, (int)(now % 1000), settings.name, (long)getpid(),
                    level_names[level], text);
    }
    /* A log that can't be written is no reason to stop serving. */
    if (!dw_buf_failed(&line) && write(STDERR_FILENO, line.data, line.len) < 0) {
    }
    dw_buf_fini(&line);
}

bool dw_log_due(struct dw_log_limit *limit, int64_t now_ms, uint64_t *left_out)
{
    int64_t again = atomic_load(&limit->again_ms);

    if (now_ms < again || !atomic_compare_exchange_strong(&limit->again_ms, &again, now_ms + DW_LOG_PAUSE_MS)) {
        (void)atomic_fetch_add(&limit->left_out, 1);
        return false;
    }
    *left_out = atomic_exchange(&limit->left_out, 0);
    return true;
}

void dw_log_limited(struct dw_log_limit *limit, enum dw_log_level level, const char *format, ...)
{
    char text[900];
    uint64_t left_out;
    va_list args;

    if (!dw_log_enabled(level) || !dw_log_due(limit, dw_clock_mono_ms(), &left_out))
        return;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (left_out > 0)
        dw_log(level, "%s (and %" PRIu64 " more of this kind before)", text, left_out);
    else
        dw_log(level, "%s", text);
}
