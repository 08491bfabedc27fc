/* The doorbell never misses: processes that commit by plain SQLite as apps do, processes that wait.
 *
 * A round: every writer commits a few rows with random pauses; when all are done, each waiter must have
 * read the last row within a second, though nothing more is committed.  That is the case in which a
 * lost event shows: nobody rings again, and the safety tick comes too late to pass for luck every time.
 *
 * Built twice: over our own store (WAL), and with -DPLAIN_STORE over a stand-in that takes a database in
 * any journal mode. */
#include "base/clock.h"
#include "store/wake.h"

#include "tests/unit/tap.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_WAITERS 16
#define MAX_WRITERS 4
#define BOUND_US 1000000 /* generous: a loaded machine, sanitizers; a missed commit takes up to 4 s */

struct plan {
    int waiters, writers, rounds;
    const char *journal, *synchronous;
    const char *checkpoint; /* NULL, or the mode that each writer runs now and then */
    bool reconnect;         /* writers open and close their connection for each commit */
    bool come_and_go;       /* waiters close and reopen everything at random */
    int blind;              /* so many waiters get no inotify */
    enum dw_wake_mode mode;
    int kill_leader_every; /* rounds; 0 = never */
};

/* Shared by all processes of a test. */
struct board {
    _Atomic int round, writers_done, stop;
    _Atomic int64_t committed; /* highest id whose commit has returned */
    _Atomic int64_t commits;
    _Atomic int failed;
    _Atomic int64_t seen[MAX_WAITERS];
    _Atomic int leads[MAX_WAITERS], timed[MAX_WAITERS];
};

static struct board *board;
static char folder[64], path[96];

/* ---- children ---- */

static void fail_child(const char *what)
{
    (void)fprintf(stderr, "# process %d: %s\n", (int)getpid(), what);
    atomic_store(&board->failed, 1);
    _exit(1);
}

/* inotify_init fails as it does when the user's instances are used up; only for this process. */
static void make_blind(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (unsigned)offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_inotify_init1, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EMFILE),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof code / sizeof code[0], .filter = code};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        fail_child("seccomp is not available");
}

static struct dw_store *open_store(void)
{
    struct dw_store_options options = {.path = path,
                                       .retain_ms = 3600000,
                                       .busy_ms = 5000,
                                       .session_sql = "SELECT NULL AS uid, NULL AS csrf_token, NULL AS handshake_data",
                                       .create = true};
    struct dw_store *store = NULL;
    struct dw_err err = {0};
    int rc = dw_store_open_sqlite(&options, &store, &err);

    if (rc != DW_OK)
        fail_child(dw_err_say(&err, rc));
    return store;
}

static void read_rows(struct dw_store *store, int number)
{
    int64_t end = 0;
    int rc;

    while ((rc = dw_store_end(store, &end, NULL)) == DW_BUSY)
        dw_clock_sleep_us(200);
    if (rc != DW_OK)
        fail_child("can't read the queue");
    atomic_store(&board->seen[number], end);
}

/* One life of a doorbell: until told to stop, or for a random while. */
static void wait_for_commits(const struct plan *plan, int number)
{
    struct dw_store *store = open_store();
    struct dw_wake *wake = NULL;
    struct dw_wake_stats stats;
    int64_t leave_us = plan->come_and_go ? dw_clock_mono_us() + (int64_t)dw_clock_jitter(30000) : INT64_MAX;

    if (dw_wake_open(store, plan->mode, &wake, NULL) != DW_OK)
        fail_child("can't open a doorbell");
    while (!atomic_load(&board->stop) && dw_clock_mono_us() < leave_us) {
        struct pollfd fd = {.fd = dw_wake_fd(wake), .events = POLLIN};

        if (poll(&fd, 1, plan->come_and_go ? 5 : -1) == 1 && dw_wake_check(wake))
            read_rows(store, number);
        dw_wake_stats(wake, &stats);
        atomic_store(&board->leads[number], strcmp(stats.role, "leader") == 0);
        atomic_store(&board->timed[number], strcmp(stats.role, "timer") == 0);
    }
    dw_wake_close(wake);
    dw_store_close(store);
}

static void be_waiter(const struct plan *plan, int number)
{
    if (number < plan->blind)
        make_blind();
    do
        wait_for_commits(plan, number);
    while (!atomic_load(&board->stop));
    _exit(0);
}

