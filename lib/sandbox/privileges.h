#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "lib/base/macros.h"

/** No core files, not even of programs started from here, and no ptrace by others of the same user:
 * both would show patient data and keys. */
void privileges_forbid_core_files(void);

/**
 * Becomes this user and group for good: no supplementary groups, no capabilities (also none of a
 * process that was started with some and without root), none to be regained by running a program
 * (no_new_privs). To be called before any other thread runs.
 * @param uid, gid  not root's; where the process is not root, its own: only the rest is given up
 * @return false and the reason if anything is left
 */
bool privileges_drop(uid_t uid, gid_t gid, char *ret_problem, size_t problem_size) MUST_CHECK;
