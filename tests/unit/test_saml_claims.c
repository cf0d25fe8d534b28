#include "lib/saml/claims.h"
#include "lib/xml/namespaces.h"

#include "tests/unit/saml_fixture.h"

static const Str audiences[] = {STR_INIT("urn:other"), STR_INIT(FIXTURE_AUDIENCE)};
static const Str contexts[] = {STR_INIT("password")};

static SamlRules fixture_rules(void)
{
    return (SamlRules){.audiences = audiences,
                       .audience_count = ARRAY_LEN(audiences),
                       .authn_contexts = contexts,
                       .authn_context_count = ARRAY_LEN(contexts),
                       .skew_us = 60000000,
                       .now_us = FIXTURE_NOW_US,
                       .peer_fingerprint = STR_EMPTY};
}

/** Form first, then what it says. */
static SamlCheck check(Request *req, Str text, const SamlRules *rules, SamlClaims *claims)
{
    XmlNode *assertion = NULL;
    assert_int_equal(xml_read(req, text, &assertion), 0);
    SamlCheck form = saml_assertion_check_form(assertion);
    return form ? form : saml_claims_read(req->arena, assertion, rules, claims);
}

/* ITI TF-2 3.40.4.1.2; SAML 2.0 Core 2.3 to 2.7: one rule each. */
static void test_each_rule_refuses_what_breaks_it_and_nothing_else(void **state)
{
    static const struct {
        const char *old;
        const char *new;
        SamlCheck expected;
    } rows[] = {
        {"Version='2.0'", "Version='2.0'", SAML_GOOD},
        {"Version='2.0'", "Version='1.1'", SAML_VERSION},
        {"Version='2.0'", "", SAML_VERSION},
        {"ID='_a1'", "", SAML_ID_FORM},
        {"ID='_a1'", "ID='1'", SAML_ID_FORM},
        {"ID='_a1'", "ID=\"a')\"", SAML_ID_FORM},
        {"ID='_a1'", "ID='A.b-9_'", SAML_GOOD},
        {"<saml:Issuer>https://idp.example</saml:Issuer>", "", SAML_ISSUER_FORM},
        {"https://idp.example", " ", SAML_ISSUER_FORM},
        {"<saml:Subject>", "<saml:Advice/><saml:Subject>", SAML_ASSERTION_FORM},
        {"</saml:Assertion>", "<x/></saml:Assertion>", SAML_ASSERTION_FORM},
        {"</saml:Assertion>", "<saml:Issuer>b</saml:Issuer></saml:Assertion>", SAML_ASSERTION_FORM},
        {"<saml:NameID SPProvidedID='al'>tanaka</saml:NameID>", "<saml:EncryptedID/>",
         SAML_ENCRYPTED},
        {"<saml:AttributeValue>nurse</saml:AttributeValue>",
         "<saml:AttributeValue><saml:EncryptedAssertion/></saml:AttributeValue>", SAML_ENCRYPTED},
        {"IssueInstant='2027-01-15T08:00:00Z'", "", SAML_ISSUE_INSTANT},
        {"IssueInstant='2027-01-15T08:00:00Z'", "IssueInstant='2117-01-15T08:00:00Z'",
         SAML_ISSUE_INSTANT},
        {"IssueInstant='2027-01-15T08:00:00Z'", "IssueInstant='2027-01-15T08:00:00'",
         SAML_ISSUE_INSTANT},
        {"IssueInstant='2027-01-15T08:00:00Z'", "IssueInstant='2027-01-15T17:01:00+09:00'",
         SAML_GOOD},
        {"NotBefore='2027-01-15T08:00:00Z'", "NotBefore='2027-01-15T08:01:00Z'", SAML_GOOD},
        {"NotBefore='2027-01-15T08:00:00Z'", "NotBefore='2027-01-15T08:01:00.001Z'",
         SAML_NOT_YET_VALID},
        {"NotBefore='2027-01-15T08:00:00Z'", "NotBefore='soon'", SAML_CONDITIONS_FORM},
        {"NotBefore='2027-01-15T08:00:00Z'", "", SAML_GOOD},
        {"NotOnOrAfter='2027-01-15T08:05:00Z'", "", SAML_CONDITIONS_FORM},
        {"NotOnOrAfter='2027-01-15T08:05:00Z'", "NotOnOrAfter='2027-01-15T07:00:00Z'",
         SAML_CONDITIONS_FORM},
        {"NotBefore='2027-01-15T08:00:00Z' NotOnOrAfter='2027-01-15T08:05:00Z'",
         "NotOnOrAfter='2027-01-15T07:59:00.001Z'", SAML_GOOD},
        {"NotBefore='2027-01-15T08:00:00Z' NotOnOrAfter='2027-01-15T08:05:00Z'",
         "NotOnOrAfter='2027-01-15T07:59:00Z'", SAML_EXPIRED},
        {FIXTURE_AUDIENCE, "https://other", SAML_AUDIENCE},
        {FIXTURE_AUDIENCE, "https://other</saml:Audience><saml:Audience>urn:other", SAML_GOOD},
        {"</saml:Conditions>",
         "<saml:AudienceRestriction><saml:Audience>x</saml:Audience></saml:AudienceRestriction>"
         "</saml:Conditions>",
         SAML_AUDIENCE},
        {"</saml:Conditions>", "<saml:ProxyRestriction/></saml:Conditions>", SAML_GOOD},
        {"</saml:Conditions>", "<saml:Condition/></saml:Conditions>", SAML_CONDITION_UNKNOWN},
        {"</saml:Conditions>", "<OneTimeUse/></saml:Conditions>", SAML_CONDITION_UNKNOWN},
        {">tanaka<", "><", SAML_SUBJECT_FORM},
        {">tanaka<", ">a<b/>c<", SAML_SUBJECT_FORM},
        {"<saml:SubjectConfirmation Method='urn:oasis:names:tc:SAML:2.0:cm:bearer'/>", "",
         SAML_CONFIRMATION_METHOD},
        {"cm:bearer'", "cm:sender-vouches'", SAML_CONFIRMATION_METHOD},
        {"cm:bearer'", "cm:holder-of-key'", SAML_HOLDER_OF_KEY},
        {"cm:bearer'/>",
         "cm:bearer'><saml:SubjectConfirmationData NotOnOrAfter='2027-01-15T07:58:00Z'/>"
         "</saml:SubjectConfirmation>",
         SAML_CONFIRMATION_TIME},
        {"cm:bearer'/>",
         "cm:sender-vouches'/><saml:SubjectConfirmation "
         "Method='urn:oasis:names:tc:SAML:2.0:cm:bearer'/>",
         SAML_GOOD},
        {"AuthnInstant='2027-01-15T07:59:00Z'", "", SAML_AUTHN_STATEMENT},
        {"AuthnInstant='2027-01-15T07:59:00Z'", "AuthnInstant='2027-01-16T07:59:00Z'",
         SAML_AUTHN_STATEMENT},
        {"AuthnInstant=", "SessionNotOnOrAfter='2027-01-15T07:00:00Z' AuthnInstant=",
         SAML_SESSION_EXPIRED},
        {">password<", ">other<", SAML_AUTHN_CONTEXT},
        {">password<", "><", SAML_AUTHN_CONTEXT},
        {"code='doctor'", "", SAML_ATTRIBUTE_FORM},
        {"urn:oid:1.2.3</saml:AttributeValue>",
         "1</saml:AttributeValue><saml:AttributeValue>2</saml:AttributeValue>",
         SAML_ATTRIBUTE_FORM},
        {"Name='urn:ihe:iti:bppc:2007:docid'", "Name='urn:unknown'", SAML_GOOD},
        {"Name='urn:ihe:iti:bppc:2007:docid'", "", SAML_ATTRIBUTE_FORM},
    };
    Request *req = *state;
    const SamlRules rules = fixture_rules();
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        SamlClaims claims;
        Str text = fixture_edit(req->arena, FIXTURE_ASSERTION, rows[i].old, rows[i].new);
        SamlCheck found = check(req, text, &rules, &claims);
        if (found != rows[i].expected) {
            fail_msg("row %zu, %s: expected %s, found %s", i, rows[i].new,
                     saml_check_word(rows[i].expected), saml_check_word(found));
        }
    }
}

