#include "server/backup/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#include "lib/base/file_io.h"
#include "lib/base/heap.h"

#define MARK_FILE "musubi-backup"
#define MARK_TEXT "musubi backup 1\n"
#define LOCK_FILE "lock"
#define OBJECTS "objects"
#define NEW_OBJECT "objects/new"
#define PATH_SIZE (sizeof(OBJECTS "/ab/") + BACKUP_DIGEST_HEX)
/** Fast: what patients' documents gain by more is little. */
#define COMPRESSION_LEVEL 1

struct BackupStore {
    char *folder;
    int fd;
    int lock_fd;
    bool is_doubting;
    uint64_t written_bytes;
    ZSTD_CCtx *compressor;
    ZSTD_DCtx *decompressor;
    StrBuf frame;
    StrBuf content;
};

/* ------------------------------------------------------------------ errors */

int backup_io_error(ErrorList *errors, const char *path, const char *what, int error)
{
    if (error == ENOSPC || error == EDQUOT || error == EFBIG) {
        return error_add(errors, ERR_IO, path,
                         "%s: there is no room (%s); make room there, or choose another folder; "
                         "what was whole before is whole",
                         what, strerror(error));
    }
    return error_add(errors, ERR_IO, path, "%s: %s", what, strerror(error));
}

/* ------------------------------------------------------------------ names */

bool backup_digest_is_hole(const BackupDigest *digest)
{
    static const BackupDigest hole;
    return memcmp(digest, &hole, sizeof(hole)) == 0;
}

static void object_path(const BackupDigest *digest, char ret_path[PATH_SIZE])
{
    int at = snprintf(ret_path, PATH_SIZE, OBJECTS "/%02x/", digest->bytes[0]);
    for (size_t i = 0; i < BACKUP_DIGEST_BYTES; i++) {
        at += snprintf(ret_path + at, PATH_SIZE - (size_t)at, "%02x", digest->bytes[i]);
    }
}

const char *backup_object_path(Arena *arena, const BackupDigest *digest)
{
    char path[PATH_SIZE];
    object_path(digest, path);
    return str_cstr(arena, str_from(path));
}

/* ------------------------------------------------------------------ the folder */

static bool is_mark(int fd)
{
    char text[sizeof(MARK_TEXT)] = {0};
    _cleanup_(io_closep) int file = openat(fd, MARK_FILE, O_RDONLY | O_CLOEXEC);
    return file >= 0 && read(file, text, sizeof(text) - 1) == (ssize_t)strlen(MARK_TEXT) &&
           strcmp(text, MARK_TEXT) == 0;
}

/** What may be in a new folder; the last one where making it was cut short. */
static const char *const usual_names[] = {".", "..", "lost+found", OBJECTS};

static bool is_usual(const char *name)
{
    bool is_usual = false;
    for (size_t i = 0; i < ARRAY_LEN(usual_names); i++) {
        is_usual = is_usual || strcmp(name, usual_names[i]) == 0;
    }
    return is_usual;
}

static bool is_empty(int fd)
{
    DIR *listing = NULL;
    bool is_empty = true;
    if (io_list_directory(fd, &listing) < 0) {
        return false;
    }
    for (struct dirent *entry = readdir(listing); entry; entry = readdir(listing)) {
        is_empty = is_empty && is_usual(entry->d_name);
    }
    (void)closedir(listing);
    return is_empty;
}

static int write_mark(int fd)
{
    _cleanup_(io_closep) int file =
        openat(fd, MARK_FILE, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    int rc = file < 0 ? -errno : io_write_all(file, MARK_TEXT, strlen(MARK_TEXT));
    rc = rc == 0 && fsync(file) < 0 ? -errno : rc;
    return rc < 0 ? rc : io_sync_directory(fd);
}

static int make_folders(int fd)
{
    if (mkdirat(fd, OBJECTS, 0700) < 0 && errno != EEXIST) {
        return -errno;
    }
    for (unsigned i = 0; i < 256; i++) {
        char path[PATH_SIZE];
        (void)snprintf(path, sizeof(path), OBJECTS "/%02x", i);
        if (mkdirat(fd, path, 0700) < 0 && errno != EEXIST) {
            return -errno;
        }
    }
    return write_mark(fd); /* last: a folder with it has the others */
}

static int take_lock(BackupStore *store, bool is_writer, ErrorList *errors)
{
    int flags = is_writer ? O_RDWR | O_CREAT : O_RDONLY;
    store->lock_fd = openat(store->fd, LOCK_FILE, flags | O_CLOEXEC, 0600);
    if (store->lock_fd < 0) {
        return backup_io_error(errors, store->folder, "the lock file cannot be opened", errno);
    }
    if (flock(store->lock_fd, (is_writer ? LOCK_EX : LOCK_SH) | LOCK_NB) < 0) {
        return error_add(errors, ERR_IO, store->folder,
                         "another backup, restore, verify or prune works in this folder; wait "
                         "until it has ended");
    }
    return 0;
}

static BackupStore *store_new(const char *folder, int fd)
{
    BackupStore *store = HEAP_NEW(BackupStore);
    store->folder = heap_text(str_from(folder));
    if (!(store->compressor = ZSTD_createCCtx()) || !(store->decompressor = ZSTD_createDCtx())) {
        abort();
    }
    store->fd = fd;
    store->lock_fd = -1;
    return store;
}

static int finish_open(BackupStore *store, bool is_writer, ErrorList *errors,
                       BackupStore **ret_store)
{
    int rc = take_lock(store, is_writer, errors);
    if (rc < 0) {
        backup_store_close(store);
        return rc;
    }
    *ret_store = store;
    return 0;
}

int backup_store_make(const char *folder, ErrorList *errors, BackupStore **ret_store)
{
    if (mkdir(folder, 0700) < 0 && errno != EEXIST) {
        return backup_io_error(errors, folder, "the folder cannot be made", errno);
    }
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return backup_io_error(errors, folder, "the folder cannot be used", errno);
    }
    BackupStore *store = store_new(folder, fd);
    if (!is_mark(fd) && !is_empty(fd)) {
        backup_store_close(store);
        return error_add(errors, ERR_CONFIGURATION, folder,
                         "this folder is neither empty nor one of backups; name another one");
    }
    int rc = is_mark(fd) ? 0 : make_folders(fd);
    if (rc < 0) {
        backup_store_close(store);
        return backup_io_error(errors, folder, "the folder cannot be used", -rc);
    }
    return finish_open(store, true, errors, ret_store);
}

