#pragma once

#include "server/command/command.h"

/** The checks that commands of their own print, for those that run them too. */

typedef void (*CheckFindingFn)(void *ctx, const char *line);

/** musubi fsck. @return number of findings, or negative with the reason in context->req->errors */
int64_t command_run_fsck(CommandContext *context, CheckFindingFn finding, void *ctx) MUST_CHECK;

/** musubi audit verify, without a file of heads. @return as command_run_fsck() */
int64_t command_run_audit_verify(CommandContext *context, CheckFindingFn finding,
                                 void *ctx) MUST_CHECK;
