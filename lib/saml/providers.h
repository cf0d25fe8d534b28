#pragma once

#include <openssl/evp.h>

#include "lib/db/db.h"

/**
 * Identity providers and their pinned keys: table identity_provider as a snapshot in memory,
 * renewed within seconds of a change (polled). Thread-safe.
 */
typedef struct SamlProviders SamlProviders;

SamlProviders *saml_providers_new(void);
void saml_providers_free(SamlProviders *providers);

/** Reads the table anew; what did not change stays. */
int saml_providers_refresh(SamlProviders *providers, DbConn *conn, Request *req) MUST_CHECK;

/** A pinned key. */
typedef struct SamlKey {
    EVP_PKEY *key;
    Str certificate; /* DER, with which it was pinned */
} SamlKey;

/** The keys of one issuer. */
typedef struct SamlKeys {
    SamlKey *keys; /* valid now; in the arena */
    size_t count;
    size_t known_count;  /* valid or not; 0: the issuer is not known */
    uint64_t generation; /* of the snapshot: another one when anything changed */
    int64_t until_us;    /* when the next of them begins or ends to be valid */
} SamlKeys;

SamlKeys saml_providers_find(SamlProviders *providers, Arena *arena, Str issuer, int64_t now_us);

/**
 * Pins a key without a database, for a program that has none.
 * @param certificate  DER
 * @return false: it is no certificate, or its key is too weak
 */
bool saml_providers_pin(SamlProviders *providers, Str issuer, Str certificate, int64_t from_us,
                        int64_t to_us) MUST_CHECK;
