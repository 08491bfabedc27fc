/* Conformance: pushes, mailboxes, rooms, retention. */
#include "conformance.h"

static void a_new_queue_ends_at_zero(void **state)
{
    struct fixture *f = *state;
    int64_t end = -1;

    must(dw_store_end(f->a, &end, &err));
    assert_int_equal(end, 0);
    must(dw_store_horizon(f->a, &end, &err));
    assert_int_equal(end, 0);
}

static void ids_rise_by_one_in_order_of_commit(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(push(f->a, "uid:alice", "t/one", NULL), 1);
    assert_int_equal(push(f->b, "uid:alice", "t/two", NULL), 2);
    assert_string_equal(mailbox(f, "alice", "c1", 0, 100, NULL), "t/one t/two");
}

static void a_mailbox_has_uid_client_and_everyone_in_order(void **state)
{
    struct fixture *f = *state;

    push(f->a, "client:c1", "t/client", "1");
    push(f->a, "room:*", "t/all", "[2]");
    push(f->a, "uid:alice", "t/uid", "{\"a\":3}");
    push(f->a, "uid:bob", "t/bob", NULL);
    push(f->a, "client:c2", "t/other", NULL);
    assert_string_equal(mailbox(f, "alice", "c1", 0, 100, NULL), "t/client=1 t/all=[2] t/uid={\"a\":3}");
    assert_string_equal(mailbox(f, "bob", "c2", 0, 100, NULL), "t/all=[2] t/bob t/other");
}

static void a_client_of_a_uid_is_not_that_client_of_another(void **state)
{
    struct fixture *f = *state;
    struct dw_push both = {.uid = "alice", .client_id = "c1", .event = "t/both", .format = "json"};

    must(dw_store_push(f->a, &both, NULL, &err));
    both.uid = "";
    both.event = "t/nobodys";
    must(dw_store_push(f->a, &both, NULL, &err));
    assert_string_equal(mailbox(f, "alice", "c1", 0, 100, NULL), "t/both");
    assert_string_equal(mailbox(f, NULL, "c1", 0, 100, NULL), "t/nobodys");
    assert_string_equal(mailbox(f, "alice", "c2", 0, 100, NULL), "");
    assert_string_equal(mailbox(f, "bob", "c1", 0, 100, NULL), "");
}

static void the_empty_uid_is_every_client_without_one(void **state)
{
    struct fixture *f = *state;

    push(f->a, "uid:", "t/nobody", NULL);
    push(f->a, "uid:alice", "t/alice", NULL);
    assert_string_equal(mailbox(f, NULL, "c1", 0, 100, NULL), "t/nobody");
    assert_string_equal(mailbox(f, "alice", "c1", 0, 100, NULL), "t/alice");
}

static void checked_is_the_end_of_the_queue_when_all_was_shown(void **state)
{
    struct fixture *f = *state;
    int64_t checked;

    push(f->a, "uid:alice", "t/one", NULL);
    push(f->a, "uid:bob", "t/two", NULL);
    mailbox(f, "alice", "c1", 0, 100, &checked);
    assert_int_equal(checked, 2);
    assert_string_equal(mailbox(f, "carol", "c3", 0, 100, &checked), "");
    assert_int_equal(checked, 2);
}

static void checked_is_the_last_id_handed_out_when_max_cut_the_list(void **state)
{
    struct fixture *f = *state;
    int64_t checked;

    push(f->a, "uid:alice", "t/one", NULL);
    push(f->a, "uid:bob", "t/bob", NULL);
    push(f->a, "room:*", "t/two", NULL);
    push(f->a, "client:c1", "t/three", NULL);
    assert_string_equal(mailbox(f, "alice", "c1", 0, 2, &checked), "t/one t/two");
    assert_int_equal(checked, 3);
    assert_string_equal(mailbox(f, "alice", "c1", checked, 2, &checked), "t/three");
    assert_int_equal(checked, 4);
}

static void a_cursor_ahead_of_the_end_is_seen_by_comparing(void **state)
{
    struct fixture *f = *state;
    int64_t checked;

    push(f->a, "uid:alice", "t/one", NULL);
    assert_string_equal(mailbox(f, "alice", "c1", 50, 100, &checked), "");
    assert_int_equal(checked, 1);
}

static int stop_at_first(void *context, const struct dw_push *row)
{
    (void)row;
    ++*(int *)context;
    return 1234;
}

