#pragma once

#include "registry/registry_private.h"

/** The SubmissionSet of a move and the metadata of its Associations, rendered for their rows (TF-2
 * Table 3.64.4.1.3.1.1-1). */

/** contentTypeCode of these SubmissionSets: the first of the affinity domain's code sets, or our
 * own where codes are not checked. */
Code move_set_content_type(const RegistryConfig *config);

typedef struct MoveSet {
    Uuid entry_uuid;
    Str unique_id;
    Str source_id;
    int64_t submission_time_us;
} MoveSet;

/** In the arena. */
Str move_set_render(Registry *registry, Arena *arena, const MoveSet *set);

/** Metadata of a HasMember with the Slot PreviousVersion. In the arena. */
Str move_set_render_membership(Registry *registry, Arena *arena, int32_t previous_version);
