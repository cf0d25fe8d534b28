/**
 * ITI-8 Patient Identity Feed as the Document Registry receives it (ITI TF-2 3.8.4.1.4, 3.8.4.2.4):
 * only PID-3 and MRG-1 matter, and only identifiers of the affinity domain's authority are kept.
 */
#include <stdio.h>

#include "pix/pix_private.h"

#define REPETITIONS_MAX 100

/* Where a message carries identifiers. */
typedef struct IdentifierField {
    const char *segment;
    size_t number;
} IdentifierField;

static const IdentifierField patient_field = {"PID", 3};
static const IdentifierField merged_field = {"MRG", 1};

static Str raw_field(const Er7Message *message, const IdentifierField *field)
{
    const Er7Segment *segment = er7_segment(message, str_from(field->segment), 1);
    return er7_field(message, segment, field->number);
}

/** ERR-2 path of a component: "PID^1^3^1^4". */
static const char *component_path(Arena *arena, const IdentifierField *field, size_t repetition,
                                  int component)
{
    Str path =
        str_printf(arena, "%s^1^%zu^%zu^%d", field->segment, field->number, repetition, component);
    return str_cstr(arena, path);
}

/* ---- assigning authority (TF-2 Appendix E) ---- */

typedef enum AuthorityMatch {
    AUTHORITY_OWN,               /* the affinity domain's */
    AUTHORITY_OTHER,             /* not ours: ignored (TF-2 3.8.4.1.4) */
    AUTHORITY_UNKNOWN_NAMESPACE, /* CX-4.1 alone, and not the configured one */
    MATCH_INCOMPLETE,            /* one of CX-4.2 and CX-4.3 */
    MATCH_CONTRADICTORY,         /* CX-4.1 and CX-4.2 name two authorities (TF-2 E.1.1) */
} AuthorityMatch;

/** An authority without universal id is filled from the configuration (TF-2 3.8.4.1.4). */
static AuthorityMatch match_authority(const Pix *pix, const Hl7Cx *cx)
{
    bool has_namespace = !str_is_empty(cx->namespace_id);
    bool is_own_namespace = has_namespace && str_equal(cx->namespace_id, pix->authority_namespace);
    bool has_universal_id = !str_is_empty(cx->universal_id);

    if (has_universal_id == str_is_empty(cx->universal_id_type)) {
        return MATCH_INCOMPLETE;
    }
    if (!has_universal_id) {
        return is_own_namespace || !has_namespace ? AUTHORITY_OWN : AUTHORITY_UNKNOWN_NAMESPACE;
    }
    bool is_own = str_equal(cx->universal_id, pix->authority_oid) &&
                  str_equal(cx->universal_id_type, STR("ISO"));
    bool can_compare = has_namespace && !str_is_empty(pix->authority_namespace);
    if (can_compare && is_own != is_own_namespace) {
        return MATCH_CONTRADICTORY;
    }
    return is_own ? AUTHORITY_OWN : AUTHORITY_OTHER;
}

static int add_authority_error(const Pix *pix, ErrorList *errors, const char *location,
                               AuthorityMatch match, const Hl7Cx *cx)
{
    const char *what = match == MATCH_INCOMPLETE
                           ? "has only one of universal id and universal id type"
                       : match == MATCH_CONTRADICTORY
                           ? "names two different authorities by namespace and by universal id"
                       : match == AUTHORITY_UNKNOWN_NAMESPACE ? "has a namespace not known here"
                                                              : "is not the affinity domain's";
    return error_add(errors, ERR_HL7_UNKNOWN_KEY_IDENTIFIER, location,
                     "assigning authority (namespace \"%.*s\", universal id \"%.*s\", type "
                     "\"%.*s\") %s; send universal id \"%.*s\" with type \"ISO\"",
                     STR_ARG(cx->namespace_id), STR_ARG(cx->universal_id),
                     STR_ARG(cx->universal_id_type), what, STR_ARG(pix->authority_oid));
}

/* ---- identifiers ---- */

/** Controls come in by escapes (\X0A\): no other surface could write such an identifier. */
static bool has_control(Str text)
{
    for (size_t i = 0; i < text.len; i++) {
        if ((unsigned char)text.data[i] < ' ' || text.data[i] == 0x7f) {
            return true;
        }
    }
    return false;
}

static int check_id(ErrorList *errors, const FedIdentifier *identifier)
{
    if (str_is_empty(identifier->id) || str_equal(identifier->id, STR("\"\""))) {
        return error_add(errors, ERR_HL7_REQUIRED_FIELD_MISSING, identifier->location,
                         "the identifier (CX-1) is empty; send the patient's identifier");
    }
    if (identifier->id.len > HL7_CX_ID_MAX_BYTES) {
        return error_add(errors, ERR_HL7_DATA_TYPE, identifier->location,
                         "the identifier (CX-1) has %zu bytes; send at most %d", identifier->id.len,
                         HL7_CX_ID_MAX_BYTES);
    }
    if (has_control(identifier->id)) {
        return error_add(
            errors, ERR_HL7_DATA_TYPE, identifier->location,
            "the identifier (CX-1) holds a control character; send printing characters "
            "only");
    }
    return 0;
}

