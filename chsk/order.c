/* The total order over values, and maps and sets that carry it.
 *
 * Every map and set is sorted once, when it is built: duplicates are found then (what a strict reader
 * needs anyway), and equality of nested maps and sets is later a plain walk over both in sorted
 * order.  A hash would be quicker on friendly input and quadratic on hostile input.  No recursion:
 * a walk keeps its own stack.
 *
 *      items   k0 v0 k1 v1 k2 v2  |  order  2 0 1      (uint32_t, directly behind the items)
 */
#include "base/err.h"
#include "chsk/arena.h"
#include "chsk/value.h"

#include <math.h>
#include <stdlib.h>

enum { WALK_INLINE = 32, SMALL_SORT = 12 };

/* Types that can be equal to each other share a class. */
static int class_of(uint8_t type)
{
    switch (type) {
    case DW_T_BIGINT:
        return DW_T_INT;
    case DW_T_FLOAT:
        return DW_T_DOUBLE;
    case DW_T_LIST:
        return DW_T_VECTOR;
    default:
        return type;
    }
}

static int compare_bytes(const void *a, size_t a_len, const void *b, size_t b_len)
{
    if (a_len != b_len)
        return a_len < b_len ? -1 : 1;
    return a_len != 0 ? memcmp(a, b, a_len) : 0;
}

static uint32_t from_big_endian(uint32_t four)
{
    return __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? __builtin_bswap32(four) : four;
}

static int compare_reals(double a, double b)
{
    if (isnan(a) || isnan(b))
        return (isnan(a) ? 1 : 0) - (isnan(b) ? 1 : 0);
    return (a > b) - (a < b);
}

/* Sign and digits of an INT or BIGINT; `room` is for the digits of an INT. */
static const char *digits_of(const struct dw_value *value, char room[20], size_t *len, bool *negative)
{
    uint64_t rest;
    /* cppcheck-suppress ctuPointerArith ; the end of the array, written to only after a decrement */
    char *at = room + 20;

    if (value->type == DW_T_BIGINT) {
        *negative = value->u.text.len != 0 && value->u.text.bytes[0] == '-';
        *len = value->u.text.len - (*negative ? 1 : 0);
        return value->u.text.bytes + (*negative ? 1 : 0);
    }
    *negative = value->u.integer < 0;
    rest = *negative ? 0 - (uint64_t)value->u.integer : (uint64_t)value->u.integer;
    do {
        *--at = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest != 0);
    *len = (size_t)(room + 20 - at);
    return at;
}

static int compare_integers(const struct dw_value *a, const struct dw_value *b)
{
    char a_room[20], b_room[20];
    const char *a_digits, *b_digits;
    size_t a_len, b_len;
    bool a_negative, b_negative;
    int result;

    if (a->type == DW_T_INT && b->type == DW_T_INT)
        return (a->u.integer > b->u.integer) - (a->u.integer < b->u.integer);
    a_digits = digits_of(a, a_room, &a_len, &a_negative);
    b_digits = digits_of(b, b_room, &b_len, &b_negative);
    if (a_negative != b_negative)
        return a_negative ? -1 : 1;
    result = compare_bytes(a_digits, a_len, b_digits, b_len);
    return a_negative ? -result : result;
}

static int compare_arrays(const struct dw_value *a, const struct dw_value *b)
{
    size_t width = a->u.array.kind == 7 ? 8 : 4;

    if (a->u.array.kind != b->u.array.kind)
        return a->u.array.kind < b->u.array.kind ? -1 : 1;
    return compare_bytes(a->u.array.elements, a->u.array.count * width, b->u.array.elements, b->u.array.count * width);
}

static int compare_insts(const struct dw_value *a, const struct dw_value *b)
{
    if (a->u.inst.ms != b->u.inst.ms)
        return a->u.inst.ms < b->u.inst.ms ? -1 : 1;
    return (a->u.inst.ns > b->u.inst.ns) - (a->u.inst.ns < b->u.inst.ns);
}

/* Number of children of a collection, 0 for a scalar. */
static size_t children_of(const struct dw_value *value)
{
    switch (value->type) {
    case DW_T_LIST:
    case DW_T_VECTOR:
    case DW_T_SET:
        return value->u.seq.count;
    case DW_T_MAP:
        return 2 * value->u.seq.count;
    case DW_T_RATIO:
    case DW_T_TAGGED:
        return 2;
    default:
        return 0;
    }
}

/* Child number `i`, of maps and sets in sorted order. */
static const struct dw_value *child_of(const struct dw_value *value, size_t i)
{
    const uint32_t *order;

    switch (value->type) {
    case DW_T_SET:
        order = (const uint32_t *)(value->u.seq.items + value->u.seq.count);
        return value->u.seq.items[order[i]];
    case DW_T_MAP:
        order = (const uint32_t *)(value->u.seq.items + 2 * value->u.seq.count);
        return value->u.seq.items[2 * (size_t)order[i / 2] + i % 2];
    case DW_T_RATIO:
    case DW_T_TAGGED:
        return i == 0 ? value->u.pair.first : value->u.pair.second;
    default:
        return value->u.seq.items[i];
    }
}

