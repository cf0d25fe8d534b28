/* The DocumentEntry of a manifest (RAD TF-2 4.68.4.1.2.3), read and checked as one that comes. */
#include "tests/unit/ebrim_fixture.h"
#include "tests/unit/manifest_fixture.h"

#define SCHEME_DCM "1.2.840.10008.2.16.4"
#define SCHEME_SCT "2.16.840.1.113883.6.96"

typedef struct Made {
    Submission *submission;
    DocumentEntry *entry;
} Made;

/** As the server does it, and with the checks of ITI-41. */
static Made made_with(Request *req, const CodeSets *codes, const ManifestStudy *study,
                      const ManifestPlan *plan)
{
    const ImagingConfig config = manifest_config();
    StrBuf buf = {0};
    manifest_metadata_write(req->arena, &config, codes, study, plan, &buf);
    Made made = {.submission = fixture_read(req, str_dup(req->arena, strbuf_str(&buf)))};
    strbuf_done(&buf);
    if (submission_check(req, made.submission, SUBMISSION_ITI41, NULL) < 0) {
        fail_msg("%.*s", STR_ARG(req->errors.first->context));
    }
    assert_int_equal(made.submission->document_count, 1);
    made.entry = made.submission->documents;
    return made;
}

static Made made(Request *req, const CodeSets *codes, const ManifestStudy *study)
{
    const ImagingConfig config = manifest_config();
    ManifestPlan plan = manifest_plan(req->arena, &config, study);
    return made_with(req, codes, study, &plan);
}

static void assert_code(Code code, const char *value, const char *scheme, const char *display)
{
    assert_str(code.code, value);
    assert_str(code.scheme, scheme);
    assert_str(code.display, display);
}

/** Values of a Slot, separated by a space. */
static Str slot_text(Arena *arena, const DocumentEntry *entry, const char *name)
{
    const Slot *slot = rim_slot(entry->object, name);
    Str text = STR_EMPTY;
    for (size_t i = 0; slot && i < slot->value_count; i++) {
        text = str_printf(arena, "%.*s%s%.*s", STR_ARG(text), i > 0 ? " " : "",
                          STR_ARG(slot->values[i]));
    }
    return text;
}

/** RAD TF-2 4.68.4.1.2.3.2. */
static void test_document_entry_says_what_the_images_say(void **state)
{
    Request *req = *state;
    const ImagingConfig config = manifest_config();
    ManifestStudy study = manifest_study();
    ManifestPlan plan = manifest_plan(req->arena, &config, &study);
    Made made = made_with(req, NULL, &study, &plan);
    const DocumentEntry *entry = made.entry;
    assert_str(entry->mime_type, "application/dicom");
    assert_code(entry->format_code, MANIFEST_FORMAT_CODE, MANIFEST_FORMAT_SCHEME,
                "Key Object Selection Document");
    assert_true(str_equal(entry->unique_id, plan.sop_instance));
    assert_true(uuid_equal(entry->entry_uuid, plan.entry));
    assert_str(entry->patient_id, "P1^^^&1.3.6.1.4.1.21367.2005.13.20.1000&ISO");
    assert_str(entry->source_patient_id, "A1^^^&" HOSPITAL_OID "&ISO");
    assert_str(entry->language_code, "ja-JP");
    assert_str(entry->title, "胸部ＣＴ");
    assert_str(entry->creation_time, "20260401030405");
    assert_str(entry->service_start_time, "20260331234000");
    assert_str(entry->class_code.code, "IMG");
    assert_str(entry->class_code.scheme, "1.2.392.99999.3");
    assert_code(entry->type_code, "P5-09051", SCHEME_SCT, "CT of chest");
    assert_str(entry->practice_setting_code.code, "394914008");
    assert_str(entry->healthcare_facility_type_code.code, "22232009");
    assert_int_equal(entry->confidentiality_code.count, 1);
    assert_str(entry->confidentiality_code.items[0].code, "N");
    assert_false(entry->is_on_demand);
    const SubmissionSet *set = made.submission->submission_set;
    assert_true(str_equal(set->patient_id, entry->patient_id));
    assert_str(set->source_id, SOURCE_UID);
    assert_true(uuid_equal(set->entry_uuid, plan.submission_set));
    assert_int_equal(made.submission->association_count, 1);
    assert_int_equal(made.submission->associations->type, ASSOCIATION_HAS_MEMBER);
    assert_true(made.submission->associations->is_original);
}

