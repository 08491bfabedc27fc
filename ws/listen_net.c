/* libwebsockets as a client: one connection at a time, waited for.  Nothing is decided here. */
#include "ws/listen.h"

#include <libwebsockets.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PROTOCOL "dumbwaiter-listen"
#define READ_BYTES 4096
#define MESSAGE_MAX (16u << 20)

/* A server that does not answer a ping of the WebSocket itself is gone. */
static const lws_retry_bo_t patience = {.secs_since_valid_ping = 20, .secs_since_valid_hangup = 30};

static const char *text_or(const void *in, size_t len, const char *otherwise)
{
    return in != NULL && len > 0 ? in : otherwise;
}

static void end(struct dw_listen *listen, const char *why)
{
    if (listen->why[0] == '\0')
        (void)snprintf(listen->why, sizeof listen->why, "%s", why);
    listen->done = true;
}

static int add_headers(struct dw_listen *listen, struct lws *wsi, unsigned char **at, size_t room)
{
    unsigned char *limit = *at + room;
    int failed = 0;

    if (listen->cookie != NULL)
        failed |=
            lws_add_http_header_by_name(wsi, (const unsigned char *)"cookie:", (const unsigned char *)listen->cookie,
                                        (int)strlen(listen->cookie), at, limit);
    if (listen->csrf_token != NULL)
        failed |= lws_add_http_header_by_name(
            wsi, (const unsigned char *)"x-csrf-token:", (const unsigned char *)listen->csrf_token,
            (int)strlen(listen->csrf_token), at, limit);
    return failed;
}

static int read_body(struct lws *wsi)
{
    char bytes[LWS_PRE + READ_BYTES];
    char *at = bytes + LWS_PRE;
    int len = READ_BYTES;

    return lws_http_client_read(wsi, &at, &len) < 0 ? -1 : 0; /* calls back with each piece */
}

static int received(struct dw_listen *listen, struct lws *wsi, const char *bytes, size_t len)
{
    dw_buf_add(&listen->body, bytes, len);
    if (dw_buf_failed(&listen->body) || listen->body.len > MESSAGE_MAX)
        return -1;
    if (lws_remaining_packet_payload(wsi) > 0 || !lws_is_final_fragment(wsi))
        return 0;
    if (dw_listen_message(listen, "ws", listen->body.data, listen->body.len)) {
        listen->pong = true;
        (void)lws_callback_on_writable(wsi);
    }
    dw_buf_reset(&listen->body);
    return 0;
}

static int write_pong(struct dw_listen *listen, struct lws *wsi)
{
    static const char pong[] = "[[\"chsk/ws-pong\"],null]";
    unsigned char bytes[LWS_PRE + sizeof pong];

    if (!listen->pong)
        return 0;
    listen->pong = false;
    memcpy(bytes + LWS_PRE, pong, sizeof pong);
    return lws_write(wsi, bytes + LWS_PRE, sizeof pong - 1, LWS_WRITE_TEXT) < 0 ? -1 : 0;
}

static void closed_by_peer(struct dw_listen *listen, const unsigned char *in, size_t len)
{
    if (len >= 2)
        (void)snprintf(listen->why, sizeof listen->why, "closed by the server with code %d", in[0] << 8 | in[1]);
}

static int on_http(struct dw_listen *listen, struct lws *wsi, enum lws_callback_reasons reason, void *in, size_t len)
{
    switch (reason) {
    case LWS_CALLBACK_ESTABLISHED_CLIENT_HTTP:
        listen->status = (int)lws_http_client_http_response(wsi);
        return 0;
    case LWS_CALLBACK_RECEIVE_CLIENT_HTTP:
        return read_body(wsi);
    case LWS_CALLBACK_RECEIVE_CLIENT_HTTP_READ:
        dw_buf_add(&listen->body, in, len);
        return dw_buf_failed(&listen->body) || listen->body.len > MESSAGE_MAX ? -1 : 0;
    case LWS_CALLBACK_COMPLETED_CLIENT_HTTP:
        listen->opened = true; /* the answer is whole */
        end(listen, "answered");
        return -1;
    default:
        end(listen, "the connection broke");
        return 0;
    }
}

