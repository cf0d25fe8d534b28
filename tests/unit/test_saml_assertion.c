#include "lib/saml/assertion.h"
#include "lib/saml/key_info.h"
#include "lib/saml/security_header.h"
#include "lib/saml/signature.h"
#include "lib/xml/dom.h"
#include "lib/xml/namespaces.h"

#include "tests/unit/saml_fixture.h"

static EVP_PKEY *key;
static EVP_PKEY *other_key;

static FixtureMessage message_of(Request *req, Str assertion)
{
    return fixture_message(req, "", fixture_security(req->arena, assertion));
}

/** All that comes before the claims. */
static SamlCheck verify(Request *req, const FixtureMessage *message, EVP_PKEY *with)
{
    SamlCandidate candidate = {.dom = message->assertion, .root = message->root};
    SamlKey pinned = {.key = with};
    const SamlKeys keys = {.keys = &pinned, .count = with ? 1 : 0, .known_count = with ? 1 : 0};
    const XmlNode *tree = NULL;
    SamlCheck check = saml_assertion_inspect(req->arena, &candidate);
    check = check ? check : saml_assertion_verify(req->arena, &candidate, &keys, false, &tree);
    assert_true(check || tree != NULL);
    return check;
}

static Str signed_assertion(Request *req)
{
    return fixture_sign(req->arena, STR(FIXTURE_ASSERTION), key);
}

/* SAML 2.0 Core 5.4 */
static void test_the_pinned_key_decides(void **state)
{
    Request *req = *state;
    FixtureMessage message = message_of(req, signed_assertion(req));
    assert_int_equal(verify(req, &message, key), SAML_GOOD);
    assert_int_equal(verify(req, &message, other_key), SAML_SIGNATURE_WRONG);
    assert_int_equal(verify(req, &message, NULL), SAML_ISSUER_UNKNOWN);
    assert_int_equal(verify(req, &message, key), SAML_GOOD);
}

/* XML Signature 1.1 section 4: the form of the one signature, on the list or not. */
static void test_signatures_of_another_form_are_refused(void **state)
{
    static const struct {
        const char *old;
        const char *new;
        SamlCheck expected;
    } rows[] = {
        {"tanaka", "tanakb", SAML_SIGNATURE_WRONG},
        {"URI=\"#_a1\"", "URI=\"\"", SAML_SIGNATURE_REFERENCE},
        {"URI=\"#_a1\"", "URI=\"#_a2\"", SAML_SIGNATURE_REFERENCE},
        {"URI=\"#_a1\"", "URI=\"file:///etc/passwd\"", SAML_SIGNATURE_REFERENCE},
        {"</ds:Reference>", "</ds:Reference><ds:Reference URI='#_a1'/>", SAML_SIGNATURE_REFERENCE},
        {"#enveloped-signature", "#base64", SAML_SIGNATURE_TRANSFORM},
        {"xml-exc-c14n#\"/></ds:Transforms>", "xml-exc-c14n#\"><x/></ds:Transform></ds:Transforms>",
         SAML_SIGNATURE_TRANSFORM},
        {"#rsa-sha256", "#hmac-sha256", SAML_SIGNATURE_ALGORITHM},
        {"2001/04/xmldsig-more#rsa-sha256", "2000/09/xmldsig#rsa-sha1", SAML_SIGNATURE_ALGORITHM},
        {"xmlenc#sha256", "xmldsig-more#md5", SAML_SIGNATURE_ALGORITHM},
        {"<ds:SignatureMethod Algorithm=\"http://www.w3.org/2001/04/xmldsig-more#rsa-sha256\"/>",
         "<ds:SignatureMethod Algorithm='http://www.w3.org/2001/04/xmldsig-more#rsa-sha256'>"
         "<ds:HMACOutputLength>8</ds:HMACOutputLength></ds:SignatureMethod>",
         SAML_SIGNATURE_FORM},
        {"</ds:Signature>", "<ds:Object/></ds:Signature>", SAML_SIGNATURE_FORM},
        {"<saml:NameID",
         "<ds:Signature xmlns:ds='http://www.w3.org/2000/09/xmldsig#'/><saml:NameID",
         SAML_SIGNATURE_FORM},
        {"<saml:NameID", "<x Id='_a1'/><saml:NameID", SAML_ID_REPEATED},
        {"<saml:NameID", "<x xml:id='_a1'/><saml:NameID", SAML_ID_REPEATED},
        {"<saml:NameID", "<saml:Assertion/><saml:NameID", SAML_ASSERTION_REPEATED},
    };
    Request *req = *state;
    Str good = signed_assertion(req);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        Str text = fixture_edit(req->arena, good.data, rows[i].old, rows[i].new);
        FixtureMessage message = message_of(req, text);
        SamlCheck found = verify(req, &message, key);
        if (found != rows[i].expected) {
            fail_msg("row %zu, %s: expected %s, found %s", i, rows[i].new,
                     saml_check_word(rows[i].expected), saml_check_word(found));
        }
    }
}

