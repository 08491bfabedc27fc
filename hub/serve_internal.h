/* What serve.c, serve_get.c, serve_post.c and serve_ws.c share: one thread's server and the request under way. */
#ifndef DW_HUB_SERVE_INTERNAL_H
#define DW_HUB_SERVE_INTERNAL_H

#include "chsk/params.h"
#include "chsk/step.h"
#include "hub/identity.h"
#include "hub/keyfile.h"
#include "hub/outbox.h"
#include "hub/serve.h"

struct dw_server {
    struct dw_hub *hub;
    struct dw_store *store;
    struct dw_outbox *outbox;
    struct dw_arena *arena;
    struct dw_keyfile keyfile;
    uint64_t replaced; /* clients, as far as they have been counted */
};

struct dw_serving_call {
    struct dw_server *server;
    const struct dw_request *request;
    struct dw_answer *answer;
    struct dw_params params;
    struct dw_identity identity;
    const char *client_id; /* NULL: none given */
    struct dw_taken taken;
    struct dw_err err;
};

/* Finds the client id among the parameters, NULL for none; false: it is not fine, the answer is made. */
bool dw_serve_client_id(struct dw_serving_call *call);
struct dw_parked *dw_serve_get(struct dw_serving_call *call);
struct dw_parked *dw_serve_post(struct dw_serving_call *call);
struct dw_parked *dw_serve_ws(struct dw_serving_call *call);

/* The step function's state as the client's row, and back. */
struct dw_chsk dw_serve_state(const struct dw_client *client, bool found);
/* Within dw_client_fn: is this client known over the other transport, and up to which push is receipt proven there? */
int dw_serve_elsewhere(struct dw_serving_call *call, enum dw_transport other, bool *known, int64_t *upto);
void dw_serve_keep(struct dw_client *client, const struct dw_chsk *state);
/* Pushes for this client may be lost (dw_chsk_place): counts it and says why. */
void dw_serve_gap(struct dw_serving_call *call, bool was_known);
/* Makes the handshake message the answer.  DW_NOMEM or what the packer says. */
int dw_serve_handshake(struct dw_serving_call *call, const struct dw_packer *packer, int generation);

/* What a poll and a WebSocket's opening need before anything else: a client id, admission, a packer; false: the
 * answer is made. */
bool dw_serve_client(struct dw_serving_call *call, const struct dw_packer **packer);
/* Looks up the identity and admits the request; false: the answer is made. */
bool dw_serve_admit(struct dw_serving_call *call);
/* serve_limits.c */
/* Are the request's headers within limits.header_bytes?  False: the answer is made. */
bool dw_serve_headers_fit(struct dw_serving_call *call);
/* Is the address within limits.requests_per_s_address?  False: the answer is made. */
bool dw_serve_within_rate_of_address(struct dw_serving_call *call);
/* Is the sender of an admitted request within limits.requests_per_s and ..._uid?  False: the answer is made. */
bool dw_serve_within_rates(struct dw_serving_call *call);
/* Within dw_client_fn, for a client that is not connected: DW_QUOTA where its uid has limits.clients_per_uid. */
int dw_serve_has_place(struct dw_serving_call *call, const struct dw_client *client);
/* Counts a client that got no place, by what dw_store_client_update said. */
void dw_serve_count_refusal(struct dw_serving_call *call, int rc);
/* The answer to what is over a limit. */
void dw_serve_refuse(struct dw_serving_call *call, int status, const char *text);

/* Turns an error inside into an answer: 4xx for what the client did, 503 for a locked database or a
 * full disk, else 500. */
void dw_serve_failed(struct dw_serving_call *call, const char *doing, int rc);
/* A parked request of this client, or NULL with the answer made. */
struct dw_parked *dw_serve_park(struct dw_serving_call *call, enum dw_parked_kind kind, const struct dw_packer *packer,
                                int generation);
/* The packer that the request asks for, else `remembered`, else the default; NULL with the answer made. */
const struct dw_packer *dw_serve_packer(struct dw_serving_call *call, const char *remembered);

#endif
