/* Two polls with the same client clock: a quick client's next one is a receipt, a web server's second
 * try for a worker that died is not.  Over the memory store; no adapter marks answers as sent here, as if
 * every worker were interrupted right behind its last byte. */
#include "base/clock.h"
#include "hub/lot.h"
#include "hub/serve.h"
#include "store/store.h"

#include "tests/unit/tap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct worker {
    struct dw_hub hub;
    struct dw_store *store;
    struct dw_server *server;
};

struct fixture {
    struct dw_conf conf;
    struct dw_memory *memory;
    struct worker a, b;
};

static void open_worker(struct fixture *f, struct worker *worker)
{
    struct dw_store_options options = dw_hub_store_options(&f->conf, true);
    int32_t number = -1;

    assert_int_equal(dw_store_open_memory(f->memory, &options, &worker->store, NULL), DW_OK);
    assert_int_equal(dw_hub_init(&worker->hub, &f->conf, DW_SERVING_FASTCGI, NULL), DW_OK);
    assert_int_equal(dw_store_worker_join(worker->store, &number, NULL), DW_OK);
    atomic_store(&worker->hub.worker, number);
    worker->server = dw_server_new(&worker->hub, worker->store);
    assert_non_null(worker->server);
}

static int open_fixture(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    assert_non_null(f);
    assert_int_equal(dw_conf_init(&f->conf, NULL), DW_OK);
    assert_int_equal(dw_conf_set(&f->conf, "auth", "csrf", "off", NULL), DW_OK);
    assert_int_equal(dw_conf_set(&f->conf, "auth", "uid", "client_id", NULL), DW_OK);
    f->memory = dw_memory_new();
    assert_non_null(f->memory);
    open_worker(f, &f->a);
    open_worker(f, &f->b);
    *state = f;
    return 0;
}

static int close_fixture(void **state)
{
    struct fixture *f = *state;

    dw_server_free(f->a.server);
    dw_server_free(f->b.server);
    dw_store_close(f->a.store);
    dw_store_close(f->b.store);
    dw_memory_free(f->memory);
    dw_conf_fini(&f->conf);
    free(f);
    return 0;
}

/* True: answered with the event; false: held, there was nothing. */
static bool poll(struct worker *worker, const char *how, int64_t udt)
{
    struct dw_answer answer = DW_ANSWER_INIT;
    struct dw_request request = {.method = "GET"};
    struct dw_parked *parked;
    char query[128];
    bool got;

    (void)snprintf(query, sizeof query, "client-id=c&udt=%lld%s", (long long)udt, how);
    request.query = query;
    parked = dw_serve(worker->server, &request, &answer);
    got = parked == NULL && strstr(dw_buf_str(&answer.body), ":t/e") != NULL;
    free(parked);
    dw_buf_fini(&answer.body);
    return got;
}

/* The client has polled at `a` just now, and has been answered with an event. */
static int64_t answered(struct fixture *f)
{
    const struct dw_push push = {.uid = "c", .event = "t/e", .format = "json"};
    int64_t udt = dw_clock_wall_ms();

    assert_false(poll(&f->a, "&handshake?=1", udt));
    assert_int_equal(dw_store_push(f->a.store, &push, NULL, NULL), DW_OK);
    assert_true(poll(&f->a, "", udt));
    return udt;
}

static void a_poll_in_the_same_tick_is_a_receipt_while_the_worker_of_the_last_one_lives(void **state)
{
    struct fixture *f = *state;

    assert_false(poll(&f->b, "", answered(f)));
}

static void a_poll_in_the_same_tick_is_a_copy_when_the_worker_of_the_last_one_has_died(void **state)
{
    struct fixture *f = *state;
    int64_t udt = answered(f);

    dw_server_free(f->a.server);
    dw_store_kill(f->a.store);
    f->a.server = NULL;
    f->a.store = NULL;
    assert_true(poll(&f->b, "", udt));
}

static void a_poll_of_a_later_tick_is_a_receipt_whoever_has_died(void **state)
{
    struct fixture *f = *state;
    int64_t udt = answered(f);

    dw_server_free(f->a.server);
    dw_store_kill(f->a.store);
    f->a.server = NULL;
    f->a.store = NULL;
    assert_false(poll(&f->b, "", udt + 1));
}

static void keep_text(void *context, struct dw_parked *parked, const struct dw_answer *answer)
{
    (void)parked;
    dw_buf_add(context, answer->body.data, answer->body.len);
}

/* It was read when there was nothing; what came since has been routed, to others. */
static void a_poll_that_comes_to_the_lot_of_a_stopping_worker_proves_nothing_that_it_was_not_shown(void **state)
{
    const struct dw_push push = {.uid = "c", .event = "t/e", .format = "json"};
    struct dw_answer answer = DW_ANSWER_INIT;
    struct dw_buf said = DW_BUF_INIT;
    const struct dw_lot_callbacks callbacks = {.answer = keep_text, .context = &said};
    struct dw_request request = {.method = "GET"};
    struct fixture *f = *state;
    struct dw_lot *lot = dw_lot_new(&f->a.hub, f->a.store, &callbacks, NULL);
    int64_t udt = dw_clock_wall_ms();
    struct dw_parked *parked;
    char query[128];

    assert_non_null(lot);
    assert_false(poll(&f->a, "&handshake?=1", udt));
    (void)snprintf(query, sizeof query, "client-id=c&udt=%lld", (long long)udt);
    request.query = query;
    parked = dw_serve(f->a.server, &request, &answer);
    assert_non_null(parked);
    assert_int_equal(dw_store_push(f->a.store, &push, NULL, NULL), DW_OK);
    dw_lot_wake(lot);
    atomic_store(&f->a.hub.draining, true);
    dw_lot_adopt(lot, parked);
    assert_string_equal(dw_buf_str(&said), "[:chsk/timeout nil]");
    assert_true(poll(&f->b, "", udt + 1));
    dw_lot_free(lot);
    dw_buf_fini(&said);
    dw_buf_fini(&answer.body);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, open_fixture, close_fixture)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_poll_in_the_same_tick_is_a_receipt_while_the_worker_of_the_last_one_lives),
        CASE(a_poll_in_the_same_tick_is_a_copy_when_the_worker_of_the_last_one_has_died),
        CASE(a_poll_of_a_later_tick_is_a_receipt_whoever_has_died),
        CASE(a_poll_that_comes_to_the_lot_of_a_stopping_worker_proves_nothing_that_it_was_not_shown),
    };

    return cmocka_run_group_tests_name("receipt", tests, NULL, NULL);
}
