/* Held polls of many processes in one.
 *
 * Where the web server gives each process one request at a time (mod_fcgid), a hundred held polls are a hundred
 * processes, and a push would have to wake them all: 15 ms of CPU, where one process that holds as many needs 1.5.
 * So as soon as waiters are a crowd (the doorbell has a leader), one of them opens a door and holds for
 * the others.  They pass it the connections of their polls and let their doorbells go.
 *
 *     process ---a poll's connection (SCM_RIGHTS)---> holder ---answer---> web server
 *        '<-- the web server's next request, once the holder has answered and closed
 *
 * The web server sees no difference.  The client's row names the holder's worker from the start (dw_hub_holder),
 * so that the holder's death releases its clients; a poll that can't be passed on although its row says so is
 * answered with its time-out, and its client's next one finds another place.  A holder that ends in good order takes
 * in what has been sent to it and answers all of it.  When it is killed, its polls end as those of any killed process.
 *
 * The door is a socket in the state folder that only the same user may open, and both ends check that; who reads
 * other settings (another version, too) is not talked to.  Everything here belongs to the loop thread. */
#ifndef DW_FCGI_HANDOVER_H
#define DW_FCGI_HANDOVER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct dw_fcgi;
struct dw_parked;

/* What an epoll event is about. */
struct dw_handover_end {
    _Alignas(8) enum { DW_HANDOVER_DOOR, DW_HANDOVER_GUEST, DW_HANDOVER_HOLDER } kind;
};

/* A process that polls are held for. */
struct dw_guest {
    struct dw_handover_end end; /* first: epoll's pointer is to it */
    struct dw_guest *prev, *next;
    int descriptor; /* -1: it has gone, some of its polls have not */
    int32_t worker; /* -1: it has lent nothing yet */
    uint32_t polls;
    bool outdated; /* it knows us by a number that we no longer have: it has to ask again */
};

struct dw_handover {
    struct dw_handover_end door_end, holder_end;
    bool unusable;
    uint64_t settings; /* a digest of version and settings */
    /* holding for others */
    int door;       /* listens; -1: not open */
    ino_t door_ino; /* of its name */
    dev_t door_dev;
    struct dw_guest *guests;
    /* lending to a holder */
    int holder; /* the connection; -1: none */
    int32_t worker;
};

void dw_handover_init(struct dw_handover *handover);
/* After dw_handover_stop; once the lot is freed. */
void dw_handover_fini(struct dw_fcgi *fcgi);

/* A poll is held here: in a crowd, finds a holder for the next one, or opens the door to others. */
void dw_handover_seek(struct dw_fcgi *fcgi);
/* Passes `parked`, whose row names another worker, on to that one.  True: it is gone.  False: it is still the
 * caller's, and can't be held. */
bool dw_handover_lend(struct dw_fcgi *fcgi, struct dw_parked *parked);
/* A poll that was held for a guest has ended: before its connection is closed. */
void dw_handover_returned(struct dw_fcgi *fcgi, struct dw_parked *parked);

void dw_handover_event(struct dw_fcgi *fcgi, struct dw_handover_end *end);
/* Closes the door and takes in what has been sent already. */
void dw_handover_stop(struct dw_fcgi *fcgi);

#endif
