#include "registry/update_rules.h"

#include <stdlib.h>

#include "lib/base/error.h"
#include "lib/ebrim/vocabulary.h"
#include "registry/update_conflicts.h"

/** One run of update_rules_check(). */
typedef struct Rules {
    Request *req;
    bool is_restricted; /* ITI-92 */
    const Submission *submission;
    const SubmittedDocument *submitted;
    const UpdateState *state;
    const UpdatedObject *updated;
    size_t updated_count;
} Rules;

static const char *location(const Rules *rules, const RimObject *object)
{
    return str_cstr(rules->req->arena, object->id);
}

/* ---- what the registry holds ---- */

static int compare_version(const void *key, const void *version)
{
    return uuid_compare(key, &((const StoredVersion *)version)->object.entry_uuid);
}

const StoredVersion *update_state_find(const UpdateState *state, Uuid entry_uuid)
{
    size_t count = state->registry.object_count;
    return count == 0 ? NULL
                      : bsearch(&entry_uuid, state->versions, count, sizeof(StoredVersion),
                                compare_version);
}

static int compare_association(const void *key, const void *association)
{
    return uuid_compare(key, &((const StoredAssociation *)association)->entry_uuid);
}

const StoredAssociation *update_state_find_association(const UpdateState *state, Uuid entry_uuid)
{
    return state->named.count == 0 ? NULL
                                   : bsearch(&entry_uuid, state->named.items, state->named.count,
                                             sizeof(StoredAssociation), compare_association);
}

/** What the sender may not know of is as unknown as what is not there. */
static const StoredVersion *find_shown(const UpdateState *state, Uuid entry_uuid)
{
    const StoredVersion *found = update_state_find(state, entry_uuid);
    return found != NULL && !found->object.is_hidden ? found : NULL;
}

static const StoredVersion *find_latest(const UpdateState *state, ObjectKind kind, Uuid lid)
{
    for (size_t i = 0; i < state->registry.object_count; i++) {
        const StoredVersion *v = &state->versions[i];
        if (v->is_latest && v->object.kind == kind && uuid_equal(v->lid, lid)) {
            return v->object.is_hidden ? NULL : v;
        }
    }
    return NULL;
}

static bool is_deprecated(const StoredVersion *version)
{
    return version->object.access.status == STATUS_DEPRECATED;
}

/* ---- what the message updates ---- */

static void add_updated(const UpdateState *state, UpdatedObject *updated, size_t *count)
{
    updated->previous = find_latest(state, updated->kind, updated->lid);
    ++*count;
}

/** Finds the Associations from the SubmissionSet to the updated objects. */
static void find_operations(const Submission *submission, UpdatedObject *updated, size_t count)
{
    for (const Association *a = submission->associations; a != NULL; a = a->next) {
        for (size_t i = 0; a->target.is_in_submission && i < count; i++) {
            if (!uuid_equal(updated[i].entry_uuid, a->target.uuid)) {
                continue;
            }
            if (a->type == ASSOCIATION_HAS_MEMBER) {
                updated[i].member = a;
            } else if (a->type == ASSOCIATION_UPDATE_AVAILABILITY_STATUS) {
                updated[i].status = a;
            }
            break;
        }
    }
}

UpdatedObject *updated_objects(Arena *arena, const Submission *submission, const UpdateState *state,
                               size_t *ret_count)
{
    UpdatedObject *updated =
        ARENA_ARRAY(arena, UpdatedObject, submission->document_count + submission->folder_count);
    size_t count = 0;
    for (const DocumentEntry *d = submission->documents; d != NULL; d = d->next) {
        updated[count] = (UpdatedObject){.kind = OBJECT_DOCUMENT_ENTRY,
                                         .object = d->object,
                                         .entry_uuid = d->entry_uuid,
                                         .lid = d->lid,
                                         .unique_id = d->unique_id,
                                         .document = d,
                                         .position = count};
        add_updated(state, &updated[count], &count);
    }
    size_t position = 0;
    for (const Folder *f = submission->folders; f != NULL; f = f->next) {
        updated[count] = (UpdatedObject){.kind = OBJECT_FOLDER,
                                         .object = f->object,
                                         .entry_uuid = f->entry_uuid,
                                         .lid = f->lid,
                                         .unique_id = f->unique_id,
                                         .position = position++};
        add_updated(state, &updated[count], &count);
    }
    find_operations(submission, updated, count);
    *ret_count = count;
    return updated;
}

