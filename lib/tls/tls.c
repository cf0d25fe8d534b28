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

#include "lib/base/clock.h"
#include "lib/tls/identity.h"

/** Longest chain that is looked at, and how often files are looked at. */
#define MAX_CHAIN 16
#define REFRESH_INTERVAL_NS INT64_C(1000000000)
#define VERDICT_SLOTS 256

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

/* Trust store. */

/** Identity of a file's contents, as far as stat() tells. */
typedef struct FileVersion {
    struct timespec modified;
    ino_t inode;
    off_t size_bytes;
} FileVersion;

typedef struct TrustedFile {
    char *path; /* NULL: not configured */
    FileVersion version;
} TrustedFile;

/** A chain that was found good. */
typedef struct Verdict {
    unsigned char chain[SHA256_DIGEST_LENGTH]; /* chain_digest() */
    uint64_t version;                          /* of the trust that judged; 0: none */
    int64_t judged_ns;                         /* clock_now_ns() */
} Verdict;

struct TlsStore {
    pthread_mutex_t lock; /* guards all that follows */
    TrustedFile ca;
    TrustedFile crl;
    X509_STORE *trust;
    uint64_t version;     /* of trust, from 1 */
    int64_t refreshed_ns; /* clock_now_ns() */
    Verdict accepted[VERDICT_SLOTS];
};

static bool file_version(const char *path, FileVersion *ret_version)
{
    struct stat status;
    if (path == NULL) {
        *ret_version = (FileVersion){0};
        return true;
    }
    if (stat(path, &status) < 0) {
        return false;
    }
    *ret_version = (FileVersion){status.st_mtim, status.st_ino, status.st_size};
    return true;
}

static bool is_same_version(const FileVersion *a, const FileVersion *b)
{
    return a->modified.tv_sec == b->modified.tv_sec && a->modified.tv_nsec == b->modified.tv_nsec &&
           a->inode == b->inode && a->size_bytes == b->size_bytes;
}

/** Whether an authority of this name has a CRL in the store. */
static bool has_crl_of(X509_STORE_CTX *ctx, const X509_NAME *issuer)
{
    STACK_OF(X509_CRL) *crls = X509_STORE_CTX_get1_crls(ctx, issuer);
    bool found = crls != NULL && sk_X509_CRL_num(crls) > 0;
    sk_X509_CRL_pop_free(crls, X509_CRL_free);
    return found;
}

/** Lets a missing CRL pass for authorities that have none configured; every other fault stays one.
 */
static int on_verify_step(int is_good, X509_STORE_CTX *ctx)
{
    if (is_good || X509_STORE_CTX_get_error(ctx) != X509_V_ERR_UNABLE_TO_GET_CRL) {
        return is_good;
    }
    const X509 *certificate = X509_STORE_CTX_get_current_cert(ctx);
    if (has_crl_of(ctx, X509_get_issuer_name(certificate))) {
        return 0;
    }
    X509_STORE_CTX_set_error(ctx, X509_V_OK);
    return 1;
}

/** Adds every object of a PEM file to the store. */
static bool load_pem(X509_STORE *trust, const char *path, int kind, char *ret_problem,
                     size_t problem_size)
{
    X509_LOOKUP *lookup = X509_STORE_add_lookup(trust, X509_LOOKUP_file());
    int loaded = 0;
    if (lookup != NULL && kind == X509_LU_X509) {
        loaded = X509_load_cert_file(lookup, path, X509_FILETYPE_PEM);
    } else if (lookup != NULL) {
        loaded = X509_load_crl_file(lookup, path, X509_FILETYPE_PEM);
    }
    if (loaded > 0) {
        return true;
    }
    char reason[160];
    tls_take_error("it holds none", reason, sizeof reason);
    snprintf(ret_problem, problem_size, "%s: no %s could be read: %s", path,
             kind == X509_LU_X509 ? "certificate" : "CRL", reason);
    return false;
}

