/* Signed tokens: who somebody is, told by whoever holds the key, with nothing to look up.
 *
 * A token is a JSON Web Token (RFC 7519) in its compact form, signed with HMAC-SHA256 ("HS256", RFC 7515)
 * and nothing else.  Its claims:
 *
 *      sub   the user id, not empty            exp   Unix seconds from which on it is worth nothing
 *      nbf   Unix seconds before which it is worth nothing (may be missing)
 *      data  handshake data, any JSON (may be missing)
 *      csrf  the CSRF token that goes with a token in a cookie (may be missing)
 *      aud   if it is there, it must name "dumbwaiter": the token is for somebody else otherwise
 *
 * Other claims mean nothing here.  Pure: key, text and time go in.  The signature is looked at first, so
 * nothing is parsed that no holder of a key has written; no sentence in `err` holds a part of a token. */
#ifndef DW_CHSK_TOKEN_H
#define DW_CHSK_TOKEN_H

#include "base/buf.h"
#include "base/err.h"
#include "chsk/value.h"

#include <stddef.h>
#include <stdint.h>

#define DW_TOKEN_MAX 4096    /* bytes of a token: what browsers keep in a cookie */
#define DW_TOKEN_KEY_MIN 32  /* bytes of a key: as long as the hash (RFC 7518, section 3.2) */
#define DW_TOKEN_KEY_MAX 256 /* no more is gained from 64 on */
#define DW_TOKEN_KEYS 2
#define DW_TOKEN_AUDIENCE "dumbwaiter"

struct dw_token_key {
    size_t len;
    unsigned char bytes[DW_TOKEN_KEY_MAX];
};

/* The first one signs, any may have signed. */
struct dw_token_keys {
    size_t count;
    struct dw_token_key list[DW_TOKEN_KEYS];
};

/* Reads the text of a key file: one or two lines, each a key as it stands there, of printable ASCII without
 * spaces; spaces around it and empty lines don't count.  DW_CONF with what is wrong; `keys` is then empty. */
int dw_token_keys_read(const char *text, size_t len, struct dw_token_keys *keys, struct dw_err *err);
/* Forgets the keys, so that they lie in no memory that is used for something else. */
void dw_token_keys_wipe(struct dw_token_keys *keys);

struct dw_token {
    const char *uid;             /* never NULL or empty */
    const char *csrf;            /* NULL: none */
    const struct dw_value *data; /* NULL: none; nil is some */
    int64_t expires_at;          /* Unix milliseconds */
    int64_t not_before;          /* Unix milliseconds, 0: at once */
};

/* Reads a token; what `token` points to lives in `arena`.  DW_INVALID: it is none that one of these keys has
 * signed, or says something that is not as above.  DW_DENIED: it is, but its time has passed or has not come.
 * DW_NOMEM.  After a failure `token` is all zeros. */
int dw_token_read(const struct dw_token_keys *keys, const char *text, size_t len, int64_t now_ms,
                  struct dw_arena *arena, struct dw_token *token, struct dw_err *err);

/* Appends a token to `out`, signed with the first key; times are cut to whole seconds.  DW_INVALID for an empty
 * user id or text that is not UTF-8, DW_LIMIT where it would be longer than DW_TOKEN_MAX, DW_NOMEM; `out` is then as it
 * was or has failed. */
int dw_token_write(const struct dw_token_keys *keys, const struct dw_token *token, struct dw_buf *out,
                   struct dw_err *err);

#endif
