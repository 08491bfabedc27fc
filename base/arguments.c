/* Reads a server's command line; see arguments.h. */
#include "base/arguments.h"

#include "config.h"

#include <getopt.h>
#include <stddef.h>
#include <stdio.h>

int dw_arguments(int argc, char **argv, const char *program, const char *usage, struct dw_arguments *arguments)
{
    static const struct option options[] = {
        {"listen", required_argument, NULL, 'l'},
        {"config", required_argument, NULL, 'c'},
        {"db", required_argument, NULL, 'd'},
        {"user", required_argument, NULL, 'u'},
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'v'},
        {NULL, 0, NULL, 0},
    };
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 'l':
            arguments->listen = optarg;
            break;
        case 'c':
            arguments->config = optarg;
            break;
        case 'd':
            arguments->db = optarg;
            break;
        case 'u':
            arguments->user = optarg;
            break;
        case 'h':
            (void)fputs(usage, stdout);
            return 0;
        case 'v':
            (void)printf("%s %s\n", program, PACKAGE_VERSION);
            return 0;
        default:
            (void)fprintf(stderr, "Try %s --help\n", program);
            return 2;
        }
    }
    if (optind < argc) {
        (void)fprintf(stderr, "%s: unexpected argument \"%s\"; try --help\n", program, argv[optind]);
        return 2;
    }
    return -1;
}
