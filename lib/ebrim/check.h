#pragma once

#include "lib/ebrim/attributes.h"
#include "lib/ebrim/codes.h"
#include "lib/ebrim/metadata.h"

/** A set of objects, sorted by address; an object may be in it several times. */
typedef struct ObjectSet {
    const void **items;
    size_t count;
} ObjectSet;

/** One run of submission_check(); private to this folder. */
typedef struct Check {
    Request *req;
    const Submission *submission;
    SubmissionKind kind;
    ObjectSet members;          /* typed targets of HasMember from the SubmissionSet */
    ObjectSet unlinked_folders; /* RimObjects of Folders with a membership that is no such target */
    ObjectSet transformations;  /* typed sources of XFRM */
} Check;

void object_set_sort(ObjectSet *set);
/** How often the object is in the set, which is sorted. */
size_t object_set_count(const ObjectSet *set, const void *object);

/** "ITI-42": the transaction whose requirements apply. */
const char *check_transaction(const Check *check);
/** Whether registered objects are updated, ITI-57 or ITI-92. */
bool check_is_update(const Check *check);

/**
 * Adds a fault: "DocumentEntry 1.2.3 (id Document01): <text>".
 *
 * @param object    whose fault it is; NULL = the submission's
 * @param at        element that carries it, for the location; NULL = use attribute
 * @param attribute name for the location if there is no element
 */
void check_fault(Check *check, ErrorCode code, const RimObject *object, const XmlNode *at,
                 const char *attribute, const char *format, ...) PRINTF_LIKE(6, 7);

/** Whether further faults are only counted: then nothing dear is computed for their texts. */
bool check_is_full(const Request *req);

/** "DocumentEntry 1.2.3 (id Document01)", in the arena. */
const char *object_label(Arena *arena, const RimObject *object);

/** The value as error texts quote it: cut to a readable length, never inside a character. */
Str shown(Str value);

/** The end lies in the submission and is of this kind. */
bool is_in(const ObjectReference *end, ObjectKind kind);
bool is_has_member(const Association *a);
/** HasMember from a Folder, of this submission or of the registry (TF-3 4.2.2.1.3). */
bool is_folder_membership(const Association *a);

/** Fills members, unlinked_folders and transformations; the other functions need them. */
void check_collect_members(Check *check);
/** How often the typed object of this submission is a member of the SubmissionSet. */
size_t membership_count(const Check *check, const void *typed);
/** Whether the typed DocumentEntry of this submission is a transformation (TF-3 4.2.2.2.2). */
bool is_transformation(const Check *check, const void *document);
/**
 * A Folder in the form of the first editions: without codeList, its memberships not members of the
 * SubmissionSet. The NIST toolkit (test 12022) still sends it, so this form alone, as a whole, is
 * taken.
 */
bool is_first_edition_folder(const Check *check, const RimObject *folder);

/** Attributes of DocumentEntry, SubmissionSet, Folder: presence, number, data types, unknown ones.
 */
void check_attributes(Check *check, ObjectKind kind, const RimObject *object);
/** A Slot that is not IHE's must have a URN as name, not one of IHE's (TF-3 4.2.3.1.6). */
void check_extra_slot(Check *check, const RimObject *object, const Slot *slot);
/** No Slot name twice in one object (ebRIM 2.8.2). */
void check_slot_names(Check *check, const RimObject *object, const Slot *slots, const XmlNode *at);
/** Code, coding scheme, display name, back reference of a coded Classification (TF-3 4.2.3.1.2). */
void check_coded(Check *check, const RimObject *object, const Classification *c, const char *name);

/** The list of objects: elements, markers, ids, uniqueIds, patients. */
void check_structure(Check *check);
/** Associations, and what must be a member of what (TF-3 4.2.2). */
void check_associations(Check *check);
/** What holds for an Association of any transaction: type, ends, parts. */
void check_association_form(Check *check, const Association *a);
/** The fault of an Association, with its ends: senders often number their Associations alone. */
void association_fault(Check *check, ErrorCode code, const Association *a, const char *text);
/** Of an update: every object and Association is part of an operation (XDS Metadata Update
 * 3.57.4.1.3.3, Restricted Metadata Update 3.92.4.1.2). */
void check_operations(Check *check);
/** lid of an updated object: the UUID of the logical object. */
void check_updated_lid(Check *check, ObjectKind kind, const RimObject *object);
