#pragma once

#include "lib/base/str.h"

/**
 * MLLP framing (HL7 v2 Transport Specification: MLLP; ITI TF-2 C.2.1): 0x0B payload 0x1C 0x0D. A
 * push parser: bytes go in as they arrive, whole frames come out. Octets before 0x0B are discarded,
 * and so is the CR behind 0x1C, for which nobody has to wait.
 */

#define MLLP_START 0x0b
#define MLLP_END 0x1c

#define MLLP_FRAME_MAX_BYTES ((size_t)16 * 1024 * 1024)
/** More octets than this outside a frame: the peer does not speak MLLP. */
#define MLLP_NOISE_MAX_BYTES 4096u

typedef enum MllpEvent {
    MLLP_MORE,      /* all bytes used, no frame ends in them */
    MLLP_FRAME,     /* payload is whole; push the rest of the bytes afterwards */
    MLLP_TOO_LARGE, /* the payload is longer than the limit: close the connection */
    MLLP_BROKEN,    /* 0x0B inside a frame, or noise: close the connection */
} MllpEvent;

typedef struct MllpParser {
    StrBuf payload; /* of the frame in work */
    size_t max_bytes;
    size_t noise_bytes; /* octets discarded since the last frame, CR and LF behind a frame aside */
    bool is_in_frame;
    bool is_complete;
} MllpParser;

/** @param max_bytes  longest payload */
void mllp_parser_init(MllpParser *parser, size_t max_bytes);
void mllp_parser_done(MllpParser *parser);

/**
 * Takes bytes up to the end of the next frame. After MLLP_FRAME the payload lives until the next
 * call. After MLLP_TOO_LARGE or MLLP_BROKEN the parser is of no more use.
 *
 * @param bytes  what is not used up is left in it
 */
MllpEvent mllp_parser_push(MllpParser *parser, Str *bytes) MUST_CHECK;

/** Appends payload as a frame. */
void mllp_append_frame(StrBuf *buf, Str payload);
