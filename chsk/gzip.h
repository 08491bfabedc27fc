/* Sente's gzip wrapper around any other packer: one byte, then the inner packer's bytes as they are
 * (0) or as one gzip member (1, when there are at least 1024 of them). */
#ifndef DW_CHSK_GZIP_H
#define DW_CHSK_GZIP_H

#include "chsk/packer.h"

extern const struct dw_packer dw_packer_gzip_edn, dw_packer_gzip_json, dw_packer_gzip_transit,
    dw_packer_gzip_transit_verbose, dw_packer_gzip_msgpack;

/* Appends the wrapped form of the inner packer's bytes. */
int dw_gzip_wrap(const char *bytes, size_t len, struct dw_buf *out, struct dw_err *err);

#endif
