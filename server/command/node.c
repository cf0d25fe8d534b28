#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "lib/access/access.h"
#include "lib/base/clock.h"
#include "lib/tls/tls.h"
#include "server/command/audited_change.h"
#include "server/command/command.h"
#include "server/command/csv.h"
#include "server/command/facility.h"
#include "server/command/json.h"
#include "server/command/node_certificates.h"
#include "server/command/node_endpoint.h"
#include "server/command/node_rights.h"
#include "server/command/node_test.h"
#include "server/command/text_list.h"
#include "server/language.h"

/* musubi node: who is registered. */

#define MAX_NAME_LEN 64

/** A node as the command line or a line of CSV gives it. */
typedef struct NodeInput {
    const char *location; /* for faults: "node add", or "FILE:LINE" */
    Str name;
    Str facility;
    Str certificate; /* file name */
    Str fingerprint;
    Str transactions; /* lists: separated by comma, semicolon or space */
    Str sources;
    Str ae_titles;
    Str source_ids;
    bool is_operator;
    NodeRights rights;
} NodeInput;

/** The lists of a NodeInput, split and checked. */
typedef struct NodeLists {
    Str *transactions;
    size_t transaction_count;
    Str *sources;
    size_t source_count;
    Str *ae_titles;
    size_t ae_title_count;
    Str *source_ids;
    size_t source_id_count;
} NodeLists;

static const DbStatement upsert_node = {
    "node_upsert",
    "INSERT INTO node (name, facility, transactions, sources, ae_titles, source_ids, is_operator) "
    "SELECT $1::text, facility.id, $3::text[], $4::text[], $5::text[], $6::text[], $7::boolean "
    "FROM facility WHERE facility.name = $2::text "
    "ON CONFLICT (name) DO UPDATE SET facility = excluded.facility, transactions = "
    "excluded.transactions, "
    "sources = excluded.sources, ae_titles = excluded.ae_titles, source_ids = excluded.source_ids, "
    "is_operator = excluded.is_operator, revoked_at = NULL "
    "RETURNING id, xmax = 0",
};

static const DbStatement revoke_node = {
    "node_revoke",
    "UPDATE node SET revoked_at = now() WHERE name = $1::text AND revoked_at IS NULL",
};

static const DbStatement select_nodes = {
    "node_list",
    "SELECT node.name, facility.name, node.transactions, node.sources, node.ae_titles, "
    "node.source_ids, "
    "node.is_operator, node.revoked_at, "
    "ARRAY(SELECT fingerprint FROM node_certificate AS c WHERE c.node = node.id AND "
    "c.revoked_at IS NULL ORDER BY not_after), "
    "(SELECT max(not_after) FROM node_certificate AS c WHERE c.node = node.id AND "
    "c.revoked_at IS NULL AND isfinite(not_after)), "
    "node.roles, node.may_submit, ARRAY(SELECT name FROM facility f WHERE f.id = ANY "
    "(node.facilities) ORDER BY name) "
    "FROM node JOIN facility ON facility.id = node.facility ORDER BY node.name",
};

/* Checks of input */

static int fault(const CommandContext *context, const NodeInput *input, const char *text, Str value)
{
    return error_add(&context->req->errors, ERR_CONFIGURATION, input->location, "%s%s%.*s", text,
                     value.len > 0 ? ": " : "", STR_ARG(value));
}

static bool is_name(Str name)
{
    for (size_t i = 0; i < name.len; i++) {
        char c = name.data[i];
        bool is_alphanumeric =
            (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!is_alphanumeric && c != '-' && c != '_' && c != '.') {
            return false;
        }
    }
    return name.len > 0 && name.len <= MAX_NAME_LEN;
}

static void check_transactions(const CommandContext *context, const NodeInput *input,
                               const NodeLists *lists)
{
    if (lists->transaction_count == 0) {
        fault(context, input,
              "name the transactions that the node may use, e.g. ITI-41,ITI-18, or * for all but "
              "ITI-81",
              STR_EMPTY);
    }
    for (size_t i = 0; i < lists->transaction_count; i++) {
        const char *name = str_cstr(context->arena, lists->transactions[i]);
        if (strcmp(name, "*") != 0 && access_transaction_bit(name) == 0) {
            fault(context, input, "unknown transaction; write e.g. ITI-41", lists->transactions[i]);
        }
    }
}

