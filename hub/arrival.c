/* Tells who a raw GET comes from; see arrival.h.
 *
 * The parameters are compared as they are written: a client writes its own the same way each time. */
#include "hub/arrival.h"

#include "base/hash.h"

#include <string.h>
#include <strings.h>

static bool is_named(const char *field, size_t len, const char *name)
{
    size_t name_len = strlen(name);

    return len >= name_len && strncasecmp(field, name, name_len) == 0 && (len == name_len || field[name_len] == '=');
}

static int64_t number(const char *digits, size_t len)
{
    int64_t value = 0;
    size_t i;

    for (i = 0; i < len && i < 18 && digits[i] >= '0' && digits[i] <= '9'; i++)
        value = value * 10 + (digits[i] - '0');
    return value;
}

bool dw_arrival_of(const char *query, size_t query_len, const char *token, const char *cookie, size_t cookie_len,
                   const char *user, size_t user_len, struct dw_arrival *arrival)
{
    const char *end = query + query_len, *field, *next, *id = NULL, *who = NULL;
    size_t id_len = 0, who_len = 0;

    memset(arrival, 0, sizeof *arrival);
    for (field = query; field < end; field = next + 1) {
        next = memchr(field, '&', (size_t)(end - field));
        if (next == NULL)
            next = end;
        if (is_named(field, (size_t)(next - field), "client-id")) {
            id = field;
            id_len = (size_t)(next - field);
        } else if (token != NULL && is_named(field, (size_t)(next - field), token)) {
            who = field;
            who_len = (size_t)(next - field);
        } else if (is_named(field, (size_t)(next - field), "udt") && next - field > 4) {
            arrival->udt = number(field + 4, (size_t)(next - field) - 4);
        } else if (is_named(field, (size_t)(next - field), "handshake?") ||
                   is_named(field, (size_t)(next - field), "handshake%3F")) {
            arrival->handshake = true;
        }
    }
    if (id == NULL)
        return false;
    /* No secret depends on it: who could make another client's key would have to know that client's cookies or
     * token. */
    arrival->key = dw_hash_field(DW_HASH_INIT, id, id_len);
    arrival->key = dw_hash_field(arrival->key, who, who_len);
    arrival->key = dw_hash_field(arrival->key, cookie, cookie_len);
    arrival->key = dw_hash_field(arrival->key, user, user_len);
    if (arrival->key == 0)
        arrival->key = 1;
    return true;
}
