/* The conformance suite over the memory backend. */
#include "conformance.h"

static void *make_world(void)
{
    struct dw_memory *world = dw_memory_new();

    assert_non_null(world);
    return world;
}

static void free_world(void *world)
{
    dw_memory_free(world);
}

static struct dw_store *open_store(void *world, const struct dw_store_limits *limits)
{
    struct dw_store_options options = {
        .path = "", .retain_ms = RETAIN_MS, .busy_ms = 1000, .create = true, .limits = *limits};
    struct dw_store *store = NULL;

    must(dw_store_open_memory(world, &options, &store, &err));
    return store;
}

int main(void)
{
    static const struct backend backend = {"memory", make_world, free_world, open_store};

    return conformance_run(&backend);
}
