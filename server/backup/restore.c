#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <libpq-fe.h>
#include <pwd.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "atna/restored.h"
#include "lib/base/fail.h"
#include "lib/base/file_io.h"
#include "server/backup/backup.h"
#include "server/backup/program.h"
#include "server/backup/restore_mark.h"
#include "server/database/migrate.h"
#include "server/database/postgres_embedded.h"
#include "server/services.h"

/** Zeros of a file that are left out, so that holes come back as holes. */
#define BLOCK_BYTES ((size_t)4096)
#define PROBLEM_BYTES 512

typedef struct Restoring {
    CommandContext *context;
    BackupStore *store;
    const char *generation;
    ErrorList *errors;
    StrBuf piece;
} Restoring;

/* ------------------------------------------------------------------ nothing is there yet */

typedef bool (*AllowedFn)(const char *path);

/** Whether the folder has nothing but lost+found and what is allowed; one that is not there has
 * nothing. */
static bool has_nothing_but(const char *path, AllowedFn is_allowed)
{
    _cleanup_(arena_freep) Arena *arena = arena_new();
    DIR *listing = opendir(path);
    bool is_empty = true;
    if (!listing) {
        return errno == ENOENT;
    }
    for (struct dirent *entry = readdir(listing); is_empty && entry; entry = readdir(listing)) {
        const char *name = entry->d_name;
        is_empty = strcmp(name, ".") == 0 || strcmp(name, "..") == 0 ||
                   strcmp(name, "lost+found") == 0 ||
                   is_allowed(str_printf(arena, "%s/%s", path, name).data);
    }
    (void)closedir(listing);
    return is_empty;
}

static bool is_never_allowed(const char *path)
{
    (void)path;
    return false;
}

/** A mount point, perhaps, or a link to a folder elsewhere. */
static bool is_empty_folder(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode) &&
           has_nothing_but(path, is_never_allowed);
}

static int check_data_dir(const Restoring *restoring)
{
    const Config *config = restoring->context->config;
    int rc = restore_mark_check(config, restoring->errors);
    if (rc == 0 && !has_nothing_but(config->server.data_dir, is_empty_folder)) {
        rc = error_add(restoring->errors, ERR_CONFIGURATION, config->server.data_dir,
                       "data_dir is not empty: musubi restore takes an empty one only; stop the "
                       "server, move what is there away, and try again");
    }
    return rc;
}

static int check_schema(const Restoring *restoring)
{
    _cleanup_(manifest_reader_freep) ManifestReader *reader = NULL;
    int rc =
        manifest_reader_open(restoring->store, restoring->generation, restoring->errors, &reader);
    if (rc == 0 && manifest_reader_head(reader)->schema > (int)migration_count) {
        rc = error_add(restoring->errors, ERR_CONFIGURATION, restoring->generation,
                       "the backup has schema version %d, this program knows %zu; use a newer "
                       "program, which has version %d at least",
                       manifest_reader_head(reader)->schema, migration_count,
                       manifest_reader_head(reader)->schema);
    }
    return rc;
}

/* With what a schema public that was dropped has left: the views of the past are in one of their
 * own (migrations/0022_history.sql). */
static const DbStatement statement_count = {
    "restore_count", "SELECT (SELECT count(*) FROM pg_class WHERE relnamespace ="
                     " current_schema()::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'S')),"
                     " to_regnamespace(current_schema() || '_past') IS NOT NULL"};

static int check_database(const Restoring *restoring)
{
    DbResult *result = NULL;
    Request *req = restoring->context->req;
    int rc = db_exec(restoring->context->conn, req, &statement_count, NULL, &result);
    if (rc == 0 && db_i64(result, 0, 0) > 0) {
        rc = error_add(restoring->errors, ERR_CONFIGURATION, "[database] owner_conninfo",
                       "the database is not empty: it has %lld tables; name an empty one",
                       (long long)db_i64(result, 0, 0));
    } else if (rc == 0 && db_bool(result, 0, 1)) {
        rc = error_add(restoring->errors, ERR_CONFIGURATION, "[database] owner_conninfo",
                       "the database is not empty: it has the schema public_past; name an empty "
                       "one");
    }
    return rc;
}

