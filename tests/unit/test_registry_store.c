#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/registry_fixture.h"

/* Registrations in a real PostgreSQL (MUSUBI_TEST_CONNINFO); without one the tests are skipped. */

#define RPLC "urn:ihe:iti:2007:AssociationType:RPLC"
#define APND "urn:ihe:iti:2007:AssociationType:APND"
#define HAS_MEMBER "urn:oasis:names:tc:ebxml-regrep:AssociationType:HasMember"
#define THREADS 16

static RegistryFixture *fixture;

static int setup(void **state)
{
    (void)state;
    fixture = fixture_new(THREADS);
    return fixture != NULL ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    fixture_free(fixture);
    return 0;
}

static SubmissionSpec one_document(const char *set_unique_id, const char *document_unique_id)
{
    return (SubmissionSpec){
        .unique_id = set_unique_id,
        .patient_id = PATIENT_A,
        .title = "Discharge",
        .documents = {{"doc", document_unique_id, SHA1_A, 100, NULL}},
    };
}

/** Registers and gives the entryUUID of the first document. */
static Uuid registered(const SubmissionSpec *spec)
{
    Request *req = request_new(600000);
    Submission *submission;
    int rc = fixture_register(fixture, req, spec, NULL, &submission);
    if (rc < 0) {
        fail_msg("not registered: %.*s (%s)", STR_ARG(req->errors.first->context),
                 db_last_failure());
    }
    Uuid uuid = submission->documents->entry_uuid;
    request_free(req);
    return uuid;
}

static void expect_error(const SubmissionSpec *spec, ErrorCode code, const char *context)
{
    Request *req = request_new(600000);
    int rc = fixture_register(fixture, req, spec, NULL, NULL);
    if (rc != -(int)code || req->errors.error_count != 1 ||
        !str_contains(req->errors.first->context, str_from(context))) {
        fail_msg("got %d with %u errors, the first: %.*s", rc, req->errors.error_count,
                 STR_ARG(req->errors.first ? req->errors.first->context : STR_EMPTY));
    }
    request_free(req);
}

