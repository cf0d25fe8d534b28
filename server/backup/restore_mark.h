#pragma once

#include "server/config.h"

/** data_dir/restore-unfinished: what is in data_dir and database is not yet all of a backup. While
 * it is there, serve does not start and no command opens the database. */

int restore_mark_set(const Config *config, ErrorList *errors) MUST_CHECK;
int restore_mark_clear(const Config *config, ErrorList *errors) MUST_CHECK;

/** @return 0, or -ERR_CONFIGURATION with what to do */
int restore_mark_check(const Config *config, ErrorList *errors) MUST_CHECK;
