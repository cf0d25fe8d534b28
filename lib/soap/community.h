#pragma once

#include "lib/base/request.h"

/**
 * homeCommunityId in what a Responding Gateway is asked (XCA: ITI TF-2 3.38, 3.39; XCA-I:
 * RAD TF-2 4.75).
 */

/**
 * Whether the request is for this community.
 * @param own       homeCommunityId that this gateway answers for
 * @param home      as in the request; empty if absent
 * @param name      of what says so in the request, for the text
 * @param location  of the error; NULL: none
 * @return 0, or -ERR_XDS_MISSING_HOME_COMMUNITY_ID or -ERR_XDS_UNKNOWN_COMMUNITY
 */
int community_check(Request *req, Str own, Str home, const char *name, const char *location);

/** The errors name the community alone as their location: where else the fault is goes to the
 * front of their texts, behind name, unless it is in them. */
void community_take_locations(Request *req, const char *name);
