/* auth.session_sql over the SQLite backend: it can read, for a while, and says what it is refused for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/conf.h"
#include "store/store.h"
#include "tests/unit/tap.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NOW INT64_C(4000000000000)
#define FOR_EVER "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "

static struct {
    char folder[64], path[96];
    struct dw_store *store;
    struct dw_session session;
    struct dw_err err;
} w;

static void do_sql(const char *text)
{
    char *failed = NULL;
    sqlite3 *db;

    assert_int_equal(sqlite3_open(w.path, &db), SQLITE_OK);
    (void)sqlite3_busy_timeout(db, 10000);
    if (sqlite3_exec(db, text, NULL, NULL, &failed) != SQLITE_OK)
        fail_msg("%s: %s", text, failed);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static void open_with(const char *session_sql)
{
    struct dw_store_options options = {.path = w.path,
                                       .retain_ms = 60000,
                                       .busy_ms = 5000,
                                       .session_sql = session_sql,
                                       .session_ms = 250,
                                       .create = true};

    dw_store_close(w.store);
    w.store = NULL;
    assert_int_equal(dw_store_open_sqlite(&options, &w.store, NULL), DW_OK);
}

static int set_up(void **unused)
{
    (void)unused;
    memset(&w, 0, sizeof w);
    (void)snprintf(w.folder, sizeof w.folder, "/tmp/dw-session-XXXXXX");
    if (mkdtemp(w.folder) == NULL)
        return -1;
    (void)snprintf(w.path, sizeof w.path, "%s/queue.db", w.folder);
    open_with(DW_SESSION_SQL);
    do_sql("CREATE TABLE login (token TEXT PRIMARY KEY, user_id, csrf TEXT, data TEXT, ends);"
           "INSERT INTO login VALUES ('s1', 7, 'c1', NULL, NULL)");
    return 0;
}

static int tear_down(void **unused)
{
    static const char *const names[] = {
        "",           "-wal",     "-shm",         "-dw/state.db", "-dw/state.db-wal", "-dw/state.db-shm",
        "-dw/claims", "-dw/lock", "-dw/.htaccess"};
    char path[160];

    (void)unused;
    dw_session_fini(&w.session);
    dw_store_close(w.store);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        (void)snprintf(path, sizeof path, "%s%s", w.path, names[i]);
        (void)unlink(path);
    }
    (void)snprintf(path, sizeof path, "%s-dw", w.path);
    (void)rmdir(path);
    (void)rmdir(w.folder);
    return 0;
}

static int look(void)
{
    w.err.text[0] = '\0';
    return dw_store_session(w.store, "s1", NOW, &w.session, &w.err);
}

/* Nothing is found, for this reason. */
static void refuses(const char *session_sql, const char *reason)
{
    open_with(session_sql);
    assert_int_equal(look(), DW_CONF);
    if (strstr(w.err.text, reason) == NULL || strstr(w.err.text, "auth.session_sql") == NULL)
        fail_msg("%s: \"%s\" is not in: %s", session_sql, reason, w.err.text);
    assert_false(w.session.found);
}

static void an_apps_own_table_gives_sessions(void **unused)
{
    (void)unused;
    open_with("SELECT user_id, csrf, data FROM login WHERE token = :sid;  -- and a remark\n ; ");
    assert_int_equal(look(), DW_OK);
    assert_true(w.session.found);
    assert_string_equal(dw_buf_str(&w.session.uid), "7");
    open_with("SELECT value, 2, 3 FROM json_each('[5]') WHERE :sid = 's1'");
    assert_int_equal(look(), DW_OK);
    assert_string_equal(dw_buf_str(&w.session.uid), "5");
    open_with("WITH x(u) AS (SELECT user_id FROM login WHERE token = :sid) SELECT lower(u), hex(u), "
              "json_object('n', max(u)), :now_ms + 1 FROM x");
    assert_int_equal(look(), DW_OK);
    assert_string_equal(dw_buf_str(&w.session.handshake_data), "{\"n\":7}");
    assert_int_equal(w.session.expires_at, NOW + 1);
}

static void a_query_can_only_read(void **unused)
{
    (void)unused;
    refuses("DELETE FROM login WHERE token = :sid RETURNING 1, 2, 3", "deleting from login");
    refuses("UPDATE login SET csrf = 1 WHERE token = :sid RETURNING 1, 2, 3", "changing login");
    refuses("INSERT INTO login VALUES (:sid, 1, 2, 3, 4) RETURNING 1, 2, 3", "writing to login");
    refuses("ATTACH :sid AS other", "ATTACH");
    refuses("PRAGMA journal_mode = DELETE", "PRAGMA journal_mode");
    refuses("SELECT name, :sid, 3 FROM pragma_table_list", "PRAGMA table_list");
    refuses("UPDATE sqlite_master SET sql = :sid RETURNING 1, 2, 3", "may not be modified");
    refuses("BEGIN IMMEDIATE", "a transaction: BEGIN");
    refuses("CREATE TABLE mine (a)", "writing to sqlite_master");
    refuses("SELECT load_extension(:sid), 2, 3", "the function load_extension");
    refuses("SELECT fts3_tokenizer(:sid), 2, 3", "the function fts3_tokenizer");
    open_with("SELECT user_id, csrf, data FROM login WHERE token = :sid");
    assert_int_equal(look(), DW_OK);
    assert_true(w.session.found); /* nothing has happened to it */
}

