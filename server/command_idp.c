#include <stdio.h>

#include "lib/base/clock.h"
#include "lib/saml/certificate.h"
#include "server/audited_change.h"
#include "server/command.h"
#include "server/command_json.h"
#include "server/language.h"

/* musubi idp: the identity providers whose assertions name users (XUA). */

#define MAX_ISSUER_LEN 1024 /* SAML 2.0 Core 8.3.6 */

/* A certificate that was revoked for the issuer comes back by adding it. */
static const DbStatement upsert_provider = {
    "idp_upsert",
    "INSERT INTO identity_provider (issuer, fingerprint, certificate, subject, valid_from, "
    "valid_to)"
    " VALUES ($1::text, $2::text, $3::bytea, $4::text, $5::timestamptz, $6::timestamptz)"
    " ON CONFLICT (issuer, fingerprint) DO UPDATE SET revoked_at = NULL RETURNING xmax = 0"};

static const DbStatement revoke_provider = {
    "idp_revoke", "UPDATE identity_provider SET revoked_at = now() WHERE issuer = $1::text"
                  " AND ($2::text IS NULL OR fingerprint = $2::text) AND revoked_at IS NULL"};

static const DbStatement select_providers = {
    "idp_list",
    "SELECT issuer, fingerprint, subject, valid_from, valid_to, revoked_at FROM identity_provider"
    " ORDER BY issuer, valid_to, fingerprint"};

static int fault(const CommandContext *context, const char *location, const char *text, Str value)
{
    return error_add(&context->req->errors, ERR_CONFIGURATION, location, "%s%s%.*s", text,
                     value.len > 0 ? ": " : "", STR_ARG(value));
}

/* ---- add ---- */

static int read_certificate(const CommandContext *context, const Options *options,
                            SamlCertificate *ret_certificate)
{
    char problem[512];
    Str issuer = str_from(options->arguments[1]);
    if (str_is_empty(str_trim(issuer)) || issuer.len > MAX_ISSUER_LEN || !str_is_utf8(issuer)) {
        return fault(context, "idp add", "write the Issuer exactly as the assertions have it",
                     STR_EMPTY);
    }
    if (!options->certificate) {
        return fault(context, "idp add",
                     "name the PEM file of the certificate that signs the assertions with "
                     "--certificate",
                     STR_EMPTY);
    }
    if (!saml_certificate_read(context->arena, options->certificate, ret_certificate, problem,
                               sizeof(problem))) {
        return fault(context, "idp add", "the certificate cannot be used", str_from(problem));
    }
    if (ret_certificate->names.not_after_us < clock_utc_us()) {
        return fault(context, "idp add", "the certificate has expired",
                     str_from(options->certificate));
    }
    return 0;
}

static int store(const CommandContext *context, Str issuer, const SamlCertificate *certificate)
{
    DbParams params;
    DbResult *rows = NULL;
    db_params_init(&params, context->arena);
    db_param_text(&params, issuer);
    db_param_text(&params, certificate->names.fingerprint);
    db_param_bytes(&params, certificate->der);
    db_param_text(&params, certificate->names.subject);
    db_param_timestamp(&params, certificate->valid_from_us);
    db_param_timestamp(&params, certificate->names.not_after_us);
    int rc = db_exec(context->conn, context->req, &upsert_provider, &params, &rows);
    const AuditedChange change = {
        .kind = CHANGED_IDENTITY_PROVIDER,
        .name = issuer,
        .action = rc == 0 && db_bool(rows, 0, 0) ? "add" : "change",
        .detail =
            str_printf(context->arena, "certificate %.*s", STR_ARG(certificate->names.fingerprint)),
    };
    return rc < 0 ? rc : audited_change_record(context, &change);
}

static int idp_add(const Options *options, CommandContext *context)
{
    SamlCertificate certificate = {0};
    int rc = read_certificate(context, options, &certificate);
    rc = rc < 0 ? rc : command_begin(context);
    rc = rc < 0 ? rc : store(context, str_trim(str_from(options->arguments[1])), &certificate);
    rc = rc < 0 ? rc : command_finish(options, context);
    if (rc == 0) {
        command_say(options,
                    "identity provider %s stored; a running server knows it within seconds",
                    options->arguments[1]);
    }
    return command_status_of(rc);
}

/* ---- revoke ---- */

