#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "lib/access/nodes.h"

/* Decisions need nothing; the node directory needs a PostgreSQL whose conninfo is in
 * MUSUBI_TEST_CONNINFO. */

static const char *conninfo;

static bool decide(const Principal *principal, AccessPurpose purpose, int32_t source_facility)
{
    Request *req = request_new(600000);
    const AccessObject object = {.source_facility = source_facility};

    req->principal = principal;
    const AccessScope *scope;
    assert_int_equal(access_open(req, 1, purpose, &scope), 0);
    bool verdict = access_decide(scope, &object);
    request_free(req);
    return verdict;
}

static void test_nobody_is_denied_everything(void **state)
{
    const Principal unregistered = {0};

    for (int purpose = ACCESS_LIST; purpose <= ACCESS_CHANGE; purpose++) {
        assert_false(decide(NULL, (AccessPurpose)purpose, 1));
        assert_false(decide(&unregistered, (AccessPurpose)purpose, 1));
    }
    assert_false(access_may_use(NULL, "ITI-18"));
    assert_false(access_may_use(&unregistered, "ITI-18"));
    (void)state;
}

static void test_a_node_changes_only_what_it_submits_for(void **state)
{
    const int32_t others[] = {9};
    const Principal node = {.node_id = 1,
                            .facility_id = 7,
                            .facilities = others,
                            .facility_count = 1,
                            .may_submit = true};
    const Principal silent = {.node_id = 1, .facility_id = 7};

    assert_true(decide(&node, ACCESS_CHANGE, 9));
    assert_false(decide(&silent, ACCESS_CHANGE, 7));
    assert_false(decide(&silent, ACCESS_SUBMIT, 7));
    assert_true(decide(&node, ACCESS_CHANGE, 7));
    assert_false(decide(&node, ACCESS_CHANGE, 8));
    assert_false(decide(&node, ACCESS_CHANGE, 0));
    (void)state;
}

static void test_only_named_transactions_may_be_used(void **state)
{
    const Principal node = {.node_id = 1, .transactions = access_transaction_bit("ITI-18")};

    assert_true(access_may_use(&node, "ITI-18"));
    assert_false(access_may_use(&node, "ITI-42"));
    assert_false(access_may_use(&node, "ITI-1"));
    assert_true(access_transaction_bit("ITI-1") == 0);
    (void)state;
}

/* The tables of migrations/0004_operation.sql that the directory reads, in a schema of their own.
 */
static const char *const tables =
    "DROP SCHEMA IF EXISTS test_access CASCADE; CREATE SCHEMA test_access; SET search_path = "
    "test_access;"
    "CREATE TABLE facility (id integer, name text);"
    "CREATE TABLE node (id integer, name text, facility integer, transactions text[], sources "
    "text[], "
    "source_ids text[], is_operator boolean, revoked_at timestamptz, roles text[] DEFAULT '{}', "
    "may_submit boolean DEFAULT true, facilities integer[] DEFAULT '{}');"
    "CREATE TABLE node_certificate (fingerprint text, node integer, not_after timestamptz, "
    "revoked_at timestamptz);"
    "CREATE TABLE node_endpoint (node integer, url text, fingerprint text);"
    "INSERT INTO node_endpoint VALUES (1, 'https://a.example/async', 'ee'), (1, "
    "'https://a.example/async/deep', ''), (2, 'https://b.example', ''), (3, 'https://c.example', "
    "'');"
    "INSERT INTO facility VALUES (7, 'Hospital A');"
    "INSERT INTO node VALUES (1, 'gateway-a', 7, '{ITI-41,ITI-8}', '{HIS|A,*|B}', '{}', false, "
    "NULL),"
    "(2, 'viewer', 7, '{*}', '{}', '{1.2.3}', true, NULL), (3, 'gone', 7, '{*}', '{}', '{}', "
    "false, now());"
    "INSERT INTO node_certificate VALUES ('aa', 1, '2030-01-01Z', NULL), "
    "('bb', 2, 'infinity', NULL), ('cc', 3, 'infinity', NULL), ('a2', 1, '2031-01-01Z', NULL), "
    "('a3', 1, 'infinity', now())";

static void run(DbPool *pool, Request *req, const char *sql)
{
    _cleanup_(db_releasep) DbConn *conn = NULL;
    if (db_acquire(pool, req, &conn) < 0 || db_run_script(conn, req, sql) < 0) {
        fail_msg("%s", db_last_failure());
    }
}

