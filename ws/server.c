/* The sidecar's loop; see server.h. */
#include "ws/server.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/privileges.h"
#include "ws/server_internal.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define OWN_DESCRIPTORS 96 /* about 45, and what comes and goes */
#define ACCEPT_ROUND 64
#define ACCEPT_PAUSE_MS 100
#define DRAIN_STEP_MS 20
#define STOP_PATIENCE_MS 3000 /* for clients that do not answer the close frame */
#define SEND_BYTES (1 << 30)  /* in one send(2): the kernel knows what it can take (else: RECEIVE_BYTES) */
#define RECEIVE_BYTES 1024    /* of a client's messages at a time: each idle client has such a buffer */

/* ---- accepting ---- */

static void adopt(struct dw_sidecar *sidecar, int descriptor, const char *peer)
{
    struct dw_ws_client *client = NULL;
    const int on = 1;
    struct lws *wsi;

    /* Small messages must not wait for the peer's acknowledgement (Nagle); no matter on a Unix socket. */
    (void)setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (sidecar->connections < (size_t)sidecar->conf->limits_sockets)
        client = dw_ws_client_new(sidecar, peer);
    if (client == NULL) {
        dw_counter_add(&sidecar->hub.counters.refused_sockets, 1);
        (void)close(descriptor);
        return;
    }
    if (!dw_ws_watch_reading(client, descriptor))
        dw_log_error("out of memory: a client's unmasked frames are not noticed");
    wsi = lws_adopt_socket(sidecar->context, descriptor); /* closes the descriptor where it fails */
    if (wsi == NULL) {
        dw_ws_client_free(sidecar, client);
        return;
    }
    client->wsi = wsi;
    lws_set_opaque_user_data(wsi, client);
}

static void on_listening(uv_poll_t *poll, int status, int events)
{
    struct dw_sidecar *sidecar = poll->data;
    char peer[DW_LISTEN_ADDRESS];
    int round, descriptor;

    (void)status;
    (void)events;
    for (round = 0; round < ACCEPT_ROUND; round++) {
        descriptor = dw_listen_accept(sidecar->listen_fd, NULL, peer);
        if (descriptor >= 0) {
            adopt(sidecar, descriptor, peer);
            continue;
        }
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            dw_log_warn("out of file descriptors: new connections wait");
            (void)uv_poll_stop(poll);
            sidecar->accept_again_ms = dw_clock_mono_ms() + ACCEPT_PAUSE_MS;
        }
        return;
    }
}

/* ---- the doorbell ---- */

static void on_bell(uv_poll_t *poll, int status, int events)
{
    struct dw_sidecar *sidecar = poll->data;

    (void)status;
    (void)events;
    if (!dw_wake_check(sidecar->wake))
        return;
    dw_lot_wake(sidecar->lot);
    dw_house_active(sidecar->house);
}

/* ---- stopping ---- */

static void on_signal(uv_signal_t *handle, int number)
{
    struct dw_sidecar *sidecar = handle->data;

    (void)number;
    if (sidecar->stopping)
        return;
    dw_log_info("stopping: closing %zu clients", sidecar->client_count);
    dw_notify_say(&sidecar->notify, "STOPPING=1");
    sidecar->stopping = true;
    atomic_store(&sidecar->hub.draining, true);
    (void)uv_poll_stop(&sidecar->listening);
    (void)close(sidecar->listen_fd); /* the web server falls back at once where connections would only wait */
    sidecar->listen_fd = -1;
    sidecar->stop_began_ms = sidecar->stop_due_ms = dw_clock_mono_ms();
    sidecar->stop_clients = sidecar->client_count;
}

/* Closes the share of clients whose time has come; true: all are gone, or it has taken too long. */
static bool drain(struct dw_sidecar *sidecar, int64_t now)
{
    int64_t passed = now - sidecar->stop_began_ms, spread = sidecar->conf->ws_drain_ms;
    size_t stay = 0;
    struct dw_ws_client *client = sidecar->clients;

    if (passed < spread) {
        size_t gone = 1 + (size_t)((double)sidecar->stop_clients * (double)passed / (double)spread);

        stay = sidecar->stop_clients > gone ? sidecar->stop_clients - gone : 0;
    }
    /* The list begins with the newest, which are let go last. */
    for (; client != NULL; client = client->next) {
        if (stay > 0)
            stay--;
        else
            dw_ws_close(client, 1001);
    }
    sidecar->stop_due_ms = now + DRAIN_STEP_MS;
    return sidecar->client_count == 0 || passed > spread + STOP_PATIENCE_MS;
}

/* ---- time ---- */

