/* Waiting for news of the queue, with output that goes to a pipe: ends on SIGINT and SIGTERM, and when the
 * reader of standard output has gone, also while it waits or while the pipe is full. */
#ifndef DW_CLI_FOLLOW_H
#define DW_CLI_FOLLOW_H

#include "base/buf.h"
#include "base/err.h"
#include "store/store.h"
#include "store/wake.h"

#include <stdbool.h>

struct dw_follow {
    struct dw_store *store;
    struct dw_wake *wake;
    int signals;  /* signalfd */
    bool changed; /* the doorbell has rung since the last dw_follow_wait */
    bool stop;    /* end: a signal came, or nobody reads any more */
};

/* Blocks the signals for this process from here on.  The store must outlive it. */
int dw_follow_open(struct dw_follow *follow, struct dw_store *store, struct dw_err *err);
void dw_follow_close(struct dw_follow *follow);

/* Returns when the queue may have changed, after `timeout_ms` (-1: none), or with follow->stop set. */
int dw_follow_wait(struct dw_follow *follow, int timeout_ms, struct dw_err *err);
/* Writes all of `buf` to standard output and empties it; unfinished only where follow->stop is set. */
int dw_follow_write(struct dw_follow *follow, struct dw_buf *buf, struct dw_err *err);

#endif
