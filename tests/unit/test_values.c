/* Every row of the recorded values (wire/values.json in the shared folder): what Sente's server and
 * client wrote for a value must be read, and written back byte for byte. */
#include "packing.h"

static const struct dw_value *rows; /* the vector "values" */
static struct dw_arena *row_arena;

/* Entry `key` of a map, or NULL. */
static const struct dw_value *get(const struct dw_value *map, const char *key)
{
    if (map == NULL || map->type != DW_T_MAP)
        return NULL;
    for (size_t i = 0; i < map->u.seq.count; i++)
        if (dw_is_text(map->u.seq.items[2 * i], DW_T_STRING, key, strlen(key)))
            return map->u.seq.items[2 * i + 1];
    return NULL;
}

static const struct dw_value *get2(const struct dw_value *row, const char *side, const char *packer)
{
    const struct dw_value *value = get(get(row, side), packer);

    return value != NULL && value->type == DW_T_STRING ? value : NULL;
}

static int load_rows(void **state)
{
    size_t len;
    char *text = packing_shared_file("wire/values.json", &len);

    (void)state;
    if (text == NULL) {
        print_message("# wire/values.json is not here: 0 rows run\n");
        return 0;
    }
    row_arena = dw_arena_new(0);
    assert_non_null(row_arena);
    rows = get(packing_must(dw_packer_json.read, text, len, row_arena), "values");
    assert_non_null(rows);
    assert_int_equal(rows->type, DW_T_VECTOR);
    free(text);
    return 0;
}

static int drop_rows(void **state)
{
    (void)state;
    dw_arena_free(row_arena);
    return 0;
}

/* A packer and the name of its column in the file. */
struct column {
    const char *key, *packer;
    bool hexadecimal;
};

static const struct column columns[] = {
    {"edn", "edn", false},
    {"transit", "transit", false},
    {"transit_verbose", "transit-verbose", false},
    {"msgpack", "msgpack", true},
};

#define COLUMNS (sizeof columns / sizeof columns[0])

static size_t from_hex(const char *hex, char *bytes)
{
    size_t len = 0;
    unsigned byte;

    for (; sscanf(hex, "%2x", &byte) == 1; hex += 2)
        bytes[len++] = (char)byte;
    return len;
}

/* The bytes in a row's cell, to be freed; NULL where the cell is empty or an error. */
static char *cell(const struct dw_value *row, const char *side, const struct column *column, size_t *len)
{
    const struct dw_value *text = get2(row, side, column->key);
    char *bytes;

    if (text == NULL)
        return NULL;
    bytes = malloc(text->u.text.len + 1);
    assert_non_null(bytes);
    if (column->hexadecimal) {
        *len = from_hex(text->u.text.bytes, bytes);
        return bytes;
    }
    *len = text->u.text.len;
    memcpy(bytes, text->u.text.bytes, *len);
    return bytes;
}

static const char *row_name(const struct dw_value *row)
{
    return get(row, "clj")->u.text.bytes;
}

/* Reads and writes back what `side` wrote with the packer; returns how many rows had it. */
static unsigned same_bytes(const char *side, const struct column *column)
{
    const struct dw_packer *packer = dw_packer_find(column->packer);
    struct dw_arena *arena = dw_arena_new(0);
    unsigned count = 0;

    assert_non_null(packer);
    assert_non_null(arena);
    for (size_t i = 0; rows != NULL && i < rows->u.seq.count; i++) {
        size_t len;
        char *bytes = cell(rows->u.seq.items[i], side, column, &len);

        if (bytes == NULL)
            continue;
        packing_writes(packer, packing_must(packer->read, bytes, len, arena), bytes, len);
        packing_prefixes(packer->read, bytes, len);
        free(bytes);
        dw_arena_reset(arena);
        count++;
    }
    dw_arena_free(arena);
    print_message("# %s: %u rows of %s, same bytes written back\n", column->packer, count, side);
    return count;
}

static void the_servers_edn_is_written_back_byte_for_byte(void **state)
{
    (void)state;
    assert_int_equal(same_bytes("server", &columns[0]), rows != NULL ? rows->u.seq.count : 0);
    /* "server_bare" of edn is no edn: Sente's packer writes a string that stands alone without quotes */
}

