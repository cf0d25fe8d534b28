#include "repository/imaging/query_candidates.h"

#include "repository/imaging/ae_directory.h"
#include "repository/imaging/imaging_state.h"

/* ---- statements ---- */

static const DbStatement select_person = {
    "imaging_query_patient",
    "SELECT w.authority, i.person, coalesce(x.id, 0), named.id IS NULL "
    "FROM unnest($1::integer[]) WITH ORDINALITY w (authority, at)" PERSON_JOINS(
        "w.authority", "$2::text") "WHERE i.person IS NOT NULL ORDER BY w.at",
};

/* $1 values of the key. What one copy of a study holds is found in their union, for which the first
 * stands. */
#define CANDIDATES(from_where) "SELECT array_agg(DISTINCT s.id ORDER BY s.id) FROM " from_where

static const DbStatement select_candidates[] = {
    [BY_INSTANCE] = {"imaging_query_instance",
                     CANDIDATES("imaging_instance i JOIN imaging_study c ON c.id = i.study "
                                "JOIN imaging_study s ON s.study_uid = c.study_uid WHERE "
                                "i.sop_instance = ANY ($1::text[])")},
    [BY_SERIES] = {"imaging_query_series",
                   CANDIDATES("imaging_series r JOIN imaging_study c ON c.id = r.study "
                              "JOIN imaging_study s ON s.study_uid = c.study_uid WHERE "
                              "r.series_uid = ANY ($1::text[])")},
    [BY_STUDY] = {"imaging_query_study",
                  CANDIDATES("imaging_study s WHERE s.study_uid = ANY ($1::text[])")},
    [BY_PERSON] = {"imaging_query_person", CANDIDATES(STUDIES_NAMING("($1::text[])[1]::bigint"))},
    [BY_ACCESSION] = {"imaging_query_accession",
                      CANDIDATES("imaging_study s WHERE s.accession_number = ($1::text[])[1] "
                                 "AND s.accession_number <> ''")},
};

/* One piece: behind study $3, in the order of dates from $1 to $2. */
#define PIECE_MAX 200
static const DbStatement select_by_date = {
    "imaging_query_date",
    "SELECT s.id, s.study_date FROM imaging_study s "
    "WHERE (s.study_date, s.id) > ($1::text, $3::bigint) AND s.study_date <= $2::text "
    "ORDER BY s.study_date, s.id LIMIT 200",
};
static const DbStatement select_any = {
    "imaging_query_any",
    "SELECT s.id, '' FROM imaging_study s WHERE s.id > $1::bigint ORDER BY s.id LIMIT 200",
};

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
static size_t domains_of(AeDirectory *aes, Arena *arena, const QueryReader *reader, Str name,
                         Str oid, int32_t **ret_domains)
{
    int32_t *domains = ARENA_ARRAY(arena, int32_t, reader->own_count + 1);
    size_t count = 0;
    if (!str_is_empty(name) || !str_is_empty(oid)) {
        const ImagingAuthority *issuer = ae_directory_issuer(aes, arena, name, oid);
        if (issuer) {
            domains[count++] = issuer->id;
        }
    } else {
        for (size_t i = 0; i < reader->own_count; i++) {
            domains[count++] = reader->own[i];
        }
        domains[count++] = ae_directory_affinity_domain(aes);
    }
    *ret_domains = domains;
    return count;
}

/** The person whom the reader's own domain knows by the number, else its other domains, which must
 * agree, else the affinity domain. */
static int64_t choose_person(AeDirectory *aes, const QueryReader *reader, const DbResult *rows)
{
    const int32_t affinity_domain = ae_directory_affinity_domain(aes);
    const int32_t first = db_rows(rows) > 0 ? db_i32(rows, 0, 0) : 0;
    const bool is_certain = reader->ae->authority == first;
    for (int i = 1; i < db_rows(rows) && !is_certain; i++) {
        if (db_i32(rows, i, 0) != affinity_domain && db_i64(rows, i, 1) != db_i64(rows, 0, 1)) {
            return QUERY_NOBODY;
        }
    }
    return db_rows(rows) > 0 ? db_i64(rows, 0, 1) : QUERY_NOBODY;
}

static Str issuer_of(AeDirectory *aes, Arena *arena, int32_t authority)
{
    const ImagingAuthority *found = ae_directory_authority(aes, arena, authority);
    return !found ? STR_EMPTY : str_is_empty(found->name) ? found->oid : found->name;
}

static bool is_own(const QueryReader *reader, int32_t authority)
{
    bool is = false;
    for (size_t i = 0; i < reader->own_count && !is; i++) {
        is = reader->own[i] == authority;
    }
    return is;
}

