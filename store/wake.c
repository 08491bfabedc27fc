/* The doorbell: when to look at data_version, and when to look again.
 *
 * Runs in whatever loop waits on dw_wake_fd; store/wake_role.c decides who watches and who listens.
 * It never opens the database files (see wake_watch.c) and never waits.
 *
 * Order of one check, each step before the next so that nothing falls in between:
 *   drain events -> change roles and arm -> data_version -> ring -> set the timer
 *
 * The last file event of a commit comes before the commit can be seen: at NORMAL by microseconds, at
 * FULL by an fsync.  So each event starts a row of re-checks that gets sparser with the time since:
 *
 *   no change seen yet   every quarter of the time since the event: a commit is probably under way,
 *                        and is noticed at most 25 % late
 *   a change was seen    every time that time has doubled: it may have been an earlier commit's, and
 *                        the events of the next one drained with it.  Nothing in the events can
 *                        rule that out, so the row is always run to its end, a second after the event.
 *
 * What takes longer than that to become visible (a disk that syncs for seconds, a stopped process)
 * is left to the safety tick. */
#include "store/wake_impl.h"

#include "base/clock.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum {
    RECHECK_SPAN_US = 1000000,
    RECHECK_MIN_US = 30,
    RECHECK_MAX_US = 250000,
    /* Without a -wal each look takes a lock that can make a writer's commit fail: look less often. */
    RECHECK_JOURNAL_US = 2000,
    RECHECK_BUSY_US = 1000,
    /* Ringing takes time per listener, and so does what they do then: pause a multiple of it, the
     * longer the more rings had to wait in a row. */
    RING_PAUSE_FACTOR = 20,
    RING_PAUSE_US = 2000,
    RING_PAUSE_GROWTH = 4,
    /* Sessions are looked up at leisure, and may have changed with each commit of the app to its own tables. */
    SESSIONS_GAP_US = 500000,
};

struct news {
    bool timer, touched, committed, rung, hung_up;
};

static int64_t max64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t min64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

void dw_wake_restart(struct dw_wake *wake, int64_t now)
{
    wake->pending = true;
    wake->seen = false;
    wake->event_us = now;
}

/* Time of the next re-check; INT64_MAX: the row has ended. */
static int64_t next_recheck(struct dw_wake *wake, int64_t now)
{
    int64_t elapsed = now - wake->event_us;
    int64_t least = RECHECK_MIN_US;

    if (wake->busy)
        least = RECHECK_BUSY_US;
    else if (elapsed >= RECHECK_SPAN_US)
        wake->pending = false;
    else if (wake->watch.fd >= 0 && !wake->watch.wal)
        least = RECHECK_JOURNAL_US;
    if (!wake->pending && !wake->busy)
        return INT64_MAX;
    return now + min64(max64(wake->seen ? elapsed : elapsed / 4, least), RECHECK_MAX_US);
}

/* All doorbells of one process tick at the same moments, so that the process wakes once for all of
 * them; those of different processes are spread over the interval. */
static int64_t next_tick(int64_t now)
{
    int64_t phase = (int64_t)((uint32_t)getpid() * UINT32_C(2654435761) % DW_WAKE_TICK_US);

    return ((now - phase) / DW_WAKE_TICK_US + 1) * DW_WAKE_TICK_US + phase;
}

static void set_timer(struct dw_wake *wake, int64_t now)
{
    struct itimerspec spec = {0};
    int64_t at = min64(wake->tick_us, next_recheck(wake, now));

    if (dw_role_polls(wake))
        at = min64(at, wake->poll_us);
    if (wake->ring_owed)
        at = min64(at, wake->ring_us);
    if (wake->suspect_us != 0)
        at = min64(at, wake->suspect_us);
    if (!wake->started)
        at = now; /* the descriptor calls for the first check */
    if (at == wake->armed_us)
        return;
    spec.it_value.tv_sec = at / 1000000;
    spec.it_value.tv_nsec = at % 1000000 * 1000;
    (void)timerfd_settime(wake->timer_fd, TFD_TIMER_ABSTIME, &spec, NULL); /* its arguments are valid */
    wake->armed_us = at;
}

