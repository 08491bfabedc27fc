/* Housekeeping: presence, dead workers, retention, checkpoints, counters.
 *
 * Every process keeps its own presence up to date; the rest is done by whichever process holds the
 * queue's housekeeping lock.  A resident process runs dw_house_run in a thread of its own; a CGI or
 * single-request process calls dw_house_step as its request comes and goes. */
#ifndef DW_HUB_HOUSE_H
#define DW_HUB_HOUSE_H

#include "hub/hub.h"
#include "store/store.h"

#include <stdbool.h>

struct dw_house;

/* `store` belongs to the thread that runs or steps the house.  NULL: out of memory. */
struct dw_house *dw_house_new(struct dw_hub *hub, struct dw_store *store);
void dw_house_free(struct dw_house *house);

/* Any thread: a poll ended; unless its client comes back within the grace period, it is gone. */
void dw_house_departed(struct dw_house *house, const struct dw_departed *departed);
/* Any thread: a client's presence changed, bring it up to date now. */
void dw_house_presence(struct dw_house *house);
/* Any thread: the files were written, there may be something to check-point soon. */
void dw_house_active(struct dw_house *house);

/* Does what is due; returns when to call again (monotonic ms). */
int64_t dw_house_step(struct dw_house *house);

/* Any thread: does this process keep house now? */
bool dw_house_is_keeper(struct dw_house *house);

/* Lets another process keep house, until the next step.  For who will not step for long. */
void dw_house_leave(struct dw_house *house);

/* Steps until dw_house_stop, sleeping in between.  Any thread may stop it. */
void dw_house_run(struct dw_house *house);
void dw_house_stop(struct dw_house *house);

#endif
