#include <stdlib.h>

#include "lib/access/access.h"
#include "lib/base/fail.h"
#include "lib/ebrim/vocabulary.h"
#include "lib/soap/registry_response.h"
#include "repository/document_rows.h"
#include "repository/repository_private.h"
#include "repository/retrieval.h"

/* ITI-86 Remove Documents (Remove Metadata and Documents 3.86). The row stays, without a claim to
 * its bytes: the sweep frees those, and nothing else is ever stored under the uniqueId. */

/** Documents of one request. */
#define REMOVED_MAX 10000

/** What is known of one xds:DocumentRequest. */
typedef struct Doomed {
    DocumentRequest *asked;
    const DocumentRow *row; /* NULL: not for this peer */
    bool is_removed;
    const Error *error;
} Doomed;

typedef struct Remove {
    Repository *repository;
    Request *req;
    DbConn *conn;
    DocumentRequest *asked; /* in order of the message */
    Doomed *doomed;         /* likewise */
    Str *unique_ids;        /* likewise */
    size_t count;
    DocumentRows rows;
    RetainedDocument *entries; /* of the registry beside */
    size_t entry_count;
} Remove;

/* ---- the request ---- */

static int read_requests(Remove *remove, const XmlNode *body)
{
    Request *req = remove->req;
    int rc = 0;
    for (const XmlNode *node = body->first_child; node; node = node->next) {
        remove->count++;
    }
    if (remove->count == 0 || remove->count > REMOVED_MAX) {
        return error_add(&req->errors, ERR_XDS_REPOSITORY_METADATA_ERROR, "DocumentRequest",
                         "rmd:RemoveDocumentsRequest holds %zu xds:DocumentRequest; send 1 to %d",
                         remove->count, REMOVED_MAX);
    }
    remove->asked = ARENA_ARRAY(req->arena, DocumentRequest, remove->count);
    remove->doomed = ARENA_ARRAY(req->arena, Doomed, remove->count);
    remove->unique_ids = ARENA_ARRAY(req->arena, Str, remove->count);
    size_t at = 0;
    for (const XmlNode *node = body->first_child; node; node = node->next, at++) {
        remove->doomed[at].asked = &remove->asked[at];
        int read = xml_is(node, NS_XDSB, "DocumentRequest")
                       ? retrieval_read_request(req, node, at + 1, &remove->asked[at])
                       : retrieval_refuse_element(req, at + 1, "unexpected", node->name);
        remove->unique_ids[at] = remove->asked[at].unique_id;
        rc = MIN(rc, read);
    }
    req->subject = remove->asked[0].unique_id;
    return rc;
}

/* ---- the state ---- */

static int read_state(Remove *remove)
{
    Request *req = remove->req;
    const DocumentCatalogue *catalogue = remove->repository->config.catalogue;
    int rc = db_queue_begin(remove->conn, req);
    rc = rc < 0 ? rc : retention_queue_lock(req, remove->conn);
    rc = rc < 0 ? rc : db_sync(remove->conn, req, NULL);
    rc = rc < 0 ? rc
                : document_rows_lock(req, remove->conn, remove->unique_ids, remove->count,
                                     &remove->rows);
    if (rc == 0 && catalogue) {
        rc = catalogue->find_retained(catalogue->ctx, req, remove->conn, remove->unique_ids,
                                      remove->count, &remove->entries, &remove->entry_count);
    }
    if (rc == 0) {
        fail_point("iti86.locked");
    }
    return rc;
}

/** One round trip, also when there is no row at all. */
static int prepare_access(const Remove *remove)
{
    int64_t *patients = ARENA_ARRAY(remove->req->arena, int64_t, remove->rows.count);
    for (size_t i = 0; i < remove->rows.count; i++) {
        patients[i] = remove->rows.items[i].patient;
    }
    return access_prepare(remove->req, patients, remove->rows.count);
}

/* ---- the verdict ---- */

