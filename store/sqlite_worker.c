/* Workers and counters.  A worker is alive as long as its byte of the lock file is held; its row tells
 * who took the number, and stays until its clients have been given their grace period. */
#include "store/sqlite_priv.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Grace period given by a joining worker where nobody keeps house. */
#define DEFAULT_GRACE_MS 5000

static int lock_of(int32_t worker)
{
    return DW_LOCK_WORKER + worker;
}

static int drop_row(struct dw_sqlite *s, int32_t worker, struct dw_err *err)
{
    sqlite3_stmt *stmt;
    int rc = dw_sqlite_stmt(s, DW_SQL_WORKER_DROP, &stmt, err);

    if (rc != DW_OK)
        return rc;
    (void)sqlite3_bind_int(stmt, 1, worker);
    return dw_sqlite_run(stmt, err);
}

static int bury_one(struct dw_sqlite *s, int32_t worker, int64_t due_ajax_ms, int64_t due_ws_ms, struct dw_err *err)
{
    sqlite3_stmt *stmt;
    int rc = dw_sqlite_stmt(s, DW_SQL_CLIENT_ORPHAN, &stmt, err);

    if (rc != DW_OK)
        return rc;
    (void)sqlite3_bind_int(stmt, 1, worker);
    (void)sqlite3_bind_int64(stmt, 2, due_ajax_ms);
    (void)sqlite3_bind_int64(stmt, 3, due_ws_ms);
    rc = dw_sqlite_run(stmt, err);
    if (rc == DW_OK)
        rc = drop_row(s, worker, err);
    if (rc == DW_OK)
        atomic_store(dw_claims_parked(&s->claims, worker), 0);
    return rc;
}

/* Numbers that have a row in the worker table. */
static int read_rows(struct dw_sqlite *s, bool *has_row, struct dw_err *err)
{
    sqlite3_stmt *stmt;
    bool row;
    int rc = dw_sqlite_stmt(s, DW_SQL_WORKERS, &stmt, err);

    memset(has_row, 0, DW_WORKERS_MAX * sizeof *has_row);
    if (rc != DW_OK)
        return rc;
    for (rc = dw_sqlite_step(stmt, &row, err); rc == DW_OK && row; rc = dw_sqlite_step(stmt, &row, err)) {
        int64_t worker = sqlite3_column_int64(stmt, 0);

        if (worker >= 0 && worker < DW_WORKERS_MAX)
            has_row[worker] = true;
    }
    return rc;
}

static bool is_dead(struct dw_sqlite *s, int32_t worker)
{
    return worker != s->worker && !dw_locks_held(s->lock_fd, lock_of(worker));
}

int dw_sqlite_bury(struct dw_sqlite *s, int64_t due_ajax_ms, int64_t due_ws_ms, int64_t *buried, struct dw_err *err)
{
    int64_t count = 0;
    bool has_row[DW_WORKERS_MAX];
    bool any = false;
    int rc = read_rows(s, has_row, err);

    for (int32_t i = 0; rc == DW_OK && i < DW_WORKERS_MAX && !any; i++)
        any = has_row[i] && is_dead(s, i);
    if (rc != DW_OK || !any)
        return rc;
    rc = dw_sqlite_begin(s, DW_STATE, err);
    if (rc != DW_OK)
        return rc;
    /* Joining happens under the same write lock: a number with a row and a free byte is dead for sure. */
    rc = read_rows(s, has_row, err);
    for (int32_t i = 0; rc == DW_OK && i < DW_WORKERS_MAX; i++)
        if (has_row[i] && is_dead(s, i)) {
            rc = bury_one(s, i, due_ajax_ms, due_ws_ms, err);
            count++;
        }
    rc = dw_sqlite_end(s, DW_STATE, rc, err);
    if (rc == DW_OK)
        *buried += count;
    return rc;
}

/* A number that nobody uses: one without a row, else that of a dead worker (its clients are released). */
static int pick_number(struct dw_sqlite *s, struct dw_err *err)
{
    bool has_row[DW_WORKERS_MAX];
    int64_t due_ms = dw_clock_mono_ms() + DEFAULT_GRACE_MS;
    int rc = read_rows(s, has_row, err);

    /* After the state was lost, the number that its clients' rows name already. */
    if (rc == DW_OK && s->last_worker >= 0 && !has_row[s->last_worker] &&
        dw_locks_try(s->lock_fd, lock_of(s->last_worker))) {
        s->worker = s->last_worker;
        return DW_OK;
    }
    for (int reuse = 0; rc == DW_OK && reuse < 2; reuse++)
        for (int32_t i = 0; i < DW_WORKERS_MAX; i++) {
            if (has_row[i] != (reuse == 1) || !dw_locks_try(s->lock_fd, lock_of(i)))
                continue;
            s->worker = i;
            return reuse == 1 ? bury_one(s, i, due_ms, due_ms, err) : DW_OK;
        }
    return rc != DW_OK ? rc : dw_err_set(err, DW_LIMIT, "more than %d workers use this queue", DW_WORKERS_MAX);
}

