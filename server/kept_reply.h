#pragma once

#include "lib/base/body.h"
#include "lib/base/request.h"
#include "lib/base/spill.h"

/** Replies that are made whole before they are sent, and can be sent more than once. */

/** Up to 1 MiB in memory, beyond that in a file. Zeroed: empty. */
typedef struct KeptReply {
    SpillRoom *room; /* NULL: none is taken */
    StrBuf text;     /* behind what is in the file */
    int fd;
    uint64_t file_bytes;
} KeptReply;

/**
 * Takes all that the source makes, and calls its done(). What was kept before is dropped.
 * @param room  borrowed as long as the reply is kept
 * @return 0, or a negative ErrorCode with the reason in req->errors: nothing is kept
 */
int kept_reply_make(KeptReply *kept, Request *req, SpillRoom *room, BodySource *source) MUST_CHECK;

void kept_reply_drop(KeptReply *kept);

uint64_t kept_reply_bytes(const KeptReply *kept);

/** One reading of a kept reply from its beginning. */
typedef struct KeptReplyReader {
    const KeptReply *kept;
    uint64_t position;
} KeptReplyReader;

/** @param reader  must outlive the source, which has no done() */
BodySource kept_reply_source(KeptReplyReader *reader, const KeptReply *kept);
