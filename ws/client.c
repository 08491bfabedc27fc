/* One WebSocket client: libwebsockets' many callbacks, translated to our few events at once. */
#include "ws/server_internal.h"

#include "base/log.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* Close codes of RFC 6455 section 7.4.1. */
#define POLICY 1008
#define TOO_BIG 1009
#define FAILED 1011
#define COME_AGAIN 1013

/* How long a client that is to be closed may take until it can be sent the close frame. */
#define CLOSE_PATIENCE_S 5
/* The library has made the kernel's buffer as small as its own. */
#define KERNEL_BYTES 65536

struct dw_ws_client *dw_ws_client_new(struct dw_sidecar *sidecar, const char *peer)
{
    struct dw_ws_client *client = calloc(1, sizeof *client);

    if (client == NULL)
        return NULL;
    client->descriptor = -1;
    (void)strncpy(client->peer, peer, sizeof client->peer - 1);
    sidecar->connections++;
    return client;
}

static void end(struct dw_sidecar *sidecar, struct dw_ws_client *client)
{
    dw_ws_forget_stash(sidecar, client);
    dw_ws_forget_output(client);
    dw_buf_fini(&client->in);
    if (client->parked != NULL)
        dw_socket_closed(sidecar->lot, client->parked);
    client->parked = NULL;
    dw_address_drop(&sidecar->addresses, client->address);
    client->address = NULL;
}

static void list(struct dw_sidecar *sidecar, struct dw_ws_client *client)
{
    client->next = sidecar->clients;
    if (sidecar->clients != NULL)
        sidecar->clients->prev = client;
    sidecar->clients = client;
    client->listed = true;
    sidecar->client_count++;
}

static void unlist(struct dw_sidecar *sidecar, struct dw_ws_client *client)
{
    if (!client->listed)
        return;
    *(client != sidecar->clients ? &client->prev->next : &sidecar->clients) = client->next;
    if (client->next != NULL)
        client->next->prev = client->prev;
    client->listed = false;
    sidecar->client_count--;
}

/* Takes a client that is closed meanwhile off the list. */
static void forget_close(struct dw_sidecar *sidecar, struct dw_ws_client *client)
{
    struct dw_ws_client **at = &sidecar->closing;

    if (!client->closing)
        return;
    while (*at != NULL && *at != client)
        at = &(*at)->next_closing;
    if (*at != NULL)
        *at = client->next_closing;
}

void dw_ws_client_free(struct dw_sidecar *sidecar, struct dw_ws_client *client)
{
    unlist(sidecar, client);
    forget_close(sidecar, client);
    dw_ws_unwatch_reading(client);
    end(sidecar, client);
    sidecar->connections--;
    free(client);
}

void dw_ws_close(struct dw_ws_client *client, int code)
{
    if (client->close_code != 0)
        return;
    client->close_code = (uint16_t)code;
    if (code == COME_AGAIN)
        dw_ws_forget_output(client); /* it would never be read, or too late */
    (void)lws_callback_on_writable(client->wsi);
    lws_set_timeout(client->wsi, PENDING_TIMEOUT_USER_REASON_BASE, CLOSE_PATIENCE_S);
}

/* The library sends a close frame only where a connection is closed outside of its writable callback: there it
 * would close twice at once, and the second time without one. */
void dw_ws_close_soon(struct dw_sidecar *sidecar, struct dw_ws_client *client)
{
    if (client->closing)
        return;
    client->closing = true;
    client->next_closing = sidecar->closing;
    sidecar->closing = client;
}

void dw_ws_send_closes(struct dw_sidecar *sidecar)
{
    struct dw_ws_client *client;

    while ((client = sidecar->closing) != NULL) {
        sidecar->closing = client->next_closing;
        lws_close_reason(client->wsi, (enum lws_close_status)client->close_code, NULL, 0);
        lws_set_timeout(client->wsi, PENDING_TIMEOUT_USER_OK, LWS_TO_KILL_SYNC); /* may free `client` */
    }
}

/* ---- what the lot asks for ---- */

static bool on_send(void *context, struct dw_parked *parked, const char *bytes, size_t len)
{
    return dw_ws_send(context, parked->connection.pointer, bytes, len);
}

static bool on_has_room(void *context, const struct dw_parked *parked)
{
    (void)context;
    return dw_ws_has_room(parked->connection.pointer);
}

static void on_close(void *context, struct dw_parked *parked, int code)
{
    (void)context;
    dw_ws_close(parked->connection.pointer, code);
}

