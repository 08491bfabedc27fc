/* How often somebody may do something: token buckets in a table of fixed size, which all processes of a queue
 * share through a file in the state folder.
 *
 *   0     secret of the hash            2 * 8 bytes
 *   64    buckets                       8 bytes each: tag (20 bits) | time (44 bits, microseconds)
 *
 * A bucket is one number: how far ahead of the clock its owner is.  Each request puts it the part of a second
 * ahead that it is worth, and it may be DW_RATES_BURST_S seconds ahead; what lies in the past is a full bucket.
 * Buckets are found by SipHash-2-4 under a secret, in sets of DW_RATES_WAYS; where a set is full, the one that is
 * the least ahead makes room.  So a flood of new names costs nothing but the debts of those that have hardly any,
 * and nobody can aim at another's bucket.  A table that is lost, or comes from before a boot, is one of full
 * buckets. */
#ifndef DW_HUB_RATES_H
#define DW_HUB_RATES_H

#include "base/err.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DW_RATES_BUCKETS 8192u
#define DW_RATES_WAYS 4u
#define DW_RATES_BURST_S 2

struct dw_rates_table {
    _Atomic uint64_t secret[2]; /* 0: not chosen yet */
    uint64_t unused[6];
    _Atomic uint64_t bucket[DW_RATES_BUCKETS];
};

struct dw_rates {
    struct dw_rates_table *table; /* NULL: nothing is limited */
};

/* Maps the table in `folder` (made for the owner of the folder), or with NULL, or where that fails, one of this
 * process alone: `err` says why, DW_NOMEM is the only failure.  To be closed. */
int dw_rates_open(struct dw_rates *rates, const char *folder, struct dw_err *err);
void dw_rates_close(struct dw_rates *rates);

/* The key of somebody: `kind` keeps names of different sorts apart, either name may be NULL.  Never 0. */
uint64_t dw_rates_key(const struct dw_rates *rates, char kind, const char *first, const char *second);

/* One request of `key`, who may make `per_s` in a second; false: too many, it is not counted.  Any thread, no
 * locks.  `per_s` 0, key 0 or no table: always true.  `now_us` is monotonic and may come from any process of
 * this machine. */
bool dw_rates_take(struct dw_rates *rates, uint64_t key, int64_t per_s, int64_t now_us);
/* Gives it back, since it was not the client's idea: a poll that events answered is one that they asked for. */
void dw_rates_give_back(struct dw_rates *rates, uint64_t key, int64_t per_s, int64_t now_us);

#endif
