/* dumbwaiter gc: housekeeping now, for queues whose programs do not run all the time, and for impatient people.
 * The steps are those of hub/house.c; several programs may take them at once. */
#include "base/clock.h"
#include "cli/cli.h"
#include "cli/output.h"

#include <inttypes.h>

#define CHUNK 150
#define PAUSE_US 5000 /* between chunks, for an app's INSERT */

static const char help[] =
    "Usage: dumbwaiter gc\n"
    "\n"
    "Does the housekeeping now that running responders do all the time, and says what it removed: rows past\n"
    "store.retain_ms, expired sessions, clients that are gone, the remains of dead workers; then check-points\n"
    "the write-ahead logs.  Harmless while responders run.\n";

static struct dw_housework work_now(const struct dw_cli *cli, struct dw_removed *removed)
{
    return (struct dw_housework){
        .now_ms = dw_clock_wall_ms(),
        .up_ms = dw_clock_mono_ms(),
        .grace_ajax_ms = cli->conf.chsk_close_grace_ajax_ms,
        .grace_ws_ms = cli->conf.chsk_close_grace_ws_ms,
        .chunk = CHUNK,
        .idle = true,
        .removed = removed,
    };
}

static int keep_house(struct dw_cli *cli, struct dw_removed *removed, struct dw_err *err)
{
    struct dw_housework work = work_now(cli, removed);
    bool more = true;
    int rc = DW_OK;

    /* Where nobody else keeps house, this also compares who is online with who is connected. */
    (void)dw_store_housekeeper(cli->store);
    while (rc == DW_OK && more)
        rc = dw_store_release(cli->store, &work, &more, err);
    for (more = true; rc == DW_OK && more;)
        rc = dw_store_presence_sync(cli->store, work.now_ms, &more, err);
    for (more = true; rc == DW_OK && more;) {
        rc = dw_store_gc(cli->store, &work, &more, err);
        if (more)
            dw_clock_sleep_us(PAUSE_US);
    }
    return rc == DW_OK ? dw_store_checkpoint(cli->store, &work, err) : rc;
}

static void add_count(struct dw_buf *out, int64_t count, const char *one, const char *many)
{
    if (count > 0)
        dw_buf_addf(out, "  %8" PRId64 " %s\n", count, count == 1 ? one : many);
}

static void report(struct dw_buf *out, const struct dw_removed *removed, const struct dw_store_figures *figures)
{
    size_t before;

    dw_buf_adds(out, "Removed:\n");
    before = out->len;
    add_count(out, removed->pushes, "push past retention", "pushes past retention");
    add_count(out, removed->inbox, "inbox row past retention", "inbox rows past retention");
    add_count(out, removed->replies, "reply past retention", "replies past retention");
    add_count(out, removed->sessions, "expired session", "expired sessions");
    add_count(out, removed->memberships, "past room membership", "past room memberships");
    add_count(out, removed->clients, "client that stayed away", "clients that stayed away");
    add_count(out, removed->departed, "client from the connected ones", "clients from the connected ones");
    add_count(out, removed->workers, "dead worker", "dead workers");
    if (out->len == before)
        dw_buf_adds(out, "         nothing: all of it is still wanted\n");
    if (figures->wal_bytes > 0)
        dw_buf_addf(out,
                    "The queue's write-ahead log still has %" PRId64
                    " bytes: other programs use the file at the moment, "
                    "or one keeps a read transaction open.\n",
                    figures->wal_bytes);
}

static int run(struct dw_cli *cli, int argc, char *const *argv)
{
    struct dw_removed removed = {.pushes = 0};
    struct dw_store_figures figures;
    struct dw_buf out = DW_BUF_INIT;
    struct dw_err err = {.code = 0};
    int rc;
    int status = dw_cli_begin(cli, NULL, 0, 0, argc, argv);

    if (status == DW_EXIT_GO_ON)
        status = dw_cli_open(cli, false);
    if (status != DW_EXIT_GO_ON)
        return status;
    rc = keep_house(cli, &removed, &err);
    if (rc == DW_OK)
        rc = dw_store_figures(cli->store, &figures, &err);
    if (rc == DW_OK)
        report(&out, &removed, &figures);
    status = rc == DW_OK ? dw_output(cli, &out) : dw_cli_fail(cli, &err, rc);
    dw_buf_fini(&out);
    return status;
}

const struct dw_command dw_command_gc = {"gc", "do the housekeeping now, and say what it removed", help, run};
