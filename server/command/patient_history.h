#pragma once

#include "server/command/identity_command.h"

/** Links and merges of a person, for a reader: who, when, why, and what undoes each. */

/**
 * Adds "links" and "merges" to an object.
 * @param identifiers  rows of patient_identifier
 * @param person       also links by which an identifier left it; 0: none
 */
int patient_history_add(const IdentityCommand *command, const int64_t *identifiers, size_t count,
                        int64_t person, json_t *object) MUST_CHECK;

/** Prints the two lists. */
void patient_history_print(const json_t *links, const json_t *merges);