/* Compares everything but children: 0 means "equal so far". */
static int compare_heads(const struct dw_value *a, const struct dw_value *b)
{
    int a_class = class_of(a->type), b_class = class_of(b->type);

    if (a_class != b_class)
        return a_class < b_class ? -1 : 1;
    switch (a_class) {
    case DW_T_NIL:
        return 0;
    case DW_T_BOOL:
        return (int)a->u.boolean - (int)b->u.boolean;
    case DW_T_INT:
        return compare_integers(a, b);
    case DW_T_DOUBLE:
        return compare_reals(a->u.real, b->u.real);
    case DW_T_CHAR:
        return (a->u.codepoint > b->u.codepoint) - (a->u.codepoint < b->u.codepoint);
    case DW_T_INST:
        return compare_insts(a, b);
    case DW_T_ARRAY:
        return compare_arrays(a, b);
    case DW_T_VECTOR:
    case DW_T_SET:
    case DW_T_MAP:
        return (a->u.seq.count > b->u.seq.count) - (a->u.seq.count < b->u.seq.count);
    case DW_T_RATIO:
    case DW_T_TAGGED:
        return 0;
    default:
        return compare_bytes(a->u.text.bytes, a->u.text.len, b->u.text.bytes, b->u.text.len);
    }
}

struct step {
    const struct dw_value *a, *b;
    size_t next;
};

struct walk {
    struct step *steps, room[WALK_INLINE];
    size_t depth, cap;
};

static bool walk_push(struct walk *walk, const struct dw_value *a, const struct dw_value *b)
{
    if (walk->depth == walk->cap) {
        struct step *old = walk->steps == walk->room ? NULL : walk->steps;
        struct step *grown = realloc(old, 2 * walk->cap * sizeof *grown);

        if (grown == NULL)
            return false;
        if (old == NULL)
            memcpy(grown, walk->room, sizeof walk->room);
        walk->steps = grown;
        walk->cap *= 2;
    }
    walk->steps[walk->depth++] = (struct step){a, b, 0};
    return true;
}

static int compare_trees(const struct dw_value *a, const struct dw_value *b, bool *failed)
{
    struct walk walk = {.steps = walk.room, .cap = WALK_INLINE};
    int result = 0;

    *failed = !walk_push(&walk, a, b);
    while (walk.depth != 0 && result == 0 && !*failed) {
        struct step *top = &walk.steps[walk.depth - 1];
        const struct dw_value *left, *right;

        if (top->next == children_of(top->a)) {
            walk.depth--;
            continue;
        }
        left = child_of(top->a, top->next);
        right = child_of(top->b, top->next);
        top->next++;
        if (left == right)
            continue;
        result = compare_heads(left, right);
        if (result == 0 && children_of(left) != 0)
            *failed = !walk_push(&walk, left, right);
    }
    if (walk.steps != walk.room)
        free(walk.steps);
    return result;
}

int dw_compare(const struct dw_value *a, const struct dw_value *b, bool *failed)
{
    int result = a == b ? 0 : compare_heads(a, b);

    *failed = false;
    if (result != 0 || a == b || children_of(a) == 0)
        return result;
    return compare_trees(a, b, failed);
}

bool dw_equal(const struct dw_value *a, const struct dw_value *b)
{
    bool failed;

    return dw_compare(a, b, &failed) == 0 && !failed;
}

/* The first bytes of a key in the order of compare_heads: class, then for text its length and first five
 * bytes.  Of two keys whose prefixes differ it says which comes first; most keys differ there. */
static inline uint64_t prefix_of(const struct dw_value *key)
{
    const unsigned char *bytes;
    size_t len;
    uint32_t four;
    uint64_t text;

    if (key->type != DW_T_STRING && key->type != DW_T_KEYWORD && key->type != DW_T_SYMBOL)
        return (uint64_t)class_of(key->type) << 56;
    bytes = (const unsigned char *)key->u.text.bytes;
    len = key->u.text.len;
    if (len >= 4) {
        memcpy(&four, bytes, sizeof four);
        text = (uint64_t)from_big_endian(four) << 8 | bytes[len > 4 ? 4 : 3];
    } else { /* among texts of the same length this is in order, though bytes come twice */
        text = len == 0 ? 0 : (uint64_t)bytes[0] << 16 | (uint64_t)bytes[len / 2] << 8 | bytes[len - 1];
    }
    return (uint64_t)key->type << 56 | (uint64_t)(len < UINT16_MAX ? len : UINT16_MAX) << 40 | text;
}

/* What a sort needs: entry number i has its key at keys[i * stride]. */
struct sort {
    const struct dw_value *const *keys;
    size_t stride;
    bool failed;
    bool duplicates; /* two equal keys were compared */
};

static int compare_keys(struct sort *sort, uint32_t a, uint32_t b)
{
    bool failed;
    int result = dw_compare(sort->keys[a * sort->stride], sort->keys[b * sort->stride], &failed);

    sort->failed |= failed;
    sort->duplicates |= result == 0;
    return result;
}