static void a_callback_that_returns_non_zero_stops_the_reading(void **state)
{
    struct fixture *f = *state;
    int seen = 0;
    int64_t checked;

    push(f->a, "uid:alice", "t/one", NULL);
    push(f->a, "uid:alice", "t/two", NULL);
    assert_int_equal(dw_store_mailbox(f->a, "alice", "c1", 0, 9, stop_at_first, &seen, &checked, NULL), 1234);
    assert_int_equal(dw_store_pushes(f->a, 0, 9, stop_at_first, &seen, NULL), 1234);
    assert_int_equal(seen, 2);
    assert_string_equal(mailbox(f, "alice", "c1", 0, 100, NULL), "t/one t/two");
}

static int sum_ids(void *context, const struct dw_push *row)
{
    *(int64_t *)context = *(int64_t *)context * 10 + row->id;
    return DW_OK;
}

static void pushes_are_read_whoever_they_are_for(void **state)
{
    struct fixture *f = *state;
    int64_t ids = 0;

    push(f->a, "uid:alice", "t/one", NULL);
    push(f->a, "client:c9", "t/two", NULL);
    push(f->a, "room:lobby", "t/three", NULL);
    push(f->a, "room:*", "t/four", NULL);
    must(dw_store_pushes(f->b, 1, 2, sum_ids, &ids, &err));
    assert_int_equal(ids, 23);
}

/* ---- rooms ---- */

static void a_member_gets_what_was_pushed_while_it_was_one(void **state)
{
    struct fixture *f = *state;

    push(f->a, "room:lobby", "t/before", NULL);
    must(dw_store_member_add(f->a, "lobby", "alice", &err));
    push(f->a, "room:lobby", "t/in", NULL);
    push(f->a, "room:other", "t/elsewhere", NULL);
    must(dw_store_member_remove(f->a, "lobby", "alice", &err));
    push(f->a, "room:lobby", "t/after", NULL);
    assert_string_equal(mailbox(f, "alice", "c1", 0, 100, NULL), "t/in");
}

static void leaving_and_coming_back_leaves_a_gap_and_no_repeat(void **state)
{
    struct fixture *f = *state;

    must(dw_store_member_add(f->a, "lobby", "alice", &err));
    push(f->a, "room:lobby", "t/one", NULL);
    must(dw_store_member_remove(f->a, "lobby", "alice", &err));
    push(f->a, "room:lobby", "t/gap", NULL);
    must(dw_store_member_add(f->a, "lobby", "alice", &err));
    push(f->a, "room:lobby", "t/two", NULL);
    assert_string_equal(mailbox(f, "alice", "c1", 0, 100, NULL), "t/one t/two");
}

static void joining_twice_keeps_the_first_joining(void **state)
{
    struct fixture *f = *state;

    must(dw_store_member_add(f->a, "lobby", "alice", &err));
    push(f->a, "room:lobby", "t/one", NULL);
    must(dw_store_member_add(f->a, "lobby", "alice", &err));
    assert_string_equal(mailbox(f, "alice", "c1", 0, 100, NULL), "t/one");
    must(dw_store_member_remove(f->a, "lobby", "nobody", &err));
}

static void members_of_a_push_are_those_at_its_time(void **state)
{
    struct fixture *f = *state;
    int64_t first;
    int64_t second;

    must(dw_store_member_add(f->a, "lobby", "alice", &err));
    first = push(f->a, "room:lobby", "t/one", NULL);
    must(dw_store_member_add(f->a, "lobby", "bob", &err));
    must(dw_store_member_remove(f->a, "lobby", "alice", &err));
    second = push(f->a, "room:lobby", "t/two", NULL);
    assert_string_equal(members(f, "lobby", first), "alice");
    assert_string_equal(members(f, "lobby", second), "bob");
}

static void the_room_of_everyone_has_no_members(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(dw_store_member_add(f->a, "*", "alice", NULL), DW_INVALID);
    assert_int_equal(dw_store_member_add(f->a, "", "alice", NULL), DW_INVALID);
}

/* ---- refusals ---- */

static void a_push_needs_one_address(void **state)
{
    struct fixture *f = *state;
    struct dw_push both = {.uid = "alice", .room = "lobby", .event = "t/one", .format = "json"};

    assert_int_equal(try_push(f->a, "", "t/one", NULL, "json"), DW_INVALID);
    assert_int_equal(dw_store_push(f->a, &both, NULL, NULL), DW_INVALID);
    assert_int_equal(try_push(f->a, "client:", "t/one", NULL, "json"), DW_INVALID);
    assert_int_equal(try_push(f->a, "room:", "t/one", NULL, "json"), DW_INVALID);
}

