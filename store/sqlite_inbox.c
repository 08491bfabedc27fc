/* What clients sent, and the answers to it.  An app may answer inside a trigger on dw_inbox: then the
 * reply is committed together with the row, and the client has it in the same request. */
#include "store/sqlite_priv.h"

#include <stdlib.h>
#include <string.h>

static void load_reply(sqlite3_stmt *stmt, struct dw_reply *reply)
{
    reply->id = sqlite3_column_int64(stmt, 0);
    reply->inbox_id = sqlite3_column_int64(stmt, 1);
    reply->data = dw_sqlite_column(stmt, 2);
    reply->data_len = reply->data != NULL ? (size_t)sqlite3_column_bytes(stmt, 2) : 0;
    reply->format = dw_sqlite_column(stmt, 3);
}

/* Everything that goes wrong while the row is inserted, but for the state of the disk and of locks,
 * was done by the app's trigger: our own table refuses nothing that we write. */
static int handler_failed(int rc, struct dw_err *err)
{
    char said[sizeof err->text];

    if (rc != DW_INVALID && rc != DW_LIMIT)
        return rc;
    if (err == NULL)
        return DW_HANDLER;
    memcpy(said, err->text, sizeof said);
    return dw_err_set(err, DW_HANDLER, "the app's trigger on dw_inbox failed: %.260s", said);
}

/* A look without a lock, so that a flood of messages that are refused keeps nobody waiting. */
static int check_load(struct dw_sqlite *s, const struct dw_inbox *row, struct dw_err *err)
{
    struct dw_inbox_load own = {0, 0}, strangers = {0, 0}, all = {0, 0};
    struct dw_buf owner = DW_BUF_INIT;
    sqlite3_stmt *stmt;
    bool found;
    int rc = dw_sqlite_stmt(s, DW_SQL_INBOX_LOAD, &stmt, err);

    dw_buf_addc(&owner, row->uid != NULL ? 'u' : 'c');
    dw_buf_adds(&owner, row->uid != NULL ? row->uid : row->client_id != NULL ? row->client_id : "");
    if (rc == DW_OK && dw_buf_failed(&owner))
        rc = dw_err_set(err, DW_NOMEM, "out of memory");
    if (rc == DW_OK) {
        dw_sqlite_bytes(stmt, 1, dw_buf_str(&owner), owner.len);
        for (rc = dw_sqlite_step(stmt, &found, err); rc == DW_OK && found; rc = dw_sqlite_step(stmt, &found, err)) {
            char kind = dw_sqlite_column(stmt, 0)[0];
            struct dw_inbox_load *load = kind == '*' ? &all : kind == 'a' ? &strangers : &own;

            *load = (struct dw_inbox_load){sqlite3_column_int64(stmt, 1), sqlite3_column_int64(stmt, 2)};
        }
    }
    dw_buf_fini(&owner);
    return rc == DW_OK
               ? dw_inbox_check(&s->base.limits, row->uid != NULL, &own, &strangers, &all, dw_inbox_bytes(row), err)
               : rc;
}

/* ---- mending what the triggers got wrong ---- */

#define RECOUNT_MS ((int64_t)24 * 3600 * 1000)
#define DRIFTED_MAX 100u /* senders that are mended at a time */

struct drifted {
    struct dw_buf owner;
    int64_t rows, bytes;
};

static int find_drifted(struct dw_sqlite *s, struct drifted *drifted, size_t *count, struct dw_err *err)
{
    sqlite3_stmt *stmt;
    bool row;
    int rc = dw_sqlite_stmt(s, DW_SQL_INBOX_DRIFT, &stmt, err);

    if (rc != DW_OK)
        return rc;
    (void)sqlite3_bind_int64(stmt, 1, DRIFTED_MAX);
    for (rc = dw_sqlite_step(stmt, &row, err); rc == DW_OK && row; rc = dw_sqlite_step(stmt, &row, err)) {
        struct drifted *one = &drifted[(*count)++];

        dw_buf_adds(&one->owner, dw_sqlite_column(stmt, 0));
        one->rows = sqlite3_column_int64(stmt, 1);
        one->bytes = sqlite3_column_int64(stmt, 2);
        if (dw_buf_failed(&one->owner))
            return dw_sqlite_done(stmt, dw_err_set(err, DW_NOMEM, "out of memory"));
    }
    return rc;
}

