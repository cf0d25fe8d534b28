#pragma once

#include "lib/dicom/part10.h"
#include "lib/dicom/record.h"
#include "repository/imaging/ae_directory.h"
#include "repository/imaging/imaging.h"

/**
 * An instance on its way in, by C-STORE or STOW-RS: its bytes go to the blob store while a worker
 * reads them, then both become durable, then it is a row. Only then is it acknowledged.
 */
typedef struct Arrival Arrival;

/**
 * What one association or one request over HTTP brings: who sends it, and its audit records. When
 * the first instance of a study is stored, 110102 Begin Transferring DICOM Instances is in its
 * transaction; arrivals_end() writes 110104 DICOM Instances Transferred with all of them (PS3.15
 * A.5.3.3, A.5.3.7). One thread uses it.
 */
typedef struct Arrivals Arrivals;

/**
 * @param ae      copied
 * @param begun   the event of 110102 of the transaction
 * @param stored  the event of 110104
 */
Arrivals *arrivals_new(Imaging *imaging, const Ae *ae, AuditEventType begun, AuditEventType stored);
/** Writes what is left to be recorded, and frees. */
int arrivals_end(Arrivals *arrivals, Request *req) MUST_CHECK;

/** What became of an instance. */
typedef enum ArrivalOutcome {
    ARRIVAL_STORED,
    ARRIVAL_KNOWN,     /* identical bytes are there already: nothing changed */
    ARRIVAL_DIFFERENT, /* the same SOP instance with other bytes: kept beside the first, flagged */
    ARRIVAL_REFUSED,   /* see req->errors: nothing is kept */
} ArrivalOutcome;

/** @param meta  written before the data set; NULL: the bytes are a whole file */
int arrival_begin(Arrivals *arrivals, Request *req, const FileMeta *meta,
                  Arrival **ret_arrival) MUST_CHECK;
int arrival_write(Arrival *arrival, Request *req, const void *bytes, size_t len) MUST_CHECK;
/**
 * All bytes are there; frees the arrival.
 * @param record  NULL: the worker refused the data set, req->errors says why
 * @return 0, or the negative ErrorCode of an ARRIVAL_REFUSED
 */
int arrival_end(Arrival *arrival, Request *req, const InstanceRecord *record,
                ArrivalOutcome *ret_outcome) MUST_CHECK;
/** NULL is fine. */
void arrival_abandon(Arrival *arrival);
