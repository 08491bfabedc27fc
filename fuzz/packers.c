/* Targets for the packers: what each reader makes of arbitrary bytes, and whether a tree that was read
 * is the same after it was written and read again. */
#include "fuzz/fuzz.h"

#include <string.h>
#include <zlib.h>

typedef int reader(const char *bytes, size_t len, const struct dw_limits *limits, struct dw_arena *arena,
                   const struct dw_value **out, size_t *rest, struct dw_err *err);

static bool is_space(char byte)
{
    return byte == ' ' || byte == '\t' || byte == '\n' || byte == '\r';
}

/* Reads and holds the reader to its contract; the tree, or NULL where the bytes were refused. */
static const struct dw_value *read_tree(reader *read, const char *bytes, size_t len, struct dw_arena *arena)
{
    const struct dw_value *tree = NULL;
    struct dw_err err = {.code = 0};
    int code = read(bytes, len, NULL, arena, &tree, NULL, &err);

    FUZZ_CHECK(code == DW_OK || code == DW_INVALID || code == DW_LIMIT);
    if (code == DW_OK) {
        fuzz_walk(tree);
        FUZZ_CHECK(dw_equal(tree, tree));
        return tree;
    }
    FUZZ_CHECK(err.code == code && err.text[0] != '\0');
    FUZZ_CHECK(strlen(err.text) < sizeof err.text);
    return NULL;
}

/* Reading up to where the value ends agrees with reading all, and limits are limits. */
static void read_target(reader *read, const char *bytes, size_t len, bool text)
{
    static const struct dw_limits tight = {.max_depth = 3, .max_items = 12, .max_bytes = 512};
    struct dw_arena *arena = fuzz_arena();
    const struct dw_value *all = read_tree(read, bytes, len, arena), *first = NULL;
    size_t rest = 0;
    int code;

    if (all != NULL) {
        code = read(bytes, len, NULL, arena, &first, &rest, NULL);
        FUZZ_CHECK(code == DW_OK && rest <= len && dw_equal(all, first));
        while (text && rest < len && is_space(bytes[rest]))
            rest++;
        /* behind an edn value there may be comments too */
        FUZZ_CHECK(rest == len || read == dw_packer_edn.read);
        code = read(bytes, len, &tight, arena, &first, NULL, NULL);
        FUZZ_CHECK(code == DW_LIMIT || (code == DW_OK && dw_equal(all, first)));
    }
    dw_arena_free(arena);
}

void fuzz_read_edn(const char *bytes, size_t len)
{
    read_target(dw_packer_edn.read, bytes, len, true);
}

void fuzz_read_json(const char *bytes, size_t len)
{
    struct dw_arena *arena = fuzz_arena();

    read_target(dw_packer_json.read, bytes, len, true);
    FUZZ_CHECK((read_tree(dw_packer_json.read, bytes, len, arena) == NULL) ==
               (read_tree(dw_json_read_keywords, bytes, len, arena) == NULL));
    dw_arena_free(arena);
}

void fuzz_read_transit(const char *bytes, size_t len)
{
    read_target(dw_packer_transit.read, bytes, len, true);
}

void fuzz_read_msgpack(const char *bytes, size_t len)
{
    read_target(dw_packer_msgpack.read, bytes, len, false);
}

/* edn inside: what it inflates to is short as a rule, and the readers have targets of their own */
void fuzz_read_gzip(const char *bytes, size_t len)
{
    struct dw_arena *arena = fuzz_arena();

    (void)read_tree(dw_packer_find("gzip+edn")->read, bytes, len, arena);
    dw_arena_free(arena);
}

/* read, write, read: the same tree; write again: the same bytes. */
static void trip_through(const struct dw_packer *packer, reader *read, const char *bytes, size_t len)
{
    struct dw_arena *arena = fuzz_arena();
    struct dw_buf once = DW_BUF_INIT, twice = DW_BUF_INIT;
    const struct dw_value *tree = read_tree(read, bytes, len, arena), *again;
    bool lossy;

    if (tree != NULL) {
        FUZZ_CHECK(packer->write(tree, &once, NULL) == DW_OK && !dw_buf_failed(&once));
        again = read_tree(packer->read, dw_buf_str(&once), once.len, arena);
        lossy = fuzz_is_lossy(packer, tree);
        if (again == NULL || !(dw_equal(tree, again) || lossy))
            fuzz_fail("%s does not keep: %s", packer->name, dw_buf_str(&once));
        FUZZ_CHECK(packer->write(again, &twice, NULL) == DW_OK);
        /* keys that have become equal are fewer the second time */
        if (!lossy && (once.len != twice.len || memcmp(once.data, twice.data, once.len) != 0))
            fuzz_fail("%s writes: %s\nand then: %s", packer->name, dw_buf_str(&once), dw_buf_str(&twice));
    }
    dw_buf_fini(&once);
    dw_buf_fini(&twice);
    dw_arena_free(arena);
}

