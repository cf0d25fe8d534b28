#include "lib/ebrim/check.h"
#include "lib/ebrim/objects.h"
#include "lib/ebrim/vocabulary.h"

/* Associations, and what must be a member of what (TF-3 4.2.2). */

void association_fault(Check *check, ErrorCode code, const Association *a, const char *text)
{
    check_fault(check, code, a->object, a->object->xml, "Association",
                "%s (sourceObject \"%.*s\", targetObject \"%.*s\")", text,
                STR_ARG(shown(a->source.text)), STR_ARG(shown(a->target.text)));
}

/* ---- type and ends ---- */

static void check_type(Check *check, const Association *a)
{
    Str urn = a->object->association_type;
    bool is_operation = association_type_is_operation(a->type);
    if (a->type != ASSOCIATION_TYPE_COUNT && (!is_operation || check_is_update(check))) {
        return;
    }
    if (is_operation) {
        check_fault(
            check, ERR_XDS_REGISTRY_METADATA_ERROR, a->object, a->object->xml, "associationType",
            "associationType \"%.*s\" is a metadata update; send it as ITI-57", STR_ARG(urn));
        return;
    }
    StrBuf known = {0};
    for (unsigned type = 0; type < ASSOCIATION_TYPE_COUNT; type++) {
        if (check_is_update(check) || !association_type_is_operation((AssociationType)type)) {
            strbuf_printf(&known, "%s%s", type ? ", " : "",
                          association_type_urn((AssociationType)type));
        }
    }
    check_fault(check, ERR_XDS_REGISTRY_METADATA_ERROR, a->object, a->object->xml,
                "associationType", "associationType is \"%.*s\"; send one of %s",
                STR_ARG(shown(urn)), known.data);
    strbuf_done(&known);
}

static void check_end(Check *check, const Association *a, const ObjectReference *end,
                      const char *name)
{
    Uuid uuid;
    if (str_is_empty(end->text)) {
        check_fault(check, ERR_XDS_REGISTRY_METADATA_ERROR, a->object, a->object->xml, name,
                    "%s is missing; send the id of an object", name);
    } else if (id_is_uuid(end->text)) {
        if (!uuid_parse_urn(end->text, &uuid)) {
            check_fault(check, ERR_XDS_REGISTRY_METADATA_ERROR, a->object, a->object->xml, name,
                        "%s \"%.*s\" is not a UUID; send urn:uuid: and 8-4-4-4-12 lower-case "
                        "hexadecimal digits",
                        name, STR_ARG(shown(end->text)));
        }
    } else if (!end->is_in_submission) {
        check_fault(check, ERR_UNRESOLVED_REFERENCE, a->object, a->object->xml, name,
                    "%s \"%.*s\" is no object of the submission; send the id of one, or the "
                    "entryUUID of a registered object",
                    name, STR_ARG(shown(end->text)));
    }
}

static void check_self_reference(Check *check, const Association *a)
{
    Str id = a->object->id;
    bool to_itself = str_equal(a->source.text, a->target.text) || str_equal(a->source.text, id) ||
                     str_equal(a->target.text, id);
    if (to_itself && !str_is_empty(a->target.text) && !str_is_empty(a->source.text)) {
        association_fault(
            check, ERR_XDS_REGISTRY_METADATA_ERROR, a,
            "sourceObject, targetObject and the id of the Association are not three different "
            "objects; correct them");
    }
}

/* ---- what an Association carries ---- */

static bool is_update_slot(Str name)
{
    static const Str names[] = {
        STR_INIT(SLOT_PREVIOUS_VERSION),
        STR_INIT(SLOT_ASSOCIATION_PROPAGATION),
        STR_INIT(SLOT_ORIGINAL_STATUS),
        STR_INIT(SLOT_NEW_STATUS),
    };
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (str_equal(name, names[i])) {
            return true;
        }
    }
    return false;
}

static void check_slots(Check *check, const Association *a)
{
    check_slot_names(check, a->object, a->object->slots, a->object->xml);
    for (const Slot *slot = a->object->slots; slot; slot = slot->next) {
        if (is_update_slot(slot->name)) {
            if (check_is_update(check)) {
                continue; /* check_update.c knows which operation has it */
            }
            check_fault(check, ERR_XDS_REGISTRY_METADATA_ERROR, a->object, a->object->xml, "Slot",
                        "Slot %.*s belongs to a metadata update; leave it out, or send the update "
                        "as ITI-57",
                        STR_ARG(slot->name));
        } else if (!str_equal(slot->name, STR(SLOT_SUBMISSION_SET_STATUS))) {
            check_extra_slot(check, a->object, slot);
        }
    }
}

