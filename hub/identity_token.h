/* Who is asking, told by a signed token (auth.uid = token): nothing is looked up, neither in the queue nor
 * anywhere else. */
#ifndef DW_HUB_IDENTITY_TOKEN_H
#define DW_HUB_IDENTITY_TOKEN_H

#include "chsk/params.h"
#include "hub/identity.h"
#include "hub/keyfile.h"
#include "hub/request.h"

/* Finds the token, a parameter (auth.token_param) before a cookie (auth.token_cookie), and takes the identity out
 * of it.  A token that is worth nothing leaves nobody, and a line in the log that says why.  `arena` is for
 * reading it.  DW_NOMEM, or what is wrong with the key file, which is looked at only where there is a token. */
int dw_identity_from_token(const struct dw_conf *conf, struct dw_keyfile *file, const struct dw_request *request,
                           const struct dw_params *params, struct dw_arena *arena, struct dw_identity *identity,
                           struct dw_err *err);

/* The name of the parameter, NULL where tokens are not asked for. */
const char *dw_identity_token_param(const struct dw_conf *conf);

/* Says why the CSRF check has failed.  `has_csrf`: the request had a CSRF token. */
void dw_identity_token_log(const struct dw_conf *conf, const struct dw_identity *identity, bool has_csrf);

#endif
