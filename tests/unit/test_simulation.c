/* The whole hub over the memory store and over SQLite files, as a world of several workers and clients: random pushes,
 * lost answers, aborted polls, killed workers, handovers that are late.  Invariant: every client sees every push that
 * is for it exactly once and in order.  The seed is printed when it does not. */
#include "base/clock.h"
#include "hub/arrival.h"
#include "hub/lot.h"
#include "hub/serve.h"
#include "store/store.h"

#include "tests/unit/tap.h"

#include <ftw.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORKERS 3
#define CLIENTS 6
#define STEPS 400
#define ROUNDS_MEMORY 60
#define ROUNDS_SQLITE 20
#define PUSHES_MAX 2048

enum phase { PHASE_HANDSHAKE, PHASE_POLL, PHASE_WAITING };

struct client {
    char id[16];
    const char *uid; /* NULL: none */
    enum phase phase;
    struct dw_parked *parked;     /* PHASE_WAITING; may still be on its way to the lot */
    struct dw_parked *given_up;   /* still parked, but the client no longer listens */
    struct dw_parked *superseded; /* given up, and the client has made another request since */
    int worker;
    int64_t received[PUSHES_MAX];
    size_t count;
    int64_t from; /* pushes after this id are owed */
};

struct worker {
    struct dw_hub hub;
    struct dw_store *store;
    struct dw_server *server;
    struct dw_lot *lot;
};

struct push {
    int64_t id;
    int to; /* client index, or -1: everybody, -2: room of alice, -3: uid alice, -4: those without uid */
};

struct world {
    struct dw_memory *memory;
    struct dw_conf conf;
    struct dw_store_options options;
    struct worker workers[WORKERS];
    struct client clients[CLIENTS];
    struct dw_parked *late[CLIENTS]; /* parked, not adopted yet */
    struct push pushes[PUSHES_MAX];
    size_t push_count;
    unsigned seed;
    struct dw_store *app;
    char folder[64]; /* SQLite: where the files are; "" = memory */
    char path[80];
};

static struct world *world;

static unsigned chance(unsigned below)
{
    world->seed = world->seed * 1103515245u + 12345u;
    return (world->seed >> 16) % below;
}

/* What the client makes of an answer that arrived. */
static void receive(struct client *client, const struct dw_answer *answer)
{
    const char *at = dw_buf_str(&answer->body);

    client->phase = answer->status == 200 ? PHASE_POLL : PHASE_HANDSHAKE;
    while (answer->status == 200 && (at = strstr(at, ":t/e ")) != NULL) {
        at += 5;
        assert_true(client->count < PUSHES_MAX);
        client->received[client->count++] = strtoll(at, NULL, 10);
    }
}

/* One answer in six is lost on its way: the client's poll fails, and it begins with a handshake. */
static void answer_client(struct client *client, const struct dw_answer *answer)
{
    client->parked = NULL;
    if (chance(6) == 0)
        client->phase = PHASE_HANDSHAKE;
    else
        receive(client, answer);
}

static void on_answer(void *context, struct dw_parked *parked, const struct dw_answer *answer)
{
    struct client *client = parked->connection.pointer;

    (void)context;
    if (client->superseded == parked) {
        assert_null(strstr(dw_buf_str(&answer->body), ":t/e "));
        client->superseded = NULL;
    }
    if (client->given_up == parked)
        client->given_up = NULL;
    if (client->parked == parked)
        answer_client(client, answer);
}

static int open_store(struct dw_store **store)
{
    if (world->memory != NULL)
        return dw_store_open_memory(world->memory, &world->options, store, NULL);
    return dw_store_open_sqlite(&world->options, store, NULL);
}

static void start_worker(struct worker *worker)
{
    const struct dw_lot_callbacks callbacks = {.answer = on_answer};
    int32_t number;

    assert_int_equal(dw_hub_init(&worker->hub, &world->conf, DW_SERVING_FASTCGI, NULL), DW_OK);
    assert_int_equal(open_store(&worker->store), DW_OK);
    assert_int_equal(dw_store_worker_join(worker->store, &number, NULL), DW_OK);
    atomic_store(&worker->hub.worker, number);
    worker->server = dw_server_new(&worker->hub, worker->store);
    worker->lot = dw_lot_new(&worker->hub, worker->store, &callbacks, NULL);
    assert_non_null(worker->server);
    assert_non_null(worker->lot);
}

