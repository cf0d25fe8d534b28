#pragma once

#include "server/command/identity_command.h"

/** musubi why --study: each copy of the study, whose it is, and what decides about it. */

/**
 * Adds "object" (the study) and "copies", each with what why_decisions_add() adds, for
 * req->principal and req->user, and "is_permitted".
 * @param ret_is_permitted  the reader gets at least one copy in every way
 */
int why_study_add(const IdentityCommand *command, json_t *answer,
                  bool *ret_is_permitted) MUST_CHECK;

void why_study_print(const IdentityCommand *command, const json_t *answer);
