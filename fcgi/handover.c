/* Passing held polls between processes; see handover.h. */
#include "config.h"

#include "fcgi/handover.h"

#include "base/clock.h"
#include "base/hash.h"
#include "base/listen.h"
#include "base/log.h"
#include "fcgi/server_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define MAGIC UINT32_C(0x44574831) /* "DWH1" */
#define NAMES_MOST 4096            /* bytes of uid, client id and session that can be passed on */
#define TAKE_ROUND 64              /* messages taken from a guest before looking at anything else */

/* The holder's first message; the only one that it sends. */
struct hello {
    uint32_t magic;
    int32_t worker;
    uint64_t settings;
};

/* A poll on its way; uid, client id and sid follow, each with its NUL.  Its connection comes with the message. */
struct loan {
    int32_t lender, holder;
    uint32_t slot, epoch;
    int64_t after, deadline_ms, expires_at, looked_us; /* the clocks are the machine's */
    struct dw_taken taken;
    uint16_t request_id;
    uint8_t generation;
    bool has_uid, has_sid;
    char packer[32];
};

union control {
    struct cmsghdr header;
    char room[CMSG_SPACE(sizeof(int))];
};

void dw_handover_init(struct dw_handover *handover)
{
    *handover = (struct dw_handover){
        .door_end = {DW_HANDOVER_DOOR}, .holder_end = {DW_HANDOVER_HOLDER}, .door = -1, .holder = -1, .worker = -1};
}

/* ---- who may talk to whom ---- */

static void digest(void *context, const char *name, const char *value)
{
    uint64_t *sum = context;

    *sum = dw_hash_field(dw_hash_field(*sum, name, strlen(name)), value, strlen(value));
}

static uint64_t settings_of(struct dw_fcgi *fcgi)
{
    struct dw_handover *handover = &fcgi->handover;

    if (handover->settings == 0) {
        handover->settings = DW_HASH_INIT;
        digest(&handover->settings, "version", PACKAGE_VERSION);
        dw_conf_each(fcgi->conf, digest, &handover->settings);
    }
    return handover->settings;
}

