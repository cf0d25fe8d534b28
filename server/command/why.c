#include <stdio.h>
#include <string.h>

#include "lib/access/codes.h"
#include "server/command/json.h"
#include "server/command/known_patient.h"
#include "server/command/presumed_user.h"
#include "server/command/why_decision.h"
#include "server/command/why_study.h"
#include "server/language.h"

/* musubi why: replays a decision, and names the rule that decides it. Of images:
 * why_study.c. */

static const WhyQuestion questions[] = {
    {"list", ACCESS_LIST, {"ITI-18"}},
    {"view", ACCESS_VIEW, {NULL}},
    {"download", ACCESS_DOWNLOAD, {"ITI-43"}},
    {"submit", ACCESS_SUBMIT, {"ITI-41"}},
};

#define READING_COUNT 3 /* of the questions: what "permitted" means */

static const DbStatement select_node = {
    "why_node",
    "SELECT f.name, n.revoked_at, n.roles, n.may_submit, n.is_operator FROM node n"
    " JOIN facility f ON f.id = n.facility WHERE n.name = $1::text",
};

static const DbStatement select_document = {
    "why_document",
    "SELECT d.patient, p.value, d.source_facility, coalesce(f.name, ''), d.class_code,"
    " d.confidentiality_code, d.status, coalesce(d.service_start_time, d.creation_time),"
    " " CODED_TEXTS("ARRAY[d.class_code]") ", " CODED_TEXTS(
        "d.confidentiality_code") ", d.unique_id"
                                  " FROM document_entry d JOIN patient_identifier asked ON "
                                  "asked.id = d.patient"
                                  " JOIN patient_identifier p ON p.id = coalesce(asked.survivor, "
                                  "asked.id)"
                                  " LEFT JOIN facility f ON f.id = d.source_facility"
                                  " WHERE hashtext(d.unique_id) = hashtext($1::text) AND "
                                  "d.unique_id = $1::text"
                                  " ORDER BY d.status, d.version DESC LIMIT 1",
};

static const DbStatement select_facility = {"why_facility",
                                            "SELECT id FROM facility WHERE name = $1::text"};

static int fault(const IdentityCommand *command, const char *format, Str value)
{
    return error_add(&command->context->req->errors, ERR_CONFIGURATION, "why", "%s: %.*s", format,
                     STR_ARG(value));
}

/* ---- who ---- */

/** Sets req->principal; a revoked node has none, as its certificate would find out. */
static int read_node(const IdentityCommand *command, json_t **ret_json)
{
    Request *req = command->context->req;
    Str name = str_from(command->options->node);
    DbParams params;
    DbResult *rows = NULL;

    db_params_init(&params, command->arena);
    db_param_text(&params, name);
    int rc = db_exec(command->context->conn, req, &select_node, &params, &rows);
    if (rc < 0) {
        return rc;
    }
    if (db_rows(rows) == 0) {
        return fault(command, tr("no node has this name; musubi node list shows them"), name);
    }
    req->principal = node_directory_find_name(command->services.nodes, command->arena, name);
    Str *roles = NULL;
    size_t role_count = db_text_array(rows, 0, 2, command->arena, &roles);
    json_t *list = json_array();
    for (size_t i = 0; i < role_count; i++) {
        json_array_append_new(list, json_text(roles[i]));
    }
    if (role_count == 0) {
        json_array_append_new(list, json_string("node"));
    }
    *ret_json = json_pack("{s:o, s:o, s:o, s:o, s:b, s:b}", "name", json_text(name), "facility",
                          json_text(db_text(rows, 0, 0)), "revoked_at",
                          identity_instant_json(command->arena, rows, 0, 1), "roles", list,
                          "may_submit", db_bool(rows, 0, 3), "is_operator", db_bool(rows, 0, 4));
    return 0;
}

/* ---- what ---- */

static json_t *texts_json(const IdentityCommand *command, const DbResult *rows, int column)
{
    Str *texts = NULL;
    size_t count = db_text_array(rows, 0, column, command->arena, &texts);
    json_t *list = json_array();

    for (size_t i = 0; i < count; i++) {
        json_array_append_new(list, json_text(texts[i]));
    }
    return list;
}

static int read_document(const IdentityCommand *command, WhyTarget *ret_target)
{
    DbParams params;
    DbResult *rows = NULL;
    int32_t *confidentiality = NULL;
    Str unique_id = str_from(command->options->document);

    db_params_init(&params, command->arena);
    db_param_text(&params, unique_id);
    int rc =
        db_exec(command->context->conn, command->context->req, &select_document, &params, &rows);
    if (rc < 0 || db_rows(rows) == 0) {
        ret_target->json = json_pack("{s:o, s:b}", "document", json_text(unique_id), "is_known", 0);
        return rc;
    }
    *ret_target = (WhyTarget){
        .patient = db_i64(rows, 0, 0),
        .patient_value = db_text(rows, 0, 1),
        .facility = db_text(rows, 0, 3),
        .object = {.source_facility = db_i32(rows, 0, 2),
                   .class_code = db_i32(rows, 0, 4),
                   .confidentiality_count =
                       db_i32_array(rows, 0, 5, command->arena, &confidentiality),
                   .status = db_i16(rows, 0, 6),
                   .effective_us = db_is_null(rows, 0, 7) ? INT64_MIN : db_timestamp(rows, 0, 7)},
    };
    ret_target->object.confidentiality_codes = confidentiality;
    ret_target->json = json_pack(
        "{s:o, s:b, s:o, s:o, s:o, s:o, s:o, s:s}", "document", json_text(unique_id), "is_known", 1,
        "patient", json_text(ret_target->patient_value), "facility",
        json_text(ret_target->facility), "classes", texts_json(command, rows, 8), "confidentiality",
        texts_json(command, rows, 9), "from", identity_instant_json(command->arena, rows, 0, 7),
        "status", ret_target->object.status == 0 ? "Approved" : "Deprecated");
    return 0;
}

