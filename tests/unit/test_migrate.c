/* Migrations of the queue and state files: rows survive an upgrade, a failed one leaves everything as it was,
 * and files of a newer program are left alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/conf.h"
#include "store/migrate.h"
#include "store/store.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define V2 "ALTER TABLE dw_push ADD COLUMN ttl_ms INTEGER; CREATE TABLE dw_topic (name TEXT PRIMARY KEY);"

struct file {
    char folder[64], path[96];
};

static int set_up(void **state)
{
    struct file *f = calloc(1, sizeof *f);

    if (f == NULL)
        return -1;
    (void)snprintf(f->folder, sizeof f->folder, "/tmp/dw-migrate-XXXXXX");
    if (mkdtemp(f->folder) == NULL)
        return -1;
    (void)snprintf(f->path, sizeof f->path, "%s/queue.db", f->folder);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    static const char *const names[] = {
        "",           "-wal",     "-shm",         "-journal", "-dw/state.db", "-dw/state.db-wal", "-dw/state.db-shm",
        "-dw/claims", "-dw/lock", "-dw/.htaccess"};
    struct file *f = *state;
    char path[160];

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        (void)snprintf(path, sizeof path, "%s%s", f->path, names[i]);
        (void)unlink(path);
    }
    (void)snprintf(path, sizeof path, "%s-dw", f->path);
    (void)rmdir(path);
    (void)rmdir(f->folder);
    free(f);
    return 0;
}

/* ---- the file as an app sees it ---- */

static int add_row(void *context, int columns, char **values, char **names)
{
    (void)names;
    for (int i = 0; i < columns; i++)
        dw_buf_addf(context, "%s%s", i > 0 ? "," : "", values[i] != NULL ? values[i] : "NULL");
    dw_buf_addc(context, ';');
    return 0;
}

/* All rows, as "a,b;c,d;", to be freed. */
static char *sql(const struct file *f, const char *text)
{
    struct dw_buf out = DW_BUF_INIT;
    char *failed = NULL;
    sqlite3 *db;

    assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
    (void)sqlite3_busy_timeout(db, 10000);
    if (sqlite3_exec(db, text, add_row, &out, &failed) != SQLITE_OK)
        fail_msg("%s: %s", text, failed);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    dw_buf_adds(&out, "");
    return out.data != NULL ? out.data : strdup("");
}

static void do_sql(const struct file *f, const char *text)
{
    free(sql(f, text));
}

static void expect_sql(const struct file *f, const char *text, const char *expected)
{
    char *found = sql(f, text);

    assert_string_equal(found, expected);
    free(found);
}

/* ---- migrations: the real ones, and one more ---- */

static int migrate(const struct file *f, const char *second, struct dw_err *err)
{
    struct dw_migration list[8];
    size_t count = dw_sql_queue_count;

    assert_true(count + 1 < sizeof list / sizeof list[0]);
    memcpy(list, dw_sql_queue, count * sizeof *list);
    if (second != NULL) {
        list[count].version = list[count - 1].version + 1;
        list[count++].sql = second;
    }
    return dw_migrate_file(f->path, DW_SCHEMA_QUEUE, list, count, err);
}

static int open_store(const struct file *f, bool create, struct dw_err *err)
{
    struct dw_store_options options = {
        .path = f->path, .retain_ms = 60000, .busy_ms = 5000, .session_sql = DW_SESSION_SQL, .create = create};
    struct dw_store *store;
    int rc = dw_store_open_sqlite(&options, &store, err);

    dw_store_close(store);
    return rc;
}

static void fill(const struct file *f)
{
    do_sql(f, "INSERT INTO dw_push (uid, event, data) VALUES ('alice', 'a/one', '{\"n\":1}'), ('bob', 'a/two', NULL);"
              "INSERT INTO dw_push (room, event, data, format) VALUES ('lobby', 'a/three', ':x', 'edn');"
              "INSERT INTO dw_inbox (uid, event, data, wants_reply) VALUES ('alice', 'a/ask', '1', 1);"
              "INSERT INTO dw_reply (inbox_id, data) VALUES (1, '\"yes\"');"
              "INSERT INTO dw_session (sid, uid, csrf_token) VALUES ('s1', 'alice', 't1');"
              "INSERT INTO dw_member (room, uid) VALUES ('lobby', 'alice'), ('lobby', 'bob');"
              "INSERT INTO dw_push (room, event) VALUES ('lobby', 'a/four');"
              "DELETE FROM dw_member WHERE uid = 'bob';"
              "INSERT INTO dw_online VALUES ('alice', 0, 1, 5);");
}

