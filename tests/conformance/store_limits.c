/* Conformance: what clients can make the files hold has bounds. */
#include "conformance.h"

#include "hub/serve_internal.h"

static struct dw_store *limited(const struct fixture *f, const struct dw_store_limits *limits)
{
    return f->backend->open(f->world, limits);
}

/* ---- the inbox ---- */

static int try_receive(struct dw_store *store, const char *uid, const char *client_id, size_t bytes)
{
    static const char zeros[1024];
    struct dw_inbox row = {.uid = uid,
                           .client_id = client_id,
                           .event = "t/one",
                           .data = "{}",
                           .data_len = 2,
                           .format = "json",
                           .received_at = dw_clock_wall_ms(),
                           .raw = zeros,
                           .raw_len = bytes};
    struct dw_err err = {.code = 0};
    int rc = dw_store_inbox_add(store, &row, NULL, NULL, NULL, &err);

    if (rc != DW_OK)
        assert_true(err.code == rc && err.text[0] != '\0');
    return rc;
}

static void a_uid_has_so_many_rows_in_the_inbox(void **state)
{
    struct fixture *f = *state;
    const struct dw_store_limits limits = {.inbox_uid_rows = 3};
    struct dw_store *store = limited(f, &limits);

    receive(f->a, "alice", "t/unlimited", false); /* counts, whoever added it */
    assert_int_equal(try_receive(store, "alice", "c1", 1), DW_OK);
    assert_int_equal(try_receive(store, "alice", "c2", 1), DW_OK);
    assert_int_equal(try_receive(store, "alice", "c3", 1), DW_QUOTA);
    assert_int_equal(try_receive(store, "bob", "c1", 1), DW_OK);
    assert_string_equal(inbox(f, 0), "t/unlimited={} t/one={} t/one={} t/one={}");
    dw_store_close(store);
}

static void a_uid_has_so_many_bytes_in_the_inbox(void **state)
{
    struct fixture *f = *state;
    const struct dw_store_limits limits = {.inbox_uid_bytes = 2 * (5 + 2 + 100)};
    struct dw_store *store = limited(f, &limits);

    assert_int_equal(try_receive(store, "alice", "c1", 100), DW_OK);
    assert_int_equal(try_receive(store, "alice", "c1", 101), DW_QUOTA);
    assert_int_equal(try_receive(store, "alice", "c1", 100), DW_OK);
    assert_int_equal(try_receive(store, "alice", "c1", 0), DW_QUOTA);
    assert_int_equal(try_receive(store, "bob", "c1", 200), DW_OK);
    dw_store_close(store);
}

static void clients_without_uid_count_by_themselves_and_together(void **state)
{
    struct fixture *f = *state;
    const struct dw_store_limits limits = {.inbox_uid_rows = 2, .inbox_rows = 8};
    struct dw_store *store = limited(f, &limits);

    assert_int_equal(try_receive(store, NULL, "c1", 1), DW_OK);
    assert_int_equal(try_receive(store, NULL, "c1", 1), DW_OK);
    assert_int_equal(try_receive(store, NULL, "c1", 1), DW_QUOTA);
    assert_int_equal(try_receive(store, "c1", "c1", 1), DW_OK); /* a uid of that name is another */
    assert_int_equal(try_receive(store, NULL, "c2", 1), DW_OK);
    assert_int_equal(try_receive(store, NULL, "c3", 1), DW_OK);
    assert_int_equal(try_receive(store, NULL, "c4", 1), DW_CROWDED); /* half of it */
    assert_int_equal(try_receive(store, "alice", "c4", 1), DW_OK);
    assert_int_equal(try_receive(store, "bob", "c4", 1), DW_OK);
    assert_int_equal(try_receive(store, "bob", "c4", 1), DW_OK);
    assert_int_equal(try_receive(store, "carol", "c4", 1), DW_CROWDED);
    dw_store_close(store);
}

