/* The doorbell by itself: file events are real, the store is a double whose data_version the test
 * sets, so that "the commit becomes visible 20 ms after its last event" can be said exactly.
 * Real SQLite, processes and SIGKILL: test_wake_processes.c. */
#include "base/clock.h"
#include "tests/unit/waking.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct dw_wake_stats stats_of(const struct dw_wake *wake)
{
    struct dw_wake_stats stats;

    dw_wake_stats(wake, &stats);
    return stats;
}

static void assert_role(const struct dw_wake *wake, const char *role)
{
    assert_string_equal(stats_of(wake).role, role);
}

/* ---- one doorbell ---- */

static void calls_for_its_first_check_and_reports_a_change(void **state)
{
    struct dw_wake *wake = open_bell(*state, DW_WAKE_AUTO);

    assert_true(ready(wake, SLACK_US));
    assert_true(dw_wake_check(wake));
    assert_false(dw_wake_check(wake));
    dw_wake_close(wake);
}

static void is_silent_while_nothing_happens(void **state)
{
    struct dw_wake *wake = open_settled(*state, DW_WAKE_AUTO);
    int wakes = 0;

    for (int64_t end = dw_clock_mono_us() + 3000000; dw_clock_mono_us() < end;) {
        if (ready(wake, end - dw_clock_mono_us())) {
            wakes++;
            assert_false(dw_wake_check(wake));
        }
    }
    assert_in_range(wakes, 0, 1); /* the safety tick */
    dw_wake_close(wake);
}

static void reports_a_commit_that_is_visible_with_its_event(void **state)
{
    struct world *world = *state;
    struct dw_wake *wake = open_settled(world, DW_WAKE_WATCH);

    version = 2;
    touch(world->wal);
    assert_true(wait_change(wake, SLACK_US));
    assert_false(wait_change(wake, SLACK_US)); /* once */
    dw_wake_close(wake);
}

static void reports_a_commit_that_becomes_visible_after_its_last_event(void **state)
{
    static const int64_t delays_us[] = {100, 1000, 20000, 100000, 500000};
    struct world *world = *state;
    struct dw_wake *wake = open_settled(world, DW_WAKE_WATCH);

    for (size_t i = 0; i < sizeof delays_us / sizeof delays_us[0]; i++) {
        touch(world->wal);
        assert_false(wait_change(wake, delays_us[i]));
        version++;
        assert_true(wait_change(wake, delays_us[i] / 3 + SLACK_US));
    }
    dw_wake_close(wake);
}

static void reports_a_second_commit_whose_events_came_with_the_first(void **state)
{
    struct world *world = *state;
    struct dw_wake *wake = open_settled(world, DW_WAKE_WATCH);

    for (int64_t delay_us = 100; delay_us <= 300000; delay_us *= 10) {
        version++;
        touch(world->wal);
        assert_true(wait_change(wake, SLACK_US));
        assert_false(wait_change(wake, delay_us));
        version++; /* no event of its own any more */
        assert_true(wait_change(wake, delay_us * 3 / 2 + SLACK_US));
    }
    dw_wake_close(wake);
}

static void ends_its_rechecks_a_second_after_the_last_event(void **state)
{
    struct world *world = *state;
    struct dw_wake *wake = open_settled(world, DW_WAKE_WATCH);
    uint64_t before = stats_of(wake).checks, wakes;

    touch(world->wal);
    assert_false(wait_change(wake, 1300000));
    wakes = stats_of(wake).checks - before;
    assert_in_range(wakes, 10, 60);
    before = stats_of(wake).checks;
    assert_false(wait_change(wake, 1000000));
    assert_in_range(stats_of(wake).checks - before, 0, 1);
    dw_wake_close(wake);
}

static void is_not_woken_by_other_files_in_the_folder(void **state)
{
    struct world *world = *state;
    struct dw_wake *wake;
    uint64_t before;

    touch(world->other);
    wake = open_settled(world, DW_WAKE_WATCH);
    before = stats_of(wake).ticks;
    for (int i = 0; i < 20; i++)
        touch(world->other);
    touch(world->db); /* a checkpoint writes the database: no commit either while there is a -wal */
    if (ready(wake, 50000)) {
        (void)dw_wake_check(wake);
        assert_int_equal(stats_of(wake).ticks, before + 1);
    }
    dw_wake_close(wake);
}

