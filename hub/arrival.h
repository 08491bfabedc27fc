/* The arrival of a poll, told from the raw request before anything is decoded, checked or looked up: so
 * early that a killed worker can hardly come in between (store.h, "arrival notes").  Pure. */
#ifndef DW_HUB_ARRIVAL_H
#define DW_HUB_ARRIVAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct dw_arrival {
    uint64_t key;   /* of the client: its id, token, cookies and user as the request has them; never 0 */
    int64_t udt;    /* its clock, 0: none given */
    bool handshake; /* handshake? is among the parameters */
};

/* False: the request names no client.  `token`: the name of the parameter that tells who it is, NULL: none does.
 * `cookie` and `user` may be NULL with length 0. */
bool dw_arrival_of(const char *query, size_t query_len, const char *token, const char *cookie, size_t cookie_len,
                   const char *user, size_t user_len, struct dw_arrival *arrival);

#endif