/** The directory has read the tables. */
static void check_endpoints(NodeDirectory *directory, Arena *arena)
{
    static const struct {
        int32_t node;
        const char *url;
        const char *fingerprint; /* NULL: nothing is sent there */
    } rows[] = {
        {1, "https://a.example/async", "ee"},
        {1, "https://a.example/async/x", "ee"},
        {1, "https://a.example/async/deep/x", ""},
        {1, "https://a.example/asynchronous", NULL},
        {1, "https://b.example/", NULL},
        {2, "https://b.example/", ""},
        {3, "https://c.example", NULL}, /* revoked */
        {0, "https://a.example/async", NULL},
        {1, "https://127.0.0.1/", NULL},
        {1, "http://a.example/async", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        Str fingerprint = STR_EMPTY;
        Str problem = STR_EMPTY;
        bool may = node_directory_may_send_to(directory, arena, rows[i].node, str_from(rows[i].url),
                                              &fingerprint, &problem);
        if (may != (rows[i].fingerprint != NULL) ||
            (may && !str_equal(fingerprint, str_from(rows[i].fingerprint))) ||
            (!may && str_find(problem, str_from(rows[i].url)) == SIZE_MAX)) {
            fail_msg("row %zu: %s: %s", i, rows[i].url, str_cstr(arena, problem));
        }
    }
}

static void test_the_directory_follows_the_tables(void **state)
{
    char text[512];
    snprintf(text, sizeof(text), "%s options='-c search_path=test_access'", conninfo);
    DbPool *pool = db_pool_new(text, 1);
    Request *req = request_new(600000);
    NodeDirectory *directory = node_directory_new(pool, ACCESS_ENFORCE);
    const Str subject = STR("CN=gateway-a");

    run(pool, req, tables);
    assert_null(
        node_directory_find(directory, req->arena, STR("aa"), subject)); /* nothing read yet */
    assert_int_equal(node_directory_refresh(directory, req), 0);

    const Principal *gateway = node_directory_find(directory, req->arena, STR("aa"), subject);
    assert_non_null(gateway);
    assert_true(str_equal(gateway->node_name, STR("gateway-a")));
    assert_int_equal(gateway->facility_id, 7);
    assert_true(str_equal(gateway->certificate_subject, subject));
    assert_true(access_may_use(gateway, "ITI-41"));
    assert_false(access_may_use(gateway, "ITI-18"));
    assert_true(node_directory_may_send_as(directory, gateway, STR("HIS"), STR("A")));
    assert_true(node_directory_may_send_as(directory, gateway, STR("any"), STR("B")));
    assert_false(node_directory_may_send_as(directory, gateway, STR("HIS"), STR("C")));
    assert_true(node_directory_may_submit_as(directory, gateway, STR("9.9")));

    const Principal *viewer = node_directory_find_name(directory, req->arena, STR("viewer"));
    assert_true(viewer->is_operator);
    assert_true(access_may_use(viewer, "ITI-18"));
    assert_false(access_may_use(viewer, "ITI-81")); /* what others did: never by "*" */
    assert_true(node_directory_may_submit_as(directory, viewer, STR("1.2.3")));
    assert_false(node_directory_may_submit_as(directory, viewer, STR("9.9")));

    assert_null(node_directory_find(directory, req->arena, STR("cc"), subject)); /* revoked */
    assert_null(node_directory_find(directory, req->arena, STR("dd"), subject));
    assert_non_null(node_directory_find(directory, req->arena, STR("a2"), subject));
    assert_null(node_directory_find(directory, req->arena, STR("a3"), subject)); /* revoked */
    NodeCertificate *certificates;
    assert_int_equal(node_directory_certificates(directory, req->arena, &certificates), 3);
    assert_true(str_equal(certificates[1].node_name, STR("gateway-a")));
    assert_int_equal(certificates[1].not_after_us, 1893456000000000);
    assert_int_equal(certificates[2].not_after_us, INT64_MAX);
    assert_null(node_directory_find(directory, req->arena, STR_EMPTY, STR_EMPTY));
    assert_null(node_directory_find_name(directory, req->arena, STR("gone")));

    check_endpoints(directory, req->arena);

    run(pool, req, "UPDATE test_access.node SET revoked_at = now() WHERE id = 1");
    assert_int_equal(node_directory_refresh(directory, req), 0);
    Str unused;
    assert_false(node_directory_may_send_to(directory, req->arena, 1,
                                            STR("https://a.example/async"), &unused, &unused));
    assert_null(node_directory_find(directory, req->arena, STR("aa"), subject));

    run(pool, req, "DROP SCHEMA test_access CASCADE");
    node_directory_free(directory);
    request_free(req);
    db_pool_free(pool);
    (void)state;
}

static void test_in_mode_open_everybody_may_do_everything(void **state)
{
    NodeDirectory *directory = node_directory_new(NULL, ACCESS_OPEN);
    Request *req = request_new(600000);

    const Principal *plain = node_directory_find(directory, req->arena, STR_EMPTY, STR_EMPTY);
    const Principal *stranger = node_directory_find(directory, req->arena, STR("ff"), STR("CN=x"));
    assert_true(str_equal(plain->node_name, STR("anonymous")));
    assert_true(access_may_use(stranger, "ITI-42"));
    assert_true(decide(stranger, ACCESS_CHANGE, 3));
    assert_true(node_directory_may_send_as(directory, plain, STR("X"), STR("Y")));
    Str unused;
    assert_true(node_directory_may_send_to(directory, req->arena, 0, STR("http://127.0.0.1:81/a"),
                                           &unused, &unused));
    assert_false(node_directory_may_send_to(directory, req->arena, 0, STR("https://a.example/"),
                                            &unused, &unused));
    request_free(req);
    node_directory_free(directory);
    (void)state;
}

int main(void)
{
    const struct CMUnitTest pure[] = {
        cmocka_unit_test(test_nobody_is_denied_everything),
        cmocka_unit_test(test_a_node_changes_only_what_it_submits_for),
        cmocka_unit_test(test_only_named_transactions_may_be_used),
        cmocka_unit_test(test_in_mode_open_everybody_may_do_everything),
    };
    const struct CMUnitTest stored[] = {
        cmocka_unit_test(test_the_directory_follows_the_tables),
    };

    conninfo = getenv("MUSUBI_TEST_CONNINFO");
    int failed = cmocka_run_group_tests(pure, NULL, NULL);
    if (!conninfo) {
        print_message("skipped: MUSUBI_TEST_CONNINFO does not name a PostgreSQL to test against\n");
        return failed;
    }
    return failed + cmocka_run_group_tests(stored, NULL, NULL);
}
