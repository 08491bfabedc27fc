/* dumbwaiter doctor: files, folders and what is in them.
 *
 * Permissions are read off the mode bits for the user in question, unless that is the one who asks: then the
 * kernel knows better (access control lists, read-only mounts). */
#include "cli/doctor.h"

#include "hub/keyfile.h"
#include "store/inspect.h"
#include "store/netfs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define GROUPS_MAX 256
#define LOCK_WAIT_MS 2000
#define WAL_LARGE ((int64_t)64 << 20)

/* ---- permissions ---- */

static bool is_in_group(const struct dw_doctor *d, gid_t gid)
{
    gid_t groups[GROUPS_MAX];
    int count = GROUPS_MAX;
    const struct passwd *user = getpwuid(d->uid);

    if (gid == d->gid)
        return true;
    if (user == NULL || getgrouplist(user->pw_name, d->gid, groups, &count) < 0)
        return false;
    for (int i = 0; i < count; i++)
        if (groups[i] == gid)
            return true;
    return false;
}

/* Whether the user may do this (R_OK, W_OK, X_OK) with the file; false also where there is none. */
static bool may(const struct dw_doctor *d, const char *path, int want)
{
    struct stat st;
    unsigned bits;

    if (d->uid == geteuid())
        return faccessat(AT_FDCWD, path, want, AT_EACCESS) == 0;
    if (stat(path, &st) != 0)
        return false;
    if (d->uid == 0)
        return true;
    if (st.st_uid == d->uid)
        bits = st.st_mode >> 6;
    else
        bits = is_in_group(d, st.st_gid) ? st.st_mode >> 3 : st.st_mode;
    return (bits & (unsigned)want) == (unsigned)want; /* R_OK is 4, W_OK 2, X_OK 1: the bits of a mode */
}

static const char *owner_of(const char *path, char *name, size_t size)
{
    struct stat st;
    const struct passwd *user;

    (void)snprintf(name, size, "?");
    if (stat(path, &st) != 0)
        return name;
    user = getpwuid(st.st_uid);
    if (user != NULL)
        (void)snprintf(name, size, "%s", user->pw_name);
    else
        (void)snprintf(name, size, "%lu", (unsigned long)st.st_uid);
    return name;
}

static void fail(struct dw_doctor *d)
{
    d->usable = false;
}

/* Cuts the last name off; false when none is left. */
static bool to_parent(char *path)
{
    char *slash = strrchr(path, '/');

    if (slash == NULL || strcmp(path, "/") == 0)
        return false;
    slash[slash == path ? 1 : 0] = '\0';
    return true;
}

/* ---- the folder ---- */

/* A folder on the way that the user may not enter, the topmost one. */
static bool find_closed(const struct dw_doctor *d, const char *folder, char *closed, size_t size)
{
    char path[4096];
    bool found = false;

    (void)snprintf(path, sizeof path, "%s", folder);
    do {
        if (!may(d, path, X_OK)) {
            (void)snprintf(closed, size, "%s", path);
            found = true;
        }
    } while (to_parent(path));
    return found;
}

static void check_folder(struct dw_doctor *d, const char *folder)
{
    char closed[4096];
    char owner[64];
    struct stat st;

    if (stat(folder, &st) != 0) {
        fail(d);
        dw_doctor_say(d, DW_FINDING_FAIL, "folder",
                      errno == ENOENT ? "there is no folder %s: make it, or mend store.path" : "%s can't be looked at",
                      folder);
    } else if (find_closed(d, folder, closed, sizeof closed)) {
        fail(d);
        dw_doctor_say(d, DW_FINDING_FAIL, "folder",
                      "%s may not enter %s, so the queue can't be reached: chmod +x it, or keep the queue elsewhere",
                      d->user, closed);
    } else if (!may(d, folder, W_OK | X_OK)) {
        fail(d);
        dw_doctor_say(d, DW_FINDING_FAIL, "folder",
                      "%s may not write %s (it belongs to %s): SQLite makes the files -wal and -shm there; chown or "
                      "chmod the folder",
                      d->user, folder, owner_of(folder, owner, sizeof owner));
    } else if ((st.st_mode & S_IWOTH) != 0 && (st.st_mode & S_ISVTX) == 0)
        dw_doctor_say(d, DW_FINDING_WARN, "folder", "every user of this machine may replace files in %s: chmod o-w it",
                      folder);
    else
        dw_doctor_say(d, DW_FINDING_OK, "folder", "%s may write %s", d->user, folder);
}

