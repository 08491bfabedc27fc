/* The queue behind the sidecar: stores, worker number, housekeeping, doorbell, lot. */
#include "ws/server_internal.h"

#include "base/log.h"

/* The loop must not stand still while an app holds the write lock: what can't be stored is tried again. */
#define LOOP_BUSY_MS 50
/* Nor while it looks the session of a connected client up again; but what the default of auth.session_ms lets in
 * must be found again, or its connection ends. */
#define LOOP_SESSION_MS 250

static void on_presence(void *context)
{
    dw_house_presence(context);
}

static void *house_main(void *context)
{
    dw_house_run(context);
    return NULL;
}

static int open_house(struct dw_sidecar *sidecar, struct dw_err *err)
{
    struct dw_store_options options = dw_hub_store_options(sidecar->conf, true);
    int32_t worker = -1;
    int rc = dw_store_open_sqlite(&options, &sidecar->house_store, err);

    if (rc == DW_OK)
        rc = dw_store_worker_join(sidecar->house_store, &worker, err);
    if (rc != DW_OK)
        return rc;
    rc = dw_hub_open_rates(&sidecar->hub, sidecar->house_store, err);
    if (rc != DW_OK)
        return rc;
    atomic_store(&sidecar->hub.worker, worker);
    sidecar->house = dw_house_new(&sidecar->hub, sidecar->house_store);
    if (sidecar->house == NULL)
        return dw_err_set(err, DW_NOMEM, "out of memory");
    sidecar->hub.presence_changed = on_presence;
    sidecar->hub.presence_context = sidecar->house;
    if (pthread_create(&sidecar->house_thread, NULL, house_main, sidecar->house) != 0)
        return dw_err_set(err, DW_SYSTEM, "cannot start the housekeeping thread");
    sidecar->house_runs = true;
    return DW_OK;
}

int dw_sidecar_open(struct dw_sidecar *sidecar, const struct dw_lot_callbacks *callbacks, struct dw_err *err)
{
    struct dw_store_options options = dw_hub_store_options(sidecar->conf, false), patient = options;
    int rc = dw_hub_init(&sidecar->hub, sidecar->conf, DW_SERVING_FASTCGI, err);

    if (rc == DW_OK)
        rc = open_house(sidecar, err);
    if (options.busy_ms > LOOP_BUSY_MS)
        options.busy_ms = LOOP_BUSY_MS;
    if (options.session_ms > LOOP_SESSION_MS)
        options.session_ms = LOOP_SESSION_MS;
    if (rc == DW_OK)
        rc = dw_store_open_sqlite(&options, &sidecar->store, err);
    /* Handshakes write to the state file only, whose lock nobody but our programs takes, and never for long. */
    if (rc == DW_OK)
        rc = dw_store_open_sqlite(&patient, &sidecar->patient, err);
    if (rc == DW_OK)
        rc = dw_wake_open(sidecar->store, DW_WAKE_AUTO, &sidecar->wake, err);
    if (rc != DW_OK)
        return rc;
    sidecar->lot = dw_lot_new(&sidecar->hub, sidecar->store, callbacks, err);
    if (sidecar->lot == NULL)
        return err->code;
    sidecar->server = dw_server_new(&sidecar->hub, sidecar->patient);
    if (sidecar->server == NULL)
        return dw_err_set(err, DW_NOMEM, "out of memory");
    return DW_OK;
}

void dw_sidecar_close(struct dw_sidecar *sidecar)
{
    dw_lot_free(sidecar->lot);
    dw_server_free(sidecar->server);
    dw_wake_close(sidecar->wake);
    dw_store_close(sidecar->store);
    dw_store_close(sidecar->patient);
    if (sidecar->house_runs) {
        dw_house_stop(sidecar->house);
        (void)pthread_join(sidecar->house_thread, NULL);
    }
    dw_house_free(sidecar->house);
    dw_hub_close_rates(&sidecar->hub);
    dw_store_close(sidecar->house_store);
}
