/* What the commands share: options, the settings and the queue, saying what went wrong. */
#ifndef DW_CLI_CLI_H
#define DW_CLI_CLI_H

#include "base/buf.h"
#include "base/conf.h"
#include "base/err.h"
#include "cli/command.h"
#include "store/store.h"

#include <stdbool.h>
#include <stdint.h>

#define DW_CLI_PROGRAM "dumbwaiter"
#define DW_CLI_ARGS_MAX 4 /* arguments that are no options; no command takes more */

/* Exit statuses, the same for all commands; dumbwaiter(1) has them. */
enum dw_exit {
    DW_EXIT_OK,
    DW_EXIT_FAILED,  /* standard error says why; doctor: something has to be mended */
    DW_EXIT_USAGE,   /* the command line is wrong */
    DW_EXIT_REFUSED, /* the queue's rules refused the row */
    DW_EXIT_NOQUEUE, /* there is no queue: wrong path, or not made yet */
    DW_EXIT_RETRY,   /* locked by another program, or no space: the same command may succeed later */
    DW_EXIT_GO_ON = -1,
};

struct dw_cli {
    const struct dw_command *command; /* NULL before it is known */
    const char *config, *db;          /* --config and --db, or NULL */
    struct dw_conf conf;              /* when has_conf */
    bool has_conf;
    struct dw_store *store; /* NULL: not open */
    const char *args[DW_CLI_ARGS_MAX];
    int count;        /* of args */
    bool output_gone; /* whoever read standard output has closed it */
};

/* An option of a command: with a value, or a flag. */
struct dw_option {
    const char *name; /* without the dashes; NULL ends the list */
    const char **value;
    bool *flag;
};

/* Reads a command line: the command's options, --config, --db and --help wherever they stand, and what else
 * there is into cli->args.  "--" ends the options; "-" and "-5" are none.  Returns DW_EXIT_GO_ON, or the exit
 * status to end with (after --help, or when it has said what is wrong). */
int dw_cli_parse(struct dw_cli *cli, const struct dw_option *options, int argc, char *const *argv);
/* The same, and then dw_cli_expect: how most commands begin. */
int dw_cli_begin(struct dw_cli *cli, const struct dw_option *options, int low, int high, int argc, char *const *argv);
/* One such option at argv[*at]: moves *at to its last word.  *found: it was one of `options`. */
int dw_cli_option(struct dw_cli *cli, const struct dw_option *options, int argc, char *const *argv, int *at,
                  bool *found);
/* DW_EXIT_GO_ON when the number of arguments is from `low` to `high`. */
int dw_cli_expect(struct dw_cli *cli, int low, int high);

/* A whole number from `low` up; else says what `what` should be. */
int dw_cli_number(struct dw_cli *cli, const char *what, const char *text, int64_t low, int64_t *value);
/* The data argument: itself, or for "-" standard input (at most one byte more than a queue takes, so that the
 * queue refuses what is too long).  Appended to `buf`. */
int dw_cli_data(struct dw_cli *cli, const char *arg, struct dw_buf *buf);

/* Loads the settings / leaves root / does both and opens the queue, which must exist unless `create`.  Root goes on
 * as process.user or as the queue's owner, where there is no queue as the folder's owner, and stays that user.
 * DW_EXIT_GO_ON or an exit status.  dw_cli_close closes. */
int dw_cli_load(struct dw_cli *cli);
int dw_cli_leave_root(struct dw_cli *cli);
int dw_cli_open(struct dw_cli *cli, bool create);
void dw_cli_close(struct dw_cli *cli);

/* Each says a sentence on standard error and returns the exit status to end with. */
int dw_cli_usage(struct dw_cli *cli, const char *format, ...) __attribute__((format(printf, 2, 3)));
int dw_cli_fail(struct dw_cli *cli, const struct dw_err *err, int rc);

#endif
