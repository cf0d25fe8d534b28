#include "registry/load.h"

#include "lib/base/macros.h"
#include "lib/base/wildcard.h"
#include "registry/registry_private.h"

/* ---- SQL: fragments of the rows of load.def ---- */

/* The columns that every object has come first; the numbers are those of the enums below. */
#define COMMON_COLUMNS(t)                                                                          \
    t ".entry_uuid, " t ".patient, " t ".source_facility, " t ".status,"                           \
      " CASE WHEN $1::bool THEN " t ".metadata END, " t ".unique_id"
enum { ENTRY_UUID, PATIENT, SOURCE_FACILITY, STATUS, METADATA, UNIQUE_ID, COMMON_COLUMN_COUNT };

#define DOCUMENT_COLUMNS(package)                                                                  \
    COMMON_COLUMNS("d")                                                                            \
    ", d.lid, d.version, d.class_code, d.confidentiality_code,"                                    \
    " COALESCE(d.service_start_time, d.creation_time), d.repository, d.size_bytes, "               \
    "d.hash, " package
#define DOCUMENT_SELECT "SELECT " DOCUMENT_COLUMNS("NULL::uuid") " FROM document_entry d"
#define MEMBER_DOCUMENT_SELECT                                                                     \
    "SELECT " DOCUMENT_COLUMNS("a.source_object") " FROM association a JOIN document_entry d"      \
                                                  " ON d.entry_uuid = a.target_object"
enum {
    DOCUMENT_LID = COMMON_COLUMN_COUNT,
    DOCUMENT_VERSION,
    DOCUMENT_CLASS_CODE,
    DOCUMENT_CONFIDENTIALITY_CODE,
    DOCUMENT_EFFECTIVE_TIME,
    DOCUMENT_REPOSITORY,
    DOCUMENT_SIZE,
    DOCUMENT_HASH,
    DOCUMENT_PACKAGE,
};

#define SUBMISSION_SET_SELECT "SELECT " COMMON_COLUMNS("s") " FROM submission_set s"

#define FOLDER_SELECT                                                                              \
    "SELECT " COMMON_COLUMNS("f") ", f.lid, f.version, f.last_update_time FROM folder f"
enum { FOLDER_LID = COMMON_COLUMN_COUNT, FOLDER_VERSION, FOLDER_LAST_UPDATE_TIME };

#define ASSOCIATION_SELECT                                                                         \
    "SELECT a.entry_uuid, a.source_object, a.target_object, a.type, a.source_kind, a.target_kind," \
    " a.status, a.submission_set_status, CASE WHEN $1::bool THEN a.metadata END FROM association " \
    "a"
enum {
    ASSOCIATION_ENTRY_UUID,
    ASSOCIATION_SOURCE,
    ASSOCIATION_TARGET,
    ASSOCIATION_TYPE,
    ASSOCIATION_SOURCE_KIND,
    ASSOCIATION_TARGET_KIND,
    ASSOCIATION_STATUS,
    ASSOCIATION_SUBMISSION_SET_STATUS,
    ASSOCIATION_METADATA,
};

/* The index is on hashtext(); ARRAY() makes its values a constant of the scan. */
#define UNIQUE_ID_IN(t)                                                                            \
    "hashtext(" t ".unique_id) = ANY (ARRAY(SELECT hashtext(u) FROM unnest($2::text[]) u))"        \
    " AND " t ".unique_id = ANY ($2::text[])"

/* What has a time in this span, or none: as the filters of creationTime, and for the index alone.
 */
#define CREATED_WITHIN(from, to)                                                                   \
    " AND (d.creation_time IS NULL OR (d.creation_time >= COALESCE($" from                         \
    "::timestamptz, '-infinity') AND d.creation_time < COALESCE($" to                              \
    "::timestamptz, 'infinity')))"

/* $2 is bound, and empty. */
#define NO_KEYS(t) " AND " t ".patient <> ALL ($2::bigint[])"

