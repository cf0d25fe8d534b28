#pragma once

#include "server/command/command.h"

/** What a registered node may do beside its transactions: roles of requests without a user, whether
 * it submits, and for which other facilities. */
typedef struct NodeRights {
    Str roles;    /* list of names of table access_role; empty: "node" */
    Str also_for; /* list of facilities */
    bool may_submit;
} NodeRights;

/**
 * Checks them and puts them into the open transaction.
 * @param location  for faults
 * @return 0; -ERR_CONFIGURATION with every fault; another negative ErrorCode
 */
int node_rights_store(const CommandContext *context, const char *location, int32_t node,
                      const NodeRights *rights) MUST_CHECK;