static void follows_the_wal_through_deletion_and_re_creation(void **state)
{
    struct world *world = *state;
    struct dw_wake *wake = open_settled(world, DW_WAKE_WATCH);
    uint64_t ticks;
    for (int i = 0; i < 5; i++) {
        assert_int_equal(unlink(world->wal), 0);
        (void)wait_change(wake, 2000);
        touch(world->wal);
        (void)wait_change(wake, 2000);
        version++;
        touch(world->wal);
        assert_true(wait_change(wake, SLACK_US));
    }
    do { /* both at once; and no safety tick in between may repair it */
        ticks = stats_of(wake).ticks;
        assert_int_equal(unlink(world->wal), 0);
        touch(world->wal);
        assert_false(wait_change(wake, 1300000));
    } while (stats_of(wake).ticks != ticks);
    version++;
    touch(world->wal);
    assert_true(wait_change(wake, SLACK_US));
    dw_wake_close(wake);
}

static void watches_the_database_where_there_is_no_wal(void **state)
{
    struct world *world = *state;
    struct dw_wake *wake;

    assert_int_equal(unlink(world->wal), 0);
    wake = open_settled(world, DW_WAKE_WATCH);
    version++;
    touch(world->db);
    assert_true(wait_change(wake, SLACK_US));
    assert_false(wait_change(wake, 1300000));
    touch(world->journal);
    assert_false(wait_change(wake, 5000));
    version++;
    assert_int_equal(unlink(world->journal), 0);
    assert_true(wait_change(wake, SLACK_US));
    dw_wake_close(wake);
}

static void keeps_its_baseline_while_the_database_is_busy(void **state)
{
    struct world *world = *state;
    struct dw_wake *wake = open_settled(world, DW_WAKE_WATCH);

    answer = DW_BUSY;
    version++;
    touch(world->wal);
    assert_false(wait_change(wake, 1500000)); /* longer than a row of re-checks */
    answer = DW_OK;
    assert_true(wait_change(wake, 300000 + SLACK_US));
    dw_wake_close(wake);
}

static void passes_an_error_on_as_a_change_and_does_not_spin(void **state)
{
    struct world *world = *state;
    struct dw_wake *wake = open_settled(world, DW_WAKE_WATCH);
    uint64_t before;

    answer = DW_IO;
    touch(world->wal);
    assert_true(wait_change(wake, SLACK_US));
    while (wait_change(wake, 1300000))
        ;
    before = stats_of(wake).checks;
    (void)wait_change(wake, 1000000);
    assert_in_range(stats_of(wake).checks - before, 0, 2);
    dw_wake_close(wake);
}

static void survives_an_overflow_of_the_event_queue(void **state)
{
    struct world *world = *state;
    struct dw_wake *wake = open_settled(world, DW_WAKE_WATCH);

    for (int i = 0; i < 20000; i++) {
        touch(world->journal);
        assert_int_equal(unlink(world->journal), 0);
    }
    version++;
    touch(world->wal); /* lost */
    assert_true(wait_change(wake, SLACK_US));
    assert_true(stats_of(wake).overflows > 0);
    version++;
    touch(world->wal);
    assert_true(wait_change(wake, SLACK_US));
    dw_wake_close(wake);
}

static void works_by_timer_alone(void **state)
{
    struct dw_wake *wake = open_settled(*state, DW_WAKE_TIMER);

    assert_role(wake, "timer");
    version++; /* no event */
    assert_true(wait_change(wake, 100000 + SLACK_US));
    dw_wake_close(wake);
}

static void works_on_a_store_without_files(void **state)
{
    struct world *world = *state;
    struct dw_wake *wake;

    world->store = (struct dw_store){NULL, NULL};
    wake = open_settled(world, DW_WAKE_AUTO);
    assert_role(wake, "timer");
    version++;
    assert_true(wait_change(wake, 100000 + SLACK_US));
    dw_wake_close(wake);
}

static void watches_by_itself_where_the_state_folder_is_missing(void **state)
{
    struct world *world = *state;
    struct dw_wake *wakes[6];

    world->store.dir = "/nonexistent/folder";
    for (int i = 0; i < 6; i++) {
        wakes[i] = open_bell(world, DW_WAKE_AUTO);
        assert_role(wakes[i], "watch");
    }
    for (int i = 0; i < 6; i++)
        dw_wake_close(wakes[i]);
}

