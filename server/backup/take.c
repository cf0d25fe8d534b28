#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/fail.h"
#include "lib/base/file_io.h"
#include "lib/base/heap.h"
#include "repository/hold.h"
#include "server/backup/backup.h"
#include "server/backup/files.h"
#include "server/backup/generations.h"
#include "server/backup/program.h"
#include "server/database/postgres_embedded.h"
#include "server/services.h"

#define SEGMENT_NAME_LEN strlen("0000000000000001.spool")
/** A segment of a spool can come and go between two looks only if the loader takes 64 MiB
 * meanwhile.
 */
#define SNAPSHOT_ATTEMPTS 10

/** A file of data_dir/audit. */
typedef struct AuditFile {
    Str path; /* in the backup */
    int fd;   /* a segment; -1: small, and stored already */
    uint64_t size_bytes;
    ManifestFile small;
} AuditFile;

typedef struct Taking {
    CommandContext *context;
    const BackupWish *wish;
    BackupStore *store;
    ErrorList *errors;
    FileCopier copier;
    int folder_fd;
    const char *generation;
    AuditFile *audit;
    size_t audit_count;
    size_t audit_room;
    ManifestFile database;
    char *snapshot; /* its name, while it is open */
} Taking;

/** Whether there is anything of this name: a link that leads nowhere too, which is a fault. */
static bool is_there(const char *path)
{
    struct stat info;
    return lstat(path, &info) == 0 || errno != ENOENT;
}

/* ------------------------------------------------------------------ the audit trail's files */

static AuditFile *add_audit_file(Taking *taking, Str path)
{
    if (taking->audit_count == taking->audit_room) {
        taking->audit = heap_grow(taking->audit, &taking->audit_room, 16, sizeof(*taking->audit));
    }
    AuditFile *file = &taking->audit[taking->audit_count++];
    *file = (AuditFile){.path = str_dup(taking->context->arena, path), .fd = -1};
    return file;
}

static bool has_audit_file(const Taking *taking, Str path)
{
    bool has_file = false;
    for (size_t i = 0; i < taking->audit_count; i++) {
        has_file = has_file || str_equal(taking->audit[i].path, path);
    }
    return has_file;
}

static int compare_audit_files(const void *a, const void *b)
{
    return str_compare(((const AuditFile *)a)->path, ((const AuditFile *)b)->path);
}

/** Opens a segment; its end is what it has after the snapshot. */
static int open_segment(Taking *taking, const char *source, Str path)
{
    if (has_audit_file(taking, path)) {
        return 0;
    }
    int fd = open(source, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return errno == ENOENT
                   ? 0
                   : backup_io_error(taking->errors, source, "it cannot be read", errno);
    }
    add_audit_file(taking, path)->fd = fd;
    return 0;
}

static int take_small(Taking *taking, const char *source, Str path)
{
    ManifestFile small;
    int rc = file_copier_take_small(&taking->copier, taking->context->arena, source, path, &small);
    if (rc > 0) {
        AuditFile *file = add_audit_file(taking, path);
        file->small = small;
        file->small.path = file->path;
    }
    return MIN(rc, 0);
}

typedef int (*AuditEntryFn)(Taking *taking, const char *source, Str path);

/** Calls for each segment, or for each of the other files, of a folder below data_dir. */
static int look_at(Taking *taking, const char *folder, bool wants_segments, AuditEntryFn fn)
{
    _cleanup_(arena_freep) Arena *arena = arena_new();
    const char *source = services_path(arena, taking->context->config, folder);
    DIR *listing = opendir(source);
    int rc = 0;
    if (!listing) {
        const int error = errno;
        return is_there(source)
                   ? backup_io_error(taking->errors, source, "it cannot be read", error)
                   : 0;
    }
    for (struct dirent *entry = readdir(listing); rc == 0 && entry; entry = readdir(listing)) {
        Str name = str_from(entry->d_name);
        bool is_segment = name.len == SEGMENT_NAME_LEN && str_ends_with(name, STR(".spool"));
        bool is_left_out = entry->d_type == DT_DIR || str_equal(name, STR("lock")) ||
                           str_ends_with(name, STR(".new"));
        if (is_segment == wants_segments && !is_left_out) {
            rc = fn(taking, str_printf(arena, "%s/%s", source, entry->d_name).data,
                    str_printf(arena, "%s/%s", folder, entry->d_name));
        }
    }
    (void)closedir(listing);
    return rc;
}

