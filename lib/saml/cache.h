#pragma once

#include "lib/saml/assertion.h"
#include "lib/saml/replay.h"

/**
 * What this process has verified already: a user's assertion comes with each of his requests. Only
 * the signature check and the look into the database are spared; everything else is checked again
 * on what arrived. Of fixed size: newer assertions take the place of older ones. Thread-safe.
 */
typedef struct SamlCache SamlCache;

/** One assertion that was verified and presented. */
typedef struct SamlSeen {
    SamlDigest digest;
    uint64_t generation;                 /* of the providers whose key it was */
    int64_t until_us;                    /* as long as that key is what it was */
    char presenter[SAML_PRESENTER_SIZE]; /* to whom the database binds it */
} SamlSeen;

SamlCache *saml_cache_new(void);
void saml_cache_free(SamlCache *cache);

/** @return false: it is not known */
bool saml_cache_find(SamlCache *cache, const SamlDigest *digest, SamlSeen *ret_seen);

void saml_cache_add(SamlCache *cache, const SamlSeen *seen);
