/* Identity and admission; see identity.h. */
#include "hub/identity.h"

#include "base/clock.h"
#include "base/log.h"
#include "chsk/access.h"
#include "hub/identity_token.h"

#include <string.h>

void dw_identity_fini(struct dw_identity *identity)
{
    dw_buf_fini(&identity->cookie);
    dw_session_fini(&identity->session);
    memset(identity, 0, sizeof *identity);
}

static int find_session(const struct dw_hub *hub, struct dw_store *store, const struct dw_request *request,
                        struct dw_identity *identity, struct dw_err *err)
{
    static struct dw_log_limit too_long;
    struct dw_buf *sid = &identity->cookie;

    identity->has_cookie = dw_cookie_find(request->cookie, hub->conf->auth_session_cookie, sid);
    if (dw_buf_failed(sid))
        return DW_NOMEM;
    if (sid->len > DW_SID_MAX) {
        dw_log_limited(&too_long, DW_LOG_INFO, "a cookie %s of more than %d bytes names no session",
                       hub->conf->auth_session_cookie, DW_SID_MAX);
        return DW_OK;
    }
    identity->looked_us = dw_clock_mono_us();
    if (!identity->has_cookie)
        return DW_OK;
    return dw_store_session(store, dw_buf_str(sid), dw_clock_wall_ms(), &identity->session, err);
}

int dw_identity_find(const struct dw_hub *hub, struct dw_store *store, const struct dw_request *request,
                     const char *client_id, struct dw_identity *identity, struct dw_err *err)
{
    const char *source = hub->conf->auth_uid;
    const struct dw_session *session = &identity->session;
    int rc;

    memset(identity, 0, sizeof *identity);
    rc = find_session(hub, store, request, identity, err);
    if (rc != DW_OK)
        return rc;
    if (session->found && session->has_handshake_data)
        identity->data = dw_buf_str(&session->handshake_data);
    if (strcmp(source, "session") == 0 && session->found) {
        identity->uid = session->has_uid ? dw_buf_str(&session->uid) : NULL;
        identity->expires_at = session->expires_at;
        identity->sid = dw_buf_str(&identity->cookie);
    } else if (strcmp(source, "remote_user") == 0)
        identity->uid = request->remote_user;
    else if (strcmp(source, "client_id") == 0)
        identity->uid = client_id;
    /* An empty name is nobody: as an address in dw_push "" means all clients without a uid. */
    if (identity->uid != NULL && identity->uid[0] == '\0')
        identity->uid = NULL;
    return DW_OK;
}

/* Every one of these is "Bad CSRF token" to the client, as Sente has it: whoever sets a site up needs to know
 * which. */
static void log_csrf(const struct dw_hub *hub, const struct dw_identity *identity, bool has_token)
{
    static struct dw_log_limit no_cookie, unknown, tokenless, missing, wrong;
    const char *cookie = hub->conf->auth_session_cookie;

    if (dw_identity_token_param(hub->conf) != NULL)
        dw_identity_token_log(hub->conf, identity, has_token);
    else if (!identity->session.found && !identity->has_cookie)
        dw_log_limited(&no_cookie, DW_LOG_INFO, "refused: the request has no cookie %s (auth.session_cookie)", cookie);
    else if (!identity->session.found)
        dw_log_limited(&unknown, DW_LOG_INFO,
                       "refused: the cookie %s names no session that auth.session_sql finds (unknown or expired)",
                       cookie);
    else if (!identity->session.has_csrf_token)
        dw_log_limited(&tokenless, DW_LOG_INFO, "refused: the session has no csrf_token: give it one");
    else if (!has_token)
        dw_log_limited(&missing, DW_LOG_INFO,
                       "refused: the request has no CSRF token (parameter csrf-token or header X-CSRF-Token)");
    else
        dw_log_limited(&wrong, DW_LOG_INFO, "refused: the CSRF token is not that of the session");
}

bool dw_identity_admit(struct dw_hub *hub, const struct dw_identity *identity, const struct dw_request *request,
                       const struct dw_params *params, struct dw_answer *answer)
{
    static struct dw_log_limit origin, nobody;
    const struct dw_session *session = &identity->session;
    const struct dw_conf *conf = hub->conf;

    if (strcmp(conf->auth_csrf, "off") != 0 && !identity->is_meant &&
        !dw_access_csrf(session->found && session->has_csrf_token ? dw_buf_str(&session->csrf_token) : NULL,
                        dw_params_get(params, "csrf-token"), request->csrf_header, request->xsrf_header)) {
        dw_counter_add(&hub->counters.refused_csrf, 1);
        log_csrf(hub, identity,
                 dw_params_get(params, "csrf-token") != NULL || request->csrf_header != NULL ||
                     request->xsrf_header != NULL);
        dw_answer_text(answer, 403, "Bad CSRF token");
        return false;
    }
    if (!dw_access_origin(conf->auth_allowed_origins, request->host, request->https, request->origin,
                          request->referer)) {
        dw_counter_add(&hub->counters.refused_origin, 1);
        dw_log_limited(&origin, DW_LOG_INFO, "refused: the page's origin is not allowed (auth.allowed_origins)");
        dw_answer_text(answer, 403, "Unauthorized origin");
        return false;
    }
    if (strcmp(conf->auth_require_uid, "on") == 0 && identity->uid == NULL) {
        dw_counter_add(&hub->counters.refused_auth, 1);
        dw_log_limited(&nobody, DW_LOG_INFO, "refused: the request has no user id, and auth.require_uid is on");
        dw_answer_text(answer, 401, "Unauthorized request");
        return false;
    }
    return true;
}