/* ------------------------------------------------------------------ files */

/** As the service user would have made it. */
static int make_parents(const char *path, size_t root_len)
{
    _cleanup_(arena_freep) Arena *arena = arena_new();
    char *copy = str_cstr(arena, str_from(path));
    for (char *slash = strchr(copy + root_len + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(copy, 0700) < 0 && errno != EEXIST) {
            return -errno;
        }
        *slash = '/';
    }
    return 0;
}

static bool is_zero(const char *bytes, size_t len)
{
    return bytes[0] == 0 && memcmp(bytes, bytes + 1, len - 1) == 0;
}

/** Writes the blocks that are not zero. @return 0 or -errno */
static int write_blocks(int fd, Str bytes, uint64_t offset)
{
    for (size_t i = 0; i < bytes.len; i += BLOCK_BYTES) {
        Str block = str_slice(bytes, i, BLOCK_BYTES);
        int rc = is_zero(block.data, block.len)
                     ? 0
                     : io_pwrite_all(fd, block.data, block.len, offset + i);
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

static int fail_piece(const Restoring *restoring, const BackupDigest *digest, int error)
{
    const char *path = backup_object_path(restoring->context->arena, digest);
    return error_add(restoring->errors, ERR_CORRUPT, path,
                     "a piece of the backup %s; musubi backup verify tells what else is wrong; "
                     "take another generation",
                     error == -EBADMSG  ? "is damaged"
                     : error == -ENOENT ? "is missing"
                                        : strerror(-error));
}

static int fill_file(Restoring *restoring, const ManifestFile *file, int fd, const char *path)
{
    for (size_t i = 0; i < file->piece_count; i++) {
        if (backup_digest_is_hole(&file->pieces[i])) {
            continue;
        }
        int rc = backup_store_get(restoring->store, &file->pieces[i], &restoring->piece);
        if (rc < 0) {
            return fail_piece(restoring, &file->pieces[i], rc);
        }
        rc = write_blocks(fd, strbuf_str(&restoring->piece), (uint64_t)i * BACKUP_PIECE_BYTES);
        if (rc < 0) {
            return backup_io_error(restoring->errors, path, "it cannot be written", -rc);
        }
    }
    if (ftruncate(fd, (off_t)file->size_bytes) < 0) {
        return backup_io_error(restoring->errors, path, "it cannot be written", errno);
    }
    return 0;
}

/** @param folder  that the path of the file is below */
static int write_file(Restoring *restoring, const ManifestFile *file, const char *folder)
{
    _cleanup_(arena_freep) Arena *arena = arena_new();
    const char *path = str_printf(arena, "%s/%.*s", folder, STR_ARG(file->path)).data;
    int rc = make_parents(path, strlen(folder));
    _cleanup_(io_closep) int fd =
        rc < 0 ? -1 : open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        return backup_io_error(restoring->errors, path, "it cannot be written",
                               rc < 0 ? -rc : errno);
    }
    return fill_file(restoring, file, fd, path);
}

/* ------------------------------------------------------------------ the database */

static int feed(Restoring *restoring, const ManifestFile *file, int fd)
{
    for (size_t i = 0; i < file->piece_count; i++) {
        int rc = backup_store_get(restoring->store, &file->pieces[i], &restoring->piece);
        if (rc < 0) {
            return fail_piece(restoring, &file->pieces[i], rc);
        }
        if (io_write_all(fd, restoring->piece.data, restoring->piece.len) < 0) {
            return 0; /* the program has ended, and says why */
        }
    }
    return 0;
}

static const char *owner_conninfo(const CommandContext *context)
{
    return context->postgres ? postgres_conninfo(context->postgres, POSTGRES_OWNER_ROLE)
                             : context->config->database.owner_conninfo;
}

/** Its name alone: the rest, which may be a secret, goes through the environment. */
static const char *database_name(Arena *arena, const char *conninfo)
{
    const char *name = "";
    PQconninfoOption *parts = PQconninfoParse(conninfo, NULL);
    for (const PQconninfoOption *part = parts; part && part->keyword; part++) {
        if (strcmp(part->keyword, "dbname") == 0 && part->val) {
            name = str_cstr(arena, str_from(part->val));
        }
    }
    PQconninfoFree(parts);
    return name;
}

static int restore_database(Restoring *restoring, const ManifestFile *file)
{
    const CommandContext *context = restoring->context;
    Arena *arena = context->arena;
    BackupProgram program;
    const char *conninfo = owner_conninfo(context);
    const char *path =
        postgres_program(context->config->database.bin_dir, "pg_restore", arena, restoring->errors);
    if (!path) {
        return -ERR_CONFIGURATION;
    }
    const char *const argv[] = {
        path,
        "--format=custom",
        "--no-owner",
        "--no-privileges",
        "--exit-on-error",
        "--single-transaction",
        "--no-password",
        str_printf(arena, "--dbname=%s", database_name(arena, conninfo)).data,
        NULL};
    int rc = backup_program_start(argv, conninfo, PROGRAM_TAKES, restoring->errors, &program);
    if (rc < 0) {
        return rc;
    }
    rc = feed(restoring, file, program.fd);
    if (rc < 0) {
        (void)kill(program.pid, SIGTERM); /* else it takes the end of the pipe for the end */
    }
    int ended = backup_program_end(&program, restoring->errors);
    return rc < 0 ? rc : ended;
}

/** Every line of the manifest but those of the configuration. */
static int restore_all(Restoring *restoring, ManifestTotals *ret_totals)
{
    _cleanup_(manifest_reader_freep) ManifestReader *reader = NULL;
    const ManifestFile *file = NULL;
    ErrorList *errors = restoring->errors;
    int rc = manifest_reader_open(restoring->store, restoring->generation, errors, &reader);
    rc = rc < 0 ? rc : manifest_reader_next(reader, errors, &file);
    while (rc > 0) {
        rc = 0;
        if (str_equal(file->path, STR(BACKUP_DATABASE))) {
            rc = restore_database(restoring, file);
            fail_point("restore.database");
        } else if (!str_starts_with(file->path, STR(BACKUP_CONFIGURATION "/"))) {
            rc = write_file(restoring, file, restoring->context->config->server.data_dir);
            fail_point("restore.file");
        }
        rc = rc < 0 ? rc : manifest_reader_next(reader, errors, &file);
    }
    if (rc == 0) {
        *ret_totals = *manifest_reader_totals(reader);
    }
    return rc;
}

/* ------------------------------------------------------------------ afterwards */

static int rebuild_locator(const Restoring *restoring)
{
    char problem[PROBLEM_BYTES];
    CommandContext *context = restoring->context;
    const RepositoryConfig config =
        services_repository_config(context->arena, context->config, context->pool);
    int rc = repository_rebuild_locator(&config, problem, sizeof(problem));
    return rc < 0 ? error_add(restoring->errors, ERR_IO, NULL, "%s", problem) : 0;
}

static uid_t owner_uid;
static gid_t owner_gid;

static int give_entry(const char *path, const struct stat *info, int type, struct FTW *place)
{
    (void)info;
    (void)type;
    (void)place;
    return lchown(path, owner_uid, owner_gid);
}

/** As root: everything belongs to the service user, as if serve had made it. */
static int give_to_service_user(const Restoring *restoring)
{
    const Config *config = restoring->context->config;
    const struct passwd *user = geteuid() == 0 ? getpwnam(config->server.user) : NULL;
    if (geteuid() != 0) {
        return 0;
    }
    if (!user) {
        return error_add(restoring->errors, ERR_CONFIGURATION, "[server] user",
                         "there is no account %s", config->server.user);
    }
    owner_uid = user->pw_uid;
    owner_gid = user->pw_gid;
    const char *data_dir = config->server.data_dir;
    bool is_given = chown(data_dir, owner_uid, owner_gid) == 0;
    for (size_t i = 0; is_given && services_folders[i]; i++) {
        /* "/.": the folder itself, where its name is that of a link */
        const char *path =
            str_printf(restoring->context->arena, "%s/%s/.", data_dir, services_folders[i]).data;
        is_given = nftw(path, give_entry, 16, FTW_PHYS) == 0;
    }
    return is_given ? 0
                    : backup_io_error(restoring->errors, data_dir,
                                      "it cannot be given to the service user", errno);
}

/** Each folder may be a file system of its own. */
static int sync_folders(const Restoring *restoring)
{
    const Config *config = restoring->context->config;
    for (size_t i = 0; services_folders[i]; i++) {
        const char *path = services_path(restoring->context->arena, config, services_folders[i]);
        _cleanup_(io_closep) int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0 || syncfs(fd) < 0) {
            return backup_io_error(restoring->errors, path, "it cannot be made durable", errno);
        }
    }
    return 0;
}

