/* The edn packer: what it reads, what it refuses, what it writes. */
#include "packing.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

struct form {
    const char *read;
    const char *written; /* NULL: as read */
};

static void check_forms(const struct form *forms, size_t count)
{
    struct dw_arena *arena = dw_arena_new(0);

    assert_non_null(arena);
    for (size_t i = 0; i < count; i++) {
        const char *text = forms[i].written != NULL ? forms[i].written : forms[i].read;
        const struct dw_value *value = packing_must(dw_packer_edn.read, forms[i].read, strlen(forms[i].read), arena);

        packing_writes(&dw_packer_edn, value, text, strlen(text));
        assert_true(dw_equal(value, packing_must(dw_packer_edn.read, text, strlen(text), arena)));
        dw_arena_reset(arena);
    }
    dw_arena_free(arena);
}

static void check_refused(const char *const *texts, size_t count)
{
    for (size_t i = 0; i < count; i++)
        packing_refuses(dw_packer_edn.read, DW_INVALID, texts[i], strlen(texts[i]));
}

static void numbers_of_every_kind_are_read(void **state)
{
    static const struct form forms[] = {
        {"0", NULL},
        {"-0", "0"},
        {"+5", "5"},
        {"-42", NULL},
        {"9223372036854775807", NULL},
        {"-9223372036854775808", NULL},
        {"9223372036854775808", "9223372036854775808N"},
        {"12345678901234567890123N", NULL},
        {"-1N", NULL},
        {"-0N", "0N"},
        {"+7N", "7N"},
        {"0x1F", "31"},
        {"-0xff", "-255"},
        {"017", "15"},
        {"00", "0"},
        {"2r1010", "10"},
        {"36rZZ", "1295"},
        {"16rff", "255"},
        {"0xFFFFFFFFFFFFFFFFFF", "4722366482869645213695N"},
        {"0x10N", "16N"},
        {"1/3", NULL},
        {"-2/4", "-1/2"},
        {"4/2", "2"},
        {"0/5", "0"},
        {"12345678901234567890123/7", NULL},
        {"1.0", NULL},
        {"1.", "1.0"},
        {"-1.5", NULL},
        {"1e5", "100000.0"},
        {"1E-7", "1.0E-7"},
        {"1e+21", "1.0E21"},
        {"1.5M", NULL},
        {"1M", NULL},
        {"+1.5M", "1.5M"},
        {"1E+5M", NULL},
        {"1e400", "##Inf"},
        {"##NaN", NULL},
        {"##Inf", NULL},
        {"##-Inf", NULL},
        {"-0.0", NULL},
        {"123456789.125", "1.23456789125E8"},
        {"0.1", NULL},
        {"0.001", NULL},
        {"0.0001", "1.0E-4"},
        {"1.0E7", NULL},
        {"9999999.0", NULL},
        {"4.9E-324", NULL},
        {"1.7976931348623157E308", NULL},
        {"2.2250738585072014E-308", NULL},
        {"5.684341886080802E-14", NULL},
        {"1.0E23", NULL},
        {"9007199254740993", NULL},
    };

    (void)state;
    check_forms(forms, COUNT(forms));
}

static void names_of_every_kind_are_read(void **state)
{
    static const struct form forms[] = {
        {"nil", NULL},       {"true", NULL},        {"false", NULL},
        {"foo", NULL},       {"foo/bar", NULL},     {"/", NULL},
        {"foo//", NULL},     {"+", NULL},           {"-", NULL},
        {"+a", NULL},        {"..", NULL},          {"a'b", NULL},
        {"a#b", NULL},       {"*a*", NULL},         {"nilly", NULL},
        {":a", NULL},        {":a/b", NULL},        {":1", NULL},
        {":a:b", NULL},      {":+", NULL},          {":/", NULL},
        {":a.b/c-d?", NULL}, {":a/b/c", NULL},      {":\xc3\xbc/\xe6\xbc\xa2", NULL},
        {":true", NULL},     {":2024-01-01", NULL}, {"clojure.lang.PersistentVector$TransientVector", NULL},
    };

    (void)state;
    check_forms(forms, COUNT(forms));
}

