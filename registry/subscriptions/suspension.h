#pragma once

#include "registry/registry_private.h"

/**
 * Suspends subscriptions whose recipient does not take what waits ([subscriptions] retry_for,
 * max_waiting): nothing more is queued for them, and what waits stays until an operator has it sent
 * or removes the subscription. Of 100 at a time each is logged and on record.
 *
 * @return 0 or negative
 */
int subscriptions_suspend(Registry *registry, Request *req, DbPool *pool) MUST_CHECK;
