/* Settings: defaults, the three sources and their order, refusals. */
#include "base/conf.h"

#include "tests/unit/tap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char file[] = "/tmp/dw-conf-XXXXXX";

static void write_file(const char *text)
{
    int fd;

    strcpy(file + strlen(file) - 6, "XXXXXX");
    fd = mkstemp(file);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    (void)close(fd);
}

static void the_defaults_are_sentes(void **unused)
{
    struct dw_conf conf;

    (void)unused;
    assert_int_equal(dw_conf_init(&conf, NULL), DW_OK);
    assert_int_equal(conf.chsk_lp_timeout_ms, 20000);
    assert_int_equal(conf.chsk_close_grace_ajax_ms, 5000);
    assert_string_equal(conf.chsk_packer, "edn");
    assert_string_equal(conf.auth_csrf, "on");
    assert_string_equal(conf.auth_uid, "session");
    assert_string_equal(conf.auth_session_sql, DW_SESSION_SQL);
    dw_conf_fini(&conf);
}

static void numbers_and_words_are_checked(void **unused)
{
    static const struct {
        const char *section, *key, *value;
    } bad[] = {
        {"chsk", "lp_timeout_ms", "soon"},
        {"chsk", "lp_timeout_ms", "20000ms"},
        {"chsk", "lp_timeout_ms", ""},
        {"chsk", "lp_timeout_ms", "-1"},
        {"limits", "batch", "512"},
        {"auth", "csrf", "maybe"},
        {"auth", "csrf", "on|off"},
        {"auth", "uid", ""},
        {"chsk", "nonsense", "1"},
        {"nonsense", "packer", "edn"},
        {"limits", "parked", "99999999999999999999"},
    };
    struct dw_conf conf;
    struct dw_err err;
    size_t i;

    (void)unused;
    assert_int_equal(dw_conf_init(&conf, NULL), DW_OK);
    for (i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        err.text[0] = '\0';
        assert_int_equal(dw_conf_set(&conf, bad[i].section, bad[i].key, bad[i].value, &err), DW_CONF);
        assert_non_null(strstr(err.text, bad[i].section));
        assert_non_null(strstr(err.text, bad[i].key));
    }
    assert_int_equal(conf.chsk_lp_timeout_ms, 20000);
    assert_int_equal(dw_conf_set(&conf, "auth", "uid", "client_id", NULL), DW_OK);
    assert_string_equal(conf.auth_uid, "client_id");
    dw_conf_fini(&conf);
}

static void a_file_sets_and_its_mistakes_are_named_with_their_line(void **unused)
{
    struct dw_conf conf;
    struct dw_err err = {0};

    (void)unused;
    write_file("# a comment\n[chsk]\nlp_timeout_ms = 5000\npacker=json\n[auth]\ncsrf = off\n");
    assert_int_equal(dw_conf_init(&conf, NULL), DW_OK);
    assert_int_equal(dw_conf_read(&conf, file, &err), DW_OK);
    assert_int_equal(conf.chsk_lp_timeout_ms, 5000);
    assert_string_equal(conf.chsk_packer, "json");
    assert_string_equal(conf.auth_csrf, "off");
    assert_string_equal(conf.file, file);
    (void)unlink(file);
    write_file("[chsk]\nlp_timeout_ms = 5000\nlp_timeout = 1\n");
    assert_int_equal(dw_conf_read(&conf, file, &err), DW_CONF);
    assert_non_null(strstr(err.text, "line 3"));
    assert_non_null(strstr(err.text, "chsk.lp_timeout"));
    (void)unlink(file);
    assert_int_equal(dw_conf_read(&conf, file, &err), DW_NOTFOUND);
    dw_conf_fini(&conf);
}

