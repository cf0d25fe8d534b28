#include "server/backup/files.h"

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/fail.h"
#include "lib/base/file_io.h"
#include "lib/base/heap.h"
#include "server/backup/cut.h"

/** A file that changed so shortly before it was read may have changed again within the same tick of
 * the file system's clock. */
#define FRESH_NS INT64_C(2000000000)
#define NS_PER_S INT64_C(1000000000)
#define SMALL_FILE_BYTES ((size_t)1 << 20)

/** Of a stream: several pieces at once, so that few bytes are moved to the front. */
#define AHEAD_BYTES (4 * BACKUP_PIECE_BYTES)

void file_copier_done(FileCopier *copier)
{
    strbuf_done(&copier->piece);
    free(copier->pieces);
    copier->pieces = NULL;
}

static void keep_rate(const FileCopier *copier)
{
    if (copier->bytes_per_second == 0) {
        return;
    }
    double due_s = (double)copier->read_bytes / (double)copier->bytes_per_second;
    int64_t wait_ns = copier->started_ns + (int64_t)(due_s * 1e9) - clock_now_ns();
    if (wait_ns > 0) {
        struct timespec wait = {.tv_sec = wait_ns / NS_PER_S, .tv_nsec = wait_ns % NS_PER_S};
        nanosleep(&wait, NULL);
    }
}

static void add_piece(FileCopier *copier, ManifestFile *file, const BackupDigest *digest)
{
    if (file->piece_count == copier->piece_room) {
        copier->pieces =
            heap_grow(copier->pieces, &copier->piece_room, 64, sizeof(*copier->pieces));
    }
    copier->pieces[file->piece_count++] = *digest;
    file->pieces = copier->pieces;
}

static bool is_zero(const char *bytes, size_t len)
{
    return len > 0 && bytes[0] == 0 && memcmp(bytes, bytes + 1, len - 1) == 0;
}

static int store_piece(FileCopier *copier, ManifestFile *file, const char *bytes, size_t len,
                       bool may_be_hole)
{
    BackupDigest digest = {{0}};
    int rc = 0;
    if (!may_be_hole || !is_zero(bytes, len)) {
        rc = backup_store_put(copier->store, copier->errors, bytes, len, &digest);
    }
    if (rc == 0) {
        add_piece(copier, file, &digest);
    }
    return rc;
}

/* ------------------------------------------------------------------ files */

static int64_t changed_ns_of(const struct stat *info)
{
    int64_t changed_ns = info->st_ctim.tv_sec * NS_PER_S + info->st_ctim.tv_nsec;
    return changed_ns < clock_utc_us() * 1000 - FRESH_NS ? changed_ns : 0;
}

static bool has_all_pieces(const BackupStore *store, const ManifestFile *file)
{
    bool has_all = true;
    for (size_t i = 0; has_all && i < file->piece_count; i++) {
        has_all = backup_store_has(store, &file->pieces[i]);
    }
    return has_all;
}

/** The line of the generation before, if the file is the same still. */
static const ManifestFile *find_unchanged(FileCopier *copier, const ManifestFile *file)
{
    const ManifestFile *known =
        copier->previous ? manifest_reader_find(copier->previous, file->path) : NULL;
    bool is_same = known && known->changed_ns != 0 && known->changed_ns == file->changed_ns &&
                   known->size_bytes == file->size_bytes && has_all_pieces(copier->store, known);
    return is_same ? known : NULL;
}

/** A manifest is UTF-8. */
static int check_name(const FileCopier *copier, const char *source, Str path)
{
    return str_is_utf8(path) ? 0
                             : error_add(copier->errors, ERR_CONFIGURATION, source,
                                         "its name is not UTF-8: rename the file, or move it away "
                                         "if it is none of this server's");
}

static int cannot_read(const FileCopier *copier, Str path, int error)
{
    _cleanup_(arena_freep) Arena *arena = arena_new();
    return backup_io_error(copier->errors, str_cstr(arena, path), "it cannot be read", error);
}

