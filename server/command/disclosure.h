#pragma once

#include "server/command/identity_command.h"

/** The subcommand of musubi disclosure that has a file of its own. */
int disclosure_notices(const Options *options, CommandContext *context);
