#include "lib/ebrim/vocabulary.h"
#include "lib/soap/registry_response.h"
#include "registry/registration.h"
#include "registry/registration_audit.h"

/** Reads and registers; the submission is handed out as far as it could be read, for the audit. */
static int register_body(Registry *registry, Request *req, const XmlNode *body,
                         RegistrationAudit *ret_audit)
{
    Submission *submission = NULL;
    int rc = submission_read(req, body, &submission);
    *ret_audit = registration_audit(registry, AUDIT_ITI42_IMPORT, submission);
    if (rc < 0) {
        return rc;
    }
    if (submission->submission_set != NULL) {
        req->subject = submission->submission_set->unique_id;
    }
    return registration_run(registry, req, submission, registration_audit_queue, ret_audit);
}

int registry_iti42_register(void *module, SoapExchange *exchange)
{
    Registry *registry = module;
    Request *req = exchange->req;
    RegistrationAudit audit;
    int rc = register_body(registry, req, exchange->message->body, &audit);
    if (rc < 0) {
        rc = registration_audit_failure(&audit, req);
        registry_response_write(req, URN_RESPONSE_FAILURE, &exchange->reply_xml);
        return rc;
    }
    registry_response_write(req, URN_RESPONSE_SUCCESS, &exchange->reply_xml);
    return 0;
}
