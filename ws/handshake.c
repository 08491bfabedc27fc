/* The handshake: from libwebsockets' parsed headers to the hub's request, and refusals back.
 *
 * The library has taken the query string apart and unescaped it; it is put together again, so that one
 * reader of parameters serves all adapters. */
#include "ws/server_internal.h"

#include "base/log.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* What a request's strings are kept in. */
struct headers {
    struct dw_buf query, host, origin, referer, site, cookie, csrf, xsrf, user, forwarded, proto;
};

static void fini(struct headers *headers)
{
    dw_buf_fini(&headers->query);
    dw_buf_fini(&headers->host);
    dw_buf_fini(&headers->origin);
    dw_buf_fini(&headers->referer);
    dw_buf_fini(&headers->site);
    dw_buf_fini(&headers->cookie);
    dw_buf_fini(&headers->csrf);
    dw_buf_fini(&headers->xsrf);
    dw_buf_fini(&headers->user);
    dw_buf_fini(&headers->forwarded);
    dw_buf_fini(&headers->proto);
}

static bool any_failed(const struct headers *headers)
{
    return dw_buf_failed(&headers->query) || dw_buf_failed(&headers->host) || dw_buf_failed(&headers->origin) ||
           dw_buf_failed(&headers->referer) || dw_buf_failed(&headers->site) || dw_buf_failed(&headers->cookie) ||
           dw_buf_failed(&headers->csrf) || dw_buf_failed(&headers->xsrf) || dw_buf_failed(&headers->user) ||
           dw_buf_failed(&headers->forwarded) || dw_buf_failed(&headers->proto);
}

static const char *text_of(const struct dw_buf *buf)
{
    return buf->len > 0 ? dw_buf_str(buf) : NULL;
}

static void copy(struct lws *wsi, enum lws_token_indexes token, struct dw_buf *out)
{
    int len = lws_hdr_total_length(wsi, token);

    if (len <= 0 || !dw_buf_reserve(out, (size_t)len + 1))
        return;
    len = lws_hdr_copy(wsi, out->data + out->len, len + 1, token);
    if (len > 0)
        out->len += (size_t)len;
}

/* A header that the library has no name for; `name` in lower case, with its colon. */
static void copy_custom(struct lws *wsi, const char *name, struct dw_buf *out)
{
    int name_len = (int)strlen(name), len = lws_hdr_custom_length(wsi, name, name_len);

    if (len <= 0 || !dw_buf_reserve(out, (size_t)len + 1))
        return;
    len = lws_hdr_custom_copy(wsi, out->data + out->len, len + 1, name, name_len);
    if (len > 0)
        out->len += (size_t)len;
}

static void escape(const char *bytes, size_t len, struct dw_buf *out)
{
    static const char digits[] = "0123456789ABCDEF";
    size_t i;

    for (i = 0; i < len; i++) {
        unsigned char c = (unsigned char)bytes[i];

        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-') {
            dw_buf_addc(out, (char)c);
        } else {
            dw_buf_addc(out, '%');
            dw_buf_addc(out, digits[c >> 4]);
            dw_buf_addc(out, digits[c & 15]);
        }
    }
}

static void copy_query(struct lws *wsi, struct dw_buf *out)
{
    struct dw_buf field = DW_BUF_INIT;
    int index, len;

    for (index = 0; (len = lws_hdr_fragment_length(wsi, WSI_TOKEN_HTTP_URI_ARGS, index)) > 0; index++) {
        const char *equals;
        size_t name_len;

        dw_buf_reset(&field);
        if (!dw_buf_reserve(&field, (size_t)len + 1))
            break;
        len = lws_hdr_copy_fragment(wsi, field.data, len + 1, WSI_TOKEN_HTTP_URI_ARGS, index);
        if (len < 0)
            break;
        equals = memchr(field.data, '=', (size_t)len);
        name_len = equals != NULL ? (size_t)(equals - field.data) : (size_t)len;
        if (index > 0)
            dw_buf_addc(out, '&');
        escape(field.data, name_len, out);
        if (equals != NULL) {
            dw_buf_addc(out, '=');
            escape(equals + 1, (size_t)len - name_len - 1, out);
        }
    }
    if (dw_buf_failed(&field))
        out->failed = true;
    dw_buf_fini(&field);
}

