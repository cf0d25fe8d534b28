/* ITI-81: search parameters, and AuditMessage as AuditEvent (RESTful
 * ATNA 3.81.4.1.2, 3.81.4.2.2.2). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "atna/audit_event.h"
#include "atna/iti81_criteria.h"
#include "atna/iti81_page.h"
#include "lib/fhir/format.h"
#include "lib/fhir/period.h"
#include "lib/xml/read.h"

#define DAY_US INT64_C(86400000000)
#define APRIL_US INT64_C(1775001600000000) /* 2026-04-01T00:00:00Z */

static Request *req;
static ErrorList no_errors;

static int set_up(void **state)
{
    (void)state;
    req = request_new(600000);
    no_errors = req->errors;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    request_free(req);
    return 0;
}

/** RESTful ATNA 3.81.4.1.2.1; FHIR R4 3.1.1.4.7 */
static void test_a_date_stands_for_as_long_as_its_precision(void **state)
{
    static const struct {
        const char *text;
        FhirPrefix prefix;
        int64_t from_us; /* behind 2026-04-01; -1: refused */
        int64_t to_us;
    } rows[] = {
        {"2026-04-01", FHIR_PREFIX_EQ, 0, DAY_US},
        {"ge2026-04", FHIR_PREFIX_GE, 0, 30 * DAY_US},
        {"lt2026-04-01T09:30", FHIR_PREFIX_LT, 34200000000, 34260000000},
        {"2026-04-01T09:30:00+09:00", FHIR_PREFIX_EQ, 1800000000, 1801000000},
        {"2026-04-01T09:30:00 09:00", FHIR_PREFIX_EQ, 1800000000, 1801000000},
        {"gt2026-04-01T00:00:00.25Z", FHIR_PREFIX_GT, 250000, 260000},
        {"2026-04-01T00:00:00.1234567Z", FHIR_PREFIX_EQ, 123456, 123457},
        {"2026-04-31", FHIR_PREFIX_EQ, -1, 0},
        {"2026-04-01T", FHIR_PREFIX_EQ, -1, 0},
        {"2026-04-01T25:00", FHIR_PREFIX_EQ, -1, 0},
        {"2026-04T10:00", FHIR_PREFIX_EQ, -1, 0},
        {"9999", FHIR_PREFIX_EQ, -1, 0},
        {"yesterday", FHIR_PREFIX_EQ, -1, 0},
        {"", FHIR_PREFIX_EQ, -1, 0},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        FhirPeriod period = {0};
        bool is_read = fhir_period_parse(req->arena, str_from(rows[i].text), &period);
        if (is_read != (rows[i].from_us >= 0) ||
            (is_read &&
             (period.prefix != rows[i].prefix || period.from_us != APRIL_US + rows[i].from_us ||
              period.to_us != APRIL_US + rows[i].to_us))) {
            fail_msg("row %zu: %s is %d, from %lld to %lld", i, rows[i].text, is_read,
                     (long long)(period.from_us - APRIL_US), (long long)(period.to_us - APRIL_US));
        }
    }
}

static int read_criteria(const char *query, Iti81Criteria **ret_criteria)
{
    static const AuditPatients nobody = {0};
    FhirExchange exchange = {.req = req};
    req->errors = no_errors;
    assert_int_equal(fhir_parameters_read(req, &exchange.parameters, str_from(query)), 0);
    return iti81_criteria_read(&exchange, &nobody, ret_criteria);
}

