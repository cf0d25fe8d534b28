#include "registry/registration_audit.h"

RegistrationAudit registration_audit(Registry *registry, AuditEventType type,
                                     const Submission *submission)
{
    RegistrationAudit audit = {.audit = registry->config.audit, .type = type};
    const SubmissionSet *set = submission != NULL ? submission->submission_set : NULL;
    if (set != NULL && !str_is_empty(set->patient_id)) {
        audit.objects[audit.object_count++] =
            (AuditObject){.kind = AUDIT_OBJECT_PATIENT, .id = set->patient_id};
    }
    if (set != NULL) {
        audit.objects[audit.object_count++] =
            (AuditObject){.kind = AUDIT_OBJECT_SUBMISSION_SET, .id = set->unique_id};
    }
    return audit;
}

AuditEvent registration_audit_event(const RegistrationAudit *audit)
{
    return (AuditEvent){
        .type = audit->type,
        .objects = audit->objects,
        .object_count = audit->object_count,
    };
}

int registration_audit_queue(void *caller, Request *req, DbConn *conn)
{
    const RegistrationAudit *audit = caller;
    AuditEvent event = registration_audit_event(audit);
    return audit_queue_event(audit->audit, conn, req, &event);
}

int registration_audit_failure(const RegistrationAudit *audit, Request *req)
{
    AuditEvent event = registration_audit_event(audit);
    audit_event_refuse(req, &event);
    return audit_record_event(audit->audit, req, &event);
}