static int finish(const Restoring *restoring)
{
    CommandContext *context = restoring->context;
    unsigned applied = 0;
    int rc = command_apply_migrations(context, &applied);
    rc = rc < 0 ? rc
                : audit_restored(services_path(context->arena, context->config, "audit"),
                                 context->conn, context->req);
    rc = rc < 0 ? rc : rebuild_locator(restoring);
    rc = rc < 0 ? rc : give_to_service_user(restoring);
    rc = rc < 0 ? rc : backup_record(context, true, restoring->store, restoring->generation, NULL);
    rc = rc < 0 ? rc : sync_folders(restoring);
    fail_point("restore.durable");
    return rc < 0 ? rc : restore_mark_clear(context->config, restoring->errors);
}

static int make_folders(const Restoring *restoring)
{
    char problem[PROBLEM_BYTES];
    if (!services_make_folders(restoring->context->config, problem, sizeof(problem))) {
        return error_add(restoring->errors, ERR_IO, NULL, "%s", problem);
    }
    return give_to_service_user(restoring);
}

/** From here on data_dir has the mark, unless the database is not one to restore into. */
static int connect_to_empty(const Restoring *restoring)
{
    CommandContext *context = restoring->context;
    int rc = restore_mark_set(context->config, restoring->errors);
    if (rc < 0) {
        return rc;
    }
    rc = command_connect(context);
    rc = rc < 0 ? rc : check_database(restoring);
    if (rc < 0) {
        (void)!restore_mark_clear(context->config, restoring->errors);
    }
    return rc;
}

