/* What the doorbell's unit tests share: a folder with a database, its -wal, another file, and the state folder, all of
 * them empty; and a store that is a double, whose answers the test sets. */
#ifndef DW_TESTS_UNIT_WAKING_H
#define DW_TESTS_UNIT_WAKING_H

#include "store/wake.h"
#include "tests/unit/tap.h"

#include <stdbool.h>

#define SLACK_US 250000 /* what a loaded machine may add */

struct dw_store {
    const char *path, *dir;
};

struct world {
    char root[64], db[96], wal[96], journal[96], other[96], dir[96], bell[128];
    struct dw_store store;
};

extern uint32_t version, sessions; /* what every double answers */
extern int answer;                 /* and the code it returns */

int set_up(void **state); /* cmocka's; *state is the world */
int tear_down(void **state);

void touch(const char *path);
struct dw_wake *open_bell(struct world *world, enum dw_wake_mode mode);
/* Opens, takes the first report and lets the first row of re-checks run out. */
struct dw_wake *open_settled(struct world *world, enum dw_wake_mode mode);
bool ready(struct dw_wake *wake, int64_t us);
/* Runs the doorbell's loop for so long, or until it reports a change; returns whether it did. */
bool wait_change(struct dw_wake *wake, int64_t us);

#endif
