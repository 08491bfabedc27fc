/* The hub's WebSockets over the memory store: what is sent to whom and when, and what a lost connection costs. */
#include "base/clock.h"
#include "hub/receive.h"
#include "store/ops.h"
#include "tests/unit/socketing.h"

#include <string.h>

static void a_client_gets_a_handshake_and_then_pushes(void **unused)
{
    struct wire a;

    (void)unused;
    push("a", "t/old", "0");
    connect_as(&a, "client-id=a");
    assert_int_equal(a.status, 101);
    assert_got(&a, "[[:chsk/handshake [\"a\" nil nil]] nil]\n");
    push("a", "t/e", "{\"n\":1}");
    push("b", "t/e", "2");
    push_to("a", "t/x", "3");
    push_to("a", "t/y", NULL);
    dw_lot_wake(w.lot);
    assert_got(&a, "[[[:t/e {:n 1}]] nil]\n[[[:t/x 3] [:t/y]] nil]\n");
    disconnect(&a);
    assert_int_equal(w.departed, 1);
}

static void without_client_id_there_is_no_handshake(void **unused)
{
    struct wire a;

    (void)unused;
    connect_as(&a, "x=1");
    assert_int_equal(a.status, 400);
    assert_null(a.parked);
}

static void an_adapter_without_websockets_refuses_at_once(void **unused)
{
    struct dw_request request = {.method = "GET", .query = "client-id=a", .upgrade = "websocket"};
    struct dw_answer answer = DW_ANSWER_INIT;

    (void)unused;
    assert_null(dw_serve(w.server, &request, &answer));
    assert_int_equal(answer.status, 501);
    dw_buf_fini(&answer.body);
}

static void unproven_pushes_come_again_and_proven_ones_do_not(void **unused)
{
    struct wire a;

    (void)unused;
    connect_as(&a, "client-id=a");
    push("a", "t/e", "1");
    prove(&a);
    push("a", "t/e", "2");
    assert_got(&a, "[[[:t/e 2]] nil]\n");
    disconnect(&a);
    push("a", "t/e", "3");
    connect_as(&a, "client-id=a");
    assert_got(&a, "[[:chsk/handshake [\"a\" nil nil]] nil]\n[[[:t/e 2] [:t/e 3]] nil]\n");
    prove(&a);
    disconnect(&a);
    connect_as(&a, "client-id=a");
    assert_got(&a, "[[:chsk/handshake [\"a\" nil nil]] nil]\n");
    disconnect(&a);
}

static void one_ping_serves_many_pushes(void **unused)
{
    struct wire a;
    int i;

    (void)unused;
    connect_as(&a, "client-id=a");
    for (i = 0; i < 50; i++)
        push("a", "t/e", "1");
    a.len = 0;
    prove(&a);
    dw_lot_tick(w.lot, dw_clock_mono_ms() + 400);
    assert_got(&a, "");
    disconnect(&a);
}

static void of_two_connections_the_newest_gets_the_pushes(void **unused)
{
    struct wire a, b;

    (void)unused;
    connect_as(&a, "client-id=a");
    connect_as(&b, "client-id=a");
    a.len = b.len = 0;
    push("a", "t/e", "1");
    assert_got(&b, "[[[:t/e 1]] nil]\n");
    assert_int_equal(a.len, 0);
    assert_int_equal(a.code, 0);
    assert_int_equal(say(&a, "[[:chsk/ws-ping] \"c1\"]"), DW_OK);
    assert_got(&a, "[\"pong\" \"c1\"]\n");
    disconnect(&a);
    push("a", "t/e", "2");
    assert_got(&b, "[[[:t/e 2]] nil]\n");
    disconnect(&b);
}

static void an_order_to_close_closes_and_is_passed(void **unused)
{
    struct wire a;

    (void)unused;
    connect_as(&a, "client-id=a");
    push("a", "chsk/close", NULL);
    assert_int_equal(a.code, 1000);
    disconnect(&a);
    push("a", "t/e", "1");
    connect_as(&a, "client-id=a");
    assert_got(&a, "[[:chsk/handshake [\"a\" nil nil]] nil]\n[[[:t/e 1]] nil]\n");
    assert_int_equal(a.code, 0);
    disconnect(&a);
}

