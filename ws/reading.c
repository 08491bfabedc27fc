/* What clients send, seen before libwebsockets sees it: RFC 6455 section 5.1 wants a connection closed whose client
 * sends a frame without a mask.  The library notes whether a frame is masked, but in 4.1 tells nobody, takes the
 * frame, and offers no place from where its bytes could be seen: an extension gets payloads, a role can't be
 * added from outside, and reading ahead (MSG_PEEK) would cost a system call for each message.
 *
 * It reads from sockets by recv(2) alone.  This program's own `recv` comes before the C library's wherever the
 * linker looks, be the library shared or static (a program's symbols come first; without this file's being
 * linked nothing would be checked, which `dw_ws_check_reading` notices).  It passes the bytes on as they are, up to
 * the first unmasked frame; what came before is still answered, what comes after it is dropped.
 * Per read this costs a look at a table and at the frames' heads. */
#include "ws/server_internal.h"

#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define TABLE_STEP 1024
#define PROTOCOL_ERROR 1002 /* RFC 6455 section 7.4.1 */

/* Connections by descriptor: all that recv(2) knows.  Only the loop's thread has such a table. */
static _Thread_local struct {
    struct dw_ws_client **clients;
    size_t room;
} table;

/* By its name for the linker, so that no header's idea of `recv` gets in its way. */
ssize_t dw_ws_recv(int descriptor, void *bytes, size_t len, int flags) __asm__("recv");

ssize_t dw_ws_recv(int descriptor, void *bytes, size_t len, int flags)
{
    struct dw_ws_client *client = descriptor >= 0 && (size_t)descriptor < table.room ? table.clients[descriptor] : NULL;
    ssize_t got = recvfrom(descriptor, bytes, len, flags, NULL, NULL);
    size_t good;

    if (client == NULL || got <= 0)
        return got;
    if (client->unmasked) {
        errno = EAGAIN;
        return -1;
    }
    good = dw_ws_masks_scan(&client->masks, bytes, (size_t)got);
    if (good == (size_t)got)
        return got;
    client->unmasked = true;
    dw_ws_close(client, PROTOCOL_ERROR);
    if (good > 0)
        return (ssize_t)good;
    errno = EAGAIN;
    return -1;
}

bool dw_ws_watch_reading(struct dw_ws_client *client, int descriptor)
{
    size_t room = ((size_t)descriptor / TABLE_STEP + 1) * TABLE_STEP;
    struct dw_ws_client **larger;

    if (table.room < room) {
        larger = reallocarray(table.clients, room, sizeof(struct dw_ws_client *));
        if (larger == NULL)
            return false;
        memset(larger + table.room, 0, (room - table.room) * sizeof(struct dw_ws_client *));
        table.clients = larger;
        table.room = room;
    }
    table.clients[descriptor] = client;
    client->descriptor = descriptor;
    return true;
}

void dw_ws_unwatch_reading(const struct dw_ws_client *client)
{
    /* The descriptor may be another connection's already. */
    if (client->descriptor >= 0 && table.clients[client->descriptor] == client)
        table.clients[client->descriptor] = NULL;
}

void dw_ws_check_reading(const struct dw_ws_client *client)
{
    static bool warned;

    if (!warned && !dw_ws_masks_in_frames(&client->masks)) {
        dw_log_warn("libwebsockets reads from sockets by other means than recv(2): unmasked frames are not noticed");
        warned = true;
    }
}

void dw_ws_forget_reading(void)
{
    free(table.clients);
    memset(&table, 0, sizeof table);
}