static int64_t PRINTF_LIKE(1, 2) count(const char *format, ...)
{
    char sql[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(sql, sizeof(sql), format, arguments);
    va_end(arguments);
    return fixture_number(fixture, sql);
}

static int64_t status_of(Uuid uuid)
{
    Request *req = request_new(600000);
    char *urn = str_cstr(req->arena, uuid_urn(req->arena, uuid));
    int64_t status = count("SELECT status::bigint FROM document_entry WHERE entry_uuid = '%s'",
                           urn + strlen("urn:uuid:"));
    request_free(req);
    return status;
}

/** More XML: one Association to a registered object. */
static const char *association(Request *req, const char *type, const char *source, Uuid target)
{
    StrBuf xml = {0};
    put_association(&xml, type, source, str_cstr(req->arena, uuid_urn(req->arena, target)), NULL);
    const char *text = str_cstr(req->arena, strbuf_str(&xml));
    strbuf_done(&xml);
    return text;
}

/** TF-2 3.42.4.1.3.1: every object is stored, Approved. */
static void test_submission_becomes_one_row_for_each_object(void **state)
{
    (void)state;
    SubmissionSpec spec = one_document("1.2.1.1", "1.2.1.2");
    assert_int_equal(status_of(registered(&spec)), STATUS_APPROVED);
    assert_int_equal(
        count("SELECT count(*) FROM document_entry WHERE unique_id = '%s' AND patient = 1"
              " AND size_bytes = 100 AND is_latest AND length(hash) = 20",
              "1.2.1.2"),
        1);
    assert_int_equal(
        count("SELECT count(*) FROM submission_set s JOIN association a ON a.source_object ="
              " s.entry_uuid AND a.submission_set_status = 1 WHERE s.unique_id = '%s'",
              "1.2.1.1"),
        1);
}

/** Contract C3; TF-2 3.42.4.1.3.3.7. */
static void test_same_submission_again_is_told_to_be_done(void **state)
{
    (void)state;
    SubmissionSpec spec = one_document("1.2.2.1", "1.2.2.2");
    registered(&spec);
    spec.documents[0].id = "other_symbolic_id";
    expect_error(&spec, ERR_XDS_DUPLICATE_UNIQUE_ID_IN_REGISTRY,
                 "identical submission already registered at ");
}

static void test_same_unique_id_with_other_content_is_refused(void **state)
{
    (void)state;
    SubmissionSpec spec = one_document("1.2.3.1", "1.2.3.2");
    registered(&spec);
    SubmissionSpec other_title = spec;
    other_title.title = "Referral";
    expect_error(&other_title, ERR_XDS_DUPLICATE_UNIQUE_ID_IN_REGISTRY,
                 "same uniqueId, different content");
    SubmissionSpec one_more = spec;
    one_more.documents[1] = (DocumentSpec){"doc2", "1.2.3.3", SHA1_A, 100, NULL};
    expect_error(&one_more, ERR_XDS_DUPLICATE_UNIQUE_ID_IN_REGISTRY,
                 "same uniqueId, different content");
    SubmissionSpec other_document = spec;
    other_document.documents[0].unique_id = "1.2.3.4";
    expect_error(&other_document, ERR_XDS_DUPLICATE_UNIQUE_ID_IN_REGISTRY,
                 "same uniqueId, different content");
}

/** TF-2 3.42.4.1.3.3.1. */
static void test_document_registered_twice_must_be_identical(void **state)
{
    (void)state;
    SubmissionSpec first = one_document("1.2.4.1", "1.2.4.9");
    registered(&first);
    SubmissionSpec same = one_document("1.2.4.2", "1.2.4.9");
    registered(&same);
    assert_int_equal(
        count("SELECT count(*) FROM document_entry WHERE unique_id = '%s' AND status = 0",
              "1.2.4.9"),
        2);
    SubmissionSpec other_hash = one_document("1.2.4.3", "1.2.4.9");
    other_hash.documents[0].hash = SHA1_B;
    expect_error(&other_hash, ERR_XDS_NON_IDENTICAL_HASH, "1.2.4.9");
    SubmissionSpec other_size = one_document("1.2.4.4", "1.2.4.9");
    other_size.documents[0].size = 101;
    expect_error(&other_size, ERR_XDS_NON_IDENTICAL_SIZE, "1.2.4.9");
    assert_int_equal(count("SELECT count(*) FROM submission_set WHERE unique_id = '%s'", "1.2.4.3"),
                     0);
    /* A refused submission leaves no claim: its uniqueId can be used. */
    SubmissionSpec corrected = one_document("1.2.4.3", "1.2.4.8");
    registered(&corrected);
}

static void test_patient_must_be_known_and_not_merged_away(void **state)
{
    (void)state;
    SubmissionSpec unknown = one_document("1.2.5.1", "1.2.5.2");
    unknown.patient_id = PATIENT_UNKNOWN;
    expect_error(&unknown, ERR_XDS_UNKNOWN_PATIENT_ID, PATIENT_UNKNOWN);
    SubmissionSpec merged = one_document("1.2.5.3", "1.2.5.4");
    merged.patient_id = PATIENT_MERGED;
    expect_error(&merged, ERR_XDS_UNKNOWN_PATIENT_ID, "merged into another");
}

static void test_entry_uuid_can_be_used_once(void **state)
{
    (void)state;
    SubmissionSpec spec = one_document("1.2.6.1", "1.2.6.2");
    spec.documents[0].id = "urn:uuid:00000000-0000-4000-8000-000000000006";
    registered(&spec);
    spec.unique_id = "1.2.6.3";
    spec.documents[0].unique_id = "1.2.6.4";
    expect_error(&spec, ERR_XDS_REGISTRY_METADATA_ERROR, "00000000-0000-4000-8000-000000000006");
}

/** TF-3 4.2.2.2.3: the target and its addenda become Deprecated, the replacement joins its Folders.
 */
static void test_replacement_deprecates_and_joins_the_folder(void **state)
{
    (void)state;
    Request *req = request_new(600000);
    StrBuf folder = {0};
    put_folder(&folder, "folder", "1.2.7.9", PATIENT_A);
    strbuf_literal(&folder, "<rim:Association id='fd' associationType='" HAS_MEMBER
                            "' sourceObject='folder' targetObject='doc'/>");
    put_association(&folder, HAS_MEMBER, "set", "fd", NULL);
    SubmissionSpec original = one_document("1.2.7.1", "1.2.7.2");
    original.more = str_cstr(req->arena, strbuf_str(&folder));
    strbuf_done(&folder);
    Uuid old = registered(&original);

    SubmissionSpec addendum = one_document("1.2.7.3", "1.2.7.4");
    addendum.more = association(req, APND, "doc", old);
    Uuid appended = registered(&addendum);
    fixture_run(fixture->pool,
                "UPDATE folder SET last_update_time = '2020-01-01' WHERE unique_id = '1.2.7.9'");

    SubmissionSpec replacement = one_document("1.2.7.5", "1.2.7.6");
    replacement.more = association(req, RPLC, "doc", old);
    Uuid new = registered(&replacement);
    assert_int_equal(status_of(old), STATUS_DEPRECATED);
    assert_int_equal(status_of(appended), STATUS_DEPRECATED);
    assert_int_equal(status_of(new), STATUS_APPROVED);
    assert_int_equal(
        count("SELECT count(*) FROM association a JOIN folder f ON f.entry_uuid = a.source_object"
              " JOIN document_entry d ON d.entry_uuid = a.target_object"
              " JOIN association s ON s.target_object = a.entry_uuid AND s.target_kind = 3"
              " JOIN submission_set t ON t.entry_uuid = s.source_object AND t.unique_id = '1.2.7.5'"
              " WHERE f.unique_id = '1.2.7.9' AND d.unique_id = '%s'",
              "1.2.7.6"),
        1);
    assert_int_equal(
        count("SELECT count(*) FROM folder WHERE unique_id = '%s' AND last_update_time > now() - "
              "interval '10 minutes'",
              "1.2.7.9"),
        1);

    SubmissionSpec late = one_document("1.2.7.7", "1.2.7.8");
    late.more = association(req, RPLC, "doc", old);
    expect_error(&late, ERR_XDS_REGISTRY_DEPRECATED_DOCUMENT_ERROR, "Deprecated");
    /* A resubmission counts as identical although the registry has added memberships to its set. */
    expect_error(&replacement, ERR_XDS_DUPLICATE_UNIQUE_ID_IN_REGISTRY, "treat as done");
    expect_error(&original, ERR_XDS_DUPLICATE_UNIQUE_ID_IN_REGISTRY, "treat as done");
    request_free(req);
}

/** TF-2 3.42.4.1.3.5: merges are taken into account. */
static void test_entry_of_a_merged_patient_can_be_replaced_for_its_survivor(void **state)
{
    (void)state;
    Request *req = request_new(600000);
    SubmissionSpec original = one_document("1.2.8.1", "1.2.8.2");
    Uuid old = registered(&original);
    fixture_run(fixture->pool, "UPDATE document_entry SET patient = 3 WHERE unique_id = '1.2.8.2'");
    SubmissionSpec other = one_document("1.2.8.3", "1.2.8.4");
    other.patient_id = PATIENT_B;
    other.more = association(req, RPLC, "doc", old);
    expect_error(&other, ERR_XDS_PATIENT_ID_DOES_NOT_MATCH, "another patient");
    SubmissionSpec survivor = one_document("1.2.8.5", "1.2.8.6");
    survivor.more = association(req, RPLC, "doc", old);
    registered(&survivor);
    request_free(req);
}

static void test_unknown_target_is_an_unresolved_reference(void **state)
{
    (void)state;
    Request *req = request_new(600000);
    SubmissionSpec spec = one_document("1.2.9.1", "1.2.9.2");
    spec.more = association(req, RPLC, "doc", uuid_new());
    expect_error(&spec, ERR_UNRESOLVED_REFERENCE, "neither in the submission");
    request_free(req);
}

/** A node changes only its own facility's objects; an addendum changes nothing. Of an object that
 * it may not list it is not told that it exists. */
static void test_entry_of_another_facility_can_be_appended_to_but_not_replaced(void **state)
{
    (void)state;
    static const Principal other_node = {
        .may_submit = true, .node_id = 2, .node_name = STR_INIT("gateway-b"), .facility_id = 2};
    Request *req = request_new(600000);
    req->principal = &other_node;
    SubmissionSpec original = one_document("1.2.14.1", "1.2.14.2");
    Uuid old = registered(&original);
    SubmissionSpec replacement = one_document("1.2.14.3", "1.2.14.4");
    replacement.more = association(req, RPLC, "doc", old);
    assert_int_equal(fixture_register(fixture, req, &replacement, NULL, NULL),
                     -(int)ERR_UNRESOLVED_REFERENCE);
    fixture_run(
        fixture->pool,
        "INSERT INTO assigning_authority (oid) VALUES ('1.2.14');"
        "INSERT INTO patient_identifier (id, authority, value, person, is_xad_pid)"
        " OVERRIDING SYSTEM VALUE SELECT d.patient, a.id, 'known', d.patient, true"
        " FROM document_entry d, assigning_authority a"
        " WHERE d.unique_id = '1.2.14.2' AND a.oid = '1.2.14';"
        "INSERT INTO enrolment (patient, is_enrolled, decided_by)"
        " SELECT patient, true, 'test' FROM document_entry WHERE unique_id = '1.2.14.2';"
        "INSERT INTO access_role_confidentiality SELECT 'node', unnest(confidentiality_code)"
        " FROM document_entry WHERE unique_id = '1.2.14.2' ON CONFLICT DO NOTHING;"
        "INSERT INTO disclosure (is_permit, level, added_by) VALUES (true, 1, 'test')");
    error_list_init(&req->errors, req->arena);
    req->rules = NULL; /* of the same request they would not be read again */
    assert_int_equal(fixture_register(fixture, req, &replacement, NULL, NULL), -(int)ERR_FORBIDDEN);
    assert_true(str_contains(req->errors.first->context, STR("gateway-b")));
    SubmissionSpec addendum = one_document("1.2.14.5", "1.2.14.6");
    addendum.more = association(req, APND, "doc", old);
    error_list_init(&req->errors, req->arena);
    assert_int_equal(fixture_register(fixture, req, &addendum, NULL, NULL), 0);
    assert_int_equal(
        count("SELECT source_facility::bigint FROM document_entry WHERE unique_id = '1.2.14.6'"),
        2);
    request_free(req);
}

static int failing_hook(void *caller, Request *req, DbConn *conn)
{
    (void)caller;
    (void)conn;
    return error_add(&req->errors, ERR_STORAGE, NULL, "the caller's rows cannot be made");
}

/** Contract C2: all or nothing, the caller's own rows included. */
static void test_failing_hook_leaves_nothing(void **state)
{
    (void)state;
    SubmissionSpec spec = one_document("1.2.10.1", "1.2.10.2");
    Request *req = request_new(600000);
    assert_int_equal(fixture_register(fixture, req, &spec, failing_hook, NULL), -(int)ERR_STORAGE);
    request_free(req);
    assert_int_equal(
        count("SELECT count(*) FROM submission_set WHERE unique_id = '%s'", "1.2.10.1"), 0);
    registered(&spec);
}

/* ---- races ---- */

typedef struct Racer {
    pthread_t thread;
    SubmissionSpec spec;
    char unique_ids[2][32];
    int rc;
    bool is_told_done;
} Racer;

static pthread_barrier_t start;

static void *race(void *argument)
{
    Racer *racer = argument;
    Request *req = request_new(600000);
    pthread_barrier_wait(&start);
    racer->rc = fixture_register(fixture, req, &racer->spec, NULL, NULL);
    racer->is_told_done = req->errors.error_count == 1 &&
                          str_ends_with(req->errors.first->context, STR("treat as done"));
    request_free(req);
    return NULL;
}

static void run_race(Racer *racers)
{
    pthread_barrier_init(&start, NULL, THREADS);
    for (size_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&racers[i].thread, NULL, race, &racers[i]), 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        pthread_join(racers[i].thread, NULL);
    }
    pthread_barrier_destroy(&start);
}

