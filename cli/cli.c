/* What the commands share (see cli.h). */
#include "cli/cli.h"

#include "base/log.h"
#include "base/privileges.h"
#include "hub/hub.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DATA_MAX (1048576 + 1) /* sql/queue-0001.sql refuses more than 1 MiB, and says so */

/* ---- saying what is wrong ---- */

int dw_cli_usage(struct dw_cli *cli, const char *format, ...)
{
    const char *name = cli->command != NULL ? cli->command->name : "";
    const char *space = cli->command != NULL ? " " : "";
    char text[512];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    (void)fprintf(stderr, DW_CLI_PROGRAM "%s%s: %s\nTry `" DW_CLI_PROGRAM "%s%s --help`.\n", space, name, text, space,
                  name);
    return DW_EXIT_USAGE;
}

static int status_of(int rc)
{
    switch (rc) {
    case DW_OK:
        return DW_EXIT_OK;
    case DW_INVALID:
    case DW_LIMIT:
    case DW_QUOTA:
    case DW_CROWDED:
        return DW_EXIT_REFUSED;
    case DW_NOTFOUND:
        return DW_EXIT_NOQUEUE;
    case DW_BUSY:
    case DW_FULL:
        return DW_EXIT_RETRY;
    default:
        return DW_EXIT_FAILED;
    }
}

int dw_cli_fail(struct dw_cli *cli, const struct dw_err *err, int rc)
{
    (void)fprintf(stderr, DW_CLI_PROGRAM ": %s\n", dw_err_say(err, rc));
    if (rc == DW_NOTFOUND && cli->db == NULL && cli->has_conf)
        (void)fputs("If that is not the queue you meant: name it with --db FILE, $DUMBWAITER_DB or store.path in the "
                    "settings.\n",
                    stderr);
    return status_of(rc);
}

/* ---- the command line ---- */

static const struct dw_option *find_option(const struct dw_option *options, const char *name, size_t len)
{
    for (; options != NULL && options->name != NULL; options++)
        if (strlen(options->name) == len && memcmp(options->name, name, len) == 0)
            return options;
    return NULL;
}

int dw_cli_option(struct dw_cli *cli, const struct dw_option *options, int argc, char *const *argv, int *at,
                  bool *found)
{
    const struct dw_option common[] = {{"config", &cli->config, NULL}, {"db", &cli->db, NULL}, {NULL, NULL, NULL}};
    const char *word = argv[*at] + 2; /* behind the dashes */
    size_t len = strcspn(word, "=");
    const struct dw_option *option = find_option(options, word, len);

    if (option == NULL)
        option = find_option(common, word, len);
    *found = option != NULL;
    if (option == NULL)
        return DW_EXIT_GO_ON;
    if (option->flag != NULL) {
        if (word[len] == '=')
            return dw_cli_usage(cli, "--%s takes no value", option->name);
        *option->flag = true;
    } else if (word[len] == '=')
        *option->value = word + len + 1;
    else if (*at + 1 < argc)
        *option->value = argv[++*at];
    else
        return dw_cli_usage(cli, "--%s needs a value", option->name);
    return DW_EXIT_GO_ON;
}

/* "-" is standard input, and "-5" a number. */
static bool is_option(const char *word)
{
    return word[0] == '-' && word[1] != '\0' && strchr("0123456789.", word[1]) == NULL;
}

int dw_cli_parse(struct dw_cli *cli, const struct dw_option *options, int argc, char *const *argv)
{
    bool only_args = false;
    bool found;
    int status;

    cli->count = 0;
    for (int i = 0; i < argc; i++) {
        if (only_args || !is_option(argv[i])) {
            if (cli->count == DW_CLI_ARGS_MAX)
                return dw_cli_usage(cli, "unexpected argument \"%s\"", argv[i]);
            cli->args[cli->count++] = argv[i];
        } else if (strcmp(argv[i], "--") == 0)
            only_args = true;
        else if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            (void)fputs(cli->command->help, stdout);
            return DW_EXIT_OK;
        } else {
            found = false;
            status = argv[i][1] == '-' ? dw_cli_option(cli, options, argc, argv, &i, &found) : DW_EXIT_GO_ON;
            if (status != DW_EXIT_GO_ON)
                return status;
            if (!found)
                return dw_cli_usage(cli, "unknown option %s", argv[i]);
        }
    }
    return DW_EXIT_GO_ON;
}