/* An absent parameter has no effect (TF-2 3.18.4.1.2.3.7). */
#define IN_NUMBERS(column, n) " AND ($" n "::int[] IS NULL OR " column " = ANY ($" n "::int[]))"
#define IN_NUMBERS_OR_APPROVED(column, n) " AND " column " = ANY (COALESCE($" n "::int[], '{0}'))"
#define LATEST(condition, n) " AND ((" condition ") OR $" n "::int[] = '{2}')"
#define LATEST_OF_PATIENT(t, n)                                                                    \
    " AND ($" n "::int[] = '{2}' OR (" t ".document_availability IS NULL AND (" t ".is_latest"     \
    " OR ($" n "::int[] = '{1}' AND NOT EXISTS"                                                    \
    " (SELECT FROM document_entry later WHERE later.lid = COALESCE(" t ".lid, " t ".entry_uuid)"   \
    " AND later.version > " t ".version AND later.patient = ANY ($2::bigint[]))))))"
/* The first version has none: it is its own. */
#define LID_IN(t)                                                                                  \
    "(" t ".lid = ANY ($2::uuid[]) OR (" t ".entry_uuid = ANY ($2::uuid[]) AND " t ".lid IS "      \
    "NULL))"
#define IN_TEXTS(column, n) " AND ($" n "::text[] IS NULL OR " column " = ANY ($" n "::text[]))"
/* $n: one array literal per list. A row without codes is in no list, hence IS NOT TRUE. */
#define IN_EACH_LIST(column, n)                                                                    \
    " AND ($" n "::text[] IS NULL OR NOT EXISTS (SELECT FROM unnest($" n "::text[]) l"             \
    " WHERE (" column " && l::int[]) IS NOT TRUE))"
/* The patterns have no escape character (3.18.4.1.2.3.5). */
#define LIKE_EACH_LIST(column, n)                                                                  \
    " AND ($" n "::text[] IS NULL OR NOT EXISTS (SELECT FROM unnest($" n "::text[]) l"             \
    " WHERE NOT EXISTS (SELECT FROM unnest(" column ") v, unnest(l::text[]) p"                     \
    " WHERE v LIKE p ESCAPE '')))"
#define NOT_BEFORE(is_exempt, column, n)                                                           \
    " AND ($" n "::timestamptz IS NULL OR " is_exempt " OR " column " >= $" n "::timestamptz)"
#define BEFORE(is_exempt, column, n)                                                               \
    " AND ($" n "::timestamptz IS NULL OR " is_exempt " OR " column " < $" n "::timestamptz)"

typedef enum KeyType { KEY_PATIENTS, KEY_UUIDS, KEY_UNIQUE_IDS, KEY_NONE } KeyType;

_Static_assert(ASSOCIATION_UPDATE_AVAILABILITY_STATUS == 7, "literal of load.def");
_Static_assert(ASSOCIATION_IS_SNAPSHOT_OF == 6, "literal of load.def");

#define MAX_FILTERS 21

/** A filter that no parameter of a query makes: which facilities' objects could show at all. */
enum { FIELD_Access_source_facility = QUERY_FIELD_COUNT, LOAD_FIELD_COUNT };

typedef struct LoadStatement {
    ObjectKind kind;
    KeyType key;
    DbStatement statement;
    int fields[MAX_FILTERS]; /* $3 and up; ends with LOAD_FIELD_COUNT */
} LoadStatement;

#define SQL_OF_FILTER(sql, field) sql
#define FIELD_OF_FILTER(sql, field) FIELD_##field,

static const LoadStatement statements[LOAD_KIND_COUNT] = {
#define LOAD(name, sql_name, object, key, select, filters)                                         \
    [LOAD_##name] = {object,                                                                       \
                     key,                                                                          \
                     {sql_name, select filters(SQL_OF_FILTER)},                                    \
                     {filters(FIELD_OF_FILTER) LOAD_FIELD_COUNT}},
#include "registry/load.def"
};

