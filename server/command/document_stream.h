#pragma once

#include "lib/base/str.h"

/**
 * XML documents one after the other in a file or pipe, separated by NUL, which occurs in no XML
 * document in UTF-8. A file with a single document needs no NUL; what is empty or white space
 * between two NULs is no document. Memory is bounded by the largest document.
 */
typedef struct DocumentStream {
    int fd; /* borrowed */
    StrBuf bytes;
    size_t at; /* what is before it was handed out */
    size_t max_bytes;
    bool has_ended;
    bool is_skipping; /* the rest of a document that is too large */
} DocumentStream;

typedef enum DocumentStreamEvent {
    DOCUMENT_STREAM_DOCUMENT,
    DOCUMENT_STREAM_TOO_LARGE, /* a document with more than max_bytes was passed over */
    DOCUMENT_STREAM_END,
    DOCUMENT_STREAM_FAILED, /* errno says why */
} DocumentStreamEvent;

/** @param max_bytes  of one document */
void document_stream_init(DocumentStream *stream, int fd, size_t max_bytes);
void document_stream_done(DocumentStream *stream);

/** @param ret_document  lives until the next call */
DocumentStreamEvent document_stream_next(DocumentStream *stream, Str *ret_document) MUST_CHECK;
