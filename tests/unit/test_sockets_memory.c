/* The hub's WebSockets when memory is short: each allocation of a client's visit is made to fail in turn.  The
 * linker sends malloc and its kin to failing.c (see the Makefile). */
#include "tests/unit/failing.h"
#include "tests/unit/socketing.h"

#include <stdlib.h>
#include <string.h>

/* Handshake, push, callback, reply, with each allocation failing in turn; then once more without. */
static bool visit_with_failure(long nth)
{
    struct wire a, b;
    bool reached;
    int64_t asked;

    (void)open_world(NULL);
    connect_as(&a, "client-id=a"); /* known from here on */
    disconnect(&a);
    push_to("a", "t/e", "1");
    calls = 0;
    failing_call = nth;
    connect_as(&a, "client-id=a");
    if (a.parked != NULL) {
        (void)say(&a, "[[:t/ask 1] \"cb\"]");
        dw_lot_wake(w.lot);
    }
    reached = calls > nth;
    failing_call = -1;
    disconnect(&a);
    connect_as(&b, "client-id=a");
    assert_int_equal(b.status, 101);
    assert_int_equal(say(&b, "[[:t/ask 2] \"cb\"]"), DW_OK);
    asked = inbox_end();
    assert_int_equal(dw_store_reply(w.store, asked, "7", 1, "json", NULL), DW_OK);
    dw_lot_wake(w.lot);
    assert_non_null(strstr(b.got, "[:t/e 1]"));
    assert_non_null(strstr(b.got, "[7 \"cb\"]\n"));
    disconnect(&b);
    (void)close_world(NULL);
    return reached;
}

static void whichever_allocation_fails_a_client_that_comes_back_gets_everything(void **unused)
{
    long nth = 0;

    (void)unused;
    while (visit_with_failure(nth))
        nth++;
    print_message("# %ld allocations were made to fail\n", nth);
    assert_true(nth > 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whichever_allocation_fails_a_client_that_comes_back_gets_everything),
    };

    return cmocka_run_group_tests_name("sockets memory", tests, NULL, NULL);
}
