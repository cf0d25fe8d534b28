#pragma once

/* What the tests of the blob store share: a folder of their own, and shorthand for storing and
 * reading. */

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "repository/blob.h"

typedef struct Fixture {
    char directory[64];
    char blobs[96];
    char locator[96];
    BlobStoreConfig config;
    BlobStore *store;
    Request *req;
} Fixture;

static inline void fixture_open_store(Fixture *fixture)
{
    char problem[256] = "";
    fixture->store = blob_store_open(&fixture->config, problem, sizeof(problem));
    if (!fixture->store) {
        fail_msg("blob_store_open: %s", problem);
    }
}

static inline void fixture_close_store(Fixture *fixture)
{
    blob_store_close(fixture->store);
    fixture->store = NULL;
}

static inline int fixture_set_up(void **state)
{
    Fixture *fixture = calloc(1, sizeof(*fixture));
    strcpy(fixture->directory, "/tmp/musubi-blob-XXXXXX");
    assert_non_null(mkdtemp(fixture->directory));
    snprintf(fixture->blobs, sizeof(fixture->blobs), "%s/blobs", fixture->directory);
    snprintf(fixture->locator, sizeof(fixture->locator), "%s/locator", fixture->directory);
    fixture->config = (BlobStoreConfig){
        .blobs_dir = fixture->blobs,
        .locator_dir = fixture->locator,
        .segment_max_document_bytes = 256 << 10,
        .segment_max_bytes = 1 << 20,
    };
    fixture->req = request_new(600000);
    fixture_open_store(fixture);
    *state = fixture;
    return 0;
}

static inline int fixture_tear_down(void **state)
{
    Fixture *fixture = *state;
    char command[128];
    blob_store_close(fixture->store);
    request_free(fixture->req);
    snprintf(command, sizeof(command), "rm -rf '%s'", fixture->directory);
    int rc = system(command);
    free(fixture);
    return rc;
}

/** Bytes that differ for each seed, and within themselves. */
static inline uint8_t *fixture_bytes(size_t len, unsigned seed)
{
    uint8_t *bytes = malloc(len + 1);
    uint32_t value = seed * 2654435761U + 1;
    for (size_t i = 0; i < len; i++) {
        value = value * 1664525U + 1013904223U;
        bytes[i] = (uint8_t)(value >> 24);
    }
    return bytes;
}

/** Takes the bytes in odd pieces, as they come from a network. */
static inline BlobWriter *fixture_writer(BlobStore *store, Request *req, const uint8_t *bytes,
                                         size_t len)
{
    BlobWriter *writer;
    assert_int_equal(blob_writer_open(store, req, &writer), 0);
    for (size_t done = 0; done < len;) {
        size_t step = len - done < 10007 ? len - done : 10007;
        assert_int_equal(blob_writer_write(writer, req, bytes + done, step), 0);
        done += step;
    }
    assert_int_equal(blob_writer_close(writer, req), 0);
    return writer;
}

static inline void fixture_put(Fixture *fixture, const uint8_t *bytes, size_t len,
                               uint8_t ret_sha256[32])
{
    BlobWriter *writer = fixture_writer(fixture->store, fixture->req, bytes, len);
    memcpy(ret_sha256, writer->content.sha256, 32);
    assert_int_equal(blob_writers_commit(fixture->store, fixture->req, &writer, 1), 0);
}

/** Stores len bytes of that seed. */
static inline void fixture_put_seed(Fixture *fixture, size_t len, unsigned seed,
                                    uint8_t ret_sha256[32])
{
    uint8_t *bytes = fixture_bytes(len, seed);
    fixture_put(fixture, bytes, len, ret_sha256);
    free(bytes);
}

/** @return 0 and all bytes, or the error of opening or of the block that failed */
static inline int fixture_get(Fixture *fixture, const uint8_t sha256[32], StrBuf *ret_bytes)
{
    BlobReader *reader;
    int rc = blob_reader_open(fixture->store, sha256, &reader);
    if (rc < 0) {
        return rc;
    }
    do {
        rc = blob_reader_next(reader, ret_bytes);
    } while (rc > 0);
    blob_reader_free(reader);
    return rc;
}

static inline void fixture_assert_holds(Fixture *fixture, const uint8_t sha256[32], size_t len,
                                        unsigned seed)
{
    StrBuf got = {0};
    uint8_t *bytes = fixture_bytes(len, seed);
    assert_int_equal(fixture_get(fixture, sha256, &got), 0);
    assert_int_equal(got.len, len);
    assert_memory_equal(strbuf_str(&got).data, bytes, len);
    free(bytes);
    strbuf_done(&got);
}

static inline int fixture_open_blob(const Fixture *fixture, const char *path)
{
    char full[256];
    snprintf(full, sizeof(full), "%s/%s", fixture->blobs, path);
    int fd = open(full, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

static inline void fixture_flip(const Fixture *fixture, const char *path, uint64_t offset)
{
    int fd = fixture_open_blob(fixture, path);
    uint8_t byte;
    assert_int_equal(pread(fd, &byte, 1, (off_t)offset), 1);
    byte ^= 0x10;
    assert_int_equal(pwrite(fd, &byte, 1, (off_t)offset), 1);
    close(fd);
}

static inline uint64_t fixture_file_bytes(const Fixture *fixture, const char *path)
{
    int fd = fixture_open_blob(fixture, path);
    struct stat info;
    assert_int_equal(fstat(fd, &info), 0);
    close(fd);
    return (uint64_t)info.st_size;
}
