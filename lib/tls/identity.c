#include "lib/tls/identity.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/heap.h"

/** Longest chain of our own. */
#define MAX_CHAIN 16

/** An encrypted key is an error: nobody is there to be asked for its password. */
static int no_password(char *buffer, int size, int is_writing, void *ctx)
{
    (void)buffer;
    (void)size;
    (void)is_writing;
    (void)ctx;
    return -1;
}

static bool hold(TlsIdentity *identity, const TlsSettings *settings, char *ret_problem,
                 size_t problem_size)
{
    const char *culprit = settings->certificate;
    ERR_clear_error();
    identity->holder = SSL_CTX_new(TLS_method());
    bool ok = identity->holder != NULL;
    if (ok) {
        SSL_CTX_set_security_level(identity->holder, 2);
        SSL_CTX_set_default_passwd_cb(identity->holder, no_password);
        ok = SSL_CTX_use_certificate_chain_file(identity->holder, settings->certificate) == 1;
    }
    if (ok) {
        culprit = settings->key;
        ok = SSL_CTX_use_PrivateKey_file(identity->holder, settings->key, SSL_FILETYPE_PEM) == 1 &&
             SSL_CTX_check_private_key(identity->holder) == 1;
    }
    if (!ok) {
        char reason[160];
        tls_take_error("it cannot be used", reason, sizeof reason);
        snprintf(ret_problem, problem_size, "%s: %s", culprit, reason);
    }
    return ok;
}

static bool read_file(const char *path, gnutls_datum_t *ret_pem, char *ret_problem,
                      size_t problem_size)
{
    int rc = gnutls_load_file(path, ret_pem);
    if (rc < 0) {
        snprintf(ret_problem, problem_size, "%s: %s", path,
                 rc == GNUTLS_E_FILE_ERROR ? strerror(errno) : gnutls_strerror(rc));
    }
    return rc == 0;
}

static bool import_chain(TlsIdentity *identity, const gnutls_datum_t *pem, const char *path,
                         char *ret_problem, size_t problem_size)
{
    unsigned length = MAX_CHAIN;
    identity->chain = heap_zeroed(MAX_CHAIN, sizeof *identity->chain);
    int rc =
        gnutls_pcert_list_import_x509_raw(identity->chain, &length, pem, GNUTLS_X509_FMT_PEM, 0);
    if (rc < 0) {
        snprintf(ret_problem, problem_size, "%s: %s", path, gnutls_strerror(rc));
        return false;
    }
    identity->chain_length = length;
    return true;
}

static bool import_key(TlsIdentity *identity, const gnutls_datum_t *pem, const char *path,
                       char *ret_problem, size_t problem_size)
{
    int rc = gnutls_privkey_init(&identity->key);
    if (rc == 0) {
        rc = gnutls_privkey_import_x509_raw(identity->key, pem, GNUTLS_X509_FMT_PEM, NULL, 0);
    }
    if (rc < 0) {
        snprintf(ret_problem, problem_size, "%s: %s", path, gnutls_strerror(rc));
    }
    return rc == 0;
}

TlsIdentity *tls_identity_load(const TlsSettings *settings, char *ret_problem, size_t problem_size)
{
    gnutls_datum_t certificate = {0};
    gnutls_datum_t key = {0};
    TlsIdentity *identity = HEAP_NEW(TlsIdentity);
    bool ok =
        read_file(settings->certificate, &certificate, ret_problem, problem_size) &&
        read_file(settings->key, &key, ret_problem, problem_size) &&
        hold(identity, settings, ret_problem, problem_size) &&
        import_chain(identity, &certificate, settings->certificate, ret_problem, problem_size) &&
        import_key(identity, &key, settings->key, ret_problem, problem_size);
    gnutls_free(certificate.data);
    if (key.data != NULL) {
        gnutls_memset(key.data, 0, key.size);
        gnutls_free(key.data);
    }
    if (!ok) {
        tls_identity_free(identity);
        return NULL;
    }
    return identity;
}

void tls_identity_free(TlsIdentity *identity)
{
    while (identity != NULL) {
        TlsIdentity *older = identity->older;
        SSL_CTX_free(identity->holder);
        for (unsigned i = 0; i < identity->chain_length; i++) {
            gnutls_pcert_deinit(&identity->chain[i]);
        }
        free(identity->chain);
        if (identity->key != NULL) {
            gnutls_privkey_deinit(identity->key);
        }
        free(identity);
        identity = older;
    }
}

int tls_identity_use(SSL *ssl, void *tls)
{
    SSL_CTX *holder = tls_identity_of(tls)->holder;
    STACK_OF(X509) *chain = NULL;
    SSL_CTX_get0_chain_certs(holder, &chain);
    return SSL_use_cert_and_key(ssl, SSL_CTX_get0_certificate(holder),
                                SSL_CTX_get0_privatekey(holder), chain, 1);
}
