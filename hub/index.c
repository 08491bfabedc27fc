/* Index of the parked requests; see index.h.
 *
 * A tree node is the group of all polls with one name.  The group's first poll lends it its name, so a
 * group costs no copy of it; when that poll leaves, the next one lends. */
#include "hub/index.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>

struct group {
    const char *name;
    struct dw_parked *first;
};

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct group *)a)->name, ((const struct group *)b)->name);
}

static int by_inbox(const void *a, const void *b)
{
    int64_t x = ((const struct dw_parked *)a)->inbox_id, y = ((const struct dw_parked *)b)->inbox_id;

    return (x > y) - (x < y);
}

static const char *uid_name(const struct dw_parked *parked)
{
    return parked->uid != NULL ? parked->uid : "";
}

static struct group *find_group(void *const *root, const char *name)
{
    struct group key = {.name = name};
    struct group **node = tfind(&key, root, by_name);

    return node != NULL ? *node : NULL;
}

/* The group of that name, made if need be; NULL: out of memory. */
static struct group *make_group(void **root, const char *name)
{
    struct group *group = find_group(root, name);

    if (group != NULL)
        return group;
    group = calloc(1, sizeof *group);
    if (group == NULL)
        return NULL;
    group->name = name;
    if (tsearch(group, root, by_name) == NULL) {
        free(group);
        return NULL;
    }
    return group;
}

static void free_group(void **root, struct group *group)
{
    (void)tdelete(group, root, by_name);
    free(group);
}

static bool waits_for_reply(const struct dw_parked *parked)
{
    return parked->kind == DW_PARKED_CALLBACK || parked->kind == DW_PARKED_ASKED;
}

bool dw_index_add(struct dw_index *index, struct dw_parked *parked)
{
    struct group *uid, *client;

    if (waits_for_reply(parked))
        return tsearch(parked, &index->by_inbox, by_inbox) != NULL;
    uid = make_group(&index->by_uid, uid_name(parked));
    client = make_group(&index->by_client, parked->client_id);
    if (uid == NULL || client == NULL) {
        if (uid != NULL && uid->first == NULL)
            free_group(&index->by_uid, uid);
        if (client != NULL && client->first == NULL)
            free_group(&index->by_client, client);
        return false;
    }
    parked->uid_prev = NULL;
    parked->uid_next = uid->first;
    if (uid->first != NULL)
        uid->first->uid_prev = parked;
    uid->first = parked;
    uid->name = uid_name(parked);
    parked->client_prev = NULL;
    parked->client_next = client->first;
    if (client->first != NULL)
        client->first->client_prev = parked;
    client->first = parked;
    client->name = parked->client_id;
    return true;
}

static void remove_from_uid(struct dw_index *index, struct dw_parked *parked)
{
    struct group *group = find_group(&index->by_uid, uid_name(parked));

    if (parked->uid_next != NULL)
        parked->uid_next->uid_prev = parked->uid_prev;
    if (parked->uid_prev != NULL) {
        parked->uid_prev->uid_next = parked->uid_next;
    } else if (parked->uid_next != NULL) {
        group->first = parked->uid_next;
        group->name = uid_name(group->first);
    } else {
        free_group(&index->by_uid, group);
    }
}

static void remove_from_client(struct dw_index *index, struct dw_parked *parked)
{
    struct group *group = find_group(&index->by_client, parked->client_id);

    if (parked->client_next != NULL)
        parked->client_next->client_prev = parked->client_prev;
    if (parked->client_prev != NULL) {
        parked->client_prev->client_next = parked->client_next;
    } else if (parked->client_next != NULL) {
        group->first = parked->client_next;
        group->name = group->first->client_id;
    } else {
        free_group(&index->by_client, group);
    }
}

void dw_index_remove(struct dw_index *index, struct dw_parked *parked)
{
    if (waits_for_reply(parked)) {
        (void)tdelete(parked, &index->by_inbox, by_inbox);
        return;
    }
    remove_from_uid(index, parked);
    remove_from_client(index, parked);
}

struct dw_parked *dw_index_uid(const struct dw_index *index, const char *uid)
{
    struct group *group = find_group(&index->by_uid, uid);

    return group != NULL ? group->first : NULL;
}

struct dw_parked *dw_index_client(const struct dw_index *index, const char *client_id)
{
    struct group *group = find_group(&index->by_client, client_id);

    return group != NULL ? group->first : NULL;
}

struct dw_parked *dw_index_inbox(const struct dw_index *index, int64_t inbox_id)
{
    struct dw_parked key = {.inbox_id = inbox_id};
    struct dw_parked **node = tfind(&key, &index->by_inbox, by_inbox);

    return node != NULL ? *node : NULL;
}
