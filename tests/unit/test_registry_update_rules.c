#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/ebrim/vocabulary.h"
#include "registry/update_rules.h"

/* Conditions of XDS Metadata Update 3.57.4.1.3 and Restricted Metadata Update 3.92.4.1.3, each with
 * its error code: a message that makes a new version of a DocumentEntry (A) and of a Folder,
 * changes the status of another DocumentEntry (B) and of an Association, and submits an Association
 * between two more (C, D). */

#define PATIENT 7
#define OTHER_PATIENT 8
#define REPOSITORY 3

static const Uuid SET_UUID = {{1}};
static const Uuid LID_A = {{2}};
static const Uuid NEW_A = {{3}};
static const Uuid LID_FOLDER = {{4}};
static const Uuid NEW_FOLDER = {{5}};
static const Uuid UUID_B = {{6}};
static const Uuid UUID_C = {{7}};
static const Uuid UUID_D = {{8}};
static const Uuid LINK = {{9}};
static const Uuid UNKNOWN = {{10}};
static const Uuid SUBMITTED = {{11}};

enum { V_A, V_FOLDER, V_B, V_C, V_D, VERSION_COUNT };
enum { A_MEMBER, F_MEMBER, B_STATUS, LINK_STATUS, SUBMIT, C_TO_D, SPARE, ASSOCIATION_COUNT };

typedef struct Fixture {
    Request *req;
    SubmissionKind kind;
    RimObject objects[3 + ASSOCIATION_COUNT];
    SubmissionSet set;
    DocumentEntry document;
    Folder folder;
    Association associations[ASSOCIATION_COUNT];
    Submission submission;
    SubmittedDocument submitted;
    UniqueIdClaim claims[1];
    StoredVersion versions[VERSION_COUNT];
    StoredObject stored[VERSION_COUNT];
    StoredAssociation named;
    StoredAssociation link;
    StoredAssociation equal;
    FolderMembership membership;
    UpdateState state;
} Fixture;

static ObjectReference inside(ObjectKind kind, Uuid uuid)
{
    return (ObjectReference){
        .text = STR("inside"), .uuid = uuid, .is_in_submission = true, .kind = kind};
}

static ObjectReference outside(Uuid uuid)
{
    return (ObjectReference){.text = STR("outside"), .uuid = uuid};
}

static StoredVersion stored_version(Uuid uuid, ObjectKind kind, Str unique_id)
{
    return (StoredVersion){
        .object = {.entry_uuid = uuid, .kind = kind, .patient = PATIENT},
        .lid = uuid,
        .version = 1,
        .is_latest = true,
        .unique_id = unique_id,
        .stored_patient = PATIENT,
        .size_bytes = 10,
        .hash = STR("01234567890123456789"),
        .repository = REPOSITORY,
        .source_patient_id = STR("S^^^&1.4&ISO"),
    };
}

static Association from_set(AssociationType type, ObjectReference target)
{
    return (Association){.type = type,
                         .source = inside(OBJECT_SUBMISSION_SET, SET_UUID),
                         .target = target,
                         .previous_version = 1,
                         .propagates = true,
                         .original_status = STATUS_APPROVED,
                         .new_status = STATUS_DEPRECATED};
}

