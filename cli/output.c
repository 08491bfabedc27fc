/* Standard output (see output.h). */
#include "cli/output.h"

#include "chsk/json.h"
#include "chsk/packer.h"
#include "chsk/utf8.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int dw_output(struct dw_cli *cli, struct dw_buf *buf)
{
    struct dw_err err = {.code = 0};
    size_t done = 0;
    ssize_t wrote;

    if (dw_buf_failed(buf))
        return dw_cli_fail(cli, NULL, DW_NOMEM);
    while (done < buf->len) {
        wrote = write(STDOUT_FILENO, buf->data + done, buf->len - done);
        if (wrote >= 0)
            done += (size_t)wrote;
        else if (errno == EPIPE) {
            cli->output_gone = true;
            break;
        } else if (errno != EINTR)
            return dw_cli_fail(cli, &err, dw_err_set(&err, DW_SYSTEM, "cannot write the output: %s", strerror(errno)));
    }
    dw_buf_reset(buf);
    return DW_EXIT_OK;
}

/* A code point that a terminal may act on: C0, DEL, C1, and those that reorder or hide text. */
static bool is_harmful(uint32_t c)
{
    return c < 0x20 || (c >= 0x7f && c < 0xa0) || (c >= 0x200b && c <= 0x200f) || (c >= 0x2028 && c <= 0x202e) ||
           (c >= 0x2066 && c <= 0x2069) || c == 0xfeff;
}

void dw_output_plain(struct dw_buf *buf, const char *text, size_t len)
{
    size_t valid = 0;
    size_t size = 0;

    if (text == NULL) {
        dw_buf_addc(buf, '-');
        return;
    }
    for (size_t at = 0; at < len; at += size) {
        if (at >= valid)
            valid = at + dw_utf8_valid(text + at, len - at);
        size = 1;
        if (at < valid && !is_harmful(dw_utf8_decode(text + at, &size)))
            dw_buf_add(buf, text + at, size);
        else
            for (size_t i = 0; i < size; i++)
                dw_buf_addf(buf, "\\x%02x", (unsigned char)text[at + i]);
    }
}

void dw_output_time(struct dw_buf *buf, int64_t ms)
{
    time_t seconds = (time_t)(ms / 1000);
    struct tm utc;
    char text[32];

    if (ms <= 0 || gmtime_r(&seconds, &utc) == NULL || strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &utc) == 0)
        dw_buf_addc(buf, '-');
    else
        dw_buf_addf(buf, "%s.%03dZ", text, (int)(ms % 1000));
}

/* JSON is UTF-8: each byte that is not becomes U+FFFD. */
void dw_output_string(struct dw_buf *buf, const char *text, size_t len)
{
    struct dw_buf clean = DW_BUF_INIT;
    size_t at = 0;

    if (text == NULL) {
        dw_buf_adds(buf, "null");
        return;
    }
    while (at < len) {
        size_t valid = dw_utf8_valid(text + at, len - at);

        dw_buf_add(&clean, text + at, valid);
        at += valid;
        if (at < len) {
            dw_buf_adds(&clean, "\xef\xbf\xbd");
            at++;
        }
    }
    dw_json_put_string(buf, dw_buf_str(&clean), clean.len, false);
    buf->failed = buf->failed || clean.failed;
    dw_buf_fini(&clean);
}

void dw_output_cstring(struct dw_buf *buf, const char *text)
{
    dw_output_string(buf, text, text != NULL ? strlen(text) : 0);
}

static bool is_json(const char *data, size_t len)
{
    const struct dw_limits limits = {.max_depth = 10000, .max_items = SIZE_MAX / 2, .max_bytes = SIZE_MAX / 2};
    struct dw_arena *arena = dw_arena_new(SIZE_MAX / 2);
    const struct dw_value *value;
    bool valid = arena != NULL && dw_packer_json.read(data, len, &limits, arena, &value, NULL, NULL) == DW_OK;

    dw_arena_free(arena);
    return valid;
}

void dw_output_data(struct dw_buf *buf, const char *data, size_t len, const char *format)
{
    if (data == NULL || format == NULL || strcmp(format, "json") != 0 || !is_json(data, len)) {
        dw_output_string(buf, data, len);
        return;
    }
    /* In JSON, control characters are only white space between tokens. */
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)data[i] < 0x20)
            dw_buf_addc(buf, ' ');
        else
            dw_buf_addc(buf, data[i]);
}
