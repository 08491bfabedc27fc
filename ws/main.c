/* dumbwaiter-ws: the WebSocket sidecar.  Arguments, settings, log. */
#include "base/arguments.h"
#include "base/conf.h"
#include "base/log.h"
#include "base/privileges.h"
#include "ws/server.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PROGRAM "dumbwaiter-ws"

static const char usage[] =
    "Usage: " PROGRAM " [--listen HOST:PORT | --listen unix:PATH] [--config FILE] [--db FILE]\n"
    "\n"
    "Serves Sente's channel sockets over WebSocket from an SQLite event queue, beside dumbwaiter.fcgi, which\n"
    "serves them over Ajax.  Meant to sit behind the web server, which routes by the Upgrade header.\n"
    "\n"
    "  --listen ADDRESS  listen there (else ws.listen, 127.0.0.1:8090)\n"
    "  --config FILE     settings (else $DUMBWAITER_CONF, dumbwaiter.conf beside the program,\n"
    "                    /etc/dumbwaiter/dumbwaiter.conf)\n"
    "  --db FILE         queue file (else $DUMBWAITER_DB, store.path, dumbwaiter.db beside the program)\n"
    "  --user NAME       started as root: go on as this user, NAME[:GROUP] (else process.user, the queue's owner)\n"
    "  --help            this text\n"
    "  --version         the version\n"
    "\n"
    "Any setting [section] key can be given as DUMBWAITER_SECTION_KEY in the environment.\n"
    "Exit status: 0 stopped by a signal, 1 failed, 2 wrong usage.\n"
    "See dumbwaiter-ws(8) and dumbwaiter.conf(5).\n";

int main(int argc, char **argv)
{
    struct dw_arguments arguments = {NULL, NULL, NULL, NULL};
    int status = dw_arguments(argc, argv, PROGRAM, usage, &arguments), rc;
    struct dw_conf conf;
    struct dw_err err = {0};

    if (status >= 0)
        return status;
    dw_privileges_harden();
    rc = dw_conf_load(&conf, arguments.config, arguments.db, environ, &err);
    if (rc == DW_OK)
        rc = dw_conf_user(&conf, arguments.user, &err);
    if (rc != DW_OK) {
        (void)fprintf(stderr, PROGRAM ": %s\n", dw_err_say(&err, rc));
        return 1;
    }
    (void)dw_log_setup(PROGRAM, conf.log_level, conf.log_target, conf.log_format);
    dw_log_names(strcmp(conf.log_names, "on") == 0);
    rc = dw_sidecar_run(&conf, arguments.listen != NULL ? arguments.listen : conf.ws_listen, &err);
    if (rc != DW_OK)
        dw_log_error("%s", dw_err_say(&err, rc));
    dw_conf_fini(&conf);
    return rc == DW_OK ? 0 : 1;
}
