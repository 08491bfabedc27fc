/* Retention and release on files, with rows that a store's own functions would not write: from apps, and from
 * clocks that were wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "store/sqlite_sql.h"
#include "store/store.h"

#include <sqlite3.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RETAIN_MS 60000
#define CHUNK 50
#define HOUR_MS ((int64_t)3600000)
#define DAY_MS (24 * HOUR_MS)

struct queue {
    char folder[64], path[96], state[128];
    struct dw_store *store;
    sqlite3 *db; /* as an app has it */
};

static void sql(sqlite3 *db, const char *text)
{
    char *said = NULL;

    if (sqlite3_exec(db, text, NULL, NULL, &said) != SQLITE_OK)
        fail_msg("%s: %s", text, said);
}

static int64_t number(sqlite3 *db, const char *text)
{
    sqlite3_stmt *stmt = NULL;
    int64_t value;

    if (sqlite3_prepare_v2(db, text, -1, &stmt, NULL) != SQLITE_OK)
        fail_msg("%s: %s", text, sqlite3_errmsg(db));
    assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
    value = sqlite3_column_int64(stmt, 0);
    (void)sqlite3_finalize(stmt);
    return value;
}

static int set_up(void **state)
{
    struct queue *q = calloc(1, sizeof *q);
    struct dw_store_options options = {.retain_ms = RETAIN_MS, .busy_ms = 1000, .create = true};
    struct dw_err err = {0};

    if (q == NULL)
        return -1;
    (void)snprintf(q->folder, sizeof q->folder, "/tmp/dw-retention-XXXXXX");
    if (mkdtemp(q->folder) == NULL)
        return -1;
    (void)snprintf(q->path, sizeof q->path, "%s/queue.db", q->folder);
    (void)snprintf(q->state, sizeof q->state, "%s-dw/state.db", q->path);
    options.path = q->path;
    if (dw_store_open_sqlite(&options, &q->store, &err) != DW_OK)
        fail_msg("%s", err.text);
    assert_int_equal(sqlite3_open(q->path, &q->db), SQLITE_OK);
    *state = q;
    return 0;
}

static int tear_down(void **state)
{
    static const char *const names[] = {
        "", "-wal", "-shm", "-dw/state.db", "-dw/state.db-wal", "-dw/state.db-shm", "-dw/claims", "-dw/lock"};
    struct queue *q = *state;
    char path[160];

    (void)sqlite3_close(q->db);
    dw_store_close(q->store);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        (void)snprintf(path, sizeof path, "%s%s", q->path, names[i]);
        (void)unlink(path);
    }
    (void)snprintf(path, sizeof path, "%s-dw", q->path);
    (void)rmdir(path);
    (void)rmdir(q->folder);
    free(q);
    return 0;
}

/* One step; true: there is more. */
static bool step(struct queue *q, int64_t ahead_ms)
{
    struct dw_housework work = {.now_ms = dw_clock_wall_ms() + ahead_ms, .chunk = CHUNK};
    struct dw_err err = {0};
    bool more = false;

    if (dw_store_gc(q->store, &work, &more, &err) != DW_OK)
        fail_msg("%s", err.text);
    return more;
}

/* Steps until there is nothing more; how many. */
static int steps(struct queue *q, int64_t ahead_ms)
{
    int count = 1;

    while (step(q, ahead_ms))
        if (++count > 1000)
            fail_msg("it never ends");
    return count;
}

static void rows(struct queue *q, const char *insert, int count)
{
    char text[512];

    (void)snprintf(text, sizeof text,
                   "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d) %s FROM n", count,
                   insert);
    sql(q->db, text);
}

/* What a clock that is ahead writes goes past the trigger, which has the same clock. */
static void without_checks(struct queue *q)
{
    sql(q->db, "DROP TRIGGER dw_push_check");
}

static void a_push_dated_in_the_future_is_refused(void **state)
{
    struct queue *q = *state;

    assert_int_not_equal(sqlite3_exec(q->db,
                                      "INSERT INTO dw_push (uid, event, created_at) VALUES ('a', 'a/b',"
                                      " CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) + 3600000)",
                                      NULL, NULL, NULL),
                         SQLITE_OK);
}

static void rows_dated_in_the_future_go_with_those_behind_them(void **state)
{
    struct queue *q = *state;

    without_checks(q);
    rows(q, "INSERT INTO dw_push (uid, event) SELECT 'a', 'a/old'", 10);
    rows(q,
         "INSERT INTO dw_push (uid, event, created_at) SELECT 'a', 'a/future',"
         " CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) + 86000000",
         3 * CHUNK);
    rows(q, "INSERT INTO dw_push (uid, event) SELECT 'a', 'a/b'", 3 * CHUNK);
    assert_int_equal(steps(q, 0), 1);
    assert_int_equal(number(q->db, "SELECT count(*) FROM dw_push"), 10 + 6 * CHUNK);
    (void)steps(q, HOUR_MS);
    assert_int_equal(number(q->db, "SELECT count(*) FROM dw_push"), 0);
}

