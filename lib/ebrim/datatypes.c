#include "lib/ebrim/datatypes.h"

#include "lib/base/dtm.h"
#include "lib/base/oid.h"
#include "lib/ebrim/vocabulary.h"

#define LONG_NAME_MAX 256
#define FREE_FORM_TEXT_MAX 1024
#define SHORT_TITLE_MAX 128

#define CX_COMPONENTS 4
#define HD_COMPONENTS 3
#define CXI_COMPONENTS 5
#define XCN_COMPONENTS 23
#define XON_COMPONENTS 10
#define XTN_COMPONENTS 12
#define RECIPIENT_PARTS 3

/** Cuts value at the separator; what is absent stays empty. @return false if there are more than
 * max non-empty items */
static bool split(Str value, char separator, Str *ret_items, size_t max)
{
    memset(ret_items, 0, max * sizeof(*ret_items));
    Str rest = value;
    Str item;
    for (size_t i = 0; str_split_next(&rest, separator, &item); i++) {
        if (i < max) {
            ret_items[i] = item;
        } else if (!str_is_empty(item)) {
            return false;
        }
    }
    return true;
}

static bool are_empty(const Str *items, size_t first, size_t last)
{
    for (size_t i = first; i <= last; i++) {
        if (!str_is_empty(items[i])) {
            return false;
        }
    }
    return true;
}

/** [namespace]&OID&ISO */
static bool authority_parse(Str value, Str *ret_namespace, Str *ret_oid)
{
    Str parts[HD_COMPONENTS];
    if (!split(value, '&', parts, HD_COMPONENTS) || !oid_is_valid(parts[1]) ||
        !str_equal(parts[2], STR("ISO"))) {
        return false;
    }
    *ret_namespace = parts[0];
    *ret_oid = parts[1];
    return true;
}

static bool is_authority(Str value)
{
    Str name;
    Str oid;
    return authority_parse(value, &name, &oid);
}

static size_t count_char(Str value, char c)
{
    size_t count = 0;
    for (size_t i = 0; i < value.len; i++) {
        count += value.data[i] == c;
    }
    return count;
}

bool cx_parse(Str value, Cx *ret_cx)
{
    Str items[CX_COMPONENTS];
    Str name;
    Str oid;
    if (count_char(value, '^') != CX_COMPONENTS - 1 ||
        count_char(value, '&') != HD_COMPONENTS - 1 || !split(value, '^', items, CX_COMPONENTS)) {
        return false;
    }
    if (str_is_empty(items[0]) || !are_empty(items, 1, 2) ||
        !authority_parse(items[3], &name, &oid) || !str_is_empty(name)) {
        return false;
    }
    *ret_cx = (Cx){items[0], oid};
    return true;
}

bool is_cx(Str value)
{
    Cx cx;
    return cx_parse(value, &cx);
}

typedef enum AuthorityRule {
    AUTHORITY_OPTIONAL,
    AUTHORITY_REQUIRED,
    AUTHORITY_ABSENT, /* and the id is an OID */
} AuthorityRule;

/** What CXi.5 says about CXi.4 (TF-3 4.2.3.2.28); local type codes are legal. */
static AuthorityRule authority_rule(Str type_code)
{
    static const struct {
        Str type_code;
        AuthorityRule rule;
    } rules[] = {
        {STR_INIT("urn:ihe:iti:xds:2013:referral"), AUTHORITY_REQUIRED},
        {STR_INIT("urn:ihe:iti:xds:2013:order"), AUTHORITY_REQUIRED},
        {STR_INIT("urn:ihe:iti:xds:2015:encounterId"), AUTHORITY_REQUIRED},
        {STR_INIT("urn:ihe:iti:xdw:2013:workflowInstanceId"), AUTHORITY_ABSENT},
        {STR_INIT("urn:ihe:iti:xds:2016:studyInstanceUID"), AUTHORITY_ABSENT},
    };
    for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
        if (str_equal(type_code, rules[i].type_code)) {
            return rules[i].rule;
        }
    }
    return AUTHORITY_OPTIONAL;
}

bool is_cxi(Str value)
{
    Str items[CXI_COMPONENTS];
    if (!split(value, '^', items, CXI_COMPONENTS) || str_is_empty(items[0]) ||
        !are_empty(items, 1, 2) || str_is_empty(items[4])) {
        return false;
    }
    Str authority = items[3];
    AuthorityRule rule = authority_rule(items[4]);
    if (str_is_empty(authority)) {
        return rule == AUTHORITY_OPTIONAL || (rule == AUTHORITY_ABSENT && oid_is_valid(items[0]));
    }
    bool is_namespace = str_find_char(authority, '&') == SIZE_MAX;
    return rule != AUTHORITY_ABSENT && (is_namespace || is_authority(authority));
}

bool is_xcn(Str value)
{
    Str items[XCN_COMPONENTS];
    if (!split(value, '^', items, XCN_COMPONENTS)) {
        return false;
    }
    bool has_name = !str_is_empty(items[0]) || !str_is_empty(items[1]);
    return has_name && (str_is_empty(items[8]) || is_authority(items[8]));
}

