/* Identities out of signed tokens: what a request's token makes of it, the file of the keys, and that nobody
 * comes in by an allocation that fails. */
#include "hub/identity_token.h"
#include "hub/keyfile.h"

#include "base/clock.h"
#include "tests/unit/failing.h"
#include "tests/unit/tap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char key_text[] = "a-key-of-more-than-thirty-two-bytes\n";

struct desk {
    char folder[64], path[96];
    struct dw_conf conf;
    struct dw_keyfile file;
    struct dw_arena *arena;
    struct dw_buf token; /* alice's, with data, csrf "c" */
    int64_t expires_at;
};

static void put(const char *path, const char *text)
{
    FILE *out = fopen(path, "w");

    assert_non_null(out);
    assert_true(fputs(text, out) >= 0);
    assert_int_equal(fclose(out), 0);
}

static void make_token(struct desk *desk)
{
    static const char data[] = "{\"theme\":\"dark\"}";
    struct dw_token token = {.uid = "alice", .csrf = "c"};
    struct dw_token_keys keys;

    desk->expires_at = (dw_clock_wall_ms() / 1000 + 600) * 1000;
    token.expires_at = desk->expires_at;
    assert_int_equal(dw_packer_json.read(data, strlen(data), NULL, desk->arena, &token.data, NULL, NULL), DW_OK);
    assert_int_equal(dw_token_keys_read(key_text, strlen(key_text), &keys, NULL), DW_OK);
    assert_int_equal(dw_token_write(&keys, &token, &desk->token, NULL), DW_OK);
}

static int set_up(void **state)
{
    struct desk *desk = calloc(1, sizeof *desk);

    assert_non_null(desk);
    (void)snprintf(desk->folder, sizeof desk->folder, "/tmp/dw-token-XXXXXX");
    assert_non_null(mkdtemp(desk->folder));
    (void)snprintf(desk->path, sizeof desk->path, "%s/token.key", desk->folder);
    put(desk->path, key_text);
    assert_int_equal(dw_conf_init(&desk->conf, NULL), DW_OK);
    assert_int_equal(dw_conf_set(&desk->conf, "auth", "uid", "token", NULL), DW_OK);
    assert_int_equal(dw_conf_set(&desk->conf, "auth", "token_key_file", desk->path, NULL), DW_OK);
    desk->arena = dw_arena_new(0);
    assert_non_null(desk->arena);
    make_token(desk);
    *state = desk;
    return 0;
}

static int tear_down(void **state)
{
    struct desk *desk = *state;

    dw_keyfile_fini(&desk->file);
    dw_conf_fini(&desk->conf);
    dw_arena_free(desk->arena);
    dw_buf_fini(&desk->token);
    (void)unlink(desk->path);
    (void)rmdir(desk->folder);
    free(desk);
    return 0;
}

/* The identity of a request with these tokens, NULL: none; to be ended by dw_identity_fini. */
static int ask(struct desk *desk, const char *param, const char *cookie, struct dw_identity *identity)
{
    char query[4200] = "client-id=1", header[4200] = "a=b";
    struct dw_request request = {.cookie = header};
    struct dw_params params;
    int rc;

    if (param != NULL)
        (void)snprintf(query, sizeof query, "client-id=1&token=%s", param);
    if (cookie != NULL)
        (void)snprintf(header, sizeof header, "a=b; dw_token=%s", cookie);
    dw_params_init(&params);
    rc = dw_params_add(&params, query, strlen(query), NULL);
    if (rc == DW_OK)
        rc = dw_identity_from_token(&desk->conf, &desk->file, &request, &params, desk->arena, identity, NULL);
    dw_params_fini(&params);
    return rc;
}

static void assert_alice(struct desk *desk, const char *param, const char *cookie, bool is_meant)
{
    struct dw_identity identity;

    assert_int_equal(ask(desk, param, cookie, &identity), DW_OK);
    assert_string_equal(identity.uid, "alice");
    assert_string_equal(identity.data, "{\"theme\":\"dark\"}");
    assert_string_equal(dw_buf_str(&identity.session.csrf_token), "c");
    assert_int_equal(identity.expires_at, desk->expires_at);
    assert_int_equal(identity.is_meant, is_meant);
    dw_identity_fini(&identity);
}

