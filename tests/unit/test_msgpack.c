/* The MessagePack packer: every form it reads, Sente's extensions and key cache, the public suite. */
#include "packing.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static size_t from_hex(const char *hex, char *bytes)
{
    size_t len = 0;
    unsigned byte;

    for (; *hex != '\0' && sscanf(hex, "%2x", &byte) == 1; hex += hex[2] == '-' ? 3 : 2)
        bytes[len++] = (char)byte;
    return len;
}

/* Reads hexadecimal, writes edn: the plainest picture of a tree. */
static void reads_as(const char *hex, const char *edn)
{
    struct dw_arena *arena = dw_arena_new(0);
    char bytes[512];
    size_t len = from_hex(hex, bytes);

    assert_non_null(arena);
    packing_writes(&dw_packer_edn, packing_must(dw_packer_msgpack.read, bytes, len, arena), edn, strlen(edn));
    packing_prefixes(dw_packer_msgpack.read, bytes, len);
    dw_arena_free(arena);
}

static void becomes(const char *edn, const char *hex)
{
    struct dw_arena *arena = dw_arena_new(0);
    char bytes[512];
    size_t len = from_hex(hex, bytes);

    assert_non_null(arena);
    packing_writes(&dw_packer_msgpack, packing_must(dw_packer_edn.read, edn, strlen(edn), arena), bytes, len);
    dw_arena_free(arena);
}

