#include "pix/pdq_query.h"

#include "lib/base/dtm.h"
#include "lib/base/wildcard.h"
#include "pix/matching/normal_form.h"

static const Hl7Field criteria_field = {"QPD", 1, 3,
                                        "criteria, such as @PID.5.1.1^YAMADA~@PID.7^19710412"};
static const Hl7Field domains_field = {"QPD", 1, 8, "domains"};

typedef enum ParameterKind { PARAMETER_TEXT, PARAMETER_DATE, PARAMETER_COMPARE } ParameterKind;

typedef struct Parameter {
    Str name;
    ParameterKind kind;
    SearchField field;      /* TEXT, DATE */
    DemographicField where; /* COMPARE */
} Parameter;

#define FIELD_OF_TEXT(what) .field = SEARCH_##what
#define FIELD_OF_DATE(what) .field = SEARCH_##what
#define FIELD_OF_COMPARE(what) .where = DEMOGRAPHIC_##what

static const Parameter parameters[] = {
#define PARAMETER(name, kind, what) {STR_INIT(name), PARAMETER_##kind, FIELD_OF_##kind(what)},
#include "pix/pdq_parameters.def"
#undef PARAMETER
};

/** An identifier put together of the criteria that name its parts. */
typedef struct Assembled {
    const char *name; /* "PID.3" */
    SearchField field;
    Hl7Cx cx;
    const char *location; /* of the criterion with CX-1; NULL: none */
    bool is_there;
} Assembled;

typedef struct Reader {
    const Hl7Call *call;
    PdqQuery *query;
    Assembled identifier; /* PID-3 */
    Assembled account;    /* PID-18 */
    bool takes_visits;
} Reader;

/** One repetition of QPD-3. */
typedef struct CriterionText {
    Str name; /* without '@' */
    Str raw;  /* value with its delimiters */
    Str value;
    const char *location;
} CriterionText;

/* ---- terms ---- */

static bool has_wildcard(Str text)
{
    return str_find_char(text, '*') != SIZE_MAX || str_find_char(text, '?') != SIZE_MAX;
}

static int add_term(Reader *reader, const CriterionText *criterion, SearchTerm term)
{
    PdqQuery *query = reader->query;
    if (query->count == PDQ_CRITERIA_MAX) {
        return error_add(&reader->call->req->errors, ERR_HL7_DATA_TYPE, criterion->location,
                         "QPD-3 has more than %d criteria; send less", PDQ_CRITERIA_MAX);
    }
    query->terms[query->count] = term;
    query->groups[query->count] = (SearchGroup){&query->terms[query->count], 1};
    query->count++;
    return 0;
}

static int add_text(Reader *reader, const CriterionText *criterion, SearchField field)
{
    return add_term(
        reader, criterion,
        (SearchTerm){.field = field,
                     .match = has_wildcard(criterion->value) ? SEARCH_PATTERN : SEARCH_EQUAL,
                     .text = criterion->value});
}

/** YYYY[MM[DD]], what follows it is ignored; an asterisk behind year or month is the same as
 * nothing. */
static int add_date(Reader *reader, const CriterionText *criterion)
{
    Str text = criterion->value;
    if (str_ends_with(text, STR("*"))) {
        text = str_slice(text, 0, text.len - 1);
    }
    Str date = str_slice(text, 0, 8);
    int64_t utc_us;
    if (!dtm_parse(date, &utc_us)) {
        return error_add(&reader->call->req->errors, ERR_HL7_DATA_TYPE, criterion->location,
                         "@%.*s is not a date; send YYYY, YYYYMM or YYYYMMDD",
                         STR_ARG(criterion->name));
    }
    return add_term(reader, criterion,
                    (SearchTerm){.field = SEARCH_BIRTH_DATE, .text = date, .high = date});
}

/** Number behind the last dot of a name. */
static size_t last_number(Str name)
{
    Str rest = name;
    Str item;
    uint64_t number = 0;
    while (str_split_next(&rest, '.', &item)) {
        if (!str_to_u64(item, &number)) {
            number = 0;
        }
    }
    return (size_t)number;
}

static int add_comparison(Reader *reader, const CriterionText *criterion, DemographicField field)
{
    PdqQuery *query = reader->query;
    if (query->comparison_count == PDQ_CRITERIA_MAX) {
        return error_add(&reader->call->req->errors, ERR_HL7_DATA_TYPE, criterion->location,
                         "QPD-3 has more than %d criteria; send less", PDQ_CRITERIA_MAX);
    }
    query->comparisons[query->comparison_count++] =
        (PdqComparison){.field = field,
                        .component = last_number(criterion->name),
                        .text = normal_pattern(reader->call->req->arena, criterion->value)};
    return 0;
}

/* ---- identifiers ---- */

