/* The log: one line per record, text or JSON, to standard error or syslog.
 *
 * Safe to call from any thread; a record is written with one write(2).  Never pass tokens, cookies
 * or payloads: a log may be readable by more people than the database.  Control characters and bytes that are
 * no UTF-8 come out as ?, in JSON as escapes where it has some: a stranger's text makes no record of its own. */
#ifndef DW_BASE_LOG_H
#define DW_BASE_LOG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum dw_log_level { DW_LOG_ERROR, DW_LOG_WARN, DW_LOG_INFO, DW_LOG_DEBUG };

/* Sets up the log for the process; call before threads start.  `name` must outlive the process's
 * last record.  Unknown words leave the default (info, stderr, text) and make it return false. */
bool dw_log_setup(const char *name, const char *level, const char *target, const char *format);

/* Whose request a record is about: " (uid alice, client tab1)" where `log.names` says so, else "".  Into `text`,
 * which is returned; either may be NULL.  Names are never logged in another way. */
#define DW_LOG_WHO 320
void dw_log_names(bool shown);
const char *dw_log_who(char text[DW_LOG_WHO], const char *uid, const char *client_id);

bool dw_log_enabled(enum dw_log_level level);
void dw_log(enum dw_log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* For records that a stranger can cause at will: one in DW_LOG_PAUSE_MS for each limit, with the number of
 * those that were left out.  A limit is a static, starts zeroed, and is shared by all threads. */
#define DW_LOG_PAUSE_MS 10000
struct dw_log_limit {
    _Atomic int64_t again_ms; /* monotonic */
    _Atomic uint64_t left_out;
};
/* True: log now, and say that *left_out were not logged since the last one. */
bool dw_log_due(struct dw_log_limit *limit, int64_t now_ms, uint64_t *left_out);
void dw_log_limited(struct dw_log_limit *limit, enum dw_log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#define dw_log_error(...) dw_log(DW_LOG_ERROR, __VA_ARGS__)
#define dw_log_warn(...) dw_log(DW_LOG_WARN, __VA_ARGS__)
#define dw_log_info(...) dw_log(DW_LOG_INFO, __VA_ARGS__)
#define dw_log_debug(...) dw_log(DW_LOG_DEBUG, __VA_ARGS__)

#endif
