/* UTF-8 as the readers and writers need it: strict (no surrogates, no overlong forms, nothing above
 * U+10FFFF). */
#ifndef DW_CHSK_UTF8_H
#define DW_CHSK_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* The length of the longest valid prefix: `len` when all of it is valid. */
size_t dw_utf8_valid(const char *bytes, size_t len);

/* Writes the encoding of a scalar value (not a surrogate, at most U+10FFFF); returns its length. */
size_t dw_utf8_encode(uint32_t codepoint, char out[4]);

/* Decodes one code point of valid UTF-8; `*len` is set to its length. */
uint32_t dw_utf8_decode(const char *bytes, size_t *len);

static inline bool dw_utf8_is_surrogate(uint32_t codepoint)
{
    return codepoint >= 0xd800 && codepoint <= 0xdfff;
}

/* True for text of up to 16 bytes that is all ASCII, as most text is: looked at as words that overlap. */
static inline bool dw_utf8_is_short_ascii(const char *bytes, size_t len)
{
    uint64_t first, last;
    uint32_t half, other;

    if (len > 16)
        return false;
    if (len >= 8) {
        memcpy(&first, bytes, 8);
        memcpy(&last, bytes + len - 8, 8);
        return ((first | last) & 0x8080808080808080U) == 0;
    }
    if (len >= 4) {
        memcpy(&half, bytes, 4);
        memcpy(&other, bytes + len - 4, 4);
        return ((half | other) & 0x80808080U) == 0;
    }
    return len == 0 || ((bytes[0] | bytes[len / 2] | bytes[len - 1]) & 0x80) == 0;
}

#endif
