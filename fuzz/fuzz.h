/* What fuzzed code is given to do, one function for each target.  libfuzzer.c runs one of them under
 * libFuzzer; replay.c runs all over the files in corpus/, with any compiler.
 *
 * A target calls only what is public, and stops the program (fuzz_fail) when a promise of the header
 * is broken; memory errors, undefined behaviour and leaks are the sanitizers' to find. */
#ifndef DW_FUZZ_FUZZ_H
#define DW_FUZZ_FUZZ_H

#include "chsk/packer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fuzz_target {
    const char *name;
    const char *corpora; /* folders in corpus/, separated by spaces */
    void (*run)(const char *bytes, size_t len);
};

extern const struct fuzz_target fuzz_targets[];
extern const size_t fuzz_target_count;

/* The target of that name, or NULL. */
const struct fuzz_target *fuzz_find(const char *name);

/* Says what went wrong and aborts. */
_Noreturn void fuzz_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

#define FUZZ_CHECK(condition)                                                                                          \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            fuzz_fail("%s:%d: %s", __FILE__, __LINE__, #condition);                                                    \
    } while (0)

/* A new arena; never NULL. */
struct dw_arena *fuzz_arena(void);
/* Touches all of a tree, so that a pointer into nothing is found. */
void fuzz_walk(const struct dw_value *value);
/* True when the tree has something that `packer` is documented (docs/values.md) not to keep. */
bool fuzz_is_lossy(const struct dw_packer *packer, const struct dw_value *value);

/* packers.c */
void fuzz_read_edn(const char *bytes, size_t len);
void fuzz_read_json(const char *bytes, size_t len);
void fuzz_read_transit(const char *bytes, size_t len);
void fuzz_read_msgpack(const char *bytes, size_t len);
void fuzz_read_gzip(const char *bytes, size_t len);
void fuzz_trip_edn(const char *bytes, size_t len);
void fuzz_trip_json(const char *bytes, size_t len);
void fuzz_trip_transit(const char *bytes, size_t len);
void fuzz_trip_transit_verbose(const char *bytes, size_t len);
void fuzz_trip_msgpack(const char *bytes, size_t len);
void fuzz_trip_gzip(const char *bytes, size_t len);
void fuzz_cross(const char *bytes, size_t len);
/* requests.c */
void fuzz_envelope(const char *bytes, size_t len);
void fuzz_params(const char *bytes, size_t len);
void fuzz_record(const char *bytes, size_t len);
/* tokens.c */
void fuzz_token(const char *bytes, size_t len);

#endif
