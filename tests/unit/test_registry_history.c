#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base/clock.h"
#include "registry/history.h"

#include "tests/unit/registry_fixture.h"

/* What the registry answered to whom at an instant: after every change of objects, patients and
 * rules the answer of the moment is kept, and later asked for again. */

#define APPROVED "urn:oasis:names:tc:ebxml-regrep:StatusType:Approved"
#define DEPRECATED "urn:oasis:names:tc:ebxml-regrep:StatusType:Deprecated"
#define RPLC "urn:ihe:iti:2007:AssociationType:RPLC"
#define APND "urn:ihe:iti:2007:AssociationType:APND"
#define MANAGER "1.2.392.200270.64"

#define STEPS 60
#define ANSWER_BYTES 65536

static RegistryFixture *fixture;
static PatientMover mover;

/** Who asks: everybody, and nodes that rules are about. */
static const struct {
    const char *name;
    Principal principal;
} askers[] = {
    {"everybody", {.may_do_everything = true}},
    {"gateway-a", {.node_id = 1, .node_name = STR_INIT("gateway-a"), .facility_id = 1}},
    {"gateway-b", {.node_id = 2, .node_name = STR_INIT("gateway-b"), .facility_id = 2}},
};
static const char *const patients[] = {PATIENT_A, PATIENT_B};

/** An answer that was given. */
typedef struct Moment {
    int64_t at_us;
    char what[64]; /* the change before it */
    char answers[ARRAY_LEN(askers)][ARRAY_LEN(patients)][ANSWER_BYTES];
} Moment;

/* ---- the patients, of a database that may be that of the past ---- */

static int read_ids(void *ctx, Request *req, DbConn *conn, const Str *identifiers, size_t count,
                    int64_t **ret_ids, size_t *ret_count)
{
    static const DbStatement statement = {
        "test_ids", "SELECT m.id FROM patient_identifier p JOIN patient_identifier m"
                    " ON m.id = p.id OR m.survivor = p.id"
                    " WHERE p.value = ANY ($1::text[]) AND p.survivor IS NULL ORDER BY m.id"};
    Str *values = ARENA_ARRAY(req->arena, Str, count);
    DbParams params;
    DbResult *rows;
    (void)ctx;
    for (size_t i = 0; i < count; i++) {
        values[i] = str_slice(identifiers[i], 0, str_find_char(identifiers[i], '^'));
    }
    db_params_init(&params, req->arena);
    db_param_text_array(&params, values, count);
    int rc = db_exec(conn, req, &statement, &params, &rows);
    if (rc < 0) {
        return rc;
    }
    *ret_count = (size_t)db_rows(rows);
    *ret_ids = ARENA_ARRAY(req->arena, int64_t, *ret_count);
    for (int row = 0; row < db_rows(rows); row++) {
        (*ret_ids)[row] = db_i64(rows, row, 0);
    }
    return 0;
}

static const char GIVEN[] =
    "INSERT INTO facility (name) VALUES ('Minato'), ('Kita');"
    "INSERT INTO node (name, facility, transactions) VALUES ('gateway-a', 1, '{*}'),"
    " ('gateway-b', 2, '{*}');"
    "INSERT INTO assigning_authority (oid) VALUES ('1.3.6.1.4.1.21367.2005.13.20.1000');"
    "INSERT INTO patient_identifier (authority, value, person, is_xad_pid) VALUES (1, 'A', 1, "
    "true),"
    " (1, 'B', 2, true), (1, 'M', 3, true);"
    "INSERT INTO code (scheme, code) VALUES ('1.2.392.200270.9', 'N');"
    "INSERT INTO access_role_confidentiality (role, code) SELECT 'node', id FROM code"
    " WHERE scheme = '1.2.392.200270.9' AND code = 'N';"
    "INSERT INTO enrolment (patient, is_enrolled, decided_by) VALUES (1, true, 'o'), (2, true, "
    "'o');"
    "INSERT INTO disclosure (is_permit, level, added_by) VALUES (true, 2, 'o');";

