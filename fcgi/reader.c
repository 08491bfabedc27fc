/* Reader threads: each takes a connection whose request has arrived, reads it with libfcgi, serves it,
 * and either writes the answer or hands the parked request to the loop. */
#include "fcgi/server_internal.h"

#include "base/clock.h"
#include "base/log.h"
#include "fcgi/message.h"
#include "fcgi/variables.h"
#include "hub/serve.h"

#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define RETRY_MS 2000 /* half of it to one and a half */

struct reader {
    struct dw_fcgi *fcgi;
    struct dw_store *store;
    struct dw_server *server;
    struct dw_message message;
    struct dw_buf out, head;
};

/* What a client sends goes into the queue file; its other requests only read that. */
static bool is_write(const struct dw_inflow *inflow)
{
    size_t len;
    const char *method = dw_inflow_param(inflow, "REQUEST_METHOD", &len);

    return method != NULL && len == 4 && memcmp(method, "POST", 4) == 0;
}

void dw_readers_hand(struct dw_fcgi *fcgi, struct dw_link *link)
{
    (void)pthread_mutex_lock(&fcgi->mutex);
    link->writes = is_write(&link->in);
    dw_links_add(link->writes ? &fcgi->ready_writes : &fcgi->ready, link);
    (void)pthread_cond_signal(&fcgi->work);
    (void)pthread_mutex_unlock(&fcgi->mutex);
}

static void notify_loop(struct dw_fcgi *fcgi)
{
    if (eventfd_write(fcgi->notify_fd, 1) != 0)
        dw_log_error("cannot wake the loop");
}

/* Writes what is in `out` and ends the connection, now or, where the peer is slow, by the loop.  True:
 * all is written. */
static bool write_out(struct reader *reader, int descriptor)
{
    struct dw_fcgi *fcgi = reader->fcgi;
    struct dw_link *rest;
    bool sent = dw_output_send(fcgi, descriptor, &reader->out, &rest);

    if (rest != NULL) {
        (void)pthread_mutex_lock(&fcgi->mutex);
        rest->next = fcgi->handed_leaving;
        fcgi->handed_leaving = rest;
        (void)pthread_mutex_unlock(&fcgi->mutex);
        notify_loop(fcgi);
    }
    return sent;
}

static void hand_parked(struct reader *reader, struct dw_parked *parked, int descriptor, uint16_t request_id)
{
    struct dw_fcgi *fcgi = reader->fcgi;

    parked->connection.fcgi.descriptor = descriptor;
    parked->connection.fcgi.request_id = request_id;
    (void)pthread_mutex_lock(&fcgi->mutex);
    parked->later = fcgi->handed;
    fcgi->handed = parked;
    (void)pthread_mutex_unlock(&fcgi->mutex);
    notify_loop(fcgi);
}

static int open_reader(struct reader *reader, struct dw_err *err)
{
    struct dw_fcgi *fcgi = reader->fcgi;
    struct dw_store_options options;
    int rc = dw_backend_open(fcgi, reader->message.fcgx.envp, err);

    if (rc != DW_OK || reader->server != NULL)
        return rc;
    options = dw_hub_store_options(fcgi->conf, false);
    rc = dw_store_open_sqlite(&options, &reader->store, err);
    if (rc != DW_OK)
        return rc;
    reader->server = dw_server_new(&fcgi->backend.hub, reader->store);
    if (reader->server == NULL) {
        dw_store_close(reader->store);
        reader->store = NULL;
        return dw_err_set(err, DW_NOMEM, "out of memory");
    }
    return DW_OK;
}

/* The answer to the message, or the parked request that waits for it. */
static struct dw_parked *answer(struct reader *reader, struct dw_answer *answer)
{
    const struct dw_message *message = &reader->message;
    struct dw_parked *parked = NULL;
    struct dw_err err = {0};
    int rc = open_reader(reader, &err);

    if (rc != DW_OK) {
        dw_log_error("cannot serve: %s", dw_err_say(&err, rc));
        if (rc == DW_BUSY) {
            dw_answer_text(answer, 503, "Come back in a moment");
            answer->retry_ms = RETRY_MS / 2 + (int64_t)dw_clock_jitter(RETRY_MS);
        } else {
            dw_answer_text(answer, 500, DW_NOT_SET_UP);
        }
        return NULL;
    }
    if (!message->too_long && !message->cut) {
        parked = dw_serve(reader->server, &message->request, answer);
        dw_house_active(reader->fcgi->backend.house);
        return parked;
    }
    if (message->too_long) {
        dw_counter_add(&reader->fcgi->backend.hub.counters.refused_size, 1);
        dw_answer_text(answer, 413, "The body is too long");
    } else {
        dw_counter_add(&reader->fcgi->backend.hub.counters.bad_requests, 1);
        dw_answer_text(answer, 400, "The body ended before its Content-Length");
    }
    return NULL;
}

