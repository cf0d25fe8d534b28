/* What is kept of an instance, and its message (PS3.3 C.7, C.12.1, C.17). */
#include "lib/dicom/record.h"

#include "tests/unit/dicom_fixture.h"

static DicomDataset *instance(Arena *arena)
{
    DicomDataset *dataset = dicom_dataset_new(arena);
    dicom_put(arena, dataset, 0x00080016, DICOM_VR_UI, STR("1.2.840.10008.5.1.4.1.1.2"));
    dicom_put(arena, dataset, 0x00080018, DICOM_VR_UI, STR("1.2.3.4"));
    dicom_put(arena, dataset, 0x0020000D, DICOM_VR_UI, STR("1.2.3"));
    dicom_put(arena, dataset, 0x0020000E, DICOM_VR_UI, STR("1.2.3.1"));
    dicom_put(arena, dataset, 0x00100010, DICOM_VR_PN, STR("Yamada^Tarou "));
    dicom_put(arena, dataset, 0x00100020, DICOM_VR_LO, STR(" 0007 "));
    dicom_put_us(arena, dataset, 0x00280010, 512);
    DicomDataset *issuer = dicom_add_item(arena, dataset, 0x00100024);
    dicom_put(arena, issuer, 0x00400032, DICOM_VR_UT, STR("1.2.392"));
    dicom_put(arena, issuer, 0x00400033, DICOM_VR_CS, STR("ISO"));
    return dataset;
}

/** As dicom_scan_end() gives it, without pixels. */
static int make(Arena *arena, ErrorList *errors, DicomDataset *dataset, InstanceRecord *ret_record)
{
    error_list_init(errors, arena);
    DicomScanned scanned = {.dataset = dataset, .size_bytes = 1000};
    return instance_record_make(arena, errors, &scanned, transfer_syntax_find(STR(EXPLICIT)),
                                ret_record);
}

static void test_an_instance_gives_a_record(void **state)
{
    (void)state;
    Arena *arena = arena_new();
    ErrorList errors;
    InstanceRecord record;
    DicomDataset *dataset = instance(arena);
    DicomDataset *request = dicom_add_item(arena, dataset, 0x0040A370);
    dicom_put(arena, request, 0x00402016, DICOM_VR_LO, STR("P99"));
    DicomDataset *procedure = dicom_add_item(arena, dataset, 0x00081032);
    dicom_put(arena, procedure, 0x00080100, DICOM_VR_SH, STR("CTHEAD"));
    dicom_put(arena, procedure, 0x00080102, DICOM_VR_SH, STR("99X"));
    assert_int_equal(make(arena, &errors, dataset, &record), 0);
    assert_true(str_equal(record.study_uid, STR("1.2.3")));
    assert_true(str_equal(record.patient_id, STR("0007")));
    assert_true(str_equal(record.patient_id_oid, STR("1.2.392")));
    assert_true(str_equal(record.patient_name, STR("Yamada^Tarou")));
    assert_true(str_equal(record.placer_order, STR("P99")));
    assert_true(str_equal(record.procedure.value, STR("CTHEAD")));
    assert_int_equal(record.rows, 512);
    assert_int_equal(record.number_of_frames, 0);
    assert_true(str_contains(record.json, STR("\"00100020\":{\"vr\":\"LO\"")));
    arena_free(arena);
}

/** LO has 64 characters; whoever writes more still means different patients. */
static void test_long_patient_ids_stay_different(void **state)
{
    (void)state;
    Arena *arena = arena_new();
    Str ids[3];
    const size_t lens[] = {4200, 4200, 4201};
    for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
        ErrorList errors;
        InstanceRecord record;
        DicomDataset *dataset = instance(arena);
        char *number = arena_alloc(arena, lens[i]);
        memset(number, '7', lens[i]);
        number[4199] = i == 1 ? '8' : '7';
        dicom_put(arena, dataset, 0x00100020, DICOM_VR_LO, (Str){number, lens[i]});
        assert_int_equal(make(arena, &errors, dataset, &record), 0);
        ids[i] = record.patient_id;
        assert_in_range(ids[i].len, 900, 1024); /* not cut again in the index */
        for (size_t other = 0; other < i; other++) {
            assert_false(str_equal(ids[i], ids[other]));
        }
    }
    arena_free(arena);
}

