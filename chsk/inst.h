/* Instants as text: what the edn, JSON and transit packers share. */
#ifndef DW_CHSK_INST_H
#define DW_CHSK_INST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { DW_INST_MAX = 48 }; /* room for any printed instant */

/* Reads an RFC 3339 timestamp of which everything behind the year may be missing from the right
 * ("2024", "2024-02-29", "2024-02-29T12:34:56.789-00:00", as Clojure's #inst does).  Years outside
 * 0000..9999 need a sign.  Digits beyond the nanosecond are dropped. */
bool dw_inst_parse(const char *text, size_t len, int64_t *ms, int32_t *ns);

/* "2024-02-29T12:34:56.789" + `zone`; nine digits of fraction when `ns` is not 0. */
size_t dw_inst_print(int64_t ms, int32_t ns, const char *zone, char out[DW_INST_MAX]);

#endif