/* By insertion.  Any two equal keys are compared with each other on the way. */
static void sort_small(struct sort *sort, uint32_t *order, size_t count)
{
    uint64_t prefixes[SMALL_SORT];

    for (size_t i = 0; i < count; i++) {
        uint64_t prefix = prefix_of(sort->keys[order[i] * sort->stride]);
        uint32_t moved = order[i];
        size_t to = i;

        for (; to > 0 && prefixes[to - 1] >= prefix; to--) {
            if (prefixes[to - 1] == prefix && compare_keys(sort, order[to - 1], moved) <= 0)
                break;
            order[to] = order[to - 1];
            prefixes[to] = prefixes[to - 1];
        }
        order[to] = moved;
        prefixes[to] = prefix;
    }
}

static void merge(struct sort *sort, const uint32_t *from, uint32_t *to, size_t middle, size_t count)
{
    size_t left = 0, right = middle;

    for (size_t i = 0; i < count; i++) {
        if (right == count || (left < middle && compare_keys(sort, from[left], from[right]) <= 0))
            to[i] = from[left++];
        else
            to[i] = from[right++];
    }
}

/* Stable merge sort from runs of SMALL_SORT upwards. */
static int sort_order(struct sort *sort, uint32_t *order, size_t count)
{
    uint32_t *from = order, *to, *spare;

    for (size_t i = 0; i < count; i += SMALL_SORT)
        sort_small(sort, order + i, count - i < SMALL_SORT ? count - i : SMALL_SORT);
    if (count <= SMALL_SORT)
        return sort->failed ? DW_NOMEM : 0;
    spare = malloc(count * sizeof *spare);
    if (spare == NULL)
        return DW_NOMEM;
    to = spare;
    for (size_t run = SMALL_SORT; run < count; run *= 2) {
        uint32_t *swap = from;

        for (size_t i = 0; i < count; i += 2 * run) {
            size_t left = count - i;
            size_t pair = left < 2 * run ? left : 2 * run;

            merge(sort, from + i, to + i, pair < run ? pair : run, pair);
        }
        from = to;
        to = swap;
    }
    if (from != order)
        memcpy(order, from, count * sizeof *order);
    free(spare);
    return sort->failed ? DW_NOMEM : 0;
}

/* Leaves the first of each group of equal keys, with the value of the last (the sort is stable, so
 * a group is in reading order).  Dropped entries are marked by a NULL key, then closed up. */
static size_t drop_duplicates(struct sort *sort, const struct dw_value **items, const uint32_t *order, size_t count)
{
    size_t stride = sort->stride, kept = 0;
    uint32_t first = order[0];

    for (size_t i = 1; i < count; i++) {
        if (compare_keys(sort, first, order[i]) != 0) {
            first = order[i];
            continue;
        }
        if (stride == 2)
            items[2 * (size_t)first + 1] = items[2 * (size_t)order[i] + 1];
        items[order[i] * stride] = NULL;
    }
    for (size_t i = 0; i < count; i++) {
        if (items[i * stride] == NULL)
            continue;
        memmove(items + kept * stride, items + i * stride, stride * sizeof *items);
        kept++;
    }
    return kept;
}

/* Sorts the copied entries of a new map or set and deals with duplicates. */
static int finish_unordered(struct dw_value *made, const struct dw_value **items, size_t stride, enum dw_dup dup)
{
    size_t count = made->u.seq.count;
    struct sort sort = {.keys = items, .stride = stride};

    for (;;) {
        uint32_t *order = (uint32_t *)(items + stride * count);
        size_t kept = count;
        int code;

        for (size_t i = 0; i < count; i++)
            order[i] = (uint32_t)i;
        code = sort_order(&sort, order, count);
        if (code != 0)
            return code;
        if (dup != DW_DUP_KEEP && sort.duplicates) {
            if (dup == DW_DUP_REFUSE)
                return DW_INVALID;
            kept = drop_duplicates(&sort, items, order, count);
        }
        if (sort.failed)
            return DW_NOMEM;
        sort.duplicates = false;
        made->u.seq.count = kept;
        if (kept == count)
            return 0;
        count = kept; /* the rest moved: number and sort it again, once */
    }
}

int dw_seq_build(struct dw_arena *arena, enum dw_type type, const struct dw_value *const *items, size_t count,
                 enum dw_dup dup, const struct dw_value **out)
{
    size_t stride = type == DW_T_MAP ? 2 : 1;
    bool unordered = type == DW_T_MAP || type == DW_T_SET;
    struct dw_value *made;
    const struct dw_value **copy;

    if (count > UINT32_MAX)
        return DW_LIMIT;
    made = dw_arena_take(arena, sizeof *made + count * (stride * sizeof *items + (unordered ? sizeof(uint32_t) : 0)));
    if (made == NULL)
        return DW_NOMEM;
    copy = (const struct dw_value **)(made + 1);
    if (count != 0)
        memcpy(copy, items, count * stride * sizeof *items);
    made->type = (uint8_t)type;
    made->u.seq.items = copy;
    made->u.seq.count = count;
    *out = made;
    return unordered ? finish_unordered(made, copy, stride, dup) : 0;
}
