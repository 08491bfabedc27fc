/* Answers on their way out: records, non-blocking writes, and the orderly end of a connection. */
#include "fcgi/record.h"
#include "fcgi/server_internal.h"

#include "base/clock.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

void dw_output_records(struct dw_buf *out, struct dw_buf *head, uint16_t request_id, const struct dw_answer *answer)
{
    dw_buf_reset(out);
    dw_buf_reset(head);
    dw_answer_head(answer, head);
    if (dw_buf_failed(head))
        out->failed = true;
    dw_record_answer(out, request_id, dw_buf_str(head), head->len, answer->body.data, answer->body.len);
}

/* Bytes that nobody reads would turn the close into a reset, which can overtake our answer. */
static void drain_and_close(int descriptor)
{
    char piece[4096];
    int rounds = 64;

    while (rounds-- > 0 && recv(descriptor, piece, sizeof piece, MSG_DONTWAIT) > 0)
        ;
    (void)close(descriptor);
}

int dw_output_write(int descriptor, const struct dw_buf *out, size_t *written)
{
    ssize_t sent;

    while (*written < out->len) {
        sent = send(descriptor, out->data + *written, out->len - *written, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent >= 0) {
            *written += (size_t)sent;
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            return 0;
        } else if (errno != EINTR) {
            (void)close(descriptor);
            return -1;
        }
    }
    drain_and_close(descriptor);
    return 1;
}

void dw_output_end(int descriptor, struct dw_buf *scratch, struct dw_buf *head, uint16_t request_id)
{
    const struct dw_answer nothing = {.status = 200, .body = DW_BUF_INIT};
    size_t written = 0;

    dw_output_records(scratch, head, request_id, &nothing);
    if (dw_buf_failed(scratch) || dw_output_write(descriptor, scratch, &written) == 0)
        (void)close(descriptor);
}

/* Takes `out`'s content.  NULL: out of memory. */
static struct dw_link *link_for(const struct dw_fcgi *fcgi, int descriptor, struct dw_buf *out, size_t written)
{
    struct dw_link *link = calloc(1, sizeof *link);

    if (link == NULL)
        return NULL;
    link->descriptor = descriptor;
    link->deadline_ms = dw_clock_mono_ms() + fcgi->request_ms;
    link->out = *out;
    link->written = written;
    dw_buf_init(out);
    return link;
}

bool dw_output_send(const struct dw_fcgi *fcgi, int descriptor, struct dw_buf *out, struct dw_link **rest)
{
    size_t written = 0;

    *rest = NULL;
    if (!dw_buf_failed(out)) {
        int state = dw_output_write(descriptor, out, &written);

        if (state != 0)
            return state > 0;
        *rest = link_for(fcgi, descriptor, out, written);
    }
    if (*rest == NULL)
        (void)close(descriptor);
    return false;
}
