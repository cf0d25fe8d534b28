#include "atna/iti81_criteria.h"

#include "atna/audit_event.h"
#include "lib/fhir/period.h"

#define ALTERNATIVES_MAX 256
#define OID_PREFIX "urn:oid:"
#define OUTCOMES "0, 4, 8 and 12"

const Iti81Parameter iti81_parameters[] = {
#define PARAMETER(name, type, criterion) {name, type, ITI81_##criterion},
#include "atna/iti81_parameters.def"
#undef PARAMETER
};
const size_t iti81_parameter_count = ARRAY_LEN(iti81_parameters);

/** Parameters on their way to a search. */
typedef struct Reading {
    FhirExchange *exchange;
    const AuditPatients *patients;
    Iti81Criteria *criteria;
    const FhirParameter *parameter;
    bool has_date;
} Reading;

static Arena *arena_of(const Reading *reading)
{
    return reading->exchange->req->arena;
}

static int refuse(const Reading *reading, const char *what)
{
    return error_add(&reading->exchange->req->errors, ERR_FHIR_INVALID, NULL,
                     "Parameter %.*s is \"%.*s\"; %s.", STR_ARG(reading->parameter->name),
                     STR_ARG(reading->parameter->value), what);
}

/* ---- dates ---- */

static int read_date(Reading *reading)
{
    RecordSearch *search = &reading->criteria->search;
    FhirPeriod period;
    if (!fhir_period_parse(arena_of(reading), str_trim(reading->parameter->value), &period)) {
        return refuse(reading, "send a date or an instant, with prefix ge, gt, le, lt or eq: "
                               "ge2026-04-01, le2026-04-30T23:59:59Z; + of a zone as %2B");
    }
    int64_t from_us = INT64_MIN;
    int64_t to_us = INT64_MAX;
    switch (period.prefix) {
    case FHIR_PREFIX_EQ:
        from_us = period.from_us;
        to_us = period.to_us;
        break;
    case FHIR_PREFIX_GE:
        from_us = period.from_us;
        break;
    case FHIR_PREFIX_GT:
        from_us = period.to_us;
        break;
    case FHIR_PREFIX_LE:
        to_us = period.to_us;
        break;
    case FHIR_PREFIX_LT:
        to_us = period.from_us;
        break;
    case FHIR_PREFIX_NE:
    case FHIR_PREFIX_AP:
    default:
        return refuse(reading, "its prefix is one of ge, gt, le, lt and eq");
    }
    search->from_us = MAX(search->from_us, from_us);
    search->to_us = MIN(search->to_us, to_us);
    reading->has_date = true;
    return 0;
}

/* ---- tests on a record ---- */

static bool is_code(Arena *arena, const FhirToken *token, const AuditCode *code)
{
    return str_equal(token->code, code->code) &&
           (!token->has_separator ||
            str_equal(token->system, audit_event_system(arena, code->system)));
}

static bool is_listed(const FhirToken *token, Str code, const char *system)
{
    return str_equal(token->code, code) &&
           (str_is_empty(token->system) || str_ends_with(token->system, str_from(system)));
}

static bool meets_participant(const FhirToken *token, Iti81Criterion criterion,
                              const AuditParticipant *participant)
{
    Str value = criterion == ITI81_AGENT        ? participant->user_id
                : criterion == ITI81_AGENT_NAME ? participant->user_name
                : criterion == ITI81_ALTID      ? participant->alternative_user_id
                                                : participant->network_access_point_id;
    return !str_is_empty(value) && str_equal_ci(token->code, value);
}

static bool meets_object(const FhirToken *token, Iti81Criterion criterion,
                         const AuditParticipantObject *object)
{
    return criterion == ITI81_ENTITY_TYPE ? is_listed(token, object->type, "audit-entity-type")
                                          : is_listed(token, object->role, "object-role");
}

static bool meets_event_type(Arena *arena, const FhirToken *token, const AuditMessage *message)
{
    for (size_t i = 0; i < message->event_type_count; i++) {
        if (is_code(arena, token, &message->event_types[i])) {
            return true;
        }
    }
    return false;
}

static bool meets_any_participant(const FhirToken *token, Iti81Criterion criterion,
                                  const AuditMessage *message)
{
    for (size_t i = 0; i < message->participant_count; i++) {
        if (meets_participant(token, criterion, &message->participants[i])) {
            return true;
        }
    }
    return false;
}

static bool meets_any_object(const FhirToken *token, Iti81Criterion criterion,
                             const AuditMessage *message)
{
    for (size_t i = 0; i < message->object_count; i++) {
        if (meets_object(token, criterion, &message->objects[i])) {
            return true;
        }
    }
    return false;
}