static int mend(struct dw_sqlite *s, const struct drifted *one, struct dw_err *err)
{
    sqlite3_stmt *stmt;
    int rc = dw_sqlite_stmt(s, DW_SQL_INBOX_MEND, &stmt, err);

    if (rc != DW_OK)
        return rc;
    dw_sqlite_text(stmt, 1, dw_buf_str(&one->owner));
    (void)sqlite3_bind_int64(stmt, 2, one->rows);
    (void)sqlite3_bind_int64(stmt, 3, one->bytes);
    return dw_sqlite_run(stmt, err);
}

static int mend_all(struct dw_sqlite *s, const struct drifted *drifted, size_t count, int64_t now_ms,
                    struct dw_err *err)
{
    sqlite3_stmt *stmt;
    int rc = dw_sqlite_begin(s, DW_QUEUE, err);

    if (rc != DW_OK)
        return rc;
    for (size_t i = 0; rc == DW_OK && i < count; i++)
        rc = mend(s, &drifted[i], err);
    if (rc == DW_OK && count > 0)
        rc = dw_sqlite_stmt(s, DW_SQL_INBOX_NONE, &stmt, err);
    if (rc == DW_OK && count > 0)
        rc = dw_sqlite_run(stmt, err);
    if (rc == DW_OK && count < DRIFTED_MAX)
        rc = dw_sqlite_meta_put(s, "inbox_counted", now_ms, err);
    return dw_sqlite_end(s, DW_QUEUE, rc, err);
}

/* There are INSERTs that the triggers can't follow, and tables that are altered by hand: what is wrong would keep a
 * sender out, or in, for ever.  The look at every row is taken without a lock: the triggers add to what is wrong
 * and subtract from it alike, so that what has drifted stays the same whatever is committed meanwhile. */
int dw_sqlite_inbox_recount(struct dw_sqlite *s, int64_t now_ms, struct dw_err *err)
{
    struct drifted drifted[DRIFTED_MAX] = {{.rows = 0}};
    int64_t last_ms;
    size_t count = 0;
    int rc = dw_sqlite_meta(s, "inbox_counted", &last_ms, err);

    if (rc != DW_OK || (last_ms <= now_ms && now_ms - last_ms < RECOUNT_MS))
        return rc;
    rc = find_drifted(s, drifted, &count, err);
    if (rc == DW_OK)
        rc = mend_all(s, drifted, count, now_ms, err);
    for (size_t i = 0; i < count; i++)
        dw_buf_fini(&drifted[i].owner);
    return rc;
}

/* ---- adding ---- */

static bool is_limited(const struct dw_store_limits *limits)
{
    return (limits->inbox_rows | limits->inbox_bytes | limits->inbox_uid_rows | limits->inbox_uid_bytes) != 0;
}

static int insert_row(struct dw_sqlite *s, const struct dw_inbox *row, int64_t *id, struct dw_err *err)
{
    sqlite3_stmt *stmt;
    int rc = dw_sqlite_stmt(s, DW_SQL_INBOX_ADD, &stmt, err);

    if (rc != DW_OK)
        return handler_failed(rc, err);
    dw_sqlite_text(stmt, 1, row->uid);
    dw_sqlite_text(stmt, 2, row->client_id);
    dw_sqlite_text(stmt, 3, row->event);
    dw_sqlite_bytes(stmt, 4, row->data, row->data_len);
    dw_sqlite_text(stmt, 5, row->format);
    (void)sqlite3_bind_int(stmt, 6, row->wants_reply);
    (void)sqlite3_bind_int64(stmt, 7, row->received_at);
    dw_sqlite_text(stmt, 8, row->packer);
    if (row->raw != NULL)
        (void)sqlite3_bind_blob64(stmt, 9, row->raw_len != 0 ? row->raw : "", row->raw_len, SQLITE_STATIC);
    rc = dw_sqlite_run(stmt, err);
    if (rc != DW_OK)
        return handler_failed(rc, err);
    if (sqlite3_changes(s->db[DW_QUEUE]) == 0)
        return dw_err_set(err, DW_HANDLER, "the app's trigger on dw_inbox dropped the row (RAISE(IGNORE))");
    *id = sqlite3_last_insert_rowid(s->db[DW_QUEUE]);
    return DW_OK;
}

int dw_sqlite_inbox_add(struct dw_store *store, const struct dw_inbox *row, int64_t *id, dw_reply_fn *fn, void *context,
                        struct dw_err *err)
{
    struct dw_sqlite *s = dw_sqlite_of(store);
    int64_t added = 0;
    int rc = is_limited(&store->limits) ? check_load(s, row, err) : DW_OK;

