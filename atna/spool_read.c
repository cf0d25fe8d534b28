#include <dirent.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "atna/spool_file.h"
#include "lib/base/crc32c.h"
#include "lib/base/file_io.h"
#include "lib/base/heap.h"

#define SEGMENT_SUFFIX ".spool"
#define CURSOR_NEW_FILE "cursor.new"

/** Before each message, little-endian. */
typedef struct FrameHeader {
    uint32_t crc; /* CRC-32C of the rest of the header and the message */
    uint32_t length_bytes;
    int64_t recorded_us;
} FrameHeader;

#define HEADER_BYTES 16
_Static_assert(sizeof(FrameHeader) == HEADER_BYTES, "the header has no padding");

/** Read at a time, so that a record costs no system calls of its own. */
#define AHEAD_BYTES ((size_t)256 << 10)

struct SpoolReader {
    char *directory;
    int file; /* -1: not open */
    SpoolPosition position;
    StrBuf ahead; /* bytes of the segment as they were when they were read */
    uint64_t ahead_offset;
    uint64_t readable_end; /* of the segment: what is behind it may still be undone */
    unsigned damaged;
    bool is_looked_at_again; /* for records, since the next segment was seen to exist */
};

void spool_segment_name(uint64_t segment, char ret_name[SPOOL_NAME_SIZE])
{
    snprintf(ret_name, SPOOL_NAME_SIZE, "%016" PRIx64 SEGMENT_SUFFIX, segment);
}

static uint32_t frame_crc(const FrameHeader *header, Str message)
{
    uint32_t crc =
        crc32c(0, (const char *)header + sizeof header->crc, sizeof *header - sizeof header->crc);
    return crc32c(crc, message.data, message.len);
}

size_t spool_frame_begin(StrBuf *buf)
{
    static const FrameHeader none;
    size_t begin = buf->len;
    strbuf_append_bytes(buf, &none, sizeof none);
    return begin;
}

void spool_frame_end(StrBuf *buf, size_t begin, int64_t recorded_us)
{
    Str message = str_from_offset(strbuf_str(buf), begin + sizeof(FrameHeader));
    FrameHeader header = {.length_bytes = htole32((uint32_t)message.len),
                          .recorded_us = (int64_t)htole64((uint64_t)recorded_us)};
    header.crc = htole32(frame_crc(&header, message));
    memcpy(buf->data + begin, &header, sizeof header);
}

/** Reads a name as spool_segment_name() writes it. */
static bool segment_of_name(const char *name, uint64_t *ret_segment)
{
    char expected[SPOOL_NAME_SIZE];
    char *end = NULL;
    uint64_t segment = strtoull(name, &end, 16);
    spool_segment_name(segment, expected);
    *ret_segment = segment;
    return segment > 0 && strcmp(name, expected) == 0;
}

/** The smallest segment above this one, and the largest of all; 0: none. */
static int find_segments(const char *directory, uint64_t above, uint64_t *ret_next,
                         uint64_t *ret_newest)
{
    uint64_t next = 0;
    uint64_t newest = 0;
    DIR *listing = opendir(directory);
    if (listing == NULL) {
        return -errno;
    }
    for (struct dirent *entry = readdir(listing); entry != NULL; entry = readdir(listing)) {
        uint64_t segment = 0;
        if (!segment_of_name(entry->d_name, &segment)) {
            continue;
        }
        newest = MAX(newest, segment);
        if (segment > above && (next == 0 || segment < next)) {
            next = segment;
        }
    }
    closedir(listing);
    *ret_next = next;
    *ret_newest = newest;
    return 0;
}

int spool_newest_segment(const char *directory, uint64_t *ret_segment)
{
    uint64_t next = 0;
    return find_segments(directory, 0, &next, ret_segment);
}

SpoolReader *spool_reader_new(const char *directory, SpoolPosition from)
{
    SpoolReader *reader = HEAP_NEW(SpoolReader);
    reader->directory = heap_text(str_from(directory));
    reader->file = -1;
    reader->position = from;
    return reader;
}

static void close_segment(SpoolReader *reader)
{
    strbuf_clear(&reader->ahead);
    if (reader->file >= 0) {
        close(reader->file);
        reader->file = -1;
    }
}

void spool_reader_free(SpoolReader *reader)
{
    if (reader == NULL) {
        return;
    }
    close_segment(reader);
    strbuf_done(&reader->ahead);
    free(reader->directory);
    free(reader);
}

SpoolPosition spool_reader_position(const SpoolReader *reader)
{
    return reader->position;
}

static uint64_t file_size(const SpoolReader *reader)
{
    struct stat status;
    return reader->file >= 0 && fstat(reader->file, &status) == 0 ? (uint64_t)status.st_size : 0;
}

