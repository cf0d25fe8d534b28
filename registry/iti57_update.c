#include "lib/ebrim/vocabulary.h"
#include "lib/soap/registry_response.h"
#include "registry/registration_audit.h"
#include "registry/update.h"

/* ITI-57 and ITI-92: the same message, of which the Restricted Update takes less. */

/** Reads and updates; the submission is handed out as far as it could be read, for the audit. */
static int update_body(Registry *registry, Request *req, SubmissionKind kind, const XmlNode *body,
                       RegistrationAudit *ret_audit)
{
    Submission *submission = NULL;
    int rc = submission_read(req, body, &submission);
    *ret_audit = registration_audit(
        registry, kind == SUBMISSION_ITI92 ? AUDIT_ITI92_UPDATE : AUDIT_ITI57_UPDATE, submission);
    if (rc < 0) {
        return rc;
    }
    if (submission->submission_set != NULL) {
        req->subject = submission->submission_set->unique_id;
    }
    return update_run(registry, req, kind, submission, registration_audit_queue, ret_audit);
}

static int answer(void *module, SoapExchange *exchange, SubmissionKind kind)
{
    Request *req = exchange->req;
    RegistrationAudit audit;
    int rc = update_body(module, req, kind, exchange->message->body, &audit);
    if (rc < 0) {
        rc = registration_audit_failure(&audit, req);
        registry_response_write(req, URN_RESPONSE_FAILURE, &exchange->reply_xml);
        return rc;
    }
    registry_response_write(req, URN_RESPONSE_SUCCESS, &exchange->reply_xml);
    return 0;
}

int registry_iti57_update(void *module, SoapExchange *exchange)
{
    return answer(module, exchange, SUBMISSION_ITI57);
}

int registry_iti92_update(void *module, SoapExchange *exchange)
{
    return answer(module, exchange, SUBMISSION_ITI92);
}
