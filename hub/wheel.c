/* The timing wheel; see wheel.h. */
#include "hub/wheel.h"

#include <stddef.h>

static struct dw_wheel_item *slot_of(struct dw_wheel *wheel, int64_t tick)
{
    return &wheel->slots[tick % DW_WHEEL_SLOTS];
}

void dw_wheel_init(struct dw_wheel *wheel, int64_t now_ms)
{
    size_t i;

    for (i = 0; i < DW_WHEEL_SLOTS; i++)
        wheel->slots[i].prev = wheel->slots[i].next = &wheel->slots[i];
    wheel->tick = now_ms / DW_WHEEL_GRAIN_MS;
    wheel->earliest = INT64_MAX;
}

void dw_wheel_unset(struct dw_wheel *wheel, struct dw_wheel_item *item)
{
    (void)wheel; /* `earliest` may stay too early: a look for nothing */
    if (item->next == NULL)
        return;
    item->prev->next = item->next;
    item->next->prev = item->prev;
    item->prev = item->next = NULL;
}

void dw_wheel_set(struct dw_wheel *wheel, struct dw_wheel_item *item, int64_t due_ms)
{
    int64_t reach = wheel->tick + DW_WHEEL_SLOTS - 1;
    int64_t at = due_ms / DW_WHEEL_GRAIN_MS + (due_ms % DW_WHEEL_GRAIN_MS != 0);
    struct dw_wheel_item *head;

    at = at < wheel->tick ? wheel->tick : at > reach ? reach : at;
    if (item->next != NULL && item->at <= at)
        return;
    dw_wheel_unset(wheel, item);
    head = slot_of(wheel, at);
    item->at = at;
    item->prev = head->prev;
    item->next = head;
    head->prev->next = item;
    head->prev = item;
    if (at < wheel->earliest)
        wheel->earliest = at;
}

struct dw_wheel_item *dw_wheel_take(struct dw_wheel *wheel, int64_t now_ms)
{
    int64_t now = now_ms / DW_WHEEL_GRAIN_MS, tick;
    struct dw_wheel_item *item;

    if (wheel->earliest > now) {
        if (now > wheel->tick)
            wheel->tick = now;
        return NULL;
    }
    /* Everything that is set lies within one turn from `tick` on. */
    for (tick = wheel->earliest; tick <= now && tick < wheel->tick + DW_WHEEL_SLOTS; tick++) {
        item = slot_of(wheel, tick)->next;
        if (item != slot_of(wheel, tick)) {
            wheel->earliest = tick;
            /* Nobody looked while nothing was set: an item that is put off now must get further than it was. */
            if (tick > wheel->tick)
                wheel->tick = tick;
            dw_wheel_unset(wheel, item);
            return item;
        }
    }
    for (; tick < wheel->tick + DW_WHEEL_SLOTS; tick++)
        if (slot_of(wheel, tick)->next != slot_of(wheel, tick))
            break;
    wheel->earliest = tick < wheel->tick + DW_WHEEL_SLOTS ? tick : INT64_MAX;
    if (now > wheel->tick)
        wheel->tick = now;
    return NULL;
}

int64_t dw_wheel_due(const struct dw_wheel *wheel)
{
    return wheel->earliest == INT64_MAX ? INT64_MAX : wheel->earliest * DW_WHEEL_GRAIN_MS;
}
