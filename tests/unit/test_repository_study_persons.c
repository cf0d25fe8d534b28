#include "pix/authorities.h"

#include "tests/unit/imaging_fixture.h"

/* One hospital: domain 5, of its PACS, derives from 6, of its EMR, by the rule of each case. Person
 * 9 is P9, and 1001 in the EMR. */
static const char patients[] =
    "INSERT INTO assigning_authority (oid, namespace, is_configured, facility, kind) VALUES "
    "('1.2.3.5', 'PACS', true, 1, 'pacs'), ('1.2.3.6', 'EMR', true, 1, 'emr');"
    "INSERT INTO patient_identifier (authority, value, person, is_xad_pid) VALUES "
    "(1, 'P9', 9, true), (6, '1001', 9, false);";

static int set_up(void **state)
{
    int rc = images_set_up(state);
    Images *images = *state;
    service_run(images->service->pool, patients);
    return rc;
}

/* A study of the PACS with this number, and how many of the studies that name person 9 it is. */
static const DbStatement select_person = {
    "test_study_person",
    "WITH imaging_study AS (SELECT 5 authority, $1::text COLLATE \"C\" patient_number) "
    "SELECT coalesce(i.person, 0), coalesce(x.id, 0) <> 0, "
    "(SELECT count(*) FROM " STUDIES_NAMING(
        "9::bigint") ") FROM imaging_study s" STUDY_PERSON_JOINS,
};

static const DbStatement select_numbers = {
    "test_study_numbers",
    "SELECT coalesce(" DERIVED_NUMBER("$1::text", "$2::text") ", ''), coalesce(" ORIGINAL_NUMBERS(
        "$1::text", "$2::text") ", '{}')",
};

static DbResult *select_of(const Images *images, Request *req, const DbStatement *statement,
                           const char *const *texts, size_t count)
{
    DbConn *conn = NULL;
    DbParams params;
    DbResult *rows = NULL;
    db_params_init(&params, req->arena);
    for (size_t i = 0; i < count; i++) {
        db_param_text(&params, str_from(texts[i]));
    }
    if (db_acquire(images->service->pool, req, &conn) < 0 ||
        db_exec(conn, req, statement, &params, &rows) < 0) {
        fail_msg("%s", db_last_failure());
    }
    db_release(conn);
    return rows;
}

/** Whose a study of the PACS is; 0: nobody's. */
static int64_t person_of(const Images *images, const char *number)
{
    Request *req = request_new(600000);
    const DbResult *rows = select_of(images, req, &select_person, &number, 1);
    int64_t person = db_i64(rows, 0, 0);
    if (person == 9) { /* and who asks by the person finds it */
        assert_true(db_bool(rows, 0, 1));
        assert_int_equal(db_i64(rows, 0, 2), 1);
    }
    request_free(req);
    return person;
}

static void derive(const Images *images, const char *rule)
{
    char sql[200];
    (void)snprintf(sql, sizeof(sql),
                   "UPDATE assigning_authority SET derive_from = 6, derive_rule = '%s' "
                   "WHERE id = 5;",
                   rule);
    service_run(images->service->pool, sql);
}

/* The PACS of a hospital has no feed, and writes the numbers of its EMR in its own way. */
static void test_a_derived_number_is_of_the_person_whose_number_it_derives_from(void **state)
{
    static const struct {
        const char *rule;
        const char *number;
        bool is_known;
    } cases[] = {
        {"", "0000001001", false},       {"pad=10", "0000001001", true},
        {"pad=10", "1001", false},       {"pad=4", "1001", true},
        {"pad=10", "", false},           {"strip-zeros", "1001", true},
        {"strip-zeros", "01001", false}, {"strip-zeros", "", false},
        {"prefix=PX", "PX1001", true},   {"prefix=PX", "1001", false},
        {"prefix=PX", "PX", false},      {"prefix=%_", "PX1001", false},
        {"prefix=%_", "%_1001", true},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        derive(*state, cases[i].rule);
        if (person_of(*state, cases[i].number) != (cases[i].is_known ? 9 : 0)) {
            fail_msg("%s by %s", cases[i].number, cases[i].rule);
        }
    }
}

