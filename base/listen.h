/* Listening sockets: `unix:PATH`, `HOST:PORT`, or the one that the web server left on descriptor 0. */
#ifndef DW_BASE_LISTEN_H
#define DW_BASE_LISTEN_H

#include "base/err.h"

#include <stdbool.h>

/* Opens `address`, non-blocking, close-on-exec.  A Unix socket is made 0660; a dead one that is in the
 * way is replaced, a live one is not.  DW_CONF for an address that can't be read, DW_SYSTEM. */
int dw_listen_open(const char *address, int *descriptor, struct dw_err *err);
/* The same for a socket of whole messages (SOCK_SEQPACKET) that only its owner may connect to.  DW_BUSY: another
 * process listens there. */
int dw_listen_private(const char *path, int *descriptor, struct dw_err *err);
/* Removes the Unix socket's name, if `address` is one. */
void dw_listen_unlink(const char *address);

/* True when descriptor 0 is a listening socket: a web server started us as a FastCGI application. */
bool dw_listen_inherited(void);

/* Accepts one connection (non-blocking, close-on-exec), or returns -1.  On TCP, `welcome`, a comma-separated
 * list of addresses (NULL: all), says whose connections are.  `address` (may be NULL) receives the peer's,
 * "" over a Unix socket. */
#define DW_LISTEN_ADDRESS 46
int dw_listen_accept(int descriptor, const char *welcome, char address[DW_LISTEN_ADDRESS]);

/* Raises the descriptor limit as far as it may go, up to `want`; returns what it is then. */
long dw_listen_raise_limit(long want);

#endif
