/* Runs the targets over the files in corpus/, without libFuzzer: a part of `make check`, and the way to
 * look at one finding in a debugger.
 *
 *      fuzz/replay                     all targets over their corpora; TAP
 *      fuzz/replay TARGET FILE...      one target over these files */
#include "fuzz/fuzz.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The input lies in a block of exactly its size, so that AddressSanitizer sees one byte too far. */
static void run_file(const struct fuzz_target *target, const char *path)
{
    FILE *file = fopen(path, "rb");
    char room[65536], *bytes;
    size_t len;

    if (file == NULL)
        fuzz_fail("%s cannot be opened", path);
    len = fread(room, 1, sizeof room, file);
    if (ferror(file) != 0 || len == sizeof room || fclose(file) != 0)
        fuzz_fail("%s cannot be read, or has 64 KB or more", path);
    bytes = malloc(len != 0 ? len : 1);
    FUZZ_CHECK(bytes != NULL);
    memcpy(bytes, room, len);
    target->run(bytes, len);
    free(bytes);
}

static unsigned run_folder(const struct fuzz_target *target, const char *folder)
{
    const char *source = getenv("DW_SRCDIR");
    char path[4096];
    struct dirent *entry;
    unsigned count = 0;
    DIR *directory;
    int len = snprintf(path, sizeof path, "%s/fuzz/corpus/%s/", source != NULL ? source : ".", folder);

    directory = len > 0 && (size_t)len < sizeof path ? opendir(path) : NULL;
    if (directory == NULL)
        fuzz_fail("there is no folder %s (set DW_SRCDIR to the source folder)", path);
    while ((entry = readdir(directory)) != NULL) {
        if (entry->d_name[0] == '.')
            continue;
        if (snprintf(path + len, sizeof path - (size_t)len, "%s", entry->d_name) >= (int)(sizeof path - (size_t)len))
            fuzz_fail("the path of %s is too long", entry->d_name);
        run_file(target, path);
        count++;
    }
    FUZZ_CHECK(closedir(directory) == 0);
    return count;
}

static unsigned run_corpora(const struct fuzz_target *target)
{
    char folders[256], *rest = folders, *folder;
    unsigned count = 0;

    FUZZ_CHECK(strlen(target->corpora) < sizeof folders);
    (void)strcpy(folders, target->corpora);
    while ((folder = strtok_r(rest, " ", &rest)) != NULL)
        count += run_folder(target, folder);
    return count;
}

int main(int argc, char **argv)
{
    const struct fuzz_target *target;

    if (argc == 1) {
        for (size_t i = 0; i < fuzz_target_count; i++) {
            unsigned count = run_corpora(&fuzz_targets[i]);

            printf("%s %zu - %s: %u files\n", count != 0 ? "ok" : "not ok", i + 1, fuzz_targets[i].name, count);
            (void)fflush(stdout);
        }
        printf("1..%zu\n", fuzz_target_count);
        return 0;
    }
    target = fuzz_find(argv[1]);
    if (target == NULL) {
        (void)fprintf(stderr, "%s: no target is called %s; see fuzz/fuzz.c\n", argv[0], argv[1]);
        return 2;
    }
    for (int i = 2; i < argc; i++)
        run_file(target, argv[i]);
    return 0;
}
