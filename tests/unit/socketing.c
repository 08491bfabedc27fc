/* See socketing.h. */
#include "tests/unit/socketing.h"

#include "base/clock.h"

#include <string.h>

struct world w;

static void note(struct wire *wire, const char *bytes, size_t len)
{
    assert_true(wire->len + len + 2 < sizeof wire->got);
    memcpy(wire->got + wire->len, bytes, len);
    wire->len += len;
    wire->got[wire->len++] = '\n';
    wire->got[wire->len] = '\0';
}

static bool on_send(void *context, struct dw_parked *parked, const char *bytes, size_t len)
{
    struct wire *wire = parked->connection.pointer;

    (void)context;
    if (wire->refuse)
        return false;
    note(wire, bytes, len);
    return true;
}

static void on_answer(void *context, struct dw_parked *parked, const struct dw_answer *answer)
{
    struct wire *wire = parked->connection.pointer;

    (void)context;
    wire->parked = NULL;
    wire->status = answer->status;
    note(wire, answer->body.data, answer->body.len);
}

static bool on_has_room(void *context, const struct dw_parked *parked)
{
    (void)context;
    return !((const struct wire *)parked->connection.pointer)->no_room;
}

static void on_close(void *context, struct dw_parked *parked, int code)
{
    (void)context;
    ((struct wire *)parked->connection.pointer)->code = code;
}

static void on_departed(void *context, const struct dw_departed *departed)
{
    (void)context;
    w.departed += departed->transport == DW_WS;
}

void set(const char *section, const char *key, const char *value)
{
    assert_int_equal(dw_conf_set(&w.conf, section, key, value, NULL), DW_OK);
}

int open_world(void **unused)
{
    const struct dw_lot_callbacks callbacks = {
        .answer = on_answer, .departed = on_departed, .send = on_send, .has_room = on_has_room, .close = on_close};
    struct dw_store_options options;

    (void)unused;
    memset(&w, 0, sizeof w);
    assert_int_equal(dw_conf_init(&w.conf, NULL), DW_OK);
    set("auth", "csrf", "off");
    set("auth", "uid", "client_id");
    set("limits", "callbacks", "2");
    w.memory = dw_memory_new();
    assert_non_null(w.memory);
    options = dw_hub_store_options(&w.conf, true);
    assert_int_equal(dw_store_open_memory(w.memory, &options, &w.store, NULL), DW_OK);
    assert_int_equal(dw_hub_init(&w.hub, &w.conf, DW_SERVING_FASTCGI, NULL), DW_OK);
    w.server = dw_server_new(&w.hub, w.store);
    w.lot = dw_lot_new(&w.hub, w.store, &callbacks, NULL);
    assert_non_null(w.server);
    assert_non_null(w.lot);
    return 0;
}

int close_world(void **unused)
{
    (void)unused;
    dw_lot_free(w.lot);
    dw_server_free(w.server);
    dw_store_close(w.store);
    dw_memory_free(w.memory);
    dw_conf_fini(&w.conf);
    return 0;
}

void poll_as(struct wire *wire, const char *query)
{
    struct dw_request request = {.method = "GET", .query = query, .cookie = w.cookie};
    struct dw_answer answer = DW_ANSWER_INIT;

    memset(wire, 0, sizeof *wire);
    wire->parked = dw_serve(w.server, &request, &answer);
    wire->status = answer.status;
    if (wire->parked == NULL)
        note(wire, dw_buf_str(&answer.body), answer.body.len);
    dw_buf_fini(&answer.body);
    if (wire->parked == NULL)
        return;
    wire->parked->connection.pointer = wire;
    dw_lot_adopt(w.lot, wire->parked);
}

void connect_as(struct wire *wire, const char *query)
{
    struct dw_request request = {
        .method = "GET", .query = query, .cookie = w.cookie, .upgrade = "WebSocket", .lot = w.lot};
    struct dw_answer answer = DW_ANSWER_INIT;

    memset(wire, 0, sizeof *wire);
    wire->parked = dw_serve(w.server, &request, &answer);
    wire->status = answer.status;
    note(wire, dw_buf_str(&answer.body), answer.body.len);
    dw_buf_fini(&answer.body);
    if (wire->parked == NULL)
        return;
    wire->parked->connection.pointer = wire;
    dw_lot_adopt(w.lot, wire->parked);
}

void disconnect(struct wire *wire)
{
    if (wire->parked != NULL)
        dw_socket_closed(w.lot, wire->parked);
    wire->parked = NULL;
}

void push_to(const char *uid, const char *event, const char *data)
{
    const struct dw_push push = {
        .uid = uid, .event = event, .data = data, .data_len = data != NULL ? strlen(data) : 0, .format = "json"};

    assert_int_equal(dw_store_push(w.store, &push, NULL, NULL), DW_OK);
}

void push(const char *uid, const char *event, const char *data)
{
    push_to(uid, event, data);
    dw_lot_wake(w.lot);
}

int say(struct wire *wire, const char *text)
{
    return dw_socket_receive(w.lot, w.server, wire->parked, text, strlen(text), false);
}

void assert_got(struct wire *wire, const char *expected)
{
    assert_string_equal(wire->got, expected);
    wire->len = 0;
    wire->got[0] = '\0';
}

void prove(struct wire *wire)
{
    dw_lot_tick(w.lot, dw_clock_mono_ms() + 200);
    assert_non_null(strstr(wire->got, "[:chsk/ws-ping nil]\n"));
    assert_int_equal(say(wire, "[[:chsk/ws-pong] nil]"), DW_OK);
    wire->len = 0;
    wire->got[0] = '\0';
}

static int last_asked(void *context, const struct dw_inbox *row)
{
    *(int64_t *)context = row->id;
    return DW_OK;
}

int64_t inbox_end(void)
{
    int64_t id = 0;

    assert_int_equal(dw_store_inbox(w.store, 0, 1000, last_asked, &id, NULL), DW_OK);
    return id;
}
