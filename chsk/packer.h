/* A packer reads and writes value trees in one wire format.
 *
 * Readers are strict, take time linear in the input, never read past `len`, and enforce the limits
 * while reading.  A packer is a constant: it may be used by all threads at once. */
#ifndef DW_CHSK_PACKER_H
#define DW_CHSK_PACKER_H

#include "base/buf.h"
#include "base/err.h"
#include "chsk/value.h"

#include <stdbool.h>
#include <stddef.h>

struct dw_limits {
    size_t max_depth; /* nesting of collections and tags; each format counts its own brackets */
    size_t max_items; /* values in one message, all levels together */
    size_t max_bytes; /* of input, and of what a compressed input may inflate to */
};

/* 64 levels, 100,000 values, 1 MiB. */
extern const struct dw_limits dw_limits_default;

struct dw_packer {
    const char *name;              /* as in ?packer=NAME: edn, json, transit, transit-verbose, msgpack, gzip+NAME */
    bool binary;                   /* payloads are octets: octet-stream bodies, binary frames */
    bool joinable;                 /* separately packed values can stand beside each other in a vector */
    const struct dw_packer *inner; /* of gzip+NAME: NAME, which is joinable; else NULL */
    /* Reads exactly one value.  DW_INVALID with a sentence and the byte offset for malformed input,
     * DW_LIMIT over a limit, DW_NOMEM.  `limits` NULL: dw_limits_default.  `*rest` (may be NULL)
     * receives the offset behind the value; where it is NULL anything but white space behind the
     * value is malformed. */
    int (*read)(const char *bytes, size_t len, const struct dw_limits *limits, struct dw_arena *arena,
                const struct dw_value **out, size_t *rest, struct dw_err *err);
    /* Appends the packed form.  DW_NOMEM; DW_INVALID for what the format cannot say and no documented
     * lossy mapping covers (docs/values.md: today every value is covered).  After a failure `out`
     * holds a partial message: discard it. */
    int (*write)(const struct dw_value *value, struct dw_buf *out, struct dw_err *err);
    /* Same, as a part for dw_packer_join: it refers to nothing written before it (no key cache).
     * NULL where not joinable. */
    int (*write_part)(const struct dw_value *value, struct dw_buf *out, struct dw_err *err);
};

extern const struct dw_packer dw_packer_edn;
extern const struct dw_packer dw_packer_json;
extern const struct dw_packer dw_packer_transit;
extern const struct dw_packer dw_packer_transit_verbose;
extern const struct dw_packer dw_packer_msgpack;

/* The packer of that name, or NULL. */
const struct dw_packer *dw_packer_find(const char *name);

/* The hot path: a push is packed once per packer with dw_packer_event, then copied into each client's
 * message with dw_packer_join, and the finished message goes through dw_packer_wrap:
 *
 *      event, event  ->  part, part  -join->  batch  -join with nil->  message  -wrap->  bytes to send
 *
 * All of these append to `out` and take any packer; parts of gzip+X are X's. */
struct dw_part {
    const char *bytes;
    size_t len;
};

int dw_packer_part(const struct dw_packer *packer, const struct dw_value *value, struct dw_buf *out,
                   struct dw_err *err);
/* The part [:id data], or [:id] where `data` is NULL.  `id` is a keyword's text, "chat/message". */
int dw_packer_event(const struct dw_packer *packer, const char *id, size_t id_len, const struct dw_value *data,
                    struct dw_buf *out, struct dw_err *err);
/* The vector of `count` parts; it is a part again. */
int dw_packer_join(const struct dw_packer *packer, const struct dw_part *parts, size_t count, struct dw_buf *out,
                   struct dw_err *err);
/* A complete message's final form: compressed for gzip+X, unchanged for the others. */
int dw_packer_wrap(const struct dw_packer *packer, const char *bytes, size_t len, struct dw_buf *out,
                   struct dw_err *err);

/* JSON read with object keys as keywords where they can be (chsk.json_keys = keyword): what an app's
 * `data` means for edn, transit and msgpack clients.  Contract as dw_packer.read. */
int dw_json_read_keywords(const char *bytes, size_t len, const struct dw_limits *limits, struct dw_arena *arena,
                          const struct dw_value **out, size_t *rest, struct dw_err *err);

#endif
