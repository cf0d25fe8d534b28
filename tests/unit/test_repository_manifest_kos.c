/* The document of a manifest (RAD TF-2 4.68.4.1.2.1; PS3.3 A.35.4, PS3.16 TID 2010), read by the
 * code that reads those of others. */
#include "lib/dicom/part10.h"
#include "lib/dicom/record.h"

#include "tests/unit/dicom_fixture.h"
#include "tests/unit/manifest_fixture.h"

#define SERIES_MAX 3
#define MANY 1200

typedef struct Document {
    Str bytes;
    FileMeta meta;
    const DicomDataset *dataset;
    InstanceRecord record;
} Document;

static Str written(Arena *arena, const ImagingConfig *config, const ManifestStudy *study)
{
    StrBuf buf = {0};
    ManifestPlan plan = manifest_plan(arena, config, study);
    manifest_kos_write(arena, config, study, &plan, &buf);
    Str bytes = str_dup(arena, strbuf_str(&buf));
    strbuf_done(&buf);
    return bytes;
}

static Document made(Arena *arena, const ImagingConfig *config, const ManifestStudy *study)
{
    ErrorList errors;
    size_t offset = 0;
    Document document = {.bytes = written(arena, config, study)};
    error_list_init(&errors, arena);
    assert_int_equal(part10_read(arena, &errors, document.bytes, &document.meta, &offset), 1);
    DicomScanned scanned = fixture_good(arena, EXPLICIT, str_from_offset(document.bytes, offset));
    assert_null(scanned.warning);
    document.dataset = scanned.dataset;
    if (instance_record_make(arena, &errors, &scanned, transfer_syntax_find(STR(EXPLICIT)),
                             &document.record) < 0) {
        fail_msg("%.*s", STR_ARG(errors.first->context));
    }
    return document;
}

/** "*": empty, but there. */
static void assert_value(const DicomDataset *dataset, uint32_t tag, const char *expected)
{
    if (!dicom_find(dataset, tag)) {
        fail_msg("(%04x,%04x) is missing", tag >> 16, tag & 0xffff);
    }
    Str found = dicom_value(dataset, tag);
    Str wanted = expected[0] == '*' ? STR_EMPTY : str_from(expected);
    if (!str_equal(found, wanted)) {
        fail_msg("(%04x,%04x) is %.*s, expected %s", tag >> 16, tag & 0xffff, STR_ARG(found),
                 expected);
    }
}

static void test_document_is_a_key_object_selection_titled_manifest(void **state)
{
    (void)state;
    Arena *arena = arena_new();
    ImagingConfig config = manifest_config();
    ManifestStudy study = manifest_study();
    ManifestPlan plan = manifest_plan(arena, &config, &study);
    Document document = made(arena, &config, &study);
    assert_true(str_equal(document.meta.sop_class, STR(UID_KEY_OBJECT_SELECTION)));
    assert_true(str_equal(document.meta.sop_instance, plan.sop_instance));
    assert_true(str_equal(document.meta.transfer_syntax, STR(EXPLICIT)));
    static const struct {
        uint32_t tag;
        const char *value;
    } values[] = {
        {0x00080016, UID_KEY_OBJECT_SELECTION},
        {0x00080020, "20260401"},
        {0x00080050, "ACC1"},
        {0x00080060, "KO"},
        {0x00080080, "結び病院"},
        {0x00100020, "A1"},
        {0x00100030, "19700102"},
        {0x00100040, "M"},
        {0x0020000D, "1.2.3"},
        {0x0040A040, "CONTAINER"},
        {0x0040A050, "SEPARATE"},
    };
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        assert_value(document.dataset, values[i].tag, values[i].value);
    }
    assert_true(str_equal(document.record.selection.title.value, STR("113030")));
    assert_true(str_equal(document.record.selection.title.scheme, STR("DCM")));
    const DicomDataset *template = dicom_item(document.dataset, 0x0040A504, 0);
    assert_value(template, 0x00080105, "DCMR");
    assert_value(template, 0x0040DB00, "2010");
    assert_null(dicom_item(document.dataset, 0x0040A504, 1));
    /* the issuer is that of the images, and no identifier of the affinity domain is in it */
    assert_value(dicom_item(document.dataset, 0x00100024, 0), 0x00400032, HOSPITAL_OID);
    assert_value(dicom_item(document.dataset, 0x00100024, 0), 0x00400033, "ISO");
    assert_false(str_contains(document.bytes, STR("21367.2005.13.20.1000")));
    /* a series of its own */
    assert_false(str_equal(document.record.series_uid, STR("1.2.3.1")));
    assert_false(str_equal(document.record.series_uid, STR("1.2.3.2")));
    arena_free(arena);
}

