#include "pix/iti47_search_v3.h"

#include "lib/hl7/v3_person.h"
#include "pix/pix_state.h"

/** Parts of one value: a name or an address has fewer. */
#define TERMS_MAX 8
/** Values of one parameter. */
#define VALUES_MAX 16
/** Groups of the whole search; alternatives of several parts multiply. */
#define GROUPS_MAX 64

/** What one value asks for: all of it. Nothing: any patient will do. */
typedef struct Conjunction {
    SearchTerm terms[TERMS_MAX];
    size_t count;
} Conjunction;

/** What one parameter asks for: one of its values. */
typedef struct Alternatives {
    Conjunction items[VALUES_MAX];
    size_t count;
} Alternatives;

typedef struct Reader {
    Pix *pix;
    Request *req;
    const Authorities *authorities;
    PdqQuestion *question;
    SearchGroup *groups;
} Reader;

/** Adds what one value asks for. */
typedef int (*ReadValueFn)(Reader *reader, const XmlNode *value, Alternatives *alternatives);

/* ---- values ---- */

static Conjunction *add_conjunction(Alternatives *alternatives)
{
    return &alternatives->items[alternatives->count++];
}

static bool is_search(const XmlNode *value)
{
    return str_has_word(xml_attribute(value, "use"), STR("SRCH"));
}

/** An asterisk stands for any run of characters; alone it asks for nothing. */
static void add_text(Conjunction *conjunction, SearchField field, SearchMatch match, Str text)
{
    if (str_is_empty(text) || str_equal(text, STR("*")) || conjunction->count == TERMS_MAX) {
        return;
    }
    bool is_pattern = str_find_char(text, '*') != SIZE_MAX;
    conjunction->terms[conjunction->count++] = (SearchTerm){
        .field = field,
        .match = is_pattern ? SEARCH_PATTERN : match,
        .text = text,
    };
}

static int read_name(Reader *reader, const XmlNode *value, Alternatives *alternatives)
{
    PersonName name = v3_name(reader->req->arena, value);
    SearchMatch match = is_search(value) ? SEARCH_BEGINS : SEARCH_EQUAL;
    Conjunction *conjunction = add_conjunction(alternatives);
    add_text(conjunction, SEARCH_FAMILY, match, name.family);
    add_text(conjunction, SEARCH_GIVEN, match, name.given);
    add_text(conjunction, SEARCH_GIVEN, match, name.further_given);
    return 0;
}

static int read_mothers_name(Reader *reader, const XmlNode *value, Alternatives *alternatives)
{
    PersonName name = v3_name(reader->req->arena, value);
    SearchMatch match = is_search(value) ? SEARCH_BEGINS : SEARCH_EQUAL;
    Conjunction *conjunction = add_conjunction(alternatives);
    add_text(conjunction, SEARCH_MOTHERS_MAIDEN_NAME, match, name.family);
    add_text(conjunction, SEARCH_MOTHERS_MAIDEN_NAME, match, name.given);
    return 0;
}

static int read_gender(Reader *reader, const XmlNode *value, Alternatives *alternatives)
{
    Str sex = v3_sex(value);
    if (str_is_empty(sex)) {
        return error_add(
            &reader->req->errors, ERR_HL7_TABLE_VALUE_NOT_FOUND, v3_path(reader->req->arena, value),
            "gender \"%.*s\" is not known; send M, F or UN", STR_ARG(xml_attribute(value, "code")));
    }
    add_text(add_conjunction(alternatives), SEARCH_SEX, SEARCH_EXACT, sex);
    return 0;
}

/** YYYY, YYYYMM or YYYYMMDD of a TS; empty if it is none. */
static Str date_of(Arena *arena, Str time)
{
    Demographics demographics = {0};
    demographics_set_value(arena, &demographics, DEMOGRAPHIC_birth_time, time);
    return demographics_birth_date(arena, &demographics);
}

static int read_birth_time(Reader *reader, const XmlNode *value, Alternatives *alternatives)
{
    Arena *arena = reader->req->arena;
    Str exact = str_trim(xml_attribute(value, "value"));
    bool is_exact = !str_is_empty(exact);
    Str low = is_exact ? exact : v3_child_attribute(value, "low", "value");
    Str high = is_exact ? exact : v3_child_attribute(value, "high", "value");
    SearchTerm term = {
        .field = SEARCH_BIRTH_DATE,
        .text = date_of(arena, low),
        .high = date_of(arena, high),
    };
    bool is_good = str_is_empty(low) == str_is_empty(term.text) &&
                   str_is_empty(high) == str_is_empty(term.high) &&
                   !(str_is_empty(low) && str_is_empty(high));
    if (!is_good) {
        return error_add(&reader->req->errors, ERR_HL7_DATA_TYPE, v3_path(arena, value),
                         "the birth time is no date; send YYYY, YYYYMM or YYYYMMDD as value, or as "
                         "low and high");
    }
    Conjunction *conjunction = add_conjunction(alternatives);
    conjunction->terms[conjunction->count++] = term;
    return 0;
}

