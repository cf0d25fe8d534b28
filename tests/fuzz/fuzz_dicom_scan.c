/* Data sets in every encoding: the result is the same however the bytes are cut, and what is made
 * of it (metadata, record, the data set written again) can be read back. Byte 0 chooses the
 * transfer syntax, byte 1 the size of the pieces. */
#include <jansson.h>
#include <stdio.h>

#include "lib/dicom/json.h"
#include "lib/dicom/record.h"

#include "tests/fuzz/fuzz.h"

static const char *const syntaxes[] = {
    "1.2.840.10008.1.2",      "1.2.840.10008.1.2.1",    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.5",
};

/** @return as dicom_scan_end() */
static int scan(Arena *arena, const TransferSyntax *syntax, Str bytes, size_t step,
                DicomScanned *ret_scanned)
{
    ErrorList errors;
    error_list_init(&errors, arena);
    DicomScan *scan = dicom_scan_new(arena, syntax);
    int r = 0;
    for (size_t at = 0; r == 0 && at < bytes.len; at += step) {
        r = dicom_scan_push(scan, &errors, bytes.data + at, MIN(step, bytes.len - at));
    }
    if (r == 0) {
        r = dicom_scan_end(scan, &errors, ret_scanned);
    }
    dicom_scan_free(scan);
    FUZZ_CHECK((r < 0) == error_list_has_errors(&errors));
    return r;
}

static void write_json(Arena *arena, const DicomScanned *scanned, StrBuf *buf)
{
    TextReading reading = dicom_text_reading(arena, scanned->dataset);
    dicom_json_write(scanned->dataset, &reading, buf);
}

static void check_json(Str text)
{
    FUZZ_CHECK(str_is_utf8(text));
    json_error_t error;
    json_t *root = json_loadb(text.data, text.len, JSON_REJECT_DUPLICATES, &error);
    FUZZ_CHECK(json_is_object(root));
    json_decref(root);
}

static void check_record(Arena *arena, const DicomScanned *scanned, const TransferSyntax *syntax)
{
    ErrorList errors;
    error_list_init(&errors, arena);
    InstanceRecord record;
    if (instance_record_make(arena, &errors, scanned, syntax, &record) < 0) {
        FUZZ_CHECK(error_list_has_errors(&errors));
        return;
    }
    StrBuf message = {0};
    instance_record_write(&record, &message);
    InstanceRecord read;
    FUZZ_CHECK(instance_record_read(arena, strbuf_str(&message), &read));
    strbuf_done(&message);
}

/** What dicom_write() writes is a data set without fault. */
static void check_written(Arena *arena, const DicomScanned *scanned, const char *uid)
{
    const TransferSyntax *syntax = transfer_syntax_find(str_from(uid));
    StrBuf written = {0};
    dicom_write(scanned->dataset, syntax, &written);
    DicomScanned again;
    FUZZ_CHECK(scan(arena, syntax, strbuf_str(&written), written.len + 1, &again) == 0);
    strbuf_done(&written);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    if (len < 2) {
        return 0;
    }
    Arena *arena = arena_new();
    const TransferSyntax *syntax =
        transfer_syntax_find(str_from(syntaxes[bytes[0] % ARRAY_LEN(syntaxes)]));
    size_t step = 1 + bytes[1] % 64;
    Str body = {(const char *)bytes + 2, len - 2};
    DicomScanned whole;
    DicomScanned cut;
    int r = scan(arena, syntax, body, body.len + 1, &whole);
    FUZZ_CHECK(scan(arena, syntax, body, step, &cut) == r);
    if (r == 0) {
        StrBuf json = {0};
        StrBuf same = {0};
        write_json(arena, &whole, &json);
        write_json(arena, &cut, &same);
        FUZZ_CHECK(str_equal(strbuf_str(&json), strbuf_str(&same)));
        FUZZ_CHECK(whole.frame_count == cut.frame_count);
        check_json(strbuf_str(&json));
        strbuf_done(&json);
        strbuf_done(&same);
        check_record(arena, &whole, syntax);
        check_written(arena, &whole, UID_EXPLICIT_LITTLE_ENDIAN);
    }
    arena_free(arena);
    return 0;
}
