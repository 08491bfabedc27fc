/* Pushes: the queue itself, as the hub reads it.  Every reader works from a cursor; every function ends
 * its read transaction before it returns. */
#include "store/sqlite_priv.h"

#include <string.h>

int dw_sqlite_sequence(struct dw_sqlite *s, const char *table, int64_t *value, struct dw_err *err)
{
    sqlite3_stmt *stmt;
    int rc = dw_sqlite_stmt(s, DW_SQL_SEQUENCE, &stmt, err);

    if (rc != DW_OK)
        return rc;
    dw_sqlite_text(stmt, 1, table);
    return dw_sqlite_int(stmt, 0, value, err);
}

int dw_sqlite_meta(struct dw_sqlite *s, const char *key, int64_t *value, struct dw_err *err)
{
    sqlite3_stmt *stmt;
    int rc = dw_sqlite_stmt(s, DW_SQL_META_GET, &stmt, err);

    if (rc != DW_OK)
        return rc;
    dw_sqlite_text(stmt, 1, key);
    return dw_sqlite_int(stmt, 0, value, err);
}

int dw_sqlite_meta_put(struct dw_sqlite *s, const char *key, int64_t value, struct dw_err *err)
{
    sqlite3_stmt *stmt;
    int rc = dw_sqlite_stmt(s, DW_SQL_META_PUT, &stmt, err);

    if (rc != DW_OK)
        return rc;
    dw_sqlite_text(stmt, 1, key);
    (void)sqlite3_bind_int64(stmt, 2, value);
    return dw_sqlite_run(stmt, err);
}

int dw_sqlite_store_end(struct dw_store *store, int64_t *end, struct dw_err *err)
{
    return dw_sqlite_sequence(dw_sqlite_of(store), "dw_push", end, err);
}

int dw_sqlite_horizon(struct dw_store *store, int64_t *horizon, struct dw_err *err)
{
    return dw_sqlite_meta(dw_sqlite_of(store), "horizon", horizon, err);
}

/* Hands out the rows of `stmt`; *last and *count tell how far it came. */
static int read_pushes(sqlite3_stmt *stmt, dw_push_fn *fn, void *context, int64_t *last, size_t *count,
                       struct dw_err *err)
{
    struct dw_push push;
    bool row;
    int rc = dw_sqlite_step(stmt, &row, err);

    for (*count = 0; rc == DW_OK && row; rc = dw_sqlite_step(stmt, &row, err)) {
        push.id = sqlite3_column_int64(stmt, 0);
        push.uid = dw_sqlite_column(stmt, 1);
        push.client_id = dw_sqlite_column(stmt, 2);
        push.room = dw_sqlite_column(stmt, 3);
        push.event = dw_sqlite_column(stmt, 4);
        push.data = dw_sqlite_column(stmt, 5);
        push.data_len = push.data != NULL ? (size_t)sqlite3_column_bytes(stmt, 5) : 0;
        push.format = dw_sqlite_column(stmt, 6);
        rc = fn(context, &push);
        if (rc != DW_OK)
            return dw_sqlite_done(stmt, rc);
        *last = push.id;
        ++*count;
    }
    return rc;
}

int dw_sqlite_pushes(struct dw_store *store, int64_t after, size_t max, dw_push_fn *fn, void *context,
                     struct dw_err *err)
{
    struct dw_sqlite *s = dw_sqlite_of(store);
    sqlite3_stmt *stmt;
    size_t count;
    int rc = dw_sqlite_stmt(s, DW_SQL_PUSHES, &stmt, err);

    if (rc == DW_OK)
        rc = dw_sqlite_read(s, err);
    if (rc != DW_OK)
        return rc;
    (void)sqlite3_bind_int64(stmt, 1, after);
    (void)sqlite3_bind_int64(stmt, 2, (sqlite3_int64)max);
    rc = read_pushes(stmt, fn, context, &after, &count, err);
    /* A backup that was restored since the last look must not pass for the queue's next pushes. */
    if (rc == DW_OK && count > 0)
        rc = dw_sqlite_look(s, err);
    rc = dw_sqlite_end(s, DW_QUEUE, rc, err);
    return rc == DW_OK && s->suspect ? dw_err_set(err, DW_BUSY, "the queue was restored meanwhile, read it again") : rc;
}

/* No transaction holds the two statements together: the second looks at ids up to the end that the
 * first has seen, and what a client is owed among those doesn't change any more (a membership that has
 * ended since is found among the past ones). */
int dw_sqlite_mailbox(struct dw_store *store, const char *uid, const char *client_id, int64_t after, size_t max,
                      dw_push_fn *fn, void *context, int64_t *checked, struct dw_err *err)
{
    struct dw_sqlite *s = dw_sqlite_of(store);
    sqlite3_stmt *stmt;
    int64_t last = after;
    size_t count;
    int rc = dw_sqlite_sequence(s, "dw_push", checked, err);

    if (rc != DW_OK || *checked <= after)
        return rc; /* the common case: nothing new for anyone */
    rc = dw_sqlite_stmt(s, DW_SQL_MAILBOX, &stmt, err);
    if (rc != DW_OK)
        return rc;
    dw_sqlite_text(stmt, 1, uid != NULL ? uid : "");
    dw_sqlite_text(stmt, 2, client_id);
    (void)sqlite3_bind_int64(stmt, 3, after);
    (void)sqlite3_bind_int64(stmt, 4, (sqlite3_int64)max);
    (void)sqlite3_bind_int64(stmt, 5, *checked);
    rc = read_pushes(stmt, fn, context, &last, &count, err);
    if (rc == DW_OK && count == max)
        *checked = last; /* there may be more behind it */
    return rc;
}