static int setup(void **state)
{
    (void)state;
    fixture = fixture_new(4);
    if (fixture == NULL) {
        return -1;
    }
    mover = registry_patient_mover(fixture->registry);
    fixture->patients.ids = read_ids;
    return fixture_run(fixture->pool, GIVEN);
}

static int teardown(void **state)
{
    (void)state;
    fixture_free(fixture);
    return 0;
}

/* ---- the answer of the present: an oracle of its own ---- */

static void append_row(StrBuf *answer, Str unique_id, int version, int16_t status)
{
    strbuf_printf(answer, "%.*s v%d %s\n", STR_ARG(unique_id), version,
                  status == 0 ? "Approved" : "Deprecated");
}

static int append_visible(Request *req, DbConn *conn, Str patient, StrBuf *answer)
{
    static const DbStatement statement = {
        "test_present",
        "SELECT unique_id, version, status, source_facility, class_code, confidentiality_code,"
        " coalesce(service_start_time, creation_time), patient FROM document_entry"
        " WHERE patient = ANY ($1::bigint[]) AND is_latest AND document_availability IS NULL"
        " ORDER BY unique_id COLLATE \"C\", version"};
    int64_t *ids;
    size_t count;
    DbParams params;
    DbResult *rows;
    int rc = read_ids(NULL, req, conn, &patient, 1, &ids, &count);
    db_params_init(&params, req->arena);
    db_param_i64_array(&params, ids, count);
    rc = rc < 0 ? rc : db_exec(conn, req, &statement, &params, &rows);
    for (int row = 0; rc == 0 && row < db_rows(rows); row++) {
        const AccessScope *scope;
        int32_t *codes = NULL;
        const size_t code_count = db_i32_array(rows, row, 5, req->arena, &codes);
        const AccessObject object = {.source_facility = db_i32(rows, row, 3),
                                     .class_code = db_i32(rows, row, 4),
                                     .confidentiality_count = code_count,
                                     .confidentiality_codes = codes,
                                     .status = db_i16(rows, row, 2),
                                     .effective_us = db_timestamp_or(rows, row, 6, INT64_MIN)};
        rc = access_open(req, db_i64(rows, row, 7), ACCESS_LIST, &scope);
        if (rc == 0 && access_decide(scope, &object)) {
            append_row(answer, db_text(rows, row, 0), db_i32(rows, row, 1), object.status);
        }
    }
    return rc;
}

static void copy_answer(const StrBuf *answer, char *ret_text)
{
    assert_true(answer->len < ANSWER_BYTES);
    memcpy(ret_text, answer->len > 0 ? answer->data : "", answer->len);
    ret_text[answer->len] = '\0';
}

static void present_answer(size_t asker, const char *patient, char *ret_text)
{
    Request *req = request_new(600000);
    Principal principal = askers[asker].principal;
    StrBuf answer = {0};
    DbConn *conn = NULL;
    principal.rules = fixture->pool;
    req->principal = &principal;
    assert_int_equal(db_acquire(fixture->pool, req, &conn), 0);
    assert_int_equal(append_visible(req, conn, str_from(patient), &answer), 0);
    db_release(conn);
    copy_answer(&answer, ret_text);
    strbuf_done(&answer);
    request_free(req);
}

/* ---- the answer of the past ---- */

static DbPool *past_pool(int64_t at_us)
{
    char conninfo[1024];
    snprintf(conninfo, sizeof(conninfo),
             "%s options='-c search_path=%s_past,pg_catalog,%s -c musubi.as_of=%lld"
             " -c enable_seqscan=off -c jit=off'",
             getenv("MUSUBI_TEST_CONNINFO"), fixture->schema, fixture->schema, (long long)at_us);
    return db_pool_new(conninfo, 2);
}