/** RAD TF-2 4.68.4.1.2.1: each reference stands in both sequences, and nothing else does. */
static void assert_lists(const Document *document, const ManifestStudy *study)
{
    const KeyObjectSelection *selection = &document->record.selection;
    assert_int_equal(selection->reference_count, study->instance_count);
    assert_int_equal(dicom_find(document->dataset, 0x0040A730)->item_count, study->instance_count);
    assert_int_equal(dicom_find(document->dataset, 0x0040A375)->item_count, 1);
    for (size_t i = 0; i < study->instance_count; i++) {
        const InstanceReference *reference = &selection->references[i];
        const ManifestInstance *instance = &study->instances[i];
        assert_true(str_equal(reference->sop_instance, instance->sop_instance));
        assert_true(str_equal(reference->sop_class, instance->sop_class));
        assert_true(str_equal(reference->series_uid, instance->series_uid));
        assert_true(str_equal(reference->study_uid, study->study_uid));
        assert_true(reference->is_in_evidence && reference->is_in_content);
        const DicomDataset *content = dicom_item(document->dataset, 0x0040A730, i);
        assert_true(str_equal(dicom_value(dicom_item(content, 0x00081199, 0), 0x00081155),
                              instance->sop_instance));
        assert_value(content, 0x0040A010, "CONTAINS");
    }
}

static void test_every_instance_is_in_evidence_and_in_content(void **state)
{
    (void)state;
    Arena *arena = arena_new();
    ImagingConfig config = manifest_config();
    ManifestStudy study = manifest_study();
    Document document = made(arena, &config, &study);
    static const char *const types[] = {"IMAGE", "IMAGE", "WAVEFORM", "COMPOSITE"};
    assert_lists(&document, &study);
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        assert_value(dicom_item(document.dataset, 0x0040A730, i), 0x0040A040, types[i]);
    }
    arena_free(arena);
}

static void test_long_study_of_several_series_is_listed_whole(void **state)
{
    (void)state;
    Arena *arena = arena_new();
    ImagingConfig config = manifest_config();
    ManifestStudy study = manifest_study();
    ManifestInstance *instances = ARENA_ARRAY(arena, ManifestInstance, MANY);
    for (size_t i = 0; i < MANY; i++) {
        instances[i] = (ManifestInstance){
            .series_uid = str_printf(arena, "1.2.3.%zu", i * SERIES_MAX / MANY),
            .sop_class = STR(CT_IMAGE),
            .sop_instance = str_printf(arena, "1.2.3.9.%zu", i),
            .has_pixel_data = true,
        };
    }
    study.instances = instances;
    study.instance_count = MANY;
    Document document = made(arena, &config, &study);
    assert_lists(&document, &study);
    const DicomDataset *evidence = dicom_item(document.dataset, 0x0040A375, 0);
    assert_int_equal(dicom_find(evidence, 0x00081115)->item_count, SERIES_MAX);
    arena_free(arena);
}

