/* Decodes request parameters; see params.h. */
#include "chsk/params.h"

#include "chsk/escape.h"
#include "chsk/utf8.h"

#include <stdlib.h>
#include <string.h>

void dw_params_init(struct dw_params *params)
{
    params->count = 0;
    params->texts = 0;
}

void dw_params_fini(struct dw_params *params)
{
    while (params->texts > 0)
        free(params->text[--params->texts]);
    params->count = 0;
}

/* Decodes [from, end) to `to` (never longer), NUL-terminates, returns the length. */
static size_t decode(const char *from, const char *end, char *to)
{
    char *start = to;

    for (; from < end; from++) {
        if (*from == '+') {
            *to++ = ' ';
        } else if (*from == '%' && end - from > 2 && dw_hex_digit(from[1]) >= 0 && dw_hex_digit(from[2]) >= 0) {
            *to++ = (char)(dw_hex_digit(from[1]) << 4 | dw_hex_digit(from[2]));
            from += 2;
        } else {
            *to++ = *from;
        }
    }
    *to = '\0';
    return (size_t)(to - start);
}

static int add_field(struct dw_params *params, const char *field, const char *end, char **to, struct dw_err *err)
{
    const char *equals = memchr(field, '=', (size_t)(end - field));
    struct dw_param *param;
    size_t name_len;

    if (params->count == DW_PARAMS_MAX)
        return dw_err_set(err, DW_LIMIT, "more than %d request parameters", DW_PARAMS_MAX);
    param = &params->list[params->count];
    param->name = *to;
    name_len = decode(field, equals != NULL ? equals : end, *to);
    *to += name_len + 1;
    param->value = *to;
    param->value_len = equals != NULL ? decode(equals + 1, end, *to) : 0;
    (*to)[param->value_len] = '\0';
    *to += param->value_len + 1;
    if (strlen(param->name) != name_len || strlen(param->value) != param->value_len)
        return dw_err_set(err, DW_INVALID, "a request parameter contains a NUL byte");
    if (dw_utf8_valid(param->name, name_len) != name_len ||
        dw_utf8_valid(param->value, param->value_len) != param->value_len)
        return dw_err_set(err, DW_INVALID, "a request parameter is not valid UTF-8");
    params->count++;
    return DW_OK;
}

int dw_params_add(struct dw_params *params, const char *text, size_t len, struct dw_err *err)
{
    const char *end = text + len, *field = text, *next;
    char *to;
    int rc = DW_OK;

    if (len == 0)
        return DW_OK;
    if (params->texts == sizeof params->text / sizeof params->text[0])
        return dw_err_set(err, DW_LIMIT, "too many parameter texts");
    /* Each field needs at most its own bytes and two terminators (one stands for '=' or is extra). */
    to = malloc(len + 2 * (size_t)DW_PARAMS_MAX + 2);
    if (to == NULL)
        return dw_err_set(err, DW_NOMEM, "out of memory");
    params->text[params->texts++] = to;
    while (field < end && rc == DW_OK) {
        next = memchr(field, '&', (size_t)(end - field));
        if (next == NULL)
            next = end;
        if (next > field)
            rc = add_field(params, field, next, &to, err);
        field = next + 1;
    }
    return rc;
}

const struct dw_param *dw_params_find(const struct dw_params *params, const char *name)
{
    size_t i;

    for (i = params->count; i > 0; i--) {
        if (strcmp(params->list[i - 1].name, name) == 0)
            return &params->list[i - 1];
    }
    return NULL;
}

const char *dw_params_get(const struct dw_params *params, const char *name)
{
    const struct dw_param *param = dw_params_find(params, name);

    return param != NULL ? param->value : NULL;
}

bool dw_cookie_find(const char *header, const char *name, struct dw_buf *out)
{
    size_t name_len = strlen(name), len;
    const char *p = header;

    while (p != NULL && *p != '\0') {
        p += strspn(p, " \t;");
        len = strcspn(p, ";");
        if (len > name_len && strncmp(p, name, name_len) == 0 && p[name_len] == '=') {
            const char *value = p + name_len + 1;
            size_t value_len = len - name_len - 1;

            while (value_len > 0 && (value[value_len - 1] == ' ' || value[value_len - 1] == '\t'))
                value_len--;
            if (value_len >= 2 && value[0] == '"' && value[value_len - 1] == '"') {
                value++;
                value_len -= 2;
            }
            dw_buf_add(out, value, value_len);
            return true;
        }
        p += len;
    }
    return false;
}
