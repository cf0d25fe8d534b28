#include <stdio.h>

#include "lib/tls/tls.h"
#include "pix/authority_table.h"
#include "server/command/ae_test.h"
#include "server/command/audited_change.h"
#include "server/command/json.h"
#include "server/command/text_list.h"
#include "server/language.h"

/* musubi ae: the DICOM application entities of nodes. */

#define MAX_TITLE_LEN 16
#define MAX_PORT 65535

static const DbStatement select_node = {
    "ae_node", "SELECT id FROM node WHERE name = $1::text AND revoked_at IS NULL"};

static const DbStatement upsert_ae = {
    "ae_upsert",
    "INSERT INTO imaging_ae (node, ae_title, authority, issuers, institutions, manifest, host, "
    "port, is_tls, fingerprint) VALUES ($1::integer, $2::text, $3::integer, $4::integer[], "
    "$5::text[], $6::text, $7::text, $8::integer, $9::boolean, $10::text) "
    "ON CONFLICT (node, ae_title) DO UPDATE SET authority = excluded.authority, "
    "issuers = excluded.issuers, institutions = excluded.institutions, "
    "manifest = excluded.manifest, host = excluded.host, port = excluded.port, "
    "is_tls = excluded.is_tls, fingerprint = excluded.fingerprint",
};

static const DbStatement delete_ae = {
    "ae_delete", "DELETE FROM imaging_ae WHERE node = $1::integer AND ae_title = $2::text"};

static const DbStatement select_aes = {
    "ae_list",
    "SELECT e.ae_title, n.name, f.name, coalesce(a.oid, ''), "
    "ARRAY(SELECT oid FROM assigning_authority WHERE id = ANY (e.issuers) ORDER BY oid), "
    "e.institutions, e.manifest, CASE WHEN e.host = '' THEN '' ELSE e.host || ':' || e.port END, "
    "e.is_tls, e.fingerprint FROM imaging_ae e JOIN node n ON n.id = e.node "
    "JOIN facility f ON f.id = n.facility LEFT JOIN assigning_authority a ON a.id = e.authority "
    "WHERE n.revoked_at IS NULL ORDER BY e.ae_title, n.name",
};

/** What the operator wrote, read. */
typedef struct AeInput {
    Str title;
    int32_t node;
    int32_t authority; /* 0: that of its facility */
    int32_t *issuers;
    size_t issuer_count;
    Str *institutions;
    size_t institution_count;
    Str manifest;
    Str host;
    uint64_t port;
    Str fingerprint;
} AeInput;

static bool is_title(Str title)
{
    for (size_t i = 0; i < title.len; i++) {
        if (title.data[i] < ' ' || title.data[i] > '~' || title.data[i] == '\\') {
            return false;
        }
    }
    return title.len > 0 && title.len <= MAX_TITLE_LEN;
}

/** @return 0, or negative: it is unknown */
static int find_node(const CommandContext *context, Str name, int32_t *ret_node)
{
    DbParams params;
    DbResult *rows = NULL;
    db_params_init(&params, context->arena);
    db_param_text(&params, name);
    int rc = db_exec(context->conn, context->req, &select_node, &params, &rows);
    if (rc == 0 && db_rows(rows) == 0) {
        return command_fault(&context->req->errors, "ae",
                             tr("there is no such node; musubi node list shows them"), name);
    }
    if (rc == 0) {
        *ret_node = db_i32(rows, 0, 0);
    }
    return rc;
}

/** OIDs or namespaces with commas. */
static int find_authorities(const CommandContext *context, const char *list, int32_t **ret_ids,
                            size_t *ret_count)
{
    Str *names;
    size_t count = text_list_split(context->arena, str_from(list), ",", &names);
    bool *is_known = ARENA_ARRAY(context->arena, bool, count);
    int rc = authority_table_find(context->conn, context->req,
                                  str_from(context->config->affinity_domain.patient_id_authority),
                                  names, count, is_known, ret_ids, ret_count);
    for (size_t i = 0; i < count && rc == 0; i++) {
        if (!is_known[i]) {
            rc = command_fault(&context->req->errors, "ae",
                               tr("no such authority; musubi authority list shows them"), names[i]);
        }
    }
    return rc;
}

