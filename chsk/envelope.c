/* Reads and writes message envelopes and knows the protocol's fixed messages; see envelope.h. */
#include "chsk/envelope.h"

#include <string.h>

static bool is_truthy(const struct dw_value *value)
{
    return value->type != DW_T_NIL && !(value->type == DW_T_BOOL && !value->u.boolean);
}

static bool is_sequence(const struct dw_value *value)
{
    return value->type == DW_T_VECTOR || value->type == DW_T_LIST;
}

static int split(const struct dw_value *message, struct dw_envelope *out, struct dw_err *err)
{
    if (message->type == DW_T_NIL)
        return DW_OK;
    if (!is_sequence(message))
        return dw_err_set(err, DW_INVALID, "the payload is not a vector of a value and a callback id");
    if (message->u.seq.count > 0)
        out->value = message->u.seq.items[0];
    if (message->u.seq.count > 1 && is_truthy(message->u.seq.items[1]))
        out->callback = message->u.seq.items[1];
    if (out->generation != 0 || message->u.seq.count == 0)
        return DW_OK;
    out->generation = 3;
    if (message->u.seq.count == 1 || (out->callback != NULL && out->callback->type == DW_T_INT))
        out->generation = 2;
    return DW_OK;
}

/* Clojure's edn reader stops behind the first form.  Sente's MessagePack client sends its whole buffer of
 * 1024 bytes and more, of which the message is only the beginning. */
static bool ignores_rest(const struct dw_packer *packer)
{
    return packer == &dw_packer_edn || packer->binary;
}

int dw_envelope_read(const struct dw_packer *packer, const char *bytes, size_t len, const struct dw_limits *limits,
                     struct dw_arena *arena, struct dw_envelope *out, struct dw_err *err)
{
    const struct dw_value *message;
    size_t rest, skip = 0;
    int rc;

    *out = (struct dw_envelope){.value = dw_nil()};
    if (len == 0)
        return DW_OK;
    if (!packer->binary && (bytes[0] == '-' || bytes[0] == '+')) {
        out->generation = 1;
        skip = 1;
    }
    rc = packer->read(bytes + skip, len - skip, limits, arena, &message, ignores_rest(packer) ? &rest : NULL, err);
    if (rc != DW_OK)
        return rc;
    if (skip != 0 && bytes[0] == '-') {
        out->value = message;
        return DW_OK;
    }
    return split(message, out, err);
}

int dw_envelope_write(const struct dw_packer *packer, int generation, struct dw_arena *arena,
                      const struct dw_value *value, const struct dw_value *callback, struct dw_buf *out,
                      struct dw_err *err)
{
    const struct dw_value *items[2] = {value, callback != NULL ? callback : dw_nil()};
    const struct dw_value *message;

    if (generation == 1 && !packer->binary)
        dw_buf_addc(out, '+');
    message = dw_seq(arena, DW_T_VECTOR, items, generation == 3 || callback != NULL ? 2 : 1);
    if (message == NULL || value == NULL)
        return dw_err_set(err, DW_NOMEM, "out of memory while packing a message");
    return packer->write(message, out, err);
}

int dw_envelope_join(const struct dw_packer *packer, int generation, const struct dw_part *events, size_t count,
                     struct dw_buf *out, struct dw_err *err)
{
    struct dw_buf batch = DW_BUF_INIT, none = DW_BUF_INIT;
    int rc = dw_packer_join(packer, events, count, &batch, err);

    if (rc == DW_OK)
        rc = packer->write_part(dw_nil(), &none, err);
    if (rc == DW_OK) {
        const struct dw_part parts[2] = {{batch.data, batch.len}, {none.data, none.len}};

        if (generation == 1 && !packer->binary)
            dw_buf_addc(out, '+');
        rc = dw_packer_join(packer, parts, generation == 3 ? 2 : 1, out, err);
    }
    dw_buf_fini(&batch);
    dw_buf_fini(&none);
    return rc;
}

/* [:chsk/handshake [uid nil data]]; the nil stands where the CSRF token was in old versions. */
const struct dw_value *dw_chsk_handshake(struct dw_arena *arena, int generation, const char *uid,
                                         const struct dw_value *data)
{
    const struct dw_value *fields[3] = {
        uid != NULL ? dw_string(arena, uid) : dw_keyword(arena, "sente/nil-uid"),
        dw_nil(),
        data != NULL ? data : dw_nil(),
    };
    const struct dw_value *event[2] = {
        dw_keyword(arena, "chsk/handshake"),
        dw_seq(arena, DW_T_VECTOR, fields, generation == 3 || data != NULL ? 3 : 2),
    };

    return dw_seq(arena, DW_T_VECTOR, event, 2);
}

const struct dw_value *dw_chsk_timeout(struct dw_arena *arena)
{
    return dw_keyword(arena, "chsk/timeout");
}

const struct dw_value *dw_chsk_dummy(struct dw_arena *arena)
{
    return dw_keyword(arena, "chsk/dummy-cb-200");
}

const struct dw_value *dw_chsk_ws_ping(struct dw_arena *arena)
{
    return dw_keyword(arena, "chsk/ws-ping");
}

const struct dw_value *dw_chsk_pong(struct dw_arena *arena)
{
    return dw_string(arena, "pong");
}

const struct dw_value *dw_chsk_error(struct dw_arena *arena)
{
    return dw_keyword(arena, "chsk/error");
}

/* JSON has no keywords: there the event id is a string. */
static bool is_event_id(const struct dw_packer *packer, const struct dw_value *id)
{
    const struct dw_packer *format = packer->inner != NULL ? packer->inner : packer;
    const char *slash;

    if (id->type != DW_T_KEYWORD && !(format == &dw_packer_json && id->type == DW_T_STRING))
        return false;
    slash = memchr(id->u.text.bytes, '/', id->u.text.len);
    return slash != NULL && slash > id->u.text.bytes && slash + 1 < id->u.text.bytes + id->u.text.len;
}

static bool in_chsk_namespace(const struct dw_value *id)
{
    return id->u.text.len > 5 && memcmp(id->u.text.bytes, "chsk/", 5) == 0;
}

enum dw_event_kind dw_event_classify(const struct dw_packer *packer, const struct dw_value *value,
                                     const struct dw_value **name, const struct dw_value **data)
{
    const struct dw_value *id;

    *name = NULL;
    *data = NULL;
    /* An event is a vector; a list is none (Sente asserts vector?). */
    if (value->type != DW_T_VECTOR || value->u.seq.count < 1 || value->u.seq.count > 2)
        return DW_EVENT_BAD;
    id = value->u.seq.items[0];
    if (!is_event_id(packer, id))
        return DW_EVENT_BAD;
    *name = id;
    if (value->u.seq.count == 2)
        *data = value->u.seq.items[1];
    if (!in_chsk_namespace(id))
        return DW_EVENT_GOOD;
    if (strcmp(id->u.text.bytes, "chsk/ws-ping") == 0)
        return DW_EVENT_PING;
    return strcmp(id->u.text.bytes, "chsk/ws-pong") == 0 ? DW_EVENT_PONG : DW_EVENT_BAD;
}
