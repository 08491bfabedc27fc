/* Sees whether a client masks its frames, in the bytes as they come from its socket: its request's head, then
 * frame after frame (RFC 6455 section 5.2), in pieces of any length.  Pure. */
#ifndef DW_WS_MASKS_H
#define DW_WS_MASKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* All zero: nothing has come yet. */
struct dw_ws_masks {
    uint64_t rest;   /* bytes to pass over: of a mask and a payload */
    uint8_t at;      /* see masks.c */
    uint8_t lengths; /* bytes of a length that are to come */
};

/* Goes through `len` bytes.  Returns how many of them may be believed: all, or those before the byte that says that
 * a frame is not masked; that byte must not be shown to the scanner again. */
size_t dw_ws_masks_scan(struct dw_ws_masks *masks, const unsigned char *bytes, size_t len);
/* The request's head has been seen to its end. */
bool dw_ws_masks_in_frames(const struct dw_ws_masks *masks);

#endif