static void run_sql(sqlite3 *db, const char *sql)
{
    int rc;

    while ((rc = sqlite3_exec(db, sql, NULL, NULL, NULL)) == SQLITE_BUSY || rc == SQLITE_LOCKED)
        dw_clock_sleep_us(100);
    if (rc != SQLITE_OK)
        fail_child(sqlite3_errmsg(db));
}

static sqlite3 *connect_app(const struct plan *plan)
{
    char pragma[64];
    sqlite3 *db;

    if (sqlite3_open(path, &db) != SQLITE_OK)
        fail_child("can't open the database");
    (void)sqlite3_busy_timeout(db, 5000);
    (void)snprintf(pragma, sizeof pragma, "PRAGMA synchronous=%s", plan->synchronous);
    run_sql(db, pragma);
    /* TRUNCATE and PERSIST are a connection's own choice, not the file's. */
    (void)snprintf(pragma, sizeof pragma, "PRAGMA journal_mode=%s", plan->journal);
    run_sql(db, pragma);
    return db;
}

static void note_commit(int64_t id)
{
    int64_t highest = atomic_load(&board->committed);

    (void)atomic_fetch_add(&board->commits, 1);
    while (highest < id && !atomic_compare_exchange_weak(&board->committed, &highest, id))
        ;
}

static void commit_some(const struct plan *plan, sqlite3 **db)
{
    char sql[64];

    for (uint64_t left = 1 + dw_clock_jitter(5); left > 0; left--) {
        if (plan->reconnect)
            *db = connect_app(plan);
        run_sql(*db, "INSERT INTO dw_push (uid, event, data) VALUES ('alice', 'chat/message', '{\"n\":1}')");
        note_commit(sqlite3_last_insert_rowid(*db));
        if (plan->checkpoint != NULL && dw_clock_jitter(4) == 0) {
            (void)snprintf(sql, sizeof sql, "PRAGMA wal_checkpoint(%s)", plan->checkpoint);
            run_sql(*db, sql);
        }
        if (plan->reconnect)
            (void)sqlite3_close(*db);
        if (dw_clock_jitter(2) == 0)
            dw_clock_sleep_us((int64_t)dw_clock_jitter(1500));
    }
}

static void be_writer(const struct plan *plan)
{
    sqlite3 *db = plan->reconnect ? NULL : connect_app(plan);

    for (int round = 1; !atomic_load(&board->stop);) {
        if (atomic_load(&board->round) < round) {
            dw_clock_sleep_us(200);
            continue;
        }
        commit_some(plan, &db);
        (void)atomic_fetch_add(&board->writers_done, 1);
        round++;
    }
    if (!plan->reconnect)
        (void)sqlite3_close(db);
    _exit(0);
}

/* ---- the test's side ---- */

static pid_t start(const struct plan *plan, int waiter)
{
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid != 0)
        return pid;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (waiter >= 0)
        be_waiter(plan, waiter);
    be_writer(plan);
    return 0;
}

static void await_writers(const struct plan *plan)
{
    int64_t end = dw_clock_mono_ms() + 60000;

    while (atomic_load(&board->writers_done) < plan->writers && !atomic_load(&board->failed)) {
        assert_true(dw_clock_mono_ms() < end);
        dw_clock_sleep_us(200);
    }
    assert_false(atomic_load(&board->failed));
}

/* Every waiter reads the last row in time; returns the time that the last one took. */
static int64_t await_waiters(const struct plan *plan, int round)
{
    int64_t start_us = dw_clock_mono_us(), final = atomic_load(&board->committed);

    for (int i = 0; i < plan->waiters; i++) {
        while (atomic_load(&board->seen[i]) < final) {
            if (dw_clock_mono_us() - start_us > BOUND_US)
                fail_msg("round %d: waiter %d has read up to %lld, committed is %lld", round, i,
                         (long long)board->seen[i], (long long) final);
            assert_false(atomic_load(&board->failed));
            dw_clock_sleep_us(200);
        }
    }
    return dw_clock_mono_us() - start_us;
}

/* Kills a waiter that leads and returns its number, -1 if nobody does.  It is not replaced at once: a
 * newcomer would take the lead by itself, and it is the followers who have to. */
static int kill_leader(const struct plan *plan, const pid_t *waiters)
{
    for (int i = 0; i < plan->waiters; i++) {
        if (!atomic_load(&board->leads[i]))
            continue;
        assert_int_equal(kill(waiters[i], SIGKILL), 0);
        assert_int_equal(waitpid(waiters[i], NULL, 0), waiters[i]);
        atomic_store(&board->leads[i], 0);
        atomic_store(&board->seen[i], INT64_MAX);
        return i;
    }
    return -1;
}