int backup_store_open(const char *folder, bool is_writer, ErrorList *errors,
                      BackupStore **ret_store)
{
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return backup_io_error(errors, folder, "the folder cannot be used", errno);
    }
    BackupStore *store = store_new(folder, fd);
    if (!is_mark(fd)) {
        backup_store_close(store);
        return error_add(errors, ERR_CONFIGURATION, folder,
                         "this is no folder of backups: it has no file " MARK_FILE
                         "; name the one that musubi backup was given");
    }
    return finish_open(store, is_writer, errors, ret_store);
}

void backup_store_close(BackupStore *store)
{
    if (!store) {
        return;
    }
    io_closep(&store->lock_fd);
    io_closep(&store->fd);
    ZSTD_freeCCtx(store->compressor);
    ZSTD_freeDCtx(store->decompressor);
    strbuf_done(&store->frame);
    strbuf_done(&store->content);
    free(store->folder);
    free(store);
}

void backup_store_closep(BackupStore **store)
{
    backup_store_close(*store);
}

const char *backup_store_folder(const BackupStore *store)
{
    return store->folder;
}

int backup_store_fd(const BackupStore *store)
{
    return store->fd;
}

void backup_store_doubt(BackupStore *store)
{
    store->is_doubting = true;
}

uint64_t backup_store_written(const BackupStore *store)
{
    return store->written_bytes;
}

int backup_store_sync(const BackupStore *store, ErrorList *errors)
{
    if (syncfs(store->fd) < 0) {
        return backup_io_error(errors, store->folder, "the backup cannot be made durable", errno);
    }
    return 0;
}

/* ------------------------------------------------------------------ pieces */

static void digest_of(const void *bytes, size_t len, BackupDigest *ret_digest)
{
    if (!EVP_Digest(bytes, len, ret_digest->bytes, NULL, EVP_sha256(), NULL)) {
        abort(); /* no memory, or no SHA-256 */
    }
}

bool backup_store_has(const BackupStore *store, const BackupDigest *digest)
{
    char path[PATH_SIZE];
    object_path(digest, path);
    return backup_digest_is_hole(digest) || faccessat(store->fd, path, F_OK, 0) == 0;
}

/** Whether the piece is there and, where that is in doubt, is what its name says. */
static bool is_stored(BackupStore *store, const BackupDigest *digest)
{
    return backup_store_has(store, digest) &&
           (!store->is_doubting || backup_store_get(store, digest, &store->content) == 0);
}

