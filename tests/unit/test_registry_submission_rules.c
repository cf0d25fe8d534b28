#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "registry/submission_rules.h"

/* Rules of TF-2 3.42.4.1.3 that depend on what the registry holds: a submission of one
 * DocumentEntry by one SubmissionSet, one Association that leaves it, and what the registry says
 * about it. */

#define PATIENT 7
#define OTHER_PATIENT 8

static const Uuid SET_UUID = {{1}};
static const Uuid DOCUMENT_UUID = {{2}};
static const Uuid ASSOCIATION_UUID = {{3}};
static const Uuid STORED_UUID = {{4}};
static const Uuid UNKNOWN_UUID = {{5}};
static const Uuid FOLDER_UUID = {{6}};

typedef struct Fixture {
    Request *req;
    RimObject objects[3];
    SubmissionSet set;
    DocumentEntry document;
    Association association;
    Submission submission;
    UniqueIdClaim claims[2];
    StoredObject stored[2];
    RegistryState state;
} Fixture;

static ObjectReference inside(ObjectKind kind, Uuid uuid, void *object)
{
    return (ObjectReference){.text = STR("inside"),
                             .uuid = uuid,
                             .is_in_submission = true,
                             .kind = kind,
                             .object = object};
}

static ObjectReference outside(Uuid uuid)
{
    return (ObjectReference){.text = STR("outside"), .uuid = uuid};
}

static StoredObject stored_object(Uuid uuid, ObjectKind kind)
{
    return (StoredObject){.entry_uuid = uuid, .kind = kind, .patient = PATIENT};
}

/** A submission that is accepted: its Association is an APND to a registered DocumentEntry. */
static Fixture *fixture_new(void)
{
    Request *req = request_new(600000);
    Fixture *f = ARENA_NEW(req->arena, Fixture);
    f->req = req;
    for (size_t i = 0; i < ARRAY_LEN(f->objects); i++) {
        f->objects[i].id = STR("id");
    }
    f->set = (SubmissionSet){.object = &f->objects[0],
                             .entry_uuid = SET_UUID,
                             .unique_id = STR("1.2.1"),
                             .patient_id = STR("P^^^&1.3&ISO")};
    f->document = (DocumentEntry){
        .object = &f->objects[1], .entry_uuid = DOCUMENT_UUID, .unique_id = STR("1.2.2")};
    f->association = (Association){
        .object = &f->objects[2],
        .entry_uuid = ASSOCIATION_UUID,
        .type = ASSOCIATION_APND,
        .source = inside(OBJECT_DOCUMENT_ENTRY, DOCUMENT_UUID, &f->document),
        .target = outside(STORED_UUID),
    };
    f->submission = (Submission){
        .submission_set = &f->set,
        .documents = &f->document,
        .associations = &f->association,
        .document_count = 1,
        .association_count = 1,
    };
    f->claims[0] =
        (UniqueIdClaim){.kind = OBJECT_SUBMISSION_SET, .unique_id = STR("1.2.1"), .size_bytes = -1};
    f->claims[1] = (UniqueIdClaim){.kind = OBJECT_DOCUMENT_ENTRY,
                                   .unique_id = STR("1.2.2"),
                                   .size_bytes = 10,
                                   .hash = STR("01234567890123456789")};
    f->stored[0] = stored_object(STORED_UUID, OBJECT_DOCUMENT_ENTRY);
    f->stored[1] = stored_object(FOLDER_UUID, OBJECT_FOLDER);
    f->state = (RegistryState){
        .claims = f->claims,
        .claim_count = 2,
        .patient = {.id = PATIENT, .survivor = PATIENT, .is_known = true, .is_active = true},
        .objects = f->stored,
        .object_count = 2,
    };
    return f;
}

/** A membership of the registered DocumentEntry in the registered Folder. */
static void make_folder_membership(Fixture *f)
{
    f->association.type = ASSOCIATION_HAS_MEMBER;
    f->association.source = outside(FOLDER_UUID);
}

static void change_nothing(Fixture *f)
{
    (void)f;
}

static void patient_unknown(Fixture *f)
{
    f->state.patient = (Patient){0};
}

