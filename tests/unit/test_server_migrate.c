#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "server/database/migrate.h"

/* Needs a PostgreSQL whose conninfo is in MUSUBI_TEST_CONNINFO; works in a schema of its own. */

static const char *conninfo;

typedef struct Fixture {
    DbPool *pool;
    Request *req;
    DbConn *conn;
} Fixture;

static void run(Fixture *fixture, const char *sql)
{
    if (db_run_script(fixture->conn, fixture->req, sql) < 0) {
        fail_msg("%s", db_last_failure());
    }
}

static int setup(void **state)
{
    Fixture *fixture = calloc(1, sizeof(*fixture));
    char text[512];

    snprintf(text, sizeof(text),
             "%s options='-c search_path=test_migrate -c client_min_messages=error'", conninfo);
    fixture->pool = db_pool_new(text, 1);
    fixture->req = request_new(600000);
    if (db_acquire(fixture->pool, fixture->req, &fixture->conn) < 0) {
        return -1;
    }
    run(fixture, "DROP SCHEMA IF EXISTS test_migrate CASCADE; CREATE SCHEMA test_migrate");
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    Fixture *fixture = *state;
    run(fixture, "DROP SCHEMA test_migrate CASCADE");
    db_release(fixture->conn);
    request_free(fixture->req);
    db_pool_free(fixture->pool);
    free(fixture);
    return 0;
}

static SchemaState check(Fixture *fixture, Str *ret_text)
{
    SchemaState state = SCHEMA_UNKNOWN;
    assert_int_equal(migrate_check(fixture->conn, fixture->req, &state, ret_text), 0);
    return state;
}

static unsigned apply(Fixture *fixture)
{
    unsigned applied = 0;
    assert_int_equal(migrate_apply(fixture->conn, fixture->req, NULL, &applied), 0);
    return applied;
}

static void test_an_empty_database_gets_every_migration_once(void **state)
{
    Fixture *fixture = *state;
    Str text;

    assert_int_equal(check(fixture, &text), SCHEMA_EMPTY);
    assert_int_equal(apply(fixture), migration_count);
    assert_int_equal(check(fixture, &text), SCHEMA_CURRENT);
    assert_int_equal(apply(fixture), 0);
}

static void test_an_older_schema_is_refused_with_both_versions_and_the_command(void **state)
{
    Fixture *fixture = *state;
    Str text;

    apply(fixture);
    run(fixture,
        "DELETE FROM schema_version WHERE number = (SELECT max(number) FROM schema_version)");
    assert_int_equal(check(fixture, &text), SCHEMA_OLDER);
    assert_true(
        str_contains(text, str_printf(fixture->req->arena, "version %zu,", migration_count - 1)));
    assert_true(str_contains(text, str_printf(fixture->req->arena, "needs %zu", migration_count)));
    assert_true(str_contains(text, STR("musubi migrate")));
}

static void test_a_newer_or_changed_schema_is_refused_and_left_alone(void **state)
{
    static const char *const changes[] = {
        "INSERT INTO schema_version SELECT max(number) + 1, 'later', now(), '' FROM schema_version",
        "UPDATE schema_version SET checksum = 'x' WHERE number = 2",
    };
    Fixture *fixture = *state;
    Str text;
    unsigned applied = 0;

    apply(fixture);
    for (size_t i = 0; i < ARRAY_LEN(changes); i++) {
        run(fixture, changes[i]);
        assert_int_equal(check(fixture, &text), SCHEMA_UNKNOWN);
        assert_int_equal(migrate_apply(fixture->conn, fixture->req, NULL, &applied), -ERR_DATABASE);
        assert_int_equal(db_rollback(fixture->conn, fixture->req), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_an_empty_database_gets_every_migration_once, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            test_an_older_schema_is_refused_with_both_versions_and_the_command, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_newer_or_changed_schema_is_refused_and_left_alone,
                                        setup, teardown),
    };

    conninfo = getenv("MUSUBI_TEST_CONNINFO");
    if (!conninfo) {
        print_message("skipped: MUSUBI_TEST_CONNINFO does not name a PostgreSQL to test against\n");
        return 77; /* meson counts this as a skip */
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
