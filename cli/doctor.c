/* dumbwaiter doctor: looks for everything that keeps pushes from arriving, and says what to do about it.
 * Here: the command, the settings, and a last look through the store itself. */
#include "cli/doctor.h"

#include "base/clock.h"
#include "chsk/packer.h"
#include "cli/cli.h"
#include "cli/output.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char help[] =
    "Usage: dumbwaiter doctor [--user NAME] [--document-root DIR]\n"
    "\n"
    "Checks settings, files, folders, permissions and the machine, a line for each: ok, warn or FAIL, and what to\n"
    "do.  Ends with 1 if there is a FAIL.\n"
    "\n"
    "  --user NAME          whose permissions to look at; else yours, and for root those of the queue's owner.\n"
    "                       Best is to run it as the user that the web server uses\n"
    "  --document-root DIR  a folder that the web server hands out (else $DOCUMENT_ROOT, and what looks like one)\n";

void dw_doctor_say(struct dw_doctor *d, enum dw_finding finding, const char *topic, const char *format, ...)
{
    static const char *const words[] = {"ok", "warn", "FAIL"};
    char text[4096];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    d->warned += finding == DW_FINDING_WARN;
    d->failed += finding == DW_FINDING_FAIL;
    dw_buf_addf(&d->out, "%-4s  %-8s  ", words[finding], topic);
    dw_output_plain(&d->out, text, strlen(text));
    dw_buf_addc(&d->out, '\n');
}

/* ---- settings ---- */

static bool is(const char *value, const char *word)
{
    return strcmp(value, word) == 0;
}

/* Loads the settings; where they are wrong, goes on with the defaults and the queue that was named. */
static int load(struct dw_cli *cli, struct dw_doctor *d, struct dw_conf *conf, struct dw_err *err)
{
    const char *db = cli->db != NULL ? cli->db : getenv("DUMBWAITER_DB");
    char *const nothing[] = {NULL};
    int rc = dw_conf_load(conf, cli->config, cli->db, environ, err);
    struct stat st;

    if (rc != DW_OK) {
        d->usable = false;
        dw_doctor_say(d, DW_FINDING_FAIL, "settings", "%s: no program starts with this", dw_err_say(err, rc));
        /* An empty file in place of the wrong one. */
        return dw_conf_load(conf, "/dev/null", db, nothing, err);
    }
    if (conf->file == NULL)
        dw_doctor_say(d, DW_FINDING_OK, "settings", "no settings file: everything has its default");
    else if (stat(conf->file, &st) == 0 && (st.st_mode & S_IWOTH) != 0)
        dw_doctor_say(d, DW_FINDING_FAIL, "settings", "every user of this machine may change %s: chmod o-w it",
                      conf->file);
    else
        dw_doctor_say(d, DW_FINDING_OK, "settings", "%s was read", conf->file);
    return DW_OK;
}

static void check_security(struct dw_doctor *d)
{
    const struct dw_conf *conf = d->conf;
    bool by_cookie = !is(conf->auth_uid, "client_id") && !is(conf->auth_uid, "none");
    bool any_origin = is(conf->auth_allowed_origins, "*");

    if (is(conf->auth_csrf, "off") && any_origin && by_cookie)
        dw_doctor_say(d, DW_FINDING_FAIL, "csrf",
                      "auth.csrf is off and auth.allowed_origins is *: any web page that a user visits can act in that "
                      "user's name; turn csrf on, or name your origins");
    else if (is(conf->auth_csrf, "off"))
        dw_doctor_say(d, DW_FINDING_WARN, "csrf",
                      "auth.csrf is off: pages of allowed origins can send in a user's name without a token; turn it "
                      "on unless this is a test");
    else if (any_origin)
        dw_doctor_say(d, DW_FINDING_WARN, "csrf", "auth.allowed_origins is *: only the token keeps other sites out");
    else
        dw_doctor_say(d, DW_FINDING_OK, "csrf", "a CSRF token is asked for");
    if (is(conf->auth_uid, "client_id"))
        dw_doctor_say(d, DW_FINDING_WARN, "uid",
                      "auth.uid is client_id: whoever knows or guesses another client's id receives its pushes");
    else
        dw_doctor_say(d, DW_FINDING_OK, "uid", "the user id comes from: %s", conf->auth_uid);
    if (dw_packer_find(conf->chsk_packer) == NULL)
        dw_doctor_say(d, DW_FINDING_FAIL, "packer", "chsk.packer names no packer: \"%s\" (edn, json, transit, msgpack)",
                      conf->chsk_packer);
}

/* ---- through the store ---- */

static int count_worker(void *context, const struct dw_worker *worker)
{
    int *counts = context;

    counts[worker->alive ? 0 : 1]++;
    return DW_OK;
}

static void check_session_sql(struct dw_doctor *d, struct dw_store *store)
{
    struct dw_session session;
    struct dw_err err = {.code = 0};
    int rc;

    memset(&session, 0, sizeof session);
    rc = dw_store_session(store, "dumbwaiter-doctor", dw_clock_wall_ms(), &session, &err);
    dw_session_fini(&session);
    if (rc != DW_OK)
        dw_doctor_say(d, DW_FINDING_FAIL, "session", "auth.session_sql does not work: %s", dw_err_say(&err, rc));
    else
        dw_doctor_say(d, DW_FINDING_OK, "session", "auth.session_sql can be run");
}

