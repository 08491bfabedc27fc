/* The value tree: everything that edn, transit, msgpack and JSON can say, in one tagged tree.
 *
 * A tree lives in an arena and is freed with it as a whole; values are immutable once built and may
 * share children (a DAG) within one arena.  No function here does I/O or reads a clock.  An arena
 * is used by one thread at a time. */
#ifndef DW_CHSK_VALUE_H
#define DW_CHSK_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum dw_type {
    DW_T_NIL,
    DW_T_BOOL,
    DW_T_INT,     /* fits int64 */
    DW_T_BIGINT,  /* text: canonical decimal digits, optional leading '-' (edn 1N, transit ~n) */
    DW_T_DOUBLE,  /* may be NaN or infinite */
    DW_T_FLOAT,   /* single precision: msgpack ca; same payload as DW_T_DOUBLE */
    DW_T_DECIMAL, /* text as written, without a trailing M (edn 1.5M, transit ~f) */
    DW_T_RATIO,   /* pair: numerator, denominator, each INT or BIGINT */
    DW_T_CHAR,    /* one Unicode code point */
    DW_T_STRING,  /* valid UTF-8, may contain NUL */
    DW_T_KEYWORD, /* text without the leading colon: "ns/name" or "name" */
    DW_T_SYMBOL,
    DW_T_LIST,
    DW_T_VECTOR,
    DW_T_MAP, /* items[2*i] key, items[2*i+1] value; order as read; count = number of pairs */
    DW_T_SET,
    DW_T_INST, /* milliseconds since the Unix epoch, plus nanoseconds within the millisecond */
    DW_T_UUID, /* text: 36 characters, lower case */
    DW_T_BYTES,
    DW_T_URI,    /* text */
    DW_T_ARRAY,  /* msgpack ext 5/6/7: homogeneous int32 / float / double array */
    DW_T_TAGGED, /* pair: tag (a SYMBOL or STRING value), value */
};

struct dw_value {
    uint8_t type; /* enum dw_type */
    union {
        bool boolean;
        int64_t integer;
        double real;
        uint32_t codepoint;
        struct {               /* STRING KEYWORD SYMBOL BIGINT DECIMAL UUID BYTES URI */
            const char *bytes; /* NUL-terminated behind len */
            size_t len;
        } text;
        struct { /* LIST VECTOR SET MAP */
            /* Behind the items of a MAP or SET lie `count` uint32_t: the entries in dw_compare order.
             * dw_seq puts them there, so never build one by hand. */
            const struct dw_value *const *items;
            size_t count;
        } seq;
        struct { /* RATIO TAGGED */
            const struct dw_value *first, *second;
        } pair;
        struct {
            int64_t ms;
            int32_t ns; /* 0..999999 */
        } inst;
        struct {
            uint8_t kind;         /* 5 int32, 6 float, 7 double: msgpack's extension number */
            uint32_t count;       /* 32 bits, so that every value has three words */
            const void *elements; /* host byte order */
        } array;
    } u;
};

struct dw_arena;

/* A new empty arena, or NULL when memory is short.  `max_bytes` bounds what it will hand out
 * (0: unbounded), so that no input can make a reader use more. */
struct dw_arena *dw_arena_new(size_t max_bytes);
/* Frees the arena and every value in it; NULL is fine. */
void dw_arena_free(struct dw_arena *arena);
/* Forgets all values, keeps some memory for the next tree. */
void dw_arena_reset(struct dw_arena *arena);
/* Aligned, uninitialised memory that lives as long as the arena; NULL when short or over the bound. */
void *dw_arena_alloc(struct dw_arena *arena, size_t size);

/* True once an allocation was refused because of `max_bytes` (and not for want of memory). */
bool dw_arena_full(const struct dw_arena *arena);

/* Constructors: the value lives in `arena`, text is copied, children are referenced (they must live
 * at least as long).  All return NULL when memory is short or a child is NULL, so that calls nest
 * and the outermost result is checked once. */
const struct dw_value *dw_nil(void);
const struct dw_value *dw_bool(bool value);
const struct dw_value *dw_int(struct dw_arena *arena, int64_t value);
const struct dw_value *dw_double(struct dw_arena *arena, double value);
const struct dw_value *dw_float(struct dw_arena *arena, double value); /* rounded to single precision */
const struct dw_value *dw_char(struct dw_arena *arena, uint32_t codepoint);
const struct dw_value *dw_inst(struct dw_arena *arena, int64_t ms, int32_t ns);
const struct dw_value *dw_text(struct dw_arena *arena, enum dw_type type, const char *bytes, size_t len);
const struct dw_value *dw_string(struct dw_arena *arena, const char *string);
const struct dw_value *dw_keyword(struct dw_arena *arena, const char *name);
const struct dw_value *dw_seq(struct dw_arena *arena, enum dw_type type, const struct dw_value *const *items,
                              size_t count); /* for MAP `count` is pairs; duplicates are the caller's business */
const struct dw_value *dw_pair(struct dw_arena *arena, enum dw_type type, const struct dw_value *first,
                               const struct dw_value *second);

/* A total order over all values, in which 0 means dw_equal; nothing else about it is promised (it
 * is made for sorting fast).  Time is linear in the smaller tree: maps and sets are sorted once, when
 * they are built.  `*failed` is set when memory for the walk of a deep tree is short; the result
 * then means nothing. */
int dw_compare(const struct dw_value *a, const struct dw_value *b, bool *failed);

/* Equality as Clojure's `=` sees it where formats agree: maps and sets without regard to order, a
 * list equals a vector with equal items, 1 equals 1N, a float equals the same double; 1 and 1.0
 * differ, decimals are compared as text; NaN equals NaN (so that round trips can be compared).
 * False as well when memory is short. */
bool dw_equal(const struct dw_value *a, const struct dw_value *b);

static inline bool dw_is_text(const struct dw_value *value, enum dw_type type, const char *bytes, size_t len)
{
    return value->type == type && value->u.text.len == len && __builtin_memcmp(value->u.text.bytes, bytes, len) == 0;
}

#endif