int dw_sqlite_members(struct dw_store *store, const char *room, int64_t id, dw_uid_fn *fn, void *context,
                      struct dw_err *err)
{
    sqlite3_stmt *stmt;
    bool row;
    int rc = dw_sqlite_stmt(dw_sqlite_of(store), DW_SQL_MEMBERS, &stmt, err);

    if (rc != DW_OK)
        return rc;
    dw_sqlite_text(stmt, 1, room);
    (void)sqlite3_bind_int64(stmt, 2, id);
    for (rc = dw_sqlite_step(stmt, &row, err); rc == DW_OK && row; rc = dw_sqlite_step(stmt, &row, err)) {
        rc = fn(context, dw_sqlite_column(stmt, 0));
        if (rc != DW_OK)
            return dw_sqlite_done(stmt, rc);
    }
    return rc;
}

int dw_sqlite_push(struct dw_store *store, const struct dw_push *push, int64_t *id, struct dw_err *err)
{
    struct dw_sqlite *s = dw_sqlite_of(store);
    sqlite3_stmt *stmt;
    int rc = dw_sqlite_stmt(s, DW_SQL_PUSH, &stmt, err);

    if (rc != DW_OK)
        return rc;
    dw_sqlite_text(stmt, 1, push->uid);
    dw_sqlite_text(stmt, 2, push->client_id);
    dw_sqlite_text(stmt, 3, push->room);
    dw_sqlite_text(stmt, 4, push->event);
    dw_sqlite_bytes(stmt, 5, push->data, push->data_len);
    dw_sqlite_text(stmt, 6, push->format != NULL ? push->format : "json");
    rc = dw_sqlite_run(stmt, err);
    if (rc == DW_OK && id != NULL)
        *id = sqlite3_last_insert_rowid(s->db[DW_QUEUE]);
    return rc;
}

static int read_news(sqlite3_stmt *stmt, int64_t *rows, int64_t *session_changes, struct dw_err *err)
{
    bool row;
    int rc = dw_sqlite_step(stmt, &row, err);

    if (rc != DW_OK || !row)
        return rc;
    *rows = sqlite3_column_int64(stmt, 0);
    *session_changes = sqlite3_column_int64(stmt, 1);
    return dw_sqlite_done(stmt, DW_OK);
}

/* data_version changes with more than news: an app's commit to its own tables changes it, deletion of old
 * rows, and the first writer behind a checkpoint, when it starts the WAL anew and has committed nothing
 * yet.  In the last case a crowd of processes would wake in the middle of an app's INSERT, on every push
 * that comes after a little silence.  So new rows are what counts. */
static int compare_rows(struct dw_sqlite *s, unsigned data_version, struct dw_err *err)
{
    sqlite3_stmt *stmt;
    int64_t rows = 0;
    int64_t changes = 0;
    int rc = dw_sqlite_stmt(s, DW_SQL_NEWS, &stmt, err);

    if (rc == DW_OK)
        rc = dw_sqlite_read(s, err);
    if (rc != DW_OK)
        return rc;
    rc = read_news(stmt, &rows, &changes, err);
    if (rc == DW_OK)
        rc = dw_sqlite_look(s, err);
    rc = dw_sqlite_end(s, DW_QUEUE, rc, err);
    if (rc != DW_OK)
        return rc;
    if (!s->version_known || rows != s->rows_added || s->suspect)
        s->news++;
    if (!s->version_known || s->session_custom || changes != s->session_changes || s->suspect)
        s->session_news++;
    s->version_known = true;
    s->data_version = data_version;
    s->rows_added = rows;
    s->session_changes = changes;
    return DW_OK;
}

int dw_sqlite_version(struct dw_store *store, uint32_t *version, struct dw_err *err)
{
    struct dw_sqlite *s = dw_sqlite_of(store);
    sqlite3_stmt *stmt;
    int64_t others;
    unsigned all = 0;
    int rc = dw_sqlite_follow(s, err);

    if (rc == DW_OK)
        rc = dw_sqlite_stmt(s, DW_SQL_QUEUE_VERSION, &stmt, err);
    if (rc == DW_OK)
        rc = dw_sqlite_int(stmt, 0, &others, err);
    /* The PRAGMA looks at the file but leaves out our own commits; the file control counts those as well
     * but does not look. */
    if (rc == DW_OK)
        rc = dw_sqlite_code(sqlite3_file_control(s->db[DW_QUEUE], "main", SQLITE_FCNTL_DATA_VERSION, &all));
    if (rc == DW_OK && (!s->version_known || all != s->data_version))
        rc = compare_rows(s, all, err);
    if (rc == DW_OK)
        *version = s->news;
    return rc;
}
