/* Scanning of data sets (PS3.5 7 and annex A): what is read, what is let pass, what is refused. */
#include <stdlib.h>
#include <zlib.h>

#include "tests/unit/dicom_fixture.h"

#define ITEM "\xfe\xff\x00\xe0"
#define ITEM_END "\xfe\xff\x0d\xe0\0\0\0\0"
#define SEQUENCE_END "\xfe\xff\xdd\xe0\0\0\0\0"
#define UNDEFINED "\xff\xff\xff\xff"
#define ROWS "\x28\0\x10\0US\2\0\x20\0"
#define PIXELS_IN_FRAGMENTS "\xe0\x7f\x10\0OB\0\0" UNDEFINED

static DicomDataset *sample(Arena *arena)
{
    DicomDataset *dataset = dicom_dataset_new(arena);
    dicom_put(arena, dataset, 0x00100010, DICOM_VR_PN, STR("Yamada^Tarou"));
    dicom_put(arena, dataset, 0x00080018, DICOM_VR_UI, STR("1.2.3"));
    dicom_put_us(arena, dataset, 0x00280010, 512);
    DicomDataset *item = dicom_add_item(arena, dataset, 0x00081032);
    dicom_put(arena, item, 0x00080100, DICOM_VR_SH, STR("P1"));
    DicomDataset *inner = dicom_add_item(arena, item, 0x0040A730);
    dicom_put(arena, inner, 0x00080104, DICOM_VR_LO, STR("deep"));
    dicom_put(arena, dicom_add_item(arena, dataset, 0x00081032), 0x00080100, DICOM_VR_SH,
              STR("P2"));
    return dataset;
}

static void check_sample(const DicomDataset *dataset)
{
    int64_t rows = 0;
    assert_true(dicom_number(dataset, 0x00280010, &rows));
    assert_int_equal(rows, 512);
    assert_true(str_equal(dicom_value(dataset, 0x00080018), STR("1.2.3")));
    const DicomDataset *item = dicom_item(dataset, 0x00081032, 0);
    assert_ptr_equal(item->parent, dataset);
    const DicomDataset *inner = dicom_item(item, 0x0040A730, 0);
    assert_ptr_equal(inner->parent, item);
    assert_true(str_equal(dicom_value(inner, 0x00080104), STR("deep")));
    assert_true(str_equal(dicom_value(dicom_item(dataset, 0x00081032, 1), 0x00080100), STR("P2")));
    assert_null(dicom_item(dataset, 0x00081032, 2));
}

static Str deflated(Arena *arena, Str plain)
{
    z_stream stream = {0};
    assert_int_equal(deflateInit2(&stream, 9, Z_DEFLATED, -MAX_WBITS, 9, 0), Z_OK);
    size_t room = deflateBound(&stream, plain.len);
    unsigned char *bytes = arena_alloc(arena, room);
    stream.next_in = WITHOUT_CONST(plain.data);
    stream.avail_in = (uInt)plain.len;
    stream.next_out = bytes;
    stream.avail_out = (uInt)room;
    assert_int_equal(deflate(&stream, Z_FINISH), Z_STREAM_END);
    deflateEnd(&stream);
    return (Str){(char *)bytes, stream.total_out};
}

static void test_what_is_written_is_read_in_pieces_of_any_size(void **state)
{
    (void)state;
    static const char *const syntaxes[] = {IMPLICIT, EXPLICIT, "1.2.840.10008.1.2.1.99"};
    for (size_t i = 0; i < ARRAY_LEN(syntaxes); i++) {
        for (size_t step = 1; step < 20; step += 3) {
            Arena *arena = arena_new();
            const TransferSyntax *syntax = transfer_syntax_find(str_from(syntaxes[i]));
            StrBuf buf = {0};
            dicom_write(sample(arena), syntax, &buf);
            Str bytes = syntax->is_deflated ? deflated(arena, strbuf_str(&buf)) : strbuf_str(&buf);
            ErrorList errors;
            DicomScanned scanned;
            assert_int_equal(fixture_scan(arena, &errors, syntaxes[i], bytes, step, &scanned), 0);
            assert_null(scanned.warning);
            assert_int_equal(scanned.size_bytes, bytes.len);
            check_sample(scanned.dataset);
            strbuf_done(&buf);
            arena_free(arena);
        }
    }
}

