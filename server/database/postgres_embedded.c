#include "server/database/postgres_embedded.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/crc32c.h"
#include "lib/db/db.h"

#define START_TIMEOUT_NS 300000000000LL /* crash recovery of much WAL included */
#define STOP_TIMEOUT_NS 60000000000LL
#define REMAINS_TIMEOUT_NS 20000000000LL /* of a killed postmaster's processes */
#define DYING_TIMEOUT_NS 1000000000LL
#define POLL_PAUSE_NS 3000000
#define SUPERUSER "postgres"
#define DATABASE "musubi"

/** Connections of subscribers (one each), of commands, of autovacuum and of an operator's psql,
 * beside the pool's. */
#define SPARE_CONNECTIONS 60

#define MIB (1024ULL * 1024)
#define GIB (1024 * MIB)
#define MAX_DEFAULT_SHARED_BUFFERS (6 * GIB)

struct Postgres {
    Arena *arena;
    ErrorList *errors;
    const char *data_dir; /* data_dir of the server */
    const char *base;     /* data_dir/postgres */
    const char *cluster;  /* data_dir/postgres/data */
    const char *log_file; /* of initdb, and of the postmaster before its collector runs */
    const char *bin_dir;
    const char *socket_dir;
    uint64_t shared_buffers_bytes;
    unsigned max_connections;
    const char *user; /* NULL: programs run as this process does */
    uid_t uid;
    gid_t gid;
    pid_t pid;
    bool is_adopted;
    int turn_fd; /* lock file: whoever starts or stops the postmaster holds it meanwhile */
    int use_fd;  /* lock file: shared by all processes that have called postgres_start() */
};

static int fail(const Postgres *postgres, const char *what, const char *path)
{
    return error_add(postgres->errors, ERR_DATABASE, path, "%s: %s", what, strerror(errno));
}

static void pause_briefly(void)
{
    const struct timespec pause = {.tv_nsec = POLL_PAUSE_NS};
    nanosleep(&pause, NULL);
}

static const char *join(Arena *arena, const char *folder, const char *name)
{
    return str_printf(arena, "%s/%s", folder, name).data;
}

/* Files and folders */

/** Makes the folder with mode 0700 for the service user, unless it exists. */
static int make_folder(const Postgres *postgres, const char *path)
{
    if (mkdir(path, 0700) < 0) {
        return errno == EEXIST ? 0 : fail(postgres, "cannot make the folder", path);
    }
    if (postgres->user && chown(path, postgres->uid, postgres->gid) < 0) {
        return fail(postgres, "cannot give the folder to the service user", path);
    }
    return 0;
}

static int remove_entry(const char *path, const struct stat *info, int type, struct FTW *place)
{
    (void)info;
    (void)type;
    (void)place;
    return remove(path);
}

/** Removes what an interrupted initdb left. */
static int remove_tree(const Postgres *postgres, const char *path)
{
    if (nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS) < 0 && errno != ENOENT) {
        return fail(postgres, "cannot remove the folder", path);
    }
    return 0;
}

static int sync_path(const Postgres *postgres, const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0 || fsync(fd) < 0) {
        int rc = fail(postgres, "cannot sync", path);
        if (fd >= 0) {
            close(fd);
        }
        return rc;
    }
    close(fd);
    return 0;
}

/** The whole file, at most 64 KiB, in the arena; empty if it cannot be read. */
static Str read_text(Arena *arena, const char *path)
{
    enum { MAX_BYTES = 64 * 1024 };
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0) {
        return STR_EMPTY;
    }
    char *bytes = arena_alloc(arena, MAX_BYTES);
    ssize_t len = read(fd, bytes, MAX_BYTES);
    close(fd);
    return len > 0 ? (Str){bytes, (size_t)len} : STR_EMPTY;
}

static int write_text(const Postgres *postgres, const char *path, Str text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) {
        return fail(postgres, "cannot write", path);
    }
    bool is_good = write(fd, text.data, text.len) == (ssize_t)text.len && fsync(fd) == 0 &&
                   (!postgres->user || fchown(fd, postgres->uid, postgres->gid) == 0);
    if (close(fd) < 0 || !is_good) {
        return fail(postgres, "cannot write", path);
    }
    return 0;
}