static void what_stands_before_an_order_to_close_is_proven_first(void **unused)
{
    struct wire a;

    (void)unused;
    connect_as(&a, "client-id=a");
    a.len = 0;
    push_to("a", "t/e", "1");
    push_to("a", "chsk/close", NULL);
    push_to("a", "t/e", "2");
    dw_lot_wake(w.lot);
    assert_got(&a, "[[[:t/e 1]] nil]\n[:chsk/ws-ping nil]\n");
    assert_int_equal(a.code, 0);
    (void)say(&a, "[[:chsk/ws-pong] nil]");
    assert_int_equal(a.code, 1000);
    disconnect(&a);
    connect_as(&a, "client-id=a");
    assert_got(&a, "[[:chsk/handshake [\"a\" nil nil]] nil]\n[[[:t/e 2]] nil]\n");
    disconnect(&a);
}

static void a_client_that_does_not_read_is_closed_and_loses_nothing(void **unused)
{
    struct wire a, b;

    (void)unused;
    connect_as(&a, "client-id=a");
    connect_as(&b, "client-id=b");
    a.refuse = a.no_room = true;
    push("a", "t/e", "1");
    assert_int_equal(a.code, 1013);
    push("a", "t/e", "2"); /* nothing is sent to it any more */
    b.len = 0;
    push("b", "t/e", "3");
    assert_got(&b, "[[[:t/e 3]] nil]\n");
    disconnect(&a);
    connect_as(&a, "client-id=a");
    assert_got(&a, "[[:chsk/handshake [\"a\" nil nil]] nil]\n[[[:t/e 1] [:t/e 2]] nil]\n");
    disconnect(&a);
    disconnect(&b);
}

static void a_burst_is_no_reason_to_close_a_client_that_keeps_up(void **unused)
{
    struct wire a;

    (void)unused;
    connect_as(&a, "client-id=a");
    assert_got(&a, "[[:chsk/handshake [\"a\" nil nil]] nil]\n");
    a.refuse = true;
    push("a", "t/e", "1");
    push("a", "t/e", "2");
    assert_int_equal(a.code, 0);
    assert_got(&a, "");
    a.refuse = false;
    dw_socket_drained(w.lot, a.parked);
    assert_got(&a, "[[[:t/e 1] [:t/e 2]] nil]\n");
    push("a", "t/e", "3");
    assert_got(&a, "[[[:t/e 3]] nil]\n");
    disconnect(&a);
}

static void what_was_missed_comes_in_portions_as_there_is_room(void **unused)
{
    struct wire a;
    int i;

    (void)unused;
    set("limits", "batch", "2");
    connect_as(&a, "client-id=a");
    disconnect(&a);
    for (i = 0; i < 4; i++)
        push("a", "t/e", "1");
    connect_as(&a, "client-id=a");
    assert_non_null(strstr(a.got, "[[[:t/e 1] [:t/e 1]] nil]\n[[[:t/e 1] [:t/e 1]] nil]\n"));
    disconnect(&a);

    connect_as(&a, "client-id=a");
    disconnect(&a);
    {
        struct dw_request request = {.method = "GET", .query = "client-id=a", .upgrade = "websocket", .lot = w.lot};
        struct dw_answer answer = DW_ANSWER_INIT;

        memset(&a, 0, sizeof a);
        a.no_room = true;
        a.parked = dw_serve(w.server, &request, &answer);
        dw_buf_fini(&answer.body);
        assert_non_null(a.parked);
        a.parked->connection.pointer = &a;
        dw_lot_adopt(w.lot, a.parked);
    }
    assert_got(&a, "");
    push("a", "t/e", "2"); /* is not sent before what was missed */
    assert_got(&a, "");
    a.no_room = false;
    dw_socket_drained(w.lot, a.parked);
    assert_got(&a, "[[[:t/e 1] [:t/e 1]] nil]\n[[[:t/e 1] [:t/e 1]] nil]\n[[[:t/e 2]] nil]\n");
    push("a", "t/e", "3");
    assert_got(&a, "[[[:t/e 3]] nil]\n");
    disconnect(&a);
}

