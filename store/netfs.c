/* Which file system a path is on (see netfs.h).  Asks statfs(2); for FUSE, whose file systems share one
 * number, the mount table has the name. */
#include "store/netfs.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

struct fs_name {
    unsigned long magic; /* statfs.f_type, see statfs(2) */
    const char *name;
    bool network;
};

#define MAGIC_FUSE 0x65735546UL

static const struct fs_name known[] = {
    {0x6969UL, "nfs", true},        {0x517BUL, "smb", true},           {0xFF534D42UL, "cifs", true},
    {0xFE534D42UL, "smb2", true},   {0x00C36400UL, "ceph", true},      {0x5346414FUL, "afs", true},
    {0x6B414653UL, "afs", true},    {0x73757245UL, "coda", true},      {0x01021997UL, "9p", true},
    {0x0BD00BD0UL, "lustre", true}, {0x47504653UL, "gpfs", true},      {0x19830326UL, "fhgfs", true},
    {0x7461636FUL, "ocfs2", true},  {0x01161970UL, "gfs2", true},      {0x564CUL, "ncp", true},
    {0xEF53UL, "ext4", false},      {0x58465342UL, "xfs", false},      {0x9123683EUL, "btrfs", false},
    {0x01021994UL, "tmpfs", false}, {0x794C7630UL, "overlay", false},  {0x2FC12FC1UL, "zfs", false},
    {0xF2F52010UL, "f2fs", false},  {0xCA451A4EUL, "bcachefs", false},
};

static const char *const fuse_network[] = {"sshfs",  "s3fs",      "gcsfuse",  "glusterfs", "rclone",   "davfs",
                                           "davfs2", "curlftpfs", "mfs",      "moosefs",   "ceph",     "juicefs",
                                           "nfs",    "smb",       "smbnetfs", "goofys",    "blobfuse", "gvfsd-fuse"};

/* Type of the mount with this device number, from lines such as
 * "36 35 98:0 /root /mnt rw,noatime shared:1 - ext4 /dev/sda1 rw". */
static bool mount_type(dev_t device, char *name, size_t size)
{
    char wanted[32];
    char line[4096];
    bool found = false;
    FILE *mounts = fopen("/proc/self/mountinfo", "re");

    if (mounts == NULL)
        return false;
    (void)snprintf(wanted, sizeof wanted, " %u:%u ", major(device), minor(device));
    while (!found && fgets(line, sizeof line, mounts) != NULL) {
        char *type = strstr(line, " - ");

        if (strstr(line, wanted) == NULL || type == NULL)
            continue;
        type += 3;
        type[strcspn(type, " \n")] = '\0';
        (void)snprintf(name, size, "%s", type);
        found = true;
    }
    (void)fclose(mounts);
    return found;
}

static bool fuse_is_network(const char *path, char *name, size_t size)
{
    struct stat status;
    const char *kind;

    (void)snprintf(name, size, "fuse");
    if (stat(path, &status) != 0 || !mount_type(status.st_dev, name, size))
        return false;
    kind = strncmp(name, "fuse.", 5) == 0 ? name + 5 : name;
    for (size_t i = 0; i < sizeof fuse_network / sizeof fuse_network[0]; i++)
        if (strcmp(kind, fuse_network[i]) == 0)
            return true;
    return false;
}

int dw_netfs_check(const char *path, char *name, size_t size, struct dw_err *err)
{
    struct statfs fs;
    unsigned long magic;
    bool network = false;

    if (statfs(path, &fs) != 0)
        return dw_err_set(err, errno == ENOENT ? DW_NOTFOUND : DW_IO, "%s: %s", path, strerror(errno));
    magic = (unsigned long)fs.f_type & 0xFFFFFFFFUL; /* sign-extended on some machines */
    (void)snprintf(name, size, "0x%lx", magic);
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (known[i].magic == magic) {
            (void)snprintf(name, size, "%s", known[i].name);
            network = known[i].network;
        }
    if (magic == MAGIC_FUSE)
        network = fuse_is_network(path, name, size);
    if (network)
        return dw_err_set(err, DW_NETFS,
                          "%s is on a network file system (%s), where the queue's locks don't work: "
                          "put it on a local disk (setting store.path)",
                          path, name);
    return DW_OK;
}
