/* The frame around every request: method, parameters, identity, and the answers that all share.
 * serve_get.c, serve_post.c and serve_ws.c do the rest. */
#include "hub/serve.h"

#include "base/clock.h"
#include "base/log.h"
#include "hub/identity_token.h"
#include "hub/serve_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct dw_server *dw_server_new(struct dw_hub *hub, struct dw_store *store)
{
    struct dw_server *server = calloc(1, sizeof *server);

    if (server == NULL)
        return NULL;
    server->hub = hub;
    server->store = store;
    server->outbox = dw_outbox_new(hub);
    /* A tree takes more than its text, but not without bound. */
    server->arena = dw_arena_new(64 * hub->limits.max_bytes + 1048576);
    if (server->outbox == NULL || server->arena == NULL) {
        dw_server_free(server);
        return NULL;
    }
    return server;
}

void dw_server_free(struct dw_server *server)
{
    if (server == NULL)
        return;
    dw_outbox_free(server->outbox);
    dw_arena_free(server->arena);
    dw_keyfile_fini(&server->keyfile);
    free(server);
}

struct dw_arena *dw_server_arena(struct dw_server *server)
{
    return server->arena;
}

int dw_answer_value(struct dw_answer *answer, const struct dw_packer *packer, int generation, struct dw_arena *arena,
                    const struct dw_value *value, struct dw_err *err)
{
    int rc;

    dw_buf_reset(&answer->body);
    rc = dw_envelope_write(packer, generation, arena, value, NULL, &answer->body, err);
    if (rc == DW_OK && dw_buf_failed(&answer->body))
        rc = DW_NOMEM;
    answer->status = 200;
    answer->binary = packer->binary;
    return rc;
}

int dw_answer_timeout(struct dw_answer *answer, const struct dw_packer *packer, int generation, struct dw_arena *arena,
                      struct dw_err *err)
{
    return dw_answer_value(answer, packer, generation, arena, dw_chsk_timeout(arena), err);
}

int dw_answer_reply(struct dw_answer *answer, const struct dw_hub *hub, const struct dw_packer *packer, int generation,
                    struct dw_arena *arena, const struct dw_reply *reply, struct dw_err *err)
{
    const struct dw_value *value = dw_nil();
    int rc = DW_OK;

    if (reply->data != NULL)
        rc = dw_data_read(hub, packer, reply->format, reply->data, reply->data_len, arena, &value, err);
    return rc == DW_OK ? dw_answer_value(answer, packer, generation, arena, value, err) : rc;
}

void dw_answer_closed(struct dw_answer *answer)
{
    dw_answer_text(answer, 503, "Closed by the server");
}

void dw_serve_failed(struct dw_serving_call *call, const char *doing, int rc)
{
    static struct dw_log_limit crowded;
    struct dw_hub *hub = call->server->hub;

    switch (rc) {
    case DW_INVALID:
        dw_counter_add(&hub->counters.bad_requests, 1);
        dw_answer_text(call->answer, 400, "Bad request: %s", dw_err_say(&call->err, rc));
        return;
    case DW_LIMIT:
        dw_counter_add(&hub->counters.refused_size, 1);
        dw_answer_text(call->answer, 413, "Too much: %s", dw_err_say(&call->err, rc));
        return;
    case DW_QUOTA:
        dw_serve_refuse(call, 429, dw_err_say(&call->err, rc));
        return;
    case DW_CROWDED:
        dw_log_limited(&crowded, DW_LOG_WARN, "%s is refused: %s", doing, dw_err_say(&call->err, rc));
        dw_serve_refuse(call, 503, dw_err_say(&call->err, rc));
        return;
    case DW_BUSY:
    case DW_FULL:
        dw_answer_text(call->answer, 503, "The event queue can't be written at the moment");
        call->answer->retry_ms = dw_hub_retry_ms(hub);
        break;
    case DW_TIMEOUT:
        dw_answer_text(call->answer, 503, "The session could not be looked up in time");
        call->answer->retry_ms = dw_hub_retry_ms(hub);
        break;
    default:
        dw_answer_text(call->answer, 500, "The server failed; its log says why");
        break;
    }
    dw_counter_add(&hub->counters.store_errors, 1);
    dw_log_error("%s failed: %s", doing, dw_err_say(&call->err, rc));
}

void dw_serve_gap(struct dw_serving_call *call, bool was_known)
{
    char who[DW_LOG_WHO];

    dw_counter_add(&call->server->hub->counters.gaps, 1);
    dw_log_warn("%s: pushes for it may be lost%s",
                was_known ? "a client was away for longer than store.retain_ms"
                          : "a client came that the lost state may have known",
                dw_log_who(who, call->identity.uid, call->client_id));
}