/* As SIGKILL: nobody is answered, nothing is tidied up; the clients see broken connections. */
static void kill_worker(int number)
{
    struct worker *worker = &world->workers[number];
    int i;

    for (i = 0; i < CLIENTS; i++) {
        struct client *client = &world->clients[i];

        client->given_up = client->superseded = NULL; /* perhaps this worker's; the others' are as good as lost */
        if (client->phase != PHASE_WAITING || client->worker != number)
            continue;
        if (world->late[i] != NULL)
            free(world->late[i]);
        world->late[i] = NULL;
        client->parked = NULL;
        client->phase = PHASE_HANDSHAKE;
    }
    dw_lot_free(worker->lot);
    dw_server_free(worker->server);
    dw_store_kill(worker->store);
}

static void adopt_late(int i)
{
    struct client *client = &world->clients[i];
    struct dw_parked *parked = world->late[i];

    world->late[i] = NULL;
    if (parked != NULL)
        dw_lot_adopt(world->workers[client->worker].lot, parked);
}

/* A poll is noted when it arrives.  One in twelve dies with its worker right after that. */
static bool note_and_die(struct client *client, const char *query, const char *cookie)
{
    struct dw_arrival arrival;

    assert_true(dw_arrival_of(query, strlen(query), NULL, cookie, strlen(cookie), NULL, 0, &arrival));
    assert_false(arrival.handshake);
    dw_store_arrival_note(world->workers[client->worker].store, arrival.key, arrival.udt);
    if (chance(12) != 0)
        return false;
    kill_worker(client->worker);
    start_worker(&world->workers[client->worker]);
    client->phase = PHASE_HANDSHAKE;
    return true;
}

static void request(int i)
{
    struct client *client = &world->clients[i];
    struct dw_answer answer = DW_ANSWER_INIT;
    struct dw_request get = {.method = "GET"};
    char query[128], cookie[64];
    struct dw_parked *parked;

    if (client->given_up != NULL) {
        client->superseded = client->given_up;
        client->given_up = NULL;
    }
    client->worker = (int)chance(WORKERS);
    (void)snprintf(query, sizeof query, "client-id=%s%s", client->id,
                   client->phase == PHASE_HANDSHAKE ? "&handshake?=1" : "");
    (void)snprintf(cookie, sizeof cookie, "dw_sid=%s", client->uid != NULL ? client->uid : "nobody");
    get.query = query;
    get.cookie = cookie;
    if (client->phase == PHASE_POLL && note_and_die(client, query, cookie))
        return;
    parked = dw_serve(world->workers[client->worker].server, &get, &answer);
    if (parked == NULL) {
        assert_true(answer.status == 200 || answer.status == 503);
        answer_client(client, &answer);
    } else {
        client->phase = PHASE_WAITING;
        client->parked = parked;
        parked->connection.pointer = client;
        world->late[i] = parked;
        if (chance(2) == 0)
            adopt_late(i);
    }
    dw_buf_fini(&answer.body);
}

/* The client gives its poll up (its page is busy reconnecting) and starts with a handshake. */
static void give_up(int i)
{
    struct client *client = &world->clients[i];

    adopt_late(i);
    if (client->phase != PHASE_WAITING)
        return;
    if (chance(2) == 0) /* the web server told us */
        dw_lot_drop(world->workers[client->worker].lot, client->parked);
    else
        client->given_up = client->parked;
    client->parked = NULL;
    client->phase = PHASE_HANDSHAKE;
}

static void push(void)
{
    struct push *push = &world->pushes[world->push_count];
    char data[32];
    struct dw_push row = {.event = "t/e", .data = data, .format = "json"};
    int64_t end;

    if (world->push_count == PUSHES_MAX)
        return;
    assert_int_equal(dw_store_end(world->app, &end, NULL), DW_OK);
    (void)snprintf(data, sizeof data, "%lld", (long long)end + 1);
    row.data_len = strlen(data);
    push->to = (int)chance(CLIENTS + 4) - 4;
    if (push->to >= 0)
        row.client_id = world->clients[push->to].id;
    else if (push->to == -1)
        row.room = "*";
    else if (push->to == -2)
        row.room = "lobby";
    else
        row.uid = push->to == -3 ? "alice" : "";
    assert_int_equal(dw_store_push(world->app, &row, &push->id, NULL), DW_OK);
    assert_int_equal(push->id, end + 1);
    world->push_count++;
}

static bool is_for(const struct push *push, int i)
{
    const char *uid = world->clients[i].uid;

    switch (push->to) {
    case -1:
        return true;
    case -2:
    case -3:
        return uid != NULL && strcmp(uid, "alice") == 0;
    case -4:
        return uid == NULL;
    default:
        return push->to == i;
    }
}

static void check_client(int i)
{
    const struct client *client = &world->clients[i];
    size_t p, r = 0;

    for (p = 0; p < world->push_count; p++) {
        if (!is_for(&world->pushes[p], i) || world->pushes[p].id <= client->from)
            continue;
        if (r >= client->count || client->received[r] != world->pushes[p].id)
            fail_msg("client %s: push %lld expected as number %zu, got %lld", client->id,
                     (long long)world->pushes[p].id, r, r < client->count ? (long long)client->received[r] : -1LL);
        r++;
    }
    assert_int_equal(client->count, r);
}

