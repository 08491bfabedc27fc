/* The doorbell: tells a waiting process that another process or thread committed to the queue file.
 *
 * It is a hint with a guarantee: after any commit by any program (also one that knows nothing of us)
 * dw_wake_check reports a change, within a fraction of a millisecond where file events work, within
 * the fallback interval where they don't (network mounts are refused before).  It never misses one;
 * it may report one twice.  A commit that adds no row for anybody, but may have ended a session, is reported within
 * half a second.
 *
 * One descriptor (an epoll set inside) becomes readable when there is something to check; any event
 * loop can wait on it.  An idle doorbell wakes its process at most every 2-5 s (safety tick).
 *
 *   few waiters    each watches the queue file's -wal itself
 *   many waiters   one leader watches, confirms by data_version and rings the bell in the state
 *                  folder; all others listen to that alone.  A dead leader is followed at once.
 *
 * Keep a doorbell open only while its descriptor is waited on: it may be the leader, whom others
 * rely on.  A leader that hangs is replaced, but only after a safety tick.  Not usable in a child
 * made by fork(); close it there before anything else or, better, exec.
 *
 * Schedule, order of steps and measurements: docs/wakeup.md. */
#ifndef DW_STORE_WAKE_H
#define DW_STORE_WAKE_H

#include "base/err.h"
#include "store/store.h"

#include <stdbool.h>

struct dw_wake;

enum dw_wake_mode {
    DW_WAKE_AUTO,  /* watch, lead or follow as the number of waiters says */
    DW_WAKE_WATCH, /* tests and bench: always watch the queue file */
    DW_WAKE_TIMER, /* as if file events did not exist */
};

/* Arms a doorbell on `store`'s queue; the store must outlive it and belong to the same thread.  The
 * first dw_wake_check reports a change.  Order that loses nothing: open, check, read the queue, wait.
 * Where file events or the state folder can't be used it still works, by timer.  Fails only for want
 * of memory or descriptors (DW_NOMEM, DW_SYSTEM). */
int dw_wake_open(struct dw_store *store, enum dw_wake_mode mode, struct dw_wake **out, struct dw_err *err);
/* NULL is fine.  Answer first: where it watched, the kernel may take 10-20 ms to drop the inotify watch. */
void dw_wake_close(struct dw_wake *wake);

/* True where there are so many doorbells on this queue that one watches for the others. */
bool dw_wake_in_crowd(const struct dw_wake *wake);

/* Readable (EPOLLIN, level-triggered) when dw_wake_check should be called. */
int dw_wake_fd(const struct dw_wake *wake);

/* Drains events, looks at data_version, re-arms timers.  True: the queue changed (or may have) since
 * the last call that returned true; read it now.  False is common: most events come a moment before
 * their commit can be seen.  Never waits, as far as dw_store_version doesn't. */
bool dw_wake_check(struct dw_wake *wake);

/* True once the queue's path names another file than when the doorbell was opened (a restored backup,
 * say): open a new doorbell.  Noticed with the next change, or on the safety tick. */
bool dw_wake_replaced(const struct dw_wake *wake);

struct dw_wake_stats {
    const char *role; /* watch, leader, follower, timer */
    uint64_t checks, changes, rechecks, ticks, rings, takeovers, overflows;
};
void dw_wake_stats(const struct dw_wake *wake, struct dw_wake_stats *stats);

#endif