/** TF-3 Table 4.1-2: RPLC from the new one to the one that it replaces. */
static void test_later_version_replaces_the_earlier_one(void **state)
{
    Request *req = *state;
    const ImagingConfig config = manifest_config();
    ManifestStudy study = manifest_study();
    study.version = 3;
    ManifestPlan plan = manifest_plan(req->arena, &config, &study);
    plan.replaced = uuid_new();
    plan.is_replacement = true;
    Made made = made_with(req, NULL, &study, &plan);
    unsigned count = 0;
    for (const Association *a = made.submission->associations; a; a = a->next) {
        if (a->type == ASSOCIATION_RPLC) {
            count++;
            assert_true(uuid_equal(a->source.uuid, plan.entry));
            assert_true(uuid_equal(a->target.uuid, plan.replaced));
        }
    }
    assert_int_equal(count, 1);
}

static void test_study_of_which_little_is_known_is_registered(void **state)
{
    Request *req = *state;
    ManifestStudy study = manifest_bare_study();
    const DocumentEntry *entry = made(req, NULL, &study).entry;
    assert_str(entry->title, "Images");
    assert_str(entry->service_start_time, "");
    assert_code(entry->type_code, "18748-4", "2.16.840.1.113883.6.1", "Diagnostic imaging study");
    assert_int_equal(entry->event_code_list.count, 0);
    assert_str(slot_text(req->arena, entry, "sourcePatientInfo"),
               "PID-3|A1^^^&" HOSPITAL_OID "&ISO");
    assert_str(slot_text(req->arena, entry, "urn:ihe:iti:xds:2013:referenceIdList"),
               "1.2.3^^^^urn:ihe:iti:xds:2016:studyInstanceUID");
}

/** TF-3 Table 4.2.3.1.7-2: CXi, with an assigning authority where there is one. */
static void test_reference_id_list_has_orders_and_the_study(void **state)
{
    Request *req = *state;
    static const struct {
        const char *accession;
        const char *accession_oid;
        const char *order;
        const char *order_oid;
        const char *expected;
    } cases[] = {
        {"ACC1", "1.2.5", "", "", "ACC1^^^&1.2.5&ISO^urn:ihe:iti:xds:2013:accession "},
        /* the images name no issuer: it is the hospital's */
        {"ACC1", "", "", "", "ACC1^^^&" HOSPITAL_OID "&ISO^urn:ihe:iti:xds:2013:accession "},
        {"", "", "O7", "1.2.6", "O7^^^&1.2.6&ISO^urn:ihe:iti:xds:2013:order "},
        {"ACC1", "1.2.5", "O7", "",
         "ACC1^^^&1.2.5&ISO^urn:ihe:iti:xds:2013:accession "
         "O7^^^&" HOSPITAL_OID "&ISO^urn:ihe:iti:xds:2013:order "},
        {"A^1&2", "1.2.5", "", "", "A\\S\\1\\T\\2^^^&1.2.5&ISO^urn:ihe:iti:xds:2013:accession "},
        {"", "1.2.5", "", "1.2.6", ""},
        /* an issuer that is no OID is as none */
        {"ACC1", "7", "O7", "7",
         "ACC1^^^&" HOSPITAL_OID "&ISO^urn:ihe:iti:xds:2013:accession "
         "O7^^^&" HOSPITAL_OID "&ISO^urn:ihe:iti:xds:2013:order "},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        ManifestStudy study = manifest_study();
        study.accession_number = str_from(cases[i].accession);
        study.accession_oid = str_from(cases[i].accession_oid);
        study.placer_order = str_from(cases[i].order);
        study.placer_order_oid = str_from(cases[i].order_oid);
        Str expected = str_printf(req->arena, "%s1.2.3^^^^urn:ihe:iti:xds:2016:studyInstanceUID",
                                  cases[i].expected);
        Str found = slot_text(req->arena, made(req, NULL, &study).entry,
                              "urn:ihe:iti:xds:2013:referenceIdList");
        assert_str(found, str_cstr(req->arena, expected));
    }
}