static void a_row_dated_in_the_future_saves_no_younger_ones_and_loses_none(void **state)
{
    struct queue *q = *state;

    without_checks(q);
    sql(q->db, "INSERT INTO dw_push (uid, event, created_at) VALUES ('a', 'a/old', 1700000000000);"
               "INSERT INTO dw_push (uid, event, created_at) SELECT 'a', 'a/future', created_at + 9999999999999"
               " FROM dw_push;"
               "INSERT INTO dw_push (uid, event) VALUES ('a', 'a/young')");
    assert_int_equal(steps(q, 0), 1);
    /* Nothing tells yet how old the second one is. */
    assert_int_equal(number(q->db, "SELECT min(id) FROM dw_push"), 2);
    (void)steps(q, HOUR_MS);
    assert_int_equal(number(q->db, "SELECT count(*) FROM dw_push"), 0);
}

static void sessions_that_expired_at_0_or_before_go_like_all_others(void **state)
{
    struct queue *q = *state;

    rows(q, "INSERT INTO dw_session (sid, uid, expires_at) SELECT 'a' || i, 'u', 0", 2 * CHUNK);
    rows(q, "INSERT INTO dw_session (sid, uid, expires_at) SELECT 'b' || i, 'u', -5", 2 * CHUNK);
    rows(q, "INSERT INTO dw_session (sid, uid, expires_at) SELECT 'c' || i, 'u', 1000000000000 + i", 2 * CHUNK);
    rows(q, "INSERT INTO dw_session (sid, uid) SELECT 'd' || i, 'u'", 5);
    assert_in_range(steps(q, 0), 6, 7);
    assert_int_equal(number(q->db, "SELECT count(*) FROM dw_session"), 5);
}

static void past_memberships_go_in_chunks_whether_their_ends_are_equal_or_not(void **state)
{
    struct queue *q = *state;
    int64_t left;

    sql(q->db, "INSERT INTO dw_push (uid, event) VALUES ('a', 'a/b')");
    rows(q, "INSERT INTO dw_member (room, uid) SELECT 'r', 'u' || i", 4 * CHUNK);
    sql(q->db, "INSERT INTO dw_push (uid, event) VALUES ('a', 'a/b');"
               "DELETE FROM dw_member");
    assert_int_equal(number(q->db, "SELECT count(DISTINCT until_id) FROM dw_member_left"), 1);
    (void)step(q, HOUR_MS); /* the pushes that hold them */
    left = number(q->db, "SELECT count(*) FROM dw_member_left");
    assert_true(step(q, HOUR_MS));
    assert_int_equal(left - number(q->db, "SELECT count(*) FROM dw_member_left"), CHUNK);
    (void)steps(q, HOUR_MS);
    assert_int_equal(number(q->db, "SELECT count(*) FROM dw_member_left"), 0);

    rows(q, "INSERT INTO dw_member_left (room, uid, since_id, until_id) SELECT 'r', 'u', 0, -i", 4 * CHUNK);
    assert_in_range(steps(q, 0), 4, 5); /* without a pause of seconds in between */
    assert_int_equal(number(q->db, "SELECT count(*) FROM dw_member_left"), 0);
}

static void no_step_takes_more_than_its_chunk(void **state)
{
    struct queue *q = *state;
    int64_t before, after = 6 * CHUNK;
    bool more = true;

    rows(q, "INSERT INTO dw_push (uid, event) SELECT 'a', 'a/b'", 6 * CHUNK);
    while (more) {
        before = after;
        more = step(q, HOUR_MS);
        after = number(q->db, "SELECT count(*) FROM dw_push");
        assert_true(before - after <= CHUNK);
    }
    assert_int_equal(after, 0);
}

/* ---- the state ---- */

static const char *const texts[] = {
#define TEXT(id, db, text) [DW_SQL_##id] = (text),
    DW_SQL_STATEMENTS(TEXT)
#undef TEXT
};

/* Rows and bytes that dw_inbox_load says are there, in excess of those that are. */
static int64_t drift(struct queue *q, const char *owner, const char *of)
{
    char text[512];

    (void)snprintf(text, sizeof text,
                   "SELECT 1000 * abs((SELECT total(rows) FROM dw_inbox_load WHERE owner = '%s') - count(*))"
                   " + abs((SELECT total(bytes) FROM dw_inbox_load WHERE owner = '%s') - total(length(event)))"
                   " FROM dw_inbox WHERE %s",
                   owner, owner, of);
    return number(q->db, text);
}

static void expect_no_drift(struct queue *q)
{
    assert_int_equal(drift(q, "*", "1"), 0);
    assert_int_equal(drift(q, "ualice", "uid = 'alice'"), 0);
    assert_int_equal(drift(q, "ubob", "uid = 'bob'"), 0);
    assert_int_equal(drift(q, "cc1", "uid IS NULL AND client_id = 'c1'"), 0);
    assert_int_equal(drift(q, "a", "uid IS NULL"), 0);
}

