/* Presence over random schedules in virtual time: tabs on both transports open, vanish and come back, processes
 * are killed, stopped and started, the wall clock is set, CGI requests come and go.  What must hold for each uid
 * at every moment:
 *
 *   - chsk/uidport-open and -close alternate, beginning with open
 *   - no close while a tab is connected, or before its grace period is over
 *   - dw_online counts, over each transport, no fewer tabs than are surely there, and no more than may be: one
 *     that has gone is not counted for longer than its grace period and one round of housekeeping
 *
 * and at the end dw_online and the last event say exactly what is so.  DW_SEED is the first schedule's seed, DW_ROUNDS
 * the number of schedules; with DW_TRACE they are told. */
#include "base/log.h"
#include "store/ops.h"
#include "tests/unit/tabbing.h"
#include "tests/unit/tap.h"
#include "tests/unit/virtual_time.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ROUNDS_MEMORY 1000
#define ROUNDS_SQLITE 25
#define STEPS 60
#define HOUSE_MS (5000 + 500) /* a round of housekeeping: its tick, and the least pause before one that is due */
#define SYNC_MS 20            /* changes that come one after the other are brought into the queue together */
#define UIDS 4

static const char *const uids[UIDS] = {"alice", "bob", "carol", "dave"};

struct seen {
    bool open; /* the last event */
    int64_t ws, ajax;
};
static struct seen seen[UIDS];
static int64_t inbox_read;
static unsigned round_seed;
static long closes; /* over all rounds: a schedule in which nothing happens proves nothing */

static void wrong(const char *what, const char *uid)
{
    fail_msg("seed %u, %lld ms, %s: %s", round_seed, (long long)virtual_ms, uid, what);
}

static struct seen *seen_of(const char *uid)
{
    int i;

    for (i = 0; i < UIDS; i++)
        if (strcmp(uids[i], uid) == 0)
            return &seen[i];
    fail_msg("an event of %s", uid);
    return NULL;
}

static bool is_of(const struct tab *tab, const char *uid)
{
    return tab->uid != NULL && strcmp(tab->uid, uid) == 0;
}

/* Connected, or to be waited for. */
static bool is_surely_there(const struct tab *tab)
{
    return tab->opened_ms != NEVER && (tab->wire != NULL || virtual_ms < tab->lost_ms + grace_of(tab));
}

/* Counts again, at the latest by now? */
static bool is_surely_counted(const struct tab *tab)
{
    if (!is_surely_there(tab) || virtual_ms < tab->opened_ms + SYNC_MS)
        return false;
    if (tabbing->disturbed_ms < tab->opened_ms)
        return true;
    /* Who served it may have died before it could say so. */
    if (tabbing->residents == 0)
        return tabbing->kept_ms != NEVER;
    return virtual_ms > tabbing->disturbed_ms + HOUSE_MS;
}