static void make_message(Fixture *f)
{
    Association *a = f->associations;
    f->set = (SubmissionSet){.object = &f->objects[0],
                             .entry_uuid = SET_UUID,
                             .unique_id = STR("1.2.1"),
                             .patient_id = STR("P^^^&1.3&ISO")};
    f->document = (DocumentEntry){.object = &f->objects[1],
                                  .entry_uuid = NEW_A,
                                  .lid = LID_A,
                                  .is_version = true,
                                  .unique_id = STR("1.2.2"),
                                  .source_patient_id = STR("S^^^&1.4&ISO")};
    f->folder = (Folder){.object = &f->objects[2],
                         .entry_uuid = NEW_FOLDER,
                         .lid = LID_FOLDER,
                         .is_version = true,
                         .unique_id = STR("1.2.3")};
    a[A_MEMBER] = from_set(ASSOCIATION_HAS_MEMBER, inside(OBJECT_DOCUMENT_ENTRY, NEW_A));
    a[F_MEMBER] = from_set(ASSOCIATION_HAS_MEMBER, inside(OBJECT_FOLDER, NEW_FOLDER));
    a[B_STATUS] = from_set(ASSOCIATION_UPDATE_AVAILABILITY_STATUS, outside(UUID_B));
    a[LINK_STATUS] = from_set(ASSOCIATION_UPDATE_AVAILABILITY_STATUS, outside(LINK));
    a[SUBMIT] = from_set(ASSOCIATION_SUBMIT_ASSOCIATION, inside(OBJECT_ASSOCIATION, SUBMITTED));
    a[C_TO_D] = (Association){.type = ASSOCIATION_APND,
                              .entry_uuid = SUBMITTED,
                              .source = outside(UUID_C),
                              .target = outside(UUID_D)};
    for (size_t i = 0; i < ASSOCIATION_COUNT; i++) {
        a[i].object = &f->objects[3 + i];
        a[i].next = i + 1 < SPARE ? &a[i + 1] : NULL;
    }
    f->submission = (Submission){.submission_set = &f->set,
                                 .documents = &f->document,
                                 .folders = &f->folder,
                                 .associations = a,
                                 .document_count = 1,
                                 .folder_count = 1,
                                 .association_count = SPARE};
    f->submitted = (SubmittedDocument){
        .size_bytes = 10, .hash = STR("01234567890123456789"), .repository = REPOSITORY};
}

static void make_state(Fixture *f)
{
    f->versions[V_A] = stored_version(LID_A, OBJECT_DOCUMENT_ENTRY, STR("1.2.2"));
    f->versions[V_FOLDER] = stored_version(LID_FOLDER, OBJECT_FOLDER, STR("1.2.3"));
    f->versions[V_B] = stored_version(UUID_B, OBJECT_DOCUMENT_ENTRY, STR("1.2.4"));
    f->versions[V_C] = stored_version(UUID_C, OBJECT_DOCUMENT_ENTRY, STR("1.2.5"));
    f->versions[V_D] = stored_version(UUID_D, OBJECT_DOCUMENT_ENTRY, STR("1.2.6"));
    f->named = (StoredAssociation){.entry_uuid = LINK,
                                   .source = UUID_C,
                                   .target = UUID_B,
                                   .type = ASSOCIATION_SIGNS,
                                   .source_kind = OBJECT_DOCUMENT_ENTRY,
                                   .target_kind = OBJECT_DOCUMENT_ENTRY};
    f->claims[0] =
        (UniqueIdClaim){.kind = OBJECT_SUBMISSION_SET, .unique_id = STR("1.2.1"), .size_bytes = -1};
    f->state = (UpdateState){
        .registry = {.claims = f->claims,
                     .claim_count = 1,
                     .patient = {PATIENT, PATIENT, true, true},
                     .objects = f->stored,
                     .object_count = VERSION_COUNT},
        .versions = f->versions,
        .named = {&f->named, 1},
    };
}

/** A message that is accepted. */
static Fixture *fixture_new(void)
{
    Request *req = request_new(600000);
    Fixture *f = ARENA_NEW(req->arena, Fixture);
    f->req = req;
    f->kind = SUBMISSION_ITI57;
    for (size_t i = 0; i < ARRAY_LEN(f->objects); i++) {
        f->objects[i].id = STR("id");
        f->objects[i].lid = STR("lid");
    }
    make_message(f);
    make_state(f);
    return f;
}

/** Only the new version of the DocumentEntry. */
static void make_restricted(Fixture *f)
{
    f->kind = SUBMISSION_ITI92;
    f->associations[A_MEMBER].next = NULL;
    f->submission.folders = NULL;
    f->submission.folder_count = 0;
}

