/* The outbox: pushes on their way to clients, each packed once per packer and not once per client.
 *
 * Filled from the store, emptied after the round.  One thread at a time. */
#ifndef DW_HUB_OUTBOX_H
#define DW_HUB_OUTBOX_H

#include "chsk/envelope.h"
#include "hub/hub.h"

struct dw_outbox;

struct dw_outbox *dw_outbox_new(struct dw_hub *hub); /* NULL: out of memory */
void dw_outbox_free(struct dw_outbox *outbox);
void dw_outbox_clear(struct dw_outbox *outbox);

/* Takes a copy of `push`.  DW_NOMEM. */
int dw_outbox_add(struct dw_outbox *outbox, const struct dw_push *push);
size_t dw_outbox_count(const struct dw_outbox *outbox);
int64_t dw_outbox_id(const struct dw_outbox *outbox, size_t index);
/* True for a push of chsk/close, which is an order and not an event. */
bool dw_outbox_is_close(const struct dw_outbox *outbox, size_t index);

/* Packs the events `indexes[0..count)` as one message.  Stops before a chsk/close, at limits.batch and at
 * limits.batch_bytes (one event always goes in): `*taken` is how many are in the message.  An event whose
 * data can't be read is left out, counted and logged, and counts as taken.  `*packed` lives until the
 * next call on this outbox and may be "no event left" with len 0.  DW_NOMEM. */
int dw_outbox_pack(struct dw_outbox *outbox, const struct dw_packer *packer, int generation, const uint32_t *indexes,
                   size_t count, size_t *taken, struct dw_part *packed, size_t *events, struct dw_err *err);

/* Reads text that an app wrote (`format` json, edn or transit) as a value for clients of `packer`. */
int dw_data_read(const struct dw_hub *hub, const struct dw_packer *packer, const char *format, const char *data,
                 size_t len, struct dw_arena *arena, const struct dw_value **out, struct dw_err *err);

#endif
