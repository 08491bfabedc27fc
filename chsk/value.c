/* Constructors of values.  They run wherever a tree is made by hand (the protocol core, the hub,
 * tests); the readers use the same ones for all but their hottest cases. */
#include "chsk/value.h"

#include "chsk/arena.h"

#include <assert.h>

const struct dw_value *dw_nil(void)
{
    static const struct dw_value nil = {.type = DW_T_NIL};

    return &nil;
}

const struct dw_value *dw_bool(bool value)
{
    static const struct dw_value both[2] = {{.type = DW_T_BOOL}, {.type = DW_T_BOOL, .u.boolean = true}};

    return &both[value];
}

static struct dw_value *new_value(struct dw_arena *arena, enum dw_type type)
{
    struct dw_value *value = dw_arena_take(arena, sizeof *value);

    if (value != NULL)
        value->type = (uint8_t)type;
    return value;
}

const struct dw_value *dw_int(struct dw_arena *arena, int64_t value)
{
    struct dw_value *made = new_value(arena, DW_T_INT);

    if (made != NULL)
        made->u.integer = value;
    return made;
}

const struct dw_value *dw_double(struct dw_arena *arena, double value)
{
    struct dw_value *made = new_value(arena, DW_T_DOUBLE);

    if (made != NULL)
        made->u.real = value;
    return made;
}

const struct dw_value *dw_float(struct dw_arena *arena, double value)
{
    struct dw_value *made = new_value(arena, DW_T_FLOAT);

    if (made != NULL)
        made->u.real = (double)(float)value;
    return made;
}

const struct dw_value *dw_char(struct dw_arena *arena, uint32_t codepoint)
{
    struct dw_value *made = new_value(arena, DW_T_CHAR);

    if (made != NULL)
        made->u.codepoint = codepoint;
    return made;
}

const struct dw_value *dw_inst(struct dw_arena *arena, int64_t ms, int32_t ns)
{
    struct dw_value *made = new_value(arena, DW_T_INST);

    if (made != NULL) {
        made->u.inst.ms = ms;
        made->u.inst.ns = ns;
    }
    return made;
}

const struct dw_value *dw_text(struct dw_arena *arena, enum dw_type type, const char *bytes, size_t len)
{
    return dw_text_made(arena, type, bytes, len);
}

const struct dw_value *dw_string(struct dw_arena *arena, const char *string)
{
    return dw_text(arena, DW_T_STRING, string, strlen(string));
}

const struct dw_value *dw_keyword(struct dw_arena *arena, const char *name)
{
    return dw_text(arena, DW_T_KEYWORD, name, strlen(name));
}

const struct dw_value *dw_seq(struct dw_arena *arena, enum dw_type type, const struct dw_value *const *items,
                              size_t count)
{
    size_t slots = type == DW_T_MAP ? 2 * count : count;
    const struct dw_value *made = NULL;

    for (size_t i = 0; i < slots; i++)
        if (items[i] == NULL)
            return NULL;
    if (dw_seq_build(arena, type, items, count, DW_DUP_KEEP, &made) != 0)
        return NULL;
    return made;
}

const struct dw_value *dw_pair(struct dw_arena *arena, enum dw_type type, const struct dw_value *first,
                               const struct dw_value *second)
{
    struct dw_value *made;

    assert(type == DW_T_RATIO || type == DW_T_TAGGED);
    if (first == NULL || second == NULL)
        return NULL;
    made = new_value(arena, type);
    if (made != NULL) {
        made->u.pair.first = first;
        made->u.pair.second = second;
    }
    return made;
}
