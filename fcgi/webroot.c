/* Where the queue file lies, seen from the web server; see webroot.h. */
#include "fcgi/webroot.h"

#include "base/log.h"
#include "fcgi/variables.h"

#include <stdlib.h>
#include <string.h>

/* The folder of `file`, without links: the file itself need not be there yet.  NULL: there is none. */
static char *folder_of(const char *file)
{
    const char *slash = strrchr(file, '/');
    char *folder, *real;

    if (slash == NULL)
        return NULL;
    folder = strndup(file, slash == file ? 1 : (size_t)(slash - file));
    if (folder == NULL)
        return NULL;
    real = realpath(folder, NULL);
    free(folder);
    return real;
}

static bool is_within(const char *folder, const char *root)
{
    size_t len = strlen(root);

    /* A server whose root is / serves nothing by that, but names no root. */
    return len > 1 && strncmp(folder, root, len) == 0 && (folder[len] == '/' || folder[len] == '\0');
}

static bool is_served(const char *file, const char *document_root)
{
    char *folder = folder_of(file), *root = realpath(document_root, NULL);
    bool served = folder != NULL && root != NULL && is_within(folder, root);

    free(folder);
    free(root);
    return served;
}

/* The folder of the web server that `file` is in, or NULL.  Apache's second name is the folder behind an alias
 * or a user's /~name. */
static const char *root_of(const char *file, char *const *env)
{
    static const char *const names[] = {"DOCUMENT_ROOT", "CONTEXT_DOCUMENT_ROOT"};

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const char *root = dw_variables_get(env, names[i]);

        if (root != NULL && root[0] != '\0' && is_served(file, root))
            return root;
    }
    return NULL;
}

int dw_webroot_check(const struct dw_conf *conf, char *const *env, struct dw_err *err)
{
    const char *root = root_of(conf->store_path, env);

    if (root == NULL)
        return DW_OK;
    if (conf->path_by_default)
        return dw_err_set(err, DW_CONF,
                          "no queue file is set, and the default %s is in the web server's folder, where anybody could "
                          "download it: set DUMBWAITER_DB to a path outside of %s",
                          conf->store_path, root);
    dw_log_error(
        "the queue file %s is in the web server's folder %s, and anybody who can download it has all sessions: "
        "move it outside, or have the web server deny *.db, *.db-wal and *.db-shm",
        conf->store_path, root);
    return DW_OK;
}
