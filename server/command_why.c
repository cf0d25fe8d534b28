#include <stdio.h>
#include <string.h>

#include "lib/access/access.h"
#include "server/command_json.h"
#include "server/disclosure_row.h"
#include "server/enrolment.h"
#include "server/known_patient.h"
#include "server/language.h"

/* musubi why: replays a decision, and names the rule that decides it. */

/** What is asked about. */
typedef struct Target {
    AccessObject object;
    int64_t patient;
    Str patient_value; /* XAD-PID; empty: unknown */
    Str facility;      /* name; empty: unknown */
    json_t *json;      /* for a reader; owned */
} Target;

/** The questions, and the transaction that each needs. */
static const struct {
    const char *name;
    AccessPurpose purpose;
    const char *transaction; /* NULL: no transaction of its own */
} questions[] = {
    {"list", ACCESS_LIST, "ITI-18"},
    {"view", ACCESS_VIEW, NULL},
    {"download", ACCESS_DOWNLOAD, "ITI-43"},
    {"submit", ACCESS_SUBMIT, "ITI-41"},
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

/** "CODE^^SYSTEM" */
static bool read_code(const char *text, AccessCode *ret_code)
{
    Str whole = str_from(text);
    const size_t at = str_find(whole, STR("^^"));

    *ret_code = (AccessCode){
        .code = str_slice(whole, 0, at),
        .system = at == SIZE_MAX ? STR_EMPTY : str_from_offset(whole, at + 2),
        .display = STR_EMPTY,
        .text = STR_EMPTY,
    };
    return at != SIZE_MAX && at > 0 && !str_is_empty(ret_code->system);
}

/** The person that an assertion would name; none without --user, --role and --purpose. */
static int read_user(const IdentityCommand *command)
{
    const Options *options = command->options;
    AccessUser *user = ARENA_NEW(command->arena, AccessUser);
    AccessCode *role = ARENA_NEW(command->arena, AccessCode);
    AccessCode *purpose = ARENA_NEW(command->arena, AccessCode);

    if ((options->role && !read_code(options->role, role)) ||
        (options->purpose && !read_code(options->purpose, purpose))) {
        return fault(command, tr("write a code as CODE^^SYSTEM"),
                     str_from(options->role ? options->role : options->purpose));
    }
    purpose->text = str_from(options->reason);
    user->id = options->user ? str_from(options->user) : STR_EMPTY;
    user->issuer = STR_EMPTY;
    user->roles = role;
    user->role_count = options->role != NULL;
    user->purposes = purpose;
    user->purpose_count = options->purpose != NULL;
    if (options->user || options->role || options->purpose) {
        command->context->req->user = user;
    }
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

static int read_document(const IdentityCommand *command, Target *ret_target)
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
    *ret_target = (Target){
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
static int read_facility(const IdentityCommand *command, Target *ret_target)
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
    *ret_target = (Target){
        .patient = patient.id,
        .patient_value = patient.value,
        .facility = str_from(options->facility),
        .object = {.source_facility = db_i32(rows, 0, 0), .effective_us = INT64_MIN},
        .json = json_pack("{s:o, s:s}", "patient", json_text(patient.value), "facility",
                          options->facility),
    };
    return 0;
}

/* ---- the decision ---- */

/** The object's codes that no role may see, one by one. */
static json_t *hidden_codes(const AccessScope *scope, const Target *target)
{
    json_t *list = json_array();
    json_t *texts = json_object_get(target->json, "confidentiality");

    for (size_t i = 0; i < target->object.confidentiality_count; i++) {
        AccessObject one = target->object;
        one.confidentiality_codes = &target->object.confidentiality_codes[i];
        one.confidentiality_count = 1;
        if (access_explain(scope, &one).reason == ACCESS_CONFIDENTIALITY) {
            json_array_append(list, json_array_get(texts, i));
        }
    }
    return list;
}

/** The row of disclosure in words, as JSON; null: none decided. */
static int rule_json(const IdentityCommand *command, int32_t disclosure, json_t **ret_json)
{
    const DisclosureSelection selection = {.id = disclosure, .has_ended = true};
    DbResult *rows = NULL;
    int rc = disclosure == 0 ? 0 : disclosure_rows_read(command, &selection, &rows);

    if (rc == 0) {
        *ret_json = disclosure != 0 && db_rows(rows) > 0 ? disclosure_row_json(command, rows, 0)
                                                         : json_null();
    }
    return rc;
}

/** What an operator may do about it; empty: nothing is wrong. */
static Str remedy(const IdentityCommand *command, const Target *target, AccessDecision decision,
                  const char *level)
{
    const Principal *principal = command->context->req->principal;
    Arena *arena = command->arena;

    switch ((int)decision.reason) {
    case ACCESS_NOT_ENROLLED:
        return str_printf(arena, "musubi patient enroll %.*s", STR_ARG(target->patient_value));
    case ACCESS_NOT_DISCLOSED:
        return str_printf(arena,
                          "musubi disclosure add --patient %.*s --source '%.*s' --reader '%.*s' "
                          "--permit --level %s",
                          STR_ARG(target->patient_value), STR_ARG(target->facility),
                          STR_ARG(principal->facility_name), level);
    case ACCESS_DENIED:
        return str_printf(arena, "musubi disclosure revoke %d", decision.disclosure);
    case ACCESS_CONFIDENTIALITY:
        return STR("musubi role permit ROLE CODE^^SCHEME");
    case ACCESS_ROLE_LEVEL:
        return STR("musubi role list");
    case ACCESS_NO_PRINCIPAL:
        return STR("musubi node add NAME ...");
    case ACCESS_MAY_NOT_SUBMIT:
    case ACCESS_OTHER_FACILITY:
        return STR("musubi node add NAME ... --also-for FACILITY");
    default:
        return STR_EMPTY;
    }
}

static int decide(const IdentityCommand *command, const Target *target, size_t question,
                  json_t **ret_json)
{
    Request *req = command->context->req;
    const char *transaction = questions[question].transaction;
    const AccessPurpose purpose = questions[question].purpose;
    const AccessScope *scope = NULL;
    json_t *rule = NULL;
    int rc = access_open(req, target->patient, purpose, &scope);

    if (rc < 0) {
        return rc;
    }
    const AccessDecision decision = access_explain(scope, &target->object);
    const bool may_use = !transaction || access_may_use(req->principal, transaction);
    rc = rule_json(command, decision.disclosure, &rule);
    if (rc < 0) {
        return rc;
    }
    *ret_json = json_pack(
        "{s:s, s:b, s:s, s:s, s:o, s:o, s:o, s:b, s:s}", "question", questions[question].name,
        "is_permitted", may_use && access_permits(decision.reason), "reason",
        access_reason_name(decision.reason), "text", access_reason_text(decision.reason), "rule",
        rule, "hidden_codes",
        decision.reason == ACCESS_CONFIDENTIALITY ? hidden_codes(scope, target) : json_array(),
        "remedy",
        json_text(
            remedy(command, target, decision, purpose == ACCESS_DOWNLOAD ? "download" : "view")),
        "may_use_transaction", may_use, "transaction", transaction ? transaction : "");
    return 0;
}

/* ---- telling ---- */

static void print_decision(const IdentityCommand *command, const json_t *decision)
{
    const json_t *rule = json_object_get(decision, "rule");
    const char *text = json_string_value(json_object_get(decision, "remedy"));
    size_t i;
    json_t *code;

    command_print_cell(json_string_value(json_object_get(decision, "question")), 10);
    command_print_cell(
        json_is_true(json_object_get(decision, "is_permitted")) ? tr("yes") : tr("no"), 6);
    printf("%s\n", tr(json_string_value(json_object_get(decision, "text"))));
    if (json_is_object(rule)) {
        printf(tr("                 rule: %.*s\n"),
               STR_ARG(disclosure_row_words(command->arena, rule)));
    }
    json_array_foreach(json_object_get(decision, "hidden_codes"), i, code)
    {
        printf(tr("                 code: %s\n"), json_string_value(code));
    }
    if (!json_is_true(json_object_get(decision, "may_use_transaction"))) {
        printf(
            tr("                 the node may not use %s: musubi node add NAME --transactions\n"),
            json_string_value(json_object_get(decision, "transaction")));
    }
    if (text[0]) {
        printf(tr("                 to change that: %s\n"), text);
    }
}

static void print_field(const json_t *object, const char *name, const char *label)
{
    const json_t *value = json_object_get(object, name);
    size_t i;
    json_t *item;

    if (json_is_string(value) && json_string_length(value) > 0) {
        printf("%s %s\n", label, json_string_value(value));
    }
    json_array_foreach(value, i, item)
    {
        printf("%s %s\n", label, json_string_value(item));
    }
}

static void print_answer(const IdentityCommand *command, const json_t *answer)
{
    const json_t *node = json_object_get(answer, "node");
    const json_t *object = json_object_get(answer, "object");
    size_t i;
    json_t *decision;

    print_field(node, "name", tr("node      "));
    print_field(node, "facility", tr("of        "));
    print_field(node, "revoked_at", tr("revoked at"));
    print_field(node, "roles", tr("role      "));
    print_field(object, "document", tr("document  "));
    if (json_is_false(json_object_get(object, "is_known"))) {
        (void)puts(tr("no document of this registry has this uniqueId: everybody is told so"));
    }
    print_field(object, "patient", tr("patient   "));
    print_field(object, "facility", tr("source    "));
    print_field(object, "classes", tr("class     "));
    print_field(object, "confidentiality", tr("confid.   "));
    print_field(object, "from", tr("from      "));
    if (json_object_get(answer, "is_enrolled")) {
        enrolment_print(answer);
    }
    json_array_foreach(json_object_get(answer, "decisions_on_access"), i, decision)
    {
        print_decision(command, decision);
    }
}

static int add_enrolment(const IdentityCommand *command, const Target *target, json_t *answer)
{
    int64_t *ids = NULL;
    size_t count = 0;

    if (target->patient == 0) {
        return 0;
    }
    int rc = person_view_chain(command->context->conn, command->context->req, target->patient, &ids,
                               &count);
    return rc < 0 ? rc : enrolment_add(command, ids, count, answer);
}

/** @param ret_is_permitted  each way of reading is */
static int add_decisions(const IdentityCommand *command, const Target *target, json_t *answer,
                         bool *ret_is_permitted)
{
    json_t *list = json_array();
    int rc = 0;

    *ret_is_permitted = true;
    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(questions); i++) {
        json_t *decision = NULL;
        rc = decide(command, target, i, &decision);
        if (rc == 0 && i < READING_COUNT &&
            !json_is_true(json_object_get(decision, "is_permitted"))) {
            *ret_is_permitted = false;
        }
        json_array_append_new(list, decision);
    }
    json_object_set_new(answer, "decisions_on_access", list);
    json_object_set_new(answer, "is_permitted", json_boolean(*ret_is_permitted));
    return rc;
}

static int record_shown(const IdentityCommand *command, const Target *target)
{
    if (str_is_empty(target->patient_value)) {
        return 0;
    }
    Str patient = hl7_cx_format(command->arena, target->patient_value,
                                command->authorities->affinity_domain->oid);
    return identity_command_record_shown(command, &patient, 1);
}

static int explain(const IdentityCommand *command, const Target *target, json_t *answer)
{
    bool is_permitted = false;
    int rc = add_enrolment(command, target, answer);

    rc = rc < 0 ? rc : add_decisions(command, target, answer, &is_permitted);
    rc = rc < 0 ? rc : record_shown(command, target);
    if (rc < 0) {
        return EXIT_FAILED;
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
    json_t *node = NULL;
    Target target = {.object = {.effective_us = INT64_MIN}};
    int rc = read_node(command, &node);

    rc = rc < 0 ? rc : read_user(command);
    if (rc == 0) {
        rc = command->options->document ? read_document(command, &target)
                                        : read_facility(command, &target);
    }
    json_object_set_new(answer, "node", node);
    json_object_set_new(answer, "object", target.json);
    int status = rc < 0 ? identity_command_status(rc) : explain(command, &target, answer);
    json_decref(answer);
    return status;
}

int command_why(const Options *options)
{
    CommandContext context;
    bool has_facility = options->patient && options->facility;

    if (!options->node || (options->document != NULL) == has_facility ||
        options->argument_count > 0) {
        return options_usage(options->command);
    }
    int status = command_open(options, &context);
    if (status == EXIT_GOOD) {
        status = identity_command_run(options, &context, run);
    }
    return command_close(&context, status);
}
