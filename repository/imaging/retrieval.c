#include "repository/imaging/retrieval.h"

#include <string.h>

#include "lib/base/clock.h"
#include "repository/imaging/transfers.h"

#define INSTANCES_AT_FIRST 64
/** For a look at the database while a reply leaves. */
#define LOOK_TIMEOUT_NS (30 * INT64_C(1000000000))

/* ---- finding ---- */

static int keep(void *ctx, const ImagingInstance *instance)
{
    Retrieval *retrieval = ctx;
    Arena *arena = retrieval->req->arena;
    if (retrieval->count == retrieval->capacity) {
        retrieval->instances = arena_grow(arena, retrieval->instances, &retrieval->capacity,
                                          INSTANCES_AT_FIRST, sizeof(*instance));
    }
    retrieval->instances[retrieval->count++] = *instance;
    return 0;
}

void retrieval_record_refused(Imaging *imaging, Request *req, AuditEventType type, Str study_uid)
{
    const AuditObject study = {.kind = AUDIT_OBJECT_STUDY, .id = study_uid};
    AuditEvent event = {
        .type = type, .objects = &study, .object_count = dicom_uid_is_valid(study_uid)};
    audit_event_refuse(req, &event);
    (void)!audit_append_event(imaging->config.audit, req, &event); /* nothing is given out */
}

int retrieval_find(Retrieval *retrieval, const ImagingTarget *target, AccessPurpose purpose)
{
    Request *req = retrieval->req;
    req->subject = target->study_uid;
    int rc = index_find_instances(retrieval->imaging, req, target, purpose, keep, retrieval);
    if (rc == 0 && retrieval->count == 0) {
        rc = error_add(&req->errors, ERR_DICOM_NOT_FOUND, NULL,
                       "There is nothing of these UIDs for you; ask for what there is with "
                       "QIDO-RS, or the registry for the manifest of the study.");
    }
    return rc;
}

/* ---- the record ---- */

static int append_events(Retrieval *retrieval, const AuditEvent *event)
{
    Arena *arena = retrieval->req->arena;
    Transfer *transfers = ARENA_ARRAY(arena, Transfer, retrieval->count);
    const Transfer **sorted = ARENA_ARRAY(arena, const Transfer *, retrieval->count);
    for (size_t i = 0; i < retrieval->count; i++) {
        const ImagingInstance *instance = &retrieval->instances[i];
        transfers[i] = (Transfer){instance->patient, instance->study_uid, instance->sop_class};
        sorted[i] = &transfers[i];
    }
    return transfers_append_events(retrieval->imaging, retrieval->req, event, sorted,
                                   retrieval->count);
}

int retrieval_record(Retrieval *retrieval)
{
    const AuditEvent event = {.type = retrieval->event};
    return append_events(retrieval, &event);
}

void retrieval_record_cut(Retrieval *retrieval)
{
    const AuditEvent event = {.type = retrieval->event,
                              .outcome = 8,
                              .outcome_text = STR("the connection ended before all was sent")};
    retrieval_renew(retrieval);
    if (append_events(retrieval, &event) == 0) {
        (void)!audit_settle(retrieval->imaging->config.audit, retrieval->req);
    }
}

void retrieval_renew(Retrieval *retrieval)
{
    retrieval->req->deadline_ns = clock_now_ns() + LOOK_TIMEOUT_NS;
}
