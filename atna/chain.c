#include "atna/chain.h"

#include <openssl/evp.h>
#include <openssl/sha.h>
#include <stdlib.h>

#include "lib/base/heap.h"

struct ChainHasher {
    EVP_MD *sha256; /* fetched once: a look-up for every record would cost as much as its hash */
    EVP_MD_CTX *context;
};

bool chain_hash_equal(const ChainHash *a, const ChainHash *b)
{
    return memcmp(a->bytes, b->bytes, CHAIN_HASH_BYTES) == 0;
}

void chain_hash_first(Uuid chain, ChainHash *ret_hash)
{
    SHA256(chain.bytes, sizeof(chain.bytes), ret_hash->bytes);
}

ChainHasher *chain_hasher_new(void)
{
    ChainHasher *hasher = HEAP_NEW(ChainHasher);
    hasher->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    hasher->context = EVP_MD_CTX_new();
    if (!hasher->sha256 || !hasher->context) {
        abort();
    }
    return hasher;
}

void chain_hasher_free(ChainHasher *hasher)
{
    if (!hasher) {
        return;
    }
    EVP_MD_CTX_free(hasher->context);
    EVP_MD_free(hasher->sha256);
    free(hasher);
}

static void digest(ChainHasher *hasher, Str first, Str second, ChainHash *ret_hash)
{
    unsigned len = 0;
    if (EVP_DigestInit_ex(hasher->context, hasher->sha256, NULL) != 1 ||
        EVP_DigestUpdate(hasher->context, first.data, first.len) != 1 ||
        EVP_DigestUpdate(hasher->context, second.data, second.len) != 1 ||
        EVP_DigestFinal_ex(hasher->context, ret_hash->bytes, &len) != 1) {
        abort(); /* SHA-256 of memory has no way to fail */
    }
}

void chain_hasher_digest(ChainHasher *hasher, Str bytes, ChainHash *ret_hash)
{
    digest(hasher, bytes, STR_EMPTY, ret_hash);
}

void chain_hash_next(ChainHasher *hasher, ChainHash *hash, Str fields)
{
    digest(hasher, (Str){(const char *)hash->bytes, sizeof(hash->bytes)}, fields, hash);
}
