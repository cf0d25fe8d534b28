#pragma once

#include <openssl/evp.h>

#include "lib/saml/check.h"
#include "lib/xml/tree.h"

struct _xmlNode; /* libxml2's xmlNode */

/** Once per process, after xml_init(): the libraries behind saml_signature_verify(). */
void saml_signature_init(void);

/** Whether signatures by this key are accepted: RSA of 2048 bits or more, or ECDSA of 256
or more. */
bool saml_key_is_good(const EVP_PKEY *key);

/**
 * What can be said of the signature without a key: exactly one ds:Signature in the assertion, its
 * child; one Reference, to this assertion; transforms and algorithms of the allow-list; no Object.
 *
 * @param id  of the assertion: an NCName of ASCII
 *
 * Spec: SAML 2.0 Core 5.4; XML Signature 1.1 sections 4, 6.
 */
SamlCheck saml_signature_check_form(const XmlNode *assertion, Str id);

/**
 * Verifies the one signature of an assertion of good form with one of these keys; KeyInfo is not
 * looked at.
 *
 * @param assertion  where the message has it, all of its document around it
 * @return SAML_GOOD or SAML_SIGNATURE_WRONG
 */
SamlCheck saml_signature_verify(struct _xmlNode *assertion, EVP_PKEY *const *keys,
                                size_t key_count);
