#pragma once

#include <jansson.h>

#include "server/time_sync.h"

/** Of `check-time --json`, and of `status --json`; new reference. */
json_t *command_time_json(const TimeSync *sync);
