/* CSRF and origin checks; see access.h. */
#include "chsk/access.h"

#include <string.h>
#include <strings.h>

bool dw_access_equal(const char *a, const char *b)
{
    size_t a_len = strlen(a), b_len = strlen(b), i;
    volatile unsigned char difference = 0;

    if (a_len != b_len)
        return false;
    for (i = 0; i < a_len; i++)
        difference |= (unsigned char)(a[i] ^ b[i]);
    return difference == 0;
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

bool dw_access_origin(const char *allowed, const char *host, bool https, const char *origin, const char *referer)
{
    const char *url = origin != NULL ? origin : referer;
    bool whole = origin != NULL;

    if (strcmp(allowed, "*") == 0)
        return true;
    if (allowed[0] != '\0')
        return url != NULL && is_listed(allowed, url, whole);
    return url == NULL || is_own_host(url, host != NULL ? host : "", https, whole);
}
