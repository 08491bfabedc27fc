/* The memory backend's version of the triggers in sql/: refuses the same rows, in fewer words.  Pure
 * functions over the row. */
#include "store/memory_priv.h"

#include <ctype.h>
#include <string.h>

#define DATA_MAX 1048576u
#define DEPTH_MAX 1000 /* as SQLite's json_valid */

struct json {
    const char *at, *end;
};

static void skip_space(struct json *j)
{
    while (j->at < j->end && (*j->at == ' ' || *j->at == '\t' || *j->at == '\n' || *j->at == '\r'))
        j->at++;
}

static bool eat(struct json *j, char c)
{
    skip_space(j);
    if (j->at == j->end || *j->at != c)
        return false;
    j->at++;
    return true;
}

static bool eat_word(struct json *j, const char *word)
{
    size_t len = strlen(word);

    if ((size_t)(j->end - j->at) < len || memcmp(j->at, word, len) != 0)
        return false;
    j->at += len;
    return true;
}

static bool eat_digits(struct json *j)
{
    const char *start = j->at;

    while (j->at < j->end && isdigit((unsigned char)*j->at))
        j->at++;
    return j->at > start;
}

static bool eat_number(struct json *j)
{
    const char *start;

    (void)eat_word(j, "-");
    start = j->at;
    if (!eat_digits(j) || (*start == '0' && j->at > start + 1))
        return false;
    if (eat_word(j, ".") && !eat_digits(j))
        return false;
    if (eat_word(j, "e") || eat_word(j, "E")) {
        if (!eat_word(j, "+"))
            (void)eat_word(j, "-");
        return eat_digits(j);
    }
    return true;
}

static bool eat_escape(struct json *j)
{
    int digits = 0;

    if (j->at == j->end)
        return false;
    if (*j->at++ != 'u')
        return strchr("\"\\/bfnrt", j->at[-1]) != NULL;
    while (digits < 4 && j->at < j->end && isxdigit((unsigned char)*j->at)) {
        j->at++;
        digits++;
    }
    return digits == 4;
}

static bool eat_string(struct json *j)
{
    if (!eat(j, '"'))
        return false;
    while (j->at < j->end) {
        unsigned char c = (unsigned char)*j->at++;

        if (c == '"')
            return true;
        if (c < 0x20 || (c == '\\' && !eat_escape(j)))
            return false;
    }
    return false;
}

static bool eat_scalar(struct json *j)
{
    skip_space(j);
    if (j->at == j->end)
        return false;
    if (*j->at == '"')
        return eat_string(j);
    return eat_word(j, "true") || eat_word(j, "false") || eat_word(j, "null") || eat_number(j);
}

/* The closing brackets that are still to come are kept on a stack of our own: input decides the depth. */
bool dw_mem_json_valid(const char *text, size_t len)
{
    struct json j = {text, text + len};
    char open[DEPTH_MAX];
    int depth = 0;

    for (;;) {
        bool complete = false;

        if (eat(&j, '{') || eat(&j, '[')) {
            if (depth == DEPTH_MAX)
                return false;
            open[depth++] = j.at[-1];
            complete = eat(&j, open[depth - 1] == '{' ? '}' : ']');
            if (complete)
                depth--;
            else if (open[depth - 1] == '{' && !(eat_string(&j) && eat(&j, ':')))
                return false;
        } else {
            complete = eat_scalar(&j);
            if (!complete)
                return false;
        }
        while (complete && depth > 0 && eat(&j, open[depth - 1] == '{' ? '}' : ']'))
            depth--;
        if (!complete)
            continue;
        if (depth == 0)
            break;
        if (!eat(&j, ',') || (open[depth - 1] == '{' && !(eat_string(&j) && eat(&j, ':'))))
            return false;
    }
    skip_space(&j);
    return j.at == j.end;
}

static bool legal_part(const char *part, size_t len)
{
    if (len == 0 || isdigit((unsigned char)part[0]) ||
        (len > 1 && strchr("+-.", part[0]) != NULL && isdigit((unsigned char)part[1])))
        return false;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)part[i];

        if (c < 0x80 && !isalnum(c) && strchr(".*+!-_?$%&=<>#'|", c) == NULL)
            return false;
    }
    return true;
}

static int check_event(const char *event, struct dw_err *err)
{
    const char *slash = event != NULL ? strchr(event, '/') : NULL;

    if (event == NULL)
        return dw_err_set(err, DW_INVALID, "dw_push: no event");
    if (event[0] == ':')
        return dw_err_set(err, DW_INVALID, "dw_push: event is written without the leading colon");
    if (slash == NULL || strchr(slash + 1, '/') != NULL)
        return dw_err_set(err, DW_INVALID, "dw_push: event must have exactly one slash");
    if (!legal_part(event, (size_t)(slash - event)) || !legal_part(slash + 1, strlen(slash + 1)) || event[0] == '#' ||
        event[0] == '\'')
        return dw_err_set(err, DW_INVALID, "dw_push: event is not a keyword");
    if (strncmp(event, "chsk/", 5) == 0 && strcmp(event, "chsk/close") != 0)
        return dw_err_set(err, DW_INVALID, "dw_push: the namespace chsk belongs to the protocol");
    return DW_OK;
}

int dw_mem_check_data(const char *data, size_t len, const char *format, struct dw_err *err)
{
    if (strcmp(format, "json") != 0 && strcmp(format, "edn") != 0 && strcmp(format, "transit") != 0)
        return dw_err_set(err, DW_INVALID, "format must be json, edn or transit");
    if (data == NULL)
        return DW_OK;
    if (len > DATA_MAX)
        return dw_err_set(err, DW_INVALID, "data is larger than 1 MiB");
    if (memchr(data, '\0', len) != NULL)
        return dw_err_set(err, DW_INVALID, "data contains a NUL character");
    if (strcmp(format, "json") == 0 ? !dw_mem_json_valid(data, len) : strspn(data, " ") == len)
        return dw_err_set(err, DW_INVALID, "data is not valid %s", format);
    return DW_OK;
}

int dw_mem_check_push(const struct dw_push *push, struct dw_err *err)
{
    bool to_clients = push->uid != NULL || push->client_id != NULL;
    const char *named = push->client_id != NULL ? push->client_id : push->room;
    int rc;

    if (to_clients == (push->room != NULL))
        return dw_err_set(err, DW_INVALID, "dw_push: set room alone, or uid, client_id or both of them");
    if (named != NULL && named[0] == '\0')
        return dw_err_set(err, DW_INVALID, "dw_push: client_id or room is empty");
    rc = check_event(push->event, err);
    if (rc == DW_OK)
        rc = dw_mem_check_data(push->data, push->data_len, push->format != NULL ? push->format : "json", err);
    return rc;
}
