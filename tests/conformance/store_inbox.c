/* Conformance: inbox, replies, sessions, counters. */
#include "conformance.h"

static void the_inbox_is_read_by_cursor(void **state)
{
    struct fixture *f = *state;
    int64_t first = receive(f->a, "alice", "chat/one", false);

    receive(f->a, NULL, "chat/two", false);
    assert_string_equal(inbox(f, 0), "chat/one={} chat/two={}");
    assert_string_equal(inbox(f, first), "chat/two={}");
}

static void a_callback_takes_one_reply(void **state)
{
    struct fixture *f = *state;
    int64_t id = receive(f->a, "alice", "chat/ask", true);
    int64_t end = 0;

    must(dw_store_reply(f->a, id, "{\"ok\":true}", 11, "json", &err));
    assert_string_equal(replies(f, 0), "1={\"ok\":true}");
    assert_int_equal(dw_store_reply(f->b, id, "1", 1, "json", NULL), DW_INVALID);
    must(dw_store_reply_end(f->b, &end, &err));
    assert_int_equal(end, 1);
    assert_string_equal(replies(f, 1), "");
}

static void a_reply_may_be_nil_or_edn(void **state)
{
    struct fixture *f = *state;
    int64_t one = receive(f->a, "alice", "chat/ask", true);
    int64_t two = receive(f->a, "alice", "chat/ask", true);

    must(dw_store_reply(f->a, one, NULL, 0, "json", &err));
    must(dw_store_reply(f->a, two, ":ok", 3, "edn", &err));
    assert_string_equal(replies(f, 0), "1=nil 2=:ok");
}

static void replies_to_nothing_are_refused(void **state)
{
    struct fixture *f = *state;
    int64_t plain = receive(f->a, "alice", "chat/tell", false);

    assert_int_equal(dw_store_reply(f->a, 99, "1", 1, "json", NULL), DW_INVALID);
    assert_int_equal(dw_store_reply(f->a, plain, "1", 1, "json", NULL), DW_INVALID);
    assert_string_equal(replies(f, 0), "");
}

static void a_reply_with_bad_json_is_refused(void **state)
{
    struct fixture *f = *state;
    int64_t id = receive(f->a, "alice", "chat/ask", true);

    assert_int_equal(dw_store_reply(f->a, id, "oops", 4, "json", NULL), DW_INVALID);
    must(dw_store_reply(f->a, id, "\"ok\"", 4, "json", &err));
}

static int keep_data(void *context, const struct dw_reply *row)
{
    dw_buf_addf(context, "%s", row->data);
    return DW_OK;
}

static void the_reply_to_one_row_can_be_asked_for(void **state)
{
    struct fixture *f = *state;
    int64_t id = receive(f->a, "alice", "chat/ask", true);

    dw_buf_reset(&f->text);
    must(dw_store_reply_get(f->b, id, keep_data, &f->text, &err));
    assert_int_equal(f->text.len, 0);
    must(dw_store_reply(f->a, id, "7", 1, "json", &err));
    must(dw_store_reply_get(f->b, id, keep_data, &f->text, &err));
    assert_string_equal(dw_buf_str(&f->text), "7");
}

static void inbox_rows_are_kept_for_a_day(void **state)
{
    struct fixture *f = *state;
    int64_t id = receive(f->a, "alice", "chat/ask", true);

    must(dw_store_reply(f->a, id, "1", 1, "json", &err));
    keep_house(f->a, dw_clock_wall_ms() + 23 * 3600000LL);
    assert_string_equal(inbox(f, 0), "chat/ask={}");
    assert_string_equal(replies(f, 0), "1=1");
    keep_house(f->a, dw_clock_wall_ms() + 25 * 3600000LL);
    assert_string_equal(inbox(f, 0), "");
    assert_string_equal(replies(f, 0), "");
}

static void a_session_is_found_until_it_expires(void **state)
{
    struct fixture *f = *state;
    struct dw_session session = {.found = false};

    must(dw_store_session_put(f->a, "s1", "alice", "token", "{\"a\":1}", 5000000000000, &err));
    must(dw_store_session(f->b, "s1", 4999999999999, &session, &err));
    assert_true(session.found && session.has_uid && session.has_csrf_token && session.has_handshake_data);
    assert_string_equal(dw_buf_str(&session.uid), "alice");
    assert_string_equal(dw_buf_str(&session.csrf_token), "token");
    assert_string_equal(dw_buf_str(&session.handshake_data), "{\"a\":1}");
    must(dw_store_session(f->b, "s1", 5000000000000, &session, &err));
    assert_false(session.found);
    must(dw_store_session(f->b, "s2", 0, &session, &err));
    assert_false(session.found);
    dw_session_fini(&session);
}

static void a_session_tells_null_from_empty(void **state)
{
    struct fixture *f = *state;
    struct dw_session session = {.found = false};

    must(dw_store_session_put(f->a, "s1", "", NULL, NULL, 0, &err));
    must(dw_store_session(f->b, "s1", 1, &session, &err));
    assert_true(session.found && session.has_uid && !session.has_csrf_token && !session.has_handshake_data);
    must(dw_store_session_put(f->a, "s1", NULL, "t", NULL, 0, &err));
    must(dw_store_session(f->b, "s1", 1, &session, &err));
    assert_true(session.found && !session.has_uid && session.has_csrf_token);
    dw_session_fini(&session);
}

