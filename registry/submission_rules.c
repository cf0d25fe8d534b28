#include "registry/submission_rules.h"

#include <stdlib.h>

#include "lib/base/error.h"

static int compare_stored_object(const void *key, const void *object)
{
    return uuid_compare(key, &((const StoredObject *)object)->entry_uuid);
}

const StoredObject *registry_state_find(const RegistryState *state, Uuid entry_uuid)
{
    return state->object_count == 0 ? NULL
                                    : bsearch(&entry_uuid, state->objects, state->object_count,
                                              sizeof(StoredObject), compare_stored_object);
}

static int compare_claim(const void *key, const void *claim)
{
    return uuid_compare(key, &((const UniqueIdClaim *)claim)->digest);
}

const UniqueIdClaim *registry_state_find_claim(const RegistryState *state, Str unique_id)
{
    const Uuid digest = uuid_digest(unique_id);
    return bsearch(&digest, state->claims, state->claim_count, sizeof(UniqueIdClaim),
                   compare_claim);
}

const UniqueIdClaim *registry_state_set_claim(const RegistryState *state)
{
    const UniqueIdClaim *claim = state->claims;
    while (claim->kind != OBJECT_SUBMISSION_SET) {
        claim++;
    }
    return claim;
}

/** Check 13: the patient is known to the Patient Identity Feed, and not subsumed
 * (TF-2 3.42.4.1.3.3.2). */
static void check_patient(Request *req, const SubmissionSet *set, const Patient *patient)
{
    if (!patient->is_known) {
        error_add(
            &req->errors, ERR_XDS_UNKNOWN_PATIENT_ID, "XDSSubmissionSet.patientId",
            "patientId %.*s is not known here: its patient identity feed (ITI-8, ITI-44) must "
            "arrive before documents",
            STR_ARG(set->patient_id));
    } else if (!patient->is_active) {
        error_add(
            &req->errors, ERR_XDS_UNKNOWN_PATIENT_ID, "XDSSubmissionSet.patientId",
            "patientId %.*s was merged into another patient: submit with the surviving patientId",
            STR_ARG(set->patient_id));
    }
}

static const char *kind_name(ObjectKind kind)
{
    static const char *const names[] = {
        [OBJECT_DOCUMENT_ENTRY] = "DocumentEntry",
        [OBJECT_SUBMISSION_SET] = "SubmissionSet",
        [OBJECT_FOLDER] = "Folder",
        [OBJECT_ASSOCIATION] = "Association",
    };
    return names[kind];
}

/** Checks 18 and 19: documents with the same uniqueId are the same bytes (TF-2 3.42.4.1.3.3.1). */
static void check_same_document(Request *req, const UniqueIdClaim *claim)
{
    if (claim->size_bytes != claim->taken_size_bytes) {
        error_add(&req->errors, ERR_XDS_NON_IDENTICAL_SIZE, "XDSDocumentEntry.uniqueId",
                  "same uniqueId, different content: a document with uniqueId %.*s is registered "
                  "with another size; other content "
                  "needs a uniqueId of its own",
                  STR_ARG(claim->unique_id));
    }
    if (!str_equal(claim->hash, claim->taken_hash)) {
        error_add(&req->errors, ERR_XDS_NON_IDENTICAL_HASH, "XDSDocumentEntry.uniqueId",
                  "same uniqueId, different content: a document with uniqueId %.*s is registered "
                  "with another hash; other content "
                  "needs a uniqueId of its own",
                  STR_ARG(claim->unique_id));
    }
}

/** Only an On-Demand entry has neither size nor hash. */
static bool is_on_demand(int64_t size_bytes)
{
    return size_bytes < 0;
}

/** Check 32: an On-Demand uniqueId stands for documents that are still to be made, each with a
 * uniqueId of its own; of several On-Demand entries it may be the same one (TF-2 3.61.4.1.3). */