static void serve(struct reader *reader, struct dw_link *link)
{
    struct dw_answer made = DW_ANSWER_INIT;
    struct dw_parked *parked;
    uint16_t request_id;

    dw_buf_reset(&reader->out);
    if (!dw_message_read(&reader->message, &link->in, &reader->out)) {
        dw_message_release(&reader->message);
        (void)write_out(reader, link->descriptor);
        return;
    }
    request_id = (uint16_t)reader->message.fcgx.requestId;
    parked = answer(reader, &made);
    dw_message_release(&reader->message);
    if (parked != NULL) {
        hand_parked(reader, parked, link->descriptor, request_id);
    } else {
        dw_output_records(&reader->out, &reader->head, request_id, &made);
        if (write_out(reader, link->descriptor) && made.claimed)
            dw_store_claim_sent(reader->store, made.slot, made.epoch);
    }
    dw_buf_fini(&made.body);
}

/* The one that came first, of those that may be served now.  While an app holds the queue's write lock, one
 * reader is left for everything else. */
static struct dw_link *first_ready(struct dw_fcgi *fcgi)
{
    unsigned writing_max = fcgi->conf->limits_threads > 1 ? (unsigned)fcgi->conf->limits_threads - 1 : 1;
    struct dw_link *link = fcgi->ready.first, *write = fcgi->ready_writes.first;

    if (write == NULL || fcgi->writing >= writing_max)
        return link;
    return link == NULL || write->deadline_ms < link->deadline_ms ? write : link;
}

static struct dw_link *take_ready(struct dw_fcgi *fcgi)
{
    struct dw_link *link;

    (void)pthread_mutex_lock(&fcgi->mutex);
    while ((link = first_ready(fcgi)) == NULL && !fcgi->readers_stop)
        (void)pthread_cond_wait(&fcgi->work, &fcgi->mutex);
    if (link != NULL) {
        dw_links_remove(link->writes ? &fcgi->ready_writes : &fcgi->ready, link);
        fcgi->busy++;
        if (link->writes)
            fcgi->writing++;
    }
    (void)pthread_mutex_unlock(&fcgi->mutex);
    return link;
}

static void done(struct dw_fcgi *fcgi, bool wrote)
{
    (void)pthread_mutex_lock(&fcgi->mutex);
    fcgi->busy--;
    if (wrote) {
        fcgi->writing--;
        (void)pthread_cond_signal(&fcgi->work); /* others may have waited for that */
    }
    (void)pthread_mutex_unlock(&fcgi->mutex);
    if (atomic_load_explicit(&fcgi->backend.hub.draining, memory_order_relaxed))
        notify_loop(fcgi);
}

static void *reader_main(void *context)
{
    struct dw_fcgi *fcgi = context;
    struct reader reader = {.fcgi = fcgi};
    struct dw_link *link;

    dw_message_init(&reader.message);
    while ((link = take_ready(fcgi)) != NULL) {
        bool wrote = link->writes;

        serve(&reader, link);
        dw_link_free(link);
        done(fcgi, wrote);
    }
    dw_message_fini(&reader.message);
    dw_buf_fini(&reader.out);
    dw_buf_fini(&reader.head);
    dw_server_free(reader.server);
    dw_store_close(reader.store);
    return NULL;
}

int dw_readers_start(struct dw_fcgi *fcgi, struct dw_err *err)
{
    size_t want = (size_t)fcgi->conf->limits_threads;

    fcgi->readers = calloc(want, sizeof *fcgi->readers);
    if (fcgi->readers == NULL)
        return dw_err_set(err, DW_NOMEM, "out of memory");
    while (fcgi->reader_count < want) {
        if (pthread_create(&fcgi->readers[fcgi->reader_count], NULL, reader_main, fcgi) != 0)
            return dw_err_set(err, DW_SYSTEM, "cannot start a reader thread");
        fcgi->reader_count++;
    }
    return DW_OK;
}

void dw_readers_stop(struct dw_fcgi *fcgi)
{
    size_t i;

    (void)pthread_mutex_lock(&fcgi->mutex);
    fcgi->readers_stop = true;
    (void)pthread_cond_broadcast(&fcgi->work);
    (void)pthread_mutex_unlock(&fcgi->mutex);
    for (i = 0; i < fcgi->reader_count; i++)
        (void)pthread_join(fcgi->readers[i], NULL);
    free(fcgi->readers);
    (void)dw_links_close_overdue(&fcgi->ready, -1, INT64_MAX);
    (void)dw_links_close_overdue(&fcgi->ready_writes, -1, INT64_MAX);
}
