#include <string.h>

#include "lib/access/access.h"
#include "lib/base/fail.h"
#include "lib/ebrim/vocabulary.h"
#include "lib/soap/registry_response.h"
#include "repository/provided.h"
#include "repository/repository_private.h"

/** One ITI-41 on its way. */
typedef struct Provide {
    Repository *repository;
    Request *req;
    Provided provided;
    BlobWriter **writers; /* of provided.documents, in their order; given away when it is stored */
    DocumentRow *rows;    /* likewise */
    Str *unique_ids;      /* likewise */
    void **found;         /* by the check of manifests; NULL: nothing was looked for */
    const ProvideHook *hook; /* NULL: none */
} Provide;

/** Every object of a submission is of the patient of its SubmissionSet (TF-3 4.2.3.2). */
static AuditEvent make_event(const Provide *provide, Request *req, AuditEventType type,
                             bool has_failed)
{
    const Submission *submission = provide->provided.submission;
    const SubmissionSet *set = submission ? submission->submission_set : NULL;
    AuditObject *objects = ARENA_ARRAY(req->arena, AuditObject, 2);
    AuditEvent event = {.type = type, .objects = objects};
    if (has_failed) {
        audit_event_refuse(req, &event);
    }
    if (set && !str_is_empty(set->patient_id)) {
        objects[event.object_count++] =
            (AuditObject){.kind = AUDIT_OBJECT_PATIENT, .id = set->patient_id};
    }
    if (set) {
        objects[event.object_count++] =
            (AuditObject){.kind = AUDIT_OBJECT_SUBMISSION_SET, .id = set->unique_id};
    }
    return event;
}

/** Our own ITI-42 to a remote registry, as seen from here. */
static AuditEvent make_export_event(const Provide *provide, Request *req, bool has_failed)
{
    const RegistryClient *registry = provide->repository->config.registry;
    AuditEvent event = make_event(provide, req, AUDIT_ITI42_EXPORT, has_failed);
    event.remote_endpoint = str_from(registry->endpoint);
    return event;
}

static int check_access(Request *req)
{
    AccessObject object = {
        .source_facility = req->principal ? req->principal->facility_id : 0,
        .effective_us = INT64_MIN,
    };
    const AccessScope *scope;
    int rc = access_open(req, 0, ACCESS_SUBMIT, &scope);
    if (rc < 0 || access_decide(scope, &object)) {
        return rc;
    }
    return error_add(&req->errors, ERR_FORBIDDEN, NULL,
                     "this node may not submit documents; ask the operator to register it for "
                     "ITI-41 with its facility");
}

/** The message gives its documents away. */
static void take_writers(Provide *provide, SoapReceiver *receiver)
{
    const Provided *provided = &provide->provided;
    provide->writers = ARENA_ARRAY(provide->req->arena, BlobWriter *, provided->count);
    for (size_t i = 0; i < provided->count; i++) {
        provide->writers[i] =
            (BlobWriter *)soap_message_take_document(receiver, provided->documents[i].index);
    }
}

/** Makes the bytes durable. */
static int store_documents(Provide *provide)
{
    int rc = blob_writers_commit(provide->repository->blobs, provide->req, provide->writers,
                                 provide->provided.count);
    if (rc == 0) {
        fail_point("iti41.blob_durable");
    }
    return rc;
}

static void make_rows(Provide *provide, Request *req, DocumentState state)
{
    const Provided *provided = &provide->provided;
    provide->rows = ARENA_ARRAY(req->arena, DocumentRow, provided->count);
    provide->unique_ids = ARENA_ARRAY(req->arena, Str, provided->count);
    for (size_t i = 0; i < provided->count; i++) {
        provide->rows[i] = provided_row(req, &provided->documents[i], state);
        provide->unique_ids[i] = provide->rows[i].unique_id;
    }
}

/** For whom the documents are: what the registry found, or for a remote one the submitting node. */
static void set_source_facility(Provide *provide, int32_t facility)
{
    for (size_t i = 0; i < provide->provided.count; i++) {
        provide->rows[i].source_facility = facility;
    }
}

