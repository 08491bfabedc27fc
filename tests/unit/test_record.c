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

static void a_request_is_ready_when_its_last_record_is_there_and_no_byte_earlier(void **unused)
{
    struct request request = a_request();
    size_t len;

    (void)unused;
    for (len = 0; len < request.len; len++)
        assert_int_equal(dw_record_look(request.bytes, len, ROOM), DW_RECORD_MORE);
    assert_int_equal(dw_record_look(request.bytes, request.len, ROOM), DW_RECORD_READY);
}

static void a_body_longer_than_what_can_be_looked_at_is_ready_after_the_parameters(void **unused)
{
    struct request request = a_request();

    (void)unused;
    assert_int_equal(dw_record_look(request.bytes, 50, 50), DW_RECORD_READY);
    assert_int_equal(dw_record_look(request.bytes, 24, 24), DW_RECORD_MORE);
}

static void what_is_no_fastcgi_is_broken_at_once(void **unused)
{
    struct request request = {.len = 0};

    (void)unused;
    assert_int_equal(dw_record_look((const unsigned char *)"GET / HTTP/1.1\r\n", 16, ROOM), DW_RECORD_BROKEN);
    record(&request, 4, 1, "", 0, 0);
    assert_int_equal(dw_record_look(request.bytes, request.len, ROOM), DW_RECORD_BROKEN);
}

static void management_records_and_aborts_are_left_to_the_library(void **unused)
{
    struct request request = {.len = 0};

    (void)unused;
    record(&request, 9, 0, "", 0, 0);
    assert_int_equal(dw_record_look(request.bytes, request.len, ROOM), DW_RECORD_READY);
    request.len = 0;
    record(&request, 1, 1, "\0\1\0\0\0\0\0\0", 8, 0);
    record(&request, 2, 1, "", 0, 0);
    assert_int_equal(dw_record_look(request.bytes, request.len, ROOM), DW_RECORD_READY);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_is_ready_when_its_last_record_is_there_and_no_byte_earlier),
        cmocka_unit_test(a_body_longer_than_what_can_be_looked_at_is_ready_after_the_parameters),
        cmocka_unit_test(what_is_no_fastcgi_is_broken_at_once),
        cmocka_unit_test(management_records_and_aborts_are_left_to_the_library),
        cmocka_unit_test(an_answer_of_any_length_arrives_whole),
    };

    return cmocka_run_group_tests_name("record", tests, NULL, NULL);
}