/** Identifiers of the affinity domain in one field. */
typedef struct FedIdentifiers {
    FedIdentifier *items; /* room for one per repetition */
    size_t count;
    const char *stray_location; /* CX-4 of the first that is not ours; NULL: none */
    Hl7Cx stray;
    AuthorityMatch stray_match;
} FedIdentifiers;

static int read_repetition(const Pix *pix, ErrorList *errors, const Er7Message *message,
                           const IdentifierField *field, size_t number, Str repetition,
                           FedIdentifiers *identifiers)
{
    Hl7Cx cx = hl7_cx_parse(message->arena, &message->delimiters, message->charset, repetition);
    AuthorityMatch match = match_authority(pix, &cx);
    const char *authority_path = component_path(message->arena, field, number, 4);
    if (match == MATCH_INCOMPLETE || match == MATCH_CONTRADICTORY) {
        return add_authority_error(pix, errors, authority_path, match, &cx);
    }
    if (match != AUTHORITY_OWN) {
        if (!identifiers->stray_location || match == AUTHORITY_UNKNOWN_NAMESPACE) {
            identifiers->stray_location = authority_path;
            identifiers->stray = cx;
            identifiers->stray_match = match;
        }
        return 0;
    }
    FedIdentifier own = {cx.id, component_path(message->arena, field, number, 1)};
    identifiers->items[identifiers->count++] = own;
    return check_id(errors, &own);
}

/** The field must be there and have a sensible number of repetitions. */
static int check_field(ErrorList *errors, const Er7Message *message, const IdentifierField *field)
{
    Str raw = raw_field(message, field);
    char path[32];
    if (!er7_segment(message, str_from(field->segment), 1)) {
        (void)snprintf(path, sizeof(path), "%s^1", field->segment);
        return error_add(errors, ERR_HL7_SEGMENT_SEQUENCE, path,
                         "segment %s is missing; send it with the patient's identifier",
                         field->segment);
    }
    if (er7_segment(message, str_from(field->segment), 2)) {
        (void)snprintf(path, sizeof(path), "%s^2", field->segment);
        return error_add(errors, ERR_HL7_SEGMENT_SEQUENCE, path,
                         "segment %s occurs more than once; send a message for each patient",
                         field->segment);
    }
    (void)snprintf(path, sizeof(path), "%s^1^%zu", field->segment, field->number);
    if (str_is_empty(raw)) {
        return error_add(errors, ERR_HL7_REQUIRED_FIELD_MISSING, path,
                         "%s-%zu is empty; send the patient's identifier with its assigning "
                         "authority",
                         field->segment, field->number);
    }
    size_t count = er7_repetition_count(&message->delimiters, raw);
    if (count > REPETITIONS_MAX) {
        return error_add(errors, ERR_HL7_DATA_TYPE, path,
                         "%s-%zu has %zu repetitions; send at most %d", field->segment,
                         field->number, count, REPETITIONS_MAX);
    }
    return 0;
}

/** Reads one field and adds every fault in it. */
static int read_identifiers(const Pix *pix, ErrorList *errors, const Er7Message *message,
                            const IdentifierField *field, FedIdentifiers *ret_identifiers)
{
    int rc = check_field(errors, message, field);
    if (rc < 0) {
        return rc;
    }
    FedIdentifiers found = {.items = ARENA_ARRAY(message->arena, FedIdentifier, REPETITIONS_MAX)};
    Str rest = raw_field(message, field);
    Str repetition;
    for (size_t number = 1; str_split_next(&rest, message->delimiters.repetition, &repetition);
         number++) {
        int fault = read_repetition(pix, errors, message, field, number, repetition, &found);
        rc = fault < 0 ? fault : rc;
    }
    if (rc == 0) {
        *ret_identifiers = found;
    }
    return rc;
}

/* ---- audit (ITI TF-2 3.8.5.1) ---- */

/** The patients that a field names, as CX; ours in canonical form, others as sent. */
static void patients_of_field(const Pix *pix, Request *req, const Er7Message *message,
                              const IdentifierField *field, AuditEvent *event)
{
    AuditObject *objects = ARENA_ARRAY(req->arena, AuditObject, REPETITIONS_MAX);
    size_t count = 0;
    Str rest = raw_field(message, field);
    Str repetition;
    while (count < REPETITIONS_MAX &&
           str_split_next(&rest, message->delimiters.repetition, &repetition)) {
        if (str_is_empty(repetition)) {
            continue;
        }
        Hl7Cx cx = hl7_cx_parse(req->arena, &message->delimiters, message->charset, repetition);
        AuditObject *object = &objects[count++];
        object->kind = AUDIT_OBJECT_PATIENT;
        object->id = match_authority(pix, &cx) == AUTHORITY_OWN
                         ? hl7_cx_format(req->arena, cx.id, pix->authority_oid)
                         : er7_standardize(message, repetition);
        object->message_id = req->message_id;
    }
    event->objects = objects;
    event->object_count = count;
}

