/* Base64 (RFC 4648 section 4, with padding), for packers that have no bytes of their own. */
#ifndef DW_CHSK_BASE64_H
#define DW_CHSK_BASE64_H

#include "base/buf.h"

void dw_base64_put(struct dw_buf *out, const char *bytes, size_t len);

/* Decodes into `out`, which has room for len / 4 * 3 bytes.  False for anything but padded base64
 * whose unused bits are zero. */
bool dw_base64_decode(const char *text, size_t len, char *out, size_t *out_len);

#endif
