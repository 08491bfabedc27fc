/* Where the frames of a client begin; see masks.h. */
#include "ws/masks.h"

enum { HEAD, HEAD_LINE_END, OPCODE, LENGTH, LONG_LENGTH, PAYLOAD };

#define MASK_BYTES 4

static uint8_t after_length(const struct dw_ws_masks *masks)
{
    return masks->rest > 0 ? PAYLOAD : OPCODE;
}

/* The head ends with an empty line.  Like the library, it need not know of carriage returns. */
static uint8_t in_head(uint8_t at, unsigned char c)
{
    if (c == '\n')
        return at == HEAD_LINE_END ? OPCODE : HEAD_LINE_END;
    return c == '\r' ? at : HEAD;
}

static void take_length(struct dw_ws_masks *masks, unsigned char length)
{
    masks->lengths = 0;
    masks->rest = MASK_BYTES;
    masks->at = PAYLOAD;
    if (length < 126) {
        masks->rest += length;
        return;
    }
    masks->lengths = length == 126 ? 2 : 8;
    masks->rest = 0;
    masks->at = LONG_LENGTH;
}

size_t dw_ws_masks_scan(struct dw_ws_masks *masks, const unsigned char *bytes, size_t len)
{
    size_t i = 0;

    while (i < len) {
        unsigned char c = bytes[i];

        switch (masks->at) {
        case HEAD:
        case HEAD_LINE_END:
            masks->at = in_head(masks->at, c);
            i++;
            break;
        case OPCODE:
            masks->at = LENGTH;
            i++;
            break;
        case LENGTH:
            if ((c & 0x80) == 0)
                return i;
            take_length(masks, c & 0x7f);
            i++;
            break;
        case LONG_LENGTH:
            masks->rest = masks->rest << 8 | c;
            if (--masks->lengths == 0) {
                masks->rest += MASK_BYTES; /* the library refuses lengths that are near to overflowing */
                masks->at = after_length(masks);
            }
            i++;
            break;
        default: {
            size_t passed = len - i < masks->rest ? len - i : (size_t)masks->rest;

            masks->rest -= passed;
            i += passed;
            masks->at = after_length(masks);
        }
        }
    }
    return len;
}

bool dw_ws_masks_in_frames(const struct dw_ws_masks *masks)
{
    return masks->at >= OPCODE;
}