/* Opens the queue as the programs do: only where nothing so far speaks against it. */
static void check_store(struct dw_doctor *d, struct dw_cli *cli)
{
    struct dw_err err = {.code = 0};
    int counts[2] = {0, 0};
    int rc;

    if (!d->usable || dw_cli_open(cli, false) != DW_EXIT_GO_ON)
        return;
    if (!is(d->conf->auth_uid, "token")) /* else nobody runs it */
        check_session_sql(d, cli->store);
    rc = dw_store_workers(cli->store, count_worker, counts, &err);
    if (rc != DW_OK)
        dw_doctor_say(d, DW_FINDING_FAIL, "workers", "%s", dw_err_say(&err, rc));
    else if (counts[0] == 0)
        dw_doctor_say(d, DW_FINDING_WARN, "workers",
                      "no responder runs on this queue: right under plain CGI and before the first request, else look "
                      "into the web server's log");
    else
        dw_doctor_say(d, DW_FINDING_OK, "workers", "%d process%s serve%s this queue", counts[0],
                      counts[0] == 1 ? "" : "es", counts[0] == 1 ? "s" : "");
    if (counts[1] > 0)
        dw_doctor_say(d, DW_FINDING_WARN, "workers", "%d process%s died without a farewell: the log may say why",
                      counts[1], counts[1] == 1 ? "" : "es");
}

/* ---- the command ---- */

static int choose_user(struct dw_doctor *d, struct dw_cli *cli, const char *name)
{
    const struct passwd *user;
    struct stat st;

    d->uid = geteuid();
    d->gid = getegid();
    if (name != NULL) {
        user = getpwnam(name);
        if (user == NULL)
            return dw_cli_usage(cli, "there is no user \"%s\"", name);
    } else {
        if (d->uid == 0 && stat(d->path, &st) == 0)
            d->uid = st.st_uid;
        user = getpwuid(d->uid);
    }
    if (user != NULL) {
        d->uid = user->pw_uid;
        d->gid = user->pw_gid;
        (void)snprintf(d->user, sizeof d->user, "%s", user->pw_name);
    } else
        (void)snprintf(d->user, sizeof d->user, "user %lu", (unsigned long)d->uid);
    if (d->uid == 0)
        dw_doctor_say(d, DW_FINDING_WARN, "user",
                      "permissions are looked at for root, who may do everything: say --user NAME, the user that the "
                      "web server runs the application as");
    else
        dw_doctor_say(d, DW_FINDING_OK, "user", "permissions are looked at for %s", d->user);
    return DW_EXIT_GO_ON;
}

static void check_settings_file(struct dw_doctor *d)
{
    struct stat st;

    if (d->conf->file == NULL || d->uid == 0 || d->uid == geteuid() || stat(d->conf->file, &st) != 0)
        return; /* it has been read by this very user */
    if ((st.st_mode & S_IROTH) == 0 && st.st_uid != d->uid && st.st_gid != d->gid)
        dw_doctor_say(d, DW_FINDING_FAIL, "settings", "%s may not read %s: chgrp it and chmod g+r", d->user,
                      d->conf->file);
}

static int examine(struct dw_doctor *d, struct dw_cli *cli, const char *user)
{
    int status = choose_user(d, cli, user);

    if (status != DW_EXIT_GO_ON)
        return status;
    check_settings_file(d);
    check_security(d);
    dw_doctor_host(d);
    dw_doctor_files(d);
    if (d->usable)
        dw_doctor_databases(d);
    check_store(d, cli);
    if (d->failed > 0)
        dw_buf_addf(&d->out, "\n%d to mend, %d to think about\n", d->failed, d->warned);
    else if (d->warned > 0)
        dw_buf_addf(&d->out, "\nNothing to mend, %d to think about\n", d->warned);
    else
        dw_buf_adds(&d->out, "\nAll is well\n");
    status = dw_output(cli, &d->out);
    return status == DW_EXIT_OK && d->failed > 0 ? DW_EXIT_FAILED : status;
}

static int run(struct dw_cli *cli, int argc, char *const *argv)
{
    struct dw_doctor doctor = {.usable = true, .document_root = getenv("DOCUMENT_ROOT")};
    const char *user = NULL;
    const struct dw_option options[] = {
        {"user", &user, NULL}, {"document-root", &doctor.document_root, NULL}, {NULL, NULL, NULL}};
    struct dw_err err = {.code = 0};
    int rc;
    int status = dw_cli_begin(cli, options, 0, 0, argc, argv);

    if (status != DW_EXIT_GO_ON)
        return status;
    rc = load(cli, &doctor, &cli->conf, &err);
    if (rc != DW_OK)
        return dw_cli_fail(cli, &err, rc);
    cli->has_conf = true;
    doctor.conf = &cli->conf;
    doctor.path = cli->conf.store_path;
    status = examine(&doctor, cli, user);
    dw_buf_fini(&doctor.out);
    return status;
}

const struct dw_command dw_command_doctor = {"doctor", "check settings, files and the machine; say what to mend", help,
                                             run};
