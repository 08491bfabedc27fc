/* Token buckets on a virtual clock (hub/rates.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "hub/rates.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECOND INT64_C(1000000)
#define START (INT64_C(1) << 40)

static int set_up(void **state)
{
    struct dw_rates *rates = calloc(1, sizeof *rates);

    *state = rates;
    return rates != NULL && dw_rates_open(rates, NULL, NULL) == DW_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    dw_rates_close(*state);
    free(*state);
    return 0;
}

/* How many of `tries` requests are let through at that moment. */
static int take(struct dw_rates *rates, const char *name, int64_t per_s, int64_t now_us, int tries)
{
    uint64_t key = dw_rates_key(rates, 'c', name, NULL);
    int taken = 0;

    while (tries-- > 0)
        taken += dw_rates_take(rates, key, per_s, now_us);
    return taken;
}

static void a_burst_is_let_through_and_then_the_rate(void **state)
{
    assert_int_equal(take(*state, "alice", 50, START, 1000), 100);
    assert_int_equal(take(*state, "alice", 50, START, 10), 0);
    assert_int_equal(take(*state, "alice", 50, START + SECOND, 1000), 50);
    assert_int_equal(take(*state, "alice", 50, START + SECOND + SECOND / 50, 1000), 1);
    assert_int_equal(take(*state, "alice", 50, START + 3600 * SECOND, 1000), 100); /* no more is saved up */
}

static void steady_requests_at_the_rate_are_never_refused(void **state)
{
    for (int i = 0; i < 5000; i++)
        assert_int_equal(take(*state, "alice", 50, START + i * SECOND / 50, 1), 1);
}

static void everyone_has_a_bucket_of_their_own(void **state)
{
    struct dw_rates *rates = *state;

    assert_int_equal(take(rates, "alice", 10, START, 100), 20);
    assert_int_equal(take(rates, "bob", 10, START, 100), 20);
    assert_true(dw_rates_key(rates, 'c', "a", "b") != dw_rates_key(rates, 'c', "ab", ""));
    assert_true(dw_rates_key(rates, 'c', "a", NULL) != dw_rates_key(rates, 'c', NULL, "a"));
    assert_true(dw_rates_key(rates, 'c', "", NULL) != dw_rates_key(rates, 'c', NULL, NULL));
    assert_true(dw_rates_key(rates, 'c', "a", NULL) != dw_rates_key(rates, 'u', "a", NULL));
}

static void a_refused_request_costs_nothing(void **state)
{
    (void)take(*state, "alice", 10, START, 100000);
    assert_int_equal(take(*state, "alice", 10, START + SECOND, 100), 10);
}

static void what_is_given_back_can_be_taken_again(void **state)
{
    struct dw_rates *rates = *state;
    uint64_t key = dw_rates_key(rates, 'c', "alice", NULL);

    assert_int_equal(take(rates, "alice", 10, START, 100), 20);
    dw_rates_give_back(rates, key, 10, START);
    dw_rates_give_back(rates, key, 10, START);
    assert_int_equal(take(rates, "alice", 10, START, 100), 2);
    for (int i = 0; i < 1000; i++) /* not more than there was */
        dw_rates_give_back(rates, key, 10, START);
    assert_int_equal(take(rates, "alice", 10, START, 100), 20);
    for (int i = 0; i < 100000; i++) { /* pushes at any speed: each poll was invited */
        assert_true(dw_rates_take(rates, key, 10, START + SECOND));
        dw_rates_give_back(rates, key, 10, START + SECOND);
    }
}

static void a_flood_of_new_names_does_not_free_who_is_over_the_limit(void **state)
{
    struct dw_rates *rates = *state;
    int let_through = 0;
    char name[32];

    assert_int_equal(take(rates, "flooder", 100, START, 1000), 200);
    for (int i = 0; i < 500000; i++) {
        (void)snprintf(name, sizeof name, "n%d", i);
        assert_int_equal(take(rates, name, 100, START, 1), 1);
        let_through += take(rates, "flooder", 100, START, 1);
    }
    assert_int_equal(let_through, 0);
}

static void a_bucket_of_another_boot_is_a_full_one(void **state)
{
    assert_int_equal(take(*state, "alice", 10, START, 100), 20);
    assert_int_equal(take(*state, "alice", 10, 5, 100), 20); /* the clock has begun anew */
    assert_int_equal(take(*state, "alice", 10, (INT64_C(1) << 44) - 1, 100), 20);
    assert_int_equal(take(*state, "alice", 10, (INT64_C(1) << 44) + SECOND - 1, 100), 10); /* over the time's end */
}

static void nothing_is_limited_without_a_rate_a_key_or_a_table(void **state)
{
    struct dw_rates none = {NULL};

    assert_int_equal(take(*state, "alice", 0, START, 1000), 1000);
    assert_int_equal(take(&none, "alice", 1, START, 1000), 1000);
    for (int i = 0; i < 1000; i++)
        assert_true(dw_rates_take(*state, 0, 1, START));
    dw_rates_give_back(&none, 7, 1, START);
}

static void processes_share_a_table(void **state)
{
    char folder[] = "/tmp/dw-rates-XXXXXX", path[64];
    struct dw_rates one = {NULL}, other = {NULL};
    struct stat status;

    (void)state;
    assert_non_null(mkdtemp(folder));
    (void)snprintf(path, sizeof path, "%s/rates", folder);
    assert_int_equal(dw_rates_open(&one, folder, NULL), DW_OK);
    assert_int_equal(dw_rates_open(&other, folder, NULL), DW_OK);
    assert_true(one.table != other.table);
    assert_int_equal(take(&one, "alice", 10, START, 15), 15);
    assert_int_equal(take(&other, "alice", 10, START, 100), 5);
    dw_rates_close(&one);
    dw_rates_close(&other);
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_size, sizeof(struct dw_rates_table));
    (void)unlink(path);
    assert_int_equal(rmdir(folder), 0);
}

static void where_there_is_no_folder_a_process_has_a_table_of_its_own(void **state)
{
    struct dw_rates rates = {NULL};

    (void)state;
    assert_int_equal(dw_rates_open(&rates, "/nonexistent/folder", NULL), DW_OK);
    assert_int_equal(take(&rates, "alice", 10, START, 100), 20);
    dw_rates_close(&rates);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_burst_is_let_through_and_then_the_rate, set_up, tear_down),
        cmocka_unit_test_setup_teardown(steady_requests_at_the_rate_are_never_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(everyone_has_a_bucket_of_their_own, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_refused_request_costs_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_given_back_can_be_taken_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_flood_of_new_names_does_not_free_who_is_over_the_limit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_bucket_of_another_boot_is_a_full_one, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nothing_is_limited_without_a_rate_a_key_or_a_table, set_up, tear_down),
        cmocka_unit_test(processes_share_a_table),
        cmocka_unit_test(where_there_is_no_folder_a_process_has_a_table_of_its_own),
    };

    return cmocka_run_group_tests_name("rates", tests, NULL, NULL);
}
