/* The loop thread; see server.h.
 *
 * epoll's data word is a pointer with its kind in the low bits (everything here is aligned to 8).  In a
 * batch of events the connections come first and what can free connections of others (doorbell, handed
 * requests, deadlines) afterwards, so no event refers to a connection that was freed in the same batch. */
#include "fcgi/server.h"

#include "base/clock.h"
#include "base/listen.h"
#include "base/log.h"
#include "fcgi/message.h"
#include "fcgi/server_internal.h"
#include "hub/arrival.h"
#include "hub/identity_token.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define EVENTS 256
#define RECEIVE_ROUND 64    /* pieces read before looking at anything else */
#define ACCEPT_ROUND 64     /* connections accepted before looking at anything else */
#define ACCEPT_PAUSE_MS 100 /* when out of descriptors */
#define STOP_PATIENCE_MS 5000

bool dw_fcgi_watch(struct dw_fcgi *fcgi, int op, int descriptor, uint32_t events, void *pointer, enum dw_fcgi_kind kind)
{
    struct epoll_event event = {.events = events, .data.u64 = (uint64_t)(uintptr_t)pointer | (uint64_t)kind};

    return epoll_ctl(fcgi->epoll_fd, op, descriptor, &event) == 0;
}

/* ---- arriving ---- */

static enum dw_inflow_state receive(struct dw_fcgi *fcgi, struct dw_link *link)
{
    enum dw_inflow_state state = DW_INFLOW_MORE;
    unsigned char piece[16384];
    int round;

    for (round = 0; round < RECEIVE_ROUND && state == DW_INFLOW_MORE; round++) {
        ssize_t got = recv(link->descriptor, piece, sizeof piece, 0);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return errno == EAGAIN || errno == EWOULDBLOCK ? DW_INFLOW_MORE : DW_INFLOW_BROKEN;
        if (got == 0)
            return DW_INFLOW_BROKEN;
        state = dw_inflow_feed(&link->in, piece, (size_t)got, atomic_load(&fcgi->body_max));
    }
    return state;
}

/* From here on a poll is a receipt, even if this process is killed before it has served it. */
static void note_arrival(struct dw_fcgi *fcgi, const struct dw_inflow *inflow)
{
    size_t method_len, query_len, cookie_len = 0, user_len = 0, unused;
    const char *method = dw_inflow_param(inflow, "REQUEST_METHOD", &method_len);
    const char *query = dw_inflow_param(inflow, "QUERY_STRING", &query_len);
    const char *cookie = dw_inflow_param(inflow, "HTTP_COOKIE", &cookie_len);
    const char *user = dw_inflow_param(inflow, "REMOTE_USER", &user_len);
    struct dw_arrival arrival;

    /* The opening of a WebSocket is no poll and proves nothing. */
    if (dw_inflow_param(inflow, "HTTP_UPGRADE", &unused) != NULL ||
        dw_inflow_param(inflow, "HTTP_SEC_WEBSOCKET_KEY", &unused) != NULL)
        return;
    if (method == NULL || method_len != 3 || memcmp(method, "GET", 3) != 0 || query == NULL)
        return;
    if (dw_arrival_of(query, query_len, dw_identity_token_param(fcgi->backend.hub.conf), cookie, cookie_len, user,
                      user_len, &arrival) &&
        !arrival.handshake)
        dw_store_arrival_note(fcgi->backend.house_store, arrival.key, arrival.udt);
}

/* Answers a request that no reader will see, and lets its connection go. */
static void refuse(struct dw_fcgi *fcgi, struct dw_link *link, int status, const char *text)
{
    struct dw_answer answer = DW_ANSWER_INIT;

    dw_answer_text(&answer, status, "%s", text);
    (void)dw_fcgi_send(fcgi, link->descriptor, link->in.request_id, &answer);
    dw_buf_fini(&answer.body);
    dw_link_free(link);
}

