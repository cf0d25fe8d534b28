#pragma once

#include "atna/atna.h"
#include "lib/hl7/demographics.h"
#include "pix/authorities.h"
#include "pix/pix.h"

/**
 * What all surfaces (HL7 v2, HL7 v3, FHIR, commands) do with identities. Each function is one
 * database transaction, with its audit events, history and notifications, or nothing.
 */

/** An identifier as a message names it. */
typedef struct Identifier {
    const AssigningAuthority *authority;
    Str value;
    bool is_quoted; /* in a feed: of a domain that the sender does not own; demographics stay */
    const char *location;           /* for errors: ERR-2 path "PID^1^3^1^1", XPath or FHIRPath */
    const char *authority_location; /* the same of the authority: "PID^1^3^1^4" */
} Identifier;

/** Who made a change, for the history. */
typedef struct IdentitySource {
    Str name;                 /* MSH-3|MSH-4, v3 device, or an operator's account */
    const AuditEvent *events; /* to be recorded with the change */
    size_t event_count;
} IdentitySource;

/** Checks CX-1 of an identifier: valued, not too long, no control character.
 * @return 0, or an ERR_HL7_... */
int identity_check_value(ErrorList *errors, const Identifier *identifier) MUST_CHECK;

/* ---- feed ---- */

/** Most identifiers of one patient, and so of one field of one message. */
#define FEED_IDENTIFIERS_MAX 100

typedef struct IdentityFeed {
    const Identifier *identifiers; /* of one patient; each once; at least one */
    size_t identifier_count;
    Demographics demographics;
    IdentitySource source;
    bool is_revision; /* A08, A31, 201302: an identifier of the affinity domain that is not known
                         stays unknown (TF-2 3.8.4.1.4) */
} IdentityFeed;

/**
 * Adds or revises one patient: identifiers of one message are one person; matching may find that
 * person among those known; else a new one, with an XAD-PID at once where we mint. On return the
 * XAD-PID may be handed out: every other registry knows it.
 *
 * @param ret_is_new  whether the first identifier was not known; may be NULL
 * @return 0; -ERR_HL7_UNKNOWN_KEY_IDENTIFIER for an identifier that was merged away;
 *         -ERR_HL7_INTERNAL when another registry could not be told in time (nothing is lost: the
 *         same feed again is safe)
 */
int identity_feed(Pix *pix, Request *req, const IdentityFeed *feed, bool *ret_is_new) MUST_CHECK;

/* ---- merge, change, link ---- */

typedef enum MergeKind {
    MERGE_STRICT,  /* both must be known: ITI-8 A40, ITI-44 */
    MERGE_LENIENT, /* ITI-30 A40: unknown survivor = change; unknown subsumed = nothing, no error */
    MERGE_CHANGE,  /* ITI-30 A47: the survivor must be free; unknown subsumed = nothing */
    MERGE_UPSERT,  /* ITI-104: what is unknown is made first */
} MergeKind;

typedef struct IdentityMerge {
    MergeKind kind;
    Identifier subsumed;
    Identifier survivor;              /* same authority */
    const Demographics *demographics; /* MERGE_UPSERT: of what is made; else NULL */
    IdentitySource source;
} IdentityMerge;

/**
 * Points subsumed, and all that were merged into it, to survivor: never usable again. In the
 * affinity domain no object is rewritten; in another one the documents of the subsumed identifier
 * move (TF-2 3.64).
 * @return 0, or -ERR_HL7_UNKNOWN_KEY_IDENTIFIER, -ERR_HL7_DUPLICATE_KEY_IDENTIFIER
 */
int identity_merge(Pix *pix, Request *req, const IdentityMerge *merge) MUST_CHECK;

typedef enum LinkKind { LINK_SAME, LINK_DIFFERENT } LinkKind;

typedef struct IdentityLink {
    LinkKind kind;
    const char *reason; /* row of link_reasons.def */
    Identifier one;
    Identifier other;
    bool is_lenient; /* A24/A37: unknown identifiers are no error; a link is remembered */
    bool moves_all;  /* LINK_SAME: every identifier of the younger person moves (an accepted
                        proposal of matching); else `other` alone, and the other hospitals of its
                        person do not follow by themselves */
    IdentitySource source;
} IdentityLink;

/**
 * Makes two identifiers one person, or two (A24, A37; commands; decisions of the review queue), and
 * remembers the verdict, so that matching does not undo it. LINK_DIFFERENT moves `other` back to
 * the person that it came from, or to a new one. The documents of what moves move with it
 * (TF-2 3.64).
 */
int identity_link(Pix *pix, Request *req, const IdentityLink *link) MUST_CHECK;

/** Undoes one row of patient_link or patient_merge (kind 'L' or 'M' and its id, as `musubi patient
 * show` prints them). */
int identity_undo(Pix *pix, Request *req, char kind, int64_t id,
                  const IdentitySource *source) MUST_CHECK;

/** Takes an identifier out of use (ITI-104 Remove Patient). @return 0, or
 * -ERR_HL7_UNKNOWN_KEY_IDENTIFIER */
int identity_remove(Pix *pix, Request *req, const Identifier *identifier,
                    const IdentitySource *source) MUST_CHECK;

/* ---- cross-reference ---- */

typedef struct FoundIdentifier {
    const AssigningAuthority *authority;
    Str value;
    bool is_derived; /* follows from another number of the same person
                        (AssigningAuthority.derive_from) */
} FoundIdentifier;

typedef struct CrossReference {
    bool is_known;  /* false: unknown, or merged away */
    int64_t person; /* 0 if unknown */
    FoundIdentifier
        *identifiers; /* without the one asked for; those of one authority are adjacent */
    size_t identifier_count;
    Str subsumed_by; /* value that it was merged into; empty if it was not */
} CrossReference;

/**
 * The identifiers that are one person with `asked` (ITI-9, ITI-45, ITI-83), as far as the sender of
 * the request may see them; what he may not see is not known.
 * @param targets  the authorities wanted; count 0: all
 */
int identity_cross_reference(Pix *pix, Request *req, const Authorities *authorities,
                             const Identifier *asked, const AssigningAuthority *const *targets,
                             size_t target_count, CrossReference *ret_reference) MUST_CHECK;

/** All of them, for feeds and commands: nothing of it goes to a sender. */
int identity_find_all(Pix *pix, Request *req, const Authorities *authorities,
                      const Identifier *identifier, CrossReference *ret_reference) MUST_CHECK;

/** The authorities of the moment; they live as long as the arena. */
const Authorities *identity_authorities(Pix *pix, Arena *arena);

/**
 * Every identifier of the person, or persons, that `asked` is of: merged ones, those of domains
 * whose numbers follow from others, and `asked` itself where it is known. In the request's arena.
 * @param asked  authority NULL: of any
 */
int identity_person_identifiers(Pix *pix, Request *req, const Authorities *authorities,
                                const Identifier *asked, FoundIdentifier **ret_identifiers,
                                size_t *ret_count) MUST_CHECK;
