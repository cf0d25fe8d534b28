#include "lib/dicom/worker_instance.h"

#include "lib/dicom/worker_dimse.h"

void reading_begin(InstanceReading *reading, Str transfer_syntax)
{
    *reading = (InstanceReading){.arena = arena_new()};
    error_list_init(&reading->errors, reading->arena);
    reading->syntax = transfer_syntax_find(transfer_syntax);
    if (!reading->syntax) {
        reading->unknown = (TransferSyntax){.uid = str_cstr(reading->arena, transfer_syntax),
                                            .name = "unknown",
                                            .is_encapsulated = true};
        reading->syntax = &reading->unknown;
    }
    reading->scan = dicom_scan_new(reading->arena, reading->syntax);
}

bool reading_push(InstanceReading *reading, const void *bytes, size_t len)
{
    if (!reading->is_refused) {
        reading->is_refused = dicom_scan_push(reading->scan, &reading->errors, bytes, len) < 0;
    }
    return !reading->is_refused;
}

static void put_fault(StrBuf *fault, uint32_t status, uint32_t tag, Str text)
{
    worker_put_number(fault, WORKER_STATUS, status);
    if (tag != 0) {
        worker_put_number(fault, WORKER_TAG, tag);
    }
    worker_put(fault, WORKER_COMMENT, text);
}

/** The element that an error is about: its place begins with (gggg,eeee). 0: none */
static uint32_t element_of(const Error *error)
{
    uint8_t group[2];
    uint8_t element[2];
    Str place = error ? error->location : STR_EMPTY;
    if (!str_starts_with(place, STR("(")) || !str_unhex(str_slice(place, 1, 4), group, 2) ||
        !str_unhex(str_slice(place, 6, 4), element, 2)) {
        return 0;
    }
    return DICOM_TAG(group[0] << 8 | group[1], element[0] << 8 | element[1]);
}

static void put_first_error(const InstanceReading *reading, uint32_t status, StrBuf *fault)
{
    const Error *error = reading->errors.first;
    put_fault(fault, status, element_of(error), error ? error->context : STR("no data set"));
}

void reading_refuse(Str reason, StrBuf *ret_fault)
{
    put_fault(ret_fault, DIMSE_CANNOT_UNDERSTAND, 0, reason);
}

/** The element in which the data set says otherwise; 0: it is what was announced. */
static uint32_t difference(const InstanceRecord *record, const InstanceIdentity *identity)
{
    bool has_class =
        identity->sop_class.len == 0 || str_equal(identity->sop_class, record->sop_class);
    bool has_instance =
        identity->sop_instance.len == 0 || str_equal(identity->sop_instance, record->sop_instance);
    return !has_class ? DICOM_TAG(0x0008, 0x0016) : !has_instance ? DICOM_TAG(0x0008, 0x0018) : 0;
}

void reading_end(InstanceReading *reading, const InstanceIdentity *identity, StrBuf *ret_record,
                 StrBuf *ret_fault)
{
    DicomScanned scanned;
    InstanceRecord record;

    if (reading->is_refused || dicom_scan_end(reading->scan, &reading->errors, &scanned) < 0) {
        put_first_error(reading, DIMSE_CANNOT_UNDERSTAND, ret_fault);
        return;
    }
    if (instance_record_make(reading->arena, &reading->errors, &scanned, reading->syntax, &record) <
        0) {
        put_first_error(reading, DIMSE_MISMATCH, ret_fault);
        return;
    }
    uint32_t differs = difference(&record, identity);
    if (differs && identity->is_binding) { /* PS3.4 B.2.3 */
        put_fault(ret_fault, DIMSE_MISMATCH, differs,
                  STR("the data set names another SOP class or instance"));
        return;
    }
    if (differs && record.warning.len == 0) {
        record.warning = STR("file meta information and data set name different SOP UIDs");
    }
    instance_record_write(&record, ret_record);
}

void reading_done(InstanceReading *reading)
{
    dicom_scan_free(reading->scan);
    arena_free(reading->arena);
}
