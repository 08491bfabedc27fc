/* The conformance suite over the SQLite backend, in a folder made for each test. */
#include "conformance.h"

#include "base/conf.h"

#include <stdlib.h>
#include <unistd.h>

struct world {
    char folder[64];
    char path[96];
};

static void *make_world(void)
{
    struct world *world = calloc(1, sizeof *world);

    assert_non_null(world);
    (void)snprintf(world->folder, sizeof world->folder, "/tmp/dw-conformance-XXXXXX");
    assert_non_null(mkdtemp(world->folder));
    (void)snprintf(world->path, sizeof world->path, "%s/queue.db", world->folder);
    return world;
}

static void free_world(void *context)
{
    static const char *const files[] = {"queue.db-dw/state.db",
                                        "queue.db-dw/state.db-wal",
                                        "queue.db-dw/state.db-shm",
                                        "queue.db-dw/claims",
                                        "queue.db-dw/lock",
                                        "queue.db-dw/.htaccess",
                                        "queue.db",
                                        "queue.db-wal",
                                        "queue.db-shm"};
    struct world *world = context;
    char path[160];

    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", world->folder, files[i]);
        (void)unlink(path);
    }
    (void)snprintf(path, sizeof path, "%s/queue.db-dw", world->folder);
    (void)rmdir(path);
    assert_int_equal(rmdir(world->folder), 0); /* nothing else was left there */
    free(world);
}

static struct dw_store *open_store(void *context, const struct dw_store_limits *limits)
{
    struct world *world = context;
    struct dw_store_options options = {.path = world->path,
                                       .retain_ms = RETAIN_MS,
                                       .busy_ms = 5000,
                                       .session_sql = DW_SESSION_SQL,
                                       .create = true,
                                       .limits = *limits};
    struct dw_store *store = NULL;

    must(dw_store_open_sqlite(&options, &store, &err));
    return store;
}

int main(void)
{
    static const struct backend backend = {"sqlite", make_world, free_world, open_store};

    return conformance_run(&backend);
}