static void test_numbers_of_big_endian_become_little_endian(void **state)
{
    (void)state;
    Arena *arena = arena_new();
    DicomScanned scanned = fixture_good(arena, BIG_ENDIAN_EXPLICIT,
                                        STR("\0\x18\x90\x01"
                                            "FD\0\x08\x3f\xf0\0\0\0\0\0\0"
                                            "\0\x28\0\x09"
                                            "AT\0\4\0\x18\x10\x63"
                                            "\0\x28\0\x10US\0\2\2\0"));
    int64_t rows = 0;
    assert_true(dicom_number(scanned.dataset, 0x00280010, &rows));
    assert_int_equal(rows, 512);
    assert_memory_equal(dicom_find(scanned.dataset, 0x00280009)->value.data, "\x18\0\x63\x10", 4);
    assert_memory_equal(dicom_find(scanned.dataset, 0x00189001)->value.data, "\0\0\0\0\0\0\xf0\x3f",
                        8);
    arena_free(arena);
}

/** What has a fault is refused, however it is cut. */
static void test_a_broken_data_set_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *syntax;
        Str bytes;
        const char *fault;
    } rows[] = {
        {EXPLICIT, STR_INIT("\x28\0\x10\0US\2\0\x20"), "(0028,0010) Rows"},
        {EXPLICIT, STR_INIT("\x28\0\x10\0US\2\0\x20"), "1 bytes of the value are missing"},
        {EXPLICIT, STR_INIT("\xe0\x7f\x10\0OW\0\0\x08\0\0\0abcd"),
         "(7FE0,0010) PixelData, before byte 16 of the data set: the data set is cut off: 4 bytes"},
        {EXPLICIT, STR_INIT(ROWS "\x28\0\x11"), "cut off in the header"},
        {EXPLICIT, STR_INIT("\x28\0\x10\0\x02\x01\2\0\x20\0"),
         "its value representation is the bytes 02 01"},
        {EXPLICIT, STR_INIT(ROWS ROWS),
         "(0028,0010) Rows, before byte 20 of the data set: the "
         "element comes twice"},
        {EXPLICIT, STR_INIT("\x10\0\x10\0LO\2\0ab" ROWS "\x10\0\x10\0LO\2\0cd"), "comes twice"},
        {EXPLICIT, STR_INIT("\x08\0\x32\x10SQ\0\0\x10\0\0\0" ITEM "\x08\0\0\0\x28\0\x10\0US\2\0"),
         "(0028,0010) Rows, before byte 28 of the data set: its length reaches beyond"},
        {EXPLICIT, STR_INIT("\x08\0\x32\x10SQ\0\0\x10\0\0\0" ITEM "\x20\0\0\0\x28\0\x10\0US\2\0"),
         "the length of an item reaches beyond the end of its sequence"},
        {EXPLICIT, STR_INIT("\x08\0\x32\x10SQ\0\0\x0c\0\0\0" ITEM UNDEFINED ROWS),
         "(0028,0010) Rows, before byte 20 of the data set: it reaches beyond"},
        {EXPLICIT, STR_INIT("\x08\0\x32\x10SQ\0\0" UNDEFINED ROWS), "stands where an item"},
        {EXPLICIT, STR_INIT("\x08\0\x32\x10SQ\0\0" UNDEFINED ITEM UNDEFINED SEQUENCE_END),
         "stands where an element is expected"},
        {EXPLICIT, STR_INIT("\x08\0\x32\x10SQ\0\0" UNDEFINED ITEM UNDEFINED ROWS),
         "cut off inside of a sequence"},
        {EXPLICIT, STR_INIT(ITEM_END), "stands where an element is expected"},
        {EXPLICIT, STR_INIT("\x08\0\x01\0UT\0\0" UNDEFINED), "may have no length"},
        {EXPLICIT, STR_INIT(ROWS "\0\0\0\0\0\0\0\0\0\0\1"), "zeros are followed by other bytes"},
        {JPEG, STR_INIT(PIXELS_IN_FRAGMENTS ITEM "\0\0\0\0" ITEM "\4\0\0\0abcd"),
         "cut off inside of a sequence or of pixel data"},
        {JPEG, STR_INIT(PIXELS_IN_FRAGMENTS ITEM "\0\0\0\0" ITEM UNDEFINED), "a fragment"},
        {JPEG, STR_INIT(PIXELS_IN_FRAGMENTS ITEM "\0\0\0\0" ROWS), "a fragment"},
        {JPEG, STR_INIT("\xe0\x7f\1\0OV\0\0\0\0\0\x40"), "more than 1000000 frames"},
        {"1.2.840.10008.1.2.1.99", STR_INIT("\xff\xff\xff\xff"), "no deflate stream"},
        {"1.2.840.10008.1.2.1.99", STR_INIT("\x03"), "deflate stream is cut off"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        for (size_t step = 1; step < 60; step += 13) {
            Arena *arena = arena_new();
            ErrorList errors;
            DicomScanned scanned;
            int r = fixture_scan(arena, &errors, rows[i].syntax, rows[i].bytes, step, &scanned);
            Str faults = fixture_faults(arena, &errors);
            if (r != -ERR_DICOM_DATA_SET || !str_contains(faults, str_from(rows[i].fault))) {
                fail_msg("%zu, pieces of %zu: expected \"%s\", found \"%.*s\"", i, step,
                         rows[i].fault, STR_ARG(faults));
            }
            arena_free(arena);
        }
    }
}

