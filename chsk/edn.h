/* The edn packer's insides: shared by its reader's two files and its writer. */
#ifndef DW_CHSK_EDN_H
#define DW_CHSK_EDN_H

#include "chsk/reader.h"

int dw_edn_read(const char *bytes, size_t len, const struct dw_limits *limits, struct dw_arena *arena,
                const struct dw_value **out, size_t *rest, struct dw_err *err);
int dw_edn_write(const struct dw_value *value, struct dw_buf *out, struct dw_err *err);

/* Atoms; each starts at reader->p and leaves it behind the atom.  NULL (and latched) on failure. */
const struct dw_value *dw_edn_string(struct dw_reader *reader);    /* at the opening quote */
const struct dw_value *dw_edn_regex(struct dw_reader *reader);     /* at the quote of #"..." */
const struct dw_value *dw_edn_character(struct dw_reader *reader); /* at the backslash */
const struct dw_value *dw_edn_token(struct dw_reader *reader);     /* number, symbol, keyword, nil, true, false */
const struct dw_value *dw_edn_symbolic(struct dw_reader *reader);  /* at the name behind ## */
/* Like dw_edn_token, but only a symbol will do. */
const struct dw_value *dw_edn_symbol(struct dw_reader *reader);

/* True for text that an edn reader takes for one symbol (`keyword`: that, behind a colon). */
bool dw_edn_is_name(const char *text, size_t len, bool keyword);

/* Bit set of each byte's meaning. */
enum { DW_EDN_SPACE = 1, DW_EDN_ENDS_TOKEN = 2, DW_EDN_BAD = 4 };
extern const uint8_t dw_edn_class[256];

#endif
