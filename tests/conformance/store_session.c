/* Conformance: what a change of a session is to those who hold its clients. */
#include "conformance.h"

static uint32_t session_version(struct dw_store *store)
{
    uint32_t version;

    must(dw_store_version(store, &version, &err));
    return dw_store_session_version(store);
}

static void put(struct fixture *f, const char *uid, int64_t expires_at)
{
    must(dw_store_session_put(f->a, "s1", uid, "token", NULL, expires_at, &err));
}

static void a_session_says_when_it_expires(void **state)
{
    struct fixture *f = *state;
    struct dw_session session = {.found = false};

    put(f, "alice", 5000000000000);
    must(dw_store_session(f->b, "s1", 4999999999999, &session, &err));
    assert_int_equal(session.expires_at, 5000000000000);
    put(f, "alice", 0);
    must(dw_store_session(f->b, "s1", 4999999999999, &session, &err));
    assert_true(session.found);
    assert_int_equal(session.expires_at, 0);
    dw_session_fini(&session);
}

static void a_session_that_may_have_ended_changes_the_version(void **state)
{
    struct fixture *f = *state;
    uint32_t before;

    put(f, "alice", 0);
    before = session_version(f->b);
    put(f, "bob", 0);
    assert_int_not_equal(session_version(f->b), before);
    before = session_version(f->b);
    put(f, "bob", 5000000000000);
    assert_int_not_equal(session_version(f->b), before);
    before = session_version(f->b);
    put(f, "bob", 1); /* logged out */
    assert_int_not_equal(session_version(f->b), before);
    before = session_version(f->b);
    assert_int_equal(session_version(f->b), before);
}

static void sessions_that_begin_or_go_on_do_not_change_it(void **state)
{
    struct fixture *f = *state;
    uint32_t before = session_version(f->b);

    put(f, "alice", 5000000000000);
    put(f, "alice", 5000000000001);
    put(f, "alice", 0);
    must(dw_store_session_put(f->a, "s2", "bob", "token", "1", 0, &err));
    must(dw_store_session_put(f->a, "s2", "bob", "another", "2", 0, &err));
    push(f->a, "uid:alice", "t/one", NULL);
    assert_int_equal(session_version(f->b), before);
}

static void sessions_that_have_expired_are_removed_in_silence(void **state)
{
    struct fixture *f = *state;
    uint32_t before;

    put(f, "alice", 1);
    before = session_version(f->b);
    keep_house(f->a, dw_clock_wall_ms());
    assert_int_equal(session_version(f->b), before);
}

const struct CMUnitTest session_tests[] = {
    cmocka_unit_test(a_session_says_when_it_expires),
    cmocka_unit_test(a_session_that_may_have_ended_changes_the_version),
    cmocka_unit_test(sessions_that_begin_or_go_on_do_not_change_it),
    cmocka_unit_test(sessions_that_have_expired_are_removed_in_silence),
};
const size_t session_tests_count = sizeof session_tests / sizeof session_tests[0];
