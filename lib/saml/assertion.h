#pragma once

#include "lib/saml/claims.h"
#include "lib/saml/providers.h"

struct _xmlNode; /* libxml2's xmlNode */

/** SHA-256 of an assertion with all that its signature can depend on. */
typedef struct SamlDigest {
    uint8_t bytes[32];
} SamlDigest;

/**
 * Every element, attribute, namespace declaration and text of the assertion, each with its length,
 * and the namespaces that are in scope where it stands: assertions of one digest have the same
 * octets in the same context.
 */
SamlDigest saml_assertion_digest(struct _xmlNode *assertion);

/** One assertion in a message, on its way through the checks. */
typedef struct SamlCandidate {
    struct _xmlNode *dom; /* the Assertion where the message has it */
    const XmlNode *root;  /* of the whole message */
    const XmlNode *tree;  /* of dom; set by saml_assertion_inspect() */
} SamlCandidate;

/** Form, ID and signature's form: what can be said before anything is believed. */
SamlCheck saml_assertion_inspect(Arena *arena, SamlCandidate *candidate);

/**
 * Verifies the signature by the keys of its Issuer and copies the verified element.
 *
 * @param keys         of the Issuer
 * @param is_verified  this very assertion, in this context, was verified by these keys before
 * @param ret_tree     what may be read from now on
 */
SamlCheck saml_assertion_verify(Arena *arena, const SamlCandidate *candidate, const SamlKeys *keys,
                                bool is_verified, const XmlNode **ret_tree);
