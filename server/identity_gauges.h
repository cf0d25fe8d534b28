#pragma once

#include "lib/db/db.h"

/** The counts of pix/identity_counts.def for a page that is read every few seconds: renewed at most
 * once a minute. */
typedef struct IdentityGauges IdentityGauges;

IdentityGauges *identity_gauges_new(DbPool *pool);
void identity_gauges_free(IdentityGauges *gauges);

/** Appends a gauge for each row; nothing while the database does not answer. */
void identity_gauges_write(IdentityGauges *gauges, Request *req, StrBuf *buf);