/** One entryUUID is fought for: one submission gets it, the others hear of it. */
static void run_race_for_one_uuid(Racer *racers)
{
    run_race(racers);
    size_t winners = 0;
    for (size_t i = 0; i < THREADS; i++) {
        winners += racers[i].rc == 0;
        assert_true(racers[i].rc == 0 || racers[i].rc == -(int)ERR_XDS_REGISTRY_METADATA_ERROR);
    }
    assert_int_equal(winners, 1);
}

static void test_one_of_sixteen_replacements_wins(void **state)
{
    (void)state;
    Request *req = request_new(600000);
    SubmissionSpec original = one_document("1.2.11.1", "1.2.11.2");
    const char *rplc = association(req, RPLC, "doc", registered(&original));
    Racer racers[THREADS] = {0};
    for (size_t i = 0; i < THREADS; i++) {
        snprintf(racers[i].unique_ids[0], sizeof(racers[i].unique_ids[0]), "1.2.11.3.%zu", i);
        snprintf(racers[i].unique_ids[1], sizeof(racers[i].unique_ids[1]), "1.2.11.4.%zu", i);
        racers[i].spec = one_document(racers[i].unique_ids[0], racers[i].unique_ids[1]);
        racers[i].spec.more = rplc;
    }
    run_race(racers);
    size_t winners = 0;
    for (size_t i = 0; i < THREADS; i++) {
        winners += racers[i].rc == 0;
        assert_true(racers[i].rc == 0 ||
                    racers[i].rc == -(int)ERR_XDS_REGISTRY_DEPRECATED_DOCUMENT_ERROR);
    }
    assert_int_equal(winners, 1);
    request_free(req);
}

