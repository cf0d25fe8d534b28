#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <unistd.h>

#include "lib/base/file_io.h"
#include "lib/base/log.h"
#include "lib/sandbox/privileges.h"
#include "server/backup/restore_mark.h"
#include "server/confinement.h"
#include "server/process.h"

/* What the process may do and have on its machine. */

/* The default of [imaging] pixel_processes. */
#define PIXEL_PROCESSES_LEAST 4
#define PIXEL_PROCESSES_MOST 128
/** As many of the other jobs; none takes the places of another. */
#define ASSOCIATIONS_MOST 256
#define REQUESTORS_MOST 128
#define INSPECTORS_MOST 64
static_assert(ASSOCIATIONS_MOST + REQUESTORS_MOST + INSPECTORS_MOST + PIXEL_PROCESSES_MOST <=
                  DICOM_WORKERS_MAX,
              "all of them run at once");
/** Of what they have made and slow readers have not taken yet. */
#define PIXELS_ROOM_BYTES ((uint64_t)4 << 30)
/** Blob folders, segments, database connections, logs, and the admin listener. */
#define DESCRIPTORS_OF_OWN (512 + ADMIN_CONNECTIONS)

/* ---- data directory ---- */

/** Two processes on one data directory would write over each other's segments. The lock goes with
 * the process. */
static bool lock_data_dir(Process *p)
{
    const char *path = services_path(p->arena, p->config, "lock");
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) {
        return process_fail(p, "cannot open %s: %s", path, strerror(errno));
    }
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        close(fd);
        return process_fail(p, "another musubi serves data_dir %s", p->config->server.data_dir);
    }
    return true;
}

/** What an interrupted restore has left is no data of anybody. */
static bool check_restored(Process *p)
{
    ErrorList errors;
    error_list_init(&errors, p->arena);
    return restore_mark_check(p->config, &errors) == 0 ||
           process_fail(p, "%s: %.*s", p->config->server.data_dir, STR_ARG(errors.first->context));
}

bool process_take_data_dir(Process *p)
{
    return services_make_folders(p->config, p->problem, PROBLEM_BYTES) && lock_data_dir(p) &&
           check_restored(p);
}

/* ---- DICOM workers ---- */

static unsigned pixel_processes(const Config *config)
{
    const long by_processors = 2 * sysconf(_SC_NPROCESSORS_ONLN);
    return config->imaging.pixel_processes > 0
               ? config->imaging.pixel_processes
               : (unsigned)MIN(MAX(by_processors, PIXEL_PROCESSES_LEAST), PIXEL_PROCESSES_MOST);
}

bool process_start_workers(Process *p)
{
    if (!config_has_role(p->config, ROLE_IMAGING)) {
        return true;
    }
    p->workers = dicom_workers_start(p->problem, PROBLEM_BYTES);
    if (p->workers) {
        dicom_workers_limit(p->workers, JOB_ACCEPTOR, ASSOCIATIONS_MOST);
        dicom_workers_limit(p->workers, JOB_REQUESTOR, REQUESTORS_MOST);
        dicom_workers_limit(p->workers, JOB_INSPECTOR, INSPECTORS_MOST);
        dicom_workers_limit(p->workers, JOB_PIXELS, pixel_processes(p->config));
        dicom_workers_give_room(p->workers, services_path(p->arena, p->config, "spill"),
                                PIXELS_ROOM_BYTES);
    }
    return p->workers != NULL;
}

/* ---- limits ---- */

/** Of each connection: its socket, and over HTTP what it reads or writes meanwhile. */
static unsigned descriptors_of_one(ConfigKeyId key)
{
    bool is_http = key == CONFIG_server_https_listen || key == CONFIG_server_plain_http_listen;
    return key == CONFIG_server_admin_listen ? 0 : is_http ? 2 : 1;
}

/** Of one connection at each listener. */
static unsigned descriptors_of_all(const Config *config)
{
    unsigned count = 0;
    for (int key = 0; key < CONFIG_KEY_COUNT; key++) {
        bool is_used = config_is_listener((ConfigKeyId)key) && config->sources[key].text[0] != '\0';
        count += is_used ? descriptors_of_one((ConfigKeyId)key) : 0;
    }
    return MAX(count, 1U);
}

