#include "lib/dicom/worker_identifier.h"

#include <stdio.h>
#include <string.h>

#include "lib/dicom/scan.h"
#include "lib/dicom/text.h"
#include "lib/dicom/worker_fields.h"

#define CHARACTER_SET DICOM_TAG(0x0008, 0x0005)
#define LEVEL DICOM_TAG(0x0008, 0x0052)
#define TRANSACTION_UID DICOM_TAG(0x0008, 0x1195)
#define REFERENCED_CLASS DICOM_TAG(0x0008, 0x1150)
#define REFERENCED_INSTANCE DICOM_TAG(0x0008, 0x1155)
#define REFERENCED_SEQUENCE DICOM_TAG(0x0008, 0x1199)
#define FAILURE_REASON DICOM_TAG(0x0008, 0x1197)
#define FAILED_SEQUENCE DICOM_TAG(0x0008, 0x1198)
#define KEY_HEADER 10U /* tag and VR */

static int scan(Arena *arena, Str data_set, const TransferSyntax *syntax, ErrorList *errors,
                DicomScanned *ret_scanned)
{
    DicomScan *reading = dicom_scan_new(arena, syntax);
    int rc = dicom_scan_push(reading, errors, data_set.data, data_set.len);
    rc = rc < 0 ? rc : dicom_scan_end(reading, errors, ret_scanned);
    dicom_scan_free(reading);
    return rc;
}

/* ---- queries ---- */

static void put_key(StrBuf *fields, const DicomElement *element, Str value)
{
    _cleanup_(strbuf_done) StrBuf key = {0};
    strbuf_printf(&key, "%08X%s", (unsigned)element->tag, dicom_vr_name(element->vr));
    strbuf_append(&key, value);
    worker_put(fields, WORKER_KEY, strbuf_str(&key));
}

static bool is_key(const DicomElement *element)
{
    return element->tag != CHARACTER_SET && element->tag != LEVEL && (element->tag & 0xffff) != 0;
}

int identifier_read(Str data_set, const TransferSyntax *syntax, ErrorList *errors,
                    StrBuf *ret_fields)
{
    _cleanup_(arena_freep) Arena *arena = arena_new();
    DicomScanned scanned;
    int rc = scan(arena, data_set, syntax, errors, &scanned);
    if (rc < 0) {
        return rc;
    }
    const DicomDataset *root = scanned.dataset;
    TextReading reading = dicom_text_reading(arena, root);
    worker_put(ret_fields, WORKER_LEVEL, dicom_value(root, LEVEL));
    for (size_t i = 0; i < root->count; i++) {
        const DicomElement *element = &root->elements[i];
        if (is_key(element)) {
            put_key(ret_fields, element,
                    element->vr == DICOM_VR_SQ ? STR_EMPTY
                                               : dicom_text(arena, &reading, root, element));
        }
    }
    return 0;
}

static bool is_ascii(Str text)
{
    for (size_t i = 0; i < text.len; i++) {
        if ((unsigned char)text.data[i] > '~') {
            return false;
        }
    }
    return true;
}

/** Two bytes of a US, four of a UL: numbers come as decimal digits. */
static Str value_of(Arena *arena, DicomVr vr, Str text)
{
    uint64_t number = 0;
    size_t len = vr == DICOM_VR_US ? 2 : vr == DICOM_VR_UL ? 4 : 0;
    if (len == 0 || !str_to_u64(text, &number)) {
        return text;
    }
    char *bytes = arena_alloc(arena, len);
    for (size_t i = 0; i < len; i++) {
        bytes[i] = (char)(number >> (8 * i) & 0xff);
    }
    return (Str){bytes, len};
}

static bool find_vr(Str name, DicomVr *ret_vr)
{
    for (int vr = 0; vr < DICOM_VR_COUNT; vr++) {
        if (str_equal(name, str_from(dicom_vr_name((DicomVr)vr)))) {
            *ret_vr = (DicomVr)vr;
            return true;
        }
    }
    return false;
}

static bool take_key(Arena *arena, DicomDataset *data_set, Str key)
{
    uint8_t tag[4];
    DicomVr vr;
    if (key.len < KEY_HEADER || !str_unhex(str_slice(key, 0, 8), tag, sizeof(tag)) ||
        !find_vr(str_slice(key, 8, 2), &vr)) {
        return false;
    }
    uint32_t number =
        (uint32_t)tag[0] << 24 | (uint32_t)tag[1] << 16 | (uint32_t)tag[2] << 8 | tag[3];
    dicom_put(arena, data_set, number, vr, value_of(arena, vr, str_from_offset(key, KEY_HEADER)));
    return true;
}

