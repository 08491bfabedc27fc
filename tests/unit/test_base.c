/* The buffer, the error record, the log's lines. */
#include "base/buf.h"
#include "base/err.h"
#include "base/log.h"

#include "tests/unit/tap.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void a_buffer_grows_and_stays_terminated(void **unused)
{
    struct dw_buf buf = DW_BUF_INIT;
    int i;

    (void)unused;
    assert_string_equal(dw_buf_str(&buf), "");
    for (i = 0; i < 1000; i++)
        dw_buf_addc(&buf, 'x');
    dw_buf_addf(&buf, "%d-%s", 42, "y");
    dw_buf_add(&buf, NULL, 0);
    assert_int_equal(buf.len, 1004);
    assert_string_equal(buf.data + 1000, "42-y");
    dw_buf_reset(&buf);
    assert_int_equal(buf.len, 0);
    assert_string_equal(dw_buf_str(&buf), "");
    dw_buf_fini(&buf);
}

static void an_impossible_size_is_latched_and_later_appends_are_ignored(void **unused)
{
    struct dw_buf buf = DW_BUF_INIT;

    (void)unused;
    dw_buf_adds(&buf, "before");
    assert_false(dw_buf_reserve(&buf, SIZE_MAX - 4));
    dw_buf_adds(&buf, "after");
    assert_true(dw_buf_failed(&buf));
    assert_string_equal(dw_buf_str(&buf), "before");
    dw_buf_reset(&buf);
    assert_false(dw_buf_failed(&buf));
    dw_buf_fini(&buf);
}

static void an_error_record_says_its_sentence_or_the_codes_text(void **unused)
{
    struct dw_err err = {0};
    char longer[1000];

    (void)unused;
    assert_int_equal(dw_err_set(&err, DW_BUSY, "locked by %s", "cron"), DW_BUSY);
    assert_string_equal(dw_err_say(&err, DW_BUSY), "locked by cron");
    assert_string_equal(dw_err_say(&err, DW_FULL), dw_err_text(DW_FULL));
    assert_string_equal(dw_err_say(NULL, DW_FULL), dw_err_text(DW_FULL));
    assert_int_equal(dw_err_set(NULL, DW_IO, "x"), DW_IO);
    memset(longer, 'a', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    (void)dw_err_set(&err, DW_IO, "%s", longer);
    assert_int_equal(strlen(err.text), sizeof err.text - 1);
    assert_string_equal(dw_err_text(9999), "unknown error");
}

/* What one log call writes to standard error. */
static const char *logged(const char *format, const char *message)
{
    static char line[2048];
    int ends[2], saved = dup(STDERR_FILENO);
    ssize_t got;

    assert_true(dw_log_setup("test", "warn", "stderr", format));
    assert_int_equal(pipe(ends), 0);
    assert_true(dup2(ends[1], STDERR_FILENO) >= 0);
    dw_log_warn("%s", message);
    dw_log_info("not logged at this level");
    assert_true(dup2(saved, STDERR_FILENO) >= 0);
    (void)close(ends[1]);
    (void)close(saved);
    got = read(ends[0], line, sizeof line - 1);
    (void)close(ends[0]);
    assert_true(got > 0);
    line[got] = '\0';
    return line;
}

static void a_log_record_is_one_line_and_its_level_is_respected(void **unused)
{
    const char *line = logged("text", "it happened");

    (void)unused;
    assert_non_null(strstr(line, " warn: it happened\n"));
    assert_null(strstr(line, "not logged"));
    assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
}

static void a_strangers_text_makes_no_record_and_moves_no_cursor(void **unused)
{
    (void)unused;
    assert_non_null(strstr(logged("text", "a\nb\r\tc\x1b[2J\x7f d"), " warn: a?b??c?[2J? d\n"));
    assert_non_null(strstr(logged("text", "\xc3\xbc \xe2\x82\xac \xf0\x9f\x98\x80"),
                           " warn: \xc3\xbc \xe2\x82\xac \xf0\x9f\x98\x80\n"));
    /* Latin-1 controls as UTF-8 and bare, a surrogate, overlong forms, sequences cut short */
    assert_non_null(strstr(logged("text", "\xc2\x9b \x9b \xed\xa0\x80 \xc0\x8a \xe0\x80\x8a \xf0\x9f \xe2\x82"),
                           " warn: ?? ? ??? ?? ??? ?? ??\n"));
    assert_non_null(strstr(logged("json", "\xc2\x9b\xff\x7f"), "\"message\":\"????\"}"));
}

static void a_json_record_escapes_what_must_be_escaped(void **unused)
{
    const char *line = logged("json", "a \"b\" \\ \n\x01 c");

    (void)unused;
    assert_non_null(strstr(line, "\"message\":\"a \\\"b\\\" \\\\ \\u000a\\u0001 c\"}"));
    assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
}

static void unknown_words_are_reported(void **unused)
{
    (void)unused;
    assert_false(dw_log_setup("test", "loud", "stderr", "text"));
    assert_false(dw_log_setup("test", "info", "paper", "text"));
    assert_false(dw_log_setup("test", "info", "stderr", "xml"));
    assert_true(dw_log_setup("test", "info", "stderr", "text"));
}

static void what_strangers_cause_is_logged_once_in_a_while_with_a_count(void **unused)
{
    struct dw_log_limit limit = {0};
    uint64_t left_out = 99;

    (void)unused;
    assert_true(dw_log_due(&limit, 5, &left_out));
    assert_int_equal(left_out, 0);
    assert_false(dw_log_due(&limit, 5, &left_out));
    assert_false(dw_log_due(&limit, 4 + DW_LOG_PAUSE_MS, &left_out));
    assert_true(dw_log_due(&limit, 5 + DW_LOG_PAUSE_MS, &left_out));
    assert_int_equal(left_out, 2);
    assert_true(dw_log_due(&limit, 5 + 2 * DW_LOG_PAUSE_MS, &left_out));
    assert_int_equal(left_out, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_buffer_grows_and_stays_terminated),
        cmocka_unit_test(an_impossible_size_is_latched_and_later_appends_are_ignored),
        cmocka_unit_test(an_error_record_says_its_sentence_or_the_codes_text),
        cmocka_unit_test(a_log_record_is_one_line_and_its_level_is_respected),
        cmocka_unit_test(a_strangers_text_makes_no_record_and_moves_no_cursor),
        cmocka_unit_test(a_json_record_escapes_what_must_be_escaped),
        cmocka_unit_test(unknown_words_are_reported),
        cmocka_unit_test(what_strangers_cause_is_logged_once_in_a_while_with_a_count),
    };

    return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