static void count(struct dw_fcgi *fcgi, _Atomic uint64_t *counter)
{
    if (atomic_load(&fcgi->backend.open)) /* else nobody would ever see it */
        dw_counter_add(counter, 1);
}

static void end_arrival(struct dw_fcgi *fcgi, struct dw_link *link, enum dw_inflow_state state)
{
    if (state == DW_INFLOW_READY && link->in.params_skipped) {
        count(fcgi, &fcgi->backend.hub.counters.refused_size);
        refuse(fcgi, link, 431, "The request's headers are too long");
        return;
    }
    if (state == DW_INFLOW_READY && !dw_buf_failed(&link->in.bytes)) {
        if (atomic_load_explicit(&fcgi->backend.open, memory_order_acquire))
            note_arrival(fcgi, &link->in);
        dw_readers_hand(fcgi, link);
        return;
    }
    if (link->in.begun) /* an empty connection is a probe and no error */
        count(fcgi, &fcgi->backend.hub.counters.bad_requests);
    (void)close(link->descriptor);
    dw_link_free(link);
}

static void on_arriving(struct dw_fcgi *fcgi, struct dw_link *link)
{
    enum dw_inflow_state state = receive(fcgi, link);

    if (state == DW_INFLOW_MORE)
        return;
    (void)epoll_ctl(fcgi->epoll_fd, EPOLL_CTL_DEL, link->descriptor, NULL);
    dw_links_remove(&fcgi->arriving, link);
    end_arrival(fcgi, link, state);
}

static void arrive(struct dw_fcgi *fcgi, int descriptor)
{
    struct dw_link *link = calloc(1, sizeof *link);
    enum dw_inflow_state state;

    if (link == NULL) {
        (void)close(descriptor);
        return;
    }
    link->descriptor = descriptor;
    link->deadline_ms = dw_clock_mono_ms() + fcgi->request_ms;
    state = receive(fcgi, link); /* most requests are there when their connection is */
    if (state == DW_INFLOW_MORE && !dw_fcgi_watch(fcgi, EPOLL_CTL_ADD, descriptor, EPOLLIN, link, DW_KIND_ARRIVING))
        state = DW_INFLOW_BROKEN;
    if (state == DW_INFLOW_MORE)
        dw_links_add(&fcgi->arriving, link);
    else
        end_arrival(fcgi, link, state);
}

static void pause_accepting(struct dw_fcgi *fcgi)
{
    dw_log_warn("out of file descriptors: new connections wait");
    fcgi->accept_again_ms = dw_clock_mono_ms() + ACCEPT_PAUSE_MS;
    (void)dw_fcgi_watch(fcgi, EPOLL_CTL_MOD, fcgi->listen_fd, 0, NULL, DW_KIND_LISTEN);
}

static void on_listen(struct dw_fcgi *fcgi)
{
    int round, descriptor;

    for (round = 0; round < ACCEPT_ROUND; round++) {
        descriptor = dw_listen_accept(fcgi->listen_fd, fcgi->web_servers, NULL);
        if (descriptor >= 0) {
            arrive(fcgi, descriptor);
            continue;
        }
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
            pause_accepting(fcgi);
        return;
    }
}

/* Requests that have not arrived in time.  They keep no thread waiting, but memory and a descriptor. */
static void cut_slow(struct dw_fcgi *fcgi, int64_t now)
{
    struct dw_link *link;

    while ((link = fcgi->arriving.first) != NULL && link->deadline_ms <= now) {
        dw_links_remove(&fcgi->arriving, link);
        (void)epoll_ctl(fcgi->epoll_fd, EPOLL_CTL_DEL, link->descriptor, NULL);
        if (link->in.begun) {
            count(fcgi, &fcgi->backend.hub.counters.refused_slow);
            refuse(fcgi, link, 408, "The request did not arrive in time");
        } else {
            (void)close(link->descriptor);
            dw_link_free(link);
        }
    }
}

/* ---- leaving ---- */

