#pragma once

#include <stddef.h>

#include "lib/base/macros.h"
#include "server/config.h"

/**
 * Gives up what serve does not need once its keys are read and its database runs: from here on it
 * opens its own folders, what a reload reads (configuration, certificates, codes), the resolver's
 * files and the time zones, and runs no program. To be called before any thread is started.
 * @param folders  of data_dir that are written to, up to NULL
 * @return false and the reason if it cannot be done; nothing is done with [server] sandbox = no
 */
bool confinement_enter(const Config *config, const char *const *folders, char *ret_problem,
                       size_t problem_size) MUST_CHECK;

/** In words for an operator, untranslated: what holds with this configuration on this kernel. */
const char *confinement_state(const Config *config);

/** Whether that is all that could hold. */
bool confinement_is_full(void);
