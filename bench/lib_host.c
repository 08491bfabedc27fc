/* Scratch folder, responder processes and /proc; see lib_host.h. */
#include "bench/lib_host.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- the scratch folder ---- */

static char scratch[64];
static pid_t owner;

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *place)
{
    (void)status;
    (void)kind;
    (void)place;
    return remove(path);
}

static void remove_scratch(void)
{
    if (scratch[0] != '\0' && getpid() == owner)
        (void)nftw(scratch, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    scratch[0] = '\0';
}

static void open_store(struct dw_bench_host *host)
{
    const struct dw_store_options options = {.path = host->db,
                                             .retain_ms = 300000,
                                             .busy_ms = 5000,
                                             .session_sql = "SELECT NULL, NULL, NULL WHERE :sid = :now_ms",
                                             .create = true};
    struct dw_err err = {0};
    int rc = dw_store_open_sqlite(&options, &host->store, &err);

    errno = 0;
    if (rc != DW_OK)
        dw_bench_die("%s", dw_err_say(&err, rc));
}

void dw_bench_host_init(struct dw_bench_host *host)
{
    const char *base = getenv("TMPDIR");

    if (base == NULL || strlen(base) > 32)
        base = "/tmp";
    (void)snprintf(host->dir, sizeof host->dir, "%s/dw-bench-XXXXXX", base);
    if (mkdtemp(host->dir) == NULL)
        dw_bench_die("cannot make a folder in %s", base);
    if (owner == 0)
        (void)atexit(remove_scratch);
    owner = getpid();
    (void)snprintf(scratch, sizeof scratch, "%s", host->dir);
    (void)snprintf(host->db, sizeof host->db, "%s/queue.db", host->dir);
    open_store(host);
    dw_store_close(host->store);
    host->store = NULL;
}

static struct dw_store *store_of(struct dw_bench_host *host)
{
    if (host->store == NULL)
        open_store(host);
    return host->store;
}

void dw_bench_host_fini(struct dw_bench_host *host)
{
    dw_store_close(host->store);
    remove_scratch();
}

static int add_parked(void *context, const struct dw_worker *worker)
{
    size_t *parked = context;

    if (worker->alive)
        *parked += worker->parked;
    return 0;
}

void dw_bench_host_parked(struct dw_bench_host *host, size_t wanted)
{
    int64_t deadline = dw_bench_ns() + 60000000000;
    size_t parked = wanted + 1;

    for (;;) {
        parked = 0;
        if (dw_store_workers(store_of(host), add_parked, &parked, NULL) != DW_OK)
            parked = wanted + 1;
        if (parked == wanted)
            return;
        errno = 0;
        if (dw_bench_ns() > deadline)
            dw_bench_die("%zu polls are parked after 60 s, not %zu", parked, wanted);
        dw_bench_sleep_us(200);
    }
}

/* ---- responders ---- */

void dw_bench_setting(const char *name, const char *value)
{
    char variable[96];

    (void)snprintf(variable, sizeof variable, "DUMBWAITER_%s", name);
    if (setenv(variable, value, 1) != 0)
        dw_bench_die("out of memory");
}

/* The rates are looked up all the same: that is part of what is measured. */
void dw_bench_no_limits(void)
{
    dw_bench_setting("LIMITS_REQUESTS_PER_S", "1000000");
    dw_bench_setting("LIMITS_REQUESTS_PER_S_UID", "1000000");
    dw_bench_setting("LIMITS_INBOX_ROWS_PER_UID", "1000000000");
    dw_bench_setting("LIMITS_INBOX_BYTES_PER_UID", "1099511627776");
    dw_bench_setting("LIMITS_INBOX_ROWS", "1000000000");
    dw_bench_setting("LIMITS_INBOX_BYTES", "1099511627776");
}

_Noreturn static void run_responder(const char *program, const char *address, const char *db)
{
    char *const listening[] = {(char *)(uintptr_t)program, "--listen", (char *)(uintptr_t)address, "--db",
                               (char *)(uintptr_t)db,      NULL};
    char *const inheriting[] = {(char *)(uintptr_t)program, "--db", (char *)(uintptr_t)db, NULL};

    (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
    (void)setenv("DUMBWAITER_LOG_LEVEL", "error", 0);
    dw_bench_no_limits();
    (void)execv(program, address != NULL ? listening : inheriting);
    (void)fprintf(stderr, "bench: cannot run %s: %s\n", program, strerror(errno));
    _exit(127);
}

static int try_connect(const char *path)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), rc;

    (void)snprintf(name.sun_path, sizeof name.sun_path, "%s", path);
    rc = fd >= 0 ? connect(fd, (const struct sockaddr *)&name, sizeof name) : -1;
    if (fd >= 0)
        (void)close(fd);
    return rc;
}