size_t update_named_objects(const UpdateState *state, const Association *association,
                            const StoredVersion *ret_versions[2])
{
    Uuid ends[2];
    size_t end_count = 0;
    size_t count = 0;
    if (association->type == ASSOCIATION_UPDATE_AVAILABILITY_STATUS) {
        const StoredAssociation *named =
            update_state_find_association(state, association->target.uuid);
        ends[end_count++] = named != NULL ? named->source : association->target.uuid;
        if (named != NULL) {
            ends[end_count++] = named->target;
        }
    } else if (!association->source.is_in_submission) {
        ends[end_count++] = association->source.uuid;
        ends[end_count++] = association->target.uuid;
    }
    for (size_t i = 0; i < end_count; i++) {
        const StoredVersion *found = update_state_find(state, ends[i]);
        if (found != NULL) {
            ret_versions[count++] = found;
        }
    }
    return count;
}

/** The object whose new version the message holds, if this is a version of it. */
static const UpdatedObject *find_updated(const Rules *rules, const StoredVersion *version)
{
    for (size_t i = 0; i < rules->updated_count; i++) {
        if (rules->updated[i].previous != NULL && uuid_equal(rules->updated[i].lid, version->lid)) {
            return &rules->updated[i];
        }
    }
    return NULL;
}

/* ---- new versions (3.57.4.1.3.3.1, .3; 3.92.4.1.3) ---- */

static const char *kind_name(ObjectKind kind)
{
    return kind == OBJECT_FOLDER ? "Folder" : "DocumentEntry";
}

/** An attribute that may not change. */
static void add_changed(const Rules *rules, const UpdatedObject *updated, ErrorCode code,
                        const char *attribute, const char *remedy)
{
    error_add(&rules->req->errors, code, location(rules, updated->object),
              "%s of %s %.*s differs from that of its version %d; %s", attribute,
              kind_name(updated->kind), STR_ARG(updated->unique_id), updated->previous->version,
              remedy);
}

/** @return whether the rest can be compared with it */
static bool check_previous(const Rules *rules, const UpdatedObject *updated)
{
    const StoredVersion *previous = updated->previous;
    ErrorList *errors = &rules->req->errors;
    if (previous == NULL) {
        error_add(errors, ERR_XDS_METADATA_VERSION_ERROR, location(rules, updated->object),
                  "no %s with lid %.*s is registered here, or it got another version this very "
                  "moment: ask for its latest version and send lid and version of that",
                  kind_name(updated->kind), STR_ARG(updated->object->lid));
        return false;
    }
    if (updated->member != NULL && updated->member->previous_version != previous->version) {
        error_add(errors, ERR_XDS_METADATA_VERSION_ERROR, location(rules, updated->object),
                  "PreviousVersion is %d, but the latest version of %s %.*s is %d: ask for that, "
                  "change it, and send its number",
                  updated->member->previous_version, kind_name(updated->kind),
                  STR_ARG(updated->unique_id), previous->version);
        return false;
    }
    if (is_deprecated(previous) && !rules->is_restricted) {
        error_add(errors, ERR_XDS_METADATA_UPDATE_ERROR, location(rules, updated->object),
                  "the latest version of %s %.*s is Deprecated: make it Approved by "
                  "UpdateAvailabilityStatus first, in a message of its own",
                  kind_name(updated->kind), STR_ARG(updated->unique_id));
    }
    return true;
}

/** @return the restricted or the general code */
static ErrorCode code_for(const Rules *rules, ErrorCode restricted, ErrorCode general)
{
    return rules->is_restricted ? restricted : general;
}