static int read_address(Reader *reader, const XmlNode *value, Alternatives *alternatives)
{
    Address address = v3_address(reader->req->arena, value);
    SearchMatch match = is_search(value) ? SEARCH_BEGINS : SEARCH_EQUAL;
    Conjunction *conjunction = add_conjunction(alternatives);
    if (!value->first_child) {
        add_text(conjunction, SEARCH_ADDRESS, SEARCH_CONTAINS, address.street);
        return 0;
    }
    add_text(conjunction, SEARCH_STREET, match, address.street);
    add_text(conjunction, SEARCH_CITY, match, address.city);
    add_text(conjunction, SEARCH_STATE, match, address.state);
    add_text(conjunction, SEARCH_POSTAL_CODE, match, address.postal_code);
    add_text(conjunction, SEARCH_COUNTRY, match, address.country);
    return 0;
}

static int read_telecom(Reader *reader, const XmlNode *value, Alternatives *alternatives)
{
    Telecom telecom = v3_telecom(reader->req->arena, value);
    add_text(add_conjunction(alternatives), SEARCH_TELECOM, SEARCH_EQUAL,
             str_is_empty(telecom.number) ? telecom.email : telecom.number);
    return 0;
}

/** An identifier of a domain that is not known is one that nobody has. */
static int read_identifier(Reader *reader, const XmlNode *value, Alternatives *alternatives)
{
    V3Id id = v3_id(value);
    const AssigningAuthority *authority = authorities_by_oid(reader->authorities, id.root);
    if (authority) {
        Conjunction *conjunction = add_conjunction(alternatives);
        conjunction->terms[conjunction->count++] = (SearchTerm){
            .field = SEARCH_IDENTIFIER,
            .match = SEARCH_EXACT,
            .text = id.extension,
            .authority = authority,
        };
    }
    return 0;
}

/* ---- parameters ---- */

/** Parameters that are looked at (ITI TF-2 Table 3.47.4.1.2-1). */
static const struct {
    const char *name;
    ReadValueFn read;
} parameters[] = {
    {"livingSubjectAdministrativeGender", read_gender},
    {"livingSubjectBirthTime", read_birth_time},
    {"livingSubjectId", read_identifier},
    {"livingSubjectName", read_name},
    {"mothersMaidenName", read_mothers_name},
    {"patientAddress", read_address},
    {"patientTelecom", read_telecom},
};

/** The groups that say the same as the alternatives: one part of each of them (distribution). None
 * if one of them is met by everybody. */
static int add_groups(Reader *reader, const XmlNode *parameter, const Alternatives *alternatives)
{
    PdqQuestion *question = reader->question;
    Arena *arena = reader->req->arena;
    size_t count = 1;
    for (size_t i = 0; i < alternatives->count && count <= GROUPS_MAX; i++) {
        count *= alternatives->items[i].count;
    }
    if (question->search.group_count + count > GROUPS_MAX) {
        return error_add(&reader->req->errors, ERR_HL7_DATA_TYPE, v3_path(arena, parameter),
                         "the parameter has too many values; send fewer alternatives in one query");
    }
    for (size_t number = 0; number < count; number++) {
        SearchTerm *terms = ARENA_ARRAY(arena, SearchTerm, alternatives->count);
        size_t rest = number;
        for (size_t i = 0; i < alternatives->count; i++) {
            const Conjunction *conjunction = &alternatives->items[i];
            terms[i] = conjunction->terms[rest % conjunction->count];
            rest /= conjunction->count;
        }
        reader->groups[question->search.group_count++] =
            (SearchGroup){.alternatives = terms, .count = alternatives->count};
    }
    return 0;
}

static int read_values(Reader *reader, const XmlNode *parameter, ReadValueFn read)
{
    Alternatives *alternatives = ARENA_NEW(reader->req->arena, Alternatives);
    for (const XmlNode *value = v3_child(parameter, "value"); value;
         value = v3_next(value, "value")) {
        if (alternatives->count == VALUES_MAX) {
            return error_add(
                &reader->req->errors, ERR_HL7_DATA_TYPE, v3_path(reader->req->arena, value),
                "more than %d values; send fewer alternatives in one query", VALUES_MAX);
        }
        int rc = read(reader, value, alternatives);
        if (rc) {
            return rc;
        }
    }
    if (alternatives->count == 0) {
        reader->question->matches_nothing = true;
        return 0;
    }
    return add_groups(reader, parameter, alternatives);
}

