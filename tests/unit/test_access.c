/* CSRF and origin checks. */
#include "chsk/access.h"

#include "tests/unit/tap.h"

static void without_a_reference_token_nobody_passes(void **unused)
{
    (void)unused;
    assert_false(dw_access_csrf(NULL, "t", "t", "t"));
    assert_false(dw_access_csrf("", "", "", ""));
    assert_false(dw_access_csrf("t", NULL, NULL, NULL));
}

static void the_first_place_that_is_present_decides(void **unused)
{
    (void)unused;
    assert_true(dw_access_csrf("tok", "tok", "bad", "bad"));
    assert_false(dw_access_csrf("tok", "bad", "tok", "tok"));
    assert_true(dw_access_csrf("tok", NULL, "tok", "bad"));
    assert_false(dw_access_csrf("tok", NULL, "bad", "tok"));
    assert_true(dw_access_csrf("tok", NULL, NULL, "tok"));
    assert_false(dw_access_csrf("tok", "", "tok", "tok"));
}

static void tokens_are_compared_as_a_whole(void **unused)
{
    (void)unused;
    assert_false(dw_access_csrf("token", "tok", NULL, NULL));
    assert_false(dw_access_csrf("tok", "token", NULL, NULL));
    assert_false(dw_access_csrf("tok", "Tok", NULL, NULL));
    assert_false(dw_access_csrf("tok", "toK", NULL, NULL));
}

static void a_listed_origin_matches_exactly(void **unused)
{
    const char *list = "https://a.example, https://b.example:8443";

    (void)unused;
    assert_true(dw_access_origin(list, "x", true, "https://a.example", NULL));
    assert_true(dw_access_origin(list, "x", true, "https://b.example:8443", NULL));
    assert_false(dw_access_origin(list, "x", true, "https://b.example", NULL));
    assert_false(dw_access_origin(list, "x", true, "https://a.example.evil", NULL));
    assert_false(dw_access_origin(list, "x", true, "https://a.example/", NULL));
}

static void with_a_list_the_referer_stands_in_only_without_an_origin(void **unused)
{
    const char *list = "https://a.example";

    (void)unused;
    assert_true(dw_access_origin(list, "x", true, NULL, "https://a.example/page"));
    assert_false(dw_access_origin(list, "x", true, NULL, "https://a.example"));
    assert_false(dw_access_origin(list, "x", true, NULL, "https://a.example.evil/"));
    assert_false(dw_access_origin(list, "x", true, "https://evil.example", "https://a.example/page"));
    assert_false(dw_access_origin(list, "x", true, NULL, NULL));
}

static void by_default_only_the_own_host_may_ask(void **unused)
{
    (void)unused;
    assert_true(dw_access_origin("", "a.example:8080", false, "http://a.example:8080", NULL));
    assert_true(dw_access_origin("", "a.example", false, "https://a.example", NULL));
    assert_false(dw_access_origin("", "a.example", true, "http://a.example", NULL));
    assert_false(dw_access_origin("", "a.example", false, "http://evil.example", NULL));
    assert_false(dw_access_origin("", "a.example", false, "http://a.example.evil", NULL));
    assert_false(dw_access_origin("", "a.example", false, "null", NULL));
    assert_false(dw_access_origin("", NULL, false, "http://", NULL));
    assert_true(dw_access_origin("", "a.example", false, NULL, "http://a.example/page?x"));
    assert_false(dw_access_origin("", "a.example", false, NULL, "http://evil.example/http://a.example/"));
    assert_true(dw_access_origin("", "a.example", false, NULL, NULL));
}

static void a_star_lets_everybody_in(void **unused)
{
    (void)unused;
    assert_true(dw_access_origin("*", "a.example", true, "http://evil.example", NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_reference_token_nobody_passes),
        cmocka_unit_test(the_first_place_that_is_present_decides),
        cmocka_unit_test(tokens_are_compared_as_a_whole),
        cmocka_unit_test(a_listed_origin_matches_exactly),
        cmocka_unit_test(with_a_list_the_referer_stands_in_only_without_an_origin),
        cmocka_unit_test(by_default_only_the_own_host_may_ask),
        cmocka_unit_test(a_star_lets_everybody_in),
    };

    return cmocka_run_group_tests_name("access", tests, NULL, NULL);
}
