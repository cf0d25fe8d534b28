/* Queries of the index (PS3.4 C.4.1, PS3.18 10.6): candidates page by page, then rules and keys on
 * each. */

#include <string.h>

#include "repository/imaging/imaging_state.h"
#include "repository/imaging/person_set.h"
#include "repository/imaging/query_candidates.h"
#include "repository/imaging/query_counts.h"

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

static const DbStatement select_studies = {
    "imaging_query_rows",
    "SELECT " STUDY_COPY_COLUMNS ", EXISTS (SELECT FROM imaging_study o "
    "WHERE o.study_uid = s.study_uid AND o.id <> s.id), coalesce(own.authority, s.authority)"
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
    "w.id" STUDY_PERSON_JOINS "LEFT JOIN LATERAL (SELECT k.value, k.authority FROM " PERSON_NUMBERS(
        "i.person") "k WHERE k.authority = ANY ($2::integer[]) AND k.origin = ANY ($2::integer[]) "
                    "AND k.value IS NOT NULL AND NOT k.is_merged ORDER BY "
                    "array_position($2::integer[], "
                    "k.authority), k.origin <> k.authority, k.id LIMIT 1) own ON true "
                    "LEFT JOIN assigning_authority issuer ON issuer.id = coalesce(own.authority, "
                    "s.authority) "
                    "ORDER BY w.at",
};

#define PLACE "SELECT w.at"
#define FROM_SERIES " FROM " STUDY_UNIONS "JOIN imaging_series r ON r.study = w.id "
#define OF_SERIES "($3::text[] IS NULL OR r.series_uid = ANY ($3::text[])) "
#define OF_INSTANCES "($4::text[] IS NULL OR i.sop_instance = ANY ($4::text[])) "
#define IN_ORDER "ORDER BY w.at, r.position, r.series_uid"

/* Series with something to give out. */
#define COUNTED                                                                                    \
    "JOIN LATERAL (SELECT count(*) instances FROM imaging_instance i WHERE i.series = r.id "       \
    "AND " INSTANCE_IS_SERVED ") k ON k.instances > 0 "

/* The same in all copies of the study; what several have of a series is one series, as it came
 * first. */
#define UNION "unnest($1::bigint[], $2::integer[]) y (id, at) "
#define COUNTED_IN_UNION                                                                           \
    "JOIN LATERAL (SELECT count(*) instances FROM " UNION                                          \
    "JOIN imaging_series q ON q.study = y.id JOIN imaging_instance i ON i.series = q.id "          \
    "WHERE y.at = w.at AND q.series_uid = r.series_uid AND " INSTANCE_IS_SERVED_ONCE               \
    ") k ON k.instances > 0 "
#define IS_FIRST_OF_UNION                                                                          \
    "NOT EXISTS (SELECT FROM " UNION "JOIN imaging_series q ON q.study = y.id "                    \
    "WHERE y.at = w.at AND q.series_uid = r.series_uid AND q.id < r.id) "

#define COLUMN_PATIENT PASSED_OVER
#define COLUMN_STUDY PASSED_OVER
#define COLUMN_SERIES TAKEN
#define COLUMN_INSTANCE PASSED_OVER
#define QUERY_ATTRIBUTE(name, level, tag, vr, matching, column) COLUMN_##level(column)
static const DbStatement select_series = {
    "imaging_query_series_rows",
    PLACE
#include "repository/imaging/query_attributes.def"
        FROM_SERIES COUNTED "WHERE " OF_SERIES "AND $4::text[] IS NULL " IN_ORDER,
};
static const DbStatement select_union_series = {
    "imaging_query_union_series",
    PLACE
#include "repository/imaging/query_attributes.def"
        FROM_SERIES COUNTED_IN_UNION "WHERE " IS_FIRST_OF_UNION "AND " OF_SERIES
                                     "AND $4::text[] IS NULL " IN_ORDER,
};

