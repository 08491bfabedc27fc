/* What the server's files share: the loop (server.c), the readers (reader.c), the opening of the queue
 * (backend.c), the answers' way out (output.c) and lists of connections (links.c),
 * what is parked (parking.c) and its passing on to another process (handover.c). */
#ifndef DW_FCGI_SERVER_INTERNAL_H
#define DW_FCGI_SERVER_INTERNAL_H

#include "base/buf.h"
#include "fcgi/handover.h"
#include "fcgi/record.h"
#include "fcgi/server.h"
#include "hub/house.h"
#include "hub/hub.h"
#include "hub/lot.h"
#include "hub/request.h"
#include "store/store.h"
#include "store/wake.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* A connection that is not parked: its request is arriving or being served, or its answer is leaving. */
struct dw_link {
    struct dw_link *prev, *next; /* in the list that it is on, by deadline */
    int descriptor;
    int64_t deadline_ms; /* monotonic */
    struct dw_inflow in; /* arriving: what has come so far */
    bool writes;         /* its request may wait for an app that holds the queue's write lock */
    struct dw_buf out;   /* leaving: what is to be written */
    size_t written;
};

struct dw_links {
    struct dw_link *first, *last;
};

/* What an epoll event is about: in the low bits of its pointer. */
enum dw_fcgi_kind {
    DW_KIND_PARKED,
    DW_KIND_ARRIVING,
    DW_KIND_LEAVING,
    DW_KIND_LISTEN,
    DW_KIND_NOTIFY,
    DW_KIND_SIGNAL,
    DW_KIND_WAKE,
    DW_KIND_HANDOVER, /* the pointer is to a struct dw_handover_end */
};
#define DW_KIND_MASK 7u

/* What the queue and its threads are made of once they are open. */
struct dw_backend {
    pthread_mutex_t mutex; /* guards opening */
    _Atomic bool open;
    _Atomic bool looked; /* at where the queue lies, with a request that says what the web server hands out */
    struct dw_hub hub;
    struct dw_buf settings; /* the request parameters that were applied when it was opened */
    struct dw_store *house_store;
    struct dw_house *house;
    pthread_t house_thread;
};

struct dw_fcgi {
    struct dw_conf *conf;
    bool lazy; /* started by a web server, whose first request may bring settings */
    struct dw_backend backend;
    int listen_fd, epoll_fd, notify_fd, signal_fd;
    const char *web_servers; /* whose TCP connections are welcome (FastCGI 1.0, section 3.2); NULL: all */
    int64_t request_ms;      /* limits.request_ms */
    _Atomic size_t body_max; /* bytes of a body that are kept */
    bool accepting, stopping;
    int64_t accept_again_ms; /* out of descriptors until then */
    int64_t stop_due_ms;     /* stopping: don't wait for longer */
    struct dw_links arriving, leaving;
    /* loop thread's half of the queue */
    struct dw_store *store;
    struct dw_lot *lot;
    struct dw_wake *wake;
    struct dw_handover handover;
    /* between loop and readers, under `mutex` */
    pthread_mutex_t mutex;
    pthread_cond_t work;
    struct dw_links ready;        /* their requests have arrived, ... */
    struct dw_links ready_writes; /* ... or these, of which never all readers serve one */
    struct dw_parked *handed;     /* parked by readers, by `later` */
    struct dw_link *handed_leaving;
    unsigned busy;    /* readers that are serving, ... */
    unsigned writing; /* ... and those of them that may wait for the write lock */
    bool readers_stop;
    pthread_t *readers;
    size_t reader_count;
    struct dw_buf scratch, head; /* loop thread: an answer being put together */
};

/* server.c: loop thread */
/* epoll_ctl; `pointer` is aligned to 8. */
bool dw_fcgi_watch(struct dw_fcgi *fcgi, int op, int descriptor, uint32_t events, void *pointer,
                   enum dw_fcgi_kind kind);
/* Has the rest of an answer written when its peer can take it. */
void dw_fcgi_leave(struct dw_fcgi *fcgi, struct dw_link *link);
/* Answers a request and ends its connection, now or once its peer has taken all.  True: all is written. */
bool dw_fcgi_send(struct dw_fcgi *fcgi, int descriptor, uint16_t request_id, const struct dw_answer *answer);

/* parking.c: loop thread */
/* Takes over a request that the readers parked: holds it, or lends it to the process that its row names. */
void dw_fcgi_park(struct dw_fcgi *fcgi, struct dw_parked *parked);
/* Holds it here. */
void dw_fcgi_hold(struct dw_fcgi *fcgi, struct dw_parked *parked);
/* Answers it with its time-out: it can't be held where its row says that it is. */
void dw_fcgi_turn_back(struct dw_fcgi *fcgi, struct dw_parked *parked);
/* Something happened on a parked request's connection. */
void dw_fcgi_on_parked(struct dw_fcgi *fcgi, struct dw_parked *parked);

/* backend.c: opens the queue unless it is open; `env` (may be NULL) is the request's parameters.  Any
 * thread.  When the request asks for other settings than this process serves: DW_CONF, or DW_BUSY, and the
 * process ends. */
int dw_backend_open(struct dw_fcgi *fcgi, char *const *env, struct dw_err *err);
void dw_backend_close(struct dw_fcgi *fcgi);

/* reader.c */
int dw_readers_start(struct dw_fcgi *fcgi, struct dw_err *err);
void dw_readers_stop(struct dw_fcgi *fcgi);
/* Loop thread: hands a connection with a complete request over, which is on no list any more. */
void dw_readers_hand(struct dw_fcgi *fcgi, struct dw_link *link);

/* output.c: any thread */
/* Puts the whole answer into `out` as FastCGI records. */
void dw_output_records(struct dw_buf *out, struct dw_buf *head, uint16_t request_id, const struct dw_answer *answer);
/* Writes on without blocking.  1: all is written and the connection closed; 0: call again when it is
 * writable; -1: the peer is gone, the connection is closed. */
int dw_output_write(int descriptor, const struct dw_buf *out, size_t *written);
/* Answers a request whose client is gone with nothing, and closes the connection: without an end, lighttpd logs
 * each closed tab as a responder that died. */
void dw_output_end(int descriptor, struct dw_buf *scratch, struct dw_buf *head, uint16_t request_id);
/* Writes `out` without blocking.  True: all is written and the connection closed.  False: what the peer was too
 * slow for, `out`'s content, is in *rest, for dw_fcgi_leave; or that is NULL, and the connection closed. */
bool dw_output_send(const struct dw_fcgi *fcgi, int descriptor, struct dw_buf *out, struct dw_link **rest);

/* links.c: lists of connections */
void dw_links_add(struct dw_links *list, struct dw_link *link);
void dw_links_remove(struct dw_links *list, struct dw_link *link);
void dw_link_free(struct dw_link *link); /* the descriptor is the caller's */
/* Closes and frees those whose deadline has passed; how many. */
unsigned dw_links_close_overdue(struct dw_links *list, int epoll_fd, int64_t now_ms);
int64_t dw_links_deadline(const struct dw_links *list); /* the earliest, INT64_MAX: none */

#endif
