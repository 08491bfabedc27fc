/* dumbwaiter token: makes a signed token, or says what one is worth. */
#include "chsk/token.h"
#include "base/clock.h"
#include "chsk/json.h"
#include "cli/cli.h"
#include "cli/output.h"
#include "hub/keyfile.h"

#include <string.h>

#define TTL_MAX INT64_C(3155760000) /* a hundred years, in seconds: far from the end of what a token can say */

static const char help[] =
    "Usage: dumbwaiter token --uid UID --ttl SECONDS [--data JSON] [--csrf TOKEN]\n"
    "       dumbwaiter token --check < FILE\n"
    "\n"
    "Prints a signed token for a user, with which a browser comes in where auth.uid is token.  The key file\n"
    "(auth.token_key_file, else token.key in the queue's state folder) is made where it is missing.\n"
    "\n"
    "  --uid UID      who it is for\n"
    "  --ttl SECONDS  how long it is good for\n"
    "  --data JSON    handshake data\n"
    "  --csrf TOKEN   the CSRF token that a request must carry too if the token comes in a cookie\n"
    "  --check        read a token from standard input, and print what it says, or what is wrong with it\n"
    "\n"
    "Example: dumbwaiter token --uid alice --ttl 3600\n"
    "Exit status 3: the token is worth nothing, or can't be made; the message says why.\n";

struct options {
    const char *uid, *ttl, *data, *csrf;
    bool check;
};

/* The keys, after the file was made if it may be. */
static int load_keys(struct dw_cli *cli, bool make, struct dw_token_keys *keys)
{
    struct dw_buf path = DW_BUF_INIT;
    struct dw_err err = {.code = 0};
    int status = dw_cli_load(cli);
    int rc;

    if (status == DW_EXIT_GO_ON)
        status = dw_cli_leave_root(cli);
    if (status != DW_EXIT_GO_ON)
        return status;
    rc = dw_keyfile_path(&cli->conf, &path, &err);
    if (rc == DW_OK && make)
        rc = dw_keyfile_make(&cli->conf, dw_buf_str(&path), &err);
    if (rc == DW_OK)
        rc = dw_keyfile_read(dw_buf_str(&path), keys, &err);
    dw_buf_fini(&path);
    return rc == DW_OK ? DW_EXIT_GO_ON : dw_cli_fail(cli, &err, rc);
}

/* ---- making one ---- */

static int read_data(const char *json, struct dw_arena *arena, const struct dw_value **data, struct dw_err *err)
{
    struct dw_err why = {.code = 0};
    int rc = dw_json_read_unique(json, strlen(json), NULL, arena, data, &why);

    return rc == DW_OK ? DW_OK : dw_err_set(err, rc, "--data is not valid JSON: %s", dw_err_say(&why, rc));
}

static int make(struct dw_cli *cli, const struct options *options, int64_t ttl, struct dw_arena *arena)
{
    struct dw_token token = {.uid = options->uid, .csrf = options->csrf};
    struct dw_token_keys keys;
    struct dw_buf out = DW_BUF_INIT;
    struct dw_err err = {.code = 0};
    int rc = DW_OK;
    int status = load_keys(cli, true, &keys);

    if (status != DW_EXIT_GO_ON)
        return status;
    token.expires_at = dw_clock_wall_ms() + ttl * 1000;
    if (options->data != NULL)
        rc = read_data(options->data, arena, &token.data, &err);
    if (rc == DW_OK)
        rc = dw_token_write(&keys, &token, &out, &err);
    dw_token_keys_wipe(&keys);
    dw_buf_addc(&out, '\n');
    status = rc == DW_OK ? dw_output(cli, &out) : dw_cli_fail(cli, &err, rc);
    dw_buf_fini(&out);
    return status;
}

/* ---- looking at one ---- */

