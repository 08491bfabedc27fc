/* FastCGI records, as far as libfcgi does not do it for us: telling whether a whole request has arrived
 * before anyone reads it, and writing the answer to a request whose FCGX_Request is gone.
 *
 *   byte    0        1      2      3     4      5     6        7
 *        version=1  type   request id   content length  padding  reserved      FastCGI 1.0, section 3.3
 *
 * Pure: bytes in, bytes out. */
#ifndef DW_FCGI_RECORD_H
#define DW_FCGI_RECORD_H

#include "base/buf.h"

#include <stddef.h>
#include <stdint.h>

enum dw_record_state {
    DW_RECORD_MORE,   /* the request is not complete yet */
    DW_RECORD_READY,  /* parameters and body are complete, or there is something to answer already */
    DW_RECORD_BROKEN, /* this is no FastCGI request */
};

/* Looks at the first `len` bytes of a connection.  A body may still be on its way when `len` is all that
 * the caller can look at: READY then means that the parameters are complete. */
enum dw_record_state dw_record_look(const unsigned char *bytes, size_t len, size_t room);

/* Appends FCGI_STDOUT records with `head` and `body`, the empty record that ends the stream, and
 * FCGI_END_REQUEST (complete, status 0). */
void dw_record_answer(struct dw_buf *out, uint16_t request_id, const char *head, size_t head_len, const char *body,
                      size_t body_len);

#endif
