/* dumbwaiter push: one event into the queue.  The queue's own rules check it. */
#include "cli/cli.h"
#include "cli/output.h"

#include <inttypes.h>

static const char help[] =
    "Usage: dumbwaiter push [--format json|edn|transit] UID EVENT [DATA]\n"
    "       dumbwaiter push [--format json|edn|transit] --client-id ID [--uid UID] EVENT [DATA]\n"
    "       dumbwaiter push [--format json|edn|transit] --room ROOM EVENT [DATA]\n"
    "\n"
    "Sends an event to all clients of a user, to one client, or to the members of a room, and prints its id.\n"
    "\n"
    "  UID             a user id; '' for all clients that have none\n"
    "  --client-id ID  one client (tab) instead; with --uid only while it is that user's, which is safer:\n"
    "                  a client chooses its id itself\n"
    "  --room ROOM     the members of a room instead; '*' for everyone connected\n"
    "  EVENT           a namespaced name such as deploy/done, without a colon in front\n"
    "  DATA            JSON (a plain string needs its double quotes); - reads it from standard input;\n"
    "                  without it the event has no data\n"
    "  --format NAME   what DATA is written in\n"
    "\n"
    "Example: dumbwaiter push alice deploy/done '{\"rev\":42}'\n"
    "Exit status 3: the queue's rules refuse the event; the message says what to change.\n";

static int run(struct dw_cli *cli, int argc, char *const *argv)
{
    struct dw_push push = {.format = "json"};
    const struct dw_option options[] = {{"format", &push.format, NULL},
                                        {"client-id", &push.client_id, NULL},
                                        {"uid", &push.uid, NULL},
                                        {"room", &push.room, NULL},
                                        {NULL, NULL, NULL}};
    struct dw_buf data = DW_BUF_INIT;
    struct dw_buf out = DW_BUF_INIT;
    struct dw_err err = {.code = 0};
    int64_t id = 0;
    int rc;
    int first;
    int status = dw_cli_parse(cli, options, argc, argv);

    if (status != DW_EXIT_GO_ON)
        return status;
    first = push.client_id == NULL && push.room == NULL ? 1 : 0;
    if (push.uid != NULL && push.client_id == NULL)
        return dw_cli_usage(cli, "--uid goes with --client-id; a user alone is named without it");
    status = dw_cli_expect(cli, first + 1, first + 2);
    if (status != DW_EXIT_GO_ON)
        return status;
    if (first == 1)
        push.uid = cli->args[0];
    push.event = cli->args[first];
    if (cli->count > first + 1) {
        status = dw_cli_data(cli, cli->args[first + 1], &data);
        push.data = dw_buf_str(&data);
        push.data_len = data.len;
    }
    if (status == DW_EXIT_GO_ON)
        status = dw_cli_open(cli, false);
    if (status == DW_EXIT_GO_ON) {
        rc = dw_store_push(cli->store, &push, &id, &err);
        dw_buf_addf(&out, "%" PRId64 "\n", id);
        status = rc == DW_OK ? dw_output(cli, &out) : dw_cli_fail(cli, &err, rc);
    }
    dw_buf_fini(&out);
    dw_buf_fini(&data);
    return status;
}

const struct dw_command dw_command_push = {"push", "send an event to a user, a client or a room", help, run};
