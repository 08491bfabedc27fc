/* Claim words: what the answer under way to each client contains, in shared memory.
 *
 * Runs in every process that answers clients, from any thread; talks to no other module.  It must not
 * block, and only opening and growing may fail. */
#include "store/claims.h"

#include "store/file.h"
#include "store/store.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC UINT64_C(0x31304d4c43574400) /* "\0DWCLM01" */
#define GENERATION_AT 8
#define ARRIVALS_AT 64
#define PARKED_AT 4096
#define WORDS_AT 8192
#define CHUNK 1024u /* slots by which the file grows: 8 KiB */
#define MAP_BYTES (WORDS_AT + (size_t)DW_SLOTS_MAX * sizeof(uint64_t))

/* ---- one word ---- */

#define SENT (UINT64_C(1) << (63 - DW_EPOCH_BITS))

uint64_t dw_claim_word(uint32_t epoch, int64_t upto)
{
    assert(upto >= DW_CLAIM_NONE && upto <= DW_CLAIM_UPTO_MAX);
    return ((uint64_t)(epoch & DW_EPOCH_MASK) << (64 - DW_EPOCH_BITS)) | (uint64_t)(upto + 1);
}

uint32_t dw_claim_epoch(uint64_t word)
{
    return (uint32_t)(word >> (64 - DW_EPOCH_BITS));
}

int64_t dw_claim_upto(uint64_t word)
{
    return (int64_t)(word & (SENT - 1)) - 1;
}

bool dw_claim_is_sent(uint64_t word)
{
    return (word & SENT) != 0;
}

bool dw_claim_newer(uint32_t a, uint32_t b)
{
    uint32_t ahead = (a - b) & DW_EPOCH_MASK;

    return ahead != 0 && ahead < 1u << (DW_EPOCH_BITS - 1);
}

bool dw_claim_begin(_Atomic uint64_t *word, uint32_t epoch, int64_t upto)
{
    uint64_t wanted = dw_claim_word(epoch, upto);
    uint64_t current = atomic_load(word);

    do {
        /* 0 = never used: no epoch to compare with (a lost claims file starts all zero). */
        if (current != 0 && dw_claim_newer(dw_claim_epoch(current), epoch & DW_EPOCH_MASK))
            return false;
    } while (!atomic_compare_exchange_weak(word, &current, wanted));
    return true;
}

bool dw_claim_answer(_Atomic uint64_t *word, uint32_t epoch, int64_t upto)
{
    uint64_t expected = dw_claim_word(epoch, DW_CLAIM_NONE);

    return atomic_compare_exchange_strong(word, &expected, dw_claim_word(epoch, upto));
}

void dw_claim_sent(_Atomic uint64_t *word, uint32_t epoch)
{
    uint64_t current = atomic_load(word);

    while (dw_claim_epoch(current) == (epoch & DW_EPOCH_MASK) && dw_claim_upto(current) != DW_CLAIM_NONE)
        if (atomic_compare_exchange_weak(word, &current, current | SENT))
            return;
}

void dw_claim_mend(_Atomic uint64_t *word, uint32_t epoch)
{
    uint64_t current = atomic_load(word);

    if (current != 0 && dw_claim_newer(dw_claim_epoch(current), epoch & DW_EPOCH_MASK))
        (void)atomic_compare_exchange_strong(word, &current, 0);
}

/* ---- arrival notes ---- */

#define BOUND (UINT64_C(1) << 63)
#define UDT_BITS 43
#define UDT_MASK ((UINT64_C(1) << UDT_BITS) - 1)

void dw_arrival_note(struct dw_arrival_note *notes, uint64_t key, int64_t udt)
{
    struct dw_arrival_note *note = &notes[key % DW_ARRIVALS];

    /* Emptied in between, so that nobody reads one client's key with another's info. */
    atomic_store(&note->key, 0);
    atomic_store(&note->info, udt > 0 && udt <= (int64_t)UDT_MASK ? (uint64_t)udt : 0);
    atomic_store(&note->key, key);
}

void dw_arrival_bind(struct dw_arrival_note *notes, uint64_t key, uint32_t epoch)
{
    struct dw_arrival_note *note = &notes[key % DW_ARRIVALS];
    uint64_t info = atomic_load(&note->info);

    if (atomic_load(&note->key) == key && (info & BOUND) == 0)
        (void)atomic_compare_exchange_strong(&note->info, &info,
                                             info | BOUND | (uint64_t)(epoch & DW_EPOCH_MASK) << UDT_BITS);
}

bool dw_arrival_find(struct dw_arrival_note *notes, uint64_t key, uint32_t epoch, int64_t *udt)
{
    struct dw_arrival_note *note = &notes[key % DW_ARRIVALS];
    uint64_t info;

    if (atomic_load(&note->key) != key)
        return false;
    info = atomic_load(&note->info);
    if (atomic_load(&note->key) != key)
        return false;
    *udt = (int64_t)(info & UDT_MASK);
    return (info & BOUND) == 0 || (info >> UDT_BITS & DW_EPOCH_MASK) == (epoch & DW_EPOCH_MASK);
}