/* SQLite compiles a query again when a table has changed, long after the first check. */
static void a_query_can_only_read_after_the_schema_has_changed_too(void **unused)
{
    (void)unused;
    do_sql("CREATE VIEW v AS SELECT user_id AS u FROM login WHERE token = 's1'");
    open_with("SELECT u, 2, 3 FROM v WHERE :sid = 's1'");
    assert_int_equal(look(), DW_OK);
    assert_true(w.session.found);
    do_sql("DROP VIEW v; CREATE VIEW v AS SELECT user_version AS u FROM pragma_user_version");
    assert_int_equal(look(), DW_CONF);
    assert_non_null(strstr(w.err.text, "may only read, and PRAGMA user_version is refused"));
    assert_false(w.session.found);
    do_sql("DROP VIEW v; CREATE VIEW v AS SELECT 8 AS u");
    assert_int_equal(look(), DW_OK);
    assert_string_equal(dw_buf_str(&w.session.uid), "8");
}

/* The guard is for that query alone: everything else on the connection writes as before. */
static void the_store_still_writes(void **unused)
{
    int64_t id = 0;

    (void)unused;
    open_with("DELETE FROM login WHERE token = :sid RETURNING 1, 2, 3");
    assert_int_equal(look(), DW_CONF);
    assert_int_equal(dw_store_push(w.store, &(struct dw_push){.uid = "a", .event = "t/e", .format = "json"}, &id, NULL),
                     DW_OK);
    assert_int_equal(id, 1);
}

static void there_is_one_statement(void **unused)
{
    (void)unused;
    refuses("SELECT 1, 2, 3 WHERE :sid = 's1'; SELECT 4", "one statement");
    refuses("SELECT 1, 2, 3 WHERE :sid = 's1'; DROP TABLE login", "one statement");
    refuses("SELECT 1, 2, 3 WHERE :sid = 's1'; nonsense", "one statement");
    refuses("", "one SELECT of three or four columns");
    refuses("-- nothing", "one SELECT of three or four columns");
    refuses("SELECT 1, :sid", "one SELECT of three or four columns");
    refuses("SELECT 1, 2, 3, 4, :sid", "one SELECT of three or four columns");
    refuses("EXPLAIN QUERY PLAN SELECT 1, 2, :sid", "one SELECT of three or four columns");
    refuses("SELECT user_id, 2, 3 FROM logins WHERE token = :sid", "no such table: logins");
}

static void there_are_two_parameters(void **unused)
{
    (void)unused;
    refuses("SELECT 1, 2, 3 WHERE :sid = :user", "the parameter :user: there are only :sid and :now_ms");
    refuses("SELECT 1, 2, 3 WHERE :sid = ?", "the parameter ?: there are");
    refuses("SELECT 1, 2, 3 WHERE :sid = ?3", "the parameter ?");
    refuses("SELECT 1, 2, 3 WHERE @sid = 's1'", "the parameter @sid");
    refuses("SELECT 1, 2, 3 WHERE ':sid' = 's1'", "does not use :sid (without quotes)");
}

static void a_query_that_takes_too_long_is_stopped(void **unused)
{
    int64_t begin = dw_clock_mono_ms();

    (void)unused;
    open_with(FOR_EVER "SELECT count(*), :sid, 3 FROM n");
    assert_int_equal(look(), DW_TIMEOUT);
    assert_true(dw_clock_mono_ms() - begin >= 250);
    assert_true(dw_clock_mono_ms() - begin < 5000);
    assert_non_null(strstr(w.err.text, "auth.session_sql took longer than auth.session_ms (250 ms)"));
    assert_false(w.session.found);
    /* and the connection goes on */
    assert_int_equal(
        dw_store_push(w.store, &(struct dw_push){.uid = "a", .event = "t/e", .format = "json"}, NULL, NULL), DW_OK);
    assert_int_equal(look(), DW_TIMEOUT);
}