static void on_departed(void *context, const struct dw_departed *departed)
{
    struct dw_sidecar *sidecar = context;

    dw_house_departed(sidecar->house, departed);
}

void dw_ws_callbacks(struct dw_sidecar *sidecar, struct dw_lot_callbacks *callbacks)
{
    *callbacks = (struct dw_lot_callbacks){
        .departed = on_departed,
        .context = sidecar,
        .send = on_send,
        .has_room = on_has_room,
        .close = on_close,
    };
}

/* ---- what libwebsockets reports ---- */

static int established(struct dw_sidecar *sidecar, struct dw_ws_client *client)
{
    const int bytes = KERNEL_BYTES;

    (void)setsockopt(lws_get_socket_fd(client->wsi), SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
    dw_ws_check_reading(client);
    list(sidecar, client);
    if (!sidecar->writes_at_once)
        (void)lws_callback_on_writable(client->wsi);
    else if (dw_ws_writable(sidecar, client) != 0)
        return -1;
    dw_lot_adopt(sidecar->lot, client->parked);
    if (sidecar->stopping)
        dw_ws_close(client, 1001);
    return 0;
}

static int close_now(struct dw_ws_client *client, int code)
{
    client->close_code = (uint16_t)code;
    lws_close_reason(client->wsi, (enum lws_close_status)code, NULL, 0);
    return -1;
}

/* A piece of a frame, which is a piece of a message. */
static int received(struct dw_sidecar *sidecar, struct dw_ws_client *client, const char *bytes, size_t len)
{
    bool first = lws_is_first_fragment(client->wsi) != 0, final = lws_is_final_fragment(client->wsi) != 0;
    bool binary = lws_frame_is_binary(client->wsi) != 0, taken;
    size_t most = (size_t)sidecar->conf->limits_message_bytes;

    if (client->parked == NULL || (client->close_code != 0 && !client->unmasked))
        return 0; /* whatever it says now */
    if (first)
        dw_buf_reset(&client->in);
    if (client->in.len + len > most) {
        dw_counter_add(&sidecar->hub.counters.refused_size, 1);
        return close_now(client, TOO_BIG);
    }
    if (client->stashed_bytes > most + sidecar->conf->limits_outbound_bytes)
        return close_now(client, POLICY);
    if (first && final) {
        taken = dw_ws_receive(sidecar, client, bytes, len, binary);
    } else {
        dw_buf_add(&client->in, bytes, len);
        taken = !dw_buf_failed(&client->in);
        if (taken && final) {
            taken = dw_ws_receive(sidecar, client, dw_buf_str(&client->in), client->in.len, binary);
            dw_buf_fini(&client->in); /* idle clients keep no buffer */
        }
    }
    return taken ? 0 : close_now(client, FAILED);
}

int dw_ws_callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t len)
{
    struct dw_sidecar *sidecar = lws_context_user(lws_get_context(wsi));
    struct dw_ws_client *client = lws_get_opaque_user_data(wsi);

    if (client == NULL)
        return lws_callback_http_dummy(wsi, reason, user, in, len);
    switch (reason) {
    case LWS_CALLBACK_HTTP:
        return dw_ws_not_upgraded(wsi);
    case LWS_CALLBACK_FILTER_PROTOCOL_CONNECTION:
        return dw_ws_handshake(sidecar, client);
    case LWS_CALLBACK_ESTABLISHED:
        return established(sidecar, client);
    case LWS_CALLBACK_RECEIVE:
        return received(sidecar, client, len > 0 ? in : "", len);
    case LWS_CALLBACK_RECEIVE_PONG:
        if (client->parked != NULL)
            dw_socket_heard(sidecar->lot, client->parked);
        return 0;
    case LWS_CALLBACK_SERVER_WRITEABLE:
        return dw_ws_writable(sidecar, client);
    case LWS_CALLBACK_CLOSED:
        unlist(sidecar, client);
        end(sidecar, client);
        return 0;
    case LWS_CALLBACK_WSI_DESTROY:
        lws_set_opaque_user_data(wsi, NULL);
        dw_ws_client_free(sidecar, client);
        return 0;
    case LWS_CALLBACK_WS_PEER_INITIATED_CLOSE:
        client->peer_closed = true;
        return 0; /* the library answers with the same code */
    default:
        return lws_callback_http_dummy(wsi, reason, user, in, len);
    }
}