static X509_STORE *trust_load(const TlsStore *store, char *ret_problem, size_t problem_size)
{
    ERR_clear_error();
    X509_STORE *trust = X509_STORE_new();
    if (trust == NULL ||
        !load_pem(trust, store->ca.path, X509_LU_X509, ret_problem, problem_size)) {
        goto failed;
    }
    unsigned long flags = X509_V_FLAG_PARTIAL_CHAIN | X509_V_FLAG_TRUSTED_FIRST;
    if (store->crl.path != NULL) {
        if (!load_pem(trust, store->crl.path, X509_LU_CRL, ret_problem, problem_size)) {
            goto failed;
        }
        flags |= X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL;
    }
    X509_STORE_set_flags(trust, flags);
    X509_VERIFY_PARAM_set_auth_level(X509_STORE_get0_param(trust), 2);
    X509_STORE_set_verify_cb(trust, on_verify_step);
    return trust;

failed:
    X509_STORE_free(trust);
    return NULL;
}

/** Loads what changed. The caller holds the lock. */
static bool refresh_locked(TlsStore *store, char *ret_problem, size_t problem_size)
{
    FileVersion ca;
    FileVersion crl;
    store->refreshed_ns = clock_now_ns();
    if (!file_version(store->ca.path, &ca)) {
        snprintf(ret_problem, problem_size, "%s: %s", store->ca.path, strerror(errno));
        return false;
    }
    if (!file_version(store->crl.path, &crl)) {
        snprintf(ret_problem, problem_size, "%s: %s", store->crl.path, strerror(errno));
        return false;
    }
    if (store->trust != NULL && is_same_version(&ca, &store->ca.version) &&
        is_same_version(&crl, &store->crl.version)) {
        return true;
    }
    X509_STORE *trust = trust_load(store, ret_problem, problem_size);
    if (trust == NULL) {
        return false;
    }
    X509_STORE_free(store->trust);
    store->trust = trust;
    store->version++;
    store->ca.version = ca;
    store->crl.version = crl;
    return true;
}

bool tls_store_refresh(TlsStore *store, char *ret_problem, size_t problem_size)
{
    pthread_mutex_lock(&store->lock);
    bool ok = refresh_locked(store, ret_problem, problem_size);
    pthread_mutex_unlock(&store->lock);
    return ok;
}

static void refresh_if_due_locked(TlsStore *store)
{
    if (clock_now_ns() - store->refreshed_ns >= REFRESH_INTERVAL_NS) {
        char ignored[1]; /* told by tls_store_refresh(); until then the old version is in force */
        (void)refresh_locked(store, ignored, sizeof ignored);
    }
}

/** The trust of this moment; the caller frees its reference. */
static X509_STORE *store_get(TlsStore *store)
{
    pthread_mutex_lock(&store->lock);
    refresh_if_due_locked(store);
    X509_STORE *trust = store->trust;
    X509_STORE_up_ref(trust);
    pthread_mutex_unlock(&store->lock);
    return trust;
}

TlsStore *tls_store_new(const char *ca_file, const char *crl_file, char *ret_problem,
                        size_t problem_size)
{
    TlsStore *store = calloc(1, sizeof *store);
    if (store == NULL) {
        abort();
    }
    pthread_mutex_init(&store->lock, NULL);
    store->ca.path = strdup(ca_file);
    store->crl.path = crl_file != NULL && *crl_file != '\0' ? strdup(crl_file) : NULL;
    if (!tls_store_refresh(store, ret_problem, problem_size)) {
        tls_store_free(store);
        return NULL;
    }
    return store;
}

void tls_store_free(TlsStore *store)
{
    if (store == NULL) {
        return;
    }
    X509_STORE_free(store->trust);
    free(store->ca.path);
    free(store->crl.path);
    pthread_mutex_destroy(&store->lock);
    free(store);
}

