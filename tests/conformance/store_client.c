/* Conformance: the client table, claims, release. */
#include "conformance.h"

static struct dw_client get(struct dw_store *store, const char *uid, const char *client_id)
{
    struct dw_client client;

    memset(&client, 0, sizeof client);
    must(dw_store_client_get(store, uid, client_id, &client, &err));
    return client;
}

static int fill(void *context, struct dw_client *client, bool found, uint64_t claim)
{
    assert_false(found);
    assert_int_equal(claim, 0);
    assert_int_equal(client->worker, -1);
    client->epoch = 0xFFFFF;
    client->cursor = 123456789012;
    client->udt = -5;
    client->seen_ms = 1700000000000;
    client->due_ms = 1700000000001;
    client->generation = 3;
    client->worker = 7;
    (void)snprintf(client->packer, sizeof client->packer, "gzip+msgpack");
    *(uint32_t *)context = client->slot;
    return DW_OK;
}

static void a_client_is_remembered_in_full(void **state)
{
    struct fixture *f = *state;
    struct dw_client_key key = {DW_WS, "alice", "c1"};
    struct dw_client client;
    uint32_t slot = 0;

    must(dw_store_client_update(f->a, &key, fill, &slot, &err));
    client = get(f->b, "alice", "c1");
    assert_true(slot > 0);
    assert_int_equal(client.slot, slot);
    assert_int_equal(client.epoch, 0xFFFFF);
    assert_true(client.cursor == 123456789012 && client.udt == -5);
    assert_true(client.seen_ms == 1700000000000 && client.due_ms == 1700000000001);
    assert_int_equal(client.generation, 3);
    assert_int_equal(client.worker, 7);
    assert_false(client.connected);
    assert_string_equal(client.packer, "gzip+msgpack");
}

static int give_up(void *context, struct dw_client *client, bool found, uint64_t claim)
{
    (void)context;
    (void)found;
    (void)claim;
    client->epoch = 99;
    return DW_SUPERSEDED;
}

static void an_update_that_gives_up_changes_nothing(void **state)
{
    struct fixture *f = *state;
    struct dw_client_key key = {DW_AJAX, "alice", "c1"};
    struct dw_client client;

    assert_int_equal(dw_store_client_update(f->a, &key, give_up, NULL, NULL), DW_SUPERSEDED);
    assert_int_equal(dw_store_client_get(f->a, "alice", "c1", &client, NULL), DW_NOTFOUND);
    touch(f->a, DW_AJAX, "alice", "c1", false, 1, 2);
    assert_int_equal(dw_store_client_update(f->a, &key, give_up, NULL, NULL), DW_SUPERSEDED);
    assert_int_equal(get(f->b, "alice", "c1").epoch, 1);
}

static void clients_differ_by_transport_uid_and_id(void **state)
{
    struct fixture *f = *state;

    touch(f->a, DW_AJAX, "alice", "c1", false, 10, 2);
    touch(f->a, DW_WS, "alice", "c1", false, 20, 2);
    touch(f->a, DW_AJAX, "bob", "c1", false, 30, 2);
    touch(f->a, DW_AJAX, NULL, "c1", false, 40, 2);
    touch(f->a, DW_AJAX, "", "c1", false, 50, 2);
    touch(f->a, DW_AJAX, "0", "c1", false, 60, 2);
    touch(f->a, DW_WS, "alice", "c2", false, 70, 2);
    assert_int_equal(get(f->b, "alice", "c1").seen_ms, 10); /* Ajax first */
    assert_int_equal(get(f->b, "bob", "c1").seen_ms, 30);
    assert_int_equal(get(f->b, NULL, "c1").seen_ms, 40);
    assert_int_equal(get(f->b, "", "c1").seen_ms, 50);
    assert_int_equal(get(f->b, "0", "c1").seen_ms, 60);
    assert_int_equal(get(f->b, "alice", "c2").seen_ms, 70);
    assert_int_equal(get(f->b, "alice", "c2").epoch, 1);
}

static int read_queue(void *context, struct dw_client *client, bool found, uint64_t claim)
{
    struct fixture *f = context;
    int64_t end = 0;

    (void)client;
    (void)found;
    (void)claim;
    must(dw_store_end(f->a, &end, &err));
    assert_int_equal(end, 1);
    return DW_OK;
}