static int read_pieces(FileCopier *copier, int fd, ManifestFile *file)
{
    uint64_t offset = 0;
    int rc = 0;
    while (rc == 0 && offset < file->size_bytes) {
        size_t len = (size_t)MIN((uint64_t)BACKUP_PIECE_BYTES, file->size_bytes - offset);
        strbuf_clear(&copier->piece);
        char *bytes = strbuf_reserve(&copier->piece, len);
        rc = io_pread_all(fd, bytes, len, offset);
        if (rc < 0) {
            return cannot_read(copier, file->path, -rc);
        }
        rc = store_piece(copier, file, bytes, len, true);
        fail_point("backup.piece_written");
        offset += len;
        copier->read_bytes += len;
        keep_rate(copier);
    }
    return rc;
}

int file_copier_add(FileCopier *copier, Str path, int fd, uint64_t limit_bytes)
{
    struct stat info;
    if (fstat(fd, &info) < 0) {
        return cannot_read(copier, path, errno);
    }
    ManifestFile file = {
        .path = path,
        .size_bytes = MIN((uint64_t)info.st_size, limit_bytes),
        .changed_ns = changed_ns_of(&info),
    };
    const ManifestFile *known = find_unchanged(copier, &file);
    if (known) {
        return manifest_writer_add(copier->writer, copier->errors, known);
    }
    int rc = read_pieces(copier, fd, &file);
    return rc < 0 ? rc : manifest_writer_add(copier->writer, copier->errors, &file);
}

int file_copier_add_file(FileCopier *copier, const char *source, Str path)
{
    int rc = check_name(copier, source, path);
    if (rc < 0) {
        return rc;
    }
    _cleanup_(io_closep) int fd = open(source, O_RDONLY | O_CLOEXEC);
    return fd < 0 ? backup_io_error(copier->errors, source, "it cannot be read", errno)
                  : file_copier_add(copier, path, fd, UINT64_MAX);
}

static int compare_entries(const FTSENT **a, const FTSENT **b)
{
    return strcmp((*a)->fts_name, (*b)->fts_name);
}

static bool is_left_out(const FTSENT *entry, const char *const *left_out)
{
    bool is_out = false;
    for (size_t i = 0; entry->fts_level == 1 && left_out && left_out[i]; i++) {
        is_out = is_out || strcmp(entry->fts_name, left_out[i]) == 0;
    }
    return is_out;
}

static int add_file(FileCopier *copier, const FTSENT *entry, Str path, bool may_vanish)
{
    int rc = check_name(copier, entry->fts_path, path);
    if (rc < 0) {
        return rc;
    }
    _cleanup_(io_closep) int fd = open(entry->fts_accpath, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0) {
        return file_copier_add(copier, path, fd, UINT64_MAX);
    }
    return errno == ENOENT && may_vanish
               ? 0
               : backup_io_error(copier->errors, entry->fts_path, "it cannot be read", errno);
}

/** What would be missing from the backup without a word. */
static int refuse_entry(const FileCopier *copier, const FTSENT *entry)
{
    if (entry->fts_info == FTS_DNR || entry->fts_info == FTS_NS || entry->fts_info == FTS_ERR) {
        return backup_io_error(copier->errors, entry->fts_path, "it cannot be read",
                               entry->fts_errno);
    }
    return error_add(copier->errors, ERR_CONFIGURATION, entry->fts_path,
                     "it is neither a file nor a folder, and links are not followed here: put what "
                     "it leads to in its place, or move it away if it is none of this server's");
}

static int add_entry(FileCopier *copier, const FTSENT *entry, Str path, bool may_vanish)
{
    switch (entry->fts_info) {
    case FTS_F:
        return add_file(copier, entry, path, may_vanish);
    case FTS_D:
    case FTS_DP:
        return 0;
    default:
        return may_vanish ? 0 : refuse_entry(copier, entry);
    }
}

