/* Sessions that end while their clients are held, over the memory store. */
#include "base/clock.h"
#include "store/ops.h"
#include "tests/unit/socketing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MANY 2000

static int open_with_sessions(void **unused)
{
    int rc = open_world(unused);

    set("auth", "uid", "session");
    return rc;
}

static void session(const char *sid, const char *uid, int64_t expires_at)
{
    assert_int_equal(dw_store_session_put(w.store, sid, uid, NULL, NULL, expires_at, NULL), DW_OK);
}

static void log_out(const char *sid)
{
    session(sid, "nobody", 1);
}

static void connect_with(struct wire *wire, const char *cookie, const char *query)
{
    w.cookie = cookie;
    connect_as(wire, query);
    assert_int_equal(wire->status, 101);
    wire->len = 0;
    wire->got[0] = '\0';
}

static void hold_with(struct wire *wire, const char *cookie, const char *query)
{
    w.cookie = cookie;
    poll_as(wire, query); /* an unknown client's handshake */
    assert_int_equal(wire->status, 200);
    poll_as(wire, query);
    assert_non_null(wire->parked);
}

/* For longer than any round takes. */
static void hold_alice(struct wire *wire)
{
    set("chsk", "lp_timeout_ms", "120000");
    session("s1", "alice", 0);
    hold_with(wire, "dw_sid=s1", "client-id=a");
}

/* Lets a round take place, from its beginning to its end; the ticks that it took. */
static int review(void)
{
    int ticks = 0;

    dw_lot_wake(w.lot);
    do {
        dw_lot_tick(w.lot, dw_clock_mono_ms() + 2100);
        ticks++;
    } while (dw_lot_due(w.lot) <= dw_clock_mono_ms() + 2100);
    return ticks;
}

static void a_websocket_that_is_logged_out_is_closed(void **unused)
{
    struct wire a, b;

    (void)unused;
    session("s1", "alice", 0);
    session("s2", "bob", 0);
    connect_with(&a, "dw_sid=s1", "client-id=a");
    connect_with(&b, "dw_sid=s2", "client-id=b");
    log_out("s1");
    review();
    assert_int_equal(a.code, 4401);
    assert_int_equal(b.code, 0);
    push("alice", "t/e", "1");
    push("bob", "t/e", "2");
    assert_got(&a, "");
    assert_non_null(strstr(b.got, "[[[:t/e 2]] nil]"));
    disconnect(&a);
    assert_int_equal(w.departed, 1);
    disconnect(&b);
}

static void a_poll_that_is_logged_out_is_answered(void **unused)
{
    struct wire a, b;

    (void)unused;
    session("s1", "alice", 0);
    session("s2", "bob", 0);
    hold_with(&a, "dw_sid=s1", "client-id=a");
    hold_with(&b, "dw_sid=s2", "client-id=b");
    log_out("s1");
    review();
    assert_null(a.parked);
    assert_int_equal(a.status, 403);
    assert_string_equal(a.got, "The session has ended\n");
    assert_non_null(b.parked);
    push("bob", "t/e", "2");
    assert_int_equal(b.status, 200);
    assert_string_equal(b.got, "[[[:t/e 2]] nil]\n");
}

static void another_users_session_ends_the_connection(void **unused)
{
    struct wire a, b, c;

    (void)unused;
    session("s1", "alice", 0);
    session("s2", NULL, 0);
    session("s3", "", 0);
    connect_with(&a, "dw_sid=s1", "client-id=a");
    hold_with(&b, "dw_sid=s2", "client-id=b");
    hold_with(&c, "dw_sid=s3", "client-id=c");
    session("s1", "bob", 0);
    session("s2", "bob", 0); /* one without a user has logged in */
    session("s3", NULL, 0);  /* an empty name is nobody too */
    review();
    assert_int_equal(a.code, 4401);
    assert_int_equal(b.status, 403);
    assert_non_null(c.parked);
    disconnect(&a);
}

static void what_ends_no_session_begins_no_round(void **unused)
{
    struct wire a;
    int64_t due;

    (void)unused;
    session("s1", "alice", 0);
    hold_with(&a, "dw_sid=s1", "client-id=a");
    review();
    due = dw_lot_due(w.lot);
    assert_true(due > dw_clock_mono_ms() + 15000); /* the poll's own */
    session("s2", "bob", 0);
    push("bob", "t/e", "1");
    assert_int_equal(dw_lot_due(w.lot), due);
    log_out("s2");
    dw_lot_wake(w.lot);
    assert_true(dw_lot_due(w.lot) < dw_clock_mono_ms() + 4200);
}

