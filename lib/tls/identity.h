#pragma once

#include <gnutls/abstract.h>

#include "lib/tls/tls.h"

/**
 * Our own certificate, with its chain, and its key, in the forms of both libraries. Never changed
 * once it is loaded. Private to this folder.
 */
typedef struct TlsIdentity {
    SSL_CTX *holder; /* OpenSSL's form: certificate, chain and key of this context */
    gnutls_pcert_st *chain;
    unsigned chain_length;
    gnutls_privkey_t key;
    struct TlsIdentity *older; /* sessions may still use it */
} TlsIdentity;

/** Reads both files; certificate and key must belong together. The problem names the file. */
TlsIdentity *tls_identity_load(const TlsSettings *settings, char *ret_problem, size_t problem_size);

/** Frees it and the older ones. tls_identity_free(NULL) is fine. */
void tls_identity_free(TlsIdentity *identity);

/** OpenSSL's certificate callback: gives the session of a listener or client the newest identity.
 * @param tls  the Tls */
int tls_identity_use(SSL *ssl, void *tls);

/** The newest one; owned by the Tls. */
TlsIdentity *tls_identity_of(const Tls *tls);
TlsStore *tls_store_of(const Tls *tls);
