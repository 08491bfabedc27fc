/* Leaving root: who to become, and that there is no way back.  Where it needs root, a test does nothing without; each
 * changes a process of its own. */
#include "base/listen.h"
#include "base/privileges.h"

#include "tests/unit/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/securebits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define SOMEBODY 12345 /* no entry in /etc/passwd */

/* (cmocka's skip() counts as a failure for automake.) */
static bool is_root(void)
{
    return geteuid() == 0;
}

/* The exit status of `act` in a child; -1: it died of a signal. */
static int in_child(int (*act)(void))
{
    int status = -1;
    pid_t child = fork();

    if (child == 0)
        _exit(act());
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void users_and_groups_are_names_or_numbers(void **unused)
{
    struct dw_account account;

    (void)unused;
    if (!is_root())
        return;
    assert_int_equal(dw_account_find("nobody", "/q", &account, NULL), DW_OK);
    assert_true(account.change);
    assert_int_equal(account.uid, getpwnam("nobody")->pw_uid);
    assert_int_equal(account.gid, getpwnam("nobody")->pw_gid);
    assert_string_equal(account.name, "nobody");
    assert_int_equal(dw_account_find("nobody:daemon", "/q", &account, NULL), DW_OK);
    assert_int_equal(account.gid, getpwnam("daemon")->pw_gid);
    assert_int_equal(dw_account_find("12345:23456", "/q", &account, NULL), DW_OK);
    assert_int_equal(account.uid, SOMEBODY);
    assert_int_equal(account.gid, 23456);
    assert_string_equal(account.name, "");
    assert_int_equal(dw_account_find("root", "/q", &account, NULL), DW_OK);
    assert_false(account.change);
}

static void what_is_no_user_or_group_is_said(void **unused)
{
    static const char *const wrong[] = {"no such user", "12345", ":daemon", "root:no such group", "12345:", "-1:0"};
    struct dw_account account;
    struct dw_err err = {0};

    (void)unused;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_int_equal(dw_account_find(wrong[i], "/q", &account, &err), DW_CONF);
        assert_non_null(strstr(err.text, "process.user"));
    }
}

static int ask_as_somebody(void)
{
    struct dw_account account;
    struct dw_err err = {0};

    if (geteuid() == 0 && setresuid(SOMEBODY, SOMEBODY, SOMEBODY) != 0)
        return 1;
    if (dw_account_find("", "/etc/passwd", &account, &err) != DW_OK || account.change)
        return 2;
    if (dw_account_find("root", "/q", &account, &err) != DW_DENIED || strstr(err.text, "only root") == NULL)
        return 3;
    return 0;
}

static void who_is_not_root_stays_and_can_not_be_told_otherwise(void **unused)
{
    (void)unused;
    assert_int_equal(in_child(ask_as_somebody), 0);
}

static void without_a_name_the_owner_of_the_queue_or_of_its_folder_is_meant(void **unused)
{
    char folder[] = "/tmp/dwtXXXXXX", path[64];
    struct dw_account account;
    int fd;

    (void)unused;
    if (!is_root())
        return;
    assert_non_null(mkdtemp(folder));
    (void)snprintf(path, sizeof path, "%s/q.db", folder);
    assert_int_equal(dw_account_find("", path, &account, NULL), DW_OK);
    assert_false(account.change);
    assert_int_equal(chown(folder, SOMEBODY, 23456), 0);
    assert_int_equal(dw_account_find("", path, &account, NULL), DW_OK);
    assert_true(account.change);
    assert_int_equal(account.uid, SOMEBODY);
    assert_int_equal(account.gid, 23456);
    fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    (void)close(fd);
    assert_int_equal(dw_account_find("", path, &account, NULL), DW_OK);
    assert_false(account.change);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(folder), 0);
}

static int become_and_come_back(void)
{
    const struct dw_account account = {.change = true, .uid = SOMEBODY, .gid = 23456};
    struct dw_err err = {0};
    const gid_t before[] = {0, 4, 5};
    gid_t groups[8];

    if (setgroups(3, before) != 0)
        return 6;
    if (dw_account_become(&account, &err) != DW_OK)
        return 1;
    if (getuid() != SOMEBODY || geteuid() != SOMEBODY || getgid() != 23456 || getegid() != 23456)
        return 2;
    if (getgroups(8, groups) != 1 || groups[0] != 23456)
        return 3;
    if (seteuid(0) == 0 || setuid(0) == 0 || setegid(0) == 0)
        return 4;
    return access("/proc/self/fd/0", F_OK) == 0 || errno == ENOENT ? 0 : 5;
}

