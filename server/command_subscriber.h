#pragma once

#include <jansson.h>

#include "server/command.h"

/** The subscribers with their queues, for status. */
int subscriber_read(const CommandContext *context, DbResult **ret_rows) MUST_CHECK;
/** New reference. */
json_t *subscriber_json(const CommandContext *context, const DbResult *rows);
void subscriber_print(const CommandContext *context, const DbResult *rows);