static int compare_rows(const void *a, const void *b)
{
    const PastDocument *one = a;
    const PastDocument *other = b;
    int order = str_compare(one->unique_id, other->unique_id);
    return order != 0 ? order : one->version - other->version;
}

static int ask_past(DbPool *past, Request *req, Principal *principal, int64_t at_us,
                    const char *patient, PastDocument **ret_documents, size_t *ret_count)
{
    static const Str statuses[] = {STR_INIT(APPROVED), STR_INIT(DEPRECATED)};
    const PastQuestion question = {.at_us = at_us,
                                   .patient = str_from(patient),
                                   .statuses = statuses,
                                   .status_count = ARRAY_LEN(statuses)};
    principal->rules = past;
    req->principal = principal;
    return registry_past_query(fixture->registry, past, req, &question, ret_documents, ret_count);
}

static void past_answer(DbPool *past, size_t asker, int64_t at_us, const char *patient,
                        char *ret_text)
{
    Request *req = request_new(600000);
    Principal principal = askers[asker].principal;
    PastDocument *documents = NULL;
    size_t count = 0;
    StrBuf answer = {0};
    if (ask_past(past, req, &principal, at_us, patient, &documents, &count) < 0) {
        fail_msg("%.*s (%s)", STR_ARG(req->errors.first->context), db_last_failure());
    }
    qsort(documents, count, sizeof(*documents), compare_rows);
    for (size_t i = 0; i < count; i++) {
        append_row(&answer, documents[i].unique_id, documents[i].version, documents[i].status);
    }
    copy_answer(&answer, ret_text);
    strbuf_done(&answer);
    request_free(req);
}

/* ---- changes ---- */

static uint32_t random_state = 20261121;

static uint32_t pick(uint32_t count)
{
    random_state = random_state * 1664525 + 1013904223;
    return (uint32_t)(((uint64_t)random_state * count) >> 32);
}

static int registered;

/** @param target  what it replaces or adds to; NULL: nothing */
static int register_one(const char *type, const char *target, const char *patient)
{
    char unique_id[32];
    char set[32];
    StrBuf more = {0};
    Request *req = request_new(600000);
    Principal sender = FIXTURE_NODE;
    snprintf(unique_id, sizeof(unique_id), "1.5.%d", ++registered);
    snprintf(set, sizeof(set), "1.1.%d", registered);
    if (target != NULL) {
        put_association(&more, type, "doc", target, NULL);
    } else {
        sender.facility_id = 1 + (int32_t)pick(2);
    }
    const SubmissionSpec spec = {.unique_id = set,
                                 .patient_id = patient,
                                 .title = "Discharge",
                                 .documents = {{"doc", unique_id, SHA1_A, 100, NULL}},
                                 .more = more.data};
    req->principal = &sender;
    int rc = fixture_register(fixture, req, &spec, NULL, NULL);
    strbuf_done(&more);
    request_free(req);
    return rc;
}

/** The entryUUID of some latest version of facility 1, Approved, of patient A; false: none. */
static bool some_document(char *ret_urn)
{
    static const DbStatement statement = {
        "test_some",
        "SELECT entry_uuid FROM document_entry WHERE is_latest AND status = 0"
        " AND source_facility = 1 AND patient = 1 ORDER BY hashtext(unique_id || $1::text)"
        " LIMIT 1"};
    Request *req = request_new(600000);
    DbConn *conn = NULL;
    DbParams params;
    DbResult *rows;
    char salt[16];
    snprintf(salt, sizeof(salt), "%u", pick(1000));
    db_params_init(&params, req->arena);
    db_param_text(&params, str_from(salt));
    assert_int_equal(db_acquire(fixture->pool, req, &conn), 0);
    assert_int_equal(db_exec(conn, req, &statement, &params, &rows), 0);
    bool is_found = db_rows(rows) > 0;
    if (is_found) {
        uuid_format_urn(db_uuid(rows, 0, 0), ret_urn);
        ret_urn[UUID_URN_LEN] = '\0';
    }
    db_release(conn);
    request_free(req);
    return is_found;
}

