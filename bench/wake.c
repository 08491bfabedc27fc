/* How long after a commit waiting processes have read the row, what that costs, and how idle they are.
 *
 *   bench/wake [ROUNDS [WAITERS...]]     default: 1000 rounds, 1 2 10 100 waiters
 *
 * One process commits single rows as an app would (plain SQLite, an autocommit INSERT); N forked
 * processes wait on a doorbell.  Before that, in the same run, the limits that nothing can beat here: a
 * ping over a pipe, and a process that spins on data_version. */
#include "store/wake.h"
#include "base/clock.h"

#include <poll.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_WAITERS 256
#define MAX_ROUNDS 20000

enum way { PIPE, SPIN, BELL };

/* Shared by all processes of a run. */
struct board {
    _Atomic int ready, go_home;
    _Atomic int64_t returned_ns[MAX_ROUNDS + 1]; /* when the INSERT of this round returned */
    _Atomic int checked[MAX_ROUNDS + 1];         /* how many have read its row */
    _Atomic int64_t first_ns[MAX_ROUNDS + 1], last_ns[MAX_ROUNDS + 1];
    _Atomic int64_t cpu_us, switches, wakes;
    char roles[MAX_WAITERS][12];
};

static struct board *board;
static char path[96];

static void die(const char *what)
{
    perror(what);
    exit(2);
}

