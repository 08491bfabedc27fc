/* The arena's insides, for the readers in this folder only: allocation is their hottest operation,
 * so that its common case is inlined here.  Everybody else uses dw_arena_alloc. */
#ifndef DW_CHSK_ARENA_H
#define DW_CHSK_ARENA_H

#include "chsk/text.h"
#include "chsk/value.h"

struct dw_chunk;

struct dw_arena {
    char *next, *end;       /* free part of the newest chunk */
    struct dw_chunk *chunk; /* newest first */
    size_t used;            /* handed out so far, rounding included */
    size_t max_bytes;
    bool full;
};

/* Under AddressSanitizer everything that was not handed out, and a gap behind everything that was, may not
 * be touched: to it an arena would else be one large block. */
#if defined(__SANITIZE_ADDRESS__)
#define DW_ARENA_CHECKED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define DW_ARENA_CHECKED 1
#endif
#endif
#ifdef DW_ARENA_CHECKED
#include <sanitizer/asan_interface.h>
enum { DW_ARENA_GAP = 8 };
#define DW_ARENA_CLOSE(memory, size) ASAN_POISON_MEMORY_REGION(memory, size)
#define DW_ARENA_OPEN(memory, size) ASAN_UNPOISON_MEMORY_REGION(memory, size)
#else
enum { DW_ARENA_GAP = 0 };
#define DW_ARENA_CLOSE(memory, size) ((void)0)
#define DW_ARENA_OPEN(memory, size) ((void)0)
#endif

/* The general case: a new chunk is needed, or the bound is reached.  `size` is rounded already. */
void *dw_arena_grow(struct dw_arena *arena, size_t size);

static inline void *dw_arena_take(struct dw_arena *arena, size_t size)
{
    char *memory = arena->next;
    size_t rounded;

    if (size > SIZE_MAX / 2)
        return NULL;
    rounded = (size + 7) & ~(size_t)7;
    if (rounded + DW_ARENA_GAP > (size_t)(arena->end - memory) || rounded > arena->max_bytes - arena->used) {
        memory = dw_arena_grow(arena, rounded);
        if (memory == NULL)
            return NULL;
    } else {
        arena->next += rounded + DW_ARENA_GAP;
        arena->used += rounded;
    }
    DW_ARENA_OPEN(memory, size);
    return memory;
}

/* A value with `len` bytes of text behind it, and the NUL.  The text is for the caller to fill in. */
static inline struct dw_value *dw_text_take(struct dw_arena *arena, enum dw_type type, size_t len, char **text)
{
    struct dw_value *value;

    if (len > SIZE_MAX / 4)
        return NULL;
    value = dw_arena_take(arena, sizeof *value + len + 1);
    if (value == NULL)
        return NULL;
    value->type = (uint8_t)type;
    *text = (char *)(value + 1);
    (*text)[len] = '\0';
    value->u.text.bytes = *text;
    value->u.text.len = len;
    return value;
}

/* dw_text, dw_int and dw_double for the readers' hottest places. */
static inline const struct dw_value *dw_text_made(struct dw_arena *arena, enum dw_type type, const char *bytes,
                                                  size_t len)
{
    char *text;
    struct dw_value *made = dw_text_take(arena, type, len, &text);

    if (made != NULL)
        dw_text_copy(text, bytes, len);
    return made;
}

static inline const struct dw_value *dw_int_made(struct dw_arena *arena, int64_t value)
{
    struct dw_value *made = dw_arena_take(arena, sizeof *made);

    if (made != NULL) {
        made->type = DW_T_INT;
        made->u.integer = value;
    }
    return made;
}

/* What to do with a second equal key or member. */
enum dw_dup { DW_DUP_KEEP, DW_DUP_REFUSE, DW_DUP_LAST };

/* dw_seq for readers.  DW_INVALID for a duplicate under DW_DUP_REFUSE; under DW_DUP_LAST the entry
 * keeps its first place and gets its last value. */
int dw_seq_build(struct dw_arena *arena, enum dw_type type, const struct dw_value *const *items, size_t count,
                 enum dw_dup dup, const struct dw_value **out);

#endif
