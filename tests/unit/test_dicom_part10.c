/* File meta information (PS3.10 7.1). */
#include "lib/dicom/part10.h"

#include "tests/unit/dicom_fixture.h"

static const FileMeta sample = {STR_INIT("1.2.840.10008.5.1.4.1.1.2"), STR_INIT("1.2.3"),
                                STR_INIT(EXPLICIT), STR_INIT("CT1")};

static void test_what_is_written_is_read(void **state)
{
    (void)state;
    Arena *arena = arena_new();
    ErrorList errors;
    error_list_init(&errors, arena);
    StrBuf buf = {0};
    part10_write(&sample, &buf);
    size_t end = buf.len;
    strbuf_literal(&buf, "data set");
    FileMeta meta;
    size_t offset = 0;
    for (size_t len = 0; len < end; len++) {
        Str bytes = str_slice(strbuf_str(&buf), 0, len);
        assert_int_equal(part10_read(arena, &errors, bytes, &meta, &offset), 0);
    }
    assert_int_equal(part10_read(arena, &errors, strbuf_str(&buf), &meta, &offset), 1);
    assert_int_equal(offset, end);
    assert_true(str_equal(meta.sop_class, sample.sop_class));
    assert_true(str_equal(meta.sop_instance, sample.sop_instance));
    assert_true(str_equal(meta.transfer_syntax, sample.transfer_syntax));
    assert_true(str_equal(meta.source_ae_title, sample.source_ae_title));
    assert_true(str_contains(strbuf_str(&buf), STR(DICOM_IMPLEMENTATION_CLASS_UID)));
    assert_true(dicom_uid_is_valid(STR(DICOM_IMPLEMENTATION_CLASS_UID)));
    strbuf_done(&buf);
    arena_free(arena);
}

static void test_a_broken_head_is_refused(void **state)
{
    (void)state;
    static const struct {
        FileMeta meta;
        size_t offset; /* of a byte that is changed */
        char byte;
        const char *fault;
    } rows[] = {
        {{.transfer_syntax = STR_INIT(EXPLICIT)}, 128, 'X', "This is no DICOM file"},
        {{.transfer_syntax = STR_INIT(EXPLICIT)}, 134, 1, "does not begin with its group length"},
        {{.transfer_syntax = STR_INIT(EXPLICIT)}, 143, 1, "more than 64 KiB"},
        {{.transfer_syntax = STR_INIT(EXPLICIT)}, 140, 5, "cannot be read"},
        {{.transfer_syntax = STR_INIT("")}, 0, 0, "has no (0002,0010) Transfer Syntax UID"},
        {{.transfer_syntax = STR_INIT("1.x")}, 0, 0, "(0002,0010) Transfer Syntax UID of the"},
        {{.transfer_syntax = STR_INIT(EXPLICIT), .sop_instance = STR_INIT("1..2")},
         0,
         0,
         "(0002,0003) Media Storage SOP Instance UID"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        Arena *arena = arena_new();
        ErrorList errors;
        error_list_init(&errors, arena);
        StrBuf buf = {0};
        part10_write(&rows[i].meta, &buf);
        buf.data[rows[i].offset] = rows[i].byte;
        FileMeta meta;
        size_t offset;
        int r = part10_read(arena, &errors, strbuf_str(&buf), &meta, &offset);
        Str faults = fixture_faults(arena, &errors);
        if (r != -ERR_DICOM_FILE || !str_contains(faults, str_from(rows[i].fault))) {
            fail_msg("%zu: %d %.*s", i, r, STR_ARG(faults));
        }
        strbuf_done(&buf);
        arena_free(arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_written_is_read),
        cmocka_unit_test(test_a_broken_head_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
