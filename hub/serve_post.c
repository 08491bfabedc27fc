/* POST: what a client sends, with or without a callback. */
#include "hub/receive.h"
#include "hub/serve_internal.h"

#include "base/log.h"

#include <string.h>
#include <strings.h>

struct post {
    struct dw_serving_call *call;
    const struct dw_packer *packer;
    struct dw_client client; /* what is known of it from its polls; zero if nothing */
    bool has_client;
    int generation;
    const char *payload;
    size_t payload_len;
    bool answered; /* a trigger of the app replied in the same transaction */
    int reply_rc;
};

static bool is_type(const char *content_type, const char *wanted)
{
    size_t len = strlen(wanted);

    return content_type != NULL && strncasecmp(content_type, wanted, len) == 0 &&
           (content_type[len] == '\0' || content_type[len] == ';' || content_type[len] == ' ');
}

/* Finds the packed payload: the octet-stream body, or ppstr among the form's and the query's fields. */
static bool find_payload(struct post *post)
{
    struct dw_serving_call *call = post->call;
    const struct dw_request *request = call->request;
    const char *type = request->content_type;
    const struct dw_param *ppstr;
    int rc = DW_OK;

    if (is_type(type, "application/octet-stream")) {
        post->payload = request->body;
        post->payload_len = request->body_len;
    } else if (is_type(type, "application/x-www-form-urlencoded")) {
        rc = dw_params_add(&call->params, request->body, request->body_len, &call->err);
    } else if (type != NULL && type[0] != '\0' && request->body_len > 0) {
        dw_counter_add(&call->server->hub->counters.bad_requests, 1);
        dw_answer_text(call->answer, 415,
                       "Send application/x-www-form-urlencoded (field ppstr) or application/octet-stream");
        return false;
    }
    if (rc != DW_OK) {
        dw_serve_failed(call, "reading the form", rc);
        return false;
    }
    ppstr = dw_params_find(&call->params, "ppstr");
    if (post->payload == NULL && ppstr != NULL) {
        post->payload = ppstr->value;
        post->payload_len = ppstr->value_len;
    }
    if (post->payload == NULL)
        post->payload = "";
    return true;
}

/* What a client's messages look like tells how to answer its polls, which carry no payload. */
static int learn_generation(struct post *post, int generation)
{
    struct dw_serving_call *call = post->call;
    struct dw_client_key key = {DW_AJAX, call->identity.uid, call->client_id};

    if (generation != 0)
        post->generation = generation;
    if (!post->has_client || generation == 0 || post->client.generation == generation)
        return DW_OK;
    return dw_receive_generation(call->server->store, &key, generation, &call->err);
}

static int on_reply(void *context, const struct dw_reply *reply)
{
    struct post *post = context;
    struct dw_serving_call *call = post->call;

    post->answered = true;
    post->reply_rc = dw_answer_reply(call->answer, call->server->hub, post->packer, post->generation,
                                     call->server->arena, reply, &call->err);
    return DW_OK;
}

static void dummy(struct post *post)
{
    struct dw_serving_call *call = post->call;
    int rc = dw_answer_value(call->answer, post->packer, post->generation, call->server->arena,
                             dw_chsk_dummy(call->server->arena), &call->err);

    if (rc != DW_OK)
        dw_serve_failed(call, "packing an answer", rc);
}

static struct dw_parked *deliver(struct post *post, const struct dw_receiving *receiving,
                                 const struct dw_envelope *envelope)
{
    struct dw_serving_call *call = post->call;
    bool wants_reply = envelope->callback != NULL;
    char who[DW_LOG_WHO];
    struct dw_parked *parked;
    int64_t id = 0;
    int rc;

    if (call->client_id == NULL) {
        dw_counter_add(&call->server->hub->counters.dropped, 1);
        dw_log_warn("a message without client-id was dropped%s", dw_log_who(who, call->identity.uid, NULL));
        if (wants_reply)
            return dw_serve_park(call, DW_PARKED_MUTE, post->packer, post->generation);
        dummy(post);
        return NULL;
    }
    rc = dw_receive_store(receiving, envelope, &id, &call->err);
    if (rc == DW_OK && post->answered)
        rc = post->reply_rc;
    if (rc == DW_INVALID && post->answered) { /* the app's mistake, not the client's */
        dw_counter_add(&call->server->hub->counters.handler_errors, 1);
        dw_log_error("the application's reply to a message can't be sent: %s", dw_err_say(&call->err, rc));
        rc = DW_HANDLER;
    }
    if (rc == DW_HANDLER) {
        dw_answer_text(call->answer, 500, "The application's handler failed");
        return NULL;
    }
    if (rc != DW_OK) { /* over limits.inbox_* too */
        dw_serve_failed(call, "storing a message", rc);
        return NULL;
    }
    if (wants_reply && post->answered)
        return NULL;
    if (!wants_reply) {
        dummy(post);
        return NULL;
    }
    parked = dw_serve_park(call, DW_PARKED_CALLBACK, post->packer, post->generation);
    if (parked != NULL)
        parked->inbox_id = id;
    return parked;
}

static struct dw_parked *unpack(struct post *post)
{
    struct dw_serving_call *call = post->call;
    struct dw_server *server = call->server;
    const struct dw_receiving receiving = {
        .hub = server->hub,
        .store = server->store,
        .arena = server->arena,
        .packer = post->packer,
        .uid = call->identity.uid,
        .client_id = call->client_id,
        .payload = post->payload,
        .payload_len = post->payload_len,
        .on_reply = on_reply,
        .context = post,
    };
    struct dw_envelope envelope = {0};
    int rc = dw_receive_unpack(&receiving, &envelope, &call->err);

    if (rc == DW_INVALID || rc == DW_LIMIT) {
        dw_serve_failed(call, "unpacking a message", rc);
        return NULL;
    }
    if (rc == DW_OK)
        rc = learn_generation(post, envelope.generation);
    if (rc != DW_OK) {
        dw_serve_failed(call, "reading a message", rc);
        return NULL;
    }
    return deliver(post, &receiving, &envelope);
}

struct dw_parked *dw_serve_post(struct dw_serving_call *call)
{
    struct post post = {.call = call, .generation = (int)call->server->hub->conf->chsk_generation};
    struct dw_parked *parked = NULL;
    int rc;

    if (!find_payload(&post) || !dw_serve_client_id(call) || !dw_serve_admit(call))
        return NULL;
    if (call->client_id != NULL) {
        rc = dw_store_client_get(call->server->store, call->identity.uid, call->client_id, &post.client, &call->err);
        if (rc != DW_OK && rc != DW_NOTFOUND) {
            dw_serve_failed(call, "looking up the client", rc);
            return NULL;
        }
        post.has_client = rc == DW_OK;
    }
    if (post.has_client && post.client.generation != 0)
        post.generation = post.client.generation;
    post.packer = dw_serve_packer(call, post.has_client ? post.client.packer : NULL);
    if (post.packer != NULL)
        parked = unpack(&post);
    return parked;
}