/**
 * The one place where a chain is judged.
 * @param untrusted  what else the peer sent; may be NULL
 * @return X509_V_OK, or the X509_V_ERR_... that says why not
 */
static int verify_chain(TlsStore *store, X509 *leaf, STACK_OF(X509) * untrusted)
{
    int verdict = X509_V_ERR_UNSPECIFIED;
    X509_STORE *trust = store_get(store);
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    if (ctx != NULL && X509_STORE_CTX_init(ctx, trust, leaf, untrusted) == 1) {
        bool is_good = X509_verify_cert(ctx) == 1;
        verdict = X509_STORE_CTX_get_error(ctx);
        if (!is_good && verdict == X509_V_OK) {
            verdict = X509_V_ERR_UNSPECIFIED;
        }
    }
    X509_STORE_CTX_free(ctx);
    X509_STORE_free(trust);
    ERR_clear_error();
    return verdict;
}

static X509 *certificate_read(Str der)
{
    const unsigned char *bytes = (const unsigned char *)der.data;
    if (der.len > LONG_MAX) {
        return NULL;
    }
    X509 *certificate = d2i_X509(NULL, &bytes, (long)der.len);
    ERR_clear_error();
    return certificate;
}

/** What tells one chain from another: SHA-256 of the lengths and bytes of its certificates. */
static bool chain_digest(const Str *chain, size_t count, unsigned char *ret_digest)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok = ctx != NULL && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1;
    for (size_t i = 0; i < count && ok; i++) {
        ok = EVP_DigestUpdate(ctx, &chain[i].len, sizeof chain[i].len) == 1 &&
             EVP_DigestUpdate(ctx, chain[i].data, chain[i].len) == 1;
    }
    ok = ok && EVP_DigestFinal_ex(ctx, ret_digest, NULL) == 1;
    EVP_MD_CTX_free(ctx);
    return ok;
}

/**
 * Whether the chain was found good by the present trust less than REFRESH_INTERVAL_NS ago: no later
 * than a change of the files is noticed, the end of a certificate's validity is noticed too. A
 * handshake and the first request behind it, and connections in quick succession, cost one check.
 * @param ret_version  for note_accepted()
 */
static bool is_accepted(TlsStore *store, const unsigned char *digest, uint64_t *ret_version)
{
    pthread_mutex_lock(&store->lock);
    refresh_if_due_locked(store);
    const Verdict *verdict = &store->accepted[digest[0] % VERDICT_SLOTS];
    bool found = verdict->version == store->version &&
                 clock_now_ns() - verdict->judged_ns < REFRESH_INTERVAL_NS &&
                 memcmp(verdict->chain, digest, sizeof verdict->chain) == 0;
    *ret_version = store->version;
    pthread_mutex_unlock(&store->lock);
    return found;
}

/** @param began_ns  before the check, so that the verdict ends in time */
static void note_accepted(TlsStore *store, const unsigned char *digest, uint64_t version,
                          int64_t began_ns)
{
    pthread_mutex_lock(&store->lock);
    Verdict *verdict = &store->accepted[digest[0] % VERDICT_SLOTS];
    memcpy(verdict->chain, digest, sizeof verdict->chain);
    verdict->version = version;
    verdict->judged_ns = began_ns;
    pthread_mutex_unlock(&store->lock);
}

static bool verify_der(TlsStore *store, const Str *chain, size_t count, char *ret_problem,
                       size_t problem_size)
{
    bool is_good = false;
    STACK_OF(X509) *certificates = sk_X509_new_null();
    for (size_t i = 0; i < count; i++) {
        X509 *certificate = certificate_read(chain[i]);
        if (certificate == NULL || sk_X509_push(certificates, certificate) == 0) {
            X509_free(certificate);
            snprintf(ret_problem, problem_size, "certificate %zu of the chain is malformed", i + 1);
            goto done;
        }
    }
    int verdict = verify_chain(store, sk_X509_value(certificates, 0), certificates);
    is_good = verdict == X509_V_OK;
    if (!is_good) {
        snprintf(ret_problem, problem_size, "%s", X509_verify_cert_error_string(verdict));
    }

done:
    sk_X509_pop_free(certificates, X509_free);
    return is_good;
}