static int open_segments(Taking *taking)
{
    int rc = look_at(taking, BACKUP_AUDIT, true, open_segment);
    return rc < 0 ? rc : look_at(taking, BACKUP_AUDIT "/received", true, open_segment);
}

/** How far each segment goes now. @return 0 or -ERR_IO */
static int measure_segments(Taking *taking)
{
    for (size_t i = 0; i < taking->audit_count; i++) {
        AuditFile *file = &taking->audit[i];
        struct stat info;
        if (file->fd >= 0 && fstat(file->fd, &info) < 0) {
            return backup_io_error(taking->errors, "data_dir/audit", "it cannot be read", errno);
        }
        file->size_bytes = file->fd >= 0 ? (uint64_t)info.st_size : 0;
    }
    return 0;
}

/** The number of a segment, in hexadecimal in its name. */
static uint64_t segment_number(const AuditFile *file)
{
    return strtoull(file->path.data + file->path.len - SEGMENT_NAME_LEN, NULL, 16);
}

static bool is_same_spool(const AuditFile *a, const AuditFile *b)
{
    return a->fd >= 0 && b->fd >= 0 && a->path.len == b->path.len &&
           memcmp(a->path.data, b->path.data, a->path.len - SEGMENT_NAME_LEN) == 0;
}

/** Whether between the segments that were seen before the snapshot and those seen only after it
 * others were made and removed: their numbers have no gap otherwise. */
static bool has_gap(const Taking *taking, size_t seen_before)
{
    bool has_gap = false;
    for (size_t i = seen_before; i < taking->audit_count; i++) {
        bool is_first = true;
        bool has_neighbour = false;
        for (size_t j = 0; j < taking->audit_count; j++) {
            if (is_same_spool(&taking->audit[i], &taking->audit[j])) {
                is_first = is_first && j >= seen_before;
                has_neighbour = has_neighbour || segment_number(&taking->audit[j]) + 1 ==
                                                     segment_number(&taking->audit[i]);
            }
        }
        has_gap = has_gap || (!is_first && !has_neighbour);
    }
    return has_gap;
}

static int add_audit(Taking *taking)
{
    int rc = 0;
    if (taking->audit_count > 0) {
        qsort(taking->audit, taking->audit_count, sizeof(*taking->audit), compare_audit_files);
    }
    for (size_t i = 0; rc == 0 && i < taking->audit_count; i++) {
        const AuditFile *file = &taking->audit[i];
        rc = file->fd >= 0
                 ? file_copier_add(&taking->copier, file->path, file->fd, file->size_bytes)
                 : manifest_writer_add(taking->copier.writer, taking->errors, &file->small);
    }
    return rc;
}

/* ------------------------------------------------------------------ the database */

static const DbStatement statement_wait = {
    "backup_wait", "SELECT set_config('idle_in_transaction_session_timeout', '0', false)"};
static const DbStatement statement_export = {"backup_export", "SELECT pg_export_snapshot()"};
static const DbStatement statement_schema = {"backup_schema",
                                             "SELECT max(number) FROM schema_version"};

static int open_snapshot(Taking *taking)
{
    DbConn *conn = taking->context->conn;
    Request *req = taking->context->req;
    DbResult *result = NULL;
    int rc = db_queue_snapshot(conn, req);
    rc = rc < 0 ? rc : db_sync(conn, req, NULL);
    rc = rc < 0 ? rc : db_exec(conn, req, &statement_export, NULL, &result);
    if (rc == 0) {
        taking->snapshot = str_cstr(taking->context->arena, db_text(result, 0, 0));
    }
    return rc;
}

/** The snapshot, with all segments of the spools open that have what it does not have. */
static int open_snapshot_and_spools(Taking *taking)
{
    for (int attempt = 0; attempt < SNAPSHOT_ATTEMPTS; attempt++) {
        int rc = open_segments(taking);
        const size_t seen_before = taking->audit_count;
        rc = rc < 0 ? rc : open_snapshot(taking);
        rc = rc < 0 ? rc : open_segments(taking);
        if (rc < 0) {
            return rc;
        }
        if (!has_gap(taking, seen_before)) {
            return measure_segments(taking);
        }
        rc = db_rollback(taking->context->conn, taking->context->req);
        if (rc < 0) {
            return rc;
        }
    }
    return error_add(taking->errors, ERR_IO, "data_dir/audit",
                     "audit records come faster than they can be read; try again later");
}

