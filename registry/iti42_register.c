#include "lib/ebrim/vocabulary.h"
#include "lib/soap/registry_response.h"
#include "registry/registration.h"
#include "registry/registration_audit.h"

/* ITI-42 and ITI-61: the same message, of Stable and of On-Demand DocumentEntries
 * (TF-2 3.61.4.1.2). */

/** Reads and registers; the submission is handed out as far as it could be read, for the audit. */
static int register_body(Registry *registry, Request *req, SubmissionKind kind, const XmlNode *body,
                         RegistrationAudit *ret_audit)
{
    Submission *submission = NULL;
    int rc = submission_read(req, body, &submission);
    *ret_audit = registration_audit(
        registry, kind == SUBMISSION_ITI61 ? AUDIT_ITI61_IMPORT : AUDIT_ITI42_IMPORT, submission);
    if (rc < 0) {
        return rc;
    }
    if (submission->submission_set != NULL) {
        req->subject = submission->submission_set->unique_id;
    }
    return registration_run(registry, req, submission, kind, registration_audit_queue, ret_audit);
}

static int answer(void *module, SoapExchange *exchange, SubmissionKind kind)
{
    Request *req = exchange->req;
    RegistrationAudit audit;
    int rc = register_body(module, req, kind, exchange->message->body, &audit);
    if (rc < 0) {
        rc = registration_audit_failure(&audit, req);
        registry_response_write(req, URN_RESPONSE_FAILURE, &exchange->reply_xml);
        return rc;
    }
    registry_response_write(req, URN_RESPONSE_SUCCESS, &exchange->reply_xml);
    return 0;
}

int registry_iti42_register(void *module, SoapExchange *exchange)
{
    return answer(module, exchange, SUBMISSION_ITI42);
}

int registry_iti61_register_on_demand(void *module, SoapExchange *exchange)
{
    return answer(module, exchange, SUBMISSION_ITI61);
}
