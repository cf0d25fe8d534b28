#include <string.h>

#include "lib/dicom/record.h"

/* A record as bytes: texts (32 bits of length, then UTF-8), numbers (64 bits), frames, references;
 * all little endian, always all of them, in the order of the tables below. */

#define FRAME_BYTES 20     /* offset, length, fragments */
#define REFERENCE_BYTES 17 /* at least: four empty texts, flags */

/** UIDs that must be there come first. */
static const size_t uid_fields[] = {
    offsetof(InstanceRecord, study_uid),       offsetof(InstanceRecord, series_uid),
    offsetof(InstanceRecord, sop_class),       offsetof(InstanceRecord, sop_instance),
    offsetof(InstanceRecord, transfer_syntax),
};

static const size_t text_fields[] = {
    offsetof(InstanceRecord, patient_id),
    offsetof(InstanceRecord, patient_id_issuer),
    offsetof(InstanceRecord, patient_id_oid),
    offsetof(InstanceRecord, accession_oid),
    offsetof(InstanceRecord, placer_order),
    offsetof(InstanceRecord, placer_order_oid),
#define FIELD(level, name, tag, vr) offsetof(InstanceRecord, name),
#include "lib/dicom/record.def"
#undef FIELD
    offsetof(InstanceRecord, procedure.value),
    offsetof(InstanceRecord, procedure.scheme),
    offsetof(InstanceRecord, procedure.meaning),
    offsetof(InstanceRecord, anatomy.value),
    offsetof(InstanceRecord, anatomy.scheme),
    offsetof(InstanceRecord, anatomy.meaning),
    offsetof(InstanceRecord, selection.title.value),
    offsetof(InstanceRecord, selection.title.scheme),
    offsetof(InstanceRecord, selection.title.meaning),
    offsetof(InstanceRecord, selection.retrieve_location_uid),
    offsetof(InstanceRecord, selection.retrieve_ae_title),
    offsetof(InstanceRecord, json),
    offsetof(InstanceRecord, warning),
};

static const size_t number_fields[] = {
    offsetof(InstanceRecord, rows),
    offsetof(InstanceRecord, columns),
    offsetof(InstanceRecord, bits_allocated),
    offsetof(InstanceRecord, samples_per_pixel),
    offsetof(InstanceRecord, number_of_frames),
    offsetof(InstanceRecord, data_set_bytes),
    offsetof(InstanceRecord, pixel_offset),
};

/** Bits of the flags. */
enum {
    HAS_PIXEL_DATA = 1,
    IS_LOSSY = 2,
    TEXT_CONTRADICTS = 4,
    TEXT_HAS_UNREADABLE = 8,
    FLAGS_END = 16
};
enum { IN_CONTENT = 1, IN_EVIDENCE = 2, REFERENCE_FLAGS_END = 4 };

/* ---- writing ---- */

static void put_number(StrBuf *buf, uint64_t number, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        strbuf_append_char(buf, (char)(uint8_t)(number >> (8 * i)));
    }
}

static void put_text(StrBuf *buf, Str text)
{
    put_number(buf, text.len, 4);
    strbuf_append(buf, text);
}

static void put_texts(StrBuf *buf, const InstanceRecord *record, const size_t *fields, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        Str text;
        memcpy(&text, (const char *)record + fields[i], sizeof(text));
        put_text(buf, text);
    }
}

static void put_reading(StrBuf *buf, const InstanceRecord *record)
{
    uint64_t confidence;
    memcpy(&confidence, &record->text.confidence, sizeof(confidence));
    put_number(buf,
               (record->has_pixel_data ? HAS_PIXEL_DATA : 0U) | (record->is_lossy ? IS_LOSSY : 0U) |
                   (record->text.contradicts ? TEXT_CONTRADICTS : 0U) |
                   (record->text.has_unreadable ? TEXT_HAS_UNREADABLE : 0U),
               1);
    put_number(buf, record->text.declared, 1);
    put_number(buf, record->text.used, 1);
    put_number(buf, confidence, 8);
}

void instance_record_write(const InstanceRecord *record, StrBuf *buf)
{
    put_texts(buf, record, uid_fields, ARRAY_LEN(uid_fields));
    put_texts(buf, record, text_fields, ARRAY_LEN(text_fields));
    for (size_t i = 0; i < ARRAY_LEN(number_fields); i++) {
        uint64_t number;
        memcpy(&number, (const char *)record + number_fields[i], sizeof(number));
        put_number(buf, number, 8);
    }
    put_reading(buf, record);
    put_number(buf, record->frame_count, 4);
    for (size_t i = 0; i < record->frame_count; i++) {
        put_number(buf, record->frames[i].offset, 8);
        put_number(buf, record->frames[i].length, 8);
        put_number(buf, record->frames[i].fragments, 4);
    }
    put_number(buf, record->selection.reference_count, 4);
    for (size_t i = 0; i < record->selection.reference_count; i++) {
        const InstanceReference *reference = &record->selection.references[i];
        put_text(buf, reference->study_uid);
        put_text(buf, reference->series_uid);
        put_text(buf, reference->sop_class);
        put_text(buf, reference->sop_instance);
        put_number(buf,
                   (reference->is_in_content ? IN_CONTENT : 0U) |
                       (reference->is_in_evidence ? IN_EVIDENCE : 0U),
                   1);
    }
}

/* ---- reading ---- */

static bool take_number(Str *rest, size_t bytes, uint64_t *ret_number)
{
    if (rest->len < bytes) {
        return false;
    }
    uint64_t number = 0;
    for (size_t i = bytes; i-- > 0;) {
        number = number << 8 | (uint8_t)rest->data[i];
    }
    *rest = str_from_offset(*rest, bytes);
    *ret_number = number;
    return true;
}