/* ---- filters ---- */

typedef enum FilterType { FILTER_NONE, FILTER_NUMBERS, FILTER_TEXTS, FILTER_TIME } FilterType;

typedef struct Filter {
    FilterType type;
    size_t count;
    union {
        const int32_t *numbers;
        const Str *texts;
        int64_t time_us;
    };
} Filter;

struct LoadFilters {
    RenderDictionaries *dictionaries;
    bool asks_for_nothing; /* also a load of no keys is sent */
    Filter fields[LOAD_FIELD_COUNT];
};

/** An empty list matches nothing; so does 0 for a code that the registry does not hold. */
static Filter numbers_filter(const int32_t *numbers, size_t count)
{
    return (Filter){.type = FILTER_NUMBERS, .count = count, .numbers = numbers};
}

static Filter texts_filter(const Str *texts, size_t count)
{
    return (Filter){.type = FILTER_TEXTS, .count = count, .texts = texts};
}

/** Appends a text as an element of an array literal. */
static void append_quoted(StrBuf *buf, Str text)
{
    strbuf_append_char(buf, '"');
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] == '"' || text.data[i] == '\\') {
            strbuf_append_char(buf, '\\');
        }
        strbuf_append_char(buf, text.data[i]);
    }
    strbuf_append_char(buf, '"');
}

/** Each group as an array literal, {1,2} or {"a","b"}. */
static Filter groups_filter(Arena *arena, const QueryValue *value, const int32_t *numbers)
{
    Str *literals = ARENA_ARRAY(arena, Str, value->group_count);
    StrBuf buf = {0};
    size_t at = 0;
    for (size_t group = 0; group < value->group_count; group++) {
        strbuf_clear(&buf);
        strbuf_append_char(&buf, '{');
        for (size_t first = at; at < value->group_ends[group]; at++) {
            if (at > first) {
                strbuf_append_char(&buf, ',');
            }
            if (numbers != NULL) {
                strbuf_printf(&buf, "%d", (int)numbers[at]);
            } else {
                append_quoted(&buf, value->texts[at]);
            }
        }
        strbuf_append_char(&buf, '}');
        literals[group] = str_dup(arena, strbuf_str(&buf));
    }
    strbuf_done(&buf);
    return texts_filter(literals, value->group_count);
}

/** @param code_ids  of FORM_CODE values */
static Filter make_filter(Arena *arena, const QueryValue *value, const int32_t *code_ids)
{
    bool is_conjunction = value->parameter->how_many == MANY_AND_LISTS;
    switch (value->parameter->form) {
    case FORM_CODE:
        return is_conjunction ? groups_filter(arena, value, code_ids)
                              : numbers_filter(code_ids, value->count);
    case FORM_PATTERN:
    case FORM_TEXT:
        return is_conjunction ? groups_filter(arena, value, NULL)
                              : texts_filter(value->texts, value->count);
    case FORM_STATUS:
    case FORM_ENTRY_TYPE:
    case FORM_ASSOCIATION:
    case FORM_LEVEL:
    case FORM_AVAILABILITY:
        return numbers_filter(value->numbers, value->count);
    case FORM_TIME:
        return (Filter){.type = FILTER_TIME, .time_us = value->time_us};
    case FORM_PATIENT:
    case FORM_ENTRY_UUID:
        break;
    }
    return (Filter){.type = FILTER_NONE}; /* a key, not a filter */
}

static bool is_code_value(const QueryValue *value)
{
    return value->parameter != NULL && value->parameter->form == FORM_CODE;
}

