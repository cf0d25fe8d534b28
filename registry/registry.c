#include <stdio.h>
#include <stdlib.h>

#include "lib/base/heap.h"
#include "registry/patient_move_set.h"
#include "registry/registration.h"
#include "registry/submission_rules.h"
#include "registry/subscriptions/subscriptions.h"

#define START_TIMEOUT_MS 10000

static const DbStatement update_deprecated = {
    "registry_document_deprecate",
    "UPDATE document_entry SET status = $2::int WHERE hashtext(unique_id) = hashtext($1::text)"
    " AND unique_id = $1::text AND is_latest AND status <> $2::int"};

static const DbStatement select_dictionaries = {"metadata_dictionary_select",
                                                "SELECT id, bytes FROM metadata_dictionary"};
static const DbStatement insert_dictionary = {
    "metadata_dictionary_insert", "INSERT INTO metadata_dictionary (id, bytes)"
                                  " VALUES ($1::bigint, $2::bytea) ON CONFLICT DO NOTHING"};
static const DbStatement select_is_registered = {
    "document_entry_is_registered",
    "SELECT EXISTS (SELECT FROM document_entry WHERE hashtext(unique_id) = hashtext($1::text)"
    " AND unique_id = $1::text AND hash = $2::bytea)"};

/** Stores the dictionary of this build before anything is compressed with it. */
static int keep_builtin_dictionary(Request *req, DbConn *conn)
{
    uint32_t id;
    Str bytes = render_dictionary_builtin(&id);
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_i64(&params, id);
    db_param_bytes(&params, bytes);
    return db_exec(conn, req, &insert_dictionary, &params, NULL);
}

static int load_dictionaries(Registry *registry, Request *req, DbConn *conn)
{
    DbParams none;
    db_params_init(&none, req->arena);
    DbResult *rows;
    int rc = keep_builtin_dictionary(req, conn);
    rc = rc < 0 ? rc : db_exec(conn, req, &select_dictionaries, &none, &rows);
    if (rc < 0) {
        return rc;
    }
    for (int row = 0; row < db_rows(rows); row++) {
        int64_t id = db_i64(rows, row, 0);
        if (!render_dictionary_add(registry->dictionaries, (uint32_t)id, db_text(rows, row, 1))) {
            return error_add(
                &req->errors, ERR_CORRUPT, "metadata_dictionary",
                "row %lld of table metadata_dictionary is not a zstd dictionary of that id",
                (long long)id);
        }
    }
    return 0;
}

static int read_database(Registry *registry, Request *req)
{
    _cleanup_(db_releasep) DbConn *conn = NULL;
    int rc = db_acquire(registry->config.pool, req, &conn);
    rc = rc < 0 ? rc : load_dictionaries(registry, req, conn);
    return rc < 0 ? rc
                  : code_table_intern(registry->codes, req, conn, &registry->move_content_type, 1,
                                      &registry->move_content_type_id);
}

Registry *registry_new(const RegistryConfig *config, char *ret_problem, size_t problem_size)
{
    Registry *registry = HEAP_NEW(Registry);
    registry->config = *config;
    registry->dictionaries = render_dictionaries_new();
    registry->codes = code_table_new();
    registry->move_content_type = move_set_content_type(config);

    Request *req = request_new(START_TIMEOUT_MS);
    if (read_database(registry, req) < 0) {
        const Error *error = req->errors.first;
        snprintf(ret_problem, problem_size, "registry: %.*s (%s)",
                 STR_ARG(error != NULL ? error->context : STR_EMPTY), db_last_failure());
        registry_free(registry);
        registry = NULL;
    }
    request_free(req);
    if (registry != NULL && config->is_notifying) {
        registry->subscriptions = subscriptions_new(registry, ret_problem, problem_size);
        if (registry->subscriptions == NULL) {
            registry_free(registry);
            registry = NULL;
        }
    }
    return registry;
}

void registry_free(Registry *registry)
{
    if (registry == NULL) {
        return;
    }
    subscriptions_free(registry->subscriptions);
    code_table_free(registry->codes);
    render_dictionaries_free(registry->dictionaries);
    free(registry);
}

static int client_register(void *registry, Request *req, Submission *submission,
                           TransactionHook hook, void *caller)
{
    return registration_run(registry, req, submission, SUBMISSION_ITI42, hook, caller);
}

static int client_register_on_demand(void *registry, Request *req, Submission *submission,
                                     TransactionHook hook, void *caller)
{
    return registration_run(registry, req, submission, SUBMISSION_ITI61, hook, caller);
}

static int client_is_registered(void *module, Request *req, Str document_unique_id, Str hash)
{
    Registry *registry = module;
    char *bytes = arena_alloc(req->arena, SHA1_LEN);
    if (!str_unhex(hash, bytes, SHA1_LEN)) {
        return 0;
    }
    _cleanup_(db_releasep) DbConn *conn = NULL;
    int rc = db_acquire(registry->config.pool, req, &conn);
    if (rc < 0) {
        return rc;
    }
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_text(&params, document_unique_id);
    db_param_bytes(&params, (Str){bytes, SHA1_LEN});
    DbResult *result;
    rc = db_exec(conn, req, &select_is_registered, &params, &result);
    return rc < 0 ? rc : db_bool(result, 0, 0);
}

static int client_deprecate(void *module, Request *req, Str document_unique_id,
                            TransactionHook hook, void *caller)
{
    Registry *registry = module;
    DbParams params;
    _cleanup_(db_releasep) DbConn *conn = NULL;
    int rc = db_acquire(registry->config.pool, req, &conn);
    db_params_init(&params, req->arena);
    db_param_text(&params, document_unique_id);
    db_param_i32(&params, STATUS_DEPRECATED);
    rc = rc < 0 ? rc : db_queue_begin(conn, req);
    rc = rc < 0 ? rc : db_queue(conn, req, &update_deprecated, &params);
    rc = rc < 0 ? rc : hook(caller, req, conn);
    return rc < 0 ? rc : db_commit(conn, req, NULL);
}

RegistryClient registry_client_local(Registry *registry)
{
    return (RegistryClient){
        .ctx = registry,
        .is_local = true,
        .register_submission = client_register,
        .register_on_demand = client_register_on_demand,
        .is_registered = client_is_registered,
        .deprecate = client_deprecate,
    };
}