int file_copier_add_tree(FileCopier *copier, const char *folder, const char *prefix,
                         const char *const *left_out, bool may_vanish)
{
    char *roots[] = {WITHOUT_CONST(folder), NULL};
    const size_t root_len = strlen(folder);
    FTS *walk = fts_open(roots, FTS_PHYSICAL | FTS_COMFOLLOW | FTS_NOCHDIR, compare_entries);
    int rc = 0;
    if (!walk) {
        return backup_io_error(copier->errors, folder, "it cannot be read", errno);
    }
    for (FTSENT *entry; rc == 0 && (entry = fts_read(walk));) {
        if (is_left_out(entry, left_out)) {
            (void)fts_set(walk, entry, FTS_SKIP);
        } else {
            _cleanup_(arena_freep) Arena *arena = arena_new();
            Str path = str_printf(arena, "%s%s", prefix, entry->fts_path + root_len);
            rc = add_entry(copier, entry, path, may_vanish);
        }
    }
    (void)fts_close(walk);
    return rc;
}

int file_copier_take_small(FileCopier *copier, Arena *arena, const char *source, Str path,
                           ManifestFile *ret_file)
{
    ManifestFile file = {.path = path};
    int rc = check_name(copier, source, path);
    if (rc < 0) {
        return rc;
    }
    strbuf_clear(&copier->piece);
    rc = io_read_file(source, SMALL_FILE_BYTES, &copier->piece);
    if (rc < 0) {
        return rc == -ENOENT ? 0
                             : backup_io_error(copier->errors, source, "it cannot be read", -rc);
    }
    file.size_bytes = copier->piece.len;
    if (file.size_bytes > 0) {
        file.pieces = ARENA_NEW(arena, BackupDigest);
        file.piece_count = 1;
        rc = backup_store_put(copier->store, copier->errors, copier->piece.data, copier->piece.len,
                              file.pieces);
    }
    *ret_file = file;
    return rc < 0 ? rc : 1;
}

/* ------------------------------------------------------------------ streams */

/** What was read of a stream and is not stored yet. */
typedef struct Ahead {
    char *bytes; /* room for AHEAD_BYTES */
    size_t begin;
    size_t end;
} Ahead;

/** Reads so far that the next piece is there whole, or to the end. @return 0 or -errno */
static int read_ahead(Ahead *ahead, int fd)
{
    if (ahead->end - ahead->begin >= BACKUP_PIECE_BYTES) {
        return 0;
    }
    ahead->end -= ahead->begin;
    memmove(ahead->bytes, ahead->bytes + ahead->begin, ahead->end);
    ahead->begin = 0;
    while (ahead->end < AHEAD_BYTES) {
        ssize_t n = read(fd, ahead->bytes + ahead->end, AHEAD_BYTES - ahead->end);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return n < 0 ? -errno : 0;
        }
        ahead->end += (size_t)n;
    }
    return 0;
}

static int store_stream(FileCopier *copier, int fd, Ahead *ahead, ManifestFile *file)
{
    BackupCutter cutter;
    backup_cutter_init(&cutter);
    for (;;) {
        int rc = read_ahead(ahead, fd);
        if (rc < 0) {
            return backup_io_error(copier->errors, "database.dump", "it cannot be read", -rc);
        }
        const char *piece = ahead->bytes + ahead->begin;
        const size_t len = backup_cut(&cutter, piece, ahead->end - ahead->begin);
        if (len == 0) {
            return 0;
        }
        rc = store_piece(copier, file, piece, len, false);
        if (rc < 0) {
            return rc;
        }
        file->size_bytes += len;
        ahead->begin += len;
    }
}

int file_copier_take_stream(FileCopier *copier, int fd, ManifestFile *ret_file)
{
    ManifestFile file = {.piece_count = 0};
    Ahead ahead = {.bytes = heap_room(AHEAD_BYTES)};
    int rc = store_stream(copier, fd, &ahead, &file);
    free(ahead.bytes);
    copier->pieces = NULL; /* they are the caller's now */
    copier->piece_room = 0;
    *ret_file = file;
    return rc;
}
