#pragma once

#include "server/command/identity_command.h"

/** The subcommands of musubi patient that have a file of their own. */

int patient_show(const Options *options, CommandContext *context);
int patient_import(const Options *options, CommandContext *context);
int patient_enroll(const Options *options, CommandContext *context);
int patient_withdraw(const Options *options, CommandContext *context);
/** enroll import FILE */
int patient_enroll_import(const Options *options, CommandContext *context);
/** review, review accept N, review reject N */
int patient_review(const Options *options, CommandContext *context);