static bool is_same_user(int descriptor)
{
    struct ucred peer;
    socklen_t len = sizeof peer;

    return getsockopt(descriptor, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 && peer.uid == geteuid();
}

static bool name_door(const struct dw_fcgi *fcgi, char *path, size_t size)
{
    const char *folder = dw_store_state_dir(fcgi->store);
    int len = folder != NULL ? snprintf(path, size, "%s/holder.sock", folder) : -1;

    return len > 0 && (size_t)len < size;
}

/* ---- lending ---- */

static void leave_holder(struct dw_fcgi *fcgi)
{
    struct dw_handover *handover = &fcgi->handover;
    int32_t self = atomic_load_explicit(&fcgi->backend.hub.worker, memory_order_relaxed);

    if (handover->holder < 0)
        return;
    atomic_store(&fcgi->backend.hub.holder, -1);
    (void)close(handover->holder);
    handover->holder = -1;
    handover->worker = -1;
    /* What it held has ended with it, or is no longer counted as ours. */
    if (self >= 0)
        (void)dw_store_worker_lent(fcgi->store, self, -DW_LENT_MAX);
}

static void on_holder(struct dw_fcgi *fcgi)
{
    struct dw_handover *handover = &fcgi->handover;
    struct hello hello;
    ssize_t got = recv(handover->holder, &hello, sizeof hello, MSG_DONTWAIT);

    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
        return;
    if (got != (ssize_t)sizeof hello || hello.magic != MAGIC || hello.worker < 0) {
        leave_holder(fcgi);
        return;
    }
    if (hello.settings != settings_of(fcgi)) {
        /* A site that is being set up anew, say: the holder will end, and the next poll looks again. */
        dw_log_debug("the process that holds the polls of others has other settings: this one keeps its own");
        leave_holder(fcgi);
        return;
    }
    handover->worker = hello.worker;
    atomic_store(&fcgi->backend.hub.holder, hello.worker);
}

/* DW_NOTFOUND: nobody is behind the door. */
static int go_to_holder(struct dw_fcgi *fcgi, const char *path)
{
    struct dw_handover *handover = &fcgi->handover;
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int descriptor = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (descriptor < 0)
        return DW_SYSTEM;
    (void)snprintf(name.sun_path, sizeof name.sun_path, "%s", path);
    if (connect(descriptor, (const struct sockaddr *)&name, sizeof name) != 0) {
        bool nobody = errno == ENOENT || errno == ECONNREFUSED;

        (void)close(descriptor);
        return nobody ? DW_NOTFOUND : DW_BUSY;
    }
    if (!is_same_user(descriptor) ||
        !dw_fcgi_watch(fcgi, EPOLL_CTL_ADD, descriptor, EPOLLIN, &handover->holder_end, DW_KIND_HANDOVER)) {
        (void)close(descriptor);
        return DW_DENIED;
    }
    handover->holder = descriptor;
    return DW_OK;
}

static size_t put_name(char *names, size_t at, const char *name)
{
    size_t size = strlen(name) + 1;

    memcpy(names + at, name, size);
    return at + size;
}

static bool send_loan(int holder, struct loan *loan, char *names, size_t names_len, int descriptor)
{
    union control control = {.room = {0}};
    struct iovec parts[2] = {{loan, sizeof *loan}, {names, names_len}};
    struct msghdr message = {
        .msg_iov = parts, .msg_iovlen = 2, .msg_control = control.room, .msg_controllen = sizeof control.room};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    ssize_t sent;

    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof descriptor);
    memcpy(CMSG_DATA(header), &descriptor, sizeof descriptor);
    do
        sent = sendmsg(holder, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent >= 0;
}

bool dw_handover_lend(struct dw_fcgi *fcgi, struct dw_parked *parked)
{
    struct dw_handover *handover = &fcgi->handover;
    int32_t self = atomic_load_explicit(&fcgi->backend.hub.worker, memory_order_relaxed);
    struct loan loan = {
        .lender = self,
        .holder = parked->worker,
        .slot = parked->slot,
        .epoch = parked->epoch,
        .after = parked->after,
        .deadline_ms = parked->deadline_ms,
        .expires_at = parked->expires_at,
        .looked_us = parked->looked_us,
        .request_id = parked->connection.fcgi.request_id,
        .generation = parked->generation,
        .has_uid = parked->uid != NULL,
        .has_sid = parked->sid != NULL,
        .taken = parked->taken,
    };
    const char *uid = parked->uid != NULL ? parked->uid : "", *sid = parked->sid != NULL ? parked->sid : "";
    char names[NAMES_MOST];
    size_t len;

    if (handover->holder < 0 || handover->worker != parked->worker || self < 0)
        return false;
    if (strlen(uid) + strlen(parked->client_id) + strlen(sid) + 3 > sizeof names) {
        handover->unusable = true; /* or this client would be turned back for ever */
        leave_holder(fcgi);
        return false;
    }
    len = put_name(names, put_name(names, put_name(names, 0, uid), parked->client_id), sid);
    (void)snprintf(loan.packer, sizeof loan.packer, "%s", parked->packer->name);
    (void)dw_store_worker_lent(fcgi->store, self, 1);
    if (!send_loan(handover->holder, &loan, names, len, parked->connection.fcgi.descriptor)) {
        leave_holder(fcgi); /* it is gone, or so slow that its socket is full */
        return false;
    }
    (void)close(parked->connection.fcgi.descriptor);
    free(parked);
    return true;
}

/* ---- holding ---- */

/* Those who are guests stay. */
static void close_door(struct dw_fcgi *fcgi)
{
    struct dw_handover *handover = &fcgi->handover;
    struct sockaddr_un name;
    char path[sizeof name.sun_path];
    struct stat st;

    /* After the state was lost the name may be that of another's door. */
    if (name_door(fcgi, path, sizeof path) && lstat(path, &st) == 0 && st.st_ino == handover->door_ino &&
        st.st_dev == handover->door_dev)
        (void)unlink(path);
    (void)close(handover->door);
    handover->door = -1;
}

/* Only one process at a time looks whether there is a holder, or two could replace each other's door. */
static bool open_door(struct dw_fcgi *fcgi, const char *path)
{
    struct dw_handover *handover = &fcgi->handover;
    int folder = open(dw_store_state_dir(fcgi->store), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct dw_err err = {0};
    struct stat st;
    int rc = DW_BUSY;

    if (folder < 0)
        return false;
    if (flock(folder, LOCK_EX | LOCK_NB) == 0)
        rc = dw_listen_private(path, &handover->door, &err);
    (void)close(folder);
    if (rc == DW_OK && lstat(path, &st) == 0) {
        handover->door_ino = st.st_ino;
        handover->door_dev = st.st_dev;
    }
    if (rc == DW_OK &&
        dw_fcgi_watch(fcgi, EPOLL_CTL_ADD, handover->door, EPOLLIN, &handover->door_end, DW_KIND_HANDOVER))
        return true;
    if (rc == DW_OK) {
        close_door(fcgi);
    } else if (rc != DW_BUSY) {
        dw_log_info("polls are held by each process itself: %s", dw_err_say(&err, rc));
        handover->unusable = true;
    }
    return false;
}

void dw_handover_seek(struct dw_fcgi *fcgi)
{
    struct dw_handover *handover = &fcgi->handover;
    struct sockaddr_un name;
    char path[sizeof name.sun_path];

    if (handover->unusable || handover->door >= 0 || handover->holder >= 0 || fcgi->stopping ||
        !dw_wake_in_crowd(fcgi->wake))
        return;
    if (!name_door(fcgi, path, sizeof path)) {
        handover->unusable = true; /* a path that is too long for a socket */
        return;
    }
    if (go_to_holder(fcgi, path) == DW_NOTFOUND && open_door(fcgi, path))
        dw_log_debug("this process holds the polls of others from now on");
}

static void free_guest(struct dw_handover *handover, struct dw_guest *guest)
{
    *(guest->prev != NULL ? &guest->prev->next : &handover->guests) = guest->next;
    if (guest->next != NULL)
        guest->next->prev = guest->prev;
    if (guest->descriptor >= 0)
        (void)close(guest->descriptor);
    free(guest);
}

static void hang_up(struct dw_fcgi *fcgi, struct dw_guest *guest)
{
    (void)close(guest->descriptor);
    guest->descriptor = -1;
    if (guest->polls == 0)
        free_guest(&fcgi->handover, guest);
}

static void on_door(struct dw_fcgi *fcgi)
{
    const struct hello hello = {MAGIC, atomic_load_explicit(&fcgi->backend.hub.worker, memory_order_relaxed),
                                settings_of(fcgi)};
    int descriptor;

    while ((descriptor = accept4(fcgi->handover.door, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct dw_guest *guest = is_same_user(descriptor) ? calloc(1, sizeof *guest) : NULL;

        if (guest == NULL ||
            send(descriptor, &hello, sizeof hello, MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)sizeof hello ||
            !dw_fcgi_watch(fcgi, EPOLL_CTL_ADD, descriptor, EPOLLIN, guest, DW_KIND_HANDOVER)) {
            free(guest);
            (void)close(descriptor);
            continue;
        }
        guest->end.kind = DW_HANDOVER_GUEST;
        guest->descriptor = descriptor;
        guest->worker = -1;
        guest->next = fcgi->handover.guests;
        if (guest->next != NULL)
            guest->next->prev = guest;
        fcgi->handover.guests = guest;
    }
    if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
        dw_log_warn("out of file descriptors: no more polls of other processes are held here");
        close_door(fcgi);
    }
}

/* The poll that was lent; NULL: this is none.  Names are checked, numbers can do no harm: a claim word that
 * does not fit refuses. */
static struct dw_parked *unpack(const struct loan *loan, const char *names, size_t len)
{
    const struct dw_packer *packer;
    const char *uid = names, *client_id, *sid, *end = names + len;
    struct dw_parked *parked;

    if (len < 3 || names[len - 1] != '\0' || loan->packer[sizeof loan->packer - 1] != '\0' || loan->lender < 0 ||
        loan->lender >= DW_WORKERS_MAX)
        return NULL;
    client_id = uid + strlen(uid) + 1;
    sid = client_id < end ? client_id + strlen(client_id) + 1 : end;
    packer = dw_packer_find(loan->packer);
    if (packer == NULL || sid >= end || sid + strlen(sid) + 1 != end)
        return NULL;
    parked = dw_parked_new(DW_PARKED_POLL, loan->has_uid ? uid : NULL, client_id, loan->has_sid ? sid : NULL);
    if (parked == NULL)
        return NULL;
    parked->packer = packer;
    parked->generation = loan->generation;
    parked->slot = loan->slot;
    parked->epoch = loan->epoch;
    parked->after = loan->after;
    parked->worker = loan->holder;
    parked->deadline_ms = loan->deadline_ms;
    parked->expires_at = loan->expires_at;
    parked->looked_us = loan->looked_us;
    parked->taken = loan->taken;
    parked->connection.fcgi.request_id = loan->request_id;
    return parked;
}

static void take_in(struct dw_fcgi *fcgi, struct dw_guest *guest, const struct loan *loan, struct dw_parked *parked)
{
    int64_t latest = dw_clock_mono_ms() + fcgi->conf->chsk_lp_timeout_ms;

    if (parked->deadline_ms > latest)
        parked->deadline_ms = latest;
    parked->connection.fcgi.guest = guest;
    guest->worker = loan->lender;
    guest->polls++;
    /* After the state was lost this process may have another number, and the poll's slot another client. */
    if (loan->holder == atomic_load_explicit(&fcgi->backend.hub.worker, memory_order_relaxed)) {
        dw_fcgi_hold(fcgi, parked);
        return;
    }
    guest->outdated = true;
    dw_fcgi_turn_back(fcgi, parked);
}

/* The one that came; where there are more, or none, -1. */
static int descriptor_of(const struct cmsghdr *header)
{
    size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int), i;
    int descriptor = -1;

    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
        return -1;
    for (i = 0; i < count; i++) {
        if (descriptor >= 0)
            (void)close(descriptor);
        memcpy(&descriptor, CMSG_DATA(header) + i * sizeof descriptor, sizeof descriptor);
    }
    if (count > 1)
        (void)close(descriptor);
    return count == 1 ? descriptor : -1;
}

/* 1: a poll was taken in; 0: there is none now; -1: the guest is gone, or talks nonsense. */
static int take_one(struct dw_fcgi *fcgi, struct dw_guest *guest)
{
    struct loan loan;
    char names[NAMES_MOST];
    union control control;
    struct iovec parts[2] = {{&loan, sizeof loan}, {names, sizeof names}};
    struct msghdr message = {
        .msg_iov = parts, .msg_iovlen = 2, .msg_control = control.room, .msg_controllen = sizeof control.room};
    ssize_t got = recvmsg(guest->descriptor, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    struct cmsghdr *header = got > 0 ? CMSG_FIRSTHDR(&message) : NULL;
    struct dw_parked *parked = NULL;
    int descriptor;

    if (got < 0 && errno == EINTR)
        return 1;
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return 0;
    descriptor = header != NULL ? descriptor_of(header) : -1;
    if (descriptor < 0)
        return -1;
    if ((size_t)got > sizeof loan && (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) == 0)
        parked = unpack(&loan, names, (size_t)got - sizeof loan);
    if (parked == NULL) {
        (void)close(descriptor);
        return -1;
    }
    parked->connection.fcgi.descriptor = descriptor;
    take_in(fcgi, guest, &loan, parked);
    return 1;
}

/* What its owner sends from now on fails there; what it has sent is still to be read. */
static void take_rest(struct dw_fcgi *fcgi, struct dw_guest *guest)
{
    (void)shutdown(guest->descriptor, SHUT_RD);
    while (take_one(fcgi, guest) > 0)
        ;
}

static void on_guest(struct dw_fcgi *fcgi, struct dw_guest *guest)
{
    int rounds = TAKE_ROUND, state = 1;

    while (state > 0 && rounds-- > 0)
        state = take_one(fcgi, guest);
    if (state >= 0 && guest->outdated) {
        take_rest(fcgi, guest);
        state = -1;
    }
    if (state < 0)
        hang_up(fcgi, guest);
}

void dw_handover_returned(struct dw_fcgi *fcgi, struct dw_parked *parked)
{
    struct dw_guest *guest = parked->connection.fcgi.guest;

    if (guest == NULL)
        return;
    /* Its lender may not have closed its copy yet: only then does closing ours take it out of the set. */
    (void)dw_fcgi_watch(fcgi, EPOLL_CTL_DEL, parked->connection.fcgi.descriptor, 0, NULL, DW_KIND_PARKED);
    parked->connection.fcgi.guest = NULL;
    guest->polls--;
    if (guest->descriptor >= 0)
        (void)dw_store_worker_lent(fcgi->store, guest->worker, -1);
    else if (guest->polls == 0)
        free_guest(&fcgi->handover, guest);
}

/* ---- both ---- */

void dw_handover_event(struct dw_fcgi *fcgi, struct dw_handover_end *end)
{
    switch (end->kind) {
    case DW_HANDOVER_DOOR:
        if (fcgi->handover.door >= 0)
            on_door(fcgi);
        break;
    case DW_HANDOVER_GUEST:
        on_guest(fcgi, (struct dw_guest *)(void *)end);
        break;
    case DW_HANDOVER_HOLDER:
        if (fcgi->handover.holder >= 0)
            on_holder(fcgi);
        break;
    }
}

void dw_handover_stop(struct dw_fcgi *fcgi)
{
    if (fcgi->handover.door >= 0)
        close_door(fcgi);
    for (struct dw_guest *guest = fcgi->handover.guests; guest != NULL; guest = guest->next) {
        if (guest->descriptor >= 0)
            take_rest(fcgi, guest);
    }
}

void dw_handover_fini(struct dw_fcgi *fcgi)
{
    struct dw_guest *guest = fcgi->handover.guests, *next;

    leave_holder(fcgi);
    fcgi->handover.guests = NULL;
    for (; guest != NULL; guest = next) {
        next = guest->next;
        if (guest->descriptor >= 0)
            (void)close(guest->descriptor);
        free(guest);
    }
}
