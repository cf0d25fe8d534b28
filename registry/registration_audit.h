#pragma once

#include "registry/registry_private.h"

/** What the audit event of a transaction with a SubmissionSet is about (TF-2 3.42.5.1). */
typedef struct RegistrationAudit {
    Audit *audit;
    AuditEventType type;
    AuditObject objects[2];
    size_t object_count;
} RegistrationAudit;

/** @param submission  as far as it could be read, borrowed; NULL if not at all */
RegistrationAudit registration_audit(Registry *registry, AuditEventType type,
                                     const Submission *submission);

/** The event of success; borrows objects. */
AuditEvent registration_audit_event(const RegistrationAudit *audit);

/** TransactionHook: a registration and its audit event are committed together. caller is the
 * RegistrationAudit. */
int registration_audit_queue(void *caller, Request *req, DbConn *conn);

/** Makes the event of a failure durable, by the first error of the request. */
int registration_audit_failure(const RegistrationAudit *audit, Request *req) MUST_CHECK;
