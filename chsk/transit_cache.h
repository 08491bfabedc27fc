/* The writer's half of transit's string cache: which encoded string got which code.  Strings are not
 * copied: an entry is a place in the output, where the string was written first. */
#ifndef DW_CHSK_TRANSIT_CACHE_H
#define DW_CHSK_TRANSIT_CACHE_H

#include "base/buf.h"

enum { DW_CACHE_ROOM = 32 };

struct dw_cache_entry {
    size_t at;
    uint32_t len, hash;
};

struct dw_transit_cache {
    struct dw_cache_entry *entries, entry_room[DW_CACHE_ROOM];
    uint16_t *slots, slot_room[2 * DW_CACHE_ROOM]; /* entry number plus one; 0: free */
    size_t count, cap;                             /* of entries; there are 2 * cap slots */
    bool failed;
};

void dw_transit_cache_init(struct dw_transit_cache *cache);
void dw_transit_cache_fini(struct dw_transit_cache *cache);

/* Looks for the `len` bytes that stand at out->data[at].  True with the entry's number when they were
 * written before; otherwise they become a new entry, after starting over if the cache is full.
 * Shortage of memory sets `failed`. */
bool dw_transit_cache_find(struct dw_transit_cache *cache, const struct dw_buf *out, size_t at, size_t len,
                           size_t *number);

#endif