static int add_to(const char *type)
{
    char target[UUID_URN_LEN + 1];
    return some_document(target) ? register_one(type, target, PATIENT_A) : 0;
}

static int move_all(int64_t from, int64_t to)
{
    const PatientMove move = {.from_patient = from,
                              .to_patient = to,
                              .to_identifier = str_from(to == ID_A ? PATIENT_A : PATIENT_B),
                              .local_identifier = STR(SOURCE_PATIENT),
                              .source_id = STR(MANAGER)};
    Request *req = request_new(600000);
    DbConn *conn = NULL;
    Uuid set;
    size_t moved;
    int rc = db_acquire(fixture->pool, req, &conn);
    rc = rc < 0 ? rc : db_queue_begin(conn, req);
    rc = rc < 0 ? rc : db_sync(conn, req, NULL);
    rc = rc < 0 ? rc : mover.move(mover.ctx, req, conn, &move, &set, &moved);
    rc = rc < 0 ? rc : db_commit(conn, req, NULL);
    db_release(conn);
    request_free(req);
    return rc;
}

/* $ stands for some number: the same all through a statement. */
static const char SOME[] = "(SELECT entry_uuid FROM document_entry WHERE is_latest"
                           " ORDER BY hashtext(unique_id || '$') LIMIT 1)";
static const struct {
    const char *what;
    const char *sql; /* @ is SOME */
} changes[] = {
    {"deprecate", "UPDATE document_entry SET status = 1 WHERE entry_uuid = @"},
    {"approve", "UPDATE document_entry SET status = 0 WHERE entry_uuid = @"},
    {"offline", "UPDATE document_entry SET document_availability = 1 WHERE entry_uuid = @"},
    {"online", "UPDATE document_entry SET document_availability = NULL WHERE entry_uuid = @"},
    {"no change", "UPDATE document_entry SET status = status WHERE entry_uuid = @"},
    {"remove", "WITH gone AS MATERIALIZED (SELECT @ AS id), links AS (DELETE FROM association"
               " WHERE source_object = (SELECT id FROM gone) OR target_object = (SELECT id FROM"
               " gone)) DELETE FROM document_entry WHERE entry_uuid = (SELECT id FROM gone)"},
    {"remove with set",
     "CREATE TEMP TABLE gone ON COMMIT DROP AS SELECT source_object AS set, target_object AS id"
     " FROM association WHERE type = 0 AND source_kind = 1 AND target_object = @;"
     "DELETE FROM association WHERE target_object IN (SELECT id FROM gone)"
     " OR source_object IN (SELECT id FROM gone);"
     "DELETE FROM submission_set s WHERE entry_uuid IN (SELECT set FROM gone) AND NOT EXISTS"
     " (SELECT FROM association WHERE source_object = s.entry_uuid);"
     "DELETE FROM document_entry WHERE entry_uuid IN (SELECT id FROM gone)"},
    {"enroll", "INSERT INTO enrolment (patient, is_enrolled, decided_by) VALUES (1, true, 'o'),"
               " (2, true, 'o')"},
    {"enroll again", "INSERT INTO enrolment (patient, is_enrolled, decided_by) VALUES (1, true,"
                     " 'o')"},
    {"withdraw", "INSERT INTO enrolment (patient, is_enrolled, decided_by) VALUES (1, false, 'o')"},
    {"disclose", "INSERT INTO disclosure (source_facility, reader_facility, is_permit, level,"
                 " added_by) VALUES (1 + $ % 2, 2 - $ % 2, true, 2, 'o')"},
    {"disclose of A", "INSERT INTO disclosure (patient, is_permit, level, added_by)"
                      " VALUES (1, true, 1, 'o')"},
    {"deny", "INSERT INTO disclosure (patient, reader_facility, is_permit, level, added_by)"
             " VALUES (1, 2, false, 1, 'o')"},
    {"revoke", "UPDATE disclosure SET revoked_at = clock_timestamp(), revoked_by = 'o' WHERE id ="
               " (SELECT id FROM disclosure WHERE revoked_at IS NULL ORDER BY random() LIMIT 1)"},
    {"role none", "UPDATE access_role SET level = 0 WHERE name = 'node'"},
    {"role view", "UPDATE access_role SET level = 2 WHERE name = 'node'"},
    {"role view again", "UPDATE access_role SET level = 1 WHERE name = 'node'"},
    {"forbid", "DELETE FROM access_role_confidentiality WHERE role = 'node'"},
    {"permit", "INSERT INTO access_role_confidentiality (role, code) SELECT 'node', id FROM code"
               " WHERE code = 'N' ON CONFLICT DO NOTHING"},
    {"merge", "UPDATE patient_identifier SET survivor = 2, merged_at = now() WHERE id = 3"},
    {"merge into A", "UPDATE patient_identifier SET survivor = 1, merged_at = now() WHERE id = 3"},
    {"undo", "UPDATE patient_identifier SET survivor = NULL, merged_at = NULL WHERE id = 3"},
    {"of M", "UPDATE document_entry SET patient = 3 WHERE entry_uuid = @"},
};

