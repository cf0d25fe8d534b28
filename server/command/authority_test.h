#pragma once

#include "server/command/command.h"

/** musubi authority test VALUE: what a number is, what is known of it, and why. */
int authority_test(const Options *options, CommandContext *context);