static void strings_and_characters_are_read(void **state)
{
    static const struct form forms[] = {
        {"\"\"", NULL},
        {"\"a\\\"b\\\\c\\n\\t\\r\\f\\b\"", NULL},
        {"\"raw\nnewline\"", "\"raw\\nnewline\""},
        {"\"\\u00e9\\u0041\"", "\"\xc3\xa9"
                               "A\""},
        {"\"\\uD83C\\uDF89\"", "\"\xf0\x9f\x8e\x89\""},
        {"\"\\101\\0\\377\"", NULL},
        {"\\a", NULL},
        {"\\newline", NULL},
        {"\\space", NULL},
        {"\\tab", NULL},
        {"\\return", NULL},
        {"\\backspace", NULL},
        {"\\formfeed", NULL},
        {"\\u00e9", "\\\xc3\xa9"},
        {"\\o101", "\\A"},
        {"\\u", NULL},
        {"\\o", NULL},
        {"\\(", NULL},
        {"\\\\", NULL},
        {"\\\"", NULL},
        {"\\,", NULL},
        {"\\;", NULL},
        {"\\ ", "\\space"},
        {"[\\a\\b]", "[\\a \\b]"},
        {"[\\)]", NULL},
        {"\\\xf0\x9f\x8e\x89", NULL},
        {"\\\n", "\\newline"},
    };
    struct form plain[COUNT(forms)];

    (void)state;
    memcpy(plain, forms, sizeof forms);
    plain[5].written = "\"A?\xc3\xbf\""; /* with a NUL in place of the question mark: below */
    check_forms(plain, 5);
    check_forms(plain + 6, COUNT(forms) - 6);
}

static void a_string_may_contain_nul(void **state)
{
    struct dw_arena *arena = dw_arena_new(0);
    const struct dw_value *value;

    (void)state;
    assert_non_null(arena);
    value = packing_must(dw_packer_edn.read, "\"A\\0\\377\"", 9, arena);
    assert_true(dw_is_text(value, DW_T_STRING, "A\0\xc3\xbf", 4));
    packing_writes(&dw_packer_edn, value, "\"A\0\xc3\xbf\"", 6);
    dw_arena_free(arena);
}

static void collections_are_read(void **state)
{
    static const struct form forms[] = {
        {"[]", NULL},
        {"()", NULL},
        {"{}", NULL},
        {"#{}", NULL},
        {"[1 2 3]", NULL},
        {"[1,2,,3]", "[1 2 3]"},
        {" [ 1 ] ", "[1]"},
        {"(1 (2) [3])", NULL},
        {"{:a 1, :b {:c nil}}", NULL},
        {"{1 :one, nil 2, [1 2] :vec}", NULL},
        {"#{1 #{2} [3]}", NULL},
        {"[[[]]]", NULL},
        {"{:a 1 :b 2}", "{:a 1, :b 2}"},
        {"[\"a\"\"b\"]", "[\"a\" \"b\"]"},
        {"[a[b]c]", "[a [b] c]"},
        {"{\"a\" 1, :a 2, a 3}", NULL},
        {"{1 1, 1.0 2}", NULL},
        {"#{{:a 1, :b 2} {:a 1, :b 3}}", NULL},
    };

    (void)state;
    check_forms(forms, COUNT(forms));
}

static void comments_discards_and_metadata_leave_no_trace(void **state)
{
    static const struct form forms[] = {
        {"; c\n[1 ;x\n 2]", "[1 2]"},
        {"[1] ; end", "[1]"},
        {"[#_a 1 #_ [b {c d}]]", "[1]"},
        {"[#_ #_ a b c]", "[c]"},
        {"{:a #_x 1 #_ :b #_ 2}", "{:a 1}"},
        {"#_ a b", "b"},
        {"^{:m 1} [1]", "[1]"},
        {"^:a ^:b {}", "{}"},
        {"[^String x]", "[x]"},
        {"#^{:m 1} (1)", "(1)"},
        {"^\"S\" #{}", "#{}"},
        {"[#_#inst \"2024\" 1]", "[1]"},
    };

    (void)state;
    check_forms(forms, COUNT(forms));
}