static const char everything[] =
    "SELECT id, uid, client_id, room, event, data, format, created_at FROM dw_push;"
    "SELECT * FROM dw_inbox; SELECT * FROM dw_reply; SELECT * FROM dw_session; SELECT * FROM dw_member;"
    "SELECT * FROM dw_member_left; SELECT * FROM dw_online; SELECT cursor FROM dw_now;"
    "SELECT * FROM sqlite_sequence ORDER BY name; SELECT * FROM dw_meta WHERE key <> 'schema_version'";

static void an_upgrade_keeps_every_row(void **state)
{
    struct file *f = *state;
    char version[32];
    char *before;

    assert_int_equal(migrate(f, NULL, NULL), DW_OK);
    fill(f);
    before = sql(f, everything);
    assert_non_null(strstr(before, "a/four"));
    assert_int_equal(migrate(f, V2, NULL), DW_OK);
    expect_sql(f, everything, before);
    (void)snprintf(version, sizeof version, "%zu;%zu;", dw_sql_queue_count + 1, dw_sql_queue_count + 1);
    expect_sql(f, "SELECT value FROM dw_meta WHERE key = 'schema_version'; PRAGMA user_version", version);
    /* and the new columns and old triggers work */
    do_sql(f, "INSERT INTO dw_push (uid, event, ttl_ms) VALUES ('alice', 'a/five', 7)");
    expect_sql(f, "SELECT id, ttl_ms FROM dw_push WHERE event = 'a/five'", "5,7;");
    free(before);
}

/* The files that the first release has made. */
static void a_queue_of_schema_1_is_upgraded_when_it_is_opened(void **state)
{
    struct file *f = *state;
    struct dw_err err = {.code = 0};

    assert_int_equal(dw_migrate_file(f->path, DW_SCHEMA_QUEUE, dw_sql_queue, 1, NULL), DW_OK);
    fill(f);
    assert_int_equal(open_store(f, false, &err), DW_NOTFOUND);
    assert_non_null(strstr(err.text, "has tables of an older Dumbwaiter: run `dumbwaiter init --db"));
    assert_int_equal(open_store(f, true, NULL), DW_OK);
    do_sql(f, "DELETE FROM dw_session");
    expect_sql(f, "SELECT value FROM dw_meta WHERE key = 'session_changes'; SELECT count(*) FROM dw_push", "1;4;");
}

static void an_upgrade_that_fails_half_way_changes_nothing(void **state)
{
    struct file *f = *state;
    struct dw_err err = {.code = 0};
    char version[32];
    char *before;
    char *schema;

    assert_int_equal(migrate(f, NULL, NULL), DW_OK);
    fill(f);
    before = sql(f, everything);
    schema = sql(f, "SELECT sql FROM sqlite_master");
    assert_int_not_equal(migrate(f, V2 "DELETE FROM dw_push; INSERT INTO no_such_table VALUES (1);", &err), DW_OK);
    assert_non_null(strstr(err.text, "no_such_table"));
    expect_sql(f, everything, before);
    expect_sql(f, "SELECT sql FROM sqlite_master", schema);
    (void)snprintf(version, sizeof version, "%zu;", dw_sql_queue_count);
    expect_sql(f, "SELECT value FROM dw_meta WHERE key = 'schema_version'", version);
    assert_int_equal(open_store(f, false, NULL), DW_OK);
    free(before);
    free(schema);
}

static void the_same_migrations_again_do_nothing(void **state)
{
    struct file *f = *state;
    char *before;

    assert_int_equal(migrate(f, V2, NULL), DW_OK);
    before = sql(f, "SELECT * FROM dw_meta; PRAGMA schema_version");
    assert_int_equal(migrate(f, V2, NULL), DW_OK);
    expect_sql(f, "SELECT * FROM dw_meta; PRAGMA schema_version", before);
    free(before);
}

static void a_newer_queue_is_refused_with_a_sentence_and_left_alone(void **state)
{
    struct file *f = *state;
    struct dw_err err = {.code = 0};
    char newer[128];
    char *before;

    (void)snprintf(newer, sizeof newer, "was made by a newer Dumbwaiter (schema %zu, this program knows %zu): use that",
                   dw_sql_queue_count + 1, dw_sql_queue_count);
    assert_int_equal(migrate(f, V2, NULL), DW_OK);
    fill(f);
    before = sql(f, everything);
    for (int create = 0; create < 2; create++) {
        assert_int_equal(open_store(f, create == 1, &err), DW_NEWER);
        assert_non_null(strstr(err.text, newer));
        assert_non_null(strstr(err.text, f->path));
    }
    expect_sql(f, everything, before);
    free(before);
}

static void a_newer_state_file_is_refused_with_a_sentence(void **state)
{
    struct file *f = *state;
    struct dw_err err = {.code = 0};
    struct file there;

    assert_int_equal(open_store(f, true, NULL), DW_OK);
    (void)snprintf(there.path, sizeof there.path, "%.70s-dw/state.db", f->path);
    do_sql(&there, "PRAGMA user_version = 9");
    assert_int_equal(open_store(f, true, &err), DW_NEWER);
    assert_non_null(strstr(err.text, "state.db was made by a newer Dumbwaiter (schema 9, this program knows "));
}

