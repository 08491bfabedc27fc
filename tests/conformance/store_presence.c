/* Conformance: presence, and workers that come and go. */
#include "conformance.h"

static void presence_opens_and_closes_once(void **state)
{
    struct fixture *f = *state;

    touch(f->a, DW_AJAX, "alice", "c1", true, 1, INT64_MAX);
    sync_presence(f->a);
    sync_presence(f->b);
    assert_string_equal(online(f), "alice=0ws+1ajax");
    touch(f->b, DW_AJAX, "alice", "c1", false, 1, INT64_MAX);
    sync_presence(f->b);
    sync_presence(f->a);
    assert_string_equal(online(f), "");
    assert_string_equal(inbox(f, 0), "+=\"alice\" -=\"alice\"");
}

static void several_clients_of_one_uid_are_one_presence(void **state)
{
    struct fixture *f = *state;

    touch(f->a, DW_AJAX, "alice", "c1", true, 1, INT64_MAX);
    sync_presence(f->a);
    touch(f->a, DW_WS, "alice", "c2", true, 1, INT64_MAX);
    touch(f->a, DW_WS, "alice", "c3", true, 1, INT64_MAX);
    sync_presence(f->a);
    assert_string_equal(online(f), "alice=2ws+1ajax");
    touch(f->a, DW_AJAX, "alice", "c1", false, 1, INT64_MAX);
    sync_presence(f->a);
    assert_string_equal(online(f), "alice=2ws+0ajax");
    assert_string_equal(inbox(f, 0), "+=\"alice\"");
}

static void a_change_that_is_undone_before_the_sync_is_none(void **state)
{
    struct fixture *f = *state;

    touch(f->a, DW_AJAX, "alice", "c1", true, 1, INT64_MAX);
    touch(f->a, DW_AJAX, "alice", "c1", false, 1, INT64_MAX);
    sync_presence(f->a);
    assert_string_equal(inbox(f, 0), "");
}

static void clients_without_uid_are_nobodys_presence(void **state)
{
    struct fixture *f = *state;

    touch(f->a, DW_AJAX, NULL, "c1", true, 1, INT64_MAX);
    sync_presence(f->a);
    assert_string_equal(online(f), "");
    assert_string_equal(inbox(f, 0), "");
}

static void a_uid_is_quoted_as_json(void **state)
{
    struct fixture *f = *state;

    touch(f->a, DW_AJAX, "a\"b\\c", "c1", true, 1, INT64_MAX);
    sync_presence(f->a);
    assert_string_equal(inbox(f, 0), "+=\"a\\\"b\\\\c\"");
}

static void an_overdue_client_closes_its_uid(void **state)
{
    struct fixture *f = *state;
    int64_t now = dw_clock_wall_ms();

    touch(f->a, DW_AJAX, "alice", "c1", true, now, now + 10);
    sync_presence(f->a);
    keep_house(f->b, now + 10);
    sync_presence(f->b);
    assert_string_equal(online(f), "");
    assert_string_equal(inbox(f, 0), "+=\"alice\" -=\"alice\"");
}

static void many_uids_are_synced_in_several_steps(void **state)
{
    struct fixture *f = *state;
    struct dw_store_figures figures;
    char name[32];

    for (int i = 0; i < 150; i++) {
        (void)snprintf(name, sizeof name, "u%d", i);
        touch(f->a, DW_AJAX, name, name, true, 1, INT64_MAX);
    }
    sync_presence(f->a);
    must(dw_store_figures(f->b, &figures, &err));
    assert_int_equal(figures.online, 150);
    assert_int_equal(figures.inbox, 150);
}

const struct CMUnitTest presence_tests[] = {
    cmocka_unit_test(presence_opens_and_closes_once),
    cmocka_unit_test(several_clients_of_one_uid_are_one_presence),
    cmocka_unit_test(a_change_that_is_undone_before_the_sync_is_none),
    cmocka_unit_test(clients_without_uid_are_nobodys_presence),
    cmocka_unit_test(a_uid_is_quoted_as_json),
    cmocka_unit_test(an_overdue_client_closes_its_uid),
    cmocka_unit_test(many_uids_are_synced_in_several_steps),
};
const size_t presence_tests_count = sizeof presence_tests / sizeof presence_tests[0];

/* ---- workers ---- */

struct hold {
    int32_t worker;
    int64_t due_ms;
};

static int hold_poll(void *context, struct dw_client *client, bool found, uint64_t claim)
{
    const struct hold *h = context;

    (void)found;
    (void)claim;
    client->epoch++;
    client->connected = true;
    client->worker = h->worker;
    client->due_ms = h->due_ms;
    client->seen_ms = dw_clock_wall_ms();
    return DW_OK;
}

static int list_worker(void *context, const struct dw_worker *worker)
{
    dw_buf_addf(context, "%d:%s:%u ", worker->worker, worker->alive ? "alive" : "dead", worker->parked);
    return DW_OK;
}