static int add_unknown_parameter(const Reader *reader, const CriterionText *criterion)
{
    return error_add(&reader->call->req->errors, ERR_HL7_TABLE_VALUE_NOT_FOUND, criterion->location,
                     "criterion \"@%.*s\" is not supported here; send those of PID-3, 5, 6, 7, 8, "
                     "11, 13 and 18, such as @PID.5.1.1",
                     STR_ARG(criterion->name));
}

/** CX-4 as one value: "NS&1.2&ISO". */
static void read_whole_authority(const Reader *reader, Str raw, Hl7Cx *cx)
{
    const Er7Delimiters *delimiters = &reader->call->message->delimiters;
    cx->namespace_id = str_trim(er7_subcomponent(delimiters, raw, 1));
    cx->universal_id = str_trim(er7_subcomponent(delimiters, raw, 2));
    cx->universal_id_type = str_trim(er7_subcomponent(delimiters, raw, 3));
}

/** Takes one part: ".1", ".4", ".4.1" to ".4.3" of an identifier. */
static int add_part(const Reader *reader, const CriterionText *criterion, Assembled *assembled)
{
    Str part = str_from_offset(criterion->name, strlen(assembled->name));
    assembled->is_there = true;
    if (str_equal(part, STR(".1")) || str_is_empty(part)) {
        assembled->cx.id = criterion->value;
        assembled->location = criterion->location;
    } else if (str_equal(part, STR(".4"))) {
        read_whole_authority(reader, criterion->raw, &assembled->cx);
    } else if (str_equal(part, STR(".4.1"))) {
        assembled->cx.namespace_id = criterion->value;
    } else if (str_equal(part, STR(".4.2"))) {
        assembled->cx.universal_id = criterion->value;
    } else if (str_equal(part, STR(".4.3"))) {
        assembled->cx.universal_id_type = criterion->value;
    } else {
        return add_unknown_parameter(reader, criterion);
    }
    return 0;
}

/** The authority of an identifier: named, or the one domain that QPD-8 asks for. */
static const AssigningAuthority *authority_of(const Reader *reader, Assembled *assembled,
                                              AuthorityFault *ret_fault)
{
    Hl7Cx *cx = &assembled->cx;
    if (!str_is_empty(cx->universal_id) && str_is_empty(cx->universal_id_type)) {
        cx->universal_id_type = STR("ISO");
    }
    const AssigningAuthority *found = authorities_find(reader->call->authorities, cx, ret_fault);
    if (*ret_fault == AUTHORITY_ABSENT && reader->query->target_count == 1) {
        *ret_fault = AUTHORITY_GOOD;
        return reader->query->targets[0];
    }
    return found;
}

static int add_identifier(Reader *reader, Assembled *assembled)
{
    if (!assembled->is_there) {
        return 0;
    }
    AuthorityFault fault;
    SearchTerm term = {.field = assembled->field,
                       .match = has_wildcard(assembled->cx.id) ? SEARCH_PATTERN : SEARCH_EXACT,
                       .text = assembled->cx.id,
                       .authority = authority_of(reader, assembled, &fault)};
    bool needs_authority = assembled->field == SEARCH_IDENTIFIER;
    if (fault == AUTHORITY_ABSENT && needs_authority) {
        return error_add(&reader->call->req->errors, ERR_HL7_REQUIRED_FIELD_MISSING, "QPD^1^3",
                         "@PID.3.1 comes without its assigning authority; send @PID.3.4.1, or "
                         "@PID.3.4.2 with @PID.3.4.3, too (ITI TF-2 Table 3.21-2)");
    }
    if (!term.authority && fault != AUTHORITY_ABSENT) {
        reader->query->is_hopeless = true;
        return 0;
    }
    const CriterionText criterion = {.location = "QPD^1^3"};
    return add_term(reader, &criterion, term);
}

/* ---- QPD-3 ---- */

static bool is_part_of(Str name, const char *field)
{
    size_t len = strlen(field);
    return str_starts_with(name, str_from(field)) && (name.len == len || name.data[len] == '.');
}

static const Parameter *find_parameter(Str name)
{
    for (size_t i = 0; i < ARRAY_LEN(parameters); i++) {
        if (str_equal(name, parameters[i].name)) {
            return &parameters[i];
        }
    }
    return NULL;
}

static int add_criterion(Reader *reader, const CriterionText *criterion)
{
    if (str_is_empty(criterion->value)) {
        return 0; /* says nothing */
    }
    if (is_part_of(criterion->name, "PID.3")) {
        return add_part(reader, criterion, &reader->identifier);
    }
    if (is_part_of(criterion->name, "PID.18")) {
        return add_part(reader, criterion, &reader->account);
    }
    if (reader->takes_visits && str_starts_with(criterion->name, STR("PV1."))) {
        reader->query->is_hopeless = true;
        return 0;
    }
    const Parameter *parameter = find_parameter(criterion->name);
    if (!parameter) {
        return add_unknown_parameter(reader, criterion);
    }
    switch (parameter->kind) {
    case PARAMETER_DATE:
        return add_date(reader, criterion);
    case PARAMETER_COMPARE:
        return add_comparison(reader, criterion, parameter->where);
    case PARAMETER_TEXT:
        break;
    }
    return add_text(reader, criterion, parameter->field);
}

