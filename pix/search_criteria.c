#include "lib/base/wildcard.h"
#include "pix/matching/normal_form.h"
#include "pix/search_private.h"

/** One value of a record that a text is compared with. */
typedef struct Value {
    Str original;
    Str folded;
} Value;

/** Values of one field; grows in the arena. */
typedef struct Values {
    Value *items;
    size_t count;
    size_t cap;
    bool is_read;
} Values;

/** A record that is looked into: a field is read when it is first asked for. */
typedef struct Record {
    Arena *arena;
    const Authorities *authorities;
    const FoundPatient *patient;
    Values values[SEARCH_FIELD_COUNT];
} Record;

typedef Str (*FoldFn)(Arena *arena, Str text);

/** How a field is read out of a record and compared. */
typedef struct FieldKind {
    FoldFn fold;
    bool (*is_met)(Record *record, const Criterion *criterion);
    void (*read)(Record *record, Values *values); /* NULL: not compared as texts */
} FieldKind;

/* ---- folding ---- */

static Str as_it_is(Arena *arena, Str text)
{
    (void)arena;
    return text;
}

/** A mail address has letters, a number none. */
static Str fold_telecom(Arena *arena, Str text)
{
    bool is_mail = str_find_char(text, '@') != SIZE_MAX;
    return is_mail ? normal_text(arena, text) : normal_phone(arena, text);
}

static bool is_wildcard(char c)
{
    return c == '*' || c == '?';
}

/** Folds what is between the wildcards. */
static Str fold_pattern(Arena *arena, Str pattern, FoldFn fold)
{
    if (fold == normal_text) {
        return normal_pattern(arena, pattern);
    }
    _cleanup_(strbuf_done) StrBuf buf = {0};
    size_t start = 0;
    for (size_t i = 0; i <= pattern.len; i++) {
        if (i < pattern.len && !is_wildcard(pattern.data[i])) {
            continue;
        }
        strbuf_append(&buf, fold(arena, str_slice(pattern, start, i - start)));
        if (i < pattern.len) {
            strbuf_append_char(&buf, pattern.data[i]);
        }
        start = i + 1;
    }
    return str_dup(arena, strbuf_str(&buf));
}

/* ---- reading ---- */

static void add(Record *record, Values *values, FoldFn fold, Str original)
{
    if (str_is_empty(original)) {
        return;
    }
    if (values->count == values->cap) {
        values->cap = values->cap ? values->cap * 2 : 8;
        Value *items = ARENA_ARRAY(record->arena, Value, values->cap);
        if (values->count > 0) {
            memcpy(items, values->items, values->count * sizeof(*items));
        }
        values->items = items;
    }
    values->items[values->count++] = (Value){original, fold(record->arena, original)};
}

static void read_families(Record *record, Values *values)
{
    PersonName *names;
    size_t count = search_patient_names(record->arena, &record->patient->demographics, &names);
    for (size_t i = 0; i < count; i++) {
        add(record, values, normal_text, names[i].family);
    }
}

static void read_givens(Record *record, Values *values)
{
    PersonName *names;
    size_t count = search_patient_names(record->arena, &record->patient->demographics, &names);
    for (size_t i = 0; i < count; i++) {
        Str *givens;
        size_t given_count = search_given_names(record->arena, &names[i], &givens);
        for (size_t k = 0; k < given_count; k++) {
            add(record, values, normal_text, givens[k]);
        }
    }
}

static void read_mothers_maiden_names(Record *record, Values *values)
{
    PersonName *names;
    size_t count = demographics_names(record->arena, &record->patient->demographics,
                                      DEMOGRAPHIC_mothers_maiden_name, &names);
    for (size_t i = 0; i < count; i++) {
        add(record, values, normal_text, names[i].family);
        add(record, values, normal_text, names[i].given);
    }
}

static void read_sex(Record *record, Values *values)
{
    Str sex = demographics_value(record->arena, &record->patient->demographics, DEMOGRAPHIC_sex);
    add(record, values, str_lower, sex);
}

/** Parts of an address, to be or-ed. */
enum {
    PART_STREET = 1,
    PART_OTHER = 2,
    PART_CITY = 4,
    PART_STATE = 8,
    PART_POSTAL_CODE = 16,
    PART_COUNTRY = 32,
    PART_WHOLE = 64, /* as it is spoken in Japan: from the prefecture to the house */
};

