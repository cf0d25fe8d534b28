#pragma once

#include "registry/registry_private.h"

/** The thread that finds for each event whom it concerns, and queues the notifications. One process
 * of those that share the database does it at a time. */
typedef struct Matcher Matcher;

/** @param queued  called when there is something to send */
Matcher *matcher_new(Registry *registry, void (*queued)(void *ctx), void *ctx, char *ret_problem,
                     size_t problem_size);
void matcher_ask_to_stop(Matcher *matcher);
/** matcher_free(NULL) is fine. */
void matcher_free(Matcher *matcher);
