/* dumbwaiter status: what the queue holds, who is connected, which programs run, and what was lost. */
#include "cli/cli.h"
#include "cli/output.h"
#include "config.h"
#include "store/inspect.h"

#include <inttypes.h>
#include <string.h>

static const char help[] =
    "Usage: dumbwaiter status [--json]\n"
    "\n"
    "Shows what the queue holds, the connected clients, the programs that serve them, the sizes of the files, all\n"
    "counters, and what was lost or turned away.\n"
    "\n"
    "  --json  the same as one JSON object, times in Unix milliseconds\n"
    "\n"
    "Counters are those of all programs since the state file was made; a program adds its own every 10 s.\n";

/* Counters that mean: somebody did not get something. */
static const struct {
    const char *name, *meaning;
} losses[] = {
    {"gaps", "clients were told that pushes were gone before they could have them: raise store.retain_ms?"},
    {"sent_away_full", "polls were sent away because limits.parked or limits.holders was reached"},
    {"bad_pushes", "times a push could not be packed for a client: its data is not what its format says"},
    {"handler_errors", "messages were refused because the app's trigger on dw_inbox failed"},
    {"posts_without_client_id", "messages were dropped because they named no client"},
    {"store_errors", "times the database failed or stayed locked"},
};
#define LOSSES (sizeof losses / sizeof losses[0])

struct report {
    struct dw_cli *cli;
    struct dw_buf out;
    bool first;   /* of a JSON list */
    bool counted; /* text: a counter was shown */
    int64_t lost[LOSSES];
    struct dw_store_figures figures;
    struct dw_inspection queue, state;
};

/* The WebSockets that a worker holds; a dead one's are closed, whatever the table says yet. */
static int sockets_of(struct report *r, const struct dw_worker *worker, int64_t *sockets)
{
    *sockets = 0;
    return worker->alive ? dw_store_worker_sockets(r->cli->store, worker->worker, sockets, NULL) : DW_OK;
}

/* ---- JSON ---- */

static void json_key(struct report *r, const char *name)
{
    if (!r->first)
        dw_buf_addc(&r->out, ',');
    r->first = false;
    dw_output_cstring(&r->out, name);
    dw_buf_addc(&r->out, ':');
}

static void json_int(struct report *r, const char *name, int64_t value)
{
    json_key(r, name);
    dw_buf_addf(&r->out, "%" PRId64, value);
}

static void json_text(struct report *r, const char *name, const char *value)
{
    json_key(r, name);
    dw_output_cstring(&r->out, value);
}

static void json_open(struct report *r, const char *name, char bracket)
{
    json_key(r, name);
    dw_buf_addc(&r->out, bracket);
    r->first = true;
}

static void json_close(struct report *r, char bracket)
{
    dw_buf_addc(&r->out, bracket);
    r->first = false;
}

static int json_worker(void *context, const struct dw_worker *worker)
{
    struct report *r = context;
    int64_t sockets;
    int rc = sockets_of(r, worker, &sockets);

    if (rc != DW_OK)
        return rc;
    dw_buf_adds(&r->out, r->first ? "{" : ",{");
    r->first = true;
    json_int(r, "worker", worker->worker);
    json_int(r, "pid", worker->pid);
    json_int(r, "started_at", worker->started_ms);
    json_key(r, "alive");
    dw_buf_adds(&r->out, worker->alive ? "true" : "false");
    json_int(r, "parked", worker->parked);
    json_int(r, "lent", worker->lent);
    json_int(r, "websockets", sockets);
    json_close(r, '}');
    return DW_OK;
}

static int json_counter(void *context, const char *name, int64_t value)
{
    json_int(context, name, value);
    return DW_OK;
}

static int keep_losses(void *context, const char *name, int64_t value)
{
    struct report *r = context;

    for (size_t i = 0; i < LOSSES; i++)
        if (strcmp(losses[i].name, name) == 0)
            r->lost[i] = value;
    return DW_OK;
}

