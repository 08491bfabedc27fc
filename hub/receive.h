/* A client's message on its way from packed bytes to the app's inbox: one implementation for all transports. */
#ifndef DW_HUB_RECEIVE_H
#define DW_HUB_RECEIVE_H

#include "chsk/envelope.h"
#include "hub/hub.h"

/* All pointers are borrowed for the calls. */
struct dw_receiving {
    struct dw_hub *hub;
    struct dw_store *store;
    struct dw_arena *arena; /* the envelope's values live in it */
    const struct dw_packer *packer;
    const char *uid, *client_id; /* NULL: none */
    const char *payload;
    size_t payload_len;
    dw_reply_fn *on_reply; /* gets the reply that a trigger of the app gave in the same transaction */
    void *context;
};

/* Unpacks.  What is malformed (DW_INVALID) is counted and reported to the app as chsk/bad-package; what is
 * over a limit (DW_LIMIT) is counted. */
int dw_receive_unpack(const struct dw_receiving *receiving, struct dw_envelope *envelope, struct dw_err *err);

/* Stores the event as a row of the inbox, as chsk/bad-event where it is none.  DW_HANDLER: the app's
 * trigger refused it, which is counted and logged; other failures are the caller's to report. */
int dw_receive_store(const struct dw_receiving *receiving, const struct dw_envelope *envelope, int64_t *id,
                     struct dw_err *err);

/* Remembers the generation that a client's messages have shown: what it is sent next carries none. */
int dw_receive_generation(struct dw_store *store, const struct dw_client_key *key, int generation, struct dw_err *err);

#endif
