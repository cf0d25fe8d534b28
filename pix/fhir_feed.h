#pragma once

#include "pix/fhir.h"

/** One Patient resource as an identity feed: the same for ITI-104 and ITI-93. */

/** The audit events of a transaction. */
typedef struct FhirFeedEvents {
    AuditEventType create;
    AuditEventType update;
    AuditEventType remove;
} FhirFeedEvents;

typedef struct FhirFeed {
    Pix *pix;
    FhirExchange *exchange;
    FhirFeedEvents events;
    const FhirNode *patient; /* NULL for a removal without body */
    const char *path;        /* FHIRPath of the patient, for errors: "Patient" */
    FhirToken key;           /* the identifier that the resource is fed under */
} FhirFeed;

typedef struct FhirFed {
    bool is_new;    /* nobody knew the identifier */
    int64_t person; /* that it belongs to now; 0 after a removal */
} FhirFed;

/**
 * Adds or revises the patient; with a link of type replaced-by merges the key into the identifier
 * that the link names (PIXm 2:3.104.4.1.3, 2:3.104.4.2.3). One database transaction or nothing;
 * also a refusal is recorded.
 *
 * @return 0, or a negative ErrorCode; what is wrong with the resource is 400, what the rules of
 *         this network forbid 422 (exchange->status)
 */
int fhir_feed_patient(FhirFeed *feed, FhirFed *ret_fed) MUST_CHECK;

/** Records a message that is refused before it comes to fhir_feed_patient() or fhir_feed_remove().
 * @return rc */
int fhir_feed_refuse(FhirFeed *feed, AuditEventType type, int rc) MUST_CHECK;

/** Takes the key out of use (PIXm 2:3.104.4.3.3). @return 0, or -ERR_HL7_UNKNOWN_KEY_IDENTIFIER */
int fhir_feed_remove(FhirFeed *feed) MUST_CHECK;
