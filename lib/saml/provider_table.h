#pragma once

#include "lib/db/db.h"
#include "lib/saml/certificate.h"

/**
 * Table identity_provider as an operator changes it: `musubi idp`. Checks of assertions read
 * providers.h instead. Each function is part of the caller's transaction; texts are in the arena of
 * the request.
 */

typedef struct ProviderRow {
    Str issuer;
    Str fingerprint; /* SHA-256, 64 lower-case hexadecimal digits */
    Str subject;
    int64_t valid_from_us; /* UTC */
    int64_t valid_to_us;
    bool is_revoked;
} ProviderRow;

int provider_table_read(DbConn *conn, Request *req, ProviderRow **ret_rows,
                        size_t *ret_count) MUST_CHECK;

/** Pins this key for the issuer; one that was revoked comes back.
 * @param ret_is_new  false: the table had it */
int provider_table_store(DbConn *conn, Request *req, Str issuer, const SamlCertificate *certificate,
                         bool *ret_is_new) MUST_CHECK;

/**
 * @param fingerprint  of one key; empty: all of the issuer
 * @param ret_count    how many were in force
 */
int provider_table_revoke(DbConn *conn, Request *req, Str issuer, Str fingerprint,
                          int64_t *ret_count) MUST_CHECK;
