#include <stdlib.h>

#include "lib/ebrim/check.h"
#include "lib/ebrim/objects.h"
#include "lib/ebrim/vocabulary.h"

/* Requests that change what is registered: which operation each part of the message belongs to (XDS
 * Metadata Update 3.57.4.1.3.3; Restricted Metadata Update 3.92.4.1.2). */

/** The same fault has a name of its own in the Restricted Update. */
typedef enum UpdateFault {
    FAULT_LOGICAL_ID,    /* lid missing, symbolic, or of an initial version */
    FAULT_NO_MEMBERSHIP, /* the updated object is no member of the SubmissionSet */
    FAULT_ANNOTATION,    /* Slots of the HasMember */
    FAULT_OPERATION,     /* part of no operation */
    FAULT_STATUS_CHANGE,
    FAULT_OTHER_OBJECT, /* not a DocumentEntry */
} UpdateFault;

static ErrorCode code_of(const Check *check, UpdateFault fault)
{
    static const struct {
        ErrorCode iti57;
        ErrorCode iti92;
    } codes[] = {
        [FAULT_LOGICAL_ID] = {ERR_XDS_METADATA_UPDATE_ERROR, ERR_XDS_INVALID_REQUEST},
        [FAULT_NO_MEMBERSHIP] = {ERR_XDS_METADATA_UPDATE_ERROR, ERR_XDS_METADATA_ANNOTATION_ERROR},
        [FAULT_ANNOTATION] = {ERR_XDS_METADATA_UPDATE_OPERATION_ERROR,
                              ERR_XDS_METADATA_ANNOTATION_ERROR},
        [FAULT_OPERATION] = {ERR_XDS_METADATA_UPDATE_OPERATION_ERROR, ERR_XDS_INVALID_REQUEST},
        [FAULT_STATUS_CHANGE] = {ERR_XDS_METADATA_UPDATE_OPERATION_ERROR,
                                 ERR_UNMODIFIABLE_METADATA_ERROR},
        [FAULT_OTHER_OBJECT] = {ERR_XDS_METADATA_UPDATE_ERROR, ERR_XDS_METADATA_UPDATE_ERROR},
    };
    return check->kind == SUBMISSION_ITI92 ? codes[fault].iti92 : codes[fault].iti57;
}

static void fault(Check *check, UpdateFault kind, const Association *a, const char *text)
{
    association_fault(check, code_of(check, kind), a, text);
}

/* ---- the logical object ---- */

void check_updated_lid(Check *check, ObjectKind kind, const RimObject *object)
{
    Uuid lid;
    if (kind == OBJECT_FOLDER && check->kind == SUBMISSION_ITI92) {
        check_fault(check, code_of(check, FAULT_OTHER_OBJECT), object, object->xml, "lid",
                    "a Restricted Update changes DocumentEntries only; send Folders as ITI-57");
    }
    if (str_is_empty(object->lid) || str_equal(object->lid, object->id)) {
        check_fault(check, code_of(check, FAULT_LOGICAL_ID), object, object->xml, "lid",
                    "%s; send as lid the logicalID that the object to be updated has in answers of "
                    "the registry, and an id of its own (a new object is registered by ITI-42)",
                    str_is_empty(object->lid) ? "lid is missing" : "lid is the id of the object");
    } else if (!uuid_parse_urn(object->lid, &lid)) {
        check_fault(check, code_of(check, FAULT_LOGICAL_ID), object, object->xml, "lid",
                    "lid \"%.*s\" is not a UUID; send the logicalID of the registered object, "
                    "urn:uuid: and 8-4-4-4-12 lower-case hexadecimal digits",
                    STR_ARG(shown(object->lid)));
    }
}

/** An updated object of the message. */
typedef struct LidUse {
    Uuid lid;
    const RimObject *object;
} LidUse;

static int compare_lids(const void *a, const void *b)
{
    return uuid_compare(&((const LidUse *)a)->lid, &((const LidUse *)b)->lid);
}

static void check_repeated_lids(Check *check)
{
    const Submission *submission = check->submission;
    size_t count = 0;
    LidUse *uses = ARENA_ARRAY(check->req->arena, LidUse,
                               submission->document_count + submission->folder_count);
    for (const DocumentEntry *d = submission->documents; d; d = d->next) {
        if (d->is_version) {
            uses[count++] = (LidUse){d->lid, d->object};
        }
    }
    for (const Folder *f = submission->folders; f; f = f->next) {
        if (f->is_version) {
            uses[count++] = (LidUse){f->lid, f->object};
        }
    }
    if (count > 0) {
        qsort(uses, count, sizeof(*uses), compare_lids);
    }
    for (size_t i = 1; i < count; i++) {
        if (uuid_equal(uses[i - 1].lid, uses[i].lid)) {
            check_fault(check, code_of(check, FAULT_OPERATION), uses[i].object, uses[i].object->xml,
                        "lid",
                        "the message updates the object with lid %.*s twice; send one new version",
                        STR_ARG(shown(uses[i].object->lid)));
        }
    }
}