static void an_update_may_read_the_queue(void **state)
{
    struct fixture *f = *state;
    struct dw_client_key key = {DW_AJAX, "alice", "c1"};

    push(f->b, "uid:alice", "t/one", NULL);
    must(dw_store_client_update(f->a, &key, read_queue, f, &err));
}

static int expect_claim(void *context, struct dw_client *client, bool found, uint64_t claim)
{
    (void)client;
    assert_true(found);
    assert_true(claim == *(uint64_t *)context);
    return DW_OK;
}

static void an_update_sees_the_claim_of_the_last_answer(void **state)
{
    struct fixture *f = *state;
    struct dw_client_key key = {DW_AJAX, "alice", "c1"};
    uint64_t word = dw_claim_word(1, 42);
    uint32_t slot;

    touch(f->a, DW_AJAX, "alice", "c1", false, 1, 2);
    slot = get(f->a, "alice", "c1").slot;
    dw_store_claim_begin(f->a, slot, 1, DW_CLAIM_NONE);
    assert_true(dw_store_claim_answer(f->a, slot, 1, 42));
    assert_true(dw_store_claim_read(f->b, slot) == word);
    must(dw_store_client_update(f->b, &key, expect_claim, &word, &err));
}

static int peek_elsewhere(void *context, struct dw_client *client, bool found, uint64_t claim)
{
    struct fixture *f = context;
    const struct dw_client_key there = {DW_WS, "alice", "c1"}, nowhere = {DW_WS, "bob", "c1"};
    struct dw_client other = {.slot = 0};
    uint64_t word = 0;

    (void)found;
    (void)claim;
    must(dw_store_client_peek(f->a, &there, &other, &word, &err));
    assert_int_not_equal(other.slot, client->slot);
    assert_int_equal(other.epoch, 1);
    assert_true(word == dw_claim_word(1, 9));
    assert_int_equal(dw_store_client_peek(f->a, &nowhere, &other, &word, NULL), DW_NOTFOUND);
    return DW_OK;
}

static void an_update_may_look_at_the_same_client_over_the_other_transport(void **state)
{
    struct fixture *f = *state;
    struct dw_client_key key = {DW_AJAX, "alice", "c1"};

    touch(f->b, DW_WS, "alice", "c1", true, 1, INT64_MAX);
    assert_true(dw_store_claim_begin(f->b, get(f->b, "alice", "c1").slot, 1, 9));
    must(dw_store_client_update(f->a, &key, peek_elsewhere, f, &err));
}

static void only_the_newest_request_can_claim(void **state)
{
    struct fixture *f = *state;

    touch(f->a, DW_AJAX, "alice", "c1", false, 1, 2);
    uint32_t slot = get(f->a, "alice", "c1").slot;

    assert_true(dw_store_claim_begin(f->a, slot, 5, DW_CLAIM_NONE));
    assert_true(dw_store_claim_begin(f->b, slot, 6, DW_CLAIM_NONE));
    assert_false(dw_store_claim_answer(f->a, slot, 5, 10));
    assert_false(dw_store_claim_begin(f->a, slot, 5, 10));
    assert_int_equal(dw_claim_epoch(dw_store_claim_read(f->a, slot)), 6);
    assert_true(dw_store_claim_answer(f->b, slot, 6, 11));
    assert_false(dw_store_claim_answer(f->b, slot, 6, 12));
    assert_int_equal(dw_claim_upto(dw_store_claim_read(f->a, slot)), 11);
}

static void what_is_proven_on_a_websocket_moves_on_until_a_newer_one_comes(void **state)
{
    struct fixture *f = *state;
    struct dw_client_key key = {DW_WS, "alice", "c1"};
    uint64_t word = dw_claim_word(1, 9);
    uint32_t slot;

    touch(f->a, DW_WS, "alice", "c1", true, 1, INT64_MAX);
    slot = get(f->a, "alice", "c1").slot;
    assert_true(dw_store_claim_begin(f->a, slot, 1, 5));
    assert_true(dw_store_claim_begin(f->a, slot, 1, 9));
    must(dw_store_client_update(f->b, &key, expect_claim, &word, &err));
    assert_true(dw_store_claim_begin(f->b, slot, 2, 9));
    assert_false(dw_store_claim_begin(f->a, slot, 1, 12)); /* a late pong on the older connection */
    assert_int_equal(dw_claim_upto(dw_store_claim_read(f->b, slot)), 9);
}

