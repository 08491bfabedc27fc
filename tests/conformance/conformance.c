/* What the store's conformance tests share (see conformance.h). */
#include "conformance.h"

#include <stdlib.h>

/* ---- running ---- */

static const struct backend *current;

struct dw_store *another(const struct fixture *f)
{
    const struct dw_store_limits none = {.clients = 0};

    return f->backend->open(f->world, &none);
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    if (f == NULL)
        return -1;
    f->backend = current;
    f->world = current->make_world();
    f->a = another(f);
    f->b = another(f);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    dw_store_close(f->a);
    dw_store_close(f->b);
    f->backend->free_world(f->world);
    dw_buf_fini(&f->text);
    free(f);
    return 0;
}

int conformance_run(const struct backend *backend)
{
    const struct {
        const struct CMUnitTest *tests;
        size_t count;
    } topics[] = {{queue_tests, queue_tests_count},     {inbox_tests, inbox_tests_count},
                  {session_tests, session_tests_count}, {client_tests, client_tests_count},
                  {limit_tests, limit_tests_count},     {presence_tests, presence_tests_count},
                  {worker_tests, worker_tests_count}};
    static struct CMUnitTest all[256]; /* one group: two would break the TAP plan */
    size_t count = 0;

    current = backend;
    for (size_t t = 0; t < sizeof topics / sizeof topics[0]; t++)
        for (size_t i = 0; i < topics[t].count && count < sizeof all / sizeof all[0]; i++) {
            all[count] = topics[t].tests[i];
            all[count].setup_func = set_up;
            all[count++].teardown_func = tear_down;
        }
    return _cmocka_run_group_tests(backend->name, all, count, NULL, NULL);
}

/* ---- writing ---- */

int try_push(struct dw_store *store, const char *address, const char *event, const char *data, const char *format)
{
    struct dw_push row = {.event = event, .data = data, .data_len = data != NULL ? strlen(data) : 0, .format = format};
    struct dw_err err = {.code = 0};
    int rc;

    if (strncmp(address, "uid:", 4) == 0)
        row.uid = address + 4;
    else if (strncmp(address, "client:", 7) == 0)
        row.client_id = address + 7;
    else if (strncmp(address, "room:", 5) == 0)
        row.room = address + 5;
    rc = dw_store_push(store, &row, NULL, &err);
    if (rc != DW_OK)
        assert_true(err.code == rc && err.text[0] != '\0'); /* every refusal says why */
    return rc;
}

int64_t push(struct dw_store *store, const char *address, const char *event, const char *data)
{
    int64_t end;

    assert_int_equal(try_push(store, address, event, data, "json"), DW_OK);
    must(dw_store_end(store, &end, &err));
    return end;
}

int64_t receive(struct dw_store *store, const char *uid, const char *event, bool wants_reply)
{
    struct dw_inbox row = {.uid = uid,
                           .client_id = "c1",
                           .event = event,
                           .data = "{}",
                           .data_len = 2,
                           .format = "json",
                           .wants_reply = wants_reply,
                           .received_at = dw_clock_wall_ms()};
    int64_t id = 0;

    must(dw_store_inbox_add(store, &row, &id, NULL, NULL, &err));
    return id;
}

struct touch {
    bool connected;
    int64_t now_ms, due_ms;
};

static int touch_row(void *context, struct dw_client *client, bool found, uint64_t claim)
{
    const struct touch *t = context;

    (void)claim;
    if (!found)
        assert_int_equal(client->epoch, 0);
    client->epoch++;
    client->connected = t->connected;
    client->seen_ms = t->now_ms;
    client->due_ms = t->due_ms;
    return DW_OK;
}

void touch(struct dw_store *store, enum dw_transport transport, const char *uid, const char *client_id, bool connected,
           int64_t now_ms, int64_t due_ms)
{
    struct dw_client_key key = {transport, uid, client_id};
    struct touch t = {connected, now_ms, due_ms};

    must(dw_store_client_update(store, &key, touch_row, &t, &err));
}

void sync_presence(struct dw_store *store)
{
    bool more = true;

    while (more)
        must(dw_store_presence_sync(store, dw_clock_wall_ms(), &more, &err));
}

void keep_house(struct dw_store *store, int64_t now_ms)
{
    struct dw_housework work = {
        .now_ms = now_ms, .up_ms = now_ms, .grace_ajax_ms = 5000, .grace_ws_ms = 2500, .chunk = 3};
    bool more = true;

    while (more)
        must(dw_store_release(store, &work, &more, &err));
    for (more = true; more;)
        must(dw_store_gc(store, &work, &more, &err));
    must(dw_store_checkpoint(store, &work, &err));
}

/* ---- reading ---- */

static void add_word(struct dw_buf *text, const char *word, const char *data)
{
    if (text->len > 0)
        dw_buf_addc(text, ' ');
    dw_buf_adds(text, word);
    if (data != NULL)
        dw_buf_addf(text, "=%s", data);
}

static int add_push(void *context, const struct dw_push *row)
{
    add_word(context, row->event, row->data);
    if (row->data != NULL)
        assert_int_equal(row->data_len, strlen(row->data));
    return DW_OK;
}

const char *mailbox(struct fixture *f, const char *uid, const char *client_id, int64_t after, size_t max,
                    int64_t *checked)
{
    int64_t ignored;

    dw_buf_reset(&f->text);
    must(dw_store_mailbox(f->b, uid, client_id, after, max, add_push, &f->text, checked != NULL ? checked : &ignored,
                          &err));
    return dw_buf_str(&f->text);
}

static int add_inbox(void *context, const struct dw_inbox *row)
{
    if (strcmp(row->event, "chsk/uidport-open") == 0)
        add_word(context, "+", row->data);
    else if (strcmp(row->event, "chsk/uidport-close") == 0)
        add_word(context, "-", row->data);
    else
        add_word(context, row->event, row->data);
    return DW_OK;
}

const char *inbox(struct fixture *f, int64_t after)
{
    dw_buf_reset(&f->text);
    must(dw_store_inbox(f->b, after, 1000, add_inbox, &f->text, &err));
    return dw_buf_str(&f->text);
}

static int add_reply(void *context, const struct dw_reply *row)
{
    char id[32];

    (void)snprintf(id, sizeof id, "%lld", (long long)row->inbox_id);
    add_word(context, id, row->data != NULL ? row->data : "nil");
    return DW_OK;
}

const char *replies(struct fixture *f, int64_t after)
{
    dw_buf_reset(&f->text);
    must(dw_store_replies(f->b, after, 1000, add_reply, &f->text, &err));
    return dw_buf_str(&f->text);
}

static int add_online(void *context, const struct dw_online *row)
{
    char counts[64];

    (void)snprintf(counts, sizeof counts, "%lldws+%lldajax", (long long)row->ws, (long long)row->ajax);
    add_word(context, row->uid, counts);
    return DW_OK;
}

const char *online(struct fixture *f)
{
    dw_buf_reset(&f->text);
    must(dw_store_online(f->b, add_online, &f->text, &err));
    return dw_buf_str(&f->text);
}

static int add_uid(void *context, const char *uid)
{
    add_word(context, uid, NULL);
    return DW_OK;
}

const char *members(struct fixture *f, const char *room, int64_t id)
{
    dw_buf_reset(&f->text);
    must(dw_store_members(f->b, room, id, add_uid, &f->text, &err));
    return dw_buf_str(&f->text);
}
