#include "lib/tls/gnutls_peer.h"

#include <gnutls/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "lib/base/heap.h"
#include "lib/tls/identity.h"

/** Chains longer than the store accepts are cut one certificate above its limit, so it refuses
 * them. */
#define MAX_CHAIN 17

/* AES-GCM first: GnuTLS' ChaCha20 is ten times slower (no assembler in the packaged version). */
#define PRIORITIES_START                                                                           \
    "SECURE128:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:-KX-ALL:+ECDHE-RSA:+ECDHE-ECDSA:"
#define PRIORITIES_CIPHERS                                                                         \
    "-CIPHER-ALL:+AES-256-GCM:+AES-128-GCM:+CHACHA20-POLY1305:-MAC-ALL:+AEAD:"
#define PRIORITIES_GROUPS                                                                          \
    "%SERVER_PRECEDENCE:-GROUP-ALL:+GROUP-X25519:+GROUP-SECP256R1:+GROUP-SECP384R1:"

static const char *const priorities[TLS_PRESET_COUNT] = {
    [TLS_PRESET_HIGH_SECURITY] =
        PRIORITIES_START PRIORITIES_CIPHERS PRIORITIES_GROUPS "%PROFILE_MEDIUM",
    [TLS_PRESET_BCP195] = PRIORITIES_START "+DHE-RSA:" PRIORITIES_CIPHERS PRIORITIES_GROUPS
                                           "+GROUP-FFDHE2048:+GROUP-FFDHE3072:%PROFILE_MEDIUM",
};

struct GnutlsPeerPolicy {
    const Tls *tls;
    gnutls_datum_t ticket_key;
    gnutls_datum_t dh_parameters; /* PEM, ends in NUL */
};

const char *gnutls_peer_priorities(TlsPreset preset)
{
    return priorities[preset];
}

const char *gnutls_peer_dh_parameters(const GnutlsPeerPolicy *policy)
{
    return (const char *)policy->dh_parameters.data;
}

static int dh_parameters_write(gnutls_datum_t *ret_pem)
{
    gnutls_dh_params_t parameters;
    int rc = gnutls_dh_params_init(&parameters);
    if (rc < 0) {
        return rc;
    }
    rc = gnutls_dh_params_import_raw2(parameters, &gnutls_ffdhe_2048_group_prime,
                                      &gnutls_ffdhe_2048_group_generator,
                                      gnutls_ffdhe_2048_key_bits);
    if (rc == GNUTLS_E_SUCCESS) {
        rc = gnutls_dh_params_export2_pkcs3(parameters, GNUTLS_X509_FMT_PEM, ret_pem);
    }
    gnutls_dh_params_deinit(parameters);
    return rc;
}

GnutlsPeerPolicy *gnutls_peer_policy_new(const Tls *tls, char *ret_problem, size_t problem_size)
{
    GnutlsPeerPolicy *policy = HEAP_NEW(GnutlsPeerPolicy);
    policy->tls = tls;
    int rc = gnutls_session_ticket_key_generate(&policy->ticket_key);
    if (rc == GNUTLS_E_SUCCESS) {
        rc = dh_parameters_write(&policy->dh_parameters);
    }
    if (rc < 0) {
        snprintf(ret_problem, problem_size, "no ticket key or DH parameters: %s",
                 gnutls_strerror(rc));
        gnutls_peer_policy_free(policy);
        return NULL;
    }
    return policy;
}

void gnutls_peer_policy_free(GnutlsPeerPolicy *policy)
{
    if (policy == NULL) {
        return;
    }
    if (policy->ticket_key.data != NULL) {
        gnutls_memset(policy->ticket_key.data, 0, policy->ticket_key.size);
        gnutls_free(policy->ticket_key.data);
    }
    gnutls_free(policy->dh_parameters.data);
    free(policy);
}

/* ---- what a handshake fails of ---- */

