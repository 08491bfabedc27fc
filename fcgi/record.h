/* FastCGI records, as far as libfcgi does not do it for us: collecting a request as it arrives, without
 * a thread that waits for it, and writing the answer to a request whose FCGX_Request is gone.
 *
 *   byte    0        1      2      3     4      5     6        7
 *        version=1  type   request id   content length  padding  reserved      FastCGI 1.0, section 3.3
 *
 * Pure: bytes in, bytes out. */
#ifndef DW_FCGI_RECORD_H
#define DW_FCGI_RECORD_H

#include "base/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A request on its way in.  Starts zeroed. */
struct dw_inflow {
    struct dw_buf bytes;     /* the records so far, but for what of the body is over the limit */
    unsigned char header[8]; /* of the record under way */
    size_t header_len, left; /* bytes of its header that are here; of its content and padding that are not */
    size_t params, body;     /* content bytes of these streams so far */
    uint16_t request_id;
    bool begun, keeping, body_skipped;
    bool params_skipped; /* they are beyond all bounds: nothing but the request's end is of interest */
};

enum dw_inflow_state {
    DW_INFLOW_MORE,   /* the request is not complete yet */
    DW_INFLOW_READY,  /* it is complete, or there is something that the library has to answer already */
    DW_INFLOW_BROKEN, /* this is no FastCGI request */
};

/* Takes the next bytes of a connection.  Of the body at most `body_max` bytes are kept; `body_skipped`
 * tells that there were more. */
enum dw_inflow_state dw_inflow_feed(struct dw_inflow *inflow, const unsigned char *bytes, size_t len, size_t body_max);

/* The value of a parameter in a request that is complete, or NULL: not there, or in a place that is not
 * worth looking at (parameters of more than one record).  Not NUL-terminated. */
const char *dw_inflow_param(const struct dw_inflow *inflow, const char *name, size_t *len);

/* True: what is complete is a management record of a type that nobody knows; appends the answer to it
 * (FCGI_UNKNOWN_TYPE, section 4.2).  libfcgi would do so too, but leaks memory each time. */
bool dw_record_unknown(const struct dw_inflow *inflow, struct dw_buf *out);

/* Appends FCGI_STDOUT records with `head` and `body`, the empty record that ends the stream, and
 * FCGI_END_REQUEST (complete, status 0). */
void dw_record_answer(struct dw_buf *out, uint16_t request_id, const char *head, size_t head_len, const char *body,
                      size_t body_len);

#endif
