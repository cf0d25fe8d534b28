#include "lib/tls/gnutls_peer.h"

#include <gnutls/x509.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/tls/identity.h"

/** Chains longer than the store accepts are cut one certificate above its limit, so it refuses
 * them. */
#define MAX_CHAIN 17

/* AES-GCM first: GnuTLS' ChaCha20 is ten times slower (no assembler in the packaged version). */
#define PRIORITIES_START                                                                           \
    "SECURE128:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:-KX-ALL:+ECDHE-RSA:+ECDHE-ECDSA:"
#define PRIORITIES_CIPHERS                                                                         \
    "-CIPHER-ALL:+AES-256-GCM:+AES-128-GCM:+CHACHA20-POLY1305:-MAC-ALL:+AEAD:"
#define PRIORITIES_GROUPS "-GROUP-ALL:+GROUP-X25519:+GROUP-SECP256R1:+GROUP-SECP384R1:"

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
    GnutlsPeerPolicy *policy = calloc(1, sizeof *policy);
    if (policy == NULL) {
        abort();
    }
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

/** Judges the chain that the peer sent, now or in the session that is resumed. */
static bool verify_session(const GnutlsPeerPolicy *policy, gnutls_session_t session, Str *ret_leaf,
                           char *ret_problem, size_t problem_size)
{
    unsigned count = 0;
    const gnutls_datum_t *sent = gnutls_certificate_get_peers(session, &count);
    Str chain[MAX_CHAIN] = {0};
    size_t len = sent == NULL ? 0 : MIN(count, MAX_CHAIN);
    for (size_t i = 0; i < len; i++) {
        chain[i] = (Str){(const char *)sent[i].data, sent[i].size};
    }
    if (!tls_store_verify_der(tls_store_of(policy->tls), chain, len, ret_problem, problem_size)) {
        return false;
    }
    *ret_leaf = chain[0];
    return true;
}

static int on_verify_peer(gnutls_session_t session)
{
    const GnutlsPeerPolicy *policy = gnutls_db_get_ptr(session);
    Str leaf = STR_EMPTY;
    char problem[1]; /* the alert says it to the peer */
    return verify_session(policy, session, &leaf, problem, sizeof problem)
               ? 0
               : GNUTLS_E_CERTIFICATE_ERROR;
}

int gnutls_peer_certificate(gnutls_session_t session, const gnutls_datum_t *authorities,
                            int authority_count, const gnutls_pk_algorithm_t *algorithms,
                            int algorithm_count, gnutls_pcert_st **ret_chain,
                            unsigned *ret_chain_length, gnutls_privkey_t *ret_key)
{
    const GnutlsPeerPolicy *policy = gnutls_db_get_ptr(session);
    const TlsIdentity *identity = tls_identity_of(policy->tls);
    (void)authorities;
    (void)authority_count;
    (void)algorithms;
    (void)algorithm_count;
    *ret_chain = identity->chain;
    *ret_chain_length = identity->chain_length;
    *ret_key = identity->key;
    return 0;
}

bool gnutls_peer_start(GnutlsPeerPolicy *policy, gnutls_session_t session)
{
    /* libmicrohttpd owns the session's user pointer; the one of the session cache is free, because
     * sessions are resumed by ticket only. */
    gnutls_db_set_ptr(session, policy);
    gnutls_certificate_server_set_request(session, GNUTLS_CERT_REQUIRE);
    gnutls_session_set_verify_function(session, on_verify_peer);
    return gnutls_session_ticket_enable_server(session, &policy->ticket_key) == GNUTLS_E_SUCCESS;
}

bool gnutls_peer_identity(GnutlsPeerPolicy *policy, gnutls_session_t session, Arena *arena,
                          TlsCertificate *ret_certificate, char *ret_problem, size_t problem_size)
{
    Str leaf = STR_EMPTY;
    if (!verify_session(policy, session, &leaf, ret_problem, problem_size)) {
        return false;
    }
    if (!tls_certificate_from_der(arena, leaf, ret_certificate)) {
        snprintf(ret_problem, problem_size, "the certificate cannot be read");
        return false;
    }
    return true;
}
