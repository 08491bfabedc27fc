/* The doorbell and sessions that may have ended: a change that can wait, and is never lost. */
#include "base/clock.h"
#include "tests/unit/waking.h"

#define GAP_US 500000
#define CROWD 5 /* two watch, the third leads, the others follow */

static void log_out(const struct world *world)
{
    sessions++;
    touch(world->wal);
}

static void a_log_out_is_reported_at_once(void **state)
{
    struct world *world = *state;
    struct dw_wake *wake = open_settled(world, DW_WAKE_WATCH);

    log_out(world);
    assert_true(wait_change(wake, SLACK_US));
    assert_false(wait_change(wake, 1300000)); /* once */
    dw_wake_close(wake);
}

static void many_are_reported_twice_a_second_and_the_last_is_not_lost(void **state)
{
    struct world *world = *state;
    struct dw_wake *wake = open_settled(world, DW_WAKE_WATCH);
    int64_t first;
    int i, reports = 0;

    log_out(world);
    assert_true(wait_change(wake, SLACK_US));
    first = dw_clock_mono_us();
    for (i = 0; i < 20; i++) {
        log_out(world);
        reports += wait_change(wake, 10000);
    }
    assert_true(reports <= (dw_clock_mono_us() - first) / GAP_US + 1);
    assert_true(wait_change(wake, GAP_US + SLACK_US)); /* without another event */
    assert_false(wait_change(wake, 1300000));
    dw_wake_close(wake);
}

static void a_push_does_not_wait(void **state)
{
    struct world *world = *state;
    struct dw_wake *wake = open_settled(world, DW_WAKE_WATCH);
    int64_t begin;

    log_out(world);
    assert_true(wait_change(wake, SLACK_US));
    log_out(world);
    begin = dw_clock_mono_us();
    version++;
    touch(world->wal);
    assert_true(wait_change(wake, SLACK_US));
    assert_true(dw_clock_mono_us() - begin < GAP_US);
    assert_false(wait_change(wake, 1300000)); /* the log-out went with it */
    dw_wake_close(wake);
}

static void works_without_file_events(void **state)
{
    struct world *world = *state;
    struct dw_wake *wake = open_settled(world, DW_WAKE_TIMER);

    sessions++;
    assert_true(wait_change(wake, 100000 + SLACK_US));
    sessions++;
    assert_true(wait_change(wake, GAP_US + SLACK_US));
    dw_wake_close(wake);
}

static void followers_are_rung_as_often_as_their_leader_reports(void **state)
{
    struct world *world = *state;
    struct dw_wake *wakes[CROWD];
    int i;

    for (i = 0; i < CROWD; i++)
        wakes[i] = open_settled(world, DW_WAKE_AUTO);
    for (i = 0; i < 3; i++) {
        log_out(world);
        assert_true(wait_change(wakes[2], GAP_US + SLACK_US));
        (void)wait_change(wakes[2], 10000); /* the ring may still be owed */
        assert_true(wait_change(wakes[3], SLACK_US));
        assert_true(wait_change(wakes[4], SLACK_US));
    }
    for (i = 0; i < CROWD; i++)
        dw_wake_close(wakes[i]);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(a_log_out_is_reported_at_once),
        CASE(many_are_reported_twice_a_second_and_the_last_is_not_lost),
        CASE(a_push_does_not_wait),
        CASE(works_without_file_events),
        CASE(followers_are_rung_as_often_as_their_leader_reports),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