bool identifier_write(Str fields, Str level, const TransferSyntax *syntax, StrBuf *ret_data_set)
{
    _cleanup_(arena_freep) Arena *arena = arena_new();
    DicomDataset *data_set = dicom_dataset_new(arena);
    bool is_all_ascii = true;
    WorkerField field;
    Str value;

    while (worker_next(&fields, &field, &value)) {
        if (field == WORKER_KEY) {
            if (!take_key(arena, data_set, value)) {
                return false;
            }
            is_all_ascii = is_all_ascii && is_ascii(value);
        }
    }
    dicom_put(arena, data_set, LEVEL, DICOM_VR_CS, level);
    if (!is_all_ascii) {
        dicom_put(arena, data_set, CHARACTER_SET, DICOM_VR_CS, STR("ISO_IR 192"));
    }
    dicom_write(data_set, syntax, ret_data_set);
    return true;
}

/* ---- storage commitment ---- */

int commitment_read(Str data_set, const TransferSyntax *syntax, ErrorList *errors,
                    StrBuf *ret_fields)
{
    _cleanup_(arena_freep) Arena *arena = arena_new();
    DicomScanned scanned;
    int rc = scan(arena, data_set, syntax, errors, &scanned);
    if (rc < 0) {
        return rc;
    }
    Str transaction = dicom_value(scanned.dataset, TRANSACTION_UID);
    const DicomDataset *item = dicom_item(scanned.dataset, REFERENCED_SEQUENCE, 0);
    if (!dicom_uid_is_valid(transaction) || !item) {
        return error_add(errors, ERR_DICOM_DATA_SET, NULL,
                         "a request for storage commitment needs (0008,1195) and (0008,1199)");
    }
    worker_put(ret_fields, WORKER_TRANSACTION_UID, transaction);
    for (size_t i = 1; item; i++) {
        _cleanup_(strbuf_done) StrBuf reference = {0};
        strbuf_append(&reference, dicom_value(item, REFERENCED_CLASS));
        strbuf_append_char(&reference, ' ');
        strbuf_append(&reference, dicom_value(item, REFERENCED_INSTANCE));
        worker_put(ret_fields, WORKER_REFERENCE, strbuf_str(&reference));
        item = dicom_item(scanned.dataset, REFERENCED_SEQUENCE, i);
    }
    return 0;
}

/** Class, instance and, for a failed one, reason: blanks between. */
static void add_reference(Arena *arena, DicomDataset *data_set, uint32_t sequence, Str value)
{
    Str sop_class;
    Str sop_instance;
    Str reason;
    uint64_t number = 0;
    DicomDataset *item = dicom_add_item(arena, data_set, sequence);

    if (str_split_next(&value, ' ', &sop_class)) {
        dicom_put(arena, item, REFERENCED_CLASS, DICOM_VR_UI, sop_class);
    }
    if (str_split_next(&value, ' ', &sop_instance)) {
        dicom_put(arena, item, REFERENCED_INSTANCE, DICOM_VR_UI, sop_instance);
    }
    if (str_split_next(&value, ' ', &reason) && str_to_u64(reason, &number)) {
        dicom_put_us(arena, item, FAILURE_REASON, (uint16_t)number);
    }
}

void commitment_write(Str fields, const TransferSyntax *syntax, StrBuf *ret_data_set)
{
    _cleanup_(arena_freep) Arena *arena = arena_new();
    DicomDataset *data_set = dicom_dataset_new(arena);
    WorkerField field;
    Str value;

    while (worker_next(&fields, &field, &value)) {
        if (field == WORKER_TRANSACTION_UID) {
            dicom_put(arena, data_set, TRANSACTION_UID, DICOM_VR_UI, value);
        } else if (field == WORKER_REFERENCE) {
            add_reference(arena, data_set, REFERENCED_SEQUENCE, value);
        } else if (field == WORKER_FAILED_INSTANCE) {
            add_reference(arena, data_set, FAILED_SEQUENCE, value);
        }
    }
    dicom_write(data_set, syntax, ret_data_set);
}

uint32_t commitment_event(Str fields)
{
    return worker_get(fields, WORKER_FAILED_INSTANCE).len > 0 ? 2 : 1;
}
