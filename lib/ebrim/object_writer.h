#pragma once

#include "lib/ebrim/metadata.h"
#include "lib/ebrim/vocabulary.h"

/** One writer for both forms of an object; private to this folder. */

/** Bytes of render_tokens.def. */
typedef enum RenderToken {
#define TOKEN_TEXT(byte, name, text) TOKEN_##name = (byte),
#define TOKEN_VALUE(byte, name) TOKEN_##name = (byte),
#include "lib/ebrim/render_tokens.def"
#undef TOKEN_TEXT
#undef TOKEN_VALUE
} RenderToken;

#define RENDER_TOKEN_COUNT 0x20

/** The text of a TOKEN_TEXT; empty for the others. */
extern const Str render_token_texts[RENDER_TOKEN_COUNT];

/**
 * Writes the object in schema order with the bytes of render_tokens.def: what a rendered blob
 * holds. Of an Association only what its columns do not hold is the object's.
 */
void object_write_template(StrBuf *buf, ObjectKind kind, const RimObject *object, Uuid entry_uuid);
