/* The bare limits; see limits.h.  The watcher is a process of its own that reports each row's time on a
 * pipe; nothing here uses Dumbwaiter's code. */
#include "bench/limits.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAUSE_US 2000 /* between rounds, so that the watcher sleeps again */

struct eye {
    sqlite3 *db;
    sqlite3_stmt *version, *row;
    sqlite3_int64 known, last;
    int watch_fd;
};

static sqlite3_int64 first_column(sqlite3_stmt *stmt, sqlite3_int64 none)
{
    sqlite3_int64 value = sqlite3_step(stmt) == SQLITE_ROW ? sqlite3_column_int64(stmt, 0) : none;

    (void)sqlite3_reset(stmt);
    return value;
}

static void open_eye(struct eye *eye, const char *path)
{
    char wal[128];

    errno = 0;
    if (sqlite3_open(path, &eye->db) != SQLITE_OK ||
        sqlite3_prepare_v2(eye->db, "PRAGMA data_version", -1, &eye->version, NULL) != SQLITE_OK ||
        sqlite3_prepare_v2(eye->db, "SELECT max(id) FROM dw_push WHERE id > ?1", -1, &eye->row, NULL) != SQLITE_OK)
        dw_bench_die("the watcher cannot open the queue");
    eye->last = 0;
    (void)sqlite3_bind_int64(eye->row, 1, 0);
    eye->last = first_column(eye->row, 0);
    eye->known = first_column(eye->version, 0);
    (void)snprintf(wal, sizeof wal, "%s-wal", path);
    eye->watch_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (eye->watch_fd < 0 || inotify_add_watch(eye->watch_fd, wal, IN_MODIFY) < 0)
        dw_bench_die("no file events");
}

/* True when a new row has been read. */
static bool look(struct eye *eye)
{
    sqlite3_int64 version = first_column(eye->version, eye->known), id;

    if (version == eye->known)
        return false;
    eye->known = version;
    (void)sqlite3_bind_int64(eye->row, 1, eye->last);
    id = first_column(eye->row, 0);
    if (id <= eye->last)
        return false;
    eye->last = id;
    return true;
}

/* Sleeps on file events; behind each one looks again after 30 us and then ever more seldom. */
static void wait_for_file(struct eye *eye)
{
    struct pollfd pollfd = {.fd = eye->watch_fd, .events = POLLIN};
    char space[4096];

    for (;;) {
        int64_t pause_us = 30;

        (void)poll(&pollfd, 1, 1000);
        do {
            while (read(eye->watch_fd, space, sizeof space) > 0)
                pause_us = 30;
            if (look(eye))
                return;
            dw_bench_sleep_us(pause_us);
            pause_us += pause_us / 2;
        } while (pause_us < 20000);
    }
}

_Noreturn static void be_watcher(enum dw_bench_limit limit, const char *path, int in, int out)
{
    struct eye eye;
    int64_t seen = 0;
    char byte;

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (limit != DW_BENCH_LIMIT_PIPE)
        open_eye(&eye, path);
    if (write(out, &seen, sizeof seen) != (ssize_t)sizeof seen) /* ready */
        _exit(0);
    for (;;) {
        switch (limit) {
        case DW_BENCH_LIMIT_PIPE:
            if (read(in, &byte, 1) != 1)
                _exit(0);
            break;
        case DW_BENCH_LIMIT_SPIN:
            while (!look(&eye))
                ;
            break;
        case DW_BENCH_LIMIT_FILE:
            wait_for_file(&eye);
            break;
        }
        seen = dw_bench_ns();
        if (write(out, &seen, sizeof seen) != (ssize_t)sizeof seen)
            _exit(0);
    }
}

static int64_t read_time(int fd)
{
    int64_t seen;

    if (read(fd, &seen, sizeof seen) != (ssize_t)sizeof seen)
        dw_bench_die("the watcher has gone");
    return seen;
}

void dw_bench_limit_run(enum dw_bench_limit limit, struct dw_bench_host *host, struct dw_bench_app *app, int rounds,
                        struct dw_bench_spread *spread)
{
    int there[2], back[2];
    pid_t pid;

    if (pipe(there) != 0 || pipe(back) != 0)
        dw_bench_die("no pipe");
    pid = fork();
    if (pid < 0)
        dw_bench_die("cannot start the watcher");
    if (pid == 0) {
        (void)close(there[1]);
        (void)close(back[0]);
        be_watcher(limit, host->db, there[0], back[1]);
    }
    (void)close(there[0]);
    (void)close(back[1]);
    (void)read_time(back[0]);
    for (int i = 0; i < rounds; i++) {
        int64_t done;

        dw_bench_sleep_us(PAUSE_US);
        if (limit == DW_BENCH_LIMIT_PIPE) {
            done = dw_bench_ns();
            if (write(there[1], "!", 1) != 1)
                dw_bench_die("the watcher has gone");
        } else {
            dw_bench_app_order(app, NULL, "nobody");
            done = dw_bench_app_result(app).done_ns;
        }
        dw_bench_spread_add(spread, read_time(back[0]) - done);
    }
    (void)kill(pid, SIGKILL);
    (void)waitpid(pid, NULL, 0);
    (void)close(there[1]);
    (void)close(back[0]);
}
