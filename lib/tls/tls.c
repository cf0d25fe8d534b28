#include "lib/tls/tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/sha.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "lib/base/heap.h"
#include "lib/tls/identity.h"
#include "lib/tls/store.h"

/** Suites of TLS 1.2, best first; those of TLS 1.3 are OpenSSL's defaults, all AEAD. */
static const char *const preset_ciphers[TLS_PRESET_COUNT] = {
    [TLS_PRESET_HIGH_SECURITY] = "ECDHE+AESGCM:ECDHE+CHACHA20",
    [TLS_PRESET_BCP195] = "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM",
};

void tls_take_error(const char *otherwise, char *ret_problem, size_t problem_size)
{
    unsigned long code = ERR_get_error();
    const char *reason = code != 0 ? ERR_reason_error_string(code) : NULL;
    snprintf(ret_problem, problem_size, "%s", reason != NULL ? reason : otherwise);
    ERR_clear_error();
}

/* Who we are. */

enum { FILE_CERTIFICATE, FILE_KEY, FILE_CA, FILE_CRL, FILE_COUNT };

/** The keys of the configuration that name the files. */
static const char *const file_keys[FILE_COUNT] = {"tls_certificate", "tls_key", "tls_ca",
                                                  "tls_crl"};

struct Tls {
    TlsSettings settings;
    TlsStore *store;
    TlsIdentity *_Atomic identity;
    FileVersion versions[FILE_COUNT]; /* as of the last tls_reload() */
};

/** Notes which version of each file is there now. */
static bool look_at_files(const Tls *tls, FileVersion *ret_versions, char *ret_problem,
                          size_t problem_size)
{
    const TlsSettings *s = &tls->settings;
    const char *paths[FILE_COUNT] = {s->certificate, s->key, s->ca, tls_store_crl_file(tls->store)};
    for (size_t i = 0; i < FILE_COUNT; i++) {
        if (!file_version(paths[i], &ret_versions[i])) {
            snprintf(ret_problem, problem_size, "%s: %s", paths[i], strerror(errno));
            return false;
        }
    }
    return true;
}

Tls *tls_new(const TlsSettings *settings, char *ret_problem, size_t problem_size)
{
    Tls *tls = HEAP_NEW(Tls);
    tls->settings = *settings;
    tls->store = tls_store_new(settings->ca, settings->crl, ret_problem, problem_size);
    TlsIdentity *identity = NULL;
    if (tls->store != NULL && look_at_files(tls, tls->versions, ret_problem, problem_size)) {
        identity = tls_identity_load(settings, ret_problem, problem_size);
    }
    if (identity == NULL) {
        tls_free(tls);
        return NULL;
    }
    tls->identity = identity;
    return tls;
}

void tls_free(Tls *tls)
{
    if (tls == NULL) {
        return;
    }
    tls_identity_free(tls->identity);
    tls_store_free(tls->store);
    free(tls);
}

bool tls_reload(Tls *tls, StrBuf *changes, char *ret_problem, size_t problem_size)
{
    FileVersion versions[FILE_COUNT];
    bool has_changed[FILE_COUNT];
    TlsIdentity *fresh = NULL;
    if (!look_at_files(tls, versions, ret_problem, problem_size)) {
        return false;
    }
    for (size_t i = 0; i < FILE_COUNT; i++) {
        has_changed[i] = !file_version_is_same(&versions[i], &tls->versions[i]);
    }
    if (has_changed[FILE_CERTIFICATE] || has_changed[FILE_KEY]) {
        fresh = tls_identity_load(&tls->settings, ret_problem, problem_size);
        if (fresh == NULL) {
            return false;
        }
    }
    if (!tls_store_refresh(tls->store, ret_problem, problem_size)) {
        tls_identity_free(fresh);
        return false;
    }
    if (fresh != NULL) {
        fresh->older = tls->identity;
        tls->identity = fresh;
    }
    for (size_t i = 0; i < FILE_COUNT; i++) {
        tls->versions[i] = versions[i];
        if (has_changed[i]) {
            strbuf_printf(changes, " %s", file_keys[i]);
        }
    }
    return true;
}

/** The end of a chain is the end of its first certificate to expire. */
static int64_t chain_not_after_us(SSL_CTX *holder)
{
    STACK_OF(X509) *chain = NULL;
    int64_t end_us = tls_time_us(X509_get0_notAfter(SSL_CTX_get0_certificate(holder)));
    SSL_CTX_get0_chain_certs(holder, &chain);
    for (int i = 0; i < sk_X509_num(chain); i++) {
        end_us = MIN(end_us, tls_time_us(X509_get0_notAfter(sk_X509_value(chain, i))));
    }
    return end_us;
}

