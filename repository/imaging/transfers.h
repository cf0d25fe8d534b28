#pragma once

#include "repository/imaging/imaging_state.h"

/** What is given out, or was asked for in vain, as the audit trail has it (DICOM PS3.15 A.5.3.7).
 */

/** One instance. */
typedef struct Transfer {
    int64_t patient; /* row of the XAD-PID; 0: not known, or not to be known */
    Str study_uid;
    Str sop_class; /* empty: not known */
} Transfer;

/**
 * Appends an event for each patient to the audit spool; it is durable after audit_settle().
 * @param event      its type and outcome
 * @param transfers  put into order
 */
int transfers_append_events(Imaging *imaging, Request *req, const AuditEvent *event,
                            const Transfer **transfers, size_t count) MUST_CHECK;