static int64_t later(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static bool any_resident(void)
{
    int i;

    for (i = 0; i < tabbing->residents; i++)
        if (tabbing->workers[i].alive)
            return true;
    return false;
}

/* These residents hold both transports, which no program does: the house lets the shorter grace period wait for
 * the longer one (dw_house_departed). */
static int64_t longest_grace(void)
{
    return later(tabbing->conf.chsk_close_grace_ws_ms, tabbing->conf.chsk_close_grace_ajax_ms);
}

static bool may_be_counted(const struct tab *tab)
{
    if (tab->wire != NULL || tab->lost_ms == 0)
        return tab->wire != NULL;
    if (tabbing->residents > 0 && !any_resident())
        return true;
    if (tabbing->residents > 0)
        return virtual_ms <= later(tab->lost_ms, tabbing->disturbed_ms) + longest_grace() + HOUSE_MS;
    return true; /* CGI only: checked behind a request */
}

static int on_inbox(void *context, const struct dw_inbox *row)
{
    struct seen *of = seen_of(row->uid);
    bool open = strcmp(row->event, "chsk/uidport-open") == 0;
    size_t i;

    (void)context;
    inbox_read = row->id;
    if (!open && strcmp(row->event, "chsk/uidport-close") != 0)
        wrong(row->event, row->uid);
    if (open == of->open)
        wrong(open ? "opened twice" : "closed twice", row->uid);
    if (getenv("DW_TRACE") != NULL)
        print_message("# %lld %s %s\n", (long long)virtual_ms, row->event, row->uid);
    of->open = open;
    closes += !open;
    for (i = 0; i < tabbing->tab_count && !open; i++)
        /* One that has opened this very moment may have come behind the close. */
        if (is_of(&tabbing->tabs[i], row->uid) && is_surely_there(&tabbing->tabs[i]) &&
            tabbing->tabs[i].opened_ms < virtual_ms)
            wrong("closed while a tab is there or may come back", row->uid);
    return DW_OK;
}

static int on_online(void *context, const struct dw_online *row)
{
    struct seen *of = seen_of(row->uid);

    (void)context;
    of->ws = row->ws;
    of->ajax = row->ajax;
    return DW_OK;
}

static void check_count(const char *uid, enum dw_transport transport, int64_t count)
{
    int64_t least = 0, most = 0;
    size_t i;

    for (i = 0; i < tabbing->tab_count; i++) {
        const struct tab *tab = &tabbing->tabs[i];

        if (tab->transport != transport || !is_of(tab, uid))
            continue;
        least += is_surely_counted(tab);
        most += may_be_counted(tab);
    }
    if (count < least)
        wrong(transport == DW_WS ? "a WebSocket is not counted" : "an Ajax client is not counted", uid);
    if (count > most)
        wrong(transport == DW_WS ? "a WebSocket is counted too long" : "an Ajax client is counted too long", uid);
}

static void check(void)
{
    int i;

    for (i = 0; i < UIDS; i++)
        seen[i].ws = seen[i].ajax = 0;
    assert_int_equal(dw_store_inbox(tabbing->app, inbox_read, 1000, on_inbox, NULL, NULL), DW_OK);
    assert_int_equal(dw_store_online(tabbing->app, on_online, NULL, NULL), DW_OK);
    for (i = 0; i < UIDS; i++) {
        check_count(uids[i], DW_WS, seen[i].ws);
        check_count(uids[i], DW_AJAX, seen[i].ajax);
        if (seen[i].open != (seen[i].ws + seen[i].ajax > 0))
            wrong("the last event and dw_online differ", uids[i]);
    }
}

/* All that could come back has, or is gone. */
static void check_exactly(void)
{
    size_t i, k;

    check();
    for (i = 0; i < UIDS; i++) {
        int64_t ws = 0, ajax = 0;

        for (k = 0; k < tabbing->tab_count; k++)
            if (is_of(&tabbing->tabs[k], uids[i]) && is_surely_there(&tabbing->tabs[k]))
                *(tabbing->tabs[k].transport == DW_WS ? &ws : &ajax) += 1;
        if (ws != seen[i].ws || ajax != seen[i].ajax)
            wrong("at the end dw_online is not what is so", uids[i]);
    }
}

/* CGI only: a request has done what there was to do. */
static void check_behind_request(void)
{
    size_t i, k;

    ask_as_stranger();
    check();
    for (i = 0; i < UIDS; i++) {
        int64_t most = 0;

        for (k = 0; k < tabbing->tab_count; k++) {
            const struct tab *tab = &tabbing->tabs[k];

            if (is_of(tab, uids[i]))
                most += tab->wire != NULL || tab->lost_ms == 0 || tabbing->kept_ms == NEVER ||
                        virtual_ms < later(tab->lost_ms, tabbing->kept_ms) + grace_of(tab);
        }
        if (seen[i].ws + seen[i].ajax > most)
            wrong("still counted behind a request", uids[i]);
    }
}

/* ---- schedules ---- */

static void set_time(const char *key, unsigned least, unsigned range)
{
    char value[24];

    (void)snprintf(value, sizeof value, "%u", least + chance(range));
    assert_int_equal(dw_conf_set(&tabbing->conf, "chsk", key, value, NULL), DW_OK);
}

static void toggle_tab(void)
{
    struct tab *tab = &tabbing->tabs[chance((unsigned)tabbing->tab_count)];

    if (tabbing->residents == 0 && tab->transport == DW_WS)
        return;
    if (tab->wants) {
        tab->wants = false;
        tab->next_ms = NEVER;
        drop(tab, chance(3) == 0);
    } else {
        tab->wants = true;
        tab->known = false;
        tab->next_ms = virtual_ms + chance(50);
    }
}

/* The connection breaks; the browser notices at once and comes back. */
static void break_tab(void)
{
    struct tab *tab = &tabbing->tabs[chance((unsigned)tabbing->tab_count)];
    bool silently = chance(3) == 0;

    if (!tab->wants || tab->wire == NULL)
        return;
    drop(tab, silently);
    tab->known = false;
    if (silently)
        tab->next_ms = virtual_ms + chance(400);
}

static void disturb_worker(void)
{
    int number = (int)chance(WORKERS_MAX);
    struct worker *worker = &tabbing->workers[number];

    if (worker->alive && (worker->cgi || chance(4) != 0))
        kill_worker(number);
    else if (worker->alive)
        stop_worker(number);
}

static void start_missing(void)
{
    int i;

    for (i = 0; i < tabbing->residents; i++)
        if (!tabbing->workers[i].alive)
            start_worker(i, false);
}

static void set_clock(void)
{
    int64_t by = chance(3) == 0 ? chance(10000) * 1000 : chance(20000);

    virtual_wall_ahead_ms += chance(2) == 0 ? by : -by;
}

static void step(void)
{
    switch (chance(16)) {
    case 0:
    case 1:
    case 2:
    case 3:
        toggle_tab();
        break;
    case 4:
    case 5:
    case 6:
        break_tab();
        break;
    case 7:
    case 8:
    case 9:
        push(uids[chance(UIDS)]);
        break;
    case 10:
        if (chance(3) == 0)
            disturb_worker();
        break;
    case 11:
    case 12:
        start_missing();
        break;
    case 13:
        if (chance(2) == 0)
            set_clock();
        break;
    default:
        if (tabbing->residents == 0)
            check_behind_request();
        else if (chance(3) == 0)
            ask_as_stranger();
    }
    run_until(virtual_ms + chance(chance(4) == 0 ? 8000 : 600), check);
}

static void settle(void)
{
    int64_t longest = tabbing->conf.chsk_lp_timeout_ms + 30000;
    size_t i;

    start_missing();
    run_until(virtual_ms + longest, check);
    run_until(virtual_ms + longest, check);
    for (i = 0; tabbing->residents == 0 && i < 2; i++) {
        check_behind_request();
        run_until(virtual_ms + tabbing->conf.chsk_close_grace_ajax_ms, check);
    }
    /* Between two polls everybody could be away for longer than a grace period. */
    for (i = 0; i < tabbing->tab_count; i++)
        tabbing->tabs[i].wants = false;
    run_until(virtual_ms + longest, check);
    if (tabbing->residents == 0) {
        check_behind_request();
        run_until(virtual_ms + tabbing->conf.chsk_close_grace_ajax_ms, check);
        check_behind_request();
    }
    check_exactly();
}

static void begin(unsigned seed, bool in_memory)
{
    round_seed = seed;
    inbox_read = 0;
    memset(seen, 0, sizeof seen);
    open_tabbing(seed, in_memory);
}

static void run(unsigned seed, bool in_memory)
{
    int n;

    begin(seed, in_memory);
    (void)chance(2); /* neighbouring seeds begin alike */
    set_time("close_grace_ws_ms", 300, 6000);
    set_time("close_grace_ajax_ms", 300, 6000);
    set_time("lp_timeout_ms", 1000, 20000);
    tabbing->residents = chance(4) == 0 ? 0 : (int)chance(3) + 1;
    disturb_worker();
    tabbing->kept_ms = virtual_ms;
    start_missing();
    for (n = 0; n < STEPS; n++)
        step();
    settle();
    close_tabbing();
}

static void run_rounds(unsigned rounds, bool in_memory)
{
    const char *given = getenv("DW_SEED"), *count = getenv("DW_ROUNDS");
    unsigned seed = given != NULL ? (unsigned)strtoul(given, NULL, 10) : (unsigned)time(NULL);
    unsigned n;

    if (count != NULL)
        rounds = (unsigned)strtoul(count, NULL, 10) * rounds / ROUNDS_MEMORY + 1;
    print_message("# seeds %u to %u\n", seed, seed + rounds - 1);
    closes = 0;
    for (n = 0; n < rounds; n++)
        run(seed + n, in_memory);
    print_message("# %ld times the last tab of a uid was gone\n", closes);
    assert_true(closes >= (long)rounds || rounds < 10);
}

static void presence_is_what_is_so_over_memory(void **unused)
{
    (void)unused;
    run_rounds(ROUNDS_MEMORY, true);
}

static void presence_is_what_is_so_over_sqlite(void **unused)
{
    (void)unused;
    run_rounds(ROUNDS_SQLITE, false);
}

/* ---- single cases ---- */

static struct dw_store_ops ops;
static const struct dw_store_ops *real_ops;
static int failures;

static int leave_or_fail(struct dw_store *store, const struct dw_departed *departed, size_t count, int64_t now_ms,
                         struct dw_err *err)
{
    if (failures-- > 0)
        return dw_err_set(err, DW_BUSY, "somebody holds the lock");
    return real_ops->clients_leave(store, departed, count, now_ms, err);
}

/* Nothing else ever ends a WebSocket's row while its process lives. */
static void a_departure_that_can_not_be_written_is_tried_again(void **unused)
{
    struct tab *tab;

    (void)unused;
    begin(1, true);
    tabbing->residents = 1;
    start_missing();
    real_ops = tabbing->workers[0].store->ops;
    ops = *real_ops;
    ops.clients_leave = leave_or_fail;
    failures = 3;
    tabbing->workers[0].store->ops = &ops;
    tab = &tabbing->tabs[7];
    assert_int_equal(tab->transport, DW_WS);
    tab->wants = true;
    tab->next_ms = virtual_ms;
    run_until(virtual_ms + 1000, check);
    tab->wants = false;
    drop(tab, false);
    run_until(virtual_ms + 100000, check);
    assert_true(failures < 0);
    check_exactly();
    close_tabbing();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(presence_is_what_is_so_over_memory),
        cmocka_unit_test(presence_is_what_is_so_over_sqlite),
        cmocka_unit_test(a_departure_that_can_not_be_written_is_tried_again),
    };

    assert_true(dw_log_setup("test", "error", "stderr", "text"));
    return cmocka_run_group_tests_name("presence schedules", tests, NULL, NULL);
}