static void a_session_that_expires_in_seconds_is_refused(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(dw_store_session_put(f->a, "s1", "alice", NULL, NULL, 1795508498, NULL), DW_INVALID);
    assert_int_equal(dw_store_session_put(f->a, "s1", "alice", NULL, "{", 0, NULL), DW_INVALID);
    assert_int_equal(dw_store_session_put(f->a, "", "alice", NULL, NULL, 0, NULL), DW_INVALID);
}

static int keep_counter(void *context, const char *name, int64_t value)
{
    dw_buf_addf(context, "%s=%lld ", name, (long long)value);
    return DW_OK;
}

static void counters_add_up_over_stores(void **state)
{
    struct fixture *f = *state;

    must(dw_store_count(f->a, "polls", 2, &err));
    must(dw_store_count(f->b, "polls", 3, &err));
    dw_buf_reset(&f->text);
    must(dw_store_counters(f->a, keep_counter, &f->text, &err));
    assert_string_equal(dw_buf_str(&f->text), "polls=5 ");
}

static void figures_count_the_rows(void **state)
{
    struct fixture *f = *state;
    struct dw_store_figures figures;

    push(f->a, "uid:alice", "t/one", NULL);
    receive(f->a, "alice", "chat/one", false);
    touch(f->a, DW_AJAX, "alice", "c1", true, 1, 2);
    touch(f->a, DW_AJAX, "alice", "c2", false, 1, 2);
    touch(f->a, DW_WS, "bob", "c3", true, 1, 2);
    touch(f->a, DW_WS, NULL, "c4", true, 1, 2);
    must(dw_store_figures(f->b, &figures, &err));
    assert_int_equal(figures.pushes, 1);
    assert_int_equal(figures.inbox, 1);
    assert_int_equal(figures.clients, 4);
    assert_int_equal(figures.connected, 3);
    assert_int_equal(figures.ajax, 1);
    assert_int_equal(figures.ws, 2);
    assert_int_equal(figures.end, 1);
    assert_int_equal(figures.inbox_end, 1);
    assert_int_equal(figures.state_lost_ms, 0);
}

static void housekeeping_counts_what_it_removes(void **state)
{
    struct fixture *f = *state;
    struct dw_removed removed = {.pushes = 0};
    int64_t now = dw_clock_wall_ms();
    struct dw_housework work = {.now_ms = now, .up_ms = now, .chunk = 2, .removed = &removed};
    bool more = true;

    for (int i = 0; i < 5; i++)
        push(f->a, "uid:alice", "t/old", NULL);
    must(dw_store_reply(f->a, receive(f->a, "alice", "chat/ask", true), "1", 1, "json", &err));
    touch(f->a, DW_AJAX, "alice", "c1", true, now, now); /* overdue */
    touch(f->a, DW_AJAX, "alice", "c2", true, now, now + 60000);
    must(dw_store_release(f->a, &work, &more, &err));
    assert_int_equal(removed.departed, 1);
    assert_int_equal(removed.clients, 0);
    must(dw_store_gc(f->a, &work, &more, &err));
    assert_int_equal(removed.pushes + removed.inbox + removed.replies, 0); /* none is old yet */
    work.now_ms = now + (int64_t)25 * 3600000;
    for (more = true; more;)
        must(dw_store_gc(f->a, &work, &more, &err));
    assert_int_equal(removed.pushes, 5);
    assert_int_equal(removed.inbox, 1);
    assert_int_equal(removed.replies, 1);
    work.now_ms = now + RETAIN_MS + 1000;
    must(dw_store_release(f->a, &work, &more, &err));
    assert_int_equal(removed.clients, 1);
    assert_int_equal(removed.departed, 1);
}

const struct CMUnitTest inbox_tests[] = {
    cmocka_unit_test(the_inbox_is_read_by_cursor),
    cmocka_unit_test(a_callback_takes_one_reply),
    cmocka_unit_test(a_reply_may_be_nil_or_edn),
    cmocka_unit_test(replies_to_nothing_are_refused),
    cmocka_unit_test(a_reply_with_bad_json_is_refused),
    cmocka_unit_test(the_reply_to_one_row_can_be_asked_for),
    cmocka_unit_test(inbox_rows_are_kept_for_a_day),
    cmocka_unit_test(a_session_is_found_until_it_expires),
    cmocka_unit_test(a_session_tells_null_from_empty),
    cmocka_unit_test(a_session_that_expires_in_seconds_is_refused),
    cmocka_unit_test(counters_add_up_over_stores),
    cmocka_unit_test(figures_count_the_rows),
    cmocka_unit_test(housekeeping_counts_what_it_removes),
};
const size_t inbox_tests_count = sizeof inbox_tests / sizeof inbox_tests[0];