static int become_with_groups(void)
{
    struct dw_account account;
    const gid_t before[] = {0, 4, 5};
    gid_t groups[64];
    int count;

    if (setgroups(3, before) != 0 || dw_account_find("nobody", "/q", &account, NULL) != DW_OK ||
        dw_account_become(&account, NULL) != DW_OK)
        return 1;
    count = getgroups(64, groups);
    for (int i = 0; i < count; i++) {
        if (groups[i] == 0 || groups[i] == 4 || groups[i] == 5)
            return 2;
    }
    return count > 0 ? 0 : 3;
}

static void the_users_own_groups_replace_roots(void **unused)
{
    (void)unused;
    if (!is_root())
        return;
    assert_int_equal(in_child(become_with_groups), 0);
}

static void root_is_left_for_good(void **unused)
{
    (void)unused;
    if (!is_root())
        return;
    assert_int_equal(in_child(become_and_come_back), 0);
}

/* In a folder of another user's, something of root's could be moved into the new socket's place. */
static void only_a_socket_with_one_name_is_given_away(void **unused)
{
    char folder[] = "/tmp/dwtXXXXXX", address[64], second[64];
    struct stat st;
    int fd = -1;

    (void)unused;
    if (!is_root())
        return;
    assert_non_null(mkdtemp(folder));
    (void)snprintf(address, sizeof address, "unix:%s/s", folder);
    (void)snprintf(second, sizeof second, "%s/t", folder);
    assert_int_equal(dw_listen_open(address, &fd, NULL), DW_OK);
    assert_int_equal(link(address + 5, second), 0);
    assert_int_equal(dw_listen_give(address, SOMEBODY, 23456, NULL), DW_SYSTEM);
    assert_int_equal(unlink(address + 5), 0);
    assert_int_equal(symlink(second, address + 5), 0);
    assert_int_equal(dw_listen_give(address, SOMEBODY, 23456, NULL), DW_SYSTEM);
    assert_int_equal(stat(second, &st), 0);
    assert_int_equal(st.st_uid, 0);
    assert_int_equal(unlink(address + 5), 0);
    assert_int_equal(rename(second, address + 5), 0);
    assert_int_equal(dw_listen_give(address, SOMEBODY, 23456, NULL), DW_OK);
    assert_int_equal(stat(address + 5, &st), 0);
    assert_int_equal(st.st_uid, SOMEBODY);
    assert_int_equal(st.st_gid, 23456);
    (void)close(fd);
    dw_listen_unlink(address);
    assert_int_equal(rmdir(folder), 0);
}

/* A process whose capabilities outlive its user must not go on as if it had none. */
static int become_with(unsigned long bits)
{
    const struct dw_account account = {.change = true, .uid = SOMEBODY, .gid = 23456};
    struct dw_err err = {0};

    if (prctl(PR_SET_SECUREBITS, bits, 0, 0, 0) != 0)
        return 77;
    return dw_account_become(&account, &err) == DW_SYSTEM && strstr(err.text, "become root again") != NULL ? 0 : 1;
}

static int become_with_all_kept(void)
{
    return become_with(SECBIT_NO_SETUID_FIXUP);
}

static int become_with_some_kept(void)
{
    return become_with(SECBIT_KEEP_CAPS);
}

static void a_way_back_is_noticed(void **unused)
{
    int all, some;

    (void)unused;
    if (!is_root())
        return;
    all = in_child(become_with_all_kept);
    some = in_child(become_with_some_kept);
    if (all == 77)
        return; /* a container that grants no CAP_SETPCAP */
    assert_int_equal(all, 0);
    assert_int_equal(some, 0);
}

static int harden(void)
{
    struct rlimit limit;

    dw_privileges_harden();
    if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
        return 1;
    return getrlimit(RLIMIT_CORE, &limit) == 0 && limit.rlim_cur == 0 && limit.rlim_max == 0 ? 0 : 2;
}

static void nothing_gains_privileges_and_no_core_is_left(void **unused)
{
    (void)unused;
    assert_int_equal(in_child(harden), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(users_and_groups_are_names_or_numbers),
        cmocka_unit_test(what_is_no_user_or_group_is_said),
        cmocka_unit_test(who_is_not_root_stays_and_can_not_be_told_otherwise),
        cmocka_unit_test(without_a_name_the_owner_of_the_queue_or_of_its_folder_is_meant),
        cmocka_unit_test(the_users_own_groups_replace_roots),
        cmocka_unit_test(root_is_left_for_good),
        cmocka_unit_test(only_a_socket_with_one_name_is_given_away),
        cmocka_unit_test(a_way_back_is_noticed),
        cmocka_unit_test(nothing_gains_privileges_and_no_core_is_left),
    };

    return cmocka_run_group_tests_name("privileges", tests, NULL, NULL);
}
