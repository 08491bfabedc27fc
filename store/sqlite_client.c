/* The connection table in the state file.  A row is loaded, changed and stored under the write lock, so
 * of two requests of one client one is first, whichever processes they reach. */
#include "store/sqlite_priv.h"

#include <stdio.h>
#include <string.h>

void dw_sqlite_bind_key(sqlite3_stmt *stmt, const char *client_id, const char *uid, int transport)
{
    dw_sqlite_text(stmt, 1, client_id);
    if (uid != NULL)
        dw_sqlite_text(stmt, 2, uid);
    else
        (void)sqlite3_bind_int(stmt, 2, 0);
    (void)sqlite3_bind_int(stmt, 3, transport);
}

int dw_sqlite_dirty(struct dw_sqlite *s, const char *uid, struct dw_err *err)
{
    sqlite3_stmt *stmt;
    int rc;

    if (uid == NULL)
        return DW_OK; /* clients without a uid are nobody's presence */
    rc = dw_sqlite_stmt(s, DW_SQL_DIRTY_ADD, &stmt, err);
    if (rc != DW_OK)
        return rc;
    dw_sqlite_text(stmt, 1, uid);
    return dw_sqlite_run(stmt, err);
}

static void load_client(sqlite3_stmt *stmt, struct dw_client *client)
{
    client->slot = (uint32_t)sqlite3_column_int64(stmt, 0);
    client->epoch = (uint32_t)sqlite3_column_int64(stmt, 1);
    client->cursor = sqlite3_column_int64(stmt, 2);
    client->udt = sqlite3_column_int64(stmt, 3);
    client->seen_ms = sqlite3_column_int64(stmt, 4);
    client->due_ms = sqlite3_column_int64(stmt, 5);
    client->generation = (uint8_t)sqlite3_column_int(stmt, 6);
    client->connected = sqlite3_column_int(stmt, 7) != 0;
    client->worker = sqlite3_column_int(stmt, 8);
    (void)snprintf(client->packer, sizeof client->packer, "%s", dw_sqlite_column(stmt, 9));
}

static int find_client(struct dw_sqlite *s, const struct dw_client_key *key, struct dw_client *client, bool *found,
                       struct dw_err *err)
{
    sqlite3_stmt *stmt;
    int rc = dw_sqlite_stmt(s, DW_SQL_CLIENT_GET, &stmt, err);

    if (rc != DW_OK)
        return rc;
    dw_sqlite_bind_key(stmt, key->client_id, key->uid, key->transport);
    rc = dw_sqlite_step(stmt, found, err);
    if (rc != DW_OK || !*found)
        return rc;
    load_client(stmt, client);
    return dw_sqlite_done(stmt, DW_OK);
}

static void bind_uid(sqlite3_stmt *stmt, const char *uid)
{
    if (uid != NULL)
        dw_sqlite_text(stmt, 1, uid);
    else
        (void)sqlite3_bind_int(stmt, 1, 0);
}

/* Forgets the client that has been absent for longest: of `uid` (NULL: of those without), or with `any` of all.
 * No client in *slot: nobody is absent. */
static int replace(struct dw_sqlite *s, bool any, const char *uid, struct dw_client *client, struct dw_err *err)
{
    sqlite3_stmt *stmt;
    bool row;
    int rc = dw_sqlite_stmt(s, any ? DW_SQL_CLIENT_REPLACE : DW_SQL_CLIENT_REPLACE_UID, &stmt, err);

    if (rc != DW_OK)
        return rc;
    if (!any)
        bind_uid(stmt, uid);
    /* To its end: RETURNING has not written before that is reached. */
    for (rc = dw_sqlite_step(stmt, &row, err); rc == DW_OK && row; rc = dw_sqlite_step(stmt, &row, err)) {
        client->slot = (uint32_t)sqlite3_column_int64(stmt, 0);
        /* What its last owner may still have somewhere is older, and its claim word too.  0 would say that there
         * was no owner. */
        client->epoch = (uint32_t)sqlite3_column_int64(stmt, 1);
        if (client->epoch == 0)
            client->epoch = 1;
        s->base.clients_replaced++;
    }
    return rc;
}

/* Has the uid as many absent clients as it may? */
static int is_uid_full(struct dw_sqlite *s, const char *uid, bool *full, struct dw_err *err)
{
    int64_t most = s->base.limits.clients_per_uid;
    sqlite3_stmt *stmt;
    int64_t count = 0;
    int rc;

    *full = false;
    if (most == 0 || uid == NULL)
        return DW_OK;
    rc = dw_sqlite_stmt(s, DW_SQL_CLIENT_GONE, &stmt, err);
    if (rc != DW_OK)
        return rc;
    bind_uid(stmt, uid);
    (void)sqlite3_bind_int64(stmt, 2, most);
    rc = dw_sqlite_int(stmt, 0, &count, err);
    *full = rc == DW_OK && count >= most;
    return rc;
}