/** Patients that are not named by one number: those that have one in a domain, like a pattern. */
static void mean_numbers(AeDirectory *aes, Arena *arena, Str name, Str oid, QueryPerson *person)
{
    const bool has_issuer = !str_is_empty(name) || !str_is_empty(oid);
    const ImagingAuthority *issuer = has_issuer ? ae_directory_issuer(aes, arena, name, oid) : NULL;
    person->is_by_number = has_issuer || !str_is_empty(person->number);
    person->domain = issuer ? issuer->id : 0;
    person->person = has_issuer && !issuer ? QUERY_NOBODY : 0;
}

bool query_person_has(const QueryReader *reader, const QueryPerson *person, int32_t domain)
{
    return !person->is_by_number ||
           (person->domain ? person->domain == domain : is_own(reader, domain));
}

void query_person_narrow(Imaging *imaging, const QueryPerson *person, QueryReader *reader)
{
    if (person->is_by_number && person->domain) {
        const bool is_told = is_own(reader, person->domain) ||
                             person->domain == ae_directory_affinity_domain(imaging->aes);
        reader->own[0] = person->domain;
        reader->own_count = is_told ? 1 : 0;
    }
}

/** Of a facility, and not of the reader's. */
static bool is_foreign(const QueryReader *reader, const ImagingAuthority *domain)
{
    return domain && domain->facility != 0 && !is_own(reader, domain->id);
}

/** Whether it may be known whom another facility knows by a number: as the PIX manager tells, not
 * as images of the person may be seen that are elsewhere. One round trip, of nobody as well.
 * @param is_derived  the number follows from one of the domain from which this one derives, of
 * which the same is asked
 * @param patient     row of the XAD-PID; 0: the number is unknown */
static int decide_domain(Imaging *imaging, Request *req, const QueryReader *reader,
                         int32_t authority, bool is_derived, int64_t patient, bool *ret_may_know)
{
    const ImagingAuthority *domain = ae_directory_authority(imaging->aes, req->arena, authority);
    const ImagingAuthority *origin =
        domain ? ae_directory_authority(imaging->aes, req->arena, domain->derive_from) : NULL;
    const AccessScope *scope;
    *ret_may_know = true;
    if (!is_foreign(reader, domain) && !is_foreign(reader, origin)) {
        return 0;
    }
    _cleanup_(arena_freep) Arena *arena = arena_new();
    Request passing = access_passing(req, arena);
    int rc = access_prepare(&passing, &patient, patient != 0);
    rc = rc < 0 ? rc : access_open(&passing, patient, ACCESS_LIST, &scope);
    if (rc == 0) {
        *ret_may_know =
            (!is_foreign(reader, domain) || access_decide_facility(scope, domain->facility)) &&
            (!is_derived || !is_foreign(reader, origin) ||
             access_decide_facility(scope, origin->facility));
    }
    access_passed(req, &passing);
    return rc;
}

int query_person_find(Imaging *imaging, Request *req, const QueryReader *reader,
                      const QueryKeys *keys, QueryPerson *ret_person)
{
    Str number = keys->values[ATTRIBUTE_PATIENT_ID];
    Str name = keys->values[ATTRIBUTE_PATIENT_ID_ISSUER];
    Str oid = STR_EMPTY;
    int32_t *domains;
    DbParams params;
    DbResult *rows;
    *ret_person = (QueryPerson){0};
    split_cx(&number, &name, &oid);
    if (str_is_empty(number) || query_is_wildcard(number)) {
        ret_person->number = number;
        mean_numbers(imaging->aes, req->arena, name, oid, ret_person);
        return 0;
    }
    size_t count = domains_of(imaging->aes, req->arena, reader, name, oid, &domains);
    db_params_init(&params, req->arena);
    db_param_i32_array(&params, domains, count);
    db_param_text(&params, number);
    _cleanup_(db_releasep) DbConn *conn = NULL;
    int rc = db_acquire(imaging->config.pool, req, &conn);
    rc = rc < 0 ? rc : db_exec(conn, req, &select_person, &params, &rows);
    if (rc < 0) {
        return rc;
    }
    bool may_know = true;
    if (count > 0) {
        const bool is_known = db_rows(rows) > 0 && db_i32(rows, 0, 0) == domains[0];
        rc = decide_domain(imaging, req, reader, domains[0], is_known && db_bool(rows, 0, 3),
                           is_known ? db_i64(rows, 0, 2) : 0, &may_know);
    }
    ret_person->person = may_know ? choose_person(imaging->aes, reader, rows) : QUERY_NOBODY;
    ret_person->number = number;
    if (ret_person->person != QUERY_NOBODY) {
        ret_person->issuer = issuer_of(imaging->aes, req->arena, db_i32(rows, 0, 0));
    }
    return rc;
}

