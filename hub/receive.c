/* From packed bytes to the inbox; see receive.h. */
#include "hub/receive.h"

#include "base/clock.h"
#include "base/log.h"
#include "chsk/utf8.h"

/* Puts a row into the inbox.  `value` NULL: no data. */
static int store_event(const struct dw_receiving *receiving, const char *event, const struct dw_value *value,
                       bool wants_reply, int64_t *id, struct dw_err *err)
{
    const char *format = receiving->hub->inbox_format;
    struct dw_inbox row = {
        .uid = receiving->uid,
        .client_id = receiving->client_id,
        .event = event,
        .format = format,
        .wants_reply = wants_reply,
        .received_at = dw_clock_wall_ms(),
        .packer = receiving->packer->name,
        .raw = receiving->payload,
        .raw_len = receiving->payload_len,
    };
    struct dw_buf data = DW_BUF_INIT;
    int rc = DW_OK;

    if (value != NULL) {
        rc = dw_packer_find(format)->write(value, &data, err);
        if (rc == DW_OK && dw_buf_failed(&data))
            rc = DW_NOMEM;
        row.data = dw_buf_str(&data);
        row.data_len = data.len;
    }
    if (rc == DW_OK)
        rc = dw_store_inbox_add(receiving->store, &row, id, receiving->on_reply, receiving->context, err);
    if (rc == DW_QUOTA)
        dw_counter_add(&receiving->hub->counters.refused_inbox_uid, 1);
    else if (rc == DW_CROWDED)
        dw_counter_add(&receiving->hub->counters.refused_inbox, 1);
    dw_buf_fini(&data);
    return rc;
}

static void report_package(const struct dw_receiving *receiving, int rc)
{
    const struct dw_value *text = NULL;
    int64_t id;

    dw_counter_add(&receiving->hub->counters.bad_packages, 1);
    /* The app sees text as it came, and the bytes in any case; what is over a limit is not stored. */
    if (!receiving->packer->binary &&
        dw_utf8_valid(receiving->payload, receiving->payload_len) == receiving->payload_len)
        text = dw_text(receiving->arena, DW_T_STRING, receiving->payload, receiving->payload_len);
    if (rc == DW_INVALID && receiving->client_id != NULL)
        (void)store_event(receiving, "chsk/bad-package", text, false, &id, NULL);
}

int dw_receive_unpack(const struct dw_receiving *receiving, struct dw_envelope *envelope, struct dw_err *err)
{
    const struct dw_limits *limits = &receiving->hub->limits;
    int rc;

    if (receiving->payload_len > limits->max_bytes)
        rc = dw_err_set(err, DW_LIMIT, "the message is longer than %zu bytes", limits->max_bytes);
    else
        rc = dw_envelope_read(receiving->packer, receiving->payload, receiving->payload_len, limits, receiving->arena,
                              envelope, err);
    if (rc == DW_INVALID || rc == DW_LIMIT)
        report_package(receiving, rc);
    return rc;
}

int dw_receive_store(const struct dw_receiving *receiving, const struct dw_envelope *envelope, int64_t *id,
                     struct dw_err *err)
{
    const struct dw_value *name, *data;
    enum dw_event_kind kind = dw_event_classify(receiving->packer, envelope->value, &name, &data);
    struct dw_counters *counters = &receiving->hub->counters;
    bool wants_reply = envelope->callback != NULL;
    char who[DW_LOG_WHO];
    int rc;

    if (kind == DW_EVENT_BAD) {
        rc = store_event(receiving, "chsk/bad-event", envelope->value, wants_reply, id, err);
        if (rc != DW_BUSY)
            dw_counter_add(&counters->bad_events, 1);
    } else {
        rc = store_event(receiving, name->u.text.bytes, data, wants_reply, id, err);
    }
    if (rc != DW_BUSY) /* else it comes again */
        dw_counter_add(&counters->messages, 1);
    if (rc == DW_HANDLER) {
        dw_counter_add(&counters->handler_errors, 1);
        dw_log_error("the application's handler refused a message%s: %s",
                     dw_log_who(who, receiving->uid, receiving->client_id), dw_err_say(err, rc));
    }
    return rc;
}

static int set_generation(void *context, struct dw_client *client, bool found, uint64_t claim)
{
    const int *generation = context;

    (void)found;
    (void)claim;
    client->generation = (uint8_t)*generation;
    return DW_OK;
}

int dw_receive_generation(struct dw_store *store, const struct dw_client_key *key, int generation, struct dw_err *err)
{
    int rc = dw_store_client_change(store, key, set_generation, &generation, err);

    return rc == DW_NOTFOUND ? DW_OK : rc; /* gone in between */
}
