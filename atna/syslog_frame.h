#pragma once

#include "atna/repository.h"

/**
 * Cuts a byte stream into syslog messages: MSG-LEN SP SYSLOG-MSG (RFC 5425 4.3), strictly; and what
 * begins with "<" instead of a number up to its line feed (RFC 6587 3.4.2), which is tolerated.
 */
typedef struct SyslogFramer {
    StrBuf bytes;      /* read and not yet cut */
    size_t begin;      /* of the next frame */
    bool has_line_end; /* before it, where none belongs */
} SyslogFramer;

typedef enum SyslogFrameResult {
    SYSLOG_FRAME_MORE,
    SYSLOG_FRAME_MESSAGE,
    SYSLOG_FRAME_BROKEN, /* the connection is to be closed */
} SyslogFrameResult;

/** Zero-initialise it; free with this. */
void syslog_framer_done(SyslogFramer *framer);

/** Room for the next size bytes of the stream; messages that were returned are gone. */
char *syslog_framer_reserve(SyslogFramer *framer, size_t size) NONNULL_RETURN;
/** So many of them came. */
void syslog_framer_add(SyslogFramer *framer, size_t len);

/**
 * @param ret_message  borrowed until syslog_framer_reserve()
 * @param ret_defects  of the frame
 * @param ret_problem  why it is broken, a constant
 */
SyslogFrameResult syslog_framer_next(SyslogFramer *framer, Str *ret_message, uint64_t *ret_defects,
                                     const char **ret_problem);

/** Whether a frame has begun and not ended. */
bool syslog_framer_is_in_frame(const SyslogFramer *framer);