static void test_what_does_no_harm_is_let_pass_with_a_warning(void **state)
{
    (void)state;
    static const struct {
        const char *syntax;
        Str bytes;
        size_t count; /* elements */
        const char *warning;
    } rows[] = {
        {EXPLICIT, STR_INIT(ROWS), 1, NULL},
        {EXPLICIT, STR_INIT(""), 0, NULL},
        /* trailing padding (PS3.10 7.2) is no element */
        {EXPLICIT, STR_INIT(ROWS "\xfc\xff\xfc\xffOB\0\0\4\0\0\0\0\0\0\0"), 1, NULL},
        {EXPLICIT, STR_INIT(ROWS "\0\0\0\0\0\0\0\0\0"), 1, "zeros follow"},
        {EXPLICIT, STR_INIT(ROWS "\0\0\0"), 1, "zeros follow"},
        {EXPLICIT, STR_INIT(ROWS "\x10\0\x10\0PN\2\0ab"), 2, "order of their tags"},
        {EXPLICIT, STR_INIT("\x10\0\x10\0PN\3\0abc"), 1, "odd length"},
        /* a VR of the future has a long length (PS3.5 7.1.2) */
        {EXPLICIT, STR_INIT("\x08\0\x01\0ZZ\0\0\2\0\0\0ab" ROWS), 2, "not known"},
        /* (0040,A170) was no sequence once */
        {IMPLICIT, STR_INIT("\x40\0\x70\xa1\x0a\0\0\0CHANNEL 1 "), 1, "dictionary has a sequence"},
        {IMPLICIT, STR_INIT("\x40\0\x70\xa1\4\0\0\0CHAN"), 1, "dictionary has a sequence"},
        {IMPLICIT, STR_INIT("\x10\0\x10\0" UNDEFINED SEQUENCE_END), 1, "another value repr"},
        {EXPLICIT, STR_INIT(PIXELS_IN_FRAGMENTS ITEM "\0\0\0\0" SEQUENCE_END), 1,
         "which the transfer syntax does not have"},
        {JPEG, STR_INIT("\xe0\x7f\x10\0OB\0\0\2\0\0\0ab"), 1, "in one piece"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        for (size_t step = 1; step < 60; step += 13) {
            Arena *arena = arena_new();
            ErrorList errors;
            DicomScanned scanned = {0};
            int r = fixture_scan(arena, &errors, rows[i].syntax, rows[i].bytes, step, &scanned);
            bool has_warning = rows[i].warning
                                   ? scanned.warning && strstr(scanned.warning, rows[i].warning)
                                   : scanned.warning == NULL;
            if (r != 0 || scanned.dataset->count != rows[i].count || !has_warning) {
                fail_msg("%zu, pieces of %zu: %d, \"%s\" %.*s", i, step, r,
                         scanned.warning ? scanned.warning : "",
                         STR_ARG(fixture_faults(arena, &errors)));
            }
            arena_free(arena);
        }
    }
}

/** UN without a length holds Implicit VR Little Endian; UN with one is what the dictionary says
 * (PS3.5 6.2.2). */
static void test_un_is_read_as_implicit_vr(void **state)
{
    (void)state;
    Arena *arena = arena_new();
    DicomScanned scanned = fixture_good(arena, EXPLICIT,
                                        STR("\x09\0\1\x10UN\0\0" UNDEFINED ITEM UNDEFINED
                                            "\x10\0\x20\0\4\0\0\0abcd" ITEM_END SEQUENCE_END
                                            "\x28\0\x10\0UN\0\0\2\0\0\0\x20\0"
                                            "\x29\0\1\x10UN\0\0\2\0\0\0ab"));
    const DicomDataset *item = dicom_item(scanned.dataset, 0x00091001, 0);
    assert_true(str_equal(dicom_value(item, 0x00100020), STR("abcd")));
    assert_int_equal(dicom_find(scanned.dataset, 0x00280010)->vr, DICOM_VR_US);
    assert_int_equal(dicom_find(scanned.dataset, 0x00291001)->vr, DICOM_VR_UN);
    arena_free(arena);
}

/** US or SS follows Pixel Representation; private elements have a VR only as creators (PS3.5 A.1,
 * 7.8.1). */
static void test_implicit_vr_follows_the_dictionary(void **state)
{
    (void)state;
    Arena *arena = arena_new();
    Str bytes = STR("\x09\0\x10\0\2\0\0\0ab\x09\0\1\x10\2\0\0\0ab"
                    "\x10\0\0\0\4\0\0\0\0\0\0\0\x28\0\3\1\2\0\0\0\1\0\x28\0\6\1\2\0\0\0\xff\xff"
                    "\2\x60\x10\0\2\0\0\0\1\0");
    static const struct {
        uint32_t tag;
        DicomVr vr;
    } rows[] = {{0x00090010, DICOM_VR_LO}, {0x00091001, DICOM_VR_UN}, {0x00100000, DICOM_VR_UL},
                {0x00280103, DICOM_VR_US}, {0x00280106, DICOM_VR_SS}, {0x60020010, DICOM_VR_US}};
    DicomScanned scanned = fixture_good(arena, IMPLICIT, bytes);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_int_equal(dicom_find(scanned.dataset, rows[i].tag)->vr, rows[i].vr);
    }
    int64_t smallest = 0;
    assert_true(dicom_number(scanned.dataset, 0x00280106, &smallest));
    assert_int_equal(smallest, -1);
    arena_free(arena);
}

