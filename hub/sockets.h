/* The WebSockets of one process, held in its lot (lot.h) beside polls.
 *
 *     dw_serve, answer 101 --> dw_lot_adopt --> pushes: send() ... --> dw_socket_closed
 *                                          frames: dw_socket_receive, dw_socket_heard
 *
 * A client begins behind: it gets what it missed from its mailbox, in portions, each when the one before
 * has been sent (dw_socket_drained), and new pushes only when it has caught up.  So what waits for a client
 * is bounded; one that does not read fast enough is closed and resumes from the queue.  Receipt is proven by
 * ping barriers (chsk/ws_step.h); what is proven goes into the client's claim word, where the next
 * connection finds it, whichever process died meanwhile.
 *
 * Of two connections with one client id the newest gets the pushes; the older one stays open, and its own
 * messages are answered.  All of this belongs to the lot's thread. */
#ifndef DW_HUB_SOCKETS_H
#define DW_HUB_SOCKETS_H

#include "hub/lot.h"
#include "hub/serve.h"

/* A message has come; `server` is of the lot's thread, and lends its arena. DW_BUSY: it can't be stored at the moment;
 * the caller keeps it, receives nothing else from this client, and tries again.  DW_QUOTA: likewise, its uid sends
 * more than limits.requests_per_s_uid.  Else DW_OK. */
int dw_socket_receive(struct dw_lot *lot, struct dw_server *server, struct dw_parked *parked, const char *bytes,
                      size_t len, bool binary);
/* Any other frame has come: the client lives. */
void dw_socket_heard(struct dw_lot *lot, struct dw_parked *parked);
/* There is room again (callback has_room): sends what the client has missed. */
void dw_socket_drained(struct dw_lot *lot, struct dw_parked *parked);
/* The connection is closed, whoever closed it: frees `parked`.  The client is given its grace period. */
void dw_socket_closed(struct dw_lot *lot, struct dw_parked *parked);

size_t dw_socket_count(const struct dw_lot *lot);
size_t dw_socket_count_uid(const struct dw_lot *lot, const char *uid);

#endif