bool dw_serve_admit(struct dw_serving_call *call)
{
    struct dw_server *server = call->server;
    bool by_token = dw_identity_token_param(server->hub->conf) != NULL;
    int rc;

    if (by_token)
        rc = dw_identity_from_token(server->hub->conf, &server->keyfile, call->request, &call->params, server->arena,
                                    &call->identity, &call->err);
    else
        rc = dw_identity_find(server->hub, server->store, call->request, call->client_id, &call->identity, &call->err);
    if (rc != DW_OK) {
        dw_serve_failed(call, by_token ? "checking a token" : "looking up the session", rc);
        return false;
    }
    /* What is refused counts for its address alone: any page can have the user's browser send it, with the cookie. */
    return dw_serve_within_rate_of_address(call) &&
           dw_identity_admit(server->hub, &call->identity, call->request, &call->params, call->answer) &&
           dw_serve_within_rates(call);
}

const struct dw_packer *dw_serve_packer(struct dw_serving_call *call, const char *remembered)
{
    const char *name = dw_params_get(&call->params, "packer");
    const struct dw_packer *packer;
    char wanted[32];

    if (name == NULL)
        name = remembered;
    if (name == NULL || name[0] == '\0')
        return call->server->hub->packer;
    /* An unescaped "gzip+edn" in a query arrives as "gzip edn". */
    (void)snprintf(wanted, sizeof wanted, "%s", name);
    wanted[strcspn(wanted, " ")] = strchr(wanted, ' ') != NULL ? '+' : '\0';
    packer = dw_packer_find(wanted);
    if (packer == NULL) {
        dw_err_set(&call->err, DW_INVALID, "there is no packer of the name that was asked for");
        dw_serve_failed(call, "choosing a packer", DW_INVALID);
    }
    return packer;
}

struct dw_parked *dw_serve_park(struct dw_serving_call *call, enum dw_parked_kind kind, const struct dw_packer *packer,
                                int generation)
{
    struct dw_parked *parked =
        dw_parked_new(kind, call->identity.uid, call->client_id != NULL ? call->client_id : "", call->identity.sid);
    int64_t expiry;

    if (parked == NULL) {
        dw_serve_failed(call, "holding a request", DW_NOMEM);
        return NULL;
    }
    parked->packer = packer;
    parked->generation = (uint8_t)generation;
    parked->taken = call->taken;
    parked->deadline_ms = dw_clock_mono_ms() + call->server->hub->conf->chsk_lp_timeout_ms;
    parked->expires_at = call->identity.expires_at;
    parked->looked_us = call->identity.looked_us;
    expiry = dw_parked_expiry(parked);
    if (expiry < parked->deadline_ms)
        parked->deadline_ms = expiry;
    return parked;
}

struct dw_chsk dw_serve_state(const struct dw_client *client, bool found)
{
    return (struct dw_chsk){
        .known = found,
        /* A row may have been forgotten while a connection or poll of its time is still held, which must not pass for
         * one of the new row's: each row has its numbers from a place of its own.  Where the slot was another's they
         * go on from that one's, or its claim word could be newer than all that is to come. */
        .epoch = found || client->epoch != 0 ? client->epoch : (uint32_t)(dw_clock_mono_ms() & DW_EPOCH_MASK),
        .cursor = client->cursor,
        .udt = client->udt,
        .seen_ms = client->seen_ms,
        .due_ms = client->due_ms,
        .connected = client->connected,
        .generation = client->generation,
    };
}

int dw_serve_elsewhere(struct dw_serving_call *call, enum dw_transport other, bool *known, int64_t *upto)
{
    const struct dw_client_key key = {other, call->identity.uid, call->client_id};
    struct dw_client client = {.slot = 0};
    uint64_t claim = 0;
    int rc = dw_store_client_peek(call->server->store, &key, &client, &claim, &call->err);

    *known = rc == DW_OK;
    if (rc == DW_NOTFOUND)
        return DW_OK;
    *upto = client.cursor;
    /* An answer to a poll may still be under way; what a WebSocket's word says has been proven. */
    if (other == DW_WS && dw_claim_epoch(claim) == client.epoch && dw_claim_upto(claim) > *upto)
        *upto = dw_claim_upto(claim);
    return rc;
}

void dw_serve_keep(struct dw_client *client, const struct dw_chsk *state)
{
    client->epoch = state->epoch;
    client->cursor = state->cursor;
    client->udt = state->udt;
    client->seen_ms = state->seen_ms;
    client->due_ms = state->due_ms;
    client->connected = state->connected;
    client->generation = state->generation;
}