/** @return 0 or -errno */
static int write_object(BackupStore *store, const BackupDigest *digest, const void *bytes,
                        size_t len)
{
    char path[PATH_SIZE];
    object_path(digest, path);
    size_t bound = ZSTD_compressBound(len);
    strbuf_clear(&store->frame);
    char *frame = strbuf_reserve(&store->frame, bound);
    size_t size = ZSTD_compressCCtx(store->compressor, frame, bound, bytes, len, COMPRESSION_LEVEL);
    if (ZSTD_isError(size)) {
        return -ENOMEM;
    }
    int file = openat(store->fd, NEW_OBJECT, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    int rc = file < 0 ? -errno : io_write_all(file, frame, size);
    if (file >= 0 && close(file) < 0 && rc == 0) {
        rc = -errno;
    }
    rc = rc == 0 && renameat(store->fd, NEW_OBJECT, store->fd, path) < 0 ? -errno : rc;
    if (rc < 0) {
        (void)unlinkat(store->fd, NEW_OBJECT, 0);
    } else {
        store->written_bytes += size;
    }
    return rc;
}

int backup_store_put(BackupStore *store, ErrorList *errors, const void *bytes, size_t len,
                     BackupDigest *ret_digest)
{
    digest_of(bytes, len, ret_digest);
    if (is_stored(store, ret_digest)) {
        return 0;
    }
    int rc = write_object(store, ret_digest, bytes, len);
    return rc < 0 ? backup_io_error(errors, store->folder, "the backup cannot be written", -rc) : 0;
}

int backup_store_get(BackupStore *store, const BackupDigest *digest, StrBuf *ret_bytes)
{
    char path[PATH_SIZE];
    BackupDigest found;
    object_path(digest, path);
    strbuf_clear(ret_bytes);
    strbuf_clear(&store->frame);
    _cleanup_(io_closep) int file = openat(store->fd, path, O_RDONLY | O_CLOEXEC);
    struct stat info;
    if (file < 0 || fstat(file, &info) < 0) {
        return -errno;
    }
    if (info.st_size < 0 || (size_t)info.st_size > ZSTD_compressBound(BACKUP_PIECE_BYTES)) {
        return -EBADMSG;
    }
    const size_t size = (size_t)info.st_size;
    int rc = io_pread_all(file, strbuf_reserve(&store->frame, size), size, 0);
    if (rc < 0) {
        return rc;
    }
    char *room = strbuf_reserve(ret_bytes, BACKUP_PIECE_BYTES);
    size_t len =
        ZSTD_decompressDCtx(store->decompressor, room, BACKUP_PIECE_BYTES, store->frame.data, size);
    if (ZSTD_isError(len)) {
        return -EBADMSG;
    }
    digest_of(room, len, &found);
    if (memcmp(&found, digest, sizeof(found)) != 0) {
        return -EBADMSG;
    }
    ret_bytes->len = len;
    return 0;
}

/* ------------------------------------------------------------------ sets */

static size_t slot_of(const DigestSet *set, const BackupDigest *digest)
{
    size_t slot;
    memcpy(&slot, digest->bytes, sizeof(slot));
    slot &= set->capacity - 1;
    while (!backup_digest_is_hole(&set->slots[slot]) &&
           memcmp(&set->slots[slot], digest, sizeof(*digest)) != 0) {
        slot = (slot + 1) & (set->capacity - 1);
    }
    return slot;
}

static void digest_set_grow(DigestSet *set)
{
    DigestSet grown = {.capacity = set->capacity ? set->capacity * 2 : 1024};
    grown.slots = heap_zeroed(grown.capacity, sizeof(*grown.slots));
    for (size_t i = 0; i < set->capacity; i++) {
        if (!backup_digest_is_hole(&set->slots[i])) {
            grown.slots[slot_of(&grown, &set->slots[i])] = set->slots[i];
        }
    }
    grown.count = set->count;
    free(set->slots);
    *set = grown;
}

bool digest_set_add(DigestSet *set, const BackupDigest *digest)
{
    if (backup_digest_is_hole(digest) || digest_set_has(set, digest)) {
        return false;
    }
    if (set->count >= set->capacity / 2) {
        digest_set_grow(set);
    }
    set->slots[slot_of(set, digest)] = *digest;
    set->count++;
    return true;
}

bool digest_set_has(const DigestSet *set, const BackupDigest *digest)
{
    return set->capacity > 0 && !backup_digest_is_hole(&set->slots[slot_of(set, digest)]);
}

void digest_set_done(DigestSet *set)
{
    free(set->slots);
    *set = (DigestSet){0};
}

/* ------------------------------------------------------------------ removal */

/** @return whether the name is that of a piece which is not in the set */
static bool is_garbage(const char *name, const DigestSet *kept)
{
    BackupDigest digest;
    return str_unhex(str_from(name), digest.bytes, BACKUP_DIGEST_BYTES) &&
           !digest_set_has(kept, &digest);
}

/** One of the 256 folders. @return 0 or -errno */
static int collect_folder(int fd, const DigestSet *kept, uint64_t *bytes)
{
    DIR *listing = NULL;
    int rc = io_list_directory(fd, &listing);
    if (rc < 0) {
        return rc;
    }
    for (struct dirent *entry = readdir(listing); entry; entry = readdir(listing)) {
        struct stat info;
        if (!is_garbage(entry->d_name, kept) || fstatat(fd, entry->d_name, &info, 0) < 0) {
            continue;
        }
        if (unlinkat(fd, entry->d_name, 0) < 0) {
            rc = -errno;
        } else {
            *bytes += (uint64_t)info.st_size;
        }
    }
    (void)closedir(listing);
    return rc;
}

int backup_store_collect(const BackupStore *store, const DigestSet *kept, ErrorList *errors,
                         uint64_t *ret_bytes)
{
    int rc = 0;
    *ret_bytes = 0;
    for (unsigned i = 0; rc == 0 && i < 256; i++) {
        char path[PATH_SIZE];
        (void)snprintf(path, sizeof(path), OBJECTS "/%02x", i);
        _cleanup_(io_closep) int fd = openat(store->fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        rc = fd < 0 ? -errno : collect_folder(fd, kept, ret_bytes);
    }
    return rc < 0 ? backup_io_error(errors, store->folder, "pieces cannot be removed", -rc) : 0;
}
