#pragma once

#include "server/command/identity_command.h"

/** musubi document show UNIQUEID: as what it is registered, what is stored of it, and what was
 * removed of both, when and by whom. That it is shown is recorded first. */
int document_show_run(IdentityCommand *command);
