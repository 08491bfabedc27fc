/* dumbwaiter.fcgi: FastCGI responder and CGI program in one.
 *
 * --listen makes it a FastCGI server of its own; a listening socket on descriptor 0 means that a web
 * server (or spawn-fcgi) started it; REQUEST_METHOD in the environment means plain CGI. */
#include "base/arguments.h"
#include "base/conf.h"
#include "base/listen.h"
#include "base/log.h"
#include "base/privileges.h"
#include "fcgi/cgi.h"
#include "fcgi/server.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PROGRAM "dumbwaiter.fcgi"

static const char usage[] =
    "Usage: " PROGRAM " [--listen unix:PATH | --listen HOST:PORT] [--config FILE] [--db FILE]\n"
    "\n"
    "Serves Sente's channel sockets over Ajax from an SQLite event queue, as a FastCGI responder or\n"
    "as a CGI program.  A web server that starts it needs no options.\n"
    "\n"
    "  --listen ADDRESS  listen there instead of on descriptor 0: unix:/run/dumbwaiter.sock, 127.0.0.1:9000\n"
    "  --config FILE     settings (else $DUMBWAITER_CONF, dumbwaiter.conf beside the program,\n"
    "                    /etc/dumbwaiter/dumbwaiter.conf)\n"
    "  --db FILE         queue file (else $DUMBWAITER_DB, store.path, dumbwaiter.db beside the program)\n"
    "  --user NAME       started as root: go on as this user, NAME[:GROUP] (else process.user, the queue's owner)\n"
    "  --help            this text\n"
    "  --version         the version\n"
    "\n"
    "Any setting [section] key can be given as DUMBWAITER_SECTION_KEY in the environment.\n"
    "Exit status: 0 stopped by a signal or request served, 1 failed, 2 wrong usage.\n"
    "See dumbwaiter.fcgi(8) and dumbwaiter(1).\n";

static int serve_fastcgi(struct dw_conf *conf, const char *address)
{
    struct dw_server_options options = {.conf = conf, .listen_fd = STDIN_FILENO, .lazy = address == NULL};
    struct dw_err err = {0};
    int rc = DW_OK;

    /* Only root may raise the limit of open files beyond what it was given. */
    (void)dw_listen_raise_limit((long)conf->limits_parked + DW_SERVER_DESCRIPTORS);
    if (address != NULL)
        rc = dw_privileges_listen(conf, address, &options.listen_fd, &err);
    else if (!conf->path_by_default) /* else the first request may say which queue it is: see backend.c */
        rc = dw_privileges_leave(conf, &err);
    if (rc == DW_OK && address != NULL)
        dw_log_info("listening on %s, queue %s", address, conf->store_path);
    if (rc == DW_OK) {
        rc = dw_server_run(&options, &err);
        if (address != NULL)
            dw_listen_unlink(address);
    }
    if (rc != DW_OK)
        dw_log_error("%s", dw_err_say(&err, rc));
    return rc == DW_OK ? 0 : 1;
}

int main(int argc, char **argv)
{
    struct dw_arguments arguments = {NULL, NULL, NULL, NULL};
    bool fastcgi, cgi = getenv("REQUEST_METHOD") != NULL;
    struct dw_conf conf;
    struct dw_err err = {0};
    int rc, status;

    dw_privileges_harden();
    /* A CGI query without "=" arrives as arguments (RFC 3875 section 4.4): they are not ours. */
    status = cgi ? -1 : dw_arguments(argc, argv, PROGRAM, usage, &arguments);
    if (status >= 0)
        return status;
    fastcgi = arguments.listen != NULL || dw_listen_inherited();
    if (!fastcgi && !cgi) {
        (void)fputs(PROGRAM ": started by hand, it needs --listen; try --help\n", stderr);
        return 2;
    }
    rc = dw_conf_load(&conf, arguments.config, arguments.db, environ, &err);
    if (rc == DW_OK)
        rc = dw_conf_user(&conf, arguments.user, &err);
    if (rc != DW_OK) {
        (void)dw_log_setup(PROGRAM, "info", "stderr", "text");
        dw_log_error("%s", dw_err_say(&err, rc));
        return fastcgi ? 1 : dw_cgi_refuse();
    }
    (void)dw_log_setup(PROGRAM, conf.log_level, conf.log_target, conf.log_format);
    dw_log_names(strcmp(conf.log_names, "on") == 0);
    status = fastcgi ? serve_fastcgi(&conf, arguments.listen) : dw_cgi_run(&conf, environ);
    dw_conf_fini(&conf);
    return status;
}