/** RAD-68 (RAD TF-2 4.68.4.1.2.3): formatCode of a manifest. */
static bool is_manifest(const DocumentEntry *entry)
{
    return str_equal(entry->format_code.code, STR("1.2.840.10008.5.1.4.1.1.88.59"));
}

/** Those that were sent; what this server makes is whole. */
static int inspect_manifests(Provide *provide)
{
    const ManifestCheck *check = provide->repository->manifests;
    const Provided *provided = &provide->provided;
    int rc = 0;
    if (!check || provide->hook) {
        return 0;
    }
    provide->found = ARENA_ARRAY(provide->req->arena, void *, provided->count);
    for (size_t i = 0; i < provided->count && rc == 0; i++) {
        const DocumentEntry *entry = provided->documents[i].entry;
        if (is_manifest(entry)) {
            rc = check->inspect(check->ctx, provide->req, entry, provide->rows[i].sha256,
                                &provide->found[i]);
        }
    }
    return rc;
}

static int queue_manifests(const Provide *provide, DbConn *conn)
{
    const ManifestCheck *check = provide->repository->manifests;
    int rc = 0;
    for (size_t i = 0; provide->found && i < provide->provided.count && rc == 0; i++) {
        if (provide->found[i]) {
            rc = check->queue(check->ctx, provide->req, conn, provide->rows[i].source_facility,
                              provide->found[i]);
        }
    }
    return rc;
}

static int queue_hook(const Provide *provide, DbConn *conn)
{
    const ProvideHook *hook = provide->hook;
    int rc = queue_manifests(provide, conn);
    return rc == 0 && hook ? hook->queue(hook->ctx, provide->req, conn) : rc;
}

/** Inside the local registry's transaction: rows and audit event become true together with the
 * metadata (C2). */
static int queue_local(void *ctx, Request *req, DbConn *conn)
{
    Provide *provide = ctx;
    AuditEvent event = make_event(provide, req, AUDIT_ITI41_IMPORT, false);
    set_source_facility(provide, provide->provided.submission->source_facility);
    int rc = document_rows_queue(req, conn, provide->rows, provide->provided.count);
    rc = rc < 0 ? rc : audit_queue_event(provide->repository->config.audit, conn, req, &event);
    return rc < 0 ? rc : queue_hook(provide, conn);
}

static int register_locally(Provide *provide)
{
    Request *req = provide->req;
    const RegistryClient *registry = provide->repository->config.registry;
    return registry->register_submission(registry->ctx, req, provide->provided.submission,
                                         queue_local, provide);
}

/** TF-2 3.41.4.1.3.2: a uniqueId already stored must come with the same bytes. */
static int check_stored(const Provide *provide, Request *req, DbConn *conn)
{
    DocumentRows stored;
    int rc = document_rows_find(req, conn, provide->unique_ids, provide->provided.count, &stored);
    for (size_t i = 0; rc >= 0 && i < provide->provided.count; i++) {
        const DocumentRow *row = &provide->rows[i];
        const DocumentRow *known = document_rows_get(&stored, row->unique_id);
        if (!known || memcmp(known->sha256, row->sha256, sizeof(row->sha256)) == 0) {
            continue;
        }
        const char *id = str_cstr(req->arena, row->unique_id);
        if (known->size_bytes != row->size_bytes) {
            error_add(&req->errors, ERR_XDS_NON_IDENTICAL_SIZE, id,
                      "same uniqueId, different content: %s is stored with %llu bytes, %llu were "
                      "sent; give a changed "
                      "document a new uniqueId",
                      id, (unsigned long long)known->size_bytes,
                      (unsigned long long)row->size_bytes);
        }
        Str stored_hash = str_hex(req->arena, known->sha1, sizeof(known->sha1));
        Str sent_hash = str_hex(req->arena, row->sha1, sizeof(row->sha1));
        rc = error_add(&req->errors, ERR_XDS_NON_IDENTICAL_HASH, id,
                       "same uniqueId, different content: %s is stored with hash %.*s, the "
                       "document sent has %.*s; give "
                       "a changed document a new uniqueId",
                       id, STR_ARG(stored_hash), STR_ARG(sent_hash));
    }
    return rc;
}