static void a_slot_is_given_out_again_clean(void **state)
{
    struct fixture *f = *state;
    int64_t now = dw_clock_wall_ms();
    struct dw_client client;
    uint32_t slot;

    touch(f->a, DW_AJAX, "alice", "c1", false, now, now);
    slot = get(f->a, "alice", "c1").slot;
    dw_store_claim_begin(f->a, slot, 1, 5);
    keep_house(f->a, now + RETAIN_MS + 1000);
    assert_int_equal(dw_store_client_get(f->a, "alice", "c1", &client, NULL), DW_NOTFOUND);
    touch(f->b, DW_AJAX, "bob", "c2", false, now, now);
    assert_int_equal(get(f->a, "bob", "c2").slot, slot);
    assert_true(dw_store_claim_read(f->a, slot) == 0);
    touch(f->b, DW_AJAX, "bob", "c3", false, now, now);
    assert_int_equal(get(f->a, "bob", "c3").slot, slot + 1);
}

static void an_overdue_client_is_disconnected_and_kept(void **state)
{
    struct fixture *f = *state;
    int64_t now = dw_clock_wall_ms();

    touch(f->a, DW_AJAX, "alice", "c1", true, now, now + 100);
    keep_house(f->a, now + 99);
    assert_true(get(f->a, "alice", "c1").connected);
    keep_house(f->a, now + 100);
    assert_false(get(f->a, "alice", "c1").connected);
}

/* Left behind when a power cut takes back the last commits of the client table, but not the words. */
static void a_claim_word_from_the_future_holds_nothing_up(void **state)
{
    struct fixture *f = *state;
    int64_t now = dw_clock_wall_ms();
    uint32_t slot, epoch;

    touch(f->a, DW_AJAX, "alice", "c1", true, now, now + 100);
    slot = get(f->a, "alice", "c1").slot;
    epoch = get(f->a, "alice", "c1").epoch;
    assert_true(dw_store_claim_begin(f->a, slot, epoch + 5, 9));
    assert_false(dw_store_claim_begin(f->a, slot, epoch + 1, 3));
    touch(f->b, DW_AJAX, "alice", "c1", true, now, now + 100);
    assert_true(dw_store_claim_begin(f->a, slot, epoch + 1, 3));
    assert_true(dw_store_claim_begin(f->a, slot, epoch + 9, 9));
    keep_house(f->a, now + 100);
    assert_false(get(f->a, "alice", "c1").connected);
}

static void an_answer_counts_as_sent_only_for_its_own_request(void **state)
{
    struct fixture *f = *state;
    uint32_t slot;

    touch(f->a, DW_AJAX, "alice", "c1", false, 1, 2);
    slot = get(f->a, "alice", "c1").slot;
    assert_true(dw_store_claim_begin(f->a, slot, 1, DW_CLAIM_NONE));
    dw_store_claim_sent(f->a, slot, 1);
    assert_false(dw_claim_is_sent(dw_store_claim_read(f->a, slot)));
    assert_true(dw_store_claim_answer(f->a, slot, 1, 42));
    dw_store_claim_sent(f->b, slot, 2);
    assert_false(dw_claim_is_sent(dw_store_claim_read(f->a, slot)));
    dw_store_claim_sent(f->b, slot, 1);
    assert_true(dw_claim_is_sent(dw_store_claim_read(f->a, slot)));
    assert_int_equal(dw_claim_upto(dw_store_claim_read(f->a, slot)), 42);
    assert_int_equal(dw_claim_epoch(dw_store_claim_read(f->a, slot)), 1);
    assert_true(dw_store_claim_begin(f->a, slot, 2, 43));
    assert_false(dw_claim_is_sent(dw_store_claim_read(f->a, slot)));
}