static void assert_nobody(struct desk *desk, const char *param, const char *cookie)
{
    struct dw_identity identity;

    assert_int_equal(ask(desk, param, cookie, &identity), DW_OK);
    assert_true(identity.uid == NULL && identity.data == NULL && !identity.session.found && !identity.is_meant);
    assert_int_equal(identity.expires_at, 0);
    dw_identity_fini(&identity);
}

static void a_token_tells_who_and_until_when(void **state)
{
    struct desk *desk = *state;
    const char *token = dw_buf_str(&desk->token);

    assert_alice(desk, token, NULL, true);
    assert_alice(desk, NULL, token, false);
    assert_alice(desk, token, "x", true);
    assert_alice(desk, "", token, false);
    assert_nobody(desk, NULL, NULL);
    assert_nobody(desk, "", NULL);
    assert_nobody(desk, token + 1, NULL);
    assert_nobody(desk, token + 1, token);
    assert_nobody(desk, NULL, token + 1);
}

static void a_key_file_that_changes_in_its_place_is_read_again(void **state)
{
    struct desk *desk = *state;
    const char *token = dw_buf_str(&desk->token);
    struct dw_identity identity;

    assert_alice(desk, token, NULL, true);
    put(desk->path, "another-key-of-more-than-thirty-two-bytes");
    assert_nobody(desk, token, NULL);
    put(desk->path, "another-key-of-more-than-thirty-two-bytes\na-key-of-more-than-thirty-two-bytes");
    assert_alice(desk, token, NULL, true);
    put(desk->path, "");
    assert_int_equal(ask(desk, token, NULL, &identity), DW_CONF);
    dw_identity_fini(&identity);
    assert_int_equal(desk->file.keys.count, 0);
    assert_int_equal(unlink(desk->path), 0);
    assert_int_equal(ask(desk, token, NULL, &identity), DW_NOTFOUND);
    dw_identity_fini(&identity);
    assert_nobody(desk, NULL, NULL); /* the file is not looked at */
    put(desk->path, key_text);
    assert_alice(desk, token, NULL, true);
}

static void what_is_no_key_file_is_not_read(void **state)
{
    struct desk *desk = *state;
    struct dw_token_keys keys;
    char large[5000];

    memset(large, '\n', sizeof large);
    large[sizeof large - 1] = '\0';
    put(desk->path, large);
    assert_int_equal(dw_keyfile_read(desk->path, &keys, NULL), DW_CONF);
    assert_int_equal(dw_keyfile_read(desk->folder, &keys, NULL), DW_CONF);
    assert_int_equal(dw_keyfile_read("/dev/zero", &keys, NULL), DW_CONF);
    assert_int_equal(unlink(desk->path), 0);
    assert_int_equal(mkfifo(desk->path, 0600), 0);
    assert_int_equal(dw_keyfile_read(desk->path, &keys, NULL), DW_CONF);
    assert_int_equal(keys.count, 0);
}

/* Whichever allocation fails: an error, or alice with all that is hers. */
static void a_failing_allocation_lets_nobody_in(void **state)
{
    struct desk *desk = *state;
    struct dw_identity identity;
    long nth = 0;
    int rc;

    do {
        dw_keyfile_fini(&desk->file);
        dw_arena_free(desk->arena);
        desk->arena = dw_arena_new(0);
        assert_non_null(desk->arena);
        memset(&identity, 0, sizeof identity);
        calls = 0;
        failing_call = nth++;
        rc = ask(desk, dw_buf_str(&desk->token), NULL, &identity);
        failing_call = -1;
        assert_true(rc == DW_OK || rc == DW_NOMEM);
        dw_identity_fini(&identity);
    } while (rc != DW_OK);
    print_message("# %ld allocations were made to fail\n", nth - 1);
    assert_true(nth > 5);
    assert_alice(desk, dw_buf_str(&desk->token), NULL, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_token_tells_who_and_until_when, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_key_file_that_changes_in_its_place_is_read_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_no_key_file_is_not_read, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_failing_allocation_lets_nobody_in, set_up, tear_down),
    };

    return cmocka_run_group_tests_name("identity by token", tests, NULL, NULL);
}
