/* How fast the packers read and write, beside jansson (JSON) and msgpack-c (MessagePack), in one run on
 * the same documents: a small event, a chat history of 10 KB and one of 1 MB.
 *
 *   bench/packers [--quick]
 *
 * Every figure is the best of some rounds in which all that is compared takes turns.  A read begins
 * with the bytes and ends when the tree is freed; a write begins with the tree and ends when the bytes
 * are freed.  MB/s are of the packer's own bytes; a ratio is time per document, the other's by ours.  The
 * libraries get exactly the bytes that we are measured with beside them: MessagePack with string keys
 * and without Sente's cache of map keys. */
#include "config.h"

#include "chsk/packer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#ifdef HAVE_JANSSON
#include <jansson.h>
#endif
#ifdef HAVE_MSGPACK
#include <msgpack.h>
#endif

/* One thing that can read and write a document. */
struct contender {
    const char *name;
    const struct dw_packer *packer; /* NULL: a library */
    bool plain;                     /* write_part: no cache */
    void *(*hold)(const char *bytes, size_t len);
    void (*drop)(void *held);
    void (*read)(const char *bytes, size_t len);
    size_t (*write)(const void *held); /* returns the length */
};

static int rounds = 15;
static int64_t round_ns = 40000000;
static const struct dw_limits wide = {.max_depth = 64, .max_items = 1000000, .max_bytes = 4 << 20};

static _Noreturn void die(const char *what)
{
    (void)fprintf(stderr, "bench/packers: %s\n", what);
    exit(2);
}

