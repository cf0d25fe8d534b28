#include "lib/ebrim/vocabulary.h"
#include "lib/soap/registry_response.h"
#include "registry/registration.h"

/** What the audit event of one ITI-42 is about (TF-2 3.42.5.1). */
typedef struct ImportAudit {
    Audit *audit;
    AuditObject objects[2];
    size_t object_count;
} ImportAudit;

/** @param submission  as far as it could be read; NULL if not at all */
static ImportAudit import_audit(Registry *registry, const Submission *submission)
{
    ImportAudit import = {.audit = registry->config.audit};
    const SubmissionSet *set = submission != NULL ? submission->submission_set : NULL;
    if (set != NULL && !str_is_empty(set->patient_id)) {
        import.objects[import.object_count++] =
            (AuditObject){.kind = AUDIT_OBJECT_PATIENT, .id = set->patient_id};
    }
    if (set != NULL) {
        import.objects[import.object_count++] =
            (AuditObject){.kind = AUDIT_OBJECT_SUBMISSION_SET, .id = set->unique_id};
    }
    return import;
}

static AuditEvent import_event(const ImportAudit *import)
{
    return (AuditEvent){
        .type = AUDIT_ITI42_IMPORT,
        .objects = import->objects,
        .object_count = import->object_count,
    };
}

/** TransactionHook: a registration and its audit event are committed together. */
static int queue_success(void *caller, Request *req, DbConn *conn)
{
    const ImportAudit *import = caller;
    AuditEvent event = import_event(import);
    return audit_queue_event(import->audit, conn, req, &event);
}

static const Error *first_failure(const ErrorList *errors)
{
    const Error *error = errors->first;
    while (error != NULL && error->severity != SEVERITY_ERROR) {
        error = error->next;
    }
    return error;
}

static int record_failure(const ImportAudit *import, Request *req)
{
    const Error *error = first_failure(&req->errors);
    AuditEvent event = import_event(import);
    event.outcome = error_info(error != NULL ? error->code : ERR_XDS_REGISTRY_ERROR)->audit_outcome;
    event.outcome_text = error != NULL ? error->context : STR_EMPTY;
    return audit_record_event(import->audit, req, &event);
}

/** Reads and registers; the submission is handed out as far as it could be read, for the audit. */
static int register_body(Registry *registry, Request *req, const XmlNode *body,
                         ImportAudit *ret_import)
{
    Submission *submission = NULL;
    int rc = submission_read(req, body, &submission);
    *ret_import = import_audit(registry, submission);
    if (rc < 0) {
        return rc;
    }
    if (submission->submission_set != NULL) {
        req->subject = submission->submission_set->unique_id;
    }
    return registration_run(registry, req, submission, queue_success, ret_import);
}

int registry_iti42_register(void *module, SoapExchange *exchange)
{
    Registry *registry = module;
    Request *req = exchange->req;
    const XmlNode *body = exchange->message->body;
    if (!xml_is(body, NS_LCM, "SubmitObjectsRequest")) {
        return error_add(&req->errors, ERR_SOAP_SENDER, "Body",
                         "the body of ITI-42 must be {" NS_LCM
                         "}SubmitObjectsRequest, not {%.*s}%.*s",
                         STR_ARG(body->ns), STR_ARG(body->name));
    }
    ImportAudit import;
    int rc = register_body(registry, req, body, &import);
    if (rc < 0) {
        rc = record_failure(&import, req);
        registry_response_write(req, URN_RESPONSE_FAILURE, &exchange->reply_xml);
        return rc;
    }
    registry_response_write(req, URN_RESPONSE_SUCCESS, &exchange->reply_xml);
    return 0;
}
