/* HL7 v3 messages: structure, data types, acknowledgements (ITI TF-2 Appendix O, 3.44.4.1.2; spec:
 * pix-pdq-hl7v3 sections 2, 4, 5.5). */
#include "lib/hl7/v3_person.h"
#include "lib/xml/read.h"
#include "lib/xml/write.h"

#include "tests/unit/xml_fixture.h"

#define WRAPPER                                                                                    \
    "<id root=\"1.2.3\" extension=\"7\"/><creationTime value=\"20260401\"/><interactionId "        \
    "root=\"2.16.840.1.113883.1.6\" extension=\"PRPA_IN201301UV02\"/><processingCode "             \
    "code=\"P\"/><processingModeCode code=\"T\"/><acceptAckCode code=\"AL\"/><receiver "           \
    "typeCode=\"RCV\"><device><id root=\"1.2.4\"/></device></receiver><sender "                    \
    "typeCode=\"SND\"><device><id root=\"1.2.5\"/></device></sender>"
#define BEFORE "<PRPA_IN201301UV02 xmlns=\"urn:hl7-org:v3\" ITSVersion=\"XML_1.0\">" WRAPPER
#define AFTER "</PRPA_IN201301UV02>"
#define ACT_BEFORE                                                                                 \
    "<controlActProcess><subject><registrationEvent><statusCode code=\"active\"/>"                 \
    "<subject1><patient>"
#define ACT_AFTER                                                                                  \
    "</patient></subject1><custodian/></registrationEvent></subject></controlActProcess>"
#define PATIENT(content) BEFORE ACT_BEFORE content ACT_AFTER AFTER
#define GOOD_PATIENT                                                                               \
    "<id root=\"1.2.6\" extension=\"A\"/><statusCode code=\"active\"/>"                            \
    "<patientPerson><name><family>F</family></name></patientPerson>"

static XmlNode *read_xml(Request *req, const char *text)
{
    XmlNode *root = NULL;
    assert_int_equal(xml_read(req, str_from(text), &root), 0);
    return root;
}