static bool meets(Arena *arena, const FhirToken *token, Iti81Criterion criterion,
                  const FoundRecord *record)
{
    const AuditMessage *message = &record->content.message;
    uint64_t outcome;
    switch (criterion) {
    case ITI81_TYPE:
        return is_code(arena, token, &message->event_id);
    case ITI81_SUBTYPE:
        return meets_event_type(arena, token, message);
    case ITI81_ACTION:
        return str_equal(token->code, message->action);
    case ITI81_OUTCOME:
        return str_to_u64(token->code, &outcome) && (int)outcome == record->content.outcome;
    case ITI81_ENTITY_TYPE:
    case ITI81_ENTITY_ROLE:
        return meets_any_object(token, criterion, message);
    case ITI81_ADDRESS:
    case ITI81_AGENT:
    case ITI81_AGENT_NAME:
    case ITI81_ALTID:
        return meets_any_participant(token, criterion, message);
    case ITI81_DATE:
    case ITI81_PATIENT:
    case ITI81_ENTITY:
    case ITI81_SOURCE:
    case ITI81_CRITERION_COUNT:
    default:
        return true; /* told by keys and columns */
    }
}

static bool is_match(const void *ctx, const FoundRecord *record)
{
    const Iti81Criteria *criteria = ctx;
    _cleanup_(arena_freep) Arena *arena = arena_new();
    for (size_t i = 0; i < criteria->tested_count; i++) {
        const Iti81Group *group = &criteria->tested[i];
        bool is_met = false;
        for (size_t k = 0; k < group->count && !is_met; k++) {
            is_met = meets(arena, &group->tokens[k], group->criterion, record);
        }
        if (!is_met) {
            return false;
        }
    }
    return true;
}

static int add_test(Reading *reading, const Iti81Group *group)
{
    Iti81Criteria *criteria = reading->criteria;
    if (criteria->tested_count == ITI81_GROUPS_MAX) {
        return refuse(reading, "there are too many criteria");
    }
    criteria->tested[criteria->tested_count++] = *group;
    criteria->search.is_match = is_match;
    criteria->search.match_ctx = criteria;
    return 0;
}

/* ---- keys ---- */

static int add_keys(Reading *reading, AuditKeyKind kind, const int64_t *keys, size_t count)
{
    return record_search_add(&reading->criteria->search, kind, (KeySet){keys, count})
               ? 0
               : refuse(reading, "there are too many criteria; leave some out");
}

static int add_text_keys(Reading *reading, const Iti81Group *group, AuditKeyKind kind)
{
    int64_t *keys = ARENA_ARRAY(arena_of(reading), int64_t, group->count);
    for (size_t i = 0; i < group->count; i++) {
        keys[i] = audit_key(kind, group->tokens[i].code);
    }
    return add_keys(reading, kind, keys, group->count);
}

/** system|value as CX: urn:oid: names the authority by its OID, anything else is its namespace; a
 * value alone may be a CX (TF-2 Z.9.1). */
static Str cx_of(Arena *arena, const FhirToken *token)
{
    Str system = token->system;
    if (str_is_empty(system)) {
        return token->code;
    }
    if (str_starts_with(system, STR(OID_PREFIX))) {
        return str_printf(arena, "%.*s^^^&%.*s&ISO", STR_ARG(token->code),
                          STR_ARG(str_from_offset(system, strlen(OID_PREFIX))));
    }
    return str_printf(arena, "%.*s^^^%.*s", STR_ARG(token->code), STR_ARG(system));
}

/** The first key tells authorities apart. */
static KeySet keys_of_cx(Arena *arena, Str cx)
{
    int64_t found[AUDIT_PATIENT_KEY_MAX];
    int64_t *key = ARENA_NEW(arena, int64_t);
    (void)audit_patient_keys(cx, found);
    *key = found[0];
    return (KeySet){key, 1};
}

static int find_person(Reading *reading, Str cx, KeySet *ret_keys)
{
    const AuditPatients *patients = reading->patients;
    if (!patients->keys) {
        *ret_keys = keys_of_cx(arena_of(reading), cx);
        return 0;
    }
    return patients->keys(patients->ctx, reading->exchange->req, cx, ret_keys);
}

/** Appends to what is on its way to be one set. */
static KeySet join(Arena *arena, KeySet a, KeySet b)
{
    int64_t *keys = ARENA_ARRAY(arena, int64_t, a.count + b.count);
    if (a.count > 0) {
        memcpy(keys, a.keys, a.count * sizeof(*keys));
    }
    if (b.count > 0) {
        memcpy(keys + a.count, b.keys, b.count * sizeof(*keys));
    }
    return (KeySet){keys, a.count + b.count};
}