static void a_queue_without_tables_is_refused_unless_it_is_to_be_made(void **state)
{
    struct file *f = *state;
    struct dw_err err = {.code = 0};

    do_sql(f, "CREATE TABLE orders (item)");
    assert_int_equal(open_store(f, false, &err), DW_NOTFOUND);
    assert_non_null(strstr(err.text, "has no Dumbwaiter tables: run `dumbwaiter init --db"));
    assert_int_equal(open_store(f, true, NULL), DW_OK);
    assert_int_equal(open_store(f, false, NULL), DW_OK);
}

static void an_old_queue_learns_to_name_uid_and_client_together(void **state)
{
    struct file *f = *state;

    assert_int_equal(dw_migrate_file(f->path, DW_SCHEMA_QUEUE, dw_sql_queue, 1, NULL), DW_OK);
    do_sql(f, "INSERT INTO dw_push (client_id, event) VALUES ('c1', 'a/one')");
    assert_int_equal(migrate(f, NULL, NULL), DW_OK);
    do_sql(f, "INSERT INTO dw_push (uid, client_id, event) VALUES ('alice', 'c1', 'a/two')");
    expect_sql(f, "SELECT id, uid, client_id FROM dw_push WHERE uid IS NOT NULL", "2,alice,c1;");
}

/* What dw_inbox_load should say, counted. */
static const char counted[] =
    "SELECT owner, count(*), sum(size) FROM (SELECT '*' AS owner, length(CAST(event AS BLOB))"
    " + coalesce(length(CAST(data AS BLOB)), 0) + coalesce(length(raw), 0) AS size, uid, client_id FROM dw_inbox"
    " UNION ALL SELECT CASE WHEN uid IS NULL THEN 'c' || coalesce(client_id, '') ELSE 'u' || uid END,"
    " length(CAST(event AS BLOB)) + coalesce(length(CAST(data AS BLOB)), 0) + coalesce(length(raw), 0), uid, client_id"
    " FROM dw_inbox UNION ALL SELECT 'a', length(CAST(event AS BLOB)) + coalesce(length(CAST(data AS BLOB)), 0)"
    " + coalesce(length(raw), 0), uid, client_id FROM dw_inbox WHERE uid IS NULL) GROUP BY owner ORDER BY owner";

static void expect_load(const struct file *f, const char *change)
{
    char *expected;

    do_sql(f, change);
    expected = sql(f, counted);
    expect_sql(f, "SELECT * FROM dw_inbox_load WHERE rows > 0 ORDER BY owner", expected);
    free(expected);
}

static void the_inbox_load_is_what_is_in_the_inbox(void **state)
{
    struct file *f = *state;

    assert_int_equal(dw_migrate_file(f->path, DW_SCHEMA_QUEUE, dw_sql_queue, 1, NULL), DW_OK);
    do_sql(f, "INSERT INTO dw_inbox (uid, client_id, event, data, raw) VALUES ('alice', 'c1', 'a/b', '\"\xc3\xa4\"', "
              "x'00ff'),"
              " ('alice', 'c2', 'a/b', NULL, NULL), (NULL, 'c3', 'a/b', '1', NULL), (NULL, NULL, 'a/b', '1', NULL)");
    assert_int_equal(migrate(f, NULL, NULL), DW_OK);
    expect_load(f, "SELECT 1");
    expect_load(f, "INSERT INTO dw_inbox (uid, client_id, event, data, raw) VALUES ('bob', 'c1', 'a/b', '12', x'00'),"
                   " (NULL, 'c3', 'a/b', '12', x'00'), ('', NULL, 'a/b', NULL, NULL)");
    expect_load(f, "UPDATE dw_inbox SET data = '12345', uid = 'carol' WHERE id IN (1, 3)");
    expect_load(f, "UPDATE dw_inbox SET uid = NULL WHERE uid = 'bob'; UPDATE dw_inbox SET wants_reply = 1");
    expect_load(f, "INSERT OR REPLACE INTO dw_inbox (id, client_id, event, data) VALUES (2, 'c3', 'a/replaced', '[]')");
    expect_load(f, "INSERT OR IGNORE INTO dw_inbox (uid, event) VALUES ('alice', 'a/b'), (NULL, 'a/b')");
    expect_load(f, "BEGIN; DELETE FROM dw_inbox WHERE id > 2; ROLLBACK");
    expect_load(f, "DELETE FROM dw_inbox WHERE id IN (1, 4, 5)");
    expect_load(f, "DELETE FROM dw_inbox");
    expect_sql(f, "SELECT count(*) <= 2, total(rows), total(bytes) FROM dw_inbox_load", "1,0.0,0.0;");
}