static bool is_complaint(Str line)
{
    static const char *const words[] = {"error:", "FATAL:", "PANIC:"};
    bool is_complaint = false;
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        is_complaint = is_complaint || str_contains(line, str_from(words[i]));
    }
    return is_complaint;
}

/** The line of the log that says why a program failed: the first complaint, behind which comes what
 * followed from it; without any, the last line. */
static Str failure_in_log(const Postgres *postgres)
{
    Str rest = read_text(postgres->arena, postgres->log_file);
    Str failure = STR_EMPTY;
    Str line;

    while (!is_complaint(failure) && str_split_next(&rest, '\n', &line)) {
        line = str_trim(line);
        failure = str_is_empty(line) ? failure : line;
    }
    return failure;
}

static int open_lock(const Postgres *postgres, const char *name, int *ret_fd)
{
    const char *path = join(postgres->arena, postgres->base, name);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    if (fd < 0 || (postgres->user && fchown(fd, postgres->uid, postgres->gid) < 0)) {
        return fail(postgres, "cannot open the lock file", path);
    }
    *ret_fd = fd;
    return 0;
}

static void close_locks(const Postgres *postgres)
{
    close(postgres->use_fd);
    close(postgres->turn_fd);
}

/* Programs */

/** In the child: becomes the service user and runs the program, detached from our terminal, signals
 * and files. */
