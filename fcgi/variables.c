/* CGI variables; see variables.h. */
#include "fcgi/variables.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

const char *dw_variables_get(char *const *env, const char *name)
{
    size_t len = strlen(name);

    for (; *env != NULL; env++) {
        if (strncmp(*env, name, len) == 0 && (*env)[len] == '=')
            return *env + len + 1;
    }
    return NULL;
}

void dw_variables_request(char *const *env, struct dw_request *request)
{
    const char *https = dw_variables_get(env, "HTTPS"), *scheme = dw_variables_get(env, "REQUEST_SCHEME");

    *request = (struct dw_request){
        .method = dw_variables_get(env, "REQUEST_METHOD"),
        .query = dw_variables_get(env, "QUERY_STRING"),
        .content_type = dw_variables_get(env, "CONTENT_TYPE"),
        .cookie = dw_variables_get(env, "HTTP_COOKIE"),
        .host = dw_variables_get(env, "HTTP_HOST"),
        .origin = dw_variables_get(env, "HTTP_ORIGIN"),
        .referer = dw_variables_get(env, "HTTP_REFERER"),
        .fetch_site = dw_variables_get(env, "HTTP_SEC_FETCH_SITE"),
        .csrf_header = dw_variables_get(env, "HTTP_X_CSRF_TOKEN"),
        .xsrf_header = dw_variables_get(env, "HTTP_X_XSRF_TOKEN"),
        .upgrade = dw_variables_get(env, "HTTP_UPGRADE"),
        .websocket_key = dw_variables_get(env, "HTTP_SEC_WEBSOCKET_KEY"),
        .remote_user = dw_variables_get(env, "REMOTE_USER"),
        .address = dw_variables_get(env, "REMOTE_ADDR"),
    };
    request->https = (https != NULL && (strcasecmp(https, "on") == 0 || strcmp(https, "1") == 0)) ||
                     (scheme != NULL && strcasecmp(scheme, "https") == 0);
}

size_t dw_variables_content_length(char *const *env)
{
    const char *text = dw_variables_get(env, "CONTENT_LENGTH");
    char *end;
    unsigned long long length;

    if (text == NULL || text[0] < '0' || text[0] > '9')
        return 0;
    errno = 0;
    length = strtoull(text, &end, 10);
    if (errno != 0 || length > SIZE_MAX / 2)
        return SIZE_MAX;
    return *end == '\0' ? (size_t)length : 0;
}