static void on_leaving(struct dw_fcgi *fcgi, struct dw_link *link)
{
    int descriptor = link->descriptor, state;

    /* Before it may be closed: that alone is not enough while another process has a copy (handover.c). */
    (void)epoll_ctl(fcgi->epoll_fd, EPOLL_CTL_DEL, descriptor, NULL);
    state = dw_output_write(descriptor, &link->out, &link->written);
    if (state == 0 && dw_fcgi_watch(fcgi, EPOLL_CTL_ADD, descriptor, EPOLLOUT, link, DW_KIND_LEAVING))
        return;
    if (state == 0)
        (void)close(descriptor);
    dw_links_remove(&fcgi->leaving, link);
    dw_link_free(link);
}

void dw_fcgi_leave(struct dw_fcgi *fcgi, struct dw_link *link)
{
    dw_links_add(&fcgi->leaving, link);
    /* It may still be in the set from its time as a parked request. */
    (void)epoll_ctl(fcgi->epoll_fd, EPOLL_CTL_DEL, link->descriptor, NULL);
    if (!dw_fcgi_watch(fcgi, EPOLL_CTL_ADD, link->descriptor, EPOLLOUT, link, DW_KIND_LEAVING)) {
        (void)close(link->descriptor);
        dw_links_remove(&fcgi->leaving, link);
        dw_link_free(link);
    }
}

bool dw_fcgi_send(struct dw_fcgi *fcgi, int descriptor, uint16_t request_id, const struct dw_answer *answer)
{
    struct dw_link *rest;
    bool sent;

    dw_output_records(&fcgi->scratch, &fcgi->head, request_id, answer);
    sent = dw_output_send(fcgi, descriptor, &fcgi->scratch, &rest);
    if (rest != NULL)
        dw_fcgi_leave(fcgi, rest);
    return sent;
}

/* What the readers have handed over. */
static void on_notify(struct dw_fcgi *fcgi)
{
    struct dw_parked *parked;
    struct dw_link *link;
    eventfd_t count;

    (void)eventfd_read(fcgi->notify_fd, &count);
    (void)pthread_mutex_lock(&fcgi->mutex);
    parked = fcgi->handed;
    link = fcgi->handed_leaving;
    fcgi->handed = NULL;
    fcgi->handed_leaving = NULL;
    (void)pthread_mutex_unlock(&fcgi->mutex);
    while (parked != NULL) {
        struct dw_parked *next = parked->later;

        dw_fcgi_park(fcgi, parked);
        parked = next;
    }
    while (link != NULL) {
        struct dw_link *next = link->next;

        dw_fcgi_leave(fcgi, link);
        link = next;
    }
}

static void on_wake(struct dw_fcgi *fcgi)
{
    if (fcgi->wake == NULL || !dw_wake_check(fcgi->wake)) /* it may have been let go in the same batch of events */
        return;
    dw_lot_wake(fcgi->lot);
    dw_house_active(fcgi->backend.house);
}

/* ---- stopping ---- */

static void begin_stop(struct dw_fcgi *fcgi)
{
    if (fcgi->stopping)
        return;
    dw_log_info("stopping: answering what is held");
    on_listen(fcgi); /* what has connected already is served */
    fcgi->stopping = true;
    fcgi->stop_due_ms = dw_clock_mono_ms() + STOP_PATIENCE_MS;
    atomic_store(&fcgi->backend.hub.draining, true);
    (void)epoll_ctl(fcgi->epoll_fd, EPOLL_CTL_DEL, fcgi->listen_fd, NULL);
    if (fcgi->lot != NULL)
        dw_lot_drain(fcgi->lot);
    dw_handover_stop(fcgi);
}

static bool is_stopped(struct dw_fcgi *fcgi, int64_t now)
{
    bool idle;

    if (!fcgi->stopping)
        return false;
    (void)pthread_mutex_lock(&fcgi->mutex);
    idle = fcgi->ready.first == NULL && fcgi->ready_writes.first == NULL && fcgi->busy == 0 && fcgi->handed == NULL &&
           fcgi->handed_leaving == NULL;
    (void)pthread_mutex_unlock(&fcgi->mutex);
    return (idle && fcgi->arriving.first == NULL && fcgi->leaving.first == NULL) || now >= fcgi->stop_due_ms;
}

