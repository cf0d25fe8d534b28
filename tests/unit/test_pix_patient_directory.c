#include "pix/pix_state.h"

#include "tests/unit/pix_fixture.h"

/* What a registry learns about the patients that a submission names (TF-2 3.42.4.1.3.3.2). */

#define HOSPITAL "1.2.392.99999.1"
#define UNCONFIGURED "1.2.392.99999.2"

/** Persons 1 and 2 with a number of the hospital each. */
static int set_up(void **state)
{
    if (fixture_set_up(state) != 0) {
        return -1;
    }
    Fixture *fixture = *state;
    fixture_run_script(
        fixture->pool,
        "INSERT INTO assigning_authority (oid, namespace, is_configured) VALUES ('" HOSPITAL
        "', 'HOSPITAL', true), ('" UNCONFIGURED "', '', false);"
        "INSERT INTO patient_identifier (authority, value, person, is_xad_pid)"
        " SELECT a.id, v.value, v.person, v.is_xad_pid FROM assigning_authority a,"
        " (VALUES ('" FIXTURE_OID "', 'X1', 1, true), ('" FIXTURE_OID "', 'X2', 2, true),"
        " ('" HOSPITAL "', '100', 1, false), ('" HOSPITAL "', '200', 2, false),"
        " ('" UNCONFIGURED "', '100', 2, false)) v (oid, value, person, is_xad_pid)"
        " WHERE a.oid = v.oid");
    Request *req = request_new(600000);
    assert_int_equal(authority_directory_refresh(fixture->pix->authorities, req), 0);
    request_free(req);
    return 0;
}

static void test_a_number_of_a_hospital_names_its_patient(void **state)
{
    Fixture *fixture = *state;
    static const struct {
        Str source_patient_id;
        const char *xad_pid; /* NULL: not known here */
    } cases[] = {
        {STR_INIT("100^^^&" HOSPITAL "&ISO"), "X1"},
        {STR_INIT("200^^^&" HOSPITAL "&ISO"), "X2"},
        {STR_INIT("300^^^&" HOSPITAL "&ISO"), NULL},
        {STR_INIT("100^^^&" UNCONFIGURED "&ISO"), NULL},
        {STR_INIT("X2^^^&" FIXTURE_OID "&ISO"), NULL},
        {STR_INIT("nonsense"), NULL},
    };
    const Str patient = STR("X1^^^&" FIXTURE_OID "&ISO");
    Str sources[ARRAY_LEN(cases)];
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        sources[i] = cases[i].source_patient_id;
    }
    const PatientQuestion question = {.patient_ids = &patient,
                                      .count = 1,
                                      .source_patient_ids = sources,
                                      .source_count = ARRAY_LEN(sources)};
    const PatientDirectory directory = pix_patient_directory(fixture->pix);
    Request *req = request_new(600000);
    DbConn *conn = NULL;
    DbResult *results[PATIENT_LOCK_STATEMENTS_MAX];
    size_t statements;
    Patient found;
    int64_t owners[ARRAY_LEN(cases)];
    assert_int_equal(db_acquire(fixture->pool, req, &conn), 0);
    assert_int_equal(db_queue_begin(conn, req), 0);
    assert_int_equal(directory.queue_lock(directory.ctx, req, conn, &question, &statements), 0);
    assert_int_equal(db_sync(conn, req, results), 0);
    directory.locked(directory.ctx, req, results[statements - 1], &question, &found, owners);
    assert_true(found.is_active);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char sql[128];
        char name[32];
        snprintf(sql, sizeof(sql),
                 "SELECT coalesce(max(id), 0) FROM patient_identifier WHERE"
                 " value = '%s'",
                 cases[i].xad_pid ? cases[i].xad_pid : "");
        snprintf(name, sizeof(name), "xad_pid_%zu", i);
        if (owners[i] != fixture_number(fixture, name, sql)) {
            fail_msg("case %zu: owner %lld", i, (long long)owners[i]);
        }
    }
    assert_int_equal(db_commit(conn, req, NULL), 0);
    db_release(conn);
    request_free(req);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_number_of_a_hospital_names_its_patient, set_up,
                                        fixture_tear_down),
    };
    if (getenv("MUSUBI_TEST_CONNINFO") == NULL) {
        puts("skipped: MUSUBI_TEST_CONNINFO names no PostgreSQL");
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
