/* UUIDs as text. */
#ifndef DW_CHSK_UUID_H
#define DW_CHSK_UUID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Checks 8-4-4-4-12 hexadecimal digits and writes them in lower case (no NUL). */
bool dw_uuid_canonical(const char *text, size_t len, char out[36]);
/* The same text for two halves, most significant first. */
void dw_uuid_from_halves(uint64_t high, uint64_t low, char out[36]);

#endif