/** Texts go into the database: UTF-8 without NUL. */
static bool take_text(Str *rest, Str *ret_text)
{
    uint64_t len;
    if (!take_number(rest, 4, &len) || len > rest->len) {
        return false;
    }
    Str text = str_slice(*rest, 0, len);
    *rest = str_from_offset(*rest, len);
    *ret_text = text;
    return str_is_utf8(text);
}

static bool take_texts(Str *rest, InstanceRecord *record, const size_t *fields, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        Str text;
        if (!take_text(rest, &text)) {
            return false;
        }
        memcpy((char *)record + fields[i], &text, sizeof(text));
    }
    return true;
}

static bool take_numbers(Str *rest, InstanceRecord *record)
{
    for (size_t i = 0; i < ARRAY_LEN(number_fields); i++) {
        uint64_t number;
        if (!take_number(rest, 8, &number) || number > INT64_MAX) {
            return false;
        }
        memcpy((char *)record + number_fields[i], &number, sizeof(number));
    }
    return record->pixel_offset <= record->data_set_bytes;
}

static bool take_reading(Str *rest, InstanceRecord *record)
{
    uint64_t flags;
    uint64_t declared;
    uint64_t used;
    uint64_t bits;
    if (!take_number(rest, 1, &flags) || !take_number(rest, 1, &declared) ||
        !take_number(rest, 1, &used) || !take_number(rest, 8, &bits) || flags >= FLAGS_END ||
        declared >= CHARSET_COUNT || used >= CHARSET_COUNT) {
        return false;
    }
    record->has_pixel_data = flags & HAS_PIXEL_DATA;
    record->is_lossy = flags & IS_LOSSY;
    record->text.contradicts = flags & TEXT_CONTRADICTS;
    record->text.has_unreadable = flags & TEXT_HAS_UNREADABLE;
    record->text.declared = (CharacterSet)declared;
    record->text.used = (CharacterSet)used;
    memcpy(&record->text.confidence, &bits, sizeof(bits));
    return record->text.confidence >= 0 && record->text.confidence <= 1;
}

static bool take_frames(Arena *arena, Str *rest, InstanceRecord *record)
{
    uint64_t count;
    if (!take_number(rest, 4, &count) || count > DICOM_FRAMES_MAX ||
        count > rest->len / FRAME_BYTES) {
        return false;
    }
    DicomFrame *frames = ARENA_ARRAY(arena, DicomFrame, count);
    for (size_t i = 0; i < count; i++) {
        uint64_t fragments;
        if (!take_number(rest, 8, &frames[i].offset) || !take_number(rest, 8, &frames[i].length) ||
            !take_number(rest, 4, &fragments) || fragments == 0 ||
            frames[i].offset > record->data_set_bytes ||
            frames[i].length > record->data_set_bytes - frames[i].offset) {
            return false;
        }
        frames[i].fragments = (uint32_t)fragments;
    }
    record->frames = frames;
    record->frame_count = count;
    return true;
}

static bool is_uid_or_empty(Str uid)
{
    return uid.len == 0 || dicom_uid_is_valid(uid);
}

static bool take_reference(Str *rest, InstanceReference *reference)
{
    uint64_t flags;
    if (!take_text(rest, &reference->study_uid) || !take_text(rest, &reference->series_uid) ||
        !take_text(rest, &reference->sop_class) || !take_text(rest, &reference->sop_instance) ||
        !take_number(rest, 1, &flags) || flags >= REFERENCE_FLAGS_END) {
        return false;
    }
    reference->is_in_content = flags & IN_CONTENT;
    reference->is_in_evidence = flags & IN_EVIDENCE;
    return is_uid_or_empty(reference->study_uid) && is_uid_or_empty(reference->series_uid) &&
           dicom_uid_is_valid(reference->sop_class) && dicom_uid_is_valid(reference->sop_instance);
}

static bool take_references(Arena *arena, Str *rest, KeyObjectSelection *selection)
{
    uint64_t count;
    if (!take_number(rest, 4, &count) || count > rest->len / REFERENCE_BYTES) {
        return false;
    }
    InstanceReference *references = ARENA_ARRAY(arena, InstanceReference, count);
    for (size_t i = 0; i < count; i++) {
        if (!take_reference(rest, &references[i])) {
            return false;
        }
    }
    selection->references = references;
    selection->reference_count = count;
    return true;
}

static bool has_uids(const InstanceRecord *record)
{
    for (size_t i = 0; i < ARRAY_LEN(uid_fields); i++) {
        Str uid;
        memcpy(&uid, (const char *)record + uid_fields[i], sizeof(uid));
        if (!dicom_uid_is_valid(uid)) {
            return false;
        }
    }
    return is_uid_or_empty(record->patient_id_oid) && is_uid_or_empty(record->accession_oid) &&
           is_uid_or_empty(record->placer_order_oid) &&
           is_uid_or_empty(record->selection.retrieve_location_uid);
}

bool instance_record_read(Arena *arena, Str bytes, InstanceRecord *ret_record)
{
    InstanceRecord record = {0};
    if (!take_texts(&bytes, &record, uid_fields, ARRAY_LEN(uid_fields)) ||
        !take_texts(&bytes, &record, text_fields, ARRAY_LEN(text_fields)) ||
        !take_numbers(&bytes, &record) || !take_reading(&bytes, &record) ||
        !take_frames(arena, &bytes, &record) ||
        !take_references(arena, &bytes, &record.selection) || bytes.len > 0 || !has_uids(&record)) {
        return false;
    }
    *ret_record = record;
    return true;
}
