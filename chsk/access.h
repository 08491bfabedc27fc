/* May this request come in?  CSRF token and origin, as Sente checks them (protocol.md, "Semantics").
 * Pure functions over strings. */
#ifndef DW_CHSK_ACCESS_H
#define DW_CHSK_ACCESS_H

#include <stdbool.h>

/* Equality in time that depends only on the lengths. */
bool dw_access_equal(const char *a, const char *b);

/* The first of the client's three places that is present (not NULL) decides; no reference token means
 * no request passes. */
bool dw_access_csrf(const char *reference, const char *param, const char *header, const char *xsrf_header);

/* `allowed`: "*" = anybody, "" = the request's own host only, else a list of exact origins separated
 * by spaces or commas.
 * With a list, as Sente: an Origin must be listed; without one the Referer must start with a listed
 * origin and "/"; with neither the request is refused.
 * Own host: Origin, else Referer, must name `host` (the Host header), with https when `https`; a request
 * with neither passes: browsers leave out both only for same-origin requests, and the CSRF token still
 * stands. */
bool dw_access_origin(const char *allowed, const char *host, bool https, const char *origin, const char *referer);

#endif
