#pragma once

#include "lib/base/request.h"

/**
 * Where the bytes of submitted documents go while they arrive. The repository fills this in;
 * lib/soap only calls it. A DocumentContent is owned by the sink; whoever opened it must finish
 * with either abandon() or a hand-over to the repository's own commit.
 */
typedef struct DocumentContent {
    uint64_t size_bytes;
    uint8_t sha1[20];   /* valid after close() */
    uint8_t sha256[32]; /* valid after close() */
} DocumentContent;

typedef struct DocumentSink {
    void *ctx;
    int (*open)(void *ctx, Request *req, DocumentContent **ret_content);
    int (*write)(void *ctx, Request *req, DocumentContent *content, const void *bytes, size_t len);
    /** All bytes arrived: hashes are final. Not yet durable. */
    int (*close)(void *ctx, Request *req, DocumentContent *content);
    /** Gives up; frees what was taken. Called for every content that was not handed over. */
    void (*abandon)(void *ctx, DocumentContent *content);
} DocumentSink;
