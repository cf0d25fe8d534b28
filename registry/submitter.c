#include "registry/submitter.h"

/** An authority without a facility is the affinity domain's: the node speaks for itself then. */
static int32_t facility_or_own(const Principal *principal, int32_t facility)
{
    return facility != 0 ? facility : principal->facility_id;
}

static void add_unknown_authority(Request *req, Str source_patient_id)
{
    (void)error_add(
        &req->errors, ERR_FORBIDDEN, "XDSDocumentEntry.sourcePatientId",
        "the assigning authority of sourcePatientId %.*s is not configured here, so that "
        "nobody knows whose number it is; send the authority of the hospital's system, "
        "or ask the operator to add this one (musubi authority add)",
        STR_ARG(source_patient_id));
}

static void add_other_facility(Request *req, Str source_patient_id)
{
    (void)error_add(
        &req->errors, ERR_FORBIDDEN, "XDSDocumentEntry.sourcePatientId",
        "node %.*s may not submit with sourcePatientId %.*s, which is a number of another "
        "facility than %.*s; send a number of your own facility, or ask the operator to "
        "register the node for that one too (musubi node add --also-for)",
        STR_ARG(req->principal->node_name), STR_ARG(source_patient_id),
        STR_ARG(req->principal->facility_name));
}

/** Whose number it is, if the node may submit with it. */
static bool read_facility(const Registry *registry, Request *req, Str source_patient_id,
                          int32_t *ret_facility)
{
    const PatientDirectory *patients = registry->config.patients;
    const Principal *principal = req->principal;
    int32_t facility;
    if (!patients->facility_of(patients->ctx, req, source_patient_id, &facility)) {
        if (!principal->may_do_everything) {
            add_unknown_authority(req, source_patient_id);
        }
        return false;
    }
    facility = facility_or_own(principal, facility);
    if (!principal->may_do_everything && !access_may_submit_for(principal, facility)) {
        add_other_facility(req, source_patient_id);
        return false;
    }
    *ret_facility = facility;
    return true;
}

static void check_documents(const Registry *registry, Request *req, Submission *submission)
{
    bool is_settled = false;
    for (const DocumentEntry *d = submission->documents; d != NULL; d = d->next) {
        int32_t facility;
        if (str_is_empty(d->source_patient_id) ||
            !read_facility(registry, req, d->source_patient_id, &facility)) {
            continue;
        }
        if (is_settled && facility != submission->source_facility) {
            (void)error_add(&req->errors, ERR_FORBIDDEN, "XDSDocumentEntry.sourcePatientId",
                            "the documents have numbers of several facilities as sourcePatientId; "
                            "send one submission for each facility");
            return;
        }
        submission->source_facility = facility;
        is_settled = true;
    }
}

/** A node submits with its own sourceIds only. */
static void check_source_id(const Registry *registry, Request *req, Str source_id)
{
    NodeDirectory *nodes = registry->config.nodes;
    if (nodes != NULL && !node_directory_may_submit_as(nodes, req->principal, source_id)) {
        (void)error_add(&req->errors, ERR_FORBIDDEN, "XDSSubmissionSet.sourceId",
                        "node %.*s may not submit with sourceId %.*s; send the sourceId that is "
                        "registered for it, or ask the operator to add this one (musubi node add "
                        "--source-id)",
                        STR_ARG(req->principal->node_name), STR_ARG(source_id));
    }
}

void submitter_check(const Registry *registry, Request *req, Submission *submission)
{
    if (req->principal == NULL) {
        return;
    }
    submission->source_facility = req->principal->facility_id;
    check_documents(registry, req, submission);
    check_source_id(registry, req, submission->submission_set->source_id);
}
