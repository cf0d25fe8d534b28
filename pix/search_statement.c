#include "pix/matching/normal_form.h"
#include "pix/search_private.h"

/* ---- SQL ---- */

/*
 * Statements are planned once, for any values (lib/db), so their joins are written as LATERAL
 * subqueries with OFFSET 0, which PostgreSQL can only carry out as they stand: from the few rows to
 * an index of the many. LIKE finds no index range in such a plan; ranges are computed here.
 *
 * Where there is no candidate, the next person is one: who may not be known takes as long as who is
 * not there. The criteria leave that person out.
 */
#define CANDIDATES(persons)                                                                        \
    "WITH found AS MATERIALIZED (SELECT DISTINCT person FROM (" persons ") AS named (person)"      \
    "   WHERE person > $1::int8 ORDER BY person LIMIT $2::int8),"                                  \
    " c AS (SELECT person FROM found UNION ALL (SELECT person FROM patient_identifier"             \
    "   WHERE person > $1::int8 AND NOT EXISTS (SELECT FROM found) ORDER BY person LIMIT 1))"      \
    " SELECT c.person, r.updated_at, r.record, i.authorities, i.numbers, i.xad_pid, r.authority"   \
    " FROM c"                                                                                      \
    " LEFT JOIN LATERAL (SELECT array_agg(authority ORDER BY authority, value) AS authorities,"    \
    "                           array_agg(value ORDER BY authority, value) AS numbers,"            \
    "                           max(id) FILTER (WHERE is_xad_pid) AS xad_pid"                      \
    "   FROM patient_identifier"                                                                   \
    "   WHERE person = c.person AND survivor IS NULL AND is_announced OFFSET 0) AS i ON true"      \
    " LEFT JOIN LATERAL (SELECT d.updated_at, d.record, p.authority"                               \
    "   FROM patient_identifier AS p"                                                              \
    "   LEFT JOIN patient_demographics AS d ON d.identifier = p.id"                                \
    "   WHERE p.person = c.person AND p.survivor IS NULL OFFSET 0) AS r ON true"                   \
    " ORDER BY c.person, r.updated_at DESC NULLS LAST"

#define PERSONS_OF(identifiers)                                                                    \
    "SELECT p.person FROM (" identifiers ") AS named (identifier)"                                 \
    " CROSS JOIN LATERAL (SELECT person FROM patient_identifier"                                   \
    "   WHERE id = named.identifier AND survivor IS NULL OFFSET 0) AS p"

/* Identifiers of the rows within one of the ranges whose bounds are two text arrays. */
#define IN_RANGES(table, column, lows, highs)                                                      \
    "SELECT x.identifier FROM unnest(" lows "::text[], " highs "::text[]) AS range (low, high)"    \
    " CROSS JOIN LATERAL (SELECT identifier FROM " table " WHERE " column                          \
    " >= range.low AND " column " < range.high OFFSET 0) AS x"

#define HAS_NAME(column, low, high)                                                                \
    " CROSS JOIN LATERAL (SELECT 1 FROM patient_name WHERE identifier = d.identifier AND " column  \
    " >= " low "::text AND " column " < " high "::text LIMIT 1) AS " column

static const DbStatement by_identifier = {
    "pix_search_identifier",
    CANDIDATES("SELECT p.person FROM unnest($3::int4[], $4::text[]) AS named (authority, value)"
               " CROSS JOIN LATERAL (SELECT person FROM patient_identifier"
               "   WHERE authority = named.authority AND value = named.value"
               "   AND survivor IS NULL AND is_announced OFFSET 0) AS p"),
};

static const DbStatement by_person = {
    "pix_search_person",
    CANDIDATES("SELECT person FROM unnest($3::int8[]) AS asked (person)"),
};

static const DbStatement by_phone = {
    "pix_search_phone",
    CANDIDATES(PERSONS_OF("SELECT identifier FROM patient_demographics"
                          " WHERE phones && $3::text[]")),
};

#define BY_BIRTH_DATE IN_RANGES("patient_demographics", "birth_date", "$3", "$4")
#define BY_FAMILY IN_RANGES("patient_name", "family", "$3", "$4")

static const DbStatement by_birth_date = {
    "pix_search_birth_date",
    CANDIDATES(PERSONS_OF(BY_BIRTH_DATE)),
};

static const DbStatement by_birth_date_and_name = {
    "pix_search_birth_date_and_name",
    CANDIDATES(PERSONS_OF("SELECT d.identifier FROM (" BY_BIRTH_DATE
                          ") AS d" HAS_NAME("family", "$5", "$6") HAS_NAME("given", "$7", "$8"))),
};