/* Is what a proxy says about its client to be believed? */
static bool trusts(const struct dw_sidecar *sidecar, const struct dw_ws_client *client)
{
    const char *word = sidecar->conf->ws_proxy;

    if (strcmp(word, "auto") != 0)
        return strcmp(word, "on") == 0;
    return client->peer[0] == '\0' || strncmp(client->peer, "127.", 4) == 0 || strcmp(client->peer, "::1") == 0;
}

static void read_headers(struct dw_sidecar *sidecar, const struct dw_ws_client *client, struct headers *headers)
{
    struct lws *wsi = client->wsi;

    copy_query(wsi, &headers->query);
    copy(wsi, WSI_TOKEN_ORIGIN, &headers->origin);
    copy(wsi, WSI_TOKEN_HTTP_REFERER, &headers->referer);
    copy(wsi, WSI_TOKEN_HTTP_COOKIE, &headers->cookie);
    copy_custom(wsi, "sec-fetch-site:", &headers->site);
    copy_custom(wsi, "x-csrf-token:", &headers->csrf);
    copy_custom(wsi, "x-xsrf-token:", &headers->xsrf);
    if (trusts(sidecar, client)) {
        copy(wsi, WSI_TOKEN_X_FORWARDED_FOR, &headers->forwarded);
        copy_custom(wsi, "x-forwarded-proto:", &headers->proto);
        copy_custom(wsi, "x-forwarded-host:", &headers->host);
        if (sidecar->conf->ws_user_header[0] != '\0') {
            struct dw_buf name = DW_BUF_INIT;
            size_t i;

            dw_buf_addf(&name, "%s:", sidecar->conf->ws_user_header);
            for (i = 0; i < name.len; i++)
                name.data[i] = (char)(name.data[i] >= 'A' && name.data[i] <= 'Z' ? name.data[i] + 32 : name.data[i]);
            if (!dw_buf_failed(&name))
                copy_custom(wsi, name.data, &headers->user);
            dw_buf_fini(&name);
        }
    }
    if (headers->host.len == 0)
        copy(wsi, WSI_TOKEN_HOST, &headers->host);
}

/* The address that this WebSocket counts for: the last one of X-Forwarded-For is the proxy's own finding. */
static const char *address_of(const struct dw_ws_client *client, const struct headers *headers)
{
    const char *list = text_of(&headers->forwarded), *comma;

    if (list == NULL)
        return client->peer;
    comma = strrchr(list, ',');
    list = comma != NULL ? comma + 1 : list;
    return list + strspn(list, " \t");
}

/* What the library does not check (RFC 6455 section 4.2.1); false: the answer is made. */
static bool is_well_formed(struct lws *wsi, struct dw_answer *answer)
{
    char version[4] = "";

    if (lws_hdr_copy(wsi, version, sizeof version, WSI_TOKEN_VERSION) != 2 || strcmp(version, "13") != 0) {
        dw_answer_text(answer, 426, "Only version 13 of WebSocket is served here");
        answer->upgrade = "websocket";
        return false;
    }
    if (lws_hdr_total_length(wsi, WSI_TOKEN_KEY) != 24) {
        dw_answer_text(answer, 400, "Bad request: Sec-WebSocket-Key is no nonce of 16 bytes");
        return false;
    }
    return true;
}