static void check_sources(const CommandContext *context, const NodeInput *input,
                          const NodeLists *lists)
{
    for (size_t i = 0; i < lists->source_count; i++) {
        size_t bar = str_find_char(lists->sources[i], '|');
        if (bar == SIZE_MAX ||
            str_find_char(str_from_offset(lists->sources[i], bar + 1), '|') != SIZE_MAX) {
            fault(context, input, "write a source as MSH-3|MSH-4, e.g. HIS|HOSPITAL",
                  lists->sources[i]);
        }
    }
}

/** Splits and checks; adds every fault. */
static int check_input(const CommandContext *context, const NodeInput *input, NodeLists *ret_lists)
{
    const unsigned errors_before = context->req->errors.error_count;
    Arena *arena = context->arena;

    ret_lists->transaction_count =
        text_list_split(arena, input->transactions, ",; ", &ret_lists->transactions);
    ret_lists->source_count = text_list_split(arena, input->sources, ",;",
                                              &ret_lists->sources); /* names may hold spaces */
    ret_lists->ae_title_count =
        text_list_split(arena, input->ae_titles, ",;", &ret_lists->ae_titles);
    ret_lists->source_id_count =
        text_list_split(arena, input->source_ids, ",; ", &ret_lists->source_ids);
    if (!is_name(input->name)) {
        fault(context, input, "a node's name has up to 64 letters, digits and . _ -", input->name);
    }
    if (!facility_is_name(input->facility)) {
        fault(context, input, "name the facility that the node belongs to", STR_EMPTY);
    }
    check_transactions(context, input, ret_lists);
    check_sources(context, input, ret_lists);
    return context->req->errors.error_count > errors_before ? -ERR_CONFIGURATION : 0;
}

/* Rows */

static int record_stored(const CommandContext *context, const NodeInput *input,
                         const TlsCertificate *certificate, bool is_new)
{
    Str roles = str_is_empty(input->rights.roles) ? STR("node") : input->rights.roles;
    const AuditedChange change = {
        .kind = CHANGED_NODE,
        .name = input->name,
        .action = is_new ? "add" : "change",
        .detail = str_printf(context->arena,
                             "facility %.*s, certificate %.*s, may use %.*s, "
                             "roles %.*s, %s for its facility%s%.*s",
                             STR_ARG(input->facility), STR_ARG(certificate->fingerprint),
                             STR_ARG(input->transactions), STR_ARG(roles),
                             input->rights.may_submit ? "submits" : "does not submit",
                             str_is_empty(input->rights.also_for) ? "" : " and ",
                             STR_ARG(input->rights.also_for)),
    };
    return audited_change_record(context, &change);
}

/** Checks a node and puts it into the open transaction. A node of this name is changed, and gets
 * the certificate too. */
static int store_node(const CommandContext *context, const NodeInput *input, bool *ret_is_new)
{
    NodeLists lists;
    TlsCertificate certificate;
    DbParams params;
    DbResult *result = NULL;
    int rc;

    if ((rc = check_input(context, input, &lists)) < 0 ||
        (rc = node_certificate_read(context, input->location, input->certificate,
                                    input->fingerprint, &certificate)) < 0) {
        return rc;
    }
    db_params_init(&params, context->arena);
    db_param_text(&params, input->name);
    db_param_text(&params, input->facility);
    db_param_text_array(&params, lists.transactions, lists.transaction_count);
    db_param_text_array(&params, lists.sources, lists.source_count);
    db_param_text_array(&params, lists.ae_titles, lists.ae_title_count);
    db_param_text_array(&params, lists.source_ids, lists.source_id_count);
    db_param_bool(&params, input->is_operator);
    if ((rc = db_exec(context->conn, context->req, &upsert_node, &params, &result)) < 0) {
        return rc;
    }
    if (db_rows(result) == 0) {
        return fault(context, input,
                     "unknown facility; run musubi facility add, or correct the name",
                     input->facility);
    }
    *ret_is_new = db_bool(result, 0, 1);
    if ((rc = node_rights_store(context, input->location, db_i32(result, 0, 0), &input->rights)) <
        0) {
        return rc;
    }
    if (certificate.fingerprint.len > 0 &&
        (rc = node_certificate_store(context, input->location, db_i32(result, 0, 0),
                                     &certificate)) < 0) {
        return rc;
    }
    return record_stored(context, input, &certificate, *ret_is_new);
}