static void the_servers_transit_is_written_back_byte_for_byte(void **state)
{
    (void)state;
    assert_true(same_bytes("server", &columns[1]) >= (rows != NULL ? 98 : 0));
    assert_true(same_bytes("server_bare", &columns[1]) >= (rows != NULL ? 98 : 0));
    assert_true(same_bytes("server", &columns[2]) >= (rows != NULL ? 98 : 0));
    assert_true(same_bytes("server_bare", &columns[2]) >= (rows != NULL ? 98 : 0));
}

static void the_servers_msgpack_is_written_back_byte_for_byte(void **state)
{
    (void)state;
    assert_true(same_bytes("server", &columns[3]) >= (rows != NULL ? 95 : 0));
    assert_true(same_bytes("server_bare", &columns[3]) >= (rows != NULL ? 95 : 0));
}

/* Rows whose edn does not say what the others say: Clojure prints more or less there. */
static bool differs_from_edn(const char *name, const struct column *column)
{
    static const struct {
        const char *name, *packer; /* packer NULL: all */
    } known[] = {
        {"(keyword \"a b\")", NULL},                    /* printed as two forms */
        {"(->TestRec 1 2)", "transit"},                 /* a record; transit makes it a map ... */
        {"(->TestRec 1 2)", "transit-verbose"},         /* ... in another order */
        {"(->TestRec 1 2)", "msgpack"},                 /* a map */
        {"(java.net.URI. \"http://x.y/z?a=1\")", NULL}, /* printed as an object */
        {"(object-array [1 :a])", NULL},                /* printed as an object */
        {"clojure.lang.PersistentQueue/EMPTY", NULL},   /* printed as an object */
        {"1.5M", "msgpack"},                            /* a double */
    };

    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strcmp(known[i].name, name) == 0 &&
            (known[i].packer == NULL || strcmp(known[i].packer, column->packer) == 0))
            return true;
    return false;
}

/* The edn column's tree, written by every other packer, is what that packer wrote. */
static void what_edn_says_is_written_by_the_others_as_sente_does(void **state)
{
    struct dw_arena *arena = dw_arena_new(0);
    unsigned count = 0, different = 0;

    (void)state;
    assert_non_null(arena);
    for (size_t i = 0; rows != NULL && i < rows->u.seq.count; i++)
        for (size_t k = 1; k < COLUMNS; k++) {
            const struct dw_value *row = rows->u.seq.items[i], *edn = get2(row, "server", "edn"), *tree;
            const struct dw_packer *packer = dw_packer_find(columns[k].packer);
            size_t len;
            char *bytes = cell(row, "server", &columns[k], &len);

            if (bytes == NULL)
                continue;
            if (differs_from_edn(row_name(row), &columns[k])) {
                different++;
            } else {
                tree = packing_must(dw_packer_edn.read, edn->u.text.bytes, edn->u.text.len, arena);
                assert_true(dw_equal(tree, packing_must(packer->read, bytes, len, arena)));
                if (strcmp(row_name(row), "(float 1.5)") != 0 || !columns[k].hexadecimal)
                    packing_writes(packer, tree, bytes, len);
                count++;
            }
            free(bytes);
            dw_arena_reset(arena);
        }
    dw_arena_free(arena);
    print_message(
        "# %u cells equal to their row's edn, and written from it; %u where Sente's edn says something else\n", count,
        different);
}

static void what_the_client_writes_is_read_as_the_server_reads_it(void **state)
{
    struct dw_arena *arena = dw_arena_new(0);
    unsigned count = 0;

    (void)state;
    assert_non_null(arena);
    for (size_t i = 0; rows != NULL && i < rows->u.seq.count; i++)
        for (size_t k = 0; k < COLUMNS; k++) {
            const struct dw_value *row = rows->u.seq.items[i];
            const struct dw_value *expected = get2(row, "server_reads_client", columns[k].key);
            /* an Instant is printed as an object, whose text is of no use: the client's own edn is */
            bool instant = expected != NULL && strstr(expected->u.text.bytes, "#object") != NULL;
            const struct dw_packer *packer = dw_packer_find(columns[k].packer);
            size_t len;
            char *bytes = cell(row, "client", &columns[k], &len);

            if (instant)
                expected = get2(row, "client", "edn");
            if (bytes != NULL && expected != NULL) {
                const struct dw_value *read = packing_must(packer->read, bytes, len, arena);

                if (!dw_equal(read,
                              packing_must(dw_packer_edn.read, expected->u.text.bytes, expected->u.text.len, arena)))
                    print_message("# %s: row %s differs\n", columns[k].packer, row_name(row));
                assert_true(dw_equal(
                    read, packing_must(dw_packer_edn.read, expected->u.text.bytes, expected->u.text.len, arena)));
                count++;
            }
            free(bytes);
            dw_arena_reset(arena);
        }
    dw_arena_free(arena);
    print_message("# %u messages of the client read as the server read them\n", count);
    assert_true(rows == NULL || count >= 313);
}

