#pragma once

#include "server/command/command.h"

/** musubi node endpoint add NAME URL [--fingerprint HEX] | list [NAME] | remove NAME URL: where
 * messages for a node may be sent. */
int node_endpoint_command(const Options *options, CommandContext *context);
