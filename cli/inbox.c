/* dumbwaiter inbox: what clients sent, once or for as long as somebody reads.  Rows are collected first and
 * written afterwards: a reader that is slow must not hold a read transaction open. */
#include "cli/cli.h"
#include "cli/follow.h"
#include "cli/output.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define BATCH 256
#define RETRY_MS 200

static const char help[] =
    "Usage: dumbwaiter inbox [--after ID | --after now] [--limit N] [--json] [--follow]\n"
    "\n"
    "Prints what clients sent and the server's own events (chsk/uidport-open ...), oldest first, a line for each:\n"
    "id, time, user id, client id, event, \"reply\" if the client waits for one, data; with a tab in between, and\n"
    "- for what is missing.\n"
    "\n"
    "  --after ID   only rows with a higher id; now: only rows that come from now on\n"
    "  --limit N    end after N rows\n"
    "  --json       a JSON object in each line: id, uid, client_id, event, data, format, wants_reply, received_at\n"
    "  --follow     then wait for more, until SIGINT or SIGTERM comes or nobody reads any longer\n"
    "\n"
    "A program that handles messages remembers the last id that it has handled, and starts with --after ID.\n";

struct view {
    struct dw_cli *cli;
    bool json;
    int64_t after, left; /* last id shown; rows still wanted */
    size_t got;          /* rows in the last batch */
    struct dw_buf out;
};

static void add_json(struct dw_buf *out, const struct dw_inbox *row)
{
    dw_buf_addf(out, "{\"id\":%" PRId64 ",\"uid\":", row->id);
    dw_output_cstring(out, row->uid);
    dw_buf_adds(out, ",\"client_id\":");
    dw_output_cstring(out, row->client_id);
    dw_buf_adds(out, ",\"event\":");
    dw_output_cstring(out, row->event);
    dw_buf_adds(out, ",\"data\":");
    dw_output_data(out, row->data, row->data_len, row->format);
    dw_buf_adds(out, ",\"format\":");
    dw_output_cstring(out, row->format);
    dw_buf_addf(out, ",\"wants_reply\":%s,\"received_at\":%" PRId64 "}\n", row->wants_reply ? "true" : "false",
                row->received_at);
}

static void add_field(struct dw_buf *out, const char *text)
{
    dw_output_plain(out, text, text != NULL ? strlen(text) : 0);
    dw_buf_addc(out, '\t');
}

static void add_text(struct dw_buf *out, const struct dw_inbox *row)
{
    dw_buf_addf(out, "%" PRId64 "\t", row->id);
    dw_output_time(out, row->received_at);
    dw_buf_addc(out, '\t');
    add_field(out, row->uid);
    add_field(out, row->client_id);
    add_field(out, row->event);
    add_field(out, row->wants_reply ? "reply" : NULL);
    dw_output_plain(out, row->data, row->data_len);
    dw_buf_addc(out, '\n');
}

static int add_row(void *context, const struct dw_inbox *row)
{
    struct view *view = context;

    if (view->json)
        add_json(&view->out, row);
    else
        add_text(&view->out, row);
    view->after = row->id;
    view->left--;
    view->got++;
    return DW_OK;
}

/* Another batch into view->out; view->got is 0 when there is nothing more to read now. */
static int read_batch(struct view *view, struct dw_err *err)
{
    view->got = 0;
    if (view->left == 0)
        return DW_OK;
    return dw_store_inbox(view->cli->store, view->after, view->left < BATCH ? (size_t)view->left : BATCH, add_row, view,
                          err);
}

static int show(struct view *view)
{
    struct dw_err err = {.code = 0};
    int status = DW_EXIT_OK;
    int rc = read_batch(view, &err);

    while (rc == DW_OK && status == DW_EXIT_OK && view->got > 0 && !view->cli->output_gone) {
        status = dw_output(view->cli, &view->out);
        if (status == DW_EXIT_OK)
            rc = read_batch(view, &err);
    }
    return rc == DW_OK ? status : dw_cli_fail(view->cli, &err, rc);
}

/* The ids of a file that took the queue's place have nothing to do with those before: from its beginning. */
static int notice_move(struct view *view, uint32_t *moves, struct dw_err *err)
{
    uint32_t now = *moves;
    int rc = dw_store_follow(view->cli->store, &now, err);

    if (rc == DW_OK && now != *moves) {
        (void)fprintf(stderr, DW_CLI_PROGRAM ": another file has taken the queue's place: reading it from its "
                                             "beginning\n");
        view->after = 0;
        *moves = now;
    }
    return rc;
}

static int follow_loop(struct view *view, struct dw_follow *follow, struct dw_err *err)
{
    uint32_t moves = 0;
    int rc = DW_OK;

    while (rc == DW_OK && !follow->stop && view->left > 0) {
        rc = notice_move(view, &moves, err);
        if (rc == DW_OK)
            rc = read_batch(view, err);
        if (rc == DW_OK && view->got > 0)
            rc = dw_follow_write(follow, &view->out, err);
        else if (rc == DW_OK)
            rc = dw_follow_wait(follow, -1, err);
        if (rc == DW_BUSY) {
            dw_buf_reset(&view->out);
            rc = dw_follow_wait(follow, RETRY_MS, err);
        }
    }
    return rc;
}

static int follow(struct view *view)
{
    struct dw_follow follow;
    struct dw_err err = {.code = 0};
    int rc = dw_follow_open(&follow, view->cli->store, &err);

    if (rc == DW_OK)
        rc = follow_loop(view, &follow, &err);
    dw_follow_close(&follow);
    return rc == DW_OK ? DW_EXIT_OK : dw_cli_fail(view->cli, &err, rc);
}

/* --after and --limit. */
static int start(struct view *view, const char *after, const char *limit)
{
    struct dw_store_figures figures;
    struct dw_err err = {.code = 0};
    int status = DW_EXIT_GO_ON;
    int rc;

    if (limit != NULL)
        status = dw_cli_number(view->cli, "--limit", limit, 1, &view->left);
    if (status == DW_EXIT_GO_ON && after != NULL && strcmp(after, "now") != 0)
        status = dw_cli_number(view->cli, "--after", after, 0, &view->after);
    if (status == DW_EXIT_GO_ON)
        status = dw_cli_open(view->cli, false);
    if (status == DW_EXIT_GO_ON && after != NULL && strcmp(after, "now") == 0) {
        rc = dw_store_figures(view->cli->store, &figures, &err);
        if (rc != DW_OK)
            return dw_cli_fail(view->cli, &err, rc);
        view->after = figures.inbox_end;
    }
    return status;
}

static int run(struct dw_cli *cli, int argc, char *const *argv)
{
    struct view view = {.cli = cli, .left = INT64_MAX};
    const char *after = NULL;
    const char *limit = NULL;
    bool following = false;
    const struct dw_option options[] = {{"after", &after, NULL},
                                        {"limit", &limit, NULL},
                                        {"json", NULL, &view.json},
                                        {"follow", NULL, &following},
                                        {NULL, NULL, NULL}};
    int status = dw_cli_begin(cli, options, 0, 0, argc, argv);

    if (status == DW_EXIT_GO_ON)
        status = start(&view, after, limit);
    if (status == DW_EXIT_GO_ON)
        status = following ? follow(&view) : show(&view);
    dw_buf_fini(&view.out);
    return status;
}

const struct dw_command dw_command_inbox = {"inbox", "print what clients sent; --follow waits for more", help, run};
