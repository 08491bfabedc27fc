/* The step function: when the durable cursor moves, who is held, who is sent away. */
#include "chsk/step.h"

#include "tests/unit/tap.h"

#define NOW 1795477156000
#define UP 86400000
#define HOLD 20000
#define GRACE 5000

static struct dw_input a_get(int64_t udt)
{
    struct dw_input in = {
        .kind = DW_IN_GET, .now_ms = NOW, .up_ms = UP, .hold_ms = HOLD, .grace_ms = GRACE, .retry_ms = 60000};

    in.u.get.udt = udt;
    in.u.get.claim_upto = -1;
    in.u.get.end = 10;
    return in;
}

static struct dw_input some_mail(uint64_t events, int64_t checked)
{
    struct dw_input in = {
        .kind = DW_IN_MAIL, .now_ms = NOW, .up_ms = UP, .hold_ms = HOLD, .grace_ms = GRACE, .retry_ms = 60000};

    in.u.mail.events = events;
    in.u.mail.checked = checked;
    return in;
}

/* A client that has polled before: request 3, receipt proven up to 4. */
static struct dw_chsk a_client(void)
{
    return (struct dw_chsk){.known = true, .epoch = 3, .cursor = 4, .udt = 1, .seen_ms = NOW - 1000, .connected = true};
}

static struct dw_input answered_get(int64_t udt, int64_t upto)
{
    struct dw_input in = a_get(udt);

    in.u.get.claim_epoch = 3;
    in.u.get.claim_upto = upto;
    return in;
}

static void a_new_client_gets_a_handshake_and_starts_at_now(void **unused)
{
    struct dw_chsk state = {.known = false};
    struct dw_input in = a_get(5);
    struct dw_effect effect = dw_chsk_step(&state, NULL, &in);

    (void)unused;
    assert_int_equal(effect.kind, DW_FX_HANDSHAKE);
    assert_int_equal(state.cursor, 10);
    assert_true(state.known);
    assert_false(state.connected);
    assert_false(effect.gap);
}

static void a_handshake_does_not_open_the_client_but_its_first_poll_does(void **unused)
{
    struct dw_chsk state = {.known = false};
    struct dw_input in = a_get(5);
    struct dw_effect effect;

    (void)unused;
    in.u.get.handshake = true;
    effect = dw_chsk_step(&state, NULL, &in);
    assert_false(effect.opened);
    in.u.get.handshake = false;
    effect = dw_chsk_step(&state, NULL, &in);
    assert_int_equal(effect.kind, DW_FX_READ);
    assert_true(effect.opened);
    effect = dw_chsk_step(&state, NULL, &in);
    assert_false(effect.opened);
}

static void a_poll_without_handshake_proves_the_last_answer(void **unused)
{
    struct dw_chsk state = a_client();
    struct dw_input in = answered_get(2, 7);

    (void)unused;
    assert_int_equal(dw_chsk_step(&state, NULL, &in).kind, DW_FX_READ);
    assert_int_equal(state.cursor, 7);
}

static void a_handshake_proves_nothing(void **unused)
{
    struct dw_chsk state = a_client();
    struct dw_input in = answered_get(2, 7);

    (void)unused;
    in.u.get.handshake = true;
    assert_int_equal(dw_chsk_step(&state, NULL, &in).kind, DW_FX_HANDSHAKE);
    assert_int_equal(state.cursor, 4);
}

static void a_handshake_after_a_poll_that_died_with_its_worker_proves_as_that_poll_would_have(void **unused)
{
    struct dw_chsk state = a_client();
    struct dw_input in = answered_get(2, 7);

    (void)unused;
    in.u.get.handshake = in.u.get.lost_poll = true;
    assert_int_equal(dw_chsk_step(&state, NULL, &in).kind, DW_FX_HANDSHAKE);
    assert_int_equal(state.cursor, 7);
    state = a_client();
    state.udt = in.u.get.lost_udt = NOW - 1000;
    (void)dw_chsk_step(&state, NULL, &in);
    assert_int_equal(state.cursor, 4);
}

static void an_answer_to_an_older_request_is_no_proof(void **unused)
{
    struct dw_chsk state = a_client();
    struct dw_input in = answered_get(2, 7);

    (void)unused;
    in.u.get.claim_epoch = 2;
    (void)dw_chsk_step(&state, NULL, &in);
    assert_int_equal(state.cursor, 4);
}

