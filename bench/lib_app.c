/* The foreign app's process; see lib_app.h. */
#include "bench/lib_app.h"

#include "bench/lib.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum what { RUN_SQL, PUSH, PACE, ASK };

struct order {
    enum what what;
    int per_second, seconds;
    char room[64], uid[64]; /* "" = not this */
    char sql[1024];
};

struct result {
    struct dw_bench_commit commit;
    int64_t number;
};

/* ---- in the app's process ---- */

struct self {
    sqlite3 *db;
    sqlite3_stmt *push;
    int64_t *took, *late;
};

_Noreturn static void failed(struct self *self, const char *what)
{
    errno = 0;
    dw_bench_die("the app's %s failed: %s", what, sqlite3_errmsg(self->db));
}

static struct dw_bench_commit push(struct self *self, const struct order *order)
{
    struct dw_bench_commit commit;

    (void)sqlite3_bind_text(self->push, 1, order->room[0] != '\0' ? order->room : NULL, -1, SQLITE_STATIC);
    (void)sqlite3_bind_text(self->push, 2, order->uid[0] != '\0' ? order->uid : NULL, -1, SQLITE_STATIC);
    commit.begin_ns = dw_bench_ns();
    if (sqlite3_step(self->push) != SQLITE_DONE)
        failed(self, "INSERT INTO dw_push");
    (void)sqlite3_reset(self->push);
    commit.done_ns = dw_bench_ns();
    return commit;
}

static int64_t pace(struct self *self, const struct order *order)
{
    int64_t due = dw_bench_ns(), count = (int64_t)order->per_second * order->seconds, i;

    for (i = 0; i < count && i < DW_BENCH_PACE_MAX; i++) {
        struct timespec until = {.tv_sec = due / 1000000000, .tv_nsec = due % 1000000000};
        struct dw_bench_commit commit;

        (void)clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
        commit = push(self, order);
        self->took[i] = commit.done_ns - commit.begin_ns;
        self->late[i] = commit.done_ns - due;
        due += 1000000000 / order->per_second;
    }
    return i;
}

static int64_t ask(struct self *self, const char *sql)
{
    sqlite3_stmt *stmt;
    int64_t number;

    if (sqlite3_prepare_v2(self->db, sql, -1, &stmt, NULL) != SQLITE_OK || sqlite3_step(stmt) != SQLITE_ROW)
        failed(self, sql);
    number = sqlite3_column_int64(stmt, 0);
    (void)sqlite3_finalize(stmt);
    return number;
}

static void obey(struct self *self, const struct order *order, struct result *result)
{
    switch (order->what) {
    case RUN_SQL:
        if (sqlite3_exec(self->db, order->sql, NULL, NULL, NULL) != SQLITE_OK)
            failed(self, order->sql);
        break;
    case PUSH:
        result->commit = push(self, order);
        break;
    case PACE:
        result->number = pace(self, order);
        break;
    case ASK:
        result->number = ask(self, order->sql);
        break;
    }
}

_Noreturn static void be_app(int fd, const char *path, int wal_sync, int64_t *took)
{
    static const char insert[] =
        "INSERT INTO dw_push (room, uid, event, data) VALUES (?1, ?2, 'bench/tick', '{\"text\":\"hi\"}')";
    struct self self = {.took = took, .late = took + DW_BENCH_PACE_MAX};
    char pragma[64];
    struct order order;

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)snprintf(pragma, sizeof pragma, "PRAGMA synchronous = %d", wal_sync);
    if (sqlite3_open(path, &self.db) != SQLITE_OK || sqlite3_busy_timeout(self.db, 5000) != SQLITE_OK ||
        sqlite3_exec(self.db, pragma, NULL, NULL, NULL) != SQLITE_OK ||
        sqlite3_prepare_v2(self.db, insert, -1, &self.push, NULL) != SQLITE_OK)
        failed(&self, "opening of the queue");
    while (recv(fd, &order, sizeof order, 0) == (ssize_t)sizeof order) {
        struct result result = {.number = 0};

        obey(&self, &order, &result);
        if (send(fd, &result, sizeof result, MSG_NOSIGNAL) < 0)
            break;
    }
    (void)sqlite3_finalize(self.push);
    (void)sqlite3_close(self.db);
    _exit(0);
}

/* ---- in the benchmark ---- */

void dw_bench_app_start(struct dw_bench_app *app, const char *db, int wal_sync)
{
    int pair[2];

    app->took = mmap(NULL, 2 * DW_BENCH_PACE_MAX * sizeof *app->took, PROT_READ | PROT_WRITE,
                     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (app->took == MAP_FAILED || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
        dw_bench_die("cannot start the app");
    app->late = app->took + DW_BENCH_PACE_MAX;
    app->pid = fork();
    if (app->pid < 0)
        dw_bench_die("cannot start the app");
    if (app->pid == 0) {
        (void)close(pair[0]);
        be_app(pair[1], db, wal_sync, app->took);
    }
    (void)close(pair[1]);
    app->fd = pair[0];
}

void dw_bench_app_stop(struct dw_bench_app *app)
{
    (void)close(app->fd);
    (void)waitpid(app->pid, NULL, 0);
    (void)munmap(app->took, 2 * DW_BENCH_PACE_MAX * sizeof *app->took);
}

static void send_order(struct dw_bench_app *app, const struct order *order)
{
    if (send(app->fd, order, sizeof *order, MSG_NOSIGNAL) != (ssize_t)sizeof *order)
        dw_bench_die("the app has gone");
}

static struct result wait_result(struct dw_bench_app *app)
{
    struct result result;

    if (recv(app->fd, &result, sizeof result, 0) != (ssize_t)sizeof result)
        dw_bench_die("the app has gone");
    return result;
}

static int64_t run(struct dw_bench_app *app, enum what what, const char *sql)
{
    struct order order = {.what = what};

    (void)snprintf(order.sql, sizeof order.sql, "%s", sql);
    send_order(app, &order);
    return wait_result(app).number;
}

void dw_bench_app_sql(struct dw_bench_app *app, const char *sql)
{
    (void)run(app, RUN_SQL, sql);
}

int64_t dw_bench_app_ask(struct dw_bench_app *app, const char *sql)
{
    return run(app, ASK, sql);
}

void dw_bench_app_order(struct dw_bench_app *app, const char *room, const char *uid)
{
    struct order order = {.what = PUSH};

    (void)snprintf(order.room, sizeof order.room, "%s", room != NULL ? room : "");
    (void)snprintf(order.uid, sizeof order.uid, "%s", uid != NULL ? uid : "");
    send_order(app, &order);
}

struct dw_bench_commit dw_bench_app_result(struct dw_bench_app *app)
{
    return wait_result(app).commit;
}

size_t dw_bench_app_pace(struct dw_bench_app *app, const char *uid, int per_second, int seconds, dw_bench_look_fn *look,
                         void *context)
{
    struct pollfd done = {.fd = app->fd, .events = POLLIN};
    struct order order = {.what = PACE, .per_second = per_second, .seconds = seconds};

    (void)snprintf(order.uid, sizeof order.uid, "%s", uid);
    send_order(app, &order);
    while (poll(&done, 1, 100) == 0)
        look(context);
    return (size_t)wait_result(app).number;
}