static int read_authorities(const CommandContext *context, const Options *options, AeInput *input)
{
    int32_t *ids = NULL;
    size_t count = 0;
    int rc = find_authorities(context, options->authority, &ids, &count);
    if (rc == 0 && count > 1) {
        rc = command_fault(&context->req->errors, "ae", tr("write one authority"),
                           str_from(options->authority));
    }
    input->authority = rc == 0 && count == 1 ? ids[0] : 0;
    return rc < 0
               ? rc
               : find_authorities(context, options->issuers, &input->issuers, &input->issuer_count);
}

/** HOST:PORT. */
static int read_address(const CommandContext *context, Str address, AeInput *input)
{
    size_t colon = address.len;
    while (colon > 0 && address.data[colon - 1] != ':') {
        colon--;
    }
    if (str_is_empty(address)) {
        return 0;
    }
    if (colon < 2 || !str_to_u64(str_from_offset(address, colon), &input->port) ||
        input->port == 0 || input->port > MAX_PORT || !str_is_utf8(address)) {
        return command_fault(&context->req->errors, "ae", tr("write --address HOST:PORT"), address);
    }
    input->host = str_slice(address, 0, colon - 1);
    return 0;
}

static int read_input(const CommandContext *context, const Options *options, AeInput *input)
{
    input->title = str_trim(str_from(options->arguments[1]));
    input->manifest = options->manifest ? str_from(options->manifest) : STR("auto");
    input->host = input->fingerprint = STR_EMPTY;
    int rc =
        is_title(input->title)
            ? 0
            : command_fault(&context->req->errors, "ae",
                            tr("an AE title has 1 to 16 letters, digits and signs"), input->title);
    if (!options->node) {
        rc = command_fault(&context->req->errors, "ae", tr("say --node NAME"), STR_EMPTY);
    }
    if (!str_equal(input->manifest, STR("auto")) && !str_equal(input->manifest, STR("source"))) {
        rc = command_fault(&context->req->errors, "ae", tr("write --manifest auto or source"),
                           input->manifest);
    }
    if (options->fingerprint &&
        !tls_fingerprint_parse(context->arena, str_from(options->fingerprint),
                               &input->fingerprint)) {
        rc = command_fault(&context->req->errors, "ae",
                           tr("a fingerprint is SHA-256, 64 hexadecimal digits"),
                           str_from(options->fingerprint));
    }
    rc = MIN(rc, read_address(context, str_from(options->address), input));
    rc = rc < 0 ? rc : find_node(context, str_from(options->node), &input->node);
    input->institution_count =
        text_list_split(context->arena, str_from(options->institutions), ";", &input->institutions);
    return rc < 0 ? rc : read_authorities(context, options, input);
}

static int store(const CommandContext *context, const Options *options, const AeInput *input)
{
    DbParams params;
    db_params_init(&params, context->arena);
    db_param_i32(&params, input->node);
    db_param_text(&params, input->title);
    if (input->authority) {
        db_param_i32(&params, input->authority);
    } else {
        db_param_null(&params);
    }
    db_param_i32_array(&params, input->issuers, input->issuer_count);
    db_param_text_array(&params, input->institutions, input->institution_count);
    db_param_text(&params, input->manifest);
    db_param_text(&params, input->host);
    db_param_i32(&params, (int32_t)input->port);
    db_param_bool(&params, !options->is_plain);
    db_param_text(&params, input->fingerprint);
    return db_exec(context->conn, context->req, &upsert_ae, &params, NULL);
}

static int record(const CommandContext *context, const Options *options, const char *action)
{
    const AuditedChange change = {.kind = CHANGED_AE,
                                  .name = str_trim(str_from(options->arguments[1])),
                                  .action = action,
                                  .detail = str_from(options->node)};
    return audited_change_record(context, &change);
}