static void test_every_fault_of_the_structure_is_found_where_it_is(void **state)
{
    static const struct {
        const char *message;
        ErrorCode code;
        const char *location;
        const char *text;
    } cases[] = {
        {"<PRPA_IN201301UV02 xmlns=\"urn:hl7-org:v3\" ITSVersion=\"XML_1.0\"><idA "
         "root=\"1.2\"/></PRPA_IN201301UV02>",
         ERR_HL7_SEGMENT_SEQUENCE, "/PRPA_IN201301UV02/idA", "idA is not expected"},
        {"<PRPA_IN201301UV02 xmlns=\"urn:hl7-org:v3\">" WRAPPER "<controlActProcess/>" AFTER,
         ERR_HL7_REQUIRED_FIELD_MISSING, "/PRPA_IN201301UV02", "ITSVersion"},
        {BEFORE AFTER, ERR_HL7_REQUIRED_FIELD_MISSING, "/PRPA_IN201301UV02",
         "controlActProcess is missing"},
        {PATIENT("<id root=\"1\" extension=\"A\"/><statusCode code=\"active\"/><patientPerson/>"),
         ERR_HL7_REQUIRED_FIELD_MISSING,
         "/PRPA_IN201301UV02/controlActProcess/subject/registrationEvent/subject1/patient/"
         "patientPerson",
         "name is missing"},
        {PATIENT("<statusCode code=\"active\"/><patientPerson><name/></patientPerson>"),
         ERR_HL7_REQUIRED_FIELD_MISSING,
         "/PRPA_IN201301UV02/controlActProcess/subject/registrationEvent/subject1/patient",
         "id is missing"},
        {PATIENT("<statusCode code=\"active\"/><id root=\"1.2\" extension=\"A\"/>"
                 "<patientPerson><name/></patientPerson>"),
         ERR_HL7_SEGMENT_SEQUENCE,
         "/PRPA_IN201301UV02/controlActProcess/subject/registrationEvent/subject1/patient/id",
         "stands behind"},
        {PATIENT("<id root=\"1.2\" extension=\"A\"/><statusCode code=\"active\"/><statusCode/>"
                 "<patientPerson><name/></patientPerson>"),
         ERR_HL7_SEGMENT_SEQUENCE,
         "/PRPA_IN201301UV02/controlActProcess/subject/registrationEvent/subject1/patient/"
         "statusCode[2]",
         "more than once"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        Request *req = request_new(600000);
        V3Message message;
        XmlNode *root = read_xml(req, cases[i].message);
        assert_int_not_equal(v3_message_read(req, root, "PRPA_IN201301UV02", &message), 0);
        assert_error(req, cases[i].code, cases[i].text);
        assert_str(req->errors.first->location, cases[i].location);
        request_free(req);
    }
}

static void test_a_good_message_has_no_fault(void **state)
{
    Request *req = *state;
    V3Message message;
    XmlNode *root = read_xml(req, PATIENT(GOOD_PATIENT));
    assert_int_equal(v3_message_read(req, root, "PRPA_IN201301UV02", &message), 0);
    assert_str(v3_id_text(req->arena, message.id), "7@1.2.3");
}

/* Elements of other namespaces are extensions, and what begins every type is no fault. */
static void test_extensions_are_passed_over(void **state)
{
    Request *req = *state;
    V3Message message;
    XmlNode *root = read_xml(req, PATIENT("<realmCode code=\"JP\"/><templateId root=\"1.2\"/><x "
                                          "xmlns=\"urn:other\"/>" GOOD_PATIENT));
    assert_int_equal(v3_message_read(req, root, "PRPA_IN201301UV02", &message), 0);
}

/* CR for what another interaction or a later time may do, CE for what the sender has to change (HL7
 * v3 AcknowledgementType). */
static void test_the_acknowledgement_follows_the_first_fault(void **state)
{
    static const struct {
        const char *from;
        const char *to;
        const char *expected;
    } cases[] = {
        {"code=\"P\"", "code=\"P\"", "<typeCode code=\"CA\"/>"},
        {"<processingCode code=\"P\"", "<processingCode code=\"X\"", "<typeCode code=\"CR\"/>"},
        {"<processingCode code=\"P\"", "<processingCode code=\"X\"", "<code code=\"NS250\""},
        {"<processingModeCode code=\"T\"", "<processingModeCode code=\"A\"",
         "<typeCode code=\"CR\"/>"},
        {"extension=\"PRPA_IN201301UV02\"", "extension=\"PRPA_IN201302UV02\"",
         "<code code=\"NS200\""},
        {"<family>F</family></name>", "<family>F</family></name><oops/>",
         "<typeCode code=\"CE\"/>"},
        {"<family>F</family></name>", "<family>F</family></name><oops/>",
         "<location>/PRPA_IN201301UV02/controlActProcess/subject/registrationEvent/subject1/"
         "patient/patientPerson/oops</location>"},
    };
    static const V3Reply reply = {"MCCI_IN000002UV01", true};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        Request *req = request_new(600000);
        V3Message message;
        _cleanup_(strbuf_done) StrBuf buf = {0};
        Str text = STR(PATIENT(GOOD_PATIENT));
        size_t at = str_find(text, str_from(cases[i].from));
        assert_true(at != SIZE_MAX);
        Str behind = str_from_offset(text, at + strlen(cases[i].from));
        Str changed =
            str_printf(req->arena, "%.*s%s%.*s", (int)at, text.data, cases[i].to, STR_ARG(behind));
        int rc = v3_message_read(req, read_xml(req, changed.data), "PRPA_IN201301UV02", &message);
        (void)rc;
        v3_reply_begin(&buf, req, &message, &reply);
        v3_reply_end(&buf, &reply);
        assert_contains(strbuf_str(&buf), cases[i].expected);
        assert_contains(strbuf_str(&buf), "<id root=\"1.2.3\" extension=\"7\"/></targetMessage>");
        assert_contains(strbuf_str(&buf), "<acceptAckCode code=\"NE\"/>");
        request_free(req);
    }
}

/* What a feed says comes back in an answer, whatever the script (row 13 and IBM extension
 * characters, half-width kana). */
