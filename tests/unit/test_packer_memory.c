/* Every packer when memory is short: each allocation of a read and of a write is made to fail in
 * turn, and the answer must be DW_NOMEM without a leak.  The linker sends this program's calls of
 * malloc and its kin to failing.c (see the Makefile). */
#include "packing.h"

#include "tests/unit/failing.h"

/* A message that needs every kind of growth: many values, deep nesting, big maps, long text. */
static const struct dw_value *rich_value(struct dw_arena *arena)
{
    const struct dw_value *items[400], *nested = dw_nil();

    for (int i = 0; i < 60; i++)
        nested = dw_seq(arena, DW_T_VECTOR, &nested, 1);
    for (int i = 0; i < 400; i++) {
        char text[64];

        (void)snprintf(text, sizeof text, "key%d-\n\"\xc3\xa9", i);
        items[i] = i % 2 == 0 ? dw_string(arena, text) : dw_int(arena, i);
    }
    items[1] = nested;
    items[3] = dw_pair(arena, DW_T_TAGGED, dw_text(arena, DW_T_SYMBOL, "a/b", 3), dw_double(arena, 1.5));
    items[5] = dw_seq(arena, DW_T_SET, items, 300);
    items[7] = dw_seq(arena, DW_T_MAP, items + 8, 100);  /* keys that the transit and msgpack writers number */
    items[4] = dw_seq(arena, DW_T_VECTOR, items + 9, 2); /* a composite key */
    return dw_seq(arena, DW_T_MAP, items, 200);
}

/* Reads `bytes` with allocation number `nth` failing. */
static int read_failing(const struct dw_packer *packer, const struct dw_buf *bytes, long nth)
{
    const struct dw_value *value = NULL;
    struct dw_arena *arena;
    int code;

    calls = 0;
    failing_call = nth;
    arena = dw_arena_new(0);
    code =
        arena == NULL ? DW_NOMEM : packer->read(bytes->data, bytes->len, &dw_limits_default, arena, &value, NULL, NULL);
    failing_call = -1;
    dw_arena_free(arena);
    return code;
}

static int write_failing(const struct dw_packer *packer, const struct dw_value *value, long nth)
{
    struct dw_buf out = DW_BUF_INIT;
    int code;

    calls = 0;
    failing_call = nth;
    code = packer->write(value, &out, NULL);
    failing_call = -1;
    dw_buf_fini(&out);
    return code;
}

static void sweep(const char *name)
{
    const struct dw_packer *packer = dw_packer_find(name);
    struct dw_arena *arena = dw_arena_new(0);
    struct dw_buf bytes = DW_BUF_INIT;
    const struct dw_value *value;
    long reads = 0, writes = 0;
    int code;

    assert_non_null(packer);
    assert_non_null(arena);
    value = rich_value(arena);
    assert_non_null(value);
    while ((code = write_failing(packer, value, writes)) == DW_NOMEM)
        writes++;
    assert_int_equal(code, 0);
    assert_int_equal(packer->write(value, &bytes, NULL), 0);
    while ((code = read_failing(packer, &bytes, reads)) == DW_NOMEM)
        reads++;
    assert_int_equal(code, 0);
    assert_true(reads > 3 && writes > 3);
    print_message("# %s: %ld failing allocations in reading, %ld in writing\n", name, reads, writes);
    dw_buf_fini(&bytes);
    dw_arena_free(arena);
}

static void edn_survives_every_failing_allocation(void **state)
{
    (void)state;
    sweep("edn");
}

static void json_survives_every_failing_allocation(void **state)
{
    (void)state;
    sweep("json");
}

static void transit_survives_every_failing_allocation(void **state)
{
    (void)state;
    sweep("transit");
    sweep("transit-verbose");
}

static void msgpack_survives_every_failing_allocation(void **state)
{
    (void)state;
    sweep("msgpack");
}

static void gzip_survives_every_failing_allocation(void **state)
{
    (void)state;
    sweep("gzip+edn");
    sweep("gzip+msgpack");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(edn_survives_every_failing_allocation),
        cmocka_unit_test(json_survives_every_failing_allocation),
        cmocka_unit_test(transit_survives_every_failing_allocation),
        cmocka_unit_test(msgpack_survives_every_failing_allocation),
        cmocka_unit_test(gzip_survives_every_failing_allocation),
    };

    return cmocka_run_group_tests_name("packer memory", tests, NULL, NULL);
}