/* ---- changes of the message or of what is registered ---- */

#define CHANGE(name, statement)                                                                    \
    static void name(Fixture *f)                                                                   \
    {                                                                                              \
        statement;                                                                                 \
    }
#define RESTRICTED(name, statement)                                                                \
    static void name(Fixture *f)                                                                   \
    {                                                                                              \
        make_restricted(f);                                                                        \
        statement;                                                                                 \
    }

CHANGE(nothing, (void)f)
CHANGE(patient_unknown, f->state.registry.patient = (Patient){0})
CHANGE(lid_unknown, f->document.lid = UNKNOWN)
CHANGE(lid_hidden, f->versions[V_A].object.is_hidden = true)
CHANGE(folder_lid_unknown, f->folder.lid = UNKNOWN)
CHANGE(lid_of_other_kind, f->document.lid = LID_FOLDER)
CHANGE(version_stale, f->versions[V_A].version = 2)
CHANGE(version_superseded, f->versions[V_A].is_latest = false)
CHANGE(version_deprecated, f->versions[V_A].object.access.status = STATUS_DEPRECATED)
CHANGE(folder_deprecated, f->versions[V_FOLDER].object.access.status = STATUS_DEPRECATED)
CHANGE(unique_id_changed, f->document.unique_id = STR("1.2.9"))
CHANGE(folder_unique_id_changed, f->folder.unique_id = STR("1.2.9"))
CHANGE(object_type_changed, f->document.is_on_demand = true)
CHANGE(repository_changed, f->submitted.repository = 4)
CHANGE(repository_of_held_changed, f->submitted.repository = 4;
       f->versions[V_A].is_held_here = true)
CHANGE(hash_changed, f->submitted.hash = STR("98765432109876543210"))
CHANGE(hash_of_held_changed, hash_changed(f); f->versions[V_A].has_other_bytes = true)
CHANGE(size_of_held_changed, f->submitted.size_bytes = 11; f->versions[V_A].has_other_bytes = true)
CHANGE(source_patient_changed, f->document.source_patient_id = STR("T^^^&1.4&ISO"))
CHANGE(patient_changed, f->versions[V_A].object.patient = OTHER_PATIENT)

static void link_a_to_d(Fixture *f)
{
    f->link = (StoredAssociation){.entry_uuid = UNKNOWN, .source = UUID_D, .target = LID_A};
    f->state.links = (StoredAssociationList){&f->link, 1};
}

CHANGE(connected_patient_changed, patient_changed(f); link_a_to_d(f))
CHANGE(released_patient_changed, connected_patient_changed(f);
       f->associations[A_MEMBER].propagates = false)
CHANGE(both_ends_move, patient_changed(f); f->versions[V_FOLDER].object.patient = OTHER_PATIENT;
       link_a_to_d(f); f->link.source = LID_FOLDER)

CHANGE(original_status_wrong, f->versions[V_B].object.access.status = STATUS_DEPRECATED)
CHANGE(status_of_unknown, f->associations[B_STATUS].target = outside(UNKNOWN))
CHANGE(status_of_hidden, f->versions[V_B].object.is_hidden = true;
       f->associations[B_STATUS].next = NULL)
CHANGE(status_of_older_version, f->versions[V_B].is_latest = false)
CHANGE(status_of_updated_by_uuid, f->associations[B_STATUS].target = outside(LID_A))
CHANGE(status_of_new_version,
       f->associations[B_STATUS].target = inside(OBJECT_DOCUMENT_ENTRY, NEW_A))
CHANGE(original_status_of_new_version_wrong, status_of_new_version(f);
       f->associations[B_STATUS].original_status = STATUS_DEPRECATED)
