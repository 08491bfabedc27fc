/* The value tree: its arena, constructors and equality. */
#include "packing.h"

#include <math.h>
#include <time.h>

static int setup(void **state)
{
    *state = dw_arena_new(0);
    return *state == NULL;
}

static int teardown(void **state)
{
    dw_arena_free(*state);
    return 0;
}

static const struct dw_value *seq2(struct dw_arena *arena, enum dw_type type, const struct dw_value *a,
                                   const struct dw_value *b)
{
    const struct dw_value *items[] = {a, b};

    return dw_seq(arena, type, items, type == DW_T_MAP ? 1 : 2);
}

static void an_arena_hands_out_aligned_memory_up_to_its_bound(void **state)
{
    struct dw_arena *arena = dw_arena_new(10000);
    size_t got = 0;

    (void)state;
    assert_non_null(arena);
    for (char *memory = dw_arena_alloc(arena, 13); memory != NULL; memory = dw_arena_alloc(arena, 13)) {
        assert_int_equal((uintptr_t)memory % 8, 0);
        memset(memory, 0xa5, 13);
        got += 16;
    }
    assert_int_equal(got, 10000);
    assert_true(dw_arena_full(arena));
    dw_arena_free(arena);
}

static void a_reset_arena_starts_over(void **state)
{
    struct dw_arena *arena = dw_arena_new(100000);

    (void)state;
    assert_non_null(arena);
    for (int round = 0; round < 100; round++) {
        assert_non_null(dw_arena_alloc(arena, 60000));
        assert_non_null(dw_arena_alloc(arena, 30000));
        assert_null(dw_arena_alloc(arena, 30000));
        assert_true(dw_arena_full(arena));
        dw_arena_reset(arena);
        assert_false(dw_arena_full(arena));
    }
    dw_arena_free(arena);
}

static void an_absurd_size_is_refused(void **state)
{
    assert_null(dw_arena_alloc(*state, SIZE_MAX));
    assert_null(dw_arena_alloc(*state, SIZE_MAX / 2 + 1));
    assert_null(dw_text(*state, DW_T_STRING, "", SIZE_MAX / 2));
}

static void constructors_pass_a_missing_child_on(void **state)
{
    struct dw_arena *arena = *state;

    assert_null(dw_pair(arena, DW_T_TAGGED, NULL, dw_nil()));
    assert_null(dw_pair(arena, DW_T_TAGGED, dw_nil(), NULL));
    assert_null(seq2(arena, DW_T_VECTOR, dw_nil(), NULL));
    assert_null(seq2(arena, DW_T_MAP, dw_nil(), NULL));
}

static void text_is_copied_and_terminated(void **state)
{
    char source[] = "a\0b";
    const struct dw_value *value = dw_text(*state, DW_T_STRING, source, 3);

    source[0] = 'x';
    assert_non_null(value);
    assert_true(dw_is_text(value, DW_T_STRING, "a\0b", 3));
    assert_int_equal(value->u.text.bytes[3], 0);
}

static void maps_and_sets_are_equal_in_any_order(void **state)
{
    struct dw_arena *arena = *state;
    const struct dw_value *one = dw_int(arena, 1), *a = dw_keyword(arena, "a"), *s = dw_string(arena, "a");
    const struct dw_value *forth[] = {a, one, s, dw_nil()}, *back[] = {s, dw_nil(), a, one};

    assert_true(dw_equal(dw_seq(arena, DW_T_MAP, forth, 2), dw_seq(arena, DW_T_MAP, back, 2)));
    assert_true(dw_equal(dw_seq(arena, DW_T_SET, forth, 4), dw_seq(arena, DW_T_SET, back, 4)));
    assert_false(dw_equal(dw_seq(arena, DW_T_VECTOR, forth, 4), dw_seq(arena, DW_T_VECTOR, back, 4)));
    back[1] = one;
    assert_false(dw_equal(dw_seq(arena, DW_T_MAP, forth, 2), dw_seq(arena, DW_T_MAP, back, 2)));
}

static void sets_of_sets_are_equal_in_any_order(void **state)
{
    struct dw_arena *arena = *state;
    const struct dw_value *one = dw_int(arena, 1), *two = dw_int(arena, 2), *three = dw_int(arena, 3);
    const struct dw_value *left =
        seq2(arena, DW_T_SET, seq2(arena, DW_T_SET, one, two), seq2(arena, DW_T_SET, two, three));
    const struct dw_value *right =
        seq2(arena, DW_T_SET, seq2(arena, DW_T_SET, three, two), seq2(arena, DW_T_SET, two, one));

    assert_true(dw_equal(left, right));
    right = seq2(arena, DW_T_SET, seq2(arena, DW_T_SET, three, one), seq2(arena, DW_T_SET, two, one));
    assert_false(dw_equal(left, right));
}