/* A slot that nobody has: a freed one before a fresh one.  0: there is none. */
static int free_slot(struct dw_sqlite *s, uint32_t *slot, struct dw_err *err)
{
    int64_t most = s->base.limits.clients;
    sqlite3_stmt *stmt;
    int64_t taken = 0;
    int rc = dw_sqlite_stmt(s, DW_SQL_SLOT_TAKE, &stmt, err);

    if (rc == DW_OK)
        rc = dw_sqlite_int(stmt, 0, &taken, err);
    if (rc == DW_OK && taken == 0)
        rc = dw_sqlite_stmt(s, DW_SQL_SLOT_NEXT, &stmt, err);
    if (rc == DW_OK && taken == 0) {
        (void)sqlite3_bind_int64(stmt, 1, most > 0 && most < DW_SLOTS_MAX ? most : (int64_t)DW_SLOTS_MAX - 1);
        rc = dw_sqlite_int(stmt, 0, &taken, err);
    }
    *slot = (uint32_t)taken;
    if (rc == DW_OK && taken != 0)
        rc = dw_claims_back(&s->claims, *slot, err);
    if (rc == DW_OK && taken != 0)
        atomic_store(dw_claims_word(&s->claims, *slot), 0); /* its last owner was gone for retain_ms */
    return rc;
}

/* A slot for a new client.  Those without a uid go first: client ids cost nothing. */
static int take_slot(struct dw_sqlite *s, const char *uid, struct dw_client *client, struct dw_err *err)
{
    bool full;
    int rc = is_uid_full(s, uid, &full, err);

    if (rc == DW_OK && full)
        rc = replace(s, false, uid, client, err);
    else if (rc == DW_OK)
        rc = free_slot(s, &client->slot, err);
    if (rc == DW_OK && client->slot == 0)
        rc = replace(s, false, NULL, client, err);
    if (rc == DW_OK && client->slot == 0)
        rc = replace(s, true, NULL, client, err);
    if (rc == DW_OK && client->slot == 0)
        rc = dw_err_set(err, DW_CROWDED, "as many clients are connected as can be remembered (limits.clients)");
    return rc;
}

static int store_client(struct dw_sqlite *s, const struct dw_client_key *key, const struct dw_client *client,
                        bool found, struct dw_err *err)
{
    sqlite3_stmt *stmt;
    int rc = dw_sqlite_stmt(s, found ? DW_SQL_CLIENT_SET : DW_SQL_CLIENT_ADD, &stmt, err);

    if (rc != DW_OK)
        return rc;
    dw_sqlite_bind_key(stmt, key->client_id, key->uid, key->transport);
    if (!found)
        (void)sqlite3_bind_int64(stmt, 4, client->slot); /* never changes later */
    (void)sqlite3_bind_int64(stmt, 5, client->epoch);
    (void)sqlite3_bind_int64(stmt, 6, client->cursor);
    (void)sqlite3_bind_int64(stmt, 7, client->udt);
    (void)sqlite3_bind_int64(stmt, 8, client->seen_ms);
    (void)sqlite3_bind_int64(stmt, 9, client->due_ms);
    (void)sqlite3_bind_int(stmt, 10, client->generation);
    (void)sqlite3_bind_int(stmt, 11, client->connected);
    (void)sqlite3_bind_int(stmt, 12, client->worker);
    dw_sqlite_text(stmt, 13, client->packer);
    return dw_sqlite_run(stmt, err);
}

static int update_client(struct dw_sqlite *s, const struct dw_client_key *key, bool known, dw_client_fn *fn,
                         void *context, struct dw_err *err)
{
    struct dw_client client;
    bool found = false;
    bool was_connected;
    int64_t cursor;
    _Atomic uint64_t *word;
    int rc;

    memset(&client, 0, sizeof client);
    client.worker = -1;
    rc = find_client(s, key, &client, &found, err);
    if (rc == DW_OK && !found && known)
        rc = dw_err_set(err, DW_NOTFOUND, "no such client");
    else if (rc == DW_OK && !found)
        rc = take_slot(s, key->uid, &client, err);
    if (rc == DW_OK)
        rc = dw_claims_back(&s->claims, client.slot, err);
    if (rc != DW_OK)
        return rc;
    word = dw_claims_word(&s->claims, client.slot);
    dw_claim_mend(word, client.epoch); /* of a slot that was another's, too */
    was_connected = client.connected;
    cursor = client.cursor;
    rc = fn(context, &client, found, found ? atomic_load(word) : 0);
    if (rc == DW_OK)
        rc = store_client(s, key, &client, found, err);
    if (rc == DW_OK && client.cursor > cursor)
        rc = dw_sqlite_raise_end(s, client.cursor, err);
    if (rc == DW_OK && client.connected != was_connected)
        rc = dw_sqlite_dirty(s, key->uid, err);
    return rc;
}

