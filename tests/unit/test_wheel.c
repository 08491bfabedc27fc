/* The timing wheel: nothing fires too early but beyond its reach, nothing is forgotten. */
#include "hub/wheel.h"

#include "tests/unit/tap.h"

#include <stdlib.h>
#include <string.h>

#define START 1000000
#define REACH_MS ((int64_t)(DW_WHEEL_SLOTS - 1) * DW_WHEEL_GRAIN_MS)

static struct dw_wheel wheel;

static int fresh(void **unused)
{
    (void)unused;
    dw_wheel_init(&wheel, START);
    return 0;
}

static void an_empty_wheel_has_nothing_due(void **unused)
{
    (void)unused;
    assert_true(dw_wheel_due(&wheel) == INT64_MAX);
    assert_null(dw_wheel_take(&wheel, START + 100000));
}

static void an_item_fires_at_its_time_and_not_before(void **unused)
{
    struct dw_wheel_item item = {0};

    (void)unused;
    dw_wheel_set(&wheel, &item, START + 110);
    assert_int_equal(dw_wheel_due(&wheel), START + 125);
    assert_null(dw_wheel_take(&wheel, START + 124));
    assert_ptr_equal(dw_wheel_take(&wheel, START + 125), &item);
    assert_null(dw_wheel_take(&wheel, START + 125));
    assert_true(dw_wheel_due(&wheel) == INT64_MAX);
}

static void an_item_that_is_set_for_later_keeps_its_earlier_time(void **unused)
{
    struct dw_wheel_item item = {0};

    (void)unused;
    dw_wheel_set(&wheel, &item, START + 100);
    dw_wheel_set(&wheel, &item, START + 5000);
    assert_int_equal(dw_wheel_due(&wheel), START + 100);
    dw_wheel_set(&wheel, &item, START + 50);
    assert_int_equal(dw_wheel_due(&wheel), START + 50);
    assert_ptr_equal(dw_wheel_take(&wheel, START + 50), &item);
    assert_null(dw_wheel_take(&wheel, START + 6000));
}

static void an_unset_item_never_fires(void **unused)
{
    struct dw_wheel_item item = {0};

    (void)unused;
    dw_wheel_set(&wheel, &item, START + 100);
    dw_wheel_unset(&wheel, &item);
    dw_wheel_unset(&wheel, &item);
    assert_null(dw_wheel_take(&wheel, START + 10000));
}

static void beyond_its_reach_an_item_fires_early(void **unused)
{
    struct dw_wheel_item item = {0};

    (void)unused;
    dw_wheel_set(&wheel, &item, START + 10 * REACH_MS);
    assert_null(dw_wheel_take(&wheel, START + REACH_MS - 1));
    assert_ptr_equal(dw_wheel_take(&wheel, START + REACH_MS), &item);
}

static void after_a_long_pause_everything_due_fires(void **unused)
{
    struct dw_wheel_item items[3] = {{0}};
    int fired = 0;

    (void)unused;
    dw_wheel_set(&wheel, &items[0], START + 100);
    dw_wheel_set(&wheel, &items[1], START + REACH_MS - 100);
    dw_wheel_set(&wheel, &items[2], START);
    while (dw_wheel_take(&wheel, START + 100 * REACH_MS) != NULL)
        fired++;
    assert_int_equal(fired, 3);
}

/* Against a plain array: random settings and steps of time. */
/* The owner puts off what fires early, as long as something fires: that must come to an end. */
static void an_item_set_after_a_long_pause_can_be_put_off(void **unused)
{
    struct dw_wheel_item item = {0};
    int64_t now = START + 10 * REACH_MS, due = now + 5000;
    int rounds = 0;

    (void)unused;
    dw_wheel_set(&wheel, &item, due);
    while (dw_wheel_take(&wheel, now) != NULL) {
        assert_true(++rounds < 100);
        dw_wheel_set(&wheel, &item, due);
    }
    assert_true(dw_wheel_due(&wheel) > now && dw_wheel_due(&wheel) <= due);
    assert_ptr_equal(dw_wheel_take(&wheel, due), &item);
}

static void many_items_fire_each_at_its_time(void **unused)
{
    static struct dw_wheel_item items[1000];
    static int64_t due[1000];
    int64_t now = START;
    int round, i, waiting = 0;

    (void)unused;
    srand(7);
    memset(items, 0, sizeof items);
    for (round = 0; round < 20000; round++) {
        struct dw_wheel_item *fired;

        i = rand() % 1000;
        if (items[i].next == NULL) {
            due[i] = now + rand() % (REACH_MS - 2 * DW_WHEEL_GRAIN_MS);
            dw_wheel_set(&wheel, &items[i], due[i]);
            waiting++;
        }
        now += rand() % 3 == 0 ? rand() % 40 : 0;
        while ((fired = dw_wheel_take(&wheel, now)) != NULL) {
            assert_true(due[fired - items] <= now);
            assert_true(now < due[fired - items] + DW_WHEEL_GRAIN_MS + 40);
            waiting--;
        }
        assert_true(dw_wheel_due(&wheel) > now);
    }
    while (dw_wheel_take(&wheel, now + REACH_MS) != NULL)
        waiting--;
    assert_int_equal(waiting, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(an_empty_wheel_has_nothing_due, fresh),
        cmocka_unit_test_setup(an_item_fires_at_its_time_and_not_before, fresh),
        cmocka_unit_test_setup(an_item_that_is_set_for_later_keeps_its_earlier_time, fresh),
        cmocka_unit_test_setup(an_unset_item_never_fires, fresh),
        cmocka_unit_test_setup(beyond_its_reach_an_item_fires_early, fresh),
        cmocka_unit_test_setup(after_a_long_pause_everything_due_fires, fresh),
        cmocka_unit_test_setup(an_item_set_after_a_long_pause_can_be_put_off, fresh),
        cmocka_unit_test_setup(many_items_fire_each_at_its_time, fresh),
    };

    return cmocka_run_group_tests_name("wheel", tests, NULL, NULL);
}
