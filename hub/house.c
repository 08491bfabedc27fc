/* Housekeeping; see house.h.
 *
 * Timing: presence at once, or together with all that changes within PRESENCE_MS; departed clients at the end of their
 * grace period; checkpoints every 50 ms while there is writing, and when it stops, of a WAL that is worth it
 * (WAL_BYTES); retention in small chunks with pauses, so that an app's INSERT never waits for long; everything else on
 * a slow tick.
 *
 * An idle house wakes every 5 s and waits for no disk: all that is slow is due on one grid of times,
 * counters are stored before the last checkpoint of a burst, and what little is written later is left
 * in the WAL, where it needs no fsync. */
#include "hub/house.h"

#include "base/clock.h"
#include "base/log.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Where many come at once, each one's own transaction would take both files' locks from those who let them in. */
#define PRESENCE_MS 20
#define CHECKPOINT_MS 50
#define QUIET_MS 1000 /* without writing: a burst has ended */
#define GC_MS 5000
#define GC_PAUSE_MS 20
#define GC_CHUNK 150
#define TICK_MS 5000
#define COUNTERS_MS 10000
#define WAL_BYTES (1 << 20) /* a smaller WAL needs no checkpoint */
#define RETRY_MS 100
#define LEAVE_BATCH 200

struct departure {
    struct departure *next;
    int64_t due_ms;
    struct dw_departed who;
    char names[];
};

struct dw_house {
    struct dw_hub *hub;
    struct dw_store *store;
    pthread_mutex_t mutex; /* guards what is up to `stopping` */
    pthread_cond_t changed;
    struct departure *first, **last;
    int64_t asleep_until_ms;
    uint32_t moves;                          /* of the store, as `follow` has last seen them */
    bool presence, active, stopping, keeper; /* only the running thread changes `keeper` */
    /* the running thread's own */
    int64_t checkpoint_due_ms, quiet_due_ms, gc_due_ms, tick_due_ms, counters_due_ms, presence_due_ms;
    int64_t presence_next_ms; /* not before then */
};

struct dw_house *dw_house_new(struct dw_hub *hub, struct dw_store *store)
{
    struct dw_house *house = calloc(1, sizeof *house);
    pthread_condattr_t attr;

    if (house == NULL)
        return NULL;
    house->hub = hub;
    house->store = store;
    house->last = &house->first;
    house->checkpoint_due_ms = house->quiet_due_ms = house->presence_due_ms = INT64_MAX;
    if (pthread_condattr_init(&attr) != 0) {
        free(house);
        return NULL;
    }
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_mutex_init(&house->mutex, NULL);
    (void)pthread_cond_init(&house->changed, &attr);
    (void)pthread_condattr_destroy(&attr);
    return house;
}

void dw_house_free(struct dw_house *house)
{
    struct departure *departure;

    if (house == NULL)
        return;
    while ((departure = house->first) != NULL) {
        house->first = departure->next;
        free(departure);
    }
    (void)pthread_cond_destroy(&house->changed);
    (void)pthread_mutex_destroy(&house->mutex);
    free(house);
}

void dw_house_departed(struct dw_house *house, const struct dw_departed *who)
{
    size_t uid_size = who->uid != NULL ? strlen(who->uid) + 1 : 0, id_size = strlen(who->client_id) + 1;
    struct departure *departure = malloc(sizeof *departure + uid_size + id_size);
    bool wake;

    if (departure == NULL)
        return; /* the row's due time, or for a WebSocket the end of this process, still ends it, only later */
    departure->next = NULL;
    departure->who = *who;
    /* The list stays in the order of leaving: where both transports are held, the shorter grace may wait. */
    departure->due_ms = dw_clock_mono_ms() + (who->transport == DW_WS ? house->hub->conf->chsk_close_grace_ws_ms
                                                                      : house->hub->conf->chsk_close_grace_ajax_ms);
    if (who->uid != NULL)
        departure->who.uid = memcpy(departure->names, who->uid, uid_size);
    departure->who.client_id = memcpy(departure->names + uid_size, who->client_id, id_size);
    (void)pthread_mutex_lock(&house->mutex);
    wake = departure->due_ms < house->asleep_until_ms; /* else it wakes early enough by itself */
    *house->last = departure;
    house->last = &departure->next;
    if (wake)
        (void)pthread_cond_signal(&house->changed);
    (void)pthread_mutex_unlock(&house->mutex);
}

