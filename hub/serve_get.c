/* GET: the handshake and the long-poll.
 *
 * The step function (chsk/step.h) decides inside the client's row transaction, where the mailbox is
 * read too; what leaves the server is claimed after the commit and before its first byte. */
#include "hub/serve_internal.h"

#include "base/clock.h"
#include "base/log.h"
#include "chsk/step.h"
#include "hub/arrival.h"
#include "hub/identity_token.h"
#include "hub/lot.h"

#include <stdlib.h>
#include <string.h>

struct get {
    struct dw_serving_call *call;
    const struct dw_packer *packer;
    struct dw_arrival arrival;
    struct dw_input input;
    struct dw_effect effect;
    struct dw_client client; /* as stored */
    uint32_t *indexes;       /* of the mail in the outbox */
    size_t mail;
    int64_t checked;
    bool was_known;
};

/* Who has the client's newest request in its hands. */
static int32_t worker_of(const struct get *get)
{
    struct dw_server *server = get->call->server;

    if (get->effect.kind == DW_FX_HOLD)
        return dw_hub_holder(server->hub, server->store);
    return get->effect.kind == DW_FX_EVENTS ? server->hub->worker : -1;
}

static int take_push(void *context, const struct dw_push *push)
{
    return dw_outbox_add(context, push);
}

/* Reads the client's mail into the outbox and describes it for the step function. */
static int read_mail(struct get *get, int64_t cursor)
{
    struct dw_serving_call *call = get->call;
    struct dw_server *server = call->server;
    size_t batch = (size_t)server->hub->conf->limits_batch, i;
    int rc;

    rc = dw_store_mailbox(server->store, call->identity.uid, call->client_id, cursor, batch, take_push, server->outbox,
                          &get->checked, &call->err);
    if (rc != DW_OK)
        return rc;
    get->mail = dw_outbox_count(server->outbox);
    get->input.kind = DW_IN_MAIL;
    get->input.u.mail.events = get->mail;
    get->input.u.mail.checked = get->checked;
    get->input.u.mail.close_id = 0;
    if (get->mail > 0 && dw_outbox_is_close(server->outbox, 0))
        get->input.u.mail.close_id = dw_outbox_id(server->outbox, 0);
    get->indexes = reallocarray(NULL, get->mail + 1, sizeof *get->indexes);
    if (get->indexes == NULL)
        return DW_NOMEM;
    for (i = 0; i < get->mail; i++)
        get->indexes[i] = (uint32_t)i;
    return DW_OK;
}

struct liveness {
    int32_t worker;
    bool alive;
};

static int on_worker(void *context, const struct dw_worker *worker)
{
    struct liveness *asked = context;

    if (worker->worker == asked->worker)
        asked->alive = worker->alive;
    return DW_OK;
}

/* Has the whole answer under way left, or will it surely?  Its mark comes behind its last byte, and a quick
 * client's next poll may be here before; but nobody sends a poll again whose worker lives. */
static int has_left(struct get *get, const struct dw_client *client, uint64_t claim)
{
    struct dw_serving_call *call = get->call;
    struct liveness asked = {client->worker, false};
    int rc = DW_OK;

    if (!dw_claim_is_sent(claim) && client->udt == get->input.u.get.udt && client->worker >= 0)
        rc = dw_store_workers(call->server->store, on_worker, &asked, &call->err);
    get->input.u.get.claim_sent = dw_claim_is_sent(claim) || asked.alive;
    return rc;
}

