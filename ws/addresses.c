/* Counting addresses; see addresses.h.  A search tree of libc. */
#include "ws/addresses.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>

struct dw_address {
    size_t count;
    const char *text; /* behind the struct */
    char name[];
};

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct dw_address *)a)->text, ((const struct dw_address *)b)->text);
}

static struct dw_address *make(struct dw_addresses *addresses, const char *name)
{
    size_t size = strlen(name) + 1;
    struct dw_address *address = calloc(1, sizeof *address + size);

    if (address == NULL)
        return NULL;
    memcpy(address->name, name, size);
    address->text = address->name;
    if (tsearch(address, &addresses->tree, by_name) == NULL) {
        free(address);
        return NULL;
    }
    return address;
}

struct dw_address *dw_address_take(struct dw_addresses *addresses, const char *name, size_t most)
{
    struct dw_address key = {.text = name}, *address;
    struct dw_address **node = tfind(&key, &addresses->tree, by_name);

    if (node == NULL)
        address = make(addresses, name);
    else
        address = most == 0 || (*node)->count < most ? *node : NULL;
    if (address != NULL)
        address->count++;
    return address;
}

void dw_address_drop(struct dw_addresses *addresses, struct dw_address *address)
{
    if (address == NULL || --address->count > 0)
        return;
    (void)tdelete(address, &addresses->tree, by_name);
    free(address);
}