int backup_restore(CommandContext *context, BackupStore *store, const char *generation,
                   ManifestTotals *ret_totals)
{
    Restoring restoring = {context, store, generation, &context->req->errors, {0}};
    signal(SIGPIPE, SIG_IGN);
    int rc = check_data_dir(&restoring);
    rc = rc < 0 ? rc : check_schema(&restoring);
    rc = rc < 0 ? rc : make_folders(&restoring);
    rc = rc < 0 ? rc : connect_to_empty(&restoring);
    fail_point("restore.begun");
    rc = rc < 0 ? rc : restore_all(&restoring, ret_totals);
    rc = rc < 0 ? rc : finish(&restoring);
    strbuf_done(&restoring.piece);
    return rc;
}

int backup_write_configuration(BackupStore *store, const char *generation, const char *folder,
                               ErrorList *errors)
{
    _cleanup_(manifest_reader_freep) ManifestReader *reader = NULL;
    Request *req = request_new(0);
    CommandContext context = {.arena = req->arena, .req = req};
    Restoring restoring = {&context, store, generation, errors, {0}};
    const ManifestFile *file = NULL;
    int count = 0;
    int rc = mkdir(folder, 0700) < 0
                 ? backup_io_error(errors, folder, "the folder cannot be made", errno)
                 : manifest_reader_open(store, generation, errors, &reader);
    rc = rc < 0 ? rc : manifest_reader_next(reader, errors, &file);
    while (rc > 0) {
        rc = 0;
        if (str_starts_with(file->path, STR(BACKUP_CONFIGURATION "/"))) {
            ManifestFile below = *file;
            below.path = str_from_offset(file->path, strlen(BACKUP_CONFIGURATION "/"));
            rc = write_file(&restoring, &below, folder);
            count++;
        }
        rc = rc < 0 ? rc : manifest_reader_next(reader, errors, &file);
    }
    strbuf_done(&restoring.piece);
    request_free(req);
    return rc < 0 ? rc : count;
}