static void namespaced_maps_are_spelt_out(void **state)
{
    static const struct form forms[] = {
        {"#:a{:b 1}", "{:a/b 1}"},
        {"#:a.b{:c 1, :_/d 2, :e/f 3, \"s\" 4, g 5, _/h 6}", "{:a.b/c 1, :d 2, :e/f 3, \"s\" 4, a.b/g 5, h 6}"},
        {"#:a{}", "{}"},
        {"#:a{_/+ 1 1 2 :_/x 3}", "{+ 1, 1 2, :x 3}"},
        {"#:a {:b 1}", "{:a/b 1}"},
        {"#:a{:b #:c{:d 1}}", "{:a/b {:c/d 1}}"},
    };

    (void)state;
    check_forms(forms, COUNT(forms));
}

static void tagged_literals_are_understood_or_kept(void **state)
{
    static const struct form forms[] = {
        {"#inst \"2024-02-29T12:34:56.789-00:00\"", NULL},
        {"#inst \"2024-02-29T12:34:56.000+02:00\"", "#inst \"2024-02-29T10:34:56.000-00:00\""},
        {"#inst \"2024\"", "#inst \"2024-01-01T00:00:00.000-00:00\""},
        {"#inst \"2024-02-29T12:34:56.789123456Z\"", "#inst \"2024-02-29T12:34:56.789123456-00:00\""},
        {"#inst \"1969-12-31T23:59:59.999Z\"", "#inst \"1969-12-31T23:59:59.999-00:00\""},
        {"#inst \"0000-03-01T00:00:00Z\"", "#inst \"0000-03-01T00:00:00.000-00:00\""},
        {"#inst \"2016-12-31T23:59:60Z\"", "#inst \"2017-01-01T00:00:00.000-00:00\""},
        {"#uuid \"F81D4FAE-7DEC-11D0-A765-00A0C91E6BF6\"", "#uuid \"f81d4fae-7dec-11d0-a765-00a0c91e6bf6\""},
        {"#foo/bar [1 2]", NULL},
        {"#foo #bar 1", NULL},
        {"#foo[1]", "#foo [1]"},
        {"#js {:a 1}", NULL},
        {"#my.app.TestRec{:a 1, :b 2}", NULL},
        {"#object[java.net.URI 0x00c0ffee \"http://x.y/z?a=1\"]", NULL},
        {"[#'clojure.core/map nil]", NULL},
        {"#\"re.x\\d\\\"\"", NULL},
        {"#queue [1]", NULL},
        {"#a ^:m []", "#a []"},
    };

    (void)state;
    check_forms(forms, COUNT(forms));
}