CHANGE(status_twice, f->associations[LINK_STATUS].target = outside(UUID_B))
CHANGE(status_for_other_patient, f->versions[V_B].object.patient = OTHER_PATIENT)
CHANGE(link_status_wrong, f->named.status = STATUS_DEPRECATED)
CHANGE(link_of_set, f->named.source_kind = OBJECT_SUBMISSION_SET)
CHANGE(link_is_operation, f->named.type = ASSOCIATION_UPDATE_AVAILABILITY_STATUS)
CHANGE(link_of_updated, f->named.target = LID_A)

static void link_revived(Fixture *f)
{
    f->associations[B_STATUS].target = outside(UUID_D);
    f->named.status = STATUS_DEPRECATED;
    f->associations[LINK_STATUS].original_status = STATUS_DEPRECATED;
    f->associations[LINK_STATUS].new_status = STATUS_APPROVED;
}

CHANGE(link_of_superseded_revived, link_revived(f); f->versions[V_B].is_latest = false)

CHANGE(submitted_end_unknown, f->associations[C_TO_D].target = outside(UNKNOWN))
CHANGE(submitted_end_hidden, f->versions[V_D].object.is_hidden = true)
CHANGE(submitted_end_deprecated, f->versions[V_D].object.access.status = STATUS_DEPRECATED)
CHANGE(submitted_end_updated, f->associations[C_TO_D].target = outside(LID_A))
CHANGE(submitted_ends_of_two_patients, f->versions[V_D].object.patient = OTHER_PATIENT)
CHANGE(submitted_membership, f->associations[C_TO_D].type = ASSOCIATION_HAS_MEMBER)
CHANGE(submitted_to_transformation, f->versions[V_D].object.is_transformation = true)
CHANGE(submitted_snapshot_of_stable, f->associations[C_TO_D].type = ASSOCIATION_IS_SNAPSHOT_OF)

static void submitted_again(Fixture *f)
{
    f->equal = (StoredAssociation){.source = UUID_C, .target = UUID_D, .type = ASSOCIATION_APND};
    f->state.equal = (StoredAssociationList){&f->equal, 1};
}

CHANGE(submitted_of_other_type, submitted_again(f); f->equal.type = ASSOCIATION_SIGNS)

static void link_revived_beside_an_equal(Fixture *f)
{
    link_revived(f);
    f->equal = f->named;
    f->equal.status = STATUS_APPROVED;
    f->state.equal = (StoredAssociationList){&f->equal, 1};
}

/* ---- operations that do not go together ---- */

/** One more Association between registered objects. */
static void submit_more(Fixture *f, AssociationType type, Uuid source, Uuid target)
{
    Association *more = &f->associations[SPARE];
    more->type = type;
    more->source = outside(source);
    more->target = outside(target);
    f->associations[C_TO_D].next = more;
    f->submission.association_count++;
}

static void replace_d(Fixture *f)
{
    f->associations[C_TO_D].type = ASSOCIATION_RPLC;
}

CHANGE(submitted_twice, submit_more(f, ASSOCIATION_APND, UUID_C, UUID_D))
CHANGE(submitted_both_ways, submit_more(f, ASSOCIATION_APND, UUID_D, UUID_C))
CHANGE(link_revived_and_submitted, link_revived(f);
       submit_more(f, ASSOCIATION_SIGNS, UUID_C, UUID_B))
CHANGE(replaced_by_two, replace_d(f); submit_more(f, ASSOCIATION_RPLC, UUID_B, UUID_D))
CHANGE(replaced_by_each_other, replace_d(f); submit_more(f, ASSOCIATION_RPLC, UUID_D, UUID_C))
CHANGE(replaced_and_related, replace_d(f); submit_more(f, ASSOCIATION_APND, UUID_B, UUID_D))
CHANGE(replaced_and_deprecated, replace_d(f); f->associations[B_STATUS].target = outside(UUID_D))
CHANGE(replaced_beside_its_addendum, replace_d(f); link_a_to_d(f); f->link.source = LID_A;
       f->link.target = UUID_D; f->link.type = ASSOCIATION_APND)
CHANGE(replaced_beside_what_signs_it, replaced_beside_its_addendum(f);
       f->link.type = ASSOCIATION_SIGNS)

