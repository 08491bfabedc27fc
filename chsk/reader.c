/* The readers' common machinery; see reader.h.  It runs inside every packer's read function and
 * touches nothing but the input, the arena and its own stacks. */
#include "chsk/reader.h"

#include "chsk/utf8.h"

#include <stdlib.h>

const struct dw_limits dw_limits_default = {.max_depth = 64, .max_items = 100000, .max_bytes = 1 << 20};

int dw_reader_init(struct dw_reader *reader, const char *bytes, size_t len, const struct dw_limits *limits,
                   struct dw_arena *arena, struct dw_err *err)
{
    reader->start = reader->p = bytes;
    reader->end = bytes + len;
    reader->limits = limits != NULL ? *limits : dw_limits_default;
    reader->arena = arena;
    reader->err = err;
    reader->code = 0;
    reader->budget = reader->limits.max_items;
    reader->values = reader->value_room;
    reader->count = 0;
    reader->cap = DW_READER_VALUES;
    reader->frames = reader->frame_room;
    reader->depth = 0;
    reader->frame_cap = DW_READER_FRAMES;
    if (len > reader->limits.max_bytes)
        reader->code =
            dw_err_set(err, DW_LIMIT, "the message has %zu bytes, the limit is %zu", len, reader->limits.max_bytes);
    return reader->code;
}

void dw_reader_fini(struct dw_reader *reader)
{
    if (reader->values != reader->value_room)
        free(reader->values);
    if (reader->frames != reader->frame_room)
        free(reader->frames);
}

int dw_reader_bad_at(struct dw_reader *reader, size_t at, const char *what)
{
    if (reader->code == 0)
        reader->code = dw_err_set(reader->err, DW_INVALID, "%s at byte %zu", what, at);
    return reader->code;
}

int dw_reader_bad(struct dw_reader *reader, const char *what)
{
    return dw_reader_bad_at(reader, dw_reader_offset(reader), what);
}

int dw_reader_short(struct dw_reader *reader)
{
    if (reader->code != 0)
        return reader->code;
    if (dw_arena_full(reader->arena))
        reader->code = dw_err_set(reader->err, DW_LIMIT, "the message needs more memory than it may use");
    else
        reader->code = dw_err_set(reader->err, DW_NOMEM, "out of memory while reading a message");
    return reader->code;
}

int dw_reader_utf8(struct dw_reader *reader)
{
    size_t left = (size_t)(reader->end - reader->p);
    size_t valid = dw_utf8_valid(reader->p, left);

    if (valid != left)
        return dw_reader_bad_at(reader, dw_reader_offset(reader) + valid, "invalid UTF-8");
    return 0;
}

/* Doubles an array that starts out as `room` inside the reader. */
static void *grow(void *array, const void *room, size_t *cap, size_t size)
{
    void *grown = realloc(array == room ? NULL : array, 2 * *cap * size);

    if (grown == NULL)
        return NULL;
    if (array == room)
        memcpy(grown, room, *cap * size);
    *cap *= 2;
    return grown;
}

bool dw_reader_grow(struct dw_reader *reader)
{
    void *grown = grow(reader->values, reader->value_room, &reader->cap, sizeof(const struct dw_value *));

    if (grown == NULL) {
        (void)dw_reader_short(reader);
        return false;
    }
    reader->values = grown;
    return true;
}

struct dw_frame *dw_reader_open(struct dw_reader *reader, uint8_t kind, size_t at)
{
    struct dw_frame *frame;

    if (reader->depth >= reader->limits.max_depth) {
        if (reader->code == 0)
            reader->code =
                dw_err_set(reader->err, DW_LIMIT, "nesting deeper than %zu at byte %zu", reader->limits.max_depth, at);
        return NULL;
    }
    if (reader->depth == reader->frame_cap) {
        void *grown = grow(reader->frames, reader->frame_room, &reader->frame_cap, sizeof *frame);

        if (grown == NULL) {
            (void)dw_reader_short(reader);
            return NULL;
        }
        reader->frames = grown;
    }
    frame = &reader->frames[reader->depth++];
    *frame = (struct dw_frame){.kind = kind, .base = reader->count, .at = at};
    return frame;
}

const struct dw_value *dw_reader_close(struct dw_reader *reader, enum dw_type type, enum dw_dup dup)
{
    struct dw_frame *frame = dw_reader_top(reader);
    size_t count = reader->count - frame->base;
    const struct dw_value *made = NULL;
    int code;

    if (type == DW_T_MAP)
        count /= 2;
    code = dw_seq_build(reader->arena, type, reader->values + frame->base, count, dup, &made);
    if (code == DW_INVALID)
        (void)dw_reader_bad_at(reader, frame->at,
                               type == DW_T_MAP ? "duplicate key in the map" : "duplicate in the set");
    else if (code != 0)
        (void)dw_reader_short(reader);
    reader->count = frame->base;
    reader->depth--;
    return code == 0 ? made : NULL;
}
