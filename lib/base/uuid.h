#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/str.h"

/** 16 bytes in network order. */
typedef struct Uuid {
    uint8_t bytes[16];
} Uuid;

/** "urn:uuid:" and 36 characters. */
#define UUID_URN_LEN 45

/** A new UUID (version 7, RFC 9562): ordered by time, so that indexes grow at their end; 74 random
 * bits. */
Uuid uuid_new(void);

/** A UUID (version 8) that follows from a parent and an ordinal: the same for the same arguments.
 */
Uuid uuid_derive(Uuid parent, uint32_t ordinal);

/** The first 16 bytes of the SHA-256 of a text: a key of fixed size for texts of any length. */
Uuid uuid_digest(Str text);

/** Reads "urn:uuid:" + 8-4-4-4-12 lower-case hexadecimal digits (TF-3 Table 4.2.3.1.7-2: lower case
 * only). */
bool uuid_parse_urn(Str urn, Uuid *ret_uuid) MUST_CHECK;

/** Writes UUID_URN_LEN characters, no NUL. */
void uuid_format_urn(Uuid uuid, char *ret_text);
Str uuid_urn(Arena *arena, Uuid uuid);
bool uuid_equal(Uuid a, Uuid b);
int uuid_compare(const void *a, const void *b);
