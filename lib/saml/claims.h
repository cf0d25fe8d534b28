#pragma once

#include "lib/access/user.h"
#include "lib/saml/check.h"
#include "lib/xml/tree.h"

/** What an assertion is held against. All is borrowed. */
typedef struct SamlRules {
    const Str *audiences; /* names of this service: one of them must be addressed */
    size_t audience_count;
    const Str *authn_contexts; /* accepted ways of authentication; none: every way */
    size_t authn_context_count;
    int64_t skew_us; /* by which clocks may differ */
    int64_t now_us;
    Str peer_fingerprint; /* SHA-256 of the TLS client certificate, lower-case hexadecimal; empty
                             without TLS */
} SamlRules;

/** What a verified assertion says. In the arena. */
typedef struct SamlClaims {
    AccessUser user;
    Str id;
    int64_t not_on_or_after_us; /* of Conditions */
    bool is_one_time;           /* OneTimeUse */
} SamlClaims;

/**
 * Version, ID, and the elements in their order, before anything is believed.
 * Spec: SAML 2.0 Core 2.3.3.
 */
SamlCheck saml_assertion_check_form(const XmlNode *assertion);

/**
 * Reads and checks what a verified assertion says: times, audience, confirmation, authentication,
 * attributes.
 *
 * @param assertion   of good form, and verified
 * @param ret_claims  texts may be those of the tree
 *
 * Spec: ITI TF-2 3.40.4.1.2, 3.40.4.1.3; SAML 2.0 Core 2.4 to 2.7.
 */
SamlCheck saml_claims_read(Arena *arena, const XmlNode *assertion, const SamlRules *rules,
                           SamlClaims *ret_claims);