static void what_is_deleted_makes_room(void **state)
{
    struct fixture *f = *state;
    const struct dw_store_limits limits = {.inbox_uid_rows = 2, .inbox_rows = 3};
    struct dw_store *store = limited(f, &limits);

    assert_int_equal(try_receive(store, "alice", "c1", 1), DW_OK);
    assert_int_equal(try_receive(store, "alice", "c1", 1), DW_OK);
    assert_int_equal(try_receive(store, NULL, "c1", 1), DW_OK);
    assert_int_equal(try_receive(store, "alice", "c1", 1), DW_QUOTA);
    assert_int_equal(try_receive(store, "bob", "c1", 1), DW_CROWDED);
    keep_house(f->a, dw_clock_wall_ms() + 25 * 3600000LL);
    assert_string_equal(inbox(f, 0), "");
    assert_int_equal(try_receive(store, "alice", "c1", 1), DW_OK);
    assert_int_equal(try_receive(store, "alice", "c1", 1), DW_OK);
    assert_int_equal(try_receive(store, "alice", "c1", 1), DW_QUOTA);
    assert_int_equal(try_receive(store, NULL, "c1", 1), DW_OK);
    dw_store_close(store);
}

/* ---- clients ---- */

static bool is_known(const struct fixture *f, const char *uid, const char *client_id)
{
    struct dw_client client;

    return dw_store_client_get(f->b, uid, client_id, &client, NULL) == DW_OK;
}

/* As the hub numbers a client's requests. */
static int bump(void *context, struct dw_client *client, bool found, uint64_t claim)
{
    struct dw_chsk state = dw_serve_state(client, found);

    (void)context;
    if (!found)
        assert_int_equal(claim, 0);
    state.epoch = (state.epoch + 1) & DW_EPOCH_MASK;
    dw_serve_keep(client, &state);
    client->seen_ms = 1000;
    client->connected = true;
    client->due_ms = 5000;
    return DW_OK;
}

static int come(struct dw_store *store, const char *uid, const char *client_id)
{
    const struct dw_client_key key = {DW_AJAX, uid, client_id};
    struct dw_err err = {.code = 0};

    return dw_store_client_update(store, &key, bump, NULL, &err);
}

static void a_new_client_takes_the_place_of_its_uids_oldest_absent_one(void **state)
{
    struct fixture *f = *state;
    const struct dw_store_limits limits = {.clients_per_uid = 2};
    struct dw_store *store = limited(f, &limits);

    touch(f->a, DW_AJAX, "alice", "middle", false, 20, 1);
    touch(f->a, DW_WS, "alice", "oldest", false, 10, 1);
    touch(f->a, DW_AJAX, "bob", "older", false, 5, 1);
    touch(f->a, DW_AJAX, "alice", "here", true, 1, 9000);
    assert_int_equal(come(store, "alice", "new"), DW_OK);
    assert_int_equal(dw_store_clients_replaced(store), 1);
    assert_false(is_known(f, "alice", "oldest"));
    assert_true(is_known(f, "alice", "middle") && is_known(f, "alice", "here") && is_known(f, "alice", "new"));
    assert_true(is_known(f, "bob", "older"));
    assert_int_equal(come(store, "alice", "new"), DW_OK); /* is known, takes no place */
    assert_int_equal(come(store, "alice", "next"), DW_OK);
    assert_int_equal(dw_store_clients_replaced(store), 1);
    dw_store_close(store);
}

static void the_rows_of_clients_have_a_bound(void **state)
{
    struct fixture *f = *state;
    const struct dw_store_limits limits = {.clients = 4};
    struct dw_store *store = limited(f, &limits);

    touch(store, DW_AJAX, "alice", "absent", false, 1, 1);
    touch(store, DW_AJAX, NULL, "new", false, 30, 1);
    touch(store, DW_AJAX, NULL, "old", false, 20, 1);
    touch(store, DW_AJAX, "alice", "here", true, 1, 9000);
    assert_int_equal(come(store, "bob", "c1"), DW_OK);
    assert_false(is_known(f, NULL, "old")); /* those without uid first */
    assert_int_equal(come(store, NULL, "c2"), DW_OK);
    assert_false(is_known(f, NULL, "new"));
    assert_int_equal(come(store, NULL, "c3"), DW_OK);
    assert_false(is_known(f, "alice", "absent"));
    assert_int_equal(come(store, "bob", "c4"), DW_CROWDED);
    assert_int_equal(come(store, "alice", "here"), DW_OK);
    assert_int_equal(dw_store_clients_replaced(store), 3);
    dw_store_close(store);
}