size_t tls_expiries(const Tls *tls, Arena *arena, int64_t *ret_own_us, TlsExpiry **ret_crls)
{
    *ret_own_us = chain_not_after_us(tls_identity_of(tls)->holder);
    return tls_store_crl_expiries(tls->store, arena, ret_crls);
}

TlsIdentity *tls_identity_of(const Tls *tls)
{
    return tls->identity;
}

TlsStore *tls_store_of(const Tls *tls)
{
    return tls->store;
}

/* Contexts. */

static bool certificate_describe(Arena *arena, const X509 *certificate,
                                 TlsCertificate *ret_certificate);

/** Whether a certificate, whose chain is good, is that of the peer that we meant. */
static int verify_peer(X509 *certificate, const TlsPeer *peer)
{
    const unsigned flags =
        X509_CHECK_FLAG_NEVER_CHECK_SUBJECT | X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS;
    if (peer->fingerprint != NULL && *peer->fingerprint != '\0') {
        _cleanup_(arena_freep) Arena *arena = arena_new();
        TlsCertificate found;
        return certificate_describe(arena, certificate, &found) &&
                       str_equal(found.fingerprint, str_from(peer->fingerprint))
                   ? X509_V_OK
                   : X509_V_ERR_CERT_REJECTED;
    }
    int is_match = X509_check_ip_asc(certificate, peer->host, 0);
    if (is_match == -2) { /* no address */
        is_match = X509_check_host(certificate, peer->host, 0, flags, NULL);
    }
    return is_match == 1 ? X509_V_OK : X509_V_ERR_HOSTNAME_MISMATCH;
}

/** What is noted of a session of ours, for tls_problem_of(); made when there is something to note.
 */
typedef struct SessionNotes {
    TlsProblem problem;
    bool has_problem;
    bool has_asked_to_renegotiate;
} SessionNotes;

static pthread_once_t notes_once = PTHREAD_ONCE_INIT;
static int notes_index;

static void free_notes(void *parent, void *notes, CRYPTO_EX_DATA *data, int index, long argument,
                       void *pointer)
{
    (void)parent;
    (void)data;
    (void)index;
    (void)argument;
    (void)pointer;
    free(notes);
}

static void make_notes_index(void)
{
    notes_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, free_notes);
}

static SessionNotes *notes_of(const SSL *ssl)
{
    return SSL_get_ex_data(ssl, notes_index);
}

static SessionNotes *notes_for(SSL *ssl)
{
    SessionNotes *notes = notes_of(ssl);
    if (notes == NULL) {
        notes = HEAP_NEW(SessionNotes);
        if (SSL_set_ex_data(ssl, notes_index, notes) != 1) {
            abort();
        }
    }
    return notes;
}

/** OpenSSL's verification replaced by ours; the verdict chooses the alert that the peer gets. */
static int on_verify_peer(X509_STORE_CTX *ctx, void *store)
{
    X509 *certificate = X509_STORE_CTX_get0_cert(ctx);
    SSL *ssl = X509_STORE_CTX_get_ex_data(ctx, SSL_get_ex_data_X509_STORE_CTX_idx());
    const TlsPeer *peer = SSL_get_app_data(ssl);
    TlsProblem problem;
    int verdict =
        tls_store_verify((TlsStore *)store, certificate, X509_STORE_CTX_get0_untrusted(ctx),
                         SSL_is_server(ssl) ? TLS_VERIFY_CLIENT : TLS_VERIFY_SERVER, &problem);
    if (verdict == X509_V_OK && peer != NULL) {
        verdict = verify_peer(certificate, peer);
    } else if (verdict != X509_V_OK) {
        SessionNotes *notes = notes_for(ssl);
        notes->problem = problem;
        notes->has_problem = true;
    }
    X509_STORE_CTX_set_error(ctx, verdict);
    return verdict == X509_V_OK;
}

/** A peer that asks to renegotiate gets this alert (SSL_OP_NO_RENEGOTIATION). */
static void on_progress(const SSL *ssl, int where, int value)
{
    if ((where & SSL_CB_WRITE_ALERT) == SSL_CB_WRITE_ALERT &&
        (value & 0xff) == SSL_AD_NO_RENEGOTIATION) {
        notes_for(WITHOUT_CONST(ssl))->has_asked_to_renegotiate = true;
    }
}

bool tls_has_asked_to_renegotiate(const SSL *ssl)
{
    const SessionNotes *notes = notes_of(ssl);
    return notes != NULL && notes->has_asked_to_renegotiate;
}

