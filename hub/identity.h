/* Who is asking, and may they?  The uid of a request and the checks in Sente's order (protocol.md,
 * "Semantics"): CSRF, origin, authorization.  One implementation for all adapters. */
#ifndef DW_HUB_IDENTITY_H
#define DW_HUB_IDENTITY_H

#include "chsk/params.h"
#include "hub/hub.h"
#include "hub/request.h"
#include "store/store.h"

struct dw_identity {
    const char *uid;  /* NULL: none; lives as long as the identity and the request */
    const char *data; /* handshake data, JSON, or NULL */
    bool has_cookie;  /* it named a session, whether there is one or not */
    /* From a token among the parameters: no other site's page has one, so it stands for a CSRF token too. */
    bool is_meant;
    bool bad_token;     /* there was a token, which is worth nothing; the log says why */
    int64_t expires_at; /* Unix milliseconds, 0: never */
    struct dw_session session;
    const char *sid;   /* of the session that the uid (or that there is none) comes from, NULL: of no session */
    int64_t looked_us; /* monotonic; when the look-up began */
    struct dw_buf cookie;
};

/* A longer cookie names no session: each held client remembers its own. */
#define DW_SID_MAX 512

void dw_identity_fini(struct dw_identity *identity);

/* Looks the session up and applies auth.uid, unless that is "token": see hub/identity_token.h.  Any store error is
 * returned. */
int dw_identity_find(const struct dw_hub *hub, struct dw_store *store, const struct dw_request *request,
                     const char *client_id, struct dw_identity *identity, struct dw_err *err);

/* True: come in.  False: `answer` holds Sente's refusal. */
bool dw_identity_admit(struct dw_hub *hub, const struct dw_identity *identity, const struct dw_request *request,
                       const struct dw_params *params, struct dw_answer *answer);

#endif
