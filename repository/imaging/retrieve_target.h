#pragma once

#include "repository/imaging/ae_directory.h"
#include "repository/imaging/index.h"

/** What the identifier of C-MOVE and C-GET names (PS3.4 C.4.2.1.4): a level, one value of each
 * unique key above it, and one or several of that of the level. In the arena of the request. */
typedef struct RetrieveTarget {
    ImagingLevel level;
    bool has_patients; /* patient root: (0010,0020) is a unique key */
    Str patient_id;
    Str issuer;
    Str uids[IMAGING_INSTANCE + 1]; /* of each level; of the one retrieved, backslashes between */
} RetrieveTarget;

/** @param fields  of MOVE or GET (worker_messages.def)
 * @return 0, or -ERR_DICOM_DATA_SET: a unique key is missing, or is no UID */
int retrieve_target_read(Request *req, Str fields, RetrieveTarget *ret_target) MUST_CHECK;

/**
 * The instances that it names and the reader may have the originals of; those of a study follow
 * each other. None found, unknown and denied are alike.
 * @param ae  who asks, in whose domains a PatientID without issuer is
 */
int retrieve_target_find(Imaging *imaging, Request *req, const Ae *ae, const RetrieveTarget *target,
                         ImagingInstance **ret_instances, size_t *ret_count) MUST_CHECK;