/** Stored and retrievable before ITI-42 is sent (TF-2 3.41.4.1.3.2). */
static int commit_pending(Provide *provide)
{
    Request *req = provide->req;
    if (provide->provided.count == 0) {
        return 0;
    }
    _cleanup_(db_releasep) DbConn *conn = NULL;
    int rc = db_acquire(provide->repository->config.pool, req, &conn);
    if (rc == 0) {
        rc = check_stored(provide, req, conn);
    }
    if (rc == 0) {
        rc = db_queue_begin(conn, req);
    }
    if (rc == 0) {
        rc = document_rows_queue(req, conn, provide->rows, provide->provided.count);
    }
    if (rc == 0) {
        rc = db_commit(conn, req, NULL);
    }
    if (rc == 0) {
        fail_point("iti41.pending");
    }
    return rc;
}

/** What the remote registry's answer means for the documents. Those in neither list stay pending.
 */
typedef struct Settlement {
    Str *registered;
    size_t registered_count;
    Str *removed;
    size_t removed_count;
} Settlement;

/**
 * A refusal does not say that the documents are unknown to the registry: an earlier try whose
 * outcome was unknown, or a commit that was lost on its side, may have registered them (contract
 * C3). It is asked about each.
 */
static Settlement ask_registry(const Provide *provide)
{
    Request *req = provide->req;
    const RegistryClient *registry = provide->repository->config.registry;
    size_t count = provide->provided.count;
    Settlement settlement = {
        .registered = ARENA_ARRAY(req->arena, Str, count),
        .removed = ARENA_ARRAY(req->arena, Str, count),
    };
    for (size_t i = 0; i < count; i++) {
        const DocumentRow *row = &provide->rows[i];
        Str hash = str_hex(req->arena, row->sha1, sizeof(row->sha1));
        int answer = registry->is_registered(registry->ctx, req, row->unique_id, hash);
        if (answer > 0) {
            settlement.registered[settlement.registered_count++] = row->unique_id;
        } else if (answer == 0) {
            settlement.removed[settlement.removed_count++] = row->unique_id;
        }
    }
    return settlement;
}

/** Rows and audit events of a registration that the remote registry has answered. */
static int commit_answer(Provide *provide, bool is_registered)
{
    Request *req = provide->req;
    AuditEvent export_event = make_export_event(provide, req, !is_registered);
    AuditEvent import_event = make_event(provide, req, AUDIT_ITI41_IMPORT, !is_registered);
    Audit *audit = provide->repository->config.audit;
    Settlement settlement = {.registered = provide->unique_ids,
                             .registered_count = provide->provided.count};
    if (!is_registered) {
        settlement = ask_registry(provide);
    }
    _cleanup_(db_releasep) DbConn *conn = NULL;
    int rc = db_acquire(provide->repository->config.pool, req, &conn);
    if (rc == 0) {
        rc = db_queue_begin(conn, req);
    }
    if (rc == 0) {
        rc = document_rows_queue_registered(req, conn, settlement.registered,
                                            settlement.registered_count);
    }
    if (rc == 0) {
        rc = document_rows_queue_removed(req, conn, settlement.removed, settlement.removed_count);
    }
    if (rc == 0) {
        rc = audit_queue_event(audit, conn, req, &export_event);
    }
    if (rc == 0) {
        rc = audit_queue_event(audit, conn, req, &import_event);
    }
    if (rc == 0 && is_registered) {
        rc = queue_hook(provide, conn);
    }
    return rc < 0 ? rc : db_commit(conn, req, NULL);
}

static int record_failure(Provide *provide)
{
    Request *req = provide->req;
    AuditEvent event = make_event(provide, req, AUDIT_ITI41_IMPORT, true);
    return audit_record_event(provide->repository->config.audit, req, &event);
}

/** The rows stay pending, and retrievable: the sweep asks the registry what became of them. */
static int record_unknown(Provide *provide)
{
    Request *req = provide->req;
    AuditEvent event = make_export_event(provide, req, true);
    int rc = audit_record_event(provide->repository->config.audit, req, &event);
    return rc < 0 ? rc : record_failure(provide);
}

