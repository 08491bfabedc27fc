/* Texts of the error codes, and the one place where an error sentence is formatted. */
#include "base/err.h"

#include <stdio.h>

static const char *const texts[] = {
#define DW_ERR_TEXT(code, text) [code] = (text),
    DW_ERRORS(DW_ERR_TEXT)
#undef DW_ERR_TEXT
};

const char *dw_err_text(int code)
{
    if (code < 0 || (size_t)code >= sizeof texts / sizeof texts[0])
        return "unknown error";
    return texts[code];
}

int dw_err_set(struct dw_err *err, int code, const char *format, ...)
{
    va_list args;

    if (err == NULL)
        return code;
    err->code = code;
    va_start(args, format);
    (void)vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    return code;
}

const char *dw_err_say(const struct dw_err *err, int code)
{
    if (err != NULL && err->code == code && err->text[0] != '\0')
        return err->text;
    return dw_err_text(code);
}
