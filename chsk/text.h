/* Copying and hashing of text that is short as a rule (keys, names, numbers): in words that overlap,
 * instead of calls with a length that the compiler does not know. */
#ifndef DW_CHSK_TEXT_H
#define DW_CHSK_TEXT_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* memcpy; up to 64 bytes in pieces that overlap. */
static inline void dw_text_copy(char *to, const char *from, size_t len)
{
    uint64_t first, last;
    uint32_t half, other;

    if (len > 64) {
        memcpy(to, from, len);
    } else if (len > 16) {
        char end[16];

        memcpy(end, from + len - 16, 16);
        memcpy(to, from, 16);
        if (len > 32)
            memcpy(to + 16, from + 16, 16);
        if (len > 48)
            memcpy(to + 32, from + 32, 16);
        memcpy(to + len - 16, end, 16);
    } else if (len >= 8) {
        memcpy(&first, from, 8);
        memcpy(&last, from + len - 8, 8);
        memcpy(to, &first, 8);
        memcpy(to + len - 8, &last, 8);
    } else if (len >= 4) {
        memcpy(&half, from, 4);
        memcpy(&other, from + len - 4, 4);
        memcpy(to, &half, 4);
        memcpy(to + len - 4, &other, 4);
    } else if (len != 0) {
        char middle = from[len / 2], end = from[len - 1];

        to[0] = from[0];
        to[len / 2] = middle;
        to[len - 1] = end;
    }
}

static inline uint64_t dw_text_mix(uint64_t state, uint64_t part)
{
    state = (state ^ part) * 0xff51afd7ed558ccdU;
    return state ^ state >> 32;
}

/* A hash of the text for tables within one message.  Where others choose the text, `seed` must be
 * something that they do not know. */
static inline uint32_t dw_text_hash(uint64_t seed, const char *bytes, size_t len)
{
    uint64_t state = seed ^ 0x9e3779b97f4a7c15U ^ len, part = 0;
    uint32_t half, other;

    if (len >= 8) {
        for (size_t i = 0; i + 8 < len; i += 8) {
            memcpy(&part, bytes + i, 8);
            state = dw_text_mix(state, part);
        }
        memcpy(&part, bytes + len - 8, 8);
    } else if (len >= 4) {
        memcpy(&half, bytes, 4);
        memcpy(&other, bytes + len - 4, 4);
        part = (uint64_t)half << 32 | other;
    } else if (len != 0) {
        part = (uint64_t)(unsigned char)bytes[0] << 16 | (uint64_t)(unsigned char)bytes[len / 2] << 8 |
               (unsigned char)bytes[len - 1];
    }
    return (uint32_t)((dw_text_mix(state, part) * 0xc4ceb9fe1a85ec53U) >> 32);
}

#endif