static const char *list_workers(struct fixture *f)
{
    dw_buf_reset(&f->text);
    must(dw_store_workers(f->a, list_worker, &f->text, &err));
    return dw_buf_str(&f->text);
}

static void workers_get_different_numbers(void **state)
{
    struct fixture *f = *state;
    int32_t a = -1;
    int32_t b = -1;
    int32_t again = -1;

    must(dw_store_worker_join(f->a, &a, &err));
    must(dw_store_worker_join(f->b, &b, &err));
    must(dw_store_worker_join(f->a, &again, &err));
    assert_true(a >= 0 && b >= 0 && a != b);
    assert_int_equal(a, again);
}

static void holders_are_live_workers_with_parked_polls(void **state)
{
    struct fixture *f = *state;
    int32_t a = -1;
    int32_t b = -1;
    uint32_t holders = 9;

    must(dw_store_worker_join(f->a, &a, &err));
    must(dw_store_worker_join(f->b, &b, &err));
    must(dw_store_holders(f->a, -1, &holders, &err));
    assert_int_equal(holders, 0);
    dw_store_worker_parked(f->a, a, 3);
    dw_store_worker_parked(f->b, b, 1);
    must(dw_store_holders(f->a, -1, &holders, &err));
    assert_int_equal(holders, 2);
    must(dw_store_holders(f->a, a, &holders, &err));
    assert_int_equal(holders, 1);
    assert_string_equal(list_workers(f), "0:alive:3 1:alive:1 ");
    dw_store_kill(f->b);
    must(dw_store_holders(f->a, -1, &holders, &err));
    assert_int_equal(holders, 1);
    assert_string_equal(list_workers(f), "0:alive:3 1:dead:0 ");
    f->b = f->backend->open(f->world);
}

static void polls_that_a_worker_has_lent_are_counted_by_anybody_and_make_it_a_holder(void **state)
{
    struct fixture *f = *state;
    int32_t a = -1;
    int32_t b = -1;
    uint32_t holders = 9;

    must(dw_store_worker_join(f->a, &a, &err));
    must(dw_store_worker_join(f->b, &b, &err));
    assert_int_equal(dw_store_worker_lent(f->a, a, 0), 0);
    assert_int_equal(dw_store_worker_lent(f->a, a, 2), 2);
    dw_store_worker_parked(f->a, a, 7);
    assert_int_equal(dw_store_worker_lent(f->b, a, -1), 1);
    assert_string_equal(list_workers(f), "0:alive:7 1:alive:0 ");
    dw_store_worker_parked(f->a, a, 0);
    must(dw_store_holders(f->b, b, &holders, &err));
    assert_int_equal(holders, 1);
    assert_int_equal(dw_store_worker_lent(f->b, a, -DW_LENT_MAX), 0);
    assert_int_equal(dw_store_worker_lent(f->a, a, DW_LENT_MAX + 1), DW_LENT_MAX);
    assert_int_equal(dw_store_worker_lent(f->a, a, -DW_LENT_MAX), 0);
    must(dw_store_holders(f->b, b, &holders, &err));
    assert_int_equal(holders, 0);
}

static void a_worker_s_websockets_are_its_connected_clients_over_that_transport(void **state)
{
    struct fixture *f = *state;
    const struct dw_client_key polls = {DW_AJAX, "alice", "c1"}, one = {DW_WS, "alice", "c1"},
                               two = {DW_WS, NULL, "c2"};
    struct hold hold = {-1, INT64_MAX};
    struct dw_departed gone = {.transport = DW_WS, .uid = "alice", .client_id = "c1"};
    struct dw_client client = {.slot = 0};
    uint64_t claim;
    int64_t sockets = 9;

    must(dw_store_worker_join(f->b, &hold.worker, &err));
    must(dw_store_client_update(f->b, &polls, hold_poll, &hold, &err));
    must(dw_store_worker_sockets(f->a, hold.worker, &sockets, &err));
    assert_int_equal(sockets, 0);
    must(dw_store_client_update(f->b, &one, hold_poll, &hold, &err));
    must(dw_store_client_update(f->b, &two, hold_poll, &hold, &err));
    must(dw_store_worker_sockets(f->a, hold.worker, &sockets, &err));
    assert_int_equal(sockets, 2);
    must(dw_store_worker_sockets(f->a, hold.worker + 1, &sockets, &err));
    assert_int_equal(sockets, 0);
    must(dw_store_client_peek(f->b, &one, &client, &claim, &err));
    gone.slot = client.slot;
    gone.epoch = client.epoch;
    must(dw_store_clients_leave(f->b, &gone, 1, dw_clock_wall_ms(), &err));
    must(dw_store_worker_sockets(f->a, hold.worker, &sockets, &err));
    assert_int_equal(sockets, 1);
}

