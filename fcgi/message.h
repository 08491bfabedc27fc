/* One request read from a FastCGI connection by libfcgi.
 *
 * libfcgi is used for reading only.  The connection was accepted by our own loop and is handed to the
 * library as if it had kept it from an earlier request: FCGX_Accept_r then reads from it instead of
 * accepting.  Afterwards the library's streams (11 KB a request) are freed and the descriptor stays with
 * us.  The answer is written by connection.c, because FCGX_Finish_r would wait up to 2 s for a peer that
 * does not close. */
#ifndef DW_FCGI_MESSAGE_H
#define DW_FCGI_MESSAGE_H

#include "base/buf.h"
#include "hub/request.h"

#include <fcgiapp.h>

struct dw_message {
    FCGX_Request fcgx; /* holds the parameters until dw_message_release */
    struct dw_request request;
    struct dw_buf body;
    bool too_long;      /* the body exceeded the limit and was read away */
    bool cut;           /* the body ended before CONTENT_LENGTH */
    bool has_variables; /* `request` is valid */
};

/* Once per process, before any thread reads.  False: the library can't be used. */
bool dw_message_library(void);

void dw_message_init(struct dw_message *message);
void dw_message_fini(struct dw_message *message);

/* Reads a request from `descriptor` (blocking, with the receive time-out that the caller has set).
 * False: there was none to read; the descriptor is closed then.  `body_max` bounds the body. */
bool dw_message_read(struct dw_message *message, int descriptor, size_t body_max);

/* Frees what the library holds; the descriptor stays open. */
void dw_message_release(struct dw_message *message);

#endif
