/* Reads one FastCGI request; see message.h.  The only file that calls libfcgi. */
#include "fcgi/message.h"

#include "fcgi/variables.h"

#include <string.h>

/* So much of a body that is too long is still read, so that the web server sees our answer and not a
 * broken connection. */
#define DISCARD_MAX (64u << 20)

bool dw_message_library(void)
{
    return FCGX_Init() == 0;
}

void dw_message_init(struct dw_message *message)
{
    memset(message, 0, sizeof *message);
    message->fcgx.ipcFd = -1;
}

void dw_message_fini(struct dw_message *message)
{
    dw_message_release(message);
    dw_buf_fini(&message->body);
}

static void read_body(struct dw_message *message, size_t body_max)
{
    size_t discarded = 0;
    char piece[8192];
    int got;

    dw_buf_reset(&message->body);
    while ((got = FCGX_GetStr(piece, sizeof piece, message->fcgx.in)) > 0 && discarded < DISCARD_MAX) {
        if (!message->too_long && message->body.len + (size_t)got <= body_max)
            dw_buf_add(&message->body, piece, (size_t)got);
        else
            message->too_long = true;
        if (message->too_long)
            discarded += (size_t)got;
    }
}

bool dw_message_read(struct dw_message *message, int descriptor, size_t body_max)
{
    FCGX_Request *fcgx = &message->fcgx;
    size_t length;

    message->has_variables = message->too_long = message->cut = false;
    /* -1: with no listening socket the library can only return when this connection fails. */
    if (FCGX_InitRequest(fcgx, -1, FCGI_FAIL_ACCEPT_ON_INTR) != 0)
        return false;
    fcgx->ipcFd = descriptor;
    fcgx->keepConnection = 1;
    if (FCGX_Accept_r(fcgx) < 0)
        return false;
    fcgx->keepConnection = 1;
    dw_variables_request(fcgx->envp, &message->request);
    message->has_variables = true;
    length = dw_variables_content_length(fcgx->envp);
    message->too_long = length > body_max;
    read_body(message, body_max);
    if (dw_buf_failed(&message->body))
        message->too_long = true;
    message->cut = !message->too_long && message->body.len < length;
    message->request.body = dw_buf_str(&message->body);
    message->request.body_len = message->body.len;
    return true;
}

void dw_message_release(struct dw_message *message)
{
    FCGX_Free(&message->fcgx, 0);
    message->fcgx.ipcFd = -1;
    message->has_variables = false;
}