/** RAD TF-2 4.68.4.1.2.3.2: one per acquisition modality (CID 29), and the region (CID 4). */
static void test_event_codes_are_modalities_and_the_region(void **state)
{
    Request *req = *state;
    static const struct {
        const char *modalities[3];
        const char *anatomy[3];
        const char *body_parts[3];
        const char *expected;
    } cases[] = {
        {{"CT"}, {"", "", ""}, {NULL}, "CT^" SCHEME_DCM " "},
        {{"CT", "PT"}, {"", "", ""}, {NULL}, "CT^" SCHEME_DCM " PT^" SCHEME_DCM " "},
        /* no acquisition modalities */
        {{"SR", "PR", "KO"}, {"", "", ""}, {NULL}, ""},
        {{"XX"}, {"", "", ""}, {"CHEST"}, "816094009^" SCHEME_SCT " "},
        {{NULL},
         {"", "", ""},
         {"CHEST", "NOWHERE", "HEAD"},
         "816094009^" SCHEME_SCT " 69536005^" SCHEME_SCT " "},
        {{NULL}, {"T-D4000", "SRT", "Abdomen"}, {"CHEST"}, "T-D4000^" SCHEME_SCT " "},
        {{NULL}, {"1", "1.2.392.99999.9", ""}, {NULL}, "1^1.2.392.99999.9 "},
        /* a region of a scheme without OID: the body part is told */
        {{NULL}, {"THX", "99LOCAL", "Thorax"}, {"CHEST"}, "816094009^" SCHEME_SCT " "},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        ManifestStudy study = manifest_study();
        Str modalities[3];
        Str body_parts[3];
        study.modality_count = study.body_part_count = 0;
        for (size_t k = 0; k < 3; k++) {
            if (cases[i].modalities[k]) {
                modalities[study.modality_count++] = str_from(cases[i].modalities[k]);
            }
            if (cases[i].body_parts[k]) {
                body_parts[study.body_part_count++] = str_from(cases[i].body_parts[k]);
            }
        }
        study.modalities = modalities;
        study.body_parts = body_parts;
        study.anatomy = (Code){str_from(cases[i].anatomy[0]), str_from(cases[i].anatomy[1]),
                               str_from(cases[i].anatomy[2])};
        const DocumentEntry *entry = made(req, NULL, &study).entry;
        Str found = STR_EMPTY;
        for (size_t k = 0; k < entry->event_code_list.count; k++) {
            const Code *code = &entry->event_code_list.items[k];
            assert_false(str_is_empty(code->display));
            found = str_printf(req->arena, "%.*s%.*s^%.*s ", STR_ARG(found), STR_ARG(code->code),
                               STR_ARG(code->scheme));
        }
        assert_str(found, cases[i].expected);
    }
}

/** TF-2 3.42.4.1.3.3.3: what the affinity domain does not know is not sent, or replaced. */
static void test_codes_are_those_of_the_affinity_domain(void **state)
{
    Request *req = *state;
    CodeSets *codes = fixture_codes();
    ManifestStudy study = manifest_study();
    const DocumentEntry *entry = made(req, codes, &study).entry;
    assert_int_equal(entry->event_code_list.count, 1);
    assert_code(entry->event_code_list.items[0], "CT", SCHEME_DCM, "CT");
    assert_code(entry->type_code, "18748-4", "2.16.840.1.113883.6.1", "Diagnostic imaging study");
    assert_code(entry->practice_setting_code, "IM", "1.2.392.200270.4.3", "内科");
    assert_code(entry->healthcare_facility_type_code, "HOSP", "1.2.392.200270.4.2", "病院");
    study.procedure = (Code){STR("11488-4"), STR("LN"), STR("as the images call it")};
    assert_code(made(req, codes, &study).entry->type_code, "11488-4", "2.16.840.1.113883.6.1",
                "Consult note");
    code_sets_free(codes);
}

