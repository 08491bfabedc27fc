/* Requests that go over a limit: who is over it, and the answer, always with a pause that differs from client to
 * client.  The stock client takes any of these answers for a failure and backs off. */
#include "hub/serve_internal.h"

#include "base/clock.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

void dw_serve_refuse(struct dw_serving_call *call, int status, const char *text)
{
    dw_answer_text(call->answer, status, "%s", text);
    call->answer->retry_ms = dw_hub_retry_ms(call->server->hub);
}

bool dw_serve_headers_fit(struct dw_serving_call *call)
{
    const struct dw_request *r = call->request;
    struct dw_hub *hub = call->server->hub;
    const char *const headers[] = {r->cookie,      r->host,    r->origin,        r->referer,     r->csrf_header,
                                   r->xsrf_header, r->upgrade, r->websocket_key, r->remote_user, r->content_type};
    size_t bytes = 0;

    for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++)
        bytes += headers[i] != NULL ? strlen(headers[i]) : 0;
    if (bytes <= (size_t)hub->conf->limits_header_bytes)
        return true;
    dw_counter_add(&hub->counters.refused_size, 1);
    dw_answer_text(call->answer, 431, "The request's headers are too long");
    return false;
}

/* A machine has a network of IPv6 addresses to itself: they count as one. */
static const char *network_of(const char *address, char *out, size_t size)
{
    static const unsigned char mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    struct in6_addr parsed;
    const unsigned char *b = parsed.s6_addr;

    if (inet_pton(AF_INET6, address, &parsed) != 1 || memcmp(b, mapped, sizeof mapped) == 0)
        return address;
    (void)snprintf(out, size, "%02x%02x:%02x%02x:%02x%02x:%02x%02x", b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]);
    return out;
}

/* Takes one of `per_s`; 0: over it. */
static bool take(struct dw_hub *hub, uint64_t key, int64_t per_s, uint64_t *taken, _Atomic uint64_t *counter)
{
    if (!dw_rates_take(&hub->rates, key, per_s, dw_clock_mono_us())) {
        dw_counter_add(counter, 1);
        return false;
    }
    *taken = key;
    return true;
}

/* NULL: it has none. */
static const char *address_of(const struct dw_serving_call *call, char *network, size_t size)
{
    const char *address = call->request->address;

    return address != NULL && address[0] != '\0' ? network_of(address, network, size) : NULL;
}

static bool take_of_address(struct dw_serving_call *call)
{
    struct dw_hub *hub = call->server->hub;
    int64_t per_s = hub->conf->limits_requests_per_s_address;
    char network[64];
    const char *address = address_of(call, network, sizeof network);

    return address == NULL || per_s == 0 ||
           take(hub, dw_rates_key(&hub->rates, 'n', address, NULL), per_s, &call->taken.address,
                &hub->counters.refused_rate_address);
}

static bool take_of_sender(struct dw_serving_call *call)
{
    struct dw_hub *hub = call->server->hub;
    const struct dw_conf *conf = hub->conf;
    const char *uid = call->identity.uid, *id = call->client_id;
    char network[64];
    const char *address = address_of(call, network, sizeof network);

    if (conf->limits_requests_per_s > 0 && (uid != NULL || id != NULL || address != NULL) &&
        !take(hub,
              uid != NULL || id != NULL ? dw_rates_key(&hub->rates, 'c', uid, id)
                                        : dw_rates_key(&hub->rates, 'a', address, NULL),
              conf->limits_requests_per_s, &call->taken.client, &hub->counters.refused_rate))
        return false;
    return dw_hub_take_uid(hub, uid, &call->taken.uid);
}

static bool refuse_unless(struct dw_serving_call *call, bool within)
{
    if (!within)
        dw_serve_refuse(call, 429, "Too many requests; come back later");
    return within;
}

bool dw_serve_within_rate_of_address(struct dw_serving_call *call)
{
    return refuse_unless(call, call->server->hub->rates.table == NULL || take_of_address(call));
}

bool dw_serve_within_rates(struct dw_serving_call *call)
{
    return refuse_unless(call, call->server->hub->rates.table == NULL || take_of_sender(call));
}

int dw_serve_has_place(struct dw_serving_call *call, const struct dw_client *client)
{
    int64_t most = call->server->hub->conf->limits_clients_per_uid, count = 0;
    int rc;

    if (client->connected || most == 0 || call->identity.uid == NULL)
        return DW_OK;
    rc = dw_store_clients_connected(call->server->store, call->identity.uid, call->client_id, most, &count, &call->err);
    if (rc == DW_OK && count >= most)
        return dw_err_set(&call->err, DW_QUOTA, "too many clients of this user are connected");
    return rc;
}

void dw_serve_count_refusal(struct dw_serving_call *call, int rc)
{
    struct dw_counters *counters = &call->server->hub->counters;

    if (rc == DW_QUOTA)
        dw_counter_add(&counters->refused_clients_uid, 1);
    else if (rc == DW_CROWDED)
        dw_counter_add(&counters->refused_clients, 1);
}
