/**
 * ITI-64 Notify XAD-PID Link Change, as the Document Registry receives it (ITI TF-2 3.64): the
 * documents of one local identifier move from the previous XAD-PID to the new one.
 */
#include "lib/base/oid.h"
#include "lib/hl7/msh.h"
#include "pix/hl7_v2.h"
#include "pix/identity_rows.h"

/* Repetitions of PID-3 and MRG-1 (TF-2 Table 3.64.4.1.2-1). */
enum { XAD_PID = 0, LOCAL = 1, IDENTIFIER_COUNT = 2 };

static const Hl7Field new_field = {"PID", 1, 3, "the new XAD-PID and the local identifier"};
static const Hl7Field previous_field = {"MRG", 1, 1, "the previous XAD-PID"};

typedef struct LinkChange {
    Identifier to;   /* XAD-PID */
    Identifier from; /* XAD-PID */
    Str local;       /* CX */
    Str subsumed;    /* CX; empty: none */
    Str source_id;
    IdentitySource source;
} LinkChange;

/** XAD-PID in the first repetition: the affinity domain's. */
static int read_xad_pid(const Hl7Call *call, const NamedIdentifier *named, Identifier *ret_found)
{
    AuthorityFault fault;
    Identifier found = {.authority = authorities_find(call->authorities, &named->cx, &fault),
                        .value = named->cx.id,
                        .location = named->location,
                        .authority_location = named->authority_location};
    const AssigningAuthority *affinity = call->authorities->affinity_domain;
    if (found.authority != affinity) {
        return error_add(&call->req->errors, ERR_HL7_UNKNOWN_KEY_IDENTIFIER,
                         named->authority_location,
                         "the first repetition is not an identifier of the affinity domain; send "
                         "the XAD-PID with universal id \"%.*s\" and type \"ISO\" first",
                         STR_ARG(affinity->oid));
    }
    *ret_found = found;
    return identity_check_value(&call->req->errors, &found);
}

/** A local identifier, of an authority that may be unknown here: as metadata have it. */
static int read_local(const Hl7Call *call, const NamedIdentifier *named, Str *ret_cx)
{
    AuthorityFault fault;
    const AssigningAuthority *authority = authorities_find(call->authorities, &named->cx, &fault);
    Str oid = authority ? authority->oid : named->cx.universal_id;
    bool is_oid = authority || (str_equal(named->cx.universal_id_type, STR("ISO")) &&
                                oid_is_valid(named->cx.universal_id));
    if (!is_oid) {
        return error_add(&call->req->errors, ERR_HL7_UNKNOWN_KEY_IDENTIFIER,
                         named->authority_location,
                         "the assigning authority of the local identifier is not an OID with type "
                         "\"ISO\"; send both");
    }
    const Identifier found = {.value = named->cx.id, .location = named->location};
    *ret_cx = hl7_cx_format(call->req->arena, named->cx.id, oid);
    return identity_check_value(&call->req->errors, &found);
}

/** @param least  how many repetitions there must be */
static int name_all(const Hl7Call *call, const Hl7Field *field, size_t least,
                    NamedIdentifier *named, size_t *ret_count)
{
    int rc = hl7_check_field(call, field);
    if (rc < 0) {
        return rc;
    }
    size_t count = 0;
    hl7_name_identifiers(call, field, named, &count);
    if (count < least || count > IDENTIFIER_COUNT) {
        return error_add(&call->req->errors, ERR_HL7_REQUIRED_FIELD_MISSING,
                         hl7_path(call, field, count + 1, 1), "%s-%zu has %zu identifiers; send %s",
                         field->segment, field->number, count, field->wanted);
    }
    *ret_count = count;
    return 0;
}

