#include "server/command/node_certificates.h"

#include <stdio.h>
#include <string.h>

#include "lib/base/clock.h"
#include "server/command/audited_change.h"
#include "server/command/json.h"
#include "server/language.h"

#define DAY_US (24LL * 3600 * 1000000)

/* A certificate moves to another node only from one that was revoked. */
static const DbStatement upsert_certificate = {
    "node_certificate_upsert",
    "INSERT INTO node_certificate (fingerprint, node, subject, not_before, not_after, der) "
    "VALUES ($1::text, $2::integer, $3::text, $4::timestamptz, $5::timestamptz, $6::bytea) "
    "ON CONFLICT (fingerprint) DO UPDATE SET node = excluded.node, subject = excluded.subject, "
    "not_before = excluded.not_before, not_after = excluded.not_after, der = excluded.der, "
    "revoked_at = NULL "
    "WHERE node_certificate.node = excluded.node OR EXISTS (SELECT FROM node "
    "WHERE node.id = node_certificate.node AND node.revoked_at IS NOT NULL) "
    "RETURNING node",
};

static const DbStatement revoke_certificate = {
    "node_certificate_revoke",
    "UPDATE node_certificate SET revoked_at = now() FROM node "
    "WHERE node.id = node_certificate.node AND node.name = $1::text AND fingerprint = $2::text "
    "AND node_certificate.revoked_at IS NULL",
};

static const DbStatement select_node = {
    "node_certificate_node",
    "SELECT id FROM node WHERE name = $1::text AND revoked_at IS NULL FOR UPDATE",
};

static const DbStatement select_certificates = {
    "node_certificate_select",
    "SELECT node.name, fingerprint, subject, not_before, not_after, added_at, "
    "node_certificate.revoked_at, der, isfinite(not_after) "
    "FROM node_certificate JOIN node ON node.id = node_certificate.node "
    "WHERE CASE WHEN $1::text IS NULL THEN node.revoked_at IS NULL ELSE node.name = $1::text END "
    "ORDER BY node.name, not_after DESC, fingerprint",
};

static int fault(const CommandContext *context, const char *location, const char *text, Str value)
{
    return error_add(&context->req->errors, ERR_CONFIGURATION, location, "%s%s%.*s", text,
                     value.len > 0 ? ": " : "", STR_ARG(value));
}

int64_t certificate_days_left(int64_t not_after_us)
{
    int64_t left_us = not_after_us - clock_utc_us();
    return left_us >= 0 ? left_us / DAY_US : -((-left_us + DAY_US - 1) / DAY_US);
}

int node_certificate_read(const CommandContext *context, const char *location, Str file,
                          Str fingerprint, TlsCertificate *ret_certificate)
{
    char problem[256];

    *ret_certificate = (TlsCertificate){.fingerprint = STR_EMPTY,
                                        .subject = STR_EMPTY,
                                        .not_before_us = INT64_MIN,
                                        .not_after_us = INT64_MAX,
                                        .der = STR_EMPTY};
    if (file.len > 0) {
        const char *path = str_cstr(context->arena, file);
        if (!tls_certificate_from_file(context->arena, path, ret_certificate, problem,
                                       sizeof(problem))) {
            return fault(context, location, "the certificate cannot be read", str_from(problem));
        }
        if (ret_certificate->not_after_us < clock_utc_us()) {
            return fault(context, location, "the certificate has expired", file);
        }
        return 0;
    }
    if (fingerprint.len > 0 &&
        !tls_fingerprint_parse(context->arena, fingerprint, &ret_certificate->fingerprint)) {
        return fault(context, location, "a fingerprint is SHA-256, 64 hexadecimal digits",
                     fingerprint);
    }
    return 0;
}

int node_certificate_store(const CommandContext *context, const char *location, int32_t node_id,
                           const TlsCertificate *certificate)
{
    DbParams params;
    DbResult *result = NULL;

    db_params_init(&params, context->arena);
    db_param_text(&params, certificate->fingerprint);
    db_param_i32(&params, node_id);
    db_param_text(&params, certificate->subject);
    if (certificate->der.len > 0) {
        db_param_timestamp(&params, certificate->not_before_us);
        db_param_timestamp(&params, certificate->not_after_us);
        db_param_bytes(&params, certificate->der);
    } else {
        db_param_null(&params);
        db_param_timestamp(&params, INT64_MAX);
        db_param_null(&params);
    }
    int rc = db_exec(context->conn, context->req, &upsert_certificate, &params, &result);
    if (rc == 0 && db_rows(result) == 0) {
        rc = fault(context, location,
                   "this certificate belongs to another node; revoke that node first, or use "
                   "another certificate",
                   certificate->fingerprint);
    }
    return rc;
}