/** @return 1, 0 if the segment does not exist (any more), or a negative errno */
static int open_segment(SpoolReader *reader)
{
    char path[PATH_MAX];
    char name[SPOOL_NAME_SIZE];
    spool_segment_name(reader->position.segment, name);
    snprintf(path, sizeof path, "%s/%s", reader->directory, name);
    reader->file = open(path, O_RDONLY | O_CLOEXEC);
    if (reader->file >= 0) {
        return 1;
    }
    return errno == ENOENT ? 0 : -errno;
}

/** @return bytes read, fewer than len at the end of the file only, or a negative errno */
static ssize_t read_at(int file, void *bytes, size_t len, uint64_t offset)
{
    size_t done = 0;
    while (done < len) {
        ssize_t n = pread(file, (char *)bytes + done, len - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return -errno;
        }
        if (n == 0) {
            break;
        }
        done += (size_t)n;
    }
    return (ssize_t)done;
}

bool spool_reader_is_at_clean_end(const SpoolReader *reader)
{
    char block[64 * 1024];
    uint64_t offset = reader->position.offset;
    uint64_t size = file_size(reader);
    bool is_zero = true;
    while (is_zero && offset < size) {
        ssize_t n = read_at(reader->file, block, MIN(sizeof block, size - offset), offset);
        is_zero = n > 0 && block[0] == 0 && memcmp(block, block + 1, (size_t)n - 1) == 0;
        offset += (uint64_t)MAX(n, 0);
    }
    return is_zero;
}

/** Gives so many bytes from the reader's place on. @return 1, 0 if the file ends before, or a
 * negative errno */
static int look_ahead(SpoolReader *reader, size_t len, const char **ret_bytes)
{
    uint64_t offset = reader->position.offset;
    if (offset < reader->ahead_offset || offset + len > reader->ahead_offset + reader->ahead.len) {
        size_t wanted = MIN(MAX(len, AHEAD_BYTES), reader->readable_end - offset);
        strbuf_clear(&reader->ahead);
        ssize_t n = read_at(reader->file, strbuf_reserve(&reader->ahead, wanted), wanted, offset);
        if (n < 0) {
            return (int)n;
        }
        reader->ahead.len = (size_t)n;
        reader->ahead_offset = offset;
    }
    *ret_bytes = reader->ahead.data + (offset - reader->ahead_offset);
    return offset + len <= reader->ahead_offset + reader->ahead.len;
}

/** @return 1, 0 if no whole record begins here, or a negative errno */
static int take_record(SpoolReader *reader, AuditRecord *ret_record)
{
    FrameHeader header;
    const char *bytes = NULL;
    int rc = look_ahead(reader, sizeof header, &bytes);
    if (rc <= 0) {
        return rc;
    }
    memcpy(&header, bytes, sizeof header);
    size_t len = le32toh(header.length_bytes);
    if (len == 0 || len > SPOOL_MAX_MESSAGE_BYTES) {
        return 0;
    }
    rc = look_ahead(reader, sizeof header + len, &bytes);
    if (rc <= 0) {
        return rc;
    }
    Str message = {bytes + sizeof header, len};
    if (frame_crc(&header, message) != le32toh(header.crc)) {
        return 0;
    }
    reader->position.offset += sizeof header + len;
    *ret_record = (AuditRecord){(int64_t)le64toh((uint64_t)header.recorded_us), message};
    return 1;
}

/** What was read ahead may be older than the record: then the file is asked again. */
static int read_record(SpoolReader *reader, AuditRecord *ret_record)
{
    bool has_ahead = reader->ahead.len > 0;
    int rc = take_record(reader, ret_record);
    if (rc == 0 && has_ahead) {
        strbuf_clear(&reader->ahead);
        rc = take_record(reader, ret_record);
    }
    if (rc <= 0) {
        strbuf_clear(&reader->ahead);
    }
    return rc;
}

/** Whether a process holds the spool open for writing. */
static bool has_writer(const SpoolReader *reader)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/" SPOOL_LOCK_FILE, reader->directory);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    bool is_locked = file >= 0 && flock(file, LOCK_SH | LOCK_NB) < 0;
    if (file >= 0) {
        close(file);
    }
    return is_locked;
}