int dw_cli_expect(struct dw_cli *cli, int low, int high)
{
    if (cli->count > high)
        return dw_cli_usage(cli, "unexpected argument \"%s\"", cli->args[high]);
    if (cli->count < low)
        return dw_cli_usage(cli, "an argument is missing");
    return DW_EXIT_GO_ON;
}

int dw_cli_begin(struct dw_cli *cli, const struct dw_option *options, int low, int high, int argc, char *const *argv)
{
    int status = dw_cli_parse(cli, options, argc, argv);

    return status == DW_EXIT_GO_ON ? dw_cli_expect(cli, low, high) : status;
}

int dw_cli_number(struct dw_cli *cli, const char *what, const char *text, int64_t low, int64_t *value)
{
    char *end;
    long long number;

    errno = 0;
    number = strtoll(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || number < low)
        return dw_cli_usage(cli, "%s must be a whole number from %" PRId64 " up, not \"%s\"", what, low, text);
    *value = number;
    return DW_EXIT_GO_ON;
}

int dw_cli_data(struct dw_cli *cli, const char *arg, struct dw_buf *buf)
{
    struct dw_err err = {.code = 0};
    char block[8192];
    ssize_t got = 1;
    size_t want;

    if (strcmp(arg, "-") != 0)
        dw_buf_adds(buf, arg);
    else
        while (got > 0 && buf->len < DATA_MAX && !dw_buf_failed(buf)) {
            want = DATA_MAX - buf->len < sizeof block ? DATA_MAX - buf->len : sizeof block;
            got = read(STDIN_FILENO, block, want);
            if (got > 0)
                dw_buf_add(buf, block, (size_t)got);
            else if (got < 0 && errno == EINTR)
                got = 1;
            else if (got < 0)
                return dw_cli_fail(cli, &err,
                                   dw_err_set(&err, DW_SYSTEM, "cannot read standard input: %s", strerror(errno)));
        }
    if (dw_buf_failed(buf))
        return dw_cli_fail(cli, NULL, DW_NOMEM);
    return DW_EXIT_GO_ON;
}

/* ---- settings and queue ---- */

int dw_cli_load(struct dw_cli *cli)
{
    struct dw_err err = {.code = 0};
    int rc = dw_conf_load(&cli->conf, cli->config, cli->db, environ, &err);

    if (rc == DW_NOTFOUND) /* a settings file, not a queue */
        rc = err.code = DW_CONF;
    if (rc != DW_OK)
        return dw_cli_fail(cli, &err, rc);
    cli->has_conf = true;
    (void)dw_log_setup(DW_CLI_PROGRAM, "warn", "stderr", "text"); /* a person reads it here */
    return DW_EXIT_GO_ON;
}

/* In a folder of somebody else's root works as that user: links and files could be put there that lead root, who may
 * do everything, elsewhere. */
int dw_cli_leave_root(struct dw_cli *cli)
{
    const char *path = cli->conf.store_path;
    struct dw_account account;
    struct dw_err err = {.code = 0};
    struct stat st;
    int rc;

    if (geteuid() != 0)
        return DW_EXIT_GO_ON;
    rc = dw_account_find(cli->conf.process_user, path, &account, &err);
    /* A new queue belongs to its folder's owner, whoever will serve it; and process.user may not be able to make it. */
    if (rc == DW_OK && account.change && lstat(path, &st) != 0)
        rc = dw_account_find("", path, &account, &err);
    if (rc == DW_OK)
        rc = dw_account_become(&account, &err);
    return rc == DW_OK ? DW_EXIT_GO_ON : dw_cli_fail(cli, &err, rc);
}

int dw_cli_open(struct dw_cli *cli, bool create)
{
    struct dw_store_options options;
    struct dw_err err = {.code = 0};
    int status = cli->has_conf ? DW_EXIT_GO_ON : dw_cli_load(cli);
    int rc;

    if (status == DW_EXIT_GO_ON)
        status = dw_cli_leave_root(cli);
    if (status != DW_EXIT_GO_ON)
        return status;
    options = dw_hub_store_options(&cli->conf, create);
    rc = dw_store_open_sqlite(&options, &cli->store, &err);
    return rc == DW_OK ? DW_EXIT_GO_ON : dw_cli_fail(cli, &err, rc);
}

void dw_cli_close(struct dw_cli *cli)
{
    dw_store_close(cli->store);
    cli->store = NULL;
    if (cli->has_conf)
        dw_conf_fini(&cli->conf);
    cli->has_conf = false;
}
