/* The responder as a plain CGI program: the same hub with a lot for one request.
 *
 * Nothing resident may exist on such a host, so a request does the housekeeping in passing: once before
 * it waits and once behind its answer. */
#include "fcgi/cgi.h"

#include "base/clock.h"
#include "base/log.h"
#include "fcgi/variables.h"
#include "fcgi/webroot.h"
#include "hub/arrival.h"
#include "hub/house.h"
#include "hub/identity_token.h"
#include "hub/lot.h"
#include "hub/serve.h"
#include "store/wake.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

struct cgi {
    struct dw_hub hub;
    struct dw_store *store;
    struct dw_server *server;
    struct dw_house *house;
    bool answered;
};

static bool write_all(const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t sent = write(STDOUT_FILENO, bytes, len);

        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            return false; /* the web server has given up; what was claimed is sent again */
        bytes += sent;
        len -= (size_t)sent;
    }
    return true;
}

/* True: the web server has all of it. */
static bool write_answer(const struct dw_answer *answer)
{
    struct dw_buf out = DW_BUF_INIT;
    bool sent;

    dw_answer_head(answer, &out);
    dw_buf_add(&out, answer->body.data, answer->body.len);
    sent = !dw_buf_failed(&out) && write_all(out.data, out.len);
    dw_buf_fini(&out);
    /* End the answer now: the web server need not wait for our housekeeping. */
    (void)close(STDOUT_FILENO);
    return sent;
}

static void on_answer(void *context, struct dw_parked *parked, const struct dw_answer *answer)
{
    struct cgi *cgi = context;

    if (write_answer(answer) && parked->kind == DW_PARKED_POLL)
        dw_store_claim_sent(cgi->store, parked->slot, parked->epoch);
    cgi->answered = true;
}

/* Reads the body; false: `answer` says what is wrong with it. */
static bool read_body(size_t length, size_t body_max, struct dw_buf *body, struct dw_answer *answer)
{
    char piece[8192];
    size_t left = length;

    while (left > 0) {
        ssize_t got = read(STDIN_FILENO, piece, left < sizeof piece ? left : sizeof piece);

        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        left -= (size_t)got;
        if (length <= body_max)
            dw_buf_add(body, piece, (size_t)got);
    }
    if (length > body_max || dw_buf_failed(body))
        dw_answer_text(answer, 413, "The body is too long");
    else if (left > 0)
        dw_answer_text(answer, 400, "The body ended before its Content-Length");
    return answer->status == 0;
}

/* From the start: some web servers (lighttpd) send SIGTERM as soon as they have the whole answer, and the
 * housekeeping behind it must still be done.  Who waits hears of a signal by the descriptor. */
static int block_signals(sigset_t *set)
{
    (void)signal(SIGPIPE, SIG_IGN);
    (void)sigemptyset(set);
    (void)sigaddset(set, SIGTERM);
    (void)sigaddset(set, SIGINT);
    (void)sigaddset(set, SIGHUP);
    return sigprocmask(SIG_BLOCK, set, NULL);
}

static int open_signals(void)
{
    sigset_t set;

    return block_signals(&set) == 0 ? signalfd(-1, &set, SFD_CLOEXEC) : -1;
}

static void step_house(struct cgi *cgi)
{
    dw_house_active(cgi->house);
    (void)dw_house_step(cgi->house);
}

/* Waits for what the request waits for.  Standard output breaking means that the client is gone. */
static int wait_for_answer(struct cgi *cgi, struct dw_parked *parked, struct dw_err *err)
{
    const struct dw_lot_callbacks callbacks = {.answer = on_answer, .context = cgi};
    struct dw_wake *wake = NULL;
    struct dw_lot *lot = NULL;
    struct pollfd fds[3] = {{.fd = STDOUT_FILENO}, {.fd = open_signals(), .events = POLLIN}, {.events = POLLIN}};
    int rc = dw_wake_open(cgi->store, DW_WAKE_AUTO, &wake, err);

    if (rc == DW_OK) {
        lot = dw_lot_new(&cgi->hub, cgi->store, &callbacks, err);
        rc = lot != NULL ? DW_OK : err->code;
    }
    if (rc != DW_OK) {
        free(parked);
        dw_wake_close(wake);
        return rc;
    }
    fds[2].fd = dw_wake_fd(wake);
    dw_lot_adopt(lot, parked);
    step_house(cgi);
    dw_house_leave(cgi->house); /* or nobody would keep house while this one waits */
    while (!cgi->answered) {
        int64_t wait = dw_lot_due(lot) - dw_clock_mono_ms();

        if (poll(fds, 3, wait < 0 ? 0 : wait > 3600000 ? 3600000 : (int)wait) < 0 && errno != EINTR)
            break;
        if (fds[0].revents & (POLLERR | POLLHUP | POLLNVAL))
            break;
        if (fds[1].revents & POLLIN)
            dw_lot_drain(lot);
        else if (fds[2].revents & POLLIN && dw_wake_check(wake))
            dw_lot_wake(lot);
        dw_lot_tick(lot, dw_clock_mono_ms());
    }
    dw_lot_free(lot);
    dw_wake_close(wake);
    if (fds[1].fd >= 0)
        (void)close(fds[1].fd);
    return DW_OK;
}

