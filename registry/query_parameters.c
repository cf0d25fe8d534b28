#include "registry/query_parameters.h"

#include <stdlib.h>

#include "lib/base/dtm.h"
#include "lib/base/oid.h"
#include "lib/ebrim/vocabulary.h"
#include "registry/query_run.h"

/* ---- queries.def ---- */

#define CONCATENATE(a, b) a##b
#define ROW_OF_LINE(line) CONCATENATE(ROW_, line)

/* Position of every row in parameters[]; a QUERY row takes one place, the end of the list before.
 */
enum {
#define QUERY(id, name, run, patients) ROW_##name,
#define PARAM(name, need, how_many, form, object, attribute) ROW_OF_LINE(__LINE__),
#include "registry/queries.def"
};

#define END_OF_PARAMETERS                                                                          \
    {                                                                                              \
        .name = { NULL, 0 }                                                                        \
    }

static const QueryParameter parameters[] = {
#define QUERY(id, title, run, patients) END_OF_PARAMETERS,
#define PARAM(name, need, how_many, form, object, attribute)                                       \
    {STR_INIT(name), NEED_##need, MANY_##how_many, FORM_##form, FIELD_##object##_##attribute},
#include "registry/queries.def"
    END_OF_PARAMETERS,
};

static const Query queries[] = {
#define QUERY(id, name, run, patients)                                                             \
    {STR_INIT(id), STR_INIT(#name), query_run_##run, QUERY_##patients, &parameters[ROW_##name + 1]},
#include "registry/queries.def"
};

const Query *query_find(Str id)
{
    Str trimmed = str_trim(id);
    for (size_t i = 0; i < ARRAY_LEN(queries); i++) {
        if (str_equal_ci(queries[i].id, trimmed)) {
            return &queries[i];
        }
    }
    return NULL;
}

/* ---- literals ---- */

/** Bytes of a value that an error text quotes. */
#define SHOWN_MAX 200

typedef struct Literal {
    Str text; /* quotes removed */
    bool is_quoted;
    struct Literal *next;
} Literal;

/** All Values of one Slot, joined. */
typedef struct SlotValues {
    Literal *first;
    Literal **end;
    size_t count;
    bool is_list; /* every Value had parentheses */
} SlotValues;

/** A Slot being read. */
typedef struct Reader {
    Request *req;
    const QueryParameter *parameter;
    const char *location; /* the Slot's name */
    Str value;            /* the Value that is being read, whole */
    Str rest;             /* of it */
} Reader;

/** What a good Value of this form looks like, for error texts. */
static const char *const form_examples[] = {
    [FORM_PATIENT] = "'ID^^^&OID&ISO'",
    [FORM_STATUS] = ("'" URN_STATUS_APPROVED "'"),
    [FORM_CODE] = "'code^^codingScheme'",
    [FORM_TIME] = "20260401093000",
    [FORM_TEXT] = "'1.2.3'",
    [FORM_PATTERN] = "'%Smith%'",
    [FORM_ENTRY_UUID] = "'urn:uuid:6ae3a0a5-2d2f-4b7c-9d42-3f6f2f1b7c01'",
    [FORM_ENTRY_TYPE] = ("'" UUID_STABLE_DOCUMENT "'"),
    [FORM_ASSOCIATION] = "'urn:ihe:iti:2007:AssociationType:RPLC'",
    [FORM_LEVEL] = "1",
    [FORM_AVAILABILITY] = ("'" URN_AVAILABILITY_ONLINE "'"),
};

static Str example(const Reader *reader)
{
    const QueryParameter *parameter = reader->parameter;
    const char *text = form_examples[parameter->form];
    return parameter->how_many == MANY_ONE ? str_from(text)
                                           : str_printf(reader->req->arena, "(%s)", text);
}

/** As error texts quote it: in quotes, on one line, cut to a readable length. */
static const char *quoted(Arena *arena, Str text)
{
    size_t len = MIN(text.len, SHOWN_MAX);
    while (len < text.len && len > 0 && ((unsigned char)text.data[len] & 0xc0) == 0x80) {
        len--; /* not inside a character */
    }
    char *line = str_cstr(arena, str_slice(text, 0, len));
    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)line[i] < ' ') {
            line[i] = ' ';
        }
    }
    return str_cstr(arena, str_printf(arena, "\"%s%s\"", line, len < text.len ? "..." : ""));
}

