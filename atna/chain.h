#pragma once

#include "lib/base/str.h"
#include "lib/base/uuid.h"

/** The hash chain of table audit_record: who changes, removes or moves a record breaks it. */

#define CHAIN_HASH_BYTES 32

typedef struct ChainHash {
    uint8_t bytes[CHAIN_HASH_BYTES];
} ChainHash;

bool chain_hash_equal(const ChainHash *a, const ChainHash *b);

/** What stands before the first record: SHA-256 of the 16 bytes of the chain's name. */
void chain_hash_first(Uuid chain, ChainHash *ret_hash);

/** Computes hashes; one thread uses it. */
typedef struct ChainHasher ChainHasher;

ChainHasher *chain_hasher_new(void);
/** chain_hasher_free(NULL) is fine. */
void chain_hasher_free(ChainHasher *hasher);

/** SHA-256 of these bytes. */
void chain_hasher_digest(ChainHasher *hasher, Str bytes, ChainHash *ret_hash);

/**
 * The hash of a record: SHA-256 of the hash of the record before it and the record's fields.
 *
 * @param hash    of the record before it; replaced
 * @param fields  all columns but the hash, each as COPY BINARY has it: length and value
 */
void chain_hash_next(ChainHasher *hasher, ChainHash *hash, Str fields);
