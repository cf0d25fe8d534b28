#include "server/command/why_decision.h"

#include <stdio.h>

#include "server/command/disclosure_row.h"
#include "server/command/enrolment.h"
#include "server/command/json.h"
#include "server/language.h"

/** The object's codes that no role may see, one by one. */
static json_t *hidden_codes(const AccessScope *scope, const WhyTarget *target)
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
static Str remedy(const IdentityCommand *command, const WhyTarget *target, AccessDecision decision,
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

/** The names with commas, and whether the node may use one of them. */
static Str transactions_of(const IdentityCommand *command, const WhyQuestion *question,
                           bool *ret_may_use)
{
    Str names = STR_EMPTY;

    *ret_may_use = !question->transactions[0];
    for (size_t i = 0; i < ARRAY_LEN(question->transactions) && question->transactions[i]; i++) {
        *ret_may_use = *ret_may_use ||
                       access_may_use(command->context->req->principal, question->transactions[i]);
        names = str_printf(command->arena, "%.*s%s%s", STR_ARG(names), i ? ", " : "",
                           question->transactions[i]);
    }
    return names;
}

static int decide(const IdentityCommand *command, const WhyTarget *target,
                  const WhyQuestion *question, json_t **ret_json)
{
    Request *req = command->context->req;
    const AccessPurpose purpose = question->purpose;
    bool may_use = false;
    Str transactions = transactions_of(command, question, &may_use);
    const AccessScope *scope = NULL;
    json_t *rule = NULL;
    int rc = access_open(req, target->patient, purpose, &scope);

    if (rc < 0) {
        return rc;
    }
    const AccessDecision decision = access_explain(scope, &target->object);
    rc = rule_json(command, decision.disclosure, &rule);
    if (rc < 0) {
        return rc;
    }
    *ret_json = json_pack(
        "{s:s, s:b, s:s, s:s, s:o, s:o, s:o, s:b, s:o}", "question", question->name, "is_permitted",
        may_use && access_permits(decision.reason), "reason", access_reason_name(decision.reason),
        "text", access_reason_text(decision.reason), "rule", rule, "hidden_codes",
        decision.reason == ACCESS_CONFIDENTIALITY ? hidden_codes(scope, target) : json_array(),
        "remedy",
        json_text(
            remedy(command, target, decision, purpose == ACCESS_DOWNLOAD ? "download" : "view")),
        "may_use_transaction", may_use, "transaction", json_text(transactions));
    return 0;
}

static int add_enrolment(const IdentityCommand *command, const WhyTarget *target, json_t *answer)
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

int why_decisions_add(const IdentityCommand *command, const WhyTarget *target,
                      const WhyQuestion *questions, size_t count, size_t reading_count,
                      json_t *answer, bool *ret_is_permitted)
{
    json_t *list = json_array();
    int rc = add_enrolment(command, target, answer);

    *ret_is_permitted = true;
    for (size_t i = 0; rc == 0 && i < count; i++) {
        json_t *decision = NULL;
        rc = decide(command, target, &questions[i], &decision);
        if (rc == 0 && i < reading_count &&
            !json_is_true(json_object_get(decision, "is_permitted"))) {
            *ret_is_permitted = false;
        }
        json_array_append_new(list, decision);
    }
    json_object_set_new(answer, "decisions_on_access", list);
    json_object_set_new(answer, "is_permitted", json_boolean(*ret_is_permitted));
    return rc;
}

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

void why_field_print(const json_t *object, const char *name, const char *label)
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

void why_decisions_print(const IdentityCommand *command, const json_t *answer)
{
    size_t i;
    json_t *decision;

    if (json_object_get(answer, "is_enrolled")) {
        enrolment_print(answer);
    }
    json_array_foreach(json_object_get(answer, "decisions_on_access"), i, decision)
    {
        print_decision(command, decision);
    }
}
