/* Hexadecimal digits and the \uXXXX escapes that JSON and edn share. */
#ifndef DW_CHSK_ESCAPE_H
#define DW_CHSK_ESCAPE_H

#include <stdbool.h>
#include <stdint.h>

/* The value of one hexadecimal digit, -1 for any other character. */
int dw_hex_digit(char c);

/* The value of the four hexadecimal digits at `at`, -1 where there are fewer before `end`. */
int32_t dw_hex4(const char *at, const char *end);

/* Decodes \uXXXX with its "u" at `*at`, which moves behind it; a surrogate needs its partner in a second
 * escape (RFC 8259, section 7).  False: it is none; `*at` is anywhere in it then. */
bool dw_unicode_escape(const char **at, const char *end, uint32_t *codepoint);

#endif