/** @return 0 registered; negative: failed, *ret_is_audited says whether that is recorded already */
static int register_remotely(Provide *provide, bool *ret_is_audited)
{
    Request *req = provide->req;
    const RegistryClient *registry = provide->repository->config.registry;
    set_source_facility(provide, req->principal ? req->principal->facility_id : 0);
    int rc = commit_pending(provide);
    if (rc < 0) {
        return rc;
    }
    int answer =
        registry->register_submission(registry->ctx, req, provide->provided.submission, NULL, NULL);
    fail_point("iti41.answered");
    if (answer == -ERR_XDS_REGISTRY_NOT_AVAILABLE) {
        rc = record_unknown(provide);
    } else {
        rc = commit_answer(provide, answer == 0);
    }
    *ret_is_audited = rc == 0;
    return answer < 0 ? answer : rc;
}

/** What the message brought, if it may be taken. */
static int read_message(Provide *provide, SoapExchange *exchange)
{
    Request *req = provide->req;
    int rc = check_access(req);
    if (rc == 0 && error_list_has_errors(&req->errors)) {
        rc = -(int)req->errors.first->code; /* the blob store refused a document as it arrived */
    }
    rc = rc != 0 ? rc : provided_read(req, exchange->message, &provide->provided);
    if (rc == 0) {
        take_writers(provide, exchange->receiver);
    }
    return rc;
}

/** Documents and metadata are at hand, and checked as far as the repository has to. */
static int provide_run(Provide *provide, bool *ret_is_audited)
{
    Request *req = provide->req;
    const RepositoryConfig *config = &provide->repository->config;
    if (provide->provided.submission->submission_set) {
        req->subject = provide->provided.submission->submission_set->unique_id;
    }
    provided_complete(req, &provide->provided, config->unique_id);
    make_rows(provide, req, config->registry->is_local ? DOCUMENT_REGISTERED : DOCUMENT_PENDING);
    int rc = store_documents(provide);
    rc = rc < 0 ? rc : inspect_manifests(provide);
    if (rc < 0) {
        return rc;
    }
    return config->registry->is_local ? register_locally(provide)
                                      : register_remotely(provide, ret_is_audited);
}

int repository_iti41_provide(void *repository, SoapExchange *exchange)
{
    Request *req = exchange->req;
    Provide provide = {.repository = repository, .req = req};
    fail_point("iti41.received");
    bool is_audited = false;
    int rc = read_message(&provide, exchange);
    rc = rc != 0 ? rc : provide_run(&provide, &is_audited);
    const char *status = rc == 0 ? URN_RESPONSE_SUCCESS : URN_RESPONSE_FAILURE;
    if (rc == 0) {
        fail_point("iti41.registered");
    } else if (!is_audited && record_failure(&provide) < 0) {
        return error_add(&req->errors, ERR_SOAP_RECEIVER, NULL,
                         "the outcome could not be recorded; send the same message again later");
    }
    registry_response_write(req, status, &exchange->reply_xml);
    fail_point("iti41.before_reply");
    return 0;
}

int repository_provide(Repository *repository, Request *req, Submission *submission, Str content,
                       const ProvideHook *hook)
{
    BlobWriter *writer;
    int rc = blob_writer_open(repository->blobs, req, &writer);
    if (rc < 0) {
        return rc;
    }
    rc = blob_writer_write(writer, req, content.data, content.len);
    rc = rc < 0 ? rc : blob_writer_close(writer, req);
    if (rc < 0) {
        blob_writer_abandon(writer);
        return rc;
    }
    ProvidedDocument document = {.entry = submission->documents, .content = &writer->content};
    Provide provide = {
        .repository = repository,
        .req = req,
        .provided = {.submission = submission, .documents = &document, .count = 1},
        .writers = &writer,
        .hook = hook,
    };
    bool is_audited = false;
    rc = provide_run(&provide, &is_audited);
    return rc < 0 && !is_audited && record_failure(&provide) < 0 ? -ERR_IO : rc;
}
