/* dumbwaiter: the queue from a shell.  Finds the command and runs it; see command.h. */
#include "cli/cli.h"
#include "config.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

static const struct dw_command *const commands[] = {
    &dw_command_init,   &dw_command_push, &dw_command_inbox,  &dw_command_reply,  &dw_command_online,
    &dw_command_status, &dw_command_gc,   &dw_command_doctor, &dw_command_listen, &dw_command_token,
};
#define COMMANDS (sizeof commands / sizeof commands[0])

static void print_help(void)
{
    (void)fputs("Usage: dumbwaiter [--config FILE] [--db FILE] COMMAND [ARGUMENT...]\n"
                "\n"
                "Pushes to browsers, reads what they sent, and looks after the event queue.\n"
                "\n",
                stdout);
    for (size_t i = 0; i < COMMANDS; i++)
        (void)printf("  %-8s %s\n", commands[i]->name, commands[i]->summary);
    (void)fputs("\n"
                "  --config FILE  settings (else $DUMBWAITER_CONF, dumbwaiter.conf beside the program,\n"
                "                 /etc/dumbwaiter/dumbwaiter.conf)\n"
                "  --db FILE      queue file (else $DUMBWAITER_DB, store.path, dumbwaiter.db beside the program)\n"
                "  --help         this text; `dumbwaiter COMMAND --help` tells more about a command\n"
                "  --version      the version\n"
                "\n"
                "Exit status: 0 done, 1 failed, 2 wrong usage, 3 refused by the queue's rules, 4 no queue there,\n"
                "5 locked by another program or no space: try again.  See dumbwaiter(1).\n",
                stdout);
}

static const struct dw_command *find(const char *name)
{
    for (size_t i = 0; i < COMMANDS; i++)
        if (strcmp(commands[i]->name, name) == 0)
            return commands[i];
    return NULL;
}

/* The options in front of the command; *at is then the command's place. */
static int parse_front(struct dw_cli *cli, int argc, char *const *argv, int *at)
{
    bool found;
    int status;

    for (; *at < argc && argv[*at][0] == '-'; ++*at) {
        if (strcmp(argv[*at], "--help") == 0 || strcmp(argv[*at], "-h") == 0) {
            print_help();
            return DW_EXIT_OK;
        }
        if (strcmp(argv[*at], "--version") == 0) {
            (void)puts(DW_CLI_PROGRAM " " PACKAGE_VERSION);
            return DW_EXIT_OK;
        }
        found = false;
        status = strncmp(argv[*at], "--", 2) == 0 ? dw_cli_option(cli, NULL, argc, argv, at, &found) : DW_EXIT_GO_ON;
        if (status != DW_EXIT_GO_ON)
            return status;
        if (!found)
            return dw_cli_usage(cli, "unknown option %s", argv[*at]);
    }
    if (*at == argc)
        return dw_cli_usage(cli, "a command is missing");
    return DW_EXIT_GO_ON;
}

int main(int argc, char **argv)
{
    struct dw_cli cli = {.command = NULL};
    int at = 1;
    int status;

    (void)signal(SIGPIPE, SIG_IGN); /* a reader that has gone is a result of write(2), not our end */
    status = parse_front(&cli, argc, argv, &at);
    if (status == DW_EXIT_GO_ON) {
        cli.command = find(argv[at]);
        if (cli.command != NULL)
            status = cli.command->run(&cli, argc - at - 1, argv + at + 1);
        else
            status = dw_cli_usage(&cli, "there is no command \"%s\"", argv[at]);
    }
    dw_cli_close(&cli);
    if (fflush(stdout) != 0 && status == DW_EXIT_OK)
        status = DW_EXIT_FAILED;
    return status;
}