static void test_one_of_sixteen_identical_submissions_wins_and_the_others_are_done(void **state)
{
    (void)state;
    Racer racers[THREADS] = {0};
    for (size_t i = 0; i < THREADS; i++) {
        racers[i].spec = one_document("1.2.12.1", "1.2.12.2");
    }
    run_race(racers);
    size_t winners = 0;
    for (size_t i = 0; i < THREADS; i++) {
        winners += racers[i].rc == 0;
        assert_true(racers[i].rc == 0 || racers[i].is_told_done);
    }
    assert_int_equal(winners, 1);
}

/** The loser of an entryUUID race is told so by its next attempt. */
static void test_one_of_sixteen_equal_entry_uuids_wins(void **state)
{
    (void)state;
    Racer racers[THREADS] = {0};
    for (size_t i = 0; i < THREADS; i++) {
        snprintf(racers[i].unique_ids[0], sizeof(racers[i].unique_ids[0]), "1.2.13.3.%zu", i);
        snprintf(racers[i].unique_ids[1], sizeof(racers[i].unique_ids[1]), "1.2.13.4.%zu", i);
        racers[i].spec = one_document(racers[i].unique_ids[0], racers[i].unique_ids[1]);
        racers[i].spec.documents[0].id = "urn:uuid:00000000-0000-4000-8000-000000000013";
    }
    run_race_for_one_uuid(racers);
}

