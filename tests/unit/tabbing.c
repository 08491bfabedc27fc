/* See tabbing.h. */
#include "tests/unit/tabbing.h"

#include "hub/serve.h"
#include "hub/sockets.h"
#include "tests/unit/tap.h"
#include "tests/unit/virtual_time.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct tabbing *tabbing;

unsigned chance(unsigned below)
{
    tabbing->seed = tabbing->seed * 1103515245u + 12345u;
    return (tabbing->seed >> 16) % below;
}

int64_t grace_of(const struct tab *tab)
{
    return tab->transport == DW_WS ? tabbing->conf.chsk_close_grace_ws_ms : tabbing->conf.chsk_close_grace_ajax_ms;
}

/* ---- tabs ---- */

/* With DW_TRACE in the environment: what happens, when. */
static void trace(const char *what, const struct tab *tab, int worker)
{
    if (getenv("DW_TRACE") == NULL)
        return;
    print_message("# %lld %s", (long long)virtual_ms, what);
    if (tab != NULL)
        print_message(" %s %s %s", tab->uid != NULL ? tab->uid : "-", tab->id, tab->transport == DW_WS ? "ws" : "ajax");
    print_message(worker >= 0 ? " worker %d\n" : "\n", worker);
}

/* Most come back at once, some when their grace period is nearly over or long past. */
static int64_t pause_of(const struct tab *tab)
{
    unsigned grace = (unsigned)grace_of(tab);

    switch (chance(8)) {
    case 0:
        return chance(3 * grace);
    case 1:
        return grace - 60 + chance(120);
    default:
        return chance(200);
    }
}

/* It was present all the time, or is not any more. */
static void sign_of_life(struct tab *tab)
{
    if (tab->opened_ms != NEVER && tab->wire == NULL && virtual_ms >= tab->lost_ms + grace_of(tab))
        tab->opened_ms = NEVER;
}

static void lose(struct tab *tab, bool failed)
{
    trace(failed ? "fails" : "ends", tab, -1);
    tab->wire = NULL;
    tab->lost_ms = virtual_ms;
    tab->next_ms = tab->wants ? virtual_ms + pause_of(tab) : NEVER;
    if (failed)
        tab->known = false;
}

static void free_wire(struct wire *wire)
{
    struct wire **at = &tabbing->wires;

    while (*at != wire)
        at = &(*at)->next;
    *at = wire->next;
    free(wire);
}

/* ---- what the hub tells its adapter ---- */

static void on_answer(void *context, struct dw_parked *parked, const struct dw_answer *answer)
{
    struct worker *worker = context;
    struct wire *wire = parked->connection.pointer;

    assert_int_equal(answer->status, 200);
    worker->answered = true;
    if (wire->tab->wire == wire)
        lose(wire->tab, chance(6) == 0); /* some answers are lost on their way */
    free_wire(wire);
}

static void on_departed(void *context, const struct dw_departed *departed)
{
    struct worker *worker = context;

    dw_house_departed(worker->house, departed);
    if (!worker->cgi)
        worker->house_due_ms = virtual_ms;
}

static bool on_send(void *context, struct dw_parked *parked, const char *bytes, size_t len)
{
    struct wire *wire = parked->connection.pointer;

    (void)context;
    if (memmem(bytes, len, ":chsk/ws-ping", 13) != NULL)
        wire->pinged = true;
    return true;
}

static bool on_has_room(void *context, const struct dw_parked *parked)
{
    (void)context;
    (void)parked;
    return true;
}

static void on_close(void *context, struct dw_parked *parked, int code)
{
    (void)context;
    (void)code;
    ((struct wire *)parked->connection.pointer)->closing = true;
}

static void on_presence(void *context)
{
    struct worker *worker = context;

    dw_house_presence(worker->house);
    worker->house_due_ms = virtual_ms;
}

/* ---- workers ---- */

static void be(const struct worker *worker)
{
    virtual_pid = worker->pid;
}

static int open_store(struct dw_store **store)
{
    if (tabbing->memory != NULL)
        return dw_store_open_memory(tabbing->memory, &tabbing->options, store, NULL);
    return dw_store_open_sqlite(&tabbing->options, store, NULL);
}

static void disturb(void)
{
    tabbing->disturbed_ms = virtual_ms;
    tabbing->kept_ms = NEVER;
}

