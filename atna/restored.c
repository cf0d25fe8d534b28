#include "atna/restored.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "atna/chain_files.h"
#include "atna/chain_store.h"
#include "atna/spool_file.h"
#include "lib/base/file_io.h"

#define REST_FILE "rest.new"
#define WRITE_BYTES ((size_t)1 << 20)

static int fail(Request *req, const char *directory, int error)
{
    return error_add(&req->errors, ERR_IO, directory, "the audit spool cannot be used: %s",
                     strerror(-error));
}

/** Where the records go that the database does not have. */
typedef struct Rest {
    int file;
    StrBuf frames;
} Rest;

static int write_frames(Rest *rest, size_t least)
{
    if (rest->frames.len < least) {
        return 0;
    }
    int rc = io_write_all(rest->file, rest->frames.data, rest->frames.len);
    strbuf_clear(&rest->frames);
    return rc;
}

static int keep_record(Rest *rest, const AuditRecord *record)
{
    size_t begin = spool_frame_begin(&rest->frames);
    strbuf_append(&rest->frames, record->message);
    spool_frame_end(&rest->frames, begin, record->recorded_us);
    return write_frames(rest, WRITE_BYTES);
}

/** Copies the whole records behind the place into the file, durably. @return 0 or -errno */
static int copy_rest(const char *directory, SpoolPosition from, const char *path)
{
    AuditRecord record;
    Rest rest = {.file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)};
    if (rest.file < 0) {
        return -errno;
    }
    SpoolReader *reader = spool_reader_new(directory, from);
    int rc = spool_reader_next(reader, NULL, &record);
    while (rc > 0) {
        rc = keep_record(&rest, &record);
        rc = rc < 0 ? rc : spool_reader_next(reader, NULL, &record);
    }
    spool_reader_free(reader);
    rc = rc < 0 ? rc : write_frames(&rest, 1);
    rc = rc == 0 && fsync(rest.file) < 0 ? -errno : rc;
    strbuf_done(&rest.frames);
    return close(rest.file) < 0 && rc == 0 ? -errno : rc;
}

/** Removes all segments but this one. @return 0 or -errno */
static int remove_others(int directory_fd, const char *kept)
{
    DIR *listing = NULL;
    int rc = io_list_directory(directory_fd, &listing);
    if (rc < 0) {
        return rc;
    }
    for (struct dirent *entry = readdir(listing); entry; entry = readdir(listing)) {
        if (str_ends_with(str_from(entry->d_name), STR(".spool")) &&
            strcmp(entry->d_name, kept) != 0 && unlinkat(directory_fd, entry->d_name, 0) < 0) {
            rc = -errno;
        }
    }
    (void)closedir(listing);
    return rc < 0 ? rc : io_sync_directory(directory_fd);
}

static SpoolPosition later(SpoolPosition a, SpoolPosition b)
{
    return a.segment > b.segment || (a.segment == b.segment && a.offset > b.offset) ? a : b;
}

/** What was sent to a repository elsewhere is gone from the spool too; its places are others now.
 */
static int forget_cursor(const char *directory)
{
    char path[PATH_MAX];
    (void)snprintf(path, sizeof(path), "%s/" SPOOL_CURSOR_FILE, directory);
    return unlink(path) < 0 && errno != ENOENT ? -errno : 0;
}

/** The spool is one segment afterwards, of what stands behind this place. @return 0 or -errno */
static int cut_spool(const char *directory, SpoolPosition loaded)
{
    char path[PATH_MAX];
    char name[SPOOL_NAME_SIZE];
    uint64_t newest = 0;
    _cleanup_(io_closep) int directory_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory_fd < 0) {
        return errno == ENOENT ? 0 : -errno;
    }
    int rc = spool_newest_segment(directory, &newest);
    if (rc < 0 || newest == 0) {
        return rc;
    }
    (void)snprintf(path, sizeof(path), "%s/" REST_FILE, directory);
    spool_segment_name(newest, name);
    rc = copy_rest(directory, loaded, path);
    rc = rc == 0 && renameat(directory_fd, REST_FILE, directory_fd, name) < 0 ? -errno : rc;
    return rc < 0 ? rc : remove_others(directory_fd, name);
}

int audit_restored(const char *directory, DbConn *conn, Request *req)
{
    char received[PATH_MAX];
    SpoolPosition loaded[SPOOL_COUNT] = {{0, 0}};
    Uuid chain;
    int rc = chain_files_read(directory, &chain);
    if (rc <= 0) {
        return rc < 0 ? fail(req, directory, rc) : 0;
    }
    (void)snprintf(received, sizeof(received), "%s/received", directory);
    rc = chain_store_loaded(conn, req, chain, loaded);
    if (rc < 0) {
        return rc;
    }
    rc = cut_spool(directory, later(loaded[SPOOL_OWN], spool_cursor_load(directory)));
    rc = rc < 0 ? rc : forget_cursor(directory);
    rc = rc < 0 ? rc : cut_spool(received, loaded[SPOOL_RECEIVED]);
    rc = rc < 0 ? rc : chain_files_renew(directory, &chain);
    return rc < 0 ? fail(req, directory, rc) : 0;
}