/** The codes of all parameters in the order of fields, looked up together. */
static int look_codes_up(CodeTable *table, Request *req, DbConn *conn, const QueryRequest *request,
                         const int32_t **ret_ids)
{
    size_t count = 0;
    for (size_t i = 0; i < QUERY_FIELD_COUNT; i++) {
        count += is_code_value(&request->values[i]) ? request->values[i].count : 0;
    }
    int32_t *ids = ARENA_ARRAY(req->arena, int32_t, count);
    *ret_ids = ids;
    if (count == 0) {
        return 0;
    }
    Code *codes = ARENA_ARRAY(req->arena, Code, count);
    size_t at = 0;
    for (size_t i = 0; i < QUERY_FIELD_COUNT; i++) {
        const QueryValue *value = &request->values[i];
        if (is_code_value(value) && value->count > 0) {
            memcpy(codes + at, value->codes, value->count * sizeof(Code));
            at += value->count;
        }
    }
    return code_table_lookup(table, req, conn, codes, count, ids);
}

/** Where the query has $XDSDocumentEntryType and the message does not: Stable entries
 * (3.18.4.1.2.3.6.2). */
static void set_default_entry_type(const Query *query, LoadFilters *filters)
{
    static const int32_t stable[] = {0};
    for (const QueryParameter *p = query->parameters; p->name.len > 0; p++) {
        if (p->form == FORM_ENTRY_TYPE && filters->fields[p->field].type == FILTER_NONE) {
            filters->fields[p->field] = numbers_filter(stable, ARRAY_LEN(stable));
        }
    }
}

int load_filters_new(const Registry *registry, Request *req, DbConn *conn,
                     const QueryRequest *request, LoadFilters **ret_filters)
{
    const int32_t *code_ids;
    int r = look_codes_up(registry->codes, req, conn, request, &code_ids);
    if (r < 0) {
        return r;
    }
    LoadFilters *filters = ARENA_NEW(req->arena, LoadFilters);
    filters->dictionaries = registry->dictionaries;
    filters->asks_for_nothing = access_has_rules(req);
    for (size_t i = 0; i < QUERY_FIELD_COUNT; i++) {
        const QueryValue *value = &request->values[i];
        if (value->parameter != NULL) {
            filters->fields[i] = make_filter(req->arena, value, code_ids);
            code_ids += is_code_value(value) ? value->count : 0;
        }
    }
    set_default_entry_type(request->query, filters);
    *ret_filters = filters;
    return 0;
}

const LoadFilters *load_filters_none(const Registry *registry, Request *req)
{
    LoadFilters *filters = ARENA_NEW(req->arena, LoadFilters);
    filters->dictionaries = registry->dictionaries;
    filters->asks_for_nothing = access_has_rules(req);
    return filters;
}

void load_filters_limit(LoadFilters *filters, const int32_t *facilities, size_t count)
{
    filters->fields[FIELD_Access_source_facility] = numbers_filter(facilities, count);
}

static void bind_filter(DbParams *params, const Filter *filter)
{
    switch (filter->type) {
    case FILTER_NONE:
        db_param_null(params);
        break;
    case FILTER_NUMBERS:
        db_param_i32_array(params, filter->numbers, filter->count);
        break;
    case FILTER_TEXTS:
        db_param_text_array(params, filter->texts, filter->count);
        break;
    case FILTER_TIME:
        db_param_timestamp(params, filter->time_us);
        break;
    }
}

static void bind_keys(DbParams *params, KeyType type, const LoadKeys *keys)
{
    switch (type) {
    case KEY_PATIENTS:
        db_param_i64_array(params, keys->patients, keys->count);
        break;
    case KEY_NONE:
        db_param_i64_array(params, NULL, 0);
        break;
    case KEY_UUIDS:
        db_param_uuid_array(params, keys->uuids, keys->count);
        break;
    case KEY_UNIQUE_IDS:
        db_param_text_array(params, keys->unique_ids, keys->count);
        break;
    }
}

/* ---- what no column holds ---- */

/** Patterns of which an intendedRecipient must match one; NULL: no such parameter. */
static const Filter *recipient_filter(ObjectKind kind, const LoadFilters *filters)
{
    const Filter *filter = &filters->fields[FIELD_SubmissionSet_intended_recipient];
    return kind == OBJECT_SUBMISSION_SET && filter->type == FILTER_TEXTS ? filter : NULL;
}

