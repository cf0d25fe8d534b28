#pragma once

#include "lib/ebrim/rendered.h"

/** Compression of rendered objects: dictionaries and the working memory of zstd; private to this
 * folder. */

/**
 * Compresses with the built-in dictionary; in the arena.
 */
Str dictionaries_compress(RenderDictionaries *dictionaries, Arena *arena, Str text);

/**
 * Decompresses a blob; hands the text to use() while it is valid.
 * @return what use() returned, or -ERR_CORRUPT
 */
int dictionaries_decompress(RenderDictionaries *dictionaries, Str blob,
                            int (*use)(void *ctx, Str text), void *ctx) MUST_CHECK;

/** The template of an Association that holds nothing besides its columns. */
Str dictionaries_plain_association(const RenderDictionaries *dictionaries);
