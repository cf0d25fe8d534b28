#include <stdio.h>

#include "pix/matching/match.h"
#include "server/command/enrolment.h"
#include "server/command/json.h"
#include "server/command/patient.h"
#include "server/command/patient_history.h"
#include "server/language.h"

/* musubi patient show: one person as the identity manager knows it. */

static json_t *identifier_json(const IdentityCommand *command, const PersonIdentifier *identifier)
{
    const PersonNumber *number = &identifier->number;
    const AssigningAuthority *authority =
        authorities_by_id(command->authorities, number->authority);
    Arena *arena = command->arena;
    json_t *json = json_object();

    json_object_set_new(json, "identifier", json_text(identity_command_cx(command, number)));
    json_object_set_new(json, "value", json_text(number->value));
    json_object_set_new(json, "authority",
                        authority ? identity_authority_json(authority) : json_null());
    json_object_set_new(json, "is_xad_pid", json_boolean(identifier->is_xad_pid));
    json_object_set_new(json, "is_announced", json_boolean(identifier->is_announced));
    json_object_set_new(json, "known_since", identity_at_json(arena, identifier->known_since_us));
    json_object_set_new(json, "merged_into", identity_value_json(identifier->survivor));
    json_object_set_new(json, "merged_at", identity_at_json(arena, identifier->merged_us));
    json_object_set_new(json, "demographics",
                        identity_demographics_json(arena, &identifier->record));
    json_object_set_new(json, "updated_at", identity_at_json(arena, identifier->updated_us));
    return json;
}

static json_t *proposal_json(const IdentityCommand *command, const LinkPair *pair)
{
    return json_pack("{s:I, s:o, s:o, s:o, s:o, s:o, s:o}", "number", (json_int_t)pair->number,
                     "proposed_at", identity_at_json(command->arena, pair->proposed_us), "score",
                     identity_score_json(pair->score), "evidence", json_text(pair->evidence),
                     "reason", json_text(match_explain(command->arena, pair->evidence)), "one",
                     json_text(identity_command_cx(command, &pair->one.number)), "other",
                     json_text(identity_command_cx(command, &pair->other.number)));
}

static int add_proposals(const IdentityCommand *command, const int64_t *ids, size_t count,
                         json_t *person)
{
    LinkPair *pairs = NULL;
    size_t pair_count = 0;
    int rc = link_view_open_of(command->context->conn, command->context->req, ids, count, &pairs,
                               &pair_count);

    if (rc < 0) {
        return rc;
    }
    json_t *list = json_array();
    for (size_t i = 0; i < pair_count; i++) {
        json_array_append_new(list, proposal_json(command, &pairs[i]));
    }
    json_object_set_new(person, "proposals", list);
    return 0;
}

/** What the identifiers of one person say of it as a whole. */
static json_t *person_json(const IdentityCommand *command, const PersonIdentifier *identifiers,
                           size_t count)
{
    json_t *json = json_object();
    json_t *list = json_array();
    json_t *xad_pid = json_null();
    bool is_announced = true;

    for (size_t i = 0; i < count; i++) {
        const PersonIdentifier *identifier = &identifiers[i];
        json_array_append_new(list, identifier_json(command, identifier));
        if (identifier->is_xad_pid && identifier->merged_us == INT64_MIN) {
            xad_pid = json_text(identifier->number.value);
            is_announced = identifier->is_announced;
        }
        if (identifier->is_asked) {
            json_object_set_new(json, "asked",
                                json_text(identity_command_cx(command, &identifier->number)));
        }
    }
    json_object_set_new(json, "person", json_integer(identifiers[0].person));
    json_object_set_new(json, "is_waiting", json_boolean(json_is_null(xad_pid)));
    json_object_set_new(json, "is_announced", json_boolean(is_announced));
    json_object_set_new(json, "xad_pid", xad_pid);
    json_object_set_new(json, "identifiers", list);
    return json;
}

/* Text */

