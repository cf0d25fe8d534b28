/* The DICOM JSON model (PS3.18 F.2). */
#include "lib/dicom/json.h"

#include "tests/unit/dicom_fixture.h"

static Str json_of(Arena *arena, const DicomDataset *dataset)
{
    TextReading reading = dicom_text_reading(arena, dataset);
    StrBuf buf = {0};
    dicom_json_write(dataset, &reading, &buf);
    Str json = str_dup(arena, strbuf_str(&buf));
    strbuf_done(&buf);
    return json;
}

/** Table F.2.3-1: what is written behind the VR. */
static void test_each_vr_has_its_form(void **state)
{
    (void)state;
    static const struct {
        DicomVr vr;
        Str value;
        const char *json;
    } rows[] = {
        {DICOM_VR_LO, STR_INIT(""), ""},
        {DICOM_VR_LO, STR_INIT("  "), ""},
        {DICOM_VR_LO, STR_INIT("a \\b"), ",\"Value\":[\"a\",\"b\"]"},
        {DICOM_VR_LO, STR_INIT("a\\\\b"), ",\"Value\":[\"a\",null,\"b\"]"},
        {DICOM_VR_LO, STR_INIT("say \"x\""), ",\"Value\":[\"say \\\"x\\\"\"]"},
        {DICOM_VR_LT, STR_INIT("a\\b\r\n"), ",\"Value\":[\"a\\\\b\\u000d\\u000a\"]"},
        {DICOM_VR_UI, STR_INIT("1.2\0"), ",\"Value\":[\"1.2\"]"},
        {DICOM_VR_PN, STR_INIT("A^B=C"),
         ",\"Value\":[{\"Alphabetic\":\"A^B\",\"Ideographic\":\"C\"}]"},
        {DICOM_VR_PN, STR_INIT("==K"), ",\"Value\":[{\"Phonetic\":\"K\"}]"},
        {DICOM_VR_IS, STR_INIT("12\\-3 \\+4"), ",\"Value\":[12,-3,4]"},
        {DICOM_VR_IS, STR_INIT("007"), ",\"Value\":[7]"},
        {DICOM_VR_IS, STR_INIT("1A"), ",\"Value\":[\"1A\"]"},
        {DICOM_VR_DS, STR_INIT("0.50\\.5\\1.\\1E-3\\+2e+4"), ",\"Value\":[0.50,0.5,1,1e-3,2e4]"},
        {DICOM_VR_DS, STR_INIT("1e999\\e5\\-\\1,5"), ",\"Value\":[\"1e999\",\"e5\",\"-\",\"1,5\"]"},
        {DICOM_VR_US, STR_INIT("\1\0\xff\xff"), ",\"Value\":[1,65535]"},
        {DICOM_VR_SS, STR_INIT("\xff\xff"), ",\"Value\":[-1]"},
        {DICOM_VR_SL, STR_INIT("\xfe\xff\xff\xff"), ",\"Value\":[-2]"},
        {DICOM_VR_UL, STR_INIT("\xfe\xff\xff\xff"), ",\"Value\":[4294967294]"},
        {DICOM_VR_UV, STR_INIT("\xff\xff\xff\xff\xff\xff\xff\xff"),
         ",\"Value\":[\"18446744073709551615\"]"},
        {DICOM_VR_SV, STR_INIT("\xff\xff\xff\xff\xff\xff\xff\xff"), ",\"Value\":[-1]"},
        {DICOM_VR_FL, STR_INIT("\xcd\xcc\xcc\x3d"), ",\"Value\":[0.1]"},
        {DICOM_VR_FL, STR_INIT("\0\0\x80\x7f\0\0\xc0\x7f"), ",\"Value\":[\"inf\",\"NaN\"]"},
        {DICOM_VR_FD, STR_INIT("\x9a\x99\x99\x99\x99\x99\xb9\x3f"), ",\"Value\":[0.1]"},
        {DICOM_VR_AT, STR_INIT("\x18\0\x63\x10"), ",\"Value\":[\"00181063\"]"},
        {DICOM_VR_UN, STR_INIT("abcd"), ",\"InlineBinary\":\"YWJjZA==\""},
        {DICOM_VR_OB, STR_INIT(""), ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        Arena *arena = arena_new();
        DicomDataset *dataset = dicom_dataset_new(arena);
        dicom_put(arena, dataset, 0x00091001, rows[i].vr, rows[i].value);
        Str expected = str_printf(arena, "{\"00091001\":{\"vr\":\"%s\"%s}}",
                                  dicom_vr_name(rows[i].vr), rows[i].json);
        Str json = json_of(arena, dataset);
        if (!str_equal(json, expected)) {
            fail_msg("%zu: %.*s", i, STR_ARG(json));
        }
        arena_free(arena);
    }
}

static void test_sequences_nest_and_empty_ones_have_no_value(void **state)
{
    (void)state;
    Arena *arena = arena_new();
    DicomDataset *dataset = dicom_dataset_new(arena);
    dicom_put(arena, dataset, 0x00081111, DICOM_VR_SQ, STR_EMPTY);
    DicomDataset *item = dicom_add_item(arena, dataset, 0x00081032);
    dicom_put(arena, item, 0x00080100, DICOM_VR_SH, STR("P"));
    (void)dicom_add_item(arena, item, 0x0040A730);
    (void)dicom_add_item(arena, dataset, 0x00081032);
    Str json = json_of(arena, dataset);
    assert_string_equal(str_cstr(arena, json),
                        "{\"00081032\":{\"vr\":\"SQ\",\"Value\":[{\"00080100\":{\"vr\":\"SH\","
                        "\"Value\":[\"P\"]},\"0040A730\":{\"vr\":\"SQ\",\"Value\":[{}]}},{}]},"
                        "\"00081111\":{\"vr\":\"SQ\"}}");
    arena_free(arena);
}

static void test_texts_are_utf8_and_say_so(void **state)
{
    (void)state;
    Arena *arena = arena_new();
    DicomDataset *dataset = dicom_dataset_new(arena);
    dicom_put(arena, dataset, 0x00080000, DICOM_VR_UL, STR("\0\0\0\0"));
    dicom_put(arena, dataset, 0x00080005, DICOM_VR_CS, STR("ISO_IR 100"));
    dicom_put(arena, dataset, 0x00080080, DICOM_VR_LO, STR("H\xf4pital"));
    Str json = json_of(arena, dataset);
    assert_string_equal(str_cstr(arena, json),
                        "{\"00080005\":{\"vr\":\"CS\",\"Value\":[\"ISO_IR 192\"]},"
                        "\"00080080\":{\"vr\":\"LO\",\"Value\":[\"Hôpital\"]}}");
    arena_free(arena);
}

static void test_bulk_values_are_named(void **state)
{
    (void)state;
    Arena *arena = arena_new();
    DicomScanned scanned = fixture_good(arena, EXPLICIT, STR("\xe0\x7f\x10\0OW\0\0\4\0\0\0abcd"));
    Str json = json_of(arena, scanned.dataset);
    assert_string_equal(str_cstr(arena, json),
                        "{\"7FE00010\":{\"vr\":\"OW\",\"BulkDataURI\":\"bulk/12-4\"}}");
    DicomDataset *dataset = dicom_dataset_new(arena);
    dicom_put(arena, dataset, 0x00091001, DICOM_VR_OB, (Str){arena_calloc(arena, 1, 5000), 5000});
    assert_true(str_contains(json_of(arena, dataset), STR("BulkDataURI\":\"bulk/0-5000")));
    arena_free(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_vr_has_its_form),
        cmocka_unit_test(test_sequences_nest_and_empty_ones_have_no_value),
        cmocka_unit_test(test_texts_are_utf8_and_say_so),
        cmocka_unit_test(test_bulk_values_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
