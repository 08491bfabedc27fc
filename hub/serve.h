/* Serves one request: checks, reads or writes the store, and either answers at once or hands out a
 * parked request for the lot.  Any thread, each with its own `struct dw_server`. */
#ifndef DW_HUB_SERVE_H
#define DW_HUB_SERVE_H

#include "hub/hub.h"
#include "hub/request.h"
#include "store/store.h"

struct dw_server;

/* A server for one thread; `store` must belong to the same thread and outlive it.  NULL: out of memory. */
struct dw_server *dw_server_new(struct dw_hub *hub, struct dw_store *store);
void dw_server_free(struct dw_server *server);

/* Serves `request`.  Returns NULL when `answer` is complete, else a parked request that the caller
 * completes with its connection and gives to the lot (or frees with free()).  Never fails: what goes
 * wrong inside becomes a 5xx answer and a log line.  `answer` must be initialised (DW_ANSWER_INIT). */
struct dw_parked *dw_serve(struct dw_server *server, const struct dw_request *request, struct dw_answer *answer);

/* The arena for what is read from a client; reset by the next dw_serve. */
struct dw_arena *dw_server_arena(struct dw_server *server);

/* The answers that hub/lot.c gives too.  DW_NOMEM or what the packer says. */
int dw_answer_value(struct dw_answer *answer, const struct dw_packer *packer, int generation, struct dw_arena *arena,
                    const struct dw_value *value, struct dw_err *err);
int dw_answer_timeout(struct dw_answer *answer, const struct dw_packer *packer, int generation, struct dw_arena *arena,
                      struct dw_err *err);
int dw_answer_reply(struct dw_answer *answer, const struct dw_hub *hub, const struct dw_packer *packer, int generation,
                    struct dw_arena *arena, const struct dw_reply *reply, struct dw_err *err);
/* The end of a request that makes its client reconnect ([:chsk/close]). */
void dw_answer_closed(struct dw_answer *answer);

#endif