static void check_disk(struct dw_doctor *d, const char *folder)
{
    char name[64];
    struct dw_err err = {.code = 0};
    int rc = dw_netfs_check(folder, name, sizeof name, &err);

    if (rc == DW_OK)
        dw_doctor_say(d, DW_FINDING_OK, "disk", "%s is on a local file system (%s)", folder, name);
    else if (rc == DW_NETFS) {
        fail(d);
        dw_doctor_say(d, DW_FINDING_FAIL, "disk", "%s", dw_err_say(&err, rc));
    } /* no such folder: said already */
}

/* ---- would a web server hand it out? ---- */

static bool has_web_page(const char *folder)
{
    static const char *const pages[] = {"index.html", "index.htm", "index.php", ".htaccess"};
    char path[4200];

    for (size_t i = 0; i < sizeof pages / sizeof pages[0]; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", folder, pages[i]);
        if (access(path, F_OK) == 0)
            return true;
    }
    return false;
}

static bool is_web_folder(const char *folder)
{
    static const char *const names[] = {"public_html", "htdocs", "httpdocs", "wwwroot"};
    static const char *const paths[] = {"/var/www", "/var/www/html", "/srv/www", "/usr/share/nginx/html"};
    const char *slash = strrchr(folder, '/');

    for (size_t i = 0; slash != NULL && i < sizeof names / sizeof names[0]; i++)
        if (strcmp(slash + 1, names[i]) == 0)
            return true;
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++)
        if (strcmp(folder, paths[i]) == 0)
            return true;
    return false;
}

static bool is_root(const struct dw_doctor *d, const char *folder)
{
    struct stat here;
    struct stat root;

    return d->document_root != NULL && stat(folder, &here) == 0 && stat(d->document_root, &root) == 0 &&
           here.st_ino == root.st_ino && here.st_dev == root.st_dev;
}

static void check_served(struct dw_doctor *d, const char *folder)
{
    char path[4096];
    bool served = false;

    (void)snprintf(path, sizeof path, "%s", folder);
    do
        served = is_root(d, path) || is_web_folder(path) || (strcmp(path, "/") != 0 && has_web_page(path));
    while (!served && to_parent(path));
    if (served)
        dw_doctor_say(d, DW_FINDING_FAIL, "served",
                      "the queue is below %s, which looks like a folder that a web server hands out: anyone could "
                      "download it with all sessions; keep it outside of the document root",
                      path);
    else
        dw_doctor_say(d, DW_FINDING_OK, "served", "the queue is in no folder that looks like a document root%s",
                      d->document_root == NULL ? " (--document-root DIR names yours)" : "");
}

/* ---- the files ---- */

/* -wal and -shm, when they are there, are to be written by the same users as the database. */
static bool check_beside(struct dw_doctor *d, const char *topic, const char *database)
{
    static const char *const suffixes[] = {"-wal", "-shm", "-journal"};
    char path[4200];
    char owner[64];

    for (size_t i = 0; i < sizeof suffixes / sizeof suffixes[0]; i++) {
        (void)snprintf(path, sizeof path, "%s%s", database, suffixes[i]);
        if (access(path, F_OK) != 0 || may(d, path, R_OK | W_OK))
            continue;
        fail(d);
        dw_doctor_say(d, DW_FINDING_FAIL, topic, "%s may not write %s (it belongs to %s): chown it as the database is",
                      d->user, path, owner_of(path, owner, sizeof owner));
        return false;
    }
    return true;
}

static void check_queue(struct dw_doctor *d)
{
    char owner[64];
    struct stat st;

    if (stat(d->path, &st) != 0) {
        fail(d);
        if (errno == ENOENT)
            dw_doctor_say(d, DW_FINDING_FAIL, "queue",
                          "there is no %s: run `dumbwaiter init --db %s`, or name the right file with store.path",
                          d->path, d->path);
        else
            dw_doctor_say(d, DW_FINDING_FAIL, "queue", "%s: %s", d->path, strerror(errno));
    } else if (!S_ISREG(st.st_mode)) {
        fail(d);
        dw_doctor_say(d, DW_FINDING_FAIL, "queue", "%s is no ordinary file", d->path);
    } else if (!may(d, d->path, R_OK | W_OK)) {
        fail(d);
        dw_doctor_say(d, DW_FINDING_FAIL, "queue",
                      "%s may not read and write %s (mode %04o, it belongs to %s): chown it, or share a group and "
                      "chmod g+rw",
                      d->user, d->path, (unsigned)(st.st_mode & 07777), owner_of(d->path, owner, sizeof owner));
    } else if (!check_beside(d, "queue", d->path))
        return;
    else if ((st.st_mode & S_IRWXO) != 0)
        dw_doctor_say(d, DW_FINDING_WARN, "queue",
                      "every user of this machine may read %s (mode %04o), with all sessions in it: chmod o-rwx it",
                      d->path, (unsigned)(st.st_mode & 07777));
    else
        dw_doctor_say(d, DW_FINDING_OK, "queue", "%s may read and write %s", d->user, d->path);
}