static void set_flag(struct dw_house *house, bool *flag)
{
    (void)pthread_mutex_lock(&house->mutex);
    if (!*flag) {
        *flag = true;
        (void)pthread_cond_signal(&house->changed);
    }
    (void)pthread_mutex_unlock(&house->mutex);
}

void dw_house_presence(struct dw_house *house)
{
    set_flag(house, &house->presence);
}

/* Only the keeper checkpoints: the threads of all others stay asleep, or a commit would wake each waiting
 * process twice. */
void dw_house_active(struct dw_house *house)
{
    (void)pthread_mutex_lock(&house->mutex);
    if (house->keeper && !house->active) {
        house->active = true;
        (void)pthread_cond_signal(&house->changed);
    }
    (void)pthread_mutex_unlock(&house->mutex);
}

void dw_house_stop(struct dw_house *house)
{
    set_flag(house, &house->stopping);
}

static void report(const struct dw_house *house, const char *doing, const struct dw_err *err, int rc)
{
    if (rc == DW_OK)
        return;
    dw_counter_add(&house->hub->counters.store_errors, 1);
    if (rc == DW_BUSY)
        dw_log_debug("%s: %s", doing, dw_err_say(err, rc));
    else
        dw_log_error("%s failed: %s", doing, dw_err_say(err, rc));
}

/* Takes those off the list whose grace period is over. */
static struct departure *take_due(struct dw_house *house, int64_t now)
{
    struct departure *taken, **end;
    size_t count = 0;

    (void)pthread_mutex_lock(&house->mutex);
    taken = house->first;
    end = &taken;
    while (*end != NULL && (*end)->due_ms <= now && count < LEAVE_BATCH) {
        end = &(*end)->next;
        count++;
    }
    house->first = *end;
    if (house->first == NULL)
        house->last = &house->first;
    *end = NULL;
    if (count == 0)
        taken = NULL;
    (void)pthread_mutex_unlock(&house->mutex);
    return taken;
}

/* They are still connected by their rows, and nobody else may ever end them: they are tried again. */
static void put_back(struct dw_house *house, struct departure *taken, int64_t due_ms)
{
    struct departure *d = taken;

    while (d->next != NULL) {
        d->due_ms = due_ms;
        d = d->next;
    }
    d->due_ms = due_ms;
    (void)pthread_mutex_lock(&house->mutex);
    d->next = house->first;
    if (house->first == NULL)
        house->last = &d->next;
    house->first = taken;
    (void)pthread_mutex_unlock(&house->mutex);
}

/* True: a client has really gone. */
static bool settle_departures(struct dw_house *house, int64_t now)
{
    struct dw_departed gone[LEAVE_BATCH];
    struct departure *taken = take_due(house, now), *d;
    struct dw_err err = {0};
    size_t count = 0;
    int rc;

    for (d = taken; d != NULL; d = d->next) {
        /* Most have polled again; their claim word says so without a look into the file. */
        if (dw_claim_epoch(dw_store_claim_read(house->store, d->who.slot)) == d->who.epoch)
            gone[count++] = d->who;
    }
    if (count > 0) {
        rc = dw_store_clients_leave(house->store, gone, count, dw_clock_wall_ms(), &err);
        report(house, "releasing clients", &err, rc);
        if (rc != DW_OK) {
            put_back(house, taken, now + RETRY_MS);
            return false;
        }
    }
    while (taken != NULL) {
        d = taken;
        taken = d->next;
        free(d);
    }
    return count > 0;
}

static bool is_stopping(struct dw_house *house)
{
    bool stopping;

    (void)pthread_mutex_lock(&house->mutex);
    stopping = house->stopping;
    (void)pthread_mutex_unlock(&house->mutex);
    return stopping;
}

/* What is left undone when stopping is marked in the state file: whoever comes next does it. */
static void sync_presence(struct dw_house *house)
{
    struct dw_err err = {0};
    bool more = true;
    int rc = DW_OK;

    while (more && rc == DW_OK && !is_stopping(house))
        rc = dw_store_presence_sync(house->store, dw_clock_wall_ms(), &more, &err);
    report(house, "bringing presence up to date", &err, rc);
    house->presence_next_ms = dw_clock_mono_ms() + PRESENCE_MS;
    house->presence_due_ms = rc == DW_OK ? INT64_MAX : dw_clock_mono_ms() + RETRY_MS;
}

static void presence_changed(struct dw_house *house)
{
    if (house->presence_next_ms < house->presence_due_ms)
        house->presence_due_ms = house->presence_next_ms;
}