/* ITI TF-2 3.9.4.2.2: as the PIX manager tells. */
static void test_whom_the_domain_itself_knows_goes_before_what_derives(void **state)
{
    const Images *images = *state;
    derive(images, "pad=10");
    service_run(images->service->pool,
                "INSERT INTO patient_identifier (authority, value, person, is_xad_pid) "
                "VALUES (5, '0000001001', 1, false), (6, '2002', 2, false)");
    assert_int_equal(person_of(images, "0000001001"), 1);
    assert_int_equal(person_of(images, "0000002002"), 2);
    service_run(images->service->pool,
                "INSERT INTO patient_identifier (authority, value, person, is_xad_pid) "
                "VALUES (5, '0000003003', 2, false)");
    assert_int_equal(person_of(images, "0000002002"), 0);
}

static void test_a_number_that_may_derive_from_two_is_nobodys(void **state)
{
    const Images *images = *state;
    derive(images, "pad=10");
    service_run(images->service->pool,
                "INSERT INTO patient_identifier (authority, value, person, is_xad_pid) "
                "VALUES (6, '01001', 2, false)");
    assert_int_equal(person_of(images, "0000001001"), 0);
    service_run(images->service->pool,
                "UPDATE patient_identifier SET survivor = (SELECT id FROM patient_identifier "
                "WHERE value = '1001'), merged_at = now(), person = 9 WHERE value = '01001'");
    assert_int_equal(person_of(images, "0000001001"), 9);
}

static void compare(const Images *images, const char *rule, const char *number)
{
    Request *req = request_new(600000);
    AssigningAuthority authority = {0};
    Str *expected = NULL;
    Str *found;
    assert_true(authority_read_derive_rule(str_from(rule), &authority));
    const DbResult *rows =
        select_of(images, req, &select_numbers, (const char *[]){rule, number}, 2);
    Str derived = authority_derive(req->arena, &authority, str_from(number));
    size_t count = authority_underive(req->arena, &authority, str_from(number), &expected);
    bool is_same = db_text_array(rows, 0, 1, req->arena, &found) == count &&
                   (number[0] == '\0' || str_equal(db_text(rows, 0, 0), derived));
    for (size_t i = 0; i < count && is_same; i++) {
        bool is_there = false;
        for (size_t k = 0; k < count && !is_there; k++) {
            is_there = str_equal(found[k], expected[i]);
        }
        is_same = is_there;
    }
    if (!is_same) {
        fail_msg("%s by %s", number, rule);
    }
    request_free(req);
}

static void test_rules_are_those_of_the_pix_manager(void **state)
{
    static const char *const rules[] = {
        "pad=1", "pad=10", "pad=20", "strip-zeros", "prefix=P", "prefix=0", "prefix=\xe7\x97\x85"};
    static const char *const numbers[] = {
        "",
        "0",
        "00",
        "7",
        "0007",
        "1001",
        "0000001001",
        "0000000000",
        "P",
        "P1",
        "PP0",
        "0P1",
        "病",
        "病1",
        "0000000病",
        "12345678901234567890",
        "00000000000000000001",
        "123456789012345678901",
    };
    for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
        for (size_t k = 0; k < ARRAY_LEN(numbers); k++) {
            compare(*state, rules[i], numbers[k]);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            test_a_derived_number_is_of_the_person_whose_number_it_derives_from, set_up,
            images_tear_down),
        cmocka_unit_test_setup_teardown(test_whom_the_domain_itself_knows_goes_before_what_derives,
                                        set_up, images_tear_down),
        cmocka_unit_test_setup_teardown(test_a_number_that_may_derive_from_two_is_nobodys, set_up,
                                        images_tear_down),
        cmocka_unit_test_setup_teardown(test_rules_are_those_of_the_pix_manager, set_up,
                                        images_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
