/* Clients that are not read from for a while: one that sends more than limits.messages_per_s, or whose
 * user sends more than limits.requests_per_s_uid over all connections, and one whose message the queue can't take at
 * the moment because another program holds its lock.
 *
 * What such a client has sent already is stashed, in order; what it sends next waits in its own machine.
 * The rate is measured by an allowance: each message puts it a second / limits.messages_per_s ahead of the
 * clock, and it may be BURST_US ahead. */
#include "ws/server_internal.h"

#include "base/clock.h"

#include <stdlib.h>
#include <string.h>

#define BURST_US 2000000
#define PAUSE_MS 100

static bool may_receive(const struct dw_sidecar *sidecar, struct dw_ws_client *client, int64_t now_ms)
{
    int64_t now_us = now_ms * 1000;

    if (client->allowance_us < now_us)
        client->allowance_us = now_us;
    return client->allowance_us - now_us < BURST_US || sidecar->stopping;
}

/* DW_BUSY: not now; DW_QUOTA: not from this client. */
static int receive(struct dw_sidecar *sidecar, struct dw_ws_client *client, const char *bytes, size_t len, bool binary,
                   int64_t now_ms)
{
    int rc;

    if (!may_receive(sidecar, client, now_ms))
        return DW_QUOTA;
    rc = dw_socket_receive(sidecar->lot, sidecar->server, client->parked, bytes, len, binary);
    if (rc == DW_OK)
        client->allowance_us += 1000000 / sidecar->conf->limits_messages_per_s;
    return rc;
}

static void stall(struct dw_sidecar *sidecar, struct dw_ws_client *client, int64_t now_ms)
{
    if (client->stalled)
        return;
    client->stalled = true;
    client->prev_stalled = NULL;
    client->next_stalled = sidecar->stalled;
    if (sidecar->stalled != NULL)
        sidecar->stalled->prev_stalled = client;
    sidecar->stalled = client;
    if (sidecar->stall_due_ms == INT64_MAX)
        sidecar->stall_due_ms = now_ms + PAUSE_MS;
    (void)lws_rx_flow_control(client->wsi, 0);
}

static void go_on(struct dw_sidecar *sidecar, struct dw_ws_client *client)
{
    *(client != sidecar->stalled ? &client->prev_stalled->next_stalled : &sidecar->stalled) = client->next_stalled;
    if (client->next_stalled != NULL)
        client->next_stalled->prev_stalled = client->prev_stalled;
    client->stalled = false;
}

static bool stash(struct dw_ws_client *client, const char *bytes, size_t len, bool binary)
{
    struct dw_ws_stashed *stashed = malloc(sizeof *stashed + len);

    if (stashed == NULL)
        return false;
    stashed->next = NULL;
    stashed->len = len;
    stashed->binary = binary;
    if (len > 0)
        memcpy(stashed->bytes, bytes, len);
    *(client->stashed != NULL ? &client->last_stashed->next : &client->stashed) = stashed;
    client->last_stashed = stashed;
    client->stashed_bytes += len;
    return true;
}

static void drop_stashed(struct dw_ws_client *client)
{
    struct dw_ws_stashed *stashed = client->stashed;

    client->stashed = stashed->next;
    client->stashed_bytes -= stashed->len;
    free(stashed);
}

bool dw_ws_receive(struct dw_sidecar *sidecar, struct dw_ws_client *client, const char *bytes, size_t len, bool binary)
{
    int64_t now_ms = dw_clock_mono_ms();

    int rc = client->stashed == NULL ? receive(sidecar, client, bytes, len, binary, now_ms) : DW_BUSY;

    if (rc == DW_OK)
        return true;
    if (!stash(client, bytes, len, binary))
        return false;
    if (rc == DW_QUOTA)
        dw_counter_add(&sidecar->hub.counters.sockets_stalled, 1);
    stall(sidecar, client, now_ms);
    return true;
}

void dw_ws_unstall(struct dw_sidecar *sidecar, int64_t now_ms)
{
    struct dw_ws_client *client, *next;
    bool locked = false;
    int rc;

    for (client = sidecar->stalled; client != NULL; client = next) {
        next = client->next_stalled;
        /* It is we who don't listen. */
        dw_socket_heard(sidecar->lot, client->parked);
        for (rc = DW_OK; client->stashed != NULL && !locked && rc == DW_OK;) {
            struct dw_ws_stashed *first = client->stashed;

            rc = receive(sidecar, client, first->bytes, first->len, first->binary, now_ms);
            if (rc == DW_OK)
                drop_stashed(client);
            locked = rc == DW_BUSY;
        }
        if (client->stashed == NULL) {
            go_on(sidecar, client);
            (void)lws_rx_flow_control(client->wsi, 1);
        }
    }
    sidecar->stall_due_ms = sidecar->stalled != NULL ? now_ms + PAUSE_MS : INT64_MAX;
}

void dw_ws_forget_stash(struct dw_sidecar *sidecar, struct dw_ws_client *client)
{
    while (client->stashed != NULL)
        drop_stashed(client);
    if (client->stalled)
        go_on(sidecar, client);
}