static const DbStatement by_family = {
    "pix_search_family",
    CANDIDATES(PERSONS_OF(BY_FAMILY)),
};

static const DbStatement by_given = {
    "pix_search_given",
    CANDIDATES(PERSONS_OF(IN_RANGES("patient_name", "given", "$3", "$4"))),
};

/* Family and given name may be of two names of a record: kanji and kana. */
static const DbStatement by_family_and_given = {
    "pix_search_family_and_given",
    CANDIDATES(PERSONS_OF("(" BY_FAMILY
                          ") INTERSECT (" IN_RANGES("patient_name", "given", "$5", "$6") ")")),
};

static const DbStatement by_walk = {
    "pix_search_walk",
    CANDIDATES("SELECT person FROM patient_identifier"),
};

/* ---- ranges of texts ---- */

/** Behind every text with a prefix: the last code point. */
static const Str last_character = STR_INIT("\xf4\x8f\xbf\xbf");
/** Behind one text and before all that begin with it: no text here has a character before it. */
static const Str first_character = STR_INIT("\x01");

/** low <= text < high, by octets. */
typedef struct TextRange {
    Str low;
    Str high;
} TextRange;

static TextRange all_texts(void)
{
    return (TextRange){STR_EMPTY, last_character};
}

static TextRange range_of(Arena *arena, Str low, Str last, Str behind)
{
    return (TextRange){low, str_printf(arena, "%.*s%.*s", STR_ARG(last), STR_ARG(behind))};
}

static size_t literal_len(Str pattern)
{
    size_t len = 0;
    while (len < pattern.len && pattern.data[len] != '*' && pattern.data[len] != '?') {
        len++;
    }
    return len;
}

/** The range of search keys that can meet a criterion on a text. Of SEARCH_CONTAINS all. */
static TextRange range_of_text(Arena *arena, const Criterion *criterion)
{
    Str folded = criterion->folded;
    SearchMatch match = criterion->term->match;
    bool is_whole = match == SEARCH_EQUAL || match == SEARCH_EXACT;
    if (match == SEARCH_CONTAINS) {
        return all_texts();
    }
    if (match == SEARCH_PATTERN) {
        size_t len = literal_len(folded);
        is_whole = len == folded.len;
        folded = str_slice(folded, 0, len);
    }
    Str key = search_key(folded);
    return range_of(arena, key, key, is_whole ? first_character : last_character);
}

/** Dates that begin with the text are within it. */
static TextRange range_of_dates(Arena *arena, const Criterion *criterion)
{
    return range_of(arena, criterion->term->text, criterion->term->high, last_character);
}

/* ---- which group leaves the fewest persons ---- */

/** What serves a group, best first: of a million persons some 1, 1, 3, 30, 800, 10 000, 15 000
 * at most for a frequent name, ... */
typedef enum Access {
    ACCESS_IDENTIFIER,
    ACCESS_PERSON,
    ACCESS_PHONE,
    ACCESS_DAY,
    ACCESS_MONTH,
    ACCESS_YEAR,
    ACCESS_FAMILY,
    ACCESS_GIVEN,
    ACCESS_FAMILY_PREFIX,
    ACCESS_GIVEN_PREFIX,
    ACCESS_DATES,
    ACCESS_NONE,
} Access;

static size_t common_len(Str a, Str b)
{
    size_t len = 0;
    while (len < a.len && len < b.len && a.data[len] == b.data[len]) {
        len++;
    }
    return len;
}

static Access access_of_dates(const SearchTerm *term)
{
    size_t len = common_len(term->text, term->high);
    if (str_is_empty(term->text) || str_is_empty(term->high)) {
        return ACCESS_NONE;
    }
    return len >= 8 ? ACCESS_DAY : len >= 6 ? ACCESS_MONTH : len >= 4 ? ACCESS_YEAR : ACCESS_DATES;
}

static Access access_of_name(const Criterion *criterion, Access whole, Access prefix)
{
    SearchMatch match = criterion->term->match;
    if (match == SEARCH_EQUAL || match == SEARCH_EXACT) {
        return whole;
    }
    bool has_prefix =
        match == SEARCH_BEGINS || (match == SEARCH_PATTERN && literal_len(criterion->folded) > 0);
    return has_prefix ? prefix : ACCESS_NONE;
}