/** TF-3 4.2.3.1.5: no DocumentEntry and Folder with one entryUUID, though each kind has its table.
 */
static void test_an_entry_uuid_becomes_one_object_of_one_kind(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 20; round++) {
        Request *req = request_new(600000);
        Racer racers[THREADS] = {0};
        char *uuid = str_cstr(req->arena, uuid_urn(req->arena, uuid_new()));
        for (size_t i = 0; i < THREADS; i++) {
            Racer *racer = &racers[i];
            snprintf(racer->unique_ids[0], sizeof(racer->unique_ids[0]), "1.2.17.%u.%zu", round, i);
            snprintf(racer->unique_ids[1], sizeof(racer->unique_ids[1]), "1.2.18.%u.%zu", round, i);
            racer->spec = one_document(racer->unique_ids[0], racer->unique_ids[1]);
            racer->spec.documents[0].id = uuid;
            if (i % 2 == 1) {
                StrBuf folder = {0};
                put_folder(&folder, uuid, racer->unique_ids[1], PATIENT_A);
                racer->spec.documents[0].id = NULL;
                racer->spec.more = str_cstr(req->arena, strbuf_str(&folder));
                strbuf_done(&folder);
            }
        }
        run_race_for_one_uuid(racers);
        request_free(req);
    }
}

