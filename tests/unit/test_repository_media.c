/* What clients of DICOMweb take (PS3.18 8.7; RFC 9110 12.5.1), attributes by name (PS3.18 8.3.4.1),
 * and parameters of pictures (PS3.18 8.3.5, 9.1.2). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "repository/imaging/media.h"
#include "repository/imaging/qido.h"
#include "repository/imaging/rendering.h"

#define DICOM "application/dicom"
#define EXPLICIT "1.2.840.10008.1.2.1"
#define IMPLICIT "1.2.840.10008.1.2"
#define RLE "1.2.840.10008.1.2.5"
#define JPEG_LS "1.2.840.10008.1.2.4.80"
#define MPEG2 "1.2.840.10008.1.2.4.100"

static void a_type_is_taken_as_accept_says(void **state)
{
    static const struct {
        const char *accept;
        const char *type;
        bool is_multipart;
        bool is_taken;
    } cases[] = {
        {"", DICOM, true, true},
        {"", DICOM, false, true},
        {"*/*", "image/png", false, true},
        {"image/*", "image/png", false, true},
        {"image/*", "image/png", true, false},
        {"image/*", DICOM, false, false},
        {"application/dicom", DICOM, false, true},
        {"application/dicom", DICOM, true, false},
        {"APPLICATION/DICOM", DICOM, false, true},
        {"multipart/related; type=\"application/dicom\"", DICOM, true, true},
        {"multipart/related;type=application/dicom", DICOM, true, true},
        {"multipart/related; type=\"application/dicom\"", DICOM, false, false},
        {"multipart/related", DICOM, true, true},
        {"text/html, application/dicom;q=0.1", DICOM, false, true},
        {"application/dicom;q=0", DICOM, false, false},
        {"application/dicom;q=0.000", DICOM, false, false},
        {"text/html;level=\"a,b\", application/dicom", DICOM, false, true},
        {",,application/dicom,", DICOM, false, true},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        Request *req = request_new(600000);
        MediaRanges ranges;
        assert_int_equal(media_ranges_read(req, str_from(cases[i].accept), &ranges), 0);
        bool is_taken =
            media_ranges_find(&ranges, str_from(cases[i].type), cases[i].is_multipart) != NULL;
        if (is_taken != cases[i].is_taken) {
            fail_msg("Accept \"%s\" for %s", cases[i].accept, cases[i].type);
        }
        request_free(req);
    }
}

static void the_most_wanted_comes_first(void **state)
{
    Request *req = request_new(600000);
    MediaRanges ranges;
    (void)state;
    Str accept = STR("a/a;q=0.5, b/b, c/c;q=0.75, d/d");
    assert_int_equal(media_ranges_read(req, accept, &ranges), 0);
    assert_int_equal(ranges.count, 4);
    static const char *const order[] = {"b/b", "d/d", "c/c", "a/a"};
    for (size_t i = 0; i < ARRAY_LEN(order); i++) {
        assert_true(str_equal(ranges.items[i].type, str_from(order[i])));
    }
    request_free(req);
}

static void what_is_no_accept_is_refused(void **state)
{
    static const char *const cases[] = {"dicom",   "a/b;q=2",   "a/b;q=1.0000",
                                        "a/b;q=x", "a/b;q=1.5", "a/b; type=\"open"};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        Request *req = request_new(600000);
        MediaRanges ranges;
        if (media_ranges_read(req, str_from(cases[i]), &ranges) != -ERR_DICOM_REQUEST) {
            fail_msg("Accept \"%s\" was taken", cases[i]);
        }
        request_free(req);
    }
}

static void an_instance_goes_as_stored_where_that_is_allowed(void **state)
{
    static const struct {
        const char *accept;
        const char *stored;
        bool is_possible;
        const char *target; /* "": as stored */
        int32_t bits_allocated;
    } cases[] = {
        {"application/dicom; transfer-syntax=*", MPEG2, true, "", 16},
        {"application/dicom", EXPLICIT, true, "", 16},
        {"application/dicom", IMPLICIT, true, EXPLICIT, 16},
        {"", RLE, true, EXPLICIT, 16},
        {"application/dicom", MPEG2, false, "", 16},
        {"application/dicom; transfer-syntax=" MPEG2, MPEG2, true, "", 16},
        {"application/dicom; transfer-syntax=" MPEG2, EXPLICIT, false, "", 16},
        {"application/dicom; transfer-syntax=1.2.3", EXPLICIT, false, "", 16},
        {"application/dicom; transfer-syntax=" JPEG_LS ", application/dicom; transfer-syntax=" RLE,
         RLE, true, "", 16},
        {"multipart/related; type=\"application/dicom\"; transfer-syntax=*, application/dicom", RLE,
         true, EXPLICIT, 16},
        /* what has no encoding of fragments: reports, and doses of 32 bits in JPEG-LS */
        {"application/dicom; transfer-syntax=" JPEG_LS, IMPLICIT, false, "", 0},
        {"application/dicom; transfer-syntax=" JPEG_LS ", application/dicom", IMPLICIT, true,
         EXPLICIT, 0},
        {"application/dicom; transfer-syntax=" JPEG_LS ", application/dicom", IMPLICIT, true,
         EXPLICIT, 32},
        {"application/dicom; transfer-syntax=" RLE, IMPLICIT, true, RLE, 32},
        {"application/dicom; transfer-syntax=" RLE, IMPLICIT, false, "", 1},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        Request *req = request_new(600000);
        MediaRanges ranges;
        Str target = STR_EMPTY;
        assert_int_equal(media_ranges_read(req, str_from(cases[i].accept), &ranges), 0);
        const ImagingInstance instance = {.transfer_syntax = str_from(cases[i].stored),
                                          .bits_allocated = cases[i].bits_allocated};
        bool is_possible = media_choose_syntax(&ranges, STR(DICOM), false, &instance, &target);
        if (is_possible != cases[i].is_possible ||
            (is_possible && !str_equal(target, str_from(cases[i].target)))) {
            fail_msg("%s of %s: %.*s", cases[i].accept, cases[i].stored, STR_ARG(target));
        }
        request_free(req);
    }
}