/* A file of the state folder that the user can't use, if any. */
static bool find_unusable(const struct dw_doctor *d, const char *folder, char *file, size_t size)
{
    DIR *dir = opendir(folder);
    const struct dirent *entry;
    bool found = false;

    if (dir == NULL)
        return false;
    while (!found && (entry = readdir(dir)) != NULL) {
        (void)snprintf(file, size, "%s/%s", folder, entry->d_name);
        found = entry->d_name[0] != '.' && !may(d, file, R_OK | W_OK);
    }
    (void)closedir(dir);
    return found;
}

static void check_state(struct dw_doctor *d)
{
    char folder[4096];
    char file[4400];
    char owner[64];
    struct stat st;

    (void)snprintf(folder, sizeof folder, "%s-dw", d->path);
    if (stat(folder, &st) != 0)
        dw_doctor_say(d, DW_FINDING_WARN, "state",
                      "there is no %s: the first program that opens the queue makes it, with that user as its owner; "
                      "`dumbwaiter init --db %s` makes it now",
                      folder, d->path);
    else if (!S_ISDIR(st.st_mode)) {
        fail(d);
        dw_doctor_say(d, DW_FINDING_FAIL, "state", "%s is no folder: move it away", folder);
    } else if (!may(d, folder, R_OK | W_OK | X_OK)) {
        fail(d);
        dw_doctor_say(d, DW_FINDING_FAIL, "state",
                      "%s may not use the folder %s (mode %04o, it belongs to %s): chown it as the queue file is",
                      d->user, folder, (unsigned)(st.st_mode & 07777), owner_of(folder, owner, sizeof owner));
    } else if (find_unusable(d, folder, file, sizeof file)) {
        fail(d);
        dw_doctor_say(d, DW_FINDING_FAIL, "state",
                      "%s may not read and write %s (it belongs to %s): chown everything in the folder as the queue "
                      "file is",
                      d->user, file, owner_of(file, owner, sizeof owner));
    } else
        dw_doctor_say(d, DW_FINDING_OK, "state", "%s may use %s and all that is in it", d->user, folder);
}

/* The key of signed tokens at `path`, which is there. */
static void check_key(struct dw_doctor *d, const char *path, const struct stat *st, bool used)
{
    struct dw_token_keys keys;
    struct dw_err err = {.code = 0};
    char owner[64];
    int rc = DW_OK;

    memset(&keys, 0, sizeof keys);
    if (access(path, R_OK) == 0) /* else nothing can be said about what is in it */
        rc = dw_keyfile_read(path, &keys, &err);
    if ((st->st_mode & S_IRWXO) != 0)
        dw_doctor_say(d, DW_FINDING_FAIL, "token",
                      "every user of this machine may read or change %s (mode %04o), and so make tokens for anybody: "
                      "chmod o-rwx it, and put a new key in, for it may be known",
                      path, (unsigned)(st->st_mode & 07777));
    else if (used && !may(d, path, R_OK))
        dw_doctor_say(d, DW_FINDING_FAIL, "token", "%s may not read the key file %s (mode %04o, it belongs to %s)",
                      d->user, path, (unsigned)(st->st_mode & 07777), owner_of(path, owner, sizeof owner));
    else if (used && rc != DW_OK)
        dw_doctor_say(d, DW_FINDING_FAIL, "token", "%s", dw_err_say(&err, rc));
    else if (used && keys.count > 1)
        dw_doctor_say(d, DW_FINDING_OK, "token", "%s may read %s; it has two keys, the second for old tokens", d->user,
                      path);
    else if (used)
        dw_doctor_say(d, DW_FINDING_OK, "token", "%s may read %s", d->user, path);
    dw_token_keys_wipe(&keys);
}

static void check_tokens(struct dw_doctor *d)
{
    bool used = strcmp(d->conf->auth_uid, "token") == 0;
    struct dw_buf path = DW_BUF_INIT;
    struct dw_err err = {.code = 0};
    struct stat st;
    int rc = dw_keyfile_path(d->conf, &path, &err);

    if (rc != DW_OK)
        dw_doctor_say(d, DW_FINDING_FAIL, "token", "%s: no program starts with this", dw_err_say(&err, rc));
    else if (stat(dw_buf_str(&path), &st) == 0)
        check_key(d, dw_buf_str(&path), &st, used);
    else if (used && errno == ENOENT)
        dw_doctor_say(d, DW_FINDING_FAIL, "token", "there is no key file %s: `dumbwaiter init --db %s` makes it",
                      dw_buf_str(&path), d->path);
    else if (used)
        dw_doctor_say(d, DW_FINDING_FAIL, "token", "%s: %s", dw_buf_str(&path), strerror(errno));
    dw_buf_fini(&path);
}

