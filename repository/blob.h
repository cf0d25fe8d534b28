#pragma once

#include "lib/base/request.h"
#include "lib/soap/document_sink.h"

/**
 * The bytes of documents: immutable, content-addressed by SHA-256, deduplicated. Up to
 * segment_max_document they live in append-only segments, above that in a file each; LMDB says
 * where (locator_lmdb.c), and can be rebuilt from them.
 *
 * Life of a blob: blob_writer_* while the bytes arrive (written at once, not yet durable) ->
 * blob_writers_commit() (durable: one group fdatasync for all that wait) -> named by a row of
 * repository_document -> freed by the sweep when no row names it. The sweep first marks the blob as
 * dying; after a grace period longer than the longest transaction it asks again whether a row names
 * it, and only then frees the space. A writer that deduplicates to a dying blob takes the mark
 * away.
 */
typedef struct BlobStore BlobStore;

typedef struct BlobStoreConfig {
    const char *blobs_dir;               /* segments and files */
    const char *locator_dir;             /* LMDB; may be another file system */
    uint64_t segment_max_document_bytes; /* 1 MiB */
    uint64_t segment_max_bytes;          /* a new segment is begun beyond this; 1 GiB */
    bool is_read_only; /* a second process beside the server (fsck, scrub): nothing is written or
                          replayed */
} BlobStoreConfig;

BlobStore *blob_store_open(const BlobStoreConfig *config, char *ret_problem, size_t problem_size);
void blob_store_close(BlobStore *store);

/** False once the store can no longer be trusted (EIO on fsync, LMDB panic): writes are refused
 * from then on (contract C6). */
bool blob_store_is_writable(const BlobStore *store);

/** One blob on its way in. Its first member is what lib/soap hands around. */
typedef struct BlobWriter {
    DocumentContent content;
    struct BlobWriterState *state;
} BlobWriter;

int blob_writer_open(BlobStore *store, Request *req, BlobWriter **ret_writer) MUST_CHECK;
/** Before the first byte: nobody asks for the SHA-1 of this one (XDS does, DICOM does not), which
 * costs as much as the SHA-256. content.sha1 and the record's stay zeros. */
void blob_writer_skip_sha1(BlobWriter *writer);
int blob_writer_write(BlobWriter *writer, Request *req, const void *bytes, size_t len) MUST_CHECK;
/** Hashes are final; the bytes are in a segment or file, or were there already. Not durable yet. */
int blob_writer_close(BlobWriter *writer, Request *req) MUST_CHECK;
/** Frees the writer; what it wrote is left to the sweep or undone. */
void blob_writer_abandon(BlobWriter *writer);
/** Makes all of them durable, then frees the writers (also on failure). */
int blob_writers_commit(BlobStore *store, Request *req, BlobWriter **writers,
                        size_t count) MUST_CHECK;

/** The store as a sink for lib/soap; ctx = store. */
DocumentSink blob_store_sink(BlobStore *store);

/** Reading: every block is checked against its CRC-32C before it is given out (contract C5). */
typedef struct BlobReader BlobReader;

/**
 * Adds no error: the caller knows what the document is called.
 * @return 0; -ERR_CORRUPT the locator or the record does not hold what sha256 names; -ERR_STORAGE
 * it is not there; -ERR_IO; -ERR_XDS_REPOSITORY_BUSY no descriptor or memory is free now
 */
int blob_reader_open(BlobStore *store, const uint8_t sha256[32],
                     BlobReader **ret_reader) MUST_CHECK;
uint64_t blob_reader_size_bytes(const BlobReader *reader);
/** Reads every block and checks it, without giving it out. */
int blob_reader_verify(BlobReader *reader) MUST_CHECK;
/** Appends the next block (64 KiB or the rest) to buf. @return 1 more, 0 that was the last,
 * -ERR_CORRUPT, -ERR_IO */
int blob_reader_next(BlobReader *reader, StrBuf *buf) MUST_CHECK;
/** The next block is the one that holds this byte. @return how many bytes of that block come before
 * it */
uint64_t blob_reader_seek(BlobReader *reader, uint64_t offset);
void blob_reader_free(BlobReader *reader);

typedef enum BlobPlace { BLOB_IN_SEGMENT, BLOB_IN_FILE } BlobPlace;

#define BLOB_PATH_MAX 96

typedef struct BlobInfo {
    uint8_t sha256[32];
    uint64_t size_bytes;
    BlobPlace place;
    char file[BLOB_PATH_MAX]; /* path below blobs_dir */
    uint64_t offset;
    int64_t written_us; /* clock_utc_us() when it was written, for the age that the sweep asks */
} BlobInfo;

/** False if the locator does not know it. */
bool blob_store_stat(BlobStore *store, const uint8_t sha256[32], BlobInfo *ret_info);

/** Calls fn for every blob that the locator names; fn returns 0 to go on. */
int blob_store_iterate(BlobStore *store, int (*fn)(void *ctx, const BlobInfo *info), void *ctx);

/** Sweep, two phases (see above). revive: a row names it after all. */
void blob_store_mark_dying(BlobStore *store, const uint8_t sha256[32]);
void blob_store_revive(BlobStore *store, const uint8_t sha256[32]);
/** Frees the space of a blob that is still marked. @return 1 freed, 0 no longer marked,
 * -ERR_STORAGE */
int blob_store_delete(BlobStore *store, const uint8_t sha256[32]) MUST_CHECK;

/** Adds files that the locator lost in a crash: reads the folders, so it is for a background
 * thread. */
int blob_store_adopt_files(BlobStore *store) MUST_CHECK;
/** Re-reads all segments and files and writes the locator anew. The store must be open by nobody
 * else. */
int blob_store_rebuild_locator(const BlobStoreConfig *config, char *ret_problem,
                               size_t problem_size);
