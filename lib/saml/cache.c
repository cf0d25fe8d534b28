#include "lib/saml/cache.h"

#include <pthread.h>
#include <stdlib.h>

#include "lib/base/heap.h"

/** Places; each digest has one. */
#define CACHE_SIZE 4096

struct SamlCache {
    pthread_mutex_t lock;
    SamlSeen places[CACHE_SIZE]; /* generation 0: free */
};

SamlCache *saml_cache_new(void)
{
    SamlCache *cache = HEAP_NEW(SamlCache);
    pthread_mutex_init(&cache->lock, NULL);
    return cache;
}

void saml_cache_free(SamlCache *cache)
{
    if (cache) {
        pthread_mutex_destroy(&cache->lock);
        free(cache);
    }
}

static SamlSeen *place_of(SamlCache *cache, const SamlDigest *digest)
{
    uint32_t number;
    memcpy(&number, digest->bytes, sizeof(number));
    return &cache->places[number % CACHE_SIZE];
}

bool saml_cache_find(SamlCache *cache, const SamlDigest *digest, SamlSeen *ret_seen)
{
    pthread_mutex_lock(&cache->lock);
    const SamlSeen *place = place_of(cache, digest);
    bool is_found = place->generation > 0 &&
                    memcmp(place->digest.bytes, digest->bytes, sizeof(digest->bytes)) == 0;
    if (is_found) {
        *ret_seen = *place;
    }
    pthread_mutex_unlock(&cache->lock);
    return is_found;
}

void saml_cache_add(SamlCache *cache, const SamlSeen *seen)
{
    pthread_mutex_lock(&cache->lock);
    *place_of(cache, &seen->digest) = *seen;
    pthread_mutex_unlock(&cache->lock);
}
