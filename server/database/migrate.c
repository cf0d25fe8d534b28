#include "server/database/migrate.h"

#include "lib/base/fail.h"

/** Commands that alter the schema wait for each other on this lock: "musubi" as a number. */
#define MIGRATION_LOCK "120355829768553"

typedef struct Applied {
    int count;
    DbResult *rows; /* number, name, checksum */
} Applied;

static const DbStatement has_version_table = {
    "migrate_has_table",
    "SELECT to_regclass('schema_version') IS NOT NULL",
};

static const DbStatement select_versions = {
    "migrate_versions",
    "SELECT number, name, checksum FROM schema_version ORDER BY number",
};

static const DbStatement insert_version = {
    "migrate_insert",
    "INSERT INTO schema_version (number, name, checksum) VALUES ($1::integer, $2::text, $3::text)",
};

static const char prepare_script[] = "SET LOCAL lock_timeout = 0;"
                                     "SELECT pg_advisory_xact_lock(" MIGRATION_LOCK ");"
                                     "CREATE TABLE IF NOT EXISTS schema_version ("
                                     "    number     integer PRIMARY KEY,"
                                     "    name       text NOT NULL,"
                                     "    applied_at timestamptz NOT NULL DEFAULT now(),"
                                     "    checksum   text NOT NULL);"
                                     "COMMENT ON TABLE schema_version IS 'migrations that were "
                                     "applied; checksum is the SHA-256 of the file'";

static int read_applied(DbConn *conn, Request *req, Applied *ret_applied)
{
    DbResult *result = NULL;

    int rc = db_exec(conn, req, &has_version_table, NULL, &result);
    if (rc < 0) {
        return rc;
    }
    *ret_applied = (Applied){0};
    if (!db_bool(result, 0, 0)) {
        return 0;
    }
    rc = db_exec(conn, req, &select_versions, NULL, &ret_applied->rows);
    if (rc == 0) {
        ret_applied->count = db_rows(ret_applied->rows);
    }
    return rc;
}

/** The first applied migration that is not the one of this program; NULL if all are. */
static const Migration *find_changed(const Applied *applied)
{
    for (int i = 0; i < applied->count && (size_t)i < migration_count; i++) {
        if (db_i32(applied->rows, i, 0) != migrations[i].number ||
            !str_equal(db_text(applied->rows, i, 2), str_from(migrations[i].checksum))) {
            return &migrations[i];
        }
    }
    return NULL;
}

static SchemaState judge(const Applied *applied, Arena *arena, Str *ret_text)
{
    const Migration *changed = find_changed(applied);

    if (changed) {
        *ret_text = str_printf(
            arena,
            "migration %d (%s) of the database is not the one of this program; a released "
            "migration is never "
            "changed: use the program version that made this database, or restore a backup",
            changed->number, changed->name);
        return SCHEMA_UNKNOWN;
    }
    if ((size_t)applied->count > migration_count) {
        *ret_text = str_printf(arena,
                               "the database has schema version %d, this program knows %zu; use a "
                               "newer program, which has "
                               "version %d at least",
                               applied->count, migration_count, applied->count);
        return SCHEMA_UNKNOWN;
    }
    if ((size_t)applied->count < migration_count) {
        *ret_text = str_printf(arena,
                               "the database has schema version %d, this program needs %zu; stop "
                               "the server, take a backup and "
                               "run: musubi migrate --config FILE",
                               applied->count, migration_count);
        return applied->count == 0 ? SCHEMA_EMPTY : SCHEMA_OLDER;
    }
    *ret_text = STR_EMPTY;
    return SCHEMA_CURRENT;
}

int migrate_check(DbConn *conn, Request *req, SchemaState *ret_state, Str *ret_text)
{
    Applied applied;

    int rc = read_applied(conn, req, &applied);
    if (rc == 0) {
        *ret_state = judge(&applied, req->arena, ret_text);
    }
    return rc;
}

static int record(DbConn *conn, Request *req, const Migration *migration)
{
    DbParams params;

    db_params_init(&params, req->arena);
    db_param_i32(&params, migration->number);
    db_param_text(&params, str_from(migration->name));
    db_param_text(&params, str_from(migration->checksum));
    return db_exec(conn, req, &insert_version, &params, NULL);
}

static int fail_migration(Request *req, const Migration *migration)
{
    return error_add(&req->errors, ERR_DATABASE, NULL,
                     "migration %d (%s) failed and was rolled back: %s", migration->number,
                     migration->name, db_last_failure());
}