static void on_timer(uv_timer_t *timer)
{
    struct dw_sidecar *sidecar = timer->data;
    int64_t now = dw_clock_mono_ms();

    dw_lot_tick(sidecar->lot, now);
    if (sidecar->stall_due_ms <= now)
        dw_ws_unstall(sidecar, now);
    dw_notify_tick(&sidecar->notify, now);
    if (sidecar->accept_again_ms != 0 && sidecar->accept_again_ms <= now && !sidecar->stopping) {
        sidecar->accept_again_ms = 0;
        (void)uv_poll_start(&sidecar->listening, UV_READABLE, on_listening);
    }
    if (sidecar->stopping && sidecar->stop_due_ms <= now && drain(sidecar, now))
        uv_stop(&sidecar->loop);
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Before the loop waits: one timer for all that is due some time. */
static void on_prepare(uv_prepare_t *prepare)
{
    struct dw_sidecar *sidecar = prepare->data;
    int64_t due, now;

    dw_ws_send_closes(sidecar);
    due = dw_lot_due(sidecar->lot);
    due = earlier(due, sidecar->stall_due_ms);
    due = earlier(due, sidecar->notify.due_ms);
    if (sidecar->accept_again_ms != 0)
        due = earlier(due, sidecar->accept_again_ms);
    if (sidecar->stopping)
        due = earlier(due, sidecar->stop_due_ms);
    if (due == INT64_MAX) {
        (void)uv_timer_stop(&sidecar->timer);
        return;
    }
    now = dw_clock_mono_ms();
    uv_update_time(&sidecar->loop);
    (void)uv_timer_start(&sidecar->timer, on_timer, due > now ? (uint64_t)(due - now) : 0, 0);
}

/* ---- opening and closing ---- */

static void on_library_log(int level, const char *line)
{
    int len = (int)strcspn(line, "\n");

    /* What a client does wrong is an error to the library, but not to us. */
    if (level == LLL_ERR)
        dw_log_info("libwebsockets: %.*s", len, line);
    else
        dw_log_debug("libwebsockets: %.*s", len, line);
}

static int open_library(struct dw_sidecar *sidecar, struct dw_err *err)
{
    static const struct lws_protocols protocols[] = {
        {.name = "dumbwaiter",
         .callback = dw_ws_callback,
         .rx_buffer_size = RECEIVE_BYTES,
         .tx_packet_size = SEND_BYTES},
        {.name = NULL},
    };
    static const struct lws_extension extensions[] = {
        {"permessage-deflate", lws_extension_callback_pm_deflate,
         "permessage-deflate; client_no_context_takeover; server_no_context_takeover; client_max_window_bits"},
        {NULL, NULL, NULL},
    };
    /* No pings and time-outs of the library's own: ours do, and its sorted list of them makes the 10,000th
     * connection cost 10,000 steps. */
    static const lws_retry_bo_t no_pings = {.secs_since_valid_ping = 0, .secs_since_valid_hangup = 0};
    void *loops[1] = {&sidecar->loop};
    struct lws_context_creation_info info;
    bool deflate = strcmp(sidecar->conf->ws_deflate, "on") == 0;

    /* What the compressor holds back is known to the library alone, which sends it from the loop. */
    sidecar->writes_at_once = !deflate;
    if (deflate)
        dw_log_warn(
            "ws.deflate is on: 90 KB of memory for each client, and a library that could be crashed through it");
    lws_set_log_level(dw_log_enabled(DW_LOG_DEBUG) ? LLL_ERR | LLL_WARN | LLL_NOTICE : LLL_ERR, on_library_log);
    memset(&info, 0, sizeof info);
    info.port = CONTEXT_PORT_NO_LISTEN_SERVER;
    info.protocols = protocols;
    info.extensions = deflate ? extensions : NULL;
    info.options = LWS_SERVER_OPTION_LIBUV | LWS_SERVER_OPTION_VALIDATE_UTF8;
    info.foreign_loops = loops;
    info.user = sidecar;
    info.retry_and_idle_policy = &no_pings;
    info.pcontext = &sidecar->context;
    info.gid = -1;
    info.uid = -1;
    info.timeout_secs = (unsigned)((sidecar->conf->ws_handshake_ms + 999) / 1000);
    info.timeout_secs_ah_idle = info.timeout_secs;
    info.max_http_header_data2 = (unsigned)sidecar->conf->ws_header_bytes;
    /* Header buffers exist only during handshakes; fewer of them would let a few slow senders block all. */
    info.max_http_header_pool2 = (unsigned)sidecar->conf->limits_sockets;
    sidecar->context = lws_create_context(&info);
    if (sidecar->context == NULL)
        return dw_err_set(err, DW_SYSTEM,
                          "libwebsockets can't be started; is its libuv plug-in there? "
                          "(Debian: apt-get install libwebsockets-evlib-uv)");
    return DW_OK;
}

static int open_handles(struct dw_sidecar *sidecar, struct dw_err *err)
{
    uv_loop_t *loop = &sidecar->loop;
    int rc = 0;

    sidecar->listening.data = sidecar->bell.data = sidecar->terminate.data = sidecar->interrupt.data =
        sidecar->timer.data = sidecar->prepare.data = sidecar;
    rc |= uv_poll_init(loop, &sidecar->listening, sidecar->listen_fd);
    rc |= uv_poll_init(loop, &sidecar->bell, dw_wake_fd(sidecar->wake));
    rc |= uv_signal_init(loop, &sidecar->terminate);
    rc |= uv_signal_init(loop, &sidecar->interrupt);
    rc |= uv_timer_init(loop, &sidecar->timer);
    rc |= uv_prepare_init(loop, &sidecar->prepare);
    if (rc == 0)
        sidecar->handles = true;
    rc |= uv_poll_start(&sidecar->listening, UV_READABLE, on_listening);
    rc |= uv_poll_start(&sidecar->bell, UV_READABLE, on_bell);
    rc |= uv_signal_start(&sidecar->terminate, on_signal, SIGTERM);
    rc |= uv_signal_start(&sidecar->interrupt, on_signal, SIGINT);
    rc |= uv_prepare_start(&sidecar->prepare, on_prepare);
    return rc == 0 ? DW_OK : dw_err_set(err, DW_SYSTEM, "cannot set up the event loop");
}

/* The library finds a connection by its descriptor in a table as long as the limit of open files.  (Given a limit
 * of its own it has a shorter table and searches that from the start, for each event.)  So where the limit is
 * higher than we need, it is lowered: some systems have a thousand million. */
static void fit_limit(rlim_t want)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur <= want)
        return;
    limit.rlim_cur = want;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