static void an_event_is_a_namespaced_keyword_without_colon(void **state)
{
    struct fixture *f = *state;
    static const char *const bad[] = {"",       "one",     ":t/one",    "t/one/two", "/one",  "t/",
                                      "t /one", "t/o\"ne", "t/[1",      "t/(one)",   "t/{}",  "t/o,ne",
                                      "t/o;ne", "t/o@ne",  "t/1one",    "1t/one",    "t/-1",  "t/a:b",
                                      "t/a\nb", "t/a\\b",  "chsk/ping", "#t/one",    "t/o^e", "t/o~e"};
    static const char *const good[] = {"t/one", "my.app-x/new_message!", "t/*->*", "t/+",   "chsk/close",
                                       "t/ja?", "gr\xc3\xbc\xc3\x9f/ok", "t/a'",   "t/&<>", "t/a#b"};

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (try_push(f->a, "uid:alice", bad[i], NULL, "json") != DW_INVALID)
            fail_msg("accepted: %s", bad[i]);
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        if (try_push(f->a, "uid:alice", good[i], NULL, "json") != DW_OK)
            fail_msg("refused: %s", good[i]);
}

static void json_data_must_be_json(void **state)
{
    struct fixture *f = *state;
    static const char *const bad[] = {"",    " ",       "hello",     "{",     "[1,]",  "{\"a\":}", "'a'", "{\"a\" 1}",
                                      "1 2", "\"open",  "nul",       "[1 2]", "{1:2}", "01",       "1.",  "{\"a\":1,}",
                                      "]",   "\"\\x\"", "\"\\u12\"", "tru",   "[}",    ",",        "1e",  "-"};
    static const char *const good[] = {
        "null", " 1 ", "\"hi\"", "[]", "{}", "[1,{\"a\":[true,false]}]", "-0.5e+3", "\"\\u00e9\\n\"", "[[],{}]"};

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (try_push(f->a, "uid:alice", "t/one", bad[i], "json") != DW_INVALID)
            fail_msg("accepted: %s", bad[i]);
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        if (try_push(f->a, "uid:alice", "t/one", good[i], "json") != DW_OK)
            fail_msg("refused: %s", good[i]);
}

static void other_formats_are_taken_as_they_are(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(try_push(f->a, "uid:alice", "t/edn", "{:a #{1 2}}", "edn"), DW_OK);
    assert_int_equal(try_push(f->a, "uid:alice", "t/transit", "[\"^ \"]", "transit"), DW_OK);
    assert_int_equal(try_push(f->a, "uid:alice", "t/xml", "<a/>", "xml"), DW_INVALID);
    assert_int_equal(try_push(f->a, "uid:alice", "t/edn", "", "edn"), DW_INVALID);
    assert_string_equal(mailbox(f, "alice", "c1", 0, 9, NULL), "t/edn={:a #{1 2}} t/transit=[\"^ \"]");
}

static void a_refused_push_uses_up_no_id(void **state)
{
    struct fixture *f = *state;

    push(f->a, "uid:alice", "t/one", NULL);
    assert_int_equal(try_push(f->a, "uid:alice", ":t/one", NULL, "json"), DW_INVALID);
    assert_int_equal(push(f->a, "uid:alice", "t/two", NULL), 2);
}

static void data_over_the_limit_is_refused(void **state)
{
    struct fixture *f = *state;
    static char big[1048576 + 3];
    struct dw_push row = {.uid = "alice", .event = "t/one", .data = big, .data_len = 1048576 + 2, .format = "json"};

    memset(big, 'x', sizeof big);
    big[0] = big[1048577] = '"';
    assert_int_equal(dw_store_push(f->a, &row, NULL, NULL), DW_INVALID);
    big[1048575] = '"';
    row.data_len = 1048576;
    assert_int_equal(dw_store_push(f->a, &row, NULL, NULL), DW_OK);
}

/* ---- retention ---- */

static void retention_removes_old_pushes_and_keeps_the_end(void **state)
{
    struct fixture *f = *state;
    int64_t end;
    int64_t horizon;

    for (int i = 0; i < 10; i++)
        push(f->a, "uid:alice", "t/old", NULL);
    keep_house(f->a, dw_clock_wall_ms() + RETAIN_MS + 1000);
    assert_string_equal(mailbox(f, "alice", "c1", 0, 100, NULL), "");
    must(dw_store_end(f->b, &end, &err));
    must(dw_store_horizon(f->b, &horizon, &err));
    assert_int_equal(end, 10);
    assert_int_equal(horizon, 10);
    assert_int_equal(push(f->a, "uid:alice", "t/new", NULL), 11);
    assert_string_equal(mailbox(f, "alice", "c1", 0, 100, NULL), "t/new");
}

