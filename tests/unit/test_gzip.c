/* The gzip wrapper around the other packers, and finding packers by name. */
#include "packing.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void small_messages_are_stored_and_large_ones_compressed(void **state)
{
    static char text[2048];
    const struct dw_packer *packer = dw_packer_find("gzip+edn");
    struct dw_arena *arena = dw_arena_new(0);

    (void)state;
    assert_non_null(packer);
    assert_non_null(arena);
    assert_true(packer->binary);
    memset(text, 'x', sizeof text);
    for (size_t len = 1020; len < 1026; len++) {
        struct dw_buf out = DW_BUF_INIT;
        const struct dw_value *value = dw_text(arena, DW_T_STRING, text, len - 2);

        assert_int_equal(packer->write(value, &out, NULL), 0);
        assert_int_equal(out.data[0], len >= 1024);
        if (len >= 1024)
            assert_memory_equal(out.data + 1, "\x1f\x8b", 2);
        assert_true(dw_equal(value, packing_must(packer->read, out.data, out.len, arena)));
        packing_prefixes(packer->read, out.data, out.len);
        dw_buf_fini(&out);
    }
    dw_arena_free(arena);
}

static void a_zip_bomb_is_stopped_at_the_limit(void **state)
{
    const struct dw_packer *packer = dw_packer_find("gzip+json");
    const struct dw_limits limits = {64, 100000, 100000};
    struct dw_arena *arena = dw_arena_new(0);
    const struct dw_value *value = NULL;
    struct dw_buf bomb = DW_BUF_INIT, exact = DW_BUF_INIT;
    char *zeros = malloc(10000000);

    (void)state;
    assert_non_null(zeros);
    assert_non_null(arena);
    memset(zeros, ' ', 10000000);
    zeros[0] = '1';
    assert_int_equal(dw_packer_wrap(packer, zeros, 10000000, &bomb, NULL), 0);
    assert_true(bomb.len < 20000);
    assert_int_equal(packing_try(packer->read, bomb.data, bomb.len, &limits, arena, &value, NULL, NULL), DW_LIMIT);
    assert_int_equal(dw_packer_wrap(packer, zeros, 100000, &exact, NULL), 0);
    assert_int_equal(packing_try(packer->read, exact.data, exact.len, &limits, arena, &value, NULL, NULL), 0);
    dw_buf_reset(&exact);
    assert_int_equal(dw_packer_wrap(packer, zeros, 100001, &exact, NULL), 0);
    assert_int_equal(packing_try(packer->read, exact.data, exact.len, &limits, arena, &value, NULL, NULL), DW_LIMIT);
    dw_buf_fini(&bomb);
    dw_buf_fini(&exact);
    free(zeros);
    dw_arena_free(arena);
}

static void damaged_and_strange_wrappers_are_refused(void **state)
{
    const struct dw_packer *packer = dw_packer_find("gzip+edn");
    static char text[3000];
    struct dw_buf out = DW_BUF_INIT;

    (void)state;
    memset(text, ' ', sizeof text);
    text[0] = '1';
    packing_refuses(packer->read, DW_INVALID, "", 0);
    packing_refuses(packer->read, DW_INVALID, "\0", 1);
    packing_refuses(packer->read, DW_INVALID,
                    "\2"
                    "1",
                    2);
    packing_refuses(packer->read, DW_INVALID, "1", 1);
    packing_refuses(packer->read, DW_INVALID, "\1[1]", 4);
    assert_int_equal(dw_packer_wrap(packer, text, sizeof text, &out, NULL), 0);
    for (size_t i = 1; i < out.len; i++) {
        struct dw_arena *arena = dw_arena_new(0);
        const struct dw_value *value = NULL;

        assert_non_null(arena);
        out.data[i] = (char)(out.data[i] ^ 0x55);
        (void)packing_try(packer->read, out.data, out.len, NULL, arena, &value, NULL, NULL);
        out.data[i] = (char)(out.data[i] ^ 0x55);
        dw_arena_free(arena);
    }
    dw_buf_addc(&out, 'x');
    packing_refuses(packer->read, DW_INVALID, out.data, out.len);
    dw_buf_fini(&out);
}

static void the_rest_behind_a_wrapped_value_is_found(void **state)
{
    const struct dw_packer *packer = dw_packer_find("gzip+edn");
    struct dw_arena *arena = dw_arena_new(0);
    const struct dw_value *value = NULL;
    size_t rest = 0;

    (void)state;
    assert_non_null(arena);
    assert_int_equal(packing_try(packer->read, "\0[1] x", 6, NULL, arena, &value, &rest, NULL), 0);
    assert_int_equal(rest, 4);
    dw_arena_free(arena);
}

static void packers_are_found_by_name(void **state)
{
    static const char *const names[] = {
        "edn",      "json",      "transit",      "transit-verbose",      "msgpack",
        "gzip+edn", "gzip+json", "gzip+transit", "gzip+transit-verbose", "gzip+msgpack"};

    (void)state;
    for (size_t i = 0; i < COUNT(names); i++) {
        const struct dw_packer *packer = dw_packer_find(names[i]);

        assert_non_null(packer);
        assert_string_equal(packer->name, names[i]);
        assert_int_equal(packer->binary, strncmp(names[i], "gzip+", 5) == 0 || strcmp(names[i], "msgpack") == 0);
        assert_int_equal(packer->inner != NULL, strncmp(names[i], "gzip+", 5) == 0);
        assert_int_equal(packer->joinable, packer->inner == NULL);
    }
    assert_null(dw_packer_find("gzip"));
    assert_null(dw_packer_find("gzip+"));
    assert_null(dw_packer_find("gzip+gzip+edn"));
    assert_null(dw_packer_find(""));
    assert_null(dw_packer_find("EDN"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_messages_are_stored_and_large_ones_compressed),
        cmocka_unit_test(a_zip_bomb_is_stopped_at_the_limit),
        cmocka_unit_test(damaged_and_strange_wrappers_are_refused),
        cmocka_unit_test(the_rest_behind_a_wrapped_value_is_found),
        cmocka_unit_test(packers_are_found_by_name),
    };

    return cmocka_run_group_tests_name("gzip", tests, NULL, NULL);
}