static void test_parameters_are_taken_or_refused(void **state)
{
    static const struct {
        const char *query;
        int rc;
    } rows[] = {
        {"date=ge2026-04-01&date=le2026-04-30", 0},
        {"date=2026&colour=blue", 0},
        {"date=2026&outcome=0,4,8,12&action=R", 0},
        {"date=2026&patient:identifier=urn:oid:1.2%7CP1", 0},
        {"outcome=0", -ERR_FHIR_REQUIRED},
        {"date=", -ERR_FHIR_REQUIRED},
        {"date=ne2026", -ERR_FHIR_INVALID},
        {"date=ap2026", -ERR_FHIR_INVALID},
        {"date=2026-02-30", -ERR_FHIR_INVALID},
        {"date=2026&outcome=16", -ERR_FHIR_INVALID},
        {"date=2026&outcome=3", -ERR_FHIR_INVALID},
        {"date=2026&type=a,,b", -ERR_FHIR_INVALID},
        {"date=2026&type=http://x%7C", -ERR_FHIR_INVALID},
        {"date=2026&type:not=110112", -ERR_FHIR_NOT_SUPPORTED},
        {"date=2026&address:contains=10", -ERR_FHIR_NOT_SUPPORTED},
        {"date=2026&source=1&source=2&source=3&source=4&source=5&source=6&source=7&source=8"
         "&source=9",
         -ERR_FHIR_INVALID},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        Iti81Criteria *criteria = NULL;
        int rc = read_criteria(rows[i].query, &criteria);
        if (rc != rows[i].rc || (rc == 0) != (criteria != NULL)) {
            fail_msg("row %zu: %s gives %d", i, rows[i].query, rc);
        }
    }
}

static void test_bounds_of_several_dates_meet(void **state)
{
    Iti81Criteria *criteria = NULL;
    (void)state;
    assert_int_equal(read_criteria("date=ge2026-04-01&date=le2026-04-02&date=gt2026-03", &criteria),
                     0);
    assert_true(criteria->search.from_us == APRIL_US);
    assert_true(criteria->search.to_us == APRIL_US + 2 * DAY_US);
    assert_int_equal(read_criteria("date=lt2026-04-01", &criteria), 0);
    assert_true(criteria->search.from_us == INT64_MIN);
    assert_true(criteria->search.to_us == APRIL_US);
}

