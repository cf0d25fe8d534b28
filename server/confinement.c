#include "server/confinement.h"

#include <libpq-fe.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "lib/sandbox/sandbox.h"

#define PATHS_MAX 64

/** What the C library and the libraries beneath us open by themselves, some only at their first
 * use. */
static const char *const system_files[] = {
    "/dev/null",
    "/dev/urandom",
    "/etc/gai.conf",
    "/etc/host.conf",
    "/etc/hosts",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/etc/nsswitch.conf",
    "/etc/resolv.conf",
    "/etc/services",
    "/etc/ssl",
    "/run/NetworkManager", /* these three: where resolv.conf is a link to */
    "/run/resolvconf",
    "/run/systemd/resolve",
    "/usr/lib", /* modules of the name service switch */
    "/usr/share/zoneinfo",
};

/** Files that libpq reads again for every new connection. */
static const char *const conninfo_files[] = {"passfile", "sslcert",     "sslcrl",     "sslcrldir",
                                             "sslkey",   "sslrootcert", "servicefile"};

typedef struct Allowed {
    Arena *arena;
    size_t count;
    SandboxPath paths[PATHS_MAX];
} Allowed;

static void allow(Allowed *allowed, const char *path, SandboxAccess access)
{
    if (path[0] == '/' && allowed->count < PATHS_MAX) {
        allowed->paths[allowed->count++] = (SandboxPath){path, access};
    }
}

/** The folder too: a new version of the file takes the place of the old one by its name. */
static void allow_replaceable(Allowed *allowed, const char *path)
{
    const char *slash = strrchr(path, '/');
    allow(allowed, path, SANDBOX_READ);
    if (slash && slash > path) {
        allow(allowed, str_cstr(allowed->arena, (Str){path, (size_t)(slash - path)}), SANDBOX_READ);
    }
}

static bool is_replaceable(ConfigKeyId key)
{
    return config_is_path(key) && key != CONFIG_server_data_dir && key != CONFIG_database_bin_dir &&
           key != CONFIG_audit_head_copy;
}

static void allow_configured(Allowed *allowed, const Config *config)
{
    char absolute[PATH_MAX];

    allow_replaceable(allowed, realpath(config->file, absolute)
                                   ? str_cstr(allowed->arena, str_from(absolute))
                                   : config->file);
    for (int key = 0; key < CONFIG_KEY_COUNT; key++) {
        if (is_replaceable((ConfigKeyId)key)) {
            allow_replaceable(allowed, config->sources[key].text);
        }
    }
}

static void allow_conninfo(Allowed *allowed, const char *conninfo)
{
    PQconninfoOption *options = PQconninfoParse(conninfo, NULL);
    for (const PQconninfoOption *option = options; option && option->keyword; option++) {
        for (size_t i = 0; i < ARRAY_LEN(conninfo_files) && option->val; i++) {
            if (strcmp(option->keyword, conninfo_files[i]) == 0) {
                allow_replaceable(allowed, str_cstr(allowed->arena, str_from(option->val)));
            }
        }
    }
    PQconninfoFree(options);
}

bool confinement_enter(const Config *config, const char *const *folders, char *ret_problem,
                       size_t problem_size)
{
    if (!config->server.sandbox) {
        return true;
    }
    _cleanup_(arena_freep) Arena *arena = arena_new();
    Allowed allowed = {.arena = arena};
    for (size_t i = 0; folders[i]; i++) {
        allow(&allowed, str_printf(arena, "%s/%s", config->server.data_dir, folders[i]).data,
              SANDBOX_WRITE);
    }
    for (size_t i = 0; i < ARRAY_LEN(system_files); i++) {
        allow(&allowed, system_files[i], SANDBOX_READ);
    }
    allow_configured(&allowed, config);
    allow(&allowed, config->audit.head_copy, SANDBOX_WRITE);
    allow_conninfo(&allowed, config->database.conninfo);
    return sandbox_enter(SANDBOX_SERVER, allowed.paths, allowed.count, ret_problem, problem_size);
}

const char *confinement_state(const Config *config)
{
    SandboxSupport support = sandbox_support();
    if (!config->server.sandbox) {
        return "off: [server] sandbox = no";
    }
    return support.landlock_abi > 0 && support.has_seccomp ? "files and system calls"
           : support.has_seccomp ? "system calls alone: this kernel has no Landlock"
           : support.landlock_abi > 0
               ? "files alone: this kernel has no seccomp filters"
               : "none: this kernel has neither Landlock nor seccomp filters";
}

bool confinement_is_full(void)
{
    SandboxSupport support = sandbox_support();
    return support.landlock_abi > 0 && support.has_seccomp;
}
