/* The command line that the servers share. */
#ifndef DW_BASE_ARGUMENTS_H
#define DW_BASE_ARGUMENTS_H

struct dw_arguments {
    const char *listen, *config, *db, *user; /* borrowed from argv; NULL: not given */
};

/* Reads --listen ADDRESS, --config FILE, --db FILE, --user NAME; --help prints `usage`, --version the version of
 * `program`, both to standard output.  Returns an exit status (0 after --help or --version, 2 behind a sentence on
 * standard error), or -1: go on. */
int dw_arguments(int argc, char **argv, const char *program, const char *usage, struct dw_arguments *arguments);

#endif