/* JSON has no column, as Sente has no such packer: what is written of a row can be read, with keys as
 * strings and as keywords, and both are the same JSON again. */
static void every_value_is_written_as_json_that_can_be_read(void **state)
{
    struct dw_arena *arena = dw_arena_new(0);
    struct dw_buf first = DW_BUF_INIT, again = DW_BUF_INIT;
    unsigned count = 0, same = 0;

    (void)state;
    assert_non_null(arena);
    for (size_t i = 0; rows != NULL && i < rows->u.seq.count; i++) {
        const struct dw_value *edn = get2(rows->u.seq.items[i], "server", "edn");
        const struct dw_value *tree = packing_must(dw_packer_edn.read, edn->u.text.bytes, edn->u.text.len, arena);

        dw_buf_reset(&first);
        dw_buf_reset(&again);
        assert_int_equal(dw_packer_json.write(tree, &first, NULL), 0);
        tree = packing_must(dw_packer_json.read, first.data, first.len, arena);
        assert_int_equal(dw_packer_json.write(tree, &again, NULL), 0);
        packing_writes(&dw_packer_json, packing_must(dw_json_read_keywords, first.data, first.len, arena), again.data,
                       again.len);
        same += strcmp(first.data, again.data) == 0;
        dw_arena_reset(arena);
        count++;
    }
    dw_buf_fini(&first);
    dw_buf_fini(&again);
    dw_arena_free(arena);
    print_message("# %u rows written as JSON, %u of them the same again\n", count, same);
    assert_int_equal(count - same, rows != NULL ? 2 : 0); /* those with keys of the same text */
}

/* Every cell through the gzip wrapper of its packer and back. */
static void every_value_survives_the_gzip_wrapper(void **state)
{
    struct dw_arena *arena = dw_arena_new(0);
    struct dw_buf wrapped = DW_BUF_INIT;
    unsigned count = 0;

    (void)state;
    assert_non_null(arena);
    for (size_t i = 0; rows != NULL && i < rows->u.seq.count; i++)
        for (size_t k = 0; k < COLUMNS; k++) {
            char name[32];
            const struct dw_packer *gzip, *packer = dw_packer_find(columns[k].packer);
            const struct dw_value *tree;
            size_t len;
            char *bytes = cell(rows->u.seq.items[i], "server", &columns[k], &len);

            if (bytes == NULL)
                continue;
            (void)snprintf(name, sizeof name, "gzip+%s", columns[k].packer);
            gzip = dw_packer_find(name);
            assert_non_null(gzip);
            tree = packing_must(packer->read, bytes, len, arena);
            dw_buf_reset(&wrapped);
            assert_int_equal(gzip->write(tree, &wrapped, NULL), 0);
            assert_int_equal(wrapped.data[0], len >= 1024);
            assert_true(dw_equal(tree, packing_must(gzip->read, wrapped.data, wrapped.len, arena)));
            free(bytes);
            dw_arena_reset(arena);
            count++;
        }
    dw_buf_fini(&wrapped);
    dw_arena_free(arena);
    print_message("# %u cells through the gzip wrapper\n", count);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_servers_edn_is_written_back_byte_for_byte),
        cmocka_unit_test(the_servers_transit_is_written_back_byte_for_byte),
        cmocka_unit_test(the_servers_msgpack_is_written_back_byte_for_byte),
        cmocka_unit_test(what_edn_says_is_written_by_the_others_as_sente_does),
        cmocka_unit_test(what_the_client_writes_is_read_as_the_server_reads_it),
        cmocka_unit_test(every_value_is_written_as_json_that_can_be_read),
        cmocka_unit_test(every_value_survives_the_gzip_wrapper),
    };

    return cmocka_run_group_tests_name("values", tests, load_rows, drop_rows);
}