static const char *const malformed_texts[] = {
    "",
    " ",
    ";",
    "[",
    "]",
    "(]",
    "[)",
    "{]",
    "[}",
    "{:a}",
    "#{1 1}",
    "{:a 1 :a 2}",
    "{1 1 1N 2}",
    "#{[1] (1)}",
    "#{#{1 2} #{2 1}}",
    "{{1 2 3 4} 0 {3 4 1 2} 0}",
    "#:a{:b 1 :a/b 2}",
    "\"",
    "\"\\",
    "\"\\\"",
    "\"a\\x\"",
    "\"\\u12\"",
    "\"\\uD83C\"",
    "\"\\uDF89\"",
    "\"\\uD83C\\u0041\"",
    "\"\\400\"",
    "\"\\8\"",
    "\\",
    "\\ab",
    "\\newlin",
    "\\uD83C",
    "\\o400",
    "\\u00zz",
    ":",
    "::a",
    ":a:",
    "a:",
    ":a::b",
    "a/",
    "/a",
    ":/a",
    "a/1",
    ":a/1",
    "08",
    "09",
    "1a",
    "1/0",
    "1/",
    "1/a",
    "0x",
    "0xg",
    "2r2",
    "37r1",
    "1r1",
    "0r0",
    "1e",
    "1e+",
    "1.5.2",
    "1.5N",
    "-1a",
    "+1b",
    "1MM",
    "##",
    "##nan",
    "##Foo",
    "#",
    "# foo 1",
    "#1 2",
    "#:a",
    "#:a[]",
    "#::a{}",
    "#:a/b{:c 1}",
    "#:a{:1 2}", /* from here on: keys that would not read back with what they become */
    "#:a{1 2 :1b 2}",
    "#:a{_/nil 1}",
    "#:a{_/true 1}",
    "#:a{_/+1 1}",
    "#:a{_/#b 1}",
    "#:a{_/:b 1}",
    "#:{:a 1}",
    "#(inc 1)",
    "#<x>",
    "#=(1)",
    "#?(:clj 1)",
    "#foo",
    "[#foo]",
    "#inst 5",
    "#inst \"x\"",
    "#inst \"-717267298\"", /* milliseconds beyond 64 bits */
    "#inst \"+292278995\"",
    "#inst \"2024-13\"",
    "#inst \"2023-02-29\"",
    "#inst \"2024-01-01T24\"",
    "#inst \"2024-01-01T00:00:60Z\"",
    "#inst \"2024-01-01T00:00:00.Z\"",
    "#uuid \"f81d4fae\"",
    "#uuid \"f81d4fae-7dec-11d0-a765-00a0c91e6bfg\"",
    "#uuid 1",
    "#_",
    "[#_]",
    "#_ a",
    "^",
    "^:a",
    "^:a 1",
    "^1 []",
    "^[1] []",
    "^:a :b",
    "1 2",
    "[1] 2",
    "a b",
    "[] ]",
    "a\x01",
    "\x7f",
    "[1 \x02]",
    "\"\xff\"",
    "\"\xc0\x80\"",
    "\"\xed\xa0\x80\"",
    "a\xf4\x90\x80\x80",
    "; \xff\n1",
    "#object",
    "#\"",
    "#\"a",
    "#\"a\\\"",
    "[#_ #_ a]",
};

static void malformed_text_is_refused(void **state)
{
    (void)state;
    check_refused(malformed_texts, COUNT(malformed_texts));
}

static void a_nul_byte_is_no_end_of_input(void **state)
{
    (void)state;
    packing_refuses(dw_packer_edn.read, DW_INVALID, "1\0", 2);
    packing_refuses(dw_packer_edn.read, DW_INVALID, "[1 \0]", 5);
    packing_refuses(dw_packer_edn.read, DW_INVALID, "\"\\\0\"", 4);
}

static void every_prefix_is_refused_without_reading_further(void **state)
{
    static const char *const texts[] = {
        "[:a/b {:c #{1.5 2/3 \\newline \"x\\u00e9\\\\\"} #:n{:k #inst \"2024-02-29T12:34:56.789-00:00\"} ##-Inf 0x1f "
        ":z}]",
        "{:a #uuid \"f81d4fae-7dec-11d0-a765-00a0c91e6bf6\", :b ^:m (x #_y z) ; c\n, :c #my.Tag{:d "
        "\"\xf0\x9f\x8e\x89\"}}",
        "#\"re\\\"x\"",
    };

    (void)state;
    for (size_t i = 0; i < COUNT(texts); i++) {
        struct dw_arena *arena = dw_arena_new(0);

        assert_non_null(arena);
        (void)packing_must(dw_packer_edn.read, texts[i], strlen(texts[i]), arena);
        dw_arena_free(arena);
        packing_prefixes(dw_packer_edn.read, texts[i], strlen(texts[i]));
    }
}

