/* Tells local file systems from network ones, on which SQLite's WAL (shared memory, byte locks) loses
 * data without a sign. */
#ifndef DW_STORE_NETFS_H
#define DW_STORE_NETFS_H

#include "base/err.h"

#include <stddef.h>

/* Name of the file system that holds `path` (a file or folder that exists), e.g. "ext4" or "nfs".
 * DW_NETFS with a sentence where it is a network file system; DW_IO where it can't be asked. */
int dw_netfs_check(const char *path, char *name, size_t size, struct dw_err *err);

#endif
