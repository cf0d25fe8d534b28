#include "lib/dicom/record.h"

#include <stdlib.h>

#include "lib/base/crc32c.h"
#include "lib/dicom/json.h"
#include "lib/dicom/key_object.h"

/** What an index has room for; metadata holds texts in full. */
#define TEXT_MAX 4096
/** Of a PatientID: with what is put behind it when it is cut, it fits into a column of the index.
 */
#define PATIENT_ID_MAX 960
/** With frames, references and texts it stays below a message (WORKER_MESSAGE_MAX). */
#define JSON_MAX ((size_t)28 << 20)

#define TAG_SOP_CLASS DICOM_TAG(0x0008, 0x0016)
#define TAG_SOP_INSTANCE DICOM_TAG(0x0008, 0x0018)
#define TAG_ACCESSION_ISSUER DICOM_TAG(0x0008, 0x0051)
#define TAG_CODE_VALUE DICOM_TAG(0x0008, 0x0100)
#define TAG_CODE_SCHEME DICOM_TAG(0x0008, 0x0102)
#define TAG_CODE_MEANING DICOM_TAG(0x0008, 0x0104)
#define TAG_LONG_CODE_VALUE DICOM_TAG(0x0008, 0x0119)
#define TAG_URN_CODE_VALUE DICOM_TAG(0x0008, 0x0120)
#define TAG_PROCEDURE_CODE DICOM_TAG(0x0008, 0x1032)
#define TAG_ANATOMIC_REGION DICOM_TAG(0x0008, 0x2218)
#define TAG_PATIENT_ID DICOM_TAG(0x0010, 0x0020)
#define TAG_PATIENT_ID_ISSUER DICOM_TAG(0x0010, 0x0021)
#define TAG_PATIENT_ID_QUALIFIERS DICOM_TAG(0x0010, 0x0024)
#define TAG_STUDY_UID DICOM_TAG(0x0020, 0x000D)
#define TAG_SERIES_UID DICOM_TAG(0x0020, 0x000E)
#define TAG_LOSSY DICOM_TAG(0x0028, 0x2110)
#define TAG_PLACER_ISSUER DICOM_TAG(0x0040, 0x0026)
#define TAG_ISSUER_UID DICOM_TAG(0x0040, 0x0032)
#define TAG_ISSUER_UID_TYPE DICOM_TAG(0x0040, 0x0033)
#define TAG_REQUEST_ATTRIBUTES DICOM_TAG(0x0040, 0x0275)
#define TAG_PLACER_ORDER DICOM_TAG(0x0040, 0x2016)
#define TAG_REFERENCED_REQUEST DICOM_TAG(0x0040, 0xA370)

typedef struct Reader {
    Arena *arena;
    ErrorList *errors;
    TextReading text;
} Reader;

/* ---- values ---- */

static bool has_text(const DicomElement *element)
{
    enum { TEXT = 1, LONG_TEXT = 1, PERSON = 1, CODED = 1, NUMBER = 1 };
    enum { BINARY = 0, BYTES = 0, TAG = 0, SEQUENCE = 0 };
    static const bool is_text[] = {
#define VR(name, kind, has_long_length, pad) kind,
#include "lib/dicom/vr.def"
#undef VR
    };
    return is_text[element->vr];
}

/** A text without padding. */
static Str whole_text_of(const Reader *reader, const DicomDataset *dataset, uint32_t tag)
{
    const DicomElement *element = dicom_find(dataset, tag);
    return element && has_text(element)
               ? str_trim(dicom_text(reader->arena, &reader->text, dataset, element))
               : STR_EMPTY;
}

/** Cut between characters. */
static Str cut_text(Str text, size_t len_max)
{
    if (text.len > len_max) {
        text.len = len_max;
        while (text.len > 0 && ((uint8_t)text.data[text.len] & 0xC0) == 0x80) {
            text.len--;
        }
    }
    return text;
}

static Str text_of(const Reader *reader, const DicomDataset *dataset, uint32_t tag)
{
    return cut_text(whole_text_of(reader, dataset, tag), TEXT_MAX);
}

/** One that has to be cut is too long for anybody to have it, and still no other one. */
static Str patient_id_of(const Reader *reader, const DicomDataset *dataset)
{
    Str id = whole_text_of(reader, dataset, TAG_PATIENT_ID);
    return id.len <= PATIENT_ID_MAX
               ? id
               : str_printf(reader->arena, "%.*s#%zu-%08x", STR_ARG(cut_text(id, PATIENT_ID_MAX)),
                            id.len, (unsigned)crc32c(0, id.data, id.len));
}