static void refuse(Remove *remove, Doomed *doomed, ErrorCode code, const char *text)
{
    retrieval_refuse(remove->req, doomed->asked, code, text);
}

static bool is_of_node(const Request *req, int32_t facility)
{
    return !access_has_rules(req) || access_may_submit_for(req->principal, facility);
}

static int may_change(Request *req, const DocumentRow *row, bool *ret_may)
{
    const AccessObject object = {.source_facility = row->source_facility,
                                 .effective_us = INT64_MIN};
    const AccessScope *scope;
    int rc = access_open(req, row->patient, ACCESS_CHANGE, &scope);
    if (rc == 0) {
        *ret_may = is_of_node(req, row->source_facility) && access_decide(scope, &object);
    }
    return rc;
}

/** Others have registered the same bytes under the same uniqueId. */
static bool is_of_others(const Remove *remove, size_t position)
{
    for (size_t i = 0; i < remove->entry_count; i++) {
        if (remove->entries[i].document == position &&
            !is_of_node(remove->req, remove->entries[i].facility)) {
            return true;
        }
    }
    return false;
}

/** Unknown, removed and not permitted look the same. */
static int decide(Remove *remove, size_t position)
{
    Request *req = remove->req;
    Doomed *doomed = &remove->doomed[position];
    const char *own_id = remove->repository->config.unique_id;
    if (!str_equal(doomed->asked->repository_unique_id, str_from(own_id))) {
        error_add(
            &req->errors, ERR_XDS_UNKNOWN_REPOSITORY_ID,
            str_cstr(req->arena, doomed->asked->unique_id),
            "RepositoryUniqueId %.*s is not this repository, which is %s; send the request to "
            "the repository that the DocumentEntry names",
            STR_ARG(doomed->asked->repository_unique_id), own_id);
        return 0;
    }
    bool may = false;
    doomed->row = document_rows_get(&remove->rows, doomed->asked->unique_id);
    int rc = doomed->row ? may_change(req, doomed->row, &may) : 0;
    if (rc < 0) {
        return rc;
    }
    if (!may ||
        (doomed->row->state != DOCUMENT_REGISTERED && doomed->row->state != DOCUMENT_PENDING)) {
        refuse(remove, doomed, ERR_XDS_DOCUMENT_UNIQUE_ID_ERROR,
               "this repository has no document with this DocumentUniqueId that this node may "
               "remove; a node removes documents of the facilities that it submits for");
    } else if (doomed->row->state == DOCUMENT_PENDING) {
        refuse(remove, doomed, ERR_XDS_REMOVE_DOCUMENTS_ERROR,
               "it is not yet known whether the registry has registered this document; send the "
               "request again in some minutes");
    } else if (is_of_others(remove, position)) {
        refuse(remove, doomed, ERR_XDS_REMOVE_DOCUMENTS_ERROR,
               "the same document is registered by others too and stays for them; ask the network "
               "operator");
    } else {
        doomed->is_removed = true;
    }
    return 0;
}

/** As the registry beside tells; without it as the document came. */
static int check_retention(Remove *remove)
{
    Request *req = remove->req;
    RetainedDocument *documents =
        ARENA_ARRAY(req->arena, RetainedDocument, remove->entry_count + remove->count);
    bool *is_told = ARENA_ARRAY(req->arena, bool, remove->count);
    bool *is_kept = ARENA_ARRAY(req->arena, bool, remove->count);
    size_t count = 0;
    for (size_t i = 0; i < remove->entry_count; i++) {
        size_t position = remove->entries[i].document;
        if (remove->doomed[position].is_removed) {
            documents[count++] = remove->entries[i];
            is_told[position] = true;
        }
    }
    for (size_t i = 0; i < remove->count; i++) {
        const DocumentRow *row = remove->doomed[i].row;
        if (remove->doomed[i].is_removed && !is_told[i]) {
            documents[count++] = (RetainedDocument){.document = i,
                                                    .unique_id = row->unique_id,
                                                    .patient = row->patient,
                                                    .facility = row->source_facility,
                                                    .class_code = row->class_code_id,
                                                    .since_us = row->stored_us};
        }
    }
    int rc = retention_check(req, remove->conn, documents, count, is_kept);
    for (size_t i = 0; rc == 0 && i < remove->count; i++) {
        remove->doomed[i].is_removed = remove->doomed[i].is_removed && !is_kept[i];
    }
    return rc;
}

