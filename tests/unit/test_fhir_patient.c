/* Patient and demographics (FHIR R4 Patient; IHE.PDQm.Patient). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/fhir/patient.h"
#include "lib/fhir/read.h"
#include "lib/xml/read.h"

static Request *req;

static int set_up(void **state)
{
    (void)state;
    xml_init();
    req = request_new(600000);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    request_free(req);
    return 0;
}

#define EN_REPRESENTATION                                                                          \
    "\"extension\":[{\"url\":\"http://hl7.org/fhir/StructureDefinition/"                           \
    "iso21090-EN-representation\",\"valueCode\":\""

/* Kanji with an IBM extension character, katakana half and full width, a variation sequence. */
static const char patient_json[] =
    "{\"resourceType\":\"Patient\",\"id\":\"17\",\"meta\":{\"profile\":[\"https://"
    "profiles.ihe.net/ITI/PDQm/StructureDefinition/IHE.PDQm.Patient\"]},\"extension\":[{\"url\":"
    "\"http://hl7.org/fhir/StructureDefinition/patient-mothersMaidenName\",\"valueString\":\"M\"}],"
    "\"identifier\":[{\"system\":\"urn:oid:1.2\",\"value\":\"A1\"}],\"active\":true,\"name\":["
    "{" EN_REPRESENTATION "IDE\"}],\"use\":\"official\",\"family\":\"\xe9\xab\x99\xef\xa8\x91\","
    "\"given\":[\"\xe8\xbe\xbb\xf3\xa0\x84\x80\",\"B\",\"C\"],\"prefix\":[\"Dr\"],\"suffix\":["
    "\"III\"]},{" EN_REPRESENTATION "SYL\"}],\"use\":\"usual\",\"family\":"
    "\"\xef\xbe\x80\xef\xbd\xb6\",\"given\":[\"\xe3\x82\xbf\"]},{" EN_REPRESENTATION
    "ABC\"}],\"family\":\"TAKASAKI\"}],\"telecom\":[{\"system\":\"phone\",\"value\":\"03-1|2^3\","
    "\"use\":\"home\"},{\"system\":\"phone\",\"value\":\"090\",\"use\":\"mobile\"},{\"system\":"
    "\"email\",\"value\":\"a@b\",\"use\":\"home\"},{\"system\":\"fax\",\"value\":\"1\",\"use\":"
    "\"work\"}],\"gender\":\"female\",\"birthDate\":\"1958-01\",\"deceasedDateTime\":"
    "\"2020-01-02\",\"address\":[{\"use\":\"home\",\"line\":[\"1 & 2\",\"Unit~3\"],\"city\":\"C\","
    "\"state\":\"S\",\"postalCode\":\"100-0001\",\"country\":\"JP\"}],\"maritalStatus\":{"
    "\"coding\":[{\"system\":\"http://terminology.hl7.org/CodeSystem/v3-MaritalStatus\",\"code\":"
    "\"M\"}]},\"multipleBirthInteger\":2,\"communication\":[{\"language\":{\"coding\":[{"
    "\"system\":\"urn:ietf:bcp:47\",\"code\":\"ja\"}]}}]}";

static const FhirNode *read_text(FhirFormat format, Str text)
{
    const FhirNode *node = NULL;
    assert_int_equal(fhir_read(req, format, text, &node), 0);
    return node;
}

static FhirNode *written(const Demographics *demographics)
{
    const FhirIdentifier identifier = {STR("urn:oid:1.2"), STR("A1"), STR_EMPTY};
    FhirNode *resource = fhir_resource_new(req->arena, "Patient");
    fhir_patient_write(req->arena, resource,
                       &(FhirPatient){.id = STR("17"),
                                      .identifiers = &identifier,
                                      .identifier_count = 1,
                                      .demographics = demographics});
    return resource;
}

