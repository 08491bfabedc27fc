/* dumbwaiter online: which users are connected. */
#include "cli/cli.h"
#include "cli/output.h"

#include <inttypes.h>
#include <string.h>

static const char help[] = "Usage: dumbwaiter online [--json]\n"
                           "\n"
                           "Lists the users that are connected: how many clients over WebSocket and over Ajax, and "
                           "since when.\n"
                           "Clients without a user id are not users; `dumbwaiter status` counts them.\n"
                           "\n"
                           "  --json  one JSON array of {\"uid\", \"ws\", \"ajax\", \"since\"}, times in Unix "
                           "milliseconds\n";

static int add_json(void *context, const struct dw_online *row)
{
    struct dw_buf *out = context;

    dw_buf_adds(out, out->len > 1 ? ",\n {\"uid\":" : "{\"uid\":");
    dw_output_cstring(out, row->uid);
    dw_buf_addf(out, ",\"ws\":%" PRId64 ",\"ajax\":%" PRId64 ",\"since\":%" PRId64 "}", row->ws, row->ajax, row->since);
    return DW_OK;
}

static int add_text(void *context, const struct dw_online *row)
{
    struct dw_buf *out = context;

    if (out->len == 0)
        dw_buf_adds(out, "  ws  ajax  since                     user\n");
    dw_buf_addf(out, "%4" PRId64 "  %4" PRId64 "  ", row->ws, row->ajax);
    dw_output_time(out, row->since);
    dw_buf_adds(out, "  ");
    dw_output_plain(out, row->uid, strlen(row->uid));
    dw_buf_addc(out, '\n');
    return DW_OK;
}

static int run(struct dw_cli *cli, int argc, char *const *argv)
{
    bool json = false;
    const struct dw_option options[] = {{"json", NULL, &json}, {NULL, NULL, NULL}};
    struct dw_buf out = DW_BUF_INIT;
    struct dw_err err = {.code = 0};
    int rc;
    int status = dw_cli_begin(cli, options, 0, 0, argc, argv);

    if (status == DW_EXIT_GO_ON)
        status = dw_cli_open(cli, false);
    if (status != DW_EXIT_GO_ON)
        return status;
    if (json)
        dw_buf_addc(&out, '[');
    rc = dw_store_online(cli->store, json ? add_json : add_text, &out, &err);
    if (json)
        dw_buf_adds(&out, "]\n");
    else if (out.len == 0)
        dw_buf_adds(&out, "Nobody is online.\n");
    status = rc == DW_OK ? dw_output(cli, &out) : dw_cli_fail(cli, &err, rc);
    dw_buf_fini(&out);
    return status;
}

const struct dw_command dw_command_online = {"online", "list the users that are connected", help, run};
