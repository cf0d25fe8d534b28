#pragma once

#include "lib/access/access.h"
#include "pix/authorities.h"

/**
 * What a reader may know of one person: the numbers and demographics of the facilities of which
 * access_decide_facility() says so. All else is as if it were not there, and a person of whom
 * nothing is left is unknown.
 */
typedef struct Sight {
    const AccessScope *scope; /* NULL: all is seen */
    const Authorities *authorities;
    bool sees_xad_pid;   /* any number of a hospital, or whatever a hospital has of the person */
    bool sees_unclaimed; /* numbers of no facility, as of an insurance: nobody knows which of the
                            person's hospitals they came from, so those of all must be seen */
} Sight;

/** Whether the sender of the request may not see everything. */
bool sight_is_limited(const Request *req);

/**
 * What of a person may be seen, by its rules: they are read unless access_prepare() has.
 * @param xad_pid      row of its XAD-PID; 0: none
 * @param authorities  those of its active identifiers
 */
int sight_open(Request *req, const Authorities *authorities, int64_t xad_pid,
               const int32_t *authority_ids, size_t count, Sight *ret_sight) MUST_CHECK;

/** Whether numbers of this authority may be known, with what was said under them. */
bool sight_has(const Sight *sight, const AssigningAuthority *authority);
bool sight_has_id(const Sight *sight, int32_t authority);