void dw_doctor_files(struct dw_doctor *d)
{
    char folder[4096];

    (void)snprintf(folder, sizeof folder, "%s", d->path);
    (void)to_parent(folder);
    check_folder(d, folder);
    check_disk(d, folder);
    check_served(d, folder);
    check_queue(d);
    check_state(d);
    check_tokens(d);
}

/* ---- what is in them ---- */

static void check_schema(struct dw_doctor *d, const char *topic, const char *path, const struct dw_inspection *found)
{
    if (found->schema > found->schema_known) {
        fail(d);
        dw_doctor_say(d, DW_FINDING_FAIL, topic,
                      "%s was made by a newer Dumbwaiter (schema %" PRId64 ", this program knows %" PRId64
                      "): use that version of the program",
                      path, found->schema, found->schema_known);
    } else if (found->schema == 0) {
        fail(d);
        dw_doctor_say(d, DW_FINDING_FAIL, topic, "%s has no Dumbwaiter tables: run `dumbwaiter init --db %s`", path,
                      d->path);
    } else if (found->schema < found->schema_known) {
        fail(d);
        dw_doctor_say(d, DW_FINDING_FAIL, topic,
                      "%s has tables of an older Dumbwaiter (schema %" PRId64 "): run `dumbwaiter init --db %s`", path,
                      found->schema, d->path);
    } else
        dw_doctor_say(d, DW_FINDING_OK, topic, "schema %" PRId64 "%s", found->schema,
                      found->foreign_tables ? ", in a database with tables of your own" : "");
}

static void check_journal(struct dw_doctor *d, const struct dw_inspection *found)
{
    char wal[4200];
    struct stat st;

    (void)snprintf(wal, sizeof wal, "%s-wal", d->path);
    if (strcmp(found->journal_mode, "wal") != 0)
        dw_doctor_say(d, DW_FINDING_WARN, "journal",
                      "the journal mode is %s: the programs switch it to WAL when they open the file; if an "
                      "application switches it back, stop it from doing so",
                      found->journal_mode);
    else if (stat(wal, &st) == 0 && st.st_size > WAL_LARGE)
        dw_doctor_say(d, DW_FINDING_WARN, "journal",
                      "%s has %" PRId64 " bytes: some program keeps a read transaction open, or no responder runs; "
                      "`dumbwaiter gc` cuts it",
                      wal, (int64_t)st.st_size);
    else
        dw_doctor_say(d, DW_FINDING_OK, "journal", "the journal mode is WAL");
}

static void check_lock(struct dw_doctor *d, const struct dw_inspection *found)
{
    if (found->read_only) {
        fail(d);
        dw_doctor_say(d, DW_FINDING_FAIL, "lock", "SQLite may only read %s: is it mounted read-only?", d->path);
    } else if (found->locked) {
        fail(d);
        dw_doctor_say(d, DW_FINDING_FAIL, "lock",
                      "another program has held the write lock for %d s: end its transaction (an editor of databases, "
                      "perhaps, or a script that forgot to commit)",
                      LOCK_WAIT_MS / 1000);
    } else
        dw_doctor_say(d, DW_FINDING_OK, "lock", "the queue can be locked for writing");
}

void dw_doctor_databases(struct dw_doctor *d)
{
    char state[4200];
    struct dw_inspection found;
    struct dw_err err = {.code = 0};
    int rc = dw_inspect(d->path, DW_INSPECT_QUEUE, LOCK_WAIT_MS, &found, &err);

    if (rc == DW_OK) {
        check_journal(d, &found);
        check_schema(d, "schema", d->path, &found);
        check_lock(d, &found);
    } else if (rc != DW_NOTFOUND) {
        fail(d);
        dw_doctor_say(d, DW_FINDING_FAIL, "schema", "%s can't be read: %s", d->path, dw_err_say(&err, rc));
    }
    (void)snprintf(state, sizeof state, "%s-dw/state.db", d->path);
    rc = dw_inspect(d->path, DW_INSPECT_STATE, LOCK_WAIT_MS, &found, &err);
    if (rc == DW_OK)
        check_schema(d, "state", state, &found);
    else if (rc != DW_NOTFOUND) {
        fail(d);
        dw_doctor_say(d, DW_FINDING_FAIL, "state", "%s can't be read: %s; it may be moved away, no event is lost",
                      state, dw_err_say(&err, rc));
    }
}