static int read_change(const Hl7Call *call, LinkChange *change)
{
    Arena *arena = call->req->arena;
    NamedIdentifier *named = ARENA_ARRAY(arena, NamedIdentifier, FEED_IDENTIFIERS_MAX);
    NamedIdentifier *merged = ARENA_ARRAY(arena, NamedIdentifier, FEED_IDENTIFIERS_MAX);
    size_t count = 0;
    size_t merged_count = 0;
    int rc = name_all(call, &new_field, IDENTIFIER_COUNT, named, &count);
    rc = rc < 0 ? rc : name_all(call, &previous_field, 1, merged, &merged_count);
    rc = rc < 0 ? rc : read_xad_pid(call, &named[XAD_PID], &change->to);
    rc = rc < 0 ? rc : read_local(call, &named[LOCAL], &change->local);
    rc = rc < 0 ? rc : read_xad_pid(call, &merged[XAD_PID], &change->from);
    if (rc == 0 && merged_count == IDENTIFIER_COUNT) {
        rc = read_local(call, &merged[LOCAL], &change->subsumed);
    }
    if (rc == 0 && str_is_empty(change->subsumed) &&
        str_equal(change->to.value, change->from.value)) {
        rc = error_add(&call->req->errors, ERR_HL7_UNKNOWN_KEY_IDENTIFIER, change->from.location,
                       "the previous XAD-PID is the new one, and no local identifier is merged; "
                       "nothing to change");
    }
    return rc;
}

/** Both must be known and active. */
static int check_row(Request *req, const Identifier *identifier, const IdentityRow *row)
{
    if (!row) {
        return identity_add_unknown(req, identifier);
    }
    return row->survivor != 0 ? identity_add_subsumed(req, identifier, row) : 0;
}

/** IdentityStep: both XAD-PIDs stay as they are until the documents have moved. */
static int move_step(void *ctx, Pix *pix, Request *req, DbConn *conn)
{
    const LinkChange *change = ctx;
    const Identifier pair[] = {change->to, change->from};
    IdentityRows rows = {0};
    int rc = identity_lock_by_name(conn, req, pair, ARRAY_LEN(pair), &rows);
    if (rc < 0) {
        return rc;
    }
    const IdentityRow *to = identity_rows_find(&rows, &change->to);
    const IdentityRow *from = identity_rows_find(&rows, &change->from);
    rc = check_row(req, &change->to, to);
    int from_rc = check_row(req, &change->from, from);
    if (rc < 0 || from_rc < 0) {
        return rc < 0 ? rc : from_rc;
    }
    const PatientMove move = {
        .from_patient = from->id,
        .to_patient = to->id,
        .to_identifier = hl7_cx_format(req->arena, to->value, pix->authority_oid),
        .local_identifier = change->local,
        .subsumed_identifier = change->subsumed,
        .source_id = change->source_id,
    };
    Uuid submission_set;
    size_t moved = 0;
    if (pix->mover) {
        rc = pix->mover->move(pix->mover->ctx, req, conn, &move, &submission_set, &moved);
    }
    rc = rc < 0 ? rc : identity_queue_events(pix, req, conn, &change->source);
    return rc < 0 ? rc : identity_commit(pix, req, conn);
}

/** sourceId of the SubmissionSet: MSH-3, an OID; what is none is replaced by our own
 * (TF-2 3.64.4.1.3). */
static Str source_id(const Hl7Call *call)
{
    for (size_t component = 1; component <= 2; component++) {
        Str value =
            er7_value(call->message, call->message->segments, MSH_SENDING_APPLICATION, component);
        if (oid_is_valid(value)) {
            return value;
        }
    }
    return str_from(call->pix->config.manager_oid);
}

int pix_iti64_move(Hl7Call *call)
{
    AuditEvent events[HL7_EVENTS_MAX];
    LinkChange change = {
        .source_id = source_id(call),
        .source = {.name = hl7_sender_name(call),
                   .events = events,
                   .event_count = hl7_feed_events(call, events)},
    };
    int rc = read_change(call, &change);
    return rc < 0 ? rc : identity_run(call->pix, call->req, move_step, &change);
}