static void every_form_of_a_value_is_read(void **state)
{
    static const char *const pairs[][2] = {
        {"cc05", "5"},
        {"cd0005", "5"},
        {"ce00000005", "5"},
        {"cf0000000000000005", "5"},
        {"d0fb", "-5"},
        {"d1fffb", "-5"},
        {"d2fffffffb", "-5"},
        {"d3fffffffffffffffb", "-5"},
        {"cfffffffffffffffff", "18446744073709551615N"},
        {"ca3fc00000", "1.5"},
        {"cb3ff8000000000000", "1.5"},
        {"a161", "\"a\""},
        {"d90161", "\"a\""},
        {"da000161", "\"a\""},
        {"db0000000161", "\"a\""},
        {"c4026162", "\"YWI=\""},
        {"c500026162", "\"YWI=\""},
        {"c6000000026162", "\"YWI=\""},
        {"9101", "[1]"},
        {"dc000101", "[1]"},
        {"dd0000000101", "[1]"},
        {"810102", "{1 2}"},
        {"de00010102", "{1 2}"},
        {"df000000010102", "{1 2}"},
        {"c7010061", ":a"},
        {"c800010061", ":a"},
        {"c9000000010061", ":a"},
        {"c70603cd0100cd0300", "1/3"},
        {"d5030103", "1/3"},
        {"d503ff02", "-1/2"},
        {"d40490", "#{}"},
        {"c70304920102", "#{1 2}"},
        {"d70500000001fffffffe", "[1 -2]"},
        {"d6063fc00000", "[1.5]"},
        {"d7073ff8000000000000", "[1.5]"},
        {"82d4006101d4006102", "{:a 2}"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(pairs); i++)
        reads_as(pairs[i][0], pairs[i][1]);
}

static void timestamps_of_all_three_sizes_are_read(void **state)
{
    (void)state;
    reads_as("d6ff00000001", "#inst \"1970-01-01T00:00:01.000-00:00\"");
    reads_as("d7ffa1dcd7c85a4af6a5", "#inst \"2018-01-02T03:04:05.678901234-00:00\"");
    reads_as("c70cff3b9ac9ffffffffffffffffff", "#inst \"1969-12-31T23:59:59.999999999-00:00\"");
}

static void cached_keys_stand_for_earlier_ones(void **state)
{
    (void)state;
    reads_as("9281d400610181d4080002", "[{:a 1} {:a 2}]");
    /* a value is no key; a nested map's keys come before its sibling's */
    reads_as("9382a16181a162d40078a163a16481d408010181d4080202",
             "[{\"a\" {\"b\" :x}, \"c\" \"d\"} {\"b\" 1} {\"c\" 2}]");
    /* it spans sets, and a key that is neither keyword nor string has no number */
    reads_as("92c706049181d40061018205c0d4080003", "[#{{:a 1}} {5 nil, :a 3}]");
}

static void foreign_extensions_are_kept(void **state)
{
    static const char *const cases[] = {"d4100a",       "d5022021", "d60330313233", "d7044041424344454647",
                                        "c70307707172", "c700ff",   "d49c00",       "d50900ff",
                                        "c70003"};
    struct dw_arena *arena = dw_arena_new(0);

    (void)state;
    assert_non_null(arena);
    for (size_t i = 0; i < COUNT(cases); i++) {
        char bytes[64];
        size_t len = from_hex(cases[i], bytes);

        packing_writes(&dw_packer_msgpack, packing_must(dw_packer_msgpack.read, bytes, len, arena), bytes, len);
    }
    reads_as("d4100a", "#msgpack/ext16 \"Cg==\"");
    dw_arena_free(arena);
}

static void malformed_bytes_are_refused(void **state)
{
    static const char *const cases[] = {
        "",
        "c1",
        "9201",
        "a161ff",
        "0102",
        "a2c328",
        "d9",
        "81",
        "8101",
        "a1ff",
        "dd7fffffff",
        "dfffffffff",
        "dcffff",
        "dbffffffff",
        "c6ffffffff",
        "c9ffffffff00",
        "d40800",
        "92d40800d40800",
        "81d4080001",
        "81d408ff01",
        "9281d400610181d4080102",
        "81c70208000001",
        "d40191c0",
        "d40491",
        "d5049191",
        "d504910102",
        "d6049201",
        "d60491010203",
        "d400ff",
        "d401ff",
        "d402ff",
        "c70cff3b9aca000000000000000000",
        "c70cff000000007fffffffffffffff",
        "92d404929101",
        "c4",
        "ca0000",
        "cb00",
        "d3",
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        char bytes[64];

        packing_refuses(dw_packer_msgpack.read, DW_INVALID, bytes, from_hex(cases[i], bytes));
    }
}

static void integers_take_the_smallest_form(void **state)
{
    static const char *const pairs[][2] = {
        {"0", "00"},
        {"127", "7f"},
        {"128", "cc80"},
        {"255", "ccff"},
        {"256", "cd0100"},
        {"65535", "cdffff"},
        {"65536", "ce00010000"},
        {"4294967295", "ceffffffff"},
        {"4294967296", "d30000000100000000"},
        {"-1", "ff"},
        {"-32", "e0"},
        {"-33", "d0df"},
        {"-128", "d080"},
        {"-129", "d1ff7f"},
        {"-32768", "d18000"},
        {"-32769", "d2ffff7fff"},
        {"-2147483648", "d280000000"},
        {"-2147483649", "d3ffffffff7fffffff"},
        {"5N", "05"},
        {"9223372036854775808N", "cb43e0000000000000"},
        {"1.5M", "cb3ff8000000000000"},
        {"1/3", "d5030103"},
        {"99999999999999999999/2", "cb4405af1d78b58c40"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(pairs); i++)
        becomes(pairs[i][0], pairs[i][1]);
}

static void what_sente_refuses_is_written_as_documented(void **state)
{
    struct dw_arena *arena = dw_arena_new(0);

    (void)state;
    assert_non_null(arena);
    becomes("#foo/bar [1]", "82a3746167a7666f6f2f626172a576616c75659101");
    becomes("#my.Rec{:a 1}", "81d4006101");
    becomes("[#a 1 #a 2]", "9282a3746167a161a576616c756501"
                           "82d40800a161d4080102");
    packing_writes(&dw_packer_msgpack, dw_text(arena, DW_T_URI, "http://x", 8), "\xa8http://x", 9);
    dw_arena_free(arena);
}

static void lengths_take_the_smallest_head(void **state)
{
    static const struct {
        size_t len;
        const char *string, *bytes, *keyword;
    } cases[] = {
        {31, "bf", "c41f", "c71f00"},
        {32, "d920", "c420", "c72000"},
        {255, "d9ff", "c4ff", "c7ff00"},
        {256, "da0100", "c50100", "c8010000"},
        {65535, "daffff", "c5ffff", "c8ffff00"},
        {65536, "db00010000", "c600010000", "c90001000000"},
        {16, "b0", "c410", "d800"},
        {8, "a8", "c408", "d700"},
    };
    static char text[65536];

    (void)state;
    memset(text, 'x', sizeof text);
    for (size_t i = 0; i < COUNT(cases); i++) {
        const char *const heads[] = {cases[i].string, cases[i].bytes, cases[i].keyword};
        static const enum dw_type types[] = {DW_T_STRING, DW_T_BYTES, DW_T_KEYWORD};

        for (size_t k = 0; k < 3; k++) {
            struct dw_arena *arena = dw_arena_new(0);
            const struct dw_value *value = dw_text(arena, types[k], text, cases[i].len);
            struct dw_buf out = DW_BUF_INIT;
            char head[16];
            size_t head_len = from_hex(heads[k], head);

            assert_int_equal(dw_packer_msgpack.write(value, &out, NULL), 0);
            assert_int_equal(out.len, head_len + cases[i].len);
            assert_memory_equal(out.data, head, head_len);
            assert_true(dw_equal(value, packing_must(dw_packer_msgpack.read, out.data, out.len, arena)));
            dw_buf_fini(&out);
            dw_arena_free(arena);
        }
    }
}

/* Sets of growing size within sets: every length of head, and keys that span them. */
static void sets_of_any_size_are_written(void **state)
{
    struct dw_arena *arena = dw_arena_new(0);

    (void)state;
    assert_non_null(arena);
    for (size_t count = 0; count < 70000; count = count * 3 + 1) {
        const struct dw_value **items = malloc((count + 1) * sizeof *items), *pair[2], *outer;
        struct dw_buf out = DW_BUF_INIT;

        assert_non_null(items);
        for (size_t i = 0; i < count; i++)
            items[i] = dw_int(arena, (int64_t)i);
        pair[0] = dw_seq(arena, DW_T_SET, items, count);
        pair[1] = dw_keyword(arena, "a");
        outer = dw_seq(arena, DW_T_SET, pair, 2);
        assert_int_equal(dw_packer_msgpack.write(outer, &out, NULL), 0);
        assert_true(dw_equal(outer, packing_must(dw_packer_msgpack.read, out.data, out.len, arena)));
        dw_buf_fini(&out);
        free(items);
        dw_arena_reset(arena);
    }
    dw_arena_free(arena);
}

static void only_the_first_256_keys_get_numbers(void **state)
{
    struct dw_arena *arena = dw_arena_new(0);
    const struct dw_value *items[600], *maps[2], *value;
    struct dw_buf out = DW_BUF_INIT;

    (void)state;
    assert_non_null(arena);
    for (int i = 0; i < 300; i++) {
        char name[16];

        (void)snprintf(name, sizeof name, "k%03d", i);
        items[2 * i] = dw_keyword(arena, name);
        items[2 * i + 1] = dw_int(arena, 1);
    }
    maps[0] = maps[1] = dw_seq(arena, DW_T_MAP, items, 300);
    value = dw_seq(arena, DW_T_VECTOR, maps, 2);
    assert_int_equal(dw_packer_msgpack.write(value, &out, NULL), 0);
    /* 300 keys of 6 bytes, then 256 numbers of 3 bytes and 44 keys again; heads 1 + 3 + 3; values */
    assert_int_equal(out.len, 7 + 600 + 300 * 6 + 256 * 3 + 44 * 6);
    assert_true(dw_equal(value, packing_must(dw_packer_msgpack.read, out.data, out.len, arena)));
    dw_buf_fini(&out);
    dw_arena_free(arena);
}

static void parts_are_joined_under_one_head(void **state)
{
    struct dw_buf one = DW_BUF_INIT, all = DW_BUF_INIT;
    struct dw_arena *arena = dw_arena_new(0);
    const struct dw_value *data;
    struct dw_part parts[20];
    char head[8];
    size_t head_len = from_hex("dc0014", head);

    (void)state;
    assert_non_null(arena);
    data = packing_must(dw_packer_edn.read, "{:a {:a 1}}", 11, arena);
    assert_int_equal(dw_packer_event(&dw_packer_msgpack, "x/y", 3, data, &one, NULL), 0);
    for (size_t i = 0; i < COUNT(parts); i++)
        parts[i] = (struct dw_part){one.data, one.len};
    assert_int_equal(dw_packer_join(&dw_packer_msgpack, parts, COUNT(parts), &all, NULL), 0);
    assert_int_equal(all.len, head_len + 20 * one.len);
    assert_memory_equal(all.data, head, head_len);
    (void)packing_must(dw_packer_msgpack.read, all.data, all.len, arena);
    dw_buf_fini(&one);
    dw_buf_fini(&all);
    dw_arena_free(arena);
}

static void deep_nesting_and_false_counts_are_refused_by_limits(void **state)
{
    static char text[20000];

    (void)state;
    memset(text, 0x91, sizeof text);
    packing_refuses(dw_packer_msgpack.read, DW_LIMIT, text, 10000);
    for (size_t i = 0; i < 5000; i++)
        memcpy(text + 3 * i, "\x81\xa0\x91", 3);
    packing_refuses(dw_packer_msgpack.read, DW_LIMIT, text, 15000);
}

/* ---- the suite ---- */

static const struct dw_value *get(const struct dw_value *map, const char *key)
{
    for (size_t i = 0; map->type == DW_T_MAP && i < map->u.seq.count; i++)
        if (dw_is_text(map->u.seq.items[2 * i], DW_T_STRING, key, strlen(key)))
            return map->u.seq.items[2 * i + 1];
    return NULL;
}

static double as_real(const struct dw_value *number)
{
    if (number->type == DW_T_INT)
        return (double)number->u.integer;
    return number->type == DW_T_BIGINT ? strtod(number->u.text.bytes, NULL) : number->u.real;
}

static bool is_number(const struct dw_value *value)
{
    return value->type == DW_T_INT || value->type == DW_T_BIGINT || value->type == DW_T_DOUBLE ||
           value->type == DW_T_FLOAT;
}

static bool is_bytes(const struct dw_value *read, const struct dw_value *hex)
{
    char bytes[512];
    size_t len = from_hex(hex->u.text.bytes, bytes);

    return dw_is_text(read, DW_T_BYTES, bytes, len);
}

/* True when `read` is what the case says: numbers by value (the suite writes 1 as a float too). */
static bool matches(const struct dw_value *test, const struct dw_value *read)
{
    const struct dw_value *expected;

    if ((expected = get(test, "bignum")) != NULL && read->type != DW_T_DOUBLE && read->type != DW_T_FLOAT) {
        struct dw_buf text = DW_BUF_INIT;
        bool same;

        assert_int_equal(dw_packer_json.write(read, &text, NULL), 0);
        same = strcmp(dw_buf_str(&text), expected->u.text.bytes) == 0;
        dw_buf_fini(&text);
        return same;
    }
    if (expected != NULL)
        return as_real(read) == strtod(expected->u.text.bytes, NULL);
    if ((expected = get(test, "number")) != NULL)
        return is_number(read) && as_real(read) == as_real(expected);
    if ((expected = get(test, "binary")) != NULL)
        return is_bytes(read, expected);
    if ((expected = get(test, "timestamp")) != NULL) {
        int64_t seconds = expected->u.seq.items[0]->u.integer, nanos = expected->u.seq.items[1]->u.integer;

        return read->type == DW_T_INST && read->u.inst.ms == seconds * 1000 + nanos / 1000000 &&
               read->u.inst.ns == nanos % 1000000;
    }
    for (size_t i = 0; i < test->u.seq.count; i++)
        if (!dw_is_text(test->u.seq.items[2 * i], DW_T_STRING, "msgpack", 7))
            return dw_equal(test->u.seq.items[2 * i + 1], read);
    return false;
}

/* Extension numbers are Sente's here: the bytes must be kept, whatever they are read as. */
static bool ext_is_kept(const char *bytes, size_t len, const struct dw_value *read)
{
    struct dw_buf out = DW_BUF_INIT;
    struct dw_arena *arena = dw_arena_new(0);
    bool kept;

    assert_non_null(arena);
    assert_int_equal(dw_packer_msgpack.write(read, &out, NULL), 0);
    kept = dw_equal(read, packing_must(dw_packer_msgpack.read, out.data, out.len, arena)) && out.len <= len &&
           memcmp(out.data + out.len - 1, bytes + len - 1, 1) == 0;
    dw_buf_fini(&out);
    dw_arena_free(arena);
    return kept;
}

static unsigned run_group(const struct dw_value *tests)
{
    struct dw_arena *arena = dw_arena_new(0);
    unsigned count = 0;

    assert_non_null(arena);
    for (size_t i = 0; i < tests->u.seq.count; i++) {
        const struct dw_value *test = tests->u.seq.items[i], *forms = get(test, "msgpack");

        for (size_t k = 0; k < forms->u.seq.count; k++) {
            char bytes[1024];
            size_t len = from_hex(forms->u.seq.items[k]->u.text.bytes, bytes);
            const struct dw_value *read = packing_must(dw_packer_msgpack.read, bytes, len, arena);
            bool right = get(test, "ext") != NULL ? ext_is_kept(bytes, len, read) : matches(test, read);

            if (!right)
                print_message("# wrong: %s\n", forms->u.seq.items[k]->u.text.bytes);
            assert_true(right);
            dw_arena_reset(arena);
            count++;
        }
    }
    dw_arena_free(arena);
    return count;
}

static void the_msgpack_test_suite_is_passed(void **state)
{
    size_t len;
    char *text = packing_shared_file("suites/msgpack/dist/msgpack-test-suite.json", &len);
    struct dw_arena *arena;
    const struct dw_value *groups;
    unsigned count = 0;

    (void)state;
    if (text == NULL) {
        print_message("# the MessagePack suite is not here: 0 cases run\n");
        return;
    }
    arena = dw_arena_new(0);
    assert_non_null(arena);
    groups = packing_must(dw_packer_json.read, text, len, arena);
    for (size_t i = 0; i < groups->u.seq.count; i++)
        count += run_group(groups->u.seq.items[2 * i + 1]);
    print_message("# MessagePack suite: %zu groups, %u encodings read\n", groups->u.seq.count, count);
    free(text);
    dw_arena_free(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_form_of_a_value_is_read),
        cmocka_unit_test(timestamps_of_all_three_sizes_are_read),
        cmocka_unit_test(cached_keys_stand_for_earlier_ones),
        cmocka_unit_test(foreign_extensions_are_kept),
        cmocka_unit_test(malformed_bytes_are_refused),
        cmocka_unit_test(integers_take_the_smallest_form),
        cmocka_unit_test(what_sente_refuses_is_written_as_documented),
        cmocka_unit_test(lengths_take_the_smallest_head),
        cmocka_unit_test(sets_of_any_size_are_written),
        cmocka_unit_test(only_the_first_256_keys_get_numbers),
        cmocka_unit_test(parts_are_joined_under_one_head),
        cmocka_unit_test(deep_nesting_and_false_counts_are_refused_by_limits),
        cmocka_unit_test(the_msgpack_test_suite_is_passed),
    };

    return cmocka_run_group_tests_name("msgpack", tests, NULL, NULL);
}
