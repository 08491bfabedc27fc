/* Leaving root; see privileges.h. */
#include "base/privileges.h"

#include "base/listen.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ENTRY_SPACE 16384 /* a user's or group's entry with all members' names */

void dw_privileges_harden(void)
{
    const struct rlimit none = {0, 0};

    /* Both can only fail on kernels that don't know them. */
    (void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    (void)setrlimit(RLIMIT_CORE, &none);
}

static bool is_number(const char *text, unsigned long *number)
{
    char *end;

    if (text[0] < '0' || text[0] > '9')
        return false;
    errno = 0;
    *number = strtoul(text, &end, 10);
    return errno == 0 && *end == '\0' && *number < (uid_t)-1;
}

/* Fills in what the system knows of the user; false: it knows none.  `name` NULL: look for `uid`. */
static bool look_up_user(const char *name, uid_t uid, struct dw_account *account)
{
    struct passwd entry, *found = NULL;
    char *space = malloc(ENTRY_SPACE);
    int rc = ENOMEM;

    if (space != NULL)
        rc = name != NULL ? getpwnam_r(name, &entry, space, ENTRY_SPACE, &found)
                          : getpwuid_r(uid, &entry, space, ENTRY_SPACE, &found);
    if (rc == 0 && found != NULL && strlen(found->pw_name) < sizeof account->name) {
        account->uid = found->pw_uid;
        account->gid = found->pw_gid;
        memcpy(account->name, found->pw_name, strlen(found->pw_name) + 1);
    } else {
        found = NULL;
    }
    free(space);
    return found != NULL;
}

static bool look_up_group(const char *name, gid_t *gid)
{
    struct group entry, *found = NULL;
    char *space = malloc(ENTRY_SPACE);

    if (space != NULL && getgrnam_r(name, &entry, space, ENTRY_SPACE, &found) == 0 && found != NULL)
        *gid = found->gr_gid;
    free(space);
    return found != NULL;
}

static int parse(const char *user, struct dw_account *account, struct dw_err *err)
{
    size_t len = strcspn(user, ":");
    const char *group = user[len] == ':' ? user + len + 1 : NULL;
    char name[sizeof account->name];
    unsigned long number;

    (void)snprintf(name, sizeof name, "%.*s", (int)(len < sizeof name ? len : sizeof name - 1), user);
    if (!look_up_user(name, 0, account)) {
        if (!is_number(name, &number))
            return dw_err_set(err, DW_CONF, "process.user: there is no user \"%s\"", name);
        account->uid = (uid_t)number;
        if (!look_up_user(NULL, account->uid, account) && group == NULL)
            return dw_err_set(err, DW_CONF, "process.user: user %s has no entry, so name a group too: %s:GROUP", name,
                              name);
    }
    if (group == NULL || look_up_group(group, &account->gid))
        return DW_OK;
    if (!is_number(group, &number))
        return dw_err_set(err, DW_CONF, "process.user: there is no group \"%s\"", group);
    account->gid = (gid_t)number;
    return DW_OK;
}

/* A link counts as its own owner's: who may put one there could else have it lead to a file of root's, and root
 * stay root in that user's folder.  One that root made is followed. */
static bool look_at(const char *path, struct stat *st)
{
    if (lstat(path, st) != 0)
        return false;
    return !S_ISLNK(st->st_mode) || st->st_uid != 0 || stat(path, st) == 0;
}

/* The owner of the queue file, or of its folder while there is none: as the files will be given to. */
static void find_owner(const char *queue, struct dw_account *account)
{
    const char *slash = strrchr(queue, '/');
    char folder[4096] = ".";
    struct stat st;

    if (slash != NULL)
        (void)snprintf(folder, sizeof folder, "%.*s", (int)(slash - queue) + 1, queue);
    if (!look_at(queue, &st) && stat(folder, &st) != 0)
        return;
    account->uid = st.st_uid;
    account->gid = st.st_gid;
    (void)look_up_user(NULL, st.st_uid, account);
}

int dw_account_find(const char *user, const char *queue, struct dw_account *account, struct dw_err *err)
{
    bool has_group = strchr(user, ':') != NULL;
    int rc;

    memset(account, 0, sizeof *account);
    if (user[0] == '\0') {
        if (geteuid() == 0)
            find_owner(queue, account);
        account->change = account->uid != 0;
        return DW_OK;
    }
    rc = parse(user, account, err);
    if (rc != DW_OK)
        return rc;
    account->change = account->uid != geteuid() || (has_group && account->gid != getegid());
    if (account->change && geteuid() != 0)
        return dw_err_set(err, DW_DENIED,
                          "process.user is %s, but only root can become another user: start this as root, or as that "
                          "user",
                          user);
    return DW_OK;
}

/* A capability that is left over could be put into effect again. */
static bool has_capabilities(void)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {{.permitted = 0}};

    return syscall(SYS_capget, &head, data) != 0 || data[0].permitted != 0 || data[1].permitted != 0;
}