static int open_timer(struct dw_wake *wake, struct dw_err *err)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = DW_SOURCE_TIMER};

    wake->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    wake->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (wake->epoll_fd < 0 || wake->timer_fd < 0 ||
        epoll_ctl(wake->epoll_fd, EPOLL_CTL_ADD, wake->timer_fd, &event) != 0)
        return dw_err_set(err, DW_SYSTEM, "can't make a doorbell: %s", strerror(errno));
    return DW_OK;
}

/* Which file the path names: remembered when opening, compared later. */
static bool stat_queue(const struct dw_wake *wake, struct stat *st)
{
    const char *path = dw_store_queue_path(wake->store);

    return path != NULL && stat(path, st) == 0;
}

static void check_file(struct dw_wake *wake)
{
    struct stat st;

    /* A path that names nothing for a moment is about to be replaced: the next look tells. */
    if (wake->queue_ino != 0 && stat_queue(wake, &st))
        wake->replaced = st.st_ino != wake->queue_ino || st.st_dev != wake->queue_dev;
}

int dw_wake_open(struct dw_store *store, enum dw_wake_mode mode, struct dw_wake **out, struct dw_err *err)
{
    struct dw_wake *wake = calloc(1, sizeof *wake);
    int64_t now = dw_clock_mono_us();
    struct stat st;
    int rc;

    assert(store != NULL && out != NULL);
    if (wake == NULL)
        return dw_err_set(err, DW_NOMEM, "%s", dw_err_text(DW_NOMEM));
    wake->store = store;
    wake->mode = mode;
    wake->seat_fd = wake->watch.fd = wake->bell.ear = wake->bell.hammer = -1;
    rc = open_timer(wake, err);
    if (rc != DW_OK) {
        dw_wake_close(wake);
        return rc;
    }
    if (stat_queue(wake, &st)) {
        wake->queue_dev = st.st_dev;
        wake->queue_ino = st.st_ino;
    }
    wake->tick_us = next_tick(now);
    dw_role_choose(wake, now);
    set_timer(wake, now);
    *out = wake;
    return DW_OK;
}

void dw_wake_close(struct dw_wake *wake)
{
    if (wake == NULL)
        return;
    dw_role_leave(wake);
    if (wake->timer_fd >= 0)
        (void)close(wake->timer_fd);
    if (wake->epoll_fd >= 0)
        (void)close(wake->epoll_fd);
    free(wake);
}

int dw_wake_fd(const struct dw_wake *wake)
{
    return wake->epoll_fd;
}

bool dw_wake_in_crowd(const struct dw_wake *wake)
{
    return wake->role == DW_ROLE_LEADER || wake->role == DW_ROLE_FOLLOWER;
}

bool dw_wake_replaced(const struct dw_wake *wake)
{
    return wake->replaced;
}

static void drain_watch(struct dw_wake *wake, struct news *news)
{
    struct dw_watch_news seen;

    dw_watch_drain(&wake->watch, &seen);
    news->touched |= seen.touched;
    news->committed |= seen.committed;
    if (seen.overflow)
        wake->stats.overflows++;
}

static void collect(struct dw_wake *wake, struct news *news)
{
    struct epoll_event events[4];
    int count = epoll_wait(wake->epoll_fd, events, 4, 0);
    uint64_t expirations;

    *news = (struct news){0};
    for (int i = 0; i < count; i++) {
        switch ((enum dw_wake_source)events[i].data.u32) {
        case DW_SOURCE_TIMER:
            news->timer = read(wake->timer_fd, &expirations, sizeof expirations) > 0;
            wake->armed_us = 0;
            break;
        case DW_SOURCE_WATCH:
            drain_watch(wake, news);
            break;
        case DW_SOURCE_BELL:
            news->rung = true;
            news->hung_up = (events[i].events & EPOLLHUP) != 0;
            break;
        }
    }
}

static void tick(struct dw_wake *wake, int64_t now)
{
    wake->stats.ticks++;
    wake->tick_us = next_tick(now);
    check_file(wake);
    dw_role_tick(wake, now);
}

