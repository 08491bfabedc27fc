/* One request, its bytes collected (record.h), read by libfcgi.
 *
 * libfcgi is used for reading only, and never from the connection itself: it would block there.  The bytes
 * are put into a memory file, which the library is given as if it were a connection that it had kept from
 * an earlier request: FCGX_Accept_r then reads from it instead of accepting.  Afterwards its streams
 * (11 KB a request) are freed.  The answer is written by output.c, because FCGX_Finish_r would wait up to
 * 2 s for a peer that does not close. */
#ifndef DW_FCGI_MESSAGE_H
#define DW_FCGI_MESSAGE_H

#include "base/buf.h"
#include "fcgi/record.h"
#include "hub/request.h"

#include <fcgiapp.h>
#include <stdbool.h>

struct dw_message {
    FCGX_Request fcgx; /* holds the parameters until dw_message_release */
    int file;          /* the memory file, kept from request to request; -1: none yet */
    struct dw_request request;
    struct dw_buf body;
    bool too_long; /* there was more of a body than is kept */
    bool cut;      /* the body ended before CONTENT_LENGTH */
};

/* Once per process, before any thread reads.  False: the library can't be used. */
bool dw_message_library(void);

void dw_message_init(struct dw_message *message);
void dw_message_fini(struct dw_message *message);

/* Reads the request that `inflow` has collected.  False: it is none that can be served; what the library
 * has to say to it (FCGI_END_REQUEST, answers to management records) is appended to `reply`. */
bool dw_message_read(struct dw_message *message, const struct dw_inflow *inflow, struct dw_buf *reply);

/* Frees what the library holds. */
void dw_message_release(struct dw_message *message);

#endif
