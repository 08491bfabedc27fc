/* The transit writer's string cache: an open hash table over places in the output. */
#include "chsk/transit_cache.h"

#include "chsk/text.h"
#include "chsk/transit.h"

#include <stdlib.h>
#include <string.h>

void dw_transit_cache_init(struct dw_transit_cache *cache)
{
    cache->entries = cache->entry_room;
    cache->slots = cache->slot_room;
    memset(cache->slot_room, 0, sizeof cache->slot_room);
    cache->count = 0;
    cache->cap = DW_CACHE_ROOM;
    cache->failed = false;
}

void dw_transit_cache_fini(struct dw_transit_cache *cache)
{
    if (cache->entries != cache->entry_room)
        free(cache->entries);
    if (cache->slots != cache->slot_room)
        free(cache->slots);
}

/* A client may choose the strings, so the hash starts from an address that it does not know: keys made
 * to collide would make every look-up walk all 1936 entries. */
static uint32_t hash_bytes(const struct dw_transit_cache *cache, const char *bytes, size_t len)
{
    return dw_text_hash((uint64_t)(uintptr_t)cache, bytes, len);
}

static void enter(struct dw_transit_cache *cache, size_t number)
{
    size_t mask = 2 * cache->cap - 1, slot = cache->entries[number].hash & mask;

    while (cache->slots[slot] != 0)
        slot = (slot + 1) & mask;
    cache->slots[slot] = (uint16_t)(number + 1);
}

static bool grow(struct dw_transit_cache *cache)
{
    size_t cap = 2 * cache->cap;
    struct dw_cache_entry *entries = malloc(cap * sizeof *entries);
    uint16_t *slots = calloc(2 * cap, sizeof *slots);

    if (entries == NULL || slots == NULL) {
        free(entries);
        free(slots);
        cache->failed = true;
        return false;
    }
    memcpy(entries, cache->entries, cache->count * sizeof *entries);
    dw_transit_cache_fini(cache);
    cache->entries = entries;
    cache->slots = slots;
    cache->cap = cap;
    for (size_t i = 0; i < cache->count; i++)
        enter(cache, i);
    return true;
}

bool dw_transit_cache_find(struct dw_transit_cache *cache, const struct dw_buf *out, size_t at, size_t len,
                           size_t *number)
{
    const char *bytes = out->data + at;
    uint32_t hash = hash_bytes(cache, bytes, len);
    size_t mask = 2 * cache->cap - 1;

    for (size_t slot = hash & mask; cache->slots[slot] != 0; slot = (slot + 1) & mask) {
        const struct dw_cache_entry *entry = &cache->entries[cache->slots[slot] - 1];

        if (entry->hash == hash && entry->len == len && memcmp(out->data + entry->at, bytes, len) == 0) {
            *number = (size_t)(entry - cache->entries);
            return true;
        }
    }
    if (cache->count == DW_TRANSIT_CACHE) {
        cache->count = 0;
        memset(cache->slots, 0, 2 * cache->cap * sizeof *cache->slots);
    }
    if (len > UINT32_MAX || (cache->count == cache->cap && !grow(cache)))
        return false;
    cache->entries[cache->count] = (struct dw_cache_entry){at, (uint32_t)len, hash};
    enter(cache, cache->count++);
    return false;
}