static int ae_add(const Options *options, CommandContext *context)
{
    AeInput input = {0};
    int rc = read_input(context, options, &input);
    rc = rc < 0 ? rc : command_begin(context);
    rc = rc < 0 ? rc : store(context, options, &input);
    rc = rc < 0 ? rc : record(context, options, "set");
    rc = rc < 0 ? rc : db_commit(context->conn, context->req, NULL);
    if (rc == 0) {
        command_say(options, tr("AE %.*s stored; a running server knows it within seconds"),
                    STR_ARG(input.title));
    }
    return command_status_of(rc);
}

static int ae_remove(const Options *options, CommandContext *context)
{
    int32_t node = 0;
    DbParams params;
    DbResult *result = NULL;
    int rc = options->node
                 ? find_node(context, str_from(options->node), &node)
                 : command_fault(&context->req->errors, "ae", tr("say --node NAME"), STR_EMPTY);
    db_params_init(&params, context->arena);
    db_param_i32(&params, node);
    db_param_text(&params, str_trim(str_from(options->arguments[1])));
    rc = rc < 0 ? rc : command_begin(context);
    rc = rc < 0 ? rc : db_exec(context->conn, context->req, &delete_ae, &params, &result);
    if (rc == 0 && db_affected(result) == 0) {
        command_say(options, tr("node %s has no AE %s"), options->node, options->arguments[1]);
        return EXIT_FOUND;
    }
    rc = rc < 0 ? rc : record(context, options, "remove");
    rc = rc < 0 ? rc : db_commit(context->conn, context->req, NULL);
    if (rc == 0) {
        command_say(options, tr("AE %s removed"), options->arguments[1]);
    }
    return command_status_of(rc);
}

/* ---- list ---- */

static json_t *texts_json(const CommandContext *context, const DbResult *rows, int row, int column)
{
    Str *texts;
    size_t count = db_text_array(rows, row, column, context->arena, &texts);
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++) {
        json_array_append_new(list, json_text(texts[i]));
    }
    return list;
}

static json_t *ae_json(const CommandContext *context, const DbResult *rows, int row)
{
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:b, s:o}", "ae_title",
                     json_text(db_text(rows, row, 0)), "node", json_text(db_text(rows, row, 1)),
                     "facility", json_text(db_text(rows, row, 2)), "authority",
                     json_text(db_text(rows, row, 3)), "issuers", texts_json(context, rows, row, 4),
                     "institutions", texts_json(context, rows, row, 5), "manifest",
                     json_text(db_text(rows, row, 6)), "address", json_text(db_text(rows, row, 7)),
                     "tls", db_bool(rows, row, 8), "fingerprint", json_text(db_text(rows, row, 9)));
}

/** Of a list, and which column of select_aes each is. */
static const struct {
    const char *heading;
    int width;
    int column;
} cells[] = {{"TITLE", 16, 0}, {"NODE", 20, 1},    {"FACILITY", 20, 2},
             {"OID", 34, 3},   {"MANIFEST", 8, 6}, {"ADDRESS", 0, 7}};

static void print_heading(void)
{
    for (size_t i = 0; i < ARRAY_LEN(cells); i++) {
        command_print_cell(tr(cells[i].heading), cells[i].width);
    }
    (void)puts("");
}

static void print_ae(const CommandContext *context, const DbResult *rows, int row)
{
    for (size_t i = 0; i < ARRAY_LEN(cells); i++) {
        Str text = str_printable(context->arena, db_text(rows, row, cells[i].column));
        command_print_cell(str_cstr(context->arena, text), cells[i].width);
    }
    (void)puts("");
}

static int ae_list(const Options *options, CommandContext *context)
{
    DbResult *rows = NULL;
    if (db_exec(context->conn, context->req, &select_aes, NULL, &rows) < 0) {
        return EXIT_FAILED;
    }
    if (!options->json) {
        print_heading();
    }
    command_list_rows(options, context, rows, ae_json, print_ae);
    return EXIT_GOOD;
}

int command_ae(const Options *options)
{
    static const Subcommand subcommands[] = {{"add", 1, 1, ae_add},
                                             {"list", 0, 0, ae_list},
                                             {"remove", 1, 1, ae_remove},
                                             {"test", 1, 1, ae_test_command}};

    return command_run(options, subcommands, ARRAY_LEN(subcommands));
}
