#pragma once

#include <jansson.h>

#include "registry/subscriptions/subscription_table.h"

/** What `musubi status` shows of subscriptions. */
json_t *subscription_totals_json(const SubscriptionTotals *totals);