static int count_alive(void *context, const struct dw_worker *worker)
{
    *(size_t *)context += worker->alive ? 1 : 0;
    return 0;
}

/* It listens before it joins the workers, so a worker more means that it serves. */
static void wait_for_workers(struct dw_bench_host *host, size_t wanted, pid_t pid)
{
    int64_t deadline = dw_bench_ns() + 10000000000;
    size_t alive = 0;

    while (alive < wanted) {
        alive = 0;
        (void)dw_store_workers(store_of(host), count_alive, &alive, NULL);
        errno = 0;
        if (waitpid(pid, NULL, WNOHANG) == pid || dw_bench_ns() > deadline)
            dw_bench_die("the responder did not start");
        dw_bench_sleep_us(1000);
    }
}

void dw_bench_listen(struct dw_bench_responder *responder, const struct dw_bench_options *options,
                     struct dw_bench_host *host, const char *address)
{
    (void)snprintf(responder->address, sizeof responder->address, "%s", address);
    responder->pid = fork();
    if (responder->pid == 0)
        run_responder(options->responder, responder->address, host->db);
    if (responder->pid < 0)
        dw_bench_die("cannot start the responder");
    wait_for_workers(host, 1, responder->pid);
    if (strncmp(address, "unix:", 5) == 0 && try_connect(address + 5) != 0)
        dw_bench_die("the responder does not listen on %s", address);
}

/* A listening Unix socket in the scratch folder. */
static int listen_at(struct dw_bench_responder *responder, const struct dw_bench_host *host, unsigned number)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)snprintf(name.sun_path, sizeof name.sun_path, "%s/%u.sock", host->dir, number);
    (void)snprintf(responder->address, sizeof responder->address, "unix:%s", name.sun_path);
    if (fd < 0 || bind(fd, (const struct sockaddr *)&name, sizeof name) != 0 || listen(fd, 64) != 0)
        dw_bench_die("cannot listen on %s", responder->address);
    return fd;
}

void dw_bench_spawn(struct dw_bench_responder *responder, const struct dw_bench_options *options,
                    struct dw_bench_host *host, unsigned number)
{
    int fd = listen_at(responder, host, number);

    responder->pid = fork();
    if (responder->pid == 0) {
        if (dup2(fd, STDIN_FILENO) < 0)
            _exit(127);
        run_responder(options->responder, NULL, host->db);
    }
    if (responder->pid < 0)
        dw_bench_die("cannot start a responder");
    (void)close(fd);
}

void dw_bench_stop(struct dw_bench_responder *responder)
{
    int status = 0;

    (void)kill(responder->pid, SIGTERM);
    (void)waitpid(responder->pid, &status, 0);
    errno = 0;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        dw_bench_die("the responder ended with status %d", status);
}

/* ---- other programs ---- */

unsigned dw_bench_free_port(void)
{
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof name;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || bind(fd, (const struct sockaddr *)&name, sizeof name) != 0 ||
        getsockname(fd, (struct sockaddr *)&name, &len) != 0)
        dw_bench_die("no free port");
    (void)close(fd);
    return ntohs(name.sin_port);
}

void dw_bench_spawn_other(struct dw_bench_responder *other, const char *program, struct dw_bench_host *host)
{
    int fd = listen_at(other, host, 9999);

    other->pid = fork();
    if (other->pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
        if (dup2(fd, STDIN_FILENO) < 0)
            _exit(127);
        (void)execl(program, program, (char *)NULL);
        (void)fprintf(stderr, "bench: cannot run %s: %s\n", program, strerror(errno));
        _exit(127);
    }
    if (other->pid < 0)
        dw_bench_die("cannot start %s", program);
    (void)close(fd);
}

static void write_lighttpd_conf(const char *path, unsigned port, const char *dir, const char *address)
{
    FILE *file = fopen(path, "w");

    if (file == NULL)
        dw_bench_die("cannot write %s", path);
    (void)fprintf(file,
                  "server.modules = ( \"mod_fastcgi\" )\nserver.bind = \"127.0.0.1\"\nserver.port = %u\n"
                  "server.document-root = \"%s\"\nserver.errorlog = \"%s/lighttpd.log\"\n"
                  "fastcgi.server = ( \"/chsk\" => (( \"socket\" => \"%s\", \"check-local\" => \"disable\" )) )\n",
                  port, dir, dir, address + strlen("unix:"));
    if (fclose(file) != 0)
        dw_bench_die("cannot write %s", path);
}

