#pragma once

#include <jansson.h>

#include "pix/authorities.h"
#include "pix/identity.h"
#include "pix/link_view.h"
#include "server/command/command.h"
#include "server/command/json.h"
#include "server/services.h"

/** What the commands that look at identities, or change them, have in common. They run beside a
 * running server, on the same database. */

typedef struct IdentityCommand {
    const Options *options;
    CommandContext *context;
    Arena *arena; /* of the command: lives as long as authorities */
    Services services;
    AuthorityDirectory *directory;
    const Authorities *authorities;
    Str account; /* of the operator: who decided */
} IdentityCommand;

/**
 * Opens the PIX manager, and the registry if this process has the role, since documents move with
 * identifiers; runs, and closes.
 * @return what run returns, or another status with the reason in the context's errors
 */
int identity_command_run(const Options *options, CommandContext *context,
                         int (*run)(IdentityCommand *command));

/** Defines what a Subcommand runs, of what runs with an IdentityCommand. */
#define IDENTITY_SUBCOMMAND(name, run)                                                             \
    static int name(const Options *options, CommandContext *context)                               \
    {                                                                                              \
        return identity_command_run(options, context, run);                                        \
    }

/** Prints every row of a statement whose one parameter is whether --all is given. @return exit
 * status */
int identity_command_list(const IdentityCommand *command, const DbStatement *statement,
                          RowJsonFn json_of, RowPrintFn print_row);

/** Exit status of a change: what the identity manager refused is the operator's business. */
int identity_command_status(int rc);

/**
 * The identifier that an operator writes: CX "123^^^NS&OID&ISO", "OID:123", "namespace:123", or a
 * number alone.
 * @param ret_identifier  authority is NULL for a number alone; texts are in the arena
 * @return 0, or -ERR_CONFIGURATION
 */
int identity_command_parse(const IdentityCommand *command, const char *text,
                           Identifier *ret_identifier) MUST_CHECK;

/** As identity_command_parse(); a number alone is of the affinity domain. */
int identity_command_parse_one(const IdentityCommand *command, const char *text,
                               Identifier *ret_identifier) MUST_CHECK;

/** As identity_command_parse_one(), with the place that faults name, e.g. "FILE:LINE". */
int identity_command_parse_at(const IdentityCommand *command, Str text, const char *location,
                              Identifier *ret_identifier) MUST_CHECK;

/** By OID or namespace; NULL with a fault. */
const AssigningAuthority *identity_command_authority(const IdentityCommand *command, Str name);

/** Who decides, with an audit event about each of these patients (CX), since a record is about one
 * (TF-2 3.20.7); in the arena. */
IdentitySource identity_command_source(const IdentityCommand *command, Arena *arena,
                                       AuditEventType type, const Str *patients, size_t count);

/** Records that a patient with these identifiers (CX), or a list of patients, is shown; before it
 * is (contract C4). */
int identity_command_record_shown(const IdentityCommand *command, const Str *patients,
                                  size_t count) MUST_CHECK;

/** "id^^^namespace&oid&ISO"; where the authority is not configured, the number alone. */
Str identity_command_cx(const IdentityCommand *command, const PersonNumber *number);

/** "id^^^&oid&ISO", as audit names a patient. */
Str identity_command_patient(const IdentityCommand *command, const PersonNumber *number);

/** {"oid", "namespace", "facility", "kind", "is_valid"}; new reference. */
json_t *identity_authority_json(const AssigningAuthority *authority);

/** --limit, otherwise 100. @return EXIT_GOOD or EXIT_USAGE */
int identity_command_limit(const Options *options, int64_t *ret_limit);

/** Names, birth date, sex, addresses and phones; JSON null if there is no record; new reference. */
json_t *identity_demographics_json(Arena *arena, const PersonRecord *record);
/** That in one line for a terminal; in the arena. */
Str identity_demographics_line(Arena *arena, const json_t *demographics);

/** The text of a row of pix/link_reasons.def. */
const char *identity_reason_text(Str reason);

json_t *identity_score_json(LinkScore score);
/** @param at_us  INT64_MIN: JSON null */
json_t *identity_at_json(Arena *arena, int64_t at_us);
/** JSON null for no text. */
json_t *identity_value_json(Str value);
/** JSON null for the SQL NULL. */
json_t *identity_instant_json(Arena *arena, const DbResult *rows, int row, int column);
json_t *identity_text_json(const DbResult *rows, int row, int column);