static Access access_of(const Criterion *criterion)
{
    const SearchTerm *term = criterion->term;
    bool is_whole = term->match == SEARCH_EQUAL || term->match == SEARCH_EXACT;
    if (term->field == SEARCH_IDENTIFIER) {
        return is_whole && !str_is_empty(term->text) ? ACCESS_IDENTIFIER : ACCESS_NONE;
    }
    if (term->field == SEARCH_PERSON) {
        return ACCESS_PERSON;
    }
    if (term->field == SEARCH_TELECOM) {
        bool is_mail = str_find_char(term->text, '@') != SIZE_MAX;
        return is_whole && !is_mail ? ACCESS_PHONE : ACCESS_NONE;
    }
    if (term->field == SEARCH_BIRTH_DATE) {
        return access_of_dates(term);
    }
    if (term->field == SEARCH_FAMILY) {
        return access_of_name(criterion, ACCESS_FAMILY, ACCESS_FAMILY_PREFIX);
    }
    if (term->field == SEARCH_GIVEN) {
        return access_of_name(criterion, ACCESS_GIVEN, ACCESS_GIVEN_PREFIX);
    }
    return ACCESS_NONE;
}

/** A group is as good as its worst alternative, and all must be of one field. */
static Access access_of_group(const CriterionGroup *group)
{
    Access worst = ACCESS_IDENTIFIER;
    for (size_t i = 0; i < group->count; i++) {
        Access access = access_of(&group->alternatives[i]);
        bool is_other = group->alternatives[i].term->field != group->alternatives[0].term->field;
        worst = is_other ? ACCESS_NONE : MAX(worst, access);
        if (worst == ACCESS_NONE) {
            break;
        }
    }
    return worst;
}

static bool is_of_field(const CriterionGroup *group, SearchField field)
{
    return group->alternatives[0].term->field == field;
}

/** The best group, of one field or (SEARCH_FIELD_COUNT) any; NULL if an index serves none. */
static const CriterionGroup *best_group(const Criteria *criteria, SearchField field,
                                        Access *ret_access)
{
    const CriterionGroup *best = NULL;
    *ret_access = ACCESS_NONE;
    for (size_t i = 0; i < criteria->count; i++) {
        const CriterionGroup *group = &criteria->groups[i];
        Access access = access_of_group(group);
        if (access < *ret_access &&
            ((int)field == SEARCH_FIELD_COUNT || is_of_field(group, field))) {
            best = group;
            *ret_access = access;
        }
    }
    return best;
}

static const CriterionGroup *best_of_field(const Criteria *criteria, SearchField field)
{
    Access access;
    return best_group(criteria, field, &access);
}

/* ---- parameters ---- */

typedef TextRange (*RangeFn)(Arena *arena, const Criterion *criterion);

/** Two arrays: the bounds of each alternative. */
static void bind_ranges(DbParams *params, const CriterionGroup *group, RangeFn range_of_criterion)
{
    Str *lows = ARENA_ARRAY(params->arena, Str, group->count);
    Str *highs = ARENA_ARRAY(params->arena, Str, group->count);
    for (size_t i = 0; i < group->count; i++) {
        TextRange range = range_of_criterion(params->arena, &group->alternatives[i]);
        lows[i] = range.low;
        highs[i] = range.high;
    }
    db_param_text_array(params, lows, group->count);
    db_param_text_array(params, highs, group->count);
}

/** Two texts: bounds that hold all alternatives; of no group all texts. */
static void bind_hull(DbParams *params, const CriterionGroup *group)
{
    TextRange hull = all_texts();
    for (size_t i = 0; group && i < group->count; i++) {
        TextRange range = range_of_text(params->arena, &group->alternatives[i]);
        hull.low = i == 0 || str_compare(range.low, hull.low) < 0 ? range.low : hull.low;
        hull.high = i == 0 || str_compare(range.high, hull.high) > 0 ? range.high : hull.high;
    }
    db_param_text(params, hull.low);
    db_param_text(params, hull.high);
}

/** Pairs of authority and value. */
typedef struct Pairs {
    Arena *arena;
    int32_t *authorities;
    Str *values;
    size_t count;
    size_t cap;
} Pairs;

static void add_pair(Pairs *pairs, const AssigningAuthority *authority, Str value)
{
    if (pairs->count == pairs->cap) {
        size_t cap = pairs->cap ? pairs->cap * 2 : 16;
        int32_t *authorities = ARENA_ARRAY(pairs->arena, int32_t, cap);
        Str *values = ARENA_ARRAY(pairs->arena, Str, cap);
        if (pairs->count > 0) {
            memcpy(authorities, pairs->authorities, pairs->count * sizeof(*authorities));
            memcpy(values, pairs->values, pairs->count * sizeof(*values));
        }
        pairs->authorities = authorities;
        pairs->values = values;
        pairs->cap = cap;
    }
    pairs->authorities[pairs->count] = authority->id;
    pairs->values[pairs->count++] = value;
}