/* What was fed comes back identical in both formats. */
static void test_a_patient_comes_back_as_it_was_sent(void **state)
{
    Demographics demographics;
    StrBuf json = {0};
    StrBuf xml = {0};
    (void)state;
    const FhirNode *node = read_text(FHIR_JSON, STR(patient_json));
    assert_int_equal(fhir_patient_read(req, node, "Patient", &demographics), 0);
    fhir_write(&json, FHIR_JSON, written(&demographics));
    assert_string_equal(json.data, patient_json);

    fhir_write(&xml, FHIR_XML, written(&demographics));
    node = read_text(FHIR_XML, strbuf_str(&xml));
    strbuf_clear(&json);
    assert_int_equal(fhir_patient_read(req, node, "Patient", &demographics), 0);
    fhir_write(&json, FHIR_JSON, written(&demographics));
    assert_string_equal(json.data, patient_json);
    strbuf_done(&json);
    strbuf_done(&xml);
}

static void test_demographics_are_fields_of_pid(void **state)
{
    Demographics demographics;
    (void)state;
    const FhirNode *node = read_text(FHIR_JSON, STR(patient_json));
    assert_int_equal(fhir_patient_read(req, node, "Patient", &demographics), 0);
    static const struct {
        DemographicField field;
        const char *expected;
    } rows[] = {
        {DEMOGRAPHIC_name, "\xe9\xab\x99\xef\xa8\x91^\xe8\xbe\xbb\xf3\xa0\x84\x80^B C^III^Dr^^L^I~"
                           "\xef\xbe\x80\xef\xbd\xb6^\xe3\x82\xbf^^^^^D^P~TAKASAKI^^^^^^^A"},
        {DEMOGRAPHIC_mothers_maiden_name, "M"},
        {DEMOGRAPHIC_birth_time, "195801"},
        {DEMOGRAPHIC_sex, "F"},
        {DEMOGRAPHIC_address, "1 \\T\\ 2^Unit\\R\\3^C^S^100-0001^JP^H"},
        {DEMOGRAPHIC_phone_home, "03-1\\F\\2\\S\\3^PRN^PH~090^PRN^CP~^NET^Internet^a@b"},
        {DEMOGRAPHIC_phone_business, "1^WPN^FX"},
        {DEMOGRAPHIC_multiple_birth, "Y"},
        {DEMOGRAPHIC_birth_order, "2"},
        {DEMOGRAPHIC_death_time, "20200102"},
        {DEMOGRAPHIC_death_indicator, "Y"},
        {DEMOGRAPHIC_language, "ja"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_string_equal(str_cstr(req->arena, demographics.fields[rows[i].field]),
                            rows[i].expected);
    }
}

static void test_every_fault_is_named_with_its_element(void **state)
{
    Demographics demographics;
    (void)state;
    const FhirNode *node = read_text(
        FHIR_JSON, STR("{\"resourceType\":\"Patient\",\"birthDate\":\"19580130\",\"gender\":\"M\","
                       "\"deceasedDateTime\":\"yesterday\"}"));
    assert_int_equal(fhir_patient_read(req, node, "Patient", &demographics),
                     -(int)ERR_FHIR_INVALID);
    assert_int_equal(req->errors.count, 3);
    assert_string_equal(req->errors.first->location.data, "Patient.birthDate");
}

/* A PUT stands for the whole patient: what it leaves out goes. */
static void test_what_a_patient_does_not_say_is_deleted(void **state)
{
    Demographics held = {0};
    Demographics fed;
    (void)state;
    held.fields[DEMOGRAPHIC_address] = STR("X");
    held.fields[DEMOGRAPHIC_race] = STR("Y");
    const FhirNode *node = read_text(FHIR_JSON, STR("{\"resourceType\":\"Patient\"}"));
    assert_int_equal(fhir_patient_read(req, node, "Patient", &fed), 0);
    fhir_patient_mark_absent(&fed);
    demographics_update(&held, &fed);
    assert_true(str_is_empty(held.fields[DEMOGRAPHIC_address]));
    assert_true(str_equal(held.fields[DEMOGRAPHIC_race], STR("Y")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_patient_comes_back_as_it_was_sent, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_demographics_are_fields_of_pid, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_every_fault_is_named_with_its_element, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_what_a_patient_does_not_say_is_deleted, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