void start_worker(int number, bool cgi)
{
    struct worker *worker = &tabbing->workers[number];
    const struct dw_lot_callbacks callbacks = {.answer = on_answer,
                                               .departed = on_departed,
                                               .send = on_send,
                                               .has_room = on_has_room,
                                               .close = on_close,
                                               .context = worker};
    int32_t joined;

    memset(worker, 0, sizeof *worker);
    worker->alive = true;
    worker->cgi = cgi;
    worker->pid = (int)chance(30000) + 2;
    trace(cgi ? "start CGI" : "start", NULL, number);
    be(worker);
    assert_int_equal(dw_hub_init(&worker->hub, &tabbing->conf, cgi ? DW_SERVING_CGI : DW_SERVING_FASTCGI, NULL), DW_OK);
    assert_int_equal(open_store(&worker->store), DW_OK);
    assert_int_equal(dw_store_worker_join(worker->store, &joined, NULL), DW_OK);
    atomic_store(&worker->hub.worker, joined);
    worker->server = dw_server_new(&worker->hub, worker->store);
    worker->lot = dw_lot_new(&worker->hub, worker->store, &callbacks, NULL);
    worker->house = dw_house_new(&worker->hub, worker->store);
    assert_true(worker->server != NULL && worker->lot != NULL && worker->house != NULL);
    worker->house_due_ms = cgi ? NEVER : virtual_ms;
    if (cgi)
        return;
    worker->hub.presence_changed = on_presence;
    worker->hub.presence_context = worker;
    disturb();
}

static void free_worker(struct worker *worker, bool killed)
{
    dw_lot_free(worker->lot);
    dw_server_free(worker->server);
    dw_house_free(worker->house);
    if (killed)
        dw_store_kill(worker->store);
    else
        dw_store_close(worker->store);
    worker->alive = false;
}

void kill_worker(int number)
{
    struct wire *wire, *next;

    trace("kill", NULL, number);
    for (wire = tabbing->wires; wire != NULL; wire = next) {
        next = wire->next;
        if (wire->worker != number)
            continue;
        if (wire->tab->wire == wire) {
            wire->tab->wants = wire->tab->wants && chance(3) != 0; /* else this was the end of it */
            lose(wire->tab, true);
        }
        free_wire(wire);
    }
    free_worker(&tabbing->workers[number], true);
    disturb();
}

static void close_wire(struct wire *wire)
{
    struct worker *worker = &tabbing->workers[wire->worker];

    if (wire->tab->wire == wire)
        lose(wire->tab, true);
    if (wire->tab->transport == DW_WS)
        dw_socket_closed(worker->lot, wire->parked);
    else
        dw_lot_drop(worker->lot, wire->parked);
    worker->answered = true;
    free_wire(wire);
}

void stop_worker(int number)
{
    struct worker *worker = &tabbing->workers[number];
    struct wire *wire, *next;

    trace("stop", NULL, number);
    be(worker);
    atomic_store(&worker->hub.draining, true);
    dw_lot_drain(worker->lot);
    for (wire = tabbing->wires; wire != NULL; wire = next) {
        next = wire->next;
        if (wire->worker == number)
            close_wire(wire);
    }
    dw_house_stop(worker->house);
    dw_house_run(worker->house);
    free_worker(worker, false);
    disturb();
}

/* ---- CGI, in the order of fcgi/cgi.c ---- */

static void keep_house(struct worker *worker)
{
    dw_house_active(worker->house);
    (void)dw_house_step(worker->house);
    if (tabbing->kept_ms == NEVER)
        tabbing->kept_ms = virtual_ms;
}

void end_cgi(int number)
{
    struct worker *worker = &tabbing->workers[number];

    be(worker);
    dw_house_hand_over(worker->house);
    keep_house(worker);
    free_worker(worker, false);
}

/* ---- requests ---- */

static struct dw_parked *serve(struct worker *worker, const struct tab *tab, struct dw_answer *answer)
{
    struct dw_request get = {.method = "GET"};
    char query[64], cookie[64];

    be(worker);
    (void)snprintf(query, sizeof query, "client-id=%s%s", tab->id,
                   tab->transport == DW_AJAX && !tab->known ? "&handshake?=1" : "");
    (void)snprintf(cookie, sizeof cookie, "dw_sid=%s", tab->uid != NULL ? tab->uid : "nobody");
    get.query = query;
    get.cookie = cookie;
    if (tab->transport == DW_WS) {
        get.upgrade = "WebSocket";
        get.lot = worker->lot;
    }
    return dw_serve(worker->server, &get, answer);
}

/* Something is held: `tab`'s older connection, if there is one, is nobody's now. */
static void hold(struct tab *tab, int number, struct dw_parked *parked)
{
    struct wire *wire = calloc(1, sizeof *wire);

    assert_non_null(wire);
    *wire = (struct wire){.next = tabbing->wires, .parked = parked, .worker = number, .tab = tab};
    tabbing->wires = wire;
    tab->wire = wire;
    parked->connection.pointer = wire;
    dw_lot_adopt(tabbing->workers[number].lot, parked);
}