static void rounds_are_two_seconds_apart(void **unused)
{
    int64_t now = dw_clock_mono_ms();
    struct wire a;

    (void)unused;
    session("s1", "alice", 0);
    connect_with(&a, "dw_sid=s1", "client-id=a");
    session("s2", "bob", 0);
    log_out("s2");
    dw_lot_wake(w.lot);
    assert_true(dw_lot_due(w.lot) <= now + 200);
    dw_lot_tick(w.lot, now + 200);
    log_out("s1");
    dw_lot_wake(w.lot);
    dw_lot_tick(w.lot, now + 2190);
    assert_int_equal(a.code, 0);
    dw_lot_tick(w.lot, now + 2210);
    assert_int_equal(a.code, 4401);
    disconnect(&a);
}

static void changes_without_end_put_no_round_off(void **unused)
{
    int64_t until = dw_clock_mono_ms() + 10000;
    struct wire a;

    (void)unused;
    session("s1", "alice", 0);
    hold_with(&a, "dw_sid=s1", "client-id=a");
    log_out("s1");
    while (a.parked != NULL) {
        assert_true(dw_clock_mono_ms() < until);
        session("s2", "bob", 0);
        log_out("s2");
        dw_lot_wake(w.lot);
        dw_lot_tick(w.lot, dw_clock_mono_ms());
    }
    assert_int_equal(a.status, 403);
}

/* Looked up before the log-out, taken over after it was noticed. */
static void a_newcomer_is_looked_up_again_if_something_has_changed_meanwhile(void **unused)
{
    struct wire a = {.status = 0};
    struct dw_request request = {.method = "GET", .query = "client-id=a", .cookie = "dw_sid=s1"};
    struct dw_answer answer = DW_ANSWER_INIT;

    (void)unused;
    session("s1", "alice", 0);
    w.cookie = request.cookie;
    poll_as(&a, request.query);
    a.len = 0;
    a.parked = dw_serve(w.server, &request, &answer);
    assert_non_null(a.parked);
    a.parked->connection.pointer = &a;
    push_to("alice", "t/secret", "1");
    log_out("s1");
    dw_lot_wake(w.lot);
    dw_lot_adopt(w.lot, a.parked);
    assert_int_equal(a.status, 403);
    assert_string_equal(a.got, "The session has ended\n");
    dw_buf_fini(&answer.body);
}

static void wait_for(const struct wire *wire)
{
    int64_t until = dw_clock_mono_ms() + 10000;

    while (wire->code == 0 && wire->parked != NULL) {
        assert_true(dw_clock_mono_ms() < until);
        dw_clock_sleep_us(1000 * (dw_lot_due(w.lot) > dw_clock_mono_ms()));
        dw_lot_tick(w.lot, dw_clock_mono_ms());
    }
}

static void a_websocket_ends_with_its_session(void **unused)
{
    int64_t ends = dw_clock_wall_ms() + 150;
    struct wire a, b;

    (void)unused;
    session("s1", "alice", ends);
    session("s2", "bob", 0);
    connect_with(&a, "dw_sid=s1", "client-id=a");
    connect_with(&b, "dw_sid=s2", "client-id=b");
    assert_true(dw_lot_due(w.lot) <= dw_clock_mono_ms() + 200);
    wait_for(&a);
    assert_int_equal(a.code, 4401);
    assert_true(dw_clock_wall_ms() >= ends);
    assert_int_equal(b.code, 0);
    disconnect(&a);
    disconnect(&b);
}

static void a_session_that_lasts_longer_now_keeps_its_websocket(void **unused)
{
    int64_t ends = dw_clock_wall_ms() + 100;
    struct wire a;

    (void)unused;
    session("s1", "alice", ends);
    connect_with(&a, "dw_sid=s1", "client-id=a");
    session("s1", "alice", ends + 1000);
    while (dw_clock_wall_ms() < ends + 100)
        dw_lot_tick(w.lot, dw_clock_mono_ms());
    assert_int_equal(a.code, 0);
    wait_for(&a);
    assert_int_equal(a.code, 4401);
    assert_true(dw_clock_wall_ms() >= ends + 1000);
    disconnect(&a);
}

static void a_poll_is_not_held_longer_than_its_session(void **unused)
{
    int64_t ends = dw_clock_wall_ms() + 150;
    struct wire a;

    (void)unused;
    session("s1", "alice", ends);
    hold_with(&a, "dw_sid=s1", "client-id=a");
    wait_for(&a);
    assert_string_equal(a.got, "[:chsk/timeout nil]\n");
    assert_true(dw_clock_wall_ms() >= ends);
    assert_true(dw_clock_wall_ms() < ends + 5000);
    set("auth", "require_uid", "on");
    poll_as(&a, "client-id=a");
    assert_int_equal(a.status, 401);
}

