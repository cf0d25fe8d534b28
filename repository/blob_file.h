#pragma once

#include <stdatomic.h>

#include "repository/location.h"
#include "repository/record.h"

/**
 * One file for each large document: "files/ab/<64 hexadecimal digits of its SHA-256>", the body
 * first, its record (record.h) behind it. It arrives under "tmp/", and gets its name only when its
 * bytes are durable. Functions return 0 or -errno.
 */
typedef struct FileStore {
    int files_fd;     /* owned */
    int temporary_fd; /* owned */
    int fan_out_fds[256];
    atomic_bool has_failed;
} FileStore;

/** Makes the folders; with is_read_only they must be there. Removes what an interrupted upload left
 * under tmp/. */
int file_store_open(FileStore *store, int directory_fd, bool is_read_only) MUST_CHECK;
void file_store_close(FileStore *store);

#define TEMPORARY_NAME_BYTES 40

/** A file that arrives. */
typedef struct FileUpload {
    int fd; /* -1: none */
    char name[TEMPORARY_NAME_BYTES];
} FileUpload;

int file_upload_begin(FileStore *store, FileUpload *ret_upload) MUST_CHECK;
int file_upload_write(FileStore *store, FileUpload *upload, const void *bytes,
                      size_t len) MUST_CHECK;
/** Writes the record behind the body. */
int file_upload_finish(FileStore *store, FileUpload *upload, const RecordHeader *header,
                       const BlockCrcs *crcs) MUST_CHECK;
/** Durable bytes, then the name, then the durable name. */
int file_upload_commit(FileStore *store, FileUpload *upload, const uint8_t sha256[32]) MUST_CHECK;
/** Removes it unless it was committed; closes it. */
void file_upload_end(FileStore *store, FileUpload *upload);

/** Writes "files/ab/<sha256>". */
void file_path(const uint8_t sha256[32], char *ret_path, size_t size);
int file_open_for_reading(const FileStore *store, const uint8_t sha256[32], int *ret_fd) MUST_CHECK;
/** Makes the name of a file durable that an earlier process may have left unsynced. */
int file_sync_name(FileStore *store, const uint8_t sha256[32]) MUST_CHECK;
/** Removes the name durably. */
int file_delete(FileStore *store, const uint8_t sha256[32]) MUST_CHECK;

/**
 * Calls fn for every file whose record is intact and is named as it says. Blocks are not read: a
 * file has its name only since its bytes were durable.
 */
typedef int (*FileRecordFn)(void *ctx, const RecordHeader *header);
int file_store_walk(FileStore *store, FileRecordFn fn, void *ctx) MUST_CHECK;

/** Reads and checks the record behind the body; crcs (block_count items) is for the caller to free.
 */
int file_read_record(int fd, RecordHeader *ret_header, uint32_t **ret_crcs) MUST_CHECK;