static void check_same_type(Request *req, const UniqueIdClaim *claim)
{
    bool is_new = is_on_demand(claim->size_bytes);
    error_add(&req->errors, ERR_XDS_REGISTRY_METADATA_ERROR, "XDSDocumentEntry.uniqueId",
              "%.*s is already the uniqueId of a registered %s DocumentEntry: give the %s entry a "
              "uniqueId of its own",
              STR_ARG(claim->unique_id), is_new ? "Stable" : "On-Demand",
              is_new ? "On-Demand" : "Stable");
}

/** Checks 18 to 22 of one uniqueId that the registry held before (TF-3 Table 4.2.4.1-2). */
static void check_taken_unique_id(Request *req, const UniqueIdClaim *claim)
{
    if (claim->kind == OBJECT_DOCUMENT_ENTRY) {
        if (claim->taken_kind == OBJECT_DOCUMENT_ENTRY) {
            bool is_same_type =
                is_on_demand(claim->size_bytes) == is_on_demand(claim->taken_size_bytes);
            (is_same_type ? check_same_document : check_same_type)(req, claim);
            return;
        }
        /* XDSDuplicateUniqueIdInRegistry is barred for DocumentEntries by its own definition. */
        error_add(&req->errors, ERR_XDS_REGISTRY_METADATA_ERROR, "XDSDocumentEntry.uniqueId",
                  "%.*s is already the uniqueId of a %s: give the document a uniqueId of its own",
                  STR_ARG(claim->unique_id), kind_name(claim->taken_kind));
        return;
    }
    bool is_set = claim->kind == OBJECT_SUBMISSION_SET;
    if (is_set && claim->taken_kind == OBJECT_SUBMISSION_SET) {
        error_add(&req->errors, ERR_XDS_DUPLICATE_UNIQUE_ID_IN_REGISTRY,
                  "XDSSubmissionSet.uniqueId",
                  "same uniqueId, different content: SubmissionSet %.*s is registered with other "
                  "metadata or documents; a new submission needs a new uniqueId",
                  STR_ARG(claim->unique_id));
        return;
    }
    error_add(&req->errors, ERR_XDS_DUPLICATE_UNIQUE_ID_IN_REGISTRY,
              is_set ? "XDSSubmissionSet.uniqueId" : "XDSFolder.uniqueId",
              "%.*s is already the uniqueId of a %s: a new %s needs a new uniqueId",
              STR_ARG(claim->unique_id), kind_name(claim->taken_kind), kind_name(claim->kind));
}

/** An entryUUID chosen by the sender must be new (TF-3 4.2.3.1.5). */
static void check_taken_uuids(Request *req, const RegistryState *state)
{
    for (size_t i = 0; i < state->taken_uuid_count; i++) {
        char urn[UUID_URN_LEN + 1] = "";
        uuid_format_urn(state->taken_uuids[i], urn);
        error_add(
            &req->errors, ERR_XDS_REGISTRY_METADATA_ERROR, urn,
            "an object with entryUUID %s is already registered: send a new UUID or a symbolic id",
            urn);
    }
}

/** One end of an Association, wherever it is. */
typedef struct End {
    ObjectKind kind;
    int64_t patient; /* internal id of the surviving patient; 0 unknown */
    bool is_deprecated;
    bool is_on_demand;
    bool is_transformation;
    Str text;
} End;

static const char *location(const Request *req, const Association *association)
{
    return str_cstr(req->arena, association->object->id);
}

/**
 * The object at one end; false if neither the submission nor the registry has it (check 26), which
 * is then added as a fault.
 */
static bool find_end(Request *req, const RegistryState *state, const Association *association,
                     const ObjectReference *reference, const char *which, End *ret_end)
{
    if (reference->is_in_submission) {
        *ret_end = (End){
            .kind = reference->kind, .patient = state->patient.survivor, .text = reference->text};
        return true;
    }
    const StoredObject *stored = registry_state_find(state, reference->uuid);
    if (stored == NULL || stored->is_hidden) {
        error_add(&req->errors, ERR_UNRESOLVED_REFERENCE, location(req, association),
                  "%s %.*s of this Association is neither in the submission nor a registered "
                  "DocumentEntry or Folder",
                  which, STR_ARG(reference->text));
        return false;
    }
    *ret_end = (End){
        .kind = stored->kind,
        .patient = stored->patient,
        .is_deprecated = stored->access.status == STATUS_DEPRECATED,
        .is_on_demand = stored->is_on_demand,
        .is_transformation = stored->is_transformation,
        .text = reference->text,
    };
    return true;
}

