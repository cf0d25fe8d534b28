#include "pix/pdqm_criteria.h"

typedef enum Criterion {
    CRITERION_ID,
    CRITERION_ACTIVE,
    CRITERION_STRING,
    CRITERION_NAME,
    CRITERION_IDENTIFIER,
    CRITERION_TELECOM,
    CRITERION_DATE,
    CRITERION_GENDER,
    CRITERION_COUNT,
} Criterion;

typedef struct Row {
    Criterion criterion;
    SearchField field;
} Row;

const PdqmParameter pdqm_parameters[] = {
#define PARAMETER(name, type, criterion, field) {name, type},
#include "pix/pdqm_parameters.def"
#undef PARAMETER
};
const size_t pdqm_parameter_count = ARRAY_LEN(pdqm_parameters);

static const Row rows[] = {
#define PARAMETER(name, type, criterion, field) {criterion, field},
#include "pix/pdqm_parameters.def"
#undef PARAMETER
};

/** One parameter on its way to a group. */
typedef struct Reading {
    FhirExchange *exchange;
    const Authorities *authorities;
    PdqmCriteria *criteria;
    const FhirParameter *parameter;
    SearchField field;
    SearchTerm *terms; /* room for PDQM_ALTERNATIVES_MAX */
    size_t term_count;
    bool is_restriction; /* every value said only which domains are wanted */
} Reading;

static int add_term(Reading *reading, SearchTerm term)
{
    if (reading->term_count == PDQM_ALTERNATIVES_MAX) {
        return error_add(&reading->exchange->req->errors, ERR_FHIR_INVALID, NULL,
                         "Parameter %.*s has more than %d alternatives.",
                         STR_ARG(reading->parameter->name), PDQM_ALTERNATIVES_MAX);
    }
    reading->terms[reading->term_count++] = term;
    return 0;
}

static Str text_of(const Reading *reading, Str item)
{
    return str_trim(fhir_value_text(reading->exchange->req->arena, item));
}

/* ---- strings (FHIR R4 3.1.1.4.8) ---- */

static SearchMatch match_of(const Reading *reading)
{
    Str modifier = reading->parameter->modifier;
    return str_equal(modifier, STR("exact"))      ? SEARCH_EXACT
           : str_equal(modifier, STR("contains")) ? SEARCH_CONTAINS
                                                  : SEARCH_BEGINS;
}

static int read_string(Reading *reading, Str item)
{
    return add_term(reading, (SearchTerm){.field = reading->field,
                                          .match = match_of(reading),
                                          .text = text_of(reading, item)});
}

static int read_name(Reading *reading, Str item)
{
    int rc = read_string(reading, item);
    return rc ? rc
              : add_term(reading, (SearchTerm){.field = SEARCH_GIVEN,
                                               .match = match_of(reading),
                                               .text = text_of(reading, item)});
}

/* ---- tokens ---- */

static int read_id(Reading *reading, Str item)
{
    uint64_t person;
    Str id = text_of(reading, item);
    if (!str_to_u64(id, &person) || person > INT64_MAX) {
        return 0; /* not an id that we gave out */
    }
    return add_term(reading,
                    (SearchTerm){.field = reading->field, .match = SEARCH_EQUAL, .text = id});
}

/** What is found is active: merged and removed records are left out. */
static int read_active(Reading *reading, Str item)
{
    FhirToken token = fhir_token_parse(reading->exchange->req->arena, item);
    reading->is_restriction |= str_equal(token.code, STR("true"));
    return 0;
}

static int read_telecom(Reading *reading, Str item)
{
    FhirToken token = fhir_token_parse(reading->exchange->req->arena, item);
    return add_term(
        reading,
        (SearchTerm){.field = reading->field, .match = SEARCH_EQUAL, .text = str_trim(token.code)});
}

static int read_gender(Reading *reading, Str item)
{
    static const struct {
        Str code;
        Str sexes[3]; /* HL7 table 0001 */
    } genders[] = {
        {STR_INIT("male"), {STR_INIT("M")}},
        {STR_INIT("female"), {STR_INIT("F")}},
        {STR_INIT("other"), {STR_INIT("O"), STR_INIT("A"), STR_INIT("N")}},
        {STR_INIT("unknown"), {STR_INIT("U")}},
    };
    FhirToken token = fhir_token_parse(reading->exchange->req->arena, item);
    int rc = 0;
    for (size_t i = 0; i < ARRAY_LEN(genders); i++) {
        bool is_asked = str_equal(token.code, genders[i].code);
        for (size_t j = 0; is_asked && rc == 0 && j < ARRAY_LEN(genders[i].sexes); j++) {
            Str sex = genders[i].sexes[j];
            rc = str_is_empty(sex) ? 0
                                   : add_term(reading, (SearchTerm){.field = reading->field,
                                                                    .match = SEARCH_EQUAL,
                                                                    .text = sex});
        }
    }
    return rc;
}

