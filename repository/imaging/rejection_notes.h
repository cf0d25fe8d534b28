#pragma once

#include "lib/dicom/record.h"
#include "repository/imaging/imaging_state.h"

/**
 * Imaging Object Change Management (RAD TF-1 IOCM): a key object selection with the title of a
 * rejection (PS3.16 CID 7011) takes what it names out of every answer, and itself.
 */

bool rejection_note_is(const InstanceRecord *record);

/** Marks the instances of the same facility and studies; may be repeated. A manifest that this
 * server made is due again. */
int rejection_note_apply(Imaging *imaging, Request *req, int32_t facility,
                         const InstanceRecord *note) MUST_CHECK;
