#pragma once

#include "lib/saml/providers.h"
#include "lib/xml/tree.h"

/**
 * Whether what ds:KeyInfo says is about this key. It is never the reason to believe a signature;
 * but a message that names another key than the one it was signed with has been tampered with, or
 * comes from somebody who uses a key that is not registered.
 *
 * @param key_info  NULL: nothing is said, which agrees with every key
 *
 * Spec: XML Signature 1.1 section 4.5. X509Data (its first certificate), RSAKeyValue and KeyName
 * are known; anything else does not agree.
 */
bool saml_key_info_agrees(Arena *arena, const XmlNode *key_info, const SamlKey *key);