static void the_rest_behind_the_first_form_is_found(void **state)
{
    struct dw_arena *arena = dw_arena_new(0);
    const struct dw_value *value = NULL;
    size_t rest = 0;

    (void)state;
    assert_non_null(arena);
    assert_int_equal(packing_try(dw_packer_edn.read, " [1 2] garbage", 14, NULL, arena, &value, &rest, NULL), 0);
    assert_int_equal(rest, 6);
    assert_int_equal(packing_try(dw_packer_edn.read, "a)", 2, NULL, arena, &value, &rest, NULL), 0);
    assert_int_equal(rest, 1);
    dw_arena_free(arena);
}

/* `count` times `text`. */
static char *repeat(const char *text, size_t count)
{
    size_t len = strlen(text);
    char *made = malloc(len * count + 1);

    assert_non_null(made);
    for (size_t i = 0; i < count; i++)
        memcpy(made + i * len, text, len);
    made[len * count] = '\0';
    return made;
}

static void deep_nesting_is_refused_by_its_limit(void **state)
{
    static const char *const openers[] = {"[", "(", "{", "#{", "#_", "#a ", "^:a ", "{:a ", "#:a{:b ", "^{:a ", "[{1 "};

    (void)state;
    for (size_t i = 0; i < COUNT(openers); i++) {
        char *text = repeat(openers[i], 10000);

        packing_refuses(dw_packer_edn.read, DW_LIMIT, text, strlen(text));
        free(text);
    }
}

static void nesting_within_a_large_limit_is_no_recursion(void **state)
{
    const struct dw_limits limits = {1000000, 10000000, 100000000};
    struct dw_arena *arena = dw_arena_new(0);
    struct dw_buf out = DW_BUF_INIT;
    const struct dw_value *value = NULL;
    const size_t depth = 1000000;
    char *text = malloc(2 * depth);

    (void)state;
    assert_non_null(arena);
    assert_non_null(text);
    memset(text, '[', depth);
    memset(text + depth, ']', depth);
    assert_int_equal(dw_packer_edn.read(text, 2 * depth, &limits, arena, &value, NULL, NULL), 0);
    assert_int_equal(dw_packer_edn.write(value, &out, NULL), 0);
    assert_int_equal(out.len, 2 * depth);
    assert_memory_equal(out.data, text, out.len);
    dw_buf_fini(&out);
    free(text);
    dw_arena_free(arena);
}

static void too_many_values_and_too_many_bytes_are_refused(void **state)
{
    const struct dw_limits few = {64, 10, 100};
    struct dw_arena *arena = dw_arena_new(0);
    const struct dw_value *value = NULL;

    (void)state;
    assert_non_null(arena);
    assert_int_equal(dw_packer_edn.read("[1 2 3 4 5 6 7 8 9]", 19, &few, arena, &value, NULL, NULL), 0);
    assert_int_equal(dw_packer_edn.read("[1 2 3 4 5 6 7 8 9 10]", 22, &few, arena, &value, NULL, NULL), DW_LIMIT);
    assert_int_equal(dw_packer_edn.read("[#_1 #_2 #_3 #_4 #_5 6]", 23, &few, arena, &value, NULL, NULL), DW_LIMIT);
    {
        char *text = repeat(" ", 100);

        text[0] = '1';
        assert_int_equal(dw_packer_edn.read(text, 100, &few, arena, &value, NULL, NULL), 0);
        free(text);
        text = repeat(" ", 101);
        text[0] = '1';
        assert_int_equal(dw_packer_edn.read(text, 101, &few, arena, &value, NULL, NULL), DW_LIMIT);
        free(text);
    }
    dw_arena_free(arena);
}

static void an_arena_bound_is_a_limit(void **state)
{
    struct dw_arena *arena = dw_arena_new(300);
    const struct dw_value *value = NULL;

    (void)state;
    assert_non_null(arena);
    assert_int_equal(dw_packer_edn.read("[1 2 3]", 7, &dw_limits_default, arena, &value, NULL, NULL), 0);
    dw_arena_reset(arena);
    assert_int_equal(
        dw_packer_edn.read("[1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8]", 37, &dw_limits_default, arena, &value, NULL, NULL),
        DW_LIMIT);
    dw_arena_free(arena);
}