static void json_files(struct report *r, struct dw_cli *cli)
{
    const struct dw_store_figures *f = &r->figures;

    json_open(r, "queue", '{');
    json_text(r, "path", dw_store_queue_path(cli->store));
    json_int(r, "schema", r->queue.schema);
    json_text(r, "journal_mode", r->queue.journal_mode);
    json_int(r, "end", f->end);
    json_int(r, "removed_up_to", f->horizon);
    json_int(r, "pushes", f->pushes);
    json_int(r, "inbox", f->inbox);
    json_int(r, "inbox_end", f->inbox_end);
    json_int(r, "replies", f->replies);
    json_int(r, "sessions", f->sessions);
    json_int(r, "bytes", f->queue_bytes);
    json_int(r, "wal_bytes", f->wal_bytes);
    json_close(r, '}');
    json_open(r, "state", '{');
    json_text(r, "folder", dw_store_state_dir(cli->store));
    json_int(r, "schema", r->state.schema);
    json_int(r, "bytes", f->state_bytes);
    json_int(r, "wal_bytes", f->state_wal_bytes);
    json_close(r, '}');
    json_open(r, "clients", '{');
    json_int(r, "remembered", f->clients);
    json_int(r, "connected", f->connected);
    json_int(r, "ajax", f->ajax);
    json_int(r, "ws", f->ws);
    json_int(r, "users_online", f->online);
    json_close(r, '}');
}

static int write_json(struct report *r, struct dw_cli *cli, struct dw_err *err)
{
    int rc;

    dw_buf_addc(&r->out, '{');
    r->first = true;
    json_text(r, "version", PACKAGE_VERSION);
    json_text(r, "sqlite", dw_inspect_sqlite());
    json_files(r, cli);
    json_open(r, "workers", '[');
    rc = dw_store_workers(cli->store, json_worker, r, err);
    json_close(r, ']');
    json_open(r, "counters", '{');
    if (rc == DW_OK)
        rc = dw_store_counters(cli->store, json_counter, r, err);
    json_close(r, '}');
    json_open(r, "losses", '{');
    for (size_t i = 0; i < LOSSES; i++)
        json_int(r, losses[i].name, r->lost[i]);
    json_key(r, "state_lost_at");
    if (r->figures.state_lost_ms != 0)
        dw_buf_addf(&r->out, "%" PRId64, r->figures.state_lost_ms);
    else
        dw_buf_adds(&r->out, "null");
    json_close(r, '}');
    dw_buf_adds(&r->out, "}\n");
    return rc;
}

/* ---- text ---- */

static void text_held(struct dw_buf *out, uint32_t polls, int64_t sockets)
{
    dw_buf_adds(out, ", holds ");
    if (polls > 0 || sockets == 0)
        dw_buf_addf(out, "%u poll%s", polls, polls == 1 ? "" : "s");
    if (sockets > 0)
        dw_buf_addf(out, "%s%" PRId64 " WebSocket%s", polls > 0 ? " and " : "", sockets, sockets == 1 ? "" : "s");
    dw_buf_addc(out, '\n');
}

static int text_worker(void *context, const struct dw_worker *worker)
{
    struct report *r = context;
    int64_t sockets;
    int rc = sockets_of(r, worker, &sockets);

    if (rc != DW_OK)
        return rc;
    dw_buf_addf(&r->out, "%-9s %d: process %" PRId64 ", since ", r->first ? "workers" : "", (int)worker->worker,
                worker->pid);
    dw_output_time(&r->out, worker->started_ms);
    if (worker->alive)
        text_held(&r->out, worker->parked, sockets);
    else
        dw_buf_adds(&r->out, ", dead: its clients have their grace period\n");
    r->first = false;
    return DW_OK;
}

static int text_counter(void *context, const char *name, int64_t value)
{
    struct report *r = context;

    dw_buf_addf(&r->out, "%s%s %" PRId64, r->counted ? ", " : "counters  ", name, value);
    r->counted = true;
    return DW_OK;
}

static void text_losses(struct report *r)
{
    bool none = true;

    for (size_t i = 0; i < LOSSES; i++)
        if (r->lost[i] != 0) {
            dw_buf_addf(&r->out, "%-9s %" PRId64 " %s\n", none ? "losses" : "", r->lost[i], losses[i].meaning);
            none = false;
        }
    if (r->figures.state_lost_ms != 0) {
        dw_buf_addf(&r->out, "%-9s the state folder was lost and made anew at ", none ? "losses" : "");
        dw_output_time(&r->out, r->figures.state_lost_ms);
        dw_buf_adds(&r->out, ": clients started again from what was retained\n");
        none = false;
    }
    if (none)
        dw_buf_adds(&r->out, "losses    none\n");
}

