#pragma once

#include "repository/imaging/imaging_state.h"
#include "repository/imaging/index.h"

/** What is given out, in the audit trail: DICOM Instances Transferred (PS3.15 A.5.3.7). */

/** Instances that were found for a reader, with room for more; in the request's arena. */
typedef struct Retrieval {
    Imaging *imaging;
    Request *req;
    AuditEventType event;
    ImagingInstance *instances;
    size_t count;
    size_t capacity;
} Retrieval;

/**
 * Finds what a target names.
 * @return 0, or -ERR_DICOM_NOT_FOUND: nothing that this reader may have
 */
int retrieval_find(Retrieval *retrieval, const ImagingTarget *target,
                   AccessPurpose purpose) MUST_CHECK;

/** Appends one event for each patient; durable after audit_settle() (contract C4). */
int retrieval_record(Retrieval *retrieval) MUST_CHECK;

/** What was recorded did not leave whole: a second record each, with outcome 8. */
void retrieval_record_cut(Retrieval *retrieval);

/** While a reply leaves, each look at the database has time of its own. */
void retrieval_renew(Retrieval *retrieval);

/** Records a request that was refused, and so gave nothing out. */
void retrieval_record_refused(Imaging *imaging, Request *req, AuditEventType event, Str study_uid);