bool is_xon(Str value)
{
    Str items[XON_COMPONENTS];
    if (!split(value, '^', items, XON_COMPONENTS) || str_is_empty(items[0]) ||
        !are_empty(items, 1, 4) || !are_empty(items, 6, 8)) {
        return false;
    }
    Str authority = items[5];
    Str id = items[9];
    if (!str_is_empty(authority)) {
        return is_authority(authority);
    }
    return str_is_empty(id) || oid_is_valid(id);
}

/** "^[NET]^Internet^address", or a telephone: equipment type in XTN.3, local number in XTN.7. */
bool is_xtn(Str value)
{
    Str items[XTN_COMPONENTS];
    if (!split(value, '^', items, XTN_COMPONENTS)) {
        return false;
    }
    if (str_equal(items[2], STR("Internet"))) {
        bool is_network = str_is_empty(items[1]) || str_equal(items[1], STR("NET"));
        return is_network && !str_is_empty(items[3]);
    }
    return !str_is_empty(items[2]) && !str_is_empty(items[6]);
}

bool is_recipient(Str value)
{
    Str parts[RECIPIENT_PARTS];
    if (!split(value, '|', parts, RECIPIENT_PARTS) || are_empty(parts, 0, RECIPIENT_PARTS - 1)) {
        return false;
    }
    return (str_is_empty(parts[0]) || is_xon(parts[0])) &&
           (str_is_empty(parts[1]) || is_xcn(parts[1])) &&
           (str_is_empty(parts[2]) || is_xtn(parts[2]));
}

bool is_dtm(Str value)
{
    int64_t utc_us;
    return dtm_parse(value, &utc_us);
}

/** 1*DIGIT; a database holds sizes as signed 64-bit numbers. */
bool is_integer(Str value)
{
    uint64_t number;
    return str_to_u64(value, &number) && number <= INT64_MAX;
}

bool is_sha1(Str value)
{
    uint8_t digest[20];
    return str_unhex(value, digest, sizeof(digest));
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_letter_or_digit(char c)
{
    return is_letter(c) || (c >= '0' && c <= '9');
}

/** subtag = 1*8alphanum (RFC 5646 section 2.1) */
static bool is_subtag(Str tag)
{
    for (size_t i = 0; i < tag.len; i++) {
        if (!is_letter_or_digit(tag.data[i])) {
            return false;
        }
    }
    return tag.len >= 1 && tag.len <= 8;
}

bool is_language(Str value)
{
    Str rest = value;
    Str subtag;
    if (str_is_empty(value) || !is_letter(value.data[0])) {
        return false;
    }
    while (str_split_next(&rest, '-', &subtag)) {
        if (!is_subtag(subtag)) {
            return false;
        }
    }
    return true;
}

/** restricted-name (RFC 6838 section 4.2) */
static bool is_restricted_name(Str name)
{
    for (size_t i = 0; i < name.len; i++) {
        char c = name.data[i];
        if (!is_letter_or_digit(c) && (c == '\0' || !strchr("!#$&-^_.+", c))) {
            return false;
        }
    }
    return name.len >= 1 && name.len <= 127;
}

bool is_mime_type(Str value)
{
    size_t slash = str_find_char(value, '/');
    return slash != SIZE_MAX && is_restricted_name(str_slice(value, 0, slash)) &&
           is_restricted_name(str_from_offset(value, slash + 1));
}

bool is_pid_field(Str value)
{
    Str prefix = STR("PID-");
    size_t bar = str_find_char(value, '|');
    if (bar == SIZE_MAX || !str_starts_with(value, prefix) || bar <= prefix.len) {
        return false;
    }
    return is_integer(str_slice(value, prefix.len, bar - prefix.len));
}

bool is_availability(Str value)
{
    return str_equal(value, STR("urn:ihe:iti:2010:DocumentAvailability:Online")) ||
           str_equal(value, STR("urn:ihe:iti:2010:DocumentAvailability:Offline"));
}

bool is_document_type(Str value)
{
    return str_equal(value, STR(UUID_STABLE_DOCUMENT)) ||
           str_equal(value, STR(UUID_ON_DEMAND_DOCUMENT));
}

size_t text_length(Str value)
{
    size_t length = 0;
    for (size_t i = 0; i < value.len; i++) {
        length += ((unsigned char)value.data[i] & 0xc0) != 0x80; /* not a continuation byte */
    }
    return length;
}

bool is_text(Str value)
{
    return !str_is_empty(value) && text_length(value) <= LONG_NAME_MAX;
}

bool is_short_title(Str value)
{
    return text_length(value) <= SHORT_TITLE_MAX;
}

bool is_title(Str value)
{
    return text_length(value) <= LONG_NAME_MAX;
}

bool is_free_text(Str value)
{
    return text_length(value) <= FREE_FORM_TEXT_MAX;
}
