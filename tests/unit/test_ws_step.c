/* The WebSocket step function: when receipt is proven, when a ping is due, when a connection counts as lost. */
#include "chsk/ws_step.h"

#include "tests/unit/tap.h"

static const struct dw_ws_times times = {.silence_ms = 12500, .timeout_ms = 10000, .barrier_ms = 100};

static struct dw_ws_effect at(struct dw_ws *ws, int64_t now_ms, enum dw_ws_input input, int64_t upto)
{
    return dw_ws_step(ws, input, upto, now_ms, &times);
}

static struct dw_ws a_connection(int64_t cursor)
{
    struct dw_ws ws;

    (void)at(&ws, 1000, DW_WS_BEGIN, cursor);
    return ws;
}

static struct dw_ws_opening an_opening(void)
{
    return (struct dw_ws_opening){.now_ms = 1795477156000, .claim_upto = -1, .end = 10};
}

static void a_new_client_starts_at_now(void **unused)
{
    struct dw_chsk state = {.known = false};
    struct dw_ws_opening opening = an_opening();

    (void)unused;
    assert_false(dw_ws_open(&state, &opening));
    assert_int_equal(state.cursor, 10);
    assert_int_equal(state.epoch, 1);
    assert_true(state.connected);
    assert_true(state.due_ms == INT64_MAX);
}

static void a_known_client_goes_on_behind_what_was_proven(void **unused)
{
    struct dw_chsk state = {.known = true, .epoch = 3, .cursor = 4};
    struct dw_ws_opening opening = an_opening();

    (void)unused;
    opening.claim_epoch = 3;
    opening.claim_upto = 7;
    assert_false(dw_ws_open(&state, &opening));
    assert_int_equal(state.cursor, 7);
    assert_int_equal(state.epoch, 4);
    /* what an older connection had proven says nothing new */
    opening.claim_upto = 9;
    assert_false(dw_ws_open(&state, &opening));
    assert_int_equal(state.cursor, 7);
}

static void a_client_that_comes_from_ajax_goes_on_where_it_was(void **unused)
{
    struct dw_chsk state = {.known = false};
    struct dw_ws_opening opening = an_opening();

    (void)unused;
    opening.changes_over = true;
    opening.elsewhere = 6;
    assert_false(dw_ws_open(&state, &opening));
    assert_int_equal(state.cursor, 6);
    opening.elsewhere = 8;
    assert_false(dw_ws_open(&state, &opening));
    assert_int_equal(state.cursor, 8);
    opening.elsewhere = 2;
    assert_false(dw_ws_open(&state, &opening));
    assert_int_equal(state.cursor, 8);
}

static void what_retention_removed_is_told(void **unused)
{
    struct dw_chsk state = {.known = true, .epoch = 3, .cursor = 4};
    struct dw_ws_opening opening = an_opening();

    (void)unused;
    opening.horizon = 6;
    assert_true(dw_ws_open(&state, &opening));
    assert_int_equal(state.cursor, 6);
}

static void after_the_loss_of_the_table_a_client_gets_what_is_retained(void **unused)
{
    struct dw_chsk state = {.known = false};
    struct dw_ws_opening opening = an_opening();

    (void)unused;
    opening.horizon = 6;
    opening.amnesia = true;
    assert_true(dw_ws_open(&state, &opening));
    assert_int_equal(state.cursor, 6);
}

static void a_pong_proves_what_was_sent_before_its_ping(void **unused)
{
    struct dw_ws ws = a_connection(4);

    (void)unused;
    (void)at(&ws, 1000, DW_WS_SENT, 5);
    (void)at(&ws, 1050, DW_WS_SENT, 6);
    assert_int_equal(dw_ws_due(&ws, &times), 1100);
    assert_int_equal(at(&ws, 1099, DW_WS_TICK, 0).kind, DW_WS_NOTHING);
    assert_int_equal(at(&ws, 1100, DW_WS_TICK, 0).kind, DW_WS_PING);
    (void)at(&ws, 1101, DW_WS_SENT, 7);
    assert_true(at(&ws, 1102, DW_WS_PONG, 0).proof);
    assert_int_equal(ws.proven, 6);
    /* 7 waits for a barrier of its own */
    assert_int_equal(dw_ws_due(&ws, &times), 1202);
    assert_int_equal(at(&ws, 1202, DW_WS_TICK, 0).kind, DW_WS_PING);
    assert_true(at(&ws, 1203, DW_WS_PONG, 0).proof);
    assert_int_equal(ws.proven, 7);
    assert_int_equal(dw_ws_due(&ws, &times), 1203 + 12500);
}

static void other_frames_and_unasked_pongs_prove_nothing(void **unused)
{
    struct dw_ws ws = a_connection(4);

    (void)unused;
    (void)at(&ws, 1000, DW_WS_SENT, 5);
    assert_false(at(&ws, 1001, DW_WS_PONG, 0).proof);
    (void)at(&ws, 1100, DW_WS_TICK, 0);
    assert_false(at(&ws, 1101, DW_WS_HEARD, 0).proof);
    assert_int_equal(ws.proven, 4);
}