static void await_openings(const struct plan *plan)
{
    /* Waiters open one after the other so that roles are as the plan means them: the blind come first. */
    int64_t end = dw_clock_mono_ms() + 20000;

    for (int i = 0; i < plan->waiters; i++) {
        while (atomic_load(&board->seen[i]) < 0) {
            assert_true(dw_clock_mono_ms() < end);
            dw_clock_sleep_us(500);
        }
    }
}

static void play_rounds(const struct plan *plan, pid_t *waiters, int *killed, int64_t *worst_us)
{
    for (int round = 1; round <= plan->rounds; round++) {
        int64_t took;
        int victim = -1;

        atomic_store(&board->writers_done, 0);
        atomic_store(&board->round, round);
        if (plan->kill_leader_every != 0 && round % plan->kill_leader_every == 0) {
            dw_clock_sleep_us((int64_t)dw_clock_jitter(3000));
            victim = kill_leader(plan, waiters); /* while commits flow */
        }
        await_writers(plan);
        took = await_waiters(plan, round);
        if (took > *worst_us)
            *worst_us = took;
        if (victim >= 0) {
            ++*killed;
            atomic_store(&board->seen[victim], 0);
            waiters[victim] = start(plan, victim);
        }
    }
}

/* What most tests have in common. */
static void add_usual(struct plan *plan)
{
    if (plan->writers == 0)
        plan->writers = 3;
    if (plan->rounds == 0)
        plan->rounds = 150;
    if (plan->journal == NULL)
        plan->journal = "WAL";
    if (plan->synchronous == NULL)
        plan->synchronous = "NORMAL";
}

static void play(struct plan *plan)
{
    pid_t waiters[MAX_WAITERS], writers[MAX_WRITERS];
    int killed = 0;
    int64_t worst_us = 0;

    add_usual(plan);
    memset(board, 0, sizeof *board);
    for (int i = 0; i < plan->waiters; i++)
        atomic_store(&board->seen[i], -1);
    for (int i = 0; i < plan->waiters; i++)
        waiters[i] = start(plan, i);
    await_openings(plan);
    for (int i = 0; i < plan->writers; i++)
        writers[i] = start(plan, -1);
    play_rounds(plan, waiters, &killed, &worst_us);
    atomic_store(&board->stop, 1);
    for (int i = 0; i < plan->writers; i++)
        assert_int_equal(waitpid(writers[i], NULL, 0), writers[i]);
    for (int i = 0; i < plan->waiters; i++) {
        (void)kill(waiters[i], SIGKILL);
        (void)waitpid(waiters[i], NULL, 0);
    }
    if (plan->kill_leader_every != 0)
        assert_true(killed >= plan->rounds / plan->kill_leader_every / 2);
    print_message("# %lld commits, %d waiters, %d leaders killed, the last waiter %.1f ms late at worst\n",
                  (long long)board->commits, plan->waiters, killed, (double)worst_us / 1e3);
}

static int set_up(void **state)
{
    (void)state;
    strcpy(folder, "/var/tmp/dw-wake-XXXXXX");
    if (mkdtemp(folder) == NULL)
        return -1;
    (void)snprintf(path, sizeof path, "%s/q.db", folder);
    dw_store_close(open_store());
    return 0;
}

static int tear_down(void **state)
{
    char command[96];

    (void)state;
    (void)snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command); /* NOLINT(cert-env33-c): a fixed path of our own */
}

#define FEW .waiters = 3
#define CROWD .waiters = 9

#ifndef PLAIN_STORE

static void few_waiters_see_every_last_commit(void **state)
{
    struct plan plan = {FEW, .rounds = 300};

    (void)state;
    play(&plan);
}

static void few_waiters_see_every_last_commit_that_is_synced(void **state)
{
    struct plan plan = {FEW, .synchronous = "FULL"};

    (void)state;
    play(&plan);
}

static void a_crowd_sees_every_last_commit(void **state)
{
    struct plan plan = {CROWD, .rounds = 300};

    (void)state;
    play(&plan);
}

static void a_crowd_sees_every_last_commit_that_is_synced(void **state)
{
    struct plan plan = {CROWD, .synchronous = "FULL"};

    (void)state;
    play(&plan);
}

static void passive_checkpoints_hide_no_commit(void **state)
{
    struct plan plan = {CROWD, .checkpoint = "PASSIVE"};

    (void)state;
    play(&plan);
}

