#pragma once

#include "server/backup/store.h"

/**
 * What a generation consists of: TIME/manifest.jsonl, one JSON object in each line.
 *
 *   {"backup":1,"generation":TIME,"program":VERSION,"schema":N,"embedded":BOOL,"piece_bytes":N}
 *   {"path":PATH,"size":BYTES,"changed_ns":N,"pieces":[SHA-256 or null, ...]}    sorted by path
 *   {"files":N,"size":BYTES,"sha256":SHA-256 of all lines before this one}
 *
 * A piece that is null is of zero bytes. Every piece but the last of a file has piece_bytes, apart
 * from "database.dump", which is cut by content and has no null. A generation without a true last
 * line is not whole.
 */

#define MANIFEST_FILE "manifest.jsonl"

/** Where things are in a backup; the operator's view of it: README.md. */
#define BACKUP_AUDIT "audit"
#define BACKUP_BLOBS "blobs"
#define BACKUP_CONFIGURATION "configuration"
#define BACKUP_DATABASE "database.dump"
#define BACKUP_LOG "log"

typedef struct ManifestHead {
    const char *generation; /* "20260401T003000.120Z" */
    const char *program;
    int schema;
    bool is_embedded;
} ManifestHead;

/** One line of a file. */
typedef struct ManifestFile {
    Str path; /* relative; "blobs/segments/0000000001.seg" */
    uint64_t size_bytes;
    int64_t changed_ns; /* ctime when it was read; 0: it may have changed since */
    BackupDigest *pieces;
    size_t piece_count;
} ManifestFile;

typedef struct ManifestTotals {
    uint64_t file_count;
    uint64_t size_bytes;
} ManifestTotals;

/* ---- writing ---- */

typedef struct ManifestWriter ManifestWriter;

/** @param fd  of the folder of the generation; borrowed */
int manifest_writer_new(int fd, const ManifestHead *head, ErrorList *errors,
                        ManifestWriter **ret_writer) MUST_CHECK;
int manifest_writer_add(ManifestWriter *writer, ErrorList *errors,
                        const ManifestFile *file) MUST_CHECK;
/** Writes the last line, durably. */
int manifest_writer_finish(ManifestWriter *writer, ErrorList *errors,
                           ManifestTotals *ret_totals) MUST_CHECK;
/** Frees. manifest_writer_free(NULL) is fine. */
void manifest_writer_free(ManifestWriter *writer);

/* ---- reading ---- */

typedef struct ManifestReader ManifestReader;

/**
 * Reads the whole manifest once, to see that it is what was written.
 * @return 0; -ERR_CORRUPT it is not, or is of another version, with the reason in errors; -ERR_IO
 */
int manifest_reader_open(const BackupStore *store, const char *generation, ErrorList *errors,
                         ManifestReader **ret_reader) MUST_CHECK;
/** manifest_reader_free(NULL) is fine. */
void manifest_reader_free(ManifestReader *reader);
void manifest_reader_freep(ManifestReader **reader);

const ManifestHead *manifest_reader_head(const ManifestReader *reader);
const ManifestTotals *manifest_reader_totals(const ManifestReader *reader);

/** The next file; valid until the next call. @return 1, 0 there is none, or -ERR_CORRUPT in errors
 */
int manifest_reader_next(ManifestReader *reader, ErrorList *errors,
                         const ManifestFile **ret_file) MUST_CHECK;

/** The file of this path, if no path from it on was asked for or read before. @return NULL: there
 * is none */
const ManifestFile *manifest_reader_find(ManifestReader *reader, Str path);