/** RAD TF-2 4.68.4.1.2.1: by AE title, by RAD-69, by WADO-RS; in each series. */
static void test_each_series_says_where_it_is_retrieved(void **state)
{
    (void)state;
    Arena *arena = arena_new();
    ImagingConfig config = manifest_config();
    ManifestStudy study = manifest_study();
    for (unsigned round = 0; round < 2; round++) {
        config.public_url = round == 0 ? "https://images.example/dicomweb" : "";
        Document document = made(arena, &config, &study);
        const DicomDataset *evidence = dicom_item(document.dataset, 0x0040A375, 0);
        assert_value(evidence, 0x0020000D, "1.2.3");
        assert_int_equal(dicom_find(evidence, 0x00081115)->item_count, 2);
        for (size_t i = 0; i < 2; i++) {
            const DicomDataset *series = dicom_item(evidence, 0x00081115, i);
            assert_value(series, 0x00080054, "MUSUBI");
            assert_value(series, 0x0040E011, SOURCE_UID);
            if (round == 0) {
                assert_value(series, 0x00081190, "https://images.example/dicomweb");
            } else {
                assert_null(dicom_find(series, 0x00081190));
            }
        }
    }
    arena_free(arena);
}

/** An attempt that was cut off is repeated; what is new has a new UID (RAD TF-2 4.68.4.1.2.3.2). */
static void test_one_version_has_one_document_and_the_next_another(void **state)
{
    (void)state;
    Arena *arena = arena_new();
    ImagingConfig config = manifest_config();
    const ManifestStudy study = manifest_study();
    const ManifestPlan plan = manifest_plan(arena, &config, &study);
    assert_true(str_equal(written(arena, &config, &study), written(arena, &config, &study)));
    ManifestStudy others[] = {study, study, study, study};
    others[0].version = 1;
    others[1].changed_us++;
    others[2].instance_count--;
    others[3].received_us++; /* the study was deleted, and came again */
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        ManifestPlan other = manifest_plan(arena, &config, &others[i]);
        assert_false(str_equal(other.sop_instance, plan.sop_instance));
        assert_false(uuid_equal(other.entry, plan.entry));
        assert_false(uuid_equal(other.submission_set, plan.submission_set));
        assert_int_equal(str_equal(other.series_uid, plan.series_uid), i < 3);
        assert_int_equal(str_equal(other.digest, plan.digest), i != 2);
        assert_false(
            str_equal(written(arena, &config, &others[i]), written(arena, &config, &study)));
    }
    assert_false(str_equal(plan.sop_instance, plan.series_uid));
    arena_free(arena);
}

/** PS3.5 6.1.2.3: all texts are in the repertoire that the document declares. */
static void test_kanji_names_are_declared_and_come_back(void **state)
{
    (void)state;
    Arena *arena = arena_new();
    ImagingConfig config = manifest_config();
    ManifestStudy study = manifest_study();
    Document document = made(arena, &config, &study);
    assert_value(document.dataset, 0x00080005, "ISO_IR 192");
    assert_true(str_equal(document.record.patient_name, study.patient_name));
    assert_true(str_equal(document.record.study_description, study.study_description));
    assert_true(str_equal(document.record.institution_name, study.institution_name));
    assert_false(document.record.text.contradicts || document.record.text.has_unreadable);
    arena_free(arena);
}

/** Elements of type 2 are there and empty (PS3.3 C.7.1.1, C.7.2.1); those of type 3 are left out.
 */
static void test_study_of_which_little_is_known_has_a_manifest(void **state)
{
    (void)state;
    Arena *arena = arena_new();
    ImagingConfig config = manifest_config();
    ManifestStudy study = manifest_bare_study();
    Document document = made(arena, &config, &study);
    static const uint32_t empty[] = {0x00080020, 0x00080030, 0x00080050, 0x00080090,
                                     0x00100010, 0x00100030, 0x00100040, 0x00200010};
    static const uint32_t absent[] = {0x00080051, 0x00080080, 0x00081030, 0x0040A370};
    assert_lists(&document, &study);
    for (size_t i = 0; i < ARRAY_LEN(empty); i++) {
        assert_value(document.dataset, empty[i], "*");
    }
    for (size_t i = 0; i < ARRAY_LEN(absent); i++) {
        assert_null(dicom_find(document.dataset, absent[i]));
    }
    arena_free(arena);
}