static int revoke(const CommandContext *context, Str issuer, Str fingerprint, int64_t *ret_count)
{
    DbParams params;
    DbResult *result = NULL;
    const AuditedChange change = {.kind = CHANGED_IDENTITY_PROVIDER,
                                  .name = issuer,
                                  .action = "revoke",
                                  .detail = fingerprint};
    db_params_init(&params, context->arena);
    db_param_text(&params, issuer);
    db_param_text_or_null(&params, fingerprint);
    int rc = command_begin(context);
    rc = rc < 0 ? rc : db_exec(context->conn, context->req, &revoke_provider, &params, &result);
    *ret_count = rc < 0 ? 0 : db_affected(result);
    return rc < 0 || *ret_count == 0 ? rc : audited_change_record(context, &change);
}

static int idp_revoke(const Options *options, CommandContext *context)
{
    Str fingerprint = STR_EMPTY;
    int64_t count = 0;
    if (options->fingerprint &&
        !tls_fingerprint_parse(context->arena, str_from(options->fingerprint), &fingerprint)) {
        return command_status_of(fault(context, "idp revoke",
                                       "a fingerprint is SHA-256, 64 hexadecimal digits",
                                       str_from(options->fingerprint)));
    }
    int rc = revoke(context, str_trim(str_from(options->arguments[1])), fingerprint, &count);
    if (rc == 0 && count == 0) {
        command_say(options, "there is no such identity provider: %s", options->arguments[1]);
        return EXIT_FOUND;
    }
    rc = rc < 0 ? rc : command_finish(options, context);
    if (rc == 0) {
        command_say(options,
                    "identity provider %s revoked; a running server refuses its assertions within "
                    "seconds",
                    options->arguments[1]);
    }
    return command_status_of(rc);
}

/* ---- list ---- */

enum { COLUMN_ISSUER, COLUMN_FINGERPRINT, COLUMN_SUBJECT, COLUMN_FROM, COLUMN_TO, COLUMN_REVOKED };

static const char *state_of(const DbResult *rows, int row)
{
    return db_is_null(rows, row, COLUMN_REVOKED) ? "registered" : "revoked";
}

static json_t *row_json(const CommandContext *context, const DbResult *rows, int row)
{
    json_t *object = json_object();
    Str from = clock_iso8601(context->arena, db_timestamp(rows, row, COLUMN_FROM));
    Str to = clock_iso8601(context->arena, db_timestamp(rows, row, COLUMN_TO));
    json_object_set_new(object, "issuer", json_text(db_text(rows, row, COLUMN_ISSUER)));
    json_object_set_new(object, "fingerprint", json_text(db_text(rows, row, COLUMN_FINGERPRINT)));
    json_object_set_new(object, "subject", json_text(db_text(rows, row, COLUMN_SUBJECT)));
    json_object_set_new(object, "valid_from", json_text(from));
    json_object_set_new(object, "valid_to", json_text(to));
    json_object_set_new(object, "state", json_string(state_of(rows, row)));
    return object;
}

static void print_row(const CommandContext *context, const DbResult *rows, int row)
{
    Str to = clock_iso8601(context->arena, db_timestamp(rows, row, COLUMN_TO));
    printf("%.*s\n  %s  %s %.*s  %.*s\n  SHA-256 %.*s\n",
           STR_ARG(db_text(rows, row, COLUMN_ISSUER)), tr(state_of(rows, row)), tr("until"),
           STR_ARG(str_slice(to, 0, 10)), STR_ARG(db_text(rows, row, COLUMN_SUBJECT)),
           STR_ARG(db_text(rows, row, COLUMN_FINGERPRINT)));
}

static int idp_list(const Options *options, CommandContext *context)
{
    DbResult *rows = NULL;
    int rc = db_exec(context->conn, context->req, &select_providers, NULL, &rows);
    if (rc < 0) {
        return command_status_of(rc);
    }
    json_t *list = json_array();
    for (int row = 0; row < db_rows(rows); row++) {
        if (options->json) {
            json_array_append_new(list, row_json(context, rows, row));
        } else {
            print_row(context, rows, row);
        }
    }
    if (options->json) {
        json_print(list);
    } else {
        json_decref(list);
    }
    return EXIT_GOOD;
}

int command_idp(const Options *options)
{
    static const Subcommand subcommands[] = {
        {"add", 1, 1, idp_add}, {"list", 0, 0, idp_list}, {"revoke", 1, 1, idp_revoke}};
    return command_run(options, subcommands, ARRAY_LEN(subcommands));
}