static int run_change(const char *sql)
{
    StrBuf text = {0};
    uint32_t salt = pick(1000);
    for (const char *at = sql; *at; at++) {
        const char *some = *at == '@' ? SOME : NULL;
        for (const char *c = some; some && *c; c++) {
            if (*c == '$') {
                strbuf_printf(&text, "%u", salt);
            } else {
                strbuf_append_char(&text, *c);
            }
        }
        if (*at == '$') {
            strbuf_printf(&text, "%u", salt);
        } else if (!some) {
            strbuf_append_char(&text, *at);
        }
    }
    strbuf_append_char(&text, '\0');
    int rc = fixture_run(fixture->pool, text.data);
    strbuf_done(&text);
    return rc;
}

/** Everything that the rules above take away. */
static const char ALL_RIGHTS[] =
    "INSERT INTO enrolment (patient, is_enrolled, decided_by) VALUES (1, true, 'o'), (2, true, "
    "'o');"
    "UPDATE access_role SET level = 2 WHERE name = 'node';"
    "UPDATE disclosure SET revoked_at = clock_timestamp() WHERE NOT is_permit AND revoked_at IS "
    "NULL;"
    "INSERT INTO disclosure (is_permit, level, added_by) VALUES (true, 2, 'o');"
    "INSERT INTO access_role_confidentiality (role, code) SELECT 'node', id FROM code"
    " WHERE code = 'N' ON CONFLICT DO NOTHING";

/** Some change; objects change more often than rules do. */
static int change(const char **ret_what)
{
    static const char *const names[] = {"register A", "register B",  "replace",
                                        "add",        "move A to B", "move B to A"};
    uint32_t kind = pick(4 + 2 * ARRAY_LEN(changes) / 3 + ARRAY_LEN(changes));
    if (kind < ARRAY_LEN(changes)) {
        *ret_what = changes[kind].what;
        return run_change(changes[kind].sql);
    }
    kind = pick(ARRAY_LEN(names) + 3);
    kind = kind < ARRAY_LEN(names) ? kind : 0;
    *ret_what = names[kind];
    switch (kind) {
    case 0:
        return register_one(NULL, NULL, PATIENT_A);
    case 1:
        return register_one(NULL, NULL, PATIENT_B);
    case 2:
        return add_to(RPLC);
    case 3:
        return add_to(APND);
    case 4:
        return move_all(ID_A, ID_B);
    default:
        return move_all(ID_B, ID_A);
    }
}

static int64_t instant(void)
{
    return fixture_number(fixture,
                          "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint");
}

static void take_moment(Moment *moment, const char *what)
{
    snprintf(moment->what, sizeof(moment->what), "%s", what);
    for (size_t asker = 0; asker < ARRAY_LEN(askers); asker++) {
        for (size_t p = 0; p < ARRAY_LEN(patients); p++) {
            present_answer(asker, patients[p], moment->answers[asker][p]);
        }
    }
    moment->at_us = instant();
}

