/* Helpers of the packers' tests; see packing.h. */
#include "packing.h"

#include <sys/mman.h>
#include <unistd.h>

int packing_try(packing_read *read, const char *bytes, size_t len, const struct dw_limits *limits,
                struct dw_arena *arena, const struct dw_value **out, size_t *rest, struct dw_err *err)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t size = (len + page) / page * page;
    char *memory = mmap(NULL, size + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int code;

    assert_true(memory != MAP_FAILED);
    assert_int_equal(mprotect(memory + size, page, PROT_NONE), 0);
    if (len != 0)
        memcpy(memory + size - len, bytes, len);
    code = read(memory + size - len, len, limits != NULL ? limits : &dw_limits_default, arena, out, rest, err);
    assert_int_equal(munmap(memory, size + page), 0);
    return code;
}

const struct dw_value *packing_must(packing_read *read, const char *bytes, size_t len, struct dw_arena *arena)
{
    const struct dw_value *value = NULL;
    struct dw_err err = {.code = 0};
    int code = packing_try(read, bytes, len, NULL, arena, &value, NULL, &err);

    if (code != 0)
        print_message("# refused: %.*s: %s\n", (int)(len < 200 ? len : 200), bytes, dw_err_say(&err, code));
    assert_int_equal(code, 0);
    assert_non_null(value);
    return value;
}

void packing_refuses(packing_read *read, int code, const char *bytes, size_t len)
{
    struct dw_arena *arena = dw_arena_new(0);
    const struct dw_value *value = NULL;
    struct dw_err err = {.code = 0};
    int got;

    assert_non_null(arena);
    got = packing_try(read, bytes, len, NULL, arena, &value, NULL, &err);
    if (got != code)
        print_message("# code %d instead of %d for: %.*s\n", got, code, (int)(len < 200 ? len : 200), bytes);
    assert_int_equal(got, code);
    assert_true(err.text[0] != '\0');
    dw_arena_free(arena);
}

void packing_writes(const struct dw_packer *packer, const struct dw_value *value, const char *bytes, size_t len)
{
    struct dw_buf out = DW_BUF_INIT;
    struct dw_err err = {.code = 0};

    assert_int_equal(packer->write(value, &out, &err), 0);
    if (out.len != len || memcmp(dw_buf_str(&out), bytes, len) != 0)
        print_message("# %s wrote: %.300s\n#   not: %.*s\n", packer->name, dw_buf_str(&out),
                      (int)(len < 300 ? len : 300), bytes);
    assert_int_equal(out.len, len);
    assert_memory_equal(dw_buf_str(&out), bytes, len);
    dw_buf_fini(&out);
}

void packing_prefixes(packing_read *read, const char *bytes, size_t len)
{
    struct dw_arena *arena = dw_arena_new(0);

    assert_non_null(arena);
    for (size_t i = 0; i < len; i++) {
        const struct dw_value *value = NULL;
        int code = packing_try(read, bytes, i, NULL, arena, &value, NULL, NULL);

        if (code != DW_INVALID)
            print_message("# code %d for the prefix of %zu bytes of: %s\n", code, i, bytes);
        assert_int_equal(code, DW_INVALID);
        dw_arena_reset(arena);
    }
    dw_arena_free(arena);
}

bool packing_shared_path(const char *path, char *out, size_t size)
{
    const char *shared = getenv("DW_SHARED"), *source = getenv("DW_SRCDIR");
    int len;

    if (shared != NULL)
        len = snprintf(out, size, "%s/%s", shared, path);
    else
        len = snprintf(out, size, "%s/../shared/%s", source != NULL ? source : ".", path);
    return len > 0 && (size_t)len < size;
}

char *packing_shared_file(const char *path, size_t *len)
{
    char name[4096];
    FILE *file;
    char *text;
    long size;

    if (!packing_shared_path(path, name, sizeof name))
        return NULL;
    file = fopen(name, "rb");
    if (file == NULL)
        return NULL;
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    size = ftell(file);
    assert_true(size >= 0);
    rewind(file);
    text = malloc((size_t)size + 1);
    assert_non_null(text);
    *len = fread(text, 1, (size_t)size, file);
    assert_int_equal(*len, (size_t)size);
    text[*len] = '\0';
    assert_int_equal(fclose(file), 0);
    return text;
}