static int add_patients(Reading *reading, const Iti81Group *group)
{
    Iti81Criteria *criteria = reading->criteria;
    Arena *arena = arena_of(reading);
    KeySet all = {0};
    for (size_t i = 0; i < group->count; i++) {
        Str cx = cx_of(arena, &group->tokens[i]);
        KeySet keys = {0};
        int rc = find_person(reading, cx, &keys);
        if (rc < 0) {
            return rc;
        }
        all = join(arena, all, keys);
        if (criteria->patient_count == ITI81_PATIENTS_MAX) {
            return refuse(reading, "there are too many patients; ask for fewer at a time");
        }
        criteria->patients[criteria->patient_count++] = cx;
    }
    return add_keys(reading, AUDIT_KEY_PATIENT, all.keys, all.count);
}

/** An object of any kind, a patient too, under this very identifier. */
static int add_entities(Reading *reading, const Iti81Group *group)
{
    Arena *arena = arena_of(reading);
    KeySet all = {0};
    for (size_t i = 0; i < group->count; i++) {
        int64_t *key = ARENA_NEW(arena, int64_t);
        *key = audit_key(AUDIT_KEY_OBJECT, group->tokens[i].code);
        all = join(arena, all, (KeySet){key, 1});
        all = join(arena, all, keys_of_cx(arena, cx_of(arena, &group->tokens[i])));
    }
    return add_keys(reading, AUDIT_KEY_OBJECT, all.keys, all.count);
}

/* ---- columns ---- */

static TextSet codes_of(Arena *arena, const Iti81Group *group)
{
    Str *codes = ARENA_ARRAY(arena, Str, group->count);
    for (size_t i = 0; i < group->count; i++) {
        codes[i] = group->tokens[i].code;
    }
    return (TextSet){codes, group->count};
}

/** Whether each value names no system, or the one that such a code has. */
static bool are_all_of(const Iti81Group *group, Str system)
{
    for (size_t i = 0; i < group->count; i++) {
        const FhirToken *token = &group->tokens[i];
        if (token->has_separator && !str_equal(token->system, system)) {
            return false;
        }
    }
    return true;
}

/** A column holds one set of values; a second one, or one with systems of its own, is tested. */
static int add_column(Reading *reading, const Iti81Group *group, TextSet *column, bool is_exact)
{
    if (column->count == 0) {
        *column = codes_of(arena_of(reading), group);
        return is_exact ? 0 : add_test(reading, group);
    }
    return add_test(reading, group);
}

static int add_type(Reading *reading, const Iti81Group *group)
{
    int rc = add_text_keys(reading, group, AUDIT_KEY_EVENT);
    return rc ? rc
              : add_column(reading, group, &reading->criteria->search.event_ids,
                           are_all_of(group, STR(AUDIT_EVENT_TYPE_DCM)));
}

static int add_subtype(Reading *reading, const Iti81Group *group)
{
    int rc = add_text_keys(reading, group, AUDIT_KEY_EVENT);
    return rc ? rc
              : add_column(reading, group, &reading->criteria->search.event_types,
                           are_all_of(group, STR("urn:ihe:event-type-code")));
}

static int add_outcome(Reading *reading, const Iti81Group *group)
{
    RecordSearch *search = &reading->criteria->search;
    int32_t *outcomes = ARENA_ARRAY(arena_of(reading), int32_t, group->count);
    for (size_t i = 0; i < group->count; i++) {
        uint64_t outcome;
        if (!str_to_u64(group->tokens[i].code, &outcome) || outcome > 12 || outcome % 4 != 0) {
            return refuse(reading, "its values are " OUTCOMES);
        }
        outcomes[i] = (int32_t)outcome;
    }
    if (search->outcome_count > 0) {
        return add_test(reading, group);
    }
    search->outcomes = outcomes;
    search->outcome_count = group->count;
    return 0;
}

/* ---- parameters ---- */

