/* Options, time, spreads, result lines; see lib.h. */
#include "bench/lib.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

_Noreturn void dw_bench_die(const char *format, ...)
{
    int saved = errno;
    va_list args;

    (void)fflush(stdout);
    (void)fputs("bench: ", stderr);
    va_start(args, format);
    (void)vfprintf(stderr, format, args);
    va_end(args);
    if (saved != 0)
        (void)fprintf(stderr, " (%s)", strerror(saved));
    (void)fputc('\n', stderr);
    exit(2);
}

void dw_bench_parse(int argc, char **argv, struct dw_bench_options *options)
{
    static const struct option known[] = {
        {"responder", required_argument, NULL, 'r'}, {"hello", required_argument, NULL, 'h'},
        {"sidecar", required_argument, NULL, 'w'},   {"socketio", required_argument, NULL, 'i'},
        {"quick", no_argument, NULL, 'q'},           {"sync", required_argument, NULL, 's'},
        {"only", required_argument, NULL, 'o'},      {NULL, 0, NULL, 0},
    };
    bool understood = true;
    int option;

    *options = (struct dw_bench_options){
        .responder = "fcgi/dumbwaiter.fcgi", .hello = "bench/hello", .sidecar = "ws/dumbwaiter-ws", .wal_sync = 2};
    while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
        if (option == 'r')
            options->responder = optarg;
        else if (option == 'h')
            options->hello = optarg;
        else if (option == 'w')
            options->sidecar = optarg;
        else if (option == 'i')
            options->socketio = optarg;
        else if (option == 'q')
            options->quick = true;
        else if (option == 'o')
            options->only = optarg;
        else if (option == 's' && strcmp(optarg, "normal") == 0)
            options->wal_sync = 1;
        else if (option != 's' || strcmp(optarg, "full") != 0)
            understood = false;
    }
    if (!understood || optind != argc) {
        errno = 0;
        dw_bench_die("usage: [--responder PATH] [--hello PATH] [--sidecar PATH] [--socketio PATH] [--quick]"
                     " [--sync full|normal] [--only PART]");
    }
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
}

bool dw_bench_wants(const struct dw_bench_options *options, const char *part)
{
    return options->only == NULL || strcmp(options->only, part) == 0;
}

void *dw_bench_alloc(size_t count, size_t size)
{
    void *memory = calloc(count, size);

    if (memory == NULL)
        dw_bench_die("out of memory");
    return memory;
}

int64_t dw_bench_ns(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

void dw_bench_sleep_us(int64_t us)
{
    struct timespec rest = {.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000};

    while (us > 0 && nanosleep(&rest, &rest) != 0)
        ;
}

void dw_bench_spread_add(struct dw_bench_spread *spread, int64_t ns)
{
    if (spread->count == spread->room) {
        spread->room = spread->room != 0 ? spread->room * 2 : 1024;
        spread->ns = reallocarray(spread->ns, spread->room, sizeof *spread->ns);
        if (spread->ns == NULL)
            dw_bench_die("out of memory");
    }
    spread->ns[spread->count++] = ns;
}

void dw_bench_spread_free(struct dw_bench_spread *spread)
{
    free(spread->ns);
    *spread = (struct dw_bench_spread){NULL, 0, 0};
}

static int by_size(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

int64_t dw_bench_spread_at(struct dw_bench_spread *spread, double share)
{
    size_t index = (size_t)(share * (double)spread->count);

    if (spread->count == 0)
        dw_bench_die("nothing was measured");
    qsort(spread->ns, spread->count, sizeof *spread->ns, by_size);
    return spread->ns[index < spread->count ? index : spread->count - 1];
}

void dw_bench_row(const char *what, const char *remark, const char *format, ...)
{
    char figures[160];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(figures, sizeof figures, format, args);
    va_end(args);
    printf("| %-58s | %-50s | %s\n", what, figures, remark);
}

void dw_bench_row_spread(const char *what, const char *remark, struct dw_bench_spread *spread)
{
    dw_bench_row(what, remark, "p50 %8.1f  p99 %8.1f  max %8.1f us", (double)dw_bench_spread_at(spread, 0.5) / 1e3,
                 (double)dw_bench_spread_at(spread, 0.99) / 1e3, (double)dw_bench_spread_at(spread, 1) / 1e3);
}

const char *dw_bench_aim(const char *aim, bool met)
{
    static char text[160];

    (void)snprintf(text, sizeof text, "aim %s: %s", aim, met ? "met" : "MISSED");
    return text;
}

const char *dw_bench_ratio(double figure, double peer, const char *of, const char *besides)
{
    static char text[240];

    (void)snprintf(text, sizeof text, "x %.2f of %s%s%s", figure / peer, of, besides[0] != '\0' ? "; " : "", besides);
    return text;
}