static void add_address_parts(Record *record, Values *values, FoldFn fold, unsigned wanted)
{
    Address *addresses;
    size_t count =
        demographics_addresses(record->arena, &record->patient->demographics, &addresses);
    for (size_t i = 0; i < count; i++) {
        const Address *a = &addresses[i];
        Str whole = str_printf(record->arena, "%.*s%.*s%.*s%.*s", STR_ARG(a->state),
                               STR_ARG(a->city), STR_ARG(a->street), STR_ARG(a->other));
        const Str parts[] = {a->street,      a->other,   a->city, a->state,
                             a->postal_code, a->country, whole};
        for (size_t k = 0; k < ARRAY_LEN(parts); k++) {
            if (wanted & (1U << k)) {
                add(record, values, fold, parts[k]);
            }
        }
    }
}

static void read_streets(Record *record, Values *values)
{
    add_address_parts(record, values, normal_text, PART_STREET | PART_OTHER);
}

static void read_cities(Record *record, Values *values)
{
    add_address_parts(record, values, normal_text, PART_CITY);
}

static void read_states(Record *record, Values *values)
{
    add_address_parts(record, values, normal_text, PART_STATE);
}

static void read_postal_codes(Record *record, Values *values)
{
    add_address_parts(record, values, normal_postal_code, PART_POSTAL_CODE);
}

static void read_countries(Record *record, Values *values)
{
    add_address_parts(record, values, normal_text, PART_COUNTRY);
}

static void read_any_address(Record *record, Values *values)
{
    static const unsigned parts = PART_STREET | PART_OTHER | PART_CITY | PART_STATE |
                                  PART_POSTAL_CODE | PART_COUNTRY | PART_WHOLE;
    add_address_parts(record, values, normal_text, parts);
}

static void read_telecoms(Record *record, Values *values)
{
    Telecom *telecoms;
    size_t count = demographics_telecoms(record->arena, &record->patient->demographics, &telecoms);
    for (size_t i = 0; i < count; i++) {
        add(record, values, fold_telecom, telecoms[i].number);
        add(record, values, normal_text, telecoms[i].email);
    }
}

/* ---- tests ---- */

static bool is_text_met(const Criterion *criterion, Str original, Str folded)
{
    switch (criterion->term->match) {
    case SEARCH_EQUAL:
        return str_equal(folded, criterion->folded);
    case SEARCH_EXACT:
        return str_equal(original, criterion->term->text);
    case SEARCH_BEGINS:
        return str_starts_with(folded, criterion->folded);
    case SEARCH_PATTERN:
        return wildcard_matches(criterion->folded, folded, '*', '?');
    case SEARCH_CONTAINS:
        return str_contains(folded, criterion->folded);
    }
    return false;
}

static bool is_identifier_met(Record *record, const Criterion *criterion)
{
    const SearchTerm *term = criterion->term;
    for (size_t i = 0; i < record->patient->identifier_count; i++) {
        const FoundIdentifier *found = &record->patient->identifiers[i];
        bool is_of_authority = !term->authority || term->authority->id == found->authority->id;
        if (is_of_authority &&
            (str_is_empty(term->text) || is_text_met(criterion, found->value, found->value))) {
            return true;
        }
    }
    return false;
}

static bool is_person_met(Record *record, const Criterion *criterion)
{
    return record->patient->person == criterion->person;
}

#define DAY_LEN 8 /* YYYYMMDD */

/** The first or last day of YYYY[MM[DD]], by the digits that are not there. */
static void fill_day(Str date, char filler, char ret_day[DAY_LEN])
{
    memset(ret_day, filler, DAY_LEN);
    if (!str_is_empty(date)) {
        memcpy(ret_day, date.data, MIN(date.len, DAY_LEN));
    }
}

/** Whether the days of a date of any precision lie within those of low .. high; empty: open. */
static bool is_within(Str date, Str low, Str high)
{
    char first[DAY_LEN];
    char last[DAY_LEN];
    char least[DAY_LEN];
    char most[DAY_LEN];
    fill_day(date, '0', first);
    fill_day(date, '9', last);
    fill_day(low, '0', least);
    fill_day(high, '9', most);
    return memcmp(first, least, DAY_LEN) >= 0 && memcmp(last, most, DAY_LEN) <= 0;
}

static bool is_birth_date_met(Record *record, const Criterion *criterion)
{
    Str date = demographics_birth_date(record->arena, &record->patient->demographics);
    return !str_is_empty(date) && is_within(date, criterion->term->text, criterion->term->high);
}