static void patient_merged_away(Fixture *f)
{
    f->state.patient.is_active = false;
    f->state.patient.survivor = PATIENT;
}

static void document_taken_identical(Fixture *f)
{
    f->claims[1].is_taken = true;
    f->claims[1].taken_kind = OBJECT_DOCUMENT_ENTRY;
    f->claims[1].taken_size_bytes = 10;
    f->claims[1].taken_hash = STR("01234567890123456789");
}

static void document_taken_other_hash(Fixture *f)
{
    document_taken_identical(f);
    f->claims[1].taken_hash = STR("01234567890123456780");
}

static void document_taken_other_size(Fixture *f)
{
    document_taken_identical(f);
    f->claims[1].taken_size_bytes = 11;
}

static void document_taken_by_folder(Fixture *f)
{
    f->claims[1].is_taken = true;
    f->claims[1].taken_kind = OBJECT_FOLDER;
}

static void set_taken_by_set(Fixture *f)
{
    f->claims[0].is_taken = true;
    f->claims[0].taken_kind = OBJECT_SUBMISSION_SET;
}

static void set_taken_by_document(Fixture *f)
{
    f->claims[0].is_taken = true;
    f->claims[0].taken_kind = OBJECT_DOCUMENT_ENTRY;
}

static void folder_taken(Fixture *f)
{
    f->claims[1] = (UniqueIdClaim){.kind = OBJECT_FOLDER,
                                   .unique_id = STR("1.2.9"),
                                   .size_bytes = -1,
                                   .is_taken = true,
                                   .taken_kind = OBJECT_FOLDER};
}

static void entry_uuid_taken(Fixture *f)
{
    static Uuid taken;
    taken = DOCUMENT_UUID;
    f->state.taken_uuids = &taken;
    f->state.taken_uuid_count = 1;
}

static void target_unknown(Fixture *f)
{
    f->association.target = outside(UNKNOWN_UUID);
}

static void target_deprecated(Fixture *f)
{
    f->association.type = ASSOCIATION_RPLC;
    f->stored[0].access.status = STATUS_DEPRECATED;
}

static void target_of_other_patient(Fixture *f)
{
    f->stored[0].patient = OTHER_PATIENT;
}

static void target_is_folder(Fixture *f)
{
    f->association.target = outside(FOLDER_UUID);
}

static void snapshot_of_stable(Fixture *f)
{
    f->association.type = ASSOCIATION_IS_SNAPSHOT_OF;
}

static void snapshot_of_on_demand(Fixture *f)
{
    f->association.type = ASSOCIATION_IS_SNAPSHOT_OF;
    f->stored[0].is_on_demand = true;
}

static void reference_of_other_patient(Fixture *f)
{
    f->association.type = ASSOCIATION_HAS_MEMBER;
    f->association.is_reference = true;
    f->association.source = inside(OBJECT_SUBMISSION_SET, SET_UUID, &f->set);
    f->stored[0].patient = OTHER_PATIENT;
}

static void reference_to_folder(Fixture *f)
{
    reference_of_other_patient(f);
    f->association.target = outside(FOLDER_UUID);
}

static void folder_of_other_patient(Fixture *f)
{
    make_folder_membership(f);
    f->stored[1].patient = OTHER_PATIENT;
}

static void folder_deprecated(Fixture *f)
{
    make_folder_membership(f);
    f->stored[1].access.status = STATUS_DEPRECATED;
}

static void folder_member_deprecated(Fixture *f)
{
    make_folder_membership(f);
    f->stored[0].access.status = STATUS_DEPRECATED;
}

static void folder_in_folder(Fixture *f)
{
    make_folder_membership(f);
    f->association.target = outside(FOLDER_UUID);
}

static void member_of_document(Fixture *f)
{
    make_folder_membership(f);
    f->association.source = outside(STORED_UUID);
}