static void raise_limit(struct dw_sidecar *sidecar)
{
    long want = (long)sidecar->conf->limits_sockets + OWN_DESCRIPTORS;
    long have = dw_listen_raise_limit(want);

    fit_limit((rlim_t)want);

    if (have - OWN_DESCRIPTORS < sidecar->conf->limits_sockets) {
        sidecar->conf->limits_sockets = have > 2L * OWN_DESCRIPTORS ? have - OWN_DESCRIPTORS : have / 2;
        dw_log_warn("this process may open %ld files and can't raise that (LimitNOFILE, ulimit -Hn): it takes at most "
                    "%lld WebSockets, not as many as limits.sockets says",
                    have, (long long)sidecar->conf->limits_sockets);
    }
}

static void close_handles(struct dw_sidecar *sidecar)
{
    if (!sidecar->handles)
        return;
    uv_close((uv_handle_t *)&sidecar->listening, NULL);
    uv_close((uv_handle_t *)&sidecar->bell, NULL);
    uv_close((uv_handle_t *)&sidecar->terminate, NULL);
    uv_close((uv_handle_t *)&sidecar->interrupt, NULL);
    uv_close((uv_handle_t *)&sidecar->timer, NULL);
    uv_close((uv_handle_t *)&sidecar->prepare, NULL);
}

static void close_all(struct dw_sidecar *sidecar)
{
    close_handles(sidecar);
    if (sidecar->context != NULL)
        lws_context_destroy(sidecar->context);
    (void)uv_run(&sidecar->loop, UV_RUN_DEFAULT); /* both libraries finish closing in the loop */
    if (sidecar->context != NULL) {
        lws_context_destroy(sidecar->context); /* the second half; it clears the pointer when it is done */
        (void)uv_run(&sidecar->loop, UV_RUN_DEFAULT);
    }
    (void)uv_loop_close(&sidecar->loop);
    dw_ws_forget_reading();
    dw_ws_message_unref(sidecar->latest);
    if (sidecar->listen_fd >= 0)
        (void)close(sidecar->listen_fd);
    dw_sidecar_close(sidecar);
}

int dw_sidecar_run(struct dw_conf *conf, const char *address, struct dw_err *err)
{
    struct dw_sidecar *sidecar = calloc(1, sizeof *sidecar);
    struct dw_lot_callbacks callbacks;
    int rc;

    if (sidecar == NULL || uv_loop_init(&sidecar->loop) != 0) {
        free(sidecar);
        return dw_err_set(err, DW_NOMEM, "out of memory");
    }
    sidecar->conf = conf;
    sidecar->listen_fd = -1;
    sidecar->stall_due_ms = INT64_MAX;
    dw_notify_init(&sidecar->notify, dw_clock_mono_ms());
    (void)signal(SIGPIPE, SIG_IGN);
    raise_limit(sidecar);
    dw_ws_callbacks(sidecar, &callbacks);
    /* First: the queue's files are opened as the user that this goes on as. */
    rc = dw_privileges_listen(conf, address, &sidecar->listen_fd, err);
    if (rc == DW_OK)
        rc = dw_sidecar_open(sidecar, &callbacks, err);
    if (rc == DW_OK)
        rc = open_library(sidecar, err);
    if (rc == DW_OK)
        rc = open_handles(sidecar, err);
    if (rc == DW_OK) {
        dw_log_info("listening on %s, queue %s", address, conf->store_path);
        dw_notify_say(&sidecar->notify, "READY=1");
        on_bell(&sidecar->bell, 0, 0); /* the first look */
        (void)uv_run(&sidecar->loop, UV_RUN_DEFAULT);
        dw_listen_unlink(address);
    }
    close_all(sidecar);
    free(sidecar);
    return rc;
}
