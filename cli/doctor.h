/* Inside `dumbwaiter doctor`: the list of findings, and the checks by topic. */
#ifndef DW_CLI_DOCTOR_H
#define DW_CLI_DOCTOR_H

#include "base/buf.h"
#include "base/conf.h"

#include <stdbool.h>
#include <sys/types.h>

enum dw_finding { DW_FINDING_OK, DW_FINDING_WARN, DW_FINDING_FAIL };

struct dw_doctor {
    struct dw_buf out;
    int warned, failed;
    const struct dw_conf *conf;
    const char *path;          /* queue file, absolute */
    const char *document_root; /* --document-root, $DOCUMENT_ROOT, or NULL */
    /* Whose permissions are looked at: --user; else the owner of the queue where root asks (root may do
     * everything, which says nothing about the web server); else who asks. */
    uid_t uid;
    gid_t gid;
    char user[64];
    bool usable; /* nothing so far keeps a store from being opened */
};

/* A line "ok    topic     sentence". */
void dw_doctor_say(struct dw_doctor *doctor, enum dw_finding finding, const char *topic, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* The queue file, its folder and the state folder: there, reachable, writable, local, not served, our tables. */
void dw_doctor_files(struct dw_doctor *doctor);
/* The database in the queue file, and that of the state. */
void dw_doctor_databases(struct dw_doctor *doctor);
/* The machine: libraries, limits, file events, space. */
void dw_doctor_host(struct dw_doctor *doctor);

#endif