static void add_text(struct dw_buf *out, const char *name, const char *text)
{
    dw_buf_addf(out, "%-8s  ", name);
    dw_output_plain(out, text, strlen(text));
    dw_buf_addc(out, '\n');
}

static int add_claims(struct dw_buf *out, const struct dw_token *token, struct dw_err *err)
{
    struct dw_buf json = DW_BUF_INIT;
    int rc = DW_OK;

    add_text(out, "uid", token->uid);
    dw_buf_adds(out, "expires   ");
    dw_output_time(out, token->expires_at);
    dw_buf_addc(out, '\n');
    if (token->csrf != NULL)
        add_text(out, "csrf", token->csrf);
    if (token->data != NULL) {
        rc = dw_json_write(token->data, &json, err);
        if (dw_buf_failed(&json))
            rc = DW_NOMEM;
        add_text(out, "data", dw_buf_str(&json));
    }
    dw_buf_fini(&json);
    return rc;
}

static int check(struct dw_cli *cli, struct dw_arena *arena)
{
    struct dw_token token;
    struct dw_token_keys keys;
    struct dw_buf text = DW_BUF_INIT;
    struct dw_buf out = DW_BUF_INIT;
    struct dw_err err = {.code = 0};
    struct dw_err why = {.code = 0};
    int rc;
    int status = load_keys(cli, false, &keys);

    if (status == DW_EXIT_GO_ON)
        status = dw_cli_data(cli, "-", &text);
    if (status == DW_EXIT_GO_ON) {
        while (text.len > 0 && strchr(" \t\r\n", text.data[text.len - 1]) != NULL)
            text.len--;
        rc = dw_token_read(&keys, dw_buf_str(&text), text.len, dw_clock_wall_ms(), arena, &token, &why);
        if (rc == DW_INVALID || rc == DW_DENIED)
            rc = dw_err_set(&err, DW_INVALID, "the token is not taken: %s", why.text);
        if (rc == DW_OK)
            rc = add_claims(&out, &token, &err);
        status = rc == DW_OK ? dw_output(cli, &out) : dw_cli_fail(cli, &err, rc);
    }
    dw_token_keys_wipe(&keys);
    dw_buf_fini(&text);
    dw_buf_fini(&out);
    return status;
}

/* ---- the command ---- */

static int run(struct dw_cli *cli, int argc, char *const *argv)
{
    struct options chosen = {.uid = NULL};
    const struct dw_option options[] = {{"uid", &chosen.uid, NULL},     {"ttl", &chosen.ttl, NULL},
                                        {"data", &chosen.data, NULL},   {"csrf", &chosen.csrf, NULL},
                                        {"check", NULL, &chosen.check}, {NULL, NULL, NULL}};
    struct dw_arena *arena;
    int64_t ttl = 0;
    int status = dw_cli_begin(cli, options, 0, 0, argc, argv);

    if (status != DW_EXIT_GO_ON)
        return status;
    if (chosen.check && (chosen.uid != NULL || chosen.ttl != NULL || chosen.data != NULL || chosen.csrf != NULL))
        return dw_cli_usage(cli, "--check takes no other option");
    if (!chosen.check && (chosen.uid == NULL || chosen.ttl == NULL))
        return dw_cli_usage(cli, "--uid and --ttl are needed, or --check");
    if (!chosen.check)
        status = dw_cli_number(cli, "--ttl", chosen.ttl, 1, &ttl);
    if (status != DW_EXIT_GO_ON)
        return status;
    if (ttl > TTL_MAX)
        return dw_cli_usage(cli, "--ttl is in seconds: more than a hundred years are not taken");
    arena = dw_arena_new(0);
    if (arena == NULL)
        return dw_cli_fail(cli, NULL, DW_NOMEM);
    status = chosen.check ? check(cli, arena) : make(cli, &chosen, ttl, arena);
    dw_arena_free(arena);
    return status;
}

const struct dw_command dw_command_token = {"token", "make a signed token for a user, or look at one", help, run};
