/* The hub when memory is short: each allocation of a client's visit is made to fail in turn.  The answer
 * is an error then, nothing leaks, and the client that tries again gets its event.  The linker sends
 * malloc and its kin to failing.c (see the Makefile). */
#include "hub/lot.h"
#include "hub/serve.h"
#include "store/store.h"

#include "tests/unit/failing.h"
#include "tests/unit/tap.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct visit {
    struct dw_conf conf;
    struct dw_memory *memory;
    struct dw_hub hub;
    struct dw_store *store;
    struct dw_server *server;
    struct dw_lot *lot;
    bool got_event, got_reply;
};

static void look_at(struct visit *visit, const struct dw_answer *answer)
{
    if (answer->status != 200)
        return;
    if (strstr(dw_buf_str(&answer->body), ":t/e {:n 1}") != NULL)
        visit->got_event = true;
    if (strcmp(dw_buf_str(&answer->body), "[{:ok true} nil]") == 0)
        visit->got_reply = true;
}

static void on_answer(void *context, struct dw_parked *parked, const struct dw_answer *answer)
{
    (void)parked;
    look_at(context, answer);
}

static void ask(struct visit *visit, const char *method, const char *query, const char *body)
{
    struct dw_answer answer = DW_ANSWER_INIT;
    struct dw_request request = {.method = method, .query = query, .body = body, .body_len = strlen(body)};
    struct dw_parked *parked;

    request.content_type = "application/x-www-form-urlencoded";
    parked = dw_serve(visit->server, &request, &answer);
    if (parked != NULL)
        dw_lot_adopt(visit->lot, parked);
    else
        look_at(visit, &answer);
    dw_buf_fini(&answer.body);
}

static int reply_to_callback(void *context, const struct dw_inbox *row)
{
    if (row->wants_reply)
        *(int64_t *)context = row->id;
    return DW_OK;
}

/* Handshake, held poll, push, callback, reply.  Every step may fail inside. */
static void visit_once(struct visit *visit)
{
    int64_t asked = 0;

    ask(visit, "GET", "client-id=c&handshake?=1", "");
    ask(visit, "GET", "client-id=c", "");
    dw_lot_wake(visit->lot);
    ask(visit, "POST", "", "client-id=c&ppstr=[[:t/ask {:a [1 2 3]}] :ajax]");
    (void)dw_store_inbox(visit->store, 0, 1000, reply_to_callback, &asked, NULL);
    if (asked != 0)
        (void)dw_store_reply(visit->store, asked, "{\"ok\":true}", 11, "json", NULL);
    dw_lot_wake(visit->lot);
}

static void push_event(struct visit *visit)
{
    const struct dw_push push = {.uid = "c", .event = "t/e", .data = "{\"n\":1}", .data_len = 7, .format = "json"};

    assert_int_equal(dw_store_push(visit->store, &push, NULL, NULL), DW_OK);
}

static void open_visit(struct visit *visit)
{
    const struct dw_lot_callbacks callbacks = {.answer = on_answer, .context = visit};
    struct dw_store_options options;

    memset(visit, 0, sizeof *visit);
    assert_int_equal(dw_conf_init(&visit->conf, NULL), DW_OK);
    assert_int_equal(dw_conf_set(&visit->conf, "auth", "csrf", "off", NULL), DW_OK);
    assert_int_equal(dw_conf_set(&visit->conf, "auth", "uid", "client_id", NULL), DW_OK);
    visit->memory = dw_memory_new();
    assert_non_null(visit->memory);
    options = dw_hub_store_options(&visit->conf, true);
    assert_int_equal(dw_store_open_memory(visit->memory, &options, &visit->store, NULL), DW_OK);
    assert_int_equal(dw_hub_init(&visit->hub, &visit->conf, DW_SERVING_FASTCGI, NULL), DW_OK);
    visit->server = dw_server_new(&visit->hub, visit->store);
    visit->lot = dw_lot_new(&visit->hub, visit->store, &callbacks, NULL);
    assert_non_null(visit->server);
    assert_non_null(visit->lot);
    ask(visit, "GET", "client-id=c&handshake?=1", ""); /* known from here on: nothing pushed may be lost */
}

static void close_visit(struct visit *visit)
{
    dw_lot_free(visit->lot);
    dw_server_free(visit->server);
    dw_store_close(visit->store);
    dw_memory_free(visit->memory);
    dw_conf_fini(&visit->conf);
}

/* True: the failing allocation was reached. */
static bool run_with_failure(long nth)
{
    struct visit visit;
    bool reached;

    open_visit(&visit);
    push_event(&visit);
    calls = 0;
    failing_call = nth;
    visit_once(&visit);
    reached = calls > nth;
    failing_call = -1;
    visit_once(&visit);
    assert_true(visit.got_event);
    assert_true(visit.got_reply);
    close_visit(&visit);
    return reached;
}

static void a_client_that_tries_again_gets_its_event_whichever_allocation_failed(void **unused)
{
    long nth = 0;

    (void)unused;
    while (run_with_failure(nth))
        nth++;
    print_message("# %ld allocations were made to fail\n", nth);
    assert_true(nth > 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_client_that_tries_again_gets_its_event_whichever_allocation_failed),
    };

    return cmocka_run_group_tests_name("hub memory", tests, NULL, NULL);
}