#define EVENTS_MAX 2

/** The events of a message: for A40 one of the subsumed and one of the surviving identifier. */
static size_t events_of_message(const Pix *pix, Request *req, const Er7Message *message,
                                AuditEvent ret_events[EVENTS_MAX])
{
    Str trigger = er7_value(message, message->segments, 9, 2);
    bool is_merge = str_equal(trigger, STR("A40"));
    AuditEvent *last = ret_events;
    *last = (AuditEvent){.type = AUDIT_ITI8_CREATE};
    if (is_merge) {
        last->type = AUDIT_ITI8_DELETE;
        patients_of_field(pix, req, message, &merged_field, last);
        *++last = (AuditEvent){.type = AUDIT_ITI8_UPDATE};
    } else if (str_equal(trigger, STR("A08"))) {
        last->type = AUDIT_ITI8_UPDATE;
    }
    patients_of_field(pix, req, message, &patient_field, last);
    return is_merge ? 2 : 1;
}

/** Records the events of a message that changed nothing. */
static int record_events(Pix *pix, Request *req, const Er7Message *message, int outcome,
                         Str outcome_text)
{
    AuditEvent events[EVENTS_MAX];
    size_t count = events_of_message(pix, req, message, events);
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < count; i++) {
        events[i].outcome = outcome;
        events[i].outcome_text = outcome_text;
        rc = audit_record_event(pix->config.audit, req, &events[i]);
    }
    return rc;
}

void pix_iti08_record_refused(Pix *pix, Request *req, const Er7Message *message)
{
    const Error *error = req->errors.first;
    int outcome = error_info(error->code)->audit_outcome;
    /* without the record the reply still goes out, with this fault in it: it carries no data */
    int rc = record_events(pix, req, message, outcome, error->context);
    (void)rc;
}

/* ---- handlers ---- */

int pix_iti08_register(Pix *pix, Request *req, const Er7Message *message)
{
    FedIdentifiers patients = {0};
    int rc = read_identifiers(pix, &req->errors, message, &patient_field, &patients);
    if (rc < 0) {
        return rc;
    }
    if (patients.count == 0 && patients.stray_match == AUTHORITY_UNKNOWN_NAMESPACE) {
        return add_authority_error(pix, &req->errors, patients.stray_location, patients.stray_match,
                                   &patients.stray);
    }
    if (patients.count == 0) {
        return record_events(pix, req, message, 0, STR_EMPTY);
    }
    AuditEvent events[EVENTS_MAX];
    (void)events_of_message(pix, req, message, events);
    return identity_register(pix, req, patients.items, patients.count, &events[0]);
}

int pix_iti08_ignore(Pix *pix, Request *req, const Er7Message *message)
{
    return record_events(pix, req, message, 0, STR_EMPTY);
}

/** The one identifier of the affinity domain that this field of an A40 names. */
static int read_single(const Pix *pix, ErrorList *errors, const Er7Message *message,
                       const IdentifierField *field, FedIdentifier *ret_identifier)
{
    FedIdentifiers found = {0};
    int rc = read_identifiers(pix, errors, message, field, &found);
    if (rc < 0) {
        return rc;
    }
    if (found.count == 0) {
        return add_authority_error(pix, errors, found.stray_location, found.stray_match,
                                   &found.stray);
    }
    if (found.count > 1) {
        return error_add(errors, ERR_HL7_DATA_TYPE, found.items[1].location,
                         "%s-%zu names more than one identifier of the affinity domain; send one "
                         "A40 for each pair",
                         field->segment, field->number);
    }
    *ret_identifier = found.items[0];
    return 0;
}

int pix_iti08_merge(Pix *pix, Request *req, const Er7Message *message)
{
    IdentityMerge merge = {0};
    int survivor_rc = read_single(pix, &req->errors, message, &patient_field, &merge.survivor);
    int subsumed_rc = read_single(pix, &req->errors, message, &merged_field, &merge.subsumed);
    if (survivor_rc < 0 || subsumed_rc < 0) {
        return survivor_rc < 0 ? survivor_rc : subsumed_rc;
    }
    if (str_equal(merge.survivor.id, merge.subsumed.id)) {
        return error_add(&req->errors, ERR_HL7_UNKNOWN_KEY_IDENTIFIER, merge.subsumed.location,
                         "MRG-1 is the same identifier as PID-3; nothing to merge");
    }
    merge.source = pix_sender(message);
    AuditEvent events[EVENTS_MAX];
    size_t count = events_of_message(pix, req, message, events);
    return identity_merge(pix, req, &merge, events, count);
}
