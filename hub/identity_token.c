/* An identity out of a signed token; see identity_token.h.  No token gets into the log, nor a part of one. */
#include "hub/identity_token.h"

#include "base/clock.h"
#include "base/log.h"
#include "chsk/json.h"
#include "chsk/token.h"

#include <string.h>

const char *dw_identity_token_param(const struct dw_conf *conf)
{
    return strcmp(conf->auth_uid, "token") == 0 ? conf->auth_token_param : NULL;
}

/* The token and where it was; *found false: there is none. */
static int find(const struct dw_conf *conf, const struct dw_request *request, const struct dw_params *params,
                struct dw_buf *text, struct dw_identity *identity, bool *found)
{
    const struct dw_param *param = dw_params_find(params, conf->auth_token_param);

    /* A page that has lost its token sends an empty parameter. */
    *found = identity->is_meant = param != NULL && param->value_len > 0;
    if (*found)
        dw_buf_add(text, param->value, param->value_len);
    else
        *found = identity->has_cookie = dw_cookie_find(request->cookie, conf->auth_token_cookie, text);
    return dw_buf_failed(text) ? DW_NOMEM : DW_OK;
}

/* The claims as if a session had them: all that comes behind goes the same way. */
static int take(const struct dw_token *token, struct dw_identity *identity, struct dw_err *err)
{
    struct dw_session *session = &identity->session;
    int rc = DW_OK;

    session->found = true;
    session->has_uid = true;
    dw_buf_adds(&session->uid, token->uid);
    session->has_csrf_token = token->csrf != NULL;
    if (token->csrf != NULL)
        dw_buf_adds(&session->csrf_token, token->csrf);
    session->has_handshake_data = token->data != NULL;
    if (token->data != NULL)
        rc = dw_json_write(token->data, &session->handshake_data, err);
    if (dw_buf_failed(&session->uid) || dw_buf_failed(&session->csrf_token) || dw_buf_failed(&session->handshake_data))
        rc = DW_NOMEM;
    identity->uid = dw_buf_str(&session->uid);
    identity->data = token->data != NULL ? dw_buf_str(&session->handshake_data) : NULL;
    identity->expires_at = token->expires_at;
    return rc;
}

/* Whoever sets a site up needs to know which; and a stranger can send as many as he likes. */
static void log_refused(const struct dw_conf *conf, const struct dw_identity *identity, int rc,
                        const struct dw_err *why)
{
    static struct dw_log_limit untimely, invalid;

    dw_log_limited(rc == DW_DENIED ? &untimely : &invalid, DW_LOG_INFO, "the token in the %s %s is not taken: %s",
                   identity->is_meant ? "parameter" : "cookie",
                   identity->is_meant ? conf->auth_token_param : conf->auth_token_cookie, dw_err_say(why, rc));
}

static int check(const struct dw_conf *conf, struct dw_keyfile *file, const struct dw_buf *text, struct dw_arena *arena,
                 struct dw_identity *identity, struct dw_err *err)
{
    struct dw_err why = {.code = 0};
    struct dw_token token;
    int rc = dw_keyfile_fresh(file, conf, err);

    if (rc != DW_OK)
        return rc;
    rc = dw_token_read(&file->keys, dw_buf_str(text), text->len, dw_clock_wall_ms(), arena, &token, &why);
    if (rc == DW_INVALID || rc == DW_DENIED) {
        log_refused(conf, identity, rc, &why);
        identity->is_meant = false;
        identity->bad_token = true;
        return DW_OK;
    }
    return rc == DW_OK ? take(&token, identity, err) : rc;
}

int dw_identity_from_token(const struct dw_conf *conf, struct dw_keyfile *file, const struct dw_request *request,
                           const struct dw_params *params, struct dw_arena *arena, struct dw_identity *identity,
                           struct dw_err *err)
{
    struct dw_buf text = DW_BUF_INIT;
    bool found = false;
    int rc;

    memset(identity, 0, sizeof *identity);
    rc = find(conf, request, params, &text, identity, &found);
    if (rc == DW_OK && found)
        rc = check(conf, file, &text, arena, identity, err);
    dw_buf_fini(&text);
    return rc;
}

void dw_identity_token_log(const struct dw_conf *conf, const struct dw_identity *identity, bool has_csrf)
{
    static struct dw_log_limit none, without, missing, wrong;

    if (identity->bad_token)
        return; /* it has been said */
    if (!identity->session.found)
        dw_log_limited(&none, DW_LOG_INFO,
                       "refused: the request has no token, neither a parameter %s (auth.token_param) nor a cookie %s "
                       "(auth.token_cookie)",
                       conf->auth_token_param, conf->auth_token_cookie);
    else if (!identity->session.has_csrf_token)
        dw_log_limited(&without, DW_LOG_INFO,
                       "refused: the token came in a cookie and has no claim csrf: give it one, or send it as the "
                       "parameter %s",
                       conf->auth_token_param);
    else if (!has_csrf)
        dw_log_limited(&missing, DW_LOG_INFO,
                       "refused: the token came in a cookie, and the request has no CSRF token (parameter csrf-token "
                       "or header X-CSRF-Token)");
    else
        dw_log_limited(&wrong, DW_LOG_INFO, "refused: the CSRF token is not that in the token's claim csrf");
}