/** Patterns of which an authorPerson must match one; NULL: no such parameter. */
static const Filter *author_filter(ObjectKind kind, const LoadFilters *filters)
{
    const Filter *filter = NULL;
    if (kind == OBJECT_DOCUMENT_ENTRY) {
        filter = &filters->fields[FIELD_DocumentEntry_author_person];
    } else if (kind == OBJECT_SUBMISSION_SET) {
        filter = &filters->fields[FIELD_SubmissionSet_author_person];
    }
    return filter != NULL && filter->type == FILTER_TEXTS ? filter : NULL;
}

/** LIKE of what is no column (authorPerson: 200 bytes for each document): rows that pass the SQL
 * are looked into. */
static bool is_text_wanted(void *ctx, Str text)
{
    const Filter *patterns = ctx;
    for (size_t i = 0; i < patterns->count; i++) {
        if (wildcard_matches(patterns->texts[i], text, '%', '_')) {
            return true;
        }
    }
    return false;
}

/* ---- rows ---- */

typedef struct Stream {
    ObjectKind kind;
    RenderDictionaries *dictionaries;
    const Filter *authors;    /* NULL: any */
    const Filter *recipients; /* NULL: any */
    LoadFn object;
    void *ctx;
    Arena *arena; /* for one row */
} Stream;

/** @return 1 the object has an author and a recipient as asked for, 0 it has not, negative
 * ErrorCode
 */
static int has_wanted_texts(Request *req, const Stream *stream, const LoadedObject *object)
{
    int r = 1;
    if (stream->authors != NULL) {
        Filter wanted = *stream->authors;
        r = rendered_find_author_person(stream->dictionaries, object->kind, object->metadata,
                                        is_text_wanted, &wanted);
    }
    if (r > 0 && stream->recipients != NULL) {
        Filter wanted = *stream->recipients;
        r = rendered_find_slot_value(stream->dictionaries, object->metadata,
                                     STR("intendedRecipient"), is_text_wanted, &wanted);
    }
    return r >= 0 ? r
                  : error_add(&req->errors, ERR_XDS_REGISTRY_ERROR, NULL,
                              "stored metadata cannot be read; the operator of the registry has to "
                              "repair it");
}

static void read_common(const DbResult *row, LoadedObject *object)
{
    object->entry_uuid = db_uuid(row, 0, ENTRY_UUID);
    object->lid = object->entry_uuid;
    object->version = 1;
    object->patient = db_i64(row, 0, PATIENT);
    object->unique_id = db_text(row, 0, UNIQUE_ID);
    object->metadata = db_text(row, 0, METADATA);
    object->access = (AccessObject){.source_facility = db_i32(row, 0, SOURCE_FACILITY),
                                    .status = db_i16(row, 0, STATUS),
                                    .effective_us = INT64_MIN};
}

static void read_version(const DbResult *row, int lid_column, int version_column,
                         LoadedObject *object)
{
    if (!db_is_null(row, 0, lid_column)) {
        object->lid = db_uuid(row, 0, lid_column);
    }
    object->version = db_i32(row, 0, version_column);
}

static void read_document(const DbResult *row, Arena *arena, LoadedObject *object)
{
    int32_t *codes;
    read_common(row, object);
    read_version(row, DOCUMENT_LID, DOCUMENT_VERSION, object);
    object->access.class_code = db_i32(row, 0, DOCUMENT_CLASS_CODE);
    object->access.confidentiality_count =
        db_i32_array(row, 0, DOCUMENT_CONFIDENTIALITY_CODE, arena, &codes);
    object->access.confidentiality_codes = codes;
    if (!db_is_null(row, 0, DOCUMENT_EFFECTIVE_TIME)) {
        object->access.effective_us = db_timestamp(row, 0, DOCUMENT_EFFECTIVE_TIME);
    }
    object->repository = db_i32(row, 0, DOCUMENT_REPOSITORY);
    object->size_bytes = db_is_null(row, 0, DOCUMENT_SIZE) ? -1 : db_i64(row, 0, DOCUMENT_SIZE);
    object->hash = db_text(row, 0, DOCUMENT_HASH);
    if (!db_is_null(row, 0, DOCUMENT_PACKAGE)) {
        object->package = db_uuid(row, 0, DOCUMENT_PACKAGE);
    }
}