/* ---- the file ---- */

static int grow(int fd, off_t bytes, struct dw_err *err)
{
    int rc;

    do
        rc = posix_fallocate(fd, 0, bytes); /* never shrinks, harmless when others grow it too */
    while (rc == EINTR);
    if (rc == ENOSPC || rc == EDQUOT)
        return dw_err_set(err, DW_FULL, "no space left to grow the claims file: free some disk space");
    if (rc != 0)
        return dw_err_set(err, DW_IO, "cannot grow the claims file: %s", strerror(rc));
    return DW_OK;
}

static void note_size(struct dw_claims *claims, off_t size)
{
    off_t slots = size > WORDS_AT ? (size - WORDS_AT) / (off_t)sizeof(uint64_t) : 0;

    atomic_store(&claims->backed, slots > (off_t)DW_SLOTS_MAX ? DW_SLOTS_MAX : (uint32_t)slots);
}

/* Looks at the first page by itself, since a map that others use must never show a file that is not ours. */
static int check_magic(int fd, const char *path, struct dw_err *err)
{
    uint64_t none = 0;
    bool ours;
    void *page = mmap(NULL, ARRIVALS_AT, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    if (page == MAP_FAILED)
        return dw_err_set(err, DW_IO, "%s: cannot map it into memory: %s", path, strerror(errno));
    ours = atomic_compare_exchange_strong((_Atomic uint64_t *)page, &none, MAGIC) || none == MAGIC;
    (void)munmap(page, ARRIVALS_AT);
    return ours ? DW_OK : dw_err_set(err, DW_CORRUPT, "%s is not a claims file", path);
}

static int map_file(struct dw_claims *claims, int fd, const char *path, struct dw_err *err)
{
    struct stat status;
    void *map;
    int rc;

    if (fstat(fd, &status) != 0)
        return dw_err_set(err, DW_IO, "%s: %s", path, strerror(errno));
    if (status.st_size < WORDS_AT) {
        rc = grow(fd, WORDS_AT, err);
        if (rc != DW_OK)
            return rc;
        status.st_size = WORDS_AT;
    }
    rc = check_magic(fd, path, err);
    if (rc != DW_OK)
        return rc;
    map =
        mmap(claims->map, MAP_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | (claims->map != NULL ? MAP_FIXED : 0), fd, 0);
    if (map == MAP_FAILED)
        return dw_err_set(err, DW_IO, "%s: cannot map it into memory: %s", path, strerror(errno));
    claims->map = map;
    note_size(claims, status.st_size);
    return DW_OK;
}

int dw_claims_open(struct dw_claims *claims, const char *path, const char *like, struct dw_err *err)
{
    int fd;
    int rc = dw_file_open(path, like, &fd, err);

    if (rc != DW_OK)
        return rc;
    rc = map_file(claims, fd, path, err);
    if (rc == DW_OK) {
        if (claims->fd >= 0)
            (void)close(claims->fd);
        claims->fd = fd;
    } else {
        (void)close(fd);
    }
    return rc;
}

void dw_claims_close(struct dw_claims *claims)
{
    if (claims->map != NULL)
        (void)munmap(claims->map, MAP_BYTES);
    if (claims->fd >= 0)
        (void)close(claims->fd);
    claims->map = NULL;
    claims->fd = -1;
}

int dw_claims_back(struct dw_claims *claims, uint32_t slot, struct dw_err *err)
{
    off_t bytes = WORDS_AT + (off_t)(slot / CHUNK + 1) * (off_t)(CHUNK * sizeof(uint64_t));
    int rc;

    if (slot < atomic_load(&claims->backed))
        return DW_OK;
    if (slot >= DW_SLOTS_MAX)
        return dw_err_set(err, DW_FULL, "more than %u clients are remembered: shorten store.retain_ms", DW_SLOTS_MAX);
    rc = grow(claims->fd, bytes, err);
    if (rc == DW_OK)
        note_size(claims, bytes);
    return rc;
}

_Atomic uint64_t *dw_claims_word(struct dw_claims *claims, uint32_t slot)
{
    if (dw_claims_back(claims, slot, NULL) != DW_OK)
        return NULL;
    return (_Atomic uint64_t *)((char *)claims->map + WORDS_AT) + slot;
}

_Atomic uint32_t *dw_claims_generation(struct dw_claims *claims)
{
    return (_Atomic uint32_t *)(void *)((char *)claims->map + GENERATION_AT);
}

struct dw_arrival_note *dw_claims_arrivals(struct dw_claims *claims)
{
    return (struct dw_arrival_note *)(void *)((char *)claims->map + ARRIVALS_AT);
}

_Atomic uint32_t *dw_claims_parked(struct dw_claims *claims, int32_t worker)
{
    assert(worker >= 0 && worker < DW_WORKERS_MAX);
    return (_Atomic uint32_t *)((char *)claims->map + PARKED_AT) + worker;
}