static int64_t now_ns(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static int by_size(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

static void print_spread(const char *name, int64_t *ns, int count)
{
    int half = count / 2, nearly_all = count * 99 / 100;

    qsort(ns, (size_t)count, sizeof *ns, by_size);
    printf("  %-34s p50 %8.1f  p99 %8.1f  max %8.1f us\n", name, (double)ns[half] / 1e3, (double)ns[nearly_all] / 1e3,
           (double)ns[count - 1] / 1e3);
}

static struct dw_store *open_store(void)
{
    struct dw_store_options options = {
        .path = path, .retain_ms = 300000, .busy_ms = 2000, .session_sql = "SELECT NULL, NULL, NULL", .create = true};
    struct dw_store *store = NULL;
    struct dw_err err = {0};
    int rc = dw_store_open_sqlite(&options, &store, &err);

    if (rc != DW_OK) {
        (void)fprintf(stderr, "%s\n", dw_err_say(&err, rc));
        exit(2);
    }
    return store;
}

static int64_t read_end(struct dw_store *store)
{
    int64_t end = 0;

    (void)dw_store_end(store, &end, NULL);
    return end;
}

/* The row of rounds up to `end` has been read here. */
static int note_rounds(int from, int64_t end)
{
    int64_t now = now_ns();

    for (; from < end; from++) {
        int64_t none = 0;

        (void)atomic_compare_exchange_strong(&board->first_ns[from], &none, now);
        if (atomic_load(&board->last_ns[from]) < now)
            atomic_store(&board->last_ns[from], now);
        (void)atomic_fetch_add(&board->checked[from], 1);
    }
    return from;
}

static int64_t cpu_us_of(const struct rusage *usage)
{
    return (int64_t)(usage->ru_utime.tv_sec + usage->ru_stime.tv_sec) * 1000000 + usage->ru_utime.tv_usec +
           usage->ru_stime.tv_usec;
}

static void wait_by_bell(struct dw_store *store, int number)
{
    struct dw_wake *wake = NULL;
    struct dw_wake_stats stats;
    int seen = 0;

    if (dw_wake_open(store, DW_WAKE_AUTO, &wake, NULL) != DW_OK)
        die("dw_wake_open");
    (void)dw_wake_check(wake);
    (void)atomic_fetch_add(&board->ready, 1);
    while (!atomic_load(&board->go_home)) {
        struct pollfd fd = {.fd = dw_wake_fd(wake), .events = POLLIN};

        if (poll(&fd, 1, -1) != 1 || !dw_wake_check(wake))
            continue;
        seen = note_rounds(seen, read_end(store));
        dw_wake_stats(wake, &stats); /* now: the last to go home becomes the leader on its way */
        if (!atomic_load(&board->go_home))
            (void)snprintf(board->roles[number], sizeof board->roles[number], "%s", stats.role);
    }
    dw_wake_stats(wake, &stats);
    (void)atomic_fetch_add(&board->wakes, (int64_t)stats.checks);
    dw_wake_close(wake);
}

static void wait_by_spinning(struct dw_store *store)
{
    uint32_t version = 0, was = 0;
    int seen = 0;

    (void)atomic_fetch_add(&board->ready, 1);
    while (!atomic_load(&board->go_home)) {
        if (dw_store_version(store, &version, NULL) == DW_OK && version != was) {
            was = version;
            seen = note_rounds(seen, read_end(store));
        }
    }
}

static void wait_by_pipe(int fd)
{
    int seen = 0;
    char byte;

    (void)atomic_fetch_add(&board->ready, 1);
    while (read(fd, &byte, 1) == 1)
        seen = note_rounds(seen, seen + 1);
}

static void be_waiter(enum way way, int number, int fd)
{
    struct rusage before, after;
    struct dw_store *store = way == PIPE ? NULL : open_store();

    (void)getrusage(RUSAGE_SELF, &before);
    if (way == PIPE)
        wait_by_pipe(fd);
    else if (way == SPIN)
        wait_by_spinning(store);
    else
        wait_by_bell(store, number);
    (void)getrusage(RUSAGE_SELF, &after);
    (void)atomic_fetch_add(&board->cpu_us, cpu_us_of(&after) - cpu_us_of(&before));
    (void)atomic_fetch_add(&board->switches, after.ru_nvcsw - before.ru_nvcsw);
    dw_store_close(store);
    _exit(0);
}

struct app {
    sqlite3 *db;
    sqlite3_stmt *insert;
};

static void open_app(struct app *app, const char *synchronous)
{
    char pragma[64];

    (void)snprintf(pragma, sizeof pragma, "PRAGMA synchronous=%s", synchronous);
    if (sqlite3_open(path, &app->db) != SQLITE_OK || sqlite3_busy_timeout(app->db, 5000) != SQLITE_OK ||
        sqlite3_exec(app->db, "PRAGMA journal_mode=WAL", NULL, NULL, NULL) != SQLITE_OK ||
        sqlite3_exec(app->db, pragma, NULL, NULL, NULL) != SQLITE_OK ||
        sqlite3_prepare_v2(app->db, "INSERT INTO dw_push (uid, event, data) VALUES ('alice', 'a/b', '{\"n\":1}')", -1,
                           &app->insert, NULL) != SQLITE_OK)
        die(sqlite3_errmsg(app->db));
}

static void close_app(struct app *app)
{
    (void)sqlite3_finalize(app->insert);
    (void)sqlite3_close(app->db);
}

static void wait_until_checked(int round, int waiters)
{
    int64_t end = now_ns() + 8000000000;

    while (atomic_load(&board->checked[round]) < waiters) {
        if (now_ns() > end) {
            (void)fprintf(stderr, "round %d: only %d of %d have read the row after 8 s\n", round,
                          atomic_load(&board->checked[round]), waiters);
            exit(1);
        }
        dw_clock_sleep_us(500);
    }
}

struct spreads {
    int64_t insert[MAX_ROUNDS], first[MAX_ROUNDS], last[MAX_ROUNDS];
};

/* Commits `rounds` rows with a pause of `pause_us` (half of it random) between. */
static void commit_rows(struct app *app, int rounds, int waiters, int64_t pause_us, int bell, struct spreads *out)
{
    for (int round = 0; round < rounds; round++) {
        int64_t start;

        dw_clock_sleep_us(pause_us / 2 + (int64_t)dw_clock_jitter((uint64_t)pause_us / 2 + 1));
        start = now_ns();
        if (bell < 0 && sqlite3_step(app->insert) != SQLITE_DONE)
            die(sqlite3_errmsg(app->db));
        atomic_store(&board->returned_ns[round], now_ns());
        if (bell >= 0 && write(bell, "!", 1) != 1)
            die("write");
        if (bell < 0)
            (void)sqlite3_reset(app->insert);
        out->insert[round] = board->returned_ns[round] - start;
        wait_until_checked(round, waiters);
    }
    for (int round = 0; round < rounds; round++) {
        out->first[round] = board->first_ns[round] - board->returned_ns[round];
        out->last[round] = board->last_ns[round] - board->returned_ns[round];
    }
}

static void remove_files(void)
{
    char command[512];

    (void)snprintf(command, sizeof command, "rm -rf %s %s-wal %s-shm %s-dw", path, path, path, path);
    if (system(command) != 0) /* NOLINT(cert-env33-c): a fixed path of our own */
        die("rm");
}

static void start_waiters(enum way way, int waiters, int *pipe_fds, pid_t *pids)
{
    for (int i = 0; i < waiters; i++) {
        pids[i] = fork();
        if (pids[i] < 0)
            die("fork");
        if (pids[i] == 0) {
            (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (way == PIPE)
                (void)close(pipe_fds[1]);
            be_waiter(way, i, pipe_fds[0]);
        }
    }
    while (atomic_load(&board->ready) < waiters)
        dw_clock_sleep_us(1000);
}

/* Sends everyone home: a last commit wakes those who wait for one. */
static void stop_waiters(struct app *app, int waiters, int *pipe_fds, const pid_t *pids)
{
    atomic_store(&board->go_home, 1);
    (void)close(pipe_fds[0]);
    (void)close(pipe_fds[1]);
    (void)sqlite3_step(app->insert);
    (void)sqlite3_reset(app->insert);
    for (int i = 0; i < waiters; i++)
        (void)waitpid(pids[i], NULL, 0);
}

static void print_roles(int waiters)
{
    static const char *const names[] = {"watch", "leader", "follower", "timer"};

    printf("  roles:");
    for (size_t n = 0; n < sizeof names / sizeof names[0]; n++) {
        int count = 0;

        for (int i = 0; i < waiters; i++)
            count += strcmp(board->roles[i], names[n]) == 0;
        if (count > 0)
            printf(" %d %s", count, names[n]);
    }
    printf("\n");
}

static void run(const char *title, enum way way, int waiters, int rounds, const char *synchronous, int64_t pause_us)
{
    static struct spreads spreads;
    struct app app;
    pid_t pids[MAX_WAITERS];
    int pipe_fds[2];

    memset(board, 0, sizeof *board);
    remove_files();
    dw_store_close(open_store());
    open_app(&app, synchronous); /* turns it to WAL for good */
    close_app(&app);
    if (pipe(pipe_fds) != 0)
        die("pipe");
    printf("%s\n", title);
    (void)fflush(stdout);
    /* The children must not inherit an open database. */
    start_waiters(way, waiters, pipe_fds, pids);
    open_app(&app, synchronous);
    dw_clock_sleep_us(way == BELL ? 1200000 : 50000);
    commit_rows(&app, rounds, waiters, pause_us, way == PIPE ? pipe_fds[1] : -1, &spreads);
    stop_waiters(&app, waiters, pipe_fds, pids);
    close_app(&app);
    if (way != PIPE)
        print_spread("INSERT takes", spreads.insert, rounds);
    print_spread("commit returned -> row read", way == PIPE ? spreads.last : spreads.first, rounds);
    if (waiters > 1)
        print_spread("commit returned -> all have read", spreads.last, rounds);
    if (way == BELL) {
        printf("  all waiters together: %.3f ms CPU, %.1f checks a commit\n", (double)board->cpu_us / 1e3 / rounds,
               (double)board->wakes / rounds);
        print_roles(waiters);
    }
}

/* Voluntary context switches of all waiters in ten quiet seconds. */
static void run_idle(int waiters)
{
    pid_t pids[MAX_WAITERS];
    int pipe_fds[2];
    struct app app;
    int64_t start;

    memset(board, 0, sizeof *board);
    remove_files();
    dw_store_close(open_store());
    open_app(&app, "NORMAL");
    close_app(&app);
    if (pipe(pipe_fds) != 0)
        die("pipe");
    start_waiters(BELL, waiters, pipe_fds, pids);
    open_app(&app, "NORMAL");
    start = now_ns();
    dw_clock_sleep_us(12000000);
    stop_waiters(&app, waiters, pipe_fds, pids);
    close_app(&app);
    /* The first row of re-checks belongs to opening, not to idling; it is counted all the same. */
    printf("idle, %d waiters: %.2f wake-ups a second each (opening included), %.3f %% of a core in all\n", waiters,
           (double)board->wakes / waiters / ((double)(now_ns() - start) / 1e9),
           (double)board->cpu_us / ((double)(now_ns() - start) / 1e3) * 100);
}

int main(int argc, char **argv)
{
    static const int usual[] = {1, 2, 10, 100};
    int rounds = argc > 1 ? atoi(argv[1]) : 1000; /* NOLINT(cert-err34-c): checked below */
    char title[80];

    if (rounds < 1 || rounds > MAX_ROUNDS) {
        (void)fprintf(stderr, "usage: wake [ROUNDS [WAITERS...]], ROUNDS 1 to %d\n", MAX_ROUNDS);
        return 2;
    }
    board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (board == MAP_FAILED)
        die("mmap");
    (void)snprintf(path, sizeof path, "/var/tmp/dw-bench-wake-%d.db", (int)getpid());
    run("limit: a byte over a pipe, no database", PIPE, 1, rounds, "NORMAL", 3000);
    run("limit: one process spins on data_version", SPIN, 1, rounds, "NORMAL", 3000);
    for (int i = 0; i < (argc > 2 ? argc - 2 : 4); i++) {
        int waiters = argc > 2 ? atoi(argv[2 + i]) : usual[i]; /* NOLINT(cert-err34-c) */

        if (waiters < 1 || waiters > MAX_WAITERS)
            continue;
        (void)snprintf(title, sizeof title, "doorbell, waiters: %d, synchronous=NORMAL", waiters);
        run(title, BELL, waiters, rounds, "NORMAL", 6000);
    }
    run("limit: one process spins on data_version, synchronous=FULL", SPIN, 1, rounds / 4 + 1, "FULL", 3000);
    run("doorbell, waiters: 1, synchronous=FULL", BELL, 1, rounds / 4 + 1, "FULL", 6000);
    run("doorbell, waiters: 100, synchronous=FULL", BELL, 100, rounds / 4 + 1, "FULL", 6000);
    run_idle(100);
    remove_files();
    return 0;
}
