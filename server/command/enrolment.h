#pragma once

#include "server/command/known_patient.h"

/** Decisions of patients to take part or not (table enrolment): recorded, never changed; the last
 * one counts. */

typedef struct EnrolmentDecision {
    bool is_enrolled;
    Str form;     /* number of the signed form; empty if none */
    Str document; /* uniqueId of the consent document; empty if none */
} EnrolmentDecision;

/** Puts the decision and its audit event into the open transaction. */
int enrolment_store(const IdentityCommand *command, const KnownPatient *patient,
                    const EnrolmentDecision *decision) MUST_CHECK;

/**
 * Adds "is_enrolled" and "decisions" to an object.
 * @param identifiers  rows of patient_identifier that are or were one person
 */
int enrolment_add(const IdentityCommand *command, const int64_t *identifiers, size_t count,
                  json_t *object) MUST_CHECK;

/** Prints what enrolment_add() added. */
void enrolment_print(const json_t *object);