static int join(struct dw_sqlite *s, struct dw_err *err)
{
    sqlite3_stmt *stmt;
    int rc = pick_number(s, err);

    if (rc == DW_OK)
        rc = dw_sqlite_stmt(s, DW_SQL_WORKER_ADD, &stmt, err);
    if (rc != DW_OK)
        return rc;
    (void)sqlite3_bind_int(stmt, 1, s->worker);
    (void)sqlite3_bind_int64(stmt, 2, getpid());
    (void)sqlite3_bind_int64(stmt, 3, dw_clock_wall_ms());
    atomic_store(dw_claims_parked(&s->claims, s->worker), 0);
    return dw_sqlite_run(stmt, err);
}

int dw_sqlite_worker_join(struct dw_store *store, int32_t *worker, struct dw_err *err)
{
    struct dw_sqlite *s = dw_sqlite_of(store);
    int rc;

    if (s->worker < 0) {
        rc = dw_sqlite_begin(s, DW_STATE, err);
        if (rc != DW_OK)
            return rc;
        rc = dw_sqlite_end(s, DW_STATE, join(s, err), err);
        if (rc != DW_OK) {
            if (s->worker >= 0)
                dw_locks_drop(s->lock_fd, lock_of(s->worker));
            s->worker = -1;
            return rc;
        }
    }
    *worker = s->worker;
    return DW_OK;
}

void dw_sqlite_worker_parked(struct dw_store *store, int32_t worker, uint32_t parked)
{
    _Atomic uint32_t *word = dw_claims_parked(&dw_sqlite_of(store)->claims, worker);
    uint32_t current = atomic_load(word);

    if (parked > DW_CLAIMS_PARKED_MASK)
        parked = DW_CLAIMS_PARKED_MASK;
    while (!atomic_compare_exchange_weak(word, &current, (current & ~DW_CLAIMS_PARKED_MASK) | parked))
        ;
}

uint32_t dw_sqlite_worker_lent(struct dw_store *store, int32_t worker, int change)
{
    _Atomic uint32_t *word = dw_claims_parked(&dw_sqlite_of(store)->claims, worker);
    uint32_t current = atomic_load(word);
    uint32_t lent;

    do
        lent = dw_lent_after(current >> DW_CLAIMS_PARKED_BITS, change);
    while (change != 0 && !atomic_compare_exchange_weak(
                              word, &current, (current & DW_CLAIMS_PARKED_MASK) | lent << DW_CLAIMS_PARKED_BITS));
    return lent;
}

int dw_sqlite_workers(struct dw_store *store, dw_worker_fn *fn, void *context, struct dw_err *err)
{
    struct dw_sqlite *s = dw_sqlite_of(store);
    struct dw_worker worker;
    uint32_t word;
    sqlite3_stmt *stmt;
    bool row;
    int rc = dw_sqlite_stmt(s, DW_SQL_WORKERS, &stmt, err);

    if (rc != DW_OK)
        return rc;
    for (rc = dw_sqlite_step(stmt, &row, err); rc == DW_OK && row; rc = dw_sqlite_step(stmt, &row, err)) {
        worker.worker = sqlite3_column_int(stmt, 0);
        worker.pid = sqlite3_column_int64(stmt, 1);
        worker.started_ms = sqlite3_column_int64(stmt, 2);
        if (worker.worker < 0 || worker.worker >= DW_WORKERS_MAX)
            continue;
        worker.alive = !is_dead(s, worker.worker);
        word = worker.alive ? atomic_load(dw_claims_parked(&s->claims, worker.worker)) : 0;
        worker.parked = word & DW_CLAIMS_PARKED_MASK;
        worker.lent = word >> DW_CLAIMS_PARKED_BITS;
        rc = fn(context, &worker);
        if (rc != DW_OK)
            return dw_sqlite_done(stmt, rc);
    }
    return rc;
}

int dw_sqlite_worker_sockets(struct dw_store *store, int32_t worker, int64_t *sockets, struct dw_err *err)
{
    sqlite3_stmt *stmt;
    int rc = dw_sqlite_stmt(dw_sqlite_of(store), DW_SQL_WORKER_SOCKETS, &stmt, err);

    if (rc != DW_OK)
        return rc;
    (void)sqlite3_bind_int(stmt, 1, worker);
    (void)sqlite3_bind_int(stmt, 2, DW_WS);
    return dw_sqlite_int(stmt, 0, sockets, err);
}

