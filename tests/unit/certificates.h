#pragma once

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/str.h"

/** Certificates made on the spot, for tests of TLS. Failures end the test program. */

typedef struct TestCertificate {
    X509 *certificate;
    EVP_PKEY *key;
} TestCertificate;

typedef struct TestCertificateSpec {
    const char *name;              /* CN */
    const TestCertificate *issuer; /* NULL: self-signed */
    bool is_ca;
    long valid_from_s; /* relative to now */
    long valid_to_s;
    long serial;
    bool is_rsa; /* RSA-2048, else P-256 */
} TestCertificateSpec;

static inline void test_require(bool condition, const char *what)
{
    if (!condition) {
        fprintf(stderr, "test certificates: %s failed\n", what);
        abort();
    }
}

static inline void test_certificate_add_extension(X509 *certificate, int nid, const char *value)
{
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, nid, value);
    test_require(X509_add_ext(certificate, extension, -1) == 1, value);
    X509_EXTENSION_free(extension);
}

/** Every certificate names localhost and 127.0.0.1 as subjectAltName. */
static inline TestCertificate test_certificate_new(const TestCertificateSpec *spec)
{
    TestCertificate made = {X509_new(), spec->is_rsa ? EVP_RSA_gen(2048) : EVP_EC_gen("P-256")};
    const TestCertificate *issuer = spec->issuer != NULL ? spec->issuer : &made;
    X509_set_version(made.certificate, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(made.certificate), spec->serial);
    X509_gmtime_adj(X509_getm_notBefore(made.certificate), spec->valid_from_s);
    X509_gmtime_adj(X509_getm_notAfter(made.certificate), spec->valid_to_s);
    X509_NAME *name = X509_get_subject_name(made.certificate);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)spec->name, -1, -1,
                               0);
    X509_set_issuer_name(made.certificate, X509_get_subject_name(issuer->certificate));
    X509_set_pubkey(made.certificate, made.key);
    if (spec->is_ca) {
        test_certificate_add_extension(made.certificate, NID_basic_constraints, "critical,CA:TRUE");
    }
    test_certificate_add_extension(made.certificate, NID_subject_alt_name,
                                   "DNS:localhost,IP:127.0.0.1");
    test_require(X509_sign(made.certificate, issuer->key, EVP_sha256()) > 0, "X509_sign");
    return made;
}

static inline void test_certificate_done(TestCertificate *made)
{
    X509_free(made->certificate);
    EVP_PKEY_free(made->key);
}

/** A CRL of this authority that names one serial number; 0: an empty CRL. */
static inline X509_CRL *test_crl_lasting(const TestCertificate *ca, long revoked_serial,
                                         long next_update_s)
{
    X509_CRL *crl = X509_CRL_new();
    ASN1_TIME *now = X509_gmtime_adj(NULL, -120);
    ASN1_TIME *next = X509_gmtime_adj(NULL, next_update_s);
    X509_CRL_set_version(crl, X509_CRL_VERSION_2);
    X509_CRL_set_issuer_name(crl, X509_get_subject_name(ca->certificate));
    X509_CRL_set1_lastUpdate(crl, now);
    X509_CRL_set1_nextUpdate(crl, next);
    if (revoked_serial != 0) {
        X509_REVOKED *revoked = X509_REVOKED_new();
        ASN1_INTEGER *serial = ASN1_INTEGER_new();
        ASN1_INTEGER_set(serial, revoked_serial);
        X509_REVOKED_set_serialNumber(revoked, serial);
        X509_REVOKED_set_revocationDate(revoked, now);
        test_require(X509_CRL_add0_revoked(crl, revoked) == 1, "X509_CRL_add0_revoked");
        ASN1_INTEGER_free(serial);
    }
    test_require(X509_CRL_sign(crl, ca->key, EVP_sha256()) > 0, "X509_CRL_sign");
    ASN1_TIME_free(now);
    ASN1_TIME_free(next);
    return crl;
}

static inline X509_CRL *test_crl_new(const TestCertificate *ca, long revoked_serial)
{
    return test_crl_lasting(ca, revoked_serial, 86400);
}

static inline FILE *test_pem_open(const char *directory, const char *file, char *ret_path,
                                  size_t path_size)
{
    snprintf(ret_path, path_size, "%s/%s", directory, file);
    FILE *pem = fopen(ret_path, "w");
    test_require(pem != NULL, ret_path);
    return pem;
}

/** Writes DIRECTORY/FILE and gives its path. */
static inline void test_pem_certificate(const char *directory, const char *file,
                                        const TestCertificate *made, char *ret_path,
                                        size_t path_size)
{
    FILE *pem = test_pem_open(directory, file, ret_path, path_size);
    test_require(PEM_write_X509(pem, made->certificate) == 1, "PEM_write_X509");
    fclose(pem);
}

static inline void test_pem_key(const char *directory, const char *file,
                                const TestCertificate *made, char *ret_path, size_t path_size)
{
    FILE *pem = test_pem_open(directory, file, ret_path, path_size);
    test_require(PEM_write_PrivateKey(pem, made->key, NULL, NULL, 0, NULL, NULL) == 1,
                 "PEM_write_PrivateKey");
    fclose(pem);
}

static inline void test_pem_crl(const char *directory, const char *file, X509_CRL *crl,
                                char *ret_path, size_t path_size)
{
    FILE *pem = test_pem_open(directory, file, ret_path, path_size);
    test_require(PEM_write_X509_CRL(pem, crl) == 1, "PEM_write_X509_CRL");
    fclose(pem);
}

/** DER form, in the arena. */
static inline Str test_certificate_der(Arena *arena, const TestCertificate *made)
{
    unsigned char *der = NULL;
    int len = i2d_X509(made->certificate, &der);
    test_require(len > 0, "i2d_X509");
    Str copy = str_dup(arena, (Str){(const char *)der, (size_t)len});
    OPENSSL_free(der);
    return copy;
}

/** Removes a directory of the test and the files in it. */
static inline void test_directory_remove(const char *directory)
{
    char command[256];
    snprintf(command, sizeof command, "rm -rf -- '%s'", directory);
    test_require(system(command) == 0, command);
}