bool update_changes_bytes(const StoredVersion *previous, const SubmittedDocument *submitted)
{
    return submitted->size_bytes != previous->size_bytes ||
           !str_equal(submitted->hash, previous->hash);
}

bool update_tells_otherwise(const StoredVersion *previous, const SubmittedDocument *submitted)
{
    return submitted->repository != previous->repository ||
           update_changes_bytes(previous, submitted);
}

/** A document may have gone to another repository, unless it is known to be here. */
static void check_repository(const Rules *rules, const UpdatedObject *updated)
{
    const StoredVersion *previous = updated->previous;
    if (rules->submitted[updated->position].repository == previous->repository) {
        return;
    }
    if (rules->is_restricted || previous->is_held_here) {
        add_changed(rules, updated,
                    code_for(rules, ERR_UNMODIFIABLE_METADATA_ERROR, ERR_XDS_METADATA_UPDATE_ERROR),
                    "repositoryUniqueId",
                    "the document stays where it is; send what is registered");
    }
}

/** size and hash may be put right, as after a delayed assembly (TF-2 3.43.4.1.3.2), unless it is
 * known that they are right. */
static void check_bytes(const Rules *rules, const UpdatedObject *updated)
{
    const StoredVersion *previous = updated->previous;
    const SubmittedDocument *submitted = &rules->submitted[updated->position];
    if (!update_changes_bytes(previous, submitted) || !previous->has_other_bytes) {
        return;
    }
    ErrorCode code = submitted->size_bytes != previous->size_bytes ? ERR_XDS_NON_IDENTICAL_SIZE
                                                                   : ERR_XDS_NON_IDENTICAL_HASH;
    add_changed(
        rules, updated, code_for(rules, ERR_UNMODIFIABLE_METADATA_ERROR, code), "size or hash",
        "the document is held with these bytes; send both as they were, or submit the other "
        "content as a replacement (RPLC)");
}

/** What a Restricted Update leaves alone (3.92.4.1.3). */
static void check_restricted(const Rules *rules, const UpdatedObject *updated)
{
    static const char remedy[] = "a Restricted Update keeps it; send what is registered";
    const StoredVersion *previous = updated->previous;
    const DocumentEntry *d = updated->document;
    if (!str_equal(d->source_patient_id, previous->source_patient_id)) {
        add_changed(rules, updated, ERR_UNMODIFIABLE_METADATA_ERROR, "sourcePatientId", remedy);
    }
    if (str_equal(d->document_availability, STR(URN_AVAILABILITY_OFFLINE)) !=
        previous->is_offline) {
        add_changed(rules, updated, ERR_UNMODIFIABLE_METADATA_ERROR, "documentAvailability",
                    remedy);
    }
    const char *status = is_deprecated(previous) ? URN_STATUS_DEPRECATED : URN_STATUS_APPROVED;
    if (!str_is_empty(d->object->status) && !str_equal(d->object->status, str_from(status))) {
        add_changed(rules, updated, ERR_UNMODIFIABLE_METADATA_ERROR, "availabilityStatus", remedy);
    }
}

static void check_document(const Rules *rules, const UpdatedObject *updated)
{
    const StoredVersion *previous = updated->previous;
    if (updated->document->is_on_demand != previous->object.is_on_demand) {
        add_changed(rules, updated,
                    code_for(rules, ERR_UNMODIFIABLE_METADATA_ERROR, ERR_XDS_METADATA_UPDATE_ERROR),
                    "objectType", "send the objectType that is registered");
    }
    check_repository(rules, updated);
    check_bytes(rules, updated);
    if (rules->is_restricted) {
        check_restricted(rules, updated);
    }
}

/** Whether the other end of the link is an object of which the message holds a new version too. */
static bool is_end_updated(const Rules *rules, const StoredAssociation *link,
                           const StoredVersion *version)
{
    Uuid other = uuid_equal(link->source, version->object.entry_uuid) ? link->target : link->source;
    const StoredVersion *stored = update_state_find(rules->state, other);
    return stored != NULL && find_updated(rules, stored) != NULL;
}

