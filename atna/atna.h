#pragma once

#include "lib/base/request.h"
#include "lib/db/db.h"
#include "lib/tls/tls.h"

/**
 * ATNA audit events: build, spool, send. The header of atna/ that every module includes; the
 * repository of received records, and searching it, have headers of their own for server/
 * (repository.h, record_search.h, iti81.h, verify.h, ...; tests/lint/check_layers.py lists them).
 *
 * Events of writes go into table audit_outbox in the same database transaction (audit_queue_event);
 * events of reads go to a durable spool with group commit before the first byte of the reply
 * (audit_append_event, audit_settle).
 */

typedef struct Audit Audit;

/** Rows of events.def: EventID, EventTypeCode, action, who takes part. */
typedef enum AuditEventType {
#define EVENT(name, event_id, event_display, type_code, type_system, type_display, action, flow)   \
    AUDIT_##name,
#include "atna/events.def"
#undef EVENT
    AUDIT_EVENT_COUNT
} AuditEventType;

typedef enum AuditObjectKind {
    AUDIT_OBJECT_PATIENT,        /* id: CX "id^^^&oid&ISO" */
    AUDIT_OBJECT_SUBMISSION_SET, /* id: SubmissionSet.uniqueId */
    AUDIT_OBJECT_QUERY,     /* id: stored query UUID; query: AdhocQueryRequest, or QBP message */
    AUDIT_OBJECT_DOCUMENT,  /* id: document uniqueId; repository_unique_id, home */
    AUDIT_OBJECT_REQUEST,   /* id: X-Request-Id of a FHIR request */
    AUDIT_OBJECT_NODE,      /* id: "NODE@DOMAIN"; name, description */
    AUDIT_OBJECT_RULE,      /* what decides over access; id: URI; name, description */
    AUDIT_OBJECT_AUDIT_LOG, /* id: URI of what was read: the endpoint, or AUDIT_LOG_URI */
    AUDIT_OBJECT_STUDY,     /* id: Study Instance UID; accession, sop_classes */
    AUDIT_OBJECT_DATA_SET,  /* id: SOP Class UID of a query; query: its data set; transfer_syntax */
    AUDIT_OBJECT_BACKUP,    /* id: URI of a backup; name; description */
    AUDIT_OBJECT_REGISTRY_OBJECT,      /* id: entryUUID, as a URN */
    AUDIT_OBJECT_SUBSCRIPTION,         /* id: SubscriptionReference address */
    AUDIT_OBJECT_DOCUMENT_ENTRY,       /* id: entryUUID; home */
    AUDIT_OBJECT_ON_DEMAND_ENTRY,      /* the same of an On-Demand DocumentEntry */
    AUDIT_OBJECT_SUBMISSION_SET_ENTRY, /* the same of a SubmissionSet or Folder */
    AUDIT_OBJECT_KIND_COUNT
} AuditObjectKind;

/** How many instances of a SOP class (DICOM PS3.15 A.5.1, ParticipantObjectDescription). */
typedef struct AuditSopClass {
    Str uid;
    uint64_t instance_count;
} AuditSopClass;

typedef struct AuditObject {
    AuditObjectKind kind;
    Str id;
    Str query;                /* not yet base64 */
    Str repository_unique_id; /* not yet base64 */
    Str home;                 /* homeCommunityId, not yet base64 */
    Str message_id;           /* MSH-10, or the id of a v3 message; not yet base64 */
    bool is_v3;               /* message_id is "extension@root" of HL7 v3 */
    Str name;                 /* ParticipantObjectName; not with query */
    Str description;          /* of an alert about the object, for a reader; not yet base64 */
    Str transfer_syntax;      /* of query, a DICOM data set; empty: it is none */
    Str accession;            /* Accession Number of a study; empty: none */
    const AuditSopClass *sop_classes;
    size_t sop_class_count;
    bool is_erased; /* for good: ParticipantObjectDataLifeCycle 15 */
    Str sha256;     /* of what is erased, hexadecimal; empty: not known; not yet base64 */
    Str size;       /* the same, decimal */
} AuditObject;

/** The audit trail of this server, where a command read it. */
#define AUDIT_LOG_URI "musubi:audit-log"

typedef struct AuditEvent {
    AuditEventType type;
    int outcome;         /* EventOutcomeIndicator: 0, 4, 8, 12 */
    Str outcome_text;    /* EventOutcomeDescription; empty if none */
    Str remote_endpoint; /* URL that we called, for events that we send; else empty */
    Str remote_name;     /* MSH-6|MSH-5 of a message that we send; empty: remote_endpoint */
    Str own_name;        /* MSH-4|MSH-3 of a message that we send; empty: AuditSourceID */
    const AuditObject *objects;
    size_t object_count;
} AuditEvent;