/** The key of a patient is that of id and authority, however the authority is written. */
static void test_a_patient_is_searched_by_id_and_authority(void **state)
{
    static const struct {
        const char *value;
        const char *key;
    } rows[] = {
        {"urn:oid:1.2.3%7CP1", "P1^1.2.3"},
        {"P1%5E%5E%5E%261.2.3%26ISO", "P1^1.2.3"},
        {"%7CP1%5E%5E%5EHOSP%261.2.3%26ISO", "P1^1.2.3"},
        {"HOSP%7CP1", "P1^HOSP"},
        {"P1", "P1"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        Iti81Criteria *criteria = NULL;
        Str query = str_printf(req->arena, "date=2026&patient.identifier=%s", rows[i].value);
        assert_int_equal(read_criteria(query.data, &criteria), 0);
        assert_int_equal(criteria->search.key_set_count, 1);
        assert_int_equal(criteria->search.key_sets[0].count, 1);
        assert_true(criteria->search.key_sets[0].keys[0] ==
                    audit_key(AUDIT_KEY_PATIENT, str_from(rows[i].key)));
        assert_null(criteria->search.is_match);
    }
}

static FoundRecord record_of(const char *xml)
{
    FoundRecord record = {.chain = 7,
                          .sequence = 42,
                          .event_us = APRIL_US,
                          .received_us = APRIL_US,
                          .sender = STR("own:musubi@"),
                          .raw = str_from(xml)};
    record_read(req->arena, record.raw, false, APRIL_US, &record.content);
    return record;
}

static const char whole_message[] =
    "<AuditMessage><EventIdentification EventActionCode='R' EventDateTime='2026-04-01T00:00:00Z'"
    " EventOutcomeIndicator='4'><EventID csd-code='110106' codeSystemName='DCM'"
    " originalText='Export'/><EventTypeCode csd-code='ITI-43' codeSystemName='IHE Transactions'"
    " originalText='Retrieve Document Set'/><EventOutcomeDescription>why</EventOutcomeDescription>"
    "<PurposeOfUse csd-code='TREAT' codeSystemName='2.16.840.1.113883.5.8' originalText='t'/>"
    "</EventIdentification>"
    "<ActiveParticipant UserID='drsato' UserName='&lt;drsato@https://idp&gt;'"
    " UserIsRequestor='true' NetworkAccessPointID='192.0.2.7' NetworkAccessPointTypeCode='2'>"
    "<RoleIDCode csd-code='110152' codeSystemName='DCM' originalText='Destination'/>"
    "<RoleIDCode csd-code='doctor' codeSystemName='my roles' originalText='Doctor'/>"
    "</ActiveParticipant>"
    "<AuditSourceIdentification AuditEnterpriseSiteID='site' AuditSourceID='registry'>"
    "<AuditSourceTypeCode csd-code='4' codeSystemName='DCM' originalText='x'/>"
    "</AuditSourceIdentification>"
    "<ParticipantObjectIdentification ParticipantObjectID='1.2.3' ParticipantObjectTypeCode='2'"
    " ParticipantObjectTypeCodeRole='3' ParticipantObjectDataLifeCycle='6'>"
    "<ParticipantObjectIDTypeCode csd-code='9' codeSystemName='RFC-3881'"
    " originalText='Report Number'/><ParticipantObjectName>n</ParticipantObjectName>"
    "<ParticipantObjectDetail type='Repository Unique Id' value='MS4y'/>"
    "<ParticipantObjectDetail type='bad' value='not base64!'/>"
    "</ParticipantObjectIdentification></AuditMessage>";

#define DCM "\"system\":\"http://dicom.nema.org/resources/ontology/DCM\","
#define LIST "\"system\":\"http://terminology.hl7.org/CodeSystem/"

static void test_an_audit_message_is_mapped_element_by_element(void **state)
{
    static const char expected[] =
        "{\"resourceType\":\"AuditEvent\",\"id\":\"7-42\",\"type\":{" DCM
        "\"code\":\"110106\",\"display\":\"Export\"},\"subtype\":[{\"system\":"
        "\"urn:ihe:event-type-code\",\"code\":\"ITI-43\",\"display\":\"Retrieve Document Set\"}],"
        "\"action\":\"R\",\"recorded\":\"2026-04-01T00:00:00.000Z\",\"outcome\":\"4\","
        "\"outcomeDesc\":\"why\",\"purposeOfEvent\":[{\"coding\":[{\"system\":"
        "\"urn:oid:2.16.840.1.113883.5.8\",\"code\":\"TREAT\",\"display\":\"t\"}]}],"
        "\"agent\":[{\"type\":{\"coding\":[{" DCM
        "\"code\":\"110152\",\"display\":\"Destination\"}]},\"role\":[{\"coding\":[{\"code\":"
        "\"doctor\",\"display\":\"Doctor\"}]}],\"who\":{\"identifier\":{\"value\":\"drsato\"}},"
        "\"name\":\"<drsato@https://idp>\",\"requestor\":true,\"network\":{\"address\":"
        "\"192.0.2.7\",\"type\":\"2\"}}],\"source\":{\"site\":\"site\",\"observer\":{\"identifier\""
        ":{\"value\":\"registry\"}},\"type\":[{" LIST "security-source-type\",\"code\":\"4\"}]},"
        "\"entity\":[{\"what\":{\"identifier\":{\"type\":{\"coding\":[{\"system\":"
        "\"urn:ietf:rfc:3881\",\"code\":\"9\",\"display\":\"Report Number\"}]},\"value\":"
        "\"1.2.3\"}},\"type\":{" LIST "audit-entity-type\",\"code\":\"2\"},\"role\":{" LIST
        "object-role\",\"code\":\"3\"},\"lifecycle\":{" LIST
        "dicom-audit-lifecycle\",\"code\":\"6\"},\"name\":\"n\",\"detail\":[{\"type\":"
        "\"Repository Unique Id\",\"valueBase64Binary\":\"MS4y\"},{\"type\":\"bad\","
        "\"valueString\":\"not base64!\"}]}]}";
    const FoundRecord record = record_of(whole_message);
    FhirNode *resource = fhir_resource_new(req->arena, "AuditEvent");
    StrBuf buf = {0};
    (void)state;
    audit_event_write(req->arena, resource, &record);
    fhir_write(&buf, FHIR_JSON, resource);
    assert_string_equal(buf.data, expected);
    strbuf_done(&buf);
}

/** FHIR R4 AuditEvent: type, agent.requestor, source.observer are required. */
static void test_what_a_message_lacks_is_said_to_be_unknown(void **state)
{
    const FoundRecord record = record_of("<AuditMessage/>");
    FhirNode *resource = fhir_resource_new(req->arena, "AuditEvent");
    (void)state;
    audit_event_write(req->arena, resource, &record);
    assert_true(str_equal(fhir_text(fhir_child(resource, "type"), "code"), STR("unknown")));
    assert_true(str_equal(fhir_text(fhir_child(resource, "agent"), "requestor"), STR("false")));
    assert_true(
        str_equal(fhir_text(fhir_child(fhir_child(resource, "source"), "observer"), "display"),
                  STR("unknown")));
    assert_null(fhir_child(resource, "outcome"));
}

static void test_what_keys_cannot_tell_is_tested_on_the_record(void **state)
{
    static const struct {
        const char *query;
        bool is_match;
    } rows[] = {
        {"agent.identifier=DRSATO", true},
        {"agent.identifier=drsato@https://idp", false},
        {"agent-name=%3Cdrsato@https://idp%3E", true},
        {"address=192.0.2.7", true},
        {"address=registry", false},
        {"entity-type=2&entity-role=3", true},
        {"entity-type=2&entity-role=1,24", false},
        {"entity-role=http://terminology.hl7.org/CodeSystem/object-role%7C3", true},
        {"entity-role=http://example.org/other%7C3", false},
        {"type=%7C110106", false},
        {"type=http://example.org/other%7C110106", false},
        {"subtype=urn:ihe:event-type-code%7CITI-43&subtype=ITI-43", true},
        {"outcome=4&outcome=8", false},
        {"altid=17", false},
    };
    const FoundRecord record = record_of(whole_message);
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        Iti81Criteria *criteria = NULL;
        Str query = str_printf(req->arena, "date=2026&%s", rows[i].query);
        assert_int_equal(read_criteria(query.data, &criteria), 0);
        assert_non_null(criteria->search.is_match);
        if (criteria->search.is_match(criteria->search.match_ctx, &record) != rows[i].is_match) {
            fail_msg("row %zu: %s", i, rows[i].query);
        }
    }
}