static _Noreturn void exec_program(const Postgres *postgres, const char *const *argv)
{
    sigset_t none;
    char *const *arguments; /* execv() changes none of them, but is older than const */
    int null = open("/dev/null", O_RDONLY);
    int log = open(postgres->log_file, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    if (null < 0 || log < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(log, STDOUT_FILENO) < 0 ||
        dup2(log, STDERR_FILENO) < 0) {
        _exit(127);
    }
    close_range(STDERR_FILENO + 1, ~0U, 0);
    for (int signal_number = 1; signal_number < NSIG; signal_number++) {
        signal(signal_number, SIG_DFL);
    }
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setsid();
    umask(077);
    if (postgres->user && (fchown(STDERR_FILENO, postgres->uid, postgres->gid) < 0 ||
                           initgroups(postgres->user, postgres->gid) < 0 ||
                           setgid(postgres->gid) < 0 || setuid(postgres->uid) < 0)) {
        dprintf(STDERR_FILENO, "cannot become %s: %s\n", postgres->user, strerror(errno));
        _exit(127);
    }
    if (chdir(postgres->base) < 0) {
        dprintf(STDERR_FILENO, "%s is not reachable for the service user: %s\n", postgres->base,
                strerror(errno));
        _exit(127);
    }
    memcpy(&arguments, &argv, sizeof(arguments));
    execv(argv[0], arguments);
    dprintf(STDERR_FILENO, "cannot run %s: %s\n", argv[0], strerror(errno));
    _exit(127);
}

static int spawn(const Postgres *postgres, const char *const *argv, pid_t *ret_pid)
{
    pid_t pid = fork();

    if (pid < 0) {
        return fail(postgres, "cannot fork", argv[0]);
    }
    if (pid == 0) {
        exec_program(postgres, argv);
    }
    *ret_pid = pid;
    return 0;
}

static int fail_program(const Postgres *postgres, const char *program)
{
    return error_add(postgres->errors, ERR_DATABASE, postgres->log_file, "%s failed: %.*s", program,
                     STR_ARG(failure_in_log(postgres)));
}

static int run(const Postgres *postgres, const char *const *argv)
{
    int status = 0;
    pid_t pid = 0;

    int rc = spawn(postgres, argv, &pid);
    if (rc < 0) {
        return rc;
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : fail_program(postgres, argv[0]);
}

/* Settings */

/** Where distributions put the programs of PostgreSQL 15. */
static const char *const usual_bin_dirs[] = {"/usr/lib/postgresql/15/bin", "/usr/pgsql-15/bin",
                                             "/usr/local/pgsql/bin", "/usr/local/bin", "/usr/bin"};

static bool has_programs(const Postgres *postgres, const char *bin_dir)
{
    return access(join(postgres->arena, bin_dir, "initdb"), X_OK) == 0 &&
           access(join(postgres->arena, bin_dir, "postgres"), X_OK) == 0;
}

static int find_bin_dir(Postgres *postgres, const char *configured)
{
    const size_t count = configured[0] ? 1 : ARRAY_LEN(usual_bin_dirs);
    const char *const *candidates = configured[0] ? &configured : usual_bin_dirs;

    for (size_t i = 0; i < count; i++) {
        if (has_programs(postgres, candidates[i])) {
            postgres->bin_dir = candidates[i];
            return 0;
        }
    }
    return error_add(
        postgres->errors, ERR_CONFIGURATION, NULL,
        "PostgreSQL's programs are not in %s; install postgresql-15, or set [database] bin_dir",
        candidates[0]);
}

const char *postgres_program(const char *bin_dir, const char *name, Arena *arena, ErrorList *errors)
{
    const size_t count = bin_dir[0] ? 1 : ARRAY_LEN(usual_bin_dirs);
    const char *const *candidates = bin_dir[0] ? &bin_dir : usual_bin_dirs;

    for (size_t i = 0; i < count; i++) {
        const char *path = join(arena, candidates[i], name);
        if (access(path, X_OK) == 0) {
            return path;
        }
    }
    (void)error_add(errors, ERR_CONFIGURATION, NULL,
                    "%s is not in %s; install postgresql-client-15, or set [database] bin_dir",
                    name, candidates[0]);
    return NULL;
}

static uint64_t default_shared_buffers(void)
{
    uint64_t memory = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    return MIN(memory / 4, MAX_DEFAULT_SHARED_BUFFERS);
}

/** Statements and details stay out of the log: they hold patient data. */
static Str settings_text(const Postgres *postgres)
{
    return str_printf(
        postgres->arena,
        "# Written by musubi at every start; change [database] of its configuration instead.\n"
        "listen_addresses = ''\n"
        "unix_socket_directories = '%s'\n"
        "unix_socket_permissions = 0700\n"
        "max_connections = %u\n"
        "shared_buffers = %lluMB\n"
        "effective_cache_size = %lluMB\n"
        "maintenance_work_mem = 128MB\n"
        "fsync = on\n"
        "full_page_writes = on\n"
        "synchronous_commit = on\n"
        "data_sync_retry = off\n"
        "wal_level = replica\n"
        "max_wal_size = 4GB\n"
        "checkpoint_timeout = 15min\n"
        "random_page_cost = 1.1\n"
        "jit = off\n"
        "timezone = 'UTC'\n"
        "lc_messages = 'C'\n"
        "logging_collector = on\n"
        "log_directory = '../log'\n"
        "log_filename = 'postgresql-%%d.log'\n"
        "log_truncate_on_rotation = on\n"
        "log_rotation_age = 1d\n"
        "log_timezone = 'UTC'\n"
        "log_min_messages = log\n"
        "log_min_error_statement = panic\n"
        "log_error_verbosity = terse\n",
        postgres->socket_dir, postgres->max_connections,
        (unsigned long long)(postgres->shared_buffers_bytes / MIB),
        (unsigned long long)(postgres->shared_buffers_bytes * 3 / MIB));
}

static const char *settings_path(const Postgres *postgres)
{
    return join(postgres->arena, postgres->cluster, "postgresql.conf");
}

static bool has_same_settings(const Postgres *postgres)
{
    return str_equal(read_text(postgres->arena, settings_path(postgres)), settings_text(postgres));
}

/* A UNIX socket's path has 107 bytes at most, and ".s.PGSQL.5432.lock" goes behind the folder. */
static bool fits_socket(const char *folder)
{
    return strlen(folder) + sizeof("/.s.PGSQL.5432") <= sizeof(((struct sockaddr_un *)0)->sun_path);
}

/**
 * data_dir/postgres, or where that is too long a folder of ours in /run or /tmp whose name follows
 * from data_dir, so that commands and the next start find it. A folder that somebody else has put
 * there is refused.
 */
static int choose_socket_dir(Postgres *postgres)
{
    struct stat info;

    if (fits_socket(postgres->base)) {
        postgres->socket_dir = postgres->base;
        return 0;
    }
    postgres->socket_dir =
        str_printf(postgres->arena, "/tmp/musubi-%u-%08x", (unsigned)postgres->uid,
                   crc32c(0, postgres->base, strlen(postgres->base)))
            .data;
    int rc = make_folder(postgres, postgres->socket_dir);
    if (rc < 0) {
        return rc;
    }
    if (lstat(postgres->socket_dir, &info) < 0 || !S_ISDIR(info.st_mode) ||
        info.st_uid != postgres->uid || (info.st_mode & 077) != 0) {
        return error_add(postgres->errors, ERR_DATABASE, postgres->socket_dir,
                         "this folder must belong to the service user alone; remove it, or choose "
                         "a shorter data_dir");
    }
    return 0;
}

/** As root, the programs run as the configured user; otherwise as the caller. */
static int choose_user(Postgres *postgres, const char *name)
{
    postgres->uid = geteuid();
    postgres->gid = getegid();
    if (postgres->uid != 0) {
        return 0;
    }
    const struct passwd *entry = getpwnam(name);
    if (!entry || entry->pw_uid == 0) {
        return error_add(postgres->errors, ERR_CONFIGURATION, NULL,
                         "[server] user = %s: PostgreSQL does not run as root; name an existing "
                         "user that is not root",
                         name);
    }
    postgres->user = str_cstr(postgres->arena, str_from(name));
    postgres->uid = entry->pw_uid;
    postgres->gid = entry->pw_gid;
    return 0;
}

/** Paths, from an absolute data_dir. */
static int locate(Postgres *postgres, const Config *config)
{
    char absolute[PATH_MAX];

    if (!realpath(config->server.data_dir, absolute)) {
        return fail(postgres, "data_dir cannot be used", config->server.data_dir);
    }
    if (strpbrk(absolute, "'\\,\n")) { /* it goes into settings and connection texts */
        return error_add(postgres->errors, ERR_CONFIGURATION, config->server.data_dir,
                         "data_dir must be a path without quote, backslash and comma");
    }
    postgres->data_dir = str_cstr(postgres->arena, str_from(absolute));
    postgres->base = join(postgres->arena, postgres->data_dir, "postgres");
    postgres->cluster = join(postgres->arena, postgres->base, "data");
    postgres->log_file = join(postgres->arena, postgres->base, "start.log");
    postgres->max_connections = config->database.pool_size + SPARE_CONNECTIONS;
    postgres->shared_buffers_bytes = config->database.shared_buffers_bytes;
    if (postgres->shared_buffers_bytes == 0) {
        postgres->shared_buffers_bytes = default_shared_buffers();
    }
    return 0;
}

/* Postmaster */

/** Line number index (from 0) of postmaster.pid; its lines are pid, data, start time, port, socket
 * folder, ..., state. */
static Str pid_file_line(const Postgres *postgres, unsigned index)
{
    Str rest =
        read_text(postgres->arena, join(postgres->arena, postgres->cluster, "postmaster.pid"));
    Str line;

    for (unsigned i = 0; str_split_next(&rest, '\n', &line); i++) {
        if (i == index) {
            return str_trim(line);
        }
    }
    return STR_EMPTY;
}

/** The live postmaster of this cluster; its working folder tells it from a process that has the
 * same number by chance. */
static pid_t live_postmaster(const Postgres *postgres)
{
    uint64_t pid = 0;
    char cwd[PATH_MAX];

    if (!str_to_u64(pid_file_line(postgres, 0), &pid) || pid < 2 || pid > INT_MAX ||
        kill((pid_t)pid, 0) < 0) {
        return 0;
    }
    const char *link = str_printf(postgres->arena, "/proc/%llu/cwd", (unsigned long long)pid).data;
    ssize_t len = readlink(link, cwd, sizeof(cwd));
    return len > 0 && str_equal((Str){cwd, (size_t)len}, str_from(postgres->cluster)) ? (pid_t)pid
                                                                                      : 0;
}

static bool is_ready(const Postgres *postgres)
{
    return str_equal(pid_file_line(postgres, 7), STR("ready"));
}

/** Also true for a zombie that an adopted postmaster leaves where nobody reaps it: it has no
 * working folder. */
static bool has_ended(const Postgres *postgres)
{
    char cwd[1];
    char link[64];

    (void)snprintf(link, sizeof(link), "/proc/%d/cwd", (int)postgres->pid);
    return waitpid(postgres->pid, NULL, WNOHANG) == postgres->pid ||
           (readlink(link, cwd, sizeof(cwd)) < 0 && errno == ENOENT);
}

typedef enum StartState {
    START_READY,
    START_ENDED,
    START_TIMED_OUT,
} StartState;

static StartState wait_started(const Postgres *postgres)
{
    const int64_t deadline_ns = clock_now_ns() + START_TIMEOUT_NS;

    while (clock_now_ns() < deadline_ns) {
        if (has_ended(postgres)) {
            return START_ENDED;
        }
        if (live_postmaster(postgres) == postgres->pid && is_ready(postgres)) {
            return START_READY;
        }
        pause_briefly();
    }
    return START_TIMED_OUT;
}

static int fail_start(const Postgres *postgres, StartState state)
{
    if (state == START_READY) {
        return 0;
    }
    if (state == START_ENDED) {
        return fail_program(postgres, "postgres");
    }
    return error_add(postgres->errors, ERR_DATABASE, postgres->log_file,
                     "PostgreSQL did not become ready within five minutes");
}

/**
 * A postmaster that was killed is for a moment a process that nobody has reaped, and its backends
 * hold the shared memory until they notice: meanwhile no other one starts.
 */
static bool is_held_by_remains(const Postgres *postgres)
{
    Str line = failure_in_log(postgres);
    return str_contains(line, STR("\"postmaster.pid\" already exists")) ||
           str_contains(line, STR("is still in use"));
}

static int start_postmaster(Postgres *postgres)
{
    const char *const argv[] = {join(postgres->arena, postgres->bin_dir, "postgres"), "-D",
                                postgres->cluster, NULL};
    const int64_t deadline_ns = clock_now_ns() + REMAINS_TIMEOUT_NS;
    StartState state;

    int rc = write_text(postgres, settings_path(postgres), settings_text(postgres));
    if (rc < 0) {
        return rc;
    }
    do {
        if ((rc = spawn(postgres, argv, &postgres->pid)) < 0) {
            return rc;
        }
        state = wait_started(postgres);
    } while (state == START_ENDED && is_held_by_remains(postgres) && clock_now_ns() < deadline_ns);
    return fail_start(postgres, state);
}

/** Makes the cluster under another name first, so that one that was interrupted is never taken for
 * whole. */
static int make_cluster(const Postgres *postgres)
{
    const char *fresh = join(postgres->arena, postgres->base, "data.new");
    const char *const argv[] = {join(postgres->arena, postgres->bin_dir, "initdb"),
                                "-D",
                                fresh,
                                "--data-checksums",
                                "--auth=trust",
                                "--encoding=UTF8",
                                "--locale=C",
                                "-U",
                                SUPERUSER,
                                NULL};
    int rc;

    if ((rc = remove_tree(postgres, fresh)) < 0 || (rc = run(postgres, argv)) < 0) {
        return rc;
    }
    if (rename(fresh, postgres->cluster) < 0) {
        return fail(postgres, "cannot rename to", postgres->cluster);
    }
    return sync_path(postgres, postgres->base);
}

static int stop_postmaster(const Postgres *postgres, ErrorList *errors)
{
    const int64_t deadline_ns = clock_now_ns() + STOP_TIMEOUT_NS;

    if (kill(postgres->pid, SIGINT) < 0 && errno != ESRCH) {
        return error_add(errors, ERR_DATABASE, postgres->cluster, "cannot stop PostgreSQL: %s",
                         strerror(errno));
    }
    while (!has_ended(postgres)) {
        if (clock_now_ns() > deadline_ns) {
            return error_add(errors, ERR_DATABASE, postgres->cluster,
                             "PostgreSQL did not stop within a minute");
        }
        pause_briefly();
    }
    return 0;
}

/** Whether no other process uses the postmaster; if so, none can begin to while we have the turn.
 */
static bool is_last_user(const Postgres *postgres)
{
    return flock(postgres->use_fd, LOCK_EX | LOCK_NB) == 0;
}

int postgres_stop(Postgres *postgres, ErrorList *errors)
{
    int rc = 0;

    flock(postgres->turn_fd, LOCK_EX);
    if (is_last_user(postgres)) {
        rc = stop_postmaster(postgres, errors);
        if (strcmp(postgres->socket_dir, postgres->base) != 0) {
            rmdir(postgres->socket_dir);
        }
    }
    close_locks(postgres);
    return rc;
}

/** Takes over a live postmaster, unless its settings are not today's. */
static int adopt_or_start(Postgres *postgres)
{
    postgres->pid = live_postmaster(postgres);
    if (postgres->pid > 0 && has_same_settings(postgres)) {
        postgres->is_adopted = true;
        return fail_start(postgres, wait_started(postgres));
    }
    if (postgres->pid > 0 && !is_last_user(postgres)) {
        return error_add(
            postgres->errors, ERR_DATABASE, postgres->cluster,
            "another process uses this database with other settings of [database]; stop it first");
    }
    if (postgres->pid > 0) {
        int rc = stop_postmaster(postgres, postgres->errors);
        if (rc < 0) {
            return rc;
        }
    }
    return start_postmaster(postgres);
}

/* Roles and database */

static const DbStatement has_database = {
    "postgres_has_database", "SELECT 1 FROM pg_database WHERE datname = '" DATABASE "'"};
static const DbStatement make_database = {"postgres_make_database", "CREATE DATABASE " DATABASE
                                                                    " OWNER " POSTGRES_OWNER_ROLE};
static const char make_roles[] =
    "DO $$ BEGIN"
    "  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '" POSTGRES_OWNER_ROLE "') THEN"
    "    CREATE ROLE " POSTGRES_OWNER_ROLE " LOGIN; END IF;"
    "  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '" POSTGRES_SERVICE_ROLE "') THEN"
    "    CREATE ROLE " POSTGRES_SERVICE_ROLE " LOGIN; END IF;"
    "END $$";

/** The database is made last: where it exists, the roles do. */
static int make_roles_and_database(DbPool *pool, Request *req)
{
    _cleanup_(db_releasep) DbConn *conn = NULL;
    DbResult *result = NULL;
    int rc;

    if ((rc = db_acquire(pool, req, &conn)) < 0 ||
        (rc = db_exec(conn, req, &has_database, NULL, &result)) < 0) {
        return rc;
    }
    if (db_rows(result) > 0) {
        return 0;
    }
    rc = db_run_script(conn, req, make_roles);
    return rc < 0 ? rc : db_exec(conn, req, &make_database, NULL, NULL);
}

static const char *conninfo(const Postgres *postgres, const char *role, const char *database)
{
    return str_printf(postgres->arena, "host='%s' port=5432 user=%s dbname=%s",
                      postgres->socket_dir, role, database)
        .data;
}

static int prepare_database(const Postgres *postgres)
{
    DbPool *pool = db_pool_new(conninfo(postgres, SUPERUSER, "postgres"), 1);
    Request *req = request_new(60000);

    int rc = make_roles_and_database(pool, req);
    if (rc < 0) {
        rc = error_add(postgres->errors, ERR_DATABASE, postgres->cluster,
                       "cannot make roles and database: %s", db_last_failure());
    }
    request_free(req);
    db_pool_free(pool);
    return rc;
}

/** Finds programs and user, makes the folders around the cluster, opens the locks. */
static int prepare_surroundings(Postgres *postgres, const Config *config)
{
    int rc;

    if ((rc = choose_user(postgres, config->server.user)) < 0 ||
        (rc = find_bin_dir(postgres, config->database.bin_dir)) < 0 ||
        (rc = make_folder(postgres, config->server.data_dir)) < 0 ||
        (rc = locate(postgres, config)) < 0 || (rc = make_folder(postgres, postgres->base)) < 0 ||
        (rc = make_folder(postgres, join(postgres->arena, postgres->base, "log"))) < 0 ||
        (rc = choose_socket_dir(postgres)) < 0 ||
        (rc = open_lock(postgres, "turn.lock", &postgres->turn_fd)) < 0) {
        return rc;
    }
    return open_lock(postgres, "use.lock", &postgres->use_fd);
}

/** Whether the adopted postmaster is gone a moment later: it was dying of kill -9 when it was
 * found.
 */
static bool was_dying(const Postgres *postgres)
{
    const int64_t deadline_ns = clock_now_ns() + DYING_TIMEOUT_NS;

    while (postgres->is_adopted && clock_now_ns() < deadline_ns) {
        if (has_ended(postgres)) {
            return true;
        }
        pause_briefly();
    }
    return false;
}

static int bring_up(Postgres *postgres)
{
    int rc = 0;

    if (access(join(postgres->arena, postgres->cluster, "PG_VERSION"), F_OK) < 0) {
        rc = make_cluster(postgres);
    }
    if (rc == 0) {
        rc = adopt_or_start(postgres);
    }
    if (rc == 0) {
        rc = prepare_database(postgres);
    }
    if (rc < 0 && was_dying(postgres)) {
        error_list_init(postgres->errors, postgres->arena);
        postgres->is_adopted = false;
        rc = start_postmaster(postgres);
        rc = rc < 0 ? rc : prepare_database(postgres);
    }
    return rc;
}

int postgres_start(const Config *config, Arena *arena, ErrorList *errors, Postgres **ret_postgres)
{
    Postgres *postgres = ARENA_NEW(arena, Postgres);

    postgres->arena = arena;
    postgres->errors = errors;
    int rc = prepare_surroundings(postgres, config);
    if (rc < 0) {
        return rc;
    }
    flock(postgres->turn_fd, LOCK_EX);
    rc = bring_up(postgres);
    if (rc < 0) {
        close_locks(postgres);
        return rc;
    }
    flock(postgres->use_fd, LOCK_SH);
    flock(postgres->turn_fd, LOCK_UN);
    *ret_postgres = postgres;
    return 0;
}

int postgres_revive(Postgres *postgres, ErrorList *errors, bool *ret_was_dead)
{
    *ret_was_dead = has_ended(postgres);
    if (!*ret_was_dead) {
        return 0;
    }
    postgres->errors = errors;
    flock(postgres->turn_fd, LOCK_EX);
    int rc = adopt_or_start(postgres);
    flock(postgres->turn_fd, LOCK_UN);
    return rc;
}

bool postgres_find(const Config *config, Arena *arena, Postgres **ret_postgres)
{
    Postgres *postgres = ARENA_NEW(arena, Postgres);
    ErrorList ignored;

    error_list_init(&ignored, arena);
    postgres->arena = arena;
    postgres->errors = &ignored;
    if (locate(postgres, config) < 0) {
        return false;
    }
    postgres->pid = live_postmaster(postgres);
    postgres->socket_dir = str_cstr(arena, pid_file_line(postgres, 4));
    postgres->is_adopted = true;
    postgres->errors = NULL;
    if (postgres->pid == 0 || !is_ready(postgres)) {
        return false;
    }
    *ret_postgres = postgres;
    return true;
}

const char *postgres_conninfo(const Postgres *postgres, const char *role)
{
    return conninfo(postgres, role, DATABASE);
}

bool postgres_is_adopted(const Postgres *postgres)
{
    return postgres->is_adopted;
}
