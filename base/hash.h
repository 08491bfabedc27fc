/* FNV-1a (Fowler, Noll, Vo): a quick hash of several fields, for what is no secret and nobody gains by colliding. */
#ifndef DW_BASE_HASH_H
#define DW_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

#define DW_HASH_INIT UINT64_C(14695981039346656037)

/* Goes on from `state` with one field; an end mark keeps fields from running into each other. */
static inline uint64_t dw_hash_field(uint64_t state, const char *bytes, size_t len)
{
    size_t i;

    for (i = 0; i < len; i++)
        state = (state ^ (unsigned char)bytes[i]) * UINT64_C(1099511628211);
    return (state ^ 0x100) * UINT64_C(1099511628211);
}

#endif