static int on_client(void *context, struct dw_client *client, bool found, uint64_t claim)
{
    struct get *get = context;
    struct dw_serving_call *call = get->call;
    struct dw_chsk state = dw_serve_state(client, found);
    struct dw_effect read;
    int rc = dw_serve_has_place(call, client);

    /* Read under the row's lock: an older end could be behind what this client has proven since. */
    if (rc == DW_OK)
        rc = dw_store_end(call->server->store, &get->input.u.get.end, &call->err);
    if (rc == DW_OK)
        rc = dw_store_horizon(call->server->store, &get->input.u.get.horizon, &call->err);
    if (rc == DW_OK && (get->input.u.get.handshake || !found))
        rc = dw_serve_elsewhere(call, DW_WS, &get->input.u.get.changes_over, &get->input.u.get.elsewhere);
    if (rc != DW_OK)
        return rc;
    get->was_known = found;
    get->input.u.get.claim_epoch = dw_claim_epoch(claim);
    get->input.u.get.claim_upto = dw_claim_upto(claim);
    rc = has_left(get, client, claim);
    if (rc != DW_OK)
        return rc;
    get->input.u.get.lost_poll =
        get->arrival.handshake &&
        dw_store_arrival_find(call->server->store, get->arrival.key, client->epoch, &get->input.u.get.lost_udt);
    /* From the commit on this request is the newest, and the note belongs to the one before. */
    dw_store_arrival_bind(call->server->store, get->arrival.key, client->epoch);
    get->effect = dw_chsk_step(&state, NULL, &get->input);
    if (get->effect.kind == DW_FX_READ) {
        rc = read_mail(get, state.cursor);
        if (rc != DW_OK)
            return rc;
        read = get->effect;
        get->effect = dw_chsk_step(&state, &read, &get->input);
    }
    dw_serve_keep(client, &state);
    client->worker = worker_of(get);
    (void)strncpy(client->packer, get->packer->name, sizeof client->packer - 1);
    get->client = *client;
    return DW_OK;
}

static size_t length(const char *string)
{
    return string != NULL ? strlen(string) : 0;
}

/* What the step function has to know of the request and of this server. */
static int describe(struct get *get, bool handshake)
{
    struct dw_serving_call *call = get->call;
    struct dw_server *server = call->server;
    const struct dw_conf *conf = server->hub->conf;
    const struct dw_request *request = call->request;
    const char *udt = dw_params_get(&call->params, "udt");
    struct dw_input *in = &get->input;

    /* There is a client id: it was checked before. */
    (void)dw_arrival_of(request->query, strlen(request->query), dw_identity_token_param(conf), request->cookie,
                        length(request->cookie), request->remote_user, length(request->remote_user), &get->arrival);
    in->kind = DW_IN_GET;
    in->now_ms = dw_clock_wall_ms();
    in->up_ms = dw_clock_mono_ms();
    in->hold_ms = dw_lot_hold_ms(server->hub);
    in->grace_ms = conf->chsk_close_grace_ajax_ms;
    /* A stock client's back-off doubles; give it time for two of its longest early steps. */
    in->retry_ms = 60000;
    in->full = dw_hub_full(server->hub, server->store);
    in->u.get.handshake = handshake;
    in->u.get.udt = udt != NULL ? strtoll(udt, NULL, 10) : 0;
    return dw_store_state_is_new(server->store, in->now_ms, &in->u.get.amnesia, &call->err);
}

static struct dw_parked *answer_handshake(struct get *get, int generation)
{
    int rc = dw_serve_handshake(get->call, get->packer, generation);

    if (rc != DW_OK)
        dw_serve_failed(get->call, "packing a handshake", rc);
    return NULL;
}

static struct dw_parked *hold(struct get *get, int generation, int64_t after)
{
    struct dw_parked *parked = dw_serve_park(get->call, DW_PARKED_POLL, get->packer, generation);

    if (parked != NULL) {
        parked->slot = get->client.slot;
        parked->epoch = get->client.epoch;
        parked->after = after;
        parked->worker = get->client.worker;
    }
    return parked;
}

static void send_away(struct dw_serving_call *call)
{
    dw_answer_text(call->answer, 503, "No more polls can be held here; come back later");
    call->answer->retry_ms = dw_hub_retry_ms(call->server->hub);
    dw_counter_add(&call->server->hub->counters.away, 1);
}

/* A newer request of the client has been served meanwhile: this one gets nothing but its time-out. */
static struct dw_parked *superseded(struct get *get, int generation)
{
    struct dw_hub *hub = get->call->server->hub;

    dw_counter_add(&hub->counters.superseded, 1);
    return dw_serve_park(get->call, DW_PARKED_MUTE, get->packer, generation);
}

/* Nothing of the mail could be packed, so the step function is told that there was none. */
static int on_no_mail(void *context, struct dw_client *client, bool found, uint64_t claim)
{
    const struct dw_effect pending = {.kind = DW_FX_READ};
    struct get *get = context;
    struct dw_chsk state = dw_serve_state(client, found);

    (void)claim;
    if (client->epoch != get->client.epoch)
        return DW_SUPERSEDED;
    get->input.u.mail.events = 0;
    get->effect = dw_chsk_step(&state, &pending, &get->input);
    dw_serve_keep(client, &state);
    client->worker = worker_of(get);
    get->client = *client;
    return DW_OK;
}

