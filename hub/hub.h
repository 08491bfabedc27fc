/* The hub: what one process knows as a whole, shared by its threads.
 *
 * Reader threads call dw_serve (hub/serve.h), each with its own store; one thread owns the parking lot
 * (hub/lot.h); one does the housekeeping (hub/house.h).  After dw_hub_init the settings are read-only;
 * the counters are atomics that housekeeping carries into the state file. */
#ifndef DW_HUB_HUB_H
#define DW_HUB_HUB_H

#include "base/conf.h"
#include "base/err.h"
#include "chsk/packer.h"
#include "store/store.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* X(member, "name in status", what it counts) */
#define DW_COUNTERS(X)                                                                                                 \
    X(handshakes, "handshakes")                                                                                        \
    X(polls, "polls")                                                                                                  \
    X(messages, "messages")                                                                                            \
    X(events, "events_sent")                                                                                           \
    X(timeouts, "timeouts")                                                                                            \
    X(sockets, "websockets")                                                                                           \
    X(socket_bytes, "websocket_bytes_sent")                                                                            \
    X(sockets_lost, "websockets_silent")                                                                               \
    X(sockets_slow, "websockets_too_slow")                                                                             \
    X(sessions_ended, "sessions_ended")                                                                                \
    X(superseded, "polls_superseded")                                                                                  \
    X(away, "sent_away_full")                                                                                          \
    X(gaps, "gaps")                                                                                                    \
    X(bad_events, "bad_events")                                                                                        \
    X(bad_packages, "bad_packages")                                                                                    \
    X(bad_pushes, "bad_pushes")                                                                                        \
    X(refused_csrf, "refused_csrf")                                                                                    \
    X(refused_origin, "refused_origin")                                                                                \
    X(refused_auth, "refused_auth")                                                                                    \
    X(bad_requests, "bad_requests")                                                                                    \
    X(dropped, "posts_without_client_id")                                                                              \
    X(handler_errors, "handler_errors")                                                                                \
    X(store_errors, "store_errors")

struct dw_counters {
#define DW_COUNTER_MEMBER(member, name) _Atomic uint64_t member;
    DW_COUNTERS(DW_COUNTER_MEMBER)
#undef DW_COUNTER_MEMBER
};

struct dw_hub {
    struct dw_conf *conf;           /* borrowed */
    const struct dw_packer *packer; /* chsk.packer */
    struct dw_limits limits;
    bool json_keywords; /* chsk.json_keys */
    const char *inbox_format;
    int64_t holders_max;    /* processes that may hold polls; 0: any number */
    _Atomic int32_t worker; /* this process's slot; another once the state was lost */
    _Atomic int32_t holder; /* the worker that this process may lend its polls to; -1: none */
    _Atomic uint32_t parked;
    _Atomic bool draining; /* going down: hold nothing any more */
    struct dw_counters counters;
    /* Called (from any thread) when presence has to be brought up to date; may be NULL. */
    void (*presence_changed)(void *context);
    void *presence_context;
};

/* How this process serves, which decides the default of limits.holders. */
enum dw_serving { DW_SERVING_CGI, DW_SERVING_FASTCGI };

/* DW_CONF for settings that don't fit together, such as an unknown packer. */
int dw_hub_init(struct dw_hub *hub, struct dw_conf *conf, enum dw_serving serving, struct dw_err *err);

/* The store options that the settings stand for; strings are borrowed from `conf`. */
struct dw_store_options dw_hub_store_options(const struct dw_conf *conf, bool create);

static inline void dw_counter_add(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

/* True when no further poll can be held here: the process is full, or too many processes hold polls
 * already and this one holds none.  One that drains is not full: the lot answers what comes. */
bool dw_hub_full(struct dw_hub *hub, struct dw_store *store);

/* The worker that will hold the poll which is being served: this process's, or the one that holds for it, where
 * one request at a time is all that comes here.  The row has to say so before the poll is held: a worker's
 * death releases its clients. */
int32_t dw_hub_holder(struct dw_hub *hub, struct dw_store *store);

/* A pause that spreads clients which are sent away: limits.retry_ms, plus or minus half of it. */
int64_t dw_hub_retry_ms(const struct dw_hub *hub);

/* Adds the counters to the state file's and starts them again from 0. */
int dw_hub_flush_counters(struct dw_hub *hub, struct dw_store *store, struct dw_err *err);

#endif