static void a_silent_client_is_pinged_and_then_closed(void **unused)
{
    struct wire a;
    int64_t now = dw_clock_mono_ms();

    (void)unused;
    connect_as(&a, "client-id=a");
    a.len = 0;
    dw_lot_tick(w.lot, now + 12400);
    assert_int_equal(a.len, 0);
    dw_lot_tick(w.lot, now + 12600);
    assert_got(&a, "[:chsk/ws-ping nil]\n");
    dw_lot_tick(w.lot, now + 22400);
    assert_int_equal(a.code, 0);
    dw_lot_tick(w.lot, now + 22700);
    assert_int_equal(a.code, 1000);
    assert_got(&a, "");
    disconnect(&a);
}

static void a_callback_is_answered_when_the_app_replies(void **unused)
{
    struct wire a;

    (void)unused;
    connect_as(&a, "client-id=a");
    a.len = 0;
    assert_int_equal(say(&a, "[[:t/ask 1] \"cb\"]"), DW_OK);
    assert_int_equal(a.len, 0);
    assert_int_equal(dw_store_reply(w.store, inbox_end(), "{\"ok\":true}", 11, "json", NULL), DW_OK);
    dw_lot_wake(w.lot);
    assert_got(&a, "[{:ok true} \"cb\"]\n");
    /* the id comes back as it was, of whatever type */
    assert_int_equal(say(&a, "[[:t/ask 1] {:x [1 :y]}]"), DW_OK);
    assert_int_equal(dw_store_reply(w.store, inbox_end(), NULL, 0, "json", NULL), DW_OK);
    dw_lot_wake(w.lot);
    assert_got(&a, "[nil {:x [1 :y]}]\n");
    disconnect(&a);
}

static int echo(void *context, const struct dw_inbox *row, bool *replied, struct dw_buf *reply)
{
    (void)context;
    if (strcmp(row->event, "t/fail") == 0)
        return DW_HANDLER;
    *replied = strcmp(row->event, "t/echo") == 0;
    dw_buf_add(reply, row->data, row->data_len);
    return DW_OK;
}

static void a_reply_of_a_trigger_comes_at_once(void **unused)
{
    struct wire a;

    (void)unused;
    dw_memory_on_inbox(w.memory, echo, NULL);
    connect_as(&a, "client-id=a");
    a.len = 0;
    assert_int_equal(say(&a, "[[:t/echo {:x 1}] \"cb\"]"), DW_OK);
    assert_got(&a, "[{:x 1} \"cb\"]\n");
    assert_int_equal(say(&a, "[[:t/fail] \"cb\"]"), DW_OK);
    assert_got(&a, "[:chsk/error \"cb\"]\n");
    disconnect(&a);
}

static void unanswered_callbacks_are_bounded(void **unused)
{
    struct wire a;
    int64_t first;

    (void)unused;
    connect_as(&a, "client-id=a");
    a.len = 0;
    (void)say(&a, "[[:t/ask] \"1\"]");
    first = inbox_end();
    (void)say(&a, "[[:t/ask] \"2\"]");
    (void)say(&a, "[[:t/ask] \"3\"]"); /* limits.callbacks is 2: the oldest is forgotten */
    (void)dw_store_reply(w.store, first, "1", 1, "json", NULL);
    (void)dw_store_reply(w.store, first + 1, "2", 1, "json", NULL);
    dw_lot_wake(w.lot);
    assert_got(&a, "[2 \"2\"]\n");
    disconnect(&a);
}

static void what_can_t_be_read_breaks_nothing(void **unused)
{
    static const char binary[] = "\x91\xc0";
    struct wire a;

    (void)unused;
    connect_as(&a, "client-id=a");
    a.len = 0;
    assert_int_equal(say(&a, "[[:t/e \"open"), DW_OK);
    assert_int_equal(say(&a, "5"), DW_OK);
    assert_int_equal(say(&a, ""), DW_OK);
    assert_int_equal(dw_socket_receive(w.lot, w.server, a.parked, binary, 2, true), DW_OK);
    assert_int_equal(say(&a, "[[:chsk/uidport-open \"evil\"] nil]"), DW_OK);
    assert_int_equal(a.code, 0);
    (void)say(&a, "[[:chsk/ws-ping] \"c1\"]");
    assert_got(&a, "[\"pong\" \"c1\"]\n");
    disconnect(&a);
}

