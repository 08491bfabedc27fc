/* Browser tabs and the processes that serve them, in virtual time, without network: what a test of presence
 * needs to know of both.  One world at a time; the tests decide what happens, this carries it out. */
#ifndef DW_TESTS_UNIT_TABBING_H
#define DW_TESTS_UNIT_TABBING_H

#include "hub/house.h"
#include "hub/lot.h"
#include "store/store.h"

#include <stdbool.h>

#define NEVER INT64_MAX
#define WORKERS_MAX 10 /* processes at a time: residents first, then CGI requests */
#define TABS_MAX 9

/* One connection: a poll or WebSocket that a worker holds. */
struct wire {
    struct wire *next;
    struct dw_parked *parked;
    int worker;
    struct tab *tab;
    bool deaf;    /* its browser has vanished without a word */
    bool pinged;  /* a pong is due */
    bool closing; /* the server closes it */
};

/* One client id over one transport. */
struct tab {
    const char *uid, *id; /* uid NULL: none */
    enum dw_transport transport;
    bool wants;        /* to be connected */
    bool known;        /* has shaken hands (Ajax) */
    struct wire *wire; /* NULL: nothing is held for it */
    int64_t next_ms;   /* when it tries (again) */
    int64_t lost_ms;   /* last sign of life while nothing is held */
    int64_t opened_ms; /* present without a pause of a grace period since then; NEVER: it isn't */
};

struct worker {
    bool alive, cgi, answered;
    struct dw_hub hub;
    struct dw_store *store;
    struct dw_server *server;
    struct dw_lot *lot;
    struct dw_house *house;
    int64_t house_due_ms;
    int pid;
};

struct tabbing {
    struct dw_memory *memory;
    struct dw_conf conf;
    struct dw_store_options options;
    struct dw_store *app;
    struct worker workers[WORKERS_MAX];
    struct tab tabs[TABS_MAX];
    size_t tab_count;
    struct wire *wires;
    int residents; /* processes that are meant to be there; 0: plain CGI only */
    unsigned seed;
    int64_t disturbed_ms; /* last start or end of a resident, last death of any */
    int64_t kept_ms;      /* CGI only: first housekeeping after that; NEVER: none yet */
    char folder[64];      /* SQLite: where the files are; "" = memory */
    char path[80];
};

extern struct tabbing *tabbing;

unsigned chance(unsigned below);
int64_t grace_of(const struct tab *tab);

void open_tabbing(unsigned seed, bool in_memory);
void close_tabbing(void);

void start_worker(int number, bool cgi);
void kill_worker(int number);
/* SIGTERM: what is held is let go first. */
void stop_worker(int number);
/* A CGI process has served its request. */
void end_cgi(int number);

/* The tab sends its next request to a random process, or to a CGI process of its own. */
void ask(struct tab *tab, bool cgi);
/* A handshake of a client without a name, by CGI: a request that has nothing to do with any tab. */
void ask_as_stranger(void);
/* The browser drops the connection, with a word or without. */
void drop(struct tab *tab, bool silently);
void push(const char *uid);
/* Runs everything that is due up to then; `settled` is called whenever nothing is left to do at a moment. */
void run_until(int64_t ms, void (*settled)(void));

#endif