static void add_wrong_kind(Request *req, const Association *association, const char *which,
                           const End *end, const char *wanted)
{
    error_add(&req->errors, ERR_XDS_REGISTRY_METADATA_ERROR, location(req, association),
              "%s %.*s is a %s, but %s is needed here", which, STR_ARG(end->text),
              kind_name(end->kind), wanted);
}

static void add_deprecated(Request *req, const Association *association, const End *end,
                           const char *action)
{
    error_add(&req->errors, ERR_XDS_REGISTRY_DEPRECATED_DOCUMENT_ERROR, location(req, association),
              "%s %.*s is Deprecated and %s: refer to the Approved one that replaced it",
              kind_name(end->kind), STR_ARG(end->text), action);
}

/** Membership of a registered object in the new SubmissionSet: by Reference, DocumentEntry only, of
 * any patient (TF-3 4.2.2.1.1). */
static void check_reference_member(Request *req, const Association *association, const End *target)
{
    if (target->kind != OBJECT_DOCUMENT_ENTRY) {
        add_wrong_kind(
            req, association, "targetObject", target,
            "a DocumentEntry (put entries into a registered Folder by HasMember from the Folder)");
    }
}

/** Merges are taken into account (End.patient); an unknown patient is a fault of its own and
 * matches all. */
static bool is_same_patient(const End *a, const End *b)
{
    return a->patient == b->patient || a->patient == 0 || b->patient == 0;
}

/** Membership of a DocumentEntry in a Folder: one patient, both Approved (TF-3 4.2.2.1.3,
 * TF-2 3.42.4.1.3.4). */
static void check_folder_member(Request *req, const Association *association, const End *folder,
                                const End *document)
{
    if (folder->kind != OBJECT_FOLDER) {
        add_wrong_kind(req, association, "sourceObject", folder, "a SubmissionSet or Folder");
        return;
    }
    if (document->kind != OBJECT_DOCUMENT_ENTRY) {
        add_wrong_kind(req, association, "targetObject", document, "a DocumentEntry");
        return;
    }
    if (!is_same_patient(folder, document)) {
        error_add(&req->errors, ERR_XDS_PATIENT_ID_DOES_NOT_MATCH, location(req, association),
                  "DocumentEntry %.*s and Folder %.*s belong to different patients",
                  STR_ARG(document->text), STR_ARG(folder->text));
    }
    if (folder->is_deprecated) {
        add_deprecated(req, association, folder, "takes no more entries");
    }
    if (document->is_deprecated) {
        add_deprecated(req, association, document, "cannot be put into a Folder");
    }
}

/** APND, XFRM, RPLC, XFRM_RPLC, signs, IsSnapshotOf: checks 16 and 25 to 29 (TF-2 3.42.4.1.3.5); a
 * transformation is not appended to (TF-3 4.2.2.2.1), but what XFRM_RPLC put in the place of its
 * original is: there is nothing else to append to. */
static void check_relationship(Request *req, const Association *association, const End *source,
                               const End *target)
{
    if (target->kind != OBJECT_DOCUMENT_ENTRY) {
        add_wrong_kind(req, association, "targetObject", target, "a DocumentEntry");
        return;
    }
    if (!is_same_patient(source, target)) {
        error_add(&req->errors, ERR_XDS_PATIENT_ID_DOES_NOT_MATCH, location(req, association),
                  "targetObject %.*s belongs to another patient than sourceObject %.*s",
                  STR_ARG(target->text), STR_ARG(source->text));
    }
    if (target->is_deprecated) {
        add_deprecated(req, association, target, "cannot be the target of a relationship");
    }
    if (association->type == ASSOCIATION_APND && target->is_transformation) {
        error_add(&req->errors, ERR_XDS_REGISTRY_METADATA_ERROR, location(req, association),
                  "targetObject %.*s is a transformation, which cannot be appended to; append to "
                  "the document that it "
                  "was made from",
                  STR_ARG(target->text));
    }
    if (association->type == ASSOCIATION_IS_SNAPSHOT_OF && !target->is_on_demand) {
        error_add(&req->errors, ERR_XDS_REGISTRY_METADATA_ERROR, location(req, association),
                  "targetObject %.*s of IsSnapshotOf is not an On-Demand DocumentEntry",
                  STR_ARG(target->text));
    }
}