static void clients_of_a_killed_worker_get_their_grace_and_leave(void **state)
{
    struct fixture *f = *state;
    struct dw_client_key key = {DW_AJAX, "alice", "c1"};
    int64_t now = dw_clock_wall_ms();
    struct hold hold = {-1, now + 3600000};
    struct dw_client client;

    must(dw_store_worker_join(f->b, &hold.worker, &err));
    must(dw_store_client_update(f->b, &key, hold_poll, &hold, &err));
    sync_presence(f->b);
    keep_house(f->a, now);
    must(dw_store_client_get(f->a, "alice", "c1", &client, &err));
    assert_int_equal(client.worker, hold.worker); /* alive: nothing happens */
    dw_store_kill(f->b);
    keep_house(f->a, now);
    must(dw_store_client_get(f->a, "alice", "c1", &client, &err));
    assert_true(client.connected && client.worker == -1);
    assert_true(client.due_ms == now + 5000);
    keep_house(f->a, now + 5000);
    sync_presence(f->a);
    f->b = f->backend->open(f->world);
    assert_string_equal(inbox(f, 0), "+=\"alice\" -=\"alice\"");
}

static void a_websocket_is_held_as_long_as_its_worker_lives(void **state)
{
    struct fixture *f = *state;
    struct dw_client_key key = {DW_WS, "alice", "c1"};
    int64_t now = dw_clock_wall_ms();
    struct hold hold = {-1, INT64_MAX};
    struct dw_client client;
    int64_t due = 0;

    must(dw_store_worker_join(f->b, &hold.worker, &err));
    must(dw_store_client_update(f->b, &key, hold_poll, &hold, &err));
    sync_presence(f->b);
    must(dw_store_release_due(f->a, &due, &err));
    assert_true(due == INT64_MAX);
    keep_house(f->a, now + 100 * RETAIN_MS);
    assert_string_equal(online(f), "alice=1ws+0ajax");
    dw_store_kill(f->b);
    f->b = f->backend->open(f->world);
    keep_house(f->a, now);
    must(dw_store_client_get(f->a, "alice", "c1", &client, &err));
    assert_true(client.connected && client.due_ms == now + 2500);
    keep_house(f->a, now + 2500);
    sync_presence(f->a);
    assert_string_equal(online(f), "");
}

static void a_killed_workers_number_is_free_again_once_released(void **state)
{
    struct fixture *f = *state;
    struct dw_removed removed = {.workers = 0};
    struct dw_housework work = {.now_ms = dw_clock_wall_ms(), .removed = &removed};
    bool more;
    int32_t first = -1;
    int32_t next = -1;

    must(dw_store_worker_join(f->b, &first, &err));
    dw_store_kill(f->b);
    f->b = f->backend->open(f->world);
    must(dw_store_worker_join(f->b, &next, &err));
    assert_int_not_equal(first, next); /* its clients are still to be released */
    must(dw_store_release(f->a, &work, &more, &err));
    assert_int_equal(removed.workers, 1);
    must(dw_store_worker_join(f->a, &next, &err));
    assert_int_equal(first, next);
}

static void one_store_keeps_house_at_a_time(void **state)
{
    struct fixture *f = *state;

    assert_true(dw_store_housekeeper(f->a));
    assert_true(dw_store_housekeeper(f->a));
    assert_false(dw_store_housekeeper(f->b));
    dw_store_housekeeper_leave(f->b); /* it is not its to leave */
    assert_true(dw_store_housekeeper(f->a));
    dw_store_housekeeper_leave(f->a);
    assert_true(dw_store_housekeeper(f->b));
    assert_false(dw_store_housekeeper(f->a));
    dw_store_housekeeper_leave(f->b);
    assert_true(dw_store_housekeeper(f->a));
    assert_false(dw_store_housekeeper(f->b));
    dw_store_kill(f->a);
    assert_true(dw_store_housekeeper(f->b));
    f->a = f->backend->open(f->world);
    assert_false(dw_store_housekeeper(f->a));
}

const struct CMUnitTest worker_tests[] = {
    cmocka_unit_test(workers_get_different_numbers),
    cmocka_unit_test(holders_are_live_workers_with_parked_polls),
    cmocka_unit_test(polls_that_a_worker_has_lent_are_counted_by_anybody_and_make_it_a_holder),
    cmocka_unit_test(a_worker_s_websockets_are_its_connected_clients_over_that_transport),
    cmocka_unit_test(clients_of_a_killed_worker_get_their_grace_and_leave),
    cmocka_unit_test(a_websocket_is_held_as_long_as_its_worker_lives),
    cmocka_unit_test(a_killed_workers_number_is_free_again_once_released),
    cmocka_unit_test(one_store_keeps_house_at_a_time),
};
const size_t worker_tests_count = sizeof worker_tests / sizeof worker_tests[0];