/* ---- several ---- */

#define CROWD 6

static void open_crowd(struct world *world, struct dw_wake **wakes)
{
    for (int i = 0; i < CROWD; i++) {
        wakes[i] = open_bell(world, DW_WAKE_AUTO);
        assert_true(dw_wake_check(wakes[i]));
    }
    for (int i = 0; i < CROWD; i++)
        (void)wait_change(wakes[i], 1300000 / CROWD);
}

static void close_crowd(struct dw_wake **wakes)
{
    for (int i = 0; i < CROWD; i++)
        dw_wake_close(wakes[i]);
}

/* Runs all loops until each of them has reported a change. */
static void assert_all_report(struct dw_wake **wakes)
{
    int64_t end = dw_clock_mono_us() + 2 * (int64_t)SLACK_US;
    bool reported[CROWD] = {false};
    int missing = CROWD;

    while (missing > 0 && dw_clock_mono_us() < end) {
        for (int i = 0; i < CROWD; i++) {
            if (ready(wakes[i], 0) && dw_wake_check(wakes[i]) && !reported[i]) {
                reported[i] = true;
                missing--;
            }
        }
    }
    assert_int_equal(missing, 0);
}

static void two_watch_the_third_leads_the_others_follow(void **state)
{
    static const char *const roles[CROWD] = {"watch", "watch", "leader", "follower", "follower", "follower"};
    struct dw_wake *wakes[CROWD];

    open_crowd(*state, wakes);
    for (int i = 0; i < CROWD; i++)
        assert_role(wakes[i], roles[i]);
    close_crowd(wakes);
}

static void a_free_seat_goes_to_the_next_who_comes(void **state)
{
    struct dw_wake *wakes[CROWD];

    open_crowd(*state, wakes);
    dw_wake_close(wakes[1]);
    wakes[1] = open_bell(*state, DW_WAKE_AUTO);
    assert_role(wakes[1], "watch");
    close_crowd(wakes);
}

static void followers_are_woken_by_the_leader_and_by_nothing_else(void **state)
{
    struct world *world = *state;
    struct dw_wake *wakes[CROWD];
    uint64_t before;

    open_crowd(world, wakes);
    before = stats_of(wakes[4]).ticks;
    touch(world->wal); /* an event without a commit */
    assert_false(wait_change(wakes[2], 5000));
    if (ready(wakes[4], 5000)) {
        assert_false(dw_wake_check(wakes[4]));
        assert_int_equal(stats_of(wakes[4]).ticks, before + 1);
    }
    version++;
    touch(world->wal);
    assert_true(wait_change(wakes[2], SLACK_US));
    for (int i = 3; i < CROWD; i++) {
        assert_true(ready(wakes[i], SLACK_US));
        assert_true(dw_wake_check(wakes[i]));
        assert_false(dw_wake_check(wakes[i]));
    }
    close_crowd(wakes);
}

static void a_leader_that_closes_is_followed_at_once_and_nothing_is_lost(void **state)
{
    struct world *world = *state;
    struct dw_wake *wakes[CROWD];

    open_crowd(world, wakes);
    dw_wake_close(wakes[2]);
    wakes[2] = NULL;
    version++; /* committed while nobody led, or under way when the new leader armed */
    assert_true(ready(wakes[4], SLACK_US));
    assert_true(dw_wake_check(wakes[4]));
    assert_role(wakes[4], "leader");
    assert_int_equal(stats_of(wakes[4]).takeovers, 1);
    assert_true(wait_change(wakes[3], SLACK_US));
    assert_true(wait_change(wakes[5], SLACK_US));
    assert_role(wakes[3], "follower");
    (void)wait_change(wakes[4], SLACK_US);
    version++; /* its events came before the new leader watched */
    assert_true(wait_change(wakes[4], SLACK_US));
    (void)wait_change(wakes[4], SLACK_US); /* the ring may still be owed */
    assert_true(wait_change(wakes[5], SLACK_US));
    assert_true(wait_change(wakes[3], SLACK_US));
    close_crowd(wakes);
}

