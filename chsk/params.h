/* Request parameters: query strings, urlencoded forms, cookies.
 *
 * Decoding happens in place in a buffer that the list owns.  Pure; no limits beyond those given. */
#ifndef DW_CHSK_PARAMS_H
#define DW_CHSK_PARAMS_H

#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

#define DW_PARAMS_MAX 64

struct dw_param {
    const char *name;
    const char *value;
    size_t value_len;
};

struct dw_params {
    struct dw_param list[DW_PARAMS_MAX];
    size_t count;
    char *text[2]; /* decoded query and form */
    size_t texts;
};

void dw_params_init(struct dw_params *params);
void dw_params_fini(struct dw_params *params);

/* Adds the fields of an application/x-www-form-urlencoded text: `+` is a space, %XX a byte; a `%` that
 * begins no escape stands for itself (as browsers and Ring read it).  At most two texts a list.
 * DW_INVALID for bytes that are not UTF-8 or contain NUL, DW_LIMIT over DW_PARAMS_MAX fields. */
int dw_params_add(struct dw_params *params, const char *text, size_t len, struct dw_err *err);

/* The last field of that name (a form field, added after the query, wins), or NULL. */
const struct dw_param *dw_params_find(const struct dw_params *params, const char *name);
const char *dw_params_get(const struct dw_params *params, const char *name);

/* Appends the value of cookie `name` from a Cookie header to `out`; false when it is not there.
 * RFC 6265 section 5.4: pairs separated by "; "; the first of that name counts. */
bool dw_cookie_find(const char *header, const char *name, struct dw_buf *out);

#endif
