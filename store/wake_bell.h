/* The bell file: how one leader wakes all followers, how a follower learns at once that the leader
 * died, and the seats of those who watch for themselves.  Private to store/wake*.c. */
#ifndef DW_STORE_WAKE_BELL_H
#define DW_STORE_WAKE_BELL_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct dw_bell {
    int ear;    /* read end: poll it edge-triggered; EPOLLIN = rung, EPOLLHUP = no leader; -1 = not open */
    int hammer; /* write end while leading, else -1 */
    bool deputy;
    char *path;
};

enum dw_bell_claim {
    DW_BELL_LED,    /* this doorbell leads now */
    DW_BELL_TAKEN,  /* another one does */
    DW_BELL_FAILED, /* the bell can't be used from here (rights, descriptors): don't rely on it */
};

/* Opens (and where missing makes) the bell in folder `dir`.  On failure nothing is held. */
int dw_bell_open(struct dw_bell *bell, const char *dir, struct dw_err *err);
void dw_bell_close(struct dw_bell *bell); /* also ends leading; a closed bell is fine */

/* Tries to lead; or, as `deputy`, to lead beside a leader that seems to be stuck. */
enum dw_bell_claim dw_bell_lead(struct dw_bell *bell, bool deputy);
void dw_bell_yield(struct dw_bell *bell);

/* Wakes everyone who listens, and returns how long that took in microseconds. */
int64_t dw_bell_ring(struct dw_bell *bell);

/* Leader: true while a deputy is at work.  */
bool dw_bell_has_deputy(const struct dw_bell *bell);
/* Deputy: moves up into the leader's place if that is free. */
void dw_bell_promote(struct dw_bell *bell);

/* True when the path no longer names this bell (someone cleared the folder). */
bool dw_bell_lost(const struct dw_bell *bell);

/* Takes one of `seats` places; returns a descriptor that holds it until closed, -1 if all are taken
 * or the file can't be used. */
int dw_seat_take(const char *dir, int seats);

#endif