static void a_get_that_the_browser_sent_again_is_no_proof(void **unused)
{
    struct dw_chsk state = a_client();
    struct dw_input in = answered_get(NOW - 1000, 7);

    (void)unused;
    state.udt = NOW - 1000;
    (void)dw_chsk_step(&state, NULL, &in);
    assert_int_equal(state.cursor, 4);
}

static void a_client_whose_udt_is_no_clock_still_proves_by_polling(void **unused)
{
    struct dw_chsk state = a_client();
    struct dw_input in = answered_get(1, 7);

    (void)unused;
    (void)dw_chsk_step(&state, NULL, &in);
    assert_int_equal(state.cursor, 7);
}

static void two_polls_within_one_clock_tick_are_two_polls_if_the_whole_answer_had_left(void **unused)
{
    struct dw_chsk state = a_client();
    struct dw_input in = answered_get(NOW, 7);

    (void)unused;
    in.u.get.claim_sent = true;
    state.udt = NOW;
    state.seen_ms = NOW - 3;
    (void)dw_chsk_step(&state, NULL, &in);
    assert_int_equal(state.cursor, 7);
}

/* A web server whose backend died in the middle asks the next one within a millisecond. */
static void a_quick_copy_of_a_poll_whose_answer_had_not_left_is_no_proof(void **unused)
{
    struct dw_chsk state = a_client();
    struct dw_input in = answered_get(NOW, 7);

    (void)unused;
    state.udt = NOW;
    state.seen_ms = NOW - 3;
    (void)dw_chsk_step(&state, NULL, &in);
    assert_int_equal(state.cursor, 4);
}

static void no_client_clock_overflows(void **unused)
{
    const int64_t clocks[] = {INT64_MIN, INT64_MIN + 1, -1, INT64_MAX - 1, INT64_MAX};
    size_t i;

    (void)unused;
    for (i = 0; i < sizeof clocks / sizeof clocks[0]; i++) {
        struct dw_chsk state = a_client();
        struct dw_input in = answered_get(clocks[i], 7);

        state.udt = clocks[i];
        (void)dw_chsk_step(&state, NULL, &in);
        assert_int_equal(state.cursor, 7);
    }
}

static void every_get_takes_a_new_request_number_and_it_wraps(void **unused)
{
    struct dw_chsk state = a_client();
    struct dw_input in = a_get(2);

    (void)unused;
    (void)dw_chsk_step(&state, NULL, &in);
    assert_int_equal(state.epoch, 4);
    state.epoch = DW_CHSK_EPOCHS - 1;
    (void)dw_chsk_step(&state, NULL, &in);
    assert_int_equal(state.epoch, 0);
}

static void a_handshake_of_a_connected_client_leaves_it_the_time_to_poll(void **unused)
{
    struct dw_chsk state = a_client();
    struct dw_input in = a_get(2);

    (void)unused;
    in.u.get.handshake = true;
    state.due_ms = UP + 1; /* its last poll was answered a grace period ago */
    (void)dw_chsk_step(&state, NULL, &in);
    assert_true(state.connected);
    assert_int_equal(state.due_ms, UP + GRACE);
    state.due_ms = UP + HOLD + GRACE; /* its last poll is held, but no longer its own */
    (void)dw_chsk_step(&state, NULL, &in);
    assert_int_equal(state.due_ms, UP + GRACE);
}

static void no_mail_means_hold_and_moves_the_cursor_past_others_mail(void **unused)
{
    struct dw_chsk state = a_client();
    struct dw_input in = a_get(2), mail = some_mail(0, 10);
    struct dw_effect effect = dw_chsk_step(&state, NULL, &in);

    (void)unused;
    effect = dw_chsk_step(&state, &effect, &mail);
    assert_int_equal(effect.kind, DW_FX_HOLD);
    assert_int_equal(effect.deadline_ms, UP + HOLD);
    assert_int_equal(state.cursor, 10);
    assert_int_equal(state.due_ms, UP + HOLD + GRACE);
}

static void mail_is_sent_at_once_and_the_cursor_waits_for_proof(void **unused)
{
    struct dw_chsk state = a_client();
    struct dw_input in = a_get(2), mail = some_mail(2, 10);
    struct dw_effect effect = dw_chsk_step(&state, NULL, &in);

    (void)unused;
    effect = dw_chsk_step(&state, &effect, &mail);
    assert_int_equal(effect.kind, DW_FX_EVENTS);
    assert_int_equal(state.cursor, 4);
    assert_int_equal(state.due_ms, UP + GRACE);
}