static void expect_same(const Moment *moment, size_t number)
{
    static char text[ANSWER_BYTES];
    DbPool *past = past_pool(moment->at_us);
    for (size_t asker = 0; asker < ARRAY_LEN(askers); asker++) {
        for (size_t p = 0; p < ARRAY_LEN(patients); p++) {
            past_answer(past, asker, moment->at_us, patients[p], text);
            if (strcmp(text, moment->answers[asker][p]) != 0) {
                fail_msg("step %zu (%s), %s about %s was told:\n%sand now it seems:\n%s", number,
                         moment->what, askers[asker].name, patients[p], moment->answers[asker][p],
                         text);
            }
        }
    }
    db_pool_free(past);
}

static void test_the_past_answers_as_it_did(void **state)
{
    (void)state;
    Moment *moments = calloc(STEPS, sizeof(*moments));
    size_t shown = 0;
    assert_non_null(moments);
    for (size_t i = 0; i < STEPS; i++) {
        const char *what;
        int rc = change(&what);
        if (i % 4 == 0) {
            rc = rc < 0 ? rc : run_change(ALL_RIGHTS);
        }
        if (rc < 0) {
            fail_msg("step %zu: %s: %s", i, what, db_last_failure());
        }
        take_moment(&moments[i], what);
        for (size_t asker = 1; asker < ARRAY_LEN(askers); asker++) {
            shown += moments[i].answers[asker][0][0] != '\0';
        }
    }
    if (shown < STEPS / 5) { /* of what nodes were told there is something to compare */
        fail_msg("nodes were shown something only %zu times", shown);
    }
    for (size_t i = 0; i < STEPS; i++) {
        expect_same(&moments[i], i);
    }
    free(moments);
}

/* ---- one document ---- */

static Uuid uuid_of(const char *urn)
{
    Uuid uuid;
    assert_true(uuid_parse_urn(str_from(urn), &uuid));
    return uuid;
}

static void read_history(Request *req, const char *name, History *ret_history)
{
    DbConn *conn = NULL;
    assert_int_equal(db_acquire(fixture->pool, req, &conn), 0);
    if (registry_history_read(conn, req, str_from(name), ret_history) < 0) {
        fail_msg("%s", db_last_failure());
    }
    db_release(conn);
}

#define OLD "urn:uuid:00000000-0000-4000-8000-000000000011"
#define NEW "urn:uuid:00000000-0000-4000-8000-000000000012"

static void given_replaced_document(void)
{
    static bool is_given;
    if (is_given) {
        return;
    }
    is_given = true;
    StrBuf more = {0};
    put_association(&more, RPLC, NEW, OLD, NULL);
    const SubmissionSpec specs[] = {{.unique_id = "2.1.1",
                                     .patient_id = PATIENT_A,
                                     .title = "Discharge",
                                     .documents = {{OLD, "2.5.1", SHA1_A, 100, NULL}}},
                                    {.unique_id = "2.1.2",
                                     .patient_id = PATIENT_A,
                                     .title = "Discharge",
                                     .documents = {{NEW, "2.5.2", SHA1_A, 100, NULL}},
                                     .more = more.data}};
    for (size_t i = 0; i < ARRAY_LEN(specs); i++) {
        Request *req = request_new(600000);
        assert_int_equal(fixture_register(fixture, req, &specs[i], NULL, NULL), 0);
        request_free(req);
    }
    strbuf_done(&more);
}

