/* CSRF and origin checks. */
#include "chsk/access.h"

#include "tests/unit/tap.h"

#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

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

/* Pages that tell that they were read: closed at first, and opened by the signal handler. */
static unsigned char *watched[2];
static size_t page;
static volatile sig_atomic_t reads[2];

static void on_fault(int number, siginfo_t *info, void *unused)
{
    (void)number;
    (void)unused;
    for (int i = 0; i < 2; i++) {
        const unsigned char *at = info->si_addr;

        if (at >= watched[i] && at < watched[i] + page && mprotect(watched[i], page, PROT_READ) == 0) {
            reads[i]++;
            return;
        }
    }
    _exit(99);
}

static unsigned char *two_pages(int which, int fill)
{
    unsigned char *pages = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    assert_true(pages != MAP_FAILED);
    memset(pages, fill, 2 * page);
    watched[which] = pages + page;
    assert_int_equal(mprotect(watched[which], page, PROT_NONE), 0);
    return pages;
}

/* How long a refusal takes must not tell how many of its first bytes were right. */
static void a_token_is_read_to_its_end_wherever_the_first_difference_is(void **unused)
{
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO}, before;
    unsigned char *one, *other;
    bool equal;

    (void)unused;
    page = (size_t)sysconf(_SC_PAGESIZE);
    one = two_pages(0, 'a');
    other = two_pages(1, 'b');
    assert_int_equal(sigaction(SIGSEGV, &action, &before), 0);
    equal = dw_access_equal_bytes(one, other, 2 * page);
    assert_int_equal(sigaction(SIGSEGV, &before, NULL), 0);
    assert_false(equal);
    assert_int_equal(reads[0], 1);
    assert_int_equal(reads[1], 1);
    assert_true(dw_access_equal_bytes(one, one, 2 * page));
    assert_int_equal(munmap(one, 2 * page), 0);
    assert_int_equal(munmap(other, 2 * page), 0);
}

static bool is_let_in(const char *allowed, const char *host, bool https, const char *origin, const char *referer)
{
    const struct dw_access_source source = {.host = host, .https = https, .origin = origin, .referer = referer};

    return dw_access_origin(allowed, &source);
}

static void a_listed_origin_matches_exactly(void **unused)
{
    const char *list = "https://a.example, https://b.example:8443";

    (void)unused;
    assert_true(is_let_in(list, "x", true, "https://a.example", NULL));
    assert_true(is_let_in(list, "x", true, "https://b.example:8443", NULL));
    assert_false(is_let_in(list, "x", true, "https://b.example", NULL));
    assert_false(is_let_in(list, "x", true, "https://a.example.evil", NULL));
    assert_false(is_let_in(list, "x", true, "https://a.example/", NULL));
}

static void with_a_list_the_referer_stands_in_only_without_an_origin(void **unused)
{
    const char *list = "https://a.example";

    (void)unused;
    assert_true(is_let_in(list, "x", true, NULL, "https://a.example/page"));
    assert_false(is_let_in(list, "x", true, NULL, "https://a.example"));
    assert_false(is_let_in(list, "x", true, NULL, "https://a.example.evil/"));
    assert_false(is_let_in(list, "x", true, "https://evil.example", "https://a.example/page"));
    assert_false(is_let_in(list, "x", true, NULL, NULL));
}

static void by_default_only_the_own_host_may_ask(void **unused)
{
    (void)unused;
    assert_true(is_let_in("", "a.example:8080", false, "http://a.example:8080", NULL));
    assert_true(is_let_in("", "a.example", false, "https://a.example", NULL));
    assert_false(is_let_in("", "a.example", true, "http://a.example", NULL));
    assert_false(is_let_in("", "a.example", false, "http://evil.example", NULL));
    assert_false(is_let_in("", "a.example", false, "http://a.example.evil", NULL));
    assert_false(is_let_in("", "a.example", false, "null", NULL));
    assert_false(is_let_in("", NULL, false, "http://", NULL));
    assert_true(is_let_in("", "a.example", false, NULL, "http://a.example/page?x"));
    assert_false(is_let_in("", "a.example", false, NULL, "http://evil.example/http://a.example/"));
    assert_true(is_let_in("", "a.example", false, NULL, NULL));
    assert_false(is_let_in("", "a.example", false, "http://a.example@evil.example", NULL));
    assert_false(is_let_in("", "a.example", false, NULL, "http://a.example@evil.example/"));
    assert_false(is_let_in("", "a.example", false, "http://a.example:8080", NULL));
    assert_false(is_let_in("", "a.example", false, "http://a.example/", NULL));
    assert_false(is_let_in("", "a.example", false, "", NULL));
}

static void without_origin_and_referer_the_browsers_own_word_counts(void **unused)
{
    static const struct {
        const char *site;
        bool passes;
    } cases[] = {{NULL, true},          {"same-origin", true}, {"none", true},
                 {"cross-site", false}, {"same-site", false},  {"", false}};

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct dw_access_source source = {.host = "a.example", .https = true, .fetch_site = cases[i].site};

        assert_int_equal(dw_access_origin("", &source), cases[i].passes);
        assert_false(dw_access_origin("https://a.example", &source));
    }
}

static void a_star_lets_everybody_in(void **unused)
{
    (void)unused;
    assert_true(is_let_in("*", "a.example", true, "http://evil.example", NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_reference_token_nobody_passes),
        cmocka_unit_test(the_first_place_that_is_present_decides),
        cmocka_unit_test(tokens_are_compared_as_a_whole),
        cmocka_unit_test(a_token_is_read_to_its_end_wherever_the_first_difference_is),
        cmocka_unit_test(a_listed_origin_matches_exactly),
        cmocka_unit_test(with_a_list_the_referer_stands_in_only_without_an_origin),
        cmocka_unit_test(by_default_only_the_own_host_may_ask),
        cmocka_unit_test(without_origin_and_referer_the_browsers_own_word_counts),
        cmocka_unit_test(a_star_lets_everybody_in),
    };

    return cmocka_run_group_tests_name("access", tests, NULL, NULL);
}
