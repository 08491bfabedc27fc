/* What waits to be sent to a client: whole messages, shared by the clients that get the same. */
#include "ws/server_internal.h"

#include <stdlib.h>
#include <string.h>

/* Messages written before other clients get their turn. */
#define WRITE_ROUND 16

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

bool dw_ws_send(struct dw_sidecar *sidecar, struct dw_ws_client *client, const char *bytes, size_t len)
{
    struct dw_ws_queued *queued;

    /* The first one may be of any length: it is not counted. */
    if (client->first != NULL &&
        client->queued - client->first->message->len + len > (size_t)sidecar->conf->limits_outbound_bytes)
        return false;
    queued = malloc(sizeof *queued);
    if (queued == NULL)
        return false;
    queued->next = NULL;
    queued->message = message_of(sidecar, bytes, len);
    if (queued->message == NULL) {
        free(queued);
        return false;
    }
    *(client->first != NULL ? &client->last->next : &client->first) = queued;
    client->last = queued;
    client->queued += len;
    (void)lws_callback_on_writable(client->wsi);
    return true;
}

bool dw_ws_has_room(const struct dw_ws_client *client)
{
    return client->close_code == 0 && client->first == NULL;
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
    enum lws_write_protocol kind = client->binary ? LWS_WRITE_BINARY : LWS_WRITE_TEXT;
    int round;

    for (round = 0; client->first != NULL && round < WRITE_ROUND; round++) {
        struct dw_ws_message *message = client->first->message;

        /* What does not fit into the connection at once is kept by the library, one message at most. */
        if (round > 0 && lws_send_pipe_choked(client->wsi))
            break;
        if (lws_write(client->wsi, message->bytes + LWS_PRE, message->len, kind) < 0)
            return -1;
        dw_counter_add(&sidecar->hub.counters.socket_bytes, message->len);
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