static void read_folder(const DbResult *row, LoadedObject *object)
{
    read_common(row, object);
    read_version(row, FOLDER_LID, FOLDER_VERSION, object);
    object->last_update_us = db_timestamp(row, 0, FOLDER_LAST_UPDATE_TIME);
}

static void read_association(const DbResult *row, LoadedObject *object)
{
    object->entry_uuid = db_uuid(row, 0, ASSOCIATION_ENTRY_UUID);
    object->lid = object->entry_uuid;
    object->version = 1;
    object->source = db_uuid(row, 0, ASSOCIATION_SOURCE);
    object->target = db_uuid(row, 0, ASSOCIATION_TARGET);
    object->association_type = (AssociationType)db_i32(row, 0, ASSOCIATION_TYPE);
    object->source_kind = (ObjectKind)db_i32(row, 0, ASSOCIATION_SOURCE_KIND);
    object->target_kind = (ObjectKind)db_i32(row, 0, ASSOCIATION_TARGET_KIND);
    object->access.status = db_i16(row, 0, ASSOCIATION_STATUS);
    object->submission_set_status = db_i16(row, 0, ASSOCIATION_SUBMISSION_SET_STATUS);
    object->metadata = db_text(row, 0, ASSOCIATION_METADATA);
}

static int read_row(void *ctx, Request *req, const DbResult *row)
{
    Stream *stream = ctx;
    LoadedObject object = {.kind = stream->kind, .size_bytes = -1};
    arena_clear(stream->arena);
    switch (stream->kind) {
    case OBJECT_DOCUMENT_ENTRY:
        read_document(row, stream->arena, &object);
        break;
    case OBJECT_SUBMISSION_SET:
        read_common(row, &object);
        break;
    case OBJECT_FOLDER:
        read_folder(row, &object);
        break;
    case OBJECT_ASSOCIATION:
        read_association(row, &object);
        break;
    }
    int wanted = has_wanted_texts(req, stream, &object);
    return wanted > 0 ? stream->object(stream->ctx, req, &object) : wanted;
}

bool load_kind_is_of_packages(LoadKind kind)
{
    return statements[kind].kind == OBJECT_SUBMISSION_SET || statements[kind].kind == OBJECT_FOLDER;
}

int load_objects(DbConn *conn, Request *req, LoadKind kind, const LoadKeys *keys,
                 const LoadFilters *filters, bool with_metadata, LoadFn object, void *ctx)
{
    const LoadStatement *load = &statements[kind];
    if (load->key != KEY_NONE && keys->count == 0 && !filters->asks_for_nothing) {
        return 0;
    }
    const Filter *authors = author_filter(load->kind, filters);
    const Filter *recipients = recipient_filter(load->kind, filters);
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_bool(&params, with_metadata || authors != NULL || recipients != NULL);
    bind_keys(&params, load->key, keys);
    for (const int *field = load->fields; *field != LOAD_FIELD_COUNT; field++) {
        bind_filter(&params, &filters->fields[*field]);
    }
    _cleanup_(arena_freep) Arena *row_arena = arena_new();
    Stream stream = {.kind = load->kind,
                     .dictionaries = filters->dictionaries,
                     .authors = authors,
                     .recipients = recipients,
                     .object = object,
                     .ctx = ctx,
                     .arena = row_arena};
    return db_stream(conn, req, &load->statement, &params, read_row, &stream);
}