static void an_old_client_is_answered_in_its_generation(void **unused)
{
    struct wire a;

    (void)unused;
    connect_as(&a, "client-id=a");
    a.len = 0;
    (void)say(&a, "+[[:chsk/ws-ping] \"c1\"]");
    assert_got(&a, "+[\"pong\" \"c1\"]\n");
    disconnect(&a);
    connect_as(&a, "client-id=a");
    assert_got(&a, "+[[:chsk/handshake [\"a\" nil]]]\n");
    disconnect(&a);
}

static int one_online(void *context, const struct dw_online *row)
{
    *(struct dw_online *)context = *row;
    return DW_OK;
}

static void presence_counts_it_from_the_handshake(void **unused)
{
    struct dw_online online = {0};
    bool more;
    struct wire a;

    (void)unused;
    connect_as(&a, "client-id=a");
    assert_int_equal(dw_store_presence_sync(w.store, dw_clock_wall_ms(), &more, NULL), DW_OK);
    assert_int_equal(dw_store_online(w.store, one_online, &online, NULL), DW_OK);
    assert_int_equal(online.ws, 1);
    assert_int_equal(online.ajax, 0);
    disconnect(&a);
}

static void one_uid_has_a_bounded_number_of_connections(void **unused)
{
    struct wire wires[3];
    int i;

    (void)unused;
    set("limits", "sockets_per_uid", "2");
    for (i = 0; i < 3; i++)
        connect_as(&wires[i], "client-id=a");
    assert_int_equal(wires[1].status, 101);
    assert_int_equal(wires[2].status, 503);
    disconnect(&wires[0]);
    connect_as(&wires[2], "client-id=a");
    assert_int_equal(wires[2].status, 101);
    disconnect(&wires[1]);
    disconnect(&wires[2]);
}

/* ---- of many clients ---- */

/* Instead of time that passes: numbers begin with the clock, and those of an old row are long behind it. */
static int age(void *context, struct dw_client *client, bool found, uint64_t claim)
{
    (void)claim;
    assert_true(found);
    client->epoch = *(const uint32_t *)context;
    return DW_OK;
}

static void make_old(const char *id, uint32_t epoch)
{
    const struct dw_client_key key = {DW_WS, id, id};
    struct dw_client client;

    assert_int_equal(dw_store_client_update(w.store, &key, age, &epoch, NULL), DW_OK);
    assert_int_equal(dw_store_client_update(w.store, &key, age, &epoch, NULL), DW_OK); /* takes its newer claim away */
    assert_int_equal(dw_store_client_get(w.store, id, id, &client, NULL), DW_OK);
    assert_true(dw_store_claim_begin(w.store, client.slot, epoch, 0));
}

static bool is_connected(const char *id)
{
    struct dw_client client;

    return dw_store_client_get(w.store, id, id, &client, NULL) == DW_OK && client.connected;
}

static void replace_one_of(uint32_t epoch)
{
    struct dw_departed gone = {DW_WS, "b", "b", 0, 0};
    struct wire a, b;

    connect_as(&a, "client-id=a");
    gone = (struct dw_departed){DW_WS, "a", "a", a.parked->slot, a.parked->epoch};
    disconnect(&a);
    assert_int_equal(dw_store_clients_leave(w.store, &gone, 1, 1, NULL), DW_OK);
    make_old("a", epoch);
    connect_as(&b, "client-id=b");
    assert_int_equal(b.status, 101);
    assert_int_equal(b.parked->slot, gone.slot);
    assert_int_equal(dw_claim_epoch(dw_store_claim_read(w.store, b.parked->slot)), b.parked->epoch);
    assert_false(dw_store_claim_begin(w.store, gone.slot, epoch, 5)); /* what the old one had under way */
    assert_got(&b, "[[:chsk/handshake [\"b\" nil nil]] nil]\n");
    push("b", "t/e", "1");
    assert_got(&b, "[[[:t/e 1]] nil]\n");
    gone = (struct dw_departed){DW_WS, "b", "b", b.parked->slot, b.parked->epoch};
    disconnect(&b);
    assert_int_equal(dw_store_clients_leave(w.store, &gone, 1, 1, NULL), DW_OK);
    assert_false(is_connected("b"));
}