static void on_signal(struct dw_fcgi *fcgi)
{
    struct signalfd_siginfo info;

    while (read(fcgi->signal_fd, &info, sizeof info) == (ssize_t)sizeof info)
        begin_stop(fcgi);
}

/* ---- the loop ---- */

static int wait_ms(struct dw_fcgi *fcgi)
{
    int64_t due = fcgi->lot != NULL ? dw_lot_due(fcgi->lot) : INT64_MAX, other, now = dw_clock_mono_ms();

    other = dw_links_deadline(&fcgi->arriving);
    due = other < due ? other : due;
    other = dw_links_deadline(&fcgi->leaving);
    due = other < due ? other : due;
    if (fcgi->accept_again_ms != 0 && fcgi->accept_again_ms < due)
        due = fcgi->accept_again_ms;
    if (fcgi->stopping && fcgi->stop_due_ms < due)
        due = fcgi->stop_due_ms;
    if (due == INT64_MAX)
        return -1;
    return due <= now ? 0 : due - now > 3600000 ? 3600000 : (int)(due - now);
}

static void on_connections(struct dw_fcgi *fcgi, const struct epoll_event *events, int count)
{
    int i;

    for (i = 0; i < count; i++) {
        void *pointer = (void *)(uintptr_t)(events[i].data.u64 & ~(uint64_t)DW_KIND_MASK);

        switch ((enum dw_fcgi_kind)(events[i].data.u64 & DW_KIND_MASK)) {
        case DW_KIND_PARKED:
            dw_fcgi_on_parked(fcgi, pointer);
            break;
        case DW_KIND_ARRIVING:
            on_arriving(fcgi, pointer);
            break;
        case DW_KIND_LEAVING:
            on_leaving(fcgi, pointer);
            break;
        default:
            break;
        }
    }
}

static void on_others(struct dw_fcgi *fcgi, const struct epoll_event *events, int count)
{
    int i;

    for (i = 0; i < count; i++) {
        switch ((enum dw_fcgi_kind)(events[i].data.u64 & DW_KIND_MASK)) {
        case DW_KIND_WAKE:
            on_wake(fcgi);
            break;
        case DW_KIND_NOTIFY:
            on_notify(fcgi);
            break;
        case DW_KIND_SIGNAL:
            on_signal(fcgi);
            break;
        case DW_KIND_HANDOVER:
            dw_handover_event(fcgi,
                              (struct dw_handover_end *)(uintptr_t)(events[i].data.u64 & ~(uint64_t)DW_KIND_MASK));
            break;
        case DW_KIND_LISTEN:
            if (!fcgi->stopping)
                on_listen(fcgi);
            break;
        default:
            break;
        }
    }
}

static int loop(struct dw_fcgi *fcgi, struct dw_err *err)
{
    struct epoll_event events[EVENTS];
    int64_t now = dw_clock_mono_ms();
    int count;

    while (!is_stopped(fcgi, now)) {
        count = epoll_wait(fcgi->epoll_fd, events, EVENTS, wait_ms(fcgi));
        if (count < 0 && errno != EINTR)
            return dw_err_set(err, DW_SYSTEM, "waiting for events failed: %s", strerror(errno));
        if (count > 0) {
            on_connections(fcgi, events, count);
            on_others(fcgi, events, count);
        }
        now = dw_clock_mono_ms();
        if (fcgi->lot != NULL)
            dw_lot_tick(fcgi->lot, now);
        cut_slow(fcgi, now);
        (void)dw_links_close_overdue(&fcgi->leaving, fcgi->epoll_fd, now);
        if (fcgi->accept_again_ms != 0 && fcgi->accept_again_ms <= now && !fcgi->stopping) {
            fcgi->accept_again_ms = 0;
            (void)dw_fcgi_watch(fcgi, EPOLL_CTL_MOD, fcgi->listen_fd, EPOLLIN, NULL, DW_KIND_LISTEN);
        }
    }
    return DW_OK;
}

