#pragma once

#include "repository/imaging/dicomweb.h"

/**
 * The payload of an answer, made part by part while it is sent: memory does not grow with it. Holds
 * no database connection between calls.
 */
typedef struct Parts {
    void *ctx;
    size_t count;
    /** Begins part number index (they come in order): its Content-Type, and its address or empty,
     * in strings that live until the next call. */
    int (*begin)(void *ctx, size_t index, Str *ret_type, Str *ret_location);
    /** The next bytes of the part that was begun, as BodySource.next. */
    int (*next)(void *ctx, StrBuf *buf);
    /** Frees ctx. @param is_whole  all was asked for */
    void (*done)(void *ctx, bool is_whole);
} Parts;

/**
 * Answers with status 200 and multipart/related (RFC 2387), or with the only part by itself. The
 * first bytes are made at once, so that what is damaged from the start is an error yet.
 * @param type  of the parts, for the type parameter; also done() is called if it fails
 */
int parts_reply(DicomwebExchange *exchange, const Parts *parts, bool is_multipart,
                Str type) MUST_CHECK;