/* ITI TF-2 3.40.4.1.2.1: the attributes become the user. */
static void test_attributes_become_the_user(void **state)
{
    Request *req = *state;
    const SamlRules rules = fixture_rules();
    SamlClaims claims;
    Str text = fixture_edit(
        req->arena, FIXTURE_ASSERTION, "</saml:AttributeStatement>",
        "</saml:AttributeStatement><saml:AttributeStatement>"
        "<saml:Attribute Name='urn:oasis:names:tc:xacml:2.0:subject:role'>"
        "<saml:AttributeValue>third</saml:AttributeValue></saml:Attribute>"
        "<saml:Attribute Name='urn:oasis:names:tc:xspa:1.0:subject:subject-id'>"
        "<saml:AttributeValue> Tanaka </saml:AttributeValue></saml:Attribute>"
        "<saml:Attribute Name='urn:oasis:names:tc:xacml:2.0:resource:resource-id'>"
        "<saml:AttributeValue>1^^^&amp;1.2&amp;ISO</saml:AttributeValue></saml:Attribute>"
        "</saml:AttributeStatement>");
    assert_int_equal(check(req, text, &rules, &claims), SAML_GOOD);
    assert_str(claims.id, "_a1");
    assert_str(claims.user.id, "tanaka");
    assert_str(claims.user.alias, "al");
    assert_str(claims.user.issuer, "https://idp.example");
    assert_str(claims.user.name, "Tanaka");
    assert_str(claims.user.patient, "1^^^&1.2&ISO");
    assert_str(claims.user.consent_document, "1.2.3");
    assert_str(claims.user.consent_policy, "");
    assert_int_equal(claims.user.role_count, 3);
    assert_str(claims.user.roles[0].code, "doctor");
    assert_str(claims.user.roles[0].system, "1.2");
    assert_str(claims.user.roles[0].display, "Doctor");
    assert_str(claims.user.roles[1].code, "nurse");
    assert_str(claims.user.roles[2].code, "third");
    assert_int_equal(claims.user.purpose_count, 0);
    assert_false(claims.is_one_time);
    assert_true(claims.not_on_or_after_us == FIXTURE_NOW_US + INT64_C(300000000));
}