/** sourcePatientInfo (TF-3 4.2.3.2.23): PN of DICOM as XPN of HL7. */
static void test_names_of_dicom_become_names_of_hl7(void **state)
{
    Request *req = *state;
    static const struct {
        const char *name;
        const char *expected;
    } cases[] = {
        {"Yamada^Tarou", "PID-5|Yamada^Tarou"},
        {"Yamada^Tarou=山田^太郎=やまだ^たろう", "PID-5|Yamada^Tarou~山田^太郎~やまだ^たろう"},
        {"=山田^太郎", "PID-5|山田^太郎"},
        /* PN: family, given, middle, prefix, suffix; XPN has the suffix first */
        {"Adams^John^Quincy^Rev.^B.A.", "PID-5|Adams^John^Quincy^B.A.^Rev."},
        {"Adams^^^^", "PID-5|Adams"},
        {"A|B&C~D", "PID-5|A\\F\\B\\T\\C\\R\\D"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        ManifestStudy study = manifest_study();
        study.patient_name = str_from(cases[i].name);
        Str expected = str_printf(req->arena, "PID-3|A1^^^&%s&ISO %s PID-7|19700102 PID-8|M",
                                  HOSPITAL_OID, cases[i].expected);
        assert_str(slot_text(req->arena, made(req, NULL, &study).entry, "sourcePatientInfo"),
                   str_cstr(req->arena, expected));
    }
}

/** TF-3 4.2.3.2.26: at most 128 characters, not bytes. */
static void test_title_is_cut_between_characters(void **state)
{
    Request *req = *state;
    ManifestStudy study = manifest_study();
    StrBuf buf = {0};
    for (unsigned i = 0; i < 200; i++) {
        strbuf_literal(&buf, "胸");
    }
    study.study_description = strbuf_str(&buf);
    assert_int_equal(made(req, NULL, &study).entry->title.len, 128 * 3);
    study.study_description = STR("  ");
    assert_str(made(req, NULL, &study).entry->title, "CT of chest");
    strbuf_done(&buf);
}

/** What a modality may send, odd as it is, must not keep a study out of the registry. */
static void test_odd_values_of_images_are_registered(void **state)
{
    Request *req = *state;
    const ManifestStudy full = manifest_study();
    ManifestStudy studies[] = {full, full, full, full, full, full, full, full, full};
    studies[0].study_description = STR("A\x01<B>&\"C\"\r\nD");
    studies[1].patient_birth_date = STR("1970.01.02");
    studies[1].patient_sex = STR("UNKNOWN");
    studies[2].study_time = STR("noon");
    studies[3].institution_name = STR("St. Mary^s & Sons | Hospital");
    studies[4].accession_number = STR("\\");
    studies[5].patient_name = STR("^^^^=^=");
    studies[6].procedure = (Code){STR("X 1"), STR("99LOCAL"), STR("")};
    studies[7].anatomy = (Code){STR("T-D4000"), STR("SRT"), STR("")};
    studies[8].study_uid = STR("12345"); /* PS3.5 9.1 would have it under a root */
    for (size_t i = 0; i < ARRAY_LEN(studies); i++) {
        assert_non_null(made(req, NULL, &studies[i]).entry);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EBRIM_TEST(test_document_entry_says_what_the_images_say),
        EBRIM_TEST(test_later_version_replaces_the_earlier_one),
        EBRIM_TEST(test_study_of_which_little_is_known_is_registered),
        EBRIM_TEST(test_reference_id_list_has_orders_and_the_study),
        EBRIM_TEST(test_event_codes_are_modalities_and_the_region),
        EBRIM_TEST(test_codes_are_those_of_the_affinity_domain),
        EBRIM_TEST(test_names_of_dicom_become_names_of_hl7),
        EBRIM_TEST(test_title_is_cut_between_characters),
        EBRIM_TEST(test_odd_values_of_images_are_registered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
