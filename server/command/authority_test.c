#include "server/command/authority_test.h"

#include <stdio.h>

#include "server/command/identity_command.h"
#include "server/command/json.h"
#include "server/command/patient_history.h"
#include "server/language.h"

/* musubi authority test: what a number that somebody reads out may be, and why. */

/** One reading of the number. */
typedef struct Candidate {
    Identifier identifier;
    int64_t row; /* of patient_identifier; 0: none */
    CrossReference reference;
} Candidate;

/** By what rule one number of a person follows from another; empty: by none. In the arena. */
static Str derivation_text(const IdentityCommand *command, const Identifier *derived,
                           const CrossReference *reference)
{
    static const char *const rules[] = {[DERIVE_NONE] = "",
                                        [DERIVE_PAD] = "pad",
                                        [DERIVE_STRIP_ZEROS] = "strip-zeros",
                                        [DERIVE_PREFIX] = "prefix"};
    const AssigningAuthority *authority = derived->authority;

    for (size_t i = 0; i < reference->identifier_count; i++) {
        const FoundIdentifier *origin = &reference->identifiers[i];
        if (authority->derive_from && origin->authority->id == authority->derive_from->id &&
            str_equal(authority_derive(command->arena, authority, origin->value), derived->value)) {
            return str_printf(
                command->arena, tr("follows from %.*s by the rule %s"),
                STR_ARG(authority_format_cx(command->arena, origin->authority, origin->value)),
                rules[authority->derive_rule]);
        }
    }
    return STR_EMPTY;
}

/** As derivation_text(), where the origin may be the number that was asked for. */
static Str found_text(const IdentityCommand *command, const Candidate *candidate,
                      const FoundIdentifier *found)
{
    if (!found->is_derived) {
        return STR_EMPTY;
    }
    const Identifier derived = {.authority = found->authority, .value = found->value};
    FoundIdentifier *all =
        ARENA_ARRAY(command->arena, FoundIdentifier, candidate->reference.identifier_count + 1);
    CrossReference reference = candidate->reference;

    for (size_t i = 0; i < reference.identifier_count; i++) {
        all[i] = reference.identifiers[i];
    }
    all[reference.identifier_count] = (FoundIdentifier){
        .authority = candidate->identifier.authority, .value = candidate->identifier.value};
    reference.identifiers = all;
    reference.identifier_count++;
    return derivation_text(command, &derived, &reference);
}

static json_t *found_json(const IdentityCommand *command, const Candidate *candidate,
                          const FoundIdentifier *found)
{
    return json_pack("{s:o, s:o, s:o, s:b, s:o}", "identifier",
                     json_text(authority_format_cx(command->arena, found->authority, found->value)),
                     "value", json_text(found->value), "authority",
                     identity_authority_json(found->authority), "is_derived", found->is_derived,
                     "why", json_text(found_text(command, candidate, found)));
}

static const char *state_of(const Candidate *candidate)
{
    if (candidate->reference.subsumed_by.len > 0) {
        return "merged";
    }
    if (!candidate->reference.is_known) {
        return "unknown";
    }
    return candidate->row != 0 ? "known" : "derived";
}

static json_t *xad_pid_json(const Candidate *candidate)
{
    const CrossReference *reference = &candidate->reference;

    if (reference->is_known && candidate->identifier.authority->is_affinity_domain) {
        return json_text(candidate->identifier.value);
    }
    for (size_t i = 0; i < reference->identifier_count; i++) {
        if (reference->identifiers[i].authority->is_affinity_domain) {
            return json_text(reference->identifiers[i].value);
        }
    }
    return json_null();
}

/** What the network says of one reading of the number, with why. */
static json_t *candidate_json(const IdentityCommand *command, const Candidate *candidate)
{
    const CrossReference *reference = &candidate->reference;
    const Identifier *identifier = &candidate->identifier;
    json_t *json = json_object();
    json_t *list = json_array();

    json_object_set_new(
        json, "identifier",
        json_text(authority_format_cx(command->arena, identifier->authority, identifier->value)));
    json_object_set_new(json, "authority", identity_authority_json(identifier->authority));
    json_object_set_new(json, "state", json_string(state_of(candidate)));
    json_object_set_new(json, "why",
                        json_text(candidate->row == 0
                                      ? derivation_text(command, identifier, reference)
                                      : STR_EMPTY));
    json_object_set_new(json, "merged_into",
                        reference->subsumed_by.len > 0 ? json_text(reference->subsumed_by)
                                                       : json_null());
    json_object_set_new(json, "person",
                        reference->is_known ? json_integer(reference->person) : json_null());
    json_object_set_new(json, "xad_pid", xad_pid_json(candidate));
    for (size_t i = 0; i < reference->identifier_count; i++) {
        json_array_append_new(list, found_json(command, candidate, &reference->identifiers[i]));
    }
    json_object_set_new(json, "identifiers", list);
    return json;
}

/* Candidates */

static int look_up(IdentityCommand *command, Candidate *candidate)
{
    return identity_find_all(command->services.pix, command->context->req, command->authorities,
                             &candidate->identifier, &candidate->reference);
}

