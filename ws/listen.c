/* dumbwaiter-listen: started by `dumbwaiter listen`, which has checked the arguments.  Listens as a client does: shakes
 * hands, polls or holds a WebSocket, comes back when the connection breaks, and ends when it is refused. */
#include "ws/listen.h"

#include "base/clock.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define FIRST_PAUSE_MS 500
#define LONGEST_PAUSE_MS 15000

enum next { GO_ON, COME_BACK, REFUSED };

static void stop(int number)
{
    (void)number;
    _exit(0); /* every line has been flushed, and a server copes with a client that has gone */
}

static bool is_refusal(int status)
{
    return status >= 400 && status < 500;
}

static enum next ended(const struct dw_listen *listen, const char *over)
{
    char why[192];
    bool refused = is_refusal(listen->status);

    if (listen->status != 0 && !listen->opened)
        (void)snprintf(why, sizeof why, "HTTP %d, %s", listen->status, listen->why);
    else
        (void)snprintf(why, sizeof why, "%s", listen->why);
    dw_listen_note(listen, over, refused ? "refused" : "closed", why, strlen(why));
    return refused ? REFUSED : COME_BACK;
}

static enum next poll_once(struct dw_listen *listen, bool handshake)
{
    char more[64];

    (void)snprintf(more, sizeof more, "&udt=%" PRId64 "%s", dw_clock_wall_ms(), handshake ? "&handshake%3F=1" : "");
    dw_listen_get(listen, more);
    if (!listen->opened || listen->status != 200) {
        if (listen->opened && listen->status >= 400)
            (void)snprintf(listen->why, sizeof listen->why, "%.100s", dw_buf_str(&listen->body));
        listen->opened = false;
        return ended(listen, "ajax");
    }
    (void)dw_listen_message(listen, "ajax", listen->body.data, listen->body.len);
    return GO_ON;
}

static void rest(int *pause_ms)
{
    int64_t ms = *pause_ms / 2 + (int64_t)dw_clock_jitter((uint64_t)*pause_ms);

    (void)usleep((useconds_t)ms * 1000);
    *pause_ms = *pause_ms < LONGEST_PAUSE_MS / 2 ? *pause_ms * 2 : LONGEST_PAUSE_MS;
}

static int over_ajax(struct dw_listen *listen)
{
    int pause_ms = FIRST_PAUSE_MS;
    bool handshake = true;

    for (;;) {
        enum next next = poll_once(listen, handshake);

        if (next == REFUSED)
            return 1;
        handshake = next == COME_BACK; /* the last answer may not have arrived */
        if (next == COME_BACK)
            rest(&pause_ms);
        else
            pause_ms = FIRST_PAUSE_MS;
    }
}

/* -1: the first attempt failed, and Ajax may be tried instead. */
static int over_socket(struct dw_listen *listen, bool only)
{
    int pause_ms = FIRST_PAUSE_MS;
    bool ever = false;

    for (;;) {
        dw_listen_socket(listen);
        ever |= listen->opened;
        if (ended(listen, "ws") == REFUSED && only)
            return 1;
        if (!only && !ever)
            return -1;
        if (listen->opened)
            pause_ms = FIRST_PAUSE_MS;
        rest(&pause_ms);
    }
}

int main(int argc, char **argv)
{
    struct dw_listen listen = {.body = DW_BUF_INIT};
    int status = -1;

    if (argc != 7) {
        (void)fputs("dumbwaiter-listen is a part of dumbwaiter; see `dumbwaiter listen --help`\n", stderr);
        return 2;
    }
    listen.json = argv[2][0] == '1';
    listen.url = argv[3];
    listen.client_id = argv[4];
    listen.cookie = argv[5][0] != '\0' ? argv[5] : NULL;
    listen.csrf_token = argv[6][0] != '\0' ? argv[6] : NULL;
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGINT, stop);
    (void)signal(SIGTERM, stop);
    (void)signal(SIGHUP, stop);
    if (!dw_listen_net_open(&listen)) {
        (void)fputs("dumbwaiter: libwebsockets can't be set up\n", stderr);
        return 1;
    }
    if (strcmp(argv[1], "ajax") != 0)
        status = over_socket(&listen, strcmp(argv[1], "ws") == 0);
    if (status < 0)
        status = over_ajax(&listen);
    dw_listen_net_close(&listen);
    return status;
}