static int open_parts(struct cgi *cgi, struct dw_conf *conf, struct dw_err *err)
{
    struct dw_store_options options;
    int32_t worker = -1;
    int rc = dw_hub_init(&cgi->hub, conf, DW_SERVING_CGI, err);

    if (rc != DW_OK)
        return rc;
    options = dw_hub_store_options(conf, true);
    rc = dw_store_open_sqlite(&options, &cgi->store, err);
    if (rc == DW_OK)
        rc = dw_store_worker_join(cgi->store, &worker, err);
    if (rc != DW_OK)
        return rc;
    atomic_store(&cgi->hub.worker, worker);
    cgi->house = dw_house_new(&cgi->hub, cgi->store);
    cgi->server = dw_server_new(&cgi->hub, cgi->store);
    return cgi->house != NULL && cgi->server != NULL ? DW_OK : dw_err_set(err, DW_NOMEM, "out of memory");
}

/* See store.h: even if this process is killed, the poll was a receipt. */
static void note_arrival(struct cgi *cgi, const struct dw_request *request)
{
    const char *query = request->query != NULL ? request->query : "";
    const char *cookie = request->cookie != NULL ? request->cookie : "";
    const char *user = request->remote_user != NULL ? request->remote_user : "";
    struct dw_arrival arrival;

    if (request->upgrade != NULL || request->websocket_key != NULL)
        return; /* the opening of a WebSocket is no poll and proves nothing */
    if (request->method != NULL && strcmp(request->method, "GET") == 0 &&
        dw_arrival_of(query, strlen(query), dw_identity_token_param(cgi->hub.conf), cookie, strlen(cookie), user,
                      strlen(user), &arrival) &&
        !arrival.handshake)
        dw_store_arrival_note(cgi->store, arrival.key, arrival.udt);
}

static int serve(struct cgi *cgi, struct dw_request *request, size_t length, struct dw_answer *answer,
                 struct dw_err *err)
{
    size_t body_max = dw_request_body_max(cgi->hub.conf);
    struct dw_buf body = DW_BUF_INIT;
    struct dw_parked *parked = NULL;
    int rc = DW_OK;

    note_arrival(cgi, request);
    if (read_body(length, body_max, &body, answer)) {
        request->body = dw_buf_str(&body);
        request->body_len = body.len;
        parked = dw_serve(cgi->server, request, answer);
    }
    if (parked != NULL) {
        rc = wait_for_answer(cgi, parked, err);
    } else {
        if (write_answer(answer) && answer->claimed)
            dw_store_claim_sent(cgi->store, answer->slot, answer->epoch);
        cgi->answered = true;
    }
    dw_buf_fini(&body);
    return rc;
}

int dw_cgi_refuse(void)
{
    struct dw_answer answer = DW_ANSWER_INIT;

    dw_answer_text(&answer, 500, DW_NOT_SET_UP);
    (void)write_answer(&answer);
    dw_buf_fini(&answer.body);
    return 1;
}

int dw_cgi_run(struct dw_conf *conf, char *const *env)
{
    struct dw_answer answer = DW_ANSWER_INIT;
    struct cgi cgi = {.answered = false};
    struct dw_request request;
    struct dw_err err = {0};
    sigset_t blocked;
    int rc;

    (void)block_signals(&blocked);
    rc = dw_webroot_check(conf, env, &err);
    if (rc == DW_OK)
        rc = open_parts(&cgi, conf, &err);
    dw_variables_request(env, &request);
    if (rc == DW_OK)
        rc = serve(&cgi, &request, dw_variables_content_length(env), &answer, &err);
    if (rc != DW_OK) {
        dw_log_error("cannot serve: %s", dw_err_say(&err, rc));
        if (!cgi.answered)
            (void)dw_cgi_refuse();
    } else {
        step_house(&cgi);
        (void)dw_hub_flush_counters(&cgi.hub, cgi.store, NULL);
    }
    dw_buf_fini(&answer.body);
    dw_server_free(cgi.server);
    dw_house_free(cgi.house);
    dw_store_close(cgi.store);
    return rc == DW_OK ? 0 : 1;
}