int dw_sqlite_holders(struct dw_store *store, int32_t except, uint32_t *holders, struct dw_err *err)
{
    struct dw_sqlite *s = dw_sqlite_of(store);

    (void)err; /* shared memory and locks only */
    *holders = 0;
    for (int32_t i = 0; i < DW_WORKERS_MAX; i++)
        if (i != except && atomic_load(dw_claims_parked(&s->claims, i)) != 0 && !is_dead(s, i))
            ++*holders;
    return DW_OK;
}

bool dw_sqlite_housekeeper(struct dw_store *store)
{
    struct dw_sqlite *s = dw_sqlite_of(store);

    if (!s->housekeeper && dw_locks_try(s->lock_fd, DW_LOCK_HOUSEKEEPER)) {
        s->housekeeper = true;
        s->audit = s->audit || !s->audited;
        s->audited = true;
    }
    return s->housekeeper;
}

void dw_sqlite_housekeeper_leave(struct dw_store *store)
{
    struct dw_sqlite *s = dw_sqlite_of(store);

    if (s->housekeeper)
        dw_locks_drop(s->lock_fd, DW_LOCK_HOUSEKEEPER);
    s->housekeeper = false;
}

int dw_sqlite_count(struct dw_store *store, const char *name, int64_t add, struct dw_err *err)
{
    sqlite3_stmt *stmt;
    int rc = dw_sqlite_stmt(dw_sqlite_of(store), DW_SQL_COUNT, &stmt, err);

    if (rc != DW_OK)
        return rc;
    dw_sqlite_text(stmt, 1, name);
    (void)sqlite3_bind_int64(stmt, 2, add);
    return dw_sqlite_run(stmt, err);
}

int dw_sqlite_counters(struct dw_store *store, dw_counter_fn *fn, void *context, struct dw_err *err)
{
    sqlite3_stmt *stmt;
    bool row;
    int rc = dw_sqlite_stmt(dw_sqlite_of(store), DW_SQL_COUNTERS, &stmt, err);

    if (rc != DW_OK)
        return rc;
    for (rc = dw_sqlite_step(stmt, &row, err); rc == DW_OK && row; rc = dw_sqlite_step(stmt, &row, err)) {
        rc = fn(context, dw_sqlite_column(stmt, 0), sqlite3_column_int64(stmt, 1));
        if (rc != DW_OK)
            return dw_sqlite_done(stmt, rc);
    }
    return rc;
}

static int figures_of(struct dw_sqlite *s, enum dw_sql id, int64_t **into, int columns, struct dw_err *err)
{
    sqlite3_stmt *stmt;
    bool row;
    int rc = dw_sqlite_stmt(s, id, &stmt, err);

    if (rc == DW_OK)
        rc = dw_sqlite_step(stmt, &row, err);
    if (rc != DW_OK)
        return rc;
    for (int i = 0; row && i < columns; i++)
        *into[i] = sqlite3_column_int64(stmt, i);
    return dw_sqlite_done(stmt, DW_OK);
}

int dw_sqlite_figures(struct dw_store *store, struct dw_store_figures *figures, struct dw_err *err)
{
    struct dw_sqlite *s = dw_sqlite_of(store);
    int64_t *queue[] = {&figures->pushes, &figures->inbox, &figures->replies, &figures->online, &figures->sessions};
    int64_t *state[] = {&figures->clients, &figures->connected, &figures->ajax, &figures->ws, &figures->state_lost_ms};
    int rc;

    memset(figures, 0, sizeof *figures);
    rc = figures_of(s, DW_SQL_FIGURES_QUEUE, queue, 5, err);
    if (rc == DW_OK)
        rc = figures_of(s, DW_SQL_FIGURES_STATE, state, 5, err);
    if (rc == DW_OK)
        rc = dw_sqlite_store_end(store, &figures->end, err);
    if (rc == DW_OK)
        rc = dw_sqlite_sequence(s, "dw_inbox", &figures->inbox_end, err);
    if (rc == DW_OK)
        rc = dw_sqlite_horizon(store, &figures->horizon, err);
    figures->queue_bytes = dw_sqlite_file_size(s->queue_path, "");
    figures->wal_bytes = dw_sqlite_file_size(s->queue_path, "-wal");
    figures->state_bytes = dw_sqlite_file_size(s->state_path, "");
    figures->state_wal_bytes = dw_sqlite_file_size(s->state_path, "-wal");
    return rc;
}
