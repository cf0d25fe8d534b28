#pragma once

#include "registry/submission_rules.h"

/** Memberships that one submission may propagate: several replacements of one entry in many Folders
 * multiply. */
#define MAX_PROPAGATED_MEMBERSHIPS 10000

/**
 * The memberships that the registry adds by itself: each replacement in every Approved Folder that
 * holds what it replaces, unless the submission asks for it already (TF-3 4.2.2.2.3). Pure; in the
 * request's arena, each once.
 *
 * @param submission  passed submission_rules_check() with this state
 * @return 0, or -ERR_XDS_REGISTRY_OUT_OF_RESOURCES beyond MAX_PROPAGATED_MEMBERSHIPS
 */
int replacement_memberships(Request *req, const Submission *submission, const RegistryState *state,
                            FolderMembership **ret_memberships, size_t *ret_count) MUST_CHECK;