/* ---- candidates ---- */

QueryCandidates query_candidates_choose(Arena *arena, const QueryKeys *keys, int64_t person)
{
    static const struct {
        QueryAttribute attribute;
        CandidateKey key;
    } lists[] = {
        {ATTRIBUTE_SOP_INSTANCE, BY_INSTANCE},
        {ATTRIBUTE_SERIES_UID, BY_SERIES},
        {ATTRIBUTE_STUDY_UID, BY_STUDY},
        {ATTRIBUTE_ACCESSION_NUMBER, BY_ACCESSION},
    };
    QueryCandidates chosen = {
        .key = BY_NOTHING, .values = ARENA_ARRAY(arena, Str, 2), .arena = arena};
    if (person) {
        chosen.key = BY_PERSON;
        chosen.values[0] = str_printf(arena, "%lld", (long long)person);
        chosen.value_count = 1;
    } else if (query_date_range(arena, keys->values[ATTRIBUTE_STUDY_DATE], &chosen.values[0],
                                &chosen.values[1])) {
        chosen.key = BY_DATE;
        chosen.last_date = chosen.values[0];
    }
    for (size_t i = ARRAY_LEN(lists); i > 0; i--) {
        Str value = keys->values[lists[i - 1].attribute];
        bool is_better = chosen.key != BY_PERSON || lists[i - 1].key != BY_ACCESSION;
        if (!str_is_empty(value) && !query_is_wildcard(value) && is_better) {
            chosen.key = lists[i - 1].key;
            chosen.value_count =
                query_keys_list(keys, lists[i - 1].attribute, arena, &chosen.values);
        }
    }
    return chosen;
}

static int find_all(QueryCandidates *candidates, Request *req, DbConn *conn)
{
    DbParams params;
    DbResult *rows;
    db_params_init(&params, req->arena);
    db_param_text_array(&params, candidates->values, candidates->value_count);
    int rc = db_exec(conn, req, &select_candidates[candidates->key], &params, &rows);
    if (rc == 0) {
        candidates->study_count = db_i64_array(rows, 0, 0, candidates->arena, &candidates->studies);
        candidates->is_complete = true;
    }
    return rc;
}

static int find_piece(QueryCandidates *candidates, Request *req, DbConn *conn)
{
    const bool is_by_date = candidates->key == BY_DATE;
    DbParams params;
    DbResult *rows;
    db_params_init(&params, req->arena);
    if (is_by_date) {
        db_param_text(&params, candidates->last_date);
        db_param_text(&params, candidates->values[1]);
    }
    db_param_i64(&params, candidates->last_study);
    int rc = db_exec(conn, req, is_by_date ? &select_by_date : &select_any, &params, &rows);
    if (rc < 0) {
        return rc;
    }
    if (!candidates->studies) {
        candidates->studies = ARENA_ARRAY(candidates->arena, int64_t, PIECE_MAX);
    }
    candidates->next = 0;
    candidates->study_count = (size_t)db_rows(rows);
    candidates->is_complete = candidates->study_count < PIECE_MAX;
    for (size_t i = 0; i < candidates->study_count; i++) {
        candidates->studies[i] = db_i64(rows, (int)i, 0);
        candidates->last_study = candidates->studies[i];
    }
    if (candidates->study_count > 0) {
        Str date = db_text(rows, (int)candidates->study_count - 1, 1);
        if (!str_equal(date, candidates->last_date)) {
            candidates->last_date = str_dup(candidates->arena, date);
        }
    }
    return 0;
}

int query_candidates_next(QueryCandidates *candidates, Request *req, DbConn *conn, size_t max,
                          const int64_t **ret_studies, size_t *ret_count)
{
    int rc = 0;
    if (candidates->next == candidates->study_count && !candidates->is_complete) {
        rc = candidates->key < BY_DATE ? find_all(candidates, req, conn)
                                       : find_piece(candidates, req, conn);
    }
    *ret_studies = candidates->studies + candidates->next;
    *ret_count = rc < 0 ? 0 : MIN(candidates->study_count - candidates->next, max);
    candidates->next += *ret_count;
    return rc;
}

bool query_candidates_are_over(const QueryCandidates *candidates)
{
    return candidates->is_complete && candidates->next == candidates->study_count;
}
