/* dumbwaiter reply: answers a callback that a client waits for. */
#include "cli/cli.h"

static const char help[] =
    "Usage: dumbwaiter reply [--format json|edn|transit] INBOX_ID DATA\n"
    "\n"
    "Answers a message whose client waits for a reply (wants_reply in `dumbwaiter inbox --json`, the word reply in\n"
    "`dumbwaiter inbox`).\n"
    "\n"
    "  INBOX_ID       the message's id\n"
    "  DATA           JSON (a plain string needs its double quotes); - reads it from standard input\n"
    "  --format NAME  what DATA is written in\n"
    "\n"
    "Example: dumbwaiter reply 17 '{\"ok\":true}'\n"
    "Exit status 3: the queue's rules refuse the reply; the message says why.\n";

static int run(struct dw_cli *cli, int argc, char *const *argv)
{
    const char *format = "json";
    const struct dw_option options[] = {{"format", &format, NULL}, {NULL, NULL, NULL}};
    struct dw_buf data = DW_BUF_INIT;
    struct dw_err err = {.code = 0};
    int64_t id = 0;
    int rc;
    int status = dw_cli_begin(cli, options, 2, 2, argc, argv);

    if (status == DW_EXIT_GO_ON)
        status = dw_cli_number(cli, "INBOX_ID", cli->args[0], 1, &id);
    if (status == DW_EXIT_GO_ON)
        status = dw_cli_data(cli, cli->args[1], &data);
    if (status == DW_EXIT_GO_ON)
        status = dw_cli_open(cli, false);
    if (status == DW_EXIT_GO_ON) {
        rc = dw_store_reply(cli->store, id, dw_buf_str(&data), data.len, format, &err);
        status = rc == DW_OK ? DW_EXIT_OK : dw_cli_fail(cli, &err, rc);
    }
    dw_buf_fini(&data);
    return status;
}

const struct dw_command dw_command_reply = {"reply", "answer a message whose client waits for it", help, run};
