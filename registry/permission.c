#include "registry/permission.h"

int permission_refuse(Request *req, const char *action, Str id)
{
    return error_add(&req->errors, ERR_FORBIDDEN, NULL,
                     "node %.*s may not %s %.*s: ask the network operator which facilities and "
                     "document classes it is registered for",
                     STR_ARG(req->principal != NULL ? req->principal->node_name : STR_EMPTY),
                     action, STR_ARG(id));
}

int permission_to_submit(Request *req, const Submission *submission, int64_t patient)
{
    const AccessObject set = {.source_facility = submission->source_facility,
                              .effective_us = INT64_MIN};
    const AccessScope *scope;
    int rc = access_open(req, patient, ACCESS_SUBMIT, &scope);
    if (rc == 0 && !access_decide(scope, &set)) {
        permission_refuse(req, "submit SubmissionSet", submission->submission_set->unique_id);
    }
    return rc;
}

int permission_to_change(Request *req, const StoredObject *stored, Str id)
{
    const AccessScope *scope;
    int rc = access_open(req, stored->patient, ACCESS_CHANGE, &scope);
    if (rc == 0 && !access_decide(scope, &stored->access)) {
        permission_refuse(req, "change", id);
    }
    return rc;
}

int permission_to_name(Request *req, const StoredObject *stored, bool *ret_may)
{
    const AccessScope *scope;
    *ret_may = access_may_submit_for(req->principal, stored->access.source_facility);
    int rc = *ret_may ? 0 : access_open(req, stored->patient, ACCESS_LIST, &scope);
    if (rc == 0 && !*ret_may) {
        *ret_may = access_decide(scope, &stored->access);
    }
    return rc;
}

bool permission_names_all(const Request *req)
{
    return req->principal == NULL || req->principal->may_do_everything;
}