static void test_a_history_names_the_replacement_at_one_instant(void **state)
{
    (void)state;
    const char *const names[] = {"2.5.1", OLD, &OLD[sizeof("urn:uuid:") - 1]};
    given_replaced_document();
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        Request *req = request_new(600000);
        History history;
        read_history(req, names[i], &history);
        assert_int_equal(history.version_count, 1);
        assert_int_equal(history.change_count, 1);
        assert_int_equal(history.relation_count, 1);
        const HistoryChange *ended = &history.changes[0];
        assert_true(str_equal(history.versions[0].submission_set, STR("2.1.1")));
        assert_true(str_equal(ended->submission_set, STR("2.1.2")));
        assert_int_equal(ended->old_status, STATUS_APPROVED);
        assert_int_equal(ended->new_status, STATUS_DEPRECATED);
        assert_true(history.begin_us < history.versions[0].came_us);
        assert_true(history.versions[0].came_us < ended->at_us);
        assert_true(str_equal(history.relations[0].type, STR("RPLC")));
        assert_true(str_equal(history.relations[0].source_unique_id, STR("2.5.2")));
        assert_true(history.relations[0].came_us == ended->at_us);
        request_free(req);
    }
}

static void test_what_was_removed_is_still_told(void **state)
{
    (void)state;
    given_replaced_document();
    assert_int_equal(fixture_run(fixture->pool, "DELETE FROM association WHERE target_object ="
                                                " '00000000-0000-4000-8000-000000000011';"
                                                "DELETE FROM document_entry WHERE entry_uuid ="
                                                " '00000000-0000-4000-8000-000000000011'"),
                     0);
    Request *req = request_new(600000);
    History history;
    read_history(req, "2.5.1", &history);
    assert_int_equal(history.version_count, 1);
    assert_true(uuid_equal(history.versions[0].entry_uuid, uuid_of(OLD)));
    assert_true(history.versions[0].removed_us != INT64_MAX);
    assert_true(history.versions[0].came_us != INT64_MIN);
    assert_int_equal(history.versions[0].status, STATUS_DEPRECATED);
    assert_int_equal(history.change_count, 1);
    assert_true(history.relations[0].removed_us == history.versions[0].removed_us);
    assert_true(str_equal(history.relations[0].target_unique_id, STR("2.5.1")));
    read_history(req, "2.5.9", &history);
    assert_int_equal(history.version_count, 0);
    request_free(req);
}

#define AGAIN "00000000-0000-4000-8000-000000000021"

/** An entryUUID that comes again has a life for each time, with a beginning and an end. */
static void test_what_comes_again_began_when_it_came_then(void **state)
{
    (void)state;
    static const char *const names[][2] = {{"2.1.21", "2.5.21"}, {"2.1.22", "2.5.22"}};
    int64_t moments[ARRAY_LEN(names)];
    for (size_t life = 0; life < ARRAY_LEN(names); life++) {
        const SubmissionSpec spec = {
            .unique_id = names[life][0],
            .patient_id = PATIENT_B,
            .title = "Discharge",
            .documents = {{"urn:uuid:" AGAIN, names[life][1], SHA1_A, 100, NULL}}};
        Request *req = request_new(600000);
        assert_int_equal(fixture_register(fixture, req, &spec, NULL, NULL), 0);
        request_free(req);
        moments[life] = instant();
        assert_int_equal(fixture_run(fixture->pool,
                                     "DELETE FROM association WHERE target_object = '" AGAIN "';"
                                     "DELETE FROM document_entry WHERE entry_uuid = '" AGAIN "'"),
                         0);
    }
    for (size_t life = 0; life < ARRAY_LEN(names); life++) {
        Request *req = request_new(600000);
        Principal principal = askers[0].principal;
        PastDocument *documents;
        size_t count;
        size_t found = 0;
        DbPool *past = past_pool(moments[life]);
        assert_int_equal(
            ask_past(past, req, &principal, moments[life], PATIENT_B, &documents, &count), 0);
        for (size_t i = 0; i < count; i++) {
            if (uuid_equal(documents[i].entry_uuid, uuid_of("urn:uuid:" AGAIN))) {
                found++;
                assert_true(str_equal(documents[i].unique_id, str_from(names[life][1])));
                assert_true(documents[i].came_us <= moments[life]);
                assert_true(documents[i].removed_us > moments[life]);
            }
        }
        assert_int_equal(found, 1);
        db_pool_free(past);
        request_free(req);
    }
}

