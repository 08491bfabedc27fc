/* The transit packers: what is read, what is refused, caching, and the two written forms. */
#include "packing.h"

#include "chsk/transit.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Reads transit, writes edn: the plainest picture of a tree. */
static void reads_as(const char *transit, const char *edn)
{
    struct dw_arena *arena = dw_arena_new(0);

    assert_non_null(arena);
    packing_writes(&dw_packer_edn, packing_must(dw_packer_transit.read, transit, strlen(transit), arena), edn,
                   strlen(edn));
    dw_arena_free(arena);
}

static void becomes(const struct dw_packer *packer, const char *edn, const char *transit)
{
    struct dw_arena *arena = dw_arena_new(0);
    const struct dw_value *value;

    assert_non_null(arena);
    value = packing_must(dw_packer_edn.read, edn, strlen(edn), arena);
    packing_writes(packer, value, transit, strlen(transit));
    assert_true(dw_equal(value, packing_must(packer->read, transit, strlen(transit), arena)));
    dw_arena_free(arena);
}

static void scalars_in_strings_are_read(void **state)
{
    static const char *const pairs[][2] = {
        {"[\"~:a/b\",\"~$c\",\"~i5\",\"~n12\",\"~f1.5\",\"~d1.5\",\"~_\",\"~?t\",\"~?f\",\"~cx\"]",
         "[:a/b c 5 12N 1.5M 1.5 nil true false \\x]"},
        {"[\"~zNaN\",\"~zINF\",\"~z-INF\"]", "[##NaN ##Inf ##-Inf]"},
        {"[\"~m1709210096789\",\"~m-1\",\"~t2024-02-29T12:34:56.789Z\"]",
         "[#inst \"2024-02-29T12:34:56.789-00:00\" #inst \"1969-12-31T23:59:59.999-00:00\" "
         "#inst \"2024-02-29T12:34:56.789-00:00\"]"},
        {"[\"~uF81D4FAE-7dec-11d0-a765-00a0c91e6bf6\"]", "[#uuid \"f81d4fae-7dec-11d0-a765-00a0c91e6bf6\"]"},
        {"[\"~bAAEC/w==\",\"~b\"]", "[\"AAEC/w==\" \"\"]"},
        {"[\"~rhttp://x\"]", "[\"http://x\"]"},
        {"[\"~~a\",\"~^a\",\"~`a\",\"~~\",\"a~b\",\"`x\",\"\"]", "[\"~a\" \"^a\" \"`a\" \"~\" \"a~b\" \"`x\" \"\"]"},
        {"[\"~i9223372036854775808\",9223372036854776000]", "[9223372036854775808N 9223372036854776000N]"},
        {"[\"~c\\ud83c\\udf89\",\"~c\\n\"]", "[\\\xf0\x9f\x8e\x89 \\newline]"},
        {"[\"~xyz\",\"~X\"]", "[#x \"yz\" #X \"\"]"},
        {"[\"~:\"]", "[:]"},
        {"[\"~i1.5\"]", "[1.5]"}, /* what ClojureScript writes for a double as map key */
    };

    (void)state;
    for (size_t i = 0; i < COUNT(pairs); i++)
        reads_as(pairs[i][0], pairs[i][1]);
}

