#pragma once

#include "atna/iti81.h"
#include "pix/authorities.h"
#include "pix/identity.h"

/** A patient in the audit trail is every number of the person: records name the one that was in use
 * where and when they were made. */

/**
 * The keys (atna/repository.h) of the person, or persons, with this identifier; in the request's
 * arena. An identifier that is not known here is looked for as it is.
 * @param asked  authority NULL: a number of any authority, or of none
 */
int audit_patients_keys(Pix *pix, Request *req, const Authorities *authorities,
                        const Identifier *asked, KeySet *ret_keys) MUST_CHECK;

/** The same of a CX, whose authority need not be known here. */
int audit_patients_keys_of_cx(Pix *pix, Request *req, const Authorities *authorities, Str cx,
                              KeySet *ret_keys) MUST_CHECK;

/** That for ITI-81. */
AuditPatients audit_patients_of(Pix *pix);
