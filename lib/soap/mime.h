#pragma once

#include "lib/base/error.h"
#include "lib/base/macros.h"
#include "lib/base/str.h"

/** A Content-Type header field (RFC 2045 5.1): media type and parameters. */
typedef struct ContentTypeParameter {
    Str name;  /* lower case */
    Str value; /* without quotes */
} ContentTypeParameter;

#define CONTENT_TYPE_PARAMETERS_MAX 16

typedef struct ContentType {
    Str media_type; /* lower case, "multipart/related" */
    ContentTypeParameter parameters[CONTENT_TYPE_PARAMETERS_MAX];
    size_t parameter_count;
} ContentType;

/** @param ret_type  everything in it is in the arena; false if the text has another form */
bool content_type_parse(Arena *arena, Str text, ContentType *ret_type) MUST_CHECK;

/** Value of a parameter; empty if absent. name in lower case. */
Str content_type_parameter(const ContentType *type, const char *name);

/** The Content-ID without white space and <>: some senders leave the brackets out (TF-2 3.43.5.1).
 */
Str mime_content_id(Str text);

typedef struct MimePart {
    Str content_id;   /* without <>; empty if absent; borrowed for the call */
    Str content_type; /* the whole field; empty if absent; borrowed for the call */
} MimePart;

/** What a message is made of. The functions return 0, or a negative ErrorCode after adding the
 * error. */
typedef struct MimeEvents {
    void *ctx;
    int (*part_begin)(void *ctx, const MimePart *part);
    /** Content with its Content-Transfer-Encoding undone. */
    int (*part_bytes)(void *ctx, const void *bytes, size_t len);
    int (*part_end)(void *ctx);
} MimeEvents;

typedef struct MimeLimits {
    size_t header_bytes; /* per part; also of the preamble */
    unsigned parts;
} MimeLimits;

extern const MimeLimits MIME_LIMITS;

/**
 * Takes a multipart body (RFC 2046 5.1) apart while it arrives, in constant memory. The boundary is
 * found over chunk borders; the final boundary is required. Preamble and epilogue are ignored.
 *
 * More than the RFC is accepted where that is unambiguous: a message whose first boundary line ends
 * in a bare LF is read with LF line ends throughout; header lines may end in LF; boundary lines may
 * end in white space. Content-Transfer-Encoding is binary, 8bit, 7bit or base64.
 */
typedef struct MimeParser MimeParser;

/**
 * @param errors    borrowed
 * @param boundary  parameter of the Content-Type: 1 to 70 characters, else NULL is returned; copied
 * @param limits    borrowed
 * @param events    borrowed
 */
MimeParser *mime_parser_new(ErrorList *errors, Str boundary, const MimeLimits *limits,
                            const MimeEvents *events);

/** @return 0, ERR_SOAP_SENDER, ERR_TOO_LARGE, or what an event returned; final: do not push again
 */
int mime_parser_push(MimeParser *parser, const void *bytes, size_t len) MUST_CHECK;

/** The last byte arrived: the final boundary must have been seen. */
int mime_parser_finish(MimeParser *parser) MUST_CHECK;

void mime_parser_free(MimeParser *parser);