/* A part stands for the same value as the whole message. */
static void trip_part(const struct dw_packer *packer, const char *bytes, size_t len)
{
    struct dw_arena *arena = fuzz_arena();
    struct dw_buf part = DW_BUF_INIT, joined = DW_BUF_INIT;
    const struct dw_value *tree = NULL, *again = NULL;

    if (packer->read(bytes, len, NULL, arena, &tree, NULL, NULL) == DW_OK) {
        const struct dw_value *items[2] = {tree, tree};
        const struct dw_value *both = dw_seq(arena, DW_T_VECTOR, items, 2);

        FUZZ_CHECK(both != NULL && dw_packer_part(packer, tree, &part, NULL) == DW_OK);
        const struct dw_part parts[2] = {{part.data, part.len}, {part.data, part.len}};
        FUZZ_CHECK(dw_packer_join(packer, parts, 2, &joined, NULL) == DW_OK);
        int code = packer->read(joined.data, joined.len, NULL, arena, &again, NULL, NULL);
        FUZZ_CHECK(code == DW_OK || code == DW_LIMIT);
        if (code == DW_OK && !dw_equal(both, again) && !fuzz_is_lossy(packer, tree))
            fuzz_fail("%s joined is not the same: %s", packer->name, dw_buf_str(&joined));
    }
    dw_buf_fini(&part);
    dw_buf_fini(&joined);
    dw_arena_free(arena);
}

static void trip_target(const struct dw_packer *packer, const char *bytes, size_t len)
{
    trip_through(packer, packer->read, bytes, len);
    trip_part(packer, bytes, len);
}

void fuzz_trip_edn(const char *bytes, size_t len)
{
    trip_target(&dw_packer_edn, bytes, len);
}

void fuzz_trip_json(const char *bytes, size_t len)
{
    trip_target(&dw_packer_json, bytes, len);
}

void fuzz_trip_transit(const char *bytes, size_t len)
{
    trip_target(&dw_packer_transit, bytes, len);
}

void fuzz_trip_transit_verbose(const char *bytes, size_t len)
{
    trip_target(&dw_packer_transit_verbose, bytes, len);
}

void fuzz_trip_msgpack(const char *bytes, size_t len)
{
    trip_target(&dw_packer_msgpack, bytes, len);
}

/* The bytes as one gzip member behind the marker, with a checksum that is right. */
static size_t compress_always(const char *bytes, size_t len, char *out, size_t room)
{
    z_stream stream = {.zalloc = Z_NULL};
    size_t used;

    FUZZ_CHECK(deflateInit2(&stream, 1, Z_DEFLATED, 9 + 16, 1, Z_DEFAULT_STRATEGY) == Z_OK);
    stream.next_in = (z_const Bytef *)bytes;
    stream.avail_in = (uInt)len;
    out[0] = 1;
    stream.next_out = (Bytef *)out + 1;
    stream.avail_out = (uInt)room - 1;
    FUZZ_CHECK(deflate(&stream, Z_FINISH) == Z_STREAM_END);
    used = room - stream.avail_out;
    FUZZ_CHECK(deflateEnd(&stream) == Z_OK);
    return used;
}

/* The input is what is inside; its first byte tells the packer. */
void fuzz_trip_gzip(const char *bytes, size_t len)
{
    static const char *const names[] = {"gzip+edn", "gzip+json", "gzip+transit", "gzip+transit-verbose",
                                        "gzip+msgpack"};
    char wrapped[8192];
    size_t wrapped_len;

    if (len > 4096)
        return;
    wrapped_len = compress_always(bytes, len, wrapped, sizeof wrapped);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const struct dw_packer *packer = dw_packer_find(names[i]);
        struct dw_arena *arena = fuzz_arena();
        bool plain = read_tree(packer->inner->read, bytes, len, arena) != NULL;

        FUZZ_CHECK(plain == (read_tree(packer->read, wrapped, wrapped_len, arena) != NULL));
        dw_arena_free(arena);
        if (plain)
            trip_through(packer, packer->read, wrapped, wrapped_len);
    }
}

/* What one packer has read, every other one can write so that it can be read: the values may differ
 * (docs/values.md), and edn has names that it cannot read. */
void fuzz_cross(const char *bytes, size_t len)
{
    static const struct dw_packer *const packers[] = {&dw_packer_edn, &dw_packer_json, &dw_packer_transit,
                                                      &dw_packer_transit_verbose, &dw_packer_msgpack};
    struct dw_buf out = DW_BUF_INIT;
    struct dw_arena *arena = fuzz_arena();

    for (size_t i = 0; i < sizeof packers / sizeof packers[0]; i++) {
        const struct dw_value *tree = packers[i] != &dw_packer_transit_verbose
                                          ? read_tree(packers[i]->read, bytes, len, arena)
                                          : read_tree(dw_json_read_keywords, bytes, len, arena);

        for (size_t k = 0; tree != NULL && k < sizeof packers / sizeof packers[0]; k++) {
            const struct dw_value *again = NULL;
            int code;

            dw_buf_reset(&out);
            FUZZ_CHECK(packers[k]->write(tree, &out, NULL) == DW_OK);
            code = packers[k]->read(dw_buf_str(&out), out.len, NULL, arena, &again, NULL, NULL);
            if (code != DW_OK && code != DW_LIMIT && packers[k] != &dw_packer_edn)
                fuzz_fail("%s cannot read what it has written: %s", packers[k]->name, dw_buf_str(&out));
        }
        dw_arena_reset(arena);
    }
    dw_buf_fini(&out);
    dw_arena_free(arena);
}
