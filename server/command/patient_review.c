#include <stdio.h>

#include "lib/base/clock.h"
#include "pix/matching/match.h"
#include "server/command/json.h"
#include "server/command/patient.h"
#include "server/language.h"

/* musubi patient review: pairs that matching left to a person. */

/* List */

static json_t *side_json(const IdentityCommand *command, const LinkSide *side)
{
    return json_pack("{s:o, s:o}", "identifier",
                     json_text(identity_command_cx(command, &side->number)), "demographics",
                     identity_demographics_json(command->arena, &side->record));
}

static json_t *pair_json(const IdentityCommand *command, const LinkPair *pair)
{
    json_t *json = json_object();

    json_object_set_new(json, "number", json_integer(pair->number));
    json_object_set_new(json, "proposed_at", identity_at_json(command->arena, pair->proposed_us));
    json_object_set_new(json, "score", identity_score_json(pair->score));
    json_object_set_new(json, "evidence", json_text(pair->evidence));
    json_object_set_new(json, "reason", json_text(match_explain(command->arena, pair->evidence)));
    json_object_set_new(json, "one", side_json(command, &pair->one));
    json_object_set_new(json, "other", side_json(command, &pair->other));
    return json;
}

static void print_record(const IdentityCommand *command, const json_t *record)
{
    Str line = identity_demographics_line(command->arena, json_object_get(record, "demographics"));

    printf("    %s\n      %.*s\n", json_string_value(json_object_get(record, "identifier")),
           STR_ARG(line));
}

static void print_pair(const IdentityCommand *command, const json_t *pair)
{
    const json_t *score = json_object_get(pair, "score");

    printf("%lld  %s", (long long)json_integer_value(json_object_get(pair, "number")),
           json_string_value(json_object_get(pair, "proposed_at")));
    if (json_is_real(score)) {
        printf(tr("  weight %.1f"), json_real_value(score));
    }
    printf("\n    %s\n", json_string_value(json_object_get(pair, "reason")));
    print_record(command, json_object_get(pair, "one"));
    print_record(command, json_object_get(pair, "other"));
}

/** One record of the whole list, as of a query. */
static int record_shown(const IdentityCommand *command, const LinkPair *pairs, size_t count)
{
    Str *patients = ARENA_ARRAY(command->arena, Str, count * 2);

    for (size_t i = 0; i < count; i++) {
        patients[2 * i] = identity_command_patient(command, &pairs[i].one.number);
        patients[2 * i + 1] = identity_command_patient(command, &pairs[i].other.number);
    }
    return count > 0 ? identity_command_record_shown(command, patients, count * 2) : 0;
}

static int run_list(IdentityCommand *command)
{
    LinkPair *pairs = NULL;
    size_t count = 0;
    int64_t limit;

    if (identity_command_limit(command->options, &limit) != EXIT_GOOD) {
        return EXIT_USAGE;
    }
    if (link_view_open(command->context->conn, command->context->req, limit, &pairs, &count) < 0 ||
        record_shown(command, pairs, count) < 0) {
        return EXIT_FAILED;
    }
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++) {
        json_array_append_new(list, pair_json(command, &pairs[i]));
    }
    if (command->options->json) {
        json_print(json_incref(list));
    } else {
        size_t i;
        json_t *pair;
        json_array_foreach(list, i, pair)
        {
            print_pair(command, pair);
        }
        printf(tr("%zu pairs; decide with musubi patient review accept N, or reject N\n"), count);
    }
    json_decref(list);
    return count > 0 ? EXIT_FOUND : EXIT_GOOD;
}

/* Decisions */

static Identifier identifier_of(const IdentityCommand *command, const PersonNumber *number)
{
    const char *location = str_cstr(command->arena, identity_command_cx(command, number));

    return (Identifier){
        .authority = authorities_by_id(command->authorities, number->authority),
        .value = number->value,
        .location = location,
        .authority_location = location,
    };
}

static int decide(IdentityCommand *command, const LinkPair *pair, LinkKind kind)
{
    IdentityLink link = {
        .kind = kind,
        .reason = kind == LINK_SAME ? "review" : "unlink",
        .one = identifier_of(command, &pair->one.number),
        .other = identifier_of(command, &pair->other.number),
        .moves_all = kind == LINK_SAME,
    };

    if (!link.one.authority || !link.other.authority) {
        (void)error_add(&command->context->req->errors, ERR_CONFIGURATION, NULL,
                        "an authority of this pair is not configured any more; musubi authority "
                        "list shows them");
        return EXIT_USAGE;
    }
    const Str patients[] = {
        hl7_cx_format(command->arena, link.one.value, link.one.authority->oid),
        hl7_cx_format(command->arena, link.other.value, link.other.authority->oid),
    };
    link.source = identity_command_source(command, command->arena, AUDIT_PATIENT_UPDATE, patients,
                                          ARRAY_LEN(patients));
    int rc = identity_link(command->services.pix, command->context->req, &link);
    if (rc == 0) {
        command_say(command->options,
                    kind == LINK_SAME
                        ? tr("accepted: the two are one patient now; musubi patient show tells "
                             "how to undo it")
                        : tr("rejected: matching never links the two again"));
    }
    return identity_command_status(rc);
}

static int run_decision(IdentityCommand *command)
{
    Str verb = str_from(command->options->arguments[1]);
    LinkPair *pair = NULL;
    uint64_t number = 0;

    if ((!str_equal(verb, STR("accept")) && !str_equal(verb, STR("reject"))) ||
        !str_to_u64(str_from(command->options->arguments[2]), &number) || number > INT64_MAX) {
        return options_usage(command->options->command);
    }
    if (link_view_pair(command->context->conn, command->context->req, (int64_t)number, &pair) < 0) {
        return EXIT_FAILED;
    }
    if (!pair) {
        command_say(command->options, tr("there is no pair %llu; musubi patient review shows them"),
                    (unsigned long long)number);
        return EXIT_FOUND;
    }
    if (!str_is_empty(pair->verdict)) {
        Str at = clock_iso8601(command->arena, pair->decided_us);
        command_say(command->options, tr("pair %llu was decided already: %.*s, by %.*s at %.*s"),
                    (unsigned long long)number, STR_ARG(pair->verdict), STR_ARG(pair->decided_by),
                    STR_ARG(at));
        return EXIT_FOUND;
    }
    return decide(command, pair, str_equal(verb, STR("accept")) ? LINK_SAME : LINK_DIFFERENT);
}

int patient_review(const Options *options, CommandContext *context)
{
    return identity_command_run(options, context,
                                options->argument_count == 1 ? run_list : run_decision);
}
