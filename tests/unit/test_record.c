/* FastCGI records: when a request is complete, and what an answer looks like. */
#include "fcgi/record.h"

#include "tests/unit/tap.h"

#include <string.h>

#define ROOM 4096

struct request {
    unsigned char bytes[1024];
    size_t len;
};

static void record(struct request *request, int type, int id, const char *content, size_t content_len, size_t padding)
{
    const unsigned char header[8] = {1,
                                     (unsigned char)type,
                                     0,
                                     (unsigned char)id,
                                     (unsigned char)(content_len >> 8),
                                     (unsigned char)content_len,
                                     (unsigned char)padding,
                                     0};

    memcpy(request->bytes + request->len, header, 8);
    memcpy(request->bytes + request->len + 8, content, content_len);
    memset(request->bytes + request->len + 8 + content_len, 0, padding);
    request->len += 8 + content_len + padding;
}

static struct request a_request(void)
{
    struct request request = {.len = 0};

    record(&request, 1, 1, "\0\1\0\0\0\0\0\0", 8, 0);
    record(&request, 4, 1, "\2\1ABx", 5, 3);
    record(&request, 4, 1, "", 0, 0);
    record(&request, 5, 1, "body", 4, 4);
    record(&request, 5, 1, "", 0, 0);
    return request;
}

/* Feeds all of it in pieces of `step` bytes; the state after the last piece. */
static enum dw_inflow_state feed(struct dw_inflow *inflow, const struct request *request, size_t step, size_t body_max)
{
    enum dw_inflow_state state = DW_INFLOW_MORE;
    size_t at;

    memset(inflow, 0, sizeof *inflow);
    for (at = 0; at < request->len && state == DW_INFLOW_MORE; at += step)
        state =
            dw_inflow_feed(inflow, request->bytes + at, request->len - at < step ? request->len - at : step, body_max);
    return state;
}

static void a_request_is_ready_with_its_last_byte_however_it_is_cut(void **unused)
{
    struct request request = a_request(), cut = request;
    struct dw_inflow inflow;
    size_t step;

    (void)unused;
    for (step = 1; step <= request.len; step++) {
        assert_int_equal(feed(&inflow, &request, step, ROOM), DW_INFLOW_READY);
        assert_int_equal(inflow.bytes.len, request.len);
        assert_memory_equal(inflow.bytes.data, request.bytes, request.len);
        assert_false(inflow.body_skipped);
        dw_buf_fini(&inflow.bytes);
    }
    for (cut.len = 0; cut.len < request.len; cut.len++) {
        assert_int_equal(feed(&inflow, &cut, ROOM, ROOM), DW_INFLOW_MORE);
        dw_buf_fini(&inflow.bytes);
    }
}

static void of_a_body_that_is_too_long_only_the_rest_of_the_request_is_kept(void **unused)
{
    struct request request = a_request();
    struct dw_inflow inflow;
    size_t step;

    (void)unused;
    for (step = 1; step <= request.len; step++) {
        assert_int_equal(feed(&inflow, &request, step, 3), DW_INFLOW_READY);
        assert_true(inflow.body_skipped);
        assert_int_equal(inflow.bytes.len, request.len - 16); /* without the record of the body */
        dw_buf_fini(&inflow.bytes);
    }
}

static void what_is_no_fastcgi_is_broken_at_once(void **unused)
{
    struct dw_inflow inflow = {.begun = false};
    struct request request = {.len = 0};

    (void)unused;
    assert_int_equal(dw_inflow_feed(&inflow, (const unsigned char *)"GET / HTTP/1.1\r\n", 16, ROOM), DW_INFLOW_BROKEN);
    dw_buf_fini(&inflow.bytes);
    record(&request, 4, 1, "", 0, 0);
    assert_int_equal(feed(&inflow, &request, 1, ROOM), DW_INFLOW_BROKEN);
    dw_buf_fini(&inflow.bytes);
}

