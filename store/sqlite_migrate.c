/* Brings a file's schema up to date (see migrate.h).  Everything happens in one transaction: another
 * program sees the old schema or the new one. */
#include "store/sqlite_priv.h"

#include <string.h>

/* Value of a one-row query written here in the source. */
static int ask(sqlite3 *db, const char *sql, int64_t *value, struct dw_err *err)
{
    sqlite3_stmt *stmt;
    int rc = sqlite3_prepare_v2(db, sql, -1, &stmt, NULL);

    *value = 0;
    if (rc != SQLITE_OK)
        return dw_sqlite_fail(db, rc, err);
    rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW)
        *value = sqlite3_column_int64(stmt, 0);
    rc = rc == SQLITE_ROW || rc == SQLITE_DONE ? DW_OK : dw_sqlite_fail(db, rc, err);
    (void)sqlite3_finalize(stmt);
    return rc;
}

static int run(sqlite3 *db, const char *sql, struct dw_err *err)
{
    int rc = sqlite3_exec(db, sql, NULL, NULL, NULL);

    return rc == SQLITE_OK ? DW_OK : dw_sqlite_fail(db, rc, err);
}

int dw_sqlite_schema(sqlite3 *db, enum dw_schema schema, int64_t *version, struct dw_err *err)
{
    int64_t found;
    int rc;

    if (schema == DW_SCHEMA_STATE)
        return ask(db, "PRAGMA user_version", version, err);
    *version = 0;
    rc = ask(db, "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'dw_meta'", &found, err);
    if (rc == DW_OK && found != 0)
        rc = ask(db, "SELECT value FROM dw_meta WHERE key = 'schema_version'", version, err);
    return rc;
}

/* True when user_version is ours to set: the file holds nothing of anyone else. */
static int owns_user_version(sqlite3 *db, int64_t version, bool *owns, struct dw_err *err)
{
    int64_t user_version = 0;
    int64_t foreign = 0;
    int rc = ask(db, "PRAGMA user_version", &user_version, err);

    if (rc == DW_OK)
        rc = ask(db, "SELECT count(*) FROM sqlite_master WHERE name NOT GLOB 'dw_*' AND name NOT GLOB 'sqlite_*'",
                 &foreign, err);
    *owns = user_version == version && foreign == 0;
    return rc;
}

static int put_version(sqlite3 *db, enum dw_schema schema, int version, bool owns, struct dw_err *err)
{
    char sql[128];
    int rc = DW_OK;

    if (schema == DW_SCHEMA_QUEUE) {
        (void)sqlite3_snprintf((int)sizeof sql, sql,
                               "INSERT OR REPLACE INTO dw_meta (key, value) VALUES ('schema_version', %d)", version);
        rc = run(db, sql, err);
    }
    (void)sqlite3_snprintf((int)sizeof sql, sql, "PRAGMA user_version = %d", version);
    if (rc == DW_OK && owns)
        rc = run(db, sql, err);
    return rc;
}

static int apply(sqlite3 *db, enum dw_schema schema, const struct dw_migration *list, size_t count, struct dw_err *err)
{
    int64_t version;
    bool owns = schema == DW_SCHEMA_STATE;
    int rc = dw_sqlite_schema(db, schema, &version, err); /* again: another program may have been quicker */

    if (rc == DW_OK && schema == DW_SCHEMA_QUEUE)
        rc = owns_user_version(db, version, &owns, err);
    for (size_t i = 0; rc == DW_OK && i < count; i++)
        if (list[i].version > version)
            rc = run(db, list[i].sql, err);
    if (rc == DW_OK && version < list[count - 1].version)
        rc = put_version(db, schema, list[count - 1].version, owns, err);
    return rc;
}

int dw_sqlite_migrate(sqlite3 *db, enum dw_schema schema, const struct dw_migration *list, size_t count, bool create,
                      const char *path, struct dw_err *err)
{
    int64_t version;
    int last = list[count - 1].version;
    int rc = dw_sqlite_schema(db, schema, &version, err);

    if (rc != DW_OK)
        return rc;
    if (version > last)
        return dw_err_set(err, DW_NEWER,
                          "%s was made by a newer Dumbwaiter (schema %d, this program knows %d): "
                          "use that version of the program",
                          path, (int)version, last);
    if (version == last)
        return DW_OK;
    if (!create)
        return dw_err_set(err, DW_NOTFOUND,
                          version == 0 ? "%s has no Dumbwaiter tables: run `dumbwaiter init --db %s`"
                                       : "%s has tables of an older Dumbwaiter: run `dumbwaiter init --db %s`",
                          path, path);
    rc = run(db, "BEGIN IMMEDIATE", err);
    if (rc != DW_OK)
        return rc;
    rc = apply(db, schema, list, count, err);
    if (rc != DW_OK && strstr(sqlite3_errmsg(db), "already exists") != NULL)
        rc = dw_err_set(err, DW_CONF,
                        "%s has something of its own with a name of Dumbwaiter's (%s): rename it, or give the queue a "
                        "file of its own (store.path); nothing was changed",
                        path, sqlite3_errmsg(db));
    if (rc == DW_OK)
        rc = run(db, "COMMIT", err);
    if (rc != DW_OK && !sqlite3_get_autocommit(db))
        (void)sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
    return rc;
}

int dw_migrate_file(const char *path, enum dw_schema schema, const struct dw_migration *list, size_t count,
                    struct dw_err *err)
{
    sqlite3 *db = NULL;
    int rc = sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL);

    rc = rc == SQLITE_OK ? DW_OK : dw_sqlite_fail(db, rc, err);
    if (rc == DW_OK)
        rc = dw_sqlite_migrate(db, schema, list, count, true, path, err);
    (void)sqlite3_close(db);
    return rc;
}
