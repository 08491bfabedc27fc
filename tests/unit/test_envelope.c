/* Envelopes of all generations, and what counts as an event. */
#include "chsk/envelope.h"

#include "tests/unit/tap.h"

#include <string.h>

static struct dw_arena *arena;

static int set_up(void **unused)
{
    (void)unused;
    arena = dw_arena_new(0);
    return arena != NULL ? 0 : -1;
}

static int tear_down(void **unused)
{
    (void)unused;
    dw_arena_free(arena);
    return 0;
}

static int read_edn(const char *text, struct dw_envelope *envelope)
{
    return dw_envelope_read(&dw_packer_edn, text, strlen(text), &dw_limits_default, arena, envelope, NULL);
}

/* The value's edn text. */
static const char *edn(const struct dw_value *value)
{
    static struct dw_buf buf;

    dw_buf_reset(&buf);
    assert_int_equal(dw_packer_edn.write(value, &buf, NULL), DW_OK);
    return dw_buf_str(&buf);
}

static void each_generation_is_read_and_recognised(void **unused)
{
    static const struct {
        const char *text, *value, *callback;
        int generation;
    } rows[] = {
        {"[[:a/b 1] nil]", "[:a/b 1]", NULL, 3},
        {"[[:a/b 1] :ajax]", "[:a/b 1]", ":ajax", 3},
        {"[[:a/b 1] \"c9\"]", "[:a/b 1]", "\"c9\"", 3},
        {"[[:a/b 1]]", "[:a/b 1]", NULL, 2},
        {"[[:a/b 1] 0]", "[:a/b 1]", "0", 2},
        {"-[:a/b 1]", "[:a/b 1]", NULL, 1},
        {"+[[:a/b 1]]", "[:a/b 1]", NULL, 1},
        {"+[[:a/b 1] 0]", "[:a/b 1]", "0", 1},
        {"+[[:a/b 1] \"cb\"]", "[:a/b 1]", "\"cb\"", 1},
        {"", "nil", NULL, 0},
        {"nil", "nil", NULL, 0},
        {"[]", "nil", NULL, 0},
        {"[[:a/b] false]", "[:a/b]", NULL, 3},
        {"([:a/b] :ajax)", "[:a/b]", ":ajax", 3},
        {"[[:a/b] \"cb\" 7]", "[:a/b]", "\"cb\"", 3},
        {"[[:a/b 1] nil] zzz", "[:a/b 1]", NULL, 3},
    };
    struct dw_envelope envelope;
    size_t i;

    (void)unused;
    for (i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(read_edn(rows[i].text, &envelope), DW_OK);
        assert_string_equal(edn(envelope.value), rows[i].value);
        assert_int_equal(envelope.generation, rows[i].generation);
        if (rows[i].callback == NULL)
            assert_null(envelope.callback);
        else
            assert_string_equal(edn(envelope.callback), rows[i].callback);
    }
}

/* Sente's browser client posts all of its buffer, 1024 bytes as a rule, and not only what it has written. */
static void what_stands_behind_a_binary_message_is_ignored(void **unused)
{
    static const char bytes[1024] = "\x92\x92\xc7\x03\x00"
                                    "a/b"
                                    "\x05\xd6\x00"
                                    "ajax";
    static const char *const names[] = {"msgpack", "gzip+msgpack"};

    (void)unused;
    for (size_t i = 0; i < 2; i++) {
        const struct dw_packer *packer = dw_packer_find(names[i]);
        struct dw_buf wrapped = DW_BUF_INIT;
        struct dw_envelope envelope;

        if (packer->inner != NULL)
            dw_buf_addc(&wrapped, '\0'); /* stored */
        dw_buf_add(&wrapped, bytes, sizeof bytes);
        assert_int_equal(dw_envelope_read(packer, wrapped.data, wrapped.len, NULL, arena, &envelope, NULL), DW_OK);
        assert_string_equal(edn(envelope.value), "[:a/b 5]");
        assert_string_equal(edn(envelope.callback), ":ajax");
        dw_buf_fini(&wrapped);
    }
    assert_int_equal(dw_envelope_read(&dw_packer_json, "[[\"a/b\"],null] x", 16, NULL, arena,
                                      &(struct dw_envelope){.generation = 0}, NULL),
                     DW_INVALID);
}