/** Some document of the facility: of no class, period and confidentiality. */
static int read_facility(const IdentityCommand *command, WhyTarget *ret_target)
{
    const Options *options = command->options;
    KnownPatient patient = {0};
    DbParams params;
    DbResult *rows = NULL;
    int rc = known_patient_find(command, str_from(options->patient), "why", &patient);

    db_params_init(&params, command->arena);
    db_param_text(&params, str_from(options->facility));
    rc = rc < 0 ? rc
                : db_exec(command->context->conn, command->context->req, &select_facility, &params,
                          &rows);
    if (rc < 0) {
        return rc;
    }
    if (db_rows(rows) == 0) {
        return fault(command, tr("there is no such facility; musubi facility list shows them"),
                     str_from(options->facility));
    }
    *ret_target = (WhyTarget){
        .patient = patient.id,
        .patient_value = patient.value,
        .facility = str_from(options->facility),
        .object = {.source_facility = db_i32(rows, 0, 0), .effective_us = INT64_MIN},
        .json = json_pack("{s:o, s:s}", "patient", json_text(patient.value), "facility",
                          options->facility),
    };
    return 0;
}

/* ---- telling ---- */

static void print_reader(const json_t *node)
{
    why_field_print(node, "name", tr("node      "));
    why_field_print(node, "facility", tr("of        "));
    why_field_print(node, "revoked_at", tr("revoked at"));
    why_field_print(node, "roles", tr("role      "));
}

static void print_object(const json_t *object)
{
    why_field_print(object, "document", tr("document  "));
    if (json_is_false(json_object_get(object, "is_known"))) {
        (void)puts(tr("no document of this registry has this uniqueId: everybody is told so"));
    }
    why_field_print(object, "patient", tr("patient   "));
    why_field_print(object, "facility", tr("source    "));
    why_field_print(object, "classes", tr("class     "));
    why_field_print(object, "confidentiality", tr("confid.   "));
    why_field_print(object, "from", tr("from      "));
}

static void print_answer(const IdentityCommand *command, const json_t *answer)
{
    print_reader(json_object_get(answer, "node"));
    if (command->options->study) {
        why_study_print(command, answer);
    } else {
        print_object(json_object_get(answer, "object"));
        why_decisions_print(command, answer);
    }
}

static int record_shown(const IdentityCommand *command, const WhyTarget *target)
{
    if (str_is_empty(target->patient_value)) {
        return 0;
    }
    Str patient = hl7_cx_format(command->arena, target->patient_value,
                                command->authorities->affinity_domain->oid);
    return identity_command_record_shown(command, &patient, 1);
}

/** Of a document, or of some document of a facility. */
static int add_document(const IdentityCommand *command, json_t *answer, bool *ret_is_permitted)
{
    WhyTarget target = {.object = {.effective_us = INT64_MIN}};
    int rc = command->options->document ? read_document(command, &target)
                                        : read_facility(command, &target);

    json_object_set_new(answer, "object", target.json);
    rc = rc < 0 ? rc
                : why_decisions_add(command, &target, questions, ARRAY_LEN(questions),
                                    READING_COUNT, answer, ret_is_permitted);
    return rc < 0 ? rc : record_shown(command, &target);
}

static int explain(const IdentityCommand *command, json_t *answer)
{
    json_t *node = NULL;
    bool is_permitted = false;
    int rc = read_node(command, &node);

    json_object_set_new(answer, "node", node);
    rc = rc < 0 ? rc : presumed_user_read(command, "why");
    if (rc == 0) {
        rc = command->options->study ? why_study_add(command, answer, &is_permitted)
                                     : add_document(command, answer, &is_permitted);
    }
    if (rc < 0) {
        return identity_command_status(rc);
    }
    if (command->options->json) {
        json_print(json_incref(answer));
    } else {
        print_answer(command, answer);
    }
    return is_permitted ? EXIT_GOOD : EXIT_FOUND;
}

static int run(IdentityCommand *command)
{
    json_t *answer = json_object();
    int status = explain(command, answer);

    json_decref(answer);
    return status;
}

int command_why(const Options *options)
{
    CommandContext context;
    const bool has_facility = options->patient && options->facility;
    const int targets = (options->document != NULL) + (options->study != NULL) + has_facility;

    if (!options->node || targets != 1 || options->argument_count > 0) {
        return options_usage(options->command);
    }
    int status = command_open(options, &context);
    if (status == EXIT_GOOD) {
        status = identity_command_run(options, &context, run);
    }
    return command_close(&context, status);
}