bool dw_bench_answers_on(unsigned port)
{
    struct sockaddr_in name = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool connected = fd >= 0 && connect(fd, (const struct sockaddr *)&name, sizeof name) == 0;

    if (fd >= 0)
        (void)close(fd);
    return connected;
}

bool dw_bench_lighttpd(struct dw_bench_responder *lighttpd, const struct dw_bench_responder *responder,
                       struct dw_bench_host *host)
{
    int64_t deadline = dw_bench_ns() + 10000000000;
    unsigned port = dw_bench_free_port();
    char conf[96];

    (void)snprintf(conf, sizeof conf, "%s/lighttpd.conf", host->dir);
    write_lighttpd_conf(conf, port, host->dir, responder->address);
    (void)snprintf(lighttpd->address, sizeof lighttpd->address, "http:127.0.0.1:%u", port);
    lighttpd->pid = fork();
    if (lighttpd->pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
        (void)execlp("lighttpd", "lighttpd", "-D", "-f", conf, (char *)NULL);
        (void)execl("/usr/sbin/lighttpd", "lighttpd", "-D", "-f", conf, (char *)NULL);
        _exit(127);
    }
    if (lighttpd->pid < 0)
        dw_bench_die("cannot start lighttpd");
    while (!dw_bench_answers_on(port)) {
        if (waitpid(lighttpd->pid, NULL, WNOHANG) == lighttpd->pid)
            return false;
        errno = 0;
        if (dw_bench_ns() > deadline)
            dw_bench_die("lighttpd did not start");
        dw_bench_sleep_us(5000);
    }
    return true;
}

void dw_bench_stop_other(struct dw_bench_responder *other)
{
    (void)kill(other->pid, SIGTERM);
    (void)waitpid(other->pid, NULL, 0);
}

int64_t dw_bench_wal_bytes(const struct dw_bench_host *host)
{
    struct stat status;
    char path[112];

    (void)snprintf(path, sizeof path, "%s-wal", host->db);
    return stat(path, &status) == 0 ? (int64_t)status.st_size : 0;
}

/* ---- /proc ---- */

/* The number behind `key` in a file of "key: number" lines; -1: not there. */
static int64_t number_in(const char *path, const char *key)
{
    FILE *file = fopen(path, "r");
    size_t len = strlen(key);
    int64_t number = -1;
    char line[256];

    if (file == NULL)
        return -1;
    while (number < 0 && fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, key, len) == 0 && line[len] == ':')
            number = strtoll(line + len + 1, NULL, 10);
    }
    (void)fclose(file);
    return number;
}

struct dw_bench_memory dw_bench_memory_of(pid_t pid)
{
    struct dw_bench_memory memory;
    char path[64];

    (void)snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    memory.rss = number_in(path, "VmRSS") * 1024;
    (void)snprintf(path, sizeof path, "/proc/%d/smaps_rollup", (int)pid);
    memory.private_dirty = number_in(path, "Private_Dirty") * 1024;
    if (memory.rss < 0 || memory.private_dirty < 0)
        dw_bench_die("cannot read /proc/%d", (int)pid);
    return memory;
}

static int64_t switches_in(const char *task)
{
    char path[300];
    int64_t own, forced;

    (void)snprintf(path, sizeof path, "%s/status", task);
    own = number_in(path, "voluntary_ctxt_switches");
    forced = number_in(path, "nonvoluntary_ctxt_switches");
    return own >= 0 && forced >= 0 ? own + forced : 0;
}

static int64_t cpu_in(const char *task)
{
    char path[300], text[128];
    ssize_t got = -1;
    int fd;

    (void)snprintf(path, sizeof path, "%s/schedstat", task);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        got = read(fd, text, sizeof text - 1);
        (void)close(fd);
    }
    if (got <= 0)
        return 0;
    text[got] = '\0';
    return strtoll(text, NULL, 10);
}

static int64_t sum_tasks(pid_t pid, int64_t (*of)(const char *task))
{
    char path[64], task[256];
    int64_t sum = 0;
    struct dirent *entry;
    DIR *dir;

    (void)snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    dir = opendir(path);
    if (dir == NULL)
        dw_bench_die("cannot read %s", path);
    while ((entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] == '.')
            continue;
        (void)snprintf(task, sizeof task, "%s/%.64s", path, entry->d_name);
        sum += of(task);
    }
    (void)closedir(dir);
    return sum;
}

int64_t dw_bench_switches_of(pid_t pid)
{
    return sum_tasks(pid, switches_in);
}

int64_t dw_bench_cpu_of(pid_t pid)
{
    return sum_tasks(pid, cpu_in);
}
