/* Packs pushes for clients; see outbox.h.
 *
 * A joinable packer's message is put together from events that were packed one by one, so that clients
 * with different mail share the work.  gzip wraps a message whole: there the whole message is packed and
 * remembered, which serves the common case that many clients get the same events.  So it is with small
 * messages of the formats that refer back within a message (transit's and msgpack's caches): they come out
 * shorter, and as Sente writes them, and packing one again costs little. */
#include "hub/outbox.h"

#include "base/log.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Joinable packers that are served at once; a further one is packed as a whole. */
#define PACKERS 8
/* Data in one message up to which it is packed whole where that makes it shorter. */
#define SMALL_BYTES 4096

struct entry {
    int64_t id;
    char *event, *data, *format; /* one allocation, at event */
    size_t data_len;
    bool broken; /* data can't be read in its format */
    struct dw_buf packed[PACKERS];
};

struct dw_outbox {
    struct dw_hub *hub;
    struct entry *entries;
    size_t count, room;
    const struct dw_packer *packers[PACKERS];
    struct dw_arena *arena;
    /* the message packed last, and what it was made of */
    struct dw_buf message;
    const struct dw_packer *packer;
    int generation;
    uint32_t *indexes;
    size_t index_count, index_room, taken, events;
    bool valid;
};

struct dw_outbox *dw_outbox_new(struct dw_hub *hub)
{
    struct dw_outbox *outbox = calloc(1, sizeof *outbox);

    if (outbox == NULL)
        return NULL;
    outbox->hub = hub;
    outbox->arena = dw_arena_new(0);
    if (outbox->arena == NULL) {
        free(outbox);
        return NULL;
    }
    return outbox;
}

void dw_outbox_clear(struct dw_outbox *outbox)
{
    size_t i, j;

    for (i = 0; i < outbox->count; i++) {
        free(outbox->entries[i].event);
        for (j = 0; j < PACKERS; j++)
            dw_buf_fini(&outbox->entries[i].packed[j]);
    }
    outbox->count = 0;
    outbox->valid = false;
}

void dw_outbox_free(struct dw_outbox *outbox)
{
    if (outbox == NULL)
        return;
    dw_outbox_clear(outbox);
    dw_arena_free(outbox->arena);
    dw_buf_fini(&outbox->message);
    free(outbox->entries);
    free(outbox->indexes);
    free(outbox);
}

int dw_outbox_add(struct dw_outbox *outbox, const struct dw_push *push)
{
    size_t event_len = strlen(push->event) + 1, format_len = strlen(push->format) + 1;
    size_t room = outbox->room != 0 ? outbox->room * 2 : 16;
    struct entry *entry, *entries;

    if (outbox->count == outbox->room) {
        entries = reallocarray(outbox->entries, room, sizeof *entries);
        if (entries == NULL)
            return DW_NOMEM;
        outbox->entries = entries;
        outbox->room = room;
    }
    entry = &outbox->entries[outbox->count];
    memset(entry, 0, sizeof *entry);
    entry->event = malloc(event_len + format_len + push->data_len + 1);
    if (entry->event == NULL)
        return DW_NOMEM;
    memcpy(entry->event, push->event, event_len);
    entry->format = entry->event + event_len;
    memcpy(entry->format, push->format, format_len);
    if (push->data != NULL) {
        entry->data = entry->format + format_len;
        memcpy(entry->data, push->data, push->data_len);
        entry->data[push->data_len] = '\0';
    }
    entry->data_len = push->data_len;
    entry->id = push->id;
    outbox->count++;
    return DW_OK;
}

size_t dw_outbox_count(const struct dw_outbox *outbox)
{
    return outbox->count;
}

int64_t dw_outbox_id(const struct dw_outbox *outbox, size_t index)
{
    return outbox->entries[index].id;
}

bool dw_outbox_is_close(const struct dw_outbox *outbox, size_t index)
{
    return strcmp(outbox->entries[index].event, "chsk/close") == 0;
}

