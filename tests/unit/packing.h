/* What the tests of packers share: reading at the edge of an unreadable page, so that one byte too
 * far is a crash, and the shared folder's files.  Test programs only. */
#ifndef DW_TESTS_PACKING_H
#define DW_TESTS_PACKING_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "chsk/packer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int packing_read(const char *bytes, size_t len, const struct dw_limits *limits, struct dw_arena *arena,
                         const struct dw_value **out, size_t *rest, struct dw_err *err);

/* Reads with the input's end at the edge of an unreadable page.  `limits` may be NULL (default). */
int packing_try(packing_read *read, const char *bytes, size_t len, const struct dw_limits *limits,
                struct dw_arena *arena, const struct dw_value **out, size_t *rest, struct dw_err *err);

/* Reads one value or fails the test. */
const struct dw_value *packing_must(packing_read *read, const char *bytes, size_t len, struct dw_arena *arena);

/* Fails the test unless reading returns `code`, for the whole text (NUL not included). */
void packing_refuses(packing_read *read, int code, const char *bytes, size_t len);

/* Fails the test unless `value` is written as exactly these bytes. */
void packing_writes(const struct dw_packer *packer, const struct dw_value *value, const char *bytes, size_t len);

/* Reads every proper prefix: each must be refused as malformed, and none may crash. */
void packing_prefixes(packing_read *read, const char *bytes, size_t len);

/* A file below the shared folder as one string (to be freed), or NULL when it is not there. */
char *packing_shared_file(const char *path, size_t *len);
/* Path of the shared folder's `path`; false when it is too long. */
bool packing_shared_path(const char *path, char *out, size_t size);

#endif