/** The identifier itself, and those that it may follow from. */
static void add_identifier(Pairs *pairs, const AssigningAuthority *authority, Str value)
{
    add_pair(pairs, authority, value);
    if (!authority->derive_from) {
        return;
    }
    Str *numbers;
    size_t count = authority_underive(pairs->arena, authority, value, &numbers);
    for (size_t i = 0; i < count; i++) {
        add_pair(pairs, authority->derive_from, numbers[i]);
    }
}

static void bind_identifiers(DbParams *params, const Authorities *authorities,
                             const CriterionGroup *group)
{
    Pairs pairs = {.arena = params->arena};
    for (size_t i = 0; i < group->count; i++) {
        const SearchTerm *term = group->alternatives[i].term;
        for (size_t k = 0; k < authorities->count; k++) {
            const AssigningAuthority *authority = &authorities->items[k];
            if (!term->authority || term->authority->id == authority->id) {
                add_identifier(&pairs, authority, term->text);
            }
        }
    }
    db_param_i32_array(params, pairs.authorities, pairs.count);
    db_param_text_array(params, pairs.values, pairs.count);
}

static void bind_persons(DbParams *params, const CriterionGroup *group)
{
    int64_t *persons = ARENA_ARRAY(params->arena, int64_t, group->count);
    for (size_t i = 0; i < group->count; i++) {
        persons[i] = group->alternatives[i].person;
    }
    db_param_i64_array(params, persons, group->count);
}

static void bind_phones(DbParams *params, const CriterionGroup *group)
{
    Str *phones = ARENA_ARRAY(params->arena, Str, group->count);
    for (size_t i = 0; i < group->count; i++) {
        phones[i] = search_key(group->alternatives[i].folded);
    }
    db_param_text_array(params, phones, group->count);
}

/* ---- statements ---- */

static void choose_by_birth_date(const Criteria *criteria, const CriterionGroup *dates,
                                 SearchStatement *chosen)
{
    const CriterionGroup *families = best_of_field(criteria, SEARCH_FAMILY);
    const CriterionGroup *givens = best_of_field(criteria, SEARCH_GIVEN);
    bool has_name = families || givens;
    chosen->statement = has_name ? &by_birth_date_and_name : &by_birth_date;
    bind_ranges(&chosen->params, dates, range_of_dates);
    if (has_name) {
        bind_hull(&chosen->params, families);
        bind_hull(&chosen->params, givens);
    }
}

static void choose_by_name(const Criteria *criteria, SearchStatement *chosen)
{
    const CriterionGroup *families = best_of_field(criteria, SEARCH_FAMILY);
    const CriterionGroup *givens = best_of_field(criteria, SEARCH_GIVEN);
    chosen->statement = !givens ? &by_family : families ? &by_family_and_given : &by_given;
    if (families) {
        bind_ranges(&chosen->params, families, range_of_text);
    }
    if (givens) {
        bind_ranges(&chosen->params, givens, range_of_text);
    }
}

void search_statement_choose(Arena *arena, const Authorities *authorities, const Criteria *criteria,
                             SearchStatement *ret_statement)
{
    Access access;
    const CriterionGroup *best = best_group(criteria, (SearchField)SEARCH_FIELD_COUNT, &access);
    SearchStatement chosen = {.statement = &by_walk};
    DbParams *params = &chosen.params;
    db_params_init(params, arena);
    switch (access) {
    case ACCESS_IDENTIFIER:
        chosen.statement = &by_identifier;
        bind_identifiers(params, authorities, best);
        break;
    case ACCESS_PERSON:
        chosen.statement = &by_person;
        bind_persons(params, best);
        break;
    case ACCESS_PHONE:
        chosen.statement = &by_phone;
        bind_phones(params, best);
        break;
    case ACCESS_DAY:
    case ACCESS_MONTH:
    case ACCESS_YEAR:
    case ACCESS_DATES:
        choose_by_birth_date(criteria, best, &chosen);
        break;
    case ACCESS_FAMILY:
    case ACCESS_GIVEN:
    case ACCESS_FAMILY_PREFIX:
    case ACCESS_GIVEN_PREFIX:
        choose_by_name(criteria, &chosen);
        break;
    case ACCESS_NONE:
        break;
    }
    *ret_statement = chosen;
}

void search_statement_bind(const SearchStatement *chosen, Arena *arena, int64_t after_person,
                           int64_t persons_max, DbParams *ret_params)
{
    const DbParams *own = &chosen->params;
    db_params_init(ret_params, arena);
    db_param_i64(ret_params, after_person);
    db_param_i64(ret_params, persons_max);
    for (int i = 0; i < own->count; i++) {
        ret_params->values[ret_params->count] = own->values[i];
        ret_params->lengths[ret_params->count++] = own->lengths[i];
    }
}