static void rings_again_for_what_came_during_the_pause_between_rings(void **state)
{
    struct world *world = *state;
    struct dw_wake *wakes[CROWD];

    open_crowd(world, wakes);
    for (int i = 0; i < 300; i++) { /* faster than the pause allows */
        bool heard = false;

        version++;
        touch(world->wal);
        for (int64_t end = dw_clock_mono_us() + SLACK_US; !heard && dw_clock_mono_us() < end;) {
            (void)dw_wake_check(wakes[2]);
            heard = ready(wakes[3], 0) && dw_wake_check(wakes[3]);
        }
        assert_true(heard);
    }
    version++;
    touch(world->wal);
    assert_all_report(wakes);
    close_crowd(wakes);
}

static void followers_replace_a_leader_that_hangs_and_it_steps_down_later(void **state)
{
    struct world *world = *state;
    struct dw_wake *wakes[CROWD];
    int64_t end;

    open_crowd(world, wakes);
    version++;
    touch(world->wal); /* wakes[2] does nothing from here on */
    for (end = dw_clock_mono_us() + 5000000; dw_clock_mono_us() < end && stats_of(wakes[3]).takeovers == 0;)
        (void)wait_change(wakes[3], 100000);
    assert_role(wakes[3], "leader");
    assert_int_equal(stats_of(wakes[3]).rings, 1); /* tells the others what it found on its tick */
    version++;
    touch(world->wal);
    assert_true(wait_change(wakes[3], SLACK_US));
    assert_true(wait_change(wakes[4], SLACK_US));
    assert_true(wait_change(wakes[2], SLACK_US)); /* it is back: late, but with everything */
    for (end = dw_clock_mono_us() + 5000000; dw_clock_mono_us() < end && stats_of(wakes[2]).ticks == 0;)
        (void)wait_change(wakes[2], 100000);
    assert_role(wakes[2], "follower");
    version++;
    touch(world->wal);
    assert_true(wait_change(wakes[3], SLACK_US));
    assert_true(wait_change(wakes[2], SLACK_US));
    close_crowd(wakes);
}

static void the_safety_tick_repairs_a_cleared_state_folder_and_notices_a_replaced_file(void **state)
{
    struct world *world = *state;
    struct dw_wake *wakes[CROWD];
    struct stat st;
    int held = open(world->db, O_RDONLY); /* as a store would: the inode is not used again */

    assert_true(held >= 0);
    open_crowd(world, wakes);
    assert_int_equal(unlink(world->bell), 0);
    assert_int_equal(unlink(world->db), 0);
    touch(world->other);
    assert_int_equal(rename(world->other, world->db), 0);
    for (int i = 0; i < CROWD; i++)
        (void)wait_change(wakes[i], i == 0 ? 4200000 : SLACK_US);
    assert_int_equal(stat(world->bell, &st), 0);
    assert_true(dw_wake_replaced(wakes[5]));
    version++;
    touch(world->wal);
    assert_all_report(wakes);
    close_crowd(wakes);
    assert_int_equal(close(held), 0);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(calls_for_its_first_check_and_reports_a_change),
        CASE(is_silent_while_nothing_happens),
        CASE(reports_a_commit_that_is_visible_with_its_event),
        CASE(reports_a_commit_that_becomes_visible_after_its_last_event),
        CASE(reports_a_second_commit_whose_events_came_with_the_first),
        CASE(ends_its_rechecks_a_second_after_the_last_event),
        CASE(is_not_woken_by_other_files_in_the_folder),
        CASE(follows_the_wal_through_deletion_and_re_creation),
        CASE(watches_the_database_where_there_is_no_wal),
        CASE(keeps_its_baseline_while_the_database_is_busy),
        CASE(passes_an_error_on_as_a_change_and_does_not_spin),
        CASE(survives_an_overflow_of_the_event_queue),
        CASE(works_by_timer_alone),
        CASE(works_on_a_store_without_files),
        CASE(watches_by_itself_where_the_state_folder_is_missing),
        CASE(two_watch_the_third_leads_the_others_follow),
        CASE(a_free_seat_goes_to_the_next_who_comes),
        CASE(followers_are_woken_by_the_leader_and_by_nothing_else),
        CASE(a_leader_that_closes_is_followed_at_once_and_nothing_is_lost),
        CASE(rings_again_for_what_came_during_the_pause_between_rings),
        CASE(followers_replace_a_leader_that_hangs_and_it_steps_down_later),
        CASE(the_safety_tick_repairs_a_cleared_state_folder_and_notices_a_replaced_file),
    };

    return cmocka_run_group_tests_name("wake", tests, NULL, NULL);
}