static void test_a_person_comes_back_as_it_was_fed(void **state)
{
    static const char *const contents[] = {
        "<name use=\"L IDE\"><family>髙﨑</family><given>①太郎</given></name>",
        "<name use=\"L SYL\"><family>ﾀｶｻｷ</family><given>たろう</given></name>",
        "<name use=\"ABC\"><prefix>Dr.</prefix><family>Takasaki</family><given>Taro</given>"
        "<given>J.</given><suffix>II</suffix></name>",
        "<name><family qualifier=\"BR\">纊褜</family><given>花子</given></name>",
        "<name><family>O&apos;Neil ^&amp;~\\|</family></name>",
        "<name use=\"P\"><family>X</family></name><telecom use=\"HP\" value=\"tel:03-1\"/>",
        "<name><family>X</family></name><telecom use=\"MC\" value=\"tel:090-1\"/>",
        "<name><family>X</family></name><telecom use=\"WP\" value=\"tel:03-2\"/>",
        "<name><family>X</family></name><telecom value=\"mailto:a@example.org\"/>",
        "<name><family>X</family></name><telecom value=\"tel:03%201\"/>",
        "<name><family>X</family></name><administrativeGenderCode code=\"UN\" "
        "codeSystem=\"2.16.840.1.113883.5.1\"/><birthTime value=\"195604\"/>",
        "<name><family>X</family></name><deceasedInd value=\"true\"/><multipleBirthInd "
        "value=\"true\"/><multipleBirthOrderNumber value=\"2\"/>",
        "<name><family>X</family></name><addr use=\"H\"><streetAddressLine>"
        "赤坂1-2-3</streetAddressLine><streetAddressLine>4F</streetAddressLine><city>港区</city>"
        "<state>東京都</state><postalCode>107-0052</postalCode><country>JP</country></addr>",
        "<name><family>X</family></name><maritalStatusCode code=\"M\"/><raceCode "
        "code=\"a\"/><raceCode code=\"b\"/><asCitizen classCode=\"CIT\"><politicalNation "
        "classCode=\"NAT\" determinerCode=\"INSTANCE\"><code "
        "code=\"JP\"/></politicalNation></asCitizen>",
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(contents); i++) {
        Request *req = request_new(600000);
        Demographics demographics;
        _cleanup_(strbuf_done) StrBuf buf = {0};
        Str text = str_printf(req->arena,
                              "<patient xmlns=\"urn:hl7-org:v3\"><patientPerson>%s"
                              "</patientPerson></patient>",
                              contents[i]);
        v3_person_read(req->arena, read_xml(req, text.data), false, &demographics);
        v3_person_append(&buf, req->arena, &demographics);
        Str expected = {contents[i], strlen(contents[i])};
        _cleanup_(strbuf_done) StrBuf plain = {0};
        for (size_t at = 0; at < expected.len; at++) { /* escaped without need */
            bool is_apostrophe = str_starts_with(str_from_offset(expected, at), STR("&apos;"));
            strbuf_append_char(&plain, is_apostrophe ? '\'' : expected.data[at]);
            at += is_apostrophe ? 5 : 0;
        }
        assert_str(strbuf_str(&buf), plain.data);
        request_free(req);
    }
}

/* A revision is a snapshot: what it could say and does not is deleted (ITI TF-2 3.44.4.2).
 */
static void test_a_snapshot_deletes_what_it_leaves_out(void **state)
{
    Request *req = *state;
    Demographics demographics;
    XmlNode *patient =
        read_xml(req, "<patient xmlns=\"urn:hl7-org:v3\"><patientPerson><name><family>F</family>"
                      "</name></patientPerson></patient>");
    v3_person_read(req->arena, patient, true, &demographics);
    assert_str(demographics.fields[DEMOGRAPHIC_name], "F");
    assert_str(demographics.fields[DEMOGRAPHIC_birth_time], "\"\"");
    assert_str(demographics.fields[DEMOGRAPHIC_account], "");
}

/* A query is repeated in its answer; prefixes may change, names and types may not (ITI TF-2
 * 3.45.4.2.2). */
static void test_an_element_is_written_again_with_its_namespaces(void **state)
{
    Request *req = *state;
    _cleanup_(strbuf_done) StrBuf buf = {0};
    XmlNode *root = read_xml(
        req, "<n:a xmlns:n=\"urn:hl7-org:v3\" xmlns:i=\"http://www.w3.org/2001/XMLSchema-instance\""
             " x=\"&lt;1&gt;\">\n <n:b i:type=\"n:II\"/><c xmlns=\"urn:other\">t<d/></c> <n:e> "
             "</n:e></n:a>");
    xml_append_tree(&buf, root, "urn:hl7-org:v3");
    assert_str(strbuf_str(&buf),
               "<a x=\"&lt;1&gt;\"><b xmlns:a0=\"http://www.w3.org/2001/XMLSchema-instance\" "
               "a0:type=\"II\"/><c xmlns=\"urn:other\">t<d/></c><e> </e></a>");
}

int main(void)
{
    xml_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_fault_of_the_structure_is_found_where_it_is),
        REQUEST_TEST(test_a_good_message_has_no_fault),
        REQUEST_TEST(test_extensions_are_passed_over),
        cmocka_unit_test(test_the_acknowledgement_follows_the_first_fault),
        cmocka_unit_test(test_a_person_comes_back_as_it_was_fed),
        REQUEST_TEST(test_a_snapshot_deletes_what_it_leaves_out),
        REQUEST_TEST(test_an_element_is_written_again_with_its_namespaces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