/** Each refusal names its document as its location. */
static void find_errors(Remove *remove)
{
    for (size_t i = 0; i < remove->count; i++) {
        Doomed *doomed = &remove->doomed[i];
        const Error *error = doomed->is_removed ? NULL : remove->req->errors.first;
        while (error && !str_equal(error->location, doomed->asked->unique_id)) {
            error = error->next;
        }
        doomed->error = error;
    }
}

static int decide_all(Remove *remove)
{
    int rc = read_state(remove);
    rc = rc < 0 ? rc : prepare_access(remove);
    remove->req->errors.kept_max += (unsigned)remove->count;
    for (size_t i = 0; i < remove->count && rc == 0; i++) {
        rc = decide(remove, i);
    }
    rc = rc < 0 ? rc : check_retention(remove);
    find_errors(remove);
    return rc;
}

/* ---- audit ---- */

static Str patient_of(const Doomed *doomed)
{
    return doomed->row ? doomed->row->patient_id : STR_EMPTY;
}

/** Patient by patient, in the order of the request. */
static int compare_doomed(const void *a, const void *b)
{
    const Doomed *left = *(const Doomed *const *)a;
    const Doomed *right = *(const Doomed *const *)b;
    int by_patient = str_compare(patient_of(left), patient_of(right));
    return by_patient != 0 ? by_patient : (left > right) - (left < right);
}

static AuditObject document_object(Request *req, const Doomed *doomed)
{
    const DocumentRow *row = doomed->is_removed ? doomed->row : NULL;
    return (AuditObject){
        .kind = AUDIT_OBJECT_DOCUMENT,
        .id = doomed->asked->unique_id,
        .repository_unique_id = doomed->asked->repository_unique_id,
        .home = doomed->asked->home,
        .is_erased = row != NULL,
        .sha256 = row ? str_hex(req->arena, row->sha256, sizeof(row->sha256)) : STR_EMPTY,
        .size =
            row ? str_printf(req->arena, "%llu", (unsigned long long)row->size_bytes) : STR_EMPTY,
    };
}

/** The event of documents of one patient and one fate. */
static AuditEvent make_event(Request *req, Doomed *const *doomed, size_t count)
{
    AuditObject *objects = ARENA_ARRAY(req->arena, AuditObject, count + 1);
    AuditEvent event = {.type = AUDIT_ITI86_REMOVE, .objects = objects};
    if (count == 0 || !doomed[0]->is_removed) {
        audit_event_refuse_for(req, &event, count > 0 ? doomed[0]->error : NULL);
    }
    if (count > 0 && !str_is_empty(patient_of(doomed[0]))) {
        objects[event.object_count++] =
            (AuditObject){.kind = AUDIT_OBJECT_PATIENT, .id = patient_of(doomed[0])};
    }
    for (size_t i = 0; i < count; i++) {
        if (!str_is_empty(doomed[i]->asked->unique_id)) {
            objects[event.object_count++] = document_object(req, doomed[i]);
        }
    }
    return event;
}

/** Takes the event: into the open transaction, or the spool. */
static int keep_event(Remove *remove, const AuditEvent *event, bool is_success)
{
    Audit *audit = remove->repository->config.audit;
    return is_success ? audit_queue_event(audit, remove->conn, remove->req, event)
                      : audit_append_event(audit, remove->req, event);
}