static void print_identifier(const IdentityCommand *command, const json_t *identifier)
{
    const json_t *authority = json_object_get(identifier, "authority");
    const char *merged_into = json_string_value(json_object_get(identifier, "merged_into"));
    const char *facility = json_string_value(json_object_get(authority, "facility"));
    const char *kind = json_string_value(json_object_get(authority, "kind"));
    const json_t *demographics = json_object_get(identifier, "demographics");

    printf("  %s", json_string_value(json_object_get(identifier, "identifier")));
    if (facility && facility[0]) {
        printf("  %s", facility);
    }
    if (kind && kind[0]) {
        printf("  (%s)", kind);
    }
    if (merged_into) {
        printf(tr("  merged into %s at %s"), merged_into,
               json_string_value(json_object_get(identifier, "merged_at")));
    }
    printf("\n");
    if (json_is_object(demographics)) {
        printf("    %.*s\n", STR_ARG(identity_demographics_line(command->arena, demographics)));
    }
}

static void print_person(const IdentityCommand *command, const json_t *person)
{
    const char *xad_pid = json_string_value(json_object_get(person, "xad_pid"));
    size_t i;
    json_t *item;

    printf(tr("person %lld, "), (long long)json_integer_value(json_object_get(person, "person")));
    if (xad_pid) {
        printf(tr("XAD-PID %s%s\n"), xad_pid,
               json_is_true(json_object_get(person, "is_announced"))
                   ? ""
                   : tr(" (other registries do not know it yet)"));
    } else {
        (void)puts(tr("waits for its identifier of the affinity domain"));
    }
    enrolment_print(person);
    (void)puts(tr("identifiers:"));
    json_array_foreach(json_object_get(person, "identifiers"), i, item)
    {
        print_identifier(command, item);
    }
    patient_history_print(json_object_get(person, "links"), json_object_get(person, "merges"));
    json_array_foreach(json_object_get(person, "proposals"), i, item)
    {
        printf(tr("open proposal %lld: %s with %s: %s\n"),
               (long long)json_integer_value(json_object_get(item, "number")),
               json_string_value(json_object_get(item, "one")),
               json_string_value(json_object_get(item, "other")),
               json_string_value(json_object_get(item, "reason")));
    }
}

static int record_shown(const IdentityCommand *command, const PersonIdentifier *identifiers,
                        size_t count)
{
    Str *patients = ARENA_ARRAY(command->arena, Str, count);

    for (size_t i = 0; i < count; i++) {
        patients[i] = identity_command_patient(command, &identifiers[i].number);
    }
    return identity_command_record_shown(command, patients, count);
}

static int show_person(IdentityCommand *command, const PersonIdentifier *identifiers, size_t count)
{
    int64_t *ids = ARENA_ARRAY(command->arena, int64_t, count);
    json_t *person = person_json(command, identifiers, count);

    for (size_t i = 0; i < count; i++) {
        ids[i] = identifiers[i].id;
    }
    int rc = patient_history_add(command, ids, count, identifiers[0].person, person);
    if (rc == 0) {
        rc = add_proposals(command, ids, count, person);
    }
    if (rc == 0) {
        rc = enrolment_add(command, ids, count, person);
    }
    if (rc == 0) {
        rc = record_shown(command, identifiers, count);
    }
    if (rc == 0 && command->options->json) {
        json_print(json_incref(person));
    } else if (rc == 0) {
        print_person(command, person);
    }
    json_decref(person);
    return rc == 0 ? EXIT_GOOD : EXIT_FAILED;
}

static int run_show(IdentityCommand *command)
{
    Identifier asked;
    PersonIdentifier *identifiers = NULL;
    size_t count = 0;
    int rc = identity_command_parse_one(command, command->options->arguments[1], &asked);

    if (rc < 0) {
        return identity_command_status(rc);
    }
    const PersonNumber number = {asked.authority->id, asked.value};
    if (person_view_identifiers(command->context->conn, command->context->req, &number,
                                &identifiers, &count) < 0) {
        return EXIT_FAILED;
    }
    if (count == 0) {
        command_say(command->options,
                    tr("no patient is known by %.*s; musubi authority test %s tells what it may "
                       "be"),
                    STR_ARG(authority_format_cx(command->arena, asked.authority, asked.value)),
                    command->options->arguments[1]);
        return EXIT_FOUND;
    }
    return show_person(command, identifiers, count);
}

int patient_show(const Options *options, CommandContext *context)
{
    return identity_command_run(options, context, run_show);
}
