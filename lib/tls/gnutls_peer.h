#pragma once

#include <gnutls/abstract.h>

#include "lib/tls/tls.h"

/**
 * The policy of tls.h for connections of libmicrohttpd, whose TLS is GnuTLS: mutual authentication
 * in the handshake, session tickets, and who the peer is.
 *
 *   daemon option MHD_OPTION_HTTPS_PRIORITIES    gnutls_peer_priorities()
 *   daemon option MHD_OPTION_HTTPS_CERT_CALLBACK gnutls_peer_certificate()
 *   daemon option MHD_OPTION_HTTPS_MEM_DHPARAMS  gnutls_peer_dh_parameters()
 *   connection notification STARTED              gnutls_peer_start()
 *   first request of each connection             gnutls_peer_identity(), result kept with the
 * connection
 */
typedef struct GnutlsPeerPolicy GnutlsPeerPolicy;

/** The priority string of a preset. */
const char *gnutls_peer_priorities(TlsPreset preset);

/**
 * Makes the key of the session tickets and the DH parameters; all listeners of a process share one
 * policy.
 * @param tls  borrowed
 */
GnutlsPeerPolicy *gnutls_peer_policy_new(const Tls *tls, char *ret_problem, size_t problem_size);

/** Sessions that use it must be gone. gnutls_peer_policy_free(NULL) is fine. */
void gnutls_peer_policy_free(GnutlsPeerPolicy *policy);

/**
 * The group of RFC 7919 for DHE clients that do not name one (OpenSSL's TLS 1.2), in PEM form:
 * without it the two DHE suites of TLS_PRESET_BCP195 fail. Owned by the policy.
 */
const char *gnutls_peer_dh_parameters(const GnutlsPeerPolicy *policy);

/** GnuTLS's callback for the certificate and key of a session that was prepared by
 * gnutls_peer_start(): the newest ones. */
int gnutls_peer_certificate(gnutls_session_t session, const gnutls_datum_t *authorities,
                            int authority_count, const gnutls_pk_algorithm_t *algorithms,
                            int algorithm_count, gnutls_pcert_st **ret_chain,
                            unsigned *ret_chain_length, gnutls_privkey_t *ret_key);

/** What is seen of one connection, from its first byte on: embedded in the connection, all zero
 * before gnutls_peer_start(). */
typedef struct GnutlsPeer {
    GnutlsPeerPolicy *policy;
    int socket;
    unsigned char first_byte;       /* that the peer sent; 0: none yet */
    unsigned char record_header[5]; /* of the TLS record that arrives, and how much of it is here */
    size_t record_header_len;
    size_t record_left; /* bytes of it that have not arrived */
    unsigned char alert[2];
    size_t alert_len;
    bool is_record_watched; /* records are looked at: always, but behind a handshake of TLS 1.3 */
    bool has_answered;      /* the ClientHello was acceptable */
    bool has_finished;      /* the handshake is over */
    bool has_problem;
    TlsProblem problem;
} GnutlsPeer;

/**
 * Prepares a session before its handshake: no certificate, or one that the store does not trust,
 * fails in the handshake. Must be called in the STARTED notification: session tickets enabled later
 * never go out, and without them a TLS 1.3 client that uses Nagle's algorithm stalls 40 ms on its
 * first request. Bytes are received through peer from then on; it must outlive the session's use.
 */
bool gnutls_peer_start(GnutlsPeer *peer, GnutlsPeerPolicy *policy,
                       gnutls_session_t session) MUST_CHECK;

/**
 * Who the peer is, after the handshake. The chain is judged again, because a resumed session skips
 * the check of the handshake. Costs a signature check per certificate: once per connection, not per
 * request.
 * @return false: gnutls_peer_problem() says why
 */
bool gnutls_peer_identity(GnutlsPeer *peer, gnutls_session_t session, Arena *arena,
                          TlsCertificate *ret_certificate, TlsChain *ret_chain) MUST_CHECK;

/**
 * Why the connection failed, once it is over; libmicrohttpd does not tell.
 * @return false: it did not; its handshake succeeded, and nothing was found wrong later
 */
bool gnutls_peer_problem(const GnutlsPeer *peer, TlsProblem *ret_problem) MUST_CHECK;