static bool has_kept_link(const Rules *rules, const UpdatedObject *updated)
{
    Uuid previous = updated->previous->object.entry_uuid;
    for (size_t i = 0; i < rules->state->links.count; i++) {
        const StoredAssociation *link = &rules->state->links.items[i];
        bool is_its = uuid_equal(link->source, previous) || uuid_equal(link->target, previous);
        if (is_its && !is_end_updated(rules, link, updated->previous)) {
            return true;
        }
    }
    return false;
}

/** Reconciliation: only what is unconnected, or not connected any more, goes to another patient
 * (3.57.4.1.3.3.1.7, 3.57.4.1.3.4.1). */
static void check_patient(const Rules *rules, const UpdatedObject *updated)
{
    int64_t patient = rules->state->registry.patient.survivor;
    if (updated->previous->object.patient == patient || patient == 0) {
        return;
    }
    if (rules->is_restricted) {
        add_changed(rules, updated, ERR_XDS_PATIENT_ID_RECONCILIATION_ERROR, "patientId",
                    "a Restricted Update keeps it; send the change as ITI-57");
    } else if (updated->member != NULL && updated->member->propagates &&
               has_kept_link(rules, updated)) {
        add_changed(rules, updated, ERR_XDS_PATIENT_ID_RECONCILIATION_ERROR, "patientId",
                    "its Associations lead to objects of the former patient: send "
                    "AssociationPropagation no, or all of them in one message");
    }
}

static void check_version(const Rules *rules, const UpdatedObject *updated)
{
    if (!check_previous(rules, updated)) {
        return;
    }
    if (!str_equal(updated->unique_id, updated->previous->unique_id)) {
        add_changed(
            rules, updated,
            code_for(rules, ERR_XDS_METADATA_IDENTIFIER_ERROR, ERR_XDS_METADATA_UPDATE_ERROR),
            "uniqueId", "all versions have one uniqueId; send the one that is registered");
        return;
    }
    if (updated->document != NULL) {
        check_document(rules, updated);
    }
    check_patient(rules, updated);
}

/* ---- changes of status (3.57.4.1.3.3.2, .4, .5) ---- */

static void add_update_error(const Rules *rules, const Association *association, ErrorCode code,
                             const char *text)
{
    error_add(&rules->req->errors, code, location(rules, association->object),
              "%s (targetObject %.*s)", text, STR_ARG(association->target.text));
}

static const char *status_name(int status)
{
    return status == STATUS_DEPRECATED ? "Deprecated" : "Approved";
}

static void check_original(const Rules *rules, const Association *association, int status)
{
    if (association->original_status != status) {
        error_add(&rules->req->errors, ERR_XDS_METADATA_UPDATE_ERROR,
                  location(rules, association->object),
                  "OriginalStatus is %s, but the status of targetObject %.*s is %s: ask for its "
                  "status and send that",
                  status_name(association->original_status), STR_ARG(association->target.text),
                  status_name(status));
    }
}

static void check_of_this_patient(const Rules *rules, const Association *association,
                                  const StoredVersion *version)
{
    int64_t patient = rules->state->registry.patient.survivor;
    if (patient != 0 && version->object.patient != patient) {
        add_update_error(rules, association, ERR_XDS_PATIENT_ID_RECONCILIATION_ERROR,
                         "the Association concerns an object of another patient than the "
                         "SubmissionSet: send the patientId of the object");
    }
}

static void check_version_status(const Rules *rules, const Association *association,
                                 const StoredVersion *version)
{
    if (!version->is_latest || find_updated(rules, version) != NULL) {
        add_update_error(rules, association, ERR_XDS_METADATA_UPDATE_ERROR,
                         "the target of UpdateAvailabilityStatus is not the latest version of its "
                         "object: ask for that and send its entryUUID, or the id of the version "
                         "that this message makes");
        return;
    }
    check_of_this_patient(rules, association, version);
    check_original(rules, association, version->object.access.status);
}