static const char *owner_conninfo(const CommandContext *context)
{
    return context->postgres ? postgres_conninfo(context->postgres, POSTGRES_OWNER_ROLE)
                             : context->config->database.owner_conninfo;
}

/** pg_dump of the snapshot; uncompressed, because pieces are. */
static int dump_database(Taking *taking)
{
    const CommandContext *context = taking->context;
    const char *path = postgres_program(context->config->database.bin_dir, "pg_dump",
                                        context->arena, taking->errors);
    if (!path) {
        return -ERR_CONFIGURATION;
    }
    BackupProgram program;
    const char *const argv[] = {path,
                                "--format=custom",
                                "--compress=0",
                                "--no-owner",
                                "--no-privileges",
                                "--lock-wait-timeout=60s",
                                "--no-password",
                                str_printf(context->arena, "--snapshot=%s", taking->snapshot).data,
                                NULL};
    int rc = backup_program_start(argv, owner_conninfo(context), PROGRAM_GIVES, taking->errors,
                                  &program);
    if (rc < 0) {
        return rc;
    }
    rc = file_copier_take_stream(&taking->copier, program.fd, &taking->database);
    taking->database.path = STR(BACKUP_DATABASE);
    int ended = backup_program_end(&program, taking->errors);
    fail_point("backup.database_dumped");
    return rc < 0 ? rc : ended;
}

/* ------------------------------------------------------------------ the rest */

static int add_blobs(Taking *taking)
{
    static const char *const left_out[] = {"lock", "lost+found", "tmp", NULL};
    const char *folder =
        services_path(taking->context->arena, taking->context->config, BACKUP_BLOBS);
    return is_there(folder)
               ? file_copier_add_tree(&taking->copier, folder, BACKUP_BLOBS, left_out, false)
               : 0; /* a server that never stored anything */
}

/** What a key of the configuration names, if it is a file that belongs to the configuration. */
static bool is_configured_file(const Taking *taking, ConfigKeyId key)
{
    struct stat info;
    const Config *config = taking->context->config;
    return config_is_path(key) && key != CONFIG_server_data_dir && key != CONFIG_database_bin_dir &&
           key != CONFIG_audit_head_copy &&
           !(key == CONFIG_server_tls_key && taking->wish->without_keys) &&
           config->sources[key].text[0] && stat(config->sources[key].text, &info) == 0 &&
           S_ISREG(info.st_mode);
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

typedef struct ConfiguredFile {
    Str path; /* in the backup */
    const char *source;
} ConfiguredFile;

static int compare_paths(const void *a, const void *b)
{
    return str_compare(((const ConfiguredFile *)a)->path, ((const ConfiguredFile *)b)->path);
}

/** The file of the configuration, and those that it names. */
static int add_configuration(Taking *taking)
{
    Arena *arena = taking->context->arena;
    const Config *config = taking->context->config;
    ConfiguredFile *files = ARENA_ARRAY(arena, ConfiguredFile, CONFIG_KEY_COUNT + 1);
    size_t count = 0;
    int rc = 0;
    files[count++] = (ConfiguredFile){
        str_printf(arena, BACKUP_CONFIGURATION "/%s", base_name(config->file)), config->file};
    for (int key = 0; key < CONFIG_KEY_COUNT; key++) {
        const char *source = config->sources[key].text;
        if (is_configured_file(taking, (ConfigKeyId)key)) {
            files[count++] =
                (ConfiguredFile){str_printf(arena, BACKUP_CONFIGURATION "/%s/%s",
                                            config_key_name((ConfigKeyId)key), base_name(source)),
                                 source};
        }
    }
    qsort(files, count, sizeof(*files), compare_paths);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        rc = file_copier_add_file(&taking->copier, files[i].source, files[i].path);
    }
    return rc;
}

static int add_log(Taking *taking)
{
    const char *folder = services_path(taking->context->arena, taking->context->config, BACKUP_LOG);
    return is_there(folder) ? file_copier_add_tree(&taking->copier, folder, BACKUP_LOG, NULL, true)
                            : 0;
}

static int begin_manifest(Taking *taking)
{
    DbResult *result = NULL;
    Request *req = taking->context->req;
    int rc = db_exec(taking->context->conn, req, &statement_schema, NULL, &result);
    if (rc < 0) {
        return rc;
    }
    const ManifestHead head = {
        .generation = taking->generation,
        .program = MUSUBI_VERSION,
        .schema = db_i32(result, 0, 0),
        .is_embedded = taking->context->postgres != NULL,
    };
    return manifest_writer_new(taking->folder_fd, &head, taking->errors, &taking->copier.writer);
}

