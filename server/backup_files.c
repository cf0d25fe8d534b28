#include "server/backup_files.h"

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

/** A file that changed so shortly before it was read may have changed again within the same tick of
 * the file system's clock. */
#define FRESH_NS INT64_C(2000000000)
#define NS_PER_S INT64_C(1000000000)
#define SMALL_FILE_BYTES ((size_t)1 << 20)

/* Pieces of a stream: on average 256 KiB. */
#define CUT_LEAST_BYTES ((size_t)64 << 10)
#define CUT_MASK (((UINT64_C(1) << 18) - 1) << 46)

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
        copier->piece_room = copier->piece_room ? copier->piece_room * 2 : 64;
        copier->pieces = reallocarray(copier->pieces, copier->piece_room, sizeof(*copier->pieces));
        if (!copier->pieces) {
            abort();
        }
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

static int add_entry(FileCopier *copier, const FTSENT *entry, Str path, bool may_vanish)
{
    _cleanup_(io_closep) int fd = open(entry->fts_accpath, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0) {
        return file_copier_add(copier, path, fd, UINT64_MAX);
    }
    return errno == ENOENT && may_vanish
               ? 0
               : backup_io_error(copier->errors, entry->fts_path, "it cannot be read", errno);
}

int file_copier_add_tree(FileCopier *copier, const char *folder, const char *prefix,
                         const char *const *left_out, bool may_vanish)
{
    char *roots[] = {WITHOUT_CONST(folder), NULL};
    const size_t root_len = strlen(folder);
    FTS *walk = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, compare_entries);
    int rc = 0;
    if (!walk) {
        return backup_io_error(copier->errors, folder, "it cannot be read", errno);
    }
    for (FTSENT *entry; rc == 0 && (entry = fts_read(walk));) {
        if (is_left_out(entry, left_out)) {
            (void)fts_set(walk, entry, FTS_SKIP);
        } else if (entry->fts_info == FTS_F) {
            _cleanup_(arena_freep) Arena *arena = arena_new();
            Str path = str_printf(arena, "%s%s", prefix, entry->fts_path + root_len);
            rc = add_entry(copier, entry, path, may_vanish);
        } else if ((entry->fts_info == FTS_DNR || entry->fts_info == FTS_NS) && !may_vanish) {
            rc = backup_io_error(copier->errors, entry->fts_path, "it cannot be read",
                                 entry->fts_errno);
        }
    }
    (void)fts_close(walk);
    return rc;
}

int file_copier_take_small(FileCopier *copier, Arena *arena, const char *source, Str path,
                           ManifestFile *ret_file)
{
    ManifestFile file = {.path = path};
    strbuf_clear(&copier->piece);
    int rc = io_read_file(source, SMALL_FILE_BYTES, &copier->piece);
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

/** splitmix64 (Steele, Lea, Flood 2014): any fixed random numbers do. */
static uint64_t gear_of(uint8_t byte)
{
    uint64_t z = (byte + UINT64_C(1)) * UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/** Where the content says that a piece ends, in bytes from its begin; 0: not within these. */
static size_t find_cut(const uint64_t gears[256], const char *bytes, size_t len)
{
    uint64_t hash = 0; /* of the last 64 bytes */
    for (size_t i = CUT_LEAST_BYTES - 64; i < len; i++) {
        hash = (hash << 1) + gears[(uint8_t)bytes[i]];
        if (i >= CUT_LEAST_BYTES && (hash & CUT_MASK) == 0) {
            return i + 1;
        }
    }
    return len >= BACKUP_PIECE_BYTES ? BACKUP_PIECE_BYTES : 0;
}

/** Fills the buffer up to a piece's most. @return 1, 0 at the end of the stream, or -errno */
static int read_more(StrBuf *buf, int fd)
{
    while (buf->len < BACKUP_PIECE_BYTES) {
        char *room = strbuf_reserve(buf, BACKUP_PIECE_BYTES - buf->len);
        ssize_t n = read(fd, room, BACKUP_PIECE_BYTES - buf->len);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return n < 0 ? -errno : 0;
        }
        buf->len += (size_t)n;
    }
    return 1;
}

int file_copier_take_stream(FileCopier *copier, int fd, ManifestFile *ret_file)
{
    uint64_t gears[256];
    ManifestFile file = {.piece_count = 0};
    StrBuf waiting = {0};
    int rc = 0;
    for (unsigned i = 0; i < 256; i++) {
        gears[i] = gear_of((uint8_t)i);
    }
    for (bool has_more = true; rc == 0 && (has_more || waiting.len > 0);) {
        int more = read_more(&waiting, fd);
        has_more = more > 0;
        if (more < 0) {
            rc = backup_io_error(copier->errors, "database.dump", "it cannot be read", -more);
            break;
        }
        size_t len = find_cut(gears, waiting.data ? waiting.data : "", waiting.len);
        len = len > 0 ? len : waiting.len;
        rc = len > 0 ? store_piece(copier, &file, waiting.data, len, false) : 0;
        file.size_bytes += len;
        memmove(waiting.data, waiting.data + len, waiting.len - len);
        waiting.len -= len;
    }
    strbuf_done(&waiting);
    copier->pieces = NULL; /* they are the caller's now */
    copier->piece_room = 0;
    *ret_file = file;
    return rc;
}
