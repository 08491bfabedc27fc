/* Response heads; see request.h. */
#include "hub/request.h"

#include "base/clock.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FORM_FACTOR 3
#define FORM_FIELDS 4096
#define FAR_MS INT64_C(1000000000000) /* 30 years */

size_t dw_request_body_max(const struct dw_conf *conf)
{
    return FORM_FACTOR * (size_t)conf->limits_message_bytes + FORM_FIELDS;
}

int64_t dw_parked_expiry(const struct dw_parked *parked)
{
    int64_t left = parked->expires_at - dw_clock_wall_ms();

    return parked->expires_at == 0 || left > FAR_MS ? INT64_MAX
                                                    : dw_clock_mono_ms() + left + 1; /* both clocks were cut */
}

static const char *reason(int status)
{
    switch (status) {
    case 200:
        return "OK";
    case 400:
        return "Bad Request";
    case 401:
        return "Unauthorized";
    case 403:
        return "Forbidden";
    case 404:
        return "Not Found";
    case 405:
        return "Method Not Allowed";
    case 413:
        return "Content Too Large";
    case 414:
        return "URI Too Long";
    case 415:
        return "Unsupported Media Type";
    case 426:
        return "Upgrade Required";
    case 501:
        return "Not Implemented";
    case 503:
        return "Service Unavailable";
    default:
        return "Internal Server Error";
    }
}

void dw_answer_head(const struct dw_answer *answer, struct dw_buf *out)
{
    dw_buf_addf(out, "Status: %d %s\r\n", answer->status, reason(answer->status));
    dw_buf_addf(out, "Content-Type: %s\r\n", answer->binary ? "application/octet-stream" : "text/plain; charset=utf-8");
    dw_buf_addf(out, "Content-Length: %zu\r\n", answer->body.len);
    /* No cache may answer for us and no proxy may hold the answer back or rewrite it; sniffing would
     * let a crafted link run what a client sent. */
    dw_buf_adds(out, "Cache-Control: no-store, no-transform\r\n"
                     "X-Accel-Buffering: no\r\n"
                     "X-Content-Type-Options: nosniff\r\n");
    if (answer->retry_ms > 0)
        dw_buf_addf(out, "Retry-After: %" PRId64 "\r\n", (answer->retry_ms + 999) / 1000);
    if (answer->allow != NULL)
        dw_buf_addf(out, "Allow: %s\r\n", answer->allow);
    if (answer->upgrade != NULL)
        dw_buf_addf(out, "Upgrade: %s\r\n", answer->upgrade);
    dw_buf_adds(out, "\r\n");
}

void dw_answer_text(struct dw_answer *answer, int status, const char *format, ...)
{
    char text[512];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    dw_buf_reset(&answer->body);
    dw_buf_adds(&answer->body, text);
    answer->status = status;
    answer->binary = false;
}

struct dw_parked *dw_parked_new(enum dw_parked_kind kind, const char *uid, const char *client_id, const char *sid)
{
    size_t uid_size = uid != NULL ? strlen(uid) + 1 : 0, id_size = strlen(client_id) + 1;
    size_t sid_size = sid != NULL ? strlen(sid) + 1 : 0;
    struct dw_parked *parked = calloc(1, sizeof *parked + uid_size + id_size + sid_size);

    if (parked == NULL)
        return NULL;
    parked->kind = kind;
    if (uid != NULL) {
        memcpy(parked->names, uid, uid_size);
        parked->uid = parked->names;
    }
    memcpy(parked->names + uid_size, client_id, id_size);
    parked->client_id = parked->names + uid_size;
    if (sid != NULL) {
        memcpy(parked->names + uid_size + id_size, sid, sid_size);
        parked->sid = parked->names + uid_size + id_size;
    }
    return parked;
}