/** Bytes of sequences in sequences, without lengths. */
static int scan_nested(size_t depth)
{
    Arena *arena = arena_new();
    StrBuf buf = {0};
    for (size_t i = 0; i < depth; i++) {
        strbuf_literal(&buf, "\x08\0\x32\x10SQ\0\0" UNDEFINED ITEM UNDEFINED);
    }
    for (size_t i = 0; i < depth; i++) {
        strbuf_literal(&buf, ITEM_END SEQUENCE_END);
    }
    ErrorList errors;
    DicomScanned scanned;
    int r = fixture_scan(arena, &errors, EXPLICIT, strbuf_str(&buf), 4096, &scanned);
    if (r == 0) {
        StrBuf written = {0};
        dicom_write(scanned.dataset, transfer_syntax_find(STR(EXPLICIT)), &written);
        assert_int_equal(written.len, depth * 20);
        strbuf_done(&written);
    } else {
        assert_non_null(strstr(errors.first->context.data, "more than 64 deep"));
    }
    strbuf_done(&buf);
    arena_free(arena);
    return r;
}

static void test_nesting_ends_at_64(void **state)
{
    (void)state;
    assert_int_equal(scan_nested(DICOM_NESTING_MAX), 0);
    assert_int_equal(scan_nested(DICOM_NESTING_MAX + 1), -ERR_DICOM_DATA_SET);
    assert_int_equal(scan_nested(100000), -ERR_DICOM_DATA_SET);
}

