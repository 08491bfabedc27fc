/* A push is packed once for each packer, not once for each client.  What that saves: one push for N
 * clients of one packer through the hub's outbox, as a round of routing does it, beside reading and
 * packing it anew for each of them.  Both give the same bytes. */
#include "bench/lib.h"
#include "hub/outbox.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CLIENTS 1000

struct encode {
    struct dw_hub hub;
    struct dw_conf conf;
    struct dw_push push;
    const struct dw_packer *packer;
    char *bytes; /* what the first client gets */
    size_t len;
};

/* A chat message, or a table of `rows` rows; JSON as an app writes it. */
static char *compose(int rows)
{
    static const char one[] =
        "{\"id\":%d,\"user\":\"alice\",\"text\":\"Grüße – it's \\\"here\\\"\",\"at\":1732452000123,"
        "\"price\":12.5,\"tags\":[\"a\",\"b\"],\"seen\":false}%s";
    size_t room = (size_t)rows * 160 + 32, len = 0;
    char *data = dw_bench_alloc(1, room);

    len += (size_t)snprintf(data, room, rows > 1 ? "{\"rows\":[" : "");
    for (int i = 0; i < rows; i++)
        len += (size_t)snprintf(data + len, room - len, one, i, i + 1 < rows ? "," : "");
    (void)snprintf(data + len, room - len, rows > 1 ? "]}" : "");
    return data;
}

static void check(struct encode *encode, const struct dw_part *packed, size_t events)
{
    errno = 0;
    if (events != 1 || packed->len == 0)
        dw_bench_die("%s packed %zu events", encode->packer->name, events);
    if (encode->bytes == NULL) {
        encode->bytes = dw_bench_alloc(1, packed->len);
        encode->len = packed->len;
        memcpy(encode->bytes, packed->bytes, packed->len);
    }
    if (packed->len != encode->len || memcmp(packed->bytes, encode->bytes, packed->len) != 0)
        dw_bench_die("%s: two clients got different bytes", encode->packer->name);
}

/* Comparing takes about as long as what is measured: it has rounds of its own. */
static void pack(struct encode *encode, struct dw_outbox *outbox, bool compare)
{
    const uint32_t index = 0;
    struct dw_err err = {0};
    struct dw_part packed;
    size_t taken, events;
    int rc = dw_outbox_pack(outbox, encode->packer, 3, &index, 1, &taken, &packed, &events, &err);

    errno = 0;
    if (rc != DW_OK)
        dw_bench_die("packing failed: %s", dw_err_say(&err, rc));
    if (compare)
        check(encode, &packed, events);
    else if (packed.len != encode->len)
        dw_bench_die("%s: two clients got different bytes", encode->packer->name);
}

/* CPU time: a long round would be interrupted by other processes and a short one not. */
static int64_t cpu_ns(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Nanoseconds for all clients, the outbox filled once for all or anew for each. */
static int64_t round_of(struct encode *encode, struct dw_outbox *outbox, bool once, bool compare)
{
    int64_t begin = cpu_ns();

    for (int i = 0; i < CLIENTS; i++) {
        if (i == 0 || !once) {
            dw_outbox_clear(outbox);
            if (dw_outbox_add(outbox, &encode->push) != DW_OK)
                dw_bench_die("out of memory");
        }
        pack(encode, outbox, compare);
    }
    return cpu_ns() - begin;
}

static void measure(struct encode *encode, const char *name, const char *data, int rounds)
{
    struct dw_bench_spread once = {NULL, 0, 0}, each = {NULL, 0, 0};
    struct dw_outbox *outbox = dw_outbox_new(&encode->hub);
    char what[96];
    double ratio;

    errno = 0;
    encode->packer = dw_packer_find(name);
    if (encode->packer == NULL || outbox == NULL)
        dw_bench_die("no packer %s", name);
    encode->push = (struct dw_push){
        .id = 1, .uid = "alice", .event = "bench/tick", .format = "json", .data = data, .data_len = strlen(data)};
    for (int i = -1; i < rounds; i++) { /* in turn, so that both have the same machine; the first compares */
        int64_t each_ns = round_of(encode, outbox, false, i < 0), once_ns = round_of(encode, outbox, true, i < 0);

        if (i >= 0) {
            dw_bench_spread_add(&each, each_ns);
            dw_bench_spread_add(&once, once_ns);
        }
    }
    ratio = (double)dw_bench_spread_at(&each, 0.5) / (double)dw_bench_spread_at(&once, 0.5);
    (void)snprintf(what, sizeof what, "encode (%s, %zu bytes): a push for %d clients", name, encode->len, CLIENTS);
    dw_bench_row(what, "the same bytes for every client", "once %8.1f us, per client %9.1f us: x %.0f",
                 (double)dw_bench_spread_at(&once, 0.5) / 1e3, (double)dw_bench_spread_at(&each, 0.5) / 1e3, ratio);
    dw_outbox_free(outbox);
    dw_bench_spread_free(&once);
    dw_bench_spread_free(&each);
    free(encode->bytes);
    encode->bytes = NULL;
}

int main(int argc, char **argv)
{
    static const char *const packers[] = {"edn", "json", "transit", "msgpack"};
    struct dw_bench_options options;
    struct encode encode = {.bytes = NULL};
    struct dw_err err = {0};
    char *small = compose(1), *large = compose(30);

    dw_bench_parse(argc, argv, &options);
    errno = 0;
    if (dw_conf_init(&encode.conf, &err) != DW_OK ||
        dw_hub_init(&encode.hub, &encode.conf, DW_SERVING_FASTCGI, &err) != DW_OK)
        dw_bench_die("%s", err.text);
    for (size_t i = 0; i < sizeof packers / sizeof packers[0]; i++) {
        measure(&encode, packers[i], small, options.quick ? 3 : 30);
        measure(&encode, packers[i], large, options.quick ? 1 : 10);
    }
    dw_conf_fini(&encode.conf);
    free(small);
    free(large);
    return 0;
}
