#include "lib/tls/store.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/sha.h>
#include <openssl/x509.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/base/heap.h"

/** Longest chain that is looked at, and how often files are looked at. */
#define MAX_CHAIN 16
#define REFRESH_INTERVAL_NS INT64_C(1000000000)
#define VERDICT_SLOTS 256
#define SECURITY_LEVEL 2

typedef struct TrustedFile {
    char *path; /* NULL: not configured */
    FileVersion version;
} TrustedFile;

typedef struct Fingerprint {
    unsigned char digest[SHA256_DIGEST_LENGTH];
} Fingerprint;

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
    Fingerprint *direct;  /* sorted: certificates that are trusted without a chain */
    size_t direct_count;
    Verdict accepted[VERDICT_SLOTS];
};

bool file_version(const char *path, FileVersion *ret_version)
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

bool file_version_is_same(const FileVersion *a, const FileVersion *b)
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

/**
 * Lets a missing CRL pass for authorities that have none configured, and a CRL past its nextUpdate,
 * whose revocations stay in force: the operator is told of it (tls_expiries()), and a region is not
 * cut off from its patients' records because a file came late. Every other fault stays one.
 */
static int on_verify_step(int is_good, X509_STORE_CTX *ctx)
{
    int fault = X509_STORE_CTX_get_error(ctx);
    if (is_good) {
        return 1;
    }
    bool is_old = fault == X509_V_ERR_CRL_HAS_EXPIRED;
    bool is_none = fault == X509_V_ERR_UNABLE_TO_GET_CRL &&
                   !has_crl_of(ctx, X509_get_issuer_name(X509_STORE_CTX_get_current_cert(ctx)));
    if (!is_old && !is_none) {
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
    X509_VERIFY_PARAM_set_auth_level(X509_STORE_get0_param(trust), SECURITY_LEVEL);
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
    if (store->trust != NULL && file_version_is_same(&ca, &store->ca.version) &&
        file_version_is_same(&crl, &store->crl.version)) {
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
    TlsStore *store = HEAP_NEW(TlsStore);
    pthread_mutex_init(&store->lock, NULL);
    store->ca.path = heap_text(str_from(ca_file));
    store->crl.path = crl_file != NULL && *crl_file != '\0' ? heap_text(str_from(crl_file)) : NULL;
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
    free(store->direct);
    pthread_mutex_destroy(&store->lock);
    free(store);
}

static int compare_fingerprints(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(Fingerprint));
}

void tls_store_trust_directly(TlsStore *store, const Str *fingerprints, size_t count)
{
    Fingerprint *direct = HEAP_ARRAY(Fingerprint, count);
    size_t len = 0;
    for (size_t i = 0; i < count; i++) {
        len += str_unhex(fingerprints[i], direct[len].digest, sizeof direct[len].digest);
    }
    qsort(direct, len, sizeof *direct, compare_fingerprints);
    pthread_mutex_lock(&store->lock);
    bool is_same = len == store->direct_count &&
                   (len == 0 || memcmp(direct, store->direct, len * sizeof *direct) == 0);
    if (!is_same) {
        Fingerprint *old = store->direct;
        store->direct = direct;
        store->direct_count = len;
        store->version++;
        direct = old;
    }
    pthread_mutex_unlock(&store->lock);
    free(direct);
}

static bool is_trusted_directly(TlsStore *store, const X509 *certificate)
{
    Fingerprint wanted;
    unsigned len = sizeof wanted.digest;
    if (X509_digest(certificate, EVP_sha256(), wanted.digest, &len) != 1) {
        return false;
    }
    pthread_mutex_lock(&store->lock);
    bool is_found = store->direct_count > 0 && bsearch(&wanted, store->direct, store->direct_count,
                                                       sizeof wanted, compare_fingerprints) != NULL;
    pthread_mutex_unlock(&store->lock);
    return is_found;
}

/** @return what X509_verify_cert() says; with the certificate that it found at fault */
static int run_verify(X509_STORE_CTX *ctx, TlsProblem *ret_problem)
{
    bool is_good = X509_verify_cert(ctx) == 1;
    int verdict = X509_STORE_CTX_get_error(ctx);
    if (is_good) {
        return X509_V_OK;
    }
    verdict = verdict == X509_V_OK ? X509_V_ERR_UNSPECIFIED : verdict;
    _cleanup_(arena_freep) Arena *arena = arena_new();
    const X509 *at_fault = X509_STORE_CTX_get_current_cert(ctx);
    Str name = at_fault != NULL ? tls_name_text(arena, X509_get_subject_name(at_fault)) : STR_EMPTY;
    tls_problem_set(ret_problem, tls_refusal_of_verdict(verdict), "%s, of \"%.*s\"",
                    X509_verify_cert_error_string(verdict), (int)MIN(name.len, (size_t)100),
                    name.data);
    return verdict;
}

/** A certificate that stands for itself: its time and the strength of its key still count. */
static int verify_alone(X509 *leaf, TlsProblem *ret_problem)
{
    int verdict = X509_V_ERR_UNSPECIFIED;
    X509_STORE *empty = X509_STORE_new();
    STACK_OF(X509) *trusted = sk_X509_new_null();
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    if (empty != NULL && ctx != NULL && trusted != NULL && sk_X509_push(trusted, leaf) > 0 &&
        X509_STORE_CTX_init(ctx, empty, leaf, NULL) == 1) {
        X509_STORE_CTX_set0_trusted_stack(ctx, trusted);
        X509_VERIFY_PARAM_set_flags(X509_STORE_CTX_get0_param(ctx), X509_V_FLAG_PARTIAL_CHAIN);
        X509_VERIFY_PARAM_set_auth_level(X509_STORE_CTX_get0_param(ctx), SECURITY_LEVEL);
        verdict = run_verify(ctx, ret_problem);
    }
    X509_STORE_CTX_free(ctx);
    sk_X509_free(trusted);
    X509_STORE_free(empty);
    return verdict;
}

int tls_store_verify(TlsStore *store, X509 *leaf, STACK_OF(X509) * untrusted, TlsVerifyRole role,
                     TlsProblem *ret_problem)
{
    int verdict = X509_V_ERR_UNSPECIFIED;
    X509_STORE *trust = store_get(store);
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    tls_problem_set(ret_problem, TLS_REFUSED_BAD_CERTIFICATE, "it cannot be checked");
    if (ctx != NULL && X509_STORE_CTX_init(ctx, trust, leaf, untrusted) == 1) {
        verdict = run_verify(ctx, ret_problem);
    }
    if (verdict != X509_V_OK && role == TLS_VERIFY_CLIENT &&
        tls_refusal_of_verdict(verdict) == TLS_REFUSED_OTHER_AUTHORITY &&
        is_trusted_directly(store, leaf)) {
        verdict = verify_alone(leaf, ret_problem);
    }
    X509_STORE_CTX_free(ctx);
    X509_STORE_free(trust);
    ERR_clear_error();
    return verdict;
}

X509 *tls_certificate_read(Str der)
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

static bool verify_der(TlsStore *store, const Str *chain, size_t count, TlsProblem *ret_problem)
{
    bool is_good = false;
    STACK_OF(X509) *certificates = sk_X509_new_null();
    for (size_t i = 0; i < count; i++) {
        X509 *certificate = tls_certificate_read(chain[i]);
        if (certificate == NULL || sk_X509_push(certificates, certificate) == 0) {
            X509_free(certificate);
            tls_problem_set(ret_problem, TLS_REFUSED_BAD_CERTIFICATE,
                            "certificate %zu of the chain is malformed", i + 1);
            goto done;
        }
    }
    is_good = tls_store_verify(store, sk_X509_value(certificates, 0), certificates,
                               TLS_VERIFY_CLIENT, ret_problem) == X509_V_OK;

done:
    sk_X509_pop_free(certificates, X509_free);
    return is_good;
}

bool tls_store_verify_der(TlsStore *store, const Str *chain, size_t count, TlsProblem *ret_problem)
{
    unsigned char digest[SHA256_DIGEST_LENGTH];
    const int64_t began_ns = clock_now_ns();
    uint64_t version = 0;

    if (count == 0) {
        tls_problem_set(ret_problem, TLS_REFUSED_NO_CERTIFICATE, "%s", "");
        return false;
    }
    if (count > MAX_CHAIN) {
        tls_problem_set(ret_problem, TLS_REFUSED_BAD_CERTIFICATE,
                        "its chain has more than %d certificates", MAX_CHAIN);
        return false;
    }
    bool has_digest = chain_digest(chain, count, digest);
    if (has_digest && is_accepted(store, digest, &version)) {
        return true;
    }
    bool is_good = verify_der(store, chain, count, ret_problem);
    if (is_good && has_digest) {
        note_accepted(store, digest, version, began_ns);
    }
    return is_good;
}

const char *tls_store_crl_file(const TlsStore *store)
{
    return store->crl.path;
}

size_t tls_store_crl_expiries(TlsStore *store, Arena *arena, TlsExpiry **ret_expiries)
{
    X509_STORE *trust = store_get(store);
    STACK_OF(X509_OBJECT) *objects = X509_STORE_get0_objects(trust);
    const int count = sk_X509_OBJECT_num(objects);
    TlsExpiry *expiries = ARENA_ARRAY(arena, TlsExpiry, (size_t)MAX(count, 0));
    size_t found = 0;
    for (int i = 0; i < count; i++) {
        const X509_CRL *crl = X509_OBJECT_get0_X509_CRL(sk_X509_OBJECT_value(objects, i));
        const ASN1_TIME *next = crl != NULL ? X509_CRL_get0_nextUpdate(crl) : NULL;
        if (next != NULL) {
            expiries[found++] =
                (TlsExpiry){tls_name_text(arena, X509_CRL_get_issuer(crl)), tls_time_us(next)};
        }
    }
    X509_STORE_free(trust);
    *ret_expiries = expiries;
    return found;
}
