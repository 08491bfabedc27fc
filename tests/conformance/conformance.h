/* One suite for every backend of the store: each test gets a world of its own with two stores open on
 * it (`a` and `b`, as two processes would have), and looks at them through store.h alone.
 *
 * A backend's program gives a struct backend and calls conformance_run. */
#ifndef DW_TESTS_CONFORMANCE_H
#define DW_TESTS_CONFORMANCE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "store/store.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define RETAIN_MS 60000

struct backend {
    const char *name;
    void *(*make_world)(void);
    void (*free_world)(void *world);
    struct dw_store *(*open)(void *world, const struct dw_store_limits *limits); /* fails the test itself */
};

struct fixture {
    const struct backend *backend;
    void *world;
    struct dw_store *a, *b;
    struct dw_buf text; /* what the last reading gave, as one line */
};

/* One more store on the fixture's world, without limits. */
struct dw_store *another(const struct fixture *f);

int conformance_run(const struct backend *backend);

/* The tests by topic. */
extern const struct CMUnitTest queue_tests[], inbox_tests[], session_tests[], client_tests[], limit_tests[],
    presence_tests[], worker_tests[];
extern const size_t queue_tests_count, inbox_tests_count, session_tests_count, client_tests_count, limit_tests_count,
    presence_tests_count, worker_tests_count;

/* Calls that must succeed; the failing sentence is printed. */
#define must(call)                                                                                                     \
    do {                                                                                                               \
        struct dw_err err = {.code = 0};                                                                               \
        int must_rc = (call);                                                                                          \
        if (must_rc != DW_OK)                                                                                          \
            fail_msg("%s: %s", #call, dw_err_say(&err, must_rc));                                                      \
    } while (0)

/* Pushes and returns the id; `address` is "uid:alice", "client:c1" or "room:lobby". */
int64_t push(struct dw_store *store, const char *address, const char *event, const char *data);
/* Code of a push that need not succeed. */
int try_push(struct dw_store *store, const char *address, const char *event, const char *data, const char *format);

/* What was read, as "event event ..." / "event=data ..." / "+open:uid -close:uid", in f->text. */
const char *mailbox(struct fixture *f, const char *uid, const char *client_id, int64_t after, size_t max,
                    int64_t *checked);
const char *inbox(struct fixture *f, int64_t after);
const char *replies(struct fixture *f, int64_t after);
const char *online(struct fixture *f);
const char *members(struct fixture *f, const char *room, int64_t id);

/* Adds an inbox row with that event and returns its id. */
int64_t receive(struct dw_store *store, const char *uid, const char *event, bool wants_reply);

/* One request of a client: epoch + 1, connected as said, due at `due_ms`, seen at `now_ms`. */
void touch(struct dw_store *store, enum dw_transport transport, const char *uid, const char *client_id, bool connected,
           int64_t now_ms, int64_t due_ms);
void sync_presence(struct dw_store *store);
/* Release and gc until there is nothing more to do. */
void keep_house(struct dw_store *store, int64_t now_ms);

#endif
