/* POST: what a client sends, with or without a callback. */
#include "hub/serve_internal.h"

#include "base/clock.h"
#include "base/log.h"
#include "chsk/utf8.h"

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
    struct dw_buf data; /* of the inbox row */
    bool answered;      /* a trigger of the app replied in the same transaction */
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

static int set_generation(void *context, struct dw_client *client, bool found, uint64_t claim)
{
    const struct post *post = context;

    (void)claim;
    if (!found)
        return DW_NOTFOUND; /* gone in between: no row for a client that does not poll */
    client->generation = (uint8_t)post->generation;
    return DW_OK;
}

/* What a client's messages look like tells how to answer its polls, which carry no payload. */
static int learn_generation(struct post *post, int generation)
{
    struct dw_serving_call *call = post->call;
    struct dw_client_key key = {DW_AJAX, call->identity.uid, call->client_id};
    int rc;

    if (generation != 0)
        post->generation = generation;
    if (!post->has_client || generation == 0 || post->client.generation == generation)
        return DW_OK;
    rc = dw_store_client_update(call->server->store, &key, set_generation, post, &call->err);
    return rc == DW_NOTFOUND ? DW_OK : rc;
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

/* Puts a row into the inbox.  `value` NULL: no data. */
static int store_event(struct post *post, const char *event, const struct dw_value *value, bool wants_reply,
                       int64_t *id)
{
    struct dw_serving_call *call = post->call;
    struct dw_server *server = call->server;
    const struct dw_packer *writer = dw_packer_find(server->hub->inbox_format);
    struct dw_inbox row = {
        .uid = call->identity.uid,
        .client_id = call->client_id,
        .event = event,
        .format = server->hub->inbox_format,
        .wants_reply = wants_reply,
        .received_at = dw_clock_wall_ms(),
        .packer = post->packer->name,
        .raw = post->payload,
        .raw_len = post->payload_len,
    };
    int rc = DW_OK;

    dw_buf_reset(&post->data);
    if (value != NULL) {
        rc = writer->write(value, &post->data, &call->err);
        if (rc == DW_OK && dw_buf_failed(&post->data))
            rc = DW_NOMEM;
        row.data = dw_buf_str(&post->data);
        row.data_len = post->data.len;
    }
    if (rc != DW_OK)
        return rc;
    return dw_store_inbox_add(server->store, &row, id, on_reply, post, &call->err);
}

static void dummy(struct post *post)
{
    struct dw_serving_call *call = post->call;
    int rc = dw_answer_value(call->answer, post->packer, post->generation, call->server->arena,
                             dw_chsk_dummy(call->server->arena), &call->err);

    if (rc != DW_OK)
        dw_serve_failed(call, "packing an answer", rc);
}

static void refuse_package(struct post *post, int rc)
{
    struct dw_serving_call *call = post->call;
    struct dw_server *server = call->server;
    const struct dw_value *text = NULL;
    struct dw_err reason = call->err;
    int64_t id;

    dw_counter_add(&server->hub->counters.bad_packages, 1);
    /* The app sees text as it came, and the bytes in any case; what is over a limit is not stored. */
    if (!post->packer->binary && dw_utf8_valid(post->payload, post->payload_len) == post->payload_len)
        text = dw_text(server->arena, DW_T_STRING, post->payload, post->payload_len);
    if (rc == DW_INVALID && call->client_id != NULL)
        (void)store_event(post, "chsk/bad-package", text, false, &id);
    call->err = reason;
    dw_serve_failed(call, "unpacking a message", rc);
}

static struct dw_parked *deliver(struct post *post, const struct dw_envelope *envelope)
{
    struct dw_serving_call *call = post->call;
    struct dw_server *server = call->server;
    const struct dw_value *name, *data;
    enum dw_event_kind kind = dw_event_classify(post->packer, envelope->value, &name, &data);
    bool wants_reply = envelope->callback != NULL;
    struct dw_parked *parked;
    int64_t id = 0;
    int rc;

    if (call->client_id == NULL) {
        dw_counter_add(&server->hub->counters.dropped, 1);
        dw_log_warn("a message without client-id was dropped");
        if (wants_reply)
            return dw_serve_park(call, DW_PARKED_MUTE, post->packer, post->generation);
        dummy(post);
        return NULL;
    }
    dw_counter_add(&server->hub->counters.messages, 1);
    if (kind == DW_EVENT_BAD) {
        dw_counter_add(&server->hub->counters.bad_events, 1);
        rc = store_event(post, "chsk/bad-event", envelope->value, wants_reply, &id);
    } else {
        rc = store_event(post, name->u.text.bytes, data, wants_reply, &id);
    }
    if (rc == DW_OK && post->answered)
        rc = post->reply_rc == DW_INVALID ? DW_HANDLER : post->reply_rc; /* the app's mistake, not the client's */
    if (rc == DW_HANDLER) {
        dw_counter_add(&server->hub->counters.handler_errors, 1);
        dw_log_error("the application's handler refused a message: %s", dw_err_say(&call->err, rc));
        dw_answer_text(call->answer, 500, "The application's handler failed");
        return NULL;
    }
    if (rc != DW_OK) {
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
    struct dw_envelope envelope = {0};
    int rc;

    if (post->payload_len > server->hub->limits.max_bytes)
        rc = dw_err_set(&call->err, DW_LIMIT, "the message is longer than %zu bytes", server->hub->limits.max_bytes);
    else
        rc = dw_envelope_read(post->packer, post->payload, post->payload_len, &server->hub->limits, server->arena,
                              &envelope, &call->err);
    if (rc == DW_INVALID || rc == DW_LIMIT) {
        refuse_package(post, rc);
        return NULL;
    }
    if (rc == DW_OK)
        rc = learn_generation(post, envelope.generation);
    if (rc != DW_OK) {
        dw_serve_failed(call, "reading a message", rc);
        return NULL;
    }
    return deliver(post, &envelope);
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
    dw_buf_fini(&post.data);
    return parked;
}
