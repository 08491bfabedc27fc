/* The commands: one file each, which gives a struct dw_command; main.c has the list. */
#ifndef DW_CLI_COMMAND_H
#define DW_CLI_COMMAND_H

struct dw_cli;

struct dw_command {
    const char *name;
    const char *summary;                                         /* one line of `dumbwaiter --help` */
    const char *help;                                            /* all of `dumbwaiter NAME --help` */
    int (*run)(struct dw_cli *cli, int argc, char *const *argv); /* arguments behind the name; an exit status */
};

extern const struct dw_command dw_command_doctor, dw_command_gc, dw_command_inbox, dw_command_init, dw_command_listen,
    dw_command_online, dw_command_push, dw_command_reply, dw_command_status, dw_command_token;

#endif