static int64_t now_ns(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* ---- the documents, as JSON ---- */

static void add_message(struct dw_buf *out, unsigned i)
{
    static const char *const names[] = {"alice", "bob", "carol", "Zo\xc3\xab", "dave"};
    static const char *const texts[] = {"hi", "Has anybody seen the build? It said \\\"done\\\" and then nothing.",
                                        "The figures are in: 12% more than last week, and the new page is up.",
                                        "Gr\xc3\xbc\xc3\x9f"
                                        "e aus K\xc3\xb6ln \xf0\x9f\x8e\x89",
                                        "See you tomorrow at ten.\\nBring the notes, please."};

    dw_buf_addf(out,
                "{\"id\":%u,\"room\":\"lobby\",\"from\":{\"uid\":\"u%u\",\"name\":\"%s\"},\"at\":%lld,\"text\":\"%s\","
                "\"tags\":[\"a%u\",\"chat\"],\"edited\":%s,\"score\":%u.%u,\"reply-to\":null}",
                100000 + i, i * 7919 % 1000, names[i % 5], 1709210096789LL + 61 * (long long)i * i, texts[i * 7 % 5],
                i % 13, i % 3 == 0 ? "true" : "false", i % 11, i * 37 % 100);
}

/* A push as it is sent, of about `size` bytes: an event with one message, or with a history of them. */
static void make_document(struct dw_buf *out, size_t size)
{
    dw_buf_adds(out, size != 0 ? "[[[\"chat/history\",{\"messages\":[" : "[[[\"chat/message\",");
    add_message(out, 0);
    for (unsigned i = 1; out->len + 200 < size; i++) {
        dw_buf_addc(out, ',');
        add_message(out, i);
    }
    dw_buf_adds(out, size != 0 ? "]}]],null]" : "]],null]");
    if (dw_buf_failed(out))
        die("out of memory");
}

/* ---- contenders ---- */

#ifdef HAVE_JANSSON
static void *jansson_hold(const char *bytes, size_t len)
{
    return json_loadb(bytes, len, 0, NULL);
}

static void jansson_drop(void *held)
{
    json_decref(held);
}

static void jansson_read(const char *bytes, size_t len)
{
    json_t *tree = json_loadb(bytes, len, 0, NULL);

    if (tree == NULL)
        die("jansson refuses a document");
    json_decref(tree);
}

static size_t jansson_write(const void *held)
{
    char *text = json_dumps(held, JSON_COMPACT);
    size_t len;

    if (text == NULL)
        die("jansson refuses to write");
    len = strlen(text);
    free(text);
    return len;
}
#endif

#ifdef HAVE_MSGPACK
static void *msgpack_hold(const char *bytes, size_t len)
{
    msgpack_unpacked *held = malloc(sizeof *held);
    size_t at = 0;

    if (held == NULL)
        return NULL;
    msgpack_unpacked_init(held);
    if (msgpack_unpack_next(held, bytes, len, &at) != MSGPACK_UNPACK_SUCCESS)
        die("msgpack-c refuses a document");
    return held;
}

static void msgpack_drop(void *held)
{
    msgpack_unpacked_destroy(held);
    free(held);
}

static void msgpack_read(const char *bytes, size_t len)
{
    msgpack_unpacked result;
    size_t at = 0;

    msgpack_unpacked_init(&result);
    if (msgpack_unpack_next(&result, bytes, len, &at) != MSGPACK_UNPACK_SUCCESS)
        die("msgpack-c refuses a document");
    msgpack_unpacked_destroy(&result);
}

static size_t msgpack_write(const void *held)
{
    const msgpack_unpacked *unpacked = held;
    msgpack_sbuffer out;
    msgpack_packer packer;
    size_t len;

    msgpack_sbuffer_init(&out);
    msgpack_packer_init(&packer, &out, msgpack_sbuffer_write);
    if (msgpack_pack_object(&packer, unpacked->data) != 0)
        die("msgpack-c refuses to write");
    len = out.size;
    msgpack_sbuffer_destroy(&out);
    return len;
}
#endif

static void our_read(const struct contender *contender, const char *bytes, size_t len)
{
    struct dw_arena *arena = dw_arena_new(0);
    const struct dw_value *tree;

    if (arena == NULL || contender->packer->read(bytes, len, &wide, arena, &tree, NULL, NULL) != DW_OK)
        die("a packer refuses a document");
    dw_arena_free(arena);
}

static size_t our_write(const struct contender *contender, const struct dw_value *tree, struct dw_buf *out)
{
    int code =
        contender->plain ? contender->packer->write_part(tree, out, NULL) : contender->packer->write(tree, out, NULL);

    if (code != DW_OK)
        die("a packer refuses to write");
    return out->len;
}

/* ---- measuring ---- */

struct entry {
    const struct contender *contender;
    const char *bytes; /* what it reads */
    size_t len;
    const struct dw_value *tree; /* what ours write */
    void *held;                  /* what a library writes */
    double read_ns, write_ns;    /* best so far, per document */
};

static void read_once(const struct entry *entry)
{
    if (entry->contender->packer != NULL)
        our_read(entry->contender, entry->bytes, entry->len);
    else
        entry->contender->read(entry->bytes, entry->len);
}

static void write_once(const struct entry *entry)
{
    struct dw_buf out = DW_BUF_INIT;

    if (entry->contender->packer != NULL)
        (void)our_write(entry->contender, entry->tree, &out);
    else
        (void)entry->contender->write(entry->held);
    dw_buf_fini(&out);
}

static void measure(const struct entry *entry, void (*once)(const struct entry *), double *best)
{
    int64_t start = now_ns(), end;
    long count = 0;
    double each;

    do {
        for (int i = 0; i < 8; i++)
            once(entry);
        count += 8;
        end = now_ns();
    } while (end - start < round_ns);
    each = (double)(end - start) / (double)count;
    if (*best == 0 || each < *best)
        *best = each;
}

static double megabytes(size_t bytes, double nanoseconds)
{
    return (double)bytes / nanoseconds * 1000;
}

static void print_entry(const char *document, const struct entry *entry, const struct entry *beside)
{
    printf("%-8s %-16s %8zu %10.0f %10.0f", document, entry->contender->name, entry->len,
           megabytes(entry->len, entry->read_ns), megabytes(entry->len, entry->write_ns));
    if (beside != NULL)
        printf("   %5.2f %5.2f  of %s", beside->read_ns / entry->read_ns, beside->write_ns / entry->write_ns,
               beside->contender->name);
    printf("\n");
}

static const struct contender contenders[] = {
    {.name = "json", .packer = &dw_packer_json},
#ifdef HAVE_JANSSON
    {.name = "jansson", .hold = jansson_hold, .drop = jansson_drop, .read = jansson_read, .write = jansson_write},
#endif
    {.name = "msgpack plain", .packer = &dw_packer_msgpack, .plain = true},
#ifdef HAVE_MSGPACK
    {.name = "msgpack-c", .hold = msgpack_hold, .drop = msgpack_drop, .read = msgpack_read, .write = msgpack_write},
#endif
    {.name = "msgpack", .packer = &dw_packer_msgpack},
    {.name = "edn", .packer = &dw_packer_edn},
    {.name = "transit", .packer = &dw_packer_transit},
    {.name = "transit-verbose", .packer = &dw_packer_transit_verbose},
};

enum { CONTENDERS = sizeof contenders / sizeof contenders[0] };

static const struct entry *entry_named(const struct entry *entries, const char *name)
{
    for (size_t i = 0; i < CONTENDERS; i++)
        if (strcmp(entries[i].contender->name, name) == 0)
            return &entries[i];
    return NULL;
}

/* Whom an entry is compared with: a library, or our JSON. */
static const struct entry *beside(const struct entry *entries, const struct entry *entry)
{
    const char *name = entry->contender->name;

    if (strcmp(name, "json") == 0)
        return entry_named(entries, "jansson");
    if (strcmp(name, "msgpack plain") == 0)
        return entry_named(entries, "msgpack-c");
    return entry->contender->packer != NULL ? entry_named(entries, "json") : NULL;
}

static const struct dw_value *must_read(int code, const struct dw_value *tree)
{
    if (code != DW_OK)
        die("a document is refused");
    return tree;
}

/* What each contender reads and writes of the document. */
static void prepare(struct entry *entries, struct dw_buf *packed, const struct dw_buf *json, struct dw_arena *arena)
{
    const struct dw_value *strings = NULL, *keywords = NULL;
    int code = dw_packer_json.read(json->data, json->len, &wide, arena, &strings, NULL, NULL);

    strings = must_read(code, strings);
    code = dw_json_read_keywords(json->data, json->len, &wide, arena, &keywords, NULL, NULL);
    keywords = must_read(code, keywords);
    for (size_t i = 0; i < CONTENDERS; i++) {
        struct entry *entry = &entries[i];

        *entry = (struct entry){.contender = &contenders[i]};
        if (contenders[i].packer != NULL) {
            entry->tree = contenders[i].plain || contenders[i].packer == &dw_packer_json ? strings : keywords;
            packed[i] = (struct dw_buf)DW_BUF_INIT;
            (void)our_write(&contenders[i], entry->tree, &packed[i]);
            entry->bytes = packed[i].data;
            entry->len = packed[i].len;
        } else { /* the same bytes as the one before it */
            entry->bytes = entries[i - 1].bytes;
            entry->len = entries[i - 1].len;
            entry->held = contenders[i].hold(entry->bytes, entry->len);
            if (entry->held == NULL)
                die("a library refuses a document");
        }
    }
}

static void run_document(const char *name, size_t size)
{
    struct entry entries[CONTENDERS];
    struct dw_buf packed[CONTENDERS] = {DW_BUF_INIT}, json = DW_BUF_INIT;
    struct dw_arena *arena = dw_arena_new(0);

    if (arena == NULL)
        die("out of memory");
    make_document(&json, size);
    prepare(entries, packed, &json, arena);
    for (int round = 0; round < rounds; round++)
        for (size_t i = 0; i < CONTENDERS; i++) {
            measure(&entries[i], read_once, &entries[i].read_ns);
            measure(&entries[i], write_once, &entries[i].write_ns);
        }
    for (size_t i = 0; i < CONTENDERS; i++) {
        print_entry(name, &entries[i], beside(entries, &entries[i]));
        if (contenders[i].packer == NULL)
            contenders[i].drop(entries[i].held);
        dw_buf_fini(&packed[i]);
    }
    dw_buf_fini(&json);
    dw_arena_free(arena);
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--quick") == 0) {
        rounds = 3;
        round_ns = 20000000;
    } else if (argc != 1) {
        (void)fprintf(stderr, "Usage: bench/packers [--quick]\n");
        return argc == 2 && strcmp(argv[1], "--help") == 0 ? 0 : 2;
    }
#ifndef HAVE_JANSSON
    printf("no comparison with jansson: it was not there at configure time (Debian: libjansson-dev)\n");
#endif
#ifndef HAVE_MSGPACK
    printf("no comparison with msgpack-c: it was not there at configure time (Debian: libmsgpack-dev)\n");
#endif
    printf("document packer              bytes  read MB/s write MB/s   read write  (speed; above 1: ours is faster)\n");
    run_document("event", 0);
    run_document("10 KB", 10000);
    run_document("1 MB", 1000000);
    return 0;
}