void tls_problem_of(const SSL *ssl, TlsProblem *ret_problem)
{
    const SessionNotes *notes = notes_of(ssl);
    unsigned long error = ERR_peek_error();
    if (notes != NULL && notes->has_problem) {
        *ret_problem = notes->problem;
    } else if (notes != NULL && notes->has_asked_to_renegotiate) {
        tls_problem_set(ret_problem, TLS_REFUSED_RENEGOTIATION, "%s", "");
    } else {
        char details[160];
        tls_take_error("", details, sizeof details);
        tls_problem_set(ret_problem, tls_refusal_of_error(error), "%s", details);
    }
    ERR_clear_error();
}

bool tls_verify_chain(const Tls *tls, const TlsChain *chain, TlsProblem *ret_problem)
{
    return tls_store_verify_der(tls->store, chain->certificates, chain->count, ret_problem);
}

void tls_trust_directly(const Tls *tls, const Str *fingerprints, size_t count)
{
    tls_store_trust_directly(tls->store, fingerprints, count);
}

bool tls_chain_of_peer(Arena *arena, const SSL *ssl, TlsChain *ret_chain)
{
    X509 *leaf = SSL_get0_peer_certificate(ssl);
    STACK_OF(X509) *sent = SSL_get_peer_cert_chain(ssl); /* a server's has no leaf */
    size_t count = 0;
    TlsChain chain = {.certificates =
                          ARENA_ARRAY(arena, Str, 1 + (size_t)MAX(sk_X509_num(sent), 0))};
    for (int i = -1; leaf != NULL && i < sk_X509_num(sent); i++) {
        unsigned char *der = NULL;
        int len = i2d_X509(i < 0 ? leaf : sk_X509_value(sent, i), &der);
        if (len <= 0) {
            break;
        }
        chain.certificates[count++] = str_dup(arena, (Str){(char *)der, (size_t)len});
        OPENSSL_free(der);
    }
    chain.count = count;
    *ret_chain = chain;
    ERR_clear_error();
    return count > 0;
}

static SSL_CTX *context_new(const SSL_METHOD *method, Tls *tls, char *ret_problem,
                            size_t problem_size)
{
    ERR_clear_error();
    pthread_once(&notes_once, make_notes_index);
    SSL_CTX *ctx = SSL_CTX_new(method);
    if (ctx == NULL) {
        tls_take_error("no TLS context", ret_problem, problem_size);
        return NULL;
    }
    SSL_CTX_set_security_level(ctx, 2);
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_NO_TICKET |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_num_tickets(ctx, 0);
    SSL_CTX_set_dh_auto(ctx, 1);
    SSL_CTX_set_mode(ctx, SSL_MODE_AUTO_RETRY | SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    SSL_CTX_set_cert_verify_callback(ctx, on_verify_peer, tls->store);
    SSL_CTX_set_cert_cb(ctx, tls_identity_use, tls);
    SSL_CTX_set_info_callback(ctx, on_progress);
    int groups[] = {NID_X25519, NID_X9_62_prime256v1, NID_secp384r1};
    static const unsigned char session_context[] = "musubi";
    if (SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) != 1 ||
        SSL_CTX_set_cipher_list(ctx, preset_ciphers[tls->settings.preset]) != 1 ||
        SSL_CTX_set1_groups(ctx, groups, ARRAY_LEN(groups)) != 1 ||
        SSL_CTX_set_session_id_context(ctx, session_context, sizeof session_context - 1) != 1) {
        tls_take_error("the TLS policy cannot be set", ret_problem, problem_size);
        SSL_CTX_free(ctx);
        return NULL;
    }
    return ctx;
}

SSL_CTX *tls_server_context(Tls *tls, char *ret_problem, size_t problem_size)
{
    return context_new(TLS_server_method(), tls, ret_problem, problem_size);
}

SSL_CTX *tls_client_context(Tls *tls, char *ret_problem, size_t problem_size)
{
    return context_new(TLS_client_method(), tls, ret_problem, problem_size);
}

/** Server Name Indication is for names only (RFC 6066 section 3). */
static bool send_name(SSL *ssl, const char *host)
{
    ASN1_OCTET_STRING *address = a2i_IPADDRESS(host);
    bool is_address = address != NULL;
    ASN1_OCTET_STRING_free(address);
    ERR_clear_error();
    /* as SSL_set_tlsext_host_name() does it, which drops the const */
    return is_address || SSL_ctrl(ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name,
                                  WITHOUT_CONST(host)) == 1;
}

SSL *tls_client_session(SSL_CTX *context, const TlsPeer *peer, int socket)
{
    SSL *ssl = SSL_new(context);
    if (ssl == NULL || SSL_set_app_data(ssl, WITHOUT_CONST(peer)) != 1 ||
        !send_name(ssl, peer->host) || SSL_set_fd(ssl, socket) != 1) {
        SSL_free(ssl);
        return NULL;
    }
    return ssl;
}

