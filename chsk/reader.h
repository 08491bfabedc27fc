/* What all readers share: position, limits, a stack of finished values and a stack of open brackets.
 *
 * A reader is a loop over tokens, not a recursion.  An opening bracket pushes a frame that remembers
 * where its values begin; a finished value is pushed on the value stack; a closing bracket makes one
 * value of everything above its frame's mark:
 *
 *      input   [:a {:b 1   }]           frames   [ base=0, { base=1
 *                        ^              values   :a :b 1
 *
 * A failure is latched in `code`; the loops look at it once per token. */
#ifndef DW_CHSK_READER_H
#define DW_CHSK_READER_H

#include "chsk/arena.h"
#include "chsk/packer.h"

enum { DW_READER_VALUES = 128, DW_READER_FRAMES = 32 };

struct dw_frame {
    uint8_t kind;  /* each format's own */
    uint8_t state; /* each format's own */
    size_t base;   /* its values start here on the value stack */
    size_t at;     /* offset of the bracket in the input */
    uint64_t left; /* values still to come, where the format says it in advance */
    const struct dw_value *aux;
    const char *outer_end; /* the input's end outside it, where the bracket has an end of its own */
};

struct dw_reader {
    const char *start, *p, *end;
    struct dw_limits limits;
    struct dw_arena *arena;
    struct dw_err *err;
    int code;
    size_t budget; /* values that may still be read */
    const struct dw_value **values;
    size_t count, cap;
    struct dw_frame *frames;
    size_t depth, frame_cap;
    const struct dw_value *value_room[DW_READER_VALUES];
    struct dw_frame frame_room[DW_READER_FRAMES];
};

/* Starts reading; DW_LIMIT when the input is too long.  dw_reader_fini is needed either way. */
int dw_reader_init(struct dw_reader *reader, const char *bytes, size_t len, const struct dw_limits *limits,
                   struct dw_arena *arena, struct dw_err *err);
void dw_reader_fini(struct dw_reader *reader);

/* Malformed input at the current position (or at `at`): latches and returns DW_INVALID. */
int dw_reader_bad(struct dw_reader *reader, const char *what);
int dw_reader_bad_at(struct dw_reader *reader, size_t at, const char *what);
/* The arena gave nothing: DW_LIMIT when its bound is reached, else DW_NOMEM. */
int dw_reader_short(struct dw_reader *reader);
/* Checks that [p, end) is UTF-8. */
int dw_reader_utf8(struct dw_reader *reader);

/* A new bracket at offset `at`; NULL (and latched) when too deep. */
struct dw_frame *dw_reader_open(struct dw_reader *reader, uint8_t kind, size_t at);
/* Makes a collection of the innermost bracket's values and drops the bracket; NULL (and latched)
 * on failure.  A MAP must have an even number of values: the caller has checked. */
const struct dw_value *dw_reader_close(struct dw_reader *reader, enum dw_type type, enum dw_dup dup);
/* For the push below. */
bool dw_reader_grow(struct dw_reader *reader);

static inline bool dw_reader_push(struct dw_reader *reader, const struct dw_value *value)
{
    if (reader->count == reader->cap && !dw_reader_grow(reader))
        return false;
    reader->values[reader->count++] = value;
    return true;
}

/* Every value, of whatever kind, is counted once. */
static inline bool dw_reader_spend(struct dw_reader *reader)
{
    if (reader->budget == 0) {
        if (reader->code == 0)
            reader->code =
                dw_err_set(reader->err, DW_LIMIT, "the message has more than %zu values", reader->limits.max_items);
        return false;
    }
    reader->budget--;
    return true;
}

static inline struct dw_frame *dw_reader_top(struct dw_reader *reader)
{
    return reader->depth != 0 ? &reader->frames[reader->depth - 1] : NULL;
}

static inline size_t dw_reader_offset(const struct dw_reader *reader)
{
    return (size_t)(reader->p - reader->start);
}

#endif