static int callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t len)
{
    struct dw_listen *listen = lws_context_user(lws_get_context(wsi));

    (void)user;
    switch (reason) {
    case LWS_CALLBACK_CLIENT_APPEND_HANDSHAKE_HEADER:
        return add_headers(listen, wsi, in, len) != 0 ? -1 : 0;
    case LWS_CALLBACK_CLIENT_CONNECTION_ERROR:
        listen->status = (int)lws_http_client_http_response(wsi);
        end(listen, text_or(in, len, "no connection"));
        return 0;
    case LWS_CALLBACK_ESTABLISHED_CLIENT_HTTP:
    case LWS_CALLBACK_RECEIVE_CLIENT_HTTP:
    case LWS_CALLBACK_RECEIVE_CLIENT_HTTP_READ:
    case LWS_CALLBACK_COMPLETED_CLIENT_HTTP:
    case LWS_CALLBACK_CLOSED_CLIENT_HTTP:
        return on_http(listen, wsi, reason, in, len);
    case LWS_CALLBACK_CLIENT_ESTABLISHED:
        listen->opened = true;
        return 0;
    case LWS_CALLBACK_CLIENT_RECEIVE:
        return received(listen, wsi, in, len);
    case LWS_CALLBACK_CLIENT_WRITEABLE:
        return write_pong(listen, wsi);
    case LWS_CALLBACK_WS_PEER_INITIATED_CLOSE:
        closed_by_peer(listen, in, len);
        return 0;
    case LWS_CALLBACK_CLIENT_CLOSED:
        end(listen, "the connection broke");
        return 0;
    default:
        return 0;
    }
}

static const struct lws_protocols protocols[] = {{PROTOCOL, callback, 0, READ_BYTES, 0, NULL, 0},
                                                 {NULL, NULL, 0, 0, 0, NULL, 0}};

bool dw_listen_net_open(struct dw_listen *listen)
{
    struct lws_context_creation_info info;

    memset(&info, 0, sizeof info);
    lws_set_log_level(0, NULL);
    info.port = CONTEXT_PORT_NO_LISTEN;
    info.protocols = protocols;
    info.user = listen;
    info.timeout_secs = 60; /* a poll is held for 20 s */
    info.options = LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT;
    listen->context = lws_create_context(&info);
    return listen->context != NULL;
}

void dw_listen_net_close(struct dw_listen *listen)
{
    if (listen->context != NULL)
        lws_context_destroy(listen->context);
    dw_buf_fini(&listen->body);
}

static void add_parameter(struct dw_buf *path, const char *name, const char *value)
{
    dw_buf_addf(path, "%c%s=", strchr(dw_buf_str(path), '?') != NULL ? '&' : '?', name);
    for (; *value != '\0'; value++)
        dw_buf_addf(path, strchr("%&+# ", *value) != NULL ? "%%%02X" : "%c", (unsigned char)*value);
}

static void run(struct dw_listen *listen, const char *method, const char *more)
{
    struct lws_client_connect_info info;
    struct dw_buf path = DW_BUF_INIT, host = DW_BUF_INIT;
    char *copy = strdup(listen->url);
    const char *scheme, *rest;

    memset(&info, 0, sizeof info);
    dw_buf_reset(&listen->body);
    listen->status = 0;
    listen->done = listen->opened = listen->pong = false;
    listen->why[0] = '\0';
    if (copy == NULL || lws_parse_uri(copy, &scheme, &info.address, &info.port, &rest) != 0) {
        end(listen, "this is no URL");
        free(copy);
        return;
    }
    dw_buf_addf(&path, "/%s", rest);
    add_parameter(&path, "packer", "json");
    add_parameter(&path, "client-id", listen->client_id);
    if (listen->csrf_token != NULL && method == NULL)
        add_parameter(&path, "csrf-token", listen->csrf_token);
    dw_buf_adds(&path, more);
    dw_buf_addf(&host, "%s:%d", info.address, info.port);
    info.context = listen->context;
    info.path = dw_buf_str(&path);
    info.host = dw_buf_str(&host);
    info.method = method;
    info.local_protocol_name = PROTOCOL;
    info.retry_and_idle_policy = method == NULL ? &patience : NULL;
    info.ssl_connection = LCCSCF_HTTP_NO_FOLLOW_REDIRECT |
                          (strcmp(scheme, "https") == 0 || strcmp(scheme, "wss") == 0 ? LCCSCF_USE_SSL : 0);
    if (dw_buf_failed(&path) || dw_buf_failed(&host) || lws_client_connect_via_info(&info) == NULL)
        end(listen, "no connection");
    while (!listen->done)
        (void)lws_service(listen->context, 0);
    dw_buf_fini(&path);
    dw_buf_fini(&host);
    free(copy);
}

void dw_listen_get(struct dw_listen *listen, const char *more)
{
    run(listen, "GET", more);
}

void dw_listen_socket(struct dw_listen *listen)
{
    run(listen, NULL, "");
}