/** Notes the first problem, and tells the peer while its handshake can still be answered. */
static void note_problem(GnutlsPeer *peer, gnutls_session_t session, const TlsProblem *problem)
{
    static const gnutls_alert_description_t alerts[TLS_REFUSAL_COUNT] = {
        [TLS_REFUSED_OLD_VERSION] = GNUTLS_A_PROTOCOL_VERSION,
        [TLS_REFUSED_NO_CERTIFICATE] = GNUTLS_A_CERTIFICATE_REQUIRED,
        [TLS_REFUSED_OTHER_AUTHORITY] = GNUTLS_A_UNKNOWN_CA,
        [TLS_REFUSED_EXPIRED] = GNUTLS_A_CERTIFICATE_EXPIRED,
        [TLS_REFUSED_NOT_YET_VALID] = GNUTLS_A_CERTIFICATE_EXPIRED,
        [TLS_REFUSED_REVOKED] = GNUTLS_A_CERTIFICATE_REVOKED,
        [TLS_REFUSED_BAD_CERTIFICATE] = GNUTLS_A_BAD_CERTIFICATE,
    };
    if (peer->has_problem) {
        return;
    }
    peer->problem = *problem;
    peer->has_problem = true;
    if (session != NULL && alerts[problem->refusal] != 0) {
        (void)gnutls_alert_send(session, GNUTLS_AL_FATAL, alerts[problem->refusal]);
    }
}

static void note(GnutlsPeer *peer, gnutls_session_t session, TlsRefusal refusal)
{
    TlsProblem problem;
    tls_problem_set(&problem, refusal, "%s", "");
    note_problem(peer, session, &problem);
}

/* Content types of records (RFC 8446 section 5.1), and an extension (section 4.2.1). */
#define RECORD_ALERT 21
#define RECORD_HANDSHAKE 22
#define EXTENSION_SUPPORTED_VERSIONS 43
#define TLS_1_2 0x0303
/* A ClientHello of SSL 2.0 begins with the high bit of its length. */
#define SSL2_BIT 0x80

/** One more byte of a record. */
static void take_record_byte(GnutlsPeer *peer, unsigned char byte)
{
    const unsigned char *header = peer->record_header;
    if (peer->record_left > 0) {
        bool is_plain_alert = header[0] == RECORD_ALERT && header[3] == 0 && header[4] == 2;
        peer->record_left--;
        if (is_plain_alert && peer->alert_len < sizeof peer->alert) {
            peer->alert[peer->alert_len++] = byte;
        }
        return;
    }
    peer->record_header[peer->record_header_len++] = byte;
    if (peer->record_header_len == sizeof peer->record_header) {
        peer->record_header_len = 0;
        peer->record_left = (size_t)(header[3] << 8 | header[4]);
        if (peer->has_finished && header[0] == RECORD_HANDSHAKE) {
            note(peer, NULL, TLS_REFUSED_RENEGOTIATION);
        }
    }
}

/** GnuTLS's way from the socket. Behind a handshake of TLS 1.2 a record of type handshake, whose
 * header is not encrypted, asks to renegotiate; libmicrohttpd then closes the connection. */
static ssize_t pull_records(gnutls_transport_ptr_t transport, void *bytes, size_t size)
{
    GnutlsPeer *peer = transport;
    ssize_t len = recv(peer->socket, bytes, size, 0);
    const unsigned char *at = bytes;
    if (len > 0 && peer->first_byte == 0) {
        peer->first_byte = at[0];
    }
    for (ssize_t i = 0; i < len && peer->is_record_watched;) {
        size_t skip = peer->record_header[0] == RECORD_ALERT ? 0 : peer->record_left;
        skip = MIN(skip, (size_t)(len - i));
        if (skip > 0) {
            peer->record_left -= skip;
            i += (ssize_t)skip;
        } else {
            take_record_byte(peer, at[i++]);
        }
    }
    return len;
}

/** Cuts a vector off, whose length is a number of so many bytes; empty if there is less. */
static Str take_vector(Str *rest, size_t length_bytes)
{
    size_t len = 0;
    for (size_t i = 0; i < MIN(length_bytes, rest->len); i++) {
        len = len << 8 | (unsigned char)rest->data[i];
    }
    Str vector = str_slice(*rest, MIN(length_bytes, rest->len), len);
    *rest = str_from_offset(*rest, MIN(length_bytes + len, rest->len));
    return vector;
}