static void test_before_history_begins_nothing_is_claimed(void **state)
{
    (void)state;
    Request *req = request_new(600000);
    Principal principal = askers[0].principal;
    PastDocument *documents;
    size_t count;
    DbPool *past = past_pool(1000);
    assert_int_equal(ask_past(past, req, &principal, 1000, PATIENT_A, &documents, &count),
                     -ERR_CONFIGURATION);
    assert_int_equal(ask_past(past, req, &principal, 2000, PATIENT_A, &documents, &count),
                     -ERR_CONFIGURATION);
    db_pool_free(past);
    request_free(req);
}

/** Of one that decides by a pool of the present nothing is told of the past. */
static void test_a_pool_of_the_present_is_refused(void **state)
{
    (void)state;
    Request *req = request_new(600000);
    Principal principal = askers[0].principal;
    PastDocument *documents;
    size_t count;
    assert_int_equal(
        ask_past(fixture->pool, req, &principal, instant(), PATIENT_A, &documents, &count),
        -ERR_CONFIGURATION);
    request_free(req);
}

/** How long a script takes. */
static int64_t time_of(DbPool *pool, const char *script)
{
    int64_t began_ns = clock_now_ns();
    assert_int_equal(fixture_run(pool, script), 0);
    return clock_now_ns() - began_ns;
}

/** A session that changed one document changes those of a whole merge as fast as any: by a plan for
 * one row it would take more than fifty times as long. */
static void test_many_changes_behind_one_take_as_long_as_many(void **state)
{
    (void)state;
    given_replaced_document();
    DbPool *alone = db_pool_beside(fixture->pool, 1);
    DbPool *behind = db_pool_beside(fixture->pool, 1);
    assert_int_equal(
        fixture_run(alone,
                    "INSERT INTO document_entry SELECT r.* FROM document_entry d"
                    " CROSS JOIN generate_series(1, 20000) i CROSS JOIN LATERAL"
                    " jsonb_populate_record(d, jsonb_build_object('entry_uuid', gen_random_uuid(),"
                    " 'unique_id', '2.6.' || i, 'patient', 1000)) r WHERE d.unique_id = '2.5.2'"),
        0);
    int64_t alone_ns = time_of(alone, "UPDATE document_entry SET status = 1 WHERE patient = 1000");
    assert_int_equal(fixture_run(behind,
                                 "UPDATE document_entry SET status = 1 WHERE unique_id = '2.5.2';"
                                 "UPDATE document_entry SET status = 0 WHERE unique_id = '2.5.2'"),
                     0);
    int64_t behind_ns =
        time_of(behind, "UPDATE document_entry SET status = 0 WHERE patient = 1000");
    assert_true(behind_ns < 10 * alone_ns);
    assert_int_equal(
        fixture_run(behind,
                    "UPDATE document_entry SET metadata = metadata WHERE patient = 1000;"
                    "DO $$ BEGIN ASSERT (SELECT count(*) FROM object_change o JOIN document_entry d"
                    " USING (entry_uuid) WHERE d.patient = 1000) = 40000; END $$"),
        0);
    db_pool_free(behind);
    db_pool_free(alone);
}

int main(void)
{
    if (!getenv("MUSUBI_TEST_CONNINFO")) {
        return 77;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_past_answers_as_it_did),
        cmocka_unit_test(test_a_history_names_the_replacement_at_one_instant),
        cmocka_unit_test(test_what_was_removed_is_still_told),
        cmocka_unit_test(test_what_comes_again_began_when_it_came_then),
        cmocka_unit_test(test_before_history_begins_nothing_is_claimed),
        cmocka_unit_test(test_a_pool_of_the_present_is_refused),
        cmocka_unit_test(test_many_changes_behind_one_take_as_long_as_many),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