static void test_bulk_values_are_not_kept(void **state)
{
    (void)state;
    Arena *arena = arena_new();
    StrBuf buf = {0};
    strbuf_literal(&buf, "\x42\0\x11\0OB\0\0\2\0\1\0");
    char *zeros = calloc(1, DICOM_VALUE_MAX + 2);
    strbuf_append_bytes(&buf, zeros, DICOM_VALUE_MAX + 2);
    free(zeros);
    strbuf_literal(&buf, "\xe0\x7f\x10\0OW\0\0\4\0\0\0abcd");
    DicomScanned scanned = fixture_good(arena, EXPLICIT, strbuf_str(&buf));
    const DicomElement *document = dicom_find(scanned.dataset, 0x00420011);
    assert_true(document->is_bulk);
    assert_int_equal(document->offset, 12);
    assert_int_equal(document->length, DICOM_VALUE_MAX + 2);
    assert_int_equal(document->value.len, 0);
    const DicomElement *pixels = dicom_find(scanned.dataset, 0x7FE00010);
    assert_true(pixels->is_bulk);
    assert_int_equal(pixels->offset, buf.len - 4);
    assert_true(scanned.has_pixel_data);
    assert_false(scanned.is_encapsulated);
    strbuf_done(&buf);
    arena_free(arena);
}

#define FRAGMENT(text) ITEM "\4\0\0\0" text
#define TWO_FRAMES                                                                                 \
    "\x28\0\x08\0IS\2\0"                                                                           \
    "2 "