/** Membership in a Folder, or a relationship: never what leads from a SubmissionSet. */
static bool may_change(const StoredAssociation *stored)
{
    return !association_type_is_operation(stored->type) &&
           stored->source_kind != OBJECT_SUBMISSION_SET &&
           stored->target_kind == OBJECT_DOCUMENT_ENTRY;
}

static void check_end_of_approved(const Rules *rules, const Association *association,
                                  const StoredVersion *end)
{
    if (!end->is_latest && association->new_status == STATUS_APPROVED) {
        add_update_error(rules, association, ERR_XDS_METADATA_UPDATE_ERROR,
                         "an end of the Association is a superseded version, so that it stays "
                         "Deprecated: submit one between the latest versions (SubmitAssociation)");
    }
}

static void check_not_there(const Rules *rules, const Association *association,
                            AssociationType type, Uuid source, Uuid target)
{
    for (size_t i = 0; i < rules->state->equal.count; i++) {
        const StoredAssociation *equal = &rules->state->equal.items[i];
        if (equal->type == type && uuid_equal(equal->source, source) &&
            uuid_equal(equal->target, target)) {
            add_update_error(rules, association, ERR_XDS_METADATA_UPDATE_ERROR,
                             "an Approved Association of this type between these objects is "
                             "registered already");
            return;
        }
    }
}

static void check_association_status(const Rules *rules, const Association *association,
                                     const StoredAssociation *stored)
{
    const StoredVersion *ends[2];
    size_t count = update_named_objects(rules->state, association, ends);
    if (!may_change(stored)) {
        add_update_error(rules, association, ERR_XDS_METADATA_UPDATE_ERROR,
                         "the target is an Association of a SubmissionSet, whose status stays");
        return;
    }
    for (size_t i = 0; i < count; i++) {
        check_of_this_patient(rules, association, ends[i]);
        check_end_of_approved(rules, association, ends[i]);
        if (find_updated(rules, ends[i]) != NULL) {
            add_update_error(rules, association, ERR_XDS_METADATA_UPDATE_OPERATION_ERROR,
                             "the message also makes a new version of an end of the Association: "
                             "send one message after the other");
        }
    }
    check_original(rules, association, (int)stored->status);
    if (stored->status == STATUS_DEPRECATED && association->new_status == STATUS_APPROVED) {
        check_not_there(rules, association, stored->type, stored->source, stored->target);
    }
}

static void check_status(const Rules *rules, const Association *association)
{
    if (association->target.is_in_submission) {
        check_original(rules, association, STATUS_APPROVED); /* of the version that is made */
        return;
    }
    const StoredAssociation *stored =
        update_state_find_association(rules->state, association->target.uuid);
    const StoredVersion *version = find_shown(rules->state, association->target.uuid);
    const StoredVersion *ends[2];
    size_t end_count = update_named_objects(rules->state, association, ends);
    bool is_hidden = end_count == 0;
    for (size_t i = 0; i < end_count; i++) {
        is_hidden = is_hidden || ends[i]->object.is_hidden;
    }
    if (stored != NULL && (!is_hidden || !may_change(stored))) {
        check_association_status(rules, association, stored);
    } else if (version != NULL) {
        check_version_status(rules, association, version);
    } else {
        add_update_error(rules, association, ERR_XDS_METADATA_UPDATE_ERROR,
                         "the target of UpdateAvailabilityStatus is no DocumentEntry, Folder or "
                         "Association that is registered here: send the entryUUID of one");
    }
}

/* ---- new Associations between registered objects (3.57.4.1.3.3.6) ---- */

