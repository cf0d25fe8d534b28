#include "server/command/disclosure_rule.h"

#include "server/command/json.h"
#include "server/language.h"

#define ANY "*"

static const char *const level_names[] = {[1] = "view", [2] = "download"};

static const DbStatement select_facilities = {
    "disclosure_facilities",
    "SELECT coalesce((SELECT id FROM facility WHERE name = $1::text), 0),"
    " coalesce((SELECT id FROM facility WHERE name = $2::text), 0)",
};

static int fault(const IdentityCommand *command, const DisclosureRuleInput *input,
                 const char *problem, Str value)
{
    return error_add(&command->context->req->errors, ERR_CONFIGURATION, input->location, "%s: %.*s",
                     problem, STR_ARG(value));
}

static int check_facility(const IdentityCommand *command, const DisclosureRuleInput *input,
                          const char *side, Str name, int32_t found)
{
    if (str_is_empty(name)) {
        return fault(command, input, side, str_from(tr("name the facility, or write * for any")));
    }
    return found != 0 || str_equal(name, STR(ANY))
               ? 0
               : fault(command, input,
                       tr("there is no such facility; musubi facility list shows them"), name);
}

static int read_facilities(const IdentityCommand *command, const DisclosureRuleInput *input,
                           DisclosureRule *rule)
{
    DbParams params;
    DbResult *rows = NULL;

    db_params_init(&params, command->arena);
    db_param_text(&params, input->source);
    db_param_text(&params, input->reader);
    int rc =
        db_exec(command->context->conn, command->context->req, &select_facilities, &params, &rows);
    if (rc < 0) {
        return rc;
    }
    rule->source_facility = db_i32(rows, 0, 0);
    rule->reader_facility = db_i32(rows, 0, 1);
    int source = check_facility(command, input, "source", input->source, rule->source_facility);
    int reader = check_facility(command, input, "reader", input->reader, rule->reader_facility);
    return source < 0 ? source : reader;
}

static int read_rule(const IdentityCommand *command, const DisclosureRuleInput *input,
                     DisclosureRule *rule)
{
    int rc = 0;

    rule->is_permit = str_equal(input->rule, STR("permit"));
    rule->level = str_equal(input->level, STR("download")) ? 2 : 1;
    if (!rule->is_permit && !str_equal(input->rule, STR("deny"))) {
        rc = fault(command, input, tr("write permit or deny instead of"), input->rule);
    }
    if (rule->level == 1 && !str_is_empty(input->level) && !str_equal(input->level, STR("view"))) {
        rc = fault(command, input, tr("write view or download instead of"), input->level);
    }
    return rc;
}

static int read_classes(const IdentityCommand *command, const DisclosureRuleInput *input,
                        DisclosureRule *rule)
{
    if (str_is_empty(input->classes) || str_equal(input->classes, STR(ANY))) {
        return 0;
    }
    int rc = coded_text_intern(command, input->location, "classCode", input->classes,
                               &rule->class_codes, &rule->class_count);
    return rc == 0 && rule->class_count == 0
               ? fault(command, input,
                       tr("write classes as CODE^^SCHEME, or * for any, instead of"),
                       input->classes)
               : rc;
}

static Str words_of(Arena *arena, const DisclosureRuleInput *input, const DisclosureRule *rule)
{
    return str_printf(arena, "%s %s of %.*s, from %.*s to %.*s",
                      rule->is_permit ? "permit" : "deny", level_names[rule->level],
                      STR_ARG(rule->class_count == 0 ? STR(ANY) : input->classes),
                      STR_ARG(input->source), STR_ARG(input->reader));
}

int disclosure_rule_read(const IdentityCommand *command, const DisclosureRuleInput *input,
                         DisclosureRule *ret_rule)
{
    DisclosureRule rule = {0};
    int rc = read_rule(command, input, &rule);
    int facilities = read_facilities(command, input, &rule);
    int classes = read_classes(command, input, &rule);

    rc = rc < 0 ? rc : facilities;
    rc = rc < 0 ? rc : classes;
    if (rc == 0) {
        rule.words = words_of(command->arena, input, &rule);
        *ret_rule = rule;
    }
    return rc;
}

static void bind_facility(DbParams *params, int32_t facility)
{
    if (facility == 0) {
        db_param_null(params);
    } else {
        db_param_i32(params, facility);
    }
}

void disclosure_rule_bind(DbParams *params, const DisclosureRule *rule)
{
    bind_facility(params, rule->source_facility);
    bind_facility(params, rule->reader_facility);
    if (rule->class_count == 0) {
        db_param_null(params);
    } else {
        db_param_i32_array(params, rule->class_codes, rule->class_count);
    }
    db_param_bool(params, rule->is_permit);
    db_param_i16(params, rule->level);
}

/* What operators read */

static json_t *classes_json(Arena *arena, const DbResult *rows, int row, int column)
{
    Str *texts = NULL;
    size_t count = db_text_array(rows, row, column, arena, &texts);
    json_t *list = json_array();

    for (size_t i = 0; i < count; i++) {
        json_array_append_new(list, json_text(texts[i]));
    }
    return list;
}

json_t *disclosure_rule_json(Arena *arena, const DbResult *rows, int row, int first)
{
    json_t *classes =
        db_bool(rows, row, first + 2) ? json_null() : classes_json(arena, rows, row, first + 3);

    return json_pack("{s:o, s:o, s:o, s:s, s:s}", "source", identity_text_json(rows, row, first),
                     "reader", identity_text_json(rows, row, first + 1), "classes", classes, "rule",
                     db_bool(rows, row, first + 4) ? "permit" : "deny", "level",
                     level_names[db_i16(rows, row, first + 5)]);
}

static const char *or_any(const json_t *rule, const char *name)
{
    const char *text = json_string_value(json_object_get(rule, name));

    return text ? text : tr("any facility");
}

Str disclosure_rule_words(Arena *arena, const json_t *rule)
{
    _cleanup_(strbuf_done) StrBuf classes = {0};
    bool is_permit =
        str_equal(str_from(json_string_value(json_object_get(rule, "rule"))), STR("permit"));
    size_t i;
    json_t *item;

    json_array_foreach(json_object_get(rule, "classes"), i, item)
    {
        strbuf_printf(&classes, "%s%s", i > 0 ? ", " : "", json_string_value(item));
    }
    return str_printf(arena,
                      is_permit ? tr("permits %s of %s, from %s to %s")
                                : tr("denies %s of %s, from %s to %s"),
                      tr(json_string_value(json_object_get(rule, "level"))),
                      classes.len > 0 ? classes.data : tr("every class"), or_any(rule, "source"),
                      or_any(rule, "reader"));
}