static void an_attribute_has_a_keyword_or_eight_digits(void **state)
{
    static const struct {
        const char *name;
        bool is_one;
        uint32_t tag;
    } cases[] = {
        {"PatientID", true, 0x00100020},
        {"00100020", true, 0x00100020},
        {"0020000d", true, 0x0020000D},
        {"patientid", false, 0},
        {"0010020", false, 0},
        {"0010,0020", false, 0},
        {"", false, 0},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint32_t tag = 0;
        assert_int_equal(qido_attribute(str_from(cases[i].name), &tag), cases[i].is_one);
        assert_int_equal(cases[i].is_one ? tag : 0, cases[i].tag);
    }
}

typedef int (*ReadFn)(DicomwebExchange *exchange, DicomRendering *ret_rendering);

static int read_rendering(ReadFn read, const char *query, DicomRendering *ret_rendering)
{
    Request *req = request_new(600000);
    DicomwebExchange exchange = {.req = req};
    assert_int_equal(fhir_parameters_read(req, &exchange.parameters, str_from(query)), 0);
    int rc = read(&exchange, ret_rendering);
    request_free(req);
    return rc;
}

static void parameters_of_a_picture_are_checked(void **state)
{
    static const struct {
        ReadFn read;
        const char *query;
        bool is_good;
    } cases[] = {
        {rendering_of_rs, "", true},
        {rendering_of_rs, "viewport=100,200&window=40,400,linear&quality=1", true},
        {rendering_of_rs, "window=40,400,LINEAR-EXACT", true},
        {rendering_of_rs, "window=40,400", false},
        {rendering_of_rs, "window=40,0,linear", false},
        {rendering_of_rs, "window=40,400,cubic", false},
        {rendering_of_rs, "window=nan,400,linear", false},
        {rendering_of_rs, "viewport=0,100", false},
        {rendering_of_rs, "viewport=100", false},
        {rendering_of_rs, "viewport=1,2,3,4", false},
        {rendering_of_rs, "quality=101", false},
        {rendering_of_rs, "quality=0", false},
        {rendering_of_uri, "frameNumber=2&rows=10&columns=20&region=0,0,0.5,1", true},
        {rendering_of_uri, "windowCenter=-1.5e2&windowWidth=1", true},
        {rendering_of_uri, "windowCenter=40", false},
        {rendering_of_uri, "windowWidth=40", false},
        {rendering_of_uri, "region=0.5,0,0.5,1", false},
        {rendering_of_uri, "region=0,0,1,1.1", false},
        {rendering_of_uri, "region=0,0,1", false},
        {rendering_of_uri, "region=0,0,1,1,1,1,1", false},
        {rendering_of_uri, "frameNumber=0", false},
        {rendering_of_uri, "frameNumber=4294967296", false},
        {rendering_of_uri, "rows=-1", false},
        {rendering_of_uri, "imageQuality=x", false},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        DicomRendering rendering;
        int rc = read_rendering(cases[i].read, cases[i].query, &rendering);
        if ((rc == 0) != cases[i].is_good) {
            fail_msg("%s: %d", cases[i].query, rc);
        }
    }
}

static void a_region_becomes_corner_and_size(void **state)
{
    DicomRendering rendering;
    (void)state;
    assert_int_equal(
        read_rendering(rendering_of_uri, "region=0.25,0.5,0.75,1&frameNumber=3", &rendering), 0);
    assert_true(rendering.left == 0.25 && rendering.top == 0.5);
    assert_true(rendering.width == 0.5 && rendering.height == 0.5);
    assert_int_equal(rendering.frame, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_type_is_taken_as_accept_says),
        cmocka_unit_test(the_most_wanted_comes_first),
        cmocka_unit_test(what_is_no_accept_is_refused),
        cmocka_unit_test(an_instance_goes_as_stored_where_that_is_allowed),
        cmocka_unit_test(an_attribute_has_a_keyword_or_eight_digits),
        cmocka_unit_test(parameters_of_a_picture_are_checked),
        cmocka_unit_test(a_region_becomes_corner_and_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
