/* Base64; pure functions for the readers and writers. */
#include "chsk/base64.h"

static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void dw_base64_put(struct dw_buf *out, const char *bytes, size_t len)
{
    const unsigned char *at = (const unsigned char *)bytes;

    while (len > 0) {
        size_t taken = len < 3 ? len : 3;
        uint32_t bits = (uint32_t)at[0] << 16;
        char four[4];

        if (taken > 1)
            bits |= (uint32_t)at[1] << 8;
        if (taken > 2)
            bits |= at[2];
        for (size_t i = 0; i < 4; i++)
            four[i] = (char)(i <= taken ? letters[bits >> (18 - 6 * i) & 63] : '=');
        dw_buf_add(out, four, 4);
        at += taken;
        len -= taken;
    }
}

static int value_of(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == '+')
        return 62;
    return c == '/' ? 63 : -1;
}

bool dw_base64_decode(const char *text, size_t len, char *out, size_t *out_len)
{
    size_t padding = 0, made = 0;

    if (len % 4 != 0)
        return false;
    while (padding < 2 && padding < len && text[len - 1 - padding] == '=')
        padding++;
    for (size_t i = 0; i < len; i += 4) {
        size_t kept = i + 4 == len ? 3 - padding : 3;
        uint32_t bits = 0;

        for (size_t k = 0; k < 4; k++) {
            int value = k <= kept ? value_of(text[i + k]) : 0;

            if (value < 0)
                return false;
            bits = bits << 6 | (uint32_t)value;
        }
        if (kept < 3 && (bits & (0xffffffU >> (8 * kept))) != 0)
            return false;
        for (size_t k = 0; k < kept; k++)
            out[made++] = (char)(bits >> (16 - 8 * k));
    }
    *out_len = made;
    return true;
}
