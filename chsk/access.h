/* May this request come in?  CSRF token and origin, as Sente checks them (protocol.md, "Semantics").
 * Pure functions over strings. */
#ifndef DW_CHSK_ACCESS_H
#define DW_CHSK_ACCESS_H

#include <stdbool.h>
#include <stddef.h>

/* Equality in time that depends only on the lengths. */
bool dw_access_equal(const char *a, const char *b);
/* The same for `len` bytes of each: all of them are read, wherever the first difference is. */
bool dw_access_equal_bytes(const void *a, const void *b, size_t len);

/* The first of the client's three places that is present (not NULL) decides; no reference token means
 * no request passes. */
bool dw_access_csrf(const char *reference, const char *param, const char *header, const char *xsrf_header);

/* Where a request says that it comes from.  All may be NULL. */
struct dw_access_source {
    const char *host; /* the Host header */
    bool https;
    const char *origin, *referer;
    const char *fetch_site; /* the header Sec-Fetch-Site */
};

/* `allowed`: "*" = anybody, "" = the request's own host only, else a list of exact origins separated
 * by spaces or commas.
 * With a list, as Sente: an Origin must be listed; without one the Referer must start with a listed
 * origin and "/"; with neither the request is refused.
 * Own host: Origin, else Referer, must name the host, with https when `https`.  With neither, Sec-Fetch-Site
 * decides: another site's page, or one of a sibling host, is refused.  Without that too the request passes.
 * Such a request is no POST and no WebSocket of a browser, which sends Origin with both ("null" where a page
 * hides where it is).  It may be a program, which has no user's cookies but its own; or a GET of any page that
 * hides its address, from a browser of before 2023 or to a site without https: this check does not stop that
 * one, the CSRF token does. */
bool dw_access_origin(const char *allowed, const struct dw_access_source *source);

#endif
