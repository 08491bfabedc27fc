/* UTF-8 as the readers and writers need it: strict (no surrogates, no overlong forms, nothing above
 * U+10FFFF). */
#ifndef DW_CHSK_UTF8_H
#define DW_CHSK_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

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

#endif
