#include <stdio.h>

#include "lib/base/clock.h"
#include "lib/saml/provider_table.h"
#include "server/command/audited_change.h"
#include "server/command/command.h"
#include "server/command/json.h"
#include "server/language.h"

/* musubi idp: the identity providers whose assertions name users (XUA). */

#define MAX_ISSUER_LEN 1024 /* SAML 2.0 Core 8.3.6 */

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
    bool is_new = false;
    int rc = provider_table_store(context->conn, context->req, issuer, certificate, &is_new);
    const AuditedChange change = {
        .kind = CHANGED_IDENTITY_PROVIDER,
        .name = issuer,
        .action = is_new ? "add" : "change",
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
                    tr("identity provider %s stored; a running server knows it within seconds"),
                    options->arguments[1]);
    }
    return command_status_of(rc);
}

/* ---- revoke ---- */

static int revoke(const CommandContext *context, Str issuer, Str fingerprint, int64_t *ret_count)
{
    const AuditedChange change = {.kind = CHANGED_IDENTITY_PROVIDER,
                                  .name = issuer,
                                  .action = "revoke",
                                  .detail = fingerprint};
    *ret_count = 0;
    int rc = command_begin(context);
    rc = rc < 0
             ? rc
             : provider_table_revoke(context->conn, context->req, issuer, fingerprint, ret_count);
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
        command_say(options, tr("there is no such identity provider: %s"), options->arguments[1]);
        return EXIT_FOUND;
    }
    rc = rc < 0 ? rc : command_finish(options, context);
    if (rc == 0) {
        command_say(
            options,
            tr("identity provider %s revoked; a running server refuses its assertions within "
               "seconds"),
            options->arguments[1]);
    }
    return command_status_of(rc);
}

/* ---- list ---- */

static const char *state_of(const ProviderRow *row)
{
    return row->is_revoked ? "revoked" : "registered";
}

static json_t *row_json(const CommandContext *context, const ProviderRow *row)
{
    json_t *object = json_object();
    Str from = clock_iso8601(context->arena, row->valid_from_us);
    Str to = clock_iso8601(context->arena, row->valid_to_us);
    json_object_set_new(object, "issuer", json_text(row->issuer));
    json_object_set_new(object, "fingerprint", json_text(row->fingerprint));
    json_object_set_new(object, "subject", json_text(row->subject));
    json_object_set_new(object, "valid_from", json_text(from));
    json_object_set_new(object, "valid_to", json_text(to));
    json_object_set_new(object, "state", json_string(state_of(row)));
    return object;
}

static void print_row(const CommandContext *context, const ProviderRow *row)
{
    Str to = clock_iso8601(context->arena, row->valid_to_us);
    printf("%.*s\n  %s  %s %.*s  %.*s\n  SHA-256 %.*s\n", STR_ARG(row->issuer), tr(state_of(row)),
           tr("until"), STR_ARG(str_slice(to, 0, 10)), STR_ARG(row->subject),
           STR_ARG(row->fingerprint));
}

static int idp_list(const Options *options, CommandContext *context)
{
    ProviderRow *rows = NULL;
    size_t count = 0;
    int rc = provider_table_read(context->conn, context->req, &rows, &count);
    if (rc < 0) {
        return command_status_of(rc);
    }
    json_t *list = options->json ? json_array() : NULL;
    for (size_t i = 0; i < count; i++) {
        if (list) {
            json_array_append_new(list, row_json(context, &rows[i]));
        } else {
            print_row(context, &rows[i]);
        }
    }
    if (list) {
        json_print(list);
    }
    return EXIT_GOOD;
}

int command_idp(const Options *options)
{
    static const Subcommand subcommands[] = {
        {"add", 1, 1, idp_add}, {"list", 0, 0, idp_list}, {"revoke", 1, 1, idp_revoke}};
    return command_run(options, subcommands, ARRAY_LEN(subcommands));
}
