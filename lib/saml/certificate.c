#include "lib/saml/certificate.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <time.h>

#include "lib/saml/signature.h"

static bool fail(char *ret_problem, size_t problem_size, const char *file, const char *why)
{
    (void)snprintf(ret_problem, problem_size, "%s: %s", file, why);
    return false;
}

static X509 *load(const char *pem_file, char *ret_problem, size_t problem_size)
{
    FILE *file = fopen(pem_file, "re");
    if (!file) {
        (void)fail(ret_problem, problem_size, pem_file, strerror(errno));
        return NULL;
    }
    X509 *x509 = PEM_read_X509(file, NULL, NULL, NULL);
    (void)fclose(file);
    if (!x509) {
        ERR_clear_error();
        (void)fail(ret_problem, problem_size, pem_file, "holds no certificate in PEM form");
    }
    return x509;
}

static Str der_of(Arena *arena, const X509 *x509)
{
    int len = i2d_X509(x509, NULL);
    unsigned char *der = arena_alloc(arena, (size_t)MAX(len, 0));
    unsigned char *end = der;
    return (Str){(char *)der, (size_t)MAX(i2d_X509(x509, &end), 0)};
}

static bool describe(Arena *arena, const X509 *x509, SamlCertificate *certificate)
{
    struct tm from;
    certificate->der = der_of(arena, x509);
    if (ASN1_TIME_to_tm(X509_get0_notBefore(x509), &from) != 1) {
        return false;
    }
    certificate->valid_from_us = (int64_t)timegm(&from) * 1000000;
    return tls_certificate_from_der(arena, certificate->der, &certificate->names);
}

bool saml_certificate_read(Arena *arena, const char *pem_file, SamlCertificate *ret_certificate,
                           char *ret_problem, size_t problem_size)
{
    X509 *x509 = load(pem_file, ret_problem, problem_size);
    if (!x509) {
        return false;
    }
    SamlCertificate certificate;
    const EVP_PKEY *key = X509_get0_pubkey(x509);
    bool is_good = true;
    if (!key || !saml_key_is_good(key)) {
        is_good = fail(ret_problem, problem_size, pem_file,
                       "its key must be RSA of 2048 bits or more, or ECDSA of 256 or more");
    } else if (!describe(arena, x509, &certificate)) {
        is_good = fail(ret_problem, problem_size, pem_file, "the certificate cannot be read");
    } else {
        *ret_certificate = certificate;
    }
    X509_free(x509);
    return is_good;
}
