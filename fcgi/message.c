/* Lets libfcgi read one request; see message.h.  The only file that calls libfcgi. */
#include "fcgi/message.h"

#include "fcgi/variables.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

bool dw_message_library(void)
{
    return FCGX_Init() == 0;
}

void dw_message_init(struct dw_message *message)
{
    memset(message, 0, sizeof *message);
    message->file = message->fcgx.ipcFd = -1;
}

void dw_message_fini(struct dw_message *message)
{
    dw_message_release(message);
    dw_buf_fini(&message->body);
    if (message->file >= 0)
        (void)close(message->file);
}

static bool write_all(int fd, const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t written = write(fd, bytes, len);

        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return false;
        bytes += written;
        len -= (size_t)written;
    }
    return true;
}

/* Behind a record the library looks for the next byte before it believes that the record has ended; these
 * are no valid header, so it stops there. */
static const char stopper[8];

/* Makes the memory file hold these bytes and the stopper, to be read from the start. */
static bool fill_file(struct dw_message *message, const struct dw_buf *bytes)
{
    if (message->file < 0)
        message->file = memfd_create("dumbwaiter-request", MFD_CLOEXEC);
    return message->file >= 0 && !dw_buf_failed(bytes) && lseek(message->file, 0, SEEK_SET) == 0 &&
           ftruncate(message->file, 0) == 0 && write_all(message->file, bytes->data, bytes->len) &&
           write_all(message->file, stopper, sizeof stopper) && lseek(message->file, 0, SEEK_SET) == 0;
}

/* What the library has written behind the request's own bytes. */
static void take_reply(const struct dw_message *message, size_t request_len, struct dw_buf *reply)
{
    char piece[512];
    off_t at = (off_t)(request_len + sizeof stopper);
    ssize_t got;

    while ((got = pread(message->file, piece, sizeof piece, at)) > 0) {
        dw_buf_add(reply, piece, (size_t)got);
        at += got;
    }
}

static void read_body(struct dw_message *message)
{
    char piece[8192];
    int got;

    dw_buf_reset(&message->body);
    while ((got = FCGX_GetStr(piece, sizeof piece, message->fcgx.in)) > 0)
        dw_buf_add(&message->body, piece, (size_t)got);
}

bool dw_message_read(struct dw_message *message, const struct dw_inflow *inflow, struct dw_buf *reply)
{
    FCGX_Request *fcgx = &message->fcgx;

    if (dw_record_unknown(inflow, reply))
        return false;
    /* -1: with no listening socket the library can only return when this "connection" ends. */
    if (!fill_file(message, &inflow->bytes) || FCGX_InitRequest(fcgx, -1, FCGI_FAIL_ACCEPT_ON_INTR) != 0)
        return false;
    fcgx->ipcFd = dup(message->file); /* the library closes it where it gives up */
    fcgx->keepConnection = 1;
    if (fcgx->ipcFd < 0 || FCGX_Accept_r(fcgx) < 0) {
        take_reply(message, inflow->bytes.len, reply);
        return false;
    }
    fcgx->keepConnection = 1;
    dw_variables_request(fcgx->envp, &message->request);
    read_body(message);
    message->too_long = inflow->body_skipped || dw_buf_failed(&message->body);
    message->cut = !message->too_long && message->body.len < dw_variables_content_length(fcgx->envp);
    message->request.body = dw_buf_str(&message->body);
    message->request.body_len = message->body.len;
    return true;
}

void dw_message_release(struct dw_message *message)
{
    FCGX_Free(&message->fcgx, 0);
    if (message->fcgx.ipcFd >= 0)
        (void)close(message->fcgx.ipcFd);
    message->fcgx.ipcFd = -1;
}
