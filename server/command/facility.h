#pragma once

#include "server/command/command.h"

/** The facilities that nodes and assigning authorities belong to. */

/** 1 to 64 bytes of UTF-8 without control characters. */
bool facility_is_name(Str name);

/**
 * Adds those that are missing.
 * @param ret_added  how many; may be NULL
 */
int facility_store(const CommandContext *context, const Str *names, size_t count,
                   int64_t *ret_added) MUST_CHECK;