static int pick_worker(bool cgi)
{
    int from = cgi ? tabbing->residents : 0, to = cgi ? WORKERS_MAX : tabbing->residents, found = -1, i;
    unsigned seen = 0;

    for (i = from; i < to; i++)
        if (tabbing->workers[i].alive != cgi && chance(++seen) == 0)
            found = i;
    if (found >= 0 && cgi)
        start_worker(found, true);
    return found;
}

static void serve_tab(struct tab *tab, int number)
{
    struct worker *worker = &tabbing->workers[number];
    struct dw_answer answer = DW_ANSWER_INIT;
    bool handshake = tab->transport == DW_AJAX && !tab->known;
    struct dw_parked *parked;

    sign_of_life(tab);
    trace(handshake ? "shakes hands" : "asks", tab, number);
    parked = serve(worker, tab, &answer);
    assert_true(answer.status == 200 || answer.status == 101 || parked != NULL);
    /* One that was forgotten meanwhile has to shake hands again, too. */
    handshake |= tab->transport == DW_AJAX && strstr(dw_buf_str(&answer.body), ":chsk/handshake") != NULL;
    if (!handshake && tab->opened_ms == NEVER)
        tab->opened_ms = virtual_ms;
    if (parked != NULL) {
        hold(tab, number, parked);
    } else {
        lose(tab, false);
        if (handshake) {
            tab->known = true;
            tab->next_ms = virtual_ms + (chance(4) == 0 ? pause_of(tab) : chance(20));
        }
    }
    dw_buf_fini(&answer.body);
}

void ask(struct tab *tab, bool cgi)
{
    int number = pick_worker(cgi);
    struct worker *worker;

    tab->next_ms = virtual_ms + 300;
    if (number < 0)
        return; /* nobody there, or too many */
    tab->next_ms = NEVER;
    worker = &tabbing->workers[number];
    serve_tab(tab, number);
    if (cgi && !worker->answered && tab->wire != NULL && tab->wire->worker == number) {
        keep_house(worker);
        dw_house_leave(worker->house);
    } else if (cgi) {
        end_cgi(number);
    }
}

void ask_as_stranger(void)
{
    const struct tab stranger = {.id = "stranger", .transport = DW_AJAX};
    struct dw_answer answer = DW_ANSWER_INIT;
    int number = pick_worker(true);

    if (number < 0)
        return;
    assert_null(serve(&tabbing->workers[number], &stranger, &answer));
    dw_buf_fini(&answer.body);
    end_cgi(number);
}

void drop(struct tab *tab, bool silently)
{
    if (tab->wire == NULL)
        return;
    trace(silently ? "vanishes" : "drops", tab, tab->wire->worker);
    if (silently) {
        tab->wire->deaf = true;
        return;
    }
    be(&tabbing->workers[tab->wire->worker]);
    close_wire(tab->wire);
}

void push(const char *uid)
{
    const struct dw_push row = {.uid = uid, .event = "t/e", .data = "1", .data_len = 1, .format = "json"};
    int i;

    assert_int_equal(dw_store_push(tabbing->app, &row, NULL, NULL), DW_OK);
    for (i = 0; i < WORKERS_MAX; i++)
        if (tabbing->workers[i].alive) {
            be(&tabbing->workers[i]);
            dw_lot_wake(tabbing->workers[i].lot);
        }
}

/* ---- the passing of time ---- */

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t next_due(void)
{
    int64_t due = NEVER;
    const struct wire *wire;
    size_t i;

    for (i = 0; i < WORKERS_MAX; i++)
        if (tabbing->workers[i].alive) {
            due = earlier(due, tabbing->workers[i].house_due_ms);
            due = earlier(due, dw_lot_due(tabbing->workers[i].lot));
            if (tabbing->workers[i].cgi && tabbing->workers[i].answered)
                due = virtual_ms;
        }
    for (i = 0; i < tabbing->tab_count; i++)
        due = earlier(due, tabbing->tabs[i].next_ms);
    for (wire = tabbing->wires; wire != NULL; wire = wire->next)
        if (wire->closing || (wire->pinged && !wire->deaf))
            due = virtual_ms;
    return due;
}

/* One connection that has something to do; the list may have changed then. */
static bool run_wire(void)
{
    static const char pong[] = "[[:chsk/ws-pong] nil]";
    struct wire *wire;

    for (wire = tabbing->wires; wire != NULL; wire = wire->next) {
        struct worker *worker = &tabbing->workers[wire->worker];

        be(worker);
        if (wire->closing) {
            close_wire(wire);
            return true;
        }
        if (wire->pinged && !wire->deaf) {
            wire->pinged = false;
            assert_int_equal(dw_socket_receive(worker->lot, worker->server, wire->parked, pong, sizeof pong - 1, false),
                             DW_OK);
            return true;
        }
    }
    return false;
}