static void a_second_request_on_the_connection_is_broken(void **unused)
{
    struct dw_inflow inflow;
    struct request request = {.len = 0};

    (void)unused;
    record(&request, 1, 1, "\0\1\0\0\0\0\0\0", 8, 0);
    record(&request, 1, 2, "\0\1\0\0\0\0\0\0", 8, 0);
    assert_int_equal(feed(&inflow, &request, ROOM, ROOM), DW_INFLOW_BROKEN);
    dw_buf_fini(&inflow.bytes);
}

static void parameters_without_end_are_not_kept(void **unused)
{
    static char content[60000];
    const unsigned char header[8] = {1, 4, 0, 1, 60000 >> 8, 60000 & 0xff, 0, 0}, end[8] = {1, 5, 0, 1, 0, 0, 0, 0};
    struct dw_inflow inflow;
    struct request request = {.len = 0};
    enum dw_inflow_state state;
    int i;

    (void)unused;
    record(&request, 1, 1, "\0\1\0\0\0\0\0\0", 8, 0);
    state = feed(&inflow, &request, ROOM, ROOM);
    for (i = 0; i < 100 && state == DW_INFLOW_MORE; i++) {
        state = dw_inflow_feed(&inflow, header, sizeof header, ROOM);
        if (state == DW_INFLOW_MORE)
            state = dw_inflow_feed(&inflow, (const unsigned char *)content, sizeof content, ROOM);
    }
    assert_int_equal(state, DW_INFLOW_MORE); /* an answer before its end could be lost */
    assert_true(inflow.params_skipped);
    assert_int_equal(dw_inflow_feed(&inflow, end, sizeof end, ROOM), DW_INFLOW_READY);
    assert_true(inflow.bytes.len < 300000);
    dw_buf_fini(&inflow.bytes);
}

static void nothing_is_found_in_a_request_that_has_not_begun(void **unused)
{
    struct dw_inflow inflow = {.left = 0};
    size_t len = 0;

    (void)unused;
    assert_null(dw_inflow_param(&inflow, "A", &len));
}

static void management_records_and_aborts_are_left_to_the_library(void **unused)
{
    struct dw_inflow inflow;
    struct request request = {.len = 0};

    (void)unused;
    record(&request, 9, 0, "values", 6, 2);
    assert_int_equal(feed(&inflow, &request, 1, ROOM), DW_INFLOW_READY);
    assert_int_equal(inflow.bytes.len, request.len);
    dw_buf_fini(&inflow.bytes);
    request.len = 0;
    record(&request, 1, 1, "\0\1\0\0\0\0\0\0", 8, 0);
    record(&request, 2, 1, "", 0, 0);
    assert_int_equal(feed(&inflow, &request, 1, ROOM), DW_INFLOW_READY);
    dw_buf_fini(&inflow.bytes);
}

static void an_unknown_management_record_is_answered_with_its_type(void **unused)
{
    struct dw_inflow inflow;
    struct request request = {.len = 0};
    struct dw_buf out = DW_BUF_INIT;

    (void)unused;
    record(&request, 99, 0, "what is this", 12, 4);
    assert_int_equal(feed(&inflow, &request, 1, ROOM), DW_INFLOW_READY);
    assert_true(dw_record_unknown(&inflow, &out));
    assert_int_equal(out.len, 16);
    assert_memory_equal(out.data, "\1\13\0\0\0\10\0\0\143\0\0\0\0\0\0\0", 16);
    dw_buf_fini(&inflow.bytes);
    dw_buf_fini(&out);
    request.len = 0;
    record(&request, 9, 0, "values", 6, 2);
    assert_int_equal(feed(&inflow, &request, 1, ROOM), DW_INFLOW_READY);
    assert_false(dw_record_unknown(&inflow, &out));
    dw_buf_fini(&inflow.bytes);
}

