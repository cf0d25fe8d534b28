#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "lib/xml/read.h"
#include "repository/generator.h"

/* The patient summary as CDA R2: what is in it, and that any text is safe there. */

#define NS_V3 "urn:hl7-org:v3"
#define AS_OF_US (INT64_C(1775003400) * 1000000) /* 2026-04-01T00:30:00Z */

static PatientRecord bare_record(void)
{
    return (PatientRecord){
        .unique_id = STR("2.25.1"),
        .patient_number = STR("P1"),
        .patient_domain = STR("1.2.3"),
        .as_of_us = AS_OF_US,
        .timezone = "Asia/Tokyo",
        .confidentiality = STR("R"),
        .confidentiality_system = STR("2.16.840.1.113883.5.25"),
        .repository_id = STR("1.2.4"),
        .custodian_id = STR("1.2.5"),
        .custodian_name = STR("地域"),
    };
}

static Str written(Request *req, const PatientRecord *record)
{
    StrBuf buf = {0};
    patient_summary_write(req->arena, record, &buf);
    Str text = str_dup(req->arena, strbuf_str(&buf));
    strbuf_done(&buf);
    return text;
}

static void expect_in(Str text, const char *const *wanted, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!str_contains(text, str_from(wanted[i]))) {
            fail_msg("case %zu: %s is not in %.*s", i, wanted[i], STR_ARG(text));
        }
    }
}

/** CDA R2 4.2.1 to 4.2.2 */
static void test_the_header_names_patient_author_and_custodian(void **state)
{
    (void)state;
    static const char *const wanted[] = {
        "<id root=\"2.25.1\"/>",
        "<effectiveTime value=\"20260401003000+0000\"/>",
        "<confidentialityCode code=\"R\" codeSystem=\"2.16.840.1.113883.5.25\"/>",
        "<languageCode code=\"ja-JP\"/>",
        "<patientRole><id root=\"1.2.3\" extension=\"P1\"/><patient><name",
        "<family>髙﨑</family><given>花子</given>",
        "<birthTime value=\"19560401\"/>",
        "<assignedAuthor><id root=\"1.2.4\"/>",
        "<representedCustodianOrganization><id root=\"1.2.5\"/><name>地域</name>",
    };
    Request *req = request_new(600000);
    PatientRecord record = bare_record();
    const PersonName name = {.family = STR("髙﨑"), .given = STR("花子"), .type = STR("L")};
    demographics_set_names(req->arena, &record.demographics, DEMOGRAPHIC_name, &name, 1);
    demographics_set_value(req->arena, &record.demographics, DEMOGRAPHIC_birth_time,
                           STR("19560401"));
    expect_in(written(req, &record), wanted, ARRAY_LEN(wanted));
    request_free(req);
}

static void test_documents_and_studies_are_rows_of_tables(void **state)
{
    (void)state;
    static const RecordedDocument documents[] = {
        {{STR_INIT("1.9.1"), STR_INIT("a < b & \"c\" ]]>"), STR_INIT("要約"), AS_OF_US, 1},
         STR_INIT("病院A")},
        {{STR_INIT("1.9.2"), STR_INIT(""), STR_INIT("Report"), INT64_MIN, 0}, STR_INIT("")},
    };
    static const ListedStudy studies[] = {
        {STR_INIT("1.8.1"), STR_INIT("20260102"), STR_INIT("093015.5"), STR_INIT("胸部"),
         STR_INIT("CT, SR"), STR_INIT("病院A")},
        {STR_INIT("1.8.2"), STR_INIT("2026"), STR_INIT(""), STR_INIT(""), STR_INIT("CR"),
         STR_INIT("")},
    };
    static const char *const wanted[] = {
        "<tr><td>2026-04-01 09:30</td><td>a &lt; b &amp; &quot;c&quot; ]]&gt;</td><td>要約</td>",
        "<td>要約</td><td>病院A</td><td>1.9.1</td></tr>",
        "<tr><td></td><td></td><td>Report</td><td></td><td>1.9.2</td></tr>",
        "<tr><td>2026-01-02 09:30</td><td>胸部</td><td>CT, SR</td><td>病院A</td>",
        "<td>病院A</td><td>1.8.1</td></tr>",
        "<tr><td>2026</td><td></td><td>CR</td><td></td><td>1.8.2</td></tr>",
    };
    Request *req = request_new(600000);
    PatientRecord record = bare_record();
    record.documents = documents;
    record.document_count = ARRAY_LEN(documents);
    record.studies = studies;
    record.study_count = ARRAY_LEN(studies);
    record.has_studies = true;
    Str text = written(req, &record);
    XmlNode *root;
    expect_in(text, wanted, ARRAY_LEN(wanted));
    assert_int_equal(xml_read(req, text, &root), 0);
    assert_true(xml_is(root, NS_V3, "ClinicalDocument"));
    request_free(req);
}

/** A table needs a row (CDA R2 4.3.5): where there is nothing, there is none. */
static void test_what_is_empty_has_no_table(void **state)
{
    (void)state;
    Request *req = request_new(600000);
    PatientRecord record = bare_record();
    Str text = written(req, &record);
    assert_false(str_contains(text, STR("<table")));
    assert_false(str_contains(text, STR("Imaging studies")));
    record.has_studies = true;
    text = written(req, &record);
    assert_false(str_contains(text, STR("<table")));
    assert_true(str_contains(text, STR("Imaging studies")));
    request_free(req);
}

/** TF-2 3.43.4.2.2: the same uniqueId is the same bytes. */
static void test_the_same_record_gives_the_same_bytes(void **state)
{
    (void)state;
    Request *req = request_new(600000);
    const PatientRecord record = bare_record();
    assert_true(str_equal(written(req, &record), written(req, &record)));
    request_free(req);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_header_names_patient_author_and_custodian),
        cmocka_unit_test(test_documents_and_studies_are_rows_of_tables),
        cmocka_unit_test(test_what_is_empty_has_no_table),
        cmocka_unit_test(test_the_same_record_gives_the_same_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
