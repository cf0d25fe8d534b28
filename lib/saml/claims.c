#include "lib/saml/claims.h"

#include <openssl/evp.h>

#include "lib/saml/instant.h"
#include "lib/saml/names.h"
#include "lib/xml/base64.h"

/* ---- Helpers ---- */

/** A required or optional instant. False: it is there and is none. */
static bool read_instant(const XmlNode *node, const char *name, int64_t absent_us,
                         int64_t *ret_utc_us)
{
    Str text = xml_attribute(node, name);
    if (!text.data) {
        *ret_utc_us = absent_us;
        return true;
    }
    return saml_instant_parse(str_trim(text), ret_utc_us);
}

/** Whether NotBefore and NotOnOrAfter let the present in, give or take the skew. */
static bool has_begun(const SamlRules *rules, int64_t not_before_us)
{
    return not_before_us == INT64_MIN || rules->now_us >= not_before_us - rules->skew_us;
}

static bool has_ended(const SamlRules *rules, int64_t not_on_or_after_us)
{
    return not_on_or_after_us != INT64_MAX && rules->now_us >= not_on_or_after_us + rules->skew_us;
}

static bool holds(const Str *items, size_t count, Str wanted)
{
    for (size_t i = 0; i < count; i++) {
        if (str_equal(items[i], wanted)) {
            return true;
        }
    }
    return false;
}

/** The only child element of this name, or NULL. */
static const XmlNode *only_child(const XmlNode *node, const char *name)
{
    const XmlNode *child = xml_child(node, NS_SAML, name);
    return child && !xml_next(child, NS_SAML, name) ? child : NULL;
}

/* ---- Form ---- */

/** The children of an Assertion in the order of its schema. */
static const struct {
    const char *ns;
    const char *name;
    unsigned rank;
    bool is_repeatable;
} sequence[] = {
    {NS_SAML, "Issuer", 1, false},
    {NS_DS, "Signature", 2, false},
    {NS_SAML, "Subject", 3, false},
    {NS_SAML, "Conditions", 4, false},
    {NS_SAML, "Advice", 5, false},
    {NS_SAML, "Statement", 6, true},
    {NS_SAML, "AuthnStatement", 6, true},
    {NS_SAML, "AuthzDecisionStatement", 6, true},
    {NS_SAML, "AttributeStatement", 6, true},
};

static bool is_in_order(const XmlNode *assertion)
{
    unsigned rank = 0;
    for (const XmlNode *child = assertion->first_child; child; child = child->next) {
        size_t i = 0;
        while (i < ARRAY_LEN(sequence) && !xml_is(child, sequence[i].ns, sequence[i].name)) {
            i++;
        }
        if (i == ARRAY_LEN(sequence) || sequence[i].rank < rank ||
            (sequence[i].rank == rank && !sequence[i].is_repeatable)) {
            return false;
        }
        rank = sequence[i].rank;
    }
    return true;
}

/** [A-Za-z_][A-Za-z0-9_.-]*: an NCName of ASCII, so that it means itself in a Reference. */
static bool is_id(Str id)
{
    for (size_t i = 0; i < id.len; i++) {
        char c = id.data[i];
        bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
        bool is_other = (c >= '0' && c <= '9') || c == '.' || c == '-';
        if (!is_letter && (i == 0 || !is_other)) {
            return false;
        }
    }
    return id.len > 0 && id.len <= 256;
}

static bool has_encrypted(const XmlNode *assertion)
{
    for (const XmlNode *node = assertion; node; node = xml_after(node, assertion)) {
        if (xml_is(node, NS_SAML, "EncryptedID") || xml_is(node, NS_SAML, "EncryptedAttribute") ||
            xml_is(node, NS_SAML, "EncryptedAssertion")) {
            return true;
        }
    }
    return false;
}

SamlCheck saml_assertion_check_form(const XmlNode *assertion)
{
    if (!str_equal(xml_attribute(assertion, "Version"), STR("2.0"))) {
        return SAML_VERSION;
    }
    if (!is_id(xml_attribute(assertion, "ID"))) {
        return SAML_ID_FORM;
    }
    if (has_encrypted(assertion)) {
        return SAML_ENCRYPTED;
    }
    if (!is_in_order(assertion)) {
        return SAML_ASSERTION_FORM;
    }
    const XmlNode *issuer = xml_child(assertion, NS_SAML, "Issuer");
    return issuer && !issuer->first_child && !str_is_empty(str_trim(issuer->text))
               ? SAML_GOOD
               : SAML_ISSUER_FORM;
}

