/* Settings: one typed table (DW_SETTINGS), filled from an INI file, the environment and parameters
 * of the web server, in that order.
 *
 * `[section] key` in the file is DUMBWAITER_SECTION_KEY in the environment and as a CGI/FastCGI
 * parameter (SetEnv).  A request header arrives as HTTP_..., so a client can't set anything. */
#ifndef DW_BASE_CONF_H
#define DW_BASE_CONF_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DW_SESSION_SQL                                                                                                 \
    "SELECT uid, csrf_token, handshake_data, expires_at FROM dw_session "                                              \
    "WHERE sid=:sid AND (expires_at IS NULL OR expires_at>:now_ms)"

/* X(kind, member, "section", "key", default, low, high): kind is INT (low..high), STR, or WORD
 * (default is the first of a list of allowed words, separated by '|'). */
#define DW_SETTINGS(X)                                                                                                 \
    X(STR, store_path, "store", "path", "", 0, 0)                                                                      \
    X(INT, store_retain_ms, "store", "retain_ms", 300000, 1000, 86400000000)                                           \
    X(INT, store_busy_ms, "store", "busy_ms", 5000, 0, 600000)                                                         \
    X(STR, chsk_packer, "chsk", "packer", "edn", 0, 0)                                                                 \
    X(INT, chsk_generation, "chsk", "generation", 3, 1, 3)                                                             \
    X(WORD, chsk_json_keys, "chsk", "json_keys", "keyword|string", 0, 0)                                               \
    X(WORD, chsk_inbox_format, "chsk", "inbox_format", "json|edn|transit", 0, 0)                                       \
    X(INT, chsk_lp_timeout_ms, "chsk", "lp_timeout_ms", 20000, 100, 3600000)                                           \
    X(INT, chsk_close_grace_ws_ms, "chsk", "close_grace_ws_ms", 2500, 0, 600000)                                       \
    X(INT, chsk_close_grace_ajax_ms, "chsk", "close_grace_ajax_ms", 5000, 0, 600000)                                   \
    X(INT, chsk_batch_ajax_ms, "chsk", "batch_ajax_ms", 0, 0, 10000)                                                   \
    X(INT, chsk_batch_ws_ms, "chsk", "batch_ws_ms", 0, 0, 10000)                                                       \
    X(INT, chsk_ws_kalive_ms, "chsk", "ws_kalive_ms", 25000, 100, 3600000)                                             \
    X(INT, chsk_ws_ping_timeout_ms, "chsk", "ws_ping_timeout_ms", 10000, 100, 3600000)                                 \
    X(INT, chsk_ws_barrier_ms, "chsk", "ws_barrier_ms", 100, 0, 60000)                                                 \
    X(WORD, auth_uid, "auth", "uid", "session|token|remote_user|client_id|none", 0, 0)                                 \
    X(STR, auth_session_cookie, "auth", "session_cookie", "dw_sid", 0, 0)                                              \
    X(STR, auth_session_sql, "auth", "session_sql", DW_SESSION_SQL, 0, 0)                                              \
    X(INT, auth_session_ms, "auth", "session_ms", 250, 1, 60000)                                                       \
    X(STR, auth_token_key_file, "auth", "token_key_file", "", 0, 0)                                                    \
    X(STR, auth_token_cookie, "auth", "token_cookie", "dw_token", 0, 0)                                                \
    X(STR, auth_token_param, "auth", "token_param", "token", 0, 0)                                                     \
    X(WORD, auth_csrf, "auth", "csrf", "on|off", 0, 0)                                                                 \
    X(STR, auth_allowed_origins, "auth", "allowed_origins", "", 0, 0)                                                  \
    X(WORD, auth_require_uid, "auth", "require_uid", "off|on", 0, 0)                                                   \
    X(INT, limits_message_bytes, "limits", "message_bytes", 65536, 1, 1073741824)                                      \
    X(INT, limits_nesting, "limits", "nesting", 64, 1, 10000)                                                          \
    X(INT, limits_items, "limits", "items", 100000, 1, 100000000)                                                      \
    X(INT, limits_query_bytes, "limits", "query_bytes", 8192, 64, 1048576)                                             \
    X(INT, limits_client_id_bytes, "limits", "client_id_bytes", 128, 1, 1024)                                          \
    X(INT, limits_batch, "limits", "batch", 511, 1, 511)                                                               \
    X(INT, limits_batch_bytes, "limits", "batch_bytes", 1048576, 1024, 1073741824)                                     \
    X(INT, limits_sockets_per_uid, "limits", "sockets_per_uid", 100, 0, 1000000)                                       \
    X(INT, limits_sockets, "limits", "sockets", 10000, 1, 1000000)                                                     \
    X(INT, limits_sockets_per_address, "limits", "sockets_per_address", 0, 0, 1000000)                                 \
    X(INT, limits_messages_per_s, "limits", "messages_per_s", 100, 1, 1000000)                                         \
    X(INT, limits_outbound_bytes, "limits", "outbound_bytes", 1048576, 1024, 1073741824)                               \
    X(INT, limits_callbacks, "limits", "callbacks", 64, 1, 100000)                                                     \
    X(INT, limits_parked, "limits", "parked", 20000, 0, 1000000)                                                       \
    X(INT, limits_holders, "limits", "holders", 0, 0, 100000)                                                          \
    X(INT, limits_retry_ms, "limits", "retry_ms", 5000, 100, 3600000)                                                  \
    X(INT, limits_request_ms, "limits", "request_ms", 30000, 100, 600000)                                              \
    X(INT, limits_threads, "limits", "threads", 4, 1, 64)                                                              \
    X(STR, ws_listen, "ws", "listen", "127.0.0.1:8090", 0, 0)                                                          \
    X(WORD, ws_proxy, "ws", "proxy", "auto|on|off", 0, 0)                                                              \
    X(STR, ws_user_header, "ws", "user_header", "", 0, 0)                                                              \
    X(INT, ws_handshake_ms, "ws", "handshake_ms", 10000, 1000, 600000)                                                 \
    X(INT, ws_header_bytes, "ws", "header_bytes", 8192, 1024, 65536)                                                   \
    X(INT, ws_drain_ms, "ws", "drain_ms", 5000, 0, 600000)                                                             \
    X(WORD, ws_deflate, "ws", "deflate", "off|on", 0, 0)                                                               \
    X(WORD, log_level, "log", "level", "info|error|warn|debug", 0, 0)                                                  \
    X(WORD, log_target, "log", "target", "stderr|syslog", 0, 0)                                                        \
    X(WORD, log_format, "log", "format", "text|json", 0, 0)

