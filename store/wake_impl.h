/* The doorbell's inside, shared by wake.c (when to look) and wake_role.c (who watches, leads, follows). */
#ifndef DW_STORE_WAKE_IMPL_H
#define DW_STORE_WAKE_IMPL_H

#include "store/wake.h"
#include "store/wake_bell.h"
#include "store/wake_watch.h"

#include <stdint.h>
#include <sys/types.h>

enum {
    DW_WAKE_SEATS = 2,            /* so many doorbells watch for themselves before there is a leader */
    DW_WAKE_TICK_US = 4000000,    /* safety tick */
    DW_WAKE_SUSPECT_US = 200000,  /* a change that nobody rang for so long: the leader hangs */
    DW_WAKE_POLL_MIN_US = 20000,  /* timed fallback: after a change */
    DW_WAKE_POLL_MAX_US = 100000, /* and when nothing happens */
};

enum dw_wake_role { DW_ROLE_WATCH, DW_ROLE_LEADER, DW_ROLE_FOLLOWER, DW_ROLE_TIMER };

/* Who is ready inside the epoll set. */
enum dw_wake_source { DW_SOURCE_TIMER, DW_SOURCE_WATCH, DW_SOURCE_BELL };

/*  role       watch.fd  bell.ear  bell.hammer  seat_fd
 *  watch         +         -          -        + or - (mode watch, or no state folder)
 *  leader      + or -      +          +           -       without watch.fd it polls for all
 *  follower      -         +          -           -       bell.ear is in the epoll set
 *  timer         -         -          -           -                                            */
struct dw_wake {
    struct dw_store *store;
    enum dw_wake_mode mode;
    enum dw_wake_role role;
    int epoll_fd, timer_fd, seat_fd;
    struct dw_watch watch;
    struct dw_bell bell;

    bool started; /* the first check was made */
    bool known;   /* `version` is the baseline: what the last reported state had */
    uint32_t version;
    uint32_t sessions;   /* likewise, of dw_store_session_version */
    int64_t sessions_us; /* no change of sessions alone is reported before */

    bool pending;              /* re-checks are due since event_us */
    bool seen;                 /* a change was seen since then */
    bool busy;                 /* the last look found the database locked */
    int64_t event_us;          /* last event */
    int64_t tick_us;           /* next safety tick */
    int64_t poll_us;           /* next look of the timed fallback */
    int64_t poll_gap_us;       /* and its present interval */
    int64_t suspect_us;        /* when to stop trusting the leader; 0 = trusted */
    bool ring_owed, ring_late; /* late: it had to wait for ring_us */
    int64_t ring_us, ring_pause_us;
    int64_t armed_us; /* what the timer is set to; 0 = not */

    dev_t queue_dev;
    ino_t queue_ino;
    bool replaced;

    struct dw_wake_stats stats;
};

/* Starts the re-check schedule anew. */
void dw_wake_restart(struct dw_wake *wake, int64_t now);

/* Chooses a role and takes what belongs to it; gives up the present one first. */
void dw_role_choose(struct dw_wake *wake, int64_t now);
void dw_role_leave(struct dw_wake *wake);
/* Follower: the leader is gone. */
void dw_role_succeed(struct dw_wake *wake, int64_t now);
/* Follower: the leader seems to hang. */
void dw_role_distrust(struct dw_wake *wake, int64_t now);
/* Safety tick: puts right whatever may have gone wrong unnoticed. */
void dw_role_tick(struct dw_wake *wake, int64_t now);
/* True where changes are found by timer alone. */
bool dw_role_polls(const struct dw_wake *wake);

#endif