static void run_worker(int number)
{
    struct worker *worker = &tabbing->workers[number];

    if (!worker->alive)
        return;
    be(worker);
    if (dw_lot_due(worker->lot) <= virtual_ms)
        dw_lot_tick(worker->lot, virtual_ms);
    if (worker->cgi && worker->answered)
        end_cgi(number);
    else if (!worker->cgi && worker->house_due_ms <= virtual_ms)
        worker->house_due_ms = dw_house_step(worker->house);
}

static void run_now(void)
{
    size_t i;

    while (run_wire())
        ;
    for (i = 0; i < WORKERS_MAX; i++)
        run_worker((int)i);
    for (i = 0; i < tabbing->tab_count; i++) {
        struct tab *tab = &tabbing->tabs[i];

        if (tab->next_ms > virtual_ms)
            continue;
        if (tab->opened_ms != NEVER && virtual_ms == tab->lost_ms + grace_of(tab)) {
            tab->next_ms = virtual_ms + 1; /* in the nick of time: who was first can't be told */
            continue;
        }
        tab->next_ms = NEVER;
        if (tab->wants && (tab->wire == NULL || tab->wire->deaf))
            ask(tab, tabbing->residents == 0 || (tab->transport == DW_AJAX && chance(5) == 0));
    }
}

void run_until(int64_t ms, void (*settled)(void))
{
    int64_t due;

    while ((due = next_due()) <= ms) {
        if (due > virtual_ms) {
            settled();
            virtual_ms = due;
        }
        run_now();
    }
    settled();
    virtual_ms = ms;
    settled();
}

/* ---- the world ---- */

static void choose_backend(bool in_memory)
{
    if (in_memory) {
        tabbing->memory = dw_memory_new();
        assert_non_null(tabbing->memory);
        return;
    }
    (void)snprintf(tabbing->folder, sizeof tabbing->folder, "/tmp/dw-presence-XXXXXX");
    assert_non_null(mkdtemp(tabbing->folder));
    (void)snprintf(tabbing->path, sizeof tabbing->path, "%s/queue.db", tabbing->folder);
}

void open_tabbing(unsigned seed, bool in_memory)
{
    static const struct tab tabs[] = {
        {.uid = "alice", .id = "a1", .transport = DW_AJAX}, {.uid = "alice", .id = "a1", .transport = DW_WS},
        {.uid = "alice", .id = "a2", .transport = DW_AJAX}, {.uid = "alice", .id = "a3", .transport = DW_WS},
        {.uid = "bob", .id = "b1", .transport = DW_AJAX},   {.uid = "bob", .id = "b2", .transport = DW_WS},
        {.uid = "carol", .id = "c1", .transport = DW_AJAX}, {.uid = "dave", .id = "d1", .transport = DW_WS},
        {.uid = NULL, .id = "n1", .transport = DW_AJAX},
    };
    size_t i;

    tabbing = calloc(1, sizeof *tabbing);
    assert_non_null(tabbing);
    tabbing->seed = seed;
    virtual_ms = 1000000 + (int64_t)chance(10000);
    virtual_wall_ahead_ms = INT64_C(1795477156000);
    choose_backend(in_memory);
    assert_int_equal(dw_conf_init(&tabbing->conf, NULL), DW_OK);
    assert_int_equal(dw_conf_set(&tabbing->conf, "auth", "csrf", "off", NULL), DW_OK);
    tabbing->options = dw_hub_store_options(&tabbing->conf, true);
    tabbing->options.path = tabbing->path;
    assert_int_equal(open_store(&tabbing->app), DW_OK);
    tabbing->tab_count = sizeof tabs / sizeof tabs[0];
    for (i = 0; i < tabbing->tab_count; i++) {
        tabbing->tabs[i] = tabs[i];
        tabbing->tabs[i].next_ms = tabbing->tabs[i].opened_ms = NEVER;
        if (tabs[i].uid != NULL)
            assert_int_equal(dw_store_session_put(tabbing->app, tabs[i].uid, tabs[i].uid, NULL, NULL, 0, NULL), DW_OK);
    }
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

void close_tabbing(void)
{
    int i;

    for (i = 0; i < WORKERS_MAX; i++)
        if (tabbing->workers[i].alive)
            kill_worker(i);
    dw_store_close(tabbing->app);
    dw_memory_free(tabbing->memory);
    if (tabbing->folder[0] != '\0')
        assert_int_equal(nftw(tabbing->folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS), 0);
    dw_conf_fini(&tabbing->conf);
    free(tabbing);
    tabbing = NULL;
}