/**
 * The soft limit that shells and systemd give (1024) is for programs that use select(). What the
 * hard limit does not allow is not promised: a full listener is better than a store that cannot
 * open its files.
 */
void process_raise_descriptor_limit(Process *p)
{
    struct rlimit limit;
    unsigned configured = p->config->server.max_connections;
    rlim_t shares = descriptors_of_all(p->config);
    p->max_connections = configured;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return;
    }
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur < DESCRIPTORS_OF_OWN + shares * configured) {
        rlim_t left = limit.rlim_cur - MIN(limit.rlim_cur, (rlim_t)DESCRIPTORS_OF_OWN);
        p->max_connections = MAX((unsigned)(left / shares), 16U);
        log_warn("msg=\"too few file descriptors for max_connections\" limit=%lu wanted=%lu "
                 "max_connections=%u remedy=\"LimitNOFILE of the service, or ulimit -n\"",
                 (unsigned long)limit.rlim_cur,
                 (unsigned long)(DESCRIPTORS_OF_OWN + shares * configured), p->max_connections);
    }
}

/* ---- privileges ---- */

static bool give(Process *p, const struct passwd *user, const char *name)
{
    const char *path = services_path(p->arena, p->config, name);
    return chown(path, user->pw_uid, user->pw_gid) == 0 ||
           process_fail(p, "cannot give %s to user %s: %s", path, user->pw_name, strerror(errno));
}

static bool give_folders(Process *p, const struct passwd *user)
{
    bool is_given = give(p, user, "") && give(p, user, "lock");
    for (size_t i = 0; is_given && services_folders[i]; i++) {
        is_given = give(p, user, services_folders[i]);
    }
    return is_given;
}

/** Ports below 1024 are for those who still have privileges. */
static bool reserve_ports(Process *p)
{
    for (int key = 0; key < CONFIG_KEY_COUNT; key++) {
        const char *address = p->config->sources[key].text;
        if (config_is_listener((ConfigKeyId)key) && address[0] &&
            !socket_reserve(address, p->problem, PROBLEM_BYTES)) {
            return false;
        }
    }
    const char *udp = p->config->audit.syslog_udp_listen;
    return !udp[0] || socket_reserve_udp(udp, p->problem, PROBLEM_BYTES);
}

/** The sandbox allows what is there: the file is made while we may make it. */
static bool make_head_copy(Process *p, const struct passwd *user)
{
    const char *path = p->config->audit.head_copy;
    if (!path[0]) {
        return true;
    }
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    bool is_made = fd >= 0 && (!user || fchown(fd, user->pw_uid, user->pw_gid) == 0);
    int failed = errno;
    io_closep(&fd);
    return is_made ||
           process_fail(p, "[audit] head_copy %s cannot be written: %s", path, strerror(failed));
}

static bool become_user(Process *p)
{
    if (geteuid() != 0) {
        return make_head_copy(p, NULL) &&
               privileges_drop(geteuid(), getegid(), p->problem, PROBLEM_BYTES);
    }
    const struct passwd *user = getpwnam(p->config->server.user);
    if (!user || user->pw_uid == 0) {
        return process_fail(
            p, "[server] user = %s: no such user, or it is root; make it with: useradd --system %s",
            p->config->server.user, p->config->server.user);
    }
    return give_folders(p, user) && make_head_copy(p, user) &&
           privileges_drop(user->pw_uid, user->pw_gid, p->problem, PROBLEM_BYTES);
}

bool process_drop_privileges(Process *p)
{
    return reserve_ports(p) && become_user(p);
}

bool process_confine(Process *p)
{
    if (!p->config->server.sandbox || !confinement_is_full()) {
        log_warn("msg=\"the sandbox is not complete\" in_force=\"%s\"",
                 confinement_state(p->config));
    }
    return confinement_enter(p->config, services_folders, p->problem, PROBLEM_BYTES);
}