static void a_list_equals_a_vector_and_no_set(void **state)
{
    struct dw_arena *arena = *state;
    const struct dw_value *one = dw_int(arena, 1), *two = dw_int(arena, 2);
    const struct dw_value *vector = seq2(arena, DW_T_VECTOR, one, two);

    assert_true(dw_equal(seq2(arena, DW_T_LIST, one, two), vector));
    assert_false(dw_equal(seq2(arena, DW_T_SET, one, two), vector));
    assert_false(dw_equal(seq2(arena, DW_T_LIST, two, one), vector));
}

static void numbers_are_equal_within_their_kind(void **state)
{
    struct dw_arena *arena = *state;

    assert_false(dw_equal(dw_int(arena, 1), dw_double(arena, 1.0)));
    assert_true(dw_equal(dw_int(arena, -12), dw_text(arena, DW_T_BIGINT, "-12", 3)));
    assert_false(dw_equal(dw_int(arena, 12), dw_text(arena, DW_T_BIGINT, "-12", 3)));
    assert_true(dw_equal(dw_int(arena, INT64_MIN), dw_text(arena, DW_T_BIGINT, "-9223372036854775808", 20)));
    assert_false(dw_equal(dw_int(arena, INT64_MIN), dw_text(arena, DW_T_BIGINT, "-9223372036854775809", 20)));
    assert_true(dw_equal(dw_double(arena, NAN), dw_double(arena, NAN)));
    assert_true(dw_equal(dw_double(arena, 0.0), dw_double(arena, -0.0)));
    assert_true(dw_equal(dw_float(arena, 1.5), dw_double(arena, 1.5)));
    assert_false(dw_equal(dw_float(arena, 0.1), dw_double(arena, 0.1)));
    assert_false(dw_equal(dw_double(arena, NAN), dw_double(arena, 1)));
}

static void text_of_different_types_differs(void **state)
{
    struct dw_arena *arena = *state;

    assert_false(dw_equal(dw_string(arena, "a"), dw_keyword(arena, "a")));
    assert_false(dw_equal(dw_keyword(arena, "a"), dw_text(arena, DW_T_SYMBOL, "a", 1)));
    assert_false(dw_equal(dw_nil(), dw_bool(false)));
}

/* A map of n entries, keys counted up or down. */
static const struct dw_value *big_map(struct dw_arena *arena, size_t n, bool down)
{
    const struct dw_value **items = malloc(2 * n * sizeof *items);
    const struct dw_value *made;

    assert_non_null(items);
    for (size_t i = 0; i < n; i++) {
        items[2 * i] = dw_int(arena, (int64_t)(down ? n - 1 - i : i));
        items[2 * i + 1] = items[2 * i];
    }
    made = dw_seq(arena, DW_T_MAP, items, n);
    free(items);
    return made;
}

static void big_maps_are_compared_in_little_more_than_linear_time(void **state)
{
    const struct dw_value *up = big_map(*state, 200000, false), *down = big_map(*state, 200000, true);
    clock_t begun = clock();

    assert_non_null(up);
    assert_non_null(down);
    assert_true(dw_equal(up, down));
    /* a quadratic walk would take minutes; the bound leaves room for sanitizers on a busy machine */
    assert_true(clock() - begun < 2 * CLOCKS_PER_SEC);
}

static void very_deep_trees_are_compared_without_recursion(void **state)
{
    struct dw_arena *arena = *state;
    const struct dw_value *a = dw_nil(), *b = dw_nil(), *c = dw_int(arena, 1);

    for (int i = 0; i < 1000000; i++) {
        a = dw_seq(arena, DW_T_VECTOR, &a, 1);
        b = dw_seq(arena, DW_T_LIST, &b, 1);
        c = dw_seq(arena, DW_T_VECTOR, &c, 1);
    }
    assert_true(dw_equal(a, b));
    assert_false(dw_equal(a, c));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_arena_hands_out_aligned_memory_up_to_its_bound),
        cmocka_unit_test(a_reset_arena_starts_over),
        cmocka_unit_test_setup_teardown(an_absurd_size_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(constructors_pass_a_missing_child_on, setup, teardown),
        cmocka_unit_test_setup_teardown(text_is_copied_and_terminated, setup, teardown),
        cmocka_unit_test_setup_teardown(maps_and_sets_are_equal_in_any_order, setup, teardown),
        cmocka_unit_test_setup_teardown(sets_of_sets_are_equal_in_any_order, setup, teardown),
        cmocka_unit_test_setup_teardown(a_list_equals_a_vector_and_no_set, setup, teardown),
        cmocka_unit_test_setup_teardown(numbers_are_equal_within_their_kind, setup, teardown),
        cmocka_unit_test_setup_teardown(text_of_different_types_differs, setup, teardown),
        cmocka_unit_test_setup_teardown(big_maps_are_compared_in_little_more_than_linear_time, setup, teardown),
        cmocka_unit_test_setup_teardown(very_deep_trees_are_compared_without_recursion, setup, teardown),
    };

    return cmocka_run_group_tests_name("value", tests, NULL, NULL);
}
