#pragma once

#include "pix/pix_state.h"

/** Handles one message whose header was checked and whose sender may send it. */
typedef int (*PixMessageHandler)(Pix *pix, Request *req, const Er7Message *message);

/** ITI-8 A01, A04, A05: makes identifiers known (TF-2 3.8.4.1.4). */
int pix_iti08_register(Pix *pix, Request *req, const Er7Message *message) MUST_CHECK;

/** ITI-8 A08: a Document Registry shall ignore it (TF-2 3.8.4.1.4). */
int pix_iti08_ignore(Pix *pix, Request *req, const Er7Message *message) MUST_CHECK;

/** ITI-8 A40: merges MRG-1 into PID-3 (TF-2 3.8.4.2.4). */
int pix_iti08_merge(Pix *pix, Request *req, const Er7Message *message) MUST_CHECK;

/** Records an ITI-8 message that was refused, with the first of req->errors; adds to them if it
 * cannot. */
void pix_iti08_record_refused(Pix *pix, Request *req, const Er7Message *message);

/** MSH-3|MSH-4, the namespaces (or else universal ids) alone; in the arena. */
Str pix_sender(const Er7Message *message);

/** An identifier of the affinity domain as a message names it. */
typedef struct FedIdentifier {
    Str id;               /* CX-1 */
    const char *location; /* ERR-2 path of CX-1 */
} FedIdentifier;

/**
 * Makes identifiers known; those already known stay as they are. One transaction, with the audit
 * event.
 *
 * @return 0; -ERR_HL7_UNKNOWN_KEY_IDENTIFIER if one of them was merged away, and then none is
 *         stored: a subsumed identifier is never usable again (TF-2 3.8.4.2.4)
 */
int identity_register(Pix *pix, Request *req, const FedIdentifier *identifiers, size_t count,
                      const AuditEvent *event) MUST_CHECK;

typedef struct IdentityMerge {
    FedIdentifier subsumed; /* MRG-1 */
    FedIdentifier survivor; /* PID-3 */
    Str source;             /* MSH-3|MSH-4 */
} IdentityMerge;

/**
 * Points subsumed, and all that were merged into it before, to survivor. One transaction, with the
 * audit events. Nothing changes unless both are known, active and different (TF-2 3.8.4.2.4).
 *
 * @return 0, or -ERR_HL7_UNKNOWN_KEY_IDENTIFIER
 */
int identity_merge(Pix *pix, Request *req, const IdentityMerge *merge, const AuditEvent *events,
                   size_t event_count) MUST_CHECK;
