/* See waking.h. */
#include "tests/unit/waking.h"

#include "base/clock.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- the double ---- */

uint32_t version, sessions;
int answer;

uint32_t dw_store_session_version(const struct dw_store *store)
{
    (void)store;
    return sessions;
}

int dw_store_version(struct dw_store *store, uint32_t *out, struct dw_err *err)
{
    (void)store;
    (void)err;
    *out = version;
    return answer;
}

const char *dw_store_queue_path(const struct dw_store *store)
{
    return store->path;
}

const char *dw_store_state_dir(const struct dw_store *store)
{
    return store->dir;
}

/* ---- the world ---- */

void touch(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, "x", 1), 1);
    assert_int_equal(close(fd), 0);
}

int set_up(void **state)
{
    struct world *world = calloc(1, sizeof *world);

    if (world == NULL)
        return -1;
    version = sessions = 1;
    answer = DW_OK;
    strcpy(world->root, "/tmp/dw-wake-XXXXXX");
    if (mkdtemp(world->root) == NULL)
        return -1;
    (void)snprintf(world->db, sizeof world->db, "%s/q.db", world->root);
    (void)snprintf(world->wal, sizeof world->wal, "%s/q.db-wal", world->root);
    (void)snprintf(world->journal, sizeof world->journal, "%s/q.db-journal", world->root);
    (void)snprintf(world->other, sizeof world->other, "%s/q.db-other", world->root);
    (void)snprintf(world->dir, sizeof world->dir, "%s/q.db-dw", world->root);
    (void)snprintf(world->bell, sizeof world->bell, "%s/wake.bell", world->dir);
    touch(world->db);
    touch(world->wal);
    world->store = (struct dw_store){world->db, world->dir};
    *state = world;
    return mkdir(world->dir, 0700);
}

int tear_down(void **state)
{
    struct world *world = *state;
    char command[96];

    (void)snprintf(command, sizeof command, "rm -rf %s", world->root);
    free(world);
    return system(command); /* NOLINT(cert-env33-c): a fixed path of our own */
}

struct dw_wake *open_bell(struct world *world, enum dw_wake_mode mode)
{
    struct dw_wake *wake = NULL;

    assert_int_equal(dw_wake_open(&world->store, mode, &wake, NULL), DW_OK);
    return wake;
}

bool ready(struct dw_wake *wake, int64_t us)
{
    struct pollfd fd = {.fd = dw_wake_fd(wake), .events = POLLIN};

    return poll(&fd, 1, (int)(us / 1000)) == 1;
}

/* Runs the doorbell's loop for so long, or until it reports a change; returns whether it did. */
bool wait_change(struct dw_wake *wake, int64_t us)
{
    int64_t end = dw_clock_mono_us() + us, left;

    while ((left = end - dw_clock_mono_us()) > 0) {
        if (ready(wake, left) && dw_wake_check(wake))
            return true;
    }
    return false;
}

/* Opens, takes the first report and lets the first row of re-checks run out. */
struct dw_wake *open_settled(struct world *world, enum dw_wake_mode mode)
{
    struct dw_wake *wake = open_bell(world, mode);

    assert_true(dw_wake_check(wake));
    assert_false(wait_change(wake, 1300000));
    return wake;
}
