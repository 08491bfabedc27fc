/* Targets for what stands around a message: the envelope, parameters and cookies, FastCGI records. */
#include "fuzz/fuzz.h"

#include "chsk/envelope.h"
#include "chsk/params.h"
#include "fcgi/record.h"

#include <string.h>

/* An envelope that was read is the same after it was written in any generation and read again. */
static void envelope_of(const struct dw_packer *packer, const char *bytes, size_t len)
{
    struct dw_arena *arena = fuzz_arena();
    struct dw_envelope first, again;
    const struct dw_value *name = NULL, *data = NULL;
    struct dw_buf out = DW_BUF_INIT;
    int code = dw_envelope_read(packer, bytes, len, NULL, arena, &first, NULL);

    FUZZ_CHECK(code == DW_OK || code == DW_INVALID || code == DW_LIMIT);
    for (int generation = 1; code == DW_OK && generation <= 3; generation++) {
        enum dw_event_kind kind = dw_event_classify(packer, first.value, &name, &data);

        fuzz_walk(first.value);
        FUZZ_CHECK(kind != DW_EVENT_GOOD || name != NULL);
        dw_buf_reset(&out);
        FUZZ_CHECK(dw_envelope_write(packer, generation, arena, first.value, first.callback, &out, NULL) == DW_OK);
        code = dw_envelope_read(packer, dw_buf_str(&out), out.len, NULL, arena, &again, NULL);
        FUZZ_CHECK(code == DW_OK || code == DW_LIMIT); /* generation 1 can come without a vector around it */
        if (code == DW_OK) {
            FUZZ_CHECK(dw_equal(first.value, again.value) || fuzz_is_lossy(packer, first.value));
            FUZZ_CHECK((first.callback == NULL) == (again.callback == NULL));
        }
    }
    dw_buf_fini(&out);
    dw_arena_free(arena);
}

void fuzz_envelope(const char *bytes, size_t len)
{
    envelope_of(&dw_packer_edn, bytes, len);
    envelope_of(&dw_packer_json, bytes, len);
    envelope_of(&dw_packer_transit, bytes, len);
    envelope_of(&dw_packer_msgpack, bytes, len);
}

/* The text as query and as form: the fields twice, all terminated; and as a Cookie header. */
void fuzz_params(const char *bytes, size_t len)
{
    struct dw_params params;
    struct dw_buf value = DW_BUF_INIT, header = DW_BUF_INIT;
    int code;

    dw_params_init(&params);
    code = dw_params_add(&params, bytes, len, NULL);
    FUZZ_CHECK(code == DW_OK || code == DW_INVALID || code == DW_LIMIT);
    if (code == DW_OK) {
        size_t count = params.count;

        code = dw_params_add(&params, bytes, len, NULL);
        FUZZ_CHECK((code == DW_OK && params.count == 2 * count) || (code == DW_LIMIT && 2 * count > DW_PARAMS_MAX));
    }
    FUZZ_CHECK(params.count <= DW_PARAMS_MAX);
    for (size_t i = 0; i < params.count; i++) {
        FUZZ_CHECK(strlen(params.list[i].value) == params.list[i].value_len);
        FUZZ_CHECK(dw_params_find(&params, params.list[i].name) != NULL);
    }
    dw_params_fini(&params);

    dw_buf_add(&header, bytes, len);
    if (dw_cookie_find(dw_buf_str(&header), "dw_sid", &value))
        FUZZ_CHECK(value.len <= len && memchr(dw_buf_str(&value), ';', value.len) == NULL);
    dw_buf_fini(&header);
    dw_buf_fini(&value);
}

static void look_up(const struct dw_inflow *inflow)
{
    static const char *const names[] = {"", "A", "QUERY_STRING", "REQUEST_METHOD"};

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        size_t len = 0;
        const char *value = dw_inflow_param(inflow, names[i], &len);

        if (value != NULL)
            FUZZ_CHECK(value >= inflow->bytes.data && len <= inflow->bytes.len &&
                       (size_t)(value - inflow->bytes.data) <= inflow->bytes.len - len);
    }
}

/* All at once and byte by byte must come to the same. */
void fuzz_record(const char *bytes, size_t len)
{
    struct dw_inflow whole = {.bytes = DW_BUF_INIT}, slow = {.bytes = DW_BUF_INIT};
    enum dw_inflow_state state = dw_inflow_feed(&whole, (const unsigned char *)bytes, len, 64);
    enum dw_inflow_state slow_state = DW_INFLOW_MORE;
    struct dw_buf answer = DW_BUF_INIT;

    for (size_t i = 0; i < len && slow_state == DW_INFLOW_MORE; i++)
        slow_state = dw_inflow_feed(&slow, (const unsigned char *)bytes + i, 1, 64);
    FUZZ_CHECK(state == slow_state);
    FUZZ_CHECK(whole.bytes.len == slow.bytes.len && whole.body_skipped == slow.body_skipped);
    FUZZ_CHECK(whole.bytes.len == 0 || memcmp(whole.bytes.data, slow.bytes.data, whole.bytes.len) == 0);
    FUZZ_CHECK(whole.bytes.len <= len + 8);
    if (state != DW_INFLOW_BROKEN)
        look_up(&whole);
    dw_record_answer(&answer, whole.request_id, bytes, len / 2, bytes + len / 2, len - len / 2);
    FUZZ_CHECK(answer.len % 8 == 0 && answer.len >= len);
    dw_buf_fini(&answer);
    dw_buf_fini(&whole.bytes);
    dw_buf_fini(&slow.bytes);
}
