/* How many WebSockets come from each address (limits.sockets_per_address). */
#ifndef DW_WS_ADDRESSES_H
#define DW_WS_ADDRESSES_H

#include <stddef.h>

struct dw_address;

struct dw_addresses {
    void *tree;
};

/* One more from there; NULL: there are `most` already (0: any number is fine), or out of memory. */
struct dw_address *dw_address_take(struct dw_addresses *addresses, const char *name, size_t most);
/* One less; NULL is fine. */
void dw_address_drop(struct dw_addresses *addresses, struct dw_address *address);

#endif
