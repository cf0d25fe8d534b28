/* Data sets in memory, UIDs, the dictionary (PS3.5 6, 7, 9; PS3.6). */
#include "lib/dicom/dictionary.h"

#include "tests/unit/dicom_fixture.h"

static void test_elements_stand_in_the_order_of_tags_and_replace_each_other(void **state)
{
    (void)state;
    Arena *arena = arena_new();
    DicomDataset *dataset = dicom_dataset_new(arena);
    for (uint32_t i = 0; i < 100; i++) {
        dicom_put(arena, dataset, 0x00080000 + (i * 37) % 100, DICOM_VR_LO, STR("a"));
    }
    dicom_put(arena, dataset, 0x00080005, DICOM_VR_CS, STR("b"));
    assert_int_equal(dataset->count, 100);
    for (uint32_t i = 0; i < 100; i++) {
        assert_int_equal(dataset->elements[i].tag, 0x00080000 + i);
    }
    assert_true(str_equal(dicom_value(dataset, 0x00080005), STR("b")));
    assert_null(dicom_find(dataset, 0x00080100));
    assert_null(dicom_find(NULL, 0x00080100));
    arena_free(arena);
}

static void test_an_item_stays_where_it_is_when_others_are_added(void **state)
{
    (void)state;
    Arena *arena = arena_new();
    DicomDataset *dataset = dicom_dataset_new(arena);
    DicomDataset *first = dicom_add_item(arena, dataset, 0x00081199);
    for (size_t i = 1; i < 1000; i++) {
        (void)dicom_add_item(arena, dataset, 0x00081199);
    }
    dicom_put(arena, first, 0x00081155, DICOM_VR_UI, STR("1.2"));
    assert_ptr_equal(dicom_item(dataset, 0x00081199, 0), first);
    assert_ptr_equal(first->parent, dataset);
    assert_non_null(dicom_item(dataset, 0x00081199, 999));
    assert_null(dicom_item(dataset, 0x00081199, 1000));
    arena_free(arena);
}

static void test_values_are_cut_at_backslashes_and_trimmed(void **state)
{
    (void)state;
    Arena *arena = arena_new();
    DicomDataset *dataset = dicom_dataset_new(arena);
    dicom_put(arena, dataset, 0x00080008, DICOM_VR_CS, STR("DERIVED \\ PRIMARY\\"));
    dicom_put(arena, dataset, 0x00080018, DICOM_VR_UI, STR("1.2.3\0"));
    static const Str expected[] = {STR_INIT("DERIVED"), STR_INIT("PRIMARY"), STR_INIT("")};
    Str value;
    for (size_t i = 0; i < ARRAY_LEN(expected); i++) {
        assert_true(dicom_value_at(dataset, 0x00080008, i, &value));
        assert_true(str_equal(value, expected[i]));
    }
    assert_false(dicom_value_at(dataset, 0x00080008, 3, &value));
    assert_true(str_equal(dicom_value(dataset, 0x00080018), STR("1.2.3")));
    assert_int_equal(dicom_value(dataset, 0x00080019).len, 0);
    arena_free(arena);
}