static void a_session_that_ends_sooner_now_ends_sooner(void **unused)
{
    struct wire a, b;
    int64_t ends;

    (void)unused;
    session("s1", "alice", 0);
    connect_with(&a, "dw_sid=s1", "client-id=a");
    hold_with(&b, "dw_sid=s1", "client-id=b");
    ends = dw_clock_wall_ms() + 2500;
    session("s1", "alice", ends);
    review();
    assert_int_equal(a.code, 0);
    assert_non_null(b.parked);
    assert_true(dw_lot_due(w.lot) <= dw_clock_mono_ms() + 3100); /* deadlines have a grid */
    disconnect(&a);
    dw_lot_drop(w.lot, b.parked);
}

static void many_are_looked_up_in_slices(void **unused)
{
    struct wire *all = calloc(MANY, sizeof *all);
    char cookie[32], query[32];
    int i, ticks;

    (void)unused;
    assert_non_null(all);
    for (i = 0; i < MANY; i++) {
        (void)snprintf(cookie, sizeof cookie, "dw_sid=s%d", i);
        (void)snprintf(query, sizeof query, "client-id=c%d", i);
        session(cookie + 7, query + 10, 0);
        hold_with(&all[i], cookie, query);
    }
    log_out("s7");
    log_out("s1900");
    ticks = review();
    assert_true(ticks > 1);
    for (i = 0; i < MANY; i++) {
        assert_int_equal(all[i].status, i == 7 || i == 1900 ? 403 : 0);
        if (all[i].parked != NULL)
            dw_lot_drop(w.lot, all[i].parked);
    }
    free(all);
}

static void a_cookie_that_is_too_long_names_no_session(void **unused)
{
    char cookie[7 + 513 + 1] = "dw_sid=";
    struct wire a;

    (void)unused;
    set("auth", "require_uid", "on");
    memset(cookie + 7, 'x', 512);
    session(cookie + 7, "alice", 0);
    w.cookie = cookie;
    poll_as(&a, "client-id=a");
    assert_int_equal(a.status, 200);
    memset(cookie + 7, 'x', 513);
    session(cookie + 7, "alice", 0);
    poll_as(&a, "client-id=a");
    assert_int_equal(a.status, 401);
}

static void who_does_not_come_by_a_session_is_left_alone(void **unused)
{
    struct wire a;

    (void)unused;
    set("auth", "uid", "client_id");
    session("s1", "alice", dw_clock_wall_ms() + 1);
    connect_with(&a, "dw_sid=s1", "client-id=a");
    assert_null(a.parked->sid);
    log_out("s1");
    review();
    assert_int_equal(a.code, 0);
    disconnect(&a);
}

/* ---- a query that is slow or wrong ---- */

static struct dw_store_ops failing_ops;
static int (*proper_session)(struct dw_store *store, const char *sid, int64_t now_ms, struct dw_session *out,
                             struct dw_err *err);
static int failing_rc;   /* DW_OK: the query is as it should be */
static int failing_from; /* look-ups that go well before */
static int looked;

static int failing_session(struct dw_store *store, const char *sid, int64_t now_ms, struct dw_session *out,
                           struct dw_err *err)
{
    return looked++ < failing_from || failing_rc == DW_OK ? proper_session(store, sid, now_ms, out, err)
                                                          : dw_err_set(err, failing_rc, "a test");
}

static void let_fail(int rc, int from)
{
    if (w.store->ops != &failing_ops) {
        failing_ops = *w.store->ops;
        proper_session = failing_ops.session;
        failing_ops.session = failing_session;
        w.store->ops = &failing_ops;
    }
    failing_rc = rc;
    failing_from = from;
    looked = 0;
}

/* A tick when the next one is due, on a clock of the test's own. */
static void tick(int64_t *now)
{
    int64_t due = dw_lot_due(w.lot);

    *now = due > *now ? due : *now + 1;
    dw_lot_tick(w.lot, *now);
}

static void tick_until_looked(int64_t *now, int times)
{
    int64_t until = *now + 60000;

    while (looked < times) {
        assert_true(*now < until);
        tick(now);
    }
}

static void begin_a_round(void)
{
    session("s9", "somebody", 0);
    log_out("s9");
    dw_lot_wake(w.lot);
}

