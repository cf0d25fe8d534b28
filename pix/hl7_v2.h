#pragma once

#include "pix/feed_rules.h"
#include "pix/pix_state.h"

/** What the files share that handle HL7 v2 messages. */

typedef struct Hl7Call Hl7Call;

/** Handles one message whose header was checked and whose sender may send it.
 * @return 0, or the negative ErrorCode of an error in req->errors: nothing was changed */
typedef int (*Hl7Handler)(Hl7Call *call);

/** Row of messages.def. */
typedef struct Hl7MessageType {
    Str type;     /* MSH-9.1 */
    Str event;    /* MSH-9.2 */
    Str versions; /* MSH-12, separated by blanks */
    const char *transaction;
    Hl7Handler handler;
    const char *answer; /* MSH-9 of the answer to a query; NULL: an acknowledgement */
    AuditEventType audit;
    AuditEventType audit_merged; /* of what MRG names; AUDIT_EVENT_COUNT: none */
} Hl7MessageType;

/** One message on its way to its reply; all is borrowed. */
struct Hl7Call {
    Pix *pix;
    Request *req;
    const Er7Message *message;
    const Hl7MessageType *type;
    const Authorities *authorities;
    FeedSender sender;
    Str payload;  /* octets as received */
    StrBuf found; /* answer to a query: segments behind QPD (lib/hl7/response.h) */
};

/** "MSH-3|MSH-4": the namespaces (or else universal ids); in the arena. */
Str hl7_sender_name(const Hl7Call *call);

/** "facility|application" as audit names a party (TF-2 3.8.5.1); empty where the message names
 * neither. In the arena. */
Str hl7_party(Arena *arena, const Er7Message *message, size_t facility, size_t application);

/* ---- hl7_v2_identifiers.c ---- */

/** Where a message carries identifiers. */
typedef struct Hl7Field {
    const char *segment;
    size_t sequence; /* 2: the second segment of this name */
    size_t number;
    const char *wanted; /* what to send there, for error texts */
} Hl7Field;

extern const Hl7Field hl7_patient_field; /* PID-3 */
extern const Hl7Field hl7_merged_field;  /* MRG-1 */

/** ERR-2 path: "PID^1^3^1^4"; in the arena. */
const char *hl7_path(const Hl7Call *call, const Hl7Field *field, size_t repetition, int component);

/** Adds an error where the segment is missing or occurs more than `sequence` times, or the field is
 * empty or too long. */
int hl7_check_field(const Hl7Call *call, const Hl7Field *field) MUST_CHECK;

/** CX of one repetition; parts are trimmed. */
Hl7Cx hl7_read_cx(const Hl7Call *call, Str repetition);

/**
 * Appends the identifiers of a field, one for each repetition that is not empty.
 * @param named  room for FEED_IDENTIFIERS_MAX more
 */
void hl7_name_identifiers(const Hl7Call *call, const Hl7Field *field, NamedIdentifier *named,
                          size_t *count);

/** hl7_check_field(), hl7_name_identifiers(), feed_rules_resolve(). */
int hl7_read_identifiers(const Hl7Call *call, const Hl7Field *field, Identifier **ret_identifiers,
                         size_t *ret_count) MUST_CHECK;

/** The authorities that a field names with CX-4 alone (QPD-4, QPD-8); an error for each repetition
 * whose authority is not known. */
int hl7_read_domains(const Hl7Call *call, const Hl7Field *field,
                     const AssigningAuthority ***ret_domains, size_t *ret_count) MUST_CHECK;

/* ---- hl7_v2_events.c ---- */

#define HL7_EVENTS_MAX 3

/** Audit events of a feed: one of what MRG names, if there is a row for it, and one of each PID:
 * a record is about one patient (TF-2 3.20.7). */
size_t hl7_feed_events(const Hl7Call *call, AuditEvent ret_events[HL7_EVENTS_MAX]);

/** Records a query with the patient that it asks for, if it names one, and those (CX) that are in
 * its answer. */
int hl7_record_query(const Hl7Call *call, const Str *patients, size_t count) MUST_CHECK;

/** Records a message that was refused, with the first of req->errors; adds to them if it cannot.
 * Of a message that cannot be read, or is of no type that we take, nothing but the refusal. */
void hl7_record_refused(const Hl7Call *call);

/* ---- hl7_v2_feed.c: what ITI-8 and ITI-30 have in common ---- */

/** Adds or revises the patient of PID. */
int hl7_feed(Hl7Call *call, bool is_revision, bool checks_sex) MUST_CHECK;

/** Merges MRG-1 into PID-3: one pair. In the affinity domain both must be known, whatever kind
 * says, unless it is MERGE_CHANGE (TF-2 3.8.4.2.4). */
int hl7_merge(Hl7Call *call, MergeKind kind) MUST_CHECK;

/* ---- handlers ---- */

int pix_iti08_add(Hl7Call *call);    /* A01, A04, A05: TF-2 3.8.4.1 */
int pix_iti08_revise(Hl7Call *call); /* A08 */
int pix_iti08_merge(Hl7Call *call);  /* A40: TF-2 3.8.4.2 */
int pix_iti30_add(Hl7Call *call);    /* A28: TF-2 3.30.6.1 */
int pix_iti30_revise(Hl7Call *call); /* A31: TF-2 3.30.6.2 */
int pix_iti30_merge(Hl7Call *call);  /* A40: TF-2 3.30.6.4 */
int pix_iti30_change(Hl7Call *call); /* A47: TF-2 3.30.6.5 */
int pix_iti30_link(Hl7Call *call);   /* A24: TF-2 3.30.6.6 */
int pix_iti30_unlink(Hl7Call *call); /* A37: TF-2 3.30.6.7 */
int pix_iti64_move(Hl7Call *call);   /* A43: TF-2 3.64.4.1 */
int pix_iti09_query(Hl7Call *call);  /* Q23: TF-2 3.9.4.1 */
int pix_iti21_query(Hl7Call *call);  /* Q22: TF-2 3.21.4.1 */
int pix_iti22_query(Hl7Call *call);  /* ZV1: TF-2 3.22.4.1 */
int pix_iti21_cancel(Hl7Call *call); /* J01: TF-2 3.21.4.2.3 */
