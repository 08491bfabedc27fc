/* The settings table: defaults, typed assignment, and the three sources that fill it.
 * Parsing of the file itself is libinih's. */
#include "base/conf.h"

#include <errno.h>
#include <ini.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum kind { INT, STR, WORD };

struct setting {
    enum kind kind;
    size_t offset;
    const char *section, *key;
    const char *fallback; /* STR: the default; WORD: allowed words, the default first */
    int64_t number, low, high;
};

#define FALLBACK_INT(x) NULL
#define FALLBACK_STR(x) (x)
#define FALLBACK_WORD(x) (x)
#define NUMBER_INT(x) (x)
#define NUMBER_STR(x) 0
#define NUMBER_WORD(x) 0
#define ROW(kind, member, section, key, fallback, low, high)                                                           \
    {kind, offsetof(struct dw_conf, member), section, key, FALLBACK_##kind(fallback), NUMBER_##kind(fallback), low,    \
     high},

static const struct setting settings[] = {DW_SETTINGS(ROW)};
#define SETTINGS (sizeof settings / sizeof settings[0])

static int64_t *number_of(struct dw_conf *conf, const struct setting *setting)
{
    return (int64_t *)(void *)((char *)conf + setting->offset);
}

static char **string_of(struct dw_conf *conf, const struct setting *setting)
{
    return (char **)(void *)((char *)conf + setting->offset);
}

static int replace(char **slot, const char *value, size_t len, struct dw_err *err)
{
    char *copy = strndup(value, len);

    if (copy == NULL)
        return dw_err_set(err, DW_NOMEM, "out of memory while reading the settings");
    free(*slot);
    *slot = copy;
    return DW_OK;
}

int dw_conf_init(struct dw_conf *conf, struct dw_err *err)
{
    size_t i;
    int rc;

    memset(conf, 0, sizeof *conf);
    for (i = 0; i < SETTINGS; i++) {
        if (settings[i].kind == INT) {
            *number_of(conf, &settings[i]) = settings[i].number;
            continue;
        }
        rc = replace(string_of(conf, &settings[i]), settings[i].fallback,
                     settings[i].kind == WORD ? strcspn(settings[i].fallback, "|") : strlen(settings[i].fallback), err);
        if (rc != DW_OK) {
            dw_conf_fini(conf);
            return rc;
        }
    }
    return DW_OK;
}

void dw_conf_fini(struct dw_conf *conf)
{
    size_t i;

    for (i = 0; i < SETTINGS; i++) {
        if (settings[i].kind != INT)
            free(*string_of(conf, &settings[i]));
    }
    free(conf->file);
    memset(conf, 0, sizeof *conf);
}

static int set_number(struct dw_conf *conf, const struct setting *setting, const char *value, struct dw_err *err)
{
    char *end;
    long long number;

    errno = 0;
    number = strtoll(value, &end, 10);
    if (errno != 0 || end == value || *end != '\0' || number < setting->low || number > setting->high)
        return dw_err_set(err, DW_CONF, "%s.%s must be a whole number from %" PRId64 " to %" PRId64 ", not \"%s\"",
                          setting->section, setting->key, setting->low, setting->high, value);
    *number_of(conf, setting) = number;
    return DW_OK;
}

static int set_word(struct dw_conf *conf, const struct setting *setting, const char *value, struct dw_err *err)
{
    const char *word = setting->fallback;
    size_t len = strlen(value), next;

    for (; *word != '\0'; word += next + (word[next] == '|')) {
        next = strcspn(word, "|");
        if (next == len && strncmp(word, value, len) == 0)
            return replace(string_of(conf, setting), value, len, err);
    }
    return dw_err_set(err, DW_CONF, "%s.%s must be one of %s, not \"%s\"", setting->section, setting->key,
                      setting->fallback, value);
}

int dw_conf_set(struct dw_conf *conf, const char *section, const char *key, const char *value, struct dw_err *err)
{
    size_t i;

    for (i = 0; i < SETTINGS; i++) {
        if (strcmp(settings[i].section, section) != 0 || strcmp(settings[i].key, key) != 0)
            continue;
        switch (settings[i].kind) {
        case INT:
            return set_number(conf, &settings[i], value, err);
        case WORD:
            return set_word(conf, &settings[i], value, err);
        case STR:
            if (settings[i].offset == offsetof(struct dw_conf, store_path))
                conf->path_by_default = false;
            return replace(string_of(conf, &settings[i]), value, strlen(value), err);
        }
    }
    return dw_err_set(err, DW_CONF, "there is no setting %s.%s (docs/settings.md lists them)", section, key);
}

struct reading {
    struct dw_conf *conf;
    int rc;
    struct dw_err err;
};

static int on_setting(void *context, const char *section, const char *key, const char *value)
{
    struct reading *reading = context;

    if (reading->rc != DW_OK)
        return 1;
    if (section[0] == '\0')
        reading->rc = dw_err_set(&reading->err, DW_CONF, "\"%s\" stands before the first [section]", key);
    else
        reading->rc = dw_conf_set(reading->conf, section, key, value, &reading->err);
    return reading->rc == DW_OK;
}

int dw_conf_read(struct dw_conf *conf, const char *path, struct dw_err *err)
{
    struct reading reading = {.conf = conf, .rc = DW_OK};
    int line = ini_parse(path, on_setting, &reading);

    if (line == -1)
        return dw_err_set(err, DW_NOTFOUND, "cannot open the settings file %s: %s", path, strerror(errno));
    if (line == -2)
        return dw_err_set(err, DW_NOMEM, "out of memory while reading %s", path);
    if (line > 0)
        return dw_err_set(err, DW_CONF, "%s, line %d: %s", path, line,
                          reading.rc != DW_OK ? reading.err.text : "not a [section] or key = value line");
    return replace(&conf->file, path, strlen(path), err);
}

