/* Who is parked here, by uid, by client id, and by the inbox row that a callback waits for.
 *
 * Search trees of libc (tsearch); the polls of one name hang on a list.  Part of the lot: one thread. */
#ifndef DW_HUB_INDEX_H
#define DW_HUB_INDEX_H

#include "hub/request.h"

struct dw_index {
    void *by_uid, *by_client, *by_inbox;
};

/* Adds a poll or callback; false: out of memory, nothing was added. */
bool dw_index_add(struct dw_index *index, struct dw_parked *parked);
void dw_index_remove(struct dw_index *index, struct dw_parked *parked);

/* First poll of that uid ("" = clients without one) / client id, others by uid_next / client_next. */
struct dw_parked *dw_index_uid(const struct dw_index *index, const char *uid);
struct dw_parked *dw_index_client(const struct dw_index *index, const char *client_id);
struct dw_parked *dw_index_inbox(const struct dw_index *index, int64_t inbox_id);

#endif