int dw_data_read(const struct dw_hub *hub, const struct dw_packer *packer, const char *format, const char *data,
                 size_t len, struct dw_arena *arena, const struct dw_value **out, struct dw_err *err)
{
    /* What an app may write is bounded by the schema's triggers; here only nesting and count matter. */
    struct dw_limits limits = hub->limits;
    const struct dw_packer *reader;

    limits.max_bytes = SIZE_MAX;
    if (strcmp(format, "json") == 0 && hub->json_keywords && packer != &dw_packer_json)
        return dw_json_read_keywords(data, len, &limits, arena, out, NULL, err);
    reader = dw_packer_find(format);
    if (reader == NULL)
        return dw_err_set(err, DW_INVALID, "there is no format \"%s\"", format);
    return reader->read(data, len, &limits, arena, out, NULL, err);
}

/* What is wrong with an entry for clients of a packer is told once; the entry is left out from then on. */
static void give_up(struct dw_outbox *outbox, struct entry *entry, const struct dw_packer *packer,
                    const struct dw_err *err, int rc)
{
    entry->broken = true;
    dw_counter_add(&outbox->hub->counters.bad_pushes, 1);
    dw_log_error("push %" PRId64 " (format %s) can't be sent to %s clients: %s", entry->id, entry->format, packer->name,
                 dw_err_say(err, rc));
}

/* The entry's data as a value in the arena, NULL where it has none. */
static int entry_data(struct dw_outbox *outbox, const struct entry *entry, const struct dw_packer *packer,
                      const struct dw_value **data, struct dw_err *err)
{
    *data = NULL;
    if (entry->data == NULL)
        return DW_OK;
    return dw_data_read(outbox->hub, packer, entry->format, entry->data, entry->data_len, outbox->arena, data, err);
}

static int packer_slot(struct dw_outbox *outbox, const struct dw_packer *packer)
{
    int i;

    for (i = 0; i < PACKERS; i++) {
        if (outbox->packers[i] == packer)
            return i;
        if (outbox->packers[i] == NULL) {
            outbox->packers[i] = packer;
            return i;
        }
    }
    return -1;
}

/* The packed event of one entry; len 0 for a broken one. */
static int pack_entry(struct dw_outbox *outbox, struct entry *entry, int slot, struct dw_part *out)
{
    const struct dw_packer *packer = outbox->packers[slot];
    struct dw_buf *buf = &entry->packed[slot];
    const struct dw_value *data;
    struct dw_err err = {0};
    int rc = DW_OK;

    if (buf->len == 0 && !entry->broken) {
        dw_arena_reset(outbox->arena);
        rc = entry_data(outbox, entry, packer, &data, &err);
        if (rc == DW_OK)
            rc = dw_packer_event(packer, entry->event, strlen(entry->event), data, buf, &err);
        if (rc == DW_OK && dw_buf_failed(buf))
            rc = DW_NOMEM;
        if (rc != DW_OK)
            dw_buf_fini(buf);
        if (rc == DW_NOMEM)
            return rc;
        if (rc != DW_OK)
            give_up(outbox, entry, packer, &err, rc);
    }
    *out = entry->broken ? (struct dw_part){NULL, 0} : (struct dw_part){buf->data, buf->len};
    return DW_OK;
}

/* How many of the indexes fit into one message; with a slot their packed forms, else by their data's size. */
static int choose(struct dw_outbox *outbox, int slot, const uint32_t *indexes, size_t count, struct dw_part *events,
                  size_t *event_count, size_t *taken)
{
    size_t i, bytes = 0;
    int rc;

    *event_count = 0;
    for (i = 0; i < count && i < (size_t)outbox->hub->conf->limits_batch; i++) {
        struct entry *entry = &outbox->entries[indexes[i]];
        struct dw_part one = {NULL, entry->data_len + 16};

        if (dw_outbox_is_close(outbox, indexes[i]))
            break;
        if (slot >= 0) {
            rc = pack_entry(outbox, entry, slot, &one);
            if (rc != DW_OK)
                return rc;
        }
        if (bytes > 0 && bytes + one.len > (size_t)outbox->hub->conf->limits_batch_bytes)
            break;
        bytes += one.len;
        if (!entry->broken)
            events[(*event_count)++] = one;
    }
    *taken = i;
    return DW_OK;
}

