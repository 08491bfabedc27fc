/* The JSON packer: what it reads, what it refuses, and the lossy table of docs/values.md. */
#include "packing.h"

#include <dirent.h>
#include <math.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Reads with `read`, writes as edn: the plainest picture of a tree. */
static void reads_as(packing_read *read, const char *json, const char *edn)
{
    struct dw_arena *arena = dw_arena_new(0);

    assert_non_null(arena);
    packing_writes(&dw_packer_edn, packing_must(read, json, strlen(json), arena), edn, strlen(edn));
    dw_arena_free(arena);
}

/* Reads edn, writes JSON. */
static void becomes(const char *edn, const char *json)
{
    struct dw_arena *arena = dw_arena_new(0);

    assert_non_null(arena);
    packing_writes(&dw_packer_json, packing_must(dw_packer_edn.read, edn, strlen(edn), arena), json, strlen(json));
    dw_arena_free(arena);
}

static void values_of_every_kind_are_read(void **state)
{
    static const char *const pairs[][2] = {
        {"null", "nil"},
        {" true ", "true"},
        {"false", "false"},
        {"0", "0"},
        {"-0", "0"},
        {"-12", "-12"},
        {"9223372036854775807", "9223372036854775807"},
        {"9223372036854775808", "9223372036854775808N"},
        {"-9223372036854775808", "-9223372036854775808"},
        {"-9223372036854775809", "-9223372036854775809N"},
        {"1.0", "1.0"},
        {"1e2", "100.0"},
        {"-1.5E-7", "-1.5E-7"},
        {"-0.0", "-0.0"},
        {"1e-999", "0.0"},
        {"0.1", "0.1"},
        {"2.2250738585072011e-308", "2.225073858507201E-308"},
        {"179769313486231580793728971405301e276", "1.7976931348623157E308"},
        {"\"\"", "\"\""},
        {"\"a\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"a\\\"\\\\/\\b\\f\\n\\r\\t\""},
        {"\"\\u00e9\\ud83c\\udf89\"", "\"\xc3\xa9\xf0\x9f\x8e\x89\""},
        {"\"\xc3\xa9\x7f\"", "\"\xc3\xa9\x7f\""},
        {"[]", "[]"},
        {"[1,[2,{}],\"x\"]", "[1 [2 {}] \"x\"]"},
        {"{\"a\":1,\"b\":{\"c\":[]}}", "{\"a\" 1, \"b\" {\"c\" []}}"},
        {" [ 1 , 2 ] ", "[1 2]"},
        {"{ \"a\" : 1 , \"b\" : 2 }", "{\"a\" 1, \"b\" 2}"},
        {"\"0123456789abcdef\\n0123456789abcdef\"", "\"0123456789abcdef\\n0123456789abcdef\""},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(pairs); i++)
        reads_as(dw_packer_json.read, pairs[i][0], pairs[i][1]);
}

static void the_last_of_equal_keys_wins_at_the_first_ones_place(void **state)
{
    (void)state;
    reads_as(dw_packer_json.read, "{\"a\":1,\"b\":2,\"a\":3}", "{\"a\" 3, \"b\" 2}");
    reads_as(dw_packer_json.read, "{\"a\":1,\"\\u0061\":2,\"a\":3}", "{\"a\" 3}");
    reads_as(
        dw_packer_json.read,
        "{\"a\":1,\"b\":2,\"c\":3,\"d\":4,\"e\":5,\"f\":6,\"g\":7,\"h\":8,\"i\":9,\"j\":10,\"k\":11,\"l\":12,\"m\":13,"
        "\"c\":14,\"a\":15}",
        "{\"a\" 15, \"b\" 2, \"c\" 14, \"d\" 4, \"e\" 5, \"f\" 6, \"g\" 7, \"h\" 8, \"i\" 9, \"j\" 10, \"k\" 11, "
        "\"l\" 12, \"m\" 13}");
}

