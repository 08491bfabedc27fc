/* JSON's insides: its tokens are shared with the transit packer, which is JSON on the outside. */
#ifndef DW_CHSK_JSON_H
#define DW_CHSK_JSON_H

#include "chsk/reader.h"

int dw_json_read(const char *bytes, size_t len, const struct dw_limits *limits, struct dw_arena *arena,
                 const struct dw_value **out, size_t *rest, struct dw_err *err);
/* Strings for keys, and an object with a key twice is DW_INVALID: for texts whose readers must not disagree. */
int dw_json_read_unique(const char *bytes, size_t len, const struct dw_limits *limits, struct dw_arena *arena,
                        const struct dw_value **out, struct dw_err *err);
int dw_json_write(const struct dw_value *value, struct dw_buf *out, struct dw_err *err);

/* A string token: the bytes between the quotes when there are no escapes, else `value` holds the
 * decoded text (as a new STRING) and `bytes` points there. */
struct dw_json_text {
    const char *bytes;
    size_t len;
    struct dw_value *value;
};

/* Reads the string whose opening quote is at reader->p; false (and latched) on failure. */
bool dw_json_string(struct dw_reader *reader, struct dw_json_text *text);
/* Reads the number at reader->p; NULL (and latched) on failure. */
const struct dw_value *dw_json_number(struct dw_reader *reader);
/* Reads null, true or false; NULL (and latched) for anything else. */
const struct dw_value *dw_json_word(struct dw_reader *reader);

static inline void dw_json_skip_space(struct dw_reader *reader)
{
    while (reader->p < reader->end &&
           (*reader->p == ' ' || *reader->p == '\n' || *reader->p == '\r' || *reader->p == '\t'))
        reader->p++;
}

/* Appends a string token, or (put_text) what stands between its quotes.  `astral` writes code points above U+FFFF as
 * two escapes, in upper case, as the JVM's JSON writer does. */
void dw_json_put_text(struct dw_buf *out, const char *bytes, size_t len, bool astral);
void dw_json_put_string(struct dw_buf *out, const char *bytes, size_t len, bool astral);

#endif