/** The Value as far as it is needed to see where it went wrong: in front of rest. */
static Str around(const Reader *reader)
{
    size_t at = reader->value.len - reader->rest.len;
    bool is_short = reader->value.len <= SHOWN_MAX || at <= SHOWN_MAX / 2;
    return is_short ? reader->value : str_from_offset(reader->value, at - SHOWN_MAX / 2);
}

/** Adds a syntax error: which parameter has which value, what is wrong, and what to send instead.
 */
static int syntax_error(const Reader *reader, Str value, const char *problem)
{
    Str like = example(reader);
    return error_add(&reader->req->errors, ERR_XDS_REGISTRY_ERROR, reader->location,
                     "%s is %s: %s; send it like %.*s", reader->location,
                     quoted(reader->req->arena, value), problem, STR_ARG(like));
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static void skip_space(Reader *reader)
{
    while (!str_is_empty(reader->rest) && is_space(reader->rest.data[0])) {
        reader->rest = str_from_offset(reader->rest, 1);
    }
}

static bool take(Reader *reader, char c)
{
    skip_space(reader);
    if (str_is_empty(reader->rest) || reader->rest.data[0] != c) {
        return false;
    }
    reader->rest = str_from_offset(reader->rest, 1);
    return true;
}

static void append_literal(Reader *reader, SlotValues *values, Str text, bool is_quoted)
{
    Literal *literal = ARENA_NEW(reader->req->arena, Literal);
    *literal = (Literal){.text = text, .is_quoted = is_quoted};
    *values->end = literal;
    values->end = &literal->next;
    values->count++;
}

/** The text with every doubled quote made single, in the arena. */
static Str undouble(Arena *arena, Str text, char quote)
{
    char *out = arena_alloc(arena, text.len);
    size_t len = 0;
    for (size_t i = 0; i < text.len; i++) {
        out[len++] = text.data[i];
        if (text.data[i] == quote) {
            i++;
        }
    }
    return (Str){out, len};
}

/** "'" *(any character but "'" / "''") "'"; double quotes are read too, as samples of TF-2 3.18
 * have them. */
static int read_string(Reader *reader, SlotValues *values)
{
    char quote = reader->rest.data[0];
    Str start = reader->rest;
    bool is_doubled = false;
    size_t i = 1;
    for (; i < start.len; i++) {
        if (start.data[i] != quote) {
            continue;
        }
        if (i + 1 == start.len || start.data[i + 1] != quote) {
            break;
        }
        is_doubled = true;
        i++;
    }
    if (i >= start.len) {
        return syntax_error(reader, around(reader), "the closing quote is missing");
    }
    Str text = str_slice(start, 1, i - 1);
    append_literal(reader, values, is_doubled ? undouble(reader->req->arena, text, quote) : text,
                   true);
    reader->rest = str_from_offset(start, i + 1);
    return 0;
}

/** 1*DIGIT */
static int read_number(Reader *reader, SlotValues *values)
{
    Str start = reader->rest;
    size_t len = 0;
    while (len < start.len && start.data[len] >= '0' && start.data[len] <= '9') {
        len++;
    }
    bool is_end = len == start.len || is_space(start.data[len]) || start.data[len] == ',' ||
                  start.data[len] == ')';
    if (len == 0 || !is_end) {
        return syntax_error(reader, around(reader),
                            "a value that is not a number needs single quotes");
    }
    append_literal(reader, values, str_slice(start, 0, len), false);
    reader->rest = str_from_offset(start, len);
    return 0;
}

static int read_literal(Reader *reader, SlotValues *values)
{
    skip_space(reader);
    if (str_is_empty(reader->rest)) {
        return syntax_error(reader, around(reader), "a value is missing");
    }
    char c = reader->rest.data[0];
    return c == '\'' || c == '"' ? read_string(reader, values) : read_number(reader, values);
}

/** @return what is wrong with a list that has a comma or its end where a value should be; NULL: it
 * has not */
static const char *missing_in_list(Reader *reader, bool is_first)
{
    skip_space(reader);
    if (str_is_empty(reader->rest)) {
        return NULL;
    }
    char c = reader->rest.data[0];
    if (c == ',') {
        return is_first ? "a value is missing in front of the first comma"
                        : "a value is missing between two commas";
    }
    if (c == ')') {
        return is_first ? "the list is empty, leave the Slot out or name a value"
                        : "a value is missing behind the last comma";
    }
    return NULL;
}

/** "(" literal *("," literal) ")", behind its first parenthesis */
static int read_list(Reader *reader, SlotValues *values)
{
    for (bool is_first = true;; is_first = false) {
        const char *missing = missing_in_list(reader, is_first);
        if (missing != NULL) {
            return syntax_error(reader, around(reader), missing);
        }
        int r = read_literal(reader, values);
        if (r < 0) {
            return r;
        }
        if (take(reader, ')')) {
            return 0;
        }
        if (!take(reader, ',')) {
            return syntax_error(reader, around(reader),
                                "a comma or the closing parenthesis is missing");
        }
    }
}

/** value = list / literal (TF-2 3.18.4.1.2.3.5) */
static int read_value(Reader *reader, Str text, SlotValues *values)
{
    reader->value = str_trim(text);
    reader->rest = reader->value;
    bool is_list = take(reader, '(');
    int r = is_list ? read_list(reader, values) : read_literal(reader, values);
    if (r < 0) {
        return r;
    }
    skip_space(reader);
    if (!str_is_empty(reader->rest)) {
        return syntax_error(reader, around(reader), "there is text behind the value");
    }
    values->is_list = values->is_list && is_list;
    return 0;
}

/** Several Values of a Slot are one list that was split between values (TF-2 3.18.4.1.2.3.5). */
static int read_slot(Reader *reader, const XmlNode *slot, SlotValues *ret_values)
{
    *ret_values = (SlotValues){.is_list = true};
    ret_values->end = &ret_values->first;
    const XmlNode *list = xml_child(slot, NS_RIM, "ValueList");
    for (const XmlNode *value = xml_child(list, NS_RIM, "Value"); value != NULL;
         value = xml_next(value, NS_RIM, "Value")) {
        int r = read_value(reader, value->text, ret_values);
        if (r < 0) {
            return r;
        }
    }
    if (ret_values->count == 0) {
        return error_add(&reader->req->errors, ERR_XDS_REGISTRY_ERROR, reader->location,
                         "%s has no Value; leave the Slot out or send a Value like %.*s",
                         reader->location, STR_ARG(example(reader)));
    }
    return 0;
}

/** One value where one is asked for, parentheses where a list is. */
static int check_how_many(const Reader *reader, const SlotValues *values, bool is_repeated)
{
    const QueryParameter *parameter = reader->parameter;
    ErrorList *errors = &reader->req->errors;
    Str like = example(reader);
    if (parameter->how_many != MANY_AND_LISTS && is_repeated) {
        const char *reason = parameter->how_many == MANY_ONE
                                 ? "takes one value"
                                 : "repeated Slots (AND) are not defined for it";
        return error_add(errors, ERR_XDS_STORED_QUERY_PARAM_NUMBER, reader->location,
                         "%s is sent in several Slots, but %s; send one Slot with a Value like "
                         "%.*s",
                         reader->location, reason, STR_ARG(like));
    }
    if (parameter->how_many == MANY_ONE && values->count > 1) {
        return error_add(errors, ERR_XDS_STORED_QUERY_PARAM_NUMBER, reader->location,
                         "%s is %s, %zu values, but takes one value; send one Slot with a "
                         "Value like %.*s",
                         reader->location, quoted(reader->req->arena, reader->value), values->count,
                         STR_ARG(like));
    }
    if (parameter->how_many != MANY_ONE && !values->is_list) {
        return syntax_error(reader, reader->value,
                            "a list needs parentheses, also around a single value");
    }
    return 0;
}

/* ---- forms ---- */

bool query_patient_read(Arena *arena, Str text, Str *ret_identifier)
{
    Str components[4] = {{0}};
    Str rest = text;
    size_t count = 0;
    while (count < ARRAY_LEN(components) && str_split_next(&rest, '^', &components[count])) {
        count++;
    }
    Str authority = components[3];
    Str name = STR_EMPTY;
    Str oid = STR_EMPTY;
    Str type = STR_EMPTY;
    bool is_cx = count == 4 && str_is_empty(components[1]) && str_is_empty(components[2]) &&
                 str_split_next(&authority, '&', &name) && str_split_next(&authority, '&', &oid) &&
                 str_split_next(&authority, '&', &type) && str_is_empty(authority);
    if (!is_cx || str_is_empty(components[0]) || !oid_is_valid(oid) ||
        !str_equal(type, STR("ISO"))) {
        return false;
    }
    *ret_identifier = str_printf(arena, "%.*s^^^&%.*s&ISO", STR_ARG(components[0]), STR_ARG(oid));
    return true;
}

static int read_patient(Reader *reader, Str text, Str *ret_identifier)
{
    return query_patient_read(reader->req->arena, text, ret_identifier)
               ? 0
               : syntax_error(reader, text,
                              "this is not an identifier with its assigning authority");
}

/** "code^^codingScheme" (TF-2 3.18.4.1.2.3.4) */
static int read_code(Reader *reader, Str text, Code *ret_code)
{
    Str rest = text;
    Str code = STR_EMPTY;
    Str empty = STR_EMPTY;
    bool is_good = str_split_next(&rest, '^', &code) && str_split_next(&rest, '^', &empty);
    if (!is_good || str_is_empty(code) || !str_is_empty(empty) || str_is_empty(rest) ||
        str_find_char(rest, '^') != SIZE_MAX) {
        return syntax_error(reader, text, "code and codingScheme are both needed");
    }
    *ret_code = (Code){.code = code, .scheme = rest};
    return 0;
}

/** A status that is not known selects nothing (TF-2 3.18.4.1.2.3.6). */
static bool is_status(Str text, int32_t *ret_status)
{
    if (str_equal(text, STR(URN_STATUS_APPROVED))) {
        *ret_status = STATUS_APPROVED;
        return true;
    }
    *ret_status = STATUS_DEPRECATED;
    return str_equal(text, STR(URN_STATUS_DEPRECATED));
}

static bool is_entry_type(Str text, int32_t *ret_type)
{
    *ret_type = str_equal_ci(text, STR(UUID_ON_DEMAND_DOCUMENT)) ? 1 : 0;
    return *ret_type == 1 || str_equal_ci(text, STR(UUID_STABLE_DOCUMENT));
}

static bool is_association_type(Str text, int32_t *ret_type)
{
    *ret_type = (int32_t)association_type_from_urn(text);
    return *ret_type != ASSOCIATION_TYPE_COUNT;
}

static bool is_availability(Str text, int32_t *ret_availability)
{
    *ret_availability = str_equal(text, STR(URN_AVAILABILITY_OFFLINE)) ? 1 : 0;
    return *ret_availability == 1 || str_equal(text, STR(URN_AVAILABILITY_ONLINE));
}

static bool is_metadata_level(Str text, int32_t *ret_level)
{
    *ret_level = str_equal(text, STR("2")) ? METADATA_LEVEL_ALL : METADATA_LEVEL_LATEST;
    return *ret_level == METADATA_LEVEL_ALL || str_equal(text, STR("1"));
}

/** Adds the typed value of a literal. What names nothing that exists (a status, a UUID) is left
 * out. */
static int read_typed(Reader *reader, const Literal *literal, QueryValue *value)
{
    size_t at = value->count;
    bool is_kept = true;
    int r = 0;
    bool is_number = reader->parameter->form == FORM_TIME || reader->parameter->form == FORM_LEVEL;
    if (!literal->is_quoted && !is_number) {
        return syntax_error(reader, literal->text, "a text needs single quotes");
    }
    switch (reader->parameter->form) {
    case FORM_PATIENT:
        r = read_patient(reader, literal->text, &value->texts[at]);
        break;
    case FORM_TEXT:
    case FORM_PATTERN:
        value->texts[at] = literal->text;
        break;
    case FORM_CODE:
        r = read_code(reader, literal->text, &value->codes[at]);
        break;
    case FORM_TIME:
        if (!dtm_parse(literal->text, &value->time_us)) {
            r = syntax_error(reader, literal->text,
                             "this is not a time YYYY[MM[DD[hh[mm[ss]]]]] in UTC");
        }
        break;
    case FORM_STATUS:
        is_kept = is_status(literal->text, &value->numbers[at]);
        break;
    case FORM_ENTRY_TYPE:
        is_kept = is_entry_type(literal->text, &value->numbers[at]);
        break;
    case FORM_ASSOCIATION:
        is_kept = is_association_type(literal->text, &value->numbers[at]);
        break;
    case FORM_AVAILABILITY:
        is_kept = is_availability(literal->text, &value->numbers[at]);
        break;
    case FORM_LEVEL:
        if (!is_metadata_level(literal->text, &value->numbers[at])) {
            r = syntax_error(reader, literal->text, "the metadata level is 1 or 2");
        }
        break;
    case FORM_ENTRY_UUID:
        is_kept = uuid_parse_urn(str_lower(reader->req->arena, literal->text), &value->uuids[at]);
        break;
    }
    value->count += r == 0 && is_kept ? 1 : 0;
    return r;
}

static size_t form_item_bytes(QueryForm form)
{
    switch (form) {
    case FORM_CODE:
        return sizeof(Code);
    case FORM_STATUS:
    case FORM_ENTRY_TYPE:
    case FORM_ASSOCIATION:
    case FORM_LEVEL:
    case FORM_AVAILABILITY:
        return sizeof(int32_t);
    case FORM_ENTRY_UUID:
        return sizeof(Uuid);
    case FORM_TIME:
        return 0;
    case FORM_PATIENT:
    case FORM_TEXT:
    case FORM_PATTERN:
        break;
    }
    return sizeof(Str);
}

/** Room for needed items, growing by doubling, so that many Slots cost no more than their values.
 */
static void *grow(Arena *arena, void *items, size_t used, size_t needed, size_t item_bytes,
                  size_t *capacity)
{
    if (needed <= *capacity) {
        return items;
    }
    *capacity = MAX(needed, 2 * *capacity);
    void *grown = arena_calloc(arena, *capacity, item_bytes);
    if (used > 0) {
        memcpy(grown, items, used * item_bytes);
    }
    return grown;
}

/** Makes room for one more group of count values. */
static void grow_value(Arena *arena, QueryValue *value, size_t count)
{
    size_t item_bytes = form_item_bytes(value->parameter->form);
    if (item_bytes > 0) {
        value->items = grow(arena, value->items, value->count, value->count + count, item_bytes,
                            &value->capacity);
    }
    value->group_ends = grow(arena, value->group_ends, value->group_count, value->group_count + 1,
                             sizeof(*value->group_ends), &value->group_capacity);
}

/** Reads one Slot into its field. */
static void read_parameter(Reader *reader, const XmlNode *slot, QueryValue *value)
{
    SlotValues slot_values;
    bool is_repeated = value->parameter != NULL;
    value->parameter = reader->parameter;
    if (read_slot(reader, slot, &slot_values) < 0 ||
        check_how_many(reader, &slot_values, is_repeated) < 0) {
        return;
    }
    grow_value(reader->req->arena, value, slot_values.count);
    for (const Literal *literal = slot_values.first; literal != NULL; literal = literal->next) {
        (void)read_typed(reader, literal, value); /* goes on: the sender sees all faults at once */
    }
    value->group_ends[value->group_count++] = value->count;
}

/* ---- the request ---- */

#define FIND_DOCUMENTS "for example urn:uuid:14d4debf-8f97-4251-9a74-a90016b0af0d for FindDocuments"
#define FIND_DOCUMENTS_OF_MANY                                                                     \
    "for example urn:uuid:3d1bdb10-39a2-11de-89c2-2f44d94eaa9f for "                               \
    "FindDocumentsForMultiplePatients"

static void read_parameters(Request *req, const XmlNode *adhoc_query, QueryRequest *request)
{
    for (const XmlNode *slot = xml_child(adhoc_query, NS_RIM, "Slot"); slot != NULL;
         slot = xml_next(slot, NS_RIM, "Slot")) {
        Str name = xml_attribute(slot, "name");
        for (const QueryParameter *parameter = request->query->parameters; parameter->name.len > 0;
             parameter++) {
            if (str_equal(parameter->name, name)) {
                Reader reader = {
                    .req = req, .parameter = parameter, .location = parameter->name.data};
                read_parameter(&reader, slot, &request->values[parameter->field]);
                break;
            }
        }
    }
}

/** Whether the message has the parameter, readable or not. A status list of unknown values only
 * counts as absent (3.18.4.1.2.3.6). */
static bool is_given(const QueryRequest *request, const QueryParameter *parameter)
{
    const QueryValue *value = &request->values[parameter->field];
    bool has_no_status =
        parameter->form == FORM_STATUS && value->group_count > 0 && value->count == 0;
    return value->parameter != NULL && !has_no_status;
}

static void check_required(Request *req, const QueryRequest *request)
{
    const QueryParameter *parameter = request->query->parameters;
    for (; parameter->name.len > 0; parameter++) {
        if (parameter->need != NEED_REQUIRED || is_given(request, parameter)) {
            continue;
        }
        bool is_unknown = request->values[parameter->field].parameter != NULL;
        Reader reader = {.req = req, .parameter = parameter};
        Str like = example(&reader);
        error_add(&req->errors, ERR_XDS_STORED_QUERY_MISSING_PARAM, parameter->name.data,
                  "%.*s needs %s, %s; send one Slot of this name with a Value like %.*s",
                  STR_ARG(request->query->name), parameter->name.data,
                  is_unknown ? "and the message names no status that there is"
                             : "which the message does not have",
                  STR_ARG(like));
    }
}

/** "$A and $B", or "$A, $B and $C": the parameters of the query with this need. */
static Str names_of(Arena *arena, const Query *query, QueryNeed need, size_t count)
{
    StrBuf names = {0};
    size_t listed = 0;
    for (const QueryParameter *parameter = query->parameters; parameter->name.len > 0;
         parameter++) {
        if (parameter->need == need) {
            const char *separator = listed + 1 == count ? " and " : ", ";
            strbuf_append(&names, listed == 0 ? STR_EMPTY : str_from(separator));
            strbuf_append(&names, parameter->name);
            listed++;
        }
    }
    Str text = str_dup(arena, strbuf_str(&names));
    strbuf_done(&names);
    return text;
}

/** Alternatives of a query, and which of them the message has. */
typedef struct Alternatives {
    const QueryParameter *first; /* NULL: the query has none */
    const QueryParameter *last_given;
    size_t count;
    size_t given;
} Alternatives;

static Alternatives alternatives_of(const QueryRequest *request, QueryNeed need)
{
    Alternatives found = {0};
    for (const QueryParameter *parameter = request->query->parameters; parameter->name.len > 0;
         parameter++) {
        if (parameter->need == need) {
            found.first = found.first == NULL ? parameter : found.first;
            found.count++;
            if (is_given(request, parameter)) {
                found.last_given = parameter;
                found.given++;
            }
        }
    }
    return found;
}

/** Exactly one of the EITHER parameters (TF-2 3.18.4.1.2.3.7.5 note 1). */
static void check_either(Request *req, const QueryRequest *request)
{
    const Alternatives either = alternatives_of(request, NEED_EITHER);
    if (either.first == NULL || either.given == 1) {
        return;
    }
    Str names = names_of(req->arena, request->query, NEED_EITHER, either.count);
    if (either.given == 0) {
        error_add(&req->errors, ERR_XDS_STORED_QUERY_MISSING_PARAM, either.first->name.data,
                  "%.*s needs exactly one of %.*s; the message has neither: add one as a Slot",
                  STR_ARG(request->query->name), STR_ARG(names));
    } else {
        error_add(&req->errors, ERR_XDS_STORED_QUERY_PARAM_NUMBER, either.last_given->name.data,
                  "%.*s needs exactly one of %.*s; the message has %s",
                  STR_ARG(request->query->name), STR_ARG(names),
                  either.given == 2 ? "both: leave one Slot out" : "all: leave two Slots out");
    }
}

/** At least one of the SOME parameters (TF-2 3.51.4.1.2.1). */
static void check_some(Request *req, const QueryRequest *request)
{
    const Alternatives some = alternatives_of(request, NEED_SOME);
    if (some.first != NULL && some.given == 0) {
        error_add(&req->errors, ERR_XDS_STORED_QUERY_MISSING_PARAM, some.first->name.data,
                  "%.*s needs at least one of %.*s; the message has none: add one as a Slot",
                  STR_ARG(request->query->name),
                  STR_ARG(names_of(req->arena, request->query, NEED_SOME, some.count)));
    }
}

/** A logical id names all versions, which level 1 does not show (XDS Metadata Update
 * 3.18.4.1.2.3.7.5). */
static void check_logical_id(Request *req, const QueryRequest *request)
{
    static const QueryField fields[] = {FIELD_DocumentEntry_lid, FIELD_Folder_lid};
    const QueryValue *level = &request->values[FIELD_RegistryObject_metadata_level];
    bool is_all = level->count > 0 && level->numbers[0] == METADATA_LEVEL_ALL;
    for (size_t i = 0; i < ARRAY_LEN(fields) && !is_all; i++) {
        const QueryParameter *parameter = request->values[fields[i]].parameter;
        if (parameter != NULL) {
            error_add(&req->errors, ERR_XDS_REGISTRY_ERROR, parameter->name.data,
                      "%s names all versions of an object, which only metadata level 2 shows; "
                      "add a Slot $MetadataLevel with the Value 2",
                      parameter->name.data);
        }
    }
}

static void read_return_type(Request *req, const XmlNode *adhoc_query_request,
                             QueryRequest *request)
{
    const XmlNode *option = xml_child(adhoc_query_request, NS_QUERY, "ResponseOption");
    Str type = option == NULL ? STR_EMPTY : xml_attribute(option, "returnType");
    request->is_leaf_class = str_equal(type, STR("LeafClass"));
    if (!request->is_leaf_class && !str_equal(type, STR("ObjectRef"))) {
        error_add(&req->errors, ERR_XDS_REGISTRY_ERROR, "ResponseOption/@returnType",
                  "returnType is %s; send LeafClass or ObjectRef", quoted(req->arena, type));
    }
}

static int read_values(Request *req, const XmlNode *adhoc_query, QueryRequest *request)
{
    read_parameters(req, adhoc_query, request);
    check_required(req, request);
    check_either(req, request);
    check_some(req, request);
    check_logical_id(req, request);
    return error_list_has_errors(&req->errors) ? -(int)req->errors.first->code : 0;
}

int query_values_read(Request *req, const XmlNode *adhoc_query, const Query *query,
                      QueryRequest **ret_request)
{
    QueryRequest *request = ARENA_NEW(req->arena, QueryRequest);
    request->query = query;
    *ret_request = request;
    return read_values(req, adhoc_query, request);
}

/** A query of the other transaction is unknown in this one (TF-2 3.51.4.1.2.1). */
static int find_query(Request *req, Str id, bool is_multi_patient, const Query **ret_query)
{
    const Query *query = query_find(id);
    *ret_query = query;
    if (query == NULL) {
        return error_add(&req->errors, ERR_XDS_UNKNOWN_STORED_QUERY, "AdhocQuery/@id",
                         "there is no stored query %s; send an id of ITI TF-2 %s",
                         quoted(req->arena, id),
                         is_multi_patient ? "3.51.4.1.2.1, " FIND_DOCUMENTS_OF_MANY
                                          : "3.18.4.1.2.4, " FIND_DOCUMENTS);
    }
    if ((query->patients == QUERY_MANY_PATIENTS) == is_multi_patient) {
        return 0;
    }
    return error_add(&req->errors, ERR_XDS_UNKNOWN_STORED_QUERY, "AdhocQuery/@id",
                     "%.*s is no query of this transaction; send it with the action "
                     "urn:ihe:iti:%s",
                     STR_ARG(query->name),
                     is_multi_patient ? "2007:RegistryStoredQuery (ITI-18)"
                                      : "2009:MultiPatientStoredQuery (ITI-51)");
}

int query_request_read(Request *req, const XmlNode *adhoc_query_request, bool is_multi_patient,
                       QueryRequest **ret_request)
{
    QueryRequest *request = ARENA_NEW(req->arena, QueryRequest);
    *ret_request = request;
    read_return_type(req, adhoc_query_request, request);
    const XmlNode *adhoc_query = xml_child(adhoc_query_request, NS_RIM, "AdhocQuery");
    if (adhoc_query == NULL) {
        return error_add(&req->errors, ERR_XDS_REGISTRY_ERROR, "AdhocQuery",
                         "the message has no rim:AdhocQuery; send one with the id of a stored "
                         "query and its parameters as Slots");
    }
    Str id = xml_attribute(adhoc_query, "id");
    int rc = find_query(req, id, is_multi_patient, &request->query);
    if (rc < 0) {
        return rc;
    }
    return read_values(req, adhoc_query, request);
}