static void test_frames_follow_the_offset_tables_or_the_number_of_fragments(void **state)
{
    (void)state;
    /* offsets of the values of fragments: after an empty table, without and with TWO_FRAMES */
    static const struct {
        Str bytes;
        size_t count;
        DicomFrame frames[3];
        const char *warning;
    } rows[] = {
        {STR_INIT(PIXELS_IN_FRAGMENTS ITEM "\0\0\0\0" FRAGMENT("abcd") FRAGMENT("efgh")
                      SEQUENCE_END), /* one frame has all */
         1,
         {{28, 16, 2}},
         NULL},
        {STR_INIT(TWO_FRAMES PIXELS_IN_FRAGMENTS ITEM "\0\0\0\0" FRAGMENT("abcd") FRAGMENT("efgh")
                      SEQUENCE_END),
         2,
         {{38, 4, 1}, {50, 4, 1}},
         NULL},
        {STR_INIT(TWO_FRAMES PIXELS_IN_FRAGMENTS ITEM "\x08\0\0\0\0\0\0\0\x18\0\0\0" FRAGMENT(
             "abcd") FRAGMENT("efgh") FRAGMENT("ijkl") SEQUENCE_END),
         2,
         {{46, 16, 2}, {70, 4, 1}},
         NULL},
        {STR_INIT(
             TWO_FRAMES
             "\xe0\x7f\1\0OV\0\0\x10\0\0\0\0\0\0\0\0\0\0\0\x0c\0\0\0\0\0\0\0" PIXELS_IN_FRAGMENTS
                 ITEM "\0\0\0\0" FRAGMENT("abcd") FRAGMENT("efgh") FRAGMENT("ijkl") SEQUENCE_END),
         2,
         {{66, 4, 1}, {78, 16, 2}},
         NULL},
        {STR_INIT(TWO_FRAMES PIXELS_IN_FRAGMENTS ITEM
                  "\x08\0\0\0\0\0\0\0\x0d\0\0\0" FRAGMENT("abcd") FRAGMENT("efgh") SEQUENCE_END),
         2,
         {{46, 4, 1}, {58, 4, 1}},
         "does not fit"},
        {STR_INIT(TWO_FRAMES PIXELS_IN_FRAGMENTS ITEM "\0\0\0\0" FRAGMENT("abcd") FRAGMENT("efgh")
                      FRAGMENT("ijkl") SEQUENCE_END),
         0,
         {{0}},
         "no offset table"},
        {STR_INIT(TWO_FRAMES PIXELS_IN_FRAGMENTS ITEM "\0\0\0\0" FRAGMENT("abcd") SEQUENCE_END),
         0,
         {{0}},
         NULL}, /* a video */
        {STR_INIT(PIXELS_IN_FRAGMENTS ITEM "\0\0\0\0" SEQUENCE_END), 0, {{0}}, NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        Arena *arena = arena_new();
        ErrorList errors;
        DicomScanned scanned = {0};
        if (fixture_scan(arena, &errors, JPEG, rows[i].bytes, 1 + i, &scanned) < 0) {
            fail_msg("%zu: %.*s", i, STR_ARG(fixture_faults(arena, &errors)));
        }
        assert_true(scanned.is_encapsulated && scanned.has_pixel_data);
        bool has_warning = rows[i].warning
                               ? scanned.warning && strstr(scanned.warning, rows[i].warning)
                               : !scanned.warning;
        if (scanned.frame_count != rows[i].count || !has_warning) {
            fail_msg("%zu: %zu frames, \"%s\"", i, scanned.frame_count,
                     scanned.warning ? scanned.warning : "");
        }
        for (size_t k = 0; k < rows[i].count; k++) {
            assert_int_equal(scanned.frames[k].offset, rows[i].frames[k].offset);
            assert_int_equal(scanned.frames[k].length, rows[i].frames[k].length);
            assert_int_equal(scanned.frames[k].fragments, rows[i].frames[k].fragments);
        }
        arena_free(arena);
    }
}

static void test_a_data_set_of_an_unknown_syntax_is_counted(void **state)
{
    (void)state;
    Arena *arena = arena_new();
    DicomScanned scanned = fixture_good(arena, "1.2.3.4", STR("anything"));
    assert_int_equal(scanned.size_bytes, 8);
    assert_int_equal(scanned.dataset->count, 0);
    arena_free(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_written_is_read_in_pieces_of_any_size),
        cmocka_unit_test(test_numbers_of_big_endian_become_little_endian),
        cmocka_unit_test(test_a_broken_data_set_is_refused),
        cmocka_unit_test(test_what_does_no_harm_is_let_pass_with_a_warning),
        cmocka_unit_test(test_un_is_read_as_implicit_vr),
        cmocka_unit_test(test_implicit_vr_follows_the_dictionary),
        cmocka_unit_test(test_nesting_ends_at_64),
        cmocka_unit_test(test_bulk_values_are_not_kept),
        cmocka_unit_test(test_frames_follow_the_offset_tables_or_the_number_of_fragments),
        cmocka_unit_test(test_a_data_set_of_an_unknown_syntax_is_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
