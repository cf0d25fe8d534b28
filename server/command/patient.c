#include "server/command/patient.h"

#include <stdio.h>

#include "lib/base/clock.h"
#include "lib/hl7/cx.h"
#include "server/command/json.h"
#include "server/language.h"

/* musubi patient: who is who, and an operator's decisions about it. Patient data goes to the
 * terminal of the person who asks, never to a log. */

/** Two identifiers as the operator wrote them. */
typedef struct Pair {
    Identifier one;
    Identifier other;
    Str patients[2]; /* CX, for audit */
} Pair;

static int parse_pair(const IdentityCommand *command, Pair *ret_pair)
{
    const Options *options = command->options;
    int rc = identity_command_parse_one(command, options->arguments[1], &ret_pair->one);
    int other_rc = identity_command_parse_one(command, options->arguments[2], &ret_pair->other);

    if (rc < 0 || other_rc < 0) {
        return -ERR_CONFIGURATION;
    }
    ret_pair->patients[0] =
        hl7_cx_format(command->arena, ret_pair->one.value, ret_pair->one.authority->oid);
    ret_pair->patients[1] =
        hl7_cx_format(command->arena, ret_pair->other.value, ret_pair->other.authority->oid);
    return 0;
}

static int run_link(IdentityCommand *command, LinkKind kind)
{
    Pair pair;
    int rc = parse_pair(command, &pair);

    if (rc < 0) {
        return identity_command_status(rc);
    }
    const IdentityLink link = {
        .kind = kind,
        .reason = kind == LINK_SAME ? "manual" : "unlink",
        .one = pair.one,
        .other = pair.other,
        .source = identity_command_source(command, command->arena, AUDIT_PATIENT_UPDATE,
                                          pair.patients, ARRAY_LEN(pair.patients)),
    };
    rc = identity_link(command->services.pix, command->context->req, &link);
    if (rc == 0) {
        command_say(command->options,
                    kind == LINK_SAME
                        ? tr("the two identifiers are one patient now; musubi patient show tells "
                             "how to undo it")
                        : tr("the two identifiers are two patients now, and matching never links "
                             "them again"));
    }
    return identity_command_status(rc);
}

static int run_link_same(IdentityCommand *command)
{
    return run_link(command, LINK_SAME);
}

static int run_link_different(IdentityCommand *command)
{
    return run_link(command, LINK_DIFFERENT);
}

static int run_merge(IdentityCommand *command)
{
    Pair pair;
    int rc = parse_pair(command, &pair);

    if (rc < 0) {
        return identity_command_status(rc);
    }
    const IdentitySource subsumed = identity_command_source(
        command, command->arena, AUDIT_PATIENT_DELETE, &pair.patients[0], 1);
    const IdentitySource survivor = identity_command_source(
        command, command->arena, AUDIT_PATIENT_UPDATE, &pair.patients[1], 1);
    const AuditEvent events[] = {subsumed.events[0], survivor.events[0]};
    const IdentityMerge merge = {
        .kind = MERGE_STRICT,
        .subsumed = pair.one,
        .survivor = pair.other,
        .source = {command->account, events, ARRAY_LEN(events)},
    };
    rc = identity_merge(command->services.pix, command->context->req, &merge);
    if (rc == 0) {
        command_say(command->options,
                    tr("the first identifier was merged into the second; musubi patient show "
                       "tells how to undo it"));
    }
    return identity_command_status(rc);
}

static int run_undo(IdentityCommand *command)
{
    Str wanted = str_from(command->options->arguments[1]);
    Str kind = str_slice(wanted, 0, 1);
    Str *patients = NULL;
    size_t count = 0;
    uint64_t id = 0;

    if ((!str_equal(kind, STR("L")) && !str_equal(kind, STR("M"))) ||
        !str_to_u64(str_from_offset(wanted, 1), &id) || id > INT64_MAX) {
        return command_usage("write what musubi patient show prints, e.g. L123 or M45");
    }
    int rc = link_view_patients(command->context->conn, command->context->req, kind.data[0],
                                (int64_t)id, &patients, &count);
    if (rc == 0) {
        const IdentitySource source =
            identity_command_source(command, command->arena, AUDIT_PATIENT_UPDATE, patients, count);
        rc = identity_undo(command->services.pix, command->context->req, kind.data[0], (int64_t)id,
                           &source);
    }
    if (rc == 0) {
        command_say(command->options, tr("%.*s is undone"), STR_ARG(wanted));
    }
    return identity_command_status(rc);
}

/* waiting */

static int run_waiting(IdentityCommand *command)
{
    CommandContext *context = command->context;
    WaitingIdentifier *waiting = NULL;
    size_t count = 0;
    int64_t limit;

    if (identity_command_limit(command->options, &limit) != EXIT_GOOD) {
        return EXIT_USAGE;
    }
    if (person_view_waiting(context->conn, context->req, limit, &waiting, &count) < 0) {
        return EXIT_FAILED;
    }
    json_t *list = command->options->json ? json_array() : NULL;
    for (size_t i = 0; i < count; i++) {
        Str cx = identity_command_cx(command, &waiting[i].number);
        Str since = clock_iso8601(command->arena, waiting[i].since_us);
        if (list) {
            json_array_append_new(list, json_pack("{s:o, s:o}", "identifier", json_text(cx),
                                                  "since", json_text(since)));
        } else {
            printf("%.*s %.*s\n", STR_ARG(since), STR_ARG(cx));
        }
    }
    if (list) {
        json_print(list);
    } else {
        printf(tr("%zu identifiers wait for an identifier of the affinity domain\n"), count);
    }
    return count > 0 ? EXIT_FOUND : EXIT_GOOD;
}

/* Dispatch */

IDENTITY_SUBCOMMAND(patient_link, run_link_same)
IDENTITY_SUBCOMMAND(patient_unlink, run_link_different)
IDENTITY_SUBCOMMAND(patient_merge, run_merge)
IDENTITY_SUBCOMMAND(patient_undo, run_undo)
IDENTITY_SUBCOMMAND(patient_waiting, run_waiting)

int command_patient(const Options *options)
{
    static const Subcommand subcommands[] = {
        {"show", 1, 1, patient_show},         {"link", 2, 2, patient_link},
        {"unlink", 2, 2, patient_unlink},     {"merge", 2, 2, patient_merge},
        {"undo", 1, 1, patient_undo},         {"review", 0, 0, patient_review},
        {"review", 2, 2, patient_review},     {"waiting", 0, 0, patient_waiting},
        {"import", 1, 1, patient_import},     {"enroll", 1, 1, patient_enroll},
        {"withdraw", 1, 1, patient_withdraw}, {"enroll", 2, 2, patient_enroll_import},
    };

    return command_run(options, subcommands, ARRAY_LEN(subcommands));
}