/* Puts the STDOUT content of an answer together again and checks the frame. */
static size_t stdout_of(const struct dw_buf *out, char *content)
{
    const unsigned char *bytes = (const unsigned char *)out->data;
    size_t at = 0, total = 0, len;
    int type = 0;

    while (at < out->len) {
        len = (size_t)bytes[at + 4] << 8 | bytes[at + 5];
        type = bytes[at + 1];
        assert_int_equal(bytes[at], 1);
        assert_int_equal(bytes[at + 2] << 8 | bytes[at + 3], 0x1234);
        if (type == 6) {
            memcpy(content + total, bytes + at + 8, len);
            total += len;
        }
        at += 8 + len + bytes[at + 6];
    }
    assert_int_equal(at, out->len);
    assert_int_equal(type, 3);
    return total;
}

static void an_answer_of_any_length_arrives_whole(void **unused)
{
    static const size_t lengths[] = {0, 1, 7, 8, 65519, 65520, 65521, 65528, 200000};
    static char body[200000], content[200100];
    struct dw_buf out = DW_BUF_INIT;
    size_t i, n;

    (void)unused;
    for (n = 0; n < sizeof body; n++)
        body[n] = (char)(n % 251);
    for (i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        dw_buf_reset(&out);
        dw_record_answer(&out, 0x1234, "Head: x\r\n\r\n", 11, body, lengths[i]);
        assert_false(dw_buf_failed(&out));
        assert_int_equal(stdout_of(&out, content), 11 + lengths[i]);
        assert_memory_equal(content, "Head: x\r\n\r\n", 11);
        assert_memory_equal(content + 11, body, lengths[i]);
    }
    dw_buf_fini(&out);
}

static void parameters_are_found_in_the_raw_request(void **unused)
{
    static char longer[300];
    unsigned char long_pair[400] = {1, 0x80, 0, 1, 0x2c, 'L'};
    struct dw_inflow inflow;
    struct request request = {.len = 0};
    const char *value;
    size_t len, cut;

    (void)unused;
    memset(longer, 'v', sizeof longer);
    memcpy(long_pair + 6, longer, sizeof longer);
    memcpy(long_pair + 306, "\2\1ABx\3\0END", 10);
    record(&request, 1, 1, "\0\1\0\0\0\0\0\0", 8, 0);
    record(&request, 4, 1, (const char *)long_pair, 316, 4);
    record(&request, 4, 1, "", 0, 0);
    record(&request, 5, 1, "", 0, 0);
    assert_int_equal(feed(&inflow, &request, ROOM, ROOM), DW_INFLOW_READY);
    value = dw_inflow_param(&inflow, "L", &len);
    assert_non_null(value);
    assert_int_equal(len, 300);
    assert_memory_equal(value, longer, 300);
    value = dw_inflow_param(&inflow, "AB", &len);
    assert_non_null(value);
    assert_memory_equal(value, "x", 1);
    assert_non_null(dw_inflow_param(&inflow, "END", &len));
    assert_int_equal(len, 0);
    assert_null(dw_inflow_param(&inflow, "A", &len));
    for (cut = 0; cut < inflow.bytes.len; cut++) { /* never past the end, whatever the lengths say */
        struct dw_inflow part = {.params = inflow.params};

        dw_buf_add(&part.bytes, inflow.bytes.data, cut);
        (void)dw_inflow_param(&part, "NOT THERE", &len);
        dw_buf_fini(&part.bytes);
    }
    dw_buf_fini(&inflow.bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_is_ready_with_its_last_byte_however_it_is_cut),
        cmocka_unit_test(of_a_body_that_is_too_long_only_the_rest_of_the_request_is_kept),
        cmocka_unit_test(what_is_no_fastcgi_is_broken_at_once),
        cmocka_unit_test(a_second_request_on_the_connection_is_broken),
        cmocka_unit_test(parameters_without_end_are_not_kept),
        cmocka_unit_test(management_records_and_aborts_are_left_to_the_library),
        cmocka_unit_test(an_unknown_management_record_is_answered_with_its_type),
        cmocka_unit_test(parameters_are_found_in_the_raw_request),
        cmocka_unit_test(nothing_is_found_in_a_request_that_has_not_begun),
        cmocka_unit_test(an_answer_of_any_length_arrives_whole),
    };

    return cmocka_run_group_tests_name("record", tests, NULL, NULL);
}