struct dw_conf {
#define DW_CONF_INT(member) int64_t member;
#define DW_CONF_STR(member) char *member;
#define DW_CONF_WORD(member) char *member;
#define DW_CONF_MEMBER(kind, member, section, key, fallback, low, high) DW_CONF_##kind(member)
    DW_SETTINGS(DW_CONF_MEMBER)
#undef DW_CONF_MEMBER
#undef DW_CONF_INT
#undef DW_CONF_STR
#undef DW_CONF_WORD
    char *file;           /* the file that was read, NULL: none */
    bool path_by_default; /* nobody has set store.path: it is where the program happens to lie */
};

/* All settings at their defaults.  DW_NOMEM. */
int dw_conf_init(struct dw_conf *conf, struct dw_err *err);
void dw_conf_fini(struct dw_conf *conf);

/* Sets one; DW_CONF with a sentence for an unknown name, a bad number or word. */
int dw_conf_set(struct dw_conf *conf, const char *section, const char *key, const char *value, struct dw_err *err);

/* Reads an INI file; DW_NOTFOUND when it can't be opened, DW_CONF with file and line. */
int dw_conf_read(struct dw_conf *conf, const char *path, struct dw_err *err);

/* Applies every DUMBWAITER_SECTION_KEY=value of an environment block (NULL-terminated, as environ or
 * a FastCGI request's parameters).  DUMBWAITER_CONF and DUMBWAITER_DB are left to the caller, names
 * that are no setting are a DW_CONF error: a misspelt limit should not be silently missing. */
int dw_conf_env(struct dw_conf *conf, char *const *env, struct dw_err *err);

/* dw_conf_env, then `db` or $DUMBWAITER_DB, and store.path made absolute. */
int dw_conf_apply(struct dw_conf *conf, const char *db, char *const *env, struct dw_err *err);

/* What every program does at start: --config or $DUMBWAITER_CONF or dumbwaiter.conf beside the program
 * or /etc/dumbwaiter/dumbwaiter.conf, then the environment, then --db or $DUMBWAITER_DB; store.path
 * ends up absolute, "dumbwaiter.db beside the program" by default.  A file that was named must exist.
 * `config` and `db` may be NULL. */
int dw_conf_load(struct dw_conf *conf, const char *config, const char *db, char *const *env, struct dw_err *err);

/* Calls `fn` with "section.key" and the value as text, in table order. */
typedef void dw_conf_fn(void *context, const char *name, const char *value);
void dw_conf_each(const struct dw_conf *conf, dw_conf_fn *fn, void *context);

#endif
