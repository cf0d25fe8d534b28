#pragma once

#include "server/command/identity_command.h"

/**
 * The person whom an assertion would name, as --user, --role, --purpose and --reason say: for
 * commands that replay a decision. Sets req->user; without any of these options nobody.
 * @return 0, or -ERR_CONFIGURATION with a fault
 */
int presumed_user_read(const IdentityCommand *command, const char *location) MUST_CHECK;
