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

/**
 * "1,2,3" in the last part of the path (PS3.18 10.4.1.1.3), in the request's arena.
 * @return 0; -ERR_DICOM_REQUEST: it is none; -ERR_DICOM_NOT_FOUND: the instance has no such frame
 */
int wado_frame_list(const DicomwebExchange *exchange, const ImagingInstance *instance,
                    int64_t **ret_numbers, size_t *ret_count) MUST_CHECK;

/** Frames of its pixel data; 0: it has none. */
int64_t wado_frame_count(const ImagingInstance *instance);

/**
 * Answers with the instances, each in a transfer syntax that the ranges allow, of which there must
 * be one (media_choose_syntax()). Records them.
 * @param retrieval  in the request's arena, as ranges
 */
int wado_reply_instances(DicomwebExchange *exchange, Retrieval *retrieval,
                         const MediaRanges *ranges, bool is_multipart) MUST_CHECK;
