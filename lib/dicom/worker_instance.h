#pragma once

#include "lib/dicom/record.h"
#include "lib/dicom/scan.h"
#include "lib/dicom/worker_fields.h"

/** Reading one instance as its bytes pass by: by C-STORE, or out of a file. */
typedef struct InstanceReading {
    Arena *arena;
    ErrorList errors;
    DicomScan *scan;
    const TransferSyntax *syntax;
    TransferSyntax unknown; /* syntax, where there is no row for it */
    bool is_refused;
} InstanceReading;

/** What the command said, or the file meta information; empty: nothing is expected. */
typedef struct InstanceIdentity {
    Str sop_class;
    Str sop_instance;
    bool is_binding; /* a data set that says otherwise is refused; if not, it counts, with a warning
                      */
} InstanceIdentity;

/** A transfer syntax without a row is read as all newer ones are made: Explicit VR Little Endian
 * with fragments (PS3.5 A.4). */
void reading_begin(InstanceReading *reading, Str transfer_syntax);
/** @return false: the data set cannot be kept; nothing more need be pushed */
bool reading_push(InstanceReading *reading, const void *bytes, size_t len);
/**
 * @param ret_record  instance_record_write(), or empty
 * @param ret_fault   fields of FAULT, or empty
 */
void reading_end(InstanceReading *reading, const InstanceIdentity *identity, StrBuf *ret_record,
                 StrBuf *ret_fault);
/** The FAULT of what has no data set that could be read. */
void reading_refuse(Str reason, StrBuf *ret_fault);
/** Frees what reading_begin() made. */
void reading_done(InstanceReading *reading);
