#pragma once

#include "lib/dicom/scan.h"
#include "lib/dicom/text.h"

/**
 * What the center keeps of an instance beside its bytes. Made once, where its bytes are parsed (in
 * a sandboxed process), and handed to the server as a message, which trusts it as little as the
 * sender of the instance.
 */

/** A code sequence's item. */
typedef struct DicomCode {
    Str value;
    Str scheme;
    Str meaning;
} DicomCode;

/** One instance that a key object selection names (PS3.3 C.17.2.1). */
typedef struct InstanceReference {
    Str study_uid;
    Str series_uid;
    Str sop_class;
    Str sop_instance;
    bool is_in_content;  /* Content Sequence */
    bool is_in_evidence; /* Current Requested Procedure Evidence Sequence */
} InstanceReference;

/** Of a key object selection document; all empty for others. */
typedef struct KeyObjectSelection {
    DicomCode title;           /* Concept Name Code Sequence */
    Str retrieve_location_uid; /* of the first series that has one */
    Str retrieve_ae_title;
    const InstanceReference *references;
    size_t reference_count;
} KeyObjectSelection;

typedef struct InstanceRecord {
    Str study_uid;
    Str series_uid;
    Str sop_class;
    Str sop_instance;
    Str transfer_syntax;
    Str patient_id;
    Str patient_id_issuer; /* (0010,0021), a name */
    Str patient_id_oid;    /* (0010,0024)>(0040,0032) where (0040,0033) is ISO; empty without */
    Str accession_oid;     /* (0008,0051)>(0040,0032) */
    Str placer_order;      /* (0040,2016), first of (0040,A370) or the data set */
    Str placer_order_oid;  /* (0040,0026)>(0040,0032) */
#define FIELD(level, name, tag, vr) Str name;
#include "lib/dicom/record.def"
#undef FIELD
    DicomCode procedure; /* (0008,1032), else (0008,1032) of the request, first item */
    DicomCode anatomy;   /* (0008,2218), first item */
    int64_t rows, columns, bits_allocated, samples_per_pixel, number_of_frames; /* 0: not there */
    bool has_pixel_data;
    bool is_lossy; /* (0028,2110) = 01 */
    TextReading text;
    KeyObjectSelection selection;
    uint64_t data_set_bytes;
    uint64_t pixel_offset; /* of native pixel data in the data set; 0: none, or encapsulated */
    const DicomFrame *frames;
    size_t frame_count;
    Str json; /* dicom_json_write() */
    Str warning;
} InstanceRecord;

/**
 * Checks what an instance must have to be kept (PS3.3 C.12.1, C.7.2.1, C.7.3.1): the four UIDs,
 * well formed.
 * @return 0, -ERR_DICOM_DATA_SET with the element and what is wrong with it
 */
int instance_record_make(Arena *arena, ErrorList *errors, const DicomScanned *scanned,
                         const TransferSyntax *syntax, InstanceRecord *ret_record) MUST_CHECK;

/** As one message, and back: bounded, any bytes may come. Borrows from bytes. */
void instance_record_write(const InstanceRecord *record, StrBuf *buf);
bool instance_record_read(Arena *arena, Str bytes, InstanceRecord *ret_record) MUST_CHECK;