/** Domains whose identifiers are wanted; every unknown one is told (case 3). */
static void read_domains(Reader *reader, const XmlNode *list)
{
    static const char name[] = "otherIDsScopingOrganization";
    Request *req = reader->req;
    PdqQuestion *question = reader->question;
    size_t number = 1;
    for (const XmlNode *node = v3_child(list, name); node; node = v3_next(node, name), number++) {
        Str root = v3_id(v3_child(node, "value")).root;
        const AssigningAuthority *authority = authorities_by_oid(reader->authorities, root);
        Str path =
            str_printf(req->arena, "%s/%s[%zu]/value", v3_path(req->arena, list), name, number);
        if (!authority) {
            error_add(&req->errors, ERR_HL7_UNKNOWN_KEY_IDENTIFIER, path.data,
                      "identifier domain \"%.*s\" is not known here; send the OID of a domain of "
                      "this network",
                      STR_ARG(root));
        } else if (question->domain_count == PDQ_DOMAINS_MAX) {
            error_add(&req->errors, ERR_HL7_DATA_TYPE, path.data,
                      "more than %d domains; send fewer", PDQ_DOMAINS_MAX);
        } else {
            question->domains[question->domain_count++] = authority;
        }
    }
}

static ReadValueFn reader_of(const XmlNode *parameter)
{
    for (size_t i = 0; i < ARRAY_LEN(parameters); i++) {
        if (v3_is(parameter, parameters[i].name)) {
            return parameters[i].read;
        }
    }
    return NULL;
}

static void read_parameters(Reader *reader, const XmlNode *list)
{
    for (const XmlNode *node = list->first_child; node; node = node->next) {
        ReadValueFn read = reader_of(node);
        bool is_no_criterion = v3_is(node, "id") || v3_is(node, "realmCode") ||
                               v3_is(node, "typeId") || v3_is(node, "templateId") ||
                               v3_is(node, "otherIDsScopingOrganization") ||
                               !str_equal(node->ns, STR(NS_HL7_V3));
        if (read) {
            (void)!read_values(reader, node, read);
        } else if (!is_no_criterion) {
            error_add(&reader->req->errors, ERR_HL7_TABLE_VALUE_NOT_FOUND,
                      v3_path(reader->req->arena, node),
                      "parameter %.*s is not supported here; leave it out", STR_ARG(node->name));
        }
    }
}

/* ---- quantities ---- */

static int read_number(Reader *reader, const XmlNode *node, uint64_t most, uint64_t *ret_number)
{
    Str value = str_trim(xml_attribute(node, "value"));
    if (node && (!str_to_u64(value, ret_number) || *ret_number > most)) {
        return error_add(&reader->req->errors, ERR_HL7_DATA_TYPE, v3_path(reader->req->arena, node),
                         "\"%.*s\" is no number from 0 to %llu; send one", STR_ARG(value),
                         (unsigned long long)most);
    }
    return 0;
}

/** initialQuantityCode RD: records. The degree of every match is 100: it meets all criteria. */
static void read_quantities(Reader *reader, const XmlNode *query)
{
    uint64_t degree;
    const XmlNode *code = v3_child(query, "initialQuantityCode");
    if (code && !str_equal(str_trim(xml_attribute(code, "code")), STR("RD"))) {
        error_add(&reader->req->errors, ERR_HL7_TABLE_VALUE_NOT_FOUND,
                  v3_path(reader->req->arena, code),
                  "initialQuantityCode \"%.*s\" is not supported here; send RD",
                  STR_ARG(xml_attribute(code, "code")));
    }
    (void)!read_number(reader, v3_child(query, "initialQuantity"), INT32_MAX,
                       &reader->question->quantity);
    (void)!read_number(reader, v3_at(query, "matchCriterionList/minimumDegreeMatch/value"), 100,
                       &degree);
}

int pdq_v3_read_question(Pix *pix, Request *req, const XmlNode *query, PdqQuestion *ret_question)
{
    *ret_question = (PdqQuestion){0};
    Reader reader = {
        .pix = pix,
        .req = req,
        .authorities = authority_directory_hold(pix->authorities, req->arena),
        .question = ret_question,
        .groups = ARENA_ARRAY(req->arena, SearchGroup, GROUPS_MAX),
    };
    const XmlNode *list = v3_child(query, "parameterList");
    read_quantities(&reader, query);
    read_parameters(&reader, list);
    read_domains(&reader, list);
    ret_question->search.authorities = reader.authorities;
    ret_question->search.groups = reader.groups;
    bool has_criterion = ret_question->search.group_count > 0 || ret_question->matches_nothing;
    if (!error_list_has_errors(&req->errors) && !has_criterion) {
        error_add(&req->errors, ERR_HL7_REQUIRED_FIELD_MISSING, v3_path(req->arena, list),
                  "the query has no criterion; send a name, an identifier, a birth time, a gender, "
                  "an address or a phone");
    }
    return error_list_has_errors(&req->errors) ? -(int)req->errors.first->code : 0;
}