static void test_numbers_are_read_by_their_vr(void **state)
{
    (void)state;
    static const struct {
        DicomVr vr;
        Str value;
        bool is_number;
        int64_t number;
    } rows[] = {
        {DICOM_VR_US, STR_INIT("\xff\xff"), true, 65535},
        {DICOM_VR_SS, STR_INIT("\xff\xff"), true, -1},
        {DICOM_VR_UL, STR_INIT("\xff\xff\xff\xff"), true, 4294967295},
        {DICOM_VR_SL, STR_INIT("\xfe\xff\xff\xff"), true, -2},
        {DICOM_VR_US, STR_INIT("\1\0\2\0"), true, 1},
        {DICOM_VR_US, STR_INIT("\1"), false, 0},
        {DICOM_VR_IS, STR_INIT(" 12\\13"), true, 12},
        {DICOM_VR_IS, STR_INIT("+7 "), true, 7},
        {DICOM_VR_IS, STR_INIT("-7 "), true, -7},
        {DICOM_VR_IS, STR_INIT("1A"), false, 0},
        {DICOM_VR_IS, STR_INIT(""), false, 0},
        {DICOM_VR_LO, STR_INIT("12"), false, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        Arena *arena = arena_new();
        DicomDataset *dataset = dicom_dataset_new(arena);
        dicom_put(arena, dataset, 0x00280010, rows[i].vr, rows[i].value);
        int64_t number = 0;
        bool is_number = dicom_number(dataset, 0x00280010, &number);
        if (is_number != rows[i].is_number || number != rows[i].number) {
            fail_msg("%zu: %d, %lld", i, is_number, (long long)number);
        }
        arena_free(arena);
    }
}

static void test_odd_values_are_padded_and_long_ones_become_un(void **state)
{
    (void)state;
    Arena *arena = arena_new();
    DicomDataset *dataset = dicom_dataset_new(arena);
    dicom_put(arena, dataset, 0x00080018, DICOM_VR_UI, STR("1.2"));
    dicom_put(arena, dataset, 0x00080050, DICOM_VR_SH, STR("abc"));
    StrBuf buf = {0};
    dicom_write(dataset, transfer_syntax_find(STR(EXPLICIT)), &buf);
    assert_true(str_equal(strbuf_str(&buf), STR("\x08\0\x18\0UI\4\0"
                                                "1.2\0"
                                                "\x08\0\x50\0SH\4\0abc ")));
    strbuf_clear(&buf);
    char *text = arena_calloc(arena, 1, 70000);
    dicom_put(arena, dataset, 0x00080050, DICOM_VR_SH, (Str){text, 65536});
    dicom_write(dataset, transfer_syntax_find(STR(EXPLICIT)), &buf);
    assert_true(str_equal(str_slice(strbuf_str(&buf), 12, 12), STR("\x08\0\x50\0UN\0\0\0\0\1\0")));
    strbuf_done(&buf);
    arena_free(arena);
}

static void test_a_uid_has_digits_dots_and_no_leading_zeros(void **state)
{
    (void)state;
    static const struct {
        const char *uid;
        bool is_valid;
    } rows[] = {
        {"1.2.840.10008.1.2", true},
        {"2.25.0", true},
        {"0.0", true},
        {"1", true},
        {"", false},
        {".1", false},
        {"1.", false},
        {"1..2", false},
        {"1.02", false},
        {"1.2a", false},
        {"1.2 ", false},
        {"1234567890.234567890.234567890.234567890.234567890.234567890.234", true},
        {"1234567890.234567890.234567890.234567890.234567890.234567890.2345", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (dicom_uid_is_valid(str_from(rows[i].uid)) != rows[i].is_valid) {
            fail_msg("%s", rows[i].uid);
        }
    }
}

static void test_every_uid_of_the_table_is_valid_and_found(void **state)
{
    (void)state;
    static const struct {
        const char *uid;
        bool is_syntax;
        SopKind kind;
    } rows[] = {
#define TRANSFER_SYNTAX(uid, encoding, is_lossy, decode, encode, media_type, title)                \
    {uid, true, SOP_OTHER},
#define SOP_CLASS(uid, kind, name) {uid, false, SOP_##kind},
#include "lib/dicom/uids.def"
#undef TRANSFER_SYNTAX
#undef SOP_CLASS
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        Str uid = str_from(rows[i].uid);
        const TransferSyntax *syntax = transfer_syntax_find(uid);
        bool is_itself = rows[i].is_syntax ? syntax && !strcmp(syntax->uid, rows[i].uid)
                                           : !syntax && sop_kind(uid, true) == rows[i].kind;
        if (!dicom_uid_is_valid(uid) || !is_itself) {
            fail_msg("%s", rows[i].uid);
        }
        for (size_t k = 0; k < i; k++) {
            if (strcmp(rows[i].uid, rows[k].uid) == 0) {
                fail_msg("%s stands twice", rows[i].uid);
            }
        }
    }
}

static void test_kinds_of_sop_classes(void **state)
{
    (void)state;
    static const struct {
        Str sop_class;
        bool has_pixel_data;
        SopKind kind;
    } rows[] = {
        {STR_INIT("1.2.840.10008.5.1.4.1.1.2"), false, SOP_IMAGE},
        {STR_INIT("1.2.840.10008.5.1.4.1.1.9.1.1"), false, SOP_WAVEFORM},
        {STR_INIT(UID_KEY_OBJECT_SELECTION), false, SOP_COMPOSITE},
        {STR_INIT("1.2.840.10008.5.1.4.38.1"), false, SOP_OTHER},
        {STR_INIT("1.2.840.10008.5.1.4.1.1.9999"), true, SOP_IMAGE},
        {STR_INIT("1.2.840.10008.5.1.4.1.1.9999"), false, SOP_COMPOSITE},
        {STR_INIT("1.2.840.10008.1.1"), true, SOP_OTHER},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_int_equal(sop_kind(rows[i].sop_class, rows[i].has_pixel_data), rows[i].kind);
    }
}

static void test_the_dictionary_knows_tags_and_keywords(void **state)
{
    (void)state;
    assert_string_equal(dictionary_find(0x00100010)->keyword, "PatientName");
    assert_int_equal(dictionary_find(0x60143000)->vr, DICOM_VR_OW);
    assert_int_equal(dictionary_find(0x7FE00010)->vr, DICOM_VR_OW);
    assert_null(dictionary_find(0x00091001));
    assert_int_equal(dictionary_find_keyword(STR("StudyInstanceUID"))->tag, 0x0020000D);
    assert_null(dictionary_find_keyword(STR("Nonsense")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_elements_stand_in_the_order_of_tags_and_replace_each_other),
        cmocka_unit_test(test_an_item_stays_where_it_is_when_others_are_added),
        cmocka_unit_test(test_values_are_cut_at_backslashes_and_trimmed),
        cmocka_unit_test(test_numbers_are_read_by_their_vr),
        cmocka_unit_test(test_odd_values_are_padded_and_long_ones_become_un),
        cmocka_unit_test(test_a_uid_has_digits_dots_and_no_leading_zeros),
        cmocka_unit_test(test_every_uid_of_the_table_is_valid_and_found),
        cmocka_unit_test(test_kinds_of_sop_classes),
        cmocka_unit_test(test_the_dictionary_knows_tags_and_keywords),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