static void a_close_order_is_passed_and_ends_the_poll(void **unused)
{
    struct dw_chsk state = a_client();
    struct dw_input in = a_get(2), mail = some_mail(3, 10);
    struct dw_effect effect = dw_chsk_step(&state, NULL, &in);

    (void)unused;
    mail.u.mail.close_id = 6;
    effect = dw_chsk_step(&state, &effect, &mail);
    assert_int_equal(effect.kind, DW_FX_CLOSE);
    assert_int_equal(state.cursor, 6);
}

static void a_full_server_sends_a_poll_without_mail_away(void **unused)
{
    struct dw_chsk state = a_client();
    struct dw_input in = a_get(2), mail = some_mail(0, 10);
    struct dw_effect effect;

    (void)unused;
    in.full = mail.full = true;
    effect = dw_chsk_step(&state, NULL, &in);
    effect = dw_chsk_step(&state, &effect, &mail);
    assert_int_equal(effect.kind, DW_FX_AWAY);
    assert_true(state.connected);
    assert_true(state.due_ms >= UP + 60000);
}

static void a_full_server_sends_a_known_client_away_at_its_handshake_already(void **unused)
{
    struct dw_chsk state = a_client();
    struct dw_input in = a_get(2), mail = some_mail(0, 10);
    struct dw_effect effect;

    (void)unused;
    in.full = mail.full = in.u.get.handshake = true;
    effect = dw_chsk_step(&state, NULL, &in);
    assert_int_equal(effect.kind, DW_FX_READ);
    effect = dw_chsk_step(&state, &effect, &mail);
    assert_int_equal(effect.kind, DW_FX_AWAY);
    assert_int_equal(state.cursor, 4);
}

static void a_full_server_lets_a_client_with_mail_in(void **unused)
{
    struct dw_chsk state = a_client();
    struct dw_input in = a_get(2), mail = some_mail(1, 10);
    struct dw_effect effect;

    (void)unused;
    in.full = mail.full = in.u.get.handshake = true;
    effect = dw_chsk_step(&state, NULL, &in);
    effect = dw_chsk_step(&state, &effect, &mail);
    assert_int_equal(effect.kind, DW_FX_HANDSHAKE);
    in.u.get.handshake = false;
    effect = dw_chsk_step(&state, NULL, &in);
    effect = dw_chsk_step(&state, &effect, &mail);
    assert_int_equal(effect.kind, DW_FX_EVENTS);
}

static void a_full_server_still_shakes_hands_with_a_new_client(void **unused)
{
    struct dw_chsk state = {.known = false};
    struct dw_input in = a_get(2);

    (void)unused;
    in.full = in.u.get.handshake = true;
    assert_int_equal(dw_chsk_step(&state, NULL, &in).kind, DW_FX_HANDSHAKE);
    assert_int_equal(state.cursor, 10);
}

static void a_cursor_ahead_of_the_queue_restarts_at_its_end_and_tells(void **unused)
{
    struct dw_chsk state = a_client();
    struct dw_input in = a_get(2);

    (void)unused;
    state.cursor = 99;
    assert_true(dw_chsk_step(&state, NULL, &in).gap);
    assert_int_equal(state.cursor, 10);
}

static void a_cursor_behind_retention_tells_of_the_gap(void **unused)
{
    struct dw_chsk state = a_client();
    struct dw_input in = a_get(2);

    (void)unused;
    in.u.get.horizon = 4;
    assert_false(dw_chsk_step(&state, NULL, &in).gap);
    in.u.get.horizon = 8;
    assert_true(dw_chsk_step(&state, NULL, &in).gap);
    assert_int_equal(state.cursor, 8);
}

static void a_forgotten_client_starts_from_what_is_retained(void **unused)
{
    struct dw_chsk state = {.known = false};
    struct dw_input in = a_get(2);

    (void)unused;
    in.u.get.amnesia = true;
    in.u.get.horizon = 3;
    assert_int_equal(dw_chsk_step(&state, NULL, &in).kind, DW_FX_HANDSHAKE);
    assert_int_equal(state.cursor, 3);
    state = (struct dw_chsk){.known = false};
    in.u.get.handshake = true;
    assert_true(dw_chsk_step(&state, NULL, &in).gap); /* it may be one of the forgotten, too */
    assert_int_equal(state.cursor, 10);
    state = (struct dw_chsk){.known = false};
    in.u.get.amnesia = false;
    assert_false(dw_chsk_step(&state, NULL, &in).gap);
}