static unsigned take_u16(Str *rest)
{
    unsigned value =
        rest->len < 2
            ? 0
            : (unsigned)((unsigned char)rest->data[0] << 8 | (unsigned char)rest->data[1]);
    *rest = str_from_offset(*rest, MIN(rest->len, (size_t)2));
    return value;
}

/** The highest version that a ClientHello offers (RFC 8446 section 4.1.2), values of GREASE
 * (RFC 8701: 0x?A?A) apart. */
static unsigned offered_version(Str hello)
{
    unsigned highest = take_u16(&hello);
    hello = str_from_offset(hello, MIN(hello.len, (size_t)32)); /* random */
    (void)take_vector(&hello, 1);                               /* legacy_session_id */
    (void)take_vector(&hello, 2);                               /* cipher_suites */
    (void)take_vector(&hello, 1);                               /* legacy_compression_methods */
    Str extensions = take_vector(&hello, 2);
    while (extensions.len > 0) {
        unsigned type = take_u16(&extensions);
        Str extension = take_vector(&extensions, 2);
        if (type == EXTENSION_SUPPORTED_VERSIONS) {
            Str versions = take_vector(&extension, 1);
            while (versions.len > 0) {
                unsigned version = take_u16(&versions);
                highest = (version & 0x0f0f) == 0x0a0a ? highest : MAX(highest, version);
            }
        }
    }
    return highest;
}

/** Whether a Certificate message of a client holds none (RFC 5246 section 7.4.6, RFC 8446 section
 * 4.4.2). */
static bool is_empty_certificate(gnutls_session_t session, Str body)
{
    if (gnutls_protocol_get_version(session) == GNUTLS_TLS1_3) {
        (void)take_vector(&body, 1); /* certificate_request_context */
    }
    return take_vector(&body, 3).len == 0;
}

static void look_at_message(GnutlsPeer *peer, gnutls_session_t session, unsigned type, Str body)
{
    if (type == GNUTLS_HANDSHAKE_CLIENT_HELLO && offered_version(body) < TLS_1_2) {
        note(peer, session, TLS_REFUSED_OLD_VERSION);
    } else if (type == GNUTLS_HANDSHAKE_CERTIFICATE_PKT && is_empty_certificate(session, body)) {
        note(peer, session, TLS_REFUSED_NO_CERTIFICATE);
    }
}

static int on_message(gnutls_session_t session, unsigned type, unsigned when, unsigned is_incoming,
                      const gnutls_datum_t *message)
{
    GnutlsPeer *peer = gnutls_db_get_ptr(session);
    if (!is_incoming) {
        peer->has_answered = true;
    } else if (when == GNUTLS_HOOK_PRE) {
        look_at_message(peer, session, type, (Str){(const char *)message->data, message->size});
    } else if (type == GNUTLS_HANDSHAKE_FINISHED) {
        peer->has_finished = true;
        peer->is_record_watched = gnutls_protocol_get_version(session) == GNUTLS_TLS1_2;
    }
    return 0;
}

bool gnutls_peer_problem(const GnutlsPeer *peer, TlsProblem *ret_problem)
{
    if (peer->has_problem) {
        *ret_problem = peer->problem;
    } else if (peer->has_finished) {
        return false;
    } else if (peer->first_byte == 0) {
        tls_problem_set(ret_problem, TLS_REFUSED_ENDED, "it sent nothing");
    } else if (peer->first_byte == SSL2_BIT) {
        tls_problem_set(ret_problem, TLS_REFUSED_OLD_VERSION, "SSL 2.0");
    } else if (peer->first_byte != RECORD_HANDSHAKE) {
        tls_problem_set(ret_problem, TLS_REFUSED_PLAIN_TEXT, "%s", "");
    } else if (peer->alert_len == sizeof peer->alert) {
        const char *name = gnutls_alert_get_name((gnutls_alert_description_t)peer->alert[1]);
        tls_problem_set(ret_problem, TLS_REFUSED_ENDED, "by the alert \"%s\"",
                        name != NULL ? name : "unknown");
    } else if (!peer->has_answered) {
        tls_problem_set(ret_problem, TLS_REFUSED_NO_COMMON_CIPHER, "%s", "");
    } else {
        tls_problem_set(ret_problem, TLS_REFUSED_ENDED,
                        "after it saw our certificate; does it trust its authority?");
    }
    return true;
}