/** The generation before; a damaged one is not built upon. */
static void open_previous(Taking *taking)
{
    Arena *arena = taking->context->arena;
    ErrorList ignored;
    const char *name = NULL;
    error_list_init(&ignored, arena);
    if (!taking->wish->is_full &&
        backup_generation_choose(taking->store, arena, &ignored, NULL, &name) == 0 &&
        manifest_reader_open(taking->store, name, &ignored, &taking->copier.previous) < 0) {
        taking->copier.previous = NULL;
    }
}

/** Files that are open at once: the spools' segments. */
static void raise_file_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

/** What was there before the snapshot: the hold, the event, the newest head of the audit chain. */
static int prepare(Taking *taking)
{
    CommandContext *context = taking->context;
    int rc = db_exec(context->conn, context->req, &statement_wait, NULL, NULL);
    rc = rc < 0 ? rc : repository_hold_take(context->conn, context->req);
    rc = rc < 0 ? rc : backup_record(context, false, taking->store, taking->generation, NULL);
    rc = rc < 0 ? rc : begin_manifest(taking);
    return rc < 0 ? rc : look_at(taking, BACKUP_AUDIT, false, take_small);
}

/** Lines go into the manifest in the order of their paths. */
static int add_files(Taking *taking)
{
    int rc = add_audit(taking);
    rc = rc < 0 ? rc : add_blobs(taking);
    rc = rc < 0 ? rc : add_configuration(taking);
    rc =
        rc < 0 ? rc : manifest_writer_add(taking->copier.writer, taking->errors, &taking->database);
    return rc < 0 ? rc : add_log(taking);
}

static int end_hold(const Taking *taking)
{
    bool was_held = false;
    int rc = repository_hold_end(taking->context->conn, taking->context->req, &was_held);
    if (rc == 0 && !was_held) {
        rc = error_add(taking->errors, ERR_DATABASE, NULL,
                       "the database was restarted meanwhile, so blobs may be missing from this "
                       "backup; start it again");
    }
    return rc;
}

static int take(Taking *taking, ManifestTotals *ret_totals)
{
    int rc = prepare(taking);
    rc = rc < 0 ? rc : open_snapshot_and_spools(taking);
    rc = rc < 0 ? rc : dump_database(taking);
    rc = rc < 0 ? rc : db_rollback(taking->context->conn, taking->context->req);
    rc = rc < 0 ? rc : add_files(taking);
    rc = rc < 0 ? rc : end_hold(taking);
    rc = rc < 0 ? rc : manifest_writer_finish(taking->copier.writer, taking->errors, ret_totals);
    fail_point("backup.written");
    return rc < 0 ? rc
                  : backup_generation_publish(taking->store, taking->errors, taking->generation);
}

static void done(Taking *taking)
{
    for (size_t i = 0; i < taking->audit_count; i++) {
        io_closep(&taking->audit[i].fd);
    }
    free(taking->audit);
    free(taking->database.pieces);
    file_copier_done(&taking->copier);
    manifest_reader_free(taking->copier.previous);
    manifest_writer_free(taking->copier.writer);
    io_closep(&taking->folder_fd);
}

int backup_take(CommandContext *context, BackupStore *store, const BackupWish *wish,
                BackupResult *ret_result)
{
    Taking taking = {
        .context = context,
        .wish = wish,
        .store = store,
        .errors = &context->req->errors,
        .folder_fd = -1,
        .copier = {.store = store,
                   .errors = &context->req->errors,
                   .bytes_per_second = wish->bytes_per_second,
                   .started_ns = clock_now_ns()},
    };
    ManifestTotals totals = {0};
    raise_file_limit();
    if (wish->is_full) {
        backup_store_doubt(store);
    }
    open_previous(&taking);
    int rc = backup_generation_begin(store, context->arena, taking.errors, &taking.generation,
                                     &taking.folder_fd);
    rc = rc < 0 ? rc : take(&taking, &totals);
    if (rc == 0) {
        *ret_result = (BackupResult){
            .generation = taking.generation,
            .totals = totals,
            .database_bytes = taking.database.size_bytes,
            .read_bytes = taking.copier.read_bytes,
            .written_bytes = backup_store_written(store),
        };
    } else if (taking.generation) {
        backup_generations_clean_up(store);
        (void)db_rollback(context->conn, context->req);
        (void)!backup_record(context, false, store, taking.generation, "failed");
    }
    done(&taking);
    return rc;
}
