#pragma once

#include "server/command/identity_command.h"

/** A patient as decisions about access name one: the XAD-PID of whoever has the number that an
 * operator wrote, be it a hospital's. */
typedef struct KnownPatient {
    int64_t id; /* row of patient_identifier */
    Str value;  /* the XAD-PID */
    Str cx;     /* "id^^^&oid&ISO", as audit names it; in the command's arena */
} KnownPatient;

/**
 * @param text      as identity_command_parse_one() reads it
 * @param location  for faults: "patient enroll", or "FILE:LINE"
 * @return 0; -ERR_CONFIGURATION with a fault: nobody has this number, or whoever has it has none of
 *         the affinity domain yet; another negative ErrorCode
 */
int known_patient_find(const IdentityCommand *command, Str text, const char *location,
                       KnownPatient *ret_patient) MUST_CHECK;
