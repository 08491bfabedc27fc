/* Arrival notes: who a raw request is from, and what its note says afterwards. */
#include "hub/arrival.h"
#include "store/store.h"

#include "tests/unit/tap.h"

#include <string.h>

static struct dw_arrival arrival_of(const char *query, const char *cookie)
{
    struct dw_arrival arrival;

    assert_true(dw_arrival_of(query, strlen(query), "token", cookie, strlen(cookie), NULL, 0, &arrival));
    return arrival;
}

static void a_client_keeps_its_key_from_poll_to_handshake(void **unused)
{
    struct dw_arrival poll = arrival_of("udt=1795477156313&client-id=a%20b", "dw_sid=1");
    struct dw_arrival handshake = arrival_of("udt=1795477156999&client-id=a%20b&handshake%3F=1", "dw_sid=1");

    (void)unused;
    assert_true(poll.key != 0 && poll.key == handshake.key);
    assert_int_equal(poll.udt, 1795477156313);
    assert_false(poll.handshake);
    assert_true(handshake.handshake);
    assert_true(arrival_of("handshake?&client-id=x", "").handshake);
    assert_true(arrival_of("client-id=x&handshake%3f=", "").handshake);
}

static void other_clients_cookies_and_users_have_other_keys(void **unused)
{
    struct dw_arrival one = arrival_of("client-id=a", "dw_sid=1"), user;

    (void)unused;
    assert_true(one.key != arrival_of("client-id=b", "dw_sid=1").key);
    assert_true(one.key != arrival_of("client-id=a", "dw_sid=2").key);
    assert_true(one.key != arrival_of("client-id=ad", "w_sid=1").key);
    assert_true(dw_arrival_of("client-id=a", 11, NULL, "dw_sid=1", 8, "carol", 5, &user));
    assert_true(one.key != user.key);
}

static void another_token_is_another_key(void **unused)
{
    struct dw_arrival one = arrival_of("udt=1&token=x.y.z&client-id=a", ""), unasked;

    (void)unused;
    assert_true(one.key == arrival_of("client-id=a&token=x.y.z&handshake?=1", "").key);
    assert_true(one.key != arrival_of("token=x.y.a&client-id=a", "").key);
    assert_true(one.key != arrival_of("client-id=a", "").key);
    assert_true(arrival_of("client-id=a", "").key == arrival_of("client-id=a&other=x", "").key);
    assert_true(dw_arrival_of("client-id=a&token=x", 19, NULL, NULL, 0, NULL, 0, &unasked));
    assert_true(unasked.key == arrival_of("client-id=a", "").key);
}

static void without_a_client_id_there_is_nothing_to_note(void **unused)
{
    struct dw_arrival arrival;

    (void)unused;
    assert_false(dw_arrival_of("", 0, "token", NULL, 0, NULL, 0, &arrival));
    assert_false(dw_arrival_of("my-client-id=3&client-ids=4&token=5", 35, "token", NULL, 0, NULL, 0, &arrival));
}

static void a_note_counts_for_the_request_that_it_follows_and_no_other(void **unused)
{
    struct dw_memory *world = dw_memory_new();
    const struct dw_store_options options = {.path = "", .retain_ms = 1000};
    struct dw_store *store;
    int64_t udt = 0;

    (void)unused;
    assert_non_null(world);
    assert_int_equal(dw_store_open_memory(world, &options, &store, NULL), DW_OK);
    assert_false(dw_store_arrival_find(store, 77, 3, &udt));
    dw_store_arrival_note(store, 77, 1795477156313);
    assert_true(dw_store_arrival_find(store, 77, 3, &udt));
    assert_int_equal(udt, 1795477156313);
    assert_false(dw_store_arrival_find(store, 78, 3, &udt));
    dw_store_arrival_bind(store, 77, 3);
    assert_true(dw_store_arrival_find(store, 77, 3, &udt));
    assert_int_equal(udt, 1795477156313);
    assert_false(dw_store_arrival_find(store, 77, 4, &udt));
    dw_store_arrival_bind(store, 77, 4); /* bound once, it stays with its request */
    assert_false(dw_store_arrival_find(store, 77, 4, &udt));
    dw_store_arrival_note(store, 77, 0);
    assert_true(dw_store_arrival_find(store, 77, 4, &udt));
    assert_int_equal(udt, 0);
    dw_store_close(store);
    dw_memory_free(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_client_keeps_its_key_from_poll_to_handshake),
        cmocka_unit_test(other_clients_cookies_and_users_have_other_keys),
        cmocka_unit_test(another_token_is_another_key),
        cmocka_unit_test(without_a_client_id_there_is_nothing_to_note),
        cmocka_unit_test(a_note_counts_for_the_request_that_it_follows_and_no_other),
    };

    return cmocka_run_group_tests_name("arrival", tests, NULL, NULL);
}