static int respond(struct lws *wsi, const struct dw_answer *answer)
{
    struct dw_buf head = DW_BUF_INIT, bytes = DW_BUF_INIT;
    static const char status[] = "Status: ";
    char room[LWS_PRE];

    dw_answer_head(answer, &head);
    memset(room, 0, sizeof room);
    dw_buf_add(&bytes, room, sizeof room);
    if (!dw_buf_failed(&head)) {
        dw_buf_adds(&bytes, "HTTP/1.1 ");
        dw_buf_add(&bytes, head.data + sizeof status - 1, head.len - (sizeof status - 1) - 2);
        if (answer->upgrade != NULL)
            dw_buf_adds(&bytes, "Sec-WebSocket-Version: 13\r\n");
        dw_buf_adds(&bytes, "Connection: close\r\n\r\n");
        dw_buf_add(&bytes, dw_buf_str(&answer->body), answer->body.len);
    }
    if (!dw_buf_failed(&head) && !dw_buf_failed(&bytes))
        (void)lws_write(wsi, (unsigned char *)bytes.data + LWS_PRE, bytes.len - LWS_PRE, LWS_WRITE_HTTP_HEADERS);
    dw_buf_fini(&head);
    dw_buf_fini(&bytes);
    return -1; /* closes the connection */
}

int dw_ws_not_upgraded(struct lws *wsi)
{
    struct dw_answer answer = DW_ANSWER_INIT;
    int result;

    dw_answer_text(&answer, 426, "Only WebSocket is served here");
    answer.upgrade = "websocket";
    result = respond(wsi, &answer);
    dw_buf_fini(&answer.body);
    return result;
}

/* Counts the address; false: the answer is made. */
static bool count_address(struct dw_sidecar *sidecar, struct dw_ws_client *client, const struct headers *headers,
                          struct dw_answer *answer)
{
    size_t most = (size_t)sidecar->conf->limits_sockets_per_address;

    if (most == 0)
        return true;
    client->address = dw_address_take(&sidecar->addresses, address_of(client, headers), most);
    if (client->address != NULL)
        return true;
    dw_answer_text(answer, 503, "Too many WebSockets come from this address");
    answer->retry_ms = dw_hub_retry_ms(&sidecar->hub);
    dw_counter_add(&sidecar->hub.counters.refused_sockets, 1);
    return false;
}

int dw_ws_handshake(struct dw_sidecar *sidecar, struct dw_ws_client *client)
{
    struct headers headers = {.query = DW_BUF_INIT};
    struct dw_answer answer = DW_ANSWER_INIT;
    struct dw_request request;
    bool sent = false;
    int result = 0;

    read_headers(sidecar, client, &headers);
    request = (struct dw_request){
        .method = "GET",
        .query = dw_buf_str(&headers.query),
        .cookie = text_of(&headers.cookie),
        .host = text_of(&headers.host),
        .origin = text_of(&headers.origin),
        .referer = text_of(&headers.referer),
        .fetch_site = text_of(&headers.site),
        .csrf_header = text_of(&headers.csrf),
        .xsrf_header = text_of(&headers.xsrf),
        .remote_user = text_of(&headers.user),
        .upgrade = "websocket",
        .address = address_of(client, &headers),
        .https = strcasecmp(dw_buf_str(&headers.proto), "https") == 0,
        .lot = sidecar->lot,
    };
    if (any_failed(&headers))
        dw_answer_text(&answer, 503, "The server is short of memory");
    else if (is_well_formed(client->wsi, &answer) && count_address(sidecar, client, &headers, &answer))
        client->parked = dw_serve(sidecar->server, &request, &answer);
    if (client->parked != NULL) {
        client->parked->connection.pointer = client;
        client->binary = client->parked->packer->binary;
        sent = dw_ws_send(sidecar, client, dw_buf_str(&answer.body), answer.body.len);
    }
    if (client->parked == NULL)
        result = respond(client->wsi, &answer);
    else if (!sent)
        result = -1;
    fini(&headers);
    dw_buf_fini(&answer.body);
    return result;
}
