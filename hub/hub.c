/* What a process knows as a whole; see hub.h. */
#include "hub/hub.h"

#include "base/clock.h"
#include "base/log.h"
#include "hub/keyfile.h"

#include <string.h>

/* Shared hosts allow 15-100 processes an account (asks.md 2): leave some for requests that are not held. */
#define HOLDERS_CGI 12
#define HOLDERS_FASTCGI 60

/* A process that serves one request after the other has lent one poll at most (and one whose return has not
 * been counted yet).  One that serves more at a time holds them better itself. */
#define LENT_MOST 2

int dw_hub_init(struct dw_hub *hub, struct dw_conf *conf, enum dw_serving serving, struct dw_err *err)
{
    struct dw_buf key_path = DW_BUF_INIT;
    int rc;

    memset(hub, 0, sizeof *hub);
    hub->conf = conf;
    atomic_init(&hub->worker, -1);
    atomic_init(&hub->holder, -1);
    hub->packer = dw_packer_find(conf->chsk_packer);
    if (hub->packer == NULL)
        return dw_err_set(err, DW_CONF, "chsk.packer names no packer: \"%s\"", conf->chsk_packer);
    hub->limits = (struct dw_limits){
        .max_depth = (size_t)conf->limits_nesting,
        .max_items = (size_t)conf->limits_items,
        .max_bytes = (size_t)conf->limits_message_bytes,
    };
    hub->json_keywords = strcmp(conf->chsk_json_keys, "keyword") == 0;
    hub->inbox_format = conf->chsk_inbox_format;
    hub->holders_max = conf->limits_holders;
    if (hub->holders_max == 0)
        hub->holders_max = serving == DW_SERVING_CGI ? HOLDERS_CGI : HOLDERS_FASTCGI;
    rc = dw_keyfile_path(conf, &key_path, err); /* nobody should have to send a token to learn of a bad one */
    dw_buf_fini(&key_path);
    if (rc != DW_OK)
        return rc;
    if (strcmp(conf->auth_csrf, "off") == 0)
        dw_log_warn("auth.csrf is off: any web page that a user visits can send in that user's name");
    return DW_OK;
}

struct dw_store_options dw_hub_store_options(const struct dw_conf *conf, bool create)
{
    return (struct dw_store_options){
        .path = conf->store_path,
        .retain_ms = conf->store_retain_ms,
        .busy_ms = (int)conf->store_busy_ms,
        .session_sql = conf->auth_session_sql,
        .session_ms = (int)conf->auth_session_ms,
        .create = create,
    };
}

bool dw_hub_full(struct dw_hub *hub, struct dw_store *store)
{
    uint32_t parked = atomic_load_explicit(&hub->parked, memory_order_relaxed);
    uint32_t holders = 0;

    /* The lot gives a time-out to whatever comes while it drains; a 503 would make the client back off. */
    if (atomic_load_explicit(&hub->draining, memory_order_relaxed))
        return false;
    if (parked >= (uint64_t)hub->conf->limits_parked)
        return true;
    if (parked > 0)
        return false;
    return dw_store_holders(store, hub->worker, &holders, NULL) == DW_OK && holders >= hub->holders_max;
}

int32_t dw_hub_holder(struct dw_hub *hub, struct dw_store *store)
{
    int32_t self = atomic_load_explicit(&hub->worker, memory_order_relaxed);
    int32_t holder = atomic_load_explicit(&hub->holder, memory_order_relaxed);

    if (holder < 0 || self < 0 || atomic_load_explicit(&hub->parked, memory_order_relaxed) > 0 ||
        dw_store_worker_lent(store, self, 0) >= LENT_MOST)
        return self;
    return holder;
}

int64_t dw_hub_retry_ms(const struct dw_hub *hub)
{
    int64_t base = hub->conf->limits_retry_ms;

    return base / 2 + (int64_t)dw_clock_jitter((uint64_t)base);
}

int dw_hub_flush_counters(struct dw_hub *hub, struct dw_store *store, struct dw_err *err)
{
    struct {
        const char *name;
        _Atomic uint64_t *value;
    } all[] = {
#define DW_COUNTER_ROW(member, name) {name, &hub->counters.member},
        DW_COUNTERS(DW_COUNTER_ROW)
#undef DW_COUNTER_ROW
    };
    size_t i;
    int rc;

    for (i = 0; i < sizeof all / sizeof all[0]; i++) {
        uint64_t n = atomic_exchange_explicit(all[i].value, 0, memory_order_relaxed);

        if (n == 0)
            continue;
        rc = dw_store_count(store, all[i].name, (int64_t)n, err);
        if (rc != DW_OK) {
            dw_counter_add(all[i].value, n);
            return rc;
        }
    }
    return DW_OK;
}
