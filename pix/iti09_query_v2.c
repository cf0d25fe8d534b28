/** ITI-9 PIX Query (ITI TF-2 3.9): the identifiers that are one person with the one asked for. */
#include "pix/hl7_v2.h"

static const Hl7Field asked_field = {"QPD", 1, 3, "the identifier to look up, with its authority"};
static const Hl7Field targets_field = {"QPD", 1, 4, "domains"};

/** Case 4 of TF-2 3.9.4.2.2.6: the authority of QPD-3 must be known. */
static int read_asked(const Hl7Call *call, const Er7Segment *qpd, Identifier *ret_asked)
{
    Str field = er7_field(call->message, qpd, asked_field.number);
    Hl7Cx cx = hl7_read_cx(call, er7_repetition(&call->message->delimiters, field, 1));
    AuthorityFault fault;
    Identifier asked = {.authority = authorities_find(call->authorities, &cx, &fault),
                        .value = cx.id,
                        .location = hl7_path(call, &asked_field, 1, 1),
                        .authority_location = hl7_path(call, &asked_field, 1, 4)};
    if (!asked.authority) {
        Str text = authority_fault_text(call->req->arena, fault, &cx);
        return error_add(&call->req->errors,
                         fault == AUTHORITY_ABSENT ? ERR_HL7_REQUIRED_FIELD_MISSING
                                                   : ERR_HL7_UNKNOWN_KEY_IDENTIFIER,
                         asked.authority_location, "%.*s", STR_ARG(text));
    }
    *ret_asked = asked;
    return identity_check_value(&call->req->errors, &asked);
}

/** Case 3: unknown, or merged into another (3.8.4.2.3: nothing refers to it any more). */
static int add_unknown(const Hl7Call *call, const Identifier *asked,
                       const CrossReference *reference)
{
    if (str_is_empty(reference->subsumed_by)) {
        return error_add(&call->req->errors, ERR_HL7_UNKNOWN_KEY_IDENTIFIER, asked->location,
                         "the identifier is not known here; ask with one that was fed");
    }
    return error_add(&call->req->errors, ERR_HL7_UNKNOWN_KEY_IDENTIFIER, asked->location,
                     "the identifier was merged into another; ask with the surviving one, \"%.*s\"",
                     STR_ARG(reference->subsumed_by));
}

/** PID with PID-3, and PID-5 as TF-2 3.9.4.2.2.5 wants it. */
static void append_pid(Hl7Call *call, const CrossReference *reference)
{
    StrBuf *buf = &call->found;
    strbuf_literal(buf, "PID|||");
    for (size_t i = 0; i < reference->identifier_count; i++) {
        const FoundIdentifier *found = &reference->identifiers[i];
        strbuf_append(buf, i > 0 ? STR("~") : STR_EMPTY);
        strbuf_append(buf, authority_format_cx(call->req->arena, found->authority, found->value));
    }
    strbuf_literal(buf, "||~^^^^^^S\r");
}

/** Records the query with the patients found, before the reply (contract C4). */
static int record(const Hl7Call *call, const CrossReference *reference)
{
    Arena *arena = call->req->arena;
    size_t count = reference->identifier_count;
    Str *patients = ARENA_ARRAY(arena, Str, count);
    for (size_t i = 0; i < count; i++) {
        const FoundIdentifier *found = &reference->identifiers[i];
        patients[i] = hl7_cx_format(arena, found->value, found->authority->oid);
    }
    return hl7_record_query(call, patients, count);
}

int pix_iti09_query(Hl7Call *call)
{
    const Er7Segment *qpd = er7_segment(call->message, STR("QPD"), 1);
    int rc = hl7_check_field(call, &asked_field);
    Identifier asked = {0};
    rc = rc < 0 ? rc : read_asked(call, qpd, &asked);
    if (rc < 0) {
        return rc;
    }
    const AssigningAuthority **targets = NULL;
    size_t target_count = 0;
    CrossReference reference = {0};
    /* case 5 */
    int target_rc = hl7_read_domains(call, &targets_field, &targets, &target_count);
    rc = identity_cross_reference(call->pix, call->req, call->authorities, &asked, targets,
                                  target_count, &reference);
    if (rc == 0 && !reference.is_known) {
        rc = add_unknown(call, &asked, &reference);
    }
    rc = rc < 0 ? rc : target_rc;
    rc = rc < 0 ? rc : record(call, &reference);
    if (rc == 0 && reference.identifier_count > 0) {
        append_pid(call, &reference);
    }
    return rc;
}
