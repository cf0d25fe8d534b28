#pragma once

#include "server/command/command.h"

/** musubi node test NAME: whether a node will be served, and what it sends would be accepted; each
 * line OK or the remedy. Nothing is sent and nothing stored. */
int node_test_command(const Options *options, CommandContext *context);
