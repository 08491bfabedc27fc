/* A timing wheel: thousands of timers that are mostly put off before they fire, at the cost of a list entry.
 *
 * An item fires at or up to `grain` after its time; one that is set for later than the wheel reaches fires
 * early.  So the owner looks at the clock when it fires, and sets it again where there is time left: putting
 * off an event needs no call at all. */
#ifndef DW_HUB_WHEEL_H
#define DW_HUB_WHEEL_H

#include <stdbool.h>
#include <stdint.h>

#define DW_WHEEL_SLOTS 512
#define DW_WHEEL_GRAIN_MS 25

struct dw_wheel_item {
    struct dw_wheel_item *prev, *next; /* NULL, NULL: not set */
    int64_t at;                        /* tick at which it fires */
};

struct dw_wheel {
    struct dw_wheel_item slots[DW_WHEEL_SLOTS]; /* heads of rings */
    int64_t tick;                               /* everything before has fired */
    int64_t earliest;                           /* no item fires before; INT64_MAX: none is set */
};

void dw_wheel_init(struct dw_wheel *wheel, int64_t now_ms);

/* Sets `item` (zeroed at first) for `due_ms` unless it is set for an earlier time. */
void dw_wheel_set(struct dw_wheel *wheel, struct dw_wheel_item *item, int64_t due_ms);
void dw_wheel_unset(struct dw_wheel *wheel, struct dw_wheel_item *item);

/* Takes one that fires off the wheel; NULL: no more until dw_wheel_due. */
struct dw_wheel_item *dw_wheel_take(struct dw_wheel *wheel, int64_t now_ms);
/* When to call dw_wheel_take next, INT64_MAX: not at all. */
int64_t dw_wheel_due(const struct dw_wheel *wheel);

#endif
