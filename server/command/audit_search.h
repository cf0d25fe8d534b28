#pragma once

#include "server/options.h"

/** musubi audit search|report|export over the Audit Record Repository, and what waits for it. */

/** Whether the command line asks for one of these. */
bool audit_search_is_asked(const Options *options);

/** @return exit status */
int audit_search_run(const Options *options);
