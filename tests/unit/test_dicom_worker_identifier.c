#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/dicom/scan.h"
#include "lib/dicom/text.h"
#include "lib/dicom/worker_fields.h"
#include "lib/dicom/worker_identifier.h"

static Arena *arena;
static ErrorList errors;

static const TransferSyntax *implicit(void)
{
    return transfer_syntax_find(STR(UID_IMPLICIT_LITTLE_ENDIAN));
}

static Str written(const DicomDataset *dataset, StrBuf *buf)
{
    dicom_write(dataset, implicit(), buf);
    return strbuf_str(buf);
}

static bool has_key(Str fields, Str key)
{
    WorkerField field;
    Str value;
    while (worker_next(&fields, &field, &value)) {
        if (field == WORKER_KEY && str_equal(value, key)) {
            return true;
        }
    }
    return false;
}

/* PS3.4 C.4.1.1.3: keys, level, character set */
static void test_a_request_becomes_keys_in_utf_8(void **state)
{
    StrBuf bytes = {0};
    StrBuf fields = {0};
    DicomDataset *query = dicom_dataset_new(arena);
    (void)state;
    dicom_put(arena, query, DICOM_TAG(0x0008, 0x0005), DICOM_VR_CS, STR("\\ISO 2022 IR 87"));
    dicom_put(arena, query, DICOM_TAG(0x0008, 0x0052), DICOM_VR_CS, STR("STUDY"));
    dicom_put(arena, query, DICOM_TAG(0x0010, 0x0010), DICOM_VR_PN,
              STR("Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B"));
    dicom_put(arena, query, DICOM_TAG(0x0020, 0x000D), DICOM_VR_UI, STR_EMPTY);
    (void)dicom_add_item(arena, query, DICOM_TAG(0x0040, 0x0275));
    assert_int_equal(identifier_read(written(query, &bytes), implicit(), &errors, &fields), 0);
    Str read = strbuf_str(&fields);
    assert_true(str_equal(worker_get(read, WORKER_LEVEL), STR("STUDY")));
    assert_true(has_key(read, STR("00100010PNYamada^Tarou=\xe5\xb1\xb1\xe7\x94\xb0^"
                                  "\xe5\xa4\xaa\xe9\x83\x8e")));
    assert_true(has_key(read, STR("0020000DUI")));
    assert_true(has_key(read, STR("00400275SQ")));
    assert_false(str_contains(read, STR("00080005")));
    strbuf_done(&bytes);
    strbuf_done(&fields);
}

/** The data set that a match is answered with. */
static DicomDataset *match_of(const char *const *keys)
{
    StrBuf fields = {0};
    StrBuf bytes = {0};
    DicomScanned scanned;
    for (size_t i = 0; keys[i]; i++) {
        worker_put(&fields, WORKER_KEY, str_from(keys[i]));
    }
    assert_true(identifier_write(strbuf_str(&fields), STR("STUDY"), implicit(), &bytes));
    DicomScan *scan = dicom_scan_new(arena, implicit());
    assert_int_equal(dicom_scan_push(scan, &errors, bytes.data, bytes.len), 0);
    assert_int_equal(dicom_scan_end(scan, &errors, &scanned), 0);
    dicom_scan_free(scan);
    strbuf_done(&fields);
    strbuf_done(&bytes);
    return scanned.dataset;
}

/* PS3.4 C.4.1.1.3.2: the response says its character set, if it needs one */
static void test_a_match_says_utf_8_only_where_it_must(void **state)
{
    static const char *const plain[] = {"00100010PNYamada^Tarou", "00280010US512", NULL};
    static const char *const japanese[] = {"00100010PN\xe5\xb1\xb1", NULL};
    int64_t rows = 0;
    (void)state;
    DicomDataset *match = match_of(plain);
    assert_null(dicom_find(match, DICOM_TAG(0x0008, 0x0005)));
    assert_true(str_equal(dicom_value(match, DICOM_TAG(0x0008, 0x0052)), STR("STUDY")));
    assert_true(dicom_number(match, DICOM_TAG(0x0028, 0x0010), &rows));
    assert_int_equal(rows, 512);
    match = match_of(japanese);
    assert_true(str_equal(dicom_value(match, DICOM_TAG(0x0008, 0x0005)), STR("ISO_IR 192")));
}

static void test_a_key_that_is_none_is_refused(void **state)
{
    static const char *const keys[] = {"", "0010001", "00100010", "0010001GPNx", "00100010ZZx"};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        StrBuf fields = {0};
        StrBuf bytes = {0};
        worker_put(&fields, WORKER_KEY, str_from(keys[i]));
        assert_false(identifier_write(strbuf_str(&fields), STR("STUDY"), implicit(), &bytes));
        strbuf_done(&fields);
        strbuf_done(&bytes);
    }
}

/* PS3.4 J.3.2, J.3.3: what is asked for is what is reported */
static void test_a_commitment_is_read_and_its_report_written(void **state)
{
    StrBuf fields = {0};
    StrBuf bytes = {0};
    StrBuf read = {0};
    (void)state;
    worker_put(&fields, WORKER_TRANSACTION_UID, STR("1.2.9"));
    worker_put(&fields, WORKER_REFERENCE, STR("1.2.840.10008.5.1.4.1.1.2 1.2.3"));
    assert_int_equal(commitment_event(strbuf_str(&fields)), 1);
    commitment_write(strbuf_str(&fields), implicit(), &bytes);
    assert_int_equal(commitment_read(strbuf_str(&bytes), implicit(), &errors, &read), 0);
    assert_true(str_equal(strbuf_str(&read), strbuf_str(&fields)));
    worker_put(&fields, WORKER_FAILED_INSTANCE, STR("1.2.840.10008.5.1.4.1.1.2 1.2.4 274"));
    assert_int_equal(commitment_event(strbuf_str(&fields)), 2);
    strbuf_clear(&bytes);
    commitment_write(strbuf_str(&fields), implicit(), &bytes);
    assert_true(str_contains(strbuf_str(&bytes), STR("\x08\0\x97\x11\2\0\0\0\x12\1")));
    strbuf_done(&fields);
    strbuf_done(&bytes);
    strbuf_done(&read);
}

static void test_a_commitment_without_references_is_refused(void **state)
{
    StrBuf bytes = {0};
    StrBuf read = {0};
    DicomDataset *request = dicom_dataset_new(arena);
    (void)state;
    dicom_put(arena, request, DICOM_TAG(0x0008, 0x1195), DICOM_VR_UI, STR("1.2.9"));
    assert_true(commitment_read(written(request, &bytes), implicit(), &errors, &read) < 0);
    strbuf_done(&bytes);
    strbuf_done(&read);
}

static int make_arena(void **state)
{
    (void)state;
    arena = arena_new();
    error_list_init(&errors, arena);
    return 0;
}

static int free_arena(void **state)
{
    (void)state;
    arena_free(arena);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_request_becomes_keys_in_utf_8),
        cmocka_unit_test(test_a_match_says_utf_8_only_where_it_must),
        cmocka_unit_test(test_a_key_that_is_none_is_refused),
        cmocka_unit_test(test_a_commitment_is_read_and_its_report_written),
        cmocka_unit_test(test_a_commitment_without_references_is_refused),
    };
    return cmocka_run_group_tests(tests, make_arena, free_arena);
}
