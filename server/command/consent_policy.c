#include <stdio.h>

#include "lib/base/oid.h"
#include "server/command/audited_change.h"
#include "server/command/disclosure_rule.h"
#include "server/command/json.h"
#include "server/language.h"

/* musubi consent-policy: what the patient who acknowledges a policy in a consent document (BPPC,
 * ITI TF-3 5.1) decides. */

#define MAX_NAME_LEN 200

static const DbStatement upsert_policy = {
    "consent_policy_upsert",
    "INSERT INTO consent_policy (oid, name, is_enrolment) VALUES ($1::text, $2::text, $3::boolean)"
    " ON CONFLICT (oid) DO UPDATE SET name = excluded.name, is_enrolment = excluded.is_enrolment",
};

static const DbStatement select_policies = {
    "consent_policy_select",
    "SELECT oid, name, is_enrolment FROM consent_policy WHERE $1::text = '' OR oid = $1::text"
    " ORDER BY oid",
};

static const DbStatement select_rules = {
    "consent_policy_rules",
    "SELECT d.id," DISCLOSURE_RULE_COLUMNS
    " FROM consent_policy_disclosure d WHERE d.policy = $1::text ORDER BY d.id",
};

static const DbStatement insert_rule = {
    "consent_policy_rule_insert",
    "INSERT INTO consent_policy_disclosure (policy, source_facility, reader_facility, class_codes,"
    " is_permit, level) VALUES ($1::text, $2::int4, $3::int4, $4::int4[], $5::boolean, $6::int2)",
};

static const DbStatement delete_rules = {
    "consent_policy_rules_delete", "DELETE FROM consent_policy_disclosure WHERE policy = $1::text"};
static const DbStatement delete_policy = {"consent_policy_delete",
                                          "DELETE FROM consent_policy WHERE oid = $1::text"};

static Str policy_oid(const IdentityCommand *command)
{
    return str_trim(str_from(command->options->arguments[1]));
}

static int with_oid(const IdentityCommand *command, const DbStatement *statement,
                    DbResult **ret_rows)
{
    DbParams params;

    db_params_init(&params, command->arena);
    db_param_text(&params, policy_oid(command));
    return db_exec(command->context->conn, command->context->req, statement, &params, ret_rows);
}

static int finish(const IdentityCommand *command, int rc, const char *action, Str detail)
{
    const CommandContext *context = command->context;
    const AuditedChange change = {.kind = CHANGED_CONSENT_POLICY,
                                  .name = policy_oid(command),
                                  .action = action,
                                  .detail = detail};

    rc = rc < 0 ? rc : audited_change_record(context, &change);
    rc = rc < 0 ? rc : db_commit(context->conn, context->req, NULL);
    if (rc == 0) {
        command_say(command->options,
                    tr("consent policy %s is changed; it counts for consent documents from now on"),
                    command->options->arguments[1]);
    }
    return identity_command_status(rc);
}

static int run_add(IdentityCommand *command)
{
    const Options *options = command->options;
    Str decision = str_from(options->decision);
    Str name = str_trim(str_from(options->name));
    DbParams params;

    if (!oid_is_valid(policy_oid(command))) {
        return command_usage("%s",
                             tr("write the policy's identifier as an OID of digits and dots"));
    }
    if (!str_equal(decision, STR("enroll")) && !str_equal(decision, STR("withdraw"))) {
        return command_usage("%s", tr("write --decision enroll or withdraw"));
    }
    if (name.len == 0 || name.len > MAX_NAME_LEN || !str_is_utf8(name)) {
        return command_usage("%s", tr("name the policy with --name, up to 200 bytes of UTF-8"));
    }
    db_params_init(&params, command->arena);
    db_param_text(&params, policy_oid(command));
    db_param_text(&params, name);
    db_param_bool(&params, str_equal(decision, STR("enroll")));
    int rc = command_begin(command->context);
    rc = rc < 0 ? rc
                : db_exec(command->context->conn, command->context->req, &upsert_policy, &params,
                          NULL);
    return finish(command, rc, "set", decision);
}

static int check_known(const IdentityCommand *command)
{
    DbResult *rows = NULL;
    int rc = with_oid(command, &select_policies, &rows);

    return rc == 0 && db_rows(rows) == 0
               ? error_add(&command->context->req->errors, ERR_CONFIGURATION, "consent-policy",
                           tr("there is no consent policy %.*s; musubi consent-policy list shows "
                              "them"),
                           STR_ARG(policy_oid(command)))
               : rc;
}

