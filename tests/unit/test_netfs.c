/* Network file systems are refused where a queue is opened.  The kernel's answers are made up here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "store/netfs.h"
#include "store/store.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

static long magic;             /* of every file system */
static const char *mount_type; /* NULL: the mount table can't be read */
static char folder[] = "/tmp/dw-netfs-XXXXXX";

int __wrap_statfs(const char *path, struct statfs *fs);
int __wrap_statfs64(const char *path, struct statfs *fs);
FILE *__wrap_fopen(const char *path, const char *mode);
FILE *__wrap_fopen64(const char *path, const char *mode);
FILE *__real_fopen(const char *path, const char *mode);

int __wrap_statfs(const char *path, struct statfs *fs)
{
    (void)path;
    memset(fs, 0, sizeof *fs);
    fs->f_type = magic;
    return 0;
}

int __wrap_statfs64(const char *path, struct statfs *fs)
{
    return __wrap_statfs(path, fs);
}

FILE *__wrap_fopen(const char *path, const char *mode)
{
    struct stat status;
    FILE *table;

    if (strcmp(path, "/proc/self/mountinfo") != 0)
        return __real_fopen(path, mode);
    table = mount_type != NULL ? tmpfile() : NULL;
    if (table == NULL || stat(folder, &status) != 0)
        return NULL;
    (void)fprintf(table, "20 1 0:999 / /other rw - fuse.sshfs other rw\n36 35 %u:%u / /mnt rw shared:1 - %s dev rw\n",
                  major(status.st_dev), minor(status.st_dev), mount_type);
    rewind(table);
    return table;
}

FILE *__wrap_fopen64(const char *path, const char *mode)
{
    return __wrap_fopen(path, mode);
}

static int set_up(void **state)
{
    (void)state;
    return mkdtemp(folder) != NULL ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    return rmdir(folder);
}

static int check(long type, const char *mount, struct dw_err *err)
{
    char name[64];

    magic = type;
    mount_type = mount;
    return dw_netfs_check(folder, name, sizeof name, err);
}

/* statfs(2) has the numbers. */
static void network_file_systems_are_refused_by_name(void **state)
{
    static const struct {
        long magic;
        const char *name;
    } all[] = {
        {0x6969, "nfs"},      {0x517B, "smb"},       {(long)(int32_t)0xFF534D42, "cifs"},
        {0xFE534D42, "smb2"}, {0x00C36400, "ceph"},  {0x5346414F, "afs"},
        {0x73757245, "coda"}, {0x01021997, "9p"},    {0x0BD00BD0, "lustre"},
        {0x47504653, "gpfs"}, {0x7461636F, "ocfs2"}, {0x01161970, "gfs2"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        struct dw_err err = {0};

        assert_int_equal(check(all[i].magic, NULL, &err), DW_NETFS);
        assert_non_null(strstr(err.text, all[i].name));
        assert_non_null(strstr(err.text, "put it on a local disk"));
    }
}

static void local_and_unknown_file_systems_are_taken(void **state)
{
    static const long all[] = {0xEF53, 0x58465342, 0x9123683E, 0x01021994, 0x794C7630, 0x2FC12FC1, 0x12345678};

    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        assert_int_equal(check(all[i], NULL, NULL), DW_OK);
}

static void what_is_mounted_by_fuse_is_judged_by_its_mounts_type(void **state)
{
    (void)state;
    assert_int_equal(check(0x65735546, "fuse.sshfs", NULL), DW_NETFS);
    assert_int_equal(check(0x65735546, "fuse.glusterfs", NULL), DW_NETFS);
    assert_int_equal(check(0x65735546, "fuse.s3fs", NULL), DW_NETFS);
    assert_int_equal(check(0x65735546, "fuseblk", NULL), DW_OK);
    assert_int_equal(check(0x65735546, "fuse.bindfs", NULL), DW_OK);
    assert_int_equal(check(0x65735546, NULL, NULL), DW_OK);
}

static void a_queue_is_not_made_on_one(void **state)
{
    char path[64];
    const struct dw_store_options options = {.path = path, .retain_ms = 1000, .busy_ms = 100, .create = true};
    struct dw_store *store = NULL;

    (void)state;
    (void)snprintf(path, sizeof path, "%s/queue.db", folder);
    magic = 0x6969;
    assert_int_equal(dw_store_open_sqlite(&options, &store, NULL), DW_NETFS);
    assert_null(store);
    assert_int_not_equal(access(path, F_OK), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(network_file_systems_are_refused_by_name),
        cmocka_unit_test(local_and_unknown_file_systems_are_taken),
        cmocka_unit_test(what_is_mounted_by_fuse_is_judged_by_its_mounts_type),
        cmocka_unit_test(a_queue_is_not_made_on_one),
    };

    return cmocka_run_group_tests_name("netfs", tests, set_up, tear_down);
}