/** Many entryUUIDs are held by one lock, which those with few must wait for too. */
static void test_an_entry_uuid_among_many_becomes_one_object(void **state)
{
    (void)state;
    Request *req = request_new(600000);
    Racer racers[THREADS] = {0};
    char *uuid = str_cstr(req->arena, uuid_urn(req->arena, uuid_new()));
    for (size_t i = 0; i < THREADS; i++) {
        Racer *racer = &racers[i];
        snprintf(racer->unique_ids[0], sizeof(racer->unique_ids[0]), "1.2.19.%zu", i);
        snprintf(racer->unique_ids[1], sizeof(racer->unique_ids[1]), "1.2.20.%zu", i);
        racer->spec = one_document(racer->unique_ids[0], racer->unique_ids[1]);
        racer->spec.documents[0].id = uuid;
        StrBuf folders = {0};
        for (unsigned n = 0; i % 2 == 1 && n < 70; n++) {
            char *id = n == 0 ? uuid : str_cstr(req->arena, uuid_urn(req->arena, uuid_new()));
            char *unique_id = str_cstr(req->arena, str_printf(req->arena, "1.2.21.%zu.%u", i, n));
            put_folder(&folders, id, unique_id, PATIENT_A);
            racer->spec.documents[0].id = NULL;
        }
        racer->spec.more = str_cstr(req->arena, strbuf_str(&folders));
        strbuf_done(&folders);
    }
    run_race_for_one_uuid(racers);
    request_free(req);
}

/* ---- interned codes ---- */

typedef struct Interner {
    pthread_t thread;
    CodeTable *table; /* of a process of its own */
    int32_t ids[3];
    int rc;
} Interner;

static const Code NEW_CODES[] = {{STR_INIT("b"), STR_INIT("1.2.15"), {0}},
                                 {STR_INIT("a"), STR_INIT("1.2.15"), {0}},
                                 {STR_INIT("b"), STR_INIT("1.2.15"), {0}}};

static void *intern(void *argument)
{
    Interner *interner = argument;
    Request *req = request_new(600000);
    DbConn *conn = NULL;
    interner->rc = db_acquire(fixture->pool, req, &conn);
    pthread_barrier_wait(&start);
    if (interner->rc == 0) {
        interner->rc = code_table_intern(interner->table, req, conn, NEW_CODES,
                                         ARRAY_LEN(NEW_CODES), interner->ids);
    }
    db_release(conn);
    request_free(req);
    return NULL;
}