static const struct {
    const char *what;
    void (*change)(Fixture *f);
    ErrorCode expected; /* ERR_NONE: accepted */
} CASES[] = {
    {"APND to an Approved entry", change_nothing, ERR_NONE},
    {"check 13: unknown patient", patient_unknown, ERR_XDS_UNKNOWN_PATIENT_ID},
    {"check 13: merged away", patient_merged_away, ERR_XDS_UNKNOWN_PATIENT_ID},
    {"check 15: Folder of another patient", folder_of_other_patient,
     ERR_XDS_PATIENT_ID_DOES_NOT_MATCH},
    {"check 16: relationship between patients", target_of_other_patient,
     ERR_XDS_PATIENT_ID_DOES_NOT_MATCH},
    {"check 17: member by Reference of another patient", reference_of_other_patient, ERR_NONE},
    {"check 18: other hash", document_taken_other_hash, ERR_XDS_NON_IDENTICAL_HASH},
    {"check 18: other size", document_taken_other_size, ERR_XDS_NON_IDENTICAL_SIZE},
    {"check 19: identical document", document_taken_identical, ERR_NONE},
    {"check 20: SubmissionSet and SubmissionSet", set_taken_by_set,
     ERR_XDS_DUPLICATE_UNIQUE_ID_IN_REGISTRY},
    {"check 20: SubmissionSet and document", set_taken_by_document,
     ERR_XDS_DUPLICATE_UNIQUE_ID_IN_REGISTRY},
    {"check 21: Folder", folder_taken, ERR_XDS_DUPLICATE_UNIQUE_ID_IN_REGISTRY},
    {"check 22: document and Folder", document_taken_by_folder, ERR_XDS_REGISTRY_METADATA_ERROR},
    {"check 25: target not registered", target_unknown, ERR_UNRESOLVED_REFERENCE},
    {"check 27: target Deprecated", target_deprecated, ERR_XDS_REGISTRY_DEPRECATED_DOCUMENT_ERROR},
    {"check 28: Folder Deprecated", folder_deprecated, ERR_XDS_REGISTRY_DEPRECATED_DOCUMENT_ERROR},
    {"check 28: member Deprecated", folder_member_deprecated,
     ERR_XDS_REGISTRY_DEPRECATED_DOCUMENT_ERROR},
    {"check 29: snapshot of a Stable entry", snapshot_of_stable, ERR_XDS_REGISTRY_METADATA_ERROR},
    {"check 29: snapshot of an On-Demand entry", snapshot_of_on_demand, ERR_NONE},
    {"entryUUID exists (TF-3 4.2.3.1.5)", entry_uuid_taken, ERR_XDS_REGISTRY_METADATA_ERROR},
    {"relationship to a Folder (TF-3 4.2.2.2)", target_is_folder, ERR_XDS_REGISTRY_METADATA_ERROR},
    {"Folder by Reference (TF-3 4.2.2.1.2)", reference_to_folder, ERR_XDS_REGISTRY_METADATA_ERROR},
    {"Folder in a Folder (TF-3 4.2.1.3)", folder_in_folder, ERR_XDS_REGISTRY_METADATA_ERROR},
    {"member of a DocumentEntry (TF-3 4.2.2.1)", member_of_document,
     ERR_XDS_REGISTRY_METADATA_ERROR},
};

static void test_each_rule_gives_the_code_of_its_check(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(CASES); i++) {
        Fixture *f = fixture_new();
        CASES[i].change(f);
        int rc = submission_rules_check(f->req, &f->submission, &f->state);
        unsigned errors = CASES[i].expected == ERR_NONE ? 0 : 1;
        if (rc != -(int)CASES[i].expected || f->req->errors.error_count != errors) {
            fail_msg("%s: returned %d with %u errors", CASES[i].what, rc,
                     f->req->errors.error_count);
        }
        request_free(f->req);
    }
}

/** TF-2 3.42.4.1.3: as many errors as found. */
static void test_all_faults_are_reported(void **state)
{
    (void)state;
    Fixture *f = fixture_new();
    patient_unknown(f);
    document_taken_other_hash(f);
    set_taken_by_set(f);
    target_deprecated(f);
    entry_uuid_taken(f);
    assert_int_equal(submission_rules_check(f->req, &f->submission, &f->state),
                     -(int)ERR_XDS_UNKNOWN_PATIENT_ID);
    assert_int_equal(f->req->errors.error_count, 5);
    request_free(f->req);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_rule_gives_the_code_of_its_check),
        cmocka_unit_test(test_all_faults_are_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
