#include "pix/hl7_v2.h"

#define IDENTIFIER "the patient's identifier with its assigning authority"

const Hl7Field hl7_patient_field = {"PID", 1, 3, IDENTIFIER};
const Hl7Field hl7_merged_field = {"MRG", 1, 1, IDENTIFIER};

static Str raw_field(const Hl7Call *call, const Hl7Field *field)
{
    const Er7Segment *segment =
        er7_segment(call->message, str_from(field->segment), field->sequence);
    return er7_field(call->message, segment, field->number);
}

const char *hl7_path(const Hl7Call *call, const Hl7Field *field, size_t repetition, int component)
{
    Arena *arena = call->req->arena;
    return str_cstr(arena, str_printf(arena, "%s^%zu^%zu^%zu^%d", field->segment, field->sequence,
                                      field->number, repetition, component));
}

static const char *segment_path(const Hl7Call *call, const Hl7Field *field, size_t sequence)
{
    Arena *arena = call->req->arena;
    return str_cstr(arena, str_printf(arena, "%s^%zu", field->segment, sequence));
}

static const char *field_path(const Hl7Call *call, const Hl7Field *field)
{
    Arena *arena = call->req->arena;
    return str_cstr(
        arena, str_printf(arena, "%s^%zu^%zu", field->segment, field->sequence, field->number));
}

int hl7_check_field(const Hl7Call *call, const Hl7Field *field)
{
    ErrorList *errors = &call->req->errors;
    Str name = str_from(field->segment);
    if (!er7_segment(call->message, name, field->sequence)) {
        return error_add(errors, ERR_HL7_SEGMENT_SEQUENCE,
                         segment_path(call, field, field->sequence),
                         "segment %s is missing; send it with %s", field->segment, field->wanted);
    }
    if (er7_segment(call->message, name, field->sequence + 1)) {
        return error_add(errors, ERR_HL7_SEGMENT_SEQUENCE,
                         segment_path(call, field, field->sequence + 1),
                         "segment %s occurs more than %zu times; send a message for each patient",
                         field->segment, field->sequence);
    }
    Str raw = raw_field(call, field);
    if (str_is_empty(raw)) {
        return error_add(errors, ERR_HL7_REQUIRED_FIELD_MISSING, field_path(call, field),
                         "%s-%zu is empty; send %s", field->segment, field->number, field->wanted);
    }
    size_t count = er7_repetition_count(&call->message->delimiters, raw);
    if (count > FEED_IDENTIFIERS_MAX) {
        return error_add(errors, ERR_HL7_DATA_TYPE, field_path(call, field),
                         "%s-%zu has %zu repetitions; send at most %d", field->segment,
                         field->number, count, FEED_IDENTIFIERS_MAX);
    }
    return 0;
}

Hl7Cx hl7_read_cx(const Hl7Call *call, Str repetition)
{
    const Er7Message *message = call->message;
    Hl7Cx cx = hl7_cx_parse(call->req->arena, &message->delimiters, message->charset, repetition);
    cx.id = str_trim(cx.id);
    cx.namespace_id = str_trim(cx.namespace_id);
    cx.universal_id = str_trim(cx.universal_id);
    cx.universal_id_type = str_trim(cx.universal_id_type);
    return cx;
}

void hl7_name_identifiers(const Hl7Call *call, const Hl7Field *field, NamedIdentifier *named,
                          size_t *count)
{
    Str rest = raw_field(call, field);
    Str repetition;
    size_t number = 0;
    while (number < FEED_IDENTIFIERS_MAX &&
           str_split_next(&rest, call->message->delimiters.repetition, &repetition)) {
        number++;
        if (!str_is_empty(str_trim(repetition))) {
            named[(*count)++] =
                (NamedIdentifier){.cx = hl7_read_cx(call, repetition),
                                  .location = hl7_path(call, field, number, 1),
                                  .authority_location = hl7_path(call, field, number, 4)};
        }
    }
}

int hl7_read_identifiers(const Hl7Call *call, const Hl7Field *field, Identifier **ret_identifiers,
                         size_t *ret_count)
{
    int rc = hl7_check_field(call, field);
    if (rc < 0) {
        return rc;
    }
    Arena *arena = call->req->arena;
    NamedIdentifier *named = ARENA_ARRAY(arena, NamedIdentifier, FEED_IDENTIFIERS_MAX);
    size_t count = 0;
    hl7_name_identifiers(call, field, named, &count);
    if (count == 0) {
        return error_add(&call->req->errors, ERR_HL7_REQUIRED_FIELD_MISSING,
                         hl7_path(call, field, 1, 1),
                         "the identifier (CX-1) is empty; send the patient's identifier");
    }
    Identifier *identifiers = ARENA_ARRAY(arena, Identifier, count);
    *ret_identifiers = identifiers;
    return feed_rules_resolve(call->pix, call->req, call->authorities, &call->sender, FEED_RECORD,
                              named, count, identifiers, ret_count);
}

int hl7_read_domains(const Hl7Call *call, const Hl7Field *field,
                     const AssigningAuthority ***ret_domains, size_t *ret_count)
{
    const Er7Segment *segment =
        er7_segment(call->message, str_from(field->segment), field->sequence);
    Str rest = er7_field(call->message, segment, field->number);
    size_t room = er7_repetition_count(&call->message->delimiters, rest);
    const AssigningAuthority **domains =
        ARENA_ARRAY(call->req->arena, const AssigningAuthority *, room);
    size_t count = 0;
    int rc = 0;
    Str repetition;
    for (size_t number = 1;
         str_split_next(&rest, call->message->delimiters.repetition, &repetition); number++) {
        if (str_is_empty(str_trim(repetition))) {
            continue;
        }
        AuthorityFault fault;
        Hl7Cx cx = hl7_read_cx(call, repetition);
        const AssigningAuthority *domain = authorities_find(call->authorities, &cx, &fault);
        if (domain) {
            domains[count++] = domain;
            continue;
        }
        Str location = str_printf(call->req->arena, "%s^%zu^%zu^%zu", field->segment,
                                  field->sequence, field->number, number);
        Str text = authority_fault_text(call->req->arena, fault, &cx);
        rc = error_add(&call->req->errors, ERR_HL7_UNKNOWN_KEY_IDENTIFIER,
                       str_cstr(call->req->arena, location), "%.*s", STR_ARG(text));
    }
    *ret_domains = domains;
    *ret_count = count;
    return rc;
}