static void test_new_codes_of_sixteen_processes_get_the_same_ids(void **state)
{
    (void)state;
    Interner interners[THREADS] = {0};
    pthread_barrier_init(&start, NULL, THREADS);
    for (size_t i = 0; i < THREADS; i++) {
        interners[i].table = code_table_new();
        assert_int_equal(pthread_create(&interners[i].thread, NULL, intern, &interners[i]), 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        pthread_join(interners[i].thread, NULL);
        assert_int_equal(interners[i].rc, 0);
        assert_int_not_equal(interners[i].ids[0], interners[i].ids[1]);
        assert_int_equal(interners[i].ids[0], interners[i].ids[2]);
        assert_memory_equal(interners[i].ids, interners[0].ids, sizeof(interners[0].ids));
        code_table_free(interners[i].table);
    }
    pthread_barrier_destroy(&start);
}

/** A query must not grow the table with what it asks for. */
static void test_lookup_of_an_unknown_code_inserts_nothing(void **state)
{
    (void)state;
    Request *req = request_new(600000);
    DbConn *conn = NULL;
    assert_int_equal(db_acquire(fixture->pool, req, &conn), 0);
    const Code unknown = {STR("never seen"), STR("1.2.16"), {0}};
    int32_t id = -1;
    assert_int_equal(code_table_lookup(fixture->registry->codes, req, conn, &unknown, 1, &id), 0);
    assert_int_equal(id, 0);
    db_release(conn);
    request_free(req);
    assert_int_equal(count("SELECT count(*) FROM code WHERE scheme = '1.2.16'"), 0);
}

/* A number that is known here as somebody else's: filed under the wrong patient. */
static void test_a_source_patient_of_somebody_else_is_refused(void **state)
{
    (void)state;
    static const struct {
        int64_t owner; /* 0: not known here */
        bool is_refused;
    } cases[] = {{0, false}, {ID_A, false}, {ID_B, true}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char set[32];
        char document[32];
        snprintf(set, sizeof(set), "1.2.77.%zu", i);
        snprintf(document, sizeof(document), "1.2.78.%zu", i);
        SubmissionSpec spec = one_document(set, document);
        fixture_source_owner = cases[i].owner;
        if (cases[i].is_refused) {
            expect_error(&spec, ERR_XDS_PATIENT_ID_DOES_NOT_MATCH, "ITI-9");
        } else {
            registered(&spec);
        }
        fixture_source_owner = 0;
    }
}

int main(void)
{
    if (getenv("MUSUBI_TEST_CONNINFO") == NULL) {
        puts("skipped: MUSUBI_TEST_CONNINFO names no PostgreSQL");
        return 77;
    }
    xml_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_source_patient_of_somebody_else_is_refused),
        cmocka_unit_test(test_submission_becomes_one_row_for_each_object),
        cmocka_unit_test(test_same_submission_again_is_told_to_be_done),
        cmocka_unit_test(test_same_unique_id_with_other_content_is_refused),
        cmocka_unit_test(test_document_registered_twice_must_be_identical),
        cmocka_unit_test(test_patient_must_be_known_and_not_merged_away),
        cmocka_unit_test(test_entry_uuid_can_be_used_once),
        cmocka_unit_test(test_replacement_deprecates_and_joins_the_folder),
        cmocka_unit_test(test_entry_of_a_merged_patient_can_be_replaced_for_its_survivor),
        cmocka_unit_test(test_unknown_target_is_an_unresolved_reference),
        cmocka_unit_test(test_entry_of_another_facility_can_be_appended_to_but_not_replaced),
        cmocka_unit_test(test_failing_hook_leaves_nothing),
        cmocka_unit_test(test_one_of_sixteen_replacements_wins),
        cmocka_unit_test(test_one_of_sixteen_identical_submissions_wins_and_the_others_are_done),
        cmocka_unit_test(test_one_of_sixteen_equal_entry_uuids_wins),
        cmocka_unit_test(test_an_entry_uuid_becomes_one_object_of_one_kind),
        cmocka_unit_test(test_an_entry_uuid_among_many_becomes_one_object),
        cmocka_unit_test(test_new_codes_of_sixteen_processes_get_the_same_ids),
        cmocka_unit_test(test_lookup_of_an_unknown_code_inserts_nothing),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
