/* systemd's readiness and watchdog protocol (sd_notify(3)): datagrams to $NOTIFY_SOCKET. */
#ifndef DW_WS_NOTIFY_H
#define DW_WS_NOTIFY_H

#include <stdint.h>

struct dw_notify {
    const char *socket;  /* NULL: nobody listens */
    int64_t interval_ms; /* of keep-alive messages; 0: none are wanted */
    int64_t due_ms;      /* monotonic, of the next; INT64_MAX: none */
};

/* Reads the environment. */
void dw_notify_init(struct dw_notify *notify, int64_t now_ms);
/* Sends "READY=1", "STOPPING=1" ...; failure changes nothing for us and is ignored. */
void dw_notify_say(const struct dw_notify *notify, const char *text);
/* Sends the keep-alive message when it is due. */
void dw_notify_tick(struct dw_notify *notify, int64_t now_ms);

#endif