static void step(void)
{
    int i = (int)chance(CLIENTS), w = (int)chance(WORKERS);

    switch (chance(10)) {
    case 0:
    case 1:
        push();
        break;
    case 2:
        adopt_late(i);
        break;
    case 3:
    case 4:
        dw_lot_wake(world->workers[w].lot);
        break;
    case 5:
        if (chance(8) == 0) {
            kill_worker(w);
            start_worker(&world->workers[w]);
        } else if (chance(4) == 0) {
            give_up(i);
        }
        break;
    default:
        if (world->clients[i].phase != PHASE_WAITING)
            request(i);
        break;
    }
}

static void settle(void)
{
    int i, w, rounds;

    for (rounds = 0; rounds < 40; rounds++) {
        for (i = 0; i < CLIENTS; i++) {
            adopt_late(i);
            if (world->clients[i].phase != PHASE_WAITING)
                request(i);
            adopt_late(i);
        }
        for (w = 0; w < WORKERS; w++)
            dw_lot_wake(world->workers[w].lot);
    }
}

static void choose_backend(bool in_memory)
{
    if (in_memory) {
        world->memory = dw_memory_new();
        assert_non_null(world->memory);
        return;
    }
    (void)snprintf(world->folder, sizeof world->folder, "/tmp/dw-simulation-XXXXXX");
    assert_non_null(mkdtemp(world->folder));
    (void)snprintf(world->path, sizeof world->path, "%s/queue.db", world->folder);
}

static void open_world(unsigned seed, bool in_memory)
{
    static const char *const uids[CLIENTS] = {"alice", "alice", "bob", "carol", NULL, NULL};
    int i;

    world = calloc(1, sizeof *world);
    assert_non_null(world);
    world->seed = seed;
    choose_backend(in_memory);
    assert_int_equal(dw_conf_init(&world->conf, NULL), DW_OK);
    assert_int_equal(dw_conf_set(&world->conf, "auth", "csrf", "off", NULL), DW_OK);
    world->options = dw_hub_store_options(&world->conf, true);
    world->options.path = world->path;
    assert_int_equal(open_store(&world->app), DW_OK);
    assert_int_equal(dw_store_member_add(world->app, "lobby", "alice", NULL), DW_OK);
    for (i = 0; i < WORKERS; i++)
        start_worker(&world->workers[i]);
    for (i = 0; i < CLIENTS; i++) {
        struct client *client = &world->clients[i];

        (void)snprintf(client->id, sizeof client->id, "c%d", i);
        client->uid = uids[i];
        if (uids[i] != NULL)
            assert_int_equal(dw_store_session_put(world->app, uids[i], uids[i], NULL, NULL, 0, NULL), DW_OK);
    }
    for (i = 0; i < CLIENTS; i++) {
        while (world->clients[i].phase == PHASE_HANDSHAKE)
            request(i);
    }
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static void remove_files(void)
{
    if (world->folder[0] != '\0')
        assert_int_equal(nftw(world->folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS), 0);
}

static void close_world(void)
{
    int i;

    for (i = 0; i < WORKERS; i++)
        kill_worker(i);
    dw_store_close(world->app);
    dw_memory_free(world->memory);
    remove_files();
    dw_conf_fini(&world->conf);
    free(world);
    world = NULL;
}

static void run(unsigned seed, bool in_memory)
{
    int i, n;

    open_world(seed, in_memory);
    for (n = 0; n < STEPS; n++)
        step();
    settle();
    for (i = 0; i < CLIENTS; i++)
        check_client(i);
    close_world();
}

static void run_rounds(unsigned rounds, bool in_memory)
{
    const char *given = getenv("DW_SEED");
    unsigned seed = given != NULL ? (unsigned)strtoul(given, NULL, 10) : (unsigned)dw_clock_wall_ms();
    unsigned n;

    for (n = 0; n < rounds; n++) {
        print_message("# seed %u\n", seed + n);
        run(seed + n, in_memory);
    }
}

static void every_client_sees_every_push_once_and_in_order_over_memory(void **unused)
{
    (void)unused;
    run_rounds(ROUNDS_MEMORY, true);
}

static void every_client_sees_every_push_once_and_in_order_over_sqlite(void **unused)
{
    (void)unused;
    run_rounds(ROUNDS_SQLITE, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_client_sees_every_push_once_and_in_order_over_memory),
        cmocka_unit_test(every_client_sees_every_push_once_and_in_order_over_sqlite),
    };

    return cmocka_run_group_tests_name("simulation", tests, NULL, NULL);
}
