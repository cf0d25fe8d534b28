#pragma once

#include "lib/db/db.h"

/** Appends the gauges musubi_audit_records and musubi_audit_defects (atna/sender_counts.h); nothing
 * while the database does not answer. */
void audit_gauges_write(DbPool *pool, Request *req, StrBuf *buf);