static int leave_as(void *context, struct dw_client *client, bool found, uint64_t claim)
{
    (void)found;
    (void)claim;
    client->epoch = *(const uint32_t *)context;
    client->connected = false;
    client->seen_ms = 1;
    return DW_OK;
}

/* `claimed`: the number in the claim word, which a power cut may have left ahead of the row. */
static void replace_one_of(struct fixture *f, uint32_t epoch, uint32_t claimed)
{
    const struct dw_store_limits limits = {.clients_per_uid = 1};
    const struct dw_client_key key = {DW_AJAX, "alice", "old"}, came = {DW_AJAX, "alice", "new"};
    struct dw_store *store = limited(f, &limits);
    struct dw_client old, new;

    must(dw_store_client_update(store, &key, leave_as, &epoch, &err));
    must(dw_store_client_update(store, &key, leave_as, &epoch, &err)); /* takes a newer claim away */
    must(dw_store_client_get(store, "alice", "old", &old, &err));
    assert_true(dw_store_claim_begin(store, old.slot, claimed, 7));
    assert_int_equal(come(store, "alice", "new"), DW_OK);
    must(dw_store_client_get(store, "alice", "new", &new, &err));
    assert_int_equal(new.slot, old.slot);
    assert_true(dw_store_claim_begin(store, new.slot, new.epoch, DW_CLAIM_NONE));
    assert_false(dw_store_claim_begin(store, old.slot, old.epoch, 9));
    dw_store_claim_sent(store, old.slot, old.epoch);
    assert_false(dw_claim_is_sent(dw_store_claim_read(store, new.slot)));
    must(dw_store_client_update(store, &came, leave_as, &new.epoch, &err)); /* for the next round */
    dw_store_close(store);
}

static void a_replaced_clients_claims_are_older_than_its_successors(void **state)
{
    struct fixture *f = *state;
    uint32_t now = (uint32_t)(dw_clock_mono_ms() & DW_EPOCH_MASK), half = 1u << (DW_EPOCH_BITS - 1);

    replace_one_of(f, 0, 0);
    replace_one_of(f, DW_EPOCH_MASK - 1, DW_EPOCH_MASK - 1); /* its successor is the last one before 0 */
    replace_one_of(f, now, now);
    replace_one_of(f, (now + 1000) & DW_EPOCH_MASK, (now + 1000) & DW_EPOCH_MASK); /* long ago, modulo 2^20 */
    replace_one_of(f, (now + half) & DW_EPOCH_MASK, (now + half) & DW_EPOCH_MASK);
    replace_one_of(f, 5, 9);
}

static int refuse(void *context, struct dw_client *client, bool found, uint64_t claim)
{
    (void)context;
    (void)client;
    (void)claim;
    assert_false(found);
    return DW_QUOTA;
}

static void a_client_that_is_refused_replaces_nobody(void **state)
{
    struct fixture *f = *state;
    const struct dw_store_limits limits = {.clients_per_uid = 1};
    const struct dw_client_key key = {DW_AJAX, "alice", "new"};
    struct dw_store *store = limited(f, &limits);
    struct dw_client old;
    uint64_t word;

    touch(store, DW_AJAX, "alice", "old", false, 1, 1);
    must(dw_store_client_get(store, "alice", "old", &old, &err));
    assert_true(dw_store_claim_begin(store, old.slot, old.epoch, 7));
    word = dw_store_claim_read(store, old.slot);
    assert_int_equal(dw_store_client_update(store, &key, refuse, NULL, NULL), DW_QUOTA);
    assert_true(is_known(f, "alice", "old") && !is_known(f, "alice", "new"));
    assert_true(dw_store_claim_read(store, old.slot) == word);
    assert_int_equal(dw_store_clients_replaced(store), 0);
    dw_store_close(store);
}

