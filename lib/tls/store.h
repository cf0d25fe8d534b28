#pragma once

#include <openssl/x509.h>
#include <sys/stat.h>

#include "lib/tls/tls.h"

/** What tls.c needs of the store. Private to this folder. */

/** Identity of a file's contents, as far as stat() tells. */
typedef struct FileVersion {
    struct timespec modified;
    ino_t inode;
    off_t size_bytes;
} FileVersion;

/** @param path  NULL: there is no such file, which is a version too */
bool file_version(const char *path, FileVersion *ret_version) MUST_CHECK;
bool file_version_is_same(const FileVersion *a, const FileVersion *b);

/** NULL: none. */
const char *tls_store_crl_file(const TlsStore *store);

/** Whose certificate it is: directly trusted ones are peers that connect to us, not hosts that we
 * call. */
typedef enum TlsVerifyRole { TLS_VERIFY_CLIENT, TLS_VERIFY_SERVER } TlsVerifyRole;

/**
 * The one place where a chain is judged.
 * @param untrusted  what else the peer sent; may be NULL
 * @return X509_V_OK, or the X509_V_ERR_... that says why not
 */
int tls_store_verify(TlsStore *store, X509 *leaf, STACK_OF(X509) * untrusted, TlsVerifyRole role,
                     TlsProblem *ret_problem) MUST_CHECK;

/** d2i_X509() of bounded bytes; NULL if they are no certificate. */
X509 *tls_certificate_read(Str der);

/** The name as people read it (RFC 2253, UTF-8), in the arena. */
Str tls_name_text(Arena *arena, const X509_NAME *name);

int64_t tls_time_us(const ASN1_TIME *time);