#undef COLUMN_INSTANCE
#define COLUMN_INSTANCE TAKEN
static const DbStatement select_instances = {
    "imaging_query_instance_rows",
    PLACE
#include "repository/imaging/query_attributes.def"
        FROM_SERIES COUNTED "JOIN imaging_instance i ON i.series = r.id AND " INSTANCE_IS_SERVED
                            "WHERE " OF_SERIES "AND " OF_INSTANCES IN_ORDER
                            ", i.position, i.sop_instance",
};
static const DbStatement select_union_instances = {
    "imaging_query_union_instances",
    PLACE
#include "repository/imaging/query_attributes.def"
        FROM_SERIES COUNTED_IN_UNION
    "JOIN imaging_instance i ON i.series = r.id AND " INSTANCE_IS_SERVED_ONCE "WHERE " OF_SERIES
    "AND " OF_INSTANCES IN_ORDER ", i.position, i.sop_instance",
};
#undef QUERY_ATTRIBUTE
#undef COLUMN_PATIENT
#undef COLUMN_STUDY
#undef COLUMN_SERIES
#undef COLUMN_INSTANCE

/* ---- the query ---- */

/** One row of what is found. */
typedef struct Found {
    StudyCopy copy;
    bool has_copies;  /* other rows of the same study */
    int32_t domain;   /* of the PatientID that is given */
    StudyUnion study; /* those that are given out */
    Str values[ATTRIBUTE_COUNT];
} Found;

typedef struct Running {
    Imaging *imaging;
    Request *req;
    const ImagingQuery *query;
    QueryKeys keys;
    QueryReader reader;
    QueryPerson person;
    QueryCandidates candidates;
    PersonSet persons;     /* that were given, for level PATIENT */
    PersonSet studies;     /* of several rows, by the first of them: that one matched */
    uint64_t passed_count; /* of query->offset */
    uint64_t given_count;
    bool is_over;
    Arena *match_arena;
    ImagingMatchFn match;
    void *ctx;
} Running;

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
        if (query_attributes[i].level >= first && query_attributes[i].level <= last) {
            values[i] = db_text(rows, row, column++);
        }
    }
}

