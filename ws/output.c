/* What is sent to a client, at once where the kernel takes it, and what waits until it does: whole messages, shared
 * by the clients that get the same.
 *
 * Waiting for the socket to become writable costs four epoll_ctl(2) a message (libuv starts and stops watching for
 * reading each time too), more than the message itself.  So it is the exception: when the kernel has refused
 * something, and after AT_ONCE_BYTES, so that a fast reader's backlog does not hold up all others. */
#include "ws/server_internal.h"

#include <stdlib.h>
#include <string.h>

/* Written to one client before others get their turn. */
#define AT_ONCE_BYTES 65536

void dw_ws_message_unref(struct dw_ws_message *message)
{
    if (message != NULL && --message->users == 0)
        free(message);
}

/* The message with these bytes: the latest once more, or a new one. */
static struct dw_ws_message *message_of(struct dw_sidecar *sidecar, const char *bytes, size_t len)
{
    struct dw_ws_message *message = sidecar->latest;

    if (message != NULL && message->len == len && memcmp(message->bytes + LWS_PRE, bytes, len) == 0) {
        message->users++;
        return message;
    }
    message = malloc(sizeof *message + LWS_PRE + len);
    if (message == NULL)
        return NULL;
    message->len = len;
    message->users = 2; /* the caller's queue, and `latest` */
    memcpy(message->bytes + LWS_PRE, bytes, len);
    dw_ws_message_unref(sidecar->latest);
    sidecar->latest = message;
    return message;
}

/* Is the connection open, and what was written before with the kernel? */
static bool takes_more(const struct dw_ws_client *client)
{
    return client->listed && !client->peer_closed && !client->broken && client->written < AT_ONCE_BYTES &&
           lws_partial_buffered(client->wsi) == 0;
}

/* What does not fit into the connection at once is kept by the library, one message at most. */
static bool write_message(struct dw_sidecar *sidecar, struct dw_ws_client *client, struct dw_ws_message *message)
{
    enum lws_write_protocol kind = client->binary ? LWS_WRITE_BINARY : LWS_WRITE_TEXT;

    if (lws_write(client->wsi, message->bytes + LWS_PRE, message->len, kind) < 0)
        return false;
    dw_counter_add(&sidecar->hub.counters.socket_bytes, message->len);
    client->written += message->len;
    return true;
}

bool dw_ws_send(struct dw_sidecar *sidecar, struct dw_ws_client *client, const char *bytes, size_t len)
{
    struct dw_ws_queued *queued;
    struct dw_ws_message *message;

    /* The first one may be of any length: it is not counted. */
    if (client->first != NULL &&
        client->queued - client->first->message->len + len > (size_t)sidecar->conf->limits_outbound_bytes)
        return false;
    message = message_of(sidecar, bytes, len);
    if (message == NULL)
        return false;
    if (sidecar->writes_at_once && client->first == NULL && client->close_code == 0 && takes_more(client)) {
        client->broken = !write_message(sidecar, client, message);
        if (client->broken)
            (void)lws_callback_on_writable(client->wsi); /* the library closes only from there */
        dw_ws_message_unref(message);
        return true;
    }
    queued = malloc(sizeof *queued);
    if (queued == NULL) {
        dw_ws_message_unref(message);
        return false;
    }
    queued->next = NULL;
    queued->message = message;
    *(client->first != NULL ? &client->last->next : &client->first) = queued;
    client->last = queued;
    client->queued += len;
    if (client->listed) /* else its handshake's end will write it */
        (void)lws_callback_on_writable(client->wsi);
    return true;
}

bool dw_ws_has_room(const struct dw_ws_client *client)
{
    return client->close_code == 0 && client->first == NULL && lws_partial_buffered(client->wsi) == 0;
}

static void drop_first(struct dw_ws_client *client)
{
    struct dw_ws_queued *queued = client->first;

    client->first = queued->next;
    client->queued -= queued->message->len;
    dw_ws_message_unref(queued->message);
    free(queued);
}

void dw_ws_forget_output(struct dw_ws_client *client)
{
    while (client->first != NULL)
        drop_first(client);
}

int dw_ws_writable(struct dw_sidecar *sidecar, struct dw_ws_client *client)
{
    bool first = true;

    if (client->broken)
        return -1;
    client->written = 0;
    for (; client->first != NULL; first = false) {
        /* A compressing library may have more to write than we see. */
        if (!first && (sidecar->writes_at_once ? !takes_more(client) : lws_send_pipe_choked(client->wsi) != 0))
            break;
        if (!write_message(sidecar, client, client->first->message))
            return -1;
        drop_first(client);
    }
    if (client->first != NULL) {
        (void)lws_callback_on_writable(client->wsi);
        return 0;
    }
    if (client->close_code != 0) {
        dw_ws_close_soon(sidecar, client);
        return 0;
    }
    if (client->parked != NULL)
        dw_socket_drained(sidecar->lot, client->parked);
    return 0;
}
