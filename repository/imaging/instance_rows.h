#pragma once

#include "lib/db/db.h"
#include "lib/dicom/record.h"
#include "repository/imaging/index.h"
#include "repository/imaging/same_data_set.h"

/** Rows of imaging_study, imaging_series and imaging_instance as an instance makes them. */

typedef struct NewInstance {
    const InstanceRecord *record;
    int32_t facility;
    int32_t node;
    int32_t authority;
    Str ae_title;
    int32_t flags; /* StudyFlag */
    bool is_manifest_due;
    int64_t started_us; /* INT64_MIN: not known */
    StoredDataSet file;
    const Str *others; /* SHA-256 of files that are known to have other data sets */
    size_t other_count;
} NewInstance;

typedef enum InstanceRowOutcome {
    INSTANCE_ADDED,     /* it is the one that is served */
    INSTANCE_VARIANT,   /* kept beside one with other bytes */
    INSTANCE_THERE,     /* the same file is there already */
    INSTANCE_HELD,      /* nothing was made: files are there that are not among the others */
    INSTANCE_ROW_RACED, /* nothing was made: somebody else has just made a row that is needed */
} InstanceRowOutcome;

/** First key of the advisory lock on a facility: shared by who stores, alone for who rejects. */
#define IMAGING_REJECTION_LOCK "8"

/** Results of instance_rows_queue(). */
#define INSTANCE_ROWS_RESULTS 2

/**
 * Queues statements that make what is missing of the three rows. The study's own row is changed
 * at most once a second, so that associations which store into one study do not wait for each
 * other.
 */
int instance_rows_queue(Request *req, DbConn *conn, const NewInstance *instance) MUST_CHECK;
/**
 * What its results say.
 * @param results   INSTANCE_ROWS_RESULTS
 * @param ret_held  with INSTANCE_HELD: all files that are there under the UID, in the arena
 */
InstanceRowOutcome instance_rows_outcome(Arena *arena, DbResult *const *results,
                                         const NewInstance *instance, StoredDataSet **ret_held,
                                         size_t *ret_count);

/** A row's frames as they were given (imaging_instance.frames). @return false: no such frame */
bool instance_rows_frame(Str frames, int64_t frame, DicomFrame *ret_frame);
/** DICOM JSON of imaging_instance.metadata, in the arena. @return false: the row is damaged */
bool instance_rows_metadata(Arena *arena, Str metadata, Str *ret_json) MUST_CHECK;
