/* ITI TF-3 Table 4.2.3.1.7-2: the data types of attribute values. */
#include "lib/ebrim/datatypes.h"

#include "tests/unit/ebrim_fixture.h"

typedef struct Case {
    const char *value;
    bool is_valid;
} Case;

static void check_cases(const char *name, bool (*is_valid)(Str value), const Case *cases,
                        size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (is_valid(str_from(cases[i].value)) != cases[i].is_valid) {
            fail_msg("%s: case %zu, \"%s\" should be %s", name, i, cases[i].value,
                     cases[i].is_valid ? "valid" : "refused");
        }
    }
}

#define CHECK(function, ...)                                                                       \
    do {                                                                                           \
        const Case cases[] = {__VA_ARGS__};                                                        \
        check_cases(#function, function, cases, ARRAY_LEN(cases));                                 \
    } while (0)

static void test_cx_is_id_and_assigning_authority_only(void **state)
{
    (void)state;
    CHECK(is_cx, {"12345^^^&1.2.3.4&ISO", true}, {"a b^^^&1.2&ISO", true}, {"", false},
          {"12345", false}, {"12345^^^1.2.3.4", false}, {"^^^&1.2.3&ISO", false},
          {"1^^^&1.2.3&iso", false}, {"1^^^NS&1.2.3&ISO", false}, {"1^2^^&1.2.3&ISO", false},
          {"1^^3^&1.2.3&ISO", false}, {"1^^^&1.2.3&ISO^PI", false}, {"1^^^&1.2.3&ISO^", false},
          {"1^^^&1.02.3&ISO", false}, {"1^^^&urn:oid:1.2.3&ISO", false}, {"1^^^&1.2.3&ISO&", false},
          {"1^^^&1.2.3", false});
    Cx cx;
    assert_true(cx_parse(STR("S-1001^^^&1.2.392.5&ISO"), &cx));
    assert_str(cx.id, "S-1001");
    assert_str(cx.authority, "1.2.392.5");
}

static void test_cxi_needs_type_code_and_the_authority_that_goes_with_it(void **state)
{
    (void)state;
    CHECK(is_cxi, {"1^^^&1.2.3&ISO^urn:ihe:iti:xds:2013:accession", true},
          {"1.2.3^^^^urn:ihe:iti:xds:2016:studyInstanceUID", true},
          {"1.2.3^^^^urn:ihe:iti:xdw:2013:workflowInstanceId", true},
          {"7^^^CLINIC^urn:example:type", true}, {"7^^^^urn:example:type", true},
          {"7^^^&1.2.3&ISO^", false}, {"7^^^&1.2.3&ISO", false},
          {"^^^&1.2.3&ISO^urn:example:type", false}, {"7^^^^urn:ihe:iti:xds:2013:order", false},
          {"7^^^^urn:ihe:iti:xds:2013:referral", false},
          {"7^^^^urn:ihe:iti:xds:2015:encounterId", false},
          {"7^^^&1.2.3&ISO^urn:ihe:iti:xds:2016:studyInstanceUID", false},
          {"seven^^^^urn:ihe:iti:xds:2016:studyInstanceUID", false},
          {"7^x^^&1.2.3&ISO^urn:example:type", false},
          {"7^^^&1.2.3&ISO^urn:example:type^more", false}, {"7^^^&x&ISO^urn:example:type", false});
}

static void test_xcn_needs_id_or_last_name(void **state)
{
    (void)state;
    CHECK(is_xcn, {"^Smitty^Gerald^^^", true}, {"^Smitty^Gerald^^^Dr^MD", true},
          {"Gerald Smitty", true}, {"D12^山田^一^^^^^^&1.2.3&ISO", true},
          {"D12^^^^^^^^NS&1.2.3&ISO", true}, {"", false}, {"^^Gerald", false},
          {"D12^^^^^^^^&1.2.3", false}, {"D12^^^^^^^^&urn:oid:1.2.3&ISO", false},
          {"D12^^^^^^^^1.2.3", false});
}

static void test_xon_needs_a_name_and_for_its_id_an_authority(void **state)
{
    (void)state;
    CHECK(is_xon, {"Cleveland Clinic", true}, {"Parma Community^^^^^^^^^1.2.3", true},
          {"Clinic^^^^^&1.2.3&ISO^^^^CleveClin", true}, {"", false}, {"^^^^^^^^^1.2.3", false},
          {"Clinic^^^^^^^^^CleveClin", false}, {"Clinic^^^^^&1.2.x&ISO^^^^7", false},
          {"Clinic^X", false}, {"Clinic^^^^^^^^^1.2.3^more", false});
}

static void test_xtn_is_a_mail_address_or_a_number(void **state)
{
    (void)state;
    CHECK(is_xtn, {"^^Internet^sasaki@minato.example.org", true},
          {"^NET^Internet^sasaki@minato.example.org", true}, {"^PRN^PH^^81^3^55550100", true},
          {"^WPN^PH^^^^55550100^12", true}, {"^^CP^^^^55550100", true}, {"", false},
          {"^^Internet", false}, {"^PRN^Internet^a@example.org", false}, {"^PRN^PH", false},
          {"^PRN^^^81^3^55550100", false}, {"^WPN^PH^^^^^^^^^+81355550100", false},
          {"03-5555-0100", false}, {"^PRN^PH^a@example.org", false});
}

static void test_recipient_is_organization_person_or_address(void **state)
{
    (void)state;
    CHECK(is_recipient, {"|12345^John^Smith^^^Dr^MD|", true},
          {"Main Hospital^^^^^^^^^1.2.3||", true}, {"Main Hospital", true},
          {"||^^Internet^a@example.org", true}, {"A|^B|^^Internet^a@example.org", true},
          {"", false}, {"||", false}, {"|^^Gerald|", false}, {"A|^B|^^Internet", false},
          {"A|^B|^^Internet^a@example.org|more", false});
}

static void test_simple_types_have_one_form(void **state)
{
    (void)state;
    CHECK(is_dtm, {"2026", true}, {"202604", true}, {"20260401003000", true}, {"202", false},
          {"20261301", false}, {"20260401003000+0900", false}, {"20260401003000.1", false},
          {"", false});
    CHECK(is_integer, {"0", true}, {"061224", true}, {"-1", false}, {"+1", false}, {"", false},
          {"1.0", false}, {"9223372036854775807", true}, {"9223372036854775808", false},
          {"18446744073709551615", false}, {"99999999999999999999", false});
    CHECK(is_sha1, {"da39a3ee5e6b4b0d3255bfef95601890afd80709", true},
          {"DA39A3EE5E6B4B0D3255BFEF95601890AFD80709", true},
          {"da39a3ee5e6b4b0d3255bfef95601890afd8070", false},
          {"ga39a3ee5e6b4b0d3255bfef95601890afd80709", false},
          {"ZuFYdA+BgNxQyzdwXOdi8qKqb5o=", false});
    CHECK(is_language, {"ja", true}, {"ja-JP", true}, {"en-us", true}, {"zh-Hant-TW", true},
          {"x-private", true}, {"", false}, {"ja_JP", false}, {"1a", false}, {"en-", false},
          {"toolongtag", false});
    CHECK(is_mime_type, {"text/xml", true}, {"application/fhir+json", true}, {"text", false},
          {"text/", false}, {"/xml", false}, {"text/xml; charset=utf-8", false}, {"", false});
    CHECK(is_pid_field, {"PID-3|1^^^&1.2&ISO", true}, {"PID-11|", true}, {"PID-|x", false},
          {"PID-3", false}, {"pid-3|x", false}, {"3|x", false});
    CHECK(is_availability, {"urn:ihe:iti:2010:DocumentAvailability:Online", true},
          {"urn:ihe:iti:2010:DocumentAvailability:Offline", true}, {"Online", false});
}

static void test_length_is_counted_in_characters(void **state)
{
    (void)state;
    char text[3 * 257 + 1];
    for (size_t i = 0; i < 257; i++) {
        memcpy(text + 3 * i, "院", 3);
    }
    assert_true(is_text((Str){text, 3 * 256}));
    assert_false(is_text((Str){text, 3 * 257}));
    assert_false(is_text(STR_EMPTY));
    assert_true(is_short_title((Str){text, 3 * 128}));
    assert_false(is_short_title((Str){text, 3 * 129}));
    assert_int_equal(text_length((Str){text, 3 * 257}), 257);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cx_is_id_and_assigning_authority_only),
        cmocka_unit_test(test_cxi_needs_type_code_and_the_authority_that_goes_with_it),
        cmocka_unit_test(test_xcn_needs_id_or_last_name),
        cmocka_unit_test(test_xon_needs_a_name_and_for_its_id_an_authority),
        cmocka_unit_test(test_xtn_is_a_mail_address_or_a_number),
        cmocka_unit_test(test_recipient_is_organization_person_or_address),
        cmocka_unit_test(test_simple_types_have_one_form),
        cmocka_unit_test(test_length_is_counted_in_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
