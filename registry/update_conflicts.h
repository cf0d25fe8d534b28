#pragma once

#include "registry/update_rules.h"

/**
 * Operations of one message of which each is right, but that do not go together: what comes of them
 * would depend on their order, which the message does not say (XDS Metadata Update 3.57.4.1.3.1).
 * Adds every fault found.
 *
 * @param updated  what the message makes new versions of, each with its previous one
 */
void update_conflicts_check(Request *req, const Submission *submission, const UpdateState *state,
                            const UpdatedObject *updated, size_t updated_count);
