/* Opens what stands behind the server: settings, hub, worker slot, housekeeping. */
#include "fcgi/server_internal.h"

#include "base/listen.h"
#include "base/log.h"
#include "base/privileges.h"
#include "fcgi/webroot.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

static void on_presence(void *context)
{
    dw_house_presence(context);
}

static void *house_main(void *context)
{
    dw_house_run(context);
    return NULL;
}

/* The request's own settings, as one text that can be compared: the web server sends those of a virtual
 * host in the same order each time. */
static void collect_settings(char *const *env, struct dw_buf *out)
{
    static const char prefix[] = "DUMBWAITER_";

    for (; env != NULL && *env != NULL; env++) {
        if (strncmp(*env, prefix, sizeof prefix - 1) == 0) {
            dw_buf_adds(out, *env);
            dw_buf_addc(out, '\n');
        }
    }
}

static int apply_settings(struct dw_fcgi *fcgi, char *const *env, struct dw_err *err)
{
    struct dw_backend *backend = &fcgi->backend;

    collect_settings(env, &backend->settings);
    if (dw_buf_failed(&backend->settings))
        return dw_err_set(err, DW_NOMEM, "out of memory");
    return backend->settings.len > 0 ? dw_conf_apply(fcgi->conf, NULL, env, err) : DW_OK;
}

static void raise_limit(struct dw_fcgi *fcgi)
{
    long have = dw_listen_raise_limit((long)fcgi->conf->limits_parked + DW_SERVER_DESCRIPTORS);

    if (have - DW_SERVER_DESCRIPTORS < fcgi->conf->limits_parked) {
        fcgi->conf->limits_parked = have > 2L * DW_SERVER_DESCRIPTORS ? have - DW_SERVER_DESCRIPTORS : have / 2;
        dw_log_info("this process may open %ld files, so it holds at most %lld polls", have,
                    (long long)fcgi->conf->limits_parked);
    }
}

static int open_parts(struct dw_fcgi *fcgi, struct dw_err *err)
{
    struct dw_backend *backend = &fcgi->backend;
    struct dw_store_options options;
    int32_t worker = -1;
    int rc;

    raise_limit(fcgi);
    if (fcgi->lazy && geteuid() == 0) {
        rc = dw_privileges_leave(fcgi->conf, err);
        if (rc != DW_OK)
            return rc;
    }
    rc = dw_hub_init(&backend->hub, fcgi->conf, DW_SERVING_FASTCGI, err);
    if (rc != DW_OK)
        return rc;
    options = dw_hub_store_options(fcgi->conf, true);
    rc = dw_store_open_sqlite(&options, &backend->house_store, err);
    if (rc == DW_OK)
        rc = dw_store_worker_join(backend->house_store, &worker, err);
    if (rc != DW_OK)
        return rc;
    rc = dw_hub_open_rates(&backend->hub, backend->house_store, err);
    if (rc != DW_OK)
        return rc;
    atomic_store(&backend->hub.worker, worker);
    backend->house = dw_house_new(&backend->hub, backend->house_store);
    if (backend->house == NULL)
        return dw_err_set(err, DW_NOMEM, "out of memory");
    backend->hub.presence_changed = on_presence;
    backend->hub.presence_context = backend->house;
    if (pthread_create(&backend->house_thread, NULL, house_main, backend->house) != 0)
        return dw_err_set(err, DW_SYSTEM, "cannot start the housekeeping thread");
    return DW_OK;
}

static void close_parts(struct dw_backend *backend)
{
    dw_house_free(backend->house);
    dw_store_close(backend->house_store);
    dw_hub_close_rates(&backend->hub);
    backend->house = NULL;
    backend->house_store = NULL;
}

static bool is_same(struct dw_backend *backend, char *const *env)
{
    struct dw_buf asked = DW_BUF_INIT;
    bool same;

    collect_settings(env, &asked);
    same = !dw_buf_failed(&asked) && asked.len == backend->settings.len &&
           (asked.len == 0 || memcmp(asked.data, backend->settings.data, asked.len) == 0);
    dw_buf_fini(&asked);
    return same;
}

/* The request comes with other settings than this process was set up with.  Mostly its site has just been set
 * up anew (mod_fcgid keeps the process): the web server will start another one. */
static int refuse_settings(struct dw_fcgi *fcgi, char *const *env, struct dw_err *err)
{
    struct dw_conf asked;
    int rc = dw_conf_init(&asked, err);

    if (rc != DW_OK)
        return rc;
    rc = dw_conf_env(&asked, env, err);
    dw_conf_fini(&asked);
    if (rc != DW_OK)
        return rc;
    if (!fcgi->lazy)
        return dw_err_set(err, DW_CONF,
                          "the request asks for other settings than this process was started with: set them there");
    (void)kill(getpid(), SIGTERM);
    return dw_err_set(err, DW_BUSY,
                      "the request asks for other settings than this process serves: it ends, so that a new one "
                      "takes them (if this goes on, two sites share a process: give each its own)");
}

/* Once, unless it fails. */
static int look(struct dw_fcgi *fcgi, char *const *env, struct dw_err *err)
{
    int rc = DW_OK;

    if (env != NULL && !atomic_load_explicit(&fcgi->backend.looked, memory_order_relaxed)) {
        rc = dw_webroot_check(fcgi->conf, env, err);
        atomic_store_explicit(&fcgi->backend.looked, rc == DW_OK, memory_order_release);
    }
    return rc;
}

static int open_once(struct dw_fcgi *fcgi, char *const *env, struct dw_err *err)
{
    struct dw_backend *backend = &fcgi->backend;
    int rc;

    dw_buf_reset(&backend->settings);
    rc = apply_settings(fcgi, env, err);
    if (rc == DW_OK)
        rc = look(fcgi, env, err);
    if (rc == DW_OK)
        rc = open_parts(fcgi, err);
    if (rc == DW_OK) {
        atomic_store(&fcgi->body_max, dw_request_body_max(fcgi->conf));
        atomic_store_explicit(&backend->open, true, memory_order_release);
    } else {
        close_parts(backend);
    }
    return rc;
}

int dw_backend_open(struct dw_fcgi *fcgi, char *const *env, struct dw_err *err)
{
    struct dw_backend *backend = &fcgi->backend;
    bool looked = env == NULL || atomic_load_explicit(&backend->looked, memory_order_acquire);
    int rc = DW_OK;

    if (!looked || !atomic_load_explicit(&backend->open, memory_order_acquire)) {
        (void)pthread_mutex_lock(&backend->mutex);
        if (!atomic_load_explicit(&backend->open, memory_order_relaxed))
            rc = open_once(fcgi, env, err);
        else
            rc = look(fcgi, env, err);
        (void)pthread_mutex_unlock(&backend->mutex);
    }
    return rc == DW_OK && env != NULL && !is_same(backend, env) ? refuse_settings(fcgi, env, err) : rc;
}

void dw_backend_close(struct dw_fcgi *fcgi)
{
    struct dw_backend *backend = &fcgi->backend;

    if (atomic_load(&backend->open)) {
        dw_house_stop(backend->house);
        (void)pthread_join(backend->house_thread, NULL);
        close_parts(backend);
    }
    dw_buf_fini(&backend->settings);
}
