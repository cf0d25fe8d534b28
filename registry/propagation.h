#pragma once

#include "registry/store_rows.h"
#include "registry/update_rules.h"

/**
 * What becomes of the Associations of an object that gets a new version (XDS Metadata Update
 * 3.57.4.1.3.3.1.5, .3.3.5): memberships in Folders and relationships are repeated with the new
 * version in the place of the old one, unless AssociationPropagation is "no". Those of the old
 * version end. Pure.
 */

/** New Associations at most, for one message. */
#define PROPAGATED_MAX 10000

/**
 * @param ret_rows  the repeated ones are added; room for state->links.count
 * @return 0, or -ERR_XDS_REGISTRY_OUT_OF_RESOURCES: too many
 */
int propagate_links(Registry *registry, Request *req, const UpdateState *state,
                    const UpdatedObject *updated, size_t count,
                    AssociationRows *ret_rows) MUST_CHECK;