/** Leaves a segment in which no whole record follows. @return 1 go on, 0 end, negative errno */
static int next_segment(SpoolReader *reader)
{
    uint64_t next = 0;
    uint64_t newest = 0;
    int rc = find_segments(reader->directory, reader->position.segment, &next, &newest);
    if (rc < 0) {
        return rc;
    }
    bool has_rest = reader->file >= 0 && !spool_reader_is_at_clean_end(reader);
    if (next == 0) {
        reader->damaged += has_rest && !has_writer(reader) ? 1 : 0;
        return 0;
    }
    if (reader->file >= 0 && !reader->is_looked_at_again) {
        reader->is_looked_at_again =
            true; /* records may have come before the next segment was begun */
        return 1;
    }
    reader->damaged += has_rest ? 1 : 0;
    close_segment(reader);
    reader->position = (SpoolPosition){next, 0};
    reader->is_looked_at_again = false;
    return 1;
}

static bool is_at_limit(const SpoolReader *reader, const SpoolPosition *limit)
{
    return limit != NULL && (reader->position.segment > limit->segment ||
                             (reader->position.segment == limit->segment &&
                              reader->position.offset >= limit->offset));
}

int spool_reader_next(SpoolReader *reader, const SpoolPosition *limit, AuditRecord *ret_record)
{
    int rc = 1;
    while (rc > 0 && !is_at_limit(reader, limit)) {
        rc = reader->file >= 0 ? 1 : open_segment(reader);
        bool has_end = limit != NULL && limit->segment == reader->position.segment;
        reader->readable_end = has_end ? limit->offset : UINT64_MAX;
        if (rc > 0) {
            rc = read_record(reader, ret_record);
        }
        if (rc > 0) {
            reader->is_looked_at_again = false;
            return 1;
        }
        if (rc == 0) {
            rc = next_segment(reader);
        }
    }
    return MIN(rc, 0);
}

/* Cursor. */

static int open_in(const char *directory, const char *name, int flags)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return open(path, flags | O_CLOEXEC, 0600);
}

SpoolPosition spool_cursor_load(const char *directory)
{
    SpoolPosition position = {0, 0};
    char text[64];
    int file = open_in(directory, SPOOL_CURSOR_FILE, O_RDONLY);
    if (file < 0) {
        return position;
    }
    ssize_t len = read_at(file, text, sizeof text, 0);
    close(file);
    Str rest = str_trim((Str){text, (size_t)MAX(len, 0)});
    Str segment = STR_EMPTY;
    bool is_whole = str_split_next(&rest, ' ', &segment) &&
                    str_to_u64(segment, &position.segment) && str_to_u64(rest, &position.offset);
    return is_whole ? position : (SpoolPosition){0, 0};
}

/** Writes the file whole and durable. */
static int write_cursor_file(const char *directory, SpoolPosition delivered)
{
    char text[64];
    int len = snprintf(text, sizeof text, "%" PRIu64 " %" PRIu64 "\n", delivered.segment,
                       delivered.offset);
    int file = open_in(directory, CURSOR_NEW_FILE, O_WRONLY | O_CREAT | O_TRUNC);
    if (file < 0) {
        return -errno;
    }
    int rc = io_write_all(file, text, (size_t)len);
    rc = rc == 0 && fsync(file) < 0 ? -errno : rc;
    return close(file) < 0 ? -EIO : rc;
}

int spool_cursor_store(const char *directory, SpoolPosition delivered)
{
    char path[PATH_MAX];
    char new_path[PATH_MAX];
    int rc = write_cursor_file(directory, delivered);
    if (rc < 0) {
        return rc;
    }
    snprintf(path, sizeof path, "%s/" SPOOL_CURSOR_FILE, directory);
    snprintf(new_path, sizeof new_path, "%s/" CURSOR_NEW_FILE, directory);
    if (rename(new_path, path) < 0) {
        return -errno;
    }
    _cleanup_(io_closep) int parent = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return parent < 0 ? -errno : io_sync_directory(parent);
}

int spool_read_from(const char *directory, SpoolPosition from, AuditRecordFn callback, void *ctx,
                    unsigned *ret_damaged, char *ret_problem, size_t problem_size)
{
    SpoolReader *reader = spool_reader_new(directory, from);
    AuditRecord record;
    int rc = spool_reader_next(reader, NULL, &record);
    int verdict = 0;
    while (rc > 0 && verdict == 0) {
        verdict = callback(ctx, &record);
        rc = verdict == 0 ? spool_reader_next(reader, NULL, &record) : 0;
    }
    if (rc < 0) {
        snprintf(ret_problem, problem_size, "%s: %s", directory, strerror(-rc));
        verdict = -ERR_IO;
    }
    *ret_damaged = reader->damaged;
    spool_reader_free(reader);
    return verdict;
}

int audit_spool_read(const char *directory, AuditRecordFn callback, void *ctx,
                     unsigned *ret_damaged, char *ret_problem, size_t problem_size)
{
    return spool_read_from(directory, (SpoolPosition){0, 0}, callback, ctx, ret_damaged,
                           ret_problem, problem_size);
}