/* Slow things happen at moments that lie TICK_MS apart, so that they share wake-ups; those of different
 * processes are spread.  The last such moment within `every_ms`, a multiple of TICK_MS, from now. */
static int64_t slow_due(int64_t now, int64_t every_ms)
{
    int64_t phase = (int64_t)((uint32_t)getpid() * UINT32_C(2654435761) % TICK_MS);

    return (now + every_ms - phase) / TICK_MS * TICK_MS + phase;
}

static struct dw_housework work_of(const struct dw_house *house, bool idle)
{
    return (struct dw_housework){
        .now_ms = dw_clock_wall_ms(),
        .up_ms = dw_clock_mono_ms(),
        .grace_ajax_ms = house->hub->conf->chsk_close_grace_ajax_ms,
        .grace_ws_ms = house->hub->conf->chsk_close_grace_ws_ms,
        .chunk = GC_CHUNK,
        .idle = idle,
    };
}

static void flush_counters(struct dw_house *house, int64_t now)
{
    struct dw_err err = {0};

    report(house, "storing counters", &err, dw_hub_flush_counters(house->hub, house->store, &err));
    house->counters_due_ms = slow_due(now, COUNTERS_MS);
}

static void checkpoint_now(struct dw_house *house, bool quiet)
{
    struct dw_housework work = work_of(house, quiet);
    struct dw_err err = {0};
    int rc;

    work.wal_least = WAL_BYTES;
    rc = dw_store_checkpoint(house->store, &work, &err);
    report(house, "a checkpoint", &err, rc);
}

static void checkpoint(struct dw_house *house, int64_t now)
{
    bool quiet = house->quiet_due_ms <= now;

    if (!quiet && house->checkpoint_due_ms > now)
        return;
    if (quiet)
        flush_counters(house, now);
    checkpoint_now(house, quiet);
    house->checkpoint_due_ms = quiet ? INT64_MAX : now + CHECKPOINT_MS;
    if (quiet)
        house->quiet_due_ms = INT64_MAX;
}

static void collect(struct dw_house *house, int64_t now)
{
    struct dw_housework work = work_of(house, false);
    struct dw_err err = {0};
    bool more = false;
    int rc;

    if (house->gc_due_ms > now)
        return;
    rc = dw_store_gc(house->store, &work, &more, &err);
    report(house, "deleting what is past retention", &err, rc);
    house->gc_due_ms = more ? now + GC_PAUSE_MS : slow_due(now, GC_MS);
}

/* Dead workers and overdue clients.  The keeper looks when the first of them is due. */
static void release(struct dw_house *house)
{
    struct dw_housework work = work_of(house, false);
    struct dw_err err = {0};
    bool more = true;
    int rc = DW_OK;

    while (more && rc == DW_OK)
        rc = dw_store_release(house->store, &work, &more, &err);
    report(house, "releasing clients of dead workers", &err, rc);
    sync_presence(house);
}

static int64_t release_due(struct dw_house *house, int64_t now)
{
    const struct dw_housework work = work_of(house, false);
    int64_t wait = INT64_MAX;

    if (dw_store_release_due(house->store, &work, &wait, NULL) != DW_OK || wait >= TICK_MS)
        return slow_due(now, TICK_MS);
    return now + (wait < QUIET_MS / 4 ? QUIET_MS / 4 : wait);
}

/* A new keeper takes over in the middle of whatever there is to check-point. */
static void set_keeper(struct dw_house *house, bool keeper)
{
    (void)pthread_mutex_lock(&house->mutex);
    if (keeper && !house->keeper)
        house->active = true;
    house->keeper = keeper;
    (void)pthread_mutex_unlock(&house->mutex);
}

/* The number among the workers is gone where the state was lost. */
static void follow(struct dw_house *house)
{
    struct dw_err err = {0};
    int32_t worker = -1;
    uint32_t moves;
    int rc = dw_store_follow(house->store, &moves, &err);

    if (rc == DW_OK && atomic_load(&house->hub->worker) >= 0)
        rc = dw_store_worker_join(house->store, &worker, &err);
    if (rc == DW_OK && worker >= 0 && moves != house->moves) {
        house->moves = moves;
        atomic_store(&house->hub->worker, worker);
        dw_store_worker_parked(house->store, worker, atomic_load(&house->hub->parked)); /* joining begins with 0 */
    }
    report(house, "following the queue file", &err, rc);
}