static struct dw_parked *wait_behind(struct get *get, int generation)
{
    struct dw_serving_call *call = get->call;
    struct dw_client_key key = {DW_AJAX, call->identity.uid, call->client_id};
    int rc = dw_store_client_change(call->server->store, &key, on_no_mail, get, &call->err);

    if (rc == DW_SUPERSEDED || rc == DW_NOTFOUND)
        return superseded(get, generation);
    if (rc != DW_OK) {
        dw_serve_failed(call, "passing over broken pushes", rc);
        return NULL;
    }
    (void)dw_store_claim_begin(call->server->store, get->client.slot, get->client.epoch, DW_CLAIM_NONE);
    if (get->effect.kind == DW_FX_HOLD)
        return hold(get, generation, get->checked);
    send_away(call);
    return NULL;
}

static struct dw_parked *answer_events(struct get *get, int generation)
{
    struct dw_serving_call *call = get->call;
    struct dw_server *server = call->server;
    struct dw_part packed;
    size_t taken = 0, events = 0;
    int64_t upto;
    int rc = dw_outbox_pack(server->outbox, get->packer, generation, get->indexes, get->mail, &taken, &packed, &events,
                            &call->err);

    if (rc != DW_OK) {
        dw_serve_failed(call, "packing events", rc);
        return NULL;
    }
    upto = taken == get->mail ? get->checked : dw_outbox_id(server->outbox, taken - 1);
    if (events == 0)
        return wait_behind(get, generation);
    dw_buf_reset(&call->answer->body);
    dw_buf_add(&call->answer->body, packed.bytes, packed.len);
    if (dw_buf_failed(&call->answer->body)) {
        dw_serve_failed(call, "packing events", DW_NOMEM);
        return NULL;
    }
    call->answer->status = 200;
    call->answer->binary = get->packer->binary;
    if (!dw_store_claim_begin(server->store, get->client.slot, get->client.epoch, upto)) {
        call->answer->status = 0;
        dw_buf_reset(&call->answer->body);
        return superseded(get, generation);
    }
    call->answer->claimed = true;
    call->answer->slot = get->client.slot;
    call->answer->epoch = get->client.epoch;
    dw_hub_give_back(server->hub, &call->taken);
    dw_counter_add(&server->hub->counters.events, events);
    return NULL;
}

static struct dw_parked *carry_out(struct get *get)
{
    struct dw_serving_call *call = get->call;
    struct dw_server *server = call->server;
    int generation = get->client.generation != 0 ? get->client.generation : (int)server->hub->conf->chsk_generation;

    if (get->effect.gap)
        dw_serve_gap(call, get->was_known);
    if (get->effect.kind != DW_FX_HANDSHAKE)
        dw_counter_add(&server->hub->counters.polls, 1);
    if (get->effect.opened && server->hub->presence_changed != NULL)
        server->hub->presence_changed(server->hub->presence_context);
    if (get->effect.kind != DW_FX_EVENTS)
        (void)dw_store_claim_begin(server->store, get->client.slot, get->client.epoch, DW_CLAIM_NONE);
    switch (get->effect.kind) {
    case DW_FX_HANDSHAKE:
        return answer_handshake(get, generation);
    case DW_FX_EVENTS:
        return answer_events(get, generation);
    case DW_FX_CLOSE:
        dw_answer_closed(call->answer);
        return NULL;
    case DW_FX_AWAY:
        send_away(call);
        return NULL;
    case DW_FX_HOLD:
    case DW_FX_READ:
        break;
    }
    return hold(get, generation, get->checked);
}

struct dw_parked *dw_serve_get(struct dw_serving_call *call)
{
    struct get get = {.call = call};
    struct dw_parked *parked = NULL;
    struct dw_client_key key;
    int rc;

    if (!dw_serve_client(call, &get.packer))
        return NULL;
    rc = describe(&get, dw_params_find(&call->params, "handshake?") != NULL);
    key = (struct dw_client_key){DW_AJAX, call->identity.uid, call->client_id};
    if (rc == DW_OK)
        rc = dw_store_client_update(call->server->store, &key, on_client, &get, &call->err);
    if (rc == DW_OK) {
        parked = carry_out(&get);
    } else {
        dw_serve_count_refusal(call, rc);
        dw_serve_failed(call, "serving a poll", rc);
    }
    free(get.indexes);
    return parked;
}
