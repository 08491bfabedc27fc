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

static const struct dw_value *read_text(const struct dw_packer *packer, const struct dw_value *text,
                                        struct dw_arena *arena)
{
    return packing_must(packer->read, text->u.text.bytes, text->u.text.len, arena);
}

/* Reads and writes back what `side` wrote with edn; returns how many rows had it. */
static unsigned same_edn_bytes(const char *side)
{
    struct dw_arena *arena = dw_arena_new(0);
    unsigned count = 0;

    assert_non_null(arena);
    for (size_t i = 0; rows != NULL && i < rows->u.seq.count; i++) {
        const struct dw_value *text = get2(rows->u.seq.items[i], side, "edn");

        if (text == NULL)
            continue;
        packing_writes(&dw_packer_edn, read_text(&dw_packer_edn, text, arena), text->u.text.bytes, text->u.text.len);
        dw_arena_reset(arena);
        count++;
    }
    dw_arena_free(arena);
    return count;
}

static void the_servers_edn_is_written_back_byte_for_byte(void **state)
{
    unsigned messages = same_edn_bytes("server");

    (void)state;
    print_message("# edn: %u messages of the server, same bytes\n", messages);
    assert_true(rows == NULL || messages == rows->u.seq.count);
}

static void the_clients_edn_is_read_as_the_server_reads_it(void **state)
{
    struct dw_arena *arena = dw_arena_new(0);
    unsigned count = 0;

    (void)state;
    assert_non_null(arena);
    for (size_t i = 0; rows != NULL && i < rows->u.seq.count; i++) {
        const struct dw_value *text = get2(rows->u.seq.items[i], "client", "edn");
        const struct dw_value *expected = get2(rows->u.seq.items[i], "server_reads_client", "edn");

        if (text == NULL || expected == NULL)
            continue;
        assert_true(dw_equal(read_text(&dw_packer_edn, text, arena), read_text(&dw_packer_edn, expected, arena)));
        dw_arena_reset(arena);
        count++;
    }
    dw_arena_free(arena);
    print_message("# edn: %u messages of the client read as the server read them\n", count);
    assert_true(rows == NULL || count >= 70);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_servers_edn_is_written_back_byte_for_byte),
        cmocka_unit_test(the_clients_edn_is_read_as_the_server_reads_it),
    };

    return cmocka_run_group_tests_name("values", tests, load_rows, drop_rows);
}
