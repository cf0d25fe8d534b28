#pragma once

#include "registry/registry_private.h"
#include "registry/removal_rules.h"

/** A patient of what is named, with the identifier (CX) of its survivor. */
typedef struct RemovalPatient {
    int64_t id;
    Str identifier;
} RemovalPatient;

/** What the registry holds about one removal. */
typedef struct RemovalRead {
    RemovalState state;
    RemovalPatient *patients; /* in order of id */
    size_t patient_count;
} RemovalRead;

/** The identifier of a patient of the objects; empty if it is not among them. */
Str removal_patient_identifier(const RemovalRead *read, int64_t patient);

/**
 * Begins the transaction of a removal: holds off new rules of retention, claims the uniqueIds of
 * what is named, holds its patients, locks the objects, all their versions and the ends of
 * Associations, and reads what refers to them. Three round trips: which uniqueIds and patients that
 * are is asked first.
 *
 * @param named  closed
 */
int removal_read(Registry *registry, Request *req, DbConn *conn, const UuidSet *named,
                 RemovalRead *ret_read) MUST_CHECK;