/* The one question that decides: has anybody committed since the baseline? */
static bool look(struct dw_wake *wake, int64_t now)
{
    uint32_t version = 0;
    int rc = dw_store_version(wake->store, &version, NULL);
    uint32_t sessions = dw_store_session_version(wake->store);

    wake->busy = rc == DW_BUSY;
    if (wake->busy)
        return false; /* no answer: the baseline stays */
    if (rc != DW_OK)
        return true; /* let the caller run into the error where it can report it */
    if (wake->known && version == wake->version) {
        /* Soon enough if it waits: there are re-checks for longer than that.  A follower's leader has waited. */
        if (sessions == wake->sessions || (now < wake->sessions_us && wake->role != DW_ROLE_FOLLOWER))
            return false;
        wake->sessions_us = now + SESSIONS_GAP_US;
    }
    wake->known = true;
    wake->version = version;
    wake->sessions = sessions;
    return true;
}

/* Beside a rollback journal most events come while the writer is about to lock: keep out of its way
 * and look when the journal is gone, or by timer. */
static bool too_early(const struct dw_wake *wake, const struct news *news)
{
    return news->touched && !news->committed && !news->timer && !wake->watch.wal;
}

static void ring_if_due(struct dw_wake *wake, int64_t now)
{
    int64_t pause;

    if (!wake->ring_owed)
        return;
    if (now < wake->ring_us) {
        wake->ring_late = true;
        return;
    }
    pause = min64(dw_bell_ring(&wake->bell) * RING_PAUSE_FACTOR, RING_PAUSE_US);
    if (wake->ring_late)
        pause = min64(max64(wake->ring_pause_us * 2, pause), pause * RING_PAUSE_GROWTH);
    wake->stats.rings++;
    wake->ring_owed = wake->ring_late = false;
    wake->ring_pause_us = pause;
    wake->ring_us = now + pause;
}

static void found(struct dw_wake *wake, bool ticked, bool rung, int64_t now)
{
    wake->stats.changes++;
    check_file(wake);
    wake->seen = true;
    wake->poll_gap_us = DW_WAKE_POLL_MIN_US;
    if (wake->role == DW_ROLE_LEADER)
        wake->ring_owed = true;
    else if (wake->role == DW_ROLE_FOLLOWER && ticked && !rung && wake->suspect_us == 0)
        wake->suspect_us = now + DW_WAKE_SUSPECT_US;
}

static void plan_poll(struct dw_wake *wake, int64_t now)
{
    if (now < wake->poll_us)
        return;
    wake->poll_us = now + wake->poll_gap_us;
    wake->poll_gap_us = min64(wake->poll_gap_us * 5 / 4, DW_WAKE_POLL_MAX_US);
}

bool dw_wake_check(struct dw_wake *wake)
{
    struct news news;
    int64_t now;
    bool first = !wake->started, ticked, changed = false;

    collect(wake, &news);
    now = dw_clock_mono_us();
    wake->stats.checks++;
    if (news.timer && wake->pending)
        wake->stats.rechecks++;
    wake->started = true;
    if (news.touched || (first && wake->watch.fd >= 0))
        dw_wake_restart(wake, now);
    if (news.rung)
        wake->suspect_us = 0;
    if (news.hung_up)
        dw_role_succeed(wake, now);
    if (wake->suspect_us != 0 && now >= wake->suspect_us)
        dw_role_distrust(wake, now);
    ticked = now >= wake->tick_us;
    if (ticked)
        tick(wake, now);
    if (first || !too_early(wake, &news))
        changed = look(wake, now);
    if (changed)
        found(wake, ticked && !first, news.rung, now);
    ring_if_due(wake, now);
    plan_poll(wake, now);
    set_timer(wake, now);
    return changed;
}

void dw_wake_stats(const struct dw_wake *wake, struct dw_wake_stats *stats)
{
    static const char *const names[] = {[DW_ROLE_WATCH] = "watch",
                                        [DW_ROLE_LEADER] = "leader",
                                        [DW_ROLE_FOLLOWER] = "follower",
                                        [DW_ROLE_TIMER] = "timer"};

    *stats = wake->stats;
    stats->role = names[wake->role];
}