static int pack_whole(struct dw_outbox *outbox, const struct dw_packer *packer, int generation, const uint32_t *indexes,
                      size_t taken, size_t *events, struct dw_err *err)
{
    const struct dw_value **items, *batch;
    size_t i, count = 0;
    int rc = DW_OK;

    dw_arena_reset(outbox->arena);
    items = dw_arena_alloc(outbox->arena, (taken + 1) * sizeof(struct dw_value *));
    if (items == NULL)
        return DW_NOMEM;
    for (i = 0; i < taken; i++) {
        struct entry *entry = &outbox->entries[indexes[i]];
        const struct dw_value *parts[2] = {dw_keyword(outbox->arena, entry->event), NULL};

        if (entry->broken)
            continue;
        rc = entry_data(outbox, entry, packer, &parts[1], err);
        if (rc == DW_NOMEM)
            return rc;
        if (rc != DW_OK) {
            give_up(outbox, entry, packer, err, rc);
            continue;
        }
        items[count] = dw_seq(outbox->arena, DW_T_VECTOR, parts, parts[1] != NULL ? 2 : 1);
        if (items[count++] == NULL)
            return DW_NOMEM;
    }
    *events = count;
    if (count == 0)
        return DW_OK;
    batch = dw_seq(outbox->arena, DW_T_VECTOR, items, count);
    if (batch == NULL)
        return DW_NOMEM;
    return dw_envelope_write(packer, generation, outbox->arena, batch, NULL, &outbox->message, err);
}

static bool is_remembered(const struct dw_outbox *outbox, const struct dw_packer *packer, int generation,
                          const uint32_t *indexes, size_t count)
{
    return outbox->valid && outbox->packer == packer && outbox->generation == generation &&
           outbox->index_count == count && memcmp(outbox->indexes, indexes, count * sizeof *indexes) == 0;
}

static bool is_better_whole(const struct dw_outbox *outbox, const struct dw_packer *packer, const uint32_t *indexes,
                            size_t count)
{
    size_t bytes = 0;

    if (packer->write == packer->write_part) /* it never refers back */
        return false;
    for (size_t i = 0; i < count && bytes <= SMALL_BYTES; i++)
        bytes += outbox->entries[indexes[i]].data_len;
    return bytes <= SMALL_BYTES;
}

static int pack_message(struct dw_outbox *outbox, const struct dw_packer *packer, int generation,
                        const uint32_t *indexes, size_t count, struct dw_err *err)
{
    bool join = packer->joinable && !is_better_whole(outbox, packer, indexes, count);
    int slot = join ? packer_slot(outbox, packer) : -1, rc;
    struct dw_part *events = reallocarray(NULL, count + 1, sizeof *events);

    if (events == NULL)
        return DW_NOMEM;
    dw_buf_reset(&outbox->message);
    rc = choose(outbox, slot, indexes, count, events, &outbox->events, &outbox->taken);
    if (rc == DW_OK && outbox->events > 0 && slot >= 0)
        rc = dw_envelope_join(packer, generation, events, outbox->events, &outbox->message, err);
    else if (rc == DW_OK && outbox->taken > 0 && slot < 0)
        rc = pack_whole(outbox, packer, generation, indexes, outbox->taken, &outbox->events, err);
    free(events);
    return rc == DW_OK && dw_buf_failed(&outbox->message) ? DW_NOMEM : rc;
}

int dw_outbox_pack(struct dw_outbox *outbox, const struct dw_packer *packer, int generation, const uint32_t *indexes,
                   size_t count, size_t *taken, struct dw_part *packed, size_t *events, struct dw_err *err)
{
    int rc;

    if (!is_remembered(outbox, packer, generation, indexes, count)) {
        outbox->valid = false;
        if (outbox->index_room < count) {
            uint32_t *grown = reallocarray(outbox->indexes, count, sizeof *grown);

            if (grown == NULL)
                return DW_NOMEM;
            outbox->indexes = grown;
            outbox->index_room = count;
        }
        rc = pack_message(outbox, packer, generation, indexes, count, err);
        if (rc != DW_OK)
            return rc;
        memcpy(outbox->indexes, indexes, count * sizeof *indexes);
        outbox->index_count = count;
        outbox->packer = packer;
        outbox->generation = generation;
        outbox->valid = true;
    }
    *taken = outbox->taken;
    *events = outbox->events;
    *packed = (struct dw_part){outbox->message.data, outbox->message.len};
    return DW_OK;
}
