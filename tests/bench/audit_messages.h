#pragma once

#include "lib/base/str.h"

#include "tests/bench/random_numbers.h"

/**
 * Invented audit messages of a region: hospitals with their users, patients and documents, in the
 * shares in which such systems send them. Message n is the same on every machine.
 *
 * Patient p, from 0 on, has the number "A" and p in 9 digits in the domain AUDIT_DOMAIN. The lower
 * the number, the more often the patient is seen: of n messages about m patients, patient 0 has
 * about n / sqrt(m), and the last one n / 2m.
 */

#define AUDIT_DOMAIN "1.2.392.99999.79"

typedef struct AuditInvention {
    uint64_t patients;
    Arena *arena;
} AuditInvention;

/** Appends the syslog message (RFC 5424) number n of an event at this time. */
void audit_message_invent(const AuditInvention *invention, uint64_t number, int64_t event_us,
                          StrBuf *buf);
