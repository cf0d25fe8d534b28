#pragma once

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/str.h"
#include "lib/tls/refusal.h"

/**
 * One TLS policy for both libraries (ITI TF-2 3.19.6, BCP 195): libmicrohttpd's GnuTLS
 * (gnutls_peer.h) and OpenSSL (MLLP, syslog) differ in the handshake, but every peer's chain is
 * judged by the same TlsStore.
 *
 * Functions that can fail at start-up or at a peer's door give the reason as text in ret_problem.
 */

/** What a listener or client offers. Both refuse everything below TLS 1.2. */
typedef enum TlsPreset {
    TLS_PRESET_HIGH_SECURITY, /* ECDHE with AEAD only */
    TLS_PRESET_BCP195,        /* also DHE: the four suites of "STX: TLS 1.2 Floor using BCP195" */
    TLS_PRESET_COUNT
} TlsPreset;

/**
 * Whom we trust: certificate authorities, and peer certificates trusted directly (TF-2 3.19.6.1),
 * from one PEM file; and which certificates are revoked. Thread-safe. Changed files are noticed
 * within a second; a new version that cannot be read leaves the old one in force.
 */
typedef struct TlsStore TlsStore;

/** @param crl_file  PEM, one CRL per authority; NULL or empty: none */
TlsStore *tls_store_new(const char *ca_file, const char *crl_file, char *ret_problem,
                        size_t problem_size);

/** Sessions and contexts that use the store must be gone. tls_store_free(NULL) is fine. */
void tls_store_free(TlsStore *store);

/** Reads the files again if they changed, and says why when they cannot be used. */
bool tls_store_refresh(TlsStore *store, char *ret_problem, size_t problem_size) MUST_CHECK;

/**
 * Checks signatures, validity, CA constraints and revocation up to something trusted. Names and key
 * usages of the peer's certificate are not looked at: of a node that connects to us no attribute
 * may be required (TF-2 3.19.6.1.3). Revocation is checked for every authority that has a CRL in
 * the file; one past its nextUpdate stays in force.
 *
 * @param chain  certificates in DER, the peer's own first; borrowed
 */
bool tls_store_verify_der(TlsStore *store, const Str *chain, size_t count,
                          TlsProblem *ret_problem) MUST_CHECK;

/**
 * Besides the authorities, trusts these certificates of peers that connect to us, whoever issued
 * them (TF-2 3.19.6.1: direct trust): the registered ones. A certificate of an authority in the
 * file is judged by that authority and its CRL all the same.
 * @param fingerprints  SHA-256 in hexadecimal digits, in place of those of the last call; copied
 */
void tls_store_trust_directly(TlsStore *store, const Str *fingerprints, size_t count);

/** When something ends. */
typedef struct TlsExpiry {
    Str name; /* issuer of a CRL (RFC 2253), in the arena */
    int64_t at_us;
} TlsExpiry;

/** The nextUpdate of every CRL. @return how many */
size_t tls_store_crl_expiries(TlsStore *store, Arena *arena, TlsExpiry **ret_expiries);

/** What a process knows of TLS: PEM files, all borrowed, and its policy. */
typedef struct TlsSettings {
    const char *certificate; /* our own, and its chain */
    const char *key;
    const char *ca;  /* as tls_store_new() */
    const char *crl; /* NULL or empty: none */
    TlsPreset preset;
} TlsSettings;

/**
 * Who we are and whom we trust: one per process, for all its listeners and clients. Thread-safe,
 * tls_reload() for one thread.
 */
typedef struct Tls Tls;

Tls *tls_new(const TlsSettings *settings, char *ret_problem, size_t problem_size);

/** Contexts and sessions that use it must be gone. tls_free(NULL) is fine. */
void tls_free(Tls *tls);

/**
 * Reads the files that changed: all of them, or on failure none. Handshakes that begin from now on
 * use the new ones; the key of connections that stand is kept until tls_free().
 * @param changes  the keys of the files that changed since the last time are appended, each
 * behind a space
 */
bool tls_reload(Tls *tls, StrBuf *changes, char *ret_problem, size_t problem_size) MUST_CHECK;

