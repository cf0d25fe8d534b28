#pragma once

#include "repository/imaging/dicomweb.h"
#include "repository/imaging/media.h"
#include "repository/imaging/retrieval.h"

/** What the handlers of WADO-RS and QIDO-RS share. */

/** The UIDs of the path. @return 0, or -ERR_DICOM_REQUEST: one is no UID */
int wado_target(const DicomwebExchange *exchange, ImagingTarget *ret_target) MUST_CHECK;

/** Target, then instances, in the request's arena. */
int wado_find(Imaging *imaging, DicomwebExchange *exchange, AuditEventType event,
              AccessPurpose purpose, Retrieval **ret_retrieval) MUST_CHECK;

/** Records a request that is refused before anything is given out. @return rc */
int wado_refused(Imaging *imaging, const DicomwebExchange *exchange, AuditEventType event, int rc);

/** "BASE/studies/.../series/.../instances/...", in the arena. */
Str wado_instance_url(Arena *arena, Str base, const ImagingInstance *instance);

/** The client takes none of what there is: names what it could ask for. */
int wado_refuse_accept(const DicomwebExchange *exchange, const char *why) MUST_CHECK;