int dw_serve_handshake(struct dw_serving_call *call, const struct dw_packer *packer, int generation)
{
    struct dw_server *server = call->server;
    const struct dw_value *data = NULL;
    const char *json = call->identity.data;
    int rc = DW_OK;

    if (json != NULL)
        rc = dw_data_read(server->hub, packer, "json", json, strlen(json), server->arena, &data, &call->err);
    if (rc == DW_INVALID) {
        dw_log_warn("the session's handshake data is no JSON and is left out: %s", dw_err_say(&call->err, rc));
        data = NULL;
        rc = DW_OK;
    }
    if (rc == DW_OK)
        rc = dw_answer_value(call->answer, packer, generation, server->arena,
                             dw_chsk_handshake(server->arena, generation, call->identity.uid, data), &call->err);
    if (rc == DW_OK)
        dw_counter_add(&server->hub->counters.handshakes, 1);
    return rc;
}

static bool is_client_id_fine(struct dw_serving_call *call)
{
    size_t limit = (size_t)call->server->hub->conf->limits_client_id_bytes;
    size_t len = strlen(call->client_id), i;

    for (i = 0; i < len; i++) {
        if ((unsigned char)call->client_id[i] < 0x20 || call->client_id[i] == 0x7f)
            break;
    }
    if (len <= limit && i == len)
        return true;
    dw_err_set(&call->err, DW_INVALID, "client-id must be at most %zu bytes of printable text", limit);
    dw_serve_failed(call, "checking the client id", DW_INVALID);
    return false;
}

/* The opening of a WebSocket (RFC 6455, section 4.1), for which the web server has no better place.  Some
 * web servers drop Upgrade, which is for the next hop only. */
static bool asks_for_websocket(const struct dw_request *request)
{
    return request->websocket_key != NULL ||
           (request->upgrade != NULL && strcasestr(request->upgrade, "websocket") != NULL);
}

static struct dw_parked *serve(struct dw_serving_call *call)
{
    const struct dw_request *request = call->request;
    const char *query = request->query != NULL ? request->query : "";
    bool is_get = request->method != NULL && strcmp(request->method, "GET") == 0;
    uint32_t moves;
    int rc;

    if (!is_get && (request->method == NULL || strcmp(request->method, "POST") != 0)) {
        dw_answer_text(call->answer, 405, "Use GET or POST");
        call->answer->allow = "GET, POST";
        return NULL;
    }
    if (is_get && asks_for_websocket(request) && request->lot == NULL) {
        /* Quick, so that the client falls back; and it is no poll: it proves nothing and is not held. */
        dw_answer_text(call->answer, 501, "No WebSocket here: use Ajax");
        return NULL;
    }
    if (!dw_serve_headers_fit(call))
        return NULL;
    rc = dw_store_follow(call->server->store, &moves, &call->err);
    if (rc != DW_OK) {
        dw_serve_failed(call, "opening the queue", rc);
        return NULL;
    }
    if (strlen(query) > (size_t)call->server->hub->conf->limits_query_bytes) {
        dw_counter_add(&call->server->hub->counters.refused_size, 1);
        dw_answer_text(call->answer, 414, "The query string is too long");
        return NULL;
    }
    rc = dw_params_add(&call->params, query, strlen(query), &call->err);
    if (rc != DW_OK) {
        dw_serve_failed(call, "reading the parameters", rc);
        return NULL;
    }
    if (!is_get)
        return dw_serve_post(call);
    return asks_for_websocket(request) ? dw_serve_ws(call) : dw_serve_get(call);
}

/* The store forgot clients to give their slots to new ones. */
static void count_replaced(struct dw_server *server)
{
    uint64_t replaced = dw_store_clients_replaced(server->store);

    if (replaced != server->replaced)
        dw_counter_add(&server->hub->counters.clients_replaced, replaced - server->replaced);
    server->replaced = replaced;
}

struct dw_parked *dw_serve(struct dw_server *server, const struct dw_request *request, struct dw_answer *answer)
{
    struct dw_serving_call call = {.server = server, .request = request, .answer = answer};
    struct dw_parked *parked;

    dw_params_init(&call.params);
    dw_arena_reset(server->arena);
    parked = serve(&call);
    count_replaced(server);
    dw_params_fini(&call.params);
    dw_identity_fini(&call.identity);
    dw_outbox_clear(server->outbox);
    if (parked == NULL && answer->status == 0)
        dw_answer_text(answer, 500, "The server failed; its log says why");
    return parked;
}

bool dw_serve_client_id(struct dw_serving_call *call)
{
    const char *id = dw_params_get(&call->params, "client-id");

    call->client_id = id != NULL && id[0] != '\0' ? id : NULL;
    return call->client_id == NULL || is_client_id_fine(call);
}

bool dw_serve_client(struct dw_serving_call *call, const struct dw_packer **packer)
{
    if (!dw_serve_client_id(call))
        return false;
    if (call->client_id == NULL) {
        dw_err_set(&call->err, DW_INVALID, "the parameter client-id is missing");
        dw_serve_failed(call, "reading the parameters", DW_INVALID);
        return false;
    }
    if (!dw_serve_admit(call))
        return false;
    *packer = dw_serve_packer(call, NULL);
    return *packer != NULL;
}
