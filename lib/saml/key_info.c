#include "lib/saml/key_info.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/x509.h>

#include "lib/saml/names.h"
#include "lib/xml/base64.h"

/** The bytes of base64 in an element; empty if it is none. */
static Str bytes_of(Arena *arena, const XmlNode *node)
{
    Base64Decoder decoder = {0};
    size_t len = 0;
    if (!node || node->first_child) {
        return STR_EMPTY;
    }
    uint8_t *bytes = arena_alloc(arena, BASE64_DECODED_MAX(node->text.len));
    return base64_decode(&decoder, node->text, bytes, &len) && base64_is_complete(&decoder)
               ? (Str){(char *)bytes, len}
               : STR_EMPTY;
}

/** The first certificate is that of the signer (section 4.5.4); others are its chain. It is mostly
 * the pinned one: to decode one costs more than to verify a signature. */
static bool x509_agrees(Arena *arena, const XmlNode *data, const SamlKey *key)
{
    const XmlNode *node = xml_child(data, NS_DS, "X509Certificate");
    if (!node) {
        return true;
    }
    Str der = bytes_of(arena, node);
    if (!str_is_empty(der) && str_equal(der, key->certificate)) {
        return true;
    }
    const unsigned char *at = (const unsigned char *)der.data;
    X509 *x509 = d2i_X509(NULL, &at, (long)der.len);
    const EVP_PKEY *named = x509 ? X509_get0_pubkey(x509) : NULL;
    bool agrees = named && EVP_PKEY_eq(named, key->key) == 1;
    X509_free(x509);
    return agrees;
}

static bool number_agrees(Arena *arena, const XmlNode *node, const EVP_PKEY *key, const char *name)
{
    Str bytes = bytes_of(arena, node);
    BIGNUM *wanted = NULL;
    BIGNUM *named = BN_bin2bn((const unsigned char *)bytes.data, (int)bytes.len, NULL);
    bool agrees = bytes.len > 0 && named && EVP_PKEY_get_bn_param(key, name, &wanted) == 1 &&
                  BN_cmp(named, wanted) == 0;
    BN_free(named);
    BN_free(wanted);
    return agrees;
}

static bool value_agrees(Arena *arena, const XmlNode *value, const EVP_PKEY *key)
{
    const XmlNode *rsa = xml_child(value, NS_DS, "RSAKeyValue");
    return rsa && EVP_PKEY_get_base_id(key) == EVP_PKEY_RSA &&
           number_agrees(arena, xml_child(rsa, NS_DS, "Modulus"), key, OSSL_PKEY_PARAM_RSA_N) &&
           number_agrees(arena, xml_child(rsa, NS_DS, "Exponent"), key, OSSL_PKEY_PARAM_RSA_E);
}

bool saml_key_info_agrees(Arena *arena, const XmlNode *key_info, const SamlKey *key)
{
    bool agrees = true;
    for (const XmlNode *child = key_info ? key_info->first_child : NULL; child && agrees;
         child = child->next) {
        if (xml_is(child, NS_DS, "X509Data")) {
            agrees = x509_agrees(arena, child, key);
        } else if (xml_is(child, NS_DS, "KeyValue")) {
            agrees = value_agrees(arena, child, key->key);
        } else {
            agrees = xml_is(child, NS_DS, "KeyName");
        }
    }
    return agrees;
}