/** Judges an Association that leaves the submission; submission_check() has judged the others. */
static void check_association(Request *req, const RegistryState *state,
                              const Association *association)
{
    if (association->source.is_in_submission && association->target.is_in_submission) {
        return;
    }
    End source;
    End target;
    bool has_source =
        find_end(req, state, association, &association->source, "sourceObject", &source);
    bool has_target =
        find_end(req, state, association, &association->target, "targetObject", &target);
    if (!has_source || !has_target) {
        return;
    }
    if (association->type != ASSOCIATION_HAS_MEMBER) {
        check_relationship(req, association, &source, &target);
    } else if (source.kind == OBJECT_SUBMISSION_SET) {
        check_reference_member(req, association, &target);
    } else {
        check_folder_member(req, association, &source, &target);
    }
}

static int compare_texts(const void *a, const void *b)
{
    return str_compare(*(const Str *)a, *(const Str *)b);
}

int64_t registry_state_source_owner(const RegistryState *state, Str source_patient_id)
{
    if (state->source_count == 0) {
        return 0;
    }
    const Str *found = bsearch(&source_patient_id, state->source_patient_ids, state->source_count,
                               sizeof(Str), compare_texts);
    return found != NULL ? state->source_owners[found - state->source_patient_ids] : 0;
}

/**
 * A document whose sourcePatientId is known as the number of somebody else: filed under the wrong
 * patient, as after a link that was undone. What is not known stays unchecked (TF-2
 * 3.42.4.1.3.3.2). The text must not tell the sender whose number it is.
 */
static void check_source_patients(Request *req, const Submission *submission,
                                  const RegistryState *state)
{
    for (const DocumentEntry *d = submission->documents; d != NULL && state->patient.is_active;
         d = d->next) {
        int64_t owner = registry_state_source_owner(state, d->source_patient_id);
        if (owner != 0 && owner != state->patient.survivor) {
            error_add(&req->errors, ERR_XDS_PATIENT_ID_DOES_NOT_MATCH,
                      "XDSDocumentEntry.sourcePatientId",
                      "document %.*s: sourcePatientId %.*s belongs to a patient whose patientId is "
                      "not the one of this submission; ask for the patientId that it has now "
                      "(ITI-9, ITI-45 or ITI-83) and submit with that",
                      STR_ARG(d->unique_id), STR_ARG(d->source_patient_id));
        }
    }
}

void submission_rules_check_common(Request *req, const Submission *submission,
                                   const RegistryState *state)
{
    check_patient(req, submission->submission_set, &state->patient);
    check_source_patients(req, submission, state);
    for (size_t i = 0; i < state->claim_count; i++) {
        if (state->claims[i].is_taken) {
            check_taken_unique_id(req, &state->claims[i]);
        }
    }
    check_taken_uuids(req, state);
}

int submission_rules_result(const Request *req, const Error *before, unsigned errors_before)
{
    if (req->errors.error_count == errors_before) {
        return 0;
    }
    const Error *first = before != NULL ? before->next : req->errors.first;
    return first != NULL ? -(int)first->code : -(int)ERR_XDS_REGISTRY_ERROR;
}

int submission_rules_check(Request *req, const Submission *submission, const RegistryState *state)
{
    const Error *before = req->errors.last;
    unsigned errors_before = req->errors.error_count;
    submission_rules_check_common(req, submission, state);
    for (const Association *a = submission->associations; a != NULL; a = a->next) {
        check_association(req, state, a);
    }
    return submission_rules_result(req, before, errors_before);
}