static void an_absent_client_is_forgotten_after_retention(void **state)
{
    struct fixture *f = *state;
    int64_t now = dw_clock_wall_ms();
    struct dw_client client;

    touch(f->a, DW_WS, "alice", "c1", true, now, now + 10 * RETAIN_MS);
    keep_house(f->a, now + 2 * RETAIN_MS);
    assert_true(get(f->a, "alice", "c1").connected);
    must(dw_store_clients_leave(f->a, &(struct dw_departed){DW_WS, "alice", "c1", get(f->a, "alice", "c1").slot, 1}, 1,
                                now + 3 * RETAIN_MS, &err));
    keep_house(f->a, now + 4 * RETAIN_MS - 10);
    assert_false(get(f->a, "alice", "c1").connected);
    keep_house(f->a, now + 4 * RETAIN_MS + 10);
    assert_int_equal(dw_store_client_get(f->a, "alice", "c1", &client, NULL), DW_NOTFOUND);
}

static void leaving_counts_only_for_the_same_request(void **state)
{
    struct fixture *f = *state;
    struct dw_departed gone = {DW_WS, "alice", "c1", 0, 1};

    touch(f->a, DW_WS, "alice", "c1", true, 1, INT64_MAX);
    gone.slot = get(f->a, "alice", "c1").slot;
    touch(f->b, DW_WS, "alice", "c1", true, 1, INT64_MAX);
    must(dw_store_clients_leave(f->a, &gone, 1, 5, &err));
    assert_true(get(f->a, "alice", "c1").connected);
    gone.epoch = 2;
    must(dw_store_clients_leave(f->a, &gone, 1, 5, &err));
    assert_false(get(f->a, "alice", "c1").connected);
}

static void release_tells_when_it_is_due_next(void **state)
{
    const struct dw_housework work = {.now_ms = 900, .up_ms = 400000};
    struct fixture *f = *state;
    int64_t due = 0;

    must(dw_store_release_due(f->a, &work, &due, &err));
    assert_true(due == INT64_MAX);
    touch(f->a, DW_AJAX, "alice", "c1", true, 1000, 500000);
    touch(f->a, DW_AJAX, "bob", "c2", true, 1000, 700000);
    must(dw_store_release_due(f->b, &work, &due, &err));
    assert_int_equal(due, 100000);
    touch(f->a, DW_AJAX, "carol", "c3", false, 1000, 0);
    must(dw_store_release_due(f->b, &work, &due, &err));
    assert_int_equal(due, 100 + RETAIN_MS + 1);
}

static void a_state_made_with_its_queue_is_not_new(void **state)
{
    struct fixture *f = *state;
    bool is_new = true;

    must(dw_store_state_is_new(f->a, dw_clock_wall_ms(), &is_new, &err));
    assert_false(is_new);
}

const struct CMUnitTest client_tests[] = {
    cmocka_unit_test(a_client_is_remembered_in_full),
    cmocka_unit_test(an_update_that_gives_up_changes_nothing),
    cmocka_unit_test(clients_differ_by_transport_uid_and_id),
    cmocka_unit_test(an_update_may_read_the_queue),
    cmocka_unit_test(an_update_sees_the_claim_of_the_last_answer),
    cmocka_unit_test(an_update_may_look_at_the_same_client_over_the_other_transport),
    cmocka_unit_test(only_the_newest_request_can_claim),
    cmocka_unit_test(what_is_proven_on_a_websocket_moves_on_until_a_newer_one_comes),
    cmocka_unit_test(a_slot_is_given_out_again_clean),
    cmocka_unit_test(an_overdue_client_is_disconnected_and_kept),
    cmocka_unit_test(a_claim_word_from_the_future_holds_nothing_up),
    cmocka_unit_test(an_answer_counts_as_sent_only_for_its_own_request),
    cmocka_unit_test(an_absent_client_is_forgotten_after_retention),
    cmocka_unit_test(leaving_counts_only_for_the_same_request),
    cmocka_unit_test(release_tells_when_it_is_due_next),
    cmocka_unit_test(a_state_made_with_its_queue_is_not_new),
};
const size_t client_tests_count = sizeof client_tests / sizeof client_tests[0];