static void truncating_checkpoints_hide_no_commit(void **state)
{
    struct plan plan = {CROWD, .checkpoint = "TRUNCATE"};

    (void)state;
    play(&plan);
}

static void writers_that_connect_for_each_commit_are_seen(void **state)
{
    struct plan plan = {CROWD, .reconnect = true, .synchronous = "FULL"};

    (void)state;
    play(&plan);
}

static void waiters_that_come_and_go_miss_nothing_while_the_wal_is_deleted_and_made_anew(void **state)
{
    /* One waiter: between two of its lives nobody has the database open, and the -wal goes. */
    struct plan alone = {.waiters = 1, .writers = 2, .reconnect = true, .come_and_go = true};
    struct plan crowd = {CROWD, .reconnect = true, .come_and_go = true};

    (void)state;
    play(&alone);
    play(&crowd);
}

static void a_killed_leader_takes_no_commit_with_it(void **state)
{
    struct plan plan = {CROWD, .rounds = 300, .kill_leader_every = 3};

    (void)state;
    play(&plan);
}

static void a_killed_leader_takes_no_synced_commit_with_it(void **state)
{
    struct plan plan = {CROWD, .kill_leader_every = 3, .synchronous = "FULL", .checkpoint = "TRUNCATE"};

    (void)state;
    play(&plan);
}

static void without_inotify_all_still_see_every_commit(void **state)
{
    struct plan few = {FEW, .rounds = 40, .blind = 3};
    struct plan crowd = {CROWD, .rounds = 40, .blind = 9, .kill_leader_every = 4};

    (void)state;
    play(&few);
    play(&crowd);
}

static void where_inotify_runs_out_half_way_all_still_see_every_commit(void **state)
{
    struct plan plan = {CROWD, .rounds = 100, .blind = 5, .kill_leader_every = 4};

    (void)state;
    play(&plan);
}

static void the_timer_alone_is_enough(void **state)
{
    struct plan plan = {FEW, .rounds = 30, .mode = DW_WAKE_TIMER};

    (void)state;
    play(&plan);
}

#else

static void commits_with_a_deleted_journal_are_seen(void **state)
{
    struct plan plan = {CROWD, .rounds = 60, .journal = "DELETE", .synchronous = "FULL"};

    (void)state;
    play(&plan);
}

static void commits_with_a_truncated_journal_are_seen(void **state)
{
    struct plan plan = {CROWD, .rounds = 60, .journal = "TRUNCATE"};

    (void)state;
    play(&plan);
}

static void commits_with_a_persistent_journal_are_seen(void **state)
{
    struct plan plan = {CROWD, .rounds = 60, .journal = "PERSIST"};

    (void)state;
    play(&plan);
}

static void a_database_that_turns_to_wal_while_they_wait_is_followed(void **state)
{
    struct plan before = {CROWD, .rounds = 20, .journal = "DELETE"};
    struct plan after = {CROWD, .rounds = 60}; /* the waiters open it before its writers turn it */

    (void)state;
    play(&before);
    play(&after);
}

#endif

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
#ifndef PLAIN_STORE
        CASE(few_waiters_see_every_last_commit),
        CASE(few_waiters_see_every_last_commit_that_is_synced),
        CASE(a_crowd_sees_every_last_commit),
        CASE(a_crowd_sees_every_last_commit_that_is_synced),
        CASE(passive_checkpoints_hide_no_commit),
        CASE(truncating_checkpoints_hide_no_commit),
        CASE(writers_that_connect_for_each_commit_are_seen),
        CASE(waiters_that_come_and_go_miss_nothing_while_the_wal_is_deleted_and_made_anew),
        CASE(a_killed_leader_takes_no_commit_with_it),
        CASE(a_killed_leader_takes_no_synced_commit_with_it),
        CASE(without_inotify_all_still_see_every_commit),
        CASE(where_inotify_runs_out_half_way_all_still_see_every_commit),
        CASE(the_timer_alone_is_enough),
#else
        CASE(commits_with_a_deleted_journal_are_seen),
        CASE(commits_with_a_truncated_journal_are_seen),
        CASE(commits_with_a_persistent_journal_are_seen),
        CASE(a_database_that_turns_to_wal_while_they_wait_is_followed),
#endif
    };

    board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (board == MAP_FAILED)
        return 2;
    return cmocka_run_group_tests_name("wake, processes", tests, NULL, NULL);
}