static void hold_d(Fixture *f, Uuid folder)
{
    f->membership = (FolderMembership){folder, UUID_D};
    f->state.registry.memberships = &f->membership;
    f->state.registry.membership_count = 1;
}

CHANGE(replaced_in_updated_folder, replace_d(f); hold_d(f, LID_FOLDER))
CHANGE(replaced_in_other_folder, replace_d(f); hold_d(f, UNKNOWN))

RESTRICTED(r_nothing, (void)f)
RESTRICTED(r_version_deprecated, version_deprecated(f))
RESTRICTED(r_lid_unknown, lid_unknown(f))
RESTRICTED(r_version_stale, version_stale(f))
RESTRICTED(r_unique_id_changed, unique_id_changed(f))
RESTRICTED(r_object_type_changed, object_type_changed(f))
RESTRICTED(r_repository_changed, repository_changed(f))
RESTRICTED(r_hash_changed, hash_changed(f))
RESTRICTED(r_hash_of_held_changed, hash_of_held_changed(f))
RESTRICTED(r_source_patient_changed, source_patient_changed(f))
RESTRICTED(r_patient_changed, patient_changed(f))
RESTRICTED(r_availability_changed,
           f->document.document_availability = STR(URN_AVAILABILITY_OFFLINE))
RESTRICTED(r_availability_told, f->document.document_availability = STR(URN_AVAILABILITY_ONLINE))
RESTRICTED(r_status_changed, f->objects[1].status = STR(URN_STATUS_DEPRECATED))
RESTRICTED(r_status_told, f->objects[1].status = STR(URN_STATUS_APPROVED))

#define UPDATE ERR_XDS_METADATA_UPDATE_ERROR
#define OPERATION ERR_XDS_METADATA_UPDATE_OPERATION_ERROR
#define VERSION ERR_XDS_METADATA_VERSION_ERROR
#define RECONCILIATION ERR_XDS_PATIENT_ID_RECONCILIATION_ERROR
#define UNMODIFIABLE ERR_UNMODIFIABLE_METADATA_ERROR
#define ROW(change, code)                                                                          \
    {                                                                                              \
#change, change, code                                                                      \
    }