int node_certificates_select(const CommandContext *context, const char *node,
                             NodeCertificateRow **ret_rows, size_t *ret_count)
{
    DbParams params;
    DbResult *result = NULL;

    db_params_init(&params, context->arena);
    if (node) {
        db_param_text(&params, str_from(node));
    } else {
        db_param_null(&params);
    }
    int rc = db_exec(context->conn, context->req, &select_certificates, &params, &result);
    if (rc < 0) {
        return rc;
    }
    const int count = db_rows(result);
    NodeCertificateRow *rows = ARENA_ARRAY(context->arena, NodeCertificateRow, (size_t)count);
    for (int i = 0; i < count; i++) {
        rows[i] = (NodeCertificateRow){
            .node = str_dup(context->arena, db_text(result, i, 0)),
            .fingerprint = str_dup(context->arena, db_text(result, i, 1)),
            .subject = str_dup(context->arena, db_text(result, i, 2)),
            .not_before_us = db_is_null(result, i, 3) ? INT64_MIN : db_timestamp(result, i, 3),
            .not_after_us = db_bool(result, i, 8) ? db_timestamp(result, i, 4) : INT64_MAX,
            .added_us = db_timestamp(result, i, 5),
            .revoked_us = db_is_null(result, i, 6) ? INT64_MAX : db_timestamp(result, i, 6),
            .der = db_is_null(result, i, 7) ? STR_EMPTY
                                            : str_dup(context->arena, db_text(result, i, 7)),
        };
    }
    *ret_rows = rows;
    *ret_count = (size_t)count;
    return 0;
}

/* ---- commands ---- */

/** The id of the registered node that the command line names. */
static int find_node(const CommandContext *context, const char *location, const char *name,
                     int32_t *ret_id)
{
    DbParams params;
    DbResult *result = NULL;

    db_params_init(&params, context->arena);
    db_param_text(&params, str_from(name));
    int rc = db_exec(context->conn, context->req, &select_node, &params, &result);
    if (rc == 0 && db_rows(result) == 0) {
        return fault(context, location, "there is no registered node", str_from(name));
    }
    if (rc == 0) {
        *ret_id = db_i32(result, 0, 0);
    }
    return rc;
}

static int change(const CommandContext *context, const char *location, const char *action,
                  const char *name, const TlsCertificate *certificate)
{
    const AuditedChange change = {.kind = CHANGED_NODE,
                                  .name = str_from(name),
                                  .action = action,
                                  .detail = certificate->fingerprint};
    DbParams params;
    DbResult *result = NULL;
    int32_t id = 0;
    int rc;

    if ((rc = find_node(context, location, name, &id)) < 0) {
        return rc;
    }
    if (strcmp(action, "add") == 0) {
        rc = node_certificate_store(context, location, id, certificate);
    } else {
        db_params_init(&params, context->arena);
        db_param_text(&params, str_from(name));
        db_param_text(&params, certificate->fingerprint);
        rc = db_exec(context->conn, context->req, &revoke_certificate, &params, &result);
        if (rc == 0 && db_affected(result) == 0) {
            rc = fault(context, location, "the node has no such certificate in force",
                       certificate->fingerprint);
        }
    }
    return rc < 0 ? rc : audited_change_record(context, &change);
}

int node_certificate_command(const Options *options, CommandContext *context)
{
    static const char location[] = "node certificate";
    const char *action = options->arguments[1];
    const char *name = options->arguments[2];
    const bool is_add = strcmp(action, "add") == 0;
    TlsCertificate certificate;
    int rc;

    if ((!is_add && strcmp(action, "revoke") != 0) ||
        (!options->certificate && !options->fingerprint)) {
        return options_usage(options->command);
    }
    if ((rc = node_certificate_read(context, location, str_from(options->certificate),
                                    str_from(options->fingerprint), &certificate)) < 0 ||
        (rc = command_begin(context)) < 0 ||
        (rc = change(context, location, action, name, &certificate)) < 0 ||
        (rc = db_commit(context->conn, context->req, NULL)) < 0) {
        return command_status_of(rc);
    }
    command_say(
        options,
        is_add
            ? tr("certificate %.*s of node %s added; a running server knows it within seconds")
            : tr("certificate %.*s of node %s revoked; a running server knows it within seconds"),
        STR_ARG(certificate.fingerprint), name);
    return EXIT_GOOD;
}