static CriterionText read_repetition(const Hl7Call *call, Str repetition, size_t number)
{
    const Er7Message *message = call->message;
    Str name = str_trim(er7_component(&message->delimiters, repetition, 1));
    Str raw = er7_component(&message->delimiters, repetition, 2);
    Str value = er7_text(call->req->arena, &message->delimiters, message->charset, raw);
    Str location = str_printf(call->req->arena, "QPD^1^3^%zu", number);
    return (CriterionText){.name = str_from_offset(name, str_starts_with(name, STR("@"))),
                           .raw = raw,
                           .value = str_trim(value),
                           .location = str_cstr(call->req->arena, location)};
}

static int read_criteria(Reader *reader)
{
    const Hl7Call *call = reader->call;
    const Er7Segment *qpd = er7_segment(call->message, STR("QPD"), 1);
    Str rest = er7_field(call->message, qpd, criteria_field.number);
    Str repetition;
    int rc = 0;
    for (size_t number = 1;
         str_split_next(&rest, call->message->delimiters.repetition, &repetition); number++) {
        const CriterionText criterion = read_repetition(call, repetition, number);
        int fault = add_criterion(reader, &criterion);
        rc = fault < 0 ? fault : rc;
    }
    int identifier_rc = add_identifier(reader, &reader->identifier);
    int account_rc = add_identifier(reader, &reader->account);
    rc = rc < 0 ? rc : identifier_rc;
    rc = rc < 0 ? rc : account_rc;
    if (rc == 0 && reader->query->count == 0 && !reader->query->is_hopeless) {
        rc = error_add(&call->req->errors, ERR_HL7_REQUIRED_FIELD_MISSING, "QPD^1^3",
                       "QPD-3 has no criterion that a search can begin with; send a name, a birth "
                       "date, an identifier or an address");
    }
    return rc;
}

/* ---- RCP, DSC ---- */

/** RCP-2.1: how many patients in one answer. */
static int read_limit(const Hl7Call *call, PdqQuery *query)
{
    const Er7Segment *rcp = er7_segment(call->message, STR("RCP"), 1);
    Str text = str_trim(er7_value(call->message, rcp, 2, 1));
    uint64_t limit = 0;
    if (!str_is_empty(text) && (!str_to_u64(text, &limit) || limit == 0)) {
        return error_add(&call->req->errors, ERR_HL7_DATA_TYPE, "RCP^1^2",
                         "RCP-2 \"%.*s\" is not a number of patients; send one, as in 10^RD, or "
                         "nothing",
                         STR_ARG(text));
    }
    query->limit = (size_t)MIN(limit, SIZE_MAX);
    return 0;
}

static int read_pointer(const Hl7Call *call, PdqQuery *query)
{
    const Er7Segment *dsc = er7_segment(call->message, STR("DSC"), 1);
    Str pointer = er7_value(call->message, dsc, 1, 1);
    return str_is_empty(pointer) ? 0 : pdq_pointer_read(call, pointer, &query->after_person);
}

int pdq_query_read(const Hl7Call *call, bool takes_visits, PdqQuery *ret_query)
{
    Reader reader = {.call = call,
                     .query = ret_query,
                     .identifier = {.name = "PID.3", .field = SEARCH_IDENTIFIER},
                     .account = {.name = "PID.18", .field = SEARCH_ACCOUNT},
                     .takes_visits = takes_visits};
    int rc = hl7_check_field(call, &criteria_field);
    if (rc < 0) {
        return rc;
    }
    int domains_rc =
        hl7_read_domains(call, &domains_field, &ret_query->targets, &ret_query->target_count);
    rc = read_criteria(&reader);
    int limit_rc = read_limit(call, ret_query);
    rc = rc < 0 ? rc : domains_rc;
    rc = rc < 0 ? rc : limit_rc;
    return rc < 0 ? rc : read_pointer(call, ret_query);
}

/* ---- comparisons ---- */

static bool is_comparison_met(const PdqComparison *comparison, Arena *arena,
                              const Demographics *demographics)
{
    Str rest = demographics->fields[comparison->field];
    Str repetition;
    while (str_split_next(&rest, '~', &repetition)) {
        Str leaf = er7_subcomponent(
            &er7_standard_delimiters,
            er7_component(&er7_standard_delimiters, repetition, comparison->component), 1);
        Str text = er7_text(arena, &er7_standard_delimiters, HL7_UTF_8, leaf);
        if (wildcard_matches(comparison->text, normal_text(arena, text), '*', '?')) {
            return true;
        }
    }
    return false;
}

bool pdq_query_is_met(const PdqQuery *query, Arena *arena, const Demographics *demographics)
{
    for (size_t i = 0; i < query->comparison_count; i++) {
        if (!is_comparison_met(&query->comparisons[i], arena, demographics)) {
            return false;
        }
    }
    return true;
}
