/* UUIDs as text; pure functions for the readers. */
#include "chsk/uuid.h"

static bool is_dash_place(size_t i)
{
    return i == 8 || i == 13 || i == 18 || i == 23;
}

bool dw_uuid_canonical(const char *text, size_t len, char out[36])
{
    if (len != 36)
        return false;
    for (size_t i = 0; i < len; i++) {
        char c = text[i];

        if (c >= 'A' && c <= 'F')
            c = (char)(c - 'A' + 'a');
        if (is_dash_place(i) ? c != '-' : !((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
            return false;
        out[i] = c;
    }
    return true;
}

void dw_uuid_from_halves(uint64_t high, uint64_t low, char out[36])
{
    static const char hex[] = "0123456789abcdef";
    int digit = 0;

    for (size_t i = 0; i < 36; i++) {
        uint64_t half = digit < 16 ? high : low;

        if (is_dash_place(i)) {
            out[i] = '-';
            continue;
        }
        out[i] = hex[half >> (60 - digit % 16 * 4) & 15];
        digit++;
    }
}
