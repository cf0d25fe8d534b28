#pragma once

#include "lib/access/codes.h"
#include "server/command/identity_command.h"

/**
 * The codes that an operator wrote as a list of CODE^^SCHEME, separated by comma or semicolon: rows
 * of table code, made where they are missing, in the open transaction.
 * @param attribute  of DocumentEntry, "classCode": what the affinity domain has no such code for is
 *                   refused, unless affinity_domain.code_check is off
 * @param ret_ids    in the command's arena
 * @return 0; -ERR_CONFIGURATION with every fault; another negative ErrorCode
 */
int coded_text_intern(const IdentityCommand *command, const char *location, const char *attribute,
                      Str list, int32_t **ret_ids, size_t *ret_count) MUST_CHECK;
