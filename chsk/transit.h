/* The transit packer's insides: JSON on the outside (tokens from json.h), with tags in strings:
 *
 *      "~:a/b" keyword   "~$a" symbol   "~i9007199254740993" integer   "~m1709210096789" instant
 *      ["~#set",[1,2]]   a tagged value          {"~#set":[1,2]}   the same, verbose
 *      ["^ ","~:a",1]    a map                   {"~:a":1}         the same, verbose
 *      "^0"              the cacheable string that came first in this message
 *
 * One reader serves both forms.  Section names in comments are those of the published transit-format
 * specification. */
#ifndef DW_CHSK_TRANSIT_H
#define DW_CHSK_TRANSIT_H

#include "chsk/reader.h"

enum {
    DW_TRANSIT_BASE = 44,                                /* digits of a cache code */
    DW_TRANSIT_FIRST = 48,                               /* the character of digit 0 */
    DW_TRANSIT_CACHE = DW_TRANSIT_BASE * DW_TRANSIT_BASE /* entries; then the cache starts over */
};

int dw_transit_read(const char *bytes, size_t len, const struct dw_limits *limits, struct dw_arena *arena,
                    const struct dw_value **out, size_t *rest, struct dw_err *err);
int dw_transit_write(const struct dw_value *value, struct dw_buf *out, struct dw_err *err);
int dw_transit_write_part(const struct dw_value *value, struct dw_buf *out, struct dw_err *err);
int dw_transit_write_verbose(const struct dw_value *value, struct dw_buf *out, struct dw_err *err);
int dw_transit_write_verbose_part(const struct dw_value *value, struct dw_buf *out, struct dw_err *err);

/* True for an encoded string that reader and writer both put into their caches: at least four UTF-16
 * units long, and a map key, keyword, symbol or tag. */
bool dw_transit_cacheable(const char *bytes, size_t len, bool as_key);

/* The value that the string "~" `tag` `text` stands for.  NULL (and latched) when malformed. */
const struct dw_value *dw_transit_scalar(struct dw_reader *reader, char tag, const char *text, size_t len);
/* The value that ["~#tag", rep] stands for; unknown tags are kept.  NULL (and latched) when malformed. */
const struct dw_value *dw_transit_tagged(struct dw_reader *reader, const struct dw_value *tag,
                                         const struct dw_value *rep);

#endif
