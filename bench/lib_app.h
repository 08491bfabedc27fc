/* A foreign app: a process of its own that knows nothing of Dumbwaiter but its SQL names, and commits
 * with plain SQLite, autocommit and default settings. */
#ifndef DW_BENCH_LIB_APP_H
#define DW_BENCH_LIB_APP_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct dw_bench_app {
    pid_t pid;
    int fd;        /* orders out, results in */
    int64_t *took; /* of dw_bench_app_pace: what each INSERT took; shared with the process */
    int64_t *late; /* and how long after the moment it was due it was done */
};

/* When its INSERT was called and when it had returned (the commit is done). */
struct dw_bench_commit {
    int64_t begin_ns, done_ns;
};

#define DW_BENCH_PACE_MAX 200000

/* Starts it on that queue file with PRAGMA synchronous = `wal_sync` (1 NORMAL, 2 FULL). */
void dw_bench_app_start(struct dw_bench_app *app, const char *db, int wal_sync);
void dw_bench_app_stop(struct dw_bench_app *app);

/* Runs any SQL. */
void dw_bench_app_sql(struct dw_bench_app *app, const char *sql);

/* One push to a room or uid (the other is NULL).  _order returns at once, _result waits for the commit. */
void dw_bench_app_order(struct dw_bench_app *app, const char *room, const char *uid);
struct dw_bench_commit dw_bench_app_result(struct dw_bench_app *app);

/* Pushes to that uid `per_second` times a second for a time; fills app->took and app->late.  Meanwhile
 * `look` is called ten times a second.  Returns how many. */
typedef void dw_bench_look_fn(void *context);
size_t dw_bench_app_pace(struct dw_bench_app *app, const char *uid, int per_second, int seconds, dw_bench_look_fn *look,
                         void *context);

/* The first column of a query's first row. */
int64_t dw_bench_app_ask(struct dw_bench_app *app, const char *sql);

#endif
