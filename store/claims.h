/* The claims file: one 64-bit word per client in memory shared by all processes, counters of
 * polls per worker, and notes of polls that have arrived.
 *
 *   0      magic                                8 bytes
 *   8      generation of the queue              4 bytes
 *   64     arrival notes                        16 bytes each
 *   4096   worker 0..1023: lent polls (8 bits)  4 bytes each
 *          and parked ones (24 bits)
 *   8192   claim word of slot 0, 1, 2 ...       8 bytes each: epoch (20 bits) | sent (1 bit) |
 *                                               answer's end + 1 (43 bits)
 *
 * The address space for all slots is reserved at once, so that growing the file moves no word; blocks
 * are allocated before a word is touched (a full disk must be an error, not a SIGBUS). */
#ifndef DW_STORE_CLAIMS_H
#define DW_STORE_CLAIMS_H

#include "base/err.h"
#include "store/store.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DW_SLOTS_MAX (1u << 20)
/* Largest push id that fits a claim word. */
#define DW_CLAIM_UPTO_MAX (((int64_t)1 << 42) - 1)

#define DW_ARRIVALS 251u /* a prime; so many polls can be between arrival and commit at a time */

/* See store.h.  `info`: bound (1 bit) | request number (20 bits) | client clock (43 bits). */
struct dw_arrival_note {
    _Atomic uint64_t key; /* 0: empty, or being written */
    _Atomic uint64_t info;
};

struct dw_claims {
    int fd;
    void *map;
    _Atomic uint32_t backed; /* slots below this have blocks on disk */
};

/* Opens or makes the file (for the owner of `like`, store/file.h).  DW_CORRUPT: not ours.  Where one is open,
 * the new one takes its place at the same address: another thread may be at it. */
int dw_claims_open(struct dw_claims *claims, const char *path, const char *like, struct dw_err *err);
void dw_claims_close(struct dw_claims *claims);

/* Makes sure that `slot` has a word; DW_FULL: the disk is, or all slots are taken. */
int dw_claims_back(struct dw_claims *claims, uint32_t slot, struct dw_err *err);
/* The word; NULL where it has none and none can be made. */
_Atomic uint64_t *dw_claims_word(struct dw_claims *claims, uint32_t slot);
/* The worker's word: polls that others hold for it, above those that it holds itself. */
#define DW_CLAIMS_PARKED_BITS 24
#define DW_CLAIMS_PARKED_MASK ((UINT32_C(1) << DW_CLAIMS_PARKED_BITS) - 1)
_Atomic uint32_t *dw_claims_parked(struct dw_claims *claims, int32_t worker);

/* Changes when all that is known of the queue's ids was mended: each store compares it with what it was. */
_Atomic uint32_t *dw_claims_generation(struct dw_claims *claims);
struct dw_arrival_note *dw_claims_arrivals(struct dw_claims *claims);

/* True when request `a` is newer than `b`, counting modulo 2^20. */
bool dw_claim_newer(uint32_t a, uint32_t b);
/* The steps of store.h on one word. */
bool dw_claim_begin(_Atomic uint64_t *word, uint32_t epoch, int64_t upto);
bool dw_claim_answer(_Atomic uint64_t *word, uint32_t epoch, int64_t upto);
void dw_claim_sent(_Atomic uint64_t *word, uint32_t epoch);
/* Under the row's lock, with the row's epoch: claims follow commits, so a newer word can only be left from
 * commits that a power cut took back.  It would refuse all claims to come: it is emptied. */
void dw_claim_mend(_Atomic uint64_t *word, uint32_t epoch);
/* The steps of store.h on the array of notes. */
void dw_arrival_note(struct dw_arrival_note *notes, uint64_t key, int64_t udt);
void dw_arrival_bind(struct dw_arrival_note *notes, uint64_t key, uint32_t epoch);
bool dw_arrival_find(struct dw_arrival_note *notes, uint64_t key, uint32_t epoch, int64_t *udt);

#endif