static void test_an_unsigned_assertion_is_refused(void **state)
{
    Request *req = *state;
    Str text = fixture_edit(req->arena, FIXTURE_ASSERTION, FIXTURE_SIGNATURE, "");
    FixtureMessage message = message_of(req, text);
    assert_int_equal(verify(req, &message, key), SAML_SIGNATURE_MISSING);
}

/* What the cache may spare: only the same octets in the same context. */
static void test_the_digest_covers_octets_and_context(void **state)
{
    Request *req = *state;
    Str good = signed_assertion(req);
    static const struct {
        const char *namespaces;
        const char *old;
        const char *new;
        bool is_same;
    } rows[] = {
        {"", "tanaka", "tanaka", true},
        {"", "tanaka", "tan&#97;ka", true},
        {"", "tanaka", "tanakb", false},
        {"", "tanaka<", "tanaka <", false},
        {"", "SPProvidedID=\"al\"", "SPProvidedID=\"am\"", false},
        {"", "SPProvidedID=\"al\"", "x:SPProvidedID=\"al\" xmlns:x=\"urn:x\"", false},
        {"", "<saml:Subject>", "<saml:Subject xmlns:y=\"urn:y\">", false},
        {"", "</saml:Subject>", " </saml:Subject>", false},
        {"xmlns:z='urn:z'", "tanaka", "tanaka", false},
        {"xmlns='urn:z'", "tanaka", "tanaka", false},
    };
    FixtureMessage first = message_of(req, good);
    SamlDigest digest = saml_assertion_digest(first.assertion);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        Str text = fixture_edit(req->arena, good.data, rows[i].old, rows[i].new);
        FixtureMessage message =
            fixture_message(req, rows[i].namespaces, fixture_security(req->arena, text));
        SamlDigest found = saml_assertion_digest(message.assertion);
        if ((memcmp(found.bytes, digest.bytes, sizeof(digest.bytes)) == 0) != rows[i].is_same) {
            fail_msg("row %zu", i);
        }
    }
}

/* XML Signature 1.1 section 4.5: what a message says of the key is never believed, but must agree.
 */
static void test_key_info_must_not_name_another_key(void **state)
{
    static const struct {
        const char *key_info;
        bool agrees;
        bool is_pinned; /* it agrees because it is the certificate that is pinned */
    } rows[] = {
        {"<KeyName>idp</KeyName>", true, false},
        {"<X509Data><X509SubjectName>CN=x</X509SubjectName></X509Data>", true, false},
        {"<X509Data><X509Certificate>AAAA</X509Certificate></X509Data>", true, true},
        {"<X509Data><X509Certificate>AAAB</X509Certificate></X509Data>", false, false},
        {"<X509Data><X509Certificate>AAA=</X509Certificate></X509Data>", false, false},
        {"<X509Data><X509Certificate/></X509Data>", false, false},
        {"<KeyValue/>", false, false},
        {"<KeyValue><RSAKeyValue><Exponent>AQAB</Exponent></RSAKeyValue></KeyValue>", false, false},
        {"<KeyValue><RSAKeyValue><Modulus>AQAB</Modulus><Exponent>AQAB</Exponent></RSAKeyValue>"
         "</KeyValue>",
         false, false},
        {"<RetrievalMethod URI='http://127.0.0.1/'/>", false, false},
    };
    Request *req = *state;
    /* what is pinned agrees as it is; anything else is looked into, also where it is cut short */
    const SamlKey pinned = {key, str_slice(STR("\0\0\0pinned"), 0, 3)};
    const SamlKey unnamed = {.key = key};
    assert_true(saml_key_info_agrees(req->arena, NULL, &pinned));
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        XmlNode *node = NULL;
        Str text = str_printf(req->arena,
                              "<KeyInfo xmlns='http://www.w3.org/2000/09/xmldsig#'>%s</KeyInfo>",
                              rows[i].key_info);
        assert_int_equal(xml_read(req, text, &node), 0);
        if (saml_key_info_agrees(req->arena, node, &pinned) != rows[i].agrees) {
            fail_msg("row %zu", i);
        }
        if (saml_key_info_agrees(req->arena, node, &unnamed) !=
            (rows[i].agrees && !rows[i].is_pinned)) {
            fail_msg("row %zu without a certificate", i);
        }
    }
}

#define TIMESTAMP(created, expires)                                                                \
    "<u:Timestamp xmlns:u='" NS_WSU "'><u:Created>" created "</u:Created><u:Expires>" expires      \
    "</u:Expires></u:Timestamp>"
#define SECURITY(content) "<w:Security xmlns:w='" NS_WSSE "'>" content "</w:Security>"
#define TOKEN "<s:Assertion xmlns:s='urn:oasis:names:tc:SAML:2.0:assertion'/>"

