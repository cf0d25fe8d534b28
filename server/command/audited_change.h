#pragma once

#include "atna/atna.h"
#include "server/command/command.h"

/**
 * Changes of rules and nodes leave an audit event: Security Alert (110113) with the type of
 * changes.def, the operator as requestor, and what was changed as the object (ITI TF-2 Table
 * 3.20.4.1.1.1-1, DICOM PS3.15 A.5.3.11).
 *
 * Every command that changes who may connect, or who may see what, calls audited_change_record()
 * once for each object, between command_begin() and command_finish() or db_commit(): the event
 * becomes true together with the change, and not at all with --dry-run. Another kind of object is a
 * row of changes.def.
 *
 *     const AuditedChange change = {.kind = CHANGED_NODE, .name = name, .action = "revoke"};
 *     rc = rc < 0 ? rc : audited_change_record(context, &change);
 */

/** Rows of changes.def. */
typedef enum ChangedKind {
#define CHANGE(name, noun, event) CHANGED_##name,
#include "server/command/changes.def"
#undef CHANGE
    CHANGED_COUNT
} ChangedKind;

/** All is borrowed. */
typedef struct AuditedChange {
    ChangedKind kind;
    Str name;           /* of the object, as the operator knows it: "gateway-a", an OID, a number */
    const char *action; /* what was done: "add", "change", "revoke", "remove", "enroll" */
    Str detail;         /* for a reader, e.g. a fingerprint or a form number; empty if none */
    Str patient;        /* CX "id^^^&oid&ISO" where it is about one; else empty */
} AuditedChange;

/** Puts the event into the open transaction of context->conn; waits for what is queued there. */
int audited_change_record(const CommandContext *context, const AuditedChange *change) MUST_CHECK;

/** The same of any event, with the operator's account; the transaction commits what is queued. */
int audited_event_queue(const CommandContext *context, const AuditEvent *event) MUST_CHECK;