static void tagged_values_are_read_in_both_forms(void **state)
{
    static const char *const pairs[][2] = {
        {"[\"~#'\",1]", "1"},
        {"{\"~#'\":\"a\"}", "\"a\""},
        {"[\"~#list\",[1,[\"~#set\",[2]]]]", "(1 #{2})"},
        {"{\"~#list\":[1,{\"~#set\":[2]}]}", "(1 #{2})"},
        {"[\"~#cmap\",[[1],2,null,3]]", "{[1] 2, nil 3}"},
        {"{\"~#cmap\":[{\"~:a\":1},2]}", "{{:a 1} 2}"},
        {"[\"~#ratio\",[\"~n1\",\"~n3\"]]", "1/3"},
        {"[\"~#ratio\",[\"~n-2\",4]]", "-1/2"},
        {"[\"~#ratio\",[\"~n99999999999999999999\",\"~n7\"]]", "99999999999999999999/7"},
        {"[\"~#m\",1709210096789]", "#inst \"2024-02-29T12:34:56.789-00:00\""},
        {"[\"~#u\",[\"~i-568210367123287600\",\"~i-6384696206158828554\"]]",
         "#uuid \"f81d4fae-7dec-11d0-a765-00a0c91e6bf6\""},
        {"[\"~#n\",\"12\"]", "12N"},
        {"[\"~#link\",[\"^ \",\"href\",\"~rhttp://x\",\"rel\",\"self\"]]",
         "#link {\"href\" \"http://x\", \"rel\" \"self\"}"},
        {"[\"~#my/tag\",[\"~#'\",null]]", "#my/tag nil"},
        {"[\"~#point\",[1,2]]", "#point [1 2]"},
        {"{\"~#point\":[1,2]}", "#point [1 2]"},
        {"[\"~#set\",[1,1,2]]", "#{1 2}"},
        {"[\"~#x\",[1]]", "#x [1]"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(pairs); i++)
        reads_as(pairs[i][0], pairs[i][1]);
}

static void maps_are_read_in_both_forms(void **state)
{
    static const char *const pairs[][2] = {
        {"[\"^ \"]", "{}"},
        {"{}", "{}"},
        {"[\"^ \",\"~:a\",1,\"b\",[\"^ \",\"~i1\",2]]", "{:a 1, \"b\" {1 2}}"},
        {"{\"~:a\":1,\"b\":{\"~i1\":2,\"~_\":3,\"~?t\":4}}", "{:a 1, \"b\" {1 2, nil 3, true 4}}"},
        {"[\"^ \",\"~:a\",1,\"~:a\",2]", "{:a 2}"},
        {" [ \"^ \" , \"~:a\" , 1 ] ", "{:a 1}"},
        {"[\"^ \",[1],2]", "{[1] 2}"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(pairs); i++)
        reads_as(pairs[i][0], pairs[i][1]);
}

static void cache_codes_stand_for_what_came_before(void **state)
{
    static const char *const pairs[][2] = {
        {"[\"~:abc\",\"^0\",\"~$def\",\"^1\",\"^0\"]", "[:abc :abc def def :abc]"},
        /* too short, or no key: not cached */
        {"[\"~:a\",\"~:c\",\"long string\",\"~:next\",\"^0\"]", "[:a :c \"long string\" :next :next]"},
        {"[[\"^ \",\"long key\",1],[\"^ \",\"^0\",2]]", "[{\"long key\" 1} {\"long key\" 2}]"},
        {"[[\"~#set\",[1]],[\"^0\",[2]]]", "[#{1} #{2}]"},
        {"[[\"~#point\",[1]],[\"^0\",[2]]]", "[#point [1] #point [2]]"},
        {"[{\"abcd\":1},{\"^0\":2}]", "[{\"abcd\" 1} {\"abcd\" 2}]"},
        /* a keyword as key and as value is one entry */
        {"[[\"^ \",\"~:key\",\"~:val\"],\"^0\",\"^1\"]", "[{:key :val} :key :val]"},
        /* length is counted in UTF-16 units: three here, four there */
        {"[\"~:\xc3\xa9\",\"~:\xf0\x9f\x8e\x89\",\"^0\"]", "[:\xc3\xa9 :\xf0\x9f\x8e\x89 :\xf0\x9f\x8e\x89]"},
        {"[[\"^ \",\"~i1000\",1],[\"^ \",\"^0\",2]]", "[{1000 1} {1000 2}]"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(pairs); i++)
        reads_as(pairs[i][0], pairs[i][1]);
}

static void malformed_text_is_refused(void **state)
{
    static const char *const texts[] = {
        "",
        "[",
        "[1",
        "[1,",
        "[1,]",
        "[1 2]",
        "]",
        "{\"a\"}",
        "{\"a\":1",
        "{\"a\":1,}",
        "{1:2}",
        "nul",
        "01",
        "\"",
        "[] []",
        "[\"^0\"]",
        "[\"~:abc\",\"^1\"]",
        "[\"^\"]",
        "[\"^!\"]",
        "[\"^000\"]",
        "[\"~:a\",\"^0\"]",
        "[\"~:abc\",\"^\\u0080\"]",
        "[\"~\"]",
        "[\"~\xc3\xa9\"]",
        "[\"~i\"]",
        "[\"~ix\"]",
        "[\"~i-\"]",
        "[\"~n1.5\"]",
        "[\"~n\"]",
        "[\"~f\"]",
        "[\"~fx\"]",
        "[\"~d\"]",
        "[\"~m\"]",
        "[\"~m1.5\"]",
        "[\"~m99999999999999999999\"]",
        "[\"~t\"]",
        "[\"~t2024-13-01\"]",
        "[\"~u1\"]",
        "[\"~b=\"]",
        "[\"~bA\"]",
        "[\"~bAB=C\"]",
        "[\"~bAAE\"]",
        "[\"~bAB==\"]",
        "[\"~c\"]",
        "[\"~cab\"]",
        "[\"~z\"]",
        "[\"~zinf\"]",
        "[\"~?\"]",
        "[\"~?x\"]",
        "[\"~_x\"]",
        "[\"~#\"]",
        "[\"~#a\"]",
        "[\"~#a\",1,2]",
        "[1,\"~#a\"]",
        "\"~#a\"",
        "[[\"~#set\",1]]",
        "[\"~#set\",[\"^ \"]]",
        "[\"~#list\",1]",
        "[\"~#cmap\",[1]]",
        "[\"~#cmap\",1]",
        "[\"~#ratio\",[1]]",
        "[\"~#ratio\",[\"~n1\",\"~n0\"]]",
        "[\"~#ratio\",[1,\"~n-2\"]]",
        "[\"~#ratio\",[\"a\",1]]",
        "[\"~#u\",[1]]",
        "[\"~#u\",1]",
        "[\"~#m\",[1]]",
        "[\"~#i\",null]",
        "[\"^ \",\"a\"]",
        "[1,\"^ \"]",
        "\"^ \"",
        "{\"^ \":1}",
        "{\"a\":1,\"~#b\":2}",
        "{\"~#b\":2,\"a\":1}",
        "{\"~#b\":2,\"~#c\":1}",
        "{\"~#b\"}",
        "[\"\xff\"]",
        "[\"\\ud800\"]",
    };

    (void)state;
    for (size_t i = 0; i < COUNT(texts); i++)
        packing_refuses(dw_packer_transit.read, DW_INVALID, texts[i], strlen(texts[i]));
}

static void every_prefix_is_refused_without_reading_further(void **state)
{
    static const char array[] =
        "[[\"^ \",\"~:abc\",[\"~#set\",[1.5,\"~m1\",\"\\u00e9\"]],\"key\\n!\",\"^0\"],{\"~#cmap\":[[],"
        "\"~u01234567-89ab-cdef-0123-456789abcdef\"]},{\"~:a\":null}]";

    (void)state;
    packing_prefixes(dw_packer_transit.read, array, sizeof array - 1);
}

static void values_are_written_in_both_forms(void **state)
{
    static const char *const triples[][3] = {
        {"nil", "[\"~#'\",null]", "{\"~#'\":null}"},
        {"[nil true 1 1.5 \"a\"]", "[null,true,1,1.5,\"a\"]", "[null,true,1,1.5,\"a\"]"},
        {"[9007199254740991 9007199254740992 -9007199254740992]",
         "[9007199254740991,\"~i9007199254740992\",\"~i-9007199254740992\"]",
         "[9007199254740991,\"~i9007199254740992\",\"~i-9007199254740992\"]"},
        {"{1 2, nil 3, true 4, 1.5 5, \\a 6, a 7, ##NaN 8, 3N 9}",
         "[\"^ \",\"~i1\",2,\"~_\",3,\"~?t\",4,\"~d1.5\",5,\"~ca\",6,\"~$a\",7,\"~zNaN\",8,\"~n3\",9]",
         "{\"~i1\":2,\"~_\":3,\"~?t\":4,\"~d1.5\":5,\"~ca\":6,\"~$a\":7,\"~zNaN\":8,\"~n3\":9}"},
        {"{1/2 1}", "[\"~#cmap\",[[\"~#ratio\",[\"~n1\",\"~n2\"]],1]]",
         "{\"~#cmap\":[{\"~#ratio\":[\"~n1\",\"~n2\"]},1]}"},
        {"#foo/bar #{1}", "[\"~#foo/bar\",[\"~#set\",[1]]]", "{\"~#foo/bar\":{\"~#set\":[1]}}"},
        {"#x \"yz\"", "[\"~#'\",\"~xyz\"]", "{\"~#'\":\"~xyz\"}"},
        {"{#x \"yz\" 1}", "[\"^ \",\"~xyz\",1]", "{\"~xyz\":1}"},
        {"[#inst \"2024-02-29T12:34:56.789Z\"]", "[\"~m1709210096789\"]", "[\"~t2024-02-29T12:34:56.789Z\"]"},
        {"[:abc :abc :a :a abc abc]", "[\"~:abc\",\"^0\",\"~:a\",\"~:a\",\"~$abc\",\"^1\"]",
         "[\"~:abc\",\"~:abc\",\"~:a\",\"~:a\",\"~$abc\",\"~$abc\"]"},
        {"[{\"abcd\" \"abcd\"} {\"abcd\" 1} {\"~ab\" 1} {\"~ab\" 2}]",
         "[[\"^ \",\"abcd\",\"abcd\"],[\"^ \",\"^0\",1],[\"^ \",\"~~ab\",1],[\"^ \",\"^1\",2]]",
         "[{\"abcd\":\"abcd\"},{\"abcd\":1},{\"~~ab\":1},{\"~~ab\":2}]"},
        {"[\"\xf0\x9f\x8e\x89\\u0001\\\"\"]", "[\"\\uD83C\\uDF89\\u0001\\\"\"]", "[\"\\uD83C\\uDF89\\u0001\\\"\"]"},
        {"[[] () {} #{}]", "[[],[\"~#list\",[]],[\"^ \"],[\"~#set\",[]]]", "[[],{\"~#list\":[]},{},{\"~#set\":[]}]"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(triples); i++) {
        becomes(&dw_packer_transit, triples[i][0], triples[i][1]);
        becomes(&dw_packer_transit_verbose, triples[i][0], triples[i][2]);
    }
}

/* A vector of `count` different keywords, each twice in a row, the whole list `times` times. */
static const struct dw_value *many_keywords(struct dw_arena *arena, size_t count, size_t times)
{
    const struct dw_value **items = malloc(2 * count * times * sizeof *items);
    const struct dw_value *made;

    assert_non_null(items);
    for (size_t i = 0; i < count * times; i++) {
        char name[32];

        (void)snprintf(name, sizeof name, "key%05zu", i % count);
        items[2 * i] = items[2 * i + 1] = dw_keyword(arena, name);
    }
    made = dw_seq(arena, DW_T_VECTOR, items, 2 * count * times);
    free(items);
    assert_non_null(made);
    return made;
}

static void the_cache_starts_over_when_it_is_full(void **state)
{
    struct dw_arena *arena = dw_arena_new(0);
    const struct dw_value *value;
    struct dw_buf out = DW_BUF_INIT;

    (void)state;
    assert_non_null(arena);
    value = many_keywords(arena, DW_TRANSIT_CACHE + 64, 3);
    assert_int_equal(dw_packer_transit.write(value, &out, NULL), 0);
    assert_true(dw_equal(value, packing_must(dw_packer_transit.read, out.data, out.len, arena)));
    /* the last code before, and the first after it started over */
    assert_non_null(strstr(out.data, "\"~:key01935\",\"^[[\",\"~:key01936\",\"^0\",\"~:key01937\",\"^1\""));
    assert_non_null(strstr(out.data, "\"~:key00043\",\"^[\",\"~:key00044\",\"^10\""));
    dw_buf_fini(&out);
    dw_arena_free(arena);
}

static void parts_refer_to_nothing_and_can_be_joined(void **state)
{
    struct dw_buf one = DW_BUF_INIT, all = DW_BUF_INIT;
    struct dw_arena *arena = dw_arena_new(0);
    const struct dw_value *data;

    (void)state;
    assert_non_null(arena);
    data = packing_must(dw_packer_edn.read, "{:name 1, :x {:name 2}}", 23, arena);
    assert_int_equal(dw_packer_event(&dw_packer_transit, "chat/msg", 8, data, &one, NULL), 0);
    {
        const struct dw_part parts[] = {{one.data, one.len}, {one.data, one.len}};

        assert_int_equal(dw_packer_join(&dw_packer_transit, parts, 2, &all, NULL), 0);
    }
    assert_string_equal(dw_buf_str(&all), "[[\"~:chat/msg\",[\"^ \",\"~:name\",1,\"~:x\",[\"^ \",\"~:name\",2]]],"
                                          "[\"~:chat/msg\",[\"^ \",\"~:name\",1,\"~:x\",[\"^ \",\"~:name\",2]]]]");
    dw_buf_reset(&one);
    assert_int_equal(dw_packer_part(&dw_packer_transit, dw_nil(), &one, NULL), 0);
    assert_string_equal(dw_buf_str(&one), "null");
    (void)packing_must(dw_packer_transit.read, all.data, all.len, arena);
    dw_buf_fini(&one);
    dw_buf_fini(&all);
    dw_arena_free(arena);
}

static void what_transit_cannot_say_is_written_as_documented(void **state)
{
    static const int32_t ints[] = {1, -2};
    const struct dw_value array = {.type = DW_T_ARRAY, .u.array = {5, 2, ints}};
    struct dw_arena *arena = dw_arena_new(0);

    (void)state;
    assert_non_null(arena);
    packing_writes(&dw_packer_transit, &array, "[1,-2]", 6);
    packing_writes(&dw_packer_transit, dw_inst(arena, 5, 999), "[\"~#'\",\"~m5\"]", 13);
    packing_writes(&dw_packer_transit, dw_text(arena, DW_T_BYTES, "\0\1\2\377", 4), "[\"~#'\",\"~bAAEC/w==\"]", 20);
    dw_arena_free(arena);
}

/* Around anything but what transit means by them, its own tags would make the message unreadable. */
static void tags_that_transit_reserves_become_maps(void **state)
{
    static const char *const triples[][3] = {
        {"[#c \"xy\"]", "[[\"^ \",\"tag\",\"c\",\"value\",\"xy\"]]", "[{\"tag\":\"c\",\"value\":\"xy\"}]"},
        {"[#i 1 #list 2]", "[[\"^ \",\"tag\",\"i\",\"value\",1],[\"^ \",\"tag\",\"list\",\"^0\",2]]",
         "[{\"tag\":\"i\",\"value\":1},{\"tag\":\"list\",\"value\":2}]"},
        {"{#' [] 1}", "[\"~#cmap\",[[\"^ \",\"tag\",\"'\",\"value\",[]],1]]",
         "{\"~#cmap\":[{\"tag\":\"'\",\"value\":[]},1]}"},
        {"[#set #ratio 1]", "[[\"^ \",\"tag\",\"set\",\"value\",[\"^ \",\"tag\",\"ratio\",\"^0\",1]]]",
         "[{\"tag\":\"set\",\"value\":{\"tag\":\"ratio\",\"value\":1}}]"},
        {"[#' \"x\"]", "[\"~'x\"]", "[\"~'x\"]"},
    };
    struct dw_arena *arena = dw_arena_new(0);

    (void)state;
    assert_non_null(arena);
    for (size_t i = 0; i < COUNT(triples); i++) {
        const struct dw_value *value = packing_must(dw_packer_edn.read, triples[i][0], strlen(triples[i][0]), arena);

        packing_writes(&dw_packer_transit, value, triples[i][1], strlen(triples[i][1]));
        packing_writes(&dw_packer_transit_verbose, value, triples[i][2], strlen(triples[i][2]));
        (void)packing_must(dw_packer_transit.read, triples[i][1], strlen(triples[i][1]), arena);
        (void)packing_must(dw_packer_transit.read, triples[i][2], strlen(triples[i][2]), arena);
    }
    dw_arena_free(arena);
}

static void deep_nesting_is_refused_by_its_limit(void **state)
{
    static const char *const openers[] = {"[", "{\"a\":", "[\"~#a\",", "{\"~#a\":", "[\"^ \",1,"};

    (void)state;
    for (size_t i = 0; i < COUNT(openers); i++) {
        size_t len = strlen(openers[i]);
        char *text = malloc(10000 * len + 1);

        assert_non_null(text);
        for (size_t k = 0; k < 10000; k++)
            memcpy(text + k * len, openers[i], len);
        packing_refuses(dw_packer_transit.read, DW_LIMIT, text, 10000 * len);
        free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scalars_in_strings_are_read),
        cmocka_unit_test(tagged_values_are_read_in_both_forms),
        cmocka_unit_test(maps_are_read_in_both_forms),
        cmocka_unit_test(cache_codes_stand_for_what_came_before),
        cmocka_unit_test(malformed_text_is_refused),
        cmocka_unit_test(every_prefix_is_refused_without_reading_further),
        cmocka_unit_test(values_are_written_in_both_forms),
        cmocka_unit_test(the_cache_starts_over_when_it_is_full),
        cmocka_unit_test(parts_refer_to_nothing_and_can_be_joined),
        cmocka_unit_test(what_transit_cannot_say_is_written_as_documented),
        cmocka_unit_test(tags_that_transit_reserves_become_maps),
        cmocka_unit_test(deep_nesting_is_refused_by_its_limit),
    };

    return cmocka_run_group_tests_name("transit", tests, NULL, NULL);
}
