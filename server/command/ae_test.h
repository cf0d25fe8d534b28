#pragma once

#include "server/command/command.h"

/** musubi ae test TITLE [--node NAME]: C-ECHO to the AE. @return exit status */
int ae_test_command(const Options *options, CommandContext *context);
