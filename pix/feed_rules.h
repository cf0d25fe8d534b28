#pragma once

#include "pix/identity.h"

/**
 * Who may feed what, the same on every surface (HL7 v2, HL7 v3, FHIR): an authority is configured,
 * has one Patient Identity Source, and an epoch (ITI TF-2 3.8.4.1.1, 3.8.4.1.3.1; Appendix E).
 */

/** Who feeds, as the message says it. */
typedef struct FeedSender {
    Str application; /* MSH-3, or the id of a v3 device; empty: not said (FHIR) */
    Str facility;    /* MSH-4, or the id of a v3 organization */
    bool is_node;    /* HL7 v3, FHIR: a node that is registered to send as the source of an
                        authority counts as that source */
} FeedSender;

/** An identifier before its authority is known. */
typedef struct NamedIdentifier {
    Hl7Cx cx;                       /* an OID alone: universal_id with universal_id_type "ISO" */
    const char *location;           /* of the value: "PID^1^3^1^1", XPath or FHIRPath */
    const char *authority_location; /* of the authority: "PID^1^3^1^4" */
} NamedIdentifier;

typedef enum FeedPurpose {
    FEED_RECORD, /* identifiers of one patient: add, revise, merge */
    FEED_LINK,   /* A24, A37: one identifier of the sender's own domain is enough */
} FeedPurpose;

/**
 * The authority of one identifier: that which it names, or, where it names none, that which is
 * bound to the sender (TF-2 3.8.4.1.3).
 * @return NULL with the fault
 */
const AssigningAuthority *feed_rules_authority(const Authorities *authorities,
                                               const FeedSender *sender, const Hl7Cx *cx,
                                               AuthorityFault *ret_fault);

/**
 * The identifiers of one message that the sender may feed, each once, in their order.
 *
 * - An absent authority is the one that is bound to the sender (TF-2 3.8.4.1.3).
 * - An authority that is not configured, contradictory, or another source's, is an error, and so is
 *   a feed outside its epoch. But identifiers of authorities that are not configured are ignored
 *   beside one of the affinity domain (TF-2 3.8.4.1.4).
 * - Beside an identifier of the sender's own domain it may quote others: those of authorities that
 *   are no hospital system's numbering (kind) or of no facility, those of its own facility, and
 *   those known already. In [access] mode = enforce the latter are those of facilities that the
 *   node submits for.
 *
 * Adds every fault that it finds.
 *
 * @param ret_identifiers  room for count; at least one on success
 * @return 0, or the negative ErrorCode of a fault: ERR_HL7_UNKNOWN_KEY_IDENTIFIER, or of
 *         identity_check_value()
 */
int feed_rules_resolve(Pix *pix, Request *req, const Authorities *authorities,
                       const FeedSender *sender, FeedPurpose purpose, const NamedIdentifier *named,
                       size_t count, Identifier *ret_identifiers, size_t *ret_count) MUST_CHECK;

/**
 * What a feed says besides identifiers: PID-7 is a time, PID-8 is of table 0001.
 * @param sex_location  NULL: any value
 * @return 0, or the negative ErrorCode of a fault: ERR_HL7_DATA_TYPE, ERR_HL7_TABLE_VALUE_NOT_FOUND
 */
int feed_rules_check_demographics(Request *req, const Demographics *demographics,
                                  const char *birth_location, const char *sex_location) MUST_CHECK;