/** One event for each patient of what is removed, or of what is not. */
static int keep_events(Remove *remove, bool of_removed)
{
    Doomed **doomed = ARENA_ARRAY(remove->req->arena, Doomed *, remove->count);
    size_t count = 0;
    for (size_t i = 0; i < remove->count; i++) {
        if (remove->doomed[i].is_removed == of_removed) {
            doomed[count++] = &remove->doomed[i];
        }
    }
    if (count > 0) {
        qsort(doomed, count, sizeof(Doomed *), compare_doomed);
    }
    int rc = 0;
    for (size_t begin = 0; rc == 0 && begin < count;) {
        size_t end = begin + 1;
        while (end < count && str_equal(patient_of(doomed[begin]), patient_of(doomed[end]))) {
            end++;
        }
        AuditEvent event = make_event(remove->req, &doomed[begin], end - begin);
        rc = keep_event(remove, &event, of_removed);
        begin = end;
    }
    return rc;
}

/** Durable before the reply goes. */
static int record_refusals(Remove *remove)
{
    Audit *audit = remove->repository->config.audit;
    int rc = 0;
    if (remove->doomed == NULL) {
        AuditEvent event = make_event(remove->req, NULL, 0);
        rc = audit_append_event(audit, remove->req, &event);
    } else {
        rc = keep_events(remove, false);
    }
    return rc < 0 ? rc : audit_settle(audit, remove->req);
}

/* ---- one transaction ---- */

static size_t collect_removed(const Remove *remove, const DocumentRow **ret_rows)
{
    size_t count = 0;
    for (size_t i = 0; i < remove->count; i++) {
        if (remove->doomed[i].is_removed) {
            ret_rows[count++] = remove->doomed[i].row;
        }
    }
    return count;
}

static int run(Remove *remove)
{
    Request *req = remove->req;
    const DocumentRow **rows = ARENA_ARRAY(req->arena, const DocumentRow *, remove->count);
    int rc = decide_all(remove);
    if (rc < 0) {
        return rc;
    }
    size_t count = collect_removed(remove, rows);
    if (count == 0) {
        return db_rollback(remove->conn, req);
    }
    rc = document_rows_queue_erased(req, remove->conn, rows, count);
    rc = rc < 0 ? rc : keep_events(remove, true);
    if (rc == 0) {
        fail_point("iti86.changed");
        rc = db_commit(remove->conn, req, NULL);
    }
    if (rc == 0) {
        fail_point("iti86.committed");
    }
    return rc;
}

/** What failed is all of it. */
static void forget_verdicts(Remove *remove)
{
    for (size_t i = 0; i < remove->count && remove->doomed != NULL; i++) {
        remove->doomed[i].is_removed = false;
        remove->doomed[i].error = NULL;
    }
}

static const char *status_of(Remove *remove)
{
    size_t removed = 0;
    for (size_t i = 0; i < remove->count && remove->doomed != NULL; i++) {
        removed += remove->doomed[i].is_removed ? 1 : 0;
    }
    remove->req->outcome_is_partial = removed > 0 && removed < remove->count;
    if (removed == 0) {
        return URN_RESPONSE_FAILURE;
    }
    return removed == remove->count ? URN_RESPONSE_SUCCESS : URN_RESPONSE_PARTIAL;
}

int repository_iti86_remove(void *module, SoapExchange *exchange)
{
    Request *req = exchange->req;
    Remove remove = {.repository = module, .req = req};
    _cleanup_(db_releasep) DbConn *conn = NULL;
    int rc = read_requests(&remove, exchange->message->body);
    rc = rc < 0 ? rc : db_acquire(remove.repository->config.pool, req, &conn);
    remove.conn = conn;
    rc = rc < 0 ? rc : run(&remove);
    if (rc < 0) {
        forget_verdicts(&remove);
    }
    db_release(conn);
    conn = NULL;
    if (req->errors.error_count > 0 && record_refusals(&remove) < 0) {
        return error_add(&req->errors, ERR_SOAP_RECEIVER, NULL,
                         "the outcome could not be recorded; send the same message again later");
    }
    registry_response_write(req, status_of(&remove), &exchange->reply_xml);
    return 0;
}