/* ---- Slots of operations ---- */

static void check_no_slot(Check *check, const Association *a, const char *name, const char *text)
{
    if (rim_slot(a->object, name)) {
        check_fault(check, code_of(check, FAULT_ANNOTATION), a->object, a->object->xml, name,
                    "Slot %s %s; leave it out", name, text);
    }
}

/** @param is_good  the value could be read */
static void check_one_value(Check *check, const Association *a, const char *name, bool is_required,
                            bool is_good, const char *wanted)
{
    const Slot *slot = rim_slot(a->object, name);
    bool is_repeated = slot && slot_find(slot->next, slot->name);
    if (!slot && !is_required) {
        return;
    }
    if (!slot || is_repeated || slot->value_count != 1 || !is_good) {
        check_fault(check, code_of(check, FAULT_ANNOTATION), a->object, a->object->xml, name,
                    "Slot %s %s%s%.*s%s; send it once, with one value: %s", name,
                    slot ? "has not one legal value" : "is missing",
                    slot && slot->value_count > 0 ? " (the first is \"" : "",
                    STR_ARG(shown(slot_value(slot))), slot && slot->value_count > 0 ? "\")" : "",
                    wanted);
    }
}

static bool is_propagation(Str value)
{
    return str_equal(value, STR("yes")) || str_equal(value, STR("no"));
}

/** HasMember from the SubmissionSet to a new version (3.57.4.1.3.1.3). */
static void check_version_member(Check *check, const Association *a)
{
    Str propagation = slot_value(rim_slot(a->object, SLOT_ASSOCIATION_PROPAGATION));
    bool is_document = is_in(&a->target, OBJECT_DOCUMENT_ENTRY);
    check_one_value(check, a, SLOT_PREVIOUS_VERSION, true, a->previous_version > 0,
                    "the version to be updated, as VersionInfo/@versionName of the registered "
                    "object says it");
    check_one_value(check, a, SLOT_ASSOCIATION_PROPAGATION, false, is_propagation(propagation),
                    "yes or no");
    check_one_value(check, a, SLOT_SUBMISSION_SET_STATUS, is_document, a->is_original, "Original");
    check_no_slot(check, a, SLOT_ORIGINAL_STATUS, "belongs to UpdateAvailabilityStatus");
    check_no_slot(check, a, SLOT_NEW_STATUS, "belongs to UpdateAvailabilityStatus");
}

/** UpdateAvailabilityStatus (3.57.4.1.3.3.2, .4, .5). */
static void check_status_change(Check *check, const Association *a)
{
    static const char wanted[] = URN_STATUS_APPROVED " or " URN_STATUS_DEPRECATED;
    if (check->kind == SUBMISSION_ITI92) {
        fault(check, FAULT_STATUS_CHANGE, a,
              "a Restricted Update does not change availabilityStatus; send "
              "UpdateAvailabilityStatus as ITI-57");
        return;
    }
    check_one_value(check, a, SLOT_ORIGINAL_STATUS, true, a->original_status >= 0, wanted);
    check_one_value(check, a, SLOT_NEW_STATUS, true, a->new_status >= 0, wanted);
    if (a->new_status >= 0 && a->original_status == a->new_status) {
        fault(check, FAULT_STATUS_CHANGE, a,
              "OriginalStatus and NewStatus are the same, so that nothing would change");
    }
    check_no_slot(check, a, SLOT_PREVIOUS_VERSION, "belongs to the HasMember of a new version");
    check_no_slot(check, a, SLOT_ASSOCIATION_PROPAGATION,
                  "belongs to the HasMember of a new version");
    check_no_slot(check, a, SLOT_SUBMISSION_SET_STATUS, "belongs to HasMember");
    if (is_in(&a->target, OBJECT_SUBMISSION_SET) || is_in(&a->target, OBJECT_ASSOCIATION)) {
        fault(check, FAULT_OTHER_OBJECT, a,
              "the status of a DocumentEntry, a Folder or a registered Association can be changed; "
              "that of a SubmissionSet or of a new Association cannot");
    }
}

static void check_plain(Check *check, const Association *a)
{
    static const char *const names[] = {SLOT_PREVIOUS_VERSION, SLOT_ASSOCIATION_PROPAGATION,
                                        SLOT_ORIGINAL_STATUS, SLOT_NEW_STATUS,
                                        SLOT_SUBMISSION_SET_STATUS};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        check_no_slot(check, a, names[i], "is not of this operation");
    }
}

