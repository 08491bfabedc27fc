/* dumbwaiter listen: what a client of a URL would receive.  Checks the arguments; a program of its own does the rest,
 * so that the other commands don't load a network library that only this one needs. */
#include "base/clock.h"
#include "cli/cli.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LISTENER "dumbwaiter-listen"
#define PATH_BYTES 4096

static const char help[] =
    "Usage: dumbwaiter listen [--ajax | --ws] [--client-id ID] [--cookie COOKIE] [--csrf-token TOKEN] [--json] URL\n"
    "\n"
    "Connects to a server as a browser would, with the JSON packer, and prints a line for each handshake, event and\n"
    "time-out, and for each connection that ends.  Comes back when it breaks; ends with status 1 when it is refused.\n"
    "Without --ajax and --ws: a WebSocket, or Ajax where the first attempt at one fails.  It needs no queue.\n"
    "\n"
    "  URL                 http:// or https://; ws:// and wss:// mean the same.  Over TLS the server's certificate "
    "must\n"
    "                      be for the URL's host, and from an authority that this machine trusts, or that\n"
    "                      SSL_CERT_FILE in the environment names\n"
    "  --ajax              by Ajax\n"
    "  --ws                over a WebSocket\n"
    "  --client-id ID      this client's id (else a new one); with that of an open page, it takes the page's events\n"
    "  --cookie COOKIE     as in the header, NAME=VALUE\n"
    "  --csrf-token TOKEN  the session's token\n"
    "  --json              each line is a JSON object, with \"at\" in Unix milliseconds\n"
    "\n"
    "Other users of this machine can see a cookie on the command line while it runs.\n"
    "It is the one command that needs libwebsockets on this machine, in a static build (--enable-static-libs) too.\n";

/* In a build folder the program lies in ws/ beside this one's folder. */
static void run_beside(char *const *words)
{
    char path[PATH_BYTES];
    ssize_t len = readlink("/proc/self/exe", path, sizeof path - sizeof "/ws/" LISTENER);

    if (len <= 0)
        return;
    path[len] = '\0';
    for (int i = 0; i < 2; i++) {
        char *slash = strrchr(path, '/');

        if (slash != NULL)
            *slash = '\0';
    }
    memcpy(path + strlen(path), "/ws/" LISTENER, sizeof "/ws/" LISTENER); /* the room was left above */
    (void)execv(path, words);
}

static bool is_url(const char *text)
{
    static const char *const schemes[] = {"http://", "https://", "ws://", "wss://"};

    for (size_t i = 0; i < sizeof schemes / sizeof schemes[0]; i++) {
        if (strncmp(text, schemes[i], strlen(schemes[i])) == 0)
            return true;
    }
    return false;
}

static int run(struct dw_cli *cli, int argc, char *const *argv)
{
    const char *client_id = NULL, *cookie = "", *token = "";
    bool ajax = false, ws = false, json = false;
    const struct dw_option options[] = {{"client-id", &client_id, NULL},
                                        {"cookie", &cookie, NULL},
                                        {"csrf-token", &token, NULL},
                                        {"ajax", NULL, &ajax},
                                        {"ws", NULL, &ws},
                                        {"json", NULL, &json},
                                        {NULL, NULL, NULL}};
    char own_id[64];
    int status = dw_cli_begin(cli, options, 1, 1, argc, argv);

    if (status != DW_EXIT_GO_ON)
        return status;
    if (ajax && ws)
        return dw_cli_usage(cli, "--ajax and --ws exclude each other");
    if (!is_url(cli->args[0]))
        return dw_cli_usage(cli, "URL must begin with http://, https://, ws:// or wss://");
    if (client_id != NULL && client_id[0] == '\0')
        return dw_cli_usage(cli, "--client-id must not be empty");
    (void)snprintf(own_id, sizeof own_id, "listen-%" PRId64 "-%ld", dw_clock_wall_ms(), (long)getpid());
    {
        const char *const words[] = {LISTENER,
                                     ws     ? "ws"
                                     : ajax ? "ajax"
                                            : "auto",
                                     json ? "1" : "0",
                                     cli->args[0],
                                     client_id != NULL ? client_id : own_id,
                                     cookie,
                                     token,
                                     NULL};
        char *copies[sizeof words / sizeof words[0]];

        memcpy(copies, words, sizeof words); /* execv changes nothing, whatever its prototype says */
        run_beside(copies);
        (void)execv(DW_LIBEXECDIR "/" LISTENER, copies);
    }
    (void)fprintf(stderr, DW_CLI_PROGRAM " listen: cannot start " DW_LIBEXECDIR "/" LISTENER ": %s%s\n",
                  strerror(errno),
                  errno == ENOENT ? "; it is built where libwebsockets is (./configure --enable-ws)" : "");
    return DW_EXIT_FAILED;
}

const struct dw_command dw_command_listen = {"listen", "print what a client of a URL would receive", help, run};
