#pragma once

#include "server/command/identity_command.h"

/**
 * musubi document history NAME: versions, changes and relationships of a document, and what the
 * audit trail has about them. No names of patients.
 * @return exit status; EXIT_FOUND: there never was such a document
 */
int document_history_run(IdentityCommand *command, Str name);