/* ---- Conditions ---- */

static bool has_audience(const XmlNode *restriction, const SamlRules *rules)
{
    for (const XmlNode *audience = xml_child(restriction, NS_SAML, "Audience"); audience;
         audience = xml_next(audience, NS_SAML, "Audience")) {
        if (!audience->first_child &&
            holds(rules->audiences, rules->audience_count, str_trim(audience->text))) {
            return true;
        }
    }
    return false;
}

/** Every AudienceRestriction must name us; what is not known cannot be met (SAML 2.0 Core 2.5.1).
 */
static SamlCheck check_conditions(const XmlNode *conditions, const SamlRules *rules,
                                  SamlClaims *claims)
{
    bool is_for_us = false;
    for (const XmlNode *child = conditions->first_child; child; child = child->next) {
        if (xml_is(child, NS_SAML, "AudienceRestriction")) {
            if (!has_audience(child, rules)) {
                return SAML_AUDIENCE;
            }
            is_for_us = true;
        } else if (xml_is(child, NS_SAML, "OneTimeUse")) {
            claims->is_one_time = true;
        } else if (!xml_is(child, NS_SAML, "ProxyRestriction")) { /* we issue nothing upon it */
            return SAML_CONDITION_UNKNOWN;
        }
    }
    return is_for_us ? SAML_GOOD : SAML_AUDIENCE;
}

static SamlCheck read_conditions(const XmlNode *assertion, const SamlRules *rules,
                                 SamlClaims *claims)
{
    const XmlNode *conditions = xml_child(assertion, NS_SAML, "Conditions");
    int64_t not_before_us;
    if (!conditions || !read_instant(conditions, "NotBefore", INT64_MIN, &not_before_us) ||
        !read_instant(conditions, "NotOnOrAfter", INT64_MAX, &claims->not_on_or_after_us) ||
        claims->not_on_or_after_us == INT64_MAX || not_before_us >= claims->not_on_or_after_us) {
        return SAML_CONDITIONS_FORM;
    }
    if (!has_begun(rules, not_before_us)) {
        return SAML_NOT_YET_VALID;
    }
    if (has_ended(rules, claims->not_on_or_after_us)) {
        return SAML_EXPIRED;
    }
    return check_conditions(conditions, rules, claims);
}

/** It must be there, and not lie in the future. */
static SamlCheck check_issue_instant(const XmlNode *assertion, const SamlRules *rules)
{
    int64_t issued_us;
    bool is_good = read_instant(assertion, "IssueInstant", INT64_MAX, &issued_us) &&
                   issued_us != INT64_MAX && has_begun(rules, issued_us);
    return is_good ? SAML_GOOD : SAML_ISSUE_INSTANT;
}

/* ---- Subject ---- */

/** Whether an X509Certificate in KeyInfo is the one of the TLS client. */
static bool is_certificate_of_peer(Arena *arena, Str base64, Str peer_fingerprint)
{
    Base64Decoder decoder = {0};
    uint8_t *der = arena_alloc(arena, BASE64_DECODED_MAX(base64.len));
    size_t len = 0;
    unsigned char hash[32];
    return base64_decode(&decoder, base64, der, &len) && base64_is_complete(&decoder) && len > 0 &&
           EVP_Q_digest(NULL, "SHA256", NULL, der, len, hash, NULL) == 1 &&
           str_equal(str_hex(arena, hash, sizeof(hash)), peer_fingerprint);
}

/** SAML 2.0 Core 2.4.1.3, Profiles 3.1: the key that the presenter proved to hold, here in TLS. */
static bool holds_key(Arena *arena, const XmlNode *data, const SamlRules *rules)
{
    const XmlNode *info = xml_child(data, NS_DS, "KeyInfo");
    if (str_is_empty(rules->peer_fingerprint)) {
        return false;
    }
    for (; info; info = xml_next(info, NS_DS, "KeyInfo")) {
        const XmlNode *x509 = xml_child(info, NS_DS, "X509Data");
        const XmlNode *certificate = xml_child(x509, NS_DS, "X509Certificate");
        if (certificate &&
            is_certificate_of_peer(arena, certificate->text, rules->peer_fingerprint)) {
            return true;
        }
    }
    return false;
}