/** As tls_store_trust_directly(), for the one store of the process. */
void tls_trust_directly(const Tls *tls, const Str *fingerprints, size_t count);

/** When our own certificate, or one of its chain, expires, and when each CRL does. @return how many
 * CRLs */
size_t tls_expiries(const Tls *tls, Arena *arena, int64_t *ret_own_us, TlsExpiry **ret_crls);

/**
 * A context for a listener: a peer without an acceptable certificate fails in the handshake; no
 * renegotiation, no tickets. The caller frees it with SSL_CTX_free(), before the Tls.
 * @param tls  borrowed by the context
 */
SSL_CTX *tls_server_context(Tls *tls, char *ret_problem, size_t problem_size);

/** As tls_server_context(), for connections that we open by tls_client_session(). */
SSL_CTX *tls_client_context(Tls *tls, char *ret_problem, size_t problem_size);

/** Whom a connection that we open must reach. */
typedef struct TlsPeer {
    const char *host; /* name or address as configured: must be in the certificate's subjectAltName
                         (RFC 9525), its CN does not count */
    const char *fingerprint; /* of its certificate, which then needs no name; NULL or empty: none */
} TlsPeer;

/** A session that sends the name (SNI) and holds the peer to it, in addition to its chain.
 * @param peer  borrowed by the session
 * @return NULL on failure */
SSL *tls_client_session(SSL_CTX *context, const TlsPeer *peer, int socket);

/** The certificates that a peer sent, its own first, in DER. */
typedef struct TlsChain {
    Str *certificates;
    size_t count;
} TlsChain;

/** Copies the chain of a finished handshake to the arena. */
bool tls_chain_of_peer(Arena *arena, const SSL *ssl, TlsChain *ret_chain) MUST_CHECK;

/** Judges a chain anew: of a connection that stands. */
bool tls_verify_chain(const Tls *tls, const TlsChain *chain, TlsProblem *ret_problem) MUST_CHECK;

/** Why the handshake with a peer of a listener failed; call it before anything else that uses
 * OpenSSL. */
void tls_problem_of(const SSL *ssl, TlsProblem *ret_problem);

/** Whether the peer asked to renegotiate, which is never done: the connection is to be closed. */
bool tls_has_asked_to_renegotiate(const SSL *ssl) MUST_CHECK;

/** Why a handshake failed: what is wrong with the peer's certificate, else as tls_take_error(). */
void tls_take_handshake_error(const SSL *ssl, const char *otherwise, char *ret_problem,
                              size_t problem_size);

/** What a certificate is called in the node tables and in audit. */
typedef struct TlsCertificate {
    Str fingerprint;       /* SHA-256 of the DER form, 64 lower-case hexadecimal digits */
    Str subject;           /* RFC 2253, UTF-8 */
    int64_t not_before_us; /* UTC, both */
    int64_t not_after_us;
    Str der; /* of a certificate that was read from a file; else empty */
} TlsCertificate;

/** Reads a fingerprint as people write it: 64 hexadecimal digits of either case, with colons
 * between the bytes as `openssl x509 -fingerprint` has them, or without. @param ret_fingerprint  in
 * the arena
 */
bool tls_fingerprint_parse(Arena *arena, Str text, Str *ret_fingerprint) MUST_CHECK;

/** Reads one certificate; the texts are in the arena. False if the bytes are no certificate. */
bool tls_certificate_from_der(Arena *arena, Str der, TlsCertificate *ret_certificate) MUST_CHECK;

/** The first certificate of a PEM file. */
bool tls_certificate_from_file(Arena *arena, const char *pem_file, TlsCertificate *ret_certificate,
                               char *ret_problem, size_t problem_size) MUST_CHECK;

/** The peer's certificate of a finished handshake. */
bool tls_certificate_of_peer(Arena *arena, const SSL *ssl,
                             TlsCertificate *ret_certificate) MUST_CHECK;

/** The oldest error in OpenSSL's queue as text, or otherwise; the queue is empty afterwards. */
void tls_take_error(const char *otherwise, char *ret_problem, size_t problem_size);
