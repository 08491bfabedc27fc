/* dumbwaiter init: makes the queue and the state folder, or brings old ones up to date. */
#include "cli/cli.h"
#include "cli/output.h"
#include "hub/keyfile.h"
#include "store/inspect.h"

#include <grp.h>
#include <inttypes.h>
#include <pwd.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char help[] =
    "Usage: dumbwaiter init [--db FILE]\n"
    "\n"
    "Makes the queue file, or adds the queue's tables to your application's own SQLite database, the folder FILE-dw\n"
    "beside it, and the key of signed tokens in there.  What is there already is kept; tables of an older version\n"
    "are upgraded.  Run it as often as you like.\n"
    "\n"
    "New files may be read and written by their owner and group.  Run it as the user that the web server runs the\n"
    "application as; files that root makes get the owner of the folder that they are in.\n";

/* "user:group" of a file. */
static void add_owner(struct dw_buf *out, const struct stat *st)
{
    const struct passwd *user = getpwuid(st->st_uid);
    const struct group *group = getgrgid(st->st_gid);

    if (user != NULL)
        dw_buf_adds(out, user->pw_name);
    else
        dw_buf_addf(out, "%lu", (unsigned long)st->st_uid);
    dw_buf_addc(out, ':');
    if (group != NULL)
        dw_buf_adds(out, group->gr_name);
    else
        dw_buf_addf(out, "%lu", (unsigned long)st->st_gid);
}

static void add_result(struct dw_buf *out, const char *path, const struct dw_inspection *before,
                       const struct dw_inspection *after)
{
    struct stat st;
    const char *what = "There already, and up to date";

    if (before->schema == 0)
        what = before->foreign_tables ? "Added the queue's tables to" : "Made";
    else if (before->schema < after->schema)
        what = "Upgraded";
    dw_buf_addf(out, "%s: %s, schema %" PRId64, what, path, after->schema);
    if (stat(path, &st) == 0) {
        dw_buf_addf(out, ", mode %04o, ", (unsigned)(st.st_mode & 07777));
        add_owner(out, &st);
    }
    dw_buf_addf(out, "\nState:  %s-dw\n", path);
}

static void add_steps(struct dw_buf *out, const char *path)
{
    struct stat st;

    dw_buf_adds(out, "\nNext:\n");
    if (geteuid() == 0 && stat(path, &st) == 0 && st.st_uid == 0)
        dw_buf_addf(out,
                    "  - The files belong to root: give them, and the folder they are in, to the user that your web\n"
                    "    server runs the application as, for instance  chown www-data: %s %s-dw %s-dw/*\n",
                    path, path, path);
    dw_buf_addf(out,
                "  - Tell the web server's responder:  DUMBWAITER_DB=%s\n"
                "  - Push:   dumbwaiter push --db %s alice deploy/done '{\"rev\":42}'\n"
                "    or from any language:  INSERT INTO dw_push (uid, event, data) VALUES (...)\n"
                "  - Check:  dumbwaiter doctor --db %s\n",
                path, path, path);
}

/* A key for signed tokens, so that whoever wants them needs nothing but the setting. */
static int make_key(const struct dw_cli *cli, struct dw_buf *out, struct dw_err *err)
{
    struct dw_buf key = DW_BUF_INIT;
    int rc = dw_keyfile_path(&cli->conf, &key, err);

    if (rc == DW_OK)
        rc = dw_keyfile_make(&cli->conf, dw_buf_str(&key), err);
    if (rc == DW_OK)
        dw_buf_addf(out, "Key:    %s\n", dw_buf_str(&key));
    dw_buf_fini(&key);
    return rc;
}

static int run(struct dw_cli *cli, int argc, char *const *argv)
{
    struct dw_inspection before;
    struct dw_inspection after;
    struct dw_buf out = DW_BUF_INIT;
    struct dw_err err = {.code = 0};
    const char *path;
    int rc;
    int status = dw_cli_begin(cli, NULL, 0, 0, argc, argv);

    if (status == DW_EXIT_GO_ON)
        status = dw_cli_load(cli);
    if (status == DW_EXIT_GO_ON)
        status = dw_cli_leave_root(cli); /* before anything in the folder is looked at */
    if (status != DW_EXIT_GO_ON)
        return status;
    path = cli->conf.store_path;
    (void)dw_inspect(path, DW_INSPECT_QUEUE, 0, &before, NULL); /* nothing there: zeros; trouble: told below */
    (void)umask(S_IRWXO); /* the group shares the files, whatever the shell says */
    status = dw_cli_open(cli, true);
    if (status != DW_EXIT_GO_ON)
        return status;
    rc = dw_inspect(path, DW_INSPECT_QUEUE, 0, &after, &err);
    if (rc == DW_OK) {
        add_result(&out, path, &before, &after);
        rc = make_key(cli, &out, &err);
    }
    if (rc == DW_OK) {
        add_steps(&out, path);
    }
    status = rc == DW_OK ? dw_output(cli, &out) : dw_cli_fail(cli, &err, rc);
    dw_buf_fini(&out);
    return status;
}

const struct dw_command dw_command_init = {"init", "make the queue, or bring an old one up to date", help, run};
