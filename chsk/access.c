/* CSRF and origin checks; see access.h. */
#include "chsk/access.h"

#include <string.h>
#include <strings.h>

bool dw_access_equal_bytes(const void *a, const void *b, size_t len)
{
    const unsigned char *one = a, *other = b;
    volatile unsigned char difference = 0;

    for (size_t i = 0; i < len; i++)
        difference |= (unsigned char)(one[i] ^ other[i]);
    return difference == 0;
}

bool dw_access_equal(const char *a, const char *b)
{
    size_t len = strlen(a);

    return len == strlen(b) && dw_access_equal_bytes(a, b, len);
}

bool dw_access_csrf(const char *reference, const char *param, const char *header, const char *xsrf_header)
{
    const char *given = param != NULL ? param : header != NULL ? header : xsrf_header;

    if (reference == NULL || reference[0] == '\0' || given == NULL)
        return false;
    return dw_access_equal(reference, given);
}

/* Does `url` begin with exactly this origin?  `whole`: nothing may follow, else a "/" must. */
static bool begins_with(const char *url, const char *origin, size_t len, bool whole)
{
    return strncmp(url, origin, len) == 0 && (whole ? url[len] == '\0' : url[len] == '/');
}

static bool is_listed(const char *allowed, const char *url, bool whole)
{
    static const char separators[] = " ,\t";
    size_t len;

    for (allowed += strspn(allowed, separators); *allowed != '\0'; allowed += strspn(allowed, separators)) {
        len = strcspn(allowed, separators);
        if (begins_with(url, allowed, len, whole))
            return true;
        allowed += len;
    }
    return false;
}

static bool is_own_host(const char *url, const char *host, bool https, bool whole)
{
    size_t len = strlen(host);

    if (strncasecmp(url, "https://", 8) == 0)
        url += 8;
    else if (!https && strncasecmp(url, "http://", 7) == 0)
        url += 7;
    else
        return false;
    return len > 0 && strncasecmp(url, host, len) == 0 && (whole ? url[len] == '\0' : url[len] == '/');
}

/* For a request without Origin and Referer.  "none" is the address bar: the user's own wish. */
static bool is_from_own_page(const char *fetch_site)
{
    return fetch_site == NULL || strcmp(fetch_site, "same-origin") == 0 || strcmp(fetch_site, "none") == 0;
}

bool dw_access_origin(const char *allowed, const struct dw_access_source *source)
{
    const char *url = source->origin != NULL ? source->origin : source->referer;
    bool whole = source->origin != NULL;

    if (strcmp(allowed, "*") == 0)
        return true;
    if (allowed[0] != '\0')
        return url != NULL && is_listed(allowed, url, whole);
    if (url == NULL)
        return is_from_own_page(source->fetch_site);
    return is_own_host(url, source->host != NULL ? source->host : "", source->https, whole);
}