/* ---- who the peer is ---- */

/** Judges the chain that the peer sent, now or in the session that is resumed. */
static bool verify_session(GnutlsPeer *peer, gnutls_session_t session, Str *ret_chain,
                           size_t *ret_count)
{
    unsigned count = 0;
    TlsProblem problem;
    const gnutls_datum_t *sent = gnutls_certificate_get_peers(session, &count);
    size_t len = sent == NULL ? 0 : MIN(count, MAX_CHAIN);
    for (size_t i = 0; i < len; i++) {
        ret_chain[i] = (Str){(const char *)sent[i].data, sent[i].size};
    }
    if (!tls_store_verify_der(tls_store_of(peer->policy->tls), ret_chain, len, &problem)) {
        note_problem(peer, peer->has_finished ? NULL : session, &problem);
        return false;
    }
    *ret_count = len;
    return true;
}

static int on_verify_peer(gnutls_session_t session)
{
    Str chain[MAX_CHAIN];
    size_t count = 0;
    return verify_session(gnutls_db_get_ptr(session), session, chain, &count)
               ? 0
               : GNUTLS_E_CERTIFICATE_ERROR;
}

int gnutls_peer_certificate(gnutls_session_t session, const gnutls_datum_t *authorities,
                            int authority_count, const gnutls_pk_algorithm_t *algorithms,
                            int algorithm_count, gnutls_pcert_st **ret_chain,
                            unsigned *ret_chain_length, gnutls_privkey_t *ret_key)
{
    const GnutlsPeer *peer = gnutls_db_get_ptr(session);
    const TlsIdentity *identity = tls_identity_of(peer->policy->tls);
    (void)authorities;
    (void)authority_count;
    (void)algorithms;
    (void)algorithm_count;
    *ret_chain = identity->chain;
    *ret_chain_length = identity->chain_length;
    *ret_key = identity->key;
    return 0;
}

bool gnutls_peer_start(GnutlsPeer *peer, GnutlsPeerPolicy *policy, gnutls_session_t session)
{
    gnutls_transport_ptr_t receive = NULL;
    gnutls_transport_ptr_t send = NULL;
    gnutls_transport_get_ptr2(session, &receive, &send);
    peer->policy = policy;
    peer->socket = (int)(intptr_t)receive;
    peer->is_record_watched = true;
    gnutls_transport_set_ptr2(session, peer, send);
    gnutls_transport_set_pull_function(session, pull_records);
    gnutls_handshake_set_hook_function(session, GNUTLS_HANDSHAKE_ANY, GNUTLS_HOOK_BOTH, on_message);
    /* libmicrohttpd owns the session's user pointer; the one of the session cache is free, because
     * sessions are resumed by ticket only. */
    gnutls_db_set_ptr(session, peer);
    gnutls_certificate_server_set_request(session, GNUTLS_CERT_REQUIRE);
    gnutls_session_set_verify_function(session, on_verify_peer);
    return gnutls_session_ticket_enable_server(session, &policy->ticket_key) == GNUTLS_E_SUCCESS;
}

bool gnutls_peer_identity(GnutlsPeer *peer, gnutls_session_t session, Arena *arena,
                          TlsCertificate *ret_certificate, TlsChain *ret_chain)
{
    Str chain[MAX_CHAIN];
    size_t count = 0;
    if (!verify_session(peer, session, chain, &count) || count == 0) {
        return false;
    }
    if (!tls_certificate_from_der(arena, chain[0], ret_certificate)) {
        note(peer, NULL, TLS_REFUSED_BAD_CERTIFICATE);
        return false;
    }
    ret_chain->certificates = ARENA_ARRAY(arena, Str, count);
    ret_chain->count = count;
    for (size_t i = 0; i < count; i++) {
        ret_chain->certificates[i] = str_dup(arena, chain[i]);
    }
    return true;
}