static void values_have_bounds(void **unused)
{
    (void)unused;
    open_with("SELECT substr(replace(hex(zeroblob(200)), '0', 'u'), 1, 255), 2, 3 WHERE :sid = 's1'");
    assert_int_equal(look(), DW_OK);
    assert_int_equal(w.session.uid.len, 255);
    refuses("SELECT substr(replace(hex(zeroblob(200)), '0', 'u'), 1, 256), 2, 3 WHERE :sid = 's1'",
            "the uid has 256 bytes, at most 255");
    refuses("SELECT 1, hex(zeroblob(600)), 3 WHERE :sid = 's1'", "the csrf_token has 1200 bytes, at most 1024");
    refuses("SELECT 1, 2, json_quote(hex(zeroblob(40000))) WHERE :sid = 's1'", "the handshake_data has 80002 bytes");
    refuses("SELECT 'alice' || char(0) || 'x', 2, 3 WHERE :sid = 's1'", "the uid has a NUL character");
    refuses("SELECT zeroblob(1000000000), 2, 3 WHERE :sid = 's1'", "too big");
}

static void the_fourth_column_says_when_it_ends(void **unused)
{
    (void)unused;
    open_with("SELECT user_id, csrf, data, ends FROM login WHERE token = :sid");
    assert_int_equal(look(), DW_OK);
    assert_true(w.session.found);
    do_sql("UPDATE login SET ends = 4000000000001");
    assert_int_equal(look(), DW_OK);
    assert_true(w.session.found);
    assert_int_equal(w.session.expires_at, NOW + 1);
    do_sql("UPDATE login SET ends = 4000000000000");
    assert_int_equal(look(), DW_OK);
    assert_false(w.session.found);
    assert_false(w.session.has_uid);
    do_sql("UPDATE login SET ends = 4000000000");
    assert_int_equal(look(), DW_CONF);
    assert_non_null(strstr(w.err.text, "looks like seconds"));
    do_sql("UPDATE login SET ends = 'tomorrow'");
    assert_int_equal(look(), DW_CONF);
    assert_non_null(strstr(w.err.text, "expires_at must be Unix time in milliseconds (a number), or NULL"));
}

static void who_is_found_by_three_columns_is_to_be_looked_up_again(void **unused)
{
    (void)unused;
    open_with("SELECT user_id, csrf, data FROM login WHERE token = :sid");
    assert_int_equal(look(), DW_OK);
    assert_true(w.session.found);
    assert_int_equal(w.session.expires_at, NOW + DW_SESSION_UNTOLD_MS);
}

static uint32_t session_version(void)
{
    uint32_t version;

    assert_int_equal(dw_store_version(w.store, &version, NULL), DW_OK);
    return dw_store_session_version(w.store);
}

static void the_default_table_says_what_has_changed(void **unused)
{
    uint32_t before;

    (void)unused;
    do_sql("INSERT INTO dw_session (sid, uid) VALUES ('s1', 'alice'), ('s2', 'bob')");
    before = session_version();
    do_sql("INSERT INTO login VALUES ('s2', 8, 'c', NULL, NULL)");
    do_sql("INSERT INTO dw_session (sid, uid) VALUES ('s3', 'carol')");
    do_sql("UPDATE dw_session SET csrf_token = 'x', handshake_data = '1'");
    do_sql("INSERT OR IGNORE INTO dw_session (sid, uid) VALUES ('s3', 'carol')");
    assert_int_equal(session_version(), before);
    do_sql("DELETE FROM dw_session WHERE sid = 's2'");
    assert_int_not_equal(session_version(), before);
    before = session_version();
    do_sql("INSERT OR REPLACE INTO dw_session (sid, uid) VALUES ('s3', 'dave')");
    assert_int_not_equal(session_version(), before);
    before = session_version();
    do_sql("UPDATE dw_session SET sid = 's4' WHERE sid = 's3'");
    assert_int_not_equal(session_version(), before);
    before = session_version();
    do_sql("UPDATE dw_session SET expires_at = 4000000000000 WHERE sid = 's4'");
    assert_int_not_equal(session_version(), before);
    before = session_version();
    do_sql("UPDATE dw_session SET expires_at = 5000000000000 WHERE sid = 's4'");
    assert_int_equal(session_version(), before);
}

static void with_another_query_each_commit_may_have_changed_it(void **unused)
{
    uint32_t before;

    (void)unused;
    open_with("SELECT user_id, csrf, data FROM login WHERE token = :sid");
    before = session_version();
    assert_int_equal(session_version(), before);
    do_sql("DELETE FROM login");
    assert_int_not_equal(session_version(), before);
}

#define WITH_FILE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FILE(an_apps_own_table_gives_sessions),
        WITH_FILE(a_query_can_only_read),
        WITH_FILE(a_query_can_only_read_after_the_schema_has_changed_too),
        WITH_FILE(the_store_still_writes),
        WITH_FILE(there_is_one_statement),
        WITH_FILE(there_are_two_parameters),
        WITH_FILE(a_query_that_takes_too_long_is_stopped),
        WITH_FILE(values_have_bounds),
        WITH_FILE(the_fourth_column_says_when_it_ends),
        WITH_FILE(who_is_found_by_three_columns_is_to_be_looked_up_again),
        WITH_FILE(the_default_table_says_what_has_changed),
        WITH_FILE(with_another_query_each_commit_may_have_changed_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