/* WS-Security 1.1 sections 5 and 10; SOAP 1.2 part 1 section 2.2. */
static void test_the_header_has_one_assertion_for_us_and_is_in_time(void **state)
{
    static const struct {
        const char *header;
        SamlCheck expected;
        bool has_assertion;
    } rows[] = {
        {SECURITY(""), SAML_GOOD, false},
        {SECURITY(TOKEN), SAML_GOOD, true},
        {SECURITY(TOKEN) SECURITY(TOKEN), SAML_SECURITY_REPEATED, false},
        {SECURITY(TOKEN TOKEN), SAML_ASSERTION_REPEATED, false},
        {SECURITY("<x>" TOKEN "</x>"), SAML_TOKEN_UNSUPPORTED, false},
        {SECURITY("<w:UsernameToken/>"), SAML_TOKEN_UNSUPPORTED, false},
        {SECURITY("<s:EncryptedAssertion xmlns:s='urn:oasis:names:tc:SAML:2.0:assertion'/>"),
         SAML_ENCRYPTED, false},
        {SECURITY(TIMESTAMP("2027-01-15T08:00:00Z", "2027-01-15T08:05:00Z") TOKEN), SAML_GOOD,
         true},
        {SECURITY(TIMESTAMP("2027-01-15T07:00:00Z", "2027-01-15T07:59:00Z") TOKEN),
         SAML_TIMESTAMP_EXPIRED, false},
        {SECURITY(TIMESTAMP("2027-01-15T08:02:00Z", "2027-01-15T08:05:00Z") TOKEN),
         SAML_TIMESTAMP_FORM, false},
        {SECURITY(TIMESTAMP("now", "2027-01-15T08:05:00Z") TOKEN), SAML_TIMESTAMP_FORM, false},
        {"<w:Security xmlns:w='" NS_WSSE "' e:role='urn:other'>" TOKEN "</w:Security>", SAML_GOOD,
         false},
        {"<w:Security xmlns:w='" NS_WSSE "' e:role='" NS_SOAP12 "/role/next'>" TOKEN
         "</w:Security>",
         SAML_GOOD, true},
    };
    Request *req = *state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        FixtureMessage message = fixture_message(req, "", str_from(rows[i].header));
        xmlNode *assertion = NULL;
        SamlCheck found =
            saml_security_header_read(message.kept.document, FIXTURE_NOW_US, 60000000, &assertion);
        if (found != rows[i].expected || (assertion != NULL) != rows[i].has_assertion) {
            fail_msg("row %zu: %s", i, saml_check_word(found));
        }
    }
    xmlNode *none = NULL;
    assert_int_equal(saml_security_header_read(NULL, FIXTURE_NOW_US, 0, &none), SAML_GOOD);
    assert_null(none);
}

/* What the reader keeps: the same text that it reads, and whether comments were left out of it. */
static void test_the_kept_header_says_what_the_tree_says(void **state)
{
    Request *req = *state;
    FixtureMessage plain = fixture_message(
        req, "", STR(SECURITY("<a b='1&amp;2&#xa;' c='&lt;'>x<![CDATA[<y>]]>z&#x9ad8;<d/>e</a>")));
    const XmlNode *read = plain.root->first_child->first_child->first_child;
    const XmlNode *walked = xml_tree_of_dom(req->arena, plain.assertion);
    assert_str(walked->text, "x<y>z\xe9\xab\x98"
                             "e");
    assert_true(str_equal(walked->text, read->text));
    assert_true(str_equal(xml_attribute(walked, "b"), xml_attribute(read, "b")));
    assert_str(xml_attribute(walked, "b"), "1&2\n");
    assert_str(xml_attribute(walked, "c"), "<");
    assert_false(plain.kept.has_comments);
    assert_true(fixture_message(req, "", STR(SECURITY("<a><!-- x --></a>"))).kept.has_comments);
    assert_false(
        fixture_message(req, "", STR("<!-- x -->" SECURITY("<a/>") "<!---->")).kept.has_comments);
}

static int set_up_keys(void **state)
{
    (void)state;
    xml_init();
    saml_init();
    key = EVP_RSA_gen(2048);
    other_key = EVP_RSA_gen(2048);
    return !key || !other_key;
}

static int tear_down_keys(void **state)
{
    (void)state;
    EVP_PKEY_free(key);
    EVP_PKEY_free(other_key);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        REQUEST_TEST(test_the_pinned_key_decides),
        REQUEST_TEST(test_signatures_of_another_form_are_refused),
        REQUEST_TEST(test_an_unsigned_assertion_is_refused),
        REQUEST_TEST(test_the_digest_covers_octets_and_context),
        REQUEST_TEST(test_key_info_must_not_name_another_key),
        REQUEST_TEST(test_the_header_has_one_assertion_for_us_and_is_in_time),
        REQUEST_TEST(test_the_kept_header_says_what_the_tree_says),
    };
    return cmocka_run_group_tests(tests, set_up_keys, tear_down_keys);
}