/* Root's way back would be any of these. */
static bool is_for_good(const struct dw_account *account)
{
    uid_t uid[3];
    gid_t gid[3];

    if (getresuid(&uid[0], &uid[1], &uid[2]) != 0 || getresgid(&gid[0], &gid[1], &gid[2]) != 0)
        return false;
    for (int i = 0; i < 3; i++) {
        if (uid[i] != account->uid || gid[i] != account->gid)
            return false;
    }
    if (account->uid == 0)
        return true;
    return !has_capabilities() && setresuid(0, 0, 0) != 0 && seteuid(0) != 0 && (account->gid == 0 || setegid(0) != 0);
}

int dw_account_become(const struct dw_account *account, struct dw_err *err)
{
    int rc;

    if (!account->change)
        return DW_OK;
    if (account->name[0] != '\0')
        rc = initgroups(account->name, account->gid);
    else
        rc = setgroups(1, &account->gid);
    if (rc != 0 || setresgid(account->gid, account->gid, account->gid) != 0 ||
        setresuid(account->uid, account->uid, account->uid) != 0)
        return dw_err_set(err, DW_SYSTEM, "cannot become user %lu, group %lu: %s", (unsigned long)account->uid,
                          (unsigned long)account->gid, strerror(errno));
    if (!is_for_good(account))
        return dw_err_set(err, DW_SYSTEM, "user %lu could become root again: not going on",
                          (unsigned long)account->uid);
    /* The kernel closes /proc/self to a process that has changed its user, and store/file.c needs it. */
    (void)prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
    return DW_OK;
}

static int become(const struct dw_account *account, struct dw_err *err)
{
    int rc = dw_account_become(account, err);

    if (rc == DW_OK && account->change)
        dw_log_info("was started as root, goes on as user %s (%lu:%lu)", account->name, (unsigned long)account->uid,
                    (unsigned long)account->gid);
    return rc;
}

static int find(const struct dw_conf *conf, struct dw_account *account, struct dw_err *err)
{
    static bool warned; /* a worker may look twice, once its first request has said which queue it is */
    int rc = dw_account_find(conf->process_user, conf->store_path, account, err);

    if (rc == DW_OK && !warned && !account->change && geteuid() == 0 && conf->process_user[0] == '\0') {
        warned = true;
        dw_log_warn("running as root, since the queue belongs to root: run this as the web server's user, or name one "
                    "in process.user (--user), and give the queue to it; only root and its group may connect to a Unix "
                    "socket that is made now");
    }
    return rc;
}

int dw_privileges_leave(const struct dw_conf *conf, struct dw_err *err)
{
    struct dw_account account;
    int rc = find(conf, &account, err);

    return rc == DW_OK ? become(&account, err) : rc;
}

int dw_privileges_listen(const struct dw_conf *conf, const char *address, int *descriptor, struct dw_err *err)
{
    struct dw_account account;
    int rc = find(conf, &account, err);

    if (rc == DW_OK)
        rc = dw_listen_open(address, descriptor, err);
    if (rc == DW_OK && account.change)
        rc = dw_listen_give(address, account.uid, account.gid, err);
    return rc == DW_OK ? become(&account, err) : rc;
}
