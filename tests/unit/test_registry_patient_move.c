#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/registry_fixture.h"

/* Documents that go to another patient, in a real PostgreSQL (TF-2 3.64.4.1.3). */

#define APND "urn:ihe:iti:2007:AssociationType:APND"
#define RPLC "urn:ihe:iti:2007:AssociationType:RPLC"
#define HAS_MEMBER "urn:oasis:names:tc:ebxml-regrep:AssociationType:HasMember"
#define OTHER_SOURCE_PATIENT "LOCAL-2^^^&1.2.392.200270.1&ISO"
#define MANAGER "1.2.392.200270.64"
#define MANY 10000

static RegistryFixture *fixture;
static PatientMover mover;

static int setup(void **state)
{
    (void)state;
    fixture = fixture_new(4);
    if (fixture == NULL) {
        return -1;
    }
    mover = registry_patient_mover(fixture->registry);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fixture_free(fixture);
    return 0;
}

static int forget_all(void **state)
{
    (void)state;
    return fixture_run(fixture->pool, "TRUNCATE document_entry, submission_set, folder,"
                                      " association, unique_id");
}

static int64_t PRINTF_LIKE(1, 2) count(const char *format, ...)
{
    char sql[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(sql, sizeof(sql), format, arguments);
    va_end(arguments);
    return fixture_number(fixture, sql);
}

/** A document of patient A; the entryUUID is in text. */
static void given_document(const char *unique_id, const char *source_patient_id, const char *more,
                           char *ret_urn)
{
    Request *req = request_new(600000);
    Submission *submission;
    char set_unique_id[128];
    snprintf(set_unique_id, sizeof(set_unique_id), "%s.1", unique_id);
    const SubmissionSpec spec = {
        .unique_id = set_unique_id,
        .patient_id = PATIENT_A,
        .title = "Discharge",
        .documents = {{"doc", unique_id, SHA1_A, 100, source_patient_id}},
        .more = more,
    };
    if (fixture_register(fixture, req, &spec, NULL, &submission) < 0) {
        fail_msg("not registered: %.*s (%s)", STR_ARG(req->errors.first->context),
                 db_last_failure());
    }
    uuid_format_urn(submission->documents->entry_uuid, ret_urn);
    ret_urn[UUID_URN_LEN] = '\0';
    request_free(req);
}

/** What happens in one transaction of the caller. */
static int run_move(const PatientMove *move, const Uuid *undone, bool is_committed, Uuid *ret_set,
                    size_t *ret_moved)
{
    static const DbStatement patience = {"test_patience", "SET LOCAL statement_timeout = 0"};
    Request *req = request_new(600000);
    DbConn *conn = NULL;
    int rc = db_acquire(fixture->pool, req, &conn);
    rc = rc < 0 ? rc : db_queue_begin(conn, req);
    rc = rc < 0 ? rc : db_queue(conn, req, &patience, NULL);
    rc = rc < 0 ? rc : db_sync(conn, req, NULL);
    if (rc == 0) {
        rc = undone == NULL
                 ? mover.move(mover.ctx, req, conn, move, ret_set, ret_moved)
                 : mover.move_back(mover.ctx, req, conn, undone, move, ret_set, ret_moved);
    }
    if (rc < 0) {
        fail_msg("not moved: %s", db_last_failure());
    }
    rc = is_committed ? db_commit(conn, req, NULL) : db_rollback(conn, req);
    db_release(conn);
    request_free(req);
    return rc;
}

static PatientMove move_to_b(void)
{
    return (PatientMove){.from_patient = ID_A,
                         .to_patient = ID_B,
                         .to_identifier = STR(PATIENT_B),
                         .local_identifier = STR(SOURCE_PATIENT),
                         .source_id = STR(MANAGER)};
}

static size_t moved(const PatientMove *move, Uuid *ret_set)
{
    size_t count_moved;
    assert_int_equal(run_move(move, NULL, true, ret_set, &count_moved), 0);
    return count_moved;
}

static size_t moved_back_by(const PatientMove *back, const Uuid *set, Uuid *ret_set)
{
    size_t count_moved;
    assert_int_equal(run_move(back, set, true, ret_set, &count_moved), 0);
    return count_moved;
}

static size_t moved_back(const Uuid *set, Uuid *ret_set)
{
    const PatientMove back = {.from_patient = ID_B,
                              .to_patient = ID_A,
                              .to_identifier = STR(PATIENT_A),
                              .local_identifier = STR(SOURCE_PATIENT),
                              .source_id = STR(MANAGER)};
    return moved_back_by(&back, set, ret_set);
}

/** Approved latest versions of the patient with this sourcePatientId. */
static int64_t current(int patient, const char *source_patient_id)
{
    return count("SELECT count(*) FROM document_entry WHERE patient = %d AND is_latest"
                 " AND status = 0 AND source_patient_id = '%s'",
                 patient, source_patient_id);
}

static void show_finding(void *ctx, const char *line)
{
    (void)ctx;
    puts(line);
}

static int64_t findings(void)
{
    Request *req = request_new(600000);
    int64_t found = registry_fsck(fixture->pool, req, show_finding, NULL);
    request_free(req);
    return found;
}

static void expect_sound(void)
{
    assert_int_equal(findings(), 0);
    assert_int_equal(
        count("SELECT count(*) FROM association a JOIN folder f ON f.entry_uuid = a.source_object"
              " JOIN document_entry d ON d.entry_uuid = a.target_object WHERE a.status = 0"
              " AND f.is_latest AND d.is_latest AND f.patient <> d.patient"),
        0);
}

/* 3.64.4.1.3.1.4 */
static void test_a_move_makes_new_versions(void **state)
{
    (void)state;
    char urn[UUID_URN_LEN + 1];
    given_document("1.2.3.1", NULL, NULL, urn);
    given_document("1.2.3.2", OTHER_SOURCE_PATIENT, NULL, urn);
    const PatientMove move = move_to_b();
    Uuid set;
    assert_int_equal(moved(&move, &set), 1);
    assert_int_equal(current(ID_A, SOURCE_PATIENT), 0);
    assert_int_equal(current(ID_B, SOURCE_PATIENT), 1);
    assert_int_equal(current(ID_A, OTHER_SOURCE_PATIENT), 1);
    assert_int_equal(count("SELECT count(*) FROM document_entry n JOIN document_entry o"
                           " ON o.entry_uuid = n.lid WHERE n.version = 2 AND o.version = 1"
                           " AND o.status = 1 AND NOT o.is_latest AND n.unique_id = '1.2.3.1'"
                           " AND n.metadata = o.metadata AND n.source_facility = 1"
                           " AND substr(n.entry_uuid::text, 15, 1) = '7'"),
                     1);
    assert_int_equal(count("SELECT count(*) FROM association a JOIN submission_set s"
                           " ON s.entry_uuid = a.source_object WHERE s.source_id = '" MANAGER "'"
                           " AND s.patient = 2 AND a.submission_set_status = 1"
                           " AND a.metadata <> '' AND s.unique_id LIKE '2.25.%%'"),
                     1);
    expect_sound();
}

static void test_nothing_to_move_makes_no_submission_set(void **state)
{
    (void)state;
    char urn[UUID_URN_LEN + 1];
    given_document("1.2.3.1", OTHER_SOURCE_PATIENT, NULL, urn);
    PatientMove move = move_to_b();
    Uuid set;
    assert_int_equal(moved(&move, &set), 0);
    assert_int_equal(count("SELECT count(*) FROM submission_set"), 1);
    move = move_to_b();
    move.to_patient = ID_A;
    move.to_identifier = STR(PATIENT_A);
    move.local_identifier = STR(OTHER_SOURCE_PATIENT);
    assert_int_equal(moved(&move, &set), 0);
}

/* With or without namespace, and documents of a patient that was merged into the previous one. */
static void test_a_move_finds_the_identifier_in_each_spelling(void **state)
{
    (void)state;
    char urn[UUID_URN_LEN + 1];
    given_document("1.2.3.1", NULL, NULL, urn);
    given_document("1.2.3.2", NULL, NULL, urn);
    fixture_run(fixture->pool, "UPDATE document_entry SET patient = 3 WHERE unique_id = '1.2.3.2'");
    PatientMove move = move_to_b();
    move.local_identifier = STR("LOCAL-1^^^HOSPITAL&1.2.392.200270.1&ISO");
    Uuid set;
    assert_int_equal(moved(&move, &set), 2);
    assert_int_equal(current(ID_B, SOURCE_PATIENT), 2);
}

/* The rendered object shows the new sourcePatientId too; patientId may be the same. */
static void test_a_merge_of_local_identifiers_renames(void **state)
{
    (void)state;
    char urn[UUID_URN_LEN + 1];
    given_document("1.2.3.1", NULL, NULL, urn);
    const PatientMove move = {.from_patient = ID_A,
                              .to_patient = ID_A,
                              .to_identifier = STR(PATIENT_A),
                              .local_identifier = STR(OTHER_SOURCE_PATIENT),
                              .subsumed_identifier = STR(SOURCE_PATIENT),
                              .source_id = STR(MANAGER)};
    Uuid set;
    assert_int_equal(moved(&move, &set), 1);
    assert_int_equal(current(ID_A, OTHER_SOURCE_PATIENT), 1);
    assert_int_equal(current(ID_A, SOURCE_PATIENT), 0);
    assert_int_equal(count("SELECT count(DISTINCT metadata) FROM document_entry"), 2);
    expect_sound();
}

/* 3.64.4.1.3.1.5: an addendum of the same identifier goes along, one of another is parted. */
static void test_relationships_follow_when_both_ends_move(void **state)
{
    (void)state;
    static const struct {
        const char *source_patient_id;
        int carried;
    } cases[] = {{SOURCE_PATIENT, 1}, {OTHER_SOURCE_PATIENT, 0}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        forget_all(NULL);
        char urn[UUID_URN_LEN + 1];
        StrBuf more = {0};
        given_document("1.2.3.1", NULL, NULL, urn);
        put_association(&more, APND, "doc", urn, NULL);
        given_document("1.2.3.2", cases[i].source_patient_id, strbuf_str(&more).data, urn);
        strbuf_done(&more);
        const PatientMove move = move_to_b();
        Uuid set;
        Uuid back;
        assert_int_equal(moved(&move, &set), 1 + cases[i].carried);
        assert_int_equal(count("SELECT count(*) FROM association a JOIN document_entry s"
                               " ON s.entry_uuid = a.source_object AND s.is_latest"
                               " JOIN document_entry t ON t.entry_uuid = a.target_object"
                               " AND t.is_latest WHERE a.type = 3 AND a.status = 0"),
                         cases[i].carried);
        assert_int_equal(count("SELECT count(*) FROM association WHERE type = 3 AND status = 1"),
                         1);
        assert_int_equal(moved_back(&set, &back), 1 + cases[i].carried);
        assert_int_equal(count("SELECT count(*) FROM association a JOIN document_entry s"
                               " ON s.entry_uuid = a.source_object AND s.is_latest"
                               " JOIN document_entry t ON t.entry_uuid = a.target_object"
                               " AND t.is_latest WHERE a.type = 3 AND a.status = 0"),
                         1);
        expect_sound();
    }
}

/* 3.64.4.1.3.1.3, .5: what was replaced stays; a move back restores the link to it. */
static void test_replacement_links_are_lost_and_come_back(void **state)
{
    (void)state;
    char urn[UUID_URN_LEN + 1];
    StrBuf more = {0};
    given_document("1.2.3.1", NULL, NULL, urn);
    put_association(&more, RPLC, "doc", urn, NULL);
    given_document("1.2.3.2", NULL, strbuf_str(&more).data, urn);
    strbuf_done(&more);
    const char *links = "SELECT count(*) FROM association a JOIN document_entry s"
                        " ON s.entry_uuid = a.source_object AND s.is_latest"
                        " WHERE a.type = 1 AND a.status = 0";
    const PatientMove move = move_to_b();
    Uuid set;
    Uuid back;
    assert_int_equal(moved(&move, &set), 1);
    assert_int_equal(count("%s", links), 0);
    assert_int_equal(count("SELECT count(*) FROM document_entry WHERE patient = 1 AND is_latest"
                           " AND status = 1"),
                     1);
    assert_int_equal(moved_back(&set, &back), 1);
    assert_int_equal(count("%s", links), 1);
    expect_sound();
}

/** Two documents in one Folder. */
static void given_folder(const char *second_source_patient_id)
{
    char first[UUID_URN_LEN + 1];
    char second[UUID_URN_LEN + 1];
    StrBuf more = {0};
    given_document("1.2.3.1", NULL, NULL, first);
    put_folder(&more, "folder", "1.2.3.9", PATIENT_A);
    strbuf_printf(&more,
                  "<rim:Association id='m1' associationType='" HAS_MEMBER
                  "' sourceObject='folder' targetObject='doc'/>"
                  "<rim:Association id='h1' associationType='" HAS_MEMBER
                  "' sourceObject='set' targetObject='m1'/>"
                  "<rim:Association id='m2' associationType='" HAS_MEMBER
                  "' sourceObject='folder' targetObject='%s'/>"
                  "<rim:Association id='h2' associationType='" HAS_MEMBER
                  "' sourceObject='set' targetObject='m2'/>",
                  first);
    given_document("1.2.3.2", second_source_patient_id, strbuf_str(&more).data, second);
    strbuf_done(&more);
}

/** Approved memberships between latest versions. */
#define MEMBERSHIPS                                                                                \
    "SELECT count(*) FROM association a JOIN folder f ON f.entry_uuid = a.source_object"           \
    " AND f.is_latest AND f.status = 0 JOIN document_entry d ON d.entry_uuid = a.target_object"    \
    " AND d.is_latest WHERE a.status = 0 AND f.patient = %d AND d.patient = f.patient"

/* 3.64.4.1.3.1.6 */
static void test_a_folder_moves_when_all_its_members_do(void **state)
{
    (void)state;
    given_folder(NULL);
    const PatientMove move = move_to_b();
    Uuid set;
    Uuid back;
    assert_int_equal(moved(&move, &set), 2);
    assert_int_equal(count("SELECT count(*) FROM folder WHERE patient = 2 AND version = 2"
                           " AND is_latest AND status = 0"),
                     1);
    assert_int_equal(count("SELECT count(*) FROM folder WHERE patient = 1 AND version = 1"
                           " AND NOT is_latest AND status = 1"),
                     1);
    assert_int_equal(count(MEMBERSHIPS, ID_B), 2);
    assert_int_equal(count("SELECT count(*) FROM association h JOIN association m"
                           " ON m.entry_uuid = h.target_object WHERE h.target_kind = 3"
                           " AND h.status = 0 AND m.status = 0"),
                     2);
    expect_sound();
    assert_int_equal(moved_back(&set, &back), 2);
    assert_int_equal(count(MEMBERSHIPS, ID_A), 2);
    assert_int_equal(count("SELECT version::bigint FROM folder WHERE is_latest"), 3);
    expect_sound();
}

/* 3.64.4.1.3.2: the relationship in question is dropped, and an undo restores it. */
static void test_a_folder_of_two_identifiers_stays_without_what_moved(void **state)
{
    (void)state;
    given_folder(OTHER_SOURCE_PATIENT);
    const PatientMove move = move_to_b();
    Uuid set;
    Uuid back;
    assert_int_equal(moved(&move, &set), 1);
    assert_int_equal(count("SELECT count(*) FROM folder"), 1);
    assert_int_equal(count(MEMBERSHIPS, ID_A), 1);
    expect_sound();
    assert_int_equal(moved_back(&set, &back), 1);
    assert_int_equal(count(MEMBERSHIPS, ID_A), 2);
    expect_sound();
}

/* An undo leaves alone what is not there any more, and can itself be undone. */
static void test_a_move_back_takes_only_what_is_still_there(void **state)
{
    (void)state;
    char urn[UUID_URN_LEN + 1];
    given_document("1.2.3.1", NULL, NULL, urn);
    const PatientMove move = move_to_b();
    Uuid set;
    Uuid back;
    Uuid again;
    assert_int_equal(moved(&move, &set), 1);
    assert_int_equal(moved_back(&set, &back), 1);
    assert_int_equal(current(ID_A, SOURCE_PATIENT), 1);
    assert_int_equal(moved_back(&set, &again), 0);
    assert_int_equal(moved_back_by(&move, &back, &again), 1);
    assert_int_equal(current(ID_B, SOURCE_PATIENT), 1);
    expect_sound();
}

/* A later move does not keep a document from its own patient (DESIGN: undo in any order). */
static void test_a_move_back_finds_what_moved_on_since(void **state)
{
    (void)state;
    char urn[UUID_URN_LEN + 1];
    given_document("1.2.3.1", NULL, NULL, urn);
    const PatientMove there = move_to_b();
    const PatientMove back = {.from_patient = ID_B,
                              .to_patient = ID_A,
                              .to_identifier = STR(PATIENT_A),
                              .local_identifier = STR(SOURCE_PATIENT),
                              .source_id = STR(MANAGER)};
    Uuid first;
    Uuid set;
    assert_int_equal(moved(&there, &first), 1);
    assert_int_equal(moved(&back, &set), 1);
    assert_int_equal(moved(&there, &set), 1);
    assert_int_equal(moved_back(&first, &set), 1);
    assert_int_equal(current(ID_A, SOURCE_PATIENT), 1);
    expect_sound();
}

/* What became Deprecated since it moved goes back too, as Deprecated: it must not stay with the
 * wrong patient. */
static void test_a_move_back_takes_what_was_replaced_since(void **state)
{
    (void)state;
    char urn[UUID_URN_LEN + 1];
    given_document("1.2.3.1", NULL, NULL, urn);
    const PatientMove move = move_to_b();
    Uuid set;
    Uuid back;
    assert_int_equal(moved(&move, &set), 1);
    fixture_run(fixture->pool, "UPDATE document_entry SET status = 1 WHERE is_latest");
    assert_int_equal(moved_back(&set, &back), 1);
    assert_int_equal(count("SELECT count(*) FROM document_entry WHERE is_latest AND status = 1"
                           " AND patient = 1"),
                     1);
    expect_sound();
}

/* 3.64.4.1.3.1.4, item 5 */
static void test_a_reference_goes_on_to_the_new_version(void **state)
{
    (void)state;
    char urn[UUID_URN_LEN + 1];
    char other[UUID_URN_LEN + 1];
    StrBuf more = {0};
    given_document("1.2.3.1", NULL, NULL, urn);
    put_association(&more, HAS_MEMBER, "set", urn, "Reference");
    given_document("1.2.3.2", OTHER_SOURCE_PATIENT, strbuf_str(&more).data, other);
    strbuf_done(&more);
    const PatientMove move = move_to_b();
    Uuid set;
    assert_int_equal(moved(&move, &set), 1);
    assert_int_equal(count("SELECT count(*) FROM association a JOIN document_entry d"
                           " ON d.entry_uuid = a.target_object"
                           " WHERE a.submission_set_status = 2"
                           " AND (a.status = 0) = d.is_latest"),
                     2);
}

/* Of an object one version is the latest, and only that one may be Approved. */
static void test_fsck_finds_unsound_versions(void **state)
{
    (void)state;
    static const struct {
        const char *damage;
        int findings;
    } cases[] = {
        {"UPDATE document_entry SET status = 0", 1},
        {"UPDATE document_entry SET is_latest = true", 1},
        {"UPDATE document_entry SET is_latest = false", 1},
        {"DELETE FROM document_entry WHERE version = 1", 1},
        {"UPDATE document_entry SET status = 1 WHERE is_latest", 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        forget_all(NULL);
        char urn[UUID_URN_LEN + 1];
        given_document("1.2.3.1", NULL, NULL, urn);
        const PatientMove move = move_to_b();
        Uuid set;
        assert_int_equal(moved(&move, &set), 1);
        assert_int_equal(findings(), 0);
        assert_int_equal(fixture_run(fixture->pool, cases[i].damage), 0);
        assert_int_equal(findings(), cases[i].findings);
    }
}

/** An object that refers to a document of the same patient, both of which move. */
static void given_moved(const char *relationship)
{
    char urn[UUID_URN_LEN + 1];
    StrBuf more = {0};
    if (relationship == NULL) {
        given_folder(NULL);
    } else {
        given_document("1.2.3.1", NULL, NULL, urn);
        put_association(&more, relationship, "doc", urn, NULL);
        given_document("1.2.3.2", NULL, strbuf_str(&more).data, urn);
        strbuf_done(&more);
    }
    const PatientMove move = move_to_b();
    Uuid set;
    (void)moved(&move, &set);
    expect_sound();
}

/* An Approved Association connects latest versions, but for what a move leaves behind. */
static void test_fsck_finds_associations_of_superseded_versions(void **state)
{
    (void)state;
    static const char approve[] = "UPDATE association SET status = 0 WHERE source_kind <> 1";
    static const char same_patient[] = "UPDATE document_entry SET patient = 1";
    static const struct {
        const char *relationship; /* NULL: in a Folder */
        const char *damage;
        int findings; /* one for each end */
    } cases[] = {
        {APND, approve, 2},
        {RPLC, approve, 0},
        {RPLC, same_patient, 1},
        {NULL, approve, 2},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        forget_all(NULL);
        given_moved(cases[i].relationship);
        assert_int_equal(fixture_run(fixture->pool, cases[i].damage), 0);
        assert_int_equal(findings(), cases[i].findings);
    }
}

/* What is Deprecated in a Folder stays in the version that a move supersedes. */
static void test_fsck_knows_what_a_move_leaves_in_a_folder(void **state)
{
    (void)state;
    given_folder(NULL);
    fixture_run(fixture->pool, "UPDATE document_entry SET status = 1 WHERE unique_id = '1.2.3.2'");
    const PatientMove move = move_to_b();
    Uuid set;
    assert_int_equal(moved(&move, &set), 1);
    assert_int_equal(count("SELECT count(*) FROM folder WHERE NOT is_latest"), 1);
    expect_sound();
    fixture_run(fixture->pool, "UPDATE folder SET patient = 1");
    assert_int_equal(findings(), 1);
}

/** Rows as ITI-42 makes them, but faster. */
static void given_many(void)
{
    char urn[UUID_URN_LEN + 1];
    char sql[2048];
    given_document("1.2.3.1", NULL, NULL, urn);
    snprintf(sql, sizeof(sql),
             "INSERT INTO document_entry (entry_uuid, patient, version, class_code, type_code,"
             " format_code, practice_setting_code, healthcare_facility_type_code, repository,"
             " source_facility, status, is_on_demand, is_latest, unique_id, source_patient_id,"
             " confidentiality_code, metadata) SELECT gen_random_uuid(), patient, version,"
             " class_code, type_code, format_code, practice_setting_code,"
             " healthcare_facility_type_code, repository, source_facility, status, is_on_demand,"
             " is_latest, unique_id || '.' || n, source_patient_id, confidentiality_code, metadata"
             " FROM document_entry, generate_series(2, %d) n",
             MANY);
    assert_int_equal(fixture_run(fixture->pool, sql), 0);
}

static void test_many_documents_move_and_all_or_none(void **state)
{
    (void)state;
    given_many();
    /* what the planner knows decides how a move is made: as in a table that has been analyzed */
    assert_int_equal(fixture_run(fixture->pool, "ANALYZE"), 0);
    PatientMove move = move_to_b();
    move.local_identifier = STR(OTHER_SOURCE_PATIENT);
    move.subsumed_identifier = STR(SOURCE_PATIENT);
    Uuid set;
    Uuid back;
    size_t count_moved;
    assert_int_equal(run_move(&move, NULL, false, &set, &count_moved), 0);
    assert_int_equal(count_moved, MANY);
    assert_int_equal(current(ID_A, SOURCE_PATIENT), MANY);
    assert_int_equal(count("SELECT count(*) FROM submission_set"), 1);
    assert_int_equal(moved(&move, &set), MANY);
    assert_int_equal(current(ID_B, OTHER_SOURCE_PATIENT), MANY);
    const PatientMove undo = {.from_patient = ID_B,
                              .to_patient = ID_A,
                              .to_identifier = STR(PATIENT_A),
                              .local_identifier = STR(SOURCE_PATIENT),
                              .subsumed_identifier = STR(OTHER_SOURCE_PATIENT),
                              .source_id = STR(MANAGER)};
    assert_int_equal(fixture_run(fixture->pool, "ANALYZE"), 0);
    assert_int_equal(moved_back_by(&undo, &set, &back), MANY);
    assert_int_equal(current(ID_A, SOURCE_PATIENT), MANY);
    expect_sound();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_a_move_makes_new_versions, forget_all),
        cmocka_unit_test_setup(test_nothing_to_move_makes_no_submission_set, forget_all),
        cmocka_unit_test_setup(test_a_move_finds_the_identifier_in_each_spelling, forget_all),
        cmocka_unit_test_setup(test_a_merge_of_local_identifiers_renames, forget_all),
        cmocka_unit_test_setup(test_relationships_follow_when_both_ends_move, forget_all),
        cmocka_unit_test_setup(test_replacement_links_are_lost_and_come_back, forget_all),
        cmocka_unit_test_setup(test_a_folder_moves_when_all_its_members_do, forget_all),
        cmocka_unit_test_setup(test_a_folder_of_two_identifiers_stays_without_what_moved,
                               forget_all),
        cmocka_unit_test_setup(test_a_move_back_takes_only_what_is_still_there, forget_all),
        cmocka_unit_test_setup(test_a_move_back_finds_what_moved_on_since, forget_all),
        cmocka_unit_test_setup(test_a_move_back_takes_what_was_replaced_since, forget_all),
        cmocka_unit_test_setup(test_a_reference_goes_on_to_the_new_version, forget_all),
        cmocka_unit_test_setup(test_fsck_finds_unsound_versions, forget_all),
        cmocka_unit_test_setup(test_fsck_finds_associations_of_superseded_versions, forget_all),
        cmocka_unit_test_setup(test_fsck_knows_what_a_move_leaves_in_a_folder, forget_all),
        cmocka_unit_test_setup(test_many_documents_move_and_all_or_none, forget_all),
    };
    if (getenv("MUSUBI_TEST_CONNINFO") == NULL) {
        puts("skipped: MUSUBI_TEST_CONNINFO names no PostgreSQL");
        return 77;
    }
    return cmocka_run_group_tests(tests, setup, teardown);
}