static void test_what_an_instance_must_have(void **state)
{
    (void)state;
    static const struct {
        uint32_t tag;
        DicomVr vr;
        Str value;
        const char *fault;
    } rows[] = {
        {0x0020000D, DICOM_VR_UI, STR_INIT(""), "(0020,000D) Study Instance UID is missing"},
        {0x0020000E, DICOM_VR_UI, STR_INIT("1..2"), "(0020,000E) Series Instance UID is no UID"},
        {0x00080016, DICOM_VR_UI, STR_INIT(" "), "(0008,0016) SOP Class UID is missing"},
        {0x00080018, DICOM_VR_UI, STR_INIT("1.2.3.x"), "(0008,0018) SOP Instance UID is no UID"},
        {0x00280008, DICOM_VR_IS, STR_INIT("1A"), "(0028,0008) Number of Frames is no number"},
        {0x00280008, DICOM_VR_IS, STR_INIT("-1"), "(0028,0008) Number of Frames is no number"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        Arena *arena = arena_new();
        ErrorList errors;
        InstanceRecord record;
        DicomDataset *dataset = instance(arena);
        dicom_put(arena, dataset, rows[i].tag, rows[i].vr, rows[i].value);
        assert_int_equal(make(arena, &errors, dataset, &record), -ERR_DICOM_DATA_SET);
        Str faults = fixture_faults(arena, &errors);
        if (errors.count != 1 || !str_starts_with(faults, str_from(rows[i].fault))) {
            fail_msg("%zu: %.*s", i, STR_ARG(faults));
        }
        arena_free(arena);
    }
}

static void put_reference(Arena *arena, DicomDataset *holder, const char *uid)
{
    DicomDataset *item = dicom_add_item(arena, holder, 0x00081199);
    dicom_put(arena, item, 0x00081150, DICOM_VR_UI, STR("1.2.840.10008.5.1.4.1.1.2"));
    dicom_put(arena, item, 0x00081155, DICOM_VR_UI, str_from(uid));
}

/** Evidence: 1.5, 1.6; content: 1.6, 1.7. */
static DicomDataset *key_objects(Arena *arena)
{
    DicomDataset *dataset = instance(arena);
    dicom_put(arena, dataset, 0x00080016, DICOM_VR_UI, STR(UID_KEY_OBJECT_SELECTION));
    DicomDataset *title = dicom_add_item(arena, dataset, 0x0040A043);
    dicom_put(arena, title, 0x00080100, DICOM_VR_SH, STR("113030"));
    DicomDataset *study = dicom_add_item(arena, dataset, 0x0040A375);
    dicom_put(arena, study, 0x0020000D, DICOM_VR_UI, STR("1.2.3"));
    DicomDataset *series = dicom_add_item(arena, study, 0x00081115);
    dicom_put(arena, series, 0x0020000E, DICOM_VR_UI, STR("1.2.3.9"));
    dicom_put(arena, series, 0x0040E011, DICOM_VR_UI, STR("1.3.9"));
    dicom_put(arena, series, 0x00080054, DICOM_VR_AE, STR("IMAGES"));
    put_reference(arena, series, "1.5");
    put_reference(arena, series, "1.6");
    put_reference(arena, dicom_add_item(arena, dataset, 0x0040A730), "1.6");
    put_reference(arena, dicom_add_item(arena, dataset, 0x0040A730), "1.7");
    return dataset;
}

static void test_a_key_object_selection_names_its_instances_once(void **state)
{
    (void)state;
    Arena *arena = arena_new();
    ErrorList errors;
    InstanceRecord record;
    assert_int_equal(make(arena, &errors, key_objects(arena), &record), 0);
    const KeyObjectSelection *selection = &record.selection;
    assert_true(str_equal(selection->title.value, STR("113030")));
    assert_true(str_equal(selection->retrieve_location_uid, STR("1.3.9")));
    assert_true(str_equal(selection->retrieve_ae_title, STR("IMAGES")));
    static const struct {
        const char *uid;
        const char *series;
        bool is_in_content, is_in_evidence;
    } expected[] = {
        {"1.5", "1.2.3.9", false, true}, {"1.6", "1.2.3.9", true, true}, {"1.7", "", true, false}};
    assert_int_equal(selection->reference_count, ARRAY_LEN(expected));
    for (size_t i = 0; i < ARRAY_LEN(expected); i++) {
        const InstanceReference *reference = &selection->references[i];
        assert_true(str_equal(reference->sop_instance, str_from(expected[i].uid)));
        assert_true(str_equal(reference->series_uid, str_from(expected[i].series)));
        assert_int_equal(reference->is_in_content, expected[i].is_in_content);
        assert_int_equal(reference->is_in_evidence, expected[i].is_in_evidence);
    }
    arena_free(arena);
}

static void test_a_record_goes_through_a_message(void **state)
{
    (void)state;
    Arena *arena = arena_new();
    ErrorList errors;
    InstanceRecord record;
    assert_int_equal(make(arena, &errors, key_objects(arena), &record), 0);
    const DicomFrame frames[] = {{100, 50, 1}, {158, 842, 3}};
    record.frames = frames;
    record.frame_count = ARRAY_LEN(frames);
    StrBuf buf = {0};
    instance_record_write(&record, &buf);
    InstanceRecord read;
    assert_true(instance_record_read(arena, strbuf_str(&buf), &read));
    assert_true(str_equal(read.json, record.json));
    assert_int_equal(read.frame_count, 2);
    assert_int_equal(read.frames[1].length, 842);
    assert_int_equal(read.selection.reference_count, 3);
    StrBuf again = {0};
    instance_record_write(&read, &again);
    assert_true(str_equal(strbuf_str(&again), strbuf_str(&buf)));
    for (size_t len = 0; len < buf.len; len++) { /* cut off anywhere, it is no record */
        assert_false(instance_record_read(arena, str_slice(strbuf_str(&buf), 0, len), &read));
    }
    strbuf_append_char(&buf, 0);
    assert_false(instance_record_read(arena, strbuf_str(&buf), &read));
    strbuf_done(&buf);
    strbuf_done(&again);
    arena_free(arena);
}

/** The sender of a message may be in somebody else's hands. */
static void test_a_message_that_cannot_be_true_is_refused(void **state)
{
    (void)state;
    static const struct {
        Str study_uid;
        Str patient_id;
        int64_t rows;
        double confidence;
        uint64_t frame_length;
        CharacterSet used;
    } rows[] = {
        {STR_INIT("1.2"), STR_INIT("1"), 1, 1, 10, CHARSET_UTF_8}, /* good */
        {STR_INIT("1..2"), STR_INIT("1"), 1, 1, 10, CHARSET_UTF_8},
        {STR_INIT("1.2"), STR_INIT("\xff"), 1, 1, 10, CHARSET_UTF_8},
        {STR_INIT("1.2"), STR_INIT("a\0b"), 1, 1, 10, CHARSET_UTF_8},
        {STR_INIT("1.2"), STR_INIT("1"), -1, 1, 10, CHARSET_UTF_8},
        {STR_INIT("1.2"), STR_INIT("1"), 1, 2, 10, CHARSET_UTF_8},
        {STR_INIT("1.2"), STR_INIT("1"), 1, 1, 991, CHARSET_UTF_8},
        {STR_INIT("1.2"), STR_INIT("1"), 1, 1, 10, CHARSET_COUNT},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        Arena *arena = arena_new();
        ErrorList errors;
        InstanceRecord record;
        assert_int_equal(make(arena, &errors, instance(arena), &record), 0);
        const DicomFrame frame = {10, rows[i].frame_length, 1};
        record.study_uid = rows[i].study_uid;
        record.patient_id = rows[i].patient_id;
        record.rows = rows[i].rows;
        record.text.confidence = rows[i].confidence;
        record.text.used = rows[i].used;
        record.frames = &frame;
        record.frame_count = 1;
        StrBuf buf = {0};
        instance_record_write(&record, &buf);
        InstanceRecord read;
        if (instance_record_read(arena, strbuf_str(&buf), &read) != (i == 0)) {
            fail_msg("%zu", i);
        }
        strbuf_done(&buf);
        arena_free(arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_instance_gives_a_record),
        cmocka_unit_test(test_long_patient_ids_stay_different),
        cmocka_unit_test(test_what_an_instance_must_have),
        cmocka_unit_test(test_a_key_object_selection_names_its_instances_once),
        cmocka_unit_test(test_a_record_goes_through_a_message),
        cmocka_unit_test(test_a_message_that_cannot_be_true_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