/** "system|" alone says which domains are wanted (2:3.78.4.1.2.4). */
static int add_target(Reading *reading, Str system)
{
    PdqmCriteria *criteria = reading->criteria;
    ErrorList *errors = &reading->exchange->req->errors;
    const AssigningAuthority *authority = pix_fhir_authority(reading->authorities, system);
    if (!authority) {
        return error_add(errors, ERR_FHIR_RESULT_DOMAIN_NOT_FOUND, NULL,
                         "\"%.*s\" is not an assigning authority of this network; send urn:oid: "
                         "and its OID",
                         STR_ARG(system));
    }
    if (criteria->target_count == PDQM_TARGETS_MAX) {
        return error_add(errors, ERR_FHIR_INVALID, NULL, "More than %d domains are asked for.",
                         PDQM_TARGETS_MAX);
    }
    criteria->targets[criteria->target_count++] = authority;
    reading->is_restriction = true;
    return 0;
}

static int read_identifier(Reading *reading, Str item)
{
    FhirToken token = fhir_token_parse(reading->exchange->req->arena, item);
    Str value = str_trim(token.code);
    if (str_is_empty(value)) {
        return add_target(reading, token.system);
    }
    const AssigningAuthority *authority = pix_fhir_authority(reading->authorities, token.system);
    if (!authority && token.has_separator) {
        return 0; /* nobody here has an identifier of an unknown domain, or of none */
    }
    return add_term(reading, (SearchTerm){.field = reading->field,
                                          .match = SEARCH_EQUAL,
                                          .text = value,
                                          .authority = authority});
}

/* ---- dates (FHIR R4 3.1.1.4.7) ---- */

static int add_period(Reading *reading, Str from, Str to)
{
    return add_term(
        reading,
        (SearchTerm){.field = reading->field, .match = SEARCH_EQUAL, .text = from, .high = to});
}

static int read_date(Reading *reading, Str item)
{
    Arena *arena = reading->exchange->req->arena;
    FhirDate date;
    if (!fhir_date_parse(text_of(reading, item), &date)) {
        return error_add(&reading->exchange->req->errors, ERR_FHIR_INVALID, NULL,
                         "Parameter %.*s is \"%.*s\"; send YYYY, YYYY-MM or YYYY-MM-DD, with a "
                         "prefix such as ge if it is not that date.",
                         STR_ARG(reading->parameter->name), STR_ARG(item));
    }
    Str digits = fhir_date_digits(arena, date);
    Str after = fhir_date_digits(arena, fhir_date_step(date, 1));
    Str before = fhir_date_digits(arena, fhir_date_step(date, -1));
    switch (date.prefix) {
    case FHIR_PREFIX_GE:
        return add_period(reading, digits, STR_EMPTY);
    case FHIR_PREFIX_LE:
        return add_period(reading, STR_EMPTY, digits);
    case FHIR_PREFIX_GT:
        return add_period(reading, after, STR_EMPTY);
    case FHIR_PREFIX_LT:
        return add_period(reading, STR_EMPTY, before);
    case FHIR_PREFIX_NE: {
        int rc = add_period(reading, STR_EMPTY, before);
        return rc ? rc : add_period(reading, after, STR_EMPTY);
    }
    case FHIR_PREFIX_AP: /* the same year */
        return add_period(reading, str_slice(digits, 0, 4), str_slice(digits, 0, 4));
    case FHIR_PREFIX_EQ:
    default:
        return add_period(reading, digits, digits);
    }
}

/* ---- parameters ---- */

typedef int (*ItemReader)(Reading *reading, Str item);

static const ItemReader item_readers[CRITERION_COUNT] = {
    [CRITERION_ID] = read_id,
    [CRITERION_ACTIVE] = read_active,
    [CRITERION_STRING] = read_string,
    [CRITERION_NAME] = read_name,
    [CRITERION_IDENTIFIER] = read_identifier,
    [CRITERION_TELECOM] = read_telecom,
    [CRITERION_DATE] = read_date,
    [CRITERION_GENDER] = read_gender,
};

