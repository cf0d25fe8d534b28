#pragma once

/* What the tests of pix/ share: a schema of their own in the PostgreSQL that MUSUBI_TEST_CONNINFO
 * names, an open node directory and a local audit spool. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "pix/pix.h"

#define FIXTURE_OID "1.3.6.1.4.1.21367.2005.13.20.1000"
#define FIXTURE_NAMESPACE "RHIN"

typedef struct Fixture {
    char directory[64];
    char conninfo[512];
    DbPool *pool;
    Audit *audit;
    NodeDirectory *nodes;
    Pix *pix;
} Fixture;

static const Principal fixture_everybody = {.may_do_everything = true};

/** Of a sender who may see and do everything. */
static inline Request *fixture_request(unsigned timeout_ms)
{
    Request *req = request_new(timeout_ms);
    req->principal = &fixture_everybody;
    return req;
}

static inline DbResult *fixture_query(DbPool *pool, Request *req, const char *name, const char *sql)
{
    _cleanup_(db_releasep) DbConn *conn = NULL;
    DbParams params;
    DbResult *result = NULL;
    const DbStatement statement = {name, sql};
    assert_int_equal(db_acquire(pool, req, &conn), 0);
    db_params_init(&params, req->arena);
    if (db_exec(conn, req, &statement, &params, &result) < 0) {
        fail_msg("%s: %s", sql, db_last_failure());
    }
    return result;
}

/** A number out of the database; each statement has its own name. */
static inline int64_t fixture_number(Fixture *fixture, const char *name, const char *sql)
{
    Request *req = request_new(600000);
    int64_t number = db_i64(fixture_query(fixture->pool, req, name, sql), 0, 0);
    request_free(req);
    return number;
}

static inline void fixture_run_script(DbPool *pool, const char *sql)
{
    Request *req = request_new(600000);
    DbConn *conn = NULL;
    assert_int_equal(db_acquire(pool, req, &conn), 0);
    if (db_run_script(conn, req, sql) < 0) {
        fail_msg("%s", db_last_failure());
    }
    db_release(conn);
    request_free(req);
}

static inline void fixture_migrate(DbPool *pool, const char *name)
{
    char path[512];
    static char sql[65536];
    snprintf(path, sizeof(path), "%s/migrations/%s", getenv("MUSUBI_SOURCE"), name);
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    sql[fread(sql, 1, sizeof(sql) - 1, file)] = '\0';
    fclose(file);
    fixture_run_script(pool, sql);
}

static inline int fixture_set_up(void **state)
{
    Fixture *fixture = calloc(1, sizeof(*fixture));
    char schema[64];
    char problem[256] = "";
    strcpy(fixture->directory, "/tmp/musubi-pix-XXXXXX");
    assert_non_null(mkdtemp(fixture->directory));
    snprintf(schema, sizeof(schema), "test_pix_%d", (int)getpid());
    snprintf(fixture->conninfo, sizeof(fixture->conninfo), "%s options='-csearch_path=%s'",
             getenv("MUSUBI_TEST_CONNINFO"), schema);
    fixture->pool = db_pool_new(fixture->conninfo, 8);
    char script[256];
    snprintf(script, sizeof(script),
             "SET client_min_messages = warning; DROP SCHEMA IF EXISTS %s CASCADE; "
             "CREATE SCHEMA %s",
             schema, schema);
    fixture_run_script(fixture->pool, script);
    static const char *const migrations[] = {
        "0001_identity.sql",          "0002_registry.sql",         "0003_repository.sql",
        "0004_operation.sql",         "0005_identity_manager.sql", "0006_access.sql",
        "0009_node_certificates.sql", "0016_node_endpoints.sql"};
    for (size_t i = 0; i < ARRAY_LEN(migrations); i++) {
        fixture_migrate(fixture->pool, migrations[i]);
    }
    /* without a pool the outbox is not drained, so that tests can count what is in it */
    const AuditConfig audit = {.directory = fixture->directory,
                               .repository = "local",
                               .source_id = "test",
                               .host_name = "localhost"};
    fixture->audit = audit_new(&audit, NULL, problem, sizeof(problem));
    if (!fixture->audit) {
        fail_msg("audit_new: %s", problem);
    }
    fixture->nodes = node_directory_new(fixture->pool, ACCESS_OPEN);
    const PixConfig config = {.pool = fixture->pool,
                              .audit = fixture->audit,
                              .nodes = fixture->nodes,
                              .patient_id_authority = FIXTURE_OID,
                              .patient_id_namespace = FIXTURE_NAMESPACE,
                              .takes_any_source = true,
                              .manager_oid = FIXTURE_OID};
    fixture->pix = pix_new(&config, problem, sizeof(problem));
    if (!fixture->pix) {
        fail_msg("pix_new: %s", problem);
    }
    *state = fixture;
    return 0;
}

static inline int fixture_tear_down(void **state)
{
    Fixture *fixture = *state;
    char command[128];
    snprintf(command, sizeof(command), "DROP SCHEMA test_pix_%d CASCADE", (int)getpid());
    pix_free(fixture->pix);
    node_directory_free(fixture->nodes);
    audit_free(fixture->audit);
    fixture_run_script(fixture->pool, command);
    db_pool_free(fixture->pool);
    snprintf(command, sizeof(command), "rm -rf '%s'", fixture->directory);
    int rc = system(command);
    free(fixture);
    return rc;
}