/** TF-3 4.2.2.2: only a Relationship may be documented. */
static void check_classifications(Check *check, const Association *a)
{
    size_t count = 0;
    for (const Classification *c = a->object->classifications; c; c = c->next) {
        if (is_has_member(a)) {
            check_fault(check, ERR_XDS_REGISTRY_METADATA_ERROR, a->object, c->xml, "Classification",
                        "a HasMember Association has a Classification; leave it out");
        } else if (!str_equal(c->classification_scheme, STR(UUID_ASSOCIATION_DOCUMENTATION))) {
            check_fault(check, ERR_XDS_REGISTRY_METADATA_ERROR, a->object, c->xml, "Classification",
                        "classificationScheme \"%.*s\" is not an attribute of an Association; "
                        "send \"" UUID_ASSOCIATION_DOCUMENTATION
                        "\" or leave the Classification out",
                        STR_ARG(shown(c->classification_scheme)));
        } else {
            check_coded(check, a->object, c, "documentation");
            count++;
        }
    }
    if (count > 1) {
        association_fault(check, ERR_XDS_REGISTRY_METADATA_ERROR, a,
                          "the documentation Classification occurs more than once; send one");
    }
}

/* ---- SubmissionSetStatus (TF-3 4.2.2.1.1) ---- */

static void check_status_value(Check *check, const Association *a, const Slot *status)
{
    bool is_known = a->is_original || a->is_reference;
    if (status && (status->value_count != 1 || !is_known)) {
        check_fault(check, ERR_XDS_REGISTRY_METADATA_ERROR, a->object, a->object->xml,
                    SLOT_SUBMISSION_SET_STATUS,
                    "SubmissionSetStatus has %zu values, the first is \"%.*s\"; send one value, "
                    "Original or Reference",
                    status->value_count, STR_ARG(shown(slot_value(status))));
    }
}

static void check_status_meaning(Check *check, const Association *a, const Slot *status)
{
    bool is_from_set = is_has_member(a) && is_in(&a->source, OBJECT_SUBMISSION_SET);
    if (!is_from_set) {
        if (a->is_original) {
            association_fault(
                check, ERR_XDS_REGISTRY_METADATA_ERROR, a,
                "SubmissionSetStatus is Original, but the source is not the SubmissionSet; leave "
                "the Slot out");
        }
        return;
    }
    if (is_in(&a->target, OBJECT_DOCUMENT_ENTRY) && !a->is_original) {
        association_fault(
            check, ERR_XDS_REGISTRY_METADATA_ERROR, a,
            "the target is a DocumentEntry of this submission; send the Slot SubmissionSetStatus "
            "with the value Original");
    } else if (a->target.is_in_submission && a->is_reference) {
        association_fault(
            check, ERR_XDS_REGISTRY_METADATA_ERROR, a,
            "SubmissionSetStatus is Reference, but the target is part of this submission; send "
            "Original for a DocumentEntry, no Slot otherwise");
    } else if (!a->target.is_in_submission && a->is_original) {
        association_fault(
            check, ERR_XDS_REGISTRY_METADATA_ERROR, a,
            "SubmissionSetStatus is Original, but the target is not in this submission; send "
            "Reference for a DocumentEntry of the registry");
    } else if (!a->target.is_in_submission && !status) {
        association_fault(
            check, ERR_XDS_REGISTRY_METADATA_ERROR, a,
            "the target is not in this submission; send the Slot SubmissionSetStatus with the "
            "value Reference");
    }
}

/* ---- ends that fit together ---- */

static void check_member_ends(Check *check, const Association *a)
{
    if (is_in(&a->target, OBJECT_SUBMISSION_SET)) {
        association_fault(
            check, ERR_XDS_REGISTRY_METADATA_ERROR, a,
            "the target is a SubmissionSet; a SubmissionSet is no member of anything");
        return;
    }
    if (!a->source.is_in_submission) {
        return; /* the registry knows what it is */
    }
    switch (a->source.kind) {
    case OBJECT_SUBMISSION_SET:
        if (is_in(&a->target, OBJECT_ASSOCIATION) && !is_folder_membership(a->target.object)) {
            association_fault(
                check, ERR_XDS_REGISTRY_METADATA_ERROR, a,
                "the target is an Association that does not put a DocumentEntry into a Folder; a "
                "SubmissionSet holds only such Associations");
        }
        break;
    case OBJECT_FOLDER:
        if (a->target.is_in_submission && a->target.kind != OBJECT_DOCUMENT_ENTRY) {
            association_fault(
                check, ERR_XDS_REGISTRY_METADATA_ERROR, a,
                "the target is not a DocumentEntry; a Folder holds DocumentEntries only");
        }
        break;
    case OBJECT_DOCUMENT_ENTRY:
    case OBJECT_ASSOCIATION:
        association_fault(
            check, ERR_XDS_REGISTRY_METADATA_ERROR, a,
            "the source of HasMember is neither SubmissionSet nor Folder; correct sourceObject");
        break;
    }
}