static SamlCheck check_confirmation(Arena *arena, const XmlNode *confirmation,
                                    const SamlRules *rules)
{
    Str method = str_trim(xml_attribute(confirmation, "Method"));
    const XmlNode *data = xml_child(confirmation, NS_SAML, "SubjectConfirmationData");
    bool is_bearer = str_equal(method, STR(CONFIRMATION_BEARER));
    int64_t not_before_us = INT64_MIN;
    int64_t not_on_or_after_us = INT64_MAX;
    if (!is_bearer && !str_equal(method, STR(CONFIRMATION_HOLDER_OF_KEY))) {
        return SAML_CONFIRMATION_METHOD;
    }
    if (data && (!read_instant(data, "NotBefore", INT64_MIN, &not_before_us) ||
                 !read_instant(data, "NotOnOrAfter", INT64_MAX, &not_on_or_after_us) ||
                 !has_begun(rules, not_before_us) || has_ended(rules, not_on_or_after_us))) {
        return SAML_CONFIRMATION_TIME;
    }
    return is_bearer || holds_key(arena, data, rules) ? SAML_GOOD : SAML_HOLDER_OF_KEY;
}

/** One confirmation that holds is enough (SAML 2.0 Core 2.4.1). */
static SamlCheck check_confirmations(Arena *arena, const XmlNode *subject, const SamlRules *rules)
{
    SamlCheck check = SAML_CONFIRMATION_METHOD;
    for (const XmlNode *confirmation = xml_child(subject, NS_SAML, "SubjectConfirmation");
         confirmation; confirmation = xml_next(confirmation, NS_SAML, "SubjectConfirmation")) {
        check = check_confirmation(arena, confirmation, rules);
        if (check == SAML_GOOD) {
            break;
        }
    }
    return check;
}

static SamlCheck read_subject(Arena *arena, const XmlNode *assertion, const SamlRules *rules,
                              AccessUser *user)
{
    const XmlNode *subject = xml_child(assertion, NS_SAML, "Subject");
    const XmlNode *name = only_child(subject, "NameID");
    if (!name || name->first_child || str_is_empty(str_trim(name->text))) {
        return SAML_SUBJECT_FORM;
    }
    user->id = str_trim(name->text);
    user->alias = str_trim(xml_attribute(name, "SPProvidedID"));
    return check_confirmations(arena, subject, rules);
}

/* ---- Authentication ---- */

static bool is_accepted_context(const XmlNode *statement, const SamlRules *rules)
{
    const XmlNode *context = only_child(statement, "AuthnContext");
    Str way = xml_child_text(context, NS_SAML, "AuthnContextClassRef");
    if (str_is_empty(way)) {
        way = xml_child_text(context, NS_SAML, "AuthnContextDeclRef");
    }
    return !str_is_empty(way) && (rules->authn_context_count == 0 ||
                                  holds(rules->authn_contexts, rules->authn_context_count, way));
}

static SamlCheck check_authentication(const XmlNode *assertion, const SamlRules *rules)
{
    const XmlNode *statement = only_child(assertion, "AuthnStatement");
    int64_t authenticated_us;
    int64_t session_end_us;
    if (!statement || !read_instant(statement, "AuthnInstant", INT64_MAX, &authenticated_us) ||
        authenticated_us == INT64_MAX || !has_begun(rules, authenticated_us) ||
        !read_instant(statement, "SessionNotOnOrAfter", INT64_MAX, &session_end_us)) {
        return SAML_AUTHN_STATEMENT;
    }
    if (has_ended(rules, session_end_us)) {
        return SAML_SESSION_EXPIRED;
    }
    return is_accepted_context(statement, rules) ? SAML_GOOD : SAML_AUTHN_CONTEXT;
}

/* ---- Attributes ---- */

typedef enum AttributeKind { TEXT, OID, CODE } AttributeKind;