static void the_age_of_a_client_whose_place_it_gets_is_nothing_to_a_client(void **unused)
{
    int64_t now = dw_clock_mono_ms();

    (void)unused;
    w.store->limits.clients = 1;
    replace_one_of((uint32_t)(now & DW_EPOCH_MASK));
    replace_one_of((uint32_t)((now - 60000) & DW_EPOCH_MASK));
    replace_one_of((uint32_t)((now - 600000) & DW_EPOCH_MASK)); /* modulo 2^20 ms it is newer than now */
    replace_one_of(DW_EPOCH_MASK);
    replace_one_of(0);
}

static void a_client_that_is_forgotten_is_served_though_all_places_are_taken(void **unused)
{
    const struct dw_client_key gone = {DW_AJAX, "a", "a"};
    struct dw_departed departed = {DW_AJAX, "a", "a", 0, 0};
    struct wire a, b;

    (void)unused;
    w.store->limits.clients = 1;
    poll_as(&a, "client-id=a"); /* a handshake */
    poll_as(&a, "client-id=a");
    assert_non_null(a.parked);
    departed.epoch = a.parked->epoch;
    assert_int_equal(dw_store_clients_leave(w.store, &departed, 1, 1, NULL), DW_OK);
    connect_as(&b, "client-id=b");
    assert_int_equal(b.status, 101);
    assert_int_equal(dw_receive_generation(w.store, &gone, 2, NULL), DW_OK);
    push("a", "chsk/close", NULL);
    assert_non_null(a.parked);
    assert_true(a.parked->kind == DW_PARKED_MUTE); /* it is no client's newest poll any more */
    disconnect(&b);
    dw_lot_drop(w.lot, a.parked);
}

bool __real_dw_store_claim_begin(struct dw_store *store, uint32_t slot, uint32_t epoch, int64_t upto);
bool __wrap_dw_store_claim_begin(struct dw_store *store, uint32_t slot, uint32_t epoch, int64_t upto);
static bool newer_has_come;

bool __wrap_dw_store_claim_begin(struct dw_store *store, uint32_t slot, uint32_t epoch, int64_t upto)
{
    return !newer_has_come && __real_dw_store_claim_begin(store, slot, epoch, upto);
}

static void a_connection_that_can_get_no_push_is_not_let_in(void **unused)
{
    struct wire a;

    (void)unused;
    newer_has_come = true; /* between the row's commit and its claim */
    connect_as(&a, "client-id=a");
    newer_has_come = false;
    assert_int_equal(a.status, 503);
    assert_null(a.parked);
    assert_false(is_connected("a"));
    connect_as(&a, "client-id=a");
    assert_int_equal(a.status, 101);
    disconnect(&a);
}

#define HERE(test) cmocka_unit_test_setup_teardown(test, open_world, close_world)

int main(void)
{
    const struct CMUnitTest tests[] = {
        HERE(a_client_gets_a_handshake_and_then_pushes),
        HERE(without_client_id_there_is_no_handshake),
        HERE(an_adapter_without_websockets_refuses_at_once),
        HERE(unproven_pushes_come_again_and_proven_ones_do_not),
        HERE(one_ping_serves_many_pushes),
        HERE(of_two_connections_the_newest_gets_the_pushes),
        HERE(an_order_to_close_closes_and_is_passed),
        HERE(what_stands_before_an_order_to_close_is_proven_first),
        HERE(a_client_that_does_not_read_is_closed_and_loses_nothing),
        HERE(a_burst_is_no_reason_to_close_a_client_that_keeps_up),
        HERE(what_was_missed_comes_in_portions_as_there_is_room),
        HERE(a_silent_client_is_pinged_and_then_closed),
        HERE(a_callback_is_answered_when_the_app_replies),
        HERE(a_reply_of_a_trigger_comes_at_once),
        HERE(unanswered_callbacks_are_bounded),
        HERE(what_can_t_be_read_breaks_nothing),
        HERE(an_old_client_is_answered_in_its_generation),
        HERE(presence_counts_it_from_the_handshake),
        HERE(one_uid_has_a_bounded_number_of_connections),
        HERE(the_age_of_a_client_whose_place_it_gets_is_nothing_to_a_client),
        HERE(a_client_that_is_forgotten_is_served_though_all_places_are_taken),
        HERE(a_connection_that_can_get_no_push_is_not_let_in),
    };

    return cmocka_run_group_tests_name("sockets", tests, NULL, NULL);
}
