#pragma once

#include <stdlib.h>

#include "lib/soap/receive.h"
#include "lib/xml/read.h"

#include "tests/unit/xml_fixture.h"

/** A sink that keeps the bytes, and counts what it still owns. */
typedef struct MemoryContent {
    DocumentContent base;
    StrBuf bytes;
    bool is_closed;
} MemoryContent;

static inline int memory_open(void *ctx, Request *req, DocumentContent **ret_content)
{
    (void)req;
    MemoryContent *content = calloc(1, sizeof(*content));
    assert_non_null(content);
    ++*(int *)ctx;
    *ret_content = &content->base;
    return 0;
}

static inline int memory_write(void *ctx, Request *req, DocumentContent *content, const void *bytes,
                               size_t len)
{
    (void)ctx;
    (void)req;
    strbuf_append_bytes(&((MemoryContent *)content)->bytes, bytes, len);
    content->size_bytes += len;
    return 0;
}

static inline int memory_close(void *ctx, Request *req, DocumentContent *content)
{
    (void)ctx;
    (void)req;
    ((MemoryContent *)content)->is_closed = true;
    return 0;
}

static inline void memory_abandon(void *ctx, DocumentContent *content)
{
    strbuf_done(&((MemoryContent *)content)->bytes);
    free(content);
    --*(int *)ctx;
}

#define MEMORY_SINK(open_count)                                                                    \
    (DocumentSink)                                                                                 \
    {                                                                                              \
        .ctx = (open_count), .open = memory_open, .write = memory_write, .close = memory_close,    \
        .abandon = memory_abandon                                                                  \
    }

static inline Str memory_bytes(const DocumentContent *content)
{
    return strbuf_str(&((const MemoryContent *)content)->bytes);
}