static int node_add(const Options *options, CommandContext *context)
{
    const NodeInput input = {
        .location = "node add",
        .name = str_from(options->arguments[1]),
        .facility = str_from(options->facility),
        .certificate = str_from(options->certificate),
        .fingerprint = str_from(options->fingerprint),
        .transactions = str_from(options->transactions),
        .sources = str_from(options->source),
        .ae_titles = str_from(options->ae_title),
        .source_ids = str_from(options->source_id),
        .is_operator = options->is_operator,
        .rights = {.roles = str_from(options->role),
                   .also_for = str_from(options->also_for),
                   .may_submit = !options->submits_nothing},
    };
    bool is_new = false;
    int rc;

    if ((rc = command_begin(context)) == 0 && (rc = store_node(context, &input, &is_new)) == 0) {
        rc = db_commit(context->conn, context->req, NULL);
    }
    if (rc == 0) {
        command_say(options,
                    is_new ? tr("node %s registered; a running server knows it within seconds")
                           : tr("node %s changed; a running server knows it within seconds"),
                    options->arguments[1]);
    }
    return command_status_of(rc);
}

static int node_revoke(const Options *options, CommandContext *context)
{
    const AuditedChange change = {
        .kind = CHANGED_NODE, .name = str_from(options->arguments[1]), .action = "revoke"};
    DbParams params;
    DbResult *result = NULL;

    db_params_init(&params, context->arena);
    db_param_text(&params, str_from(options->arguments[1]));
    if (command_begin(context) < 0 ||
        db_exec(context->conn, context->req, &revoke_node, &params, &result) < 0) {
        return EXIT_FAILED;
    }
    if (db_affected(result) == 0) {
        command_say(options, tr("there is no registered node %s"), options->arguments[1]);
        return EXIT_FOUND;
    }
    if (audited_change_record(context, &change) < 0 ||
        db_commit(context->conn, context->req, NULL) < 0) {
        return EXIT_FAILED;
    }
    command_say(options, tr("node %s revoked; a running server refuses it within seconds"),
                options->arguments[1]);
    return EXIT_GOOD;
}

enum {
    CSV_NAME,
    CSV_FACILITY,
    CSV_CERTIFICATE,
    CSV_FINGERPRINT,
    CSV_TRANSACTIONS,
    CSV_SOURCES,
    CSV_AE_TITLES,
    CSV_SOURCE_IDS,
    CSV_OPERATOR,
    CSV_ROLES,
    CSV_MAY_SUBMIT,
    CSV_ALSO_FOR,
    CSV_COUNT
};

static const char *const csv_columns[CSV_COUNT] = {
    [CSV_NAME] = "name",
    [CSV_FACILITY] = "facility",
    [CSV_CERTIFICATE] = "certificate",
    [CSV_FINGERPRINT] = "fingerprint",
    [CSV_TRANSACTIONS] = "transactions",
    [CSV_SOURCES] = "sources",
    [CSV_AE_TITLES] = "ae_titles",
    [CSV_SOURCE_IDS] = "source_ids",
    [CSV_OPERATOR] = "operator",
    [CSV_ROLES] = "roles",
    [CSV_MAY_SUBMIT] = "may_submit",
    [CSV_ALSO_FOR] = "also_for",
};

/** Faults of the row are only noted, so that all are shown at once. @return 0, or what ends the
 * import */
static int import_row(const CommandContext *context, const CsvFile *file, const CsvRow *row)
{
    const Str *fields = row->fields;
    const NodeInput input = {
        .location = csv_location(context->arena, file, row),
        .name = fields[CSV_NAME],
        .facility = fields[CSV_FACILITY],
        .certificate = fields[CSV_CERTIFICATE],
        .fingerprint = fields[CSV_FINGERPRINT],
        .transactions = fields[CSV_TRANSACTIONS],
        .sources = fields[CSV_SOURCES],
        .ae_titles = fields[CSV_AE_TITLES],
        .source_ids = fields[CSV_SOURCE_IDS],
        .is_operator = str_equal(fields[CSV_OPERATOR], STR("yes")),
        .rights = {.roles = fields[CSV_ROLES],
                   .also_for = fields[CSV_ALSO_FOR],
                   .may_submit = !str_equal(fields[CSV_MAY_SUBMIT], STR("no"))},
    };
    bool is_new = false;

    int rc = store_node(context, &input, &is_new);
    return rc == -ERR_CONFIGURATION ? 0 : rc;
}

