#pragma once

#include "lib/tls/tls.h"

/** A certificate whose key is pinned for an identity provider. In the arena. */
typedef struct SamlCertificate {
    Str der;
    TlsCertificate names;
    int64_t valid_from_us; /* UTC */
} SamlCertificate;

/** Reads the first certificate of a PEM file; its key must be good for signatures of assertions. */
bool saml_certificate_read(Arena *arena, const char *pem_file, SamlCertificate *ret_certificate,
                           char *ret_problem, size_t problem_size) MUST_CHECK;