/* Signals become events of the loop.  After libfcgi has installed its handlers, before any thread. */
static int open_signals(struct dw_fcgi *fcgi)
{
    sigset_t set;

    (void)signal(SIGPIPE, SIG_IGN);
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGHUP);
    (void)sigaddset(&set, SIGUSR1);
    if (pthread_sigmask(SIG_BLOCK, &set, NULL) != 0)
        return -1;
    fcgi->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    return fcgi->signal_fd;
}

static int open_loop(struct dw_fcgi *fcgi, struct dw_err *err)
{
    int flags = fcntl(fcgi->listen_fd, F_GETFL);

    if (!dw_message_library())
        return dw_err_set(err, DW_SYSTEM, "libfcgi can't be used");
    fcgi->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    fcgi->notify_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (fcgi->epoll_fd < 0 || fcgi->notify_fd < 0 || open_signals(fcgi) < 0 || flags < 0 ||
        fcntl(fcgi->listen_fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
        !dw_fcgi_watch(fcgi, EPOLL_CTL_ADD, fcgi->listen_fd, EPOLLIN, NULL, DW_KIND_LISTEN) ||
        !dw_fcgi_watch(fcgi, EPOLL_CTL_ADD, fcgi->notify_fd, EPOLLIN, NULL, DW_KIND_NOTIFY) ||
        !dw_fcgi_watch(fcgi, EPOLL_CTL_ADD, fcgi->signal_fd, EPOLLIN, NULL, DW_KIND_SIGNAL))
        return dw_err_set(err, DW_SYSTEM, "cannot set up the event loop: %s", strerror(errno));
    return DW_OK;
}

static void close_all(struct dw_fcgi *fcgi)
{
    dw_readers_stop(fcgi);
    on_notify(fcgi); /* the last ones that the readers handed over are answered in passing */
    (void)dw_links_close_overdue(&fcgi->arriving, -1, INT64_MAX);
    (void)dw_links_close_overdue(&fcgi->leaving, fcgi->epoll_fd, INT64_MAX);
    dw_lot_free(fcgi->lot);
    dw_wake_close(fcgi->wake);
    dw_handover_fini(fcgi);
    dw_store_close(fcgi->store);
    dw_backend_close(fcgi);
    if (fcgi->signal_fd >= 0)
        (void)close(fcgi->signal_fd);
    if (fcgi->notify_fd >= 0)
        (void)close(fcgi->notify_fd);
    if (fcgi->epoll_fd >= 0)
        (void)close(fcgi->epoll_fd);
    dw_buf_fini(&fcgi->scratch);
    dw_buf_fini(&fcgi->head);
}

int dw_server_run(const struct dw_server_options *options, struct dw_err *err)
{
    struct dw_fcgi fcgi = {
        .conf = options->conf,
        .lazy = options->lazy,
        .listen_fd = options->listen_fd,
        .epoll_fd = -1,
        .notify_fd = -1,
        .signal_fd = -1,
        .web_servers = getenv("FCGI_WEB_SERVER_ADDRS"),
        .request_ms = options->conf->limits_request_ms,
        .body_max = dw_request_body_max(options->conf),
        .mutex = PTHREAD_MUTEX_INITIALIZER,
        .work = PTHREAD_COND_INITIALIZER,
        .backend.mutex = PTHREAD_MUTEX_INITIALIZER,
    };
    int rc;

    dw_handover_init(&fcgi.handover);
    rc = open_loop(&fcgi, err);
    if (rc == DW_OK && !options->lazy)
        rc = dw_backend_open(&fcgi, NULL, err);
    if (rc == DW_OK)
        rc = dw_readers_start(&fcgi, err);
    if (rc == DW_OK)
        rc = loop(&fcgi, err);
    close_all(&fcgi);
    return rc;
}