static void retention_keeps_younger_pushes_and_memberships(void **state)
{
    struct fixture *f = *state;
    int64_t horizon;

    must(dw_store_member_add(f->a, "lobby", "alice", &err));
    push(f->a, "room:lobby", "t/one", NULL);
    must(dw_store_member_remove(f->a, "lobby", "alice", &err));
    keep_house(f->a, dw_clock_wall_ms() + RETAIN_MS / 2);
    assert_string_equal(mailbox(f, "alice", "c1", 0, 100, NULL), "t/one");
    must(dw_store_horizon(f->b, &horizon, &err));
    assert_int_equal(horizon, 0);
}

static void the_version_changes_with_every_row_by_whomever(void **state)
{
    struct fixture *f = *state;
    uint32_t before;
    uint32_t after;

    must(dw_store_version(f->a, &before, &err));
    must(dw_store_version(f->a, &after, &err));
    assert_int_equal(before, after);
    push(f->a, "uid:alice", "t/own", NULL);
    must(dw_store_version(f->a, &after, &err));
    assert_int_not_equal(before, after);
    must(dw_store_version(f->a, &before, &err));
    push(f->b, "uid:alice", "t/other", NULL);
    must(dw_store_version(f->a, &after, &err));
    assert_int_not_equal(before, after);
}

static void the_version_ignores_commits_that_bring_no_rows_to_wait_for(void **state)
{
    struct fixture *f = *state;
    const struct dw_housework work = {.now_ms = dw_clock_wall_ms(), .chunk = 100};
    uint32_t before;
    uint32_t after;

    push(f->b, "uid:alice", "t/one", NULL);
    must(dw_store_checkpoint(f->b, &work, &err));
    must(dw_store_version(f->a, &before, &err));
    must(dw_store_member_add(f->b, "lobby", "alice", &err)); /* in SQLite it also starts the WAL anew */
    must(dw_store_version(f->a, &after, &err));
    assert_int_equal(before, after);
    push(f->b, "uid:alice", "t/two", NULL);
    must(dw_store_version(f->a, &after, &err));
    assert_int_not_equal(before, after);
}

static void client_updates_wake_nobody(void **state)
{
    struct fixture *f = *state;
    uint32_t before;
    uint32_t after;

    must(dw_store_version(f->a, &before, &err));
    touch(f->b, DW_AJAX, "alice", "c1", false, 1, 2);
    must(dw_store_version(f->a, &after, &err));
    assert_int_equal(before, after);
}

const struct CMUnitTest queue_tests[] = {
    cmocka_unit_test(a_new_queue_ends_at_zero),
    cmocka_unit_test(ids_rise_by_one_in_order_of_commit),
    cmocka_unit_test(a_mailbox_has_uid_client_and_everyone_in_order),
    cmocka_unit_test(the_empty_uid_is_every_client_without_one),
    cmocka_unit_test(checked_is_the_end_of_the_queue_when_all_was_shown),
    cmocka_unit_test(checked_is_the_last_id_handed_out_when_max_cut_the_list),
    cmocka_unit_test(a_cursor_ahead_of_the_end_is_seen_by_comparing),
    cmocka_unit_test(a_callback_that_returns_non_zero_stops_the_reading),
    cmocka_unit_test(pushes_are_read_whoever_they_are_for),
    cmocka_unit_test(a_member_gets_what_was_pushed_while_it_was_one),
    cmocka_unit_test(leaving_and_coming_back_leaves_a_gap_and_no_repeat),
    cmocka_unit_test(joining_twice_keeps_the_first_joining),
    cmocka_unit_test(members_of_a_push_are_those_at_its_time),
    cmocka_unit_test(the_room_of_everyone_has_no_members),
    cmocka_unit_test(a_push_needs_one_address),
    cmocka_unit_test(a_client_of_a_uid_is_not_that_client_of_another),
    cmocka_unit_test(an_event_is_a_namespaced_keyword_without_colon),
    cmocka_unit_test(json_data_must_be_json),
    cmocka_unit_test(other_formats_are_taken_as_they_are),
    cmocka_unit_test(a_refused_push_uses_up_no_id),
    cmocka_unit_test(data_over_the_limit_is_refused),
    cmocka_unit_test(retention_removes_old_pushes_and_keeps_the_end),
    cmocka_unit_test(retention_keeps_younger_pushes_and_memberships),
    cmocka_unit_test(the_version_changes_with_every_row_by_whomever),
    cmocka_unit_test(the_version_ignores_commits_that_bring_no_rows_to_wait_for),
    cmocka_unit_test(client_updates_wake_nobody),
};
const size_t queue_tests_count = sizeof queue_tests / sizeof queue_tests[0];
