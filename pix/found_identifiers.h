#pragma once

#include "pix/identity.h"

/**
 * The identifiers of one person as answers give them: real ones, and for each authority whose
 * numbers follow from another's, and of which the person has no real one, those that follow.
 *
 * @param ids, values  authority and value of the active identifiers; those of one authority
 * adjacent
 * @param targets  the authorities wanted; count 0: all
 * @return how many; values are borrowed, the rest in the arena
 */
size_t found_identifiers_make(Arena *arena, const Authorities *authorities, const int32_t *ids,
                              const Str *values, size_t count,
                              const AssigningAuthority *const *targets, size_t target_count,
                              FoundIdentifier **ret_identifiers);