/** Applies the next migration, if one is missing, in a transaction of its own. */
static int apply_next(DbConn *conn, Request *req, bool *ret_is_done)
{
    Applied applied;
    Str text;
    int rc;

    if ((rc = db_queue_begin(conn, req)) < 0 || (rc = db_sync(conn, req, NULL)) < 0 ||
        (rc = db_run_script(conn, req, prepare_script)) < 0 ||
        (rc = read_applied(conn, req, &applied)) < 0) {
        return rc;
    }
    if (judge(&applied, req->arena, &text) == SCHEMA_UNKNOWN) {
        return error_add(&req->errors, ERR_DATABASE, NULL, "%.*s", STR_ARG(text));
    }
    *ret_is_done = (size_t)applied.count == migration_count;
    if (!*ret_is_done) {
        const Migration *migration = &migrations[applied.count];
        if (db_run_script(conn, req, migration->sql) < 0 || record(conn, req, migration) < 0) {
            return fail_migration(req, migration);
        }
        fail_point("migrate.applied");
    }
    rc = db_commit(conn, req, NULL);
    fail_point("migrate.committed");
    return rc;
}

static bool is_role_name(Str role)
{
    for (size_t i = 0; i < role.len; i++) {
        char c = role.data[i];
        if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '_') {
            return false;
        }
    }
    return role.len > 0;
}

/** The service role reads and writes rows; it owns nothing, and deletes only what is made anew
 * from other rows, and what is done.
 * Each is followed by its name. */
static const char *const grants[] = {
    "GRANT USAGE ON SCHEMA public TO",
    "REVOKE ALL ON ALL TABLES IN SCHEMA public FROM",
    "GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA public TO",
    "REVOKE UPDATE ON audit_record, audit_login, audit_head, assertion_seen, enrolment, "
    "break_glass, removal, object_change, removed_object, patient_identifier_change FROM",
    "GRANT EXECUTE ON FUNCTION audit_make_partition(timestamptz), "
    "audit_drop_partition(timestamptz), audit_merge_keys() TO",
    "REVOKE INSERT, UPDATE ON schema_version, facility, node, node_certificate, node_endpoint, "
    "identity_provider, access_role, access_role_code, access_role_confidentiality, "
    "consent_policy, consent_policy_disclosure, audit_retention, imaging_ae, community, "
    "patient_correlation, retention_rule, legal_hold, rule_history FROM",
    "GRANT DELETE ON audit_outbox, patient_identifier, patient_demographics, patient_name, "
    "match_key, "
    "awaited_link, identity_notification, pdq_continuation, assertion_seen, imaging_commitment, "
    "document_entry, folder, submission_set, association, unique_id, imaging_source_manifest, "
    "on_demand_document, subscription, subscription_event, subscription_notification TO",
    "GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO",
};

static int grant(DbConn *conn, Request *req, const char *role)
{
    StrBuf script = {0};

    if (!is_role_name(str_from(role))) {
        return error_add(&req->errors, ERR_DATABASE, NULL,
                         "the service role %s must be named with a-z, 0-9 and _", role);
    }
    for (size_t i = 0; i < ARRAY_LEN(grants); i++) {
        strbuf_printf(&script, "%s %s;", grants[i], role);
    }
    strbuf_printf(&script, "SELECT audit_guard_partitions('%s');", role);
    int rc = db_run_script(conn, req, script.data);
    strbuf_done(&script);
    return rc;
}

int migrate_apply(DbConn *conn, Request *req, const char *service_role, unsigned *ret_applied)
{
    unsigned applied = 0;
    bool is_done = false;

    while (!is_done) {
        int rc = apply_next(conn, req, &is_done);
        if (rc < 0) {
            return rc;
        }
        applied += !is_done;
    }
    int rc = service_role ? grant(conn, req, service_role) : 0;
    if (rc == 0) {
        *ret_applied = applied;
    }
    return rc;
}

static const DbStatement statement_keep_for_ever = {"migrate_keep_for_ever",
                                                    "DELETE FROM audit_retention"};
static const DbStatement statement_keep_days = {
    "migrate_keep_days", "INSERT INTO audit_retention (days) VALUES ($1::integer)"
                         " ON CONFLICT (is_only) DO UPDATE SET days = EXCLUDED.days"};

int migrate_set_retention(DbConn *conn, Request *req, uint64_t days)
{
    DbParams params;
    db_params_init(&params, req->arena);
    if (days == 0) {
        return db_exec(conn, req, &statement_keep_for_ever, &params, NULL);
    }
    db_param_i32(&params, (int32_t)MIN(days, INT32_MAX));
    return db_exec(conn, req, &statement_keep_days, &params, NULL);
}