static bool is_account_met(Record *record, const Criterion *criterion)
{
    Str field = record->patient->demographics.fields[DEMOGRAPHIC_account];
    Hl7Cx cx = hl7_cx_parse(record->arena, &er7_standard_delimiters, HL7_UTF_8, field);
    AuthorityFault fault = AUTHORITY_GOOD;
    const AssigningAuthority *wanted = criterion->term->authority;
    const AssigningAuthority *authority =
        wanted ? authorities_find(record->authorities, &cx, &fault) : NULL;
    bool is_of_authority = !wanted || (authority && authority->id == wanted->id);
    return is_of_authority && !str_is_empty(cx.id) && is_text_met(criterion, cx.id, cx.id);
}

static bool is_any_value_met(Record *record, const Criterion *criterion);

static const FieldKind field_kinds[SEARCH_FIELD_COUNT] = {
    [SEARCH_IDENTIFIER] = {as_it_is, is_identifier_met, NULL},
    [SEARCH_PERSON] = {as_it_is, is_person_met, NULL},
    [SEARCH_FAMILY] = {normal_text, is_any_value_met, read_families},
    [SEARCH_GIVEN] = {normal_text, is_any_value_met, read_givens},
    [SEARCH_BIRTH_DATE] = {as_it_is, is_birth_date_met, NULL},
    [SEARCH_SEX] = {str_lower, is_any_value_met, read_sex},
    [SEARCH_STREET] = {normal_text, is_any_value_met, read_streets},
    [SEARCH_CITY] = {normal_text, is_any_value_met, read_cities},
    [SEARCH_STATE] = {normal_text, is_any_value_met, read_states},
    [SEARCH_POSTAL_CODE] = {normal_postal_code, is_any_value_met, read_postal_codes},
    [SEARCH_COUNTRY] = {normal_text, is_any_value_met, read_countries},
    [SEARCH_ADDRESS] = {normal_text, is_any_value_met, read_any_address},
    [SEARCH_TELECOM] = {fold_telecom, is_any_value_met, read_telecoms},
    [SEARCH_MOTHERS_MAIDEN_NAME] = {normal_text, is_any_value_met, read_mothers_maiden_names},
    [SEARCH_ACCOUNT] = {as_it_is, is_account_met, NULL},
};

static bool is_any_value_met(Record *record, const Criterion *criterion)
{
    SearchField field = criterion->term->field;
    Values *values = &record->values[field];
    if (!values->is_read) {
        field_kinds[field].read(record, values);
        values->is_read = true;
    }
    for (size_t i = 0; i < values->count; i++) {
        if (is_text_met(criterion, values->items[i].original, values->items[i].folded)) {
            return true;
        }
    }
    return false;
}

/* ---- groups ---- */

/** @return false: nothing could ever meet the term */
static bool prepare(Arena *arena, const SearchTerm *term, Criterion *ret_criterion)
{
    FoldFn fold = field_kinds[term->field].fold;
    Criterion criterion = {.term = term};
    criterion.folded = term->match == SEARCH_PATTERN ? fold_pattern(arena, term->text, fold)
                                                     : fold(arena, term->text);
    *ret_criterion = criterion;
    if (term->field == SEARCH_PERSON) {
        return str_to_i64(term->text, &ret_criterion->person);
    }
    bool is_any =
        term->field == SEARCH_BIRTH_DATE || (term->field == SEARCH_IDENTIFIER && term->authority);
    return is_any || !str_is_empty(criterion.folded);
}

void criteria_make(Arena *arena, const PatientSearch *search, Criteria *ret_criteria)
{
    Criteria criteria = {
        .groups = ARENA_ARRAY(arena, CriterionGroup, search->group_count),
        .count = search->group_count,
    };
    for (size_t i = 0; i < criteria.count; i++) {
        const SearchGroup *asked = &search->groups[i];
        CriterionGroup *group = &criteria.groups[i];
        group->alternatives = ARENA_ARRAY(arena, Criterion, asked->count);
        for (size_t k = 0; k < asked->count; k++) {
            Criterion *next = &group->alternatives[group->count];
            group->count += prepare(arena, &asked->alternatives[k], next);
        }
        criteria.is_hopeless |= group->count == 0;
    }
    *ret_criteria = criteria;
}

static bool is_group_met(Record *record, const CriterionGroup *group)
{
    for (size_t i = 0; i < group->count; i++) {
        const Criterion *criterion = &group->alternatives[i];
        if (field_kinds[criterion->term->field].is_met(record, criterion)) {
            return true;
        }
    }
    return false;
}

bool criteria_are_met(Arena *arena, const Criteria *criteria, const Authorities *authorities,
                      const FoundPatient *patient)
{
    Record record = {.arena = arena, .authorities = authorities, .patient = patient};
    for (size_t i = 0; i < criteria->count; i++) {
        if (!is_group_met(&record, &criteria->groups[i])) {
            return false;
        }
    }
    return true;
}
