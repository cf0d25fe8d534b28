#pragma once

#include <jansson.h>

#include "pix/subscribers/subscriber_table.h"
#include "server/command/command.h"

/** The subscribers with their queues, also for status; new reference. */
json_t *subscriber_json(const CommandContext *context, const SubscriberState *states, size_t count);
void subscriber_print(const CommandContext *context, const SubscriberState *states, size_t count);
