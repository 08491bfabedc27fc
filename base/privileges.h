/* Leaving root, and what no program of ours ever needs.
 *
 * A server that is started as root binds its socket as root and goes on as an ordinary user, for good:
 * `process.user`, else the owner of the queue file.  Its files then belong to that user from the start. */
#ifndef DW_BASE_PRIVILEGES_H
#define DW_BASE_PRIVILEGES_H

#include "base/conf.h"
#include "base/err.h"

#include <stdbool.h>
#include <sys/types.h>

struct dw_account {
    bool change; /* false: stay who we are */
    uid_t uid;
    gid_t gid;
    char name[64]; /* of the user, whose groups come along; "": it has none */
};

/* For every program, before anything else: no program that is started from here gains privileges
 * (no_new_privs), and no core file is written, which would hold sessions, and under CGI lie in the web site. */
void dw_privileges_harden(void);

/* Who to go on as.  `user` is process.user, NAME[:GROUP], both also as numbers; "" as root means the owner of
 * `queue` (for a link that is not root's, of the link), or of its folder while there is no such file.  Nothing changes
 * for who is that user already, for "root", and for an owner that is root.  DW_CONF: there is no such user or group.
 * DW_DENIED: it is another user than the one who started us, and that is not root. */
int dw_account_find(const char *user, const char *queue, struct dw_account *account, struct dw_err *err);
/* Becomes that user, with its groups, in all threads; verifies that there is no way back.  DW_SYSTEM: the
 * process must end, since nobody knows what it still may do. */
int dw_account_become(const struct dw_account *account, struct dw_err *err);

/* Opens `address` (see listen.h) as who we are, gives a Unix socket to the user that process.user says, and becomes
 * that user.  Logs a warning where that leaves us root.  On failure *descriptor may be open and is the caller's. */
int dw_privileges_listen(const struct dw_conf *conf, const char *address, int *descriptor, struct dw_err *err);
/* The same without a socket: where the web server has left us one. */
int dw_privileges_leave(const struct dw_conf *conf, struct dw_err *err);

#endif