static int read_studies(Running *running, Page *page, DbConn *conn)
{
    const int64_t *studies;
    size_t count;
    DbParams params;
    DbResult *rows;
    int rc = query_candidates_next(&running->candidates, &page->req, conn,
                                   page_sizes[running->query->level], &studies, &count);
    if (rc < 0) {
        return rc;
    }
    db_params_init(&params, page->req.arena);
    db_param_i64_array(&params, studies, count);
    db_param_i32_array(&params, running->reader.own, running->reader.own_count);
    rc = db_exec(conn, &page->req, &select_studies, &params, &rows);
    if (rc < 0) {
        return rc;
    }
    page->count = (size_t)db_rows(rows);
    page->found = ARENA_ARRAY(page->req.arena, Found, page->count);
    for (size_t i = 0; i < page->count; i++) {
        Found *found = &page->found[i];
        found->copy = study_copy_read(rows, (int)i);
        found->has_copies = db_bool(rows, (int)i, STUDY_COPY_COLUMN_COUNT);
        found->domain = db_i32(rows, (int)i, STUDY_COPY_COLUMN_COUNT + 1);
        read_values(rows, (int)i, STUDY_COPY_COLUMN_COUNT + 2, IMAGING_PATIENT, IMAGING_STUDY,
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
    int rc = study_copies_decide(ae_directory_codes(running->imaging->aes), &page->req, copies,
                                 page->count, ACCESS_LIST);
    for (size_t i = 0; i < page->count && rc == 0; i++) {
        page->found[i].copy.is_permitted = copies[i].is_permitted;
    }
    return rc;
}

/** Which rows of its study are given out: this one, which is permitted, unless there are others. */
static int find_copies(Page *page, const Running *running, DbConn *conn, Found *found)
{
    StudyCopy *copies = &found->copy;
    size_t count = 1;
    int rc = 0;
    if (found->has_copies) {
        rc = study_copies_find(&page->req, conn, STUDY_BY_UID, found->copy.study_uid, &copies,
                               &count);
        rc = rc < 0 ? rc
                    : study_copies_decide(ae_directory_codes(running->imaging->aes), &page->req,
                                          copies, count, ACCESS_LIST);
    }
    if (rc == 0) {
        found->study = study_copies_unite(page->req.arena, copies, count);
    }
    return rc;
}

/** Of several rows of a study that are given out the first that matches stands for all. */
static bool stands(Running *running, const Found *found)
{
    bool is_given = false;
    for (size_t i = 0; i < found->study.copy_count && !is_given; i++) {
        is_given = found->study.copies[i] == found->copy.study;
    }
    return is_given && (found->study.copy_count == 1 ||
                        person_set_add(&running->studies, found->study.copies[0]));
}

static bool matches_person(const Running *running, Arena *arena, const Found *found)
{
    const QueryPerson *person = &running->person;
    if (person->person) {
        return found->copy.person == person->person;
    }
    return query_person_has(&running->reader, person, found->domain) &&
           (str_is_empty(person->number) ||
            query_matches(arena, MATCHING_TEXT, false, person->number,
                          found->values[ATTRIBUTE_PATIENT_ID]));
}

/** Keys of the levels from first to last. */
static bool matches_keys(const Running *running, Arena *arena, const Str *values,
                         ImagingLevel first, ImagingLevel last)
{
    for (size_t i = 0; i < ATTRIBUTE_COUNT; i++) {
        bool is_here = query_attributes[i].level >= first && query_attributes[i].level <= last;
        bool is_counted = i == ATTRIBUTE_MODALITIES || i == ATTRIBUTE_SOP_CLASSES;
        if (is_here && !is_counted && query_keys_has(&running->keys, (QueryAttribute)i) &&
            !query_matches(arena, query_attributes[i].matching, running->query->is_fuzzy,
                           running->keys.values[i], values[i])) {
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
        Found *found = &page->found[i];
        if (!found->copy.is_permitted || !matches_person(running, page->req.arena, found) ||
            !matches_keys(running, page->req.arena, found->values, IMAGING_PATIENT,
                          IMAGING_STUDY)) {
            continue;
        }
        int rc = find_copies(page, running, conn, found);
        if (rc < 0) {
            return rc;
        }
        if (stands(running, found)) {
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
        if (query_keys_has(&running->keys, counted[i]) &&
            !query_matches(arena, MATCHING_LIST, false, running->keys.values[counted[i]],
                           found->values[counted[i]])) {
            return false;
        }
    }
    return true;
}

static StudyUnion *unions_of(const Page *page)
{
    StudyUnion *studies = ARENA_ARRAY(page->req.arena, StudyUnion, page->count);
    for (size_t i = 0; i < page->count; i++) {
        studies[i] = page->found[i].study;
    }
    return studies;
}

static Str number_text(Arena *arena, int64_t number)
{
    return str_printf(arena, "%lld", (long long)number);
}

/** What is counted; studies of which nothing is given out are left out. */
static int count_studies(const Running *running, Page *page, DbConn *conn)
{
    Arena *arena = page->req.arena;
    StudyCounts *counts = ARENA_ARRAY(arena, StudyCounts, page->count);
    int rc = study_counts_read(&page->req, conn, unions_of(page), page->count,
                               running->keys.values[ATTRIBUTE_SOP_CLASSES].data != NULL, counts);
    size_t count = 0;
    for (size_t i = 0; i < page->count && rc == 0; i++) {
        Found *found = &page->found[i];
        found->values[ATTRIBUTE_STUDY_SERIES] = number_text(arena, counts[i].series);
        found->values[ATTRIBUTE_STUDY_INSTANCES] = number_text(arena, counts[i].instances);
        found->values[ATTRIBUTE_MODALITIES] = counts[i].modalities;
        found->values[ATTRIBUTE_SOP_CLASSES] = counts[i].sop_classes;
        if (counts[i].series > 0 && matches_counted(running, arena, found)) {
            page->found[count++] = *found;
        }
    }
    page->count = count;
    return rc;
}

static bool wants_patient_counts(const Running *running)
{
    return running->keys.values[ATTRIBUTE_PATIENT_STUDIES].data ||
           running->keys.values[ATTRIBUTE_PATIENT_SERIES].data ||
           running->keys.values[ATTRIBUTE_PATIENT_INSTANCES].data;
}

/** One of the page of the same person, before it. NULL: there is none */
static const Found *earlier_of_person(const Page *page, const Found *found)
{
    for (const Found *earlier = page->found; earlier < found; earlier++) {
        if (earlier->copy.person == found->copy.person) {
            return earlier;
        }
    }
    return NULL;
}

static int count_patients(const Running *running, Page *page, DbConn *conn)
{
    static const QueryAttribute counted[] = {ATTRIBUTE_PATIENT_STUDIES, ATTRIBUTE_PATIENT_SERIES,
                                             ATTRIBUTE_PATIENT_INSTANCES};
    int rc = 0;
    for (size_t i = 0; i < page->count && rc == 0 && wants_patient_counts(running); i++) {
        Found *found = &page->found[i];
        const Found *earlier = earlier_of_person(page, found);
        PatientCounts counts = {0};
        rc = earlier ? 0
                     : patient_counts_read(running->imaging, &page->req, conn, found->copy.person,
                                           &counts);
        const int64_t numbers[] = {counts.studies, counts.series, counts.instances};
        for (size_t at = 0; at < ARRAY_LEN(counted); at++) {
            found->values[counted[at]] =
                earlier ? earlier->values[counted[at]] : number_text(page->req.arena, numbers[at]);
        }
    }
    return rc;
}

static void bind_list(const Running *running, DbParams *params, QueryAttribute attribute)
{
    Str *values;
    if (query_keys_has(&running->keys, attribute)) {
        size_t count = query_keys_list(&running->keys, attribute, params->arena, &values);
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
    const StudyUnion *studies = unions_of(page);
    const bool overlap = study_unions_overlap(studies, page->count);
    db_params_init(&params, page->req.arena);
    study_unions_bind(&params, studies, page->count);
    bind_list(running, &params, ATTRIBUTE_SERIES_UID);
    bind_list(running, &params, ATTRIBUTE_SOP_INSTANCE);
    const DbStatement *statement = running->query->level == IMAGING_SERIES
                                       ? (overlap ? &select_union_series : &select_series)
                                   : overlap ? &select_union_instances
                                             : &select_instances;
    return db_exec(conn, &page->req, statement, &params, ret_rows);
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
    if (query_attributes[attribute].vr == DICOM_VR_US && str_to_u64(value, &number)) {
        dicom_put_us(arena, dataset, query_attributes[attribute].tag, (uint16_t)number);
    } else {
        dicom_put(arena, dataset, query_attributes[attribute].tag, query_attributes[attribute].vr,
                  value);
    }
}

static DicomDataset *make_match(const Running *running, Str *values)
{
    Arena *arena = running->match_arena;
    DicomDataset *dataset = dicom_dataset_new(arena);
    if (running->person.person) {
        values[ATTRIBUTE_PATIENT_ID] = running->person.number;
        values[ATTRIBUTE_PATIENT_ID_ISSUER] = running->person.issuer;
    }
    values[ATTRIBUTE_RETRIEVE_AE_TITLE] = str_from(running->imaging->config.ae_title);
    values[ATTRIBUTE_AVAILABILITY] = STR("ONLINE");
    values[ATTRIBUTE_RETRIEVE_URL] = retrieve_url(running, arena, values);
    for (size_t i = 0; i < ATTRIBUTE_COUNT; i++) {
        if (running->keys.values[i].data && query_attributes[i].level <= running->query->level) {
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
        Found *found = &page->found[db_i32(rows, i, 0) - 1];
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
    rc = rc < 0 ? rc : count_patients(running, page, conn);
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
        running->is_over = running->is_over || query_candidates_are_over(&running->candidates);
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
    QueryReader *reader = &running.reader;
    reader->ae =
        query->ae ? query->ae : ae_directory_of_node(imaging->aes, req->arena, req->principal);
    reader->own_count = ae_directory_own(imaging->aes, req->arena, reader->ae, &reader->own);
    running.keys = query_keys_read(query);
    int rc = query_person_find(imaging, req, reader, &running.keys, &running.person);
    query_person_narrow(imaging, &running.person, reader);
    running.candidates = query_candidates_choose(req->arena, &running.keys, running.person.person);
    rc = rc < 0 ? rc : run_pages(&running);
    person_set_done(&running.persons);
    person_set_done(&running.studies);
    arena_free(running.match_arena);
    return rc;
}