static void what_the_inbox_holds_is_counted_anew_every_day(void **state)
{
    static const char *const mistakes[] = {
        "INSERT OR IGNORE INTO dw_inbox (id, uid, event) VALUES (1, 'alice', 'a/other')",
        "UPDATE dw_inbox_load SET rows = rows + 1 WHERE owner = '*'",
        "UPDATE dw_inbox_load SET bytes = bytes - 1 WHERE owner = 'a'",
        "INSERT INTO dw_inbox_load VALUES ('ubob', 1, 0)",
        "DELETE FROM dw_inbox_load WHERE owner = 'cc1'",
        "DELETE FROM dw_inbox_load",
        "DROP TRIGGER dw_inbox_load_drop; DELETE FROM dw_inbox",
    };
    struct queue *q = *state;
    int64_t ahead = 0, wrong;

    sql(q->db,
        "INSERT INTO dw_inbox (uid, client_id, event, received_at) SELECT *, 4000000000000 FROM"
        " (VALUES ('alice', 'c1', 'a/one'), ('alice', NULL, 'a/b'), (NULL, 'c1', 'a/three'), (NULL, 'c2', 'a/four'))");
    (void)steps(q, ahead);
    for (size_t i = 0; i < sizeof mistakes / sizeof mistakes[0]; i++) {
        expect_no_drift(q);
        sql(q->db, mistakes[i]);
        wrong = drift(q, "*", "1") + drift(q, "ualice", "uid = 'alice'") + drift(q, "ubob", "uid = 'bob'") +
                drift(q, "cc1", "uid IS NULL AND client_id = 'c1'") + drift(q, "a", "uid IS NULL");
        assert_int_not_equal(wrong, 0);
        ahead += DAY_MS + 1000;
        (void)steps(q, ahead);
    }
    expect_no_drift(q);
    assert_int_equal(number(q->db, "SELECT count(*) FROM dw_inbox_load"), 0);
    rows(q, "INSERT INTO dw_inbox_load SELECT 'u' || i, i, i", 250);
    ahead += DAY_MS + 1000;
    for (int i = 0; i < 3; i++) /* as many as one step takes, and the rest in the next ones */
        (void)steps(q, ahead);
    assert_int_equal(number(q->db, "SELECT count(*) FROM dw_inbox_load"), 0);
    sql(q->db, "INSERT INTO dw_inbox_load VALUES ('ubob', 1, 0)");
    (void)steps(q, ahead + DAY_MS / 2); /* it costs a look at every row */
    assert_int_equal(number(q->db, "SELECT count(*) FROM dw_inbox_load"), 1);
}

/* Every dead worker costs this under the state's write lock; in CGI each request leaves one. */
static void the_clients_of_a_dead_worker_are_found_by_index(void **state)
{
    struct queue *q = *state;
    sqlite3_stmt *stmt = NULL;
    sqlite3 *db = NULL;
    char text[1024];

    assert_int_equal(sqlite3_open(q->state, &db), SQLITE_OK);
    (void)snprintf(text, sizeof text, "EXPLAIN QUERY PLAN %s", texts[DW_SQL_CLIENT_ORPHAN]);
    assert_int_equal(sqlite3_prepare_v2(db, text, -1, &stmt, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
    assert_non_null(strstr((const char *)sqlite3_column_text(stmt, 3), "INDEX client_worker (worker=?)"));
    (void)sqlite3_finalize(stmt);
    (void)sqlite3_close(db);
}

static int keep(void *context, struct dw_client *client, bool found, uint64_t claim)
{
    (void)context;
    (void)client;
    (void)found;
    (void)claim;
    return DW_OK;
}

static void a_client_too_many_is_told_that_all_places_are_taken(void **state)
{
    const struct dw_client_key key = {DW_AJAX, NULL, "c"};
    struct queue *q = *state;
    struct dw_err err = {0};
    sqlite3 *db = NULL;

    assert_int_equal(sqlite3_open(q->state, &db), SQLITE_OK);
    sql(db, "UPDATE meta SET value = 1048576 WHERE key = 'next_slot'");
    (void)sqlite3_close(db);
    assert_int_equal(dw_store_client_update(q->store, &key, keep, NULL, &err), DW_CROWDED);
    assert_non_null(strstr(err.text, "limits.clients"));
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(a_push_dated_in_the_future_is_refused),
        CASE(rows_dated_in_the_future_go_with_those_behind_them),
        CASE(a_row_dated_in_the_future_saves_no_younger_ones_and_loses_none),
        CASE(sessions_that_expired_at_0_or_before_go_like_all_others),
        CASE(past_memberships_go_in_chunks_whether_their_ends_are_equal_or_not),
        CASE(no_step_takes_more_than_its_chunk),
        CASE(what_the_inbox_holds_is_counted_anew_every_day),
        CASE(the_clients_of_a_dead_worker_are_found_by_index),
        CASE(a_client_too_many_is_told_that_all_places_are_taken),
    };
#undef CASE

    return cmocka_run_group_tests_name("retention", tests, NULL, NULL);
}