/** A code (PS3.3 8.8); long and URN code values count as well. */
static DicomCode code_of(const Reader *reader, const DicomDataset *item)
{
    static const uint32_t values[] = {TAG_CODE_VALUE, TAG_LONG_CODE_VALUE, TAG_URN_CODE_VALUE};
    DicomCode code = {.value = STR_EMPTY,
                      .scheme = text_of(reader, item, TAG_CODE_SCHEME),
                      .meaning = text_of(reader, item, TAG_CODE_MEANING)};
    for (size_t i = 0; i < ARRAY_LEN(values) && code.value.len == 0; i++) {
        code.value = text_of(reader, item, values[i]);
    }
    return code;
}

/** The OID of an issuer: the universal entity of an item, where its type is ISO. */
static Str issuer_oid(const DicomDataset *dataset, uint32_t tag)
{
    const DicomDataset *issuer = dicom_item(dataset, tag, 0);
    Str oid = dicom_value(issuer, TAG_ISSUER_UID);
    bool is_iso = str_equal(dicom_value(issuer, TAG_ISSUER_UID_TYPE), STR("ISO"));
    return is_iso && dicom_uid_is_valid(oid) ? oid : STR_EMPTY;
}

static int read_uid(const Reader *reader, const DicomDataset *dataset, uint32_t tag,
                    const char *name, Str *ret_uid)
{
    Str uid = dicom_value(dataset, tag);
    if (uid.len == 0) {
        return error_add(reader->errors, ERR_DICOM_DATA_SET, name,
                         "%s is missing; every instance must have one", name);
    }
    if (!dicom_uid_is_valid(uid)) {
        return error_add(reader->errors, ERR_DICOM_DATA_SET, name,
                         "%s is no UID: 1 to 64 digits and dots, no component with a leading zero "
                         "(PS3.5 9.1)",
                         name);
    }
    *ret_uid = uid;
    return 0;
}

/** A number that tells where pixels are; absent is 0, something else than a number an error. */
static int read_size(const Reader *reader, const DicomDataset *dataset, uint32_t tag,
                     const char *name, int64_t *ret_number)
{
    int64_t number = 0;
    bool is_number = dicom_number(dataset, tag, &number);
    const DicomElement *element = dicom_find(dataset, tag);
    bool is_text = element && element->vr == DICOM_VR_IS && dicom_value(dataset, tag).len > 0;
    if (number < 0 || (is_text && !is_number)) {
        return error_add(reader->errors, ERR_DICOM_DATA_SET, name,
                         "%s is no number, so nobody can tell one frame from the next; send a "
                         "positive integer (IS, PS3.5 6.2)",
                         name);
    }
    *ret_number = number;
    return 0;
}

/* ---- parts of a record ---- */

static int read_uids(const Reader *reader, const DicomDataset *dataset, InstanceRecord *record)
{
    int r = 0; /* all faults at once */
    r |= read_uid(reader, dataset, TAG_STUDY_UID, "(0020,000D) Study Instance UID",
                  &record->study_uid);
    r |= read_uid(reader, dataset, TAG_SERIES_UID, "(0020,000E) Series Instance UID",
                  &record->series_uid);
    r |= read_uid(reader, dataset, TAG_SOP_CLASS, "(0008,0016) SOP Class UID", &record->sop_class);
    r |= read_uid(reader, dataset, TAG_SOP_INSTANCE, "(0008,0018) SOP Instance UID",
                  &record->sop_instance);
    return r < 0 ? -ERR_DICOM_DATA_SET : 0;
}

static int read_sizes(const Reader *reader, const DicomDataset *dataset, InstanceRecord *record)
{
    int r = 0;
    r |= read_size(reader, dataset, DICOM_TAG(0x0028, 0x0010), "(0028,0010) Rows", &record->rows);
    r |= read_size(reader, dataset, DICOM_TAG(0x0028, 0x0011), "(0028,0011) Columns",
                   &record->columns);
    r |= read_size(reader, dataset, DICOM_TAG(0x0028, 0x0100), "(0028,0100) Bits Allocated",
                   &record->bits_allocated);
    r |= read_size(reader, dataset, DICOM_TAG(0x0028, 0x0002), "(0028,0002) Samples per Pixel",
                   &record->samples_per_pixel);
    r |= read_size(reader, dataset, DICOM_TAG(0x0028, 0x0008), "(0028,0008) Number of Frames",
                   &record->number_of_frames);
    return r < 0 ? -ERR_DICOM_DATA_SET : 0;
}