/** Types whose target must be registered before (TF-2 3.42.4.1.3.5). */
static bool needs_registered_target(AssociationType type)
{
    return type == ASSOCIATION_RPLC || type == ASSOCIATION_XFRM_RPLC ||
           type == ASSOCIATION_IS_SNAPSHOT_OF;
}

static void check_relationship_ends(Check *check, const Association *a)
{
    if (!is_in(&a->source, OBJECT_DOCUMENT_ENTRY)) {
        association_fault(
            check, ERR_UNRESOLVED_REFERENCE, a,
            "the source of a relationship is not a DocumentEntry of this submission; send the "
            "new document's id as sourceObject");
    } else if (a->type == ASSOCIATION_IS_SNAPSHOT_OF &&
               ((const DocumentEntry *)a->source.object)->is_on_demand) {
        association_fault(check, ERR_XDS_REGISTRY_METADATA_ERROR, a,
                          "the source of IsSnapshotOf is On-Demand; send a Stable DocumentEntry");
    }
    if (!a->target.is_in_submission) {
        return; /* the registry looks it up */
    }
    if (a->target.kind != OBJECT_DOCUMENT_ENTRY) {
        association_fault(
            check, ERR_XDS_REGISTRY_METADATA_ERROR, a,
            "the target of a relationship is not a DocumentEntry; correct targetObject");
    } else if (needs_registered_target(a->type)) {
        association_fault(
            check, ERR_UNRESOLVED_REFERENCE, a,
            "the target is part of this submission, but must be registered already; send the "
            "entryUUID of the registered DocumentEntry as targetObject");
    } else if (a->type == ASSOCIATION_APND && is_transformation(check, a->target.object)) {
        /* TF-3 4.2.2.2.1 */
        association_fault(
            check, ERR_XDS_REGISTRY_METADATA_ERROR, a,
            "the target is a transformation in this submission, which cannot be appended to; "
            "append to the document that it was made from");
    }
}

static void check_identifiers(Check *check, const Association *a)
{
    for (const ExternalIdentifier *e = a->object->external_identifiers; e; e = e->next) {
        check_fault(check, ERR_XDS_REGISTRY_METADATA_ERROR, a->object, e->xml, "ExternalIdentifier",
                    "an Association has an ExternalIdentifier; leave it out");
    }
}

void check_association_form(Check *check, const Association *a)
{
    check_type(check, a);
    check_end(check, a, &a->source, "sourceObject");
    check_end(check, a, &a->target, "targetObject");
    check_self_reference(check, a);
    check_slots(check, a);
    check_classifications(check, a);
    check_identifiers(check, a);
}

static void check_association(Check *check, const Association *a)
{
    const Slot *status = rim_slot(a->object, SLOT_SUBMISSION_SET_STATUS);
    check_association_form(check, a);
    check_status_value(check, a, status);
    check_status_meaning(check, a, status);
    if (is_has_member(a)) {
        check_member_ends(check, a);
    } else if (a->type != ASSOCIATION_TYPE_COUNT && !association_type_is_operation(a->type)) {
        check_relationship_ends(check, a);
    }
}

/* ---- every object is a member of the SubmissionSet ---- */

static void check_membership(Check *check)
{
    const Submission *submission = check->submission;
    for (const DocumentEntry *d = submission->documents; d; d = d->next) {
        if (membership_count(check, d) == 0) {
            check_fault(check, ERR_XDS_REGISTRY_METADATA_ERROR, d->object, d->object->xml, "",
                        "no HasMember Association from the SubmissionSet; send one with "
                        "SubmissionSetStatus Original");
        }
    }
    for (const Folder *f = submission->folders; f; f = f->next) {
        if (membership_count(check, f) == 0) {
            check_fault(check, ERR_XDS_REGISTRY_METADATA_ERROR, f->object, f->object->xml, "",
                        "no HasMember Association from the SubmissionSet; send one");
        }
    }
    for (const Association *a = submission->associations; a; a = a->next) {
        if (!is_folder_membership(a)) {
            continue;
        }
        size_t times = membership_count(check, a);
        const Folder *folder = a->source.object; /* NULL: in the registry */
        bool is_tolerated = times == 0 && folder && is_first_edition_folder(check, folder->object);
        if (times != 1 && !is_tolerated) {
            check_fault(check, ERR_XDS_REGISTRY_METADATA_ERROR, a->object, a->object->xml, "",
                        "this Folder membership is a member of the SubmissionSet %zu times; send "
                        "exactly one HasMember Association with the SubmissionSet as sourceObject "
                        "and this Association as targetObject",
                        times);
        }
    }
}

void check_associations(Check *check)
{
    if (check_is_update(check)) {
        check_operations(check);
        return;
    }
    for (const Association *a = check->submission->associations; a; a = a->next) {
        check_association(check, a);
    }
    check_membership(check);
}