void tls_take_handshake_error(const SSL *ssl, const char *otherwise, char *ret_problem,
                              size_t problem_size)
{
    const TlsPeer *peer = SSL_get_app_data(ssl);
    long verdict = SSL_get_verify_result(ssl);
    if (verdict == X509_V_ERR_HOSTNAME_MISMATCH) {
        snprintf(ret_problem, problem_size,
                 "its certificate does not name %s as subjectAltName; correct the host, the "
                 "certificate, or set its fingerprint",
                 peer->host);
    } else if (verdict == X509_V_ERR_CERT_REJECTED) {
        snprintf(ret_problem, problem_size, "its certificate has another fingerprint");
    } else if (verdict != X509_V_OK) {
        snprintf(ret_problem, problem_size, "its certificate: %s",
                 X509_verify_cert_error_string(verdict));
    } else {
        tls_take_error(otherwise, ret_problem, problem_size);
    }
    ERR_clear_error();
}

/* Certificates. */

Str tls_name_text(Arena *arena, const X509_NAME *name)
{
    Str text = STR_EMPTY;
    BIO *out = BIO_new(BIO_s_mem());
    unsigned long flags = XN_FLAG_RFC2253 & ~(unsigned long)ASN1_STRFLGS_ESC_MSB;
    if (out != NULL && X509_NAME_print_ex(out, name, 0, flags) > 0) {
        char *data = NULL;
        long len = BIO_get_mem_data(out, &data);
        text = str_dup(arena, (Str){data, (size_t)len});
    }
    BIO_free(out);
    return text;
}

int64_t tls_time_us(const ASN1_TIME *time)
{
    struct tm broken_down = {0};
    if (ASN1_TIME_to_tm(time, &broken_down) != 1) {
        return 0;
    }
    return (int64_t)timegm(&broken_down) * 1000000;
}

static bool certificate_describe(Arena *arena, const X509 *certificate,
                                 TlsCertificate *ret_certificate)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    if (X509_digest(certificate, EVP_sha256(), digest, &len) != 1) {
        ERR_clear_error();
        return false;
    }
    *ret_certificate = (TlsCertificate){
        .fingerprint = str_hex(arena, digest, len),
        .subject = tls_name_text(arena, X509_get_subject_name(certificate)),
        .not_before_us = tls_time_us(X509_get0_notBefore(certificate)),
        .not_after_us = tls_time_us(X509_get0_notAfter(certificate)),
    };
    return true;
}

bool tls_fingerprint_parse(Arena *arena, Str text, Str *ret_fingerprint)
{
    _cleanup_(strbuf_done) StrBuf digits = {0};
    unsigned char digest[SHA256_DIGEST_LENGTH];
    Str rest = text;
    Str part;
    while (str_split_next(&rest, ':', &part)) {
        strbuf_append(&digits, part);
    }
    if (!str_unhex(strbuf_str(&digits), digest, sizeof digest)) {
        return false;
    }
    *ret_fingerprint = str_hex(arena, digest, sizeof digest);
    return true;
}

bool tls_certificate_from_der(Arena *arena, Str der, TlsCertificate *ret_certificate)
{
    X509 *certificate = tls_certificate_read(der);
    bool ok = certificate != NULL && certificate_describe(arena, certificate, ret_certificate);
    X509_free(certificate);
    return ok;
}

bool tls_certificate_from_file(Arena *arena, const char *pem_file, TlsCertificate *ret_certificate,
                               char *ret_problem, size_t problem_size)
{
    FILE *file = fopen(pem_file, "re");
    if (file == NULL) {
        snprintf(ret_problem, problem_size, "%s: %s", pem_file, strerror(errno));
        return false;
    }
    X509 *certificate = PEM_read_X509(file, NULL, NULL, NULL);
    fclose(file);
    ERR_clear_error();
    bool ok = certificate != NULL && certificate_describe(arena, certificate, ret_certificate);
    if (!ok) {
        snprintf(ret_problem, problem_size, "%s: no certificate in PEM form could be read",
                 pem_file);
    }
    if (ok) {
        unsigned char *der = NULL;
        int len = i2d_X509(certificate, &der);
        ret_certificate->der = str_dup(arena, (Str){(char *)der, (size_t)MAX(len, 0)});
        OPENSSL_free(der);
    }
    X509_free(certificate);
    return ok;
}

bool tls_certificate_of_peer(Arena *arena, const SSL *ssl, TlsCertificate *ret_certificate)
{
    const X509 *certificate = SSL_get0_peer_certificate(ssl);
    return certificate != NULL && certificate_describe(arena, certificate, ret_certificate);
}
