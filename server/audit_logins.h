#pragma once

#include "lib/db/db.h"

/**
 * When the users of a report had logged in, by the records 110114/110122 of the Audit Record
 * Repository (DICOM PS3.15 A.5.3.12). Users are noted as they come, and looked up many at a time.
 */
typedef struct AuditLogins AuditLogins;

/** Logins under one UserID or UserName. */
typedef struct LoginTimes LoginTimes;

/** @param pool  borrowed; one of its connections is kept once there is something to look up */
AuditLogins *audit_logins_new(DbPool *pool);
/** audit_logins_free(NULL) is fine. */
void audit_logins_free(AuditLogins *logins);

/** Notes a user: by UserID, and where there is none by UserName, which others may share. What is
 * returned lives as long as logins; NULL: neither is there. */
const LoginTimes *audit_logins_of(AuditLogins *logins, Str user_id, Str user_name);

/** Looks up who was noted since the last time. */
int audit_logins_load(AuditLogins *logins, Request *req) MUST_CHECK;

/** The last login before a time and within 24 hours of it; INT64_MIN: none is known.
 * @param times  may be NULL */
int64_t audit_logins_before(const LoginTimes *times, int64_t at_us);