static void text_files(struct report *r, struct dw_cli *cli)
{
    const struct dw_store_figures *f = &r->figures;
    struct dw_buf *out = &r->out;

    dw_buf_adds(out, "queue     ");
    dw_output_plain(out, dw_store_queue_path(cli->store), strlen(dw_store_queue_path(cli->store)));
    dw_buf_addf(out,
                "\n          schema %" PRId64 ", journal mode %s, %" PRId64 " bytes and %" PRId64
                " in the write-ahead log\n",
                r->queue.schema, r->queue.journal_mode, f->queue_bytes, f->wal_bytes);
    dw_buf_addf(out,
                "pushes    the last has id %" PRId64 "; %" PRId64 " retained, those up to %" PRId64
                " removed by retention\n",
                f->end, f->pushes, f->horizon);
    dw_buf_addf(out, "inbox     the last has id %" PRId64 "; %" PRId64 " rows and %" PRId64 " replies kept\n",
                f->inbox_end, f->inbox, f->replies);
    dw_buf_addf(out, "sessions  %" PRId64 "\n", f->sessions);
    dw_buf_addf(out,
                "clients   %" PRId64 " connected (%" PRId64 " Ajax, %" PRId64 " WebSocket), %" PRId64
                " remembered; %" PRId64 " users online\n",
                f->connected, f->ajax, f->ws, f->clients, f->online);
    dw_buf_adds(out, "state     ");
    dw_output_plain(out, dw_store_state_dir(cli->store), strlen(dw_store_state_dir(cli->store)));
    dw_buf_addf(out, ": schema %" PRId64 ", %" PRId64 " bytes and %" PRId64 " in the write-ahead log\n",
                r->state.schema, f->state_bytes, f->state_wal_bytes);
}

static int write_text(struct report *r, struct dw_cli *cli, struct dw_err *err)
{
    int rc;

    dw_buf_addf(&r->out, "version   %s, with SQLite %s\n", PACKAGE_VERSION, dw_inspect_sqlite());
    text_files(r, cli);
    r->first = true;
    rc = dw_store_workers(cli->store, text_worker, r, err);
    if (r->first)
        dw_buf_adds(&r->out, "workers   none runs now\n");
    if (rc == DW_OK)
        rc = dw_store_counters(cli->store, text_counter, r, err);
    if (r->counted)
        dw_buf_addc(&r->out, '\n');
    text_losses(r);
    return rc;
}

static int collect(struct report *r, struct dw_cli *cli, struct dw_err *err)
{
    const char *path = dw_store_queue_path(cli->store);
    int rc = dw_store_figures(cli->store, &r->figures, err);

    if (rc == DW_OK)
        rc = dw_store_counters(cli->store, keep_losses, r, err);
    if (rc == DW_OK)
        rc = dw_inspect(path, DW_INSPECT_QUEUE, 0, &r->queue, err);
    return rc == DW_OK ? dw_inspect(path, DW_INSPECT_STATE, 0, &r->state, err) : rc;
}

static int run(struct dw_cli *cli, int argc, char *const *argv)
{
    struct report r;
    bool json = false;
    const struct dw_option options[] = {{"json", NULL, &json}, {NULL, NULL, NULL}};
    struct dw_err err = {.code = 0};
    int rc;
    int status = dw_cli_begin(cli, options, 0, 0, argc, argv);

    if (status == DW_EXIT_GO_ON)
        status = dw_cli_open(cli, false);
    if (status != DW_EXIT_GO_ON)
        return status;
    memset(&r, 0, sizeof r);
    r.cli = cli;
    rc = collect(&r, cli, &err);
    if (rc == DW_OK)
        rc = json ? write_json(&r, cli, &err) : write_text(&r, cli, &err);
    status = rc == DW_OK ? dw_output(cli, &r.out) : dw_cli_fail(cli, &err, rc);
    dw_buf_fini(&r.out);
    return status;
}

const struct dw_command dw_command_status = {"status", "show the queue, the clients, the programs and what was lost",
                                             help, run};