static int read_known(const IdentityCommand *command, const Identifier *asked,
                      KnownNumber **ret_known, size_t *ret_count)
{
    const Authorities *authorities = command->authorities;
    int32_t *ids = ARENA_ARRAY(command->arena, int32_t, authorities->count + 1);
    size_t count = 0;

    for (size_t i = 0; i < authorities->count; i++) {
        if (!asked->authority || asked->authority->id == authorities->items[i].id) {
            ids[count++] = authorities->items[i].id;
        }
    }
    return person_view_known(command->context->conn, command->context->req, asked->value, ids,
                             count, ret_known, ret_count);
}

static int64_t row_of(const KnownNumber *known, size_t count, int32_t authority)
{
    for (size_t i = 0; i < count; i++) {
        if (known[i].authority == authority) {
            return known[i].id;
        }
    }
    return 0;
}

/** Adds the history of the person, or of the number that was merged away. */
static int add_history(const IdentityCommand *command, const Candidate *candidate, json_t *json)
{
    if (candidate->row == 0) {
        return 0;
    }
    return patient_history_add(command, &candidate->row, 1, 0, json);
}

/**
 * Every authority that knows the number, or from whose numbers it follows; with an authority that
 * one alone.
 */
static int collect(IdentityCommand *command, const Identifier *asked, json_t *list)
{
    const Authorities *authorities = command->authorities;
    KnownNumber *known = NULL;
    size_t known_count = 0;
    int rc = read_known(command, asked, &known, &known_count);

    for (size_t i = 0; i < authorities->count && rc == 0; i++) {
        const AssigningAuthority *authority = &authorities->items[i];
        Candidate candidate = {.identifier = *asked,
                               .row = row_of(known, known_count, authority->id)};
        const bool is_asked = asked->authority && asked->authority->id == authority->id;
        candidate.identifier.authority = authority;
        if ((asked->authority && !is_asked) ||
            (candidate.row == 0 && !is_asked && authority->derive_rule == DERIVE_NONE)) {
            continue;
        }
        rc = look_up(command, &candidate);
        if (rc == 0 && (candidate.reference.is_known || candidate.row != 0 || is_asked)) {
            json_t *json = candidate_json(command, &candidate);
            rc = add_history(command, &candidate, json);
            json_array_append_new(list, json);
        }
    }
    return rc;
}

/* Text */

static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));

    return text ? text : "";
}

static void print_found(const json_t *found)
{
    const json_t *authority = json_object_get(found, "authority");

    printf("    %s", text_of(found, "identifier"));
    if (text_of(authority, "facility")[0]) {
        printf("  %s", text_of(authority, "facility"));
    }
    if (text_of(found, "why")[0]) {
        printf("  %s", text_of(found, "why"));
    }
    printf("\n");
}

static void print_candidate(const json_t *candidate)
{
    const json_t *authority = json_object_get(candidate, "authority");
    const char *xad_pid = text_of(candidate, "xad_pid");
    size_t i;
    json_t *found;

    printf("%s  %s  (%s)%s\n", text_of(candidate, "identifier"), text_of(authority, "facility"),
           text_of(authority, "kind"),
           json_is_true(json_object_get(authority, "is_valid")) ? "" : tr("  not valid now"));
    if (text_of(candidate, "merged_into")[0]) {
        printf(tr("  merged into %s: use that one\n"), text_of(candidate, "merged_into"));
    } else if (!json_is_integer(json_object_get(candidate, "person"))) {
        (void)puts(tr("  not known: no feed named it, and it follows from no known number"));
    } else {
        printf(tr("  person %lld, XAD-PID %s\n"),
               (long long)json_integer_value(json_object_get(candidate, "person")),
               xad_pid[0] ? xad_pid : "-");
    }
    if (text_of(candidate, "why")[0]) {
        printf("  %s\n", text_of(candidate, "why"));
    }
    json_array_foreach(json_object_get(candidate, "identifiers"), i, found)
    {
        print_found(found);
    }
    patient_history_print(json_object_get(candidate, "links"),
                          json_object_get(candidate, "merges"));
}

static void print_all(const IdentityCommand *command, json_t *list)
{
    size_t i;
    json_t *candidate;

    if (command->options->json) {
        json_print(
            json_pack("{s:s, s:O}", "value", command->options->arguments[1], "candidates", list));
        return;
    }
    json_array_foreach(list, i, candidate)
    {
        print_candidate(candidate);
    }
    if (json_array_size(list) == 0) {
        printf(tr("none of %zu authorities knows %s\n"), command->authorities->count,
               command->options->arguments[1]);
    }
}

static bool has_known(const json_t *list)
{
    size_t i;
    json_t *candidate;

    json_array_foreach(list, i, candidate)
    {
        if (strcmp(text_of(candidate, "state"), "unknown") != 0) {
            return true;
        }
    }
    return false;
}

static int run_test(IdentityCommand *command)
{
    Identifier asked;
    int rc = identity_command_parse(command, command->options->arguments[1], &asked);

    if (rc == 0 && command->options->authority) {
        asked.authority =
            identity_command_authority(command, str_from(command->options->authority));
        rc = asked.authority ? 0 : -ERR_CONFIGURATION;
    }
    if (rc < 0) {
        return identity_command_status(rc);
    }
    json_t *list = json_array();
    rc = collect(command, &asked, list);
    const bool is_found = has_known(list);
    if (rc == 0) {
        print_all(command, list);
    }
    json_decref(list);
    if (rc < 0) {
        return EXIT_FAILED;
    }
    return is_found ? EXIT_GOOD : EXIT_FOUND;
}

int authority_test(const Options *options, CommandContext *context)
{
    return identity_command_run(options, context, run_test);
}
