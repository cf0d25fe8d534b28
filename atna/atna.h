#pragma once

#include "lib/base/request.h"
#include "lib/db/db.h"

/**
 * ATNA audit events: build, spool, send. The only header of atna/ that other folders include.
 *
 * Events of writes go into table audit_outbox in the same database transaction (audit_queue_event); events of
 * reads go to a durable spool with group commit before the first byte of the reply (audit_record_event).
 */

typedef struct Audit Audit;

/** Rows of events.def: EventID, EventTypeCode, action, roles. */
typedef enum AuditEventType {
#define EVENT(name, event_id, event_display, type_code, type_system, type_display, action, source_is_requestor) AUDIT_##name,
#include "atna/events.def"
#undef EVENT
    AUDIT_EVENT_COUNT
} AuditEventType;

typedef enum AuditObjectKind {
    AUDIT_OBJECT_PATIENT,        /* id: CX "id^^^&oid&ISO" */
    AUDIT_OBJECT_SUBMISSION_SET, /* id: SubmissionSet.uniqueId */
    AUDIT_OBJECT_QUERY,          /* id: stored query UUID; query: AdhocQueryRequest as text, or the QBP message */
    AUDIT_OBJECT_DOCUMENT,       /* id: document uniqueId; repository_unique_id, home */
    AUDIT_OBJECT_KIND_COUNT
} AuditObjectKind;

typedef struct AuditObject {
    AuditObjectKind kind;
    Str id;
    Str query;                /* not yet base64 */
    Str repository_unique_id; /* not yet base64 */
    Str home;                 /* not yet base64 */
    Str message_id;           /* MSH-10, not yet base64; for HL7 v2 */
} AuditObject;

typedef struct AuditEvent {
    AuditEventType type;
    int outcome;           /* EventOutcomeIndicator: 0, 4, 8, 12 */
    Str outcome_text;      /* EventOutcomeDescription; empty if none */
    const AuditObject *objects;
    size_t object_count;
} AuditEvent;

/** What the participants of every event of this process have in common. */
typedef struct AuditConfig {
    const char *directory;   /* data_dir/audit */
    const char *repository;  /* "local", or "tls://HOST:PORT" */
    const char *source_id;   /* AuditSourceID */
    const char *host_name;   /* for the syslog header and NetworkAccessPointID */
    const char *tls_certificate; /* PEM files for tls:// */
    const char *tls_key;
    const char *tls_ca;
} AuditConfig;

/** Opens the spool and starts the thread that drains outbox and spool. NULL and a logged reason on failure. */
Audit *audit_new(const AuditConfig *config, DbPool *pool, char *ret_problem, size_t problem_size);
/** Stops the thread after what is queued was written. */
void audit_free(Audit *audit);

/** Writes the AuditMessage XML (DICOM PS3.15 A.5) of this event; participants come from req. */
void audit_message_write(const Audit *audit, const Request *req, const AuditEvent *event, StrBuf *buf);

/** Queues the INSERT into audit_outbox as part of the caller's transaction. */
int audit_queue_event(Audit *audit, DbConn *conn, Request *req, const AuditEvent *event) MUST_CHECK;

/** Returns only when the event is durable in the spool (group fdatasync). Must be called before the reply's first byte. */
int audit_record_event(Audit *audit, Request *req, const AuditEvent *event) MUST_CHECK;

/** Messages not yet delivered (outbox and spool), for status and metrics. */
uint64_t audit_backlog(Audit *audit);
