#pragma once

#include "lib/dicom/part10.h"
#include "lib/dicom/record.h"
#include "repository/imaging/imaging.h"

/**
 * An instance on its way in, by C-STORE or STOW-RS: its bytes go to the blob store while a worker
 * reads them, then both become durable, then it is a row. Only then is it acknowledged.
 */
typedef struct Arrival Arrival;

/** What became of an instance. */
typedef enum ArrivalOutcome {
    ARRIVAL_STORED,
    ARRIVAL_KNOWN,     /* identical bytes are there already: nothing changed */
    ARRIVAL_DIFFERENT, /* the same SOP instance with other bytes: kept beside the first, flagged */
    ARRIVAL_REFUSED,   /* see req->errors: nothing is kept */
} ArrivalOutcome;

/** @param meta  written before the data set; NULL: the bytes are a whole file */
int arrival_begin(Imaging *imaging, Request *req, const FileMeta *meta,
                  Arrival **ret_arrival) MUST_CHECK;
int arrival_write(Arrival *arrival, Request *req, const void *bytes, size_t len) MUST_CHECK;
/**
 * All bytes are there; frees the arrival.
 * @param record  NULL: the worker refused the data set, req->errors says why
 */
int arrival_end(Arrival *arrival, Request *req, const InstanceRecord *record,
                ArrivalOutcome *ret_outcome) MUST_CHECK;
void arrival_abandon(Arrival *arrival);