static const struct {
    const char *name;
    AttributeKind kind;
    size_t field;
    size_t count;
} attributes[] = {
#define FIELD_0 0
#define FIELD_role_count offsetof(AccessUser, role_count)
#define FIELD_purpose_count offsetof(AccessUser, purpose_count)
/* NOLINTBEGIN(bugprone-macro-parentheses): names of fields take none */
#define ATTRIBUTE(name, kind, field, count)                                                        \
    {name, kind, offsetof(AccessUser, field), FIELD_##count},
/* NOLINTEND(bugprone-macro-parentheses) */
#include "lib/saml/attributes.def"
#undef ATTRIBUTE
};

#define VALUES_MAX 64

/** <Role xmlns="urn:hl7-org:v3" xsi:type="CE" code codeSystem displayName/>, with originalText
 * inside where the user wrote something, or the code as text. */
static AccessCode read_code(const XmlNode *value)
{
    const XmlNode *element = value->first_child;
    if (!element) {
        return (AccessCode){
            .code = str_trim(value->text), .system = STR_EMPTY, .display = STR_EMPTY};
    }
    const XmlNode *original = xml_child(element, NS_HL7V3, "originalText");
    return (AccessCode){.code = str_trim(xml_attribute(element, "code")),
                        .system = str_trim(xml_attribute(element, "codeSystem")),
                        .display = str_trim(xml_attribute(element, "displayName")),
                        .text = original ? str_trim(original->text) : STR_EMPTY};
}

/** Adds the values to those of the same attribute in other statements. */
static bool add_codes(Arena *arena, const XmlNode *attribute, const AccessCode **codes,
                      size_t *count)
{
    AccessCode *all = ARENA_ARRAY(arena, AccessCode, VALUES_MAX);
    if (*count > 0) {
        memcpy(all, *codes, *count * sizeof(*all));
    }
    for (const XmlNode *value = xml_child(attribute, NS_SAML, "AttributeValue"); value;
         value = xml_next(value, NS_SAML, "AttributeValue")) {
        AccessCode code = read_code(value);
        if (*count == VALUES_MAX || str_is_empty(code.code)) {
            return false;
        }
        all[(*count)++] = code;
    }
    *codes = all;
    return true;
}

/** At most one value, as text: a second one would leave open which of them counts. */
static bool set_text(const XmlNode *attribute, bool is_oid, Str *text)
{
    const XmlNode *value = xml_child(attribute, NS_SAML, "AttributeValue");
    if (!value) {
        return true;
    }
    if (value->first_child || xml_next(value, NS_SAML, "AttributeValue") || !str_is_empty(*text)) {
        return false;
    }
    *text = str_trim(value->text);
    if (is_oid && str_starts_with(*text, STR("urn:oid:"))) {
        *text = str_from_offset(*text, strlen("urn:oid:"));
    }
    return true;
}

static bool read_attribute(Arena *arena, const XmlNode *attribute, AccessUser *user)
{
    Str name = xml_attribute(attribute, "Name");
    for (size_t i = 0; i < ARRAY_LEN(attributes); i++) {
        if (!str_equal(name, str_from(attributes[i].name))) {
            continue;
        }
        void *field = (char *)user + attributes[i].field;
        return attributes[i].kind == CODE
                   ? add_codes(arena, attribute, field,
                               (size_t *)(void *)((char *)user + attributes[i].count))
                   : set_text(attribute, attributes[i].kind == OID, field);
    }
    return !str_is_empty(name);
}

static SamlCheck read_attributes(Arena *arena, const XmlNode *assertion, AccessUser *user)
{
    for (const XmlNode *statement = xml_child(assertion, NS_SAML, "AttributeStatement"); statement;
         statement = xml_next(statement, NS_SAML, "AttributeStatement")) {
        for (const XmlNode *attribute = xml_child(statement, NS_SAML, "Attribute"); attribute;
             attribute = xml_next(attribute, NS_SAML, "Attribute")) {
            if (!read_attribute(arena, attribute, user)) {
                return SAML_ATTRIBUTE_FORM;
            }
        }
    }
    return SAML_GOOD;
}

SamlCheck saml_claims_read(Arena *arena, const XmlNode *assertion, const SamlRules *rules,
                           SamlClaims *ret_claims)
{
    SamlClaims claims = {.id = xml_attribute(assertion, "ID")};
    claims.user.issuer = xml_child_text(assertion, NS_SAML, "Issuer");
    SamlCheck check = check_issue_instant(assertion, rules);
    check = check ? check : read_conditions(assertion, rules, &claims);
    check = check ? check : read_subject(arena, assertion, rules, &claims.user);
    check = check ? check : check_authentication(assertion, rules);
    check = check ? check : read_attributes(arena, assertion, &claims.user);
    if (check == SAML_GOOD) {
        *ret_claims = claims;
    }
    return check;
}