static void fail_three_times(int rc)
{
    int64_t now = dw_clock_mono_ms();
    struct wire a, b;

    set("chsk", "lp_timeout_ms", "120000");
    session("s1", "alice", 0);
    session("s2", "bob", 0);
    connect_with(&a, "dw_sid=s1", "client-id=a");
    hold_with(&b, "dw_sid=s2", "client-id=b");
    let_fail(rc, 0);
    log_out("s1");
    dw_lot_wake(w.lot);
    tick_until_looked(&now, 4);
    assert_int_equal(a.code, 0);
    assert_non_null(b.parked);
    tick_until_looked(&now, 6);
    assert_int_equal(a.code, 4401);
    while (b.parked != NULL && now < dw_clock_mono_ms() + 60000)
        tick(&now);
    assert_string_equal(b.got, "[:chsk/timeout nil]\n"); /* it polls again, and is judged then */
    assert_int_equal(looked, 6);
    disconnect(&a);
    failing_rc = DW_OK;
    poll_as(&b, "client-id=b");
    assert_non_null(b.parked);
    dw_lot_drop(w.lot, b.parked);
}

static void who_takes_too_long_to_look_up_three_times_loses_the_connection(void **unused)
{
    (void)unused;
    fail_three_times(DW_TIMEOUT);
}

static void who_can_not_be_looked_up_by_a_wrong_query_loses_the_connection(void **unused)
{
    (void)unused;
    fail_three_times(DW_CONF);
}

static void a_look_up_that_succeeds_in_between_counts(void **unused)
{
    int64_t now = dw_clock_mono_ms();
    struct wire a;

    (void)unused;
    hold_alice(&a);
    for (int i = 0; i < 2; i++) {
        let_fail(DW_TIMEOUT, 0);
        begin_a_round();
        tick_until_looked(&now, 2);
        failing_rc = DW_OK;
        tick_until_looked(&now, 3);
        assert_non_null(a.parked);
    }
    dw_lot_drop(w.lot, a.parked);
}

/* A lock passes; those who wait for it are not sent away. */
static void another_failure_ends_no_connection(void **unused)
{
    int64_t now = dw_clock_mono_ms();
    struct wire a;

    (void)unused;
    hold_alice(&a);
    let_fail(DW_BUSY, 0);
    begin_a_round();
    tick_until_looked(&now, 4);
    assert_non_null(a.parked);
    dw_lot_drop(w.lot, a.parked);
}

static void a_round_whose_query_is_slow_ends_the_rest(void **unused)
{
    struct wire *all = calloc(MANY, sizeof *all);
    char cookie[32], query[32];
    int64_t now, end;
    int ended = 0;

    (void)unused;
    assert_non_null(all);
    for (int i = 0; i < MANY; i++) {
        (void)snprintf(cookie, sizeof cookie, "dw_sid=s%d", i);
        (void)snprintf(query, sizeof query, "client-id=c%d", i);
        session(cookie + 7, query + 10, 0);
        connect_with(&all[i], cookie, query);
    }
    let_fail(DW_TIMEOUT, 500);
    begin_a_round();
    now = dw_clock_mono_ms();
    end = now + 1900; /* before the next round */
    while (dw_lot_due(w.lot) < end && now < end)
        tick(&now);
    assert_int_equal(looked, 500 + 100);
    for (int i = 0; i < MANY; i++)
        ended += all[i].code == 4401;
    assert_int_equal(ended, MANY - 600);
    for (int i = 0; i < MANY; i++)
        disconnect(&all[i]);
    free(all);
}

#define IN_WORLD(test) cmocka_unit_test_setup_teardown(test, open_with_sessions, close_world)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_WORLD(a_websocket_that_is_logged_out_is_closed),
        IN_WORLD(a_poll_that_is_logged_out_is_answered),
        IN_WORLD(another_users_session_ends_the_connection),
        IN_WORLD(what_ends_no_session_begins_no_round),
        IN_WORLD(rounds_are_two_seconds_apart),
        IN_WORLD(changes_without_end_put_no_round_off),
        IN_WORLD(a_newcomer_is_looked_up_again_if_something_has_changed_meanwhile),
        IN_WORLD(a_websocket_ends_with_its_session),
        IN_WORLD(a_session_that_lasts_longer_now_keeps_its_websocket),
        IN_WORLD(a_poll_is_not_held_longer_than_its_session),
        IN_WORLD(a_session_that_ends_sooner_now_ends_sooner),
        IN_WORLD(many_are_looked_up_in_slices),
        IN_WORLD(a_cookie_that_is_too_long_names_no_session),
        IN_WORLD(who_does_not_come_by_a_session_is_left_alone),
        IN_WORLD(who_takes_too_long_to_look_up_three_times_loses_the_connection),
        IN_WORLD(who_can_not_be_looked_up_by_a_wrong_query_loses_the_connection),
        IN_WORLD(a_look_up_that_succeeds_in_between_counts),
        IN_WORLD(another_failure_ends_no_connection),
        IN_WORLD(a_round_whose_query_is_slow_ends_the_rest),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
