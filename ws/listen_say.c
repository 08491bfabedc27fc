/* What is printed: a line for each handshake, time-out, event and end.  What a server sent is never written raw, for a
 * terminal obeys control characters: everything goes through the JSON writer, and its C1 characters are escaped. */
#include "ws/listen.h"

#include "base/clock.h"
#include "chsk/packer.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void print(struct dw_buf *line)
{
    bool whole = !dw_buf_failed(line);

    for (size_t i = 0; whole && i < line->len; i++) {
        unsigned char byte = (unsigned char)line->data[i];
        unsigned char next = i + 1 < line->len ? (unsigned char)line->data[i + 1] : 0;

        if (byte == 0xC2 && next >= 0x80 && next < 0xA0) {
            (void)printf("\\u%04x", next);
            i++;
        } else if (byte == 0x7F) {
            (void)fputs("\\u007f", stdout);
        } else {
            (void)putchar(byte);
        }
    }
    dw_buf_fini(line);
    (void)putchar('\n');
    if (fflush(stdout) != 0 || !whole)
        exit(whole && errno == EPIPE ? 0 : 1); /* who read it has seen enough */
}

static void add(struct dw_buf *line, const struct dw_value *value)
{
    if (dw_packer_json.write(value != NULL ? value : dw_nil(), line, NULL) != DW_OK)
        dw_buf_adds(line, "null");
}

/* The names and their values, in both forms of a line.  `names` ends with NULL. */
static void say(const struct dw_listen *listen, const char *what, const char *over, const char *const *names,
                const struct dw_value *const *values)
{
    struct dw_buf line = DW_BUF_INIT;
    int64_t now = dw_clock_wall_ms();
    time_t seconds = (time_t)(now / 1000);
    struct tm utc;
    char time[32];

    if (listen->json) {
        dw_buf_addf(&line, "{\"at\":%" PRId64 ",\"what\":\"%s\",\"transport\":\"%s\"", now, what, over);
    } else {
        if (gmtime_r(&seconds, &utc) == NULL || strftime(time, sizeof time, "%Y-%m-%dT%H:%M:%S", &utc) == 0)
            time[0] = '\0';
        dw_buf_addf(&line, "%s.%03dZ %-4s %-*s", time, (int)(now % 1000), over, names[0] != NULL ? 9 : 0, what);
    }
    for (size_t i = 0; names[i] != NULL; i++) {
        if (listen->json)
            dw_buf_addf(&line, ",\"%s\":", names[i]);
        else
            dw_buf_addc(&line, ' ');
        add(&line, values[i]);
    }
    if (listen->json)
        dw_buf_addc(&line, '}');
    print(&line);
}

void dw_listen_note(const struct dw_listen *listen, const char *over, const char *what, const char *why, size_t len)
{
    static const char *const names[] = {"why", NULL};
    struct dw_arena *arena = dw_arena_new(0);
    const struct dw_value *value = arena != NULL ? dw_text(arena, DW_T_STRING, why, len) : NULL;

    say(listen, what, over, names, &value);
    dw_arena_free(arena);
}

static const struct dw_value *item(const struct dw_value *value, size_t at)
{
    return value != NULL && value->type == DW_T_VECTOR && at < value->u.seq.count ? value->u.seq.items[at] : NULL;
}

static bool is(const struct dw_value *value, const char *name)
{
    return value != NULL && value->type == DW_T_STRING && dw_is_text(value, DW_T_STRING, name, strlen(name));
}

static bool say_message(const struct dw_listen *listen, const char *over, const struct dw_value *value)
{
    static const char *const handshake[] = {"uid", "data", NULL}, *const event[] = {"event", "data", NULL},
                             *const nothing[] = {NULL}, *const other[] = {"value", NULL};

    if (is(value, "chsk/ws-ping"))
        return true;
    if (is(value, "chsk/timeout")) {
        say(listen, "timeout", over, nothing, NULL);
    } else if (is(item(value, 0), "chsk/handshake")) {
        const struct dw_value *all[] = {item(item(value, 1), 0), item(item(value, 1), 2)};

        say(listen, "handshake", over, handshake, all);
    } else if (item(item(value, 0), 0) != NULL) {
        for (size_t i = 0; i < value->u.seq.count; i++) {
            const struct dw_value *all[] = {item(item(value, i), 0), item(item(value, i), 1)};

            say(listen, "event", over, event, all);
        }
    } else {
        say(listen, "other", over, other, &value);
    }
    return false;
}

bool dw_listen_message(const struct dw_listen *listen, const char *over, const char *bytes, size_t len)
{
    struct dw_arena *arena = dw_arena_new(0);
    const struct dw_limits limits = {.max_depth = 1000, .max_items = SIZE_MAX, .max_bytes = SIZE_MAX};
    const struct dw_value *message = NULL;
    bool ping = false;

    if (arena != NULL && dw_packer_json.read(bytes, len, &limits, arena, &message, NULL, NULL) == DW_OK &&
        item(message, 0) != NULL)
        ping = say_message(listen, over, item(message, 0));
    else
        dw_listen_note(listen, over, "unreadable", bytes, len < 200 ? len : 200);
    dw_arena_free(arena);
    return ping;
}