#define PREFIX "DUMBWAITER_"

static bool names_setting(const struct setting *setting, const char *name, size_t len)
{
    size_t section = strlen(setting->section), key = strlen(setting->key);

    return len == section + 1 + key && strncasecmp(name, setting->section, section) == 0 && name[section] == '_' &&
           strncasecmp(name + section + 1, setting->key, key) == 0;
}

static int set_from_env(struct dw_conf *conf, const char *name, size_t len, const char *value, struct dw_err *err)
{
    size_t i;

    if ((len == 4 && strncmp(name, "CONF", 4) == 0) || (len == 2 && strncmp(name, "DB", 2) == 0))
        return DW_OK;
    for (i = 0; i < SETTINGS; i++) {
        if (names_setting(&settings[i], name, len))
            return dw_conf_set(conf, settings[i].section, settings[i].key, value, err);
    }
    return dw_err_set(err, DW_CONF, "%s%.*s names no setting (docs/settings.md lists them)", PREFIX, (int)len, name);
}

int dw_conf_env(struct dw_conf *conf, char *const *env, struct dw_err *err)
{
    int rc = DW_OK;

    for (; env != NULL && *env != NULL && rc == DW_OK; env++) {
        const char *equals = strchr(*env, '=');

        if (equals != NULL && strncmp(*env, PREFIX, sizeof PREFIX - 1) == 0)
            rc = set_from_env(conf, *env + sizeof PREFIX - 1, (size_t)(equals - *env) - (sizeof PREFIX - 1), equals + 1,
                              err);
    }
    return rc;
}

static const char *env_value(char *const *env, const char *name)
{
    size_t len = strlen(name);

    for (; env != NULL && *env != NULL; env++) {
        if (strncmp(*env, name, len) == 0 && (*env)[len] == '=')
            return *env + len + 1;
    }
    return NULL;
}

/* "DIR/name" for the folder of the running program; NULL when memory is short or the kernel won't say. */
static char *beside_program(const char *name)
{
    char path[4096];
    ssize_t len = readlink("/proc/self/exe", path, sizeof path - 1);
    char *slash, *result = NULL;

    if (len <= 0)
        return NULL;
    path[len] = '\0';
    slash = strrchr(path, '/');
    if (slash == NULL)
        return NULL;
    slash[1] = '\0';
    if (asprintf(&result, "%s%s", path, name) < 0)
        return NULL;
    return result;
}

static int read_default_file(struct dw_conf *conf, struct dw_err *err)
{
    static const char system_file[] = "/etc/dumbwaiter/dumbwaiter.conf";
    char *beside = beside_program("dumbwaiter.conf");
    int rc = DW_OK;

    if (beside != NULL && access(beside, F_OK) == 0)
        rc = dw_conf_read(conf, beside, err);
    else if (access(system_file, F_OK) == 0)
        rc = dw_conf_read(conf, system_file, err);
    free(beside);
    return rc;
}

/* An absolute path stays the same whatever the program's working directory becomes. */
static int finish_path(struct dw_conf *conf, struct dw_err *err)
{
    char *path = NULL;
    char cwd[4096];

    if (conf->store_path[0] == '/')
        return DW_OK;
    if (conf->store_path[0] == '\0') {
        path = beside_program("dumbwaiter.db");
        conf->path_by_default = true;
    } else if (getcwd(cwd, sizeof cwd) != NULL && asprintf(&path, "%s/%s", cwd, conf->store_path) < 0) {
        path = NULL;
    }
    if (path == NULL)
        return dw_err_set(err, DW_CONF, "cannot tell where the queue file is: set store.path to an absolute path");
    free(conf->store_path);
    conf->store_path = path;
    return DW_OK;
}

int dw_conf_apply(struct dw_conf *conf, const char *db, char *const *env, struct dw_err *err)
{
    int rc = dw_conf_env(conf, env, err);

    if (db == NULL)
        db = env_value(env, PREFIX "DB");
    if (rc == DW_OK && db != NULL && db[0] != '\0')
        rc = dw_conf_set(conf, "store", "path", db, err);
    return rc == DW_OK ? finish_path(conf, err) : rc;
}

int dw_conf_user(struct dw_conf *conf, const char *user, struct dw_err *err)
{
    return user != NULL ? dw_conf_set(conf, "process", "user", user, err) : DW_OK;
}

int dw_conf_load(struct dw_conf *conf, const char *config, const char *db, char *const *env, struct dw_err *err)
{
    const char *file = config != NULL ? config : env_value(env, PREFIX "CONF");
    int rc = dw_conf_init(conf, err);

    if (rc != DW_OK)
        return rc;
    rc = file != NULL && file[0] != '\0' ? dw_conf_read(conf, file, err) : read_default_file(conf, err);
    if (rc == DW_OK)
        rc = dw_conf_apply(conf, db, env, err);
    if (rc != DW_OK)
        dw_conf_fini(conf);
    return rc;
}

void dw_conf_each(const struct dw_conf *conf, dw_conf_fn *fn, void *context)
{
    size_t i;

    for (i = 0; i < SETTINGS; i++) {
        const char *base = (const char *)conf + settings[i].offset;
        char name[96], number[32];

        (void)snprintf(name, sizeof name, "%s.%s", settings[i].section, settings[i].key);
        (void)snprintf(number, sizeof number, "%" PRId64, *(const int64_t *)(const void *)base);
        fn(context, name, settings[i].kind == INT ? number : *(char *const *)(const void *)base);
    }
}