static int add_group(Reading *reading, const Iti81Group *group)
{
    int rc = 0;
    switch (group->criterion) {
    case ITI81_PATIENT:
        return add_patients(reading, group);
    case ITI81_ENTITY:
        return add_entities(reading, group);
    case ITI81_SOURCE:
        return add_text_keys(reading, group, AUDIT_KEY_SOURCE);
    case ITI81_TYPE:
        return add_type(reading, group);
    case ITI81_SUBTYPE:
        return add_subtype(reading, group);
    case ITI81_ACTION:
        return add_column(reading, group, &reading->criteria->search.actions, true);
    case ITI81_OUTCOME:
        return add_outcome(reading, group);
    case ITI81_AGENT:
    case ITI81_AGENT_NAME:
        rc = add_text_keys(reading, group, AUDIT_KEY_USER);
        break;
    case ITI81_ADDRESS:
        rc = add_text_keys(reading, group, AUDIT_KEY_NODE);
        break;
    case ITI81_ALTID:
    case ITI81_ENTITY_TYPE:
    case ITI81_ENTITY_ROLE:
    case ITI81_DATE:
    case ITI81_CRITERION_COUNT:
    default:
        break;
    }
    return rc ? rc : add_test(reading, group);
}

/** ":identifier" says of a reference what we take it for anyway (FHIR R4 3.1.1.4.12). */
static int check_modifier(const Reading *reading, Iti81Criterion criterion)
{
    Str modifier = reading->parameter->modifier;
    bool is_reference = criterion == ITI81_AGENT || criterion == ITI81_PATIENT ||
                        criterion == ITI81_ENTITY || criterion == ITI81_SOURCE;
    bool is_string = criterion == ITI81_ADDRESS || criterion == ITI81_AGENT_NAME;
    if (str_is_empty(modifier) || (is_reference && str_equal(modifier, STR("identifier"))) ||
        (is_string && str_equal(modifier, STR("exact")))) {
        return 0;
    }
    return error_add(&reading->exchange->req->errors, ERR_FHIR_NOT_SUPPORTED, NULL,
                     "Modifier :%.*s of parameter %.*s is not supported here%s.", STR_ARG(modifier),
                     STR_ARG(reading->parameter->name),
                     is_reference ? "; :identifier is"
                     : is_string  ? "; :exact is"
                                  : "");
}

static int read_tokens(Reading *reading, Iti81Criterion criterion)
{
    Arena *arena = arena_of(reading);
    FhirToken *tokens = ARENA_ARRAY(arena, FhirToken, ALTERNATIVES_MAX);
    Iti81Group group = {.criterion = criterion, .tokens = tokens};
    Str rest = reading->parameter->value;
    Str item;
    while (fhir_value_next(&rest, &item)) {
        if (group.count == ALTERNATIVES_MAX) {
            return refuse(reading, "it has too many alternatives");
        }
        FhirToken token = fhir_token_parse(arena, str_trim(item));
        token.code = str_trim(token.code);
        if (str_is_empty(token.code)) {
            return refuse(reading, "send system|value, |value or value, with | as %7C");
        }
        tokens[group.count++] = token;
    }
    return add_group(reading, &group);
}

static const Iti81Parameter *find_parameter(Str name)
{
    for (size_t i = 0; i < iti81_parameter_count; i++) {
        if (str_equal(name, str_from(iti81_parameters[i].name))) {
            return &iti81_parameters[i];
        }
    }
    return NULL;
}

static int read_parameter(Reading *reading, FhirParameter *parameter, Iti81Criterion criterion)
{
    reading->parameter = parameter;
    parameter->is_used = true;
    int rc = check_modifier(reading, criterion);
    return rc ? rc : criterion == ITI81_DATE ? read_date(reading) : read_tokens(reading, criterion);
}

int iti81_criteria_read(FhirExchange *exchange, const AuditPatients *patients,
                        Iti81Criteria **ret_criteria)
{
    Iti81Criteria *criteria = ARENA_NEW(exchange->req->arena, Iti81Criteria);
    Reading reading = {.exchange = exchange, .patients = patients, .criteria = criteria};
    int rc = 0;
    criteria->search = record_search_of(INT64_MIN, INT64_MAX);
    criteria->search.only_messages = true;
    for (size_t i = 0; i < exchange->parameters.count; i++) {
        FhirParameter *parameter = &exchange->parameters.items[i];
        const Iti81Parameter *row = find_parameter(parameter->name);
        if (row && !str_is_empty(str_trim(parameter->value))) {
            int fault = read_parameter(&reading, parameter, row->criterion);
            rc = rc ? rc : fault;
        }
    }
    if (rc == 0 && !reading.has_date) {
        rc = error_add(&exchange->req->errors, ERR_FHIR_REQUIRED, NULL,
                       "Parameter date is missing; send a period, e.g. "
                       "date=ge2026-04-01&date=le2026-04-30.");
    }
    if (rc == 0) {
        *ret_criteria = criteria;
    }
    return rc;
}