static void a_late_pong_never_proves_too_much(void **unused)
{
    struct dw_ws ws = a_connection(4);

    (void)unused;
    (void)at(&ws, 1000, DW_WS_SENT, 5);
    (void)at(&ws, 1100, DW_WS_TICK, 0); /* first ping: proves 5 */
    (void)at(&ws, 1200, DW_WS_HEARD, 0);
    (void)at(&ws, 1300, DW_WS_SENT, 6);
    assert_int_equal(at(&ws, 1300 + 12500, DW_WS_TICK, 0).kind, DW_WS_PING); /* keep-alive, second */
    (void)at(&ws, 1301 + 12500, DW_WS_PONG, 0);                              /* answers the first */
    assert_int_equal(ws.proven, 5);
}

static void silence_is_pinged_and_then_ends_the_connection(void **unused)
{
    struct dw_ws ws = a_connection(4);

    (void)unused;
    assert_int_equal(dw_ws_due(&ws, &times), 13500);
    assert_int_equal(at(&ws, 13500, DW_WS_TICK, 0).kind, DW_WS_PING);
    assert_int_equal(dw_ws_due(&ws, &times), 23500);
    assert_int_equal(at(&ws, 23499, DW_WS_TICK, 0).kind, DW_WS_NOTHING);
    assert_int_equal(at(&ws, 23500, DW_WS_TICK, 0).kind, DW_WS_LOST);
}

static void any_frame_keeps_the_connection(void **unused)
{
    struct dw_ws ws = a_connection(4);

    (void)unused;
    (void)at(&ws, 13500, DW_WS_TICK, 0);
    (void)at(&ws, 20000, DW_WS_HEARD, 0);
    assert_int_equal(dw_ws_due(&ws, &times), 32500);
    assert_int_equal(at(&ws, 32500, DW_WS_TICK, 0).kind, DW_WS_PING);
}

static void pushes_into_a_dead_connection_are_found_out_by_the_barrier(void **unused)
{
    struct dw_ws ws = a_connection(4);
    int64_t now, id = 5;

    (void)unused;
    for (now = 2000; now < 30000; now += 1000) {
        (void)at(&ws, now, DW_WS_SENT, id++);
        if (at(&ws, now + 100, DW_WS_TICK, 0).kind == DW_WS_LOST)
            break;
    }
    assert_int_equal(now, 12000); /* ping at 2100, lost at 12100 */
    assert_int_equal(ws.proven, 4);
}

static void a_quiet_client_keeps_up_with_retention(void **unused)
{
    struct dw_ws ws = a_connection(4);

    (void)unused;
    (void)at(&ws, 13500, DW_WS_TICK, 900);
    assert_true(at(&ws, 13501, DW_WS_PONG, 0).proof);
    assert_int_equal(ws.proven, 900);
}

static void an_order_to_close_waits_until_all_before_it_is_proven(void **unused)
{
    struct dw_ws ws = a_connection(4);
    struct dw_ws_effect effect;

    (void)unused;
    (void)at(&ws, 1000, DW_WS_SENT, 5);
    assert_int_equal(at(&ws, 1001, DW_WS_ORDER, 6).kind, DW_WS_PING);
    effect = at(&ws, 1002, DW_WS_PONG, 0);
    assert_int_equal(effect.kind, DW_WS_CLOSE);
    assert_true(effect.proof);
    assert_int_equal(ws.proven, 6);
}

static void an_order_to_close_is_carried_out_at_once_where_nothing_is_unproven(void **unused)
{
    struct dw_ws ws = a_connection(4);

    (void)unused;
    assert_int_equal(at(&ws, 1001, DW_WS_ORDER, 6).kind, DW_WS_CLOSE);
    assert_int_equal(ws.proven, 6);
}

static void an_order_to_close_behind_a_ping_under_way_needs_another(void **unused)
{
    struct dw_ws ws = a_connection(4);

    (void)unused;
    (void)at(&ws, 1000, DW_WS_SENT, 5);
    (void)at(&ws, 1100, DW_WS_TICK, 0);
    (void)at(&ws, 1101, DW_WS_SENT, 6);
    assert_int_equal(at(&ws, 1102, DW_WS_ORDER, 7).kind, DW_WS_NOTHING);
    assert_int_equal(at(&ws, 1103, DW_WS_PONG, 0).kind, DW_WS_PING);
    assert_int_equal(at(&ws, 1104, DW_WS_PONG, 0).kind, DW_WS_CLOSE);
    assert_int_equal(ws.proven, 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_client_starts_at_now),
        cmocka_unit_test(a_known_client_goes_on_behind_what_was_proven),
        cmocka_unit_test(a_client_that_comes_from_ajax_goes_on_where_it_was),
        cmocka_unit_test(what_retention_removed_is_told),
        cmocka_unit_test(after_the_loss_of_the_table_a_client_gets_what_is_retained),
        cmocka_unit_test(a_pong_proves_what_was_sent_before_its_ping),
        cmocka_unit_test(other_frames_and_unasked_pongs_prove_nothing),
        cmocka_unit_test(a_late_pong_never_proves_too_much),
        cmocka_unit_test(silence_is_pinged_and_then_ends_the_connection),
        cmocka_unit_test(any_frame_keeps_the_connection),
        cmocka_unit_test(pushes_into_a_dead_connection_are_found_out_by_the_barrier),
        cmocka_unit_test(a_quiet_client_keeps_up_with_retention),
        cmocka_unit_test(an_order_to_close_waits_until_all_before_it_is_proven),
        cmocka_unit_test(an_order_to_close_is_carried_out_at_once_where_nothing_is_unproven),
        cmocka_unit_test(an_order_to_close_behind_a_ping_under_way_needs_another),
    };

    return cmocka_run_group_tests_name("ws_step", tests, NULL, NULL);
}