static void test_the_place_of_a_page_is_read_as_it_was_written(void **state)
{
    static const struct {
        const char *text;
        bool is_page;
    } rows[] = {
        {"1795233476444000.1.2.3.1:3", true},
        {"-5.0.0..1:3.2:9223372036854775807", true},
        {"", false},
        {"1.2.3.4", false},
        {"1.2.3.4.", false},
        {"1.2.3.4.5", false},
        {"1.-2.3.4.1:1", false},
        {"1.4294967297.3.4.1:1", false},
        {"x.2.3.4.1:1", false},
        {"1.2.3.x.1:1", false},
        {"1.2.3.4.1:1.", false},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        Iti81Page page;
        bool is_page = iti81_page_read(req->arena, str_from(rows[i].text), &page);
        if (is_page != rows[i].is_page) {
            fail_msg("row %zu: %s", i, rows[i].text);
        }
        if (is_page) {
            assert_string_equal(str_cstr(req->arena, iti81_page_write(req->arena, &page)),
                                rows[i].text);
        }
    }
}

static void test_only_ids_that_were_given_out_are_read(void **state)
{
    static const struct {
        const char *text;
        bool is_id;
    } rows[] = {
        {"7-42", true},
        {"0-0", true},
        {"42", false},
        {"-7-42", false},
        {"7-", false},
        {"-42", false},
        {"7-42-1", false},
        {"2147483648-1", false},
        {"", false},
        {"-", false},
        {"1-9223372036854775808", false},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        int32_t chain;
        int64_t sequence;
        if (audit_event_id_parse(str_from(rows[i].text), &chain, &sequence) != rows[i].is_id) {
            fail_msg("row %zu: %s", i, rows[i].text);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_date_stands_for_as_long_as_its_precision, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_parameters_are_taken_or_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_bounds_of_several_dates_meet, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_patient_is_searched_by_id_and_authority, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_an_audit_message_is_mapped_element_by_element, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_what_a_message_lacks_is_said_to_be_unknown, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_what_keys_cannot_tell_is_tested_on_the_record, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_the_place_of_a_page_is_read_as_it_was_written, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_only_ids_that_were_given_out_are_read, set_up,
                                        tear_down),
    };
    xml_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
