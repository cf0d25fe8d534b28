#include "repository/blob_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/fail.h"
#include "lib/base/file_io.h"
#include "lib/base/heap.h"
#include "lib/base/random.h"

#define HEX_DIGITS 64

static void hex_write(const uint8_t *bytes, size_t len, char *ret_text)
{
    for (size_t i = 0; i < len; i++) {
        snprintf(ret_text + 2 * i, 3, "%02x", bytes[i]);
    }
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool hex_read(const char *text, uint8_t ret_sha256[32])
{
    if (strlen(text) != HEX_DIGITS) {
        return false;
    }
    for (size_t i = 0; i < 32; i++) {
        int high = hex_digit(text[2 * i]);
        int low = hex_digit(text[2 * i + 1]);
        if (high < 0 || low < 0) {
            return false;
        }
        ret_sha256[i] = (uint8_t)(high * 16 + low);
    }
    return true;
}

/** Notes a failure after which the bytes on disk are unknown (contract C6). */
static int noted(FileStore *store, int rc)
{
    if (rc == -EIO) {
        atomic_store(&store->has_failed, true);
    }
    return rc;
}

/** With the folder locked by this process, whatever is in it was left by an earlier one. */
static int remove_leftovers(int temporary_fd)
{
    DIR *directory;
    int rc = io_list_directory(temporary_fd, &directory);
    if (rc < 0) {
        return rc;
    }
    for (struct dirent *entry; (entry = readdir(directory));) {
        if (entry->d_name[0] != '.') {
            unlinkat(temporary_fd, entry->d_name, 0);
        }
    }
    closedir(directory);
    return 0;
}

static int open_folder(int parent_fd, const char *name, bool is_read_only, int *ret_fd)
{
    if (!is_read_only) {
        return io_open_directory(parent_fd, name, ret_fd);
    }
    int fd = openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    *ret_fd = fd;
    return 0;
}

int file_store_open(FileStore *store, int directory_fd, bool is_read_only)
{
    store->files_fd = -1;
    store->temporary_fd = -1;
    for (size_t i = 0; i < ARRAY_LEN(store->fan_out_fds); i++) {
        store->fan_out_fds[i] = -1;
    }
    atomic_init(&store->has_failed, false);

    int rc = open_folder(directory_fd, "files", is_read_only, &store->files_fd);
    if (rc == 0) {
        rc = open_folder(directory_fd, "tmp", is_read_only, &store->temporary_fd);
    }
    for (unsigned i = 0; i < ARRAY_LEN(store->fan_out_fds) && rc == 0; i++) {
        char name[8];
        snprintf(name, sizeof(name), "%02x", i);
        rc = open_folder(store->files_fd, name, is_read_only, &store->fan_out_fds[i]);
    }
    /* A start that died half-way may have left folders whose own names are not durable yet. */
    if (rc == 0 && !is_read_only) {
        rc = io_sync_directory(store->files_fd);
    }
    if (rc == 0 && !is_read_only) {
        rc = remove_leftovers(store->temporary_fd);
    }
    if (rc < 0) {
        file_store_close(store);
    }
    return rc;
}

void file_store_close(FileStore *store)
{
    io_closep(&store->files_fd);
    io_closep(&store->temporary_fd);
    for (size_t i = 0; i < ARRAY_LEN(store->fan_out_fds); i++) {
        io_closep(&store->fan_out_fds[i]);
    }
}

int file_upload_begin(FileStore *store, FileUpload *ret_upload)
{
    uint8_t random[16];
    random_bytes(random, sizeof(random));
    hex_write(random, sizeof(random), ret_upload->name);
    ret_upload->fd =
        openat(store->temporary_fd, ret_upload->name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    return ret_upload->fd < 0 ? noted(store, -errno) : 0;
}

int file_upload_write(FileStore *store, FileUpload *upload, const void *bytes, size_t len)
{
    return noted(store, io_write_all(upload->fd, bytes, len));
}

int file_upload_finish(FileStore *store, FileUpload *upload, const RecordHeader *header,
                       const BlockCrcs *crcs)
{
    uint8_t fixed[RECORD_FIXED_BYTES];
    record_encode(header, crcs->items, fixed);
    int rc = io_write_all(upload->fd, crcs->items, crcs->count * sizeof(*crcs->items));
    if (rc == 0) {
        rc = io_write_all(upload->fd, fixed, sizeof(fixed));
    }
    if (rc == 0) {
        fail_point("blob.file_written");
    }
    return noted(store, rc);
}

/** A file of that name already there holds the same bytes, or damaged ones: either way it may be
 * replaced. */
static int give_name(const FileStore *store, const FileUpload *upload, const uint8_t sha256[32])
{
    char name[HEX_DIGITS + 1];
    hex_write(sha256, 32, name);
    if (renameat(store->temporary_fd, upload->name, store->fan_out_fds[sha256[0]], name) != 0) {
        return -errno;
    }
    fail_point("blob.file_renamed");
    return io_sync_directory(store->fan_out_fds[sha256[0]]);
}

int file_upload_commit(FileStore *store, FileUpload *upload, const uint8_t sha256[32])
{
    int rc = atomic_load(&store->has_failed) ? -EROFS : 0;
    if (rc == 0 && fsync(upload->fd) != 0) {
        rc = -errno;
    }
    if (rc == 0) {
        fail_point("blob.file_synced");
        rc = give_name(store, upload, sha256);
    }
    if (rc < 0) {
        return noted(store, rc);
    }
    fail_point("blob.file_durable");
    close(upload->fd);
    upload->fd = -1;
    return 0;
}

void file_upload_end(FileStore *store, FileUpload *upload)
{
    if (upload->fd < 0) {
        return;
    }
    unlinkat(store->temporary_fd, upload->name, 0);
    close(upload->fd);
    upload->fd = -1;
}

void file_path(const uint8_t sha256[32], char *ret_path, size_t size)
{
    char name[HEX_DIGITS + 1];
    hex_write(sha256, 32, name);
    snprintf(ret_path, size, "files/%02x/%s", sha256[0], name);
}

int file_open_for_reading(const FileStore *store, const uint8_t sha256[32], int *ret_fd)
{
    char name[HEX_DIGITS + 1];
    hex_write(sha256, 32, name);
    int fd = openat(store->fan_out_fds[sha256[0]], name, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    *ret_fd = fd;
    return 0;
}

int file_sync_name(FileStore *store, const uint8_t sha256[32])
{
    return noted(store, io_sync_directory(store->fan_out_fds[sha256[0]]));
}

int file_delete(FileStore *store, const uint8_t sha256[32])
{
    char name[HEX_DIGITS + 1];
    hex_write(sha256, 32, name);
    if (unlinkat(store->fan_out_fds[sha256[0]], name, 0) != 0 && errno != ENOENT) {
        return noted(store, -errno);
    }
    return file_sync_name(store, sha256);
}

int file_read_record(int fd, RecordHeader *ret_header, uint32_t **ret_crcs)
{
    struct stat info;
    if (fstat(fd, &info) != 0) {
        return -errno;
    }
    uint64_t length = (uint64_t)info.st_size;
    if (length < RECORD_FIXED_BYTES) {
        return -EBADMSG;
    }
    uint8_t fixed[RECORD_FIXED_BYTES];
    RecordHeader header;
    int rc = io_pread_all(fd, fixed, sizeof(fixed), length - RECORD_FIXED_BYTES);
    if (rc < 0) {
        return rc;
    }
    if (!record_decode(fixed, &header) || header.size_bytes > length ||
        header.size_bytes + record_header_bytes(header.size_bytes) != length) {
        return -EBADMSG;
    }

    uint32_t *crcs = HEAP_ARRAY(uint32_t, (size_t)header.block_count + 1);
    rc = io_pread_all(fd, crcs, header.block_count * sizeof(*crcs), header.size_bytes);
    if (rc == 0 && !record_is_intact(fixed, crcs, header.block_count)) {
        rc = -EBADMSG;
    }
    if (rc < 0) {
        free(crcs);
        return rc;
    }
    *ret_header = header;
    *ret_crcs = crcs;
    return 0;
}

/** @return what fn said, or 0 if the file is none of ours or damaged (fsck names those) */
static int visit(int folder_fd, const char *name, FileRecordFn fn, void *ctx)
{
    uint8_t sha256[32];
    if (!hex_read(name, sha256)) {
        return 0;
    }
    _cleanup_(io_closep) int fd = openat(folder_fd, name, O_RDONLY | O_CLOEXEC);
    RecordHeader header = {0};
    uint32_t *crcs = NULL;
    if (fd < 0 || file_read_record(fd, &header, &crcs) != 0) {
        return 0;
    }
    free(crcs);
    if (memcmp(header.sha256, sha256, sizeof(sha256)) != 0) {
        return 0;
    }
    return fn(ctx, &header);
}

static int walk_folder(int folder_fd, FileRecordFn fn, void *ctx)
{
    DIR *directory;
    int rc = io_list_directory(folder_fd, &directory);
    if (rc < 0) {
        return rc;
    }
    for (struct dirent *entry; rc == 0 && (entry = readdir(directory));) {
        rc = visit(folder_fd, entry->d_name, fn, ctx);
    }
    closedir(directory);
    return rc;
}

int file_store_walk(FileStore *store, FileRecordFn fn, void *ctx)
{
    int rc = 0;
    for (size_t i = 0; i < ARRAY_LEN(store->fan_out_fds) && rc == 0; i++) {
        rc = walk_folder(store->fan_out_fds[i], fn, ctx);
    }
    return rc;
}
