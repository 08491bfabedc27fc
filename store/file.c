/* Files that root makes go to those who use them (see file.h). */
#include "store/file.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The group may do what the owner may. */
static void share(int fd, mode_t mode)
{
    char path[64];

    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd); /* fchmod takes no O_PATH descriptor */
    if (chmod(path, mode | ((mode & S_IRWXU) >> 3)) != 0)
        return; /* a file system without modes, or no /proc: as the umask has left it */
}

/* Only what is ours alone: a second name would mean that the file is somebody else's, put in our way. */
static void give(int fd, const char *like)
{
    struct stat made;
    struct stat model;

    if (stat(like, &model) != 0 || fstat(fd, &made) != 0)
        return;
    if (made.st_uid != geteuid() || (!S_ISDIR(made.st_mode) && made.st_nlink != 1))
        return;
    if ((made.st_mode & S_IRGRP) != 0 || (model.st_mode & S_IWGRP) != 0)
        share(fd, made.st_mode & 07777);
    if (geteuid() == 0 && fchownat(fd, "", model.st_uid, model.st_gid, AT_EMPTY_PATH) != 0)
        return; /* a file system without owners: then it is everybody's already */
}

void dw_file_give(const char *path, const char *like)
{
    int fd = open(path, O_PATH | O_CLOEXEC | O_NOFOLLOW);

    if (fd < 0)
        return;
    give(fd, like);
    (void)close(fd);
}

static int cannot(const char *what, const char *path, struct dw_err *err)
{
    return dw_err_set(err,
                      errno == ENOSPC   ? DW_FULL
                      : errno == ENOENT ? DW_NOTFOUND
                                        : DW_DENIED,
                      "cannot %s %s: %s", what, path, strerror(errno));
}

/* The name of the user that runs this, for sentences. */
static void user_name(char *name, size_t size)
{
    char space[1024];
    struct passwd entry;
    struct passwd *found = NULL;

    if (getpwuid_r(geteuid(), &entry, space, sizeof space, &found) == 0 && found != NULL)
        (void)snprintf(name, size, "%s", found->pw_name);
    else
        (void)snprintf(name, size, "%lu", (unsigned long)geteuid());
}

int dw_file_place(const char *path, const char *folder, struct dw_err *err)
{
    char user[64];
    struct stat st;

    if (stat(folder, &st) != 0 && errno == ENOENT) {
        user_name(user, sizeof user);
        return dw_err_set(err, DW_NOTFOUND,
                          "there is no folder %s for the queue file %s: make it, writable for user %s", folder, path,
                          user);
    }
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
        return dw_err_set(err, DW_CONF, "%s is a folder: name a file in it, such as %s/queue.db", path, path);
    return DW_OK;
}

int dw_file_make(const char *path, const char *like, struct dw_err *err)
{
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0660);

    if (fd < 0)
        return errno == EEXIST ? DW_OK : cannot("make", path, err);
    give(fd, like);
    (void)close(fd); /* nobody can have it open yet, so no lock of SQLite's is lost */
    return DW_OK;
}

int dw_file_not_led(const char *path, struct dw_err *err)
{
    struct stat st;

    if (geteuid() == 0 && lstat(path, &st) == 0 && S_ISLNK(st.st_mode) && st.st_uid != 0)
        return dw_err_set(err, DW_DENIED, "%s is a link of another user's, which root does not follow", path);
    return DW_OK;
}

int dw_file_make_folder(const char *path, const char *like, struct dw_err *err)
{
    if (mkdir(path, 0770) == 0)
        dw_file_give(path, like);
    else if (errno != EEXIST)
        return cannot("make the folder", path, err);
    return dw_file_not_led(path, err);
}

void dw_file_fence(const char *folder)
{
    static const char deny[] = "Require all denied\n";
    char path[4096];
    int fd;

    if (snprintf(path, sizeof path, "%s/.htaccess", folder) >= (int)sizeof path)
        return;
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0660);
    if (fd < 0)
        return;
    give(fd, folder);
    if (write(fd, deny, sizeof deny - 1) != (ssize_t)sizeof deny - 1)
        (void)unlink(path); /* half a line would be a syntax error, which denies as well */
    (void)close(fd);
}

int dw_file_open(const char *path, const char *like, int *fd, struct dw_err *err)
{
    int rc = dw_file_make(path, like, err);

    *fd = -1;
    if (rc != DW_OK)
        return rc;
    *fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    return *fd >= 0 ? DW_OK : cannot("open", path, err);
}