static void what_is_no_vector_is_a_bad_package(void **unused)
{
    static const char *const rows[] = {"5", "{:a 1}", "#{1}", "\"str\"", ":k", "+5", "[[:a/b", "[:a", "]", "-"};
    struct dw_envelope envelope;
    size_t i;

    (void)unused;
    for (i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_int_equal(read_edn(rows[i], &envelope), DW_INVALID);
}

static void each_generation_is_written_as_its_clients_read_it(void **unused)
{
    static const struct {
        int generation;
        const char *plain, *callback;
    } rows[] = {
        {3, "[:v nil]", "[:v \"cb\"]"},
        {2, "[:v]", "[:v \"cb\"]"},
        {1, "+[:v]", "+[:v \"cb\"]"},
    };
    struct dw_buf out = DW_BUF_INIT;
    size_t i;

    (void)unused;
    for (i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        dw_buf_reset(&out);
        assert_int_equal(
            dw_envelope_write(&dw_packer_edn, rows[i].generation, arena, dw_keyword(arena, "v"), NULL, &out, NULL),
            DW_OK);
        assert_string_equal(dw_buf_str(&out), rows[i].plain);
        dw_buf_reset(&out);
        assert_int_equal(dw_envelope_write(&dw_packer_edn, rows[i].generation, arena, dw_keyword(arena, "v"),
                                           dw_string(arena, "cb"), &out, NULL),
                         DW_OK);
        assert_string_equal(dw_buf_str(&out), rows[i].callback);
    }
    dw_buf_fini(&out);
}

static void packed_events_join_to_one_message(void **unused)
{
    const struct dw_part edn_events[] = {{"[:a/b 1]", 8}, {"[:c/d]", 6}};
    const struct dw_part json_events[] = {{"[\"a/b\",1]", 9}, {"[\"c/d\"]", 7}};
    struct dw_buf out = DW_BUF_INIT;

    (void)unused;
    assert_int_equal(dw_envelope_join(&dw_packer_edn, 3, edn_events, 2, &out, NULL), DW_OK);
    assert_string_equal(dw_buf_str(&out), "[[[:a/b 1] [:c/d]] nil]");
    dw_buf_reset(&out);
    assert_int_equal(dw_envelope_join(&dw_packer_edn, 2, edn_events, 1, &out, NULL), DW_OK);
    assert_string_equal(dw_buf_str(&out), "[[[:a/b 1]]]");
    dw_buf_reset(&out);
    assert_int_equal(dw_envelope_join(&dw_packer_edn, 1, edn_events, 1, &out, NULL), DW_OK);
    assert_string_equal(dw_buf_str(&out), "+[[[:a/b 1]]]");
    dw_buf_reset(&out);
    assert_int_equal(dw_envelope_join(&dw_packer_json, 3, json_events, 2, &out, NULL), DW_OK);
    assert_string_equal(dw_buf_str(&out), "[[[\"a/b\",1],[\"c/d\"]],null]");
    dw_buf_fini(&out);
}

static void the_handshake_has_three_items_or_two_for_generation_2(void **unused)
{
    (void)unused;
    assert_string_equal(edn(dw_chsk_handshake(arena, 3, "alice", NULL)), "[:chsk/handshake [\"alice\" nil nil]]");
    assert_string_equal(edn(dw_chsk_handshake(arena, 3, NULL, NULL)), "[:chsk/handshake [:sente/nil-uid nil nil]]");
    assert_string_equal(edn(dw_chsk_handshake(arena, 2, "alice", NULL)), "[:chsk/handshake [\"alice\" nil]]");
    assert_string_equal(edn(dw_chsk_handshake(arena, 2, "alice", dw_int(arena, 7))),
                        "[:chsk/handshake [\"alice\" nil 7]]");
}

static enum dw_event_kind classify(const struct dw_packer *packer, const char *text)
{
    const struct dw_value *value, *name, *data;

    assert_int_equal(packer->read(text, strlen(text), &dw_limits_default, arena, &value, NULL, NULL), DW_OK);
    return dw_event_classify(packer, value, &name, &data);
}

static void an_event_is_a_vector_of_a_namespaced_id_and_perhaps_data(void **unused)
{
    (void)unused;
    assert_int_equal(classify(&dw_packer_edn, "[:a/b]"), DW_EVENT_GOOD);
    assert_int_equal(classify(&dw_packer_edn, "[:a/b nil]"), DW_EVENT_GOOD);
    assert_int_equal(classify(&dw_packer_edn, "[:unnamespaced 1]"), DW_EVENT_BAD);
    assert_int_equal(classify(&dw_packer_edn, "[:a/b 1 2]"), DW_EVENT_BAD);
    assert_int_equal(classify(&dw_packer_edn, "[\"a/b\" 1]"), DW_EVENT_BAD);
    assert_int_equal(classify(&dw_packer_edn, "[a/b 1]"), DW_EVENT_BAD);
    assert_int_equal(classify(&dw_packer_edn, "(:a/b 1)"), DW_EVENT_BAD);
    assert_int_equal(classify(&dw_packer_edn, "\"str\""), DW_EVENT_BAD);
    assert_int_equal(classify(&dw_packer_edn, "[]"), DW_EVENT_BAD);
    assert_int_equal(classify(&dw_packer_json, "[\"a/b\", 1]"), DW_EVENT_GOOD);
    assert_int_equal(classify(&dw_packer_json, "[\"ab\", 1]"), DW_EVENT_BAD);
}

static void a_client_cannot_raise_the_servers_own_events(void **unused)
{
    (void)unused;
    assert_int_equal(classify(&dw_packer_edn, "[:chsk/uidport-open \"evil\"]"), DW_EVENT_BAD);
    assert_int_equal(classify(&dw_packer_json, "[\"chsk/uidport-close\",\"evil\"]"), DW_EVENT_BAD);
    assert_int_equal(classify(&dw_packer_edn, "[:chsk/ws-ping]"), DW_EVENT_PING);
    assert_int_equal(classify(&dw_packer_edn, "[:chsk/ws-pong]"), DW_EVENT_PONG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_generation_is_read_and_recognised),
        cmocka_unit_test(what_stands_behind_a_binary_message_is_ignored),
        cmocka_unit_test(what_is_no_vector_is_a_bad_package),
        cmocka_unit_test(each_generation_is_written_as_its_clients_read_it),
        cmocka_unit_test(packed_events_join_to_one_message),
        cmocka_unit_test(the_handshake_has_three_items_or_two_for_generation_2),
        cmocka_unit_test(an_event_is_a_vector_of_a_namespaced_id_and_perhaps_data),
        cmocka_unit_test(a_client_cannot_raise_the_servers_own_events),
    };

    return cmocka_run_group_tests_name("envelope", tests, set_up, tear_down);
}
