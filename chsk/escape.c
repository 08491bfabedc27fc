/* Escapes of strings; see escape.h. */
#include "chsk/escape.h"

#include "chsk/utf8.h"

int dw_hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

int32_t dw_hex4(const char *at, const char *end)
{
    int32_t sum = 0;

    if (end - at < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        int digit = dw_hex_digit(at[i]);

        if (digit < 0)
            return -1;
        sum = sum * 16 + digit;
    }
    return sum;
}

bool dw_unicode_escape(const char **at, const char *end, uint32_t *codepoint)
{
    int32_t high = dw_hex4(*at + 1, end), low;

    if (high < 0)
        return false;
    *at += 5;
    *codepoint = (uint32_t)high;
    if (!dw_utf8_is_surrogate(*codepoint))
        return true;
    if (high >= 0xdc00 || end - *at < 6 || (*at)[0] != '\\' || (*at)[1] != 'u')
        return false;
    low = dw_hex4(*at + 2, end);
    if (low < 0xdc00 || low > 0xdfff)
        return false;
    *at += 6;
    *codepoint = 0x10000 + (((uint32_t)high - 0xd800) << 10) + ((uint32_t)low - 0xdc00);
    return true;
}