/** PS3.3 C.12.1.1.8: times of the document and of the study are of one offset. */
static void test_times_are_local_and_the_offset_says_how(void **state)
{
    (void)state;
    static const struct {
        const char *date; /* of the study */
        const char *offset;
        const char *zone;
        const char *created_date;
        const char *created_time;
        const char *expected; /* offset */
    } cases[] = {
        {"20260401", "", "Asia/Tokyo", "20260401", "120405", "+0900"},
        {"20260401", "+0900", "UTC", "20260401", "120405", "+0900"},
        {"20260401", "-0500", "Asia/Tokyo", "20260331", "220405", "-0500"},
        {"20260401", "+0545", "Asia/Tokyo", "20260401", "084905", "+0545"},
        {"20260401", "", "UTC", "20260401", "030405", "+0000"},
        /* as the clocks were at the time of the study */
        {"20260101", "", "Europe/Berlin", "20260401", "040405", "+0100"},
        {"20260701", "", "Europe/Berlin", "20260401", "050405", "+0200"},
        {"", "", "Asia/Tokyo", "20260401", "120405", "+0900"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        Arena *arena = arena_new();
        ImagingConfig config = manifest_config();
        ManifestStudy study = manifest_study();
        config.source_timezone = cases[i].zone;
        study.study_date = str_from(cases[i].date);
        study.timezone_offset = str_from(cases[i].offset);
        Document document = made(arena, &config, &study);
        assert_value(document.dataset, 0x00080012, cases[i].created_date);
        assert_value(document.dataset, 0x00080013, cases[i].created_time);
        assert_value(document.dataset, 0x00080023, cases[i].created_date);
        assert_value(document.dataset, 0x00080033, cases[i].created_time);
        assert_value(document.dataset, 0x00080201, cases[i].expected);
        arena_free(arena);
    }
}

/** PS3.3 C.17.6.2: the orders, with their issuers. */
static void test_what_was_ordered_is_told(void **state)
{
    (void)state;
    Arena *arena = arena_new();
    ImagingConfig config = manifest_config();
    ManifestStudy study = manifest_study();
    study.accession_oid = STR("1.2.392.99999.5.1");
    study.placer_order = STR("O77");
    study.placer_order_oid = STR("1.2.392.99999.5.2");
    Document document = made(arena, &config, &study);
    const DicomDataset *request = dicom_item(document.dataset, 0x0040A370, 0);
    assert_value(request, 0x0020000D, "1.2.3");
    assert_value(request, 0x00080050, "ACC1");
    assert_value(dicom_item(request, 0x00080051, 0), 0x00400032, "1.2.392.99999.5.1");
    assert_value(request, 0x00402016, "O77");
    assert_value(dicom_item(request, 0x00400026, 0), 0x00400032, "1.2.392.99999.5.2");
    assert_value(dicom_item(document.dataset, 0x00080051, 0), 0x00400033, "ISO");
    assert_true(str_equal(document.record.placer_order, STR("O77")));
    assert_true(str_equal(document.record.accession_oid, STR("1.2.392.99999.5.1")));
    arena_free(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_document_is_a_key_object_selection_titled_manifest),
        cmocka_unit_test(test_every_instance_is_in_evidence_and_in_content),
        cmocka_unit_test(test_long_study_of_several_series_is_listed_whole),
        cmocka_unit_test(test_each_series_says_where_it_is_retrieved),
        cmocka_unit_test(test_one_version_has_one_document_and_the_next_another),
        cmocka_unit_test(test_kanji_names_are_declared_and_come_back),
        cmocka_unit_test(test_study_of_which_little_is_known_has_a_manifest),
        cmocka_unit_test(test_times_are_local_and_the_offset_says_how),
        cmocka_unit_test(test_what_was_ordered_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