static void keys_become_keywords_where_they_can_be(void **state)
{
    static const char *const pairs[][2] = {
        {"{\"a\":1}", "{:a 1}"},
        {"{\"a/b\":{\"c\":\"d\"}}", "{:a/b {:c \"d\"}}"},
        {"{\"\":1}", "{\"\" 1}"},
        {"{\"a b\":1}", "{\"a b\" 1}"},
        {"{\"a,b\":1}", "{\"a,b\" 1}"},
        {"{\"a/b/c\":1}", "{\"a/b/c\" 1}"},
        {"{\"/\":1}", "{:/ 1}"},
        {"{\"a/\":1}", "{\"a/\" 1}"},
        {"{\"/a\":1}", "{\"/a\" 1}"},
        {"{\":a\":1}", "{\":a\" 1}"},
        {"{\"a:\":1}", "{\"a:\" 1}"},
        {"{\"a::b\":1}", "{\"a::b\" 1}"},
        {"{\"a:b\":1}", "{:a:b 1}"},
        {"{\"1\":1}", "{:1 1}"},
        {"{\"a/1\":1}", "{\"a/1\" 1}"},
        {"{\"(\":1}", "{\"(\" 1}"},
        {"{\"a\\\"\":1}", "{\"a\\\"\" 1}"},
        {"{\"a\\n\":1}", "{\"a\\n\" 1}"},
        {"{\"a@b\":1}", "{\"a@b\" 1}"},
        {"{\"\xc3\xbc\":1}", "{:\xc3\xbc 1}"},
        {"{\"a\xe2\x80\x83\":1}", "{\"a\xe2\x80\x83\" 1}"},
        {"{\"a\\u00a0\":1}", "{\"a\xc2\xa0\" 1}"},
        {"{\"\\u0061\":1}", "{:a 1}"},
        {"{\"user-id\":1,\"ok?\":2}", "{:user-id 1, :ok? 2}"},
        {"{\"\\u0000\":1}", NULL},
        {"{\"a\":1,\"a\":2}", "{:a 2}"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(pairs); i++)
        if (pairs[i][1] != NULL)
            reads_as(dw_json_read_keywords, pairs[i][0], pairs[i][1]);
}

/* Whatever becomes a keyword must be read back as that keyword by the edn reader. */
static void every_keyword_made_from_a_key_is_readable(void **state)
{
    struct dw_arena *arena = dw_arena_new(0);
    struct dw_buf edn = DW_BUF_INIT;

    (void)state;
    assert_non_null(arena);
    for (unsigned c = 0x20; c < 0x7f; c++)
        for (int place = 0; place < 4; place++) {
            char json[32], middle[3] = {(char)c, '\0', '\0'};
            const struct dw_value *value;

            if (c == '"' || c == '\\') {
                middle[0] = '\\';
                middle[1] = (char)c;
            }
            (void)snprintf(json, sizeof json,
                           place == 0   ? "{\"%sx\":1}"
                           : place == 1 ? "{\"x%sx\":1}"
                           : place == 2 ? "{\"x%s\":1}"
                                        : "{\"%s\":1}",
                           middle);
            value = packing_must(dw_json_read_keywords, json, strlen(json), arena);
            dw_buf_reset(&edn);
            assert_int_equal(dw_packer_edn.write(value, &edn, NULL), 0);
            assert_true(dw_equal(value, packing_must(dw_packer_edn.read, edn.data, edn.len, arena)));
            dw_arena_reset(arena);
        }
    dw_buf_fini(&edn);
    dw_arena_free(arena);
}

static void malformed_text_is_refused(void **state)
{
    static const char *const texts[] = {
        "",
        " ",
        "[",
        "]",
        "{",
        "}",
        "[1",
        "[1,",
        "[1,]",
        "[,1]",
        "[1 2]",
        "{\"a\"",
        "{\"a\":",
        "{\"a\":1",
        "{\"a\":1,}",
        "{,}",
        "{a:1}",
        "{1:1}",
        "{\"a\" 1}",
        "{\"a\":}",
        "[}",
        "{]",
        "{\"a\":1]",
        "nul",
        "nulll",
        "True",
        "01",
        "-",
        "-01",
        "+1",
        "1.",
        ".5",
        "1e",
        "1e+",
        "0x1",
        "1a",
        "NaN",
        "Infinity",
        "1e400",
        "-1e400",
        "\"",
        "\"\\",
        "\"\\\"",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\u12g4\"",
        "\"\\ud800\"",
        "\"\\udc00\"",
        "\"\\ud800\\u0041\"",
        "\"\n\"",
        "\"\x1f\"",
        "'a'",
        "1 2",
        "[] []",
        "null x",
        "\"\xff\"",
        "\"\xc0\xaf\"",
        "\xef\xbb\xbf[]",
        "[1]\xff",
        "// c\n1",
        "[1]/**/",
        "\"a\\\n\"",
        "[\x0b]",
        "\xc2\xa0[]",
    };

    (void)state;
    for (size_t i = 0; i < COUNT(texts); i++)
        packing_refuses(dw_packer_json.read, DW_INVALID, texts[i], strlen(texts[i]));
    packing_refuses(dw_packer_json.read, DW_INVALID, "1\0", 2);
    packing_refuses(dw_packer_json.read, DW_INVALID, "\"\0\"", 3);
}

static void every_prefix_is_refused_without_reading_further(void **state)
{
    static const char text[] =
        "{\"a\":[1.5e+10,-2,true,false,null,\"x\\u00e9\\ud83c\\udf89\\n\xf0\x9f\x8e\x89\"],\"b\\t\":{}}";

    (void)state;
    packing_prefixes(dw_packer_json.read, text, sizeof text - 1);
    packing_prefixes(dw_json_read_keywords, text, sizeof text - 1);
}

static void the_rest_behind_the_first_value_is_found(void **state)
{
    struct dw_arena *arena = dw_arena_new(0);
    const struct dw_value *value = NULL;
    size_t rest = 0;

    (void)state;
    assert_non_null(arena);
    assert_int_equal(packing_try(dw_packer_json.read, " [1,2] garbage", 14, NULL, arena, &value, &rest, NULL), 0);
    assert_int_equal(rest, 6);
    dw_arena_free(arena);
}

static void deep_nesting_and_too_many_values_are_refused(void **state)
{
    char *text = malloc(200001);

    (void)state;
    assert_non_null(text);
    memset(text, '[', 10000);
    packing_refuses(dw_packer_json.read, DW_LIMIT, text, 10000);
    text[0] = '[';
    for (size_t i = 0; i < 100000; i++)
        memcpy(text + 1 + 2 * i, "1,", 2);
    text[200000] = ']';
    packing_refuses(dw_packer_json.read, DW_LIMIT, text, 200001);
    for (size_t i = 0; i < 10000; i++)
        memcpy(text + 5 * i, "{\"\":[", 5);
    packing_refuses(dw_packer_json.read, DW_LIMIT, text, 50000);
    free(text);
}

static void what_json_cannot_say_is_written_as_documented(void **state)
{
    static const char *const pairs[][2] = {
        {"[nil true 1 -1 1.0 1.0E10 1.5M 12345678901234567890123N]",
         "[null,true,1,-1,1.0,1.0E10,1.5,12345678901234567890123]"},
        {"[##NaN ##Inf ##-Inf]", "[null,null,null]"},
        {"1/3", "\"1/3\""},
        {"1.M", "\"1.\""},
        {"01M", "\"01\""},
        {"[2e400M -2e400M 2e-400M]", "[\"2e400\",\"-2e400\",2e-400]"},
        {"[:a :a/b c c/d \\e \"f\"]", "[\"a\",\"a/b\",\"c\",\"c/d\",\"e\",\"f\"]"},
        {"{:a 1, :b/c 2, \"d\" 3, e 4}", "{\"a\":1,\"b/c\":2,\"d\":3,\"e\":4}"},
        {"{1 :one, nil 2, [1 \"x\"] 3, \\a 4, 1.5 5}",
         "{\"1\":\"one\",\"nil\":2,\"[1 \\\"x\\\"]\":3,\"\\\\a\":4,\"1.5\":5}"},
        {"{#uuid \"f81d4fae-7dec-11d0-a765-00a0c91e6bf6\" 1}", "{\"f81d4fae-7dec-11d0-a765-00a0c91e6bf6\":1}"},
        {"[(1 2) #{3}]", "[[1,2],[3]]"},
        {"#inst \"2024-02-29T12:34:56.789-00:00\"", "\"2024-02-29T12:34:56.789Z\""},
        {"#foo/bar [1]", "{\"tag\":\"foo/bar\",\"value\":[1]}"},
        {"[#a #b {:c 1}]", "[{\"tag\":\"a\",\"value\":{\"tag\":\"b\",\"value\":{\"c\":1}}}]"},
        {"\"a\\\"\\\\\\n\\u0001\\u007f/\"", "\"a\\\"\\\\\\n\\u0001\x7f/\""},
        {"{:a 1, \"a\" 2}", "{\"a\":1,\"a\":2}"},
    };
    static const int32_t ints[] = {1, -2};
    const struct dw_value array = {.type = DW_T_ARRAY, .u.array = {5, 2, ints}};
    struct dw_arena *arena = dw_arena_new(0);

    (void)state;
    assert_non_null(arena);
    for (size_t i = 0; i < COUNT(pairs); i++)
        becomes(pairs[i][0], pairs[i][1]);
    packing_writes(&dw_packer_json, &array, "[1,-2]", 6);
    packing_writes(&dw_packer_json, dw_text(arena, DW_T_BYTES, "ab", 2), "\"YWI=\"", 6);
    packing_writes(&dw_packer_json, dw_text(arena, DW_T_BYTES, "", 0), "\"\"", 2);
    packing_writes(&dw_packer_json, dw_inst(arena, 0, 1), "\"1970-01-01T00:00:00.000000001Z\"", 32);
    dw_arena_free(arena);
}

/* Reads one file of the suite; the return code of the reader. */
static int read_case(const char *folder, const char *name)
{
    struct dw_arena *arena = dw_arena_new(0);
    const struct dw_value *value = NULL;
    char path[512];
    size_t len;
    char *text;
    int code;

    assert_non_null(arena);
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    text = packing_shared_file(path, &len);
    assert_non_null(text);
    code = packing_try(dw_packer_json.read, text, len, NULL, arena, &value, NULL, NULL);
    free(text);
    dw_arena_free(arena);
    return code;
}

static void the_json_test_suite_is_passed(void **state)
{
    static const char folder[] = "suites/json/test_parsing";
    char path[4096];
    unsigned accepted = 0, refused = 0, either = 0;
    struct dirent *entry;
    DIR *directory;

    (void)state;
    assert_true(packing_shared_path(folder, path, sizeof path));
    directory = opendir(path);
    if (directory == NULL) {
        print_message("# the suite is not here (%s): 0 cases run\n", folder);
        return;
    }
    while ((entry = readdir(directory)) != NULL) {
        int code;

        if (entry->d_name[0] == '.')
            continue;
        code = read_case(folder, entry->d_name);
        if (entry->d_name[0] == 'i') {
            print_message("# %s: %s\n", entry->d_name, code == 0 ? "accepted" : "refused");
            either++;
        } else {
            if ((code == 0) != (entry->d_name[0] == 'y'))
                print_message("# wrong: %s: code %d\n", entry->d_name, code);
            assert_int_equal(code == 0, entry->d_name[0] == 'y');
            accepted += entry->d_name[0] == 'y';
            refused += entry->d_name[0] == 'n';
        }
    }
    assert_int_equal(closedir(directory), 0);
    print_message("# JSON parsing suite: %u y_ accepted, %u n_ refused, %u i_ stated above\n", accepted, refused,
                  either);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_of_every_kind_are_read),
        cmocka_unit_test(the_last_of_equal_keys_wins_at_the_first_ones_place),
        cmocka_unit_test(keys_become_keywords_where_they_can_be),
        cmocka_unit_test(every_keyword_made_from_a_key_is_readable),
        cmocka_unit_test(malformed_text_is_refused),
        cmocka_unit_test(every_prefix_is_refused_without_reading_further),
        cmocka_unit_test(the_rest_behind_the_first_value_is_found),
        cmocka_unit_test(deep_nesting_and_too_many_values_are_refused),
        cmocka_unit_test(what_json_cannot_say_is_written_as_documented),
        cmocka_unit_test(the_json_test_suite_is_passed),
    };

    return cmocka_run_group_tests_name("json", tests, NULL, NULL);
}
