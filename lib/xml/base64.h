#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/macros.h"
#include "lib/base/str.h"

/** Base64 (RFC 4648 section 4) that arrives in pieces. Zero-initialise it; it owns nothing. */
typedef struct Base64Decoder {
    uint32_t bits;    /* the sextets of the unfinished group, newest lowest */
    unsigned sextets; /* 0 to 3 */
    unsigned padding; /* '=' seen: nothing but padding and white space may follow */
} Base64Decoder;

/** Bytes that base64_decode() may write for a piece of len characters. */
#define BASE64_DECODED_MAX(len) (((len) + 3) / 4 * 3)

/**
 * Decodes the next piece. White space is skipped wherever it stands (xs:base64Binary, RFC
 * 2045 6.8).
 *
 * @param ret_bytes  room for BASE64_DECODED_MAX(text.len) bytes
 * @return false at a character that is not base64, or at data after the padding
 */
bool base64_decode(Base64Decoder *decoder, Str text, uint8_t *ret_bytes,
                   size_t *ret_len) MUST_CHECK;

/** True if the text ended at the end of a group of four characters. */
bool base64_is_complete(const Base64Decoder *decoder);