/** What the participants of every event of this process have in common. All is borrowed. */
typedef struct AuditConfig {
    const char *directory;   /* data_dir/audit; made if missing */
    const char *repository;  /* "local", or "tls://HOST:PORT" */
    const char *source_id;   /* AuditSourceID */
    const char *host_name;   /* for the syslog header and NetworkAccessPointID */
    Tls *tls;                /* for tls://; NULL: none */
    const char *fingerprint; /* of the repository's certificate, as in TlsPeer */
} AuditConfig;

/**
 * Opens the spool and starts the thread that drains outbox and spool.
 * @param pool  borrowed; may be NULL where nobody queues events (audit_queue_event)
 * @return NULL and the reason in ret_problem on failure
 */
Audit *audit_new(const AuditConfig *config, DbPool *pool, char *ret_problem, size_t problem_size);

/**
 * For a command beside the server, whose spool it may not write: every event goes into table
 * audit_outbox, from where the server's drain takes it. No spool, no thread.
 * @param pool  borrowed
 */
Audit *audit_new_outbox(const AuditConfig *config, DbPool *pool);

/** Stops the thread after what is queued was written. audit_free(NULL) is fine. */
void audit_free(Audit *audit);

/** Makes it the event of a refusal: the outcome of the first error that is no warning, and its
 * code, place and reference. What the sender sent is left out: it may be a patient's (borrows from
 * req->arena). */
void audit_event_refuse(Request *req, AuditEvent *event);

/** As audit_event_refuse(), for this error of the request; NULL: the first. */
void audit_event_refuse_for(Request *req, AuditEvent *event, const Error *error);

/**
 * The event of a message of a registered node that was refused before it became a transaction: it
 * cannot be read, is of no transaction, or of one that the node may not use. Nothing of the message
 * is in it; the first of req->errors says why (borrows from req->arena).
 */
AuditEvent audit_refused_message(Request *req);

/** Writes the AuditMessage XML (DICOM PS3.15 A.5) of this event; participants come from req: the
 * peer, and the person if req->user names one (XUA). */
void audit_message_write(const Audit *audit, const Request *req, const AuditEvent *event,
                         StrBuf *buf);

/** Queues the INSERT into audit_outbox as part of the caller's transaction. */
int audit_queue_event(Audit *audit, DbConn *conn, Request *req, const AuditEvent *event) MUST_CHECK;

/** As audit_queue_event(), for many events of one transaction: rows of table audit_outbox. */
void audit_copy_init(DbCopy *copy);
void audit_copy_event(Audit *audit, DbCopy *copy, Request *req, const AuditEvent *event);

/**
 * Writes the event into the spool; it is durable after audit_settle(). Between the two a reply can
 * be made, while the syncs of others go on.
 * @return 0, or -ERR_IO: nothing may be sent
 */
int audit_append_event(Audit *audit, Request *req, const AuditEvent *event) MUST_CHECK;

/**
 * Returns only when all events that the request appended are durable (group fdatasync). Must be
 * called before the reply's first byte (contract C4).
 * @return 0, or -ERR_IO: nothing may be sent
 */
int audit_settle(Audit *audit, Request *req) MUST_CHECK;

/** audit_append_event() and audit_settle(). */
int audit_record_event(Audit *audit, Request *req, const AuditEvent *event) MUST_CHECK;

/** Messages not yet delivered (spool, and outbox up to 10 000), for status and metrics. */
uint64_t audit_backlog(Audit *audit);

/** False once the spool can no longer be trusted (contract C6): every read is refused from then on.
 */
bool audit_is_writable(Audit *audit);

/** False while the disk of the spool is full, or nearly: reads are refused until there is room. */
bool audit_has_room(const Audit *audit);

/** One spooled event. */
typedef struct AuditRecord {
    int64_t recorded_us; /* UTC, when it was spooled */
    Str message;         /* AuditMessage XML; borrowed during the call */
} AuditRecord;

/** @return 0 to go on, anything else to stop */
typedef int (*AuditRecordFn)(void *ctx, const AuditRecord *record);

/**
 * Reads the spool of a directory from its oldest record, also while a server writes to it.
 * @param ret_damaged  segments that end in bytes that are no whole record (cut by a crash, or
 * damaged)
 * @return 0, what the callback returned, or -ERR_IO with ret_problem
 */
int audit_spool_read(const char *directory, AuditRecordFn callback, void *ctx,
                     unsigned *ret_damaged, char *ret_problem, size_t problem_size) MUST_CHECK;

/**
 * The same from where the repository in this database has loaded it: what table audit_record lacks,
 * which is all of the spool where this server has no repository.
 * @param conn  within a snapshot, so that no event is passed over in between
 * @return 0, what the callback returned, or a negative ErrorCode in req->errors
 */
int audit_waiting_read(const char *directory, DbConn *conn, Request *req, AuditRecordFn callback,
                       void *ctx) MUST_CHECK;