static bool check_submitted_end(const Rules *rules, const Association *association,
                                const ObjectReference *end, const char *which,
                                const StoredVersion **ret_version)
{
    const StoredVersion *version = find_shown(rules->state, end->uuid);
    ErrorList *errors = &rules->req->errors;
    const char *at = location(rules, association->object);
    if (version == NULL) {
        error_add(errors, ERR_XDS_METADATA_UPDATE_ERROR, at,
                  "%s %.*s is no DocumentEntry or Folder that is registered here", which,
                  STR_ARG(end->text));
        return false;
    }
    if (find_updated(rules, version) != NULL) {
        error_add(errors, ERR_XDS_METADATA_UPDATE_OPERATION_ERROR, at,
                  "the message also makes a new version of %s %.*s: submit the Association in a "
                  "message of its own, to the entryUUID of that version",
                  which, STR_ARG(end->text));
    } else if (is_deprecated(version)) {
        error_add(errors, ERR_XDS_METADATA_UPDATE_ERROR, at,
                  "%s %.*s is Deprecated: an Association connects Approved objects", which,
                  STR_ARG(end->text));
    }
    *ret_version = version;
    return true;
}

static void check_ends_fit(const Rules *rules, const Association *association,
                           const StoredObject *source, const StoredObject *target)
{
    bool is_membership = association->type == ASSOCIATION_HAS_MEMBER;
    ObjectKind source_kind = is_membership ? OBJECT_FOLDER : OBJECT_DOCUMENT_ENTRY;
    const char *text = NULL;
    if (source->kind != source_kind || target->kind != OBJECT_DOCUMENT_ENTRY) {
        text = is_membership ? "HasMember leads from a Folder to a DocumentEntry"
                             : "a relationship leads from a DocumentEntry to a DocumentEntry";
    } else if (association->type == ASSOCIATION_APND && target->is_transformation) {
        text = "a transformation cannot be appended to";
    } else if (association->type == ASSOCIATION_IS_SNAPSHOT_OF &&
               (source->is_on_demand || !target->is_on_demand)) {
        text = "IsSnapshotOf leads from a Stable to an On-Demand DocumentEntry";
    }
    if (text != NULL) {
        add_update_error(rules, association, ERR_XDS_METADATA_UPDATE_ERROR, text);
    }
}

static void check_submitted(const Rules *rules, const Association *association)
{
    const StoredVersion *source;
    const StoredVersion *target;
    bool has_source =
        check_submitted_end(rules, association, &association->source, "sourceObject", &source);
    bool has_target =
        check_submitted_end(rules, association, &association->target, "targetObject", &target);
    if (!has_source || !has_target) {
        return;
    }
    check_ends_fit(rules, association, &source->object, &target->object);
    if (source->object.patient != target->object.patient) {
        add_update_error(rules, association, ERR_XDS_PATIENT_ID_RECONCILIATION_ERROR,
                         "sourceObject and targetObject belong to different patients");
    } else {
        check_of_this_patient(rules, association, source);
    }
    check_not_there(rules, association, association->type, association->source.uuid,
                    association->target.uuid);
}

/* ---- all of it ---- */

static void check_association(const Rules *rules, const Association *association)
{
    if (association->type == ASSOCIATION_UPDATE_AVAILABILITY_STATUS) {
        check_status(rules, association);
    } else if (!association->source.is_in_submission) {
        check_submitted(rules, association);
    }
}

int update_rules_check(Request *req, SubmissionKind kind, const Submission *submission,
                       const SubmittedDocument *submitted, const UpdateState *state)
{
    Rules rules = {.req = req,
                   .is_restricted = kind == SUBMISSION_ITI92,
                   .submission = submission,
                   .submitted = submitted,
                   .state = state};
    const Error *before = req->errors.last;
    unsigned errors_before = req->errors.error_count;
    rules.updated = updated_objects(req->arena, submission, state, &rules.updated_count);
    submission_rules_check_common(req, submission, &state->registry);
    for (size_t i = 0; i < rules.updated_count; i++) {
        check_version(&rules, &rules.updated[i]);
    }
    for (const Association *a = submission->associations; a != NULL; a = a->next) {
        check_association(&rules, a);
    }
    if (req->errors.error_count == errors_before) {
        update_conflicts_check(req, submission, state, rules.updated, rules.updated_count);
    }
    return submission_rules_result(req, before, errors_before);
}
