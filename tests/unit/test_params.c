/* Request parameters, cookies and UTF-8. */
#include "chsk/params.h"

#include "tests/unit/tap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int parse(struct dw_params *params, const char *text)
{
    dw_params_init(params);
    return dw_params_add(params, text, strlen(text), NULL);
}

static void escapes_and_plus_are_decoded(void **unused)
{
    struct dw_params params;

    (void)unused;
    assert_int_equal(parse(&params, "client-id=a%20b+c&handshake%3F=1&ppstr=%5B%5B%3Aa%2Fb%5D%5D"), DW_OK);
    assert_string_equal(dw_params_get(&params, "client-id"), "a b c");
    assert_string_equal(dw_params_get(&params, "handshake?"), "1");
    assert_string_equal(dw_params_get(&params, "ppstr"), "[[:a/b]]");
    dw_params_fini(&params);
}

static void presence_counts_without_a_value(void **unused)
{
    struct dw_params params;

    (void)unused;
    assert_int_equal(parse(&params, "handshake?&x="), DW_OK);
    assert_string_equal(dw_params_get(&params, "handshake?"), "");
    assert_string_equal(dw_params_get(&params, "x"), "");
    assert_null(dw_params_get(&params, "y"));
    dw_params_fini(&params);
}

static void a_percent_sign_that_begins_no_escape_stands_for_itself(void **unused)
{
    struct dw_params params;

    (void)unused;
    assert_int_equal(parse(&params, "q=100%&r=%zz&s=%4"), DW_OK);
    assert_string_equal(dw_params_get(&params, "q"), "100%");
    assert_string_equal(dw_params_get(&params, "r"), "%zz");
    assert_string_equal(dw_params_get(&params, "s"), "%4");
    dw_params_fini(&params);
}

static void a_form_field_wins_over_the_query(void **unused)
{
    struct dw_params params;

    (void)unused;
    assert_int_equal(parse(&params, "csrf-token=query"), DW_OK);
    assert_int_equal(dw_params_add(&params, "csrf-token=form", 15, NULL), DW_OK);
    assert_string_equal(dw_params_get(&params, "csrf-token"), "form");
    dw_params_fini(&params);
}

static void bytes_that_are_not_utf8_and_nul_are_refused(void **unused)
{
    static const char *const bad[] = {"a=%FF", "a=%C0%80", "a=%ED%A0%80", "a=%F4%90%80%80",
                                      "a=%00", "%00=a",    "a=%E2%82"};
    struct dw_params params;
    size_t i;

    (void)unused;
    for (i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(parse(&params, bad[i]), DW_INVALID);
        dw_params_fini(&params);
    }
}

static void too_many_fields_are_refused_and_the_most_are_kept(void **unused)
{
    struct dw_params params;
    char text[4 * (DW_PARAMS_MAX + 1) + 1] = "";
    int i;

    (void)unused;
    for (i = 0; i < DW_PARAMS_MAX; i++)
        strcat(text, "a=b&");
    assert_int_equal(parse(&params, text), DW_OK);
    assert_int_equal(params.count, DW_PARAMS_MAX);
    dw_params_fini(&params);
    for (i = 0; i < DW_PARAMS_MAX; i++)
        memcpy(text + 2 * i, "a&", 3);
    assert_int_equal(parse(&params, text), DW_OK);
    assert_int_equal(params.count, DW_PARAMS_MAX);
    dw_params_fini(&params);
    strcat(text, "b");
    assert_int_equal(parse(&params, text), DW_LIMIT);
    dw_params_fini(&params);
}

static void every_prefix_of_a_query_is_read_within_its_bytes(void **unused)
{
    static const char query[] = "a=%41%C3%A9&b=+%&c&%3D=%26&d=%";
    size_t len;

    (void)unused;
    for (len = 0; len < sizeof query; len++) {
        struct dw_params params;
        char *copy = malloc(len != 0 ? len : 1); /* an allocation of its own, so that a sanitizer sees its end */

        assert_non_null(copy);
        memcpy(copy, query, len);
        dw_params_init(&params);
        (void)dw_params_add(&params, copy, len, NULL);
        dw_params_fini(&params);
        free(copy);
    }
}

static void a_cookie_is_found_by_its_whole_name(void **unused)
{
    struct dw_buf value = DW_BUF_INIT;

    (void)unused;
    assert_true(dw_cookie_find("xdw_sid=no; dw_sid=yes; dw_sid=later", "dw_sid", &value));
    assert_string_equal(dw_buf_str(&value), "yes");
    dw_buf_reset(&value);
    assert_true(dw_cookie_find("dw_sid=\"q u\" ", "dw_sid", &value));
    assert_string_equal(dw_buf_str(&value), "q u");
    assert_false(dw_cookie_find("dw_sidx=1; dw_sid", "dw_sid", &value));
    assert_false(dw_cookie_find(NULL, "dw_sid", &value));
    dw_buf_fini(&value);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(escapes_and_plus_are_decoded),
        cmocka_unit_test(presence_counts_without_a_value),
        cmocka_unit_test(a_percent_sign_that_begins_no_escape_stands_for_itself),
        cmocka_unit_test(a_form_field_wins_over_the_query),
        cmocka_unit_test(bytes_that_are_not_utf8_and_nul_are_refused),
        cmocka_unit_test(too_many_fields_are_refused_and_the_most_are_kept),
        cmocka_unit_test(every_prefix_of_a_query_is_read_within_its_bytes),
        cmocka_unit_test(a_cookie_is_found_by_its_whole_name),
    };

    return cmocka_run_group_tests_name("params", tests, NULL, NULL);
}
