#pragma once

#include "server/options.h"

/** musubi audit search|report|export over the Audit Record Repository. */

/** Whether the command line asks for records by criteria, rather than for a text in the spool. */
bool audit_search_is_asked(const Options *options);

/** @return exit status */
int audit_search_run(const Options *options);