/* An app's trigger fires before ours, and may do away with the row before it has been counted. */
static void what_an_apps_trigger_does_to_its_row_is_counted(void **state)
{
    struct file *f = *state;

    assert_int_equal(migrate(f, NULL, NULL), DW_OK);
    do_sql(f, "CREATE TRIGGER handled AFTER INSERT ON dw_inbox WHEN NEW.event = 'a/handled'"
              " BEGIN DELETE FROM dw_inbox WHERE id = NEW.id; END;"
              "CREATE TRIGGER altered AFTER INSERT ON dw_inbox WHEN NEW.event = 'a/altered'"
              " BEGIN UPDATE dw_inbox SET uid = 'carol', data = '[1,2]' WHERE id = NEW.id; END;"
              "CREATE TRIGGER cleared AFTER INSERT ON dw_inbox WHEN NEW.event = 'a/cleared'"
              " BEGIN DELETE FROM dw_inbox; END");
    expect_load(f, "INSERT INTO dw_inbox (uid, event, data) VALUES ('alice', 'a/handled', '1')");
    expect_load(f, "INSERT INTO dw_inbox (client_id, event, data) VALUES ('c1', 'a/handled', '1')");
    expect_sql(f, "SELECT count(*) <= 2, total(rows), total(bytes) FROM dw_inbox_load", "1,0.0,0.0;");
    expect_load(f, "INSERT INTO dw_inbox (uid, event, data) VALUES ('alice', 'a/stays', '1')");
    expect_load(f, "INSERT INTO dw_inbox (uid, event, data) VALUES ('alice', 'a/handled', '123')");
    expect_load(f, "INSERT INTO dw_inbox (uid, event, data) VALUES ('alice', 'a/handled', '1')");
    expect_load(f,
                "INSERT INTO dw_inbox (uid, event, data) VALUES ('alice', 'a/altered', NULL), (NULL, 'a/altered', '')");
    expect_load(f, "INSERT INTO dw_inbox (uid, event, data) VALUES ('bob', 'a/cleared', '1')");
    expect_sql(f, "SELECT count(*) <= 2, total(rows), total(bytes) FROM dw_inbox_load", "1,0.0,0.0;");
}

static void an_apps_own_user_version_is_never_touched(void **state)
{
    struct file *f = *state;
    char expected[32];

    do_sql(f, "CREATE TABLE orders (item); INSERT INTO orders VALUES ('tea'); PRAGMA user_version = 42");
    (void)snprintf(expected, sizeof expected, "42;tea;%zu;", dw_sql_queue_count + 1);
    assert_int_equal(migrate(f, NULL, NULL), DW_OK);
    assert_int_equal(migrate(f, V2, NULL), DW_OK);
    expect_sql(f,
               "PRAGMA user_version; SELECT item FROM orders; SELECT value FROM dw_meta WHERE key = 'schema_version'",
               expected);
}

/* An app that counts its own schema and starts at 0 must not find ours. */
static void an_app_that_has_not_counted_yet_finds_0(void **state)
{
    struct file *f = *state;

    do_sql(f, "CREATE TABLE orders (item)");
    assert_int_equal(migrate(f, NULL, NULL), DW_OK);
    expect_sql(f, "PRAGMA user_version", "0;");
}

static void *open_it(void *context)
{
    return open_store(context, true, NULL) == DW_OK ? context : NULL;
}

static void programs_that_start_together_make_one_queue(void **state)
{
    struct file *f = *state;
    pthread_t threads[8];
    void *result;

    for (size_t i = 0; i < sizeof threads / sizeof threads[0]; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, open_it, f), 0);
    for (size_t i = 0; i < sizeof threads / sizeof threads[0]; i++) {
        assert_int_equal(pthread_join(threads[i], &result), 0);
        assert_ptr_equal(result, f);
    }
    expect_sql(f, "SELECT count(*) FROM dw_meta WHERE key = 'uuid'", "1;");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_upgrade_keeps_every_row, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_queue_of_schema_1_is_upgraded_when_it_is_opened, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_upgrade_that_fails_half_way_changes_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_same_migrations_again_do_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_newer_queue_is_refused_with_a_sentence_and_left_alone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_newer_state_file_is_refused_with_a_sentence, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_queue_without_tables_is_refused_unless_it_is_to_be_made, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_old_queue_learns_to_name_uid_and_client_together, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_inbox_load_is_what_is_in_the_inbox, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_an_apps_trigger_does_to_its_row_is_counted, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_apps_own_user_version_is_never_touched, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_app_that_has_not_counted_yet_finds_0, set_up, tear_down),
        cmocka_unit_test_setup_teardown(programs_that_start_together_make_one_queue, set_up, tear_down),
    };

    return cmocka_run_group_tests_name("migrate", tests, NULL, NULL);
}