/* ---- operations ---- */

/** What the Associations of the SubmissionSet lead to, each as often as it is named. */
typedef struct Operations {
    ObjectSet versions;  /* typed DocumentEntries and Folders */
    ObjectSet submitted; /* Associations */
    size_t count;
} Operations;

static void check_submit(Check *check, const Association *a)
{
    if (check->kind == SUBMISSION_ITI92) {
        fault(check, FAULT_OTHER_OBJECT, a,
              "a Restricted Update submits no Associations; send SubmitAssociation as ITI-57");
    }
    check_plain(check, a);
    if (!is_in(&a->target, OBJECT_ASSOCIATION)) {
        fault(check, FAULT_OPERATION, a,
              "the target of SubmitAssociation is no Association of the message");
    }
}

/** An Association whose source is the SubmissionSet. */
static void check_operation(Check *check, const Association *a, Operations *operations)
{
    bool is_version = is_in(&a->target, OBJECT_DOCUMENT_ENTRY) || is_in(&a->target, OBJECT_FOLDER);
    operations->count++;
    if (a->type == ASSOCIATION_UPDATE_AVAILABILITY_STATUS) {
        check_status_change(check, a);
    } else if (a->type == ASSOCIATION_SUBMIT_ASSOCIATION) {
        check_submit(check, a);
        operations->submitted.items[operations->submitted.count++] = a->target.object;
    } else if (is_has_member(a) && is_version) {
        check_version_member(check, a);
        operations->versions.items[operations->versions.count++] = a->target.object;
    } else if (a->type != ASSOCIATION_TYPE_COUNT) {
        fault(check, FAULT_OPERATION, a,
              "the Association asks for no update; from the SubmissionSet send HasMember to a new "
              "version, UpdateAvailabilityStatus, or SubmitAssociation");
    }
}

/** An Association that SubmitAssociation leads to: between registered objects (3.57.4.1.3.3.6). */
static void check_submitted(Check *check, const Association *a, const Operations *operations)
{
    check_plain(check, a);
    if (object_set_count(&operations->submitted, a) != 1) {
        fault(check, FAULT_OPERATION, a,
              "the Association is part of no operation; send one SubmitAssociation with the "
              "SubmissionSet as sourceObject and this Association as targetObject");
    }
    if (a->source.is_in_submission || a->target.is_in_submission) {
        fault(check, FAULT_OTHER_OBJECT, a,
              "an Association that is submitted connects registered objects; send their "
              "entryUUIDs");
    }
    if (association_type_is_operation(a->type)) {
        fault(check, FAULT_OPERATION, a,
              "the operation does not start at the SubmissionSet; send its id as sourceObject");
    }
}

static void check_version(Check *check, const Operations *operations, const void *typed,
                          const RimObject *object)
{
    size_t times = object_set_count(&operations->versions, typed);
    if (times != 1) {
        check_fault(check, code_of(check, FAULT_NO_MEMBERSHIP), object, object->xml, "",
                    "%zu HasMember Associations lead from the SubmissionSet to this object; send "
                    "one, with the Slot PreviousVersion",
                    times);
    }
}

static void check_versions(Check *check, const Operations *operations)
{
    for (const DocumentEntry *d = check->submission->documents; d; d = d->next) {
        check_version(check, operations, d, d->object);
    }
    for (const Folder *f = check->submission->folders; f; f = f->next) {
        check_version(check, operations, f, f->object);
    }
}

void check_operations(Check *check)
{
    const Submission *submission = check->submission;
    Operations operations = {0};
    size_t max = submission->association_count;
    operations.versions.items = ARENA_ARRAY(check->req->arena, const void *, max);
    operations.submitted.items = ARENA_ARRAY(check->req->arena, const void *, max);
    for (const Association *a = submission->associations; a; a = a->next) {
        check_association_form(check, a);
        if (is_in(&a->source, OBJECT_SUBMISSION_SET)) {
            check_operation(check, a, &operations);
        }
    }
    object_set_sort(&operations.versions);
    object_set_sort(&operations.submitted);
    for (const Association *a = submission->associations; a; a = a->next) {
        if (!is_in(&a->source, OBJECT_SUBMISSION_SET)) {
            check_submitted(check, a, &operations);
        }
    }
    check_versions(check, &operations);
    check_repeated_lids(check);
    if (operations.count == 0) {
        check_fault(check, code_of(check, FAULT_NO_MEMBERSHIP), NULL, NULL, "Association",
                    "nothing is updated; send an Association from the SubmissionSet for each "
                    "operation");
    }
}