static const struct {
    const char *what;
    void (*change)(Fixture *f);
    ErrorCode expected; /* ERR_NONE: accepted */
} CASES[] = {
    ROW(nothing, ERR_NONE),
    ROW(patient_unknown, ERR_XDS_UNKNOWN_PATIENT_ID),
    /* 3.57.4.1.3.3.1, .3: metadata */
    ROW(lid_unknown, VERSION),
    ROW(lid_hidden, VERSION),
    ROW(folder_lid_unknown, VERSION),
    ROW(lid_of_other_kind, VERSION),
    ROW(version_stale, VERSION),
    ROW(version_superseded, VERSION),
    ROW(version_deprecated, UPDATE),
    ROW(folder_deprecated, UPDATE),
    ROW(unique_id_changed, UPDATE),
    ROW(folder_unique_id_changed, UPDATE),
    ROW(object_type_changed, UPDATE),
    ROW(repository_changed, ERR_NONE),
    ROW(repository_of_held_changed, UPDATE),
    ROW(hash_changed, ERR_NONE),
    ROW(hash_of_held_changed, ERR_XDS_NON_IDENTICAL_HASH),
    ROW(size_of_held_changed, ERR_XDS_NON_IDENTICAL_SIZE),
    ROW(source_patient_changed, ERR_NONE),
    /* 3.57.4.1.3.3.1.7, .4.1: reconciliation */
    ROW(patient_changed, ERR_NONE),
    ROW(connected_patient_changed, RECONCILIATION),
    ROW(released_patient_changed, ERR_NONE),
    ROW(both_ends_move, ERR_NONE),
    /* 3.57.4.1.3.3.2, .4, .5: status */
    ROW(original_status_wrong, UPDATE),
    ROW(status_of_unknown, UPDATE),
    ROW(status_of_hidden, UPDATE),
    ROW(status_of_older_version, UPDATE),
    ROW(status_of_updated_by_uuid, UPDATE),
    ROW(status_of_new_version, ERR_NONE),
    ROW(original_status_of_new_version_wrong, UPDATE),
    ROW(status_twice, OPERATION),
    ROW(status_for_other_patient, RECONCILIATION),
    ROW(link_status_wrong, UPDATE),
    ROW(link_of_set, UPDATE),
    ROW(link_is_operation, UPDATE),
    ROW(link_of_updated, OPERATION),
    ROW(link_revived, ERR_NONE),
    ROW(link_of_superseded_revived, UPDATE),
    ROW(link_revived_beside_an_equal, UPDATE),
    /* 3.57.4.1.3.3.6: Associations */
    ROW(submitted_end_unknown, UPDATE),
    ROW(submitted_end_hidden, UPDATE),
    ROW(submitted_end_deprecated, UPDATE),
    ROW(submitted_end_updated, OPERATION),
    ROW(submitted_ends_of_two_patients, RECONCILIATION),
    ROW(submitted_membership, UPDATE),
    ROW(submitted_to_transformation, UPDATE),
    ROW(submitted_snapshot_of_stable, UPDATE),
    ROW(submitted_again, UPDATE),
    ROW(submitted_of_other_type, ERR_NONE),
    /* 3.57.4.1.3.1: several operations in one message */
    ROW(submitted_twice, OPERATION),
    ROW(submitted_both_ways, ERR_NONE),
    ROW(link_revived_and_submitted, OPERATION),
    ROW(replaced_by_two, ERR_NONE),
    ROW(replaced_by_each_other, OPERATION),
    ROW(replaced_and_related, OPERATION),
    ROW(replaced_and_deprecated, OPERATION),
    ROW(replaced_beside_its_addendum, OPERATION),
    ROW(replaced_beside_what_signs_it, ERR_NONE),
    ROW(replaced_in_updated_folder, OPERATION),
    ROW(replaced_in_other_folder, ERR_NONE),
    /* 3.92.4.1.3 */
    ROW(r_nothing, ERR_NONE),
    ROW(r_version_deprecated, ERR_NONE),
    ROW(r_lid_unknown, VERSION),
    ROW(r_version_stale, VERSION),
    ROW(r_unique_id_changed, ERR_XDS_METADATA_IDENTIFIER_ERROR),
    ROW(r_object_type_changed, UNMODIFIABLE),
    ROW(r_repository_changed, UNMODIFIABLE),
    ROW(r_hash_changed, ERR_NONE),
    ROW(r_hash_of_held_changed, UNMODIFIABLE),
    ROW(r_source_patient_changed, UNMODIFIABLE),
    ROW(r_patient_changed, RECONCILIATION),
    ROW(r_availability_changed, UNMODIFIABLE),
    ROW(r_availability_told, ERR_NONE),
    ROW(r_status_changed, UNMODIFIABLE),
    ROW(r_status_told, ERR_NONE),
};

static void test_every_condition_has_its_error_code(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(CASES); i++) {
        Fixture *f = fixture_new();
        CASES[i].change(f);
        for (size_t v = 0; v < VERSION_COUNT; v++) {
            f->stored[v] = f->versions[v].object;
        }
        int rc = update_rules_check(f->req, f->kind, &f->submission, &f->submitted, &f->state);
        const Error *first = f->req->errors.first;
        ErrorCode found = first != NULL ? first->code : ERR_NONE;
        if (found != CASES[i].expected || rc != -(int)CASES[i].expected) {
            fail_msg("%s: %s instead of %s: %.*s", CASES[i].what, error_info(found)->ihe_code,
                     error_info(CASES[i].expected)->ihe_code,
                     STR_ARG(first != NULL ? first->context : STR_EMPTY));
        }
        request_free(f->req);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_condition_has_its_error_code),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
