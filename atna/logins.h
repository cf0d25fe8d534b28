#pragma once

#include "lib/db/db.h"

/**
 * When the users of a report had logged in, by the records 110114/110122 of the Audit Record
 * Repository (DICOM PS3.15 A.5.3.12). Many are looked up at a time.
 */
typedef struct AuditLogins AuditLogins;

/** @param pool  borrowed; one of its connections is kept once there is something to look up */
AuditLogins *audit_logins_new(DbPool *pool);
/** audit_logins_free(NULL) is fine. */
void audit_logins_free(AuditLogins *logins);

/** Asks for the last login of a user before a time and within 24 hours of it. The user is known by
 * UserID, and where there is none by UserName, which others may share.
 * @param ret_login_us  set by audit_logins_load() if there is one, and must live until then */
void audit_logins_ask(AuditLogins *logins, Str user_id, Str user_name, int64_t at_us,
                      int64_t *ret_login_us);

/** Answers what was asked since the last time. */
int audit_logins_load(AuditLogins *logins, Request *req) MUST_CHECK;