static int never(void *context, struct dw_client *client, bool found, uint64_t claim)
{
    (void)context;
    (void)client;
    (void)found;
    (void)claim;
    fail_msg("called for a client that has no row");
    return DW_OK;
}

static void to_change_a_client_that_has_gone_takes_no_place(void **state)
{
    struct fixture *f = *state;
    const struct dw_store_limits limits = {.clients = 2, .clients_per_uid = 1};
    const struct dw_client_key gone = {DW_AJAX, "alice", "gone"}, here = {DW_AJAX, "bob", "here"};
    struct dw_store *store = limited(f, &limits);
    struct dw_client client;
    struct dw_err said = {0};
    uint32_t epoch = 77;

    touch(store, DW_AJAX, "bob", "here", true, 1, 9000);
    touch(store, DW_AJAX, "alice", "absent", false, 1, 1);
    assert_int_equal(dw_store_client_change(store, &gone, never, NULL, &said), DW_NOTFOUND);
    assert_int_equal(said.code, DW_NOTFOUND);
    assert_true(is_known(f, "alice", "absent"));
    touch(store, DW_AJAX, "alice", "absent", true, 1, 9000);
    assert_int_equal(dw_store_client_change(store, &gone, never, NULL, NULL), DW_NOTFOUND); /* and is not crowded */
    assert_int_equal(dw_store_client_change(store, &here, leave_as, &epoch, NULL), DW_OK);
    must(dw_store_client_get(f->b, "bob", "here", &client, &err));
    assert_true(client.epoch == 77 && !client.connected);
    assert_int_equal(dw_store_clients_replaced(store), 0);
    dw_store_close(store);
}

static void the_connected_clients_of_a_uid_can_be_counted(void **state)
{
    struct fixture *f = *state;
    int64_t count = -1;

    touch(f->a, DW_AJAX, "alice", "c1", true, 1, 2);
    touch(f->a, DW_WS, "alice", "c2", true, 1, 2);
    touch(f->a, DW_WS, "alice", "c3", false, 1, 2);
    touch(f->a, DW_WS, "bob", "c4", true, 1, 2);
    must(dw_store_clients_connected(f->b, "alice", "c9", 10, &count, &err));
    assert_int_equal(count, 2);
    must(dw_store_clients_connected(f->b, "alice", "c2", 10, &count, &err));
    assert_int_equal(count, 1);
    must(dw_store_clients_connected(f->b, "alice", "c9", 1, &count, &err));
    assert_int_equal(count, 1);
    must(dw_store_clients_connected(f->b, "carol", "c9", 1, &count, &err));
    assert_int_equal(count, 0);
}

const struct CMUnitTest limit_tests[] = {
    cmocka_unit_test(a_uid_has_so_many_rows_in_the_inbox),
    cmocka_unit_test(a_uid_has_so_many_bytes_in_the_inbox),
    cmocka_unit_test(clients_without_uid_count_by_themselves_and_together),
    cmocka_unit_test(what_is_deleted_makes_room),
    cmocka_unit_test(a_new_client_takes_the_place_of_its_uids_oldest_absent_one),
    cmocka_unit_test(the_rows_of_clients_have_a_bound),
    cmocka_unit_test(a_replaced_clients_claims_are_older_than_its_successors),
    cmocka_unit_test(a_client_that_is_refused_replaces_nobody),
    cmocka_unit_test(to_change_a_client_that_has_gone_takes_no_place),
    cmocka_unit_test(the_connected_clients_of_a_uid_can_be_counted),
};
const size_t limit_tests_count = sizeof limit_tests / sizeof limit_tests[0];