    if (rc == DW_OK)
        rc = insert_row(s, row, &added, err); /* one statement: row, handlers and reply commit together */
    if (rc != DW_OK)
        return rc;
    if (id != NULL)
        *id = added;
    return row->wants_reply && fn != NULL ? dw_sqlite_reply_get(store, added, fn, context, err) : DW_OK;
}

int dw_sqlite_inbox(struct dw_store *store, int64_t after, size_t max, dw_inbox_fn *fn, void *context,
                    struct dw_err *err)
{
    struct dw_inbox inbox;
    sqlite3_stmt *stmt;
    bool row;
    int rc = dw_sqlite_stmt(dw_sqlite_of(store), DW_SQL_INBOX, &stmt, err);

    if (rc != DW_OK)
        return rc;
    (void)sqlite3_bind_int64(stmt, 1, after);
    (void)sqlite3_bind_int64(stmt, 2, (sqlite3_int64)max);
    for (rc = dw_sqlite_step(stmt, &row, err); rc == DW_OK && row; rc = dw_sqlite_step(stmt, &row, err)) {
        inbox.id = sqlite3_column_int64(stmt, 0);
        inbox.uid = dw_sqlite_column(stmt, 1);
        inbox.client_id = dw_sqlite_column(stmt, 2);
        inbox.event = dw_sqlite_column(stmt, 3);
        inbox.data = dw_sqlite_column(stmt, 4);
        inbox.data_len = inbox.data != NULL ? (size_t)sqlite3_column_bytes(stmt, 4) : 0;
        inbox.format = dw_sqlite_column(stmt, 5);
        inbox.wants_reply = sqlite3_column_int(stmt, 6) != 0;
        inbox.received_at = sqlite3_column_int64(stmt, 7);
        inbox.packer = dw_sqlite_column(stmt, 8);
        inbox.raw = sqlite3_column_blob(stmt, 9);
        inbox.raw_len = (size_t)sqlite3_column_bytes(stmt, 9);
        rc = fn(context, &inbox);
        if (rc != DW_OK)
            return dw_sqlite_done(stmt, rc);
    }
    return rc;
}

int dw_sqlite_reply(struct dw_store *store, int64_t inbox_id, const char *data, size_t data_len, const char *format,
                    struct dw_err *err)
{
    sqlite3_stmt *stmt;
    int rc = dw_sqlite_stmt(dw_sqlite_of(store), DW_SQL_REPLY_ADD, &stmt, err);

    if (rc != DW_OK)
        return rc;
    (void)sqlite3_bind_int64(stmt, 1, inbox_id);
    dw_sqlite_bytes(stmt, 2, data, data_len);
    dw_sqlite_text(stmt, 3, format != NULL ? format : "json");
    return dw_sqlite_run(stmt, err);
}

int dw_sqlite_reply_end(struct dw_store *store, int64_t *end, struct dw_err *err)
{
    return dw_sqlite_sequence(dw_sqlite_of(store), "dw_reply", end, err);
}

int dw_sqlite_replies(struct dw_store *store, int64_t after, size_t max, dw_reply_fn *fn, void *context,
                      struct dw_err *err)
{
    struct dw_reply reply;
    sqlite3_stmt *stmt;
    bool row;
    int rc = dw_sqlite_stmt(dw_sqlite_of(store), DW_SQL_REPLIES, &stmt, err);

    if (rc != DW_OK)
        return rc;
    (void)sqlite3_bind_int64(stmt, 1, after);
    (void)sqlite3_bind_int64(stmt, 2, (sqlite3_int64)max);
    for (rc = dw_sqlite_step(stmt, &row, err); rc == DW_OK && row; rc = dw_sqlite_step(stmt, &row, err)) {
        load_reply(stmt, &reply);
        rc = fn(context, &reply);
        if (rc != DW_OK)
            return dw_sqlite_done(stmt, rc);
    }
    return rc;
}

int dw_sqlite_reply_get(struct dw_store *store, int64_t inbox_id, dw_reply_fn *fn, void *context, struct dw_err *err)
{
    struct dw_reply reply;
    sqlite3_stmt *stmt;
    bool row;
    int rc = dw_sqlite_stmt(dw_sqlite_of(store), DW_SQL_REPLY_GET, &stmt, err);

    if (rc != DW_OK)
        return rc;
    (void)sqlite3_bind_int64(stmt, 1, inbox_id);
    rc = dw_sqlite_step(stmt, &row, err);
    if (rc != DW_OK || !row)
        return rc;
    load_reply(stmt, &reply);
    return dw_sqlite_done(stmt, fn(context, &reply));
}
