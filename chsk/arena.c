/* The arena: memory for one value tree, taken from the heap in growing chunks and freed as a whole.
 * It runs inside readers and constructors and knows nothing about values. */
#include "chsk/arena.h"

#include <stdlib.h>

struct dw_chunk {
    struct dw_chunk *older;
    size_t size; /* usable bytes behind this header */
};

/* The first room lies behind the arena itself, so that a small tree takes one allocation in all. */
enum { ROOM_FIRST = 4000, CHUNK_FIRST = 2 * ROOM_FIRST, CHUNK_MOST = 1 << 20, CHUNK_KEPT = 256 << 10 };

static void open_first(struct dw_arena *arena)
{
    arena->chunk = NULL;
    arena->next = (char *)(arena + 1);
    arena->end = arena->next + ROOM_FIRST;
    DW_ARENA_CLOSE(arena->next, ROOM_FIRST);
}

struct dw_arena *dw_arena_new(size_t max_bytes)
{
    struct dw_arena *arena = malloc(sizeof *arena + ROOM_FIRST);

    if (arena == NULL)
        return NULL;
    arena->used = 0;
    arena->max_bytes = max_bytes != 0 ? max_bytes : SIZE_MAX;
    arena->full = false;
    open_first(arena);
    return arena;
}

static void free_chunks(struct dw_chunk *chunk)
{
    while (chunk != NULL) {
        struct dw_chunk *older = chunk->older;

        free(chunk);
        chunk = older;
    }
}

void dw_arena_free(struct dw_arena *arena)
{
    if (arena == NULL)
        return;
    free_chunks(arena->chunk);
    free(arena);
}

/* The newest chunk is the largest as a rule; a giant one is not worth keeping for the next tree. */
void dw_arena_reset(struct dw_arena *arena)
{
    struct dw_chunk *kept = arena->chunk;

    arena->used = 0;
    arena->full = false;
    if (kept == NULL || kept->size > CHUNK_KEPT) {
        free_chunks(kept);
        open_first(arena);
        return;
    }
    free_chunks(kept->older);
    kept->older = NULL;
    arena->next = (char *)(kept + 1);
    arena->end = arena->next + kept->size;
    DW_ARENA_CLOSE(arena->next, kept->size);
}

void *dw_arena_grow(struct dw_arena *arena, size_t size)
{
    size_t want = arena->chunk != NULL ? arena->chunk->size * 2 : CHUNK_FIRST;
    struct dw_chunk *chunk;

    if (size > arena->max_bytes - arena->used) {
        arena->full = true;
        return NULL;
    }
    if (want > CHUNK_MOST)
        want = CHUNK_MOST;
    if (want < size + DW_ARENA_GAP)
        want = size + DW_ARENA_GAP;
    chunk = malloc(sizeof *chunk + want);
    if (chunk == NULL)
        return NULL;
    chunk->older = arena->chunk;
    chunk->size = want;
    arena->chunk = chunk;
    arena->next = (char *)(chunk + 1) + size + DW_ARENA_GAP;
    arena->end = (char *)(chunk + 1) + want;
    arena->used += size;
    DW_ARENA_CLOSE(chunk + 1, want);
    return chunk + 1;
}

void *dw_arena_alloc(struct dw_arena *arena, size_t size)
{
    return dw_arena_take(arena, size);
}

bool dw_arena_full(const struct dw_arena *arena)
{
    return arena->full;
}