static void a_poll_held_after_all_because_its_mail_can_not_be_packed_is_not_overdue(void **unused)
{
    struct dw_chsk state = a_client();
    struct dw_input get = a_get(2), mail = some_mail(1, 10), none = some_mail(0, 10);
    struct dw_effect read = dw_chsk_step(&state, NULL, &get);

    (void)unused;
    assert_int_equal(dw_chsk_step(&state, &read, &mail).kind, DW_FX_EVENTS);
    none.up_ms = UP + 5;
    assert_int_equal(dw_chsk_step(&state, &read, &none).kind, DW_FX_HOLD);
    assert_true(state.due_ms >= UP + HOLD + GRACE);
}

static void a_client_that_changes_over_goes_on_where_it_was(void **unused)
{
    struct dw_chsk state = {.known = false};
    struct dw_input in = a_get(5);

    (void)unused;
    in.u.get.handshake = true;
    in.u.get.changes_over = true;
    in.u.get.elsewhere = 6;
    assert_false(dw_chsk_step(&state, NULL, &in).gap);
    assert_int_equal(state.cursor, 6);
    /* back again, later */
    in.u.get.elsewhere = 9;
    assert_int_equal(dw_chsk_step(&state, NULL, &in).kind, DW_FX_HANDSHAKE);
    assert_int_equal(state.cursor, 9);
    /* a place over there that is behind takes nothing back */
    in.u.get.elsewhere = 7;
    (void)dw_chsk_step(&state, NULL, &in);
    assert_int_equal(state.cursor, 9);
    /* and one behind retention is told */
    state = (struct dw_chsk){.known = false};
    in.u.get.horizon = 8;
    assert_true(dw_chsk_step(&state, NULL, &in).gap);
    assert_int_equal(state.cursor, 8);
}

static void a_poll_that_goes_on_takes_no_notice_of_a_websocket(void **unused)
{
    struct dw_chsk state = a_client();
    struct dw_input in = answered_get(2, 7);

    (void)unused;
    in.u.get.changes_over = true;
    in.u.get.elsewhere = 9;
    (void)dw_chsk_step(&state, NULL, &in);
    assert_int_equal(state.cursor, 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_client_gets_a_handshake_and_starts_at_now),
        cmocka_unit_test(a_handshake_does_not_open_the_client_but_its_first_poll_does),
        cmocka_unit_test(a_poll_without_handshake_proves_the_last_answer),
        cmocka_unit_test(a_handshake_proves_nothing),
        cmocka_unit_test(a_handshake_after_a_poll_that_died_with_its_worker_proves_as_that_poll_would_have),
        cmocka_unit_test(an_answer_to_an_older_request_is_no_proof),
        cmocka_unit_test(a_get_that_the_browser_sent_again_is_no_proof),
        cmocka_unit_test(a_client_whose_udt_is_no_clock_still_proves_by_polling),
        cmocka_unit_test(two_polls_within_one_clock_tick_are_two_polls_if_the_whole_answer_had_left),
        cmocka_unit_test(a_quick_copy_of_a_poll_whose_answer_had_not_left_is_no_proof),
        cmocka_unit_test(no_client_clock_overflows),
        cmocka_unit_test(every_get_takes_a_new_request_number_and_it_wraps),
        cmocka_unit_test(a_handshake_of_a_connected_client_leaves_it_the_time_to_poll),
        cmocka_unit_test(no_mail_means_hold_and_moves_the_cursor_past_others_mail),
        cmocka_unit_test(mail_is_sent_at_once_and_the_cursor_waits_for_proof),
        cmocka_unit_test(a_close_order_is_passed_and_ends_the_poll),
        cmocka_unit_test(a_full_server_sends_a_poll_without_mail_away),
        cmocka_unit_test(a_full_server_sends_a_known_client_away_at_its_handshake_already),
        cmocka_unit_test(a_full_server_lets_a_client_with_mail_in),
        cmocka_unit_test(a_full_server_still_shakes_hands_with_a_new_client),
        cmocka_unit_test(a_cursor_ahead_of_the_queue_restarts_at_its_end_and_tells),
        cmocka_unit_test(a_cursor_behind_retention_tells_of_the_gap),
        cmocka_unit_test(a_forgotten_client_starts_from_what_is_retained),
        cmocka_unit_test(a_poll_held_after_all_because_its_mail_can_not_be_packed_is_not_overdue),
        cmocka_unit_test(a_client_that_changes_over_goes_on_where_it_was),
        cmocka_unit_test(a_poll_that_goes_on_takes_no_notice_of_a_websocket),
    };

    return cmocka_run_group_tests_name("step", tests, NULL, NULL);
}