static int run_disclose(IdentityCommand *command)
{
    const Options *options = command->options;
    const DisclosureRuleInput input = {
        .location = "consent-policy disclose",
        .source = str_trim(str_from(options->source)),
        .reader = str_trim(str_from(options->reader)),
        .classes = str_trim(str_from(options->classes)),
        .rule = str_from(options->permits ? "permit" : "deny"),
        .level = str_from(options->level),
    };
    DisclosureRule rule = {0};
    DbParams params;

    if (options->permits == options->denies) {
        return command_usage("%s", tr("write one of --permit and --deny"));
    }
    int rc = command_begin(command->context);
    rc = rc < 0 ? rc : check_known(command);
    rc = rc < 0 ? rc : disclosure_rule_read(command, &input, &rule);
    if (rc < 0) {
        return identity_command_status(rc);
    }
    db_params_init(&params, command->arena);
    db_param_text(&params, policy_oid(command));
    disclosure_rule_bind(&params, &rule);
    rc = db_exec(command->context->conn, command->context->req, &insert_rule, &params, NULL);
    return finish(command, rc, "disclose", rule.words);
}

static int run_remove(IdentityCommand *command)
{
    int rc = command_begin(command->context);

    rc = rc < 0 ? rc : check_known(command);
    rc = rc < 0 ? rc : with_oid(command, &delete_rules, NULL);
    rc = rc < 0 ? rc : with_oid(command, &delete_policy, NULL);
    return finish(command, rc, "remove", STR_EMPTY);
}

static int rules_json(const IdentityCommand *command, Str oid, json_t **ret_list)
{
    DbParams params;
    DbResult *rows = NULL;

    db_params_init(&params, command->arena);
    db_param_text(&params, oid);
    int rc = db_exec(command->context->conn, command->context->req, &select_rules, &params, &rows);
    if (rc < 0) {
        return rc;
    }
    *ret_list = json_array();
    for (int i = 0; i < db_rows(rows); i++) {
        json_array_append_new(*ret_list, disclosure_rule_json(command->arena, rows, i, 1));
    }
    return 0;
}

static void print_policy(const IdentityCommand *command, const json_t *policy)
{
    size_t i;
    json_t *rule;

    command_print_cell(json_string_value(json_object_get(policy, "oid")), 40);
    command_print_cell(tr(json_string_value(json_object_get(policy, "decision"))), 10);
    printf("%s\n", json_string_value(json_object_get(policy, "name")));
    json_array_foreach(json_object_get(policy, "disclosures"), i, rule)
    {
        printf("    %.*s\n", STR_ARG(disclosure_rule_words(command->arena, rule)));
    }
}

static int run_list(IdentityCommand *command)
{
    DbParams params;
    DbResult *rows = NULL;
    size_t at;
    json_t *policy;

    db_params_init(&params, command->arena);
    db_param_text(&params, STR_EMPTY);
    int rc =
        db_exec(command->context->conn, command->context->req, &select_policies, &params, &rows);
    json_t *list = json_array();
    for (int i = 0; rc == 0 && i < db_rows(rows); i++) {
        json_t *rules = NULL;
        rc = rules_json(command, db_text(rows, i, 0), &rules);
        json_array_append_new(
            list, json_pack("{s:o, s:o, s:s, s:o}", "oid", json_text(db_text(rows, i, 0)), "name",
                            json_text(db_text(rows, i, 1)), "decision",
                            db_bool(rows, i, 2) ? "enroll" : "withdraw", "disclosures", rules));
    }
    if (rc == 0 && command->options->json) {
        json_print(json_incref(list));
    } else if (rc == 0) {
        json_array_foreach(list, at, policy)
        {
            print_policy(command, policy);
        }
    }
    json_decref(list);
    return rc == 0 ? EXIT_GOOD : EXIT_FAILED;
}

IDENTITY_SUBCOMMAND(policy_add, run_add)
IDENTITY_SUBCOMMAND(policy_disclose, run_disclose)
IDENTITY_SUBCOMMAND(policy_list, run_list)
IDENTITY_SUBCOMMAND(policy_remove, run_remove)

int command_consent_policy(const Options *options)
{
    static const Subcommand subcommands[] = {
        {"add", 1, 1, policy_add},
        {"disclose", 1, 1, policy_disclose},
        {"list", 0, 0, policy_list},
        {"remove", 1, 1, policy_remove},
    };

    return command_run(options, subcommands, ARRAY_LEN(subcommands));
}