bool tls_store_verify_der(TlsStore *store, const Str *chain, size_t count, char *ret_problem,
                          size_t problem_size)
{
    unsigned char digest[SHA256_DIGEST_LENGTH];
    const int64_t began_ns = clock_now_ns();
    uint64_t version = 0;

    if (count == 0 || count > MAX_CHAIN) {
        snprintf(ret_problem, problem_size, "%s",
                 count == 0 ? "no certificate was sent" : "the certificate chain is too long");
        return false;
    }
    bool has_digest = chain_digest(chain, count, digest);
    if (has_digest && is_accepted(store, digest, &version)) {
        return true;
    }
    bool is_good = verify_der(store, chain, count, ret_problem, problem_size);
    if (is_good && has_digest) {
        note_accepted(store, digest, version, began_ns);
    }
    return is_good;
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
    const char *paths[FILE_COUNT] = {s->certificate, s->key, s->ca, tls->store->crl.path};
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
    Tls *tls = calloc(1, sizeof *tls);
    if (tls == NULL) {
        abort();
    }
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
        has_changed[i] = !is_same_version(&versions[i], &tls->versions[i]);
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

/** OpenSSL's verification replaced by ours; the verdict chooses the alert that the peer gets. */
static int on_verify_peer(X509_STORE_CTX *ctx, void *store)
{
    X509 *certificate = X509_STORE_CTX_get0_cert(ctx);
    const SSL *ssl = X509_STORE_CTX_get_ex_data(ctx, SSL_get_ex_data_X509_STORE_CTX_idx());
    const TlsPeer *peer = SSL_get_app_data(ssl);
    int verdict = verify_chain((TlsStore *)store, certificate, X509_STORE_CTX_get0_untrusted(ctx));
    if (verdict == X509_V_OK && peer != NULL) {
        verdict = verify_peer(certificate, peer);
    }
    X509_STORE_CTX_set_error(ctx, verdict);
    return verdict == X509_V_OK;
}

static SSL_CTX *context_new(const SSL_METHOD *method, Tls *tls, char *ret_problem,
                            size_t problem_size)
{
    ERR_clear_error();
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
    SSL_CTX_set_mode(ctx, SSL_MODE_AUTO_RETRY);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    SSL_CTX_set_cert_verify_callback(ctx, on_verify_peer, tls->store);
    SSL_CTX_set_cert_cb(ctx, tls_identity_use, tls);
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

static Str subject_of(Arena *arena, const X509 *certificate)
{
    Str subject = STR_EMPTY;
    BIO *text = BIO_new(BIO_s_mem());
    unsigned long flags = XN_FLAG_RFC2253 & ~(unsigned long)ASN1_STRFLGS_ESC_MSB;
    if (text != NULL &&
        X509_NAME_print_ex(text, X509_get_subject_name(certificate), 0, flags) > 0) {
        char *data = NULL;
        long len = BIO_get_mem_data(text, &data);
        subject = str_dup(arena, (Str){data, (size_t)len});
    }
    BIO_free(text);
    return subject;
}

static int64_t time_us(const ASN1_TIME *time)
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
        .subject = subject_of(arena, certificate),
        .not_after_us = time_us(X509_get0_notAfter(certificate)),
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
    X509 *certificate = certificate_read(der);
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
    X509_free(certificate);
    return ok;
}

bool tls_certificate_of_peer(Arena *arena, const SSL *ssl, TlsCertificate *ret_certificate)
{
    const X509 *certificate = SSL_get0_peer_certificate(ssl);
    return certificate != NULL && certificate_describe(arena, certificate, ret_certificate);
}
