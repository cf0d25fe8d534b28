#pragma once

#include "atna/atna.h"
#include "lib/access/nodes.h"
#include "lib/db/db.h"
#include "lib/ebrim/patient_directory.h"
#include "lib/ebrim/patient_move.h"
#include "lib/ebrim/patient_record.h"
#include "lib/fhir/capability.h"
#include "lib/soap/exchange.h"
#include "lib/tls/tls.h"
#include "pix/matching/match.h"

/** The PIX manager: identity feeds, cross-references, demographics. What other folders need of
 * this one; what else commands of server/ use is told by README.md. */

typedef enum PidOwner {
    PID_OWNER_SELF,     /* we mint XAD-PIDs and are the Patient Identity Source of their domain */
    PID_OWNER_EXTERNAL, /* they arrive by feed; an identifier without one waits */
} PidOwner;

typedef struct PixConfig {
    DbPool *pool;
    Audit *audit;
    NodeDirectory *nodes;
    const char *patient_id_authority; /* OID of the affinity domain */
    const char *patient_id_namespace; /* may be empty */
    PidOwner pid_owner;
    bool takes_any_source;         /* [access] mode = open: also feeds of the affinity domain's own
                                      authority, whoever owns it */
    const char *home_community_id; /* urn:oid:...; of XCPD; empty: none */
    MatchConfig match;
    const char *sending_application; /* MSH-3, MSH-4 of what we send */
    const char *sending_facility;
    const char *manager_oid;     /* MSH-3 of ITI-64, sender of ITI-46 */
    const char *source_timezone; /* IANA name: of times without offset */
    Tls *tls;                    /* for subscribers; NULL: none */
    bool has_subscribers;        /* starts the thread that tells them; false in commands */
} PixConfig;

typedef struct Pix Pix;

Pix *pix_new(const PixConfig *config, char *ret_problem, size_t problem_size);
void pix_free(Pix *pix);

/** Who moves documents when an identifier changes its person: the registry of the same database.
 * Borrowed; called before the first request. Without, none are moved. */
void pix_set_mover(Pix *pix, const PatientMover *mover);

/** Reads what an operator may have changed (authorities, subscribers); called every second. */
int pix_refresh(Pix *pix, Request *req) MUST_CHECK;

/** Messages to subscribers, for metrics. */
typedef struct NotificationCounts {
    int64_t queued;  /* not yet acknowledged; at most 100 000 are counted */
    int64_t refused; /* kept for an operator to see; as many */
} NotificationCounts;

/** Queues what a registry that was added has to know: every XAD-PID. @param ret_count  how many */
int pix_announce_known(Pix *pix, Request *req, Str registry, int64_t *ret_count) MUST_CHECK;

int pix_notification_counts(Pix *pix, Request *req, NotificationCounts *ret_counts) MUST_CHECK;

/** One finding of pix_fsck(), as a line for the operator. */
typedef void (*PixFindingFn)(void *ctx, const char *line);

/** Checks what always holds for the rows (invariants.def); of the configuration it needs pool,
 * patient_id_authority and pid_owner. @return number of findings, or negative */
int64_t pix_fsck(const PixConfig *config, Request *req, PixFindingFn finding, void *ctx);

/** The identifiers of the affinity domain, for a registry of the same process. */
PatientDirectory pix_patient_directory(Pix *pix);

/** The demographics of a patient, for whoever makes a document of them. */
PatientDescription pix_patient_description(Pix *pix);

/**
 * Handles one HL7 v2 message (the payload of an MLLP frame) and writes the acknowledgement
 * (payload, without frame).
 * @return 0 when reply is to be sent; negative when the connection should be closed without one
 */
int pix_hl7_message(Pix *pix, Request *req, Str payload, StrBuf *reply);

/** Records what came instead of a message, with req->errors: a broken frame, or a payload that
 * cannot be read. */
int pix_hl7_record_unreadable(Pix *pix, Request *req) MUST_CHECK;

/* SoapHandlers of HL7 v3; module is the Pix. */
int pix_iti44_feed(void *pix, SoapExchange *exchange);     /* ITI TF-2 3.44 */
int pix_iti45_query(void *pix, SoapExchange *exchange);    /* ITI TF-2 3.45 */
int pix_iti47_query(void *pix, SoapExchange *exchange);    /* ITI TF-2 3.47 */
int pix_iti47_continue(void *pix, SoapExchange *exchange); /* TF-2 3.47.4.3 */
int pix_iti47_cancel(void *pix, SoapExchange *exchange);
int pix_iti55_discover(void *pix, SoapExchange *exchange); /* TF-2 3.55; home_community_id is set */

/** Patient in the CapabilityStatement (ITI TF-2 Z.3). */
extern const FhirCapability pix_fhir_capability;

/* FhirHandlers; module is the Pix. */
int pix_iti78_search(void *pix, FhirExchange *exchange);  /* PDQm 2:3.78.4.1 */
int pix_iti78_read(void *pix, FhirExchange *exchange);    /* PDQm 2:3.78.4.2 */
int pix_iti83_query(void *pix, FhirExchange *exchange);   /* PIXm 2:3.83 */
int pix_iti93_feed(void *pix, FhirExchange *exchange);    /* PMIR 2:3.93 */
int pix_iti104_feed(void *pix, FhirExchange *exchange);   /* PIXm 2:3.104.4.1, .2 */
int pix_iti104_remove(void *pix, FhirExchange *exchange); /* PIXm 2:3.104.4.3 */
int pix_iti119_match(void *pix, FhirExchange *exchange);  /* PDQm 2:3.119 */
