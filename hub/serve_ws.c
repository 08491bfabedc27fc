/* The WebSocket handshake: the same checks as for a poll, the client's row, and the first message.
 *
 * The row's new number makes this connection the client's newest in its transaction; the claim word, which
 * says so to other processes, is set after the commit. */
#include "hub/serve_internal.h"
#include "hub/sockets.h"

#include "base/clock.h"
#include "base/log.h"
#include "chsk/ws_step.h"

#include <stdlib.h>
#include <string.h>

struct opening {
    struct dw_serving_call *call;
    const struct dw_packer *packer;
    struct dw_ws_opening in;
    struct dw_client client; /* as stored */
    bool was_known, was_connected, gap;
};

static int on_client(void *context, struct dw_client *client, bool found, uint64_t claim)
{
    struct opening *opening = context;
    struct dw_store *store = opening->call->server->store;
    struct dw_chsk state = dw_serve_state(client, found);
    int rc = dw_serve_has_place(opening->call, client);

    if (rc == DW_OK)
        rc = dw_store_end(store, &opening->in.end, &opening->call->err);
    if (rc == DW_OK)
        rc = dw_store_horizon(store, &opening->in.horizon, &opening->call->err);
    if (rc == DW_OK)
        rc = dw_serve_elsewhere(opening->call, DW_AJAX, &opening->in.changes_over, &opening->in.elsewhere);
    if (rc != DW_OK)
        return rc;
    opening->in.claim_epoch = dw_claim_epoch(claim);
    opening->in.claim_upto = dw_claim_upto(claim);
    opening->was_known = found;
    opening->was_connected = client->connected;
    opening->gap = dw_ws_open(&state, &opening->in);
    dw_serve_keep(client, &state);
    client->worker = opening->call->server->hub->worker;
    (void)strncpy(client->packer, opening->packer->name, sizeof client->packer - 1);
    opening->client = *client;
    return DW_OK;
}

static bool is_full(struct dw_serving_call *call)
{
    struct dw_hub *hub = call->server->hub;
    int64_t most = hub->conf->limits_sockets_per_uid;

    if (atomic_load_explicit(&hub->draining, memory_order_relaxed))
        return true;
    return most > 0 && call->identity.uid != NULL &&
           dw_socket_count_uid(call->request->lot, call->identity.uid) >= (size_t)most;
}

/* The row says that this client is connected, but it won't be. */
static void take_back(const struct opening *opening)
{
    const struct dw_serving_call *call = opening->call;
    const struct dw_departed departed = {DW_WS, call->identity.uid, call->client_id, opening->client.slot,
                                         opening->client.epoch};

    if (dw_store_clients_leave(call->server->store, &departed, 1, dw_clock_wall_ms(), NULL) != DW_OK)
        dw_log_error("a client that could not be let in still counts as connected");
}

/* The claim word and the first message; false: call->answer says why not. */
static bool greet(struct opening *opening, int generation)
{
    struct dw_serving_call *call = opening->call;
    struct dw_hub *hub = call->server->hub;
    const struct dw_client *client = &opening->client;
    int rc;

    /* Without it no push could be sent here. */
    if (!dw_store_claim_begin(call->server->store, client->slot, client->epoch, client->cursor)) {
        dw_counter_add(&hub->counters.superseded, 1);
        dw_answer_text(call->answer, 503, "A newer request of this client has come");
        call->answer->retry_ms = dw_hub_retry_ms(hub);
        return false;
    }
    rc = dw_serve_handshake(call, opening->packer, generation);
    if (rc != DW_OK)
        dw_serve_failed(call, "packing a handshake", rc);
    return rc == DW_OK;
}

static struct dw_parked *let_in(struct opening *opening)
{
    struct dw_serving_call *call = opening->call;
    struct dw_hub *hub = call->server->hub;
    int generation = opening->client.generation != 0 ? opening->client.generation : (int)hub->conf->chsk_generation;
    struct dw_parked *parked = dw_serve_park(call, DW_PARKED_SOCKET, opening->packer, generation);

    if (parked != NULL && !greet(opening, generation)) {
        free(parked);
        parked = NULL;
    }
    if (parked == NULL) {
        take_back(opening);
        return NULL;
    }
    call->answer->status = 101;
    parked->slot = opening->client.slot;
    parked->epoch = opening->client.epoch;
    parked->after = opening->client.cursor;
    dw_counter_add(&hub->counters.sockets, 1);
    if (opening->gap)
        dw_serve_gap(call, opening->was_known);
    if (!opening->was_connected && hub->presence_changed != NULL)
        hub->presence_changed(hub->presence_context);
    return parked;
}

struct dw_parked *dw_serve_ws(struct dw_serving_call *call)
{
    struct opening opening = {.call = call};
    struct dw_client_key key;
    int rc;

    if (!dw_serve_client(call, &opening.packer))
        return NULL;
    if (is_full(call)) {
        dw_answer_text(call->answer, 503, "No more WebSockets are taken here; come back later");
        call->answer->retry_ms = dw_hub_retry_ms(call->server->hub);
        dw_counter_add(&call->server->hub->counters.refused_sockets, 1);
        return NULL;
    }
    opening.in.now_ms = dw_clock_wall_ms();
    rc = dw_store_state_is_new(call->server->store, opening.in.now_ms, &opening.in.amnesia, &call->err);
    key = (struct dw_client_key){DW_WS, call->identity.uid, call->client_id};
    if (rc == DW_OK)
        rc = dw_store_client_update(call->server->store, &key, on_client, &opening, &call->err);
    if (rc == DW_OK)
        return let_in(&opening);
    dw_serve_count_refusal(call, rc);
    dw_serve_failed(call, "opening a WebSocket", rc);
    return NULL;
}