static void the_environment_sets_and_a_misspelt_name_is_an_error(void **unused)
{
    char one[] = "DUMBWAITER_CHSK_LP_TIMEOUT_MS=700", other[] = "PATH=/bin", header[] = "HTTP_DUMBWAITER_AUTH_CSRF=off";
    char wrong[] = "DUMBWAITER_CHSK_LP_TIMEOUT=1", db[] = "DUMBWAITER_DB=/x/y.db", conf_name[] = "DUMBWAITER_CONF=/x";
    char *const good[] = {one, other, header, db, conf_name, NULL}, *const bad[] = {wrong, NULL};
    struct dw_conf conf;
    struct dw_err err = {0};

    (void)unused;
    assert_int_equal(dw_conf_init(&conf, NULL), DW_OK);
    assert_int_equal(dw_conf_env(&conf, good, &err), DW_OK);
    assert_int_equal(conf.chsk_lp_timeout_ms, 700);
    assert_string_equal(conf.auth_csrf, "on");
    assert_int_equal(dw_conf_env(&conf, bad, &err), DW_CONF);
    assert_non_null(strstr(err.text, "DUMBWAITER_CHSK_LP_TIMEOUT "));
    dw_conf_fini(&conf);
}

static void the_command_line_beats_the_environment_and_that_the_file(void **unused)
{
    char timeout[] = "DUMBWAITER_CHSK_LP_TIMEOUT_MS=700", db[] = "DUMBWAITER_DB=/env.db";
    char *const env[] = {timeout, db, NULL};
    struct dw_conf conf;

    (void)unused;
    write_file("[store]\npath = /file.db\n[chsk]\nlp_timeout_ms = 5000\nclose_grace_ajax_ms = 1\n");
    assert_int_equal(dw_conf_load(&conf, file, "/line.db", env, NULL), DW_OK);
    assert_string_equal(conf.store_path, "/line.db");
    assert_int_equal(conf.chsk_lp_timeout_ms, 700);
    assert_int_equal(conf.chsk_close_grace_ajax_ms, 1);
    dw_conf_fini(&conf);
    assert_int_equal(dw_conf_load(&conf, file, NULL, env, NULL), DW_OK);
    assert_string_equal(conf.store_path, "/env.db");
    dw_conf_fini(&conf);
    assert_int_equal(dw_conf_load(&conf, file, NULL, NULL, NULL), DW_OK);
    assert_string_equal(conf.store_path, "/file.db");
    dw_conf_fini(&conf);
    (void)unlink(file);
}

static void without_a_path_the_queue_is_beside_the_program_and_paths_become_absolute(void **unused)
{
    struct dw_conf conf;

    (void)unused;
    assert_int_equal(dw_conf_load(&conf, "/dev/null", NULL, NULL, NULL), DW_OK);
    assert_int_equal(conf.store_path[0], '/');
    assert_string_equal(strrchr(conf.store_path, '/'), "/dumbwaiter.db");
    dw_conf_fini(&conf);
    assert_int_equal(dw_conf_load(&conf, "/dev/null", "q.db", NULL, NULL), DW_OK);
    assert_int_equal(conf.store_path[0], '/');
    assert_string_equal(strrchr(conf.store_path, '/'), "/q.db");
    dw_conf_fini(&conf);
}

static void a_file_that_was_named_must_exist(void **unused)
{
    struct dw_conf conf;

    (void)unused;
    assert_int_equal(dw_conf_load(&conf, "/nowhere/dumbwaiter.conf", NULL, NULL, NULL), DW_NOTFOUND);
}

static void count_settings(void *context, const char *name, const char *value)
{
    int *count = context;

    assert_non_null(strchr(name, '.'));
    assert_non_null(value);
    ++*count;
}

static void all_settings_can_be_listed(void **unused)
{
    struct dw_conf conf;
    int count = 0;

    (void)unused;
    assert_int_equal(dw_conf_init(&conf, NULL), DW_OK);
    dw_conf_each(&conf, count_settings, &count);
#define DW_COUNT(kind, member, section, key, fallback, low, high) -1
    assert_int_equal(count DW_SETTINGS(DW_COUNT), 0);
#undef DW_COUNT
    dw_conf_fini(&conf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_defaults_are_sentes),
        cmocka_unit_test(numbers_and_words_are_checked),
        cmocka_unit_test(a_file_sets_and_its_mistakes_are_named_with_their_line),
        cmocka_unit_test(the_environment_sets_and_a_misspelt_name_is_an_error),
        cmocka_unit_test(the_command_line_beats_the_environment_and_that_the_file),
        cmocka_unit_test(without_a_path_the_queue_is_beside_the_program_and_paths_become_absolute),
        cmocka_unit_test(a_file_that_was_named_must_exist),
        cmocka_unit_test(all_settings_can_be_listed),
    };

    return cmocka_run_group_tests_name("conf", tests, NULL, NULL);
}