static int import_rows(const CommandContext *context, const CsvFile *file)
{
    for (size_t i = 0; i < file->row_count; i++) {
        int rc = import_row(context, file, &file->rows[i]);
        if (rc < 0) {
            return rc;
        }
    }
    return context->req->errors.error_count > 0 ? -ERR_CONFIGURATION : 0;
}

/** All rows are checked; all are stored, or none. */
static int node_import(const Options *options, CommandContext *context)
{
    CsvFile file;
    int rc;

    if ((rc = csv_read(context->arena, &context->req->errors, options->arguments[1], csv_columns,
                       CSV_COUNT, &file)) < 0 ||
        (rc = command_begin(context)) < 0 || (rc = import_rows(context, &file)) < 0) {
        return command_status_of(rc);
    }
    rc = command_finish(options, context);
    if (rc == 0) {
        command_say(options,
                    options->dry_run ? tr("%zu nodes checked, nothing changed")
                                     : tr("%zu nodes imported"),
                    file.row_count);
    }
    return command_status_of(rc);
}

/* Lists */

static json_t *json_list(const CommandContext *context, const DbResult *rows, int row, int column)
{
    Str *items = NULL;
    size_t count = db_text_array(rows, row, column, context->arena, &items);
    json_t *list = json_array();

    for (size_t i = 0; i < count; i++) {
        json_array_append_new(list, json_text(items[i]));
    }
    return list;
}

static json_t *json_instant(const CommandContext *context, const DbResult *rows, int row,
                            int column)
{
    if (db_is_null(rows, row, column)) {
        return json_null();
    }
    return json_text(clock_iso8601(context->arena, db_timestamp(rows, row, column)));
}

/** INT64_MIN and INT64_MAX: there is none. */
static json_t *json_time(const CommandContext *context, int64_t at_us)
{
    return at_us == INT64_MIN || at_us == INT64_MAX
               ? json_null()
               : json_text(clock_iso8601(context->arena, at_us));
}

/** The certificates of every node that is listed. */
typedef struct CertificateList {
    NodeCertificateRow *rows;
    size_t count;
} CertificateList;

static json_t *json_certificates(const CommandContext *context, const CertificateList *certificates,
                                 Str node)
{
    json_t *list = json_array();
    for (size_t i = 0; i < certificates->count; i++) {
        const NodeCertificateRow *row = &certificates->rows[i];
        if (!str_equal(row->node, node)) {
            continue;
        }
        json_t *days = row->not_after_us == INT64_MAX
                           ? json_null()
                           : json_integer((json_int_t)certificate_days_left(row->not_after_us));
        json_array_append_new(list, json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "fingerprint",
                                              json_text(row->fingerprint), "subject",
                                              json_text(row->subject), "not_before",
                                              json_time(context, row->not_before_us), "not_after",
                                              json_time(context, row->not_after_us), "days_left",
                                              days, "added_at", json_time(context, row->added_us),
                                              "revoked_at", json_time(context, row->revoked_us)));
    }
    return list;
}

static void print_nodes_json(const CommandContext *context, const DbResult *rows,
                             const CertificateList *certificates)
{
    json_t *list = json_array();

    for (int i = 0; i < db_rows(rows); i++) {
        json_t *node = json_object();
        json_object_set_new(node, "name", json_text(db_text(rows, i, 0)));
        json_object_set_new(node, "facility", json_text(db_text(rows, i, 1)));
        json_object_set_new(node, "transactions", json_list(context, rows, i, 2));
        json_object_set_new(node, "sources", json_list(context, rows, i, 3));
        json_object_set_new(node, "ae_titles", json_list(context, rows, i, 4));
        json_object_set_new(node, "source_ids", json_list(context, rows, i, 5));
        json_object_set_new(node, "operator", json_boolean(db_bool(rows, i, 6)));
        json_object_set_new(node, "revoked_at", json_instant(context, rows, i, 7));
        json_object_set_new(node, "fingerprints", json_list(context, rows, i, 8));
        json_object_set_new(node, "certificate_until", json_instant(context, rows, i, 9));
        json_object_set_new(node, "roles", json_list(context, rows, i, 10));
        json_object_set_new(node, "may_submit", json_boolean(db_bool(rows, i, 11)));
        json_object_set_new(node, "also_for", json_list(context, rows, i, 12));
        json_object_set_new(node, "certificates",
                            json_certificates(context, certificates, db_text(rows, i, 0)));
        json_array_append_new(list, node);
    }
    json_print(list);
}

