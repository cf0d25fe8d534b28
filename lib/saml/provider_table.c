#include "lib/saml/provider_table.h"

static const DbStatement upsert_provider = {
    "idp_upsert",
    "INSERT INTO identity_provider (issuer, fingerprint, certificate, subject, valid_from,"
    " valid_to)"
    " VALUES ($1::text, $2::text, $3::bytea, $4::text, $5::timestamptz, $6::timestamptz)"
    " ON CONFLICT (issuer, fingerprint) DO UPDATE SET revoked_at = NULL RETURNING xmax = 0"};

static const DbStatement revoke_provider = {
    "idp_revoke", "UPDATE identity_provider SET revoked_at = now() WHERE issuer = $1::text"
                  " AND ($2::text IS NULL OR fingerprint = $2::text) AND revoked_at IS NULL"};

static const DbStatement select_providers = {
    "idp_list",
    "SELECT issuer, fingerprint, subject, valid_from, valid_to, revoked_at FROM identity_provider"
    " ORDER BY issuer, valid_to, fingerprint"};

enum { COLUMN_ISSUER, COLUMN_FINGERPRINT, COLUMN_SUBJECT, COLUMN_FROM, COLUMN_TO, COLUMN_REVOKED };

int provider_table_read(DbConn *conn, Request *req, ProviderRow **ret_rows, size_t *ret_count)
{
    DbResult *result = NULL;
    int rc = db_exec(conn, req, &select_providers, NULL, &result);
    if (rc < 0) {
        return rc;
    }
    *ret_count = (size_t)db_rows(result);
    *ret_rows = ARENA_ARRAY(req->arena, ProviderRow, *ret_count);
    for (int i = 0; i < db_rows(result); i++) {
        (*ret_rows)[i] = (ProviderRow){
            .issuer = db_text(result, i, COLUMN_ISSUER),
            .fingerprint = db_text(result, i, COLUMN_FINGERPRINT),
            .subject = db_text(result, i, COLUMN_SUBJECT),
            .valid_from_us = db_timestamp(result, i, COLUMN_FROM),
            .valid_to_us = db_timestamp(result, i, COLUMN_TO),
            .is_revoked = !db_is_null(result, i, COLUMN_REVOKED),
        };
    }
    return 0;
}

int provider_table_store(DbConn *conn, Request *req, Str issuer, const SamlCertificate *certificate,
                         bool *ret_is_new)
{
    DbParams params;
    DbResult *rows = NULL;
    db_params_init(&params, req->arena);
    db_param_text(&params, issuer);
    db_param_text(&params, certificate->names.fingerprint);
    db_param_bytes(&params, certificate->der);
    db_param_text(&params, certificate->names.subject);
    db_param_timestamp(&params, certificate->valid_from_us);
    db_param_timestamp(&params, certificate->names.not_after_us);
    int rc = db_exec(conn, req, &upsert_provider, &params, &rows);
    if (rc == 0) {
        *ret_is_new = db_bool(rows, 0, 0);
    }
    return rc;
}

int provider_table_revoke(DbConn *conn, Request *req, Str issuer, Str fingerprint,
                          int64_t *ret_count)
{
    DbParams params;
    DbResult *result = NULL;
    db_params_init(&params, req->arena);
    db_param_text(&params, issuer);
    db_param_text_or_null(&params, fingerprint);
    int rc = db_exec(conn, req, &revoke_provider, &params, &result);
    if (rc == 0) {
        *ret_count = db_affected(result);
    }
    return rc;
}
