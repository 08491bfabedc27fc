/* The table of targets, and what they share. */
#include "fuzz/fuzz.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct fuzz_target fuzz_targets[] = {
    {"read_edn", "edn", fuzz_read_edn},
    {"read_json", "json", fuzz_read_json},
    {"read_transit", "transit", fuzz_read_transit},
    {"read_msgpack", "msgpack", fuzz_read_msgpack},
    {"read_gzip", "gzip", fuzz_read_gzip},
    {"trip_edn", "edn", fuzz_trip_edn},
    {"trip_json", "json", fuzz_trip_json},
    {"trip_transit", "transit", fuzz_trip_transit},
    {"trip_transit_verbose", "transit", fuzz_trip_transit_verbose},
    {"trip_msgpack", "msgpack", fuzz_trip_msgpack},
    {"trip_gzip", "edn json transit msgpack", fuzz_trip_gzip},
    {"cross", "edn json transit msgpack", fuzz_cross},
    {"envelope", "envelope", fuzz_envelope},
    {"params", "params", fuzz_params},
    {"record", "record", fuzz_record},
    {"token", "token", fuzz_token},
};

const size_t fuzz_target_count = sizeof fuzz_targets / sizeof fuzz_targets[0];

const struct fuzz_target *fuzz_find(const char *name)
{
    for (size_t i = 0; i < fuzz_target_count; i++)
        if (strcmp(fuzz_targets[i].name, name) == 0)
            return &fuzz_targets[i];
    return NULL;
}

void fuzz_fail(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    (void)vfprintf(stderr, format, arguments);
    va_end(arguments);
    (void)fputc('\n', stderr);
    abort();
}

struct dw_arena *fuzz_arena(void)
{
    struct dw_arena *arena = dw_arena_new(0);

    FUZZ_CHECK(arena != NULL);
    return arena;
}

static volatile unsigned sum; /* so that no read is optimised away */

static void touch(const void *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        sum += ((const unsigned char *)bytes)[i];
}

/* Trees are at most as deep as the default limits allow: recursion is safe here. */
void fuzz_walk(const struct dw_value *value)
{
    static const size_t widths[] = {[5] = 4, [6] = 4, [7] = 8};

    FUZZ_CHECK(value != NULL);
    switch (value->type) {
    case DW_T_STRING:
    case DW_T_KEYWORD:
    case DW_T_SYMBOL:
    case DW_T_BIGINT:
    case DW_T_DECIMAL:
    case DW_T_UUID:
    case DW_T_BYTES:
    case DW_T_URI:
        touch(value->u.text.bytes, value->u.text.len);
        FUZZ_CHECK(value->u.text.bytes[value->u.text.len] == '\0');
        FUZZ_CHECK(value->type != DW_T_UUID || value->u.text.len == 36);
        break;
    case DW_T_LIST:
    case DW_T_VECTOR:
    case DW_T_SET:
    case DW_T_MAP:
        for (size_t i = 0; i < value->u.seq.count * (value->type == DW_T_MAP ? 2 : 1); i++)
            fuzz_walk(value->u.seq.items[i]);
        break;
    case DW_T_RATIO:
    case DW_T_TAGGED:
        fuzz_walk(value->u.pair.first);
        fuzz_walk(value->u.pair.second);
        break;
    case DW_T_INST:
        FUZZ_CHECK(value->u.inst.ns >= 0 && value->u.inst.ns <= 999999);
        break;
    case DW_T_ARRAY:
        FUZZ_CHECK(value->u.array.kind >= 5 && value->u.array.kind <= 7);
        touch(value->u.array.elements, value->u.array.count * widths[value->u.array.kind]);
        break;
    default:
        FUZZ_CHECK(value->type <= DW_T_TAGGED);
        touch(&value->u, sizeof(int64_t));
    }
}

static bool is_lossy_here(const struct dw_packer *packer, const struct dw_value *value)
{
    if (packer->inner != NULL)
        packer = packer->inner;
    if (packer == &dw_packer_transit || packer == &dw_packer_transit_verbose)
        return value->type == DW_T_INST && value->u.inst.ns != 0;
    if (packer == &dw_packer_msgpack)
        return value->type == DW_T_BIGINT;
    return false;
}

bool fuzz_is_lossy(const struct dw_packer *packer, const struct dw_value *value)
{
    switch (value->type) {
    case DW_T_LIST:
    case DW_T_VECTOR:
    case DW_T_SET:
    case DW_T_MAP:
        for (size_t i = 0; i < value->u.seq.count * (value->type == DW_T_MAP ? 2 : 1); i++)
            if (fuzz_is_lossy(packer, value->u.seq.items[i]))
                return true;
        return false;
    case DW_T_TAGGED:
        return fuzz_is_lossy(packer, value->u.pair.first) || fuzz_is_lossy(packer, value->u.pair.second);
    default:
        return is_lossy_here(packer, value);
    }
}
