/* The FastCGI server: one loop thread, a few reader threads, one housekeeping thread.
 *
 *                      accept, peek            libfcgi reads, dw_serve
 *     web server ---> [ loop thread ] --fd--> [ reader threads ] --answer at once--> web server
 *                          ^   |                     |
 *            doorbell ----'   '<------- parked -----'
 *                  the lot: answers parked requests when pushes, replies or deadlines come
 *
 * The loop thread waits in epoll for everything, hands a connection to the readers only when its whole
 * request has arrived (a slow or broken sender costs a descriptor, not a thread), and never blocks.
 * The queue is opened at once where an address to listen on was given, else with the first request: its
 * parameters may carry settings (SetEnv). */
#ifndef DW_FCGI_SERVER_H
#define DW_FCGI_SERVER_H

#include "base/conf.h"
#include "base/err.h"

#include <stdbool.h>

/* Descriptors that are no held polls: listening socket, databases, doorbell, requests being served. */
#define DW_SERVER_DESCRIPTORS 256

struct dw_server_options {
    struct dw_conf *conf; /* may get further settings from the first request when `lazy` */
    int listen_fd;
    bool lazy;
};

/* Serves until SIGTERM, SIGINT or SIGUSR1, then answers what is held and returns DW_OK; an error when the
 * queue can't be opened or the system refuses what is needed. */
int dw_server_run(const struct dw_server_options *options, struct dw_err *err);

#endif