static int check_modifier(const Reading *reading, Criterion criterion)
{
    Str modifier = reading->parameter->modifier;
    bool is_string = criterion == CRITERION_STRING || criterion == CRITERION_NAME;
    bool is_known =
        str_is_empty(modifier) ||
        (is_string && (str_equal(modifier, STR("exact")) || str_equal(modifier, STR("contains"))));
    if (is_known) {
        return 0;
    }
    return error_add(&reading->exchange->req->errors, ERR_FHIR_NOT_SUPPORTED, NULL,
                     "Modifier :%.*s of parameter %.*s is not supported here%s.", STR_ARG(modifier),
                     STR_ARG(reading->parameter->name),
                     is_string ? "; :exact and :contains are" : "");
}

/** The terms as one more group that has to be met. */
static int add_group(Reading *reading)
{
    PdqmCriteria *criteria = reading->criteria;
    if (reading->term_count == 0) {
        criteria->matches_nothing |= !reading->is_restriction;
        return 0;
    }
    if (criteria->group_count == PDQM_GROUPS_MAX) {
        return error_add(&reading->exchange->req->errors, ERR_FHIR_INVALID, NULL,
                         "There are more than %d criteria.", PDQM_GROUPS_MAX);
    }
    criteria->groups[criteria->group_count++] = (SearchGroup){reading->terms, reading->term_count};
    if (reading->field == SEARCH_IDENTIFIER) {
        criteria->identifier = reading->term_count == 1 ? reading->terms : NULL;
    }
    return 0;
}

static int read_parameter(FhirExchange *exchange, const Authorities *authorities,
                          PdqmCriteria *criteria, FhirParameter *parameter, const Row *row)
{
    Reading reading = {.exchange = exchange,
                       .authorities = authorities,
                       .criteria = criteria,
                       .parameter = parameter,
                       .field = row->field,
                       .terms =
                           ARENA_ARRAY(exchange->req->arena, SearchTerm, PDQM_ALTERNATIVES_MAX)};
    parameter->is_used = true;
    int rc = check_modifier(&reading, row->criterion);
    Str rest = parameter->value;
    Str item;
    while (rc == 0 && fhir_value_next(&rest, &item)) {
        rc = str_is_empty(str_trim(item)) ? 0 : item_readers[row->criterion](&reading, item);
        rc = rc == -(int)ERR_FHIR_RESULT_DOMAIN_NOT_FOUND ? 0 : rc; /* all of them are named */
    }
    return rc ? rc : add_group(&reading);
}

/** A search for the members of domains alone has them as its criterion. */
static void search_by_targets(Arena *arena, PdqmCriteria *criteria)
{
    SearchTerm *terms = ARENA_ARRAY(arena, SearchTerm, criteria->target_count);
    for (size_t i = 0; i < criteria->target_count; i++) {
        terms[i] = (SearchTerm){
            .field = SEARCH_IDENTIFIER, .match = SEARCH_EQUAL, .authority = criteria->targets[i]};
    }
    criteria->groups[criteria->group_count++] = (SearchGroup){terms, criteria->target_count};
}

static const Row *find_row(Str name)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (str_equal(name, str_from(pdqm_parameters[i].name))) {
            return &rows[i];
        }
    }
    return NULL;
}

int pdqm_criteria_read(FhirExchange *exchange, const Authorities *authorities,
                       PdqmCriteria **ret_criteria)
{
    Request *req = exchange->req;
    PdqmCriteria *criteria = ARENA_NEW(req->arena, PdqmCriteria);
    int rc = 0;
    for (size_t i = 0; i < exchange->parameters.count; i++) {
        FhirParameter *parameter = &exchange->parameters.items[i];
        const Row *row = find_row(parameter->name);
        if (row && !str_is_empty(str_trim(parameter->value))) {
            int fault = read_parameter(exchange, authorities, criteria, parameter, row);
            rc = rc ? rc : fault;
        }
    }
    if (rc == 0 && error_list_has_errors(&req->errors)) {
        rc = -(int)req->errors.first->code;
    }
    if (rc == 0 && criteria->group_count == 0 && criteria->target_count > 0) {
        search_by_targets(req->arena, criteria);
    }
    if (rc == 0 && criteria->group_count == 0 && !criteria->matches_nothing) {
        rc = error_add(&req->errors, ERR_FHIR_REQUIRED, NULL,
                       "The search has no criterion; send at least one, such as identifier, family "
                       "or birthdate.");
    }
    *ret_criteria = criteria;
    return rc;
}
