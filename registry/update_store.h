#pragma once

#include "registry/store.h"
#include "registry/update_rules.h"

/**
 * Queues everything that an update changes: new versions in place of the latest ones, Associations
 * repeated, changes of status, submitted Associations with what a replacement brings, and
 * lastUpdateTime of Folders that got a member. Nothing is sent for good before db_commit().
 */
int update_store_queue(Registry *registry, Request *req, DbConn *conn,
                       const PreparedSubmission *prepared, const SubmittedDocument *submitted,
                       const UpdateState *state) MUST_CHECK;

/** Tells the repository and the rules of consent what the rows do not; waits for what is queued if
 * there is something to tell. */
int update_store_follow(Registry *registry, Request *req, DbConn *conn,
                        const PreparedSubmission *prepared, const UpdateState *state) MUST_CHECK;
