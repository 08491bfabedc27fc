/* Who watches: the roles of a doorbell and the steps between them.
 *
 * The first few take a seat and watch for themselves: independent, nobody's delay is another's.  From
 * then on one leads and the others follow, because each commit makes several file events, and a
 * crowd that wakes for each of them takes the CPU from the writer.
 *
 *     choose --seat free--------------------------> watch
 *            --lead------> leader <--hang-up, tick-- follower <--place taken-- choose
 *                          leader ------deputy-----> follower
 *     anything, where its files or file events are not to be had: watch or timer, retried on the tick
 *
 * Nothing is lost on the way because each step arms the new source before it leaves the old one, and
 * dw_wake_check looks at data_version after all of this.  A new leader rings once it is armed: what was
 * committed without a leader is found by all then, what is still in flight by its own re-checks. */
#include "store/wake_impl.h"

#include <sys/epoll.h>
#include <unistd.h>

static bool listen_to(const struct dw_wake *wake, int fd, uint32_t events, enum dw_wake_source source)
{
    struct epoll_event event = {.events = events, .data.u32 = source};

    return epoll_ctl(wake->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0;
}

/* A commit may be under way whose events came before the watch: hence the re-checks. */
static bool watch(struct dw_wake *wake, int64_t now)
{
    if (dw_watch_open(&wake->watch, dw_store_queue_path(wake->store), NULL) != DW_OK)
        return false;
    if (!listen_to(wake, wake->watch.fd, EPOLLIN, DW_SOURCE_WATCH)) {
        dw_watch_close(&wake->watch);
        return false;
    }
    dw_wake_restart(wake, now);
    return true;
}

static void poll_from(struct dw_wake *wake, int64_t now)
{
    wake->poll_gap_us = DW_WAKE_POLL_MIN_US;
    wake->poll_us = now + wake->poll_gap_us;
}

/* Alone, with file events if they are to be had. */
static void stand_alone(struct dw_wake *wake, bool events, int64_t now)
{
    wake->role = events && watch(wake, now) ? DW_ROLE_WATCH : DW_ROLE_TIMER;
    if (wake->role == DW_ROLE_TIMER)
        poll_from(wake, now);
}

static bool listen_to_bell(struct dw_wake *wake)
{
    return listen_to(wake, wake->bell.ear, EPOLLIN | EPOLLET, DW_SOURCE_BELL);
}

/* The claim is won; the ear leaves the set, or the leader would hear its own bell. */
static void lead(struct dw_wake *wake, int64_t now)
{
    (void)epoll_ctl(wake->epoll_fd, EPOLL_CTL_DEL, wake->bell.ear, NULL);
    wake->role = DW_ROLE_LEADER;
    wake->suspect_us = 0;
    if (!watch(wake, now))
        poll_from(wake, now);
    wake->ring_owed = true;
    wake->ring_us = now;
}

/* False where the bell is of no use. */
static bool join_crowd(struct dw_wake *wake, int64_t now)
{
    enum dw_bell_claim claim;

    if (dw_bell_open(&wake->bell, dw_store_state_dir(wake->store), NULL) != DW_OK)
        return false;
    claim = listen_to_bell(wake) ? dw_bell_lead(&wake->bell, false) : DW_BELL_FAILED;
    if (claim == DW_BELL_FAILED) {
        dw_bell_close(&wake->bell);
        return false;
    }
    wake->role = DW_ROLE_FOLLOWER;
    if (claim == DW_BELL_LED)
        lead(wake, now);
    return true;
}

static bool take_seat(struct dw_wake *wake, int64_t now)
{
    wake->seat_fd = dw_seat_take(dw_store_state_dir(wake->store), DW_WAKE_SEATS);
    if (wake->seat_fd < 0)
        return false;
    if (watch(wake, now)) {
        wake->role = DW_ROLE_WATCH;
        return true;
    }
    /* Without file events a seat is worth less than a leader's ear. */
    (void)close(wake->seat_fd);
    wake->seat_fd = -1;
    return false;
}

void dw_role_choose(struct dw_wake *wake, int64_t now)
{
    bool events = wake->mode != DW_WAKE_TIMER && dw_store_queue_path(wake->store) != NULL;

    dw_role_leave(wake);
    if (events && wake->mode == DW_WAKE_AUTO && dw_store_state_dir(wake->store) != NULL &&
        (take_seat(wake, now) || join_crowd(wake, now)))
        return;
    stand_alone(wake, events, now);
}

void dw_role_leave(struct dw_wake *wake)
{
    dw_watch_close(&wake->watch);
    dw_bell_close(&wake->bell);
    if (wake->seat_fd >= 0)
        (void)close(wake->seat_fd);
    wake->seat_fd = -1;
    wake->pending = wake->ring_owed = false;
    wake->suspect_us = 0;
}

bool dw_role_polls(const struct dw_wake *wake)
{
    return wake->role == DW_ROLE_TIMER || (wake->role == DW_ROLE_LEADER && wake->watch.fd < 0);
}

static void claim(struct dw_wake *wake, bool deputy, int64_t now)
{
    switch (dw_bell_lead(&wake->bell, deputy)) {
    case DW_BELL_LED:
        wake->stats.takeovers++;
        lead(wake, now);
        break;
    case DW_BELL_TAKEN:
        break;
    case DW_BELL_FAILED: /* nobody may be leading: stand on own feet */
        dw_role_leave(wake);
        stand_alone(wake, true, now);
        break;
    }
}

void dw_role_succeed(struct dw_wake *wake, int64_t now)
{
    if (wake->role == DW_ROLE_FOLLOWER)
        claim(wake, false, now);
}

void dw_role_distrust(struct dw_wake *wake, int64_t now)
{
    wake->suspect_us = 0;
    if (wake->role == DW_ROLE_FOLLOWER)
        claim(wake, true, now);
}

/* The deputy goes on with what this leader missed. */
static void step_down(struct dw_wake *wake, int64_t now)
{
    if (!listen_to_bell(wake)) {
        dw_role_choose(wake, now);
        return;
    }
    wake->role = DW_ROLE_FOLLOWER;
    wake->ring_owed = false;
    dw_bell_yield(&wake->bell);
    dw_watch_close(&wake->watch);
}

static void check_watch(struct dw_wake *wake, int64_t now)
{
    if (wake->watch.fd >= 0 && dw_watch_arm(&wake->watch) == DW_OK)
        return;
    dw_watch_close(&wake->watch);
    if (wake->role == DW_ROLE_WATCH)
        dw_role_choose(wake, now);
    else if (!watch(wake, now))
        poll_from(wake, now);
}

void dw_role_tick(struct dw_wake *wake, int64_t now)
{
    switch (wake->role) {
    case DW_ROLE_WATCH:
        check_watch(wake, now);
        break;
    case DW_ROLE_LEADER:
        if (dw_bell_lost(&wake->bell)) {
            dw_role_choose(wake, now);
            break;
        }
        if (wake->bell.deputy)
            dw_bell_promote(&wake->bell);
        else if (dw_bell_has_deputy(&wake->bell)) {
            step_down(wake, now);
            break;
        }
        check_watch(wake, now);
        break;
    case DW_ROLE_FOLLOWER:
        if (dw_bell_lost(&wake->bell))
            dw_role_choose(wake, now);
        else
            claim(wake, false, now);
        break;
    case DW_ROLE_TIMER:
        if (wake->mode != DW_WAKE_TIMER && dw_store_queue_path(wake->store) != NULL)
            dw_role_choose(wake, now);
        break;
    }
}