int dw_sqlite_client_update(struct dw_store *store, const struct dw_client_key *key, bool known, dw_client_fn *fn,
                            void *context, struct dw_err *err)
{
    struct dw_sqlite *s = dw_sqlite_of(store);
    uint64_t replaced = store->clients_replaced;
    int rc = dw_sqlite_follow(s, err);

    if (rc == DW_OK)
        rc = dw_sqlite_begin(s, DW_STATE, err);
    if (rc != DW_OK)
        return rc;
    rc = dw_sqlite_end(s, DW_STATE, update_client(s, key, known, fn, context, err), err);
    if (rc != DW_OK)
        store->clients_replaced = replaced;
    return rc;
}

int dw_sqlite_client_peek(struct dw_store *store, const struct dw_client_key *key, struct dw_client *client,
                          uint64_t *claim, struct dw_err *err)
{
    struct dw_sqlite *s = dw_sqlite_of(store);
    bool found = false;
    int rc = find_client(s, key, client, &found, err);

    if (rc == DW_OK && !found)
        return dw_err_set(err, DW_NOTFOUND, "no such client");
    if (rc == DW_OK)
        rc = dw_claims_back(&s->claims, client->slot, err);
    if (rc == DW_OK)
        *claim = atomic_load(dw_claims_word(&s->claims, client->slot));
    return rc;
}

int dw_sqlite_client_get(struct dw_store *store, const char *uid, const char *client_id, struct dw_client *client,
                         struct dw_err *err)
{
    sqlite3_stmt *stmt;
    bool row;
    int rc = dw_sqlite_stmt(dw_sqlite_of(store), DW_SQL_CLIENT_ANY, &stmt, err);

    if (rc != DW_OK)
        return rc;
    dw_sqlite_bind_key(stmt, client_id, uid, 0);
    rc = dw_sqlite_step(stmt, &row, err);
    if (rc != DW_OK)
        return rc;
    if (!row)
        return dw_err_set(err, DW_NOTFOUND, "no such client");
    load_client(stmt, client);
    return dw_sqlite_done(stmt, DW_OK);
}

int dw_sqlite_clients_connected(struct dw_store *store, const char *uid, const char *except, int64_t max,
                                int64_t *count, struct dw_err *err)
{
    sqlite3_stmt *stmt;
    int rc = dw_sqlite_stmt(dw_sqlite_of(store), DW_SQL_CLIENT_CONNECTED, &stmt, err);

    if (rc != DW_OK)
        return rc;
    bind_uid(stmt, uid);
    dw_sqlite_text(stmt, 2, except);
    (void)sqlite3_bind_int64(stmt, 3, max);
    return dw_sqlite_int(stmt, 0, count, err);
}

int dw_sqlite_state_is_new(struct dw_store *store, int64_t now_ms, bool *is_new, struct dw_err *err)
{
    struct dw_sqlite *s = dw_sqlite_of(store);
    sqlite3_stmt *stmt;
    int64_t lost_ms;
    int rc = dw_sqlite_stmt(s, DW_SQL_STATE_GET, &stmt, err);

    if (rc != DW_OK)
        return rc;
    dw_sqlite_text(stmt, 1, "lost_ms");
    rc = dw_sqlite_int(stmt, 0, &lost_ms, err);
    *is_new = rc == DW_OK && lost_ms != 0 && now_ms - lost_ms < s->retain_ms;
    return rc;
}

static int leave(struct dw_sqlite *s, const struct dw_departed *one, int64_t now_ms, struct dw_err *err)
{
    sqlite3_stmt *stmt;
    int rc = dw_sqlite_stmt(s, DW_SQL_CLIENT_LEAVE, &stmt, err);

    if (rc != DW_OK)
        return rc;
    dw_sqlite_bind_key(stmt, one->client_id, one->uid, one->transport);
    (void)sqlite3_bind_int64(stmt, 4, one->epoch);
    (void)sqlite3_bind_int64(stmt, 5, now_ms);
    rc = dw_sqlite_run(stmt, err);
    if (rc == DW_OK && sqlite3_changes(s->db[DW_STATE]) > 0)
        rc = dw_sqlite_dirty(s, one->uid, err);
    return rc;
}

int dw_sqlite_clients_leave(struct dw_store *store, const struct dw_departed *departed, size_t count, int64_t now_ms,
                            struct dw_err *err)
{
    struct dw_sqlite *s = dw_sqlite_of(store);
    int rc;

    if (count == 0)
        return DW_OK;
    rc = dw_sqlite_begin(s, DW_STATE, err);
    if (rc != DW_OK)
        return rc;
    for (size_t i = 0; rc == DW_OK && i < count; i++)
        rc = leave(s, &departed[i], now_ms, err);
    return dw_sqlite_end(s, DW_STATE, rc, err);
}

struct dw_arrival_note *dw_sqlite_arrivals(struct dw_store *store)
{
    return dw_claims_arrivals(&dw_sqlite_of(store)->claims);
}

_Atomic uint64_t *dw_sqlite_claim(struct dw_store *store, uint32_t slot)
{
    return dw_claims_word(&dw_sqlite_of(store)->claims, slot);
}