/* SAML 2.0 Core 2.5.1.5 */
static void test_one_time_use_is_noticed(void **state)
{
    Request *req = *state;
    const SamlRules rules = fixture_rules();
    SamlClaims claims;
    Str text = fixture_edit(req->arena, FIXTURE_ASSERTION, "</saml:Conditions>",
                            "<saml:OneTimeUse/></saml:Conditions>");
    assert_int_equal(check(req, text, &rules, &claims), SAML_GOOD);
    assert_true(claims.is_one_time);
}

/* SAML 2.0 Profiles 3.1: the certificate of the connection, "abc" as its stand-in. */
static void test_holder_of_key_is_who_has_the_certificate(void **state)
{
    static const struct {
        const char *certificate;
        const char *fingerprint;
        SamlCheck expected;
    } rows[] = {
        {"YWJj", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", SAML_GOOD},
        {"\n YWJj \n", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
         SAML_GOOD},
        {"YWJk", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
         SAML_HOLDER_OF_KEY},
        {"YWJj", "", SAML_HOLDER_OF_KEY},
        {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
         SAML_HOLDER_OF_KEY},
        {"YWJ", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
         SAML_HOLDER_OF_KEY},
    };
    Request *req = *state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        SamlRules rules = fixture_rules();
        SamlClaims claims;
        rules.peer_fingerprint = str_from(rows[i].fingerprint);
        Str data = str_printf(
            req->arena,
            "cm:holder-of-key'><saml:SubjectConfirmationData><ds:KeyInfo "
            "xmlns:ds='http://www.w3.org/2000/09/xmldsig#'><ds:X509Data><ds:X509Certificate>%s"
            "</ds:X509Certificate></ds:X509Data></ds:KeyInfo></saml:SubjectConfirmationData>"
            "</saml:SubjectConfirmation>",
            rows[i].certificate);
        Str text = fixture_edit(req->arena, FIXTURE_ASSERTION, "cm:bearer'/>", data.data);
        assert_int_equal(check(req, text, &rules, &claims), rows[i].expected);
    }
}

int main(void)
{
    xml_init();
    const struct CMUnitTest tests[] = {
        REQUEST_TEST(test_each_rule_refuses_what_breaks_it_and_nothing_else),
        REQUEST_TEST(test_attributes_become_the_user),
        REQUEST_TEST(test_one_time_use_is_noticed),
        REQUEST_TEST(test_holder_of_key_is_who_has_the_certificate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