static void tick(struct dw_house *house, int64_t now)
{
    if (house->tick_due_ms > now)
        return;
    follow(house);
    set_keeper(house, dw_store_housekeeper(house->store));
    if (house->keeper) {
        release(house);
        /* Rings no bell: what an app writes to its own tables in the queue file, what polls write to the
         * state file. */
        checkpoint_now(house, false);
        house->tick_due_ms = release_due(house, now);
    } else {
        sync_presence(house);
        house->tick_due_ms = slow_due(now, TICK_MS);
    }
}

bool dw_house_is_keeper(struct dw_house *house)
{
    bool keeper;

    (void)pthread_mutex_lock(&house->mutex);
    keeper = house->keeper;
    (void)pthread_mutex_unlock(&house->mutex);
    return keeper;
}

static int hand_over(void *context, struct dw_client *client, bool found, uint64_t claim)
{
    const struct departure *departure = context;

    (void)found;
    (void)claim;
    if (client->epoch != departure->who.epoch)
        return DW_SUPERSEDED;
    client->worker = -1;
    if (client->due_ms > departure->due_ms)
        client->due_ms = departure->due_ms;
    return DW_OK;
}

void dw_house_hand_over(struct dw_house *house)
{
    struct departure *taken = take_due(house, INT64_MAX), *d;

    while ((d = taken) != NULL) {
        const struct dw_client_key key = {d->who.transport, d->who.uid, d->who.client_id};
        struct dw_err err = {0};
        int rc = dw_store_client_change(house->store, &key, hand_over, d, &err);

        report(house, "handing a client over", &err, rc == DW_SUPERSEDED || rc == DW_NOTFOUND ? DW_OK : rc);
        taken = d->next;
        free(d);
    }
}

void dw_house_leave(struct dw_house *house)
{
    dw_store_housekeeper_leave(house->store);
    set_keeper(house, false);
    house->tick_due_ms = 0;
}

static int64_t next_due(struct dw_house *house)
{
    int64_t due = house->tick_due_ms < house->presence_due_ms ? house->tick_due_ms : house->presence_due_ms;

    if (house->keeper && house->gc_due_ms < due)
        due = house->gc_due_ms;
    if (house->keeper && house->checkpoint_due_ms < due)
        due = house->checkpoint_due_ms;
    if (house->keeper && house->quiet_due_ms < due)
        due = house->quiet_due_ms;
    (void)pthread_mutex_lock(&house->mutex);
    if (house->first != NULL && house->first->due_ms < due)
        due = house->first->due_ms;
    (void)pthread_mutex_unlock(&house->mutex);
    return due;
}

int64_t dw_house_step(struct dw_house *house)
{
    int64_t now = dw_clock_mono_ms();
    bool presence;

    (void)pthread_mutex_lock(&house->mutex);
    presence = house->presence;
    house->presence = false;
    if (house->active) {
        house->active = false;
        house->quiet_due_ms = now + QUIET_MS;
        if (house->checkpoint_due_ms == INT64_MAX)
            house->checkpoint_due_ms = now + CHECKPOINT_MS;
    }
    (void)pthread_mutex_unlock(&house->mutex);
    if (settle_departures(house, now) || presence)
        presence_changed(house);
    if (house->presence_due_ms <= now)
        sync_presence(house);
    tick(house, now);
    if (house->keeper) {
        checkpoint(house, now);
        collect(house, now);
    }
    if (house->counters_due_ms <= now)
        flush_counters(house, now);
    return next_due(house);
}

static void sleep_until(struct dw_house *house, int64_t due)
{
    struct timespec until = {.tv_sec = due / 1000, .tv_nsec = due % 1000 * 1000000};
    bool busy = house->checkpoint_due_ms != INT64_MAX, counting = house->presence_due_ms != INT64_MAX;

    (void)pthread_mutex_lock(&house->mutex);
    house->asleep_until_ms = due;
    /* While checkpoints are under way anyway, activity is noticed at the next one; so is presence. */
    while (!house->stopping && !(house->presence && !counting) && !(house->active && !busy)) {
        if (house->first != NULL && house->first->due_ms < due)
            break;
        if (pthread_cond_timedwait(&house->changed, &house->mutex, &until) != 0)
            break;
    }
    (void)pthread_mutex_unlock(&house->mutex);
}

void dw_house_run(struct dw_house *house)
{
    struct dw_err err = {0};
    bool stopping = false;

    while (!stopping) {
        sleep_until(house, dw_house_step(house));
        stopping = is_stopping(house);
    }
    report(house, "storing counters", &err, dw_hub_flush_counters(house->hub, house->store, &err));
}
