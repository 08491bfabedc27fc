/* Token buckets; see rates.h. */
#include "hub/rates.h"

#include "store/file.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

_Static_assert(crypto_shorthash_KEYBYTES == 2 * sizeof(uint64_t), "the secret of the table is its key");

#define TIME_BITS 44
#define TIME_MASK ((UINT64_C(1) << TIME_BITS) - 1)
#define TRIES 16 /* a bucket that others change all the time is no reason to wait */

/* ---- the table ---- */

static void choose_secret(struct dw_rates_table *table)
{
    uint64_t random[2] = {0, 0};

    if (getrandom(random, sizeof random, GRND_NONBLOCK) != (ssize_t)sizeof random) {
        struct timespec now;

        (void)clock_gettime(CLOCK_MONOTONIC, &now);
        random[0] ^= (uint64_t)now.tv_nsec << 20 ^ (uint64_t)getpid();
        random[1] ^= (uint64_t)now.tv_sec << 32 ^ (uint64_t)(uintptr_t)table;
    }
    for (int i = 0; i < 2; i++) {
        uint64_t none = 0;

        (void)atomic_compare_exchange_strong(&table->secret[i], &none, random[i] | 1);
    }
}

/* The blocks are allocated first: a full disk must not be a SIGBUS. */
static void *map_file(const char *folder, struct dw_err *err)
{
    void *map = MAP_FAILED;
    char path[4096];
    int fd = -1;
    int rc = DW_OK;

    if (snprintf(path, sizeof path, "%s/rates", folder) >= (int)sizeof path)
        rc = dw_err_set(err, DW_IO, "the path of the state folder is too long");
    if (rc == DW_OK)
        rc = dw_file_open(path, folder, &fd, err);
    if (rc != DW_OK)
        return MAP_FAILED;
    do
        rc = posix_fallocate(fd, 0, (off_t)sizeof(struct dw_rates_table));
    while (rc == EINTR);
    if (rc == 0)
        map = mmap(NULL, sizeof(struct dw_rates_table), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED)
        (void)dw_err_set(err, DW_IO, "%s: %s", path, strerror(rc != 0 ? rc : errno));
    (void)close(fd);
    return map;
}

int dw_rates_open(struct dw_rates *rates, const char *folder, struct dw_err *err)
{
    void *map = folder != NULL ? map_file(folder, err) : MAP_FAILED;

    if (map == MAP_FAILED)
        map = mmap(NULL, sizeof(struct dw_rates_table), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED)
        return dw_err_set(err, DW_NOMEM, "out of memory");
    rates->table = map;
    choose_secret(rates->table);
    return DW_OK;
}

void dw_rates_close(struct dw_rates *rates)
{
    if (rates->table != NULL)
        (void)munmap(rates->table, sizeof *rates->table);
    rates->table = NULL;
}

/* ---- keys ---- */

static uint64_t hash(const unsigned char secret[crypto_shorthash_KEYBYTES], const unsigned char *bytes, size_t len)
{
    unsigned char out[crypto_shorthash_BYTES];
    uint64_t word;

    (void)crypto_shorthash(out, bytes, len, secret); /* always 0 */
    memcpy(&word, out, sizeof word);
    return word;
}

static uint64_t hash_name(const unsigned char secret[crypto_shorthash_KEYBYTES], const char *name)
{
    return name != NULL ? hash(secret, (const unsigned char *)name, strlen(name)) | 1 : 0;
}

uint64_t dw_rates_key(const struct dw_rates *rates, char kind, const char *first, const char *second)
{
    unsigned char parts[1 + 2 * sizeof(uint64_t)] = {(unsigned char)kind};
    unsigned char secret[crypto_shorthash_KEYBYTES];
    uint64_t word, key;

    if (rates->table == NULL)
        return 1;
    for (size_t i = 0; i < 2; i++) {
        word = atomic_load_explicit(&rates->table->secret[i], memory_order_relaxed);
        memcpy(secret + i * sizeof word, &word, sizeof word);
    }
    /* Hashes of the names, so that none runs into the next, and no name is too long. */
    word = hash_name(secret, first);
    memcpy(parts + 1, &word, sizeof word);
    word = hash_name(secret, second);
    memcpy(parts + 1 + sizeof word, &word, sizeof word);
    key = hash(secret, parts, sizeof parts);
    return key != 0 ? key : 1;
}

/* ---- buckets ---- */

static uint64_t tag_of(uint64_t key)
{
    return key >> TIME_BITS << TIME_BITS;
}

static _Atomic uint64_t *set_of(const struct dw_rates *rates, uint64_t key)
{
    return &rates->table->bucket[key % (DW_RATES_BUCKETS / DW_RATES_WAYS) * DW_RATES_WAYS];
}

/* How far a bucket is ahead of the clock; one that is further ahead than can be is an old one. */
static int64_t ahead_of(uint64_t word, int64_t now_us)
{
    uint64_t ahead = (word - (uint64_t)now_us) & TIME_MASK;

    return ahead <= DW_RATES_BURST_S * UINT64_C(1000000) ? (int64_t)ahead : 0;
}

static uint64_t word_at(uint64_t key, int64_t time_us)
{
    return tag_of(key) | ((uint64_t)time_us & TIME_MASK);
}

static int64_t cost_of(int64_t per_s)
{
    return per_s < 1000000 ? 1000000 / per_s : 1;
}

/* The bucket of `key`, or the one of its set that is to be its: *word as it is, *ahead 0 in that case. */
static _Atomic uint64_t *find(const struct dw_rates *rates, uint64_t key, int64_t now_us, uint64_t *word,
                              int64_t *ahead, bool *found)
{
    _Atomic uint64_t *set = set_of(rates, key), *least = NULL;
    int64_t least_ahead = 0;

    for (unsigned i = 0; i < DW_RATES_WAYS; i++) {
        uint64_t there = atomic_load(&set[i]);
        int64_t its = ahead_of(there, now_us);

        if (there != 0 && tag_of(there) == tag_of(key)) {
            *word = there;
            *ahead = its;
            *found = true;
            return &set[i];
        }
        if (least == NULL || its < least_ahead) {
            least = &set[i];
            least_ahead = its;
            *word = there;
        }
    }
    *ahead = 0;
    *found = false;
    return least;
}

bool dw_rates_take(struct dw_rates *rates, uint64_t key, int64_t per_s, int64_t now_us)
{
    if (rates->table == NULL || key == 0 || per_s == 0)
        return true;
    for (int i = 0; i < TRIES; i++) {
        uint64_t word;
        int64_t ahead, then;
        bool found;
        _Atomic uint64_t *bucket = find(rates, key, now_us, &word, &ahead, &found);

        then = ahead + cost_of(per_s);
        if (then > DW_RATES_BURST_S * INT64_C(1000000))
            return false;
        if (atomic_compare_exchange_strong(bucket, &word, word_at(key, now_us + then)))
            return true;
    }
    return true;
}

void dw_rates_give_back(struct dw_rates *rates, uint64_t key, int64_t per_s, int64_t now_us)
{
    if (rates->table == NULL || key == 0 || per_s == 0)
        return;
    for (int i = 0; i < TRIES; i++) {
        uint64_t word;
        int64_t ahead, then;
        bool found;
        _Atomic uint64_t *bucket = find(rates, key, now_us, &word, &ahead, &found);

        then = ahead - cost_of(per_s);
        if (!found || atomic_compare_exchange_strong(bucket, &word, word_at(key, now_us + (then > 0 ? then : 0))))
            return;
    }
}