static void what_edn_cannot_say_is_written_as_documented(void **state)
{
    static const float floats[] = {1.5F, 0.1F};
    const struct dw_value array = {.type = DW_T_ARRAY, .u.array = {6, 2, floats}};
    struct dw_arena *arena = dw_arena_new(0);

    (void)state;
    assert_non_null(arena);
    packing_writes(&dw_packer_edn, &array, "[1.5 0.1]", 9);
    packing_writes(&dw_packer_edn, dw_float(arena, 0.1), "0.1", 3);
    packing_writes(&dw_packer_edn, dw_text(arena, DW_T_BYTES, "\0\1\2\377", 4), "\"AAEC/w==\"", 10);
    packing_writes(&dw_packer_edn, dw_text(arena, DW_T_URI, "http://x", 8), "\"http://x\"", 10);
    packing_writes(&dw_packer_edn, dw_keyword(arena, "a b"), ":a b", 4);
    packing_writes(&dw_packer_edn, dw_inst(arena, 253402300800000, 0), "#inst \"+10000-01-01T00:00:00.000-00:00\"", 39);
    dw_arena_free(arena);
}

static void an_event_is_packed_and_joined(void **state)
{
    struct dw_arena *arena = dw_arena_new(0);
    struct dw_buf one = DW_BUF_INIT, two = DW_BUF_INIT, all = DW_BUF_INIT, message = DW_BUF_INIT;

    (void)state;
    assert_non_null(arena);
    assert_int_equal(dw_packer_event(&dw_packer_edn, "a/b", 3, dw_int(arena, 1), &one, NULL), 0);
    assert_int_equal(dw_packer_event(&dw_packer_edn, "c/d", 3, NULL, &two, NULL), 0);
    {
        const struct dw_part events[] = {{one.data, one.len}, {two.data, two.len}};

        assert_int_equal(dw_packer_join(&dw_packer_edn, events, 2, &all, NULL), 0);
    }
    {
        const struct dw_part parts[] = {{all.data, all.len}, {"nil", 3}};

        assert_int_equal(dw_packer_join(&dw_packer_edn, parts, 2, &message, NULL), 0);
    }
    assert_string_equal(dw_buf_str(&message), "[[[:a/b 1] [:c/d]] nil]");
    dw_buf_fini(&one);
    dw_buf_fini(&two);
    dw_buf_fini(&all);
    dw_buf_fini(&message);
    dw_arena_free(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_of_every_kind_are_read),
        cmocka_unit_test(names_of_every_kind_are_read),
        cmocka_unit_test(strings_and_characters_are_read),
        cmocka_unit_test(a_string_may_contain_nul),
        cmocka_unit_test(collections_are_read),
        cmocka_unit_test(comments_discards_and_metadata_leave_no_trace),
        cmocka_unit_test(namespaced_maps_are_spelt_out),
        cmocka_unit_test(tagged_literals_are_understood_or_kept),
        cmocka_unit_test(malformed_text_is_refused),
        cmocka_unit_test(a_nul_byte_is_no_end_of_input),
        cmocka_unit_test(every_prefix_is_refused_without_reading_further),
        cmocka_unit_test(the_rest_behind_the_first_form_is_found),
        cmocka_unit_test(deep_nesting_is_refused_by_its_limit),
        cmocka_unit_test(nesting_within_a_large_limit_is_no_recursion),
        cmocka_unit_test(too_many_values_and_too_many_bytes_are_refused),
        cmocka_unit_test(an_arena_bound_is_a_limit),
        cmocka_unit_test(what_edn_cannot_say_is_written_as_documented),
        cmocka_unit_test(an_event_is_packed_and_joined),
    };

    return cmocka_run_group_tests_name("edn", tests, NULL, NULL);
}
