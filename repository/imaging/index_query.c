/* Queries of the index (PS3.4 C.4.1, PS3.18 10.6): candidates page by page, then rules and keys on
 * each. */

#include <string.h>

#include "repository/imaging/index.h"
#include "repository/imaging/person_set.h"
#include "repository/imaging/query_match.h"
#include "repository/imaging/study_copies.h"

typedef enum QueryAttribute {
#define QUERY_ATTRIBUTE(name, level, tag, vr, matching, column) ATTRIBUTE_##name,
#include "repository/imaging/query_attributes.def"
#undef QUERY_ATTRIBUTE
    ATTRIBUTE_COUNT
} QueryAttribute;

static const struct {
    uint32_t tag;
    ImagingLevel level;
    DicomVr vr;
    QueryMatching matching;
} attributes[] = {
#define QUERY_ATTRIBUTE(name, level, tag, vr, matching, column)                                    \
    {tag, IMAGING_##level, DICOM_VR_##vr, MATCHING_##matching},
#include "repository/imaging/query_attributes.def"
#undef QUERY_ATTRIBUTE
};

/** Studies that are looked at at a time. */
static const size_t page_sizes[] = {
    [IMAGING_PATIENT] = 200,
    [IMAGING_STUDY] = 200,
    [IMAGING_SERIES] = 50,
    [IMAGING_INSTANCE] = 1,
};

/* ---- statements ---- */

#define PASSED_OVER(column)
#define TAKEN(column) ", " column

/* Which rows of imaging_study can match, by the key that leaves the fewest: $1 values of the key.
 */
#define CANDIDATES(from_where) "SELECT array_agg(DISTINCT s.id ORDER BY s.id) FROM " from_where

typedef enum Candidates {
    BY_INSTANCE,
    BY_SERIES,
    BY_STUDY,
    BY_PERSON,
    BY_ACCESSION,
    BY_DATE,
    BY_NOTHING,
} Candidates;

static const DbStatement select_candidates[] = {
    [BY_INSTANCE] = {"imaging_query_instance",
                     CANDIDATES("imaging_instance i JOIN imaging_study s ON s.id = i.study "
                                "WHERE i.sop_instance = ANY ($1::text[])")},
    [BY_SERIES] = {"imaging_query_series",
                   CANDIDATES("imaging_series r JOIN imaging_study s ON s.id = r.study "
                              "WHERE r.series_uid = ANY ($1::text[])")},
    [BY_STUDY] = {"imaging_query_study",
                  CANDIDATES("imaging_study s WHERE s.study_uid = ANY ($1::text[])")},
    [BY_PERSON] = {"imaging_query_person",
                   CANDIDATES("patient_identifier n JOIN imaging_study s "
                              "ON s.authority = n.authority AND s.patient_number = n.value "
                              "WHERE n.person = ($1::text[])[1]::bigint")},
    [BY_ACCESSION] = {"imaging_query_accession",
                      CANDIDATES("imaging_study s WHERE s.accession_number = ($1::text[])[1] "
                                 "AND s.accession_number <> ''")},
    [BY_DATE] = {"imaging_query_date",
                 CANDIDATES("imaging_study s WHERE s.study_date BETWEEN ($1::text[])[1] "
                            "AND ($1::text[])[2]")},
    [BY_NOTHING] = {"imaging_query_all", CANDIDATES("imaging_study s WHERE $1::text[] IS NULL")},
};

static const DbStatement select_studies = {
    "imaging_query_rows",
    "SELECT " STUDY_COPY_COLUMNS ", EXISTS (SELECT FROM imaging_study o "
    "WHERE o.study_uid = s.study_uid AND o.id <> s.id)"
#define COLUMN_PATIENT TAKEN
#define COLUMN_STUDY TAKEN
#define COLUMN_SERIES PASSED_OVER
#define COLUMN_INSTANCE PASSED_OVER
#define QUERY_ATTRIBUTE(name, level, tag, vr, matching, column) COLUMN_##level(column)
#include "repository/imaging/query_attributes.def"
#undef QUERY_ATTRIBUTE
#undef COLUMN_PATIENT
#undef COLUMN_STUDY
#undef COLUMN_SERIES
#undef COLUMN_INSTANCE
    " FROM unnest($1::bigint[]) WITH ORDINALITY w (id, at) JOIN imaging_study s ON s.id = "
    "w.id" STUDY_COPY_JOINS
    "LEFT JOIN LATERAL (SELECT p.value, p.authority FROM patient_identifier p "
    "WHERE p.person = i.person AND p.authority = ANY ($2::integer[]) AND p.survivor IS NULL "
    "ORDER BY array_position($2::integer[], p.authority), p.id LIMIT 1) own ON true "
    "LEFT JOIN assigning_authority issuer ON issuer.id = coalesce(own.authority, s.authority) "
    "ORDER BY w.at",
};

/* Of series with something to give out. */
#define INSTANCES_OF_SERIES                                                                        \
    " JOIN LATERAL (SELECT count(*) instances FROM imaging_instance i WHERE i.series = r.id "      \
    "AND i.variant = 0 AND i.rejected = '') k ON k.instances > 0 "

static const DbStatement select_counts = {
    "imaging_query_counts",
    "SELECT count(r.id)::text, coalesce(sum(k.instances), 0)::text, "
    "coalesce(string_agg(DISTINCT nullif(r.modality, ''), '\\'), ''), "
    "CASE WHEN $2::boolean THEN coalesce((SELECT string_agg(DISTINCT i.sop_class, '\\') "
    "FROM imaging_instance i WHERE i.study = w.id AND i.variant = 0 AND i.rejected = ''), '') "
    "ELSE '' END "
    "FROM unnest($1::bigint[]) WITH ORDINALITY w (id, at) "
    "LEFT JOIN (imaging_series r" INSTANCES_OF_SERIES ") ON r.study = w.id "
    "GROUP BY w.at, w.id ORDER BY w.at",
};

#define FROM_SERIES                                                                                \
    " FROM unnest($1::bigint[]) WITH ORDINALITY w (id, at) "                                       \
    "JOIN imaging_series r ON r.study = w.id" INSTANCES_OF_SERIES
#define OF_SERIES "WHERE ($2::text[] IS NULL OR r.series_uid = ANY ($2::text[])) "

static const DbStatement select_series = {
    "imaging_query_series_rows",
    "SELECT w.at"
#define COLUMN_PATIENT PASSED_OVER
#define COLUMN_STUDY PASSED_OVER
#define COLUMN_SERIES TAKEN
#define COLUMN_INSTANCE PASSED_OVER
#define QUERY_ATTRIBUTE(name, level, tag, vr, matching, column) COLUMN_##level(column)
#include "repository/imaging/query_attributes.def"
#undef QUERY_ATTRIBUTE
#undef COLUMN_INSTANCE
    FROM_SERIES OF_SERIES "AND $3::text[] IS NULL ORDER BY w.at, r.position, r.series_uid",
};

static const DbStatement select_instances = {
    "imaging_query_instance_rows",
    "SELECT w.at"
#define COLUMN_INSTANCE TAKEN
#define QUERY_ATTRIBUTE(name, level, tag, vr, matching, column) COLUMN_##level(column)
#include "repository/imaging/query_attributes.def"
#undef QUERY_ATTRIBUTE
#undef COLUMN_PATIENT
#undef COLUMN_STUDY
#undef COLUMN_SERIES
#undef COLUMN_INSTANCE
    FROM_SERIES
    "JOIN imaging_instance i ON i.series = r.id AND i.variant = 0 AND i.rejected = '' " OF_SERIES
    "AND ($3::text[] IS NULL OR i.sop_instance = ANY ($3::text[])) "
    "ORDER BY w.at, r.position, r.series_uid, i.position, i.sop_instance",
};

static const DbStatement select_person = {
    "imaging_query_patient",
    "SELECT p.authority, p.person FROM patient_identifier p "
    "WHERE p.value = $2::text AND p.authority = ANY ($1::integer[]) "
    "ORDER BY array_position($1::integer[], p.authority)",
};

/* ---- the query ---- */

/** A person that nobody is: what nobody has takes as long to find as what may not be known. */
#define NOBODY INT64_C(-1)

/** One row of what is found. */
typedef struct Found {
    StudyCopy copy;
    bool has_copies; /* other rows of the same study */
    Str values[ATTRIBUTE_COUNT];
} Found;

typedef struct Running {
    Imaging *imaging;
    Request *req;
    const ImagingQuery *query;
    const Ae *ae;
    Str keys[ATTRIBUTE_COUNT]; /* data NULL: not asked for */
    int32_t *own;              /* authorities of the reader */
    size_t own_count;
    int64_t person; /* whom PatientID names; NOBODY: an unknown number; 0: it names none */
    Str patient_id; /* as it was named, without issuer */
    Str patient_issuer;
    Candidates candidates;
    const Str *candidate_values;
    size_t candidate_count;
    int64_t *studies; /* rows that can match */
    size_t study_count;
    size_t next_study;
    PersonSet persons;     /* that were given, for level PATIENT */
    uint64_t passed_count; /* of query->offset */
    uint64_t given_count;
    bool is_over;
    Arena *match_arena;
    ImagingMatchFn match;
    void *ctx;
} Running;

static bool has_key(const Running *running, QueryAttribute attribute)
{
    return !str_is_empty(running->keys[attribute]);
}

static QueryAttribute find_attribute(uint32_t tag)
{
    size_t at = 0;
    while (at < ATTRIBUTE_COUNT && attributes[at].tag != tag) {
        at++;
    }
    return (QueryAttribute)at;
}

size_t index_unsupported_keys(const ImagingQuery *query)
{
    size_t count = 0;
    for (size_t i = 0; i < query->key_count; i++) {
        QueryAttribute attribute = find_attribute(query->keys[i].tag);
        bool is_known = attribute != ATTRIBUTE_COUNT && attributes[attribute].level <= query->level;
        count += !is_known || (attributes[attribute].matching == MATCHING_NONE &&
                               !str_is_empty(query->keys[i].value));
    }
    return count;
}

static void read_keys(Running *running)
{
    const ImagingQuery *query = running->query;
    for (size_t i = 0; i < query->key_count; i++) {
        QueryAttribute attribute = find_attribute(query->keys[i].tag);
        if (attribute != ATTRIBUTE_COUNT && attributes[attribute].level <= query->level) {
            Str value = str_trim(query->keys[i].value);
            bool is_universal = str_equal(value, STR("*"));
            running->keys[attribute] = is_universal || !value.data ? STR_EMPTY : value;
        }
    }
}

/** Values of a list of UIDs. */
static size_t split_list(Arena *arena, Str list, Str **ret_values)
{
    Str item;
    size_t count = 1;
    for (size_t i = 0; i < list.len; i++) {
        count += list.data[i] == '\\';
    }
    Str *values = ARENA_ARRAY(arena, Str, count);
    count = 0;
    while (str_split_next(&list, '\\', &item)) {
        values[count++] = str_trim(item);
    }
    *ret_values = values;
    return count;
}

/* ---- whom it names ---- */

/** A number may be written as CX, "123^^^NAMESPACE&OID&ISO". */
static void split_cx(Str *number, Str *ret_name, Str *ret_oid)
{
    size_t at = str_find(*number, STR("^^^"));
    if (at == SIZE_MAX) {
        return;
    }
    Str rest = str_from_offset(*number, at + 3);
    Str item;
    *number = str_slice(*number, 0, at);
    if (str_split_next(&rest, '&', &item)) {
        *ret_name = item;
    }
    if (str_split_next(&rest, '&', &item)) {
        *ret_oid = item;
    }
}

/** The domains in which a number is looked for, one after the other. @return how many */
static size_t domains_of(Running *running, Str name, Str oid, int32_t **ret_domains)
{
    Arena *arena = running->req->arena;
    AeDirectory *aes = running->imaging->aes;
    int32_t *domains = ARENA_ARRAY(arena, int32_t, running->own_count + 1);
    size_t count = 0;
    if (!str_is_empty(name) || !str_is_empty(oid)) {
        const ImagingAuthority *issuer = ae_directory_issuer(aes, arena, name, oid);
        if (issuer) {
            domains[count++] = issuer->id;
        }
    } else {
        for (size_t i = 0; i < running->own_count; i++) {
            domains[count++] = running->own[i];
        }
        domains[count++] = ae_directory_affinity_domain(aes);
    }
    *ret_domains = domains;
    return count;
}

/** The person whom the reader's own domain knows by the number, else its other domains, which must
 * agree, else the affinity domain. */
static int64_t choose_person(const Running *running, const DbResult *rows)
{
    const int32_t affinity_domain = ae_directory_affinity_domain(running->imaging->aes);
    const int32_t first = db_rows(rows) > 0 ? db_i32(rows, 0, 0) : 0;
    const bool is_certain = running->ae->authority == first;
    for (int i = 1; i < db_rows(rows) && !is_certain; i++) {
        if (db_i32(rows, i, 0) != affinity_domain && db_i64(rows, i, 1) != db_i64(rows, 0, 1)) {
            return NOBODY;
        }
    }
    return db_rows(rows) > 0 ? db_i64(rows, 0, 1) : NOBODY;
}

static int resolve_person(Running *running)
{
    Request *req = running->req;
    Str number = running->keys[ATTRIBUTE_PATIENT_ID];
    Str name = running->keys[ATTRIBUTE_PATIENT_ID_ISSUER];
    Str oid = STR_EMPTY;
    int32_t *domains;
    DbParams params;
    DbResult *rows;
    split_cx(&number, &name, &oid);
    if (str_is_empty(number) || query_is_wildcard(number)) {
        return 0;
    }
    size_t count = domains_of(running, name, oid, &domains);
    db_params_init(&params, req->arena);
    db_param_i32_array(&params, domains, count);
    db_param_text(&params, number);
    _cleanup_(db_releasep) DbConn *conn = NULL;
    int rc = db_acquire(running->imaging->config.pool, req, &conn);
    rc = rc < 0 ? rc : db_exec(conn, req, &select_person, &params, &rows);
    if (rc < 0) {
        return rc;
    }
    running->person = choose_person(running, rows);
    running->patient_id = number;
    if (running->person != NOBODY) {
        const ImagingAuthority *authority =
            ae_directory_authority(running->imaging->aes, req->arena, db_i32(rows, 0, 0));
        running->patient_issuer = !authority                      ? STR_EMPTY
                                  : str_is_empty(authority->name) ? authority->oid
                                                                  : authority->name;
    }
    return 0;
}

/** By the key that leaves the fewest studies to look at. */
static void choose_candidates(Running *running)
{
    static const struct {
        QueryAttribute attribute;
        Candidates candidates;
    } lists[] = {
        {ATTRIBUTE_SOP_INSTANCE, BY_INSTANCE},
        {ATTRIBUTE_SERIES_UID, BY_SERIES},
        {ATTRIBUTE_STUDY_UID, BY_STUDY},
        {ATTRIBUTE_ACCESSION_NUMBER, BY_ACCESSION},
    };
    Arena *arena = running->req->arena;
    Str *values = ARENA_ARRAY(arena, Str, 2);
    running->candidates = BY_NOTHING;
    if (running->person) {
        running->candidates = BY_PERSON;
        values[0] = str_printf(arena, "%lld", (long long)running->person);
        running->candidate_count = 1;
    } else if (query_date_range(arena, running->keys[ATTRIBUTE_STUDY_DATE], &values[0],
                                &values[1])) {
        running->candidates = BY_DATE;
        running->candidate_count = 2;
    }
    for (size_t i = ARRAY_LEN(lists); i > 0; i--) {
        Str key = running->keys[lists[i - 1].attribute];
        bool is_better =
            running->candidates != BY_PERSON || lists[i - 1].candidates != BY_ACCESSION;
        if (!str_is_empty(key) && !query_is_wildcard(key) && is_better) {
            running->candidates = lists[i - 1].candidates;
            running->candidate_count = split_list(arena, key, &values);
        }
    }
    running->candidate_values = values;
}

static int find_candidates(Running *running)
{
    Request *req = running->req;
    DbParams params;
    DbResult *rows;
    db_params_init(&params, req->arena);
    if (running->candidates == BY_NOTHING) {
        db_param_null(&params);
    } else {
        db_param_text_array(&params, running->candidate_values, running->candidate_count);
    }
    _cleanup_(db_releasep) DbConn *conn = NULL;
    int rc = db_acquire(running->imaging->config.pool, req, &conn);
    rc = rc < 0 ? rc : db_exec(conn, req, &select_candidates[running->candidates], &params, &rows);
    if (rc == 0) {
        running->study_count = db_i64_array(rows, 0, 0, req->arena, &running->studies);
    }
    return rc;
}

/* ---- a page of studies ---- */

typedef struct Page {
    Request req; /* passing: see access_passing() */
    Found *found;
    size_t count;
} Page;

/** Columns of the levels from first to last, in the order of query_attributes.def. */
static void read_values(const DbResult *rows, int row, int column, ImagingLevel first,
                        ImagingLevel last, Str *values)
{
    for (size_t i = 0; i < ATTRIBUTE_COUNT; i++) {
        if (attributes[i].level >= first && attributes[i].level <= last) {
            values[i] = db_text(rows, row, column++);
        }
    }
}

static int read_studies(Running *running, Page *page, DbConn *conn)
{
    size_t count =
        MIN(running->study_count - running->next_study, page_sizes[running->query->level]);
    DbParams params;
    DbResult *rows;
    db_params_init(&params, page->req.arena);
    db_param_i64_array(&params, running->studies + running->next_study, count);
    db_param_i32_array(&params, running->own, running->own_count);
    running->next_study += count;
    int rc = db_exec(conn, &page->req, &select_studies, &params, &rows);
    if (rc < 0) {
        return rc;
    }
    page->count = (size_t)db_rows(rows);
    page->found = ARENA_ARRAY(page->req.arena, Found, page->count);
    for (size_t i = 0; i < page->count; i++) {
        Found *found = &page->found[i];
        found->copy = study_copy_read(rows, (int)i);
        found->has_copies = db_bool(rows, (int)i, STUDY_COPY_COLUMN_COUNT);
        read_values(rows, (int)i, STUDY_COPY_COLUMN_COUNT + 1, IMAGING_PATIENT, IMAGING_STUDY,
                    found->values);
    }
    return 0;
}

static int decide_studies(Running *running, Page *page)
{
    StudyCopy *copies = ARENA_ARRAY(page->req.arena, StudyCopy, page->count);
    for (size_t i = 0; i < page->count; i++) {
        copies[i] = page->found[i].copy;
    }
    int rc = study_copies_decide(running->imaging, &page->req, copies, page->count, ACCESS_LIST);
    for (size_t i = 0; i < page->count && rc == 0; i++) {
        page->found[i].copy.is_permitted = copies[i].is_permitted;
    }
    return rc;
}

/** Whether a row stands for its study: copies of other persons keep it back, and of several of one
 * person the first that the reader may have is given. */
static int stands_alone(Running *running, Page *page, DbConn *conn, const Found *found,
                        bool *ret_stands)
{
    StudyCopy *copies;
    size_t count;
    int rc =
        study_copies_find(&page->req, conn, STUDY_BY_UID, found->copy.study_uid, &copies, &count);
    rc =
        rc < 0 ? rc : study_copies_decide(running->imaging, &page->req, copies, count, ACCESS_LIST);
    if (rc < 0) {
        return rc;
    }
    int64_t first = found->copy.study;
    for (size_t i = 0; i < count; i++) {
        if (copies[i].is_permitted && copies[i].study < first) {
            first = copies[i].study;
        }
    }
    *ret_stands = first == found->copy.study && !study_copies_conflict(copies, count);
    return 0;
}

static bool matches_person(const Running *running, Arena *arena, const Found *found)
{
    Str key = running->keys[ATTRIBUTE_PATIENT_ID];
    if (running->person) {
        return found->copy.person == running->person;
    }
    return str_is_empty(key) ||
           query_matches(arena, MATCHING_TEXT, false, key, found->values[ATTRIBUTE_PATIENT_ID]);
}

/** Keys of the levels from first to last. */
static bool matches_keys(const Running *running, Arena *arena, const Str *values,
                         ImagingLevel first, ImagingLevel last)
{
    for (size_t i = 0; i < ATTRIBUTE_COUNT; i++) {
        bool is_here = attributes[i].level >= first && attributes[i].level <= last;
        bool is_counted = i == ATTRIBUTE_MODALITIES || i == ATTRIBUTE_SOP_CLASSES;
        if (is_here && !is_counted && has_key(running, (QueryAttribute)i) &&
            !query_matches(arena, attributes[i].matching, running->query->is_fuzzy,
                           running->keys[i], values[i])) {
            return false;
        }
    }
    return true;
}

/** Leaves those that the reader may have, and that match. */
static int choose_studies(Running *running, Page *page, DbConn *conn)
{
    size_t count = 0;
    for (size_t i = 0; i < page->count; i++) {
        const Found *found = &page->found[i];
        bool stands =
            found->copy.is_permitted && matches_person(running, page->req.arena, found) &&
            matches_keys(running, page->req.arena, found->values, IMAGING_PATIENT, IMAGING_STUDY);
        int rc =
            stands && found->has_copies ? stands_alone(running, page, conn, found, &stands) : 0;
        if (rc < 0) {
            return rc;
        }
        if (stands) {
            page->found[count++] = *found;
        }
    }
    page->count = count;
    return 0;
}

static bool matches_counted(const Running *running, Arena *arena, const Found *found)
{
    static const QueryAttribute counted[] = {ATTRIBUTE_MODALITIES, ATTRIBUTE_SOP_CLASSES};
    for (size_t i = 0; i < ARRAY_LEN(counted); i++) {
        if (has_key(running, counted[i]) &&
            !query_matches(arena, MATCHING_LIST, false, running->keys[counted[i]],
                           found->values[counted[i]])) {
            return false;
        }
    }
    return true;
}

static int64_t *study_ids(const Page *page)
{
    int64_t *ids = ARENA_ARRAY(page->req.arena, int64_t, page->count);
    for (size_t i = 0; i < page->count; i++) {
        ids[i] = page->found[i].copy.study;
    }
    return ids;
}

/** What is counted; studies of which nothing is given out are left out. */
static int count_studies(Running *running, Page *page, DbConn *conn)
{
    DbParams params;
    DbResult *rows;
    db_params_init(&params, page->req.arena);
    db_param_i64_array(&params, study_ids(page), page->count);
    db_param_bool(&params, running->keys[ATTRIBUTE_SOP_CLASSES].data != NULL);
    int rc = db_exec(conn, &page->req, &select_counts, &params, &rows);
    if (rc < 0) {
        return rc;
    }
    size_t count = 0;
    for (size_t i = 0; i < page->count; i++) {
        Found *found = &page->found[i];
        found->values[ATTRIBUTE_STUDY_SERIES] = db_text(rows, (int)i, 0);
        found->values[ATTRIBUTE_STUDY_INSTANCES] = db_text(rows, (int)i, 1);
        found->values[ATTRIBUTE_MODALITIES] = db_text(rows, (int)i, 2);
        found->values[ATTRIBUTE_SOP_CLASSES] = db_text(rows, (int)i, 3);
        if (!str_equal(found->values[ATTRIBUTE_STUDY_SERIES], STR("0")) &&
            matches_counted(running, page->req.arena, found)) {
            page->found[count++] = *found;
        }
    }
    page->count = count;
    return 0;
}

static void bind_list(const Running *running, DbParams *params, QueryAttribute attribute)
{
    Str *values;
    if (has_key(running, attribute)) {
        size_t count = split_list(params->arena, running->keys[attribute], &values);
        db_param_text_array(params, values, count);
    } else {
        db_param_null(params);
    }
}

/** Rows below the studies of the page; NULL at levels that have none. */
static int read_below(Running *running, Page *page, DbConn *conn, DbResult **ret_rows)
{
    DbParams params;
    if (running->query->level < IMAGING_SERIES) {
        *ret_rows = NULL;
        return 0;
    }
    db_params_init(&params, page->req.arena);
    db_param_i64_array(&params, study_ids(page), page->count);
    bind_list(running, &params, ATTRIBUTE_SERIES_UID);
    bind_list(running, &params, ATTRIBUTE_SOP_INSTANCE);
    return db_exec(conn, &page->req,
                   running->query->level == IMAGING_SERIES ? &select_series : &select_instances,
                   &params, ret_rows);
}

/* ---- matches ---- */

static Str retrieve_url(const Running *running, Arena *arena, const Str *values)
{
    const char *base = running->imaging->config.public_url;
    Str url = str_printf(arena, "%s/studies/%.*s", base, STR_ARG(values[ATTRIBUTE_STUDY_UID]));
    if (running->query->level >= IMAGING_SERIES) {
        url = str_printf(arena, "%.*s/series/%.*s", STR_ARG(url),
                         STR_ARG(values[ATTRIBUTE_SERIES_UID]));
    }
    if (running->query->level >= IMAGING_INSTANCE) {
        url = str_printf(arena, "%.*s/instances/%.*s", STR_ARG(url),
                         STR_ARG(values[ATTRIBUTE_SOP_INSTANCE]));
    }
    return base[0] ? url : STR_EMPTY;
}

static void put_value(Arena *arena, DicomDataset *dataset, QueryAttribute attribute, Str value)
{
    uint64_t number;
    if (attributes[attribute].vr == DICOM_VR_US && str_to_u64(value, &number)) {
        dicom_put_us(arena, dataset, attributes[attribute].tag, (uint16_t)number);
    } else {
        dicom_put(arena, dataset, attributes[attribute].tag, attributes[attribute].vr, value);
    }
}

static DicomDataset *make_match(const Running *running, Str *values)
{
    Arena *arena = running->match_arena;
    DicomDataset *dataset = dicom_dataset_new(arena);
    if (running->person) {
        values[ATTRIBUTE_PATIENT_ID] = running->patient_id;
        values[ATTRIBUTE_PATIENT_ID_ISSUER] = running->patient_issuer;
    }
    values[ATTRIBUTE_RETRIEVE_AE_TITLE] = str_from(running->imaging->config.ae_title);
    values[ATTRIBUTE_AVAILABILITY] = STR("ONLINE");
    values[ATTRIBUTE_RETRIEVE_URL] = retrieve_url(running, arena, values);
    for (size_t i = 0; i < ATTRIBUTE_COUNT; i++) {
        if (running->keys[i].data && attributes[i].level <= running->query->level) {
            put_value(arena, dataset, (QueryAttribute)i, values[i]);
        }
    }
    return dataset;
}

/** @return 0 to go on, or negative */
static int give(Running *running, const Str *found_values)
{
    Str values[ATTRIBUTE_COUNT];
    if (running->passed_count < running->query->offset) {
        running->passed_count++;
        return 0;
    }
    memcpy(values, found_values, sizeof(values));
    arena_clear(running->match_arena);
    int rc = running->match(running->ctx, running->match_arena, make_match(running, values));
    running->given_count++;
    running->is_over =
        rc != 0 || (running->query->limit && running->given_count >= running->query->limit);
    return MIN(rc, 0);
}

static int give_below(Running *running, Page *page, const DbResult *rows)
{
    const ImagingLevel level = running->query->level;
    int rc = 0;
    for (int i = 0; i < db_rows(rows) && rc == 0 && !running->is_over; i++) {
        Found *found = &page->found[db_i64(rows, i, 0) - 1];
        read_values(rows, i, 1, IMAGING_SERIES, level, found->values);
        if (matches_keys(running, page->req.arena, found->values, IMAGING_SERIES, level)) {
            rc = give(running, found->values);
        }
    }
    return rc;
}

static int give_page(Running *running, Page *page, const DbResult *below)
{
    int rc = 0;
    if (below) {
        return give_below(running, page, below);
    }
    for (size_t i = 0; i < page->count && rc == 0 && !running->is_over; i++) {
        const Found *found = &page->found[i];
        if (running->query->level == IMAGING_STUDY ||
            person_set_add(&running->persons, found->copy.person)) {
            rc = give(running, found->values);
        }
    }
    return rc;
}

/** All that needs the database; the connection is given back before anything is handed on. */
static int read_page(Running *running, Page *page, DbResult **ret_below)
{
    _cleanup_(db_releasep) DbConn *conn = NULL;
    int rc = db_acquire(running->imaging->config.pool, &page->req, &conn);
    rc = rc < 0 ? rc : read_studies(running, page, conn);
    rc = rc < 0 ? rc : decide_studies(running, page);
    rc = rc < 0 ? rc : choose_studies(running, page, conn);
    rc = rc < 0 ? rc : count_studies(running, page, conn);
    return rc < 0 ? rc : read_below(running, page, conn, ret_below);
}

/** At least one page: of nothing, if nothing can match. */
static int run_pages(Running *running)
{
    _cleanup_(arena_freep) Arena *arena = arena_new();
    int rc = 0;
    while (rc == 0 && !running->is_over) {
        Page page = {.req = access_passing(running->req, arena)};
        DbResult *below = NULL;
        rc = read_page(running, &page, &below);
        access_passed(running->req, &page.req);
        rc = rc < 0 ? rc : give_page(running, &page, below);
        running->is_over = running->is_over || running->next_study == running->study_count;
        arena_clear(arena);
    }
    return rc;
}

int index_query(Imaging *imaging, Request *req, const ImagingQuery *query, ImagingMatchFn match,
                void *ctx)
{
    Running running = {.imaging = imaging,
                       .req = req,
                       .query = query,
                       .match_arena = arena_new(),
                       .match = match,
                       .ctx = ctx};
    running.ae =
        query->ae ? query->ae : ae_directory_of_node(imaging->aes, req->arena, req->principal);
    read_keys(&running);
    running.own_count = ae_directory_own(imaging->aes, req->arena, running.ae, &running.own);
    int rc = resolve_person(&running);
    choose_candidates(&running);
    rc = rc < 0 ? rc : find_candidates(&running);
    rc = rc < 0 ? rc : run_pages(&running);
    person_set_done(&running.persons);
    arena_free(running.match_arena);
    return rc;
}
