#pragma once

#include "lib/base/request.h"
#include "lib/ebrim/patient_record.h"
#include "lib/hl7/demographics.h"

/** What makes On-Demand documents: pure functions of what a reader may see of a patient. */

typedef struct RecordedDocument {
    ListedDocument listed;
    Str facility; /* name of its source; empty: not known */
} RecordedDocument;

/** All of one patient that a reader may see. Borrowed texts. */
typedef struct PatientRecord {
    Str unique_id;      /* of the document that is made */
    Str patient_number; /* CX-1 of the XAD-PID */
    Str patient_domain; /* its OID */
    Demographics demographics;
    const RecordedDocument *documents; /* the newest first */
    size_t document_count;
    const ListedStudy *studies; /* the newest first */
    size_t study_count;
    bool has_studies;           /* whether this server keeps images at all */
    int64_t as_of_us;           /* the newest thing in it */
    const char *timezone;       /* IANA name: of times as they are shown */
    Str confidentiality;        /* code of the document itself */
    Str confidentiality_system; /* its coding scheme; no OID: not named */
    Str repository_id;          /* OID of who makes it */
    Str custodian_id;           /* OID */
    Str custodian_name;
} PatientRecord;

/** The same record gives the same bytes. */
typedef void (*GeneratorWriteFn)(Arena *arena, const PatientRecord *record, StrBuf *buf);

/** A row of generators.def. */
typedef struct Generator {
    Str name;
    GeneratorWriteFn write;
    const char *mime_type;
    const char *type_code; /* CODE^^SCHEME */
    const char *type_name;
    const char *title;
} Generator;

/** NULL: there is no such row. */
const Generator *generator_find(Str name);

/** CDA R2 (HL7 Clinical Document Architecture, Release 2) with a table of documents and one of
 * studies. */
void patient_summary_write(Arena *arena, const PatientRecord *record, StrBuf *buf);