static void read_patient_and_order(const Reader *reader, const DicomDataset *dataset,
                                   InstanceRecord *record)
{
    record->patient_id = patient_id_of(reader, dataset);
    record->patient_id_issuer = text_of(reader, dataset, TAG_PATIENT_ID_ISSUER);
    record->patient_id_oid = issuer_oid(dataset, TAG_PATIENT_ID_QUALIFIERS);
    record->accession_oid = issuer_oid(dataset, TAG_ACCESSION_ISSUER);
    const DicomDataset *request = dicom_item(dataset, TAG_REFERENCED_REQUEST, 0);
    const DicomDataset *holder = dicom_find(request, TAG_PLACER_ORDER) ? request : dataset;
    record->placer_order = text_of(reader, holder, TAG_PLACER_ORDER);
    record->placer_order_oid = issuer_oid(holder, TAG_PLACER_ISSUER);
    const DicomDataset *const holders[] = {dataset, request,
                                           dicom_item(dataset, TAG_REQUEST_ATTRIBUTES, 0)};
    for (size_t i = 0; i < ARRAY_LEN(holders) && record->procedure.value.len == 0; i++) {
        record->procedure = code_of(reader, dicom_item(holders[i], TAG_PROCEDURE_CODE, 0));
    }
    record->anatomy = code_of(reader, dicom_item(dataset, TAG_ANATOMIC_REGION, 0));
#define FIELD(level, name, tag, vr) record->name = text_of(reader, dataset, tag);
#include "lib/dicom/record.def"
#undef FIELD
}

static void read_pixels(const DicomScanned *scanned, const TransferSyntax *syntax,
                        InstanceRecord *record)
{
    static const uint16_t elements[] = {0x0010, 0x0008, 0x0009};
    record->has_pixel_data = scanned->has_pixel_data;
    record->is_lossy = str_equal(dicom_value(scanned->dataset, TAG_LOSSY), STR("01"));
    record->frames = scanned->frames;
    record->frame_count = scanned->frame_count;
    for (size_t i = 0; i < ARRAY_LEN(elements) && record->pixel_offset == 0; i++) {
        const DicomElement *pixels = dicom_find(scanned->dataset, DICOM_TAG(0x7FE0, elements[i]));
        bool is_in_place = pixels && !scanned->is_encapsulated && !syntax->is_deflated;
        record->pixel_offset = is_in_place ? pixels->offset : 0;
    }
}

static int write_json(const Reader *reader, const DicomDataset *dataset, InstanceRecord *record)
{
    StrBuf json = {0};
    dicom_json_write(dataset, &reader->text, &json);
    bool is_small = json.len <= JSON_MAX;
    if (is_small) {
        record->json = str_dup(reader->arena, strbuf_str(&json));
    }
    strbuf_done(&json);
    return is_small ? 0
                    : error_add(reader->errors, ERR_DICOM_DATA_SET, "",
                                "The elements beside bulk data take more than 28 MiB as metadata");
}

int instance_record_make(Arena *arena, ErrorList *errors, const DicomScanned *scanned,
                         const TransferSyntax *syntax, InstanceRecord *ret_record)
{
    if (!syntax) {
        return error_add(errors, ERR_DICOM_DATA_SET, "",
                         "The transfer syntax is not known, so the data set cannot be read; send "
                         "it in one of PS3.6 Annex A");
    }
    const DicomDataset *dataset = scanned->dataset;
    Reader reader = {.arena = arena, .errors = errors, .text = dicom_text_reading(arena, dataset)};
    InstanceRecord record = {.transfer_syntax = str_from(syntax->uid),
                             .text = reader.text,
                             .data_set_bytes = scanned->size_bytes,
                             .warning = str_from(scanned->warning)};
    int r = read_uids(&reader, dataset, &record);
    if (read_sizes(&reader, dataset, &record) < 0 || r < 0) {
        return -ERR_DICOM_DATA_SET;
    }
    read_patient_and_order(&reader, dataset, &record);
    read_pixels(scanned, syntax, &record);
    if (str_equal(record.sop_class, STR(UID_KEY_OBJECT_SELECTION))) {
        r = key_object_read(arena, errors, dataset, &record.selection);
        record.selection.title =
            code_of(&reader, dicom_item(dataset, DICOM_TAG(0x0040, 0xA043), 0));
    }
    if (r < 0 || write_json(&reader, dataset, &record) < 0) {
        return -ERR_DICOM_DATA_SET;
    }
    *ret_record = record;
    return 0;
}