static Str join_list(const CommandContext *context, const DbResult *rows, int row, int column)
{
    Str *items = NULL;
    size_t count = db_text_array(rows, row, column, context->arena, &items);
    StrBuf buf = {0};

    for (size_t i = 0; i < count; i++) {
        strbuf_printf(&buf, "%s%.*s", i > 0 ? "," : "", STR_ARG(items[i]));
    }
    Str text = str_dup(context->arena, strbuf_str(&buf));
    strbuf_done(&buf);
    return text;
}

static void print_certificate(const CommandContext *context, const NodeCertificateRow *row)
{
    char days[24] = "?";
    Str until = STR("?");
    if (row->not_after_us != INT64_MAX) {
        (void)snprintf(days, sizeof(days), "%lld",
                       (long long)certificate_days_left(row->not_after_us));
        until = str_slice(clock_iso8601(context->arena, row->not_after_us), 0,
                          sizeof("2026-04-01") - 1);
    }
    printf("%-11.*s%6s  %.8s  ", STR_ARG(until), days, str_cstr(context->arena, row->fingerprint));
}

/** The columns of the certificates that are in force, the first on the line of its node. */
static void print_certificates(const CommandContext *context, const CertificateList *certificates,
                               Str node, Str transactions)
{
    bool is_first = true;
    for (size_t i = 0; i < certificates->count; i++) {
        const NodeCertificateRow *row = &certificates->rows[i];
        if (!str_equal(row->node, node) || row->revoked_us != INT64_MAX) {
            continue;
        }
        if (!is_first) {
            printf("%*s", 20 + 1 + 20 + 1 + 10 + 1, "");
        }
        print_certificate(context, row);
        printf("%.*s\n", STR_ARG(is_first ? transactions : STR_EMPTY));
        is_first = false;
    }
    if (is_first) {
        printf("%-11s%6s  %-8s  %.*s\n", "-", "-", "-", STR_ARG(transactions));
    }
}

static void print_nodes(const CommandContext *context, const DbResult *rows,
                        const CertificateList *certificates)
{
    command_print_cell(tr("NODE"), 20);
    command_print_cell(tr("FACILITY"), 20);
    command_print_cell(tr("STATE"), 10);
    command_print_cell(tr("CERT UNTIL"), 11);
    command_print_cell(tr("DAYS"), 6);
    command_print_cell("SHA-256", 9);
    printf("%s\n", tr("TRANSACTIONS"));
    for (int i = 0; i < db_rows(rows); i++) {
        const char *state = db_bool(rows, i, 6) ? tr("operator") : tr("registered");
        if (!db_is_null(rows, i, 7)) {
            state = tr("revoked");
        }
        command_print_cell(str_cstr(context->arena, db_text(rows, i, 0)), 20);
        command_print_cell(str_cstr(context->arena, db_text(rows, i, 1)), 20);
        command_print_cell(state, 10);
        print_certificates(context, certificates, db_text(rows, i, 0),
                           join_list(context, rows, i, 2));
    }
}

static int node_list(const Options *options, CommandContext *context)
{
    DbResult *rows = NULL;
    CertificateList certificates;

    if (db_exec(context->conn, context->req, &select_nodes, NULL, &rows) < 0 ||
        node_certificates_select(context, NULL, &certificates.rows, &certificates.count) < 0) {
        return EXIT_FAILED;
    }
    if (options->json) {
        print_nodes_json(context, rows, &certificates);
    } else {
        print_nodes(context, rows, &certificates);
    }
    return EXIT_GOOD;
}

int command_node(const Options *options)
{
    static const Subcommand subcommands[] = {
        {"add", 1, 1, node_add},
        {"list", 0, 0, node_list},
        {"revoke", 1, 1, node_revoke},
        {"certificate", 2, 2, node_certificate_command},
        {"import", 1, 1, node_import},
        {"test", 1, 1, node_test_command},
        {"endpoint", 1, 3, node_endpoint_command},
    };

    return command_run(options, subcommands, ARRAY_LEN(subcommands));
}
