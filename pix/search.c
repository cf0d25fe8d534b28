#include "pix/found_identifiers.h"
#include "pix/pix_state.h"
#include "pix/search_private.h"

/** How many persons the first statement of a search with a limit gives; the next ones give more,
 * for criteria that few of them meet. */
#define FIRST_BATCH 64
#define BATCH_GROWTH 4
/** Of one statement at most: it sorts its rows before it sends the first. */
#define BATCH_MAX 16384

enum { PERSON, UPDATED_AT, RECORD, AUTHORITIES, NUMBERS };

/** A search on its way through the rows. */
typedef struct Scan {
    const PatientSearch *search;
    Criteria criteria;
    FoundPatientFn found;
    void *ctx;
    Arena *row_arena;     /* cleared for each row */
    int64_t person;       /* of the last row; 0 before the first */
    int64_t person_count; /* of the running statement */
    bool is_person_done;  /* it was found, or has no identifier that is wanted */
    uint64_t found_count;
} Scan;

static bool is_full(const Scan *scan)
{
    return scan->search->limit > 0 && scan->found_count >= scan->search->limit;
}

/** The person's identifiers of the first so many targets; of none: all. */
static size_t read_identifiers(const Scan *scan, const DbResult *row, size_t target_count,
                               FoundIdentifier **ret_identifiers)
{
    int32_t *ids;
    Str *values;
    size_t count = db_i32_array(row, 0, AUTHORITIES, scan->row_arena, &ids);
    (void)db_text_array(row, 0, NUMBERS, scan->row_arena, &values);
    return found_identifiers_make(scan->row_arena, scan->search->authorities, ids, values, count,
                                  scan->search->targets, target_count, ret_identifiers);
}

/** The record, with all identifiers of the person. */
static FoundPatient read_patient(const Scan *scan, const DbResult *row)
{
    FoundIdentifier *identifiers;
    FoundPatient patient = {.person = db_i64(row, 0, PERSON)};
    bool has_record = !db_is_null(row, 0, RECORD);
    patient.updated_us = has_record ? db_timestamp(row, 0, UPDATED_AT) : 0;
    demographics_read(has_record ? db_text(row, 0, RECORD) : STR_EMPTY, &patient.demographics);
    patient.identifier_count = read_identifiers(scan, row, 0, &identifiers);
    patient.identifiers = identifiers;
    return patient;
}

static int scan_record(Scan *scan, Request *req, const DbResult *row)
{
    const PatientSearch *search = scan->search;
    FoundPatient patient = read_patient(scan, row);
    if (!criteria_are_met(scan->row_arena, &scan->criteria, search->authorities, &patient)) {
        return 0;
    }
    if (search->target_count > 0) {
        FoundIdentifier *wanted;
        patient.identifier_count = read_identifiers(scan, row, search->target_count, &wanted);
        patient.identifiers = wanted;
    }
    scan->is_person_done = true;
    if (patient.identifier_count == 0) {
        return 0;
    }
    scan->found_count++;
    return scan->found(scan->ctx, req, &patient);
}

/** A DbRowFn. The rows behind the last one wanted are let go by: to stop would cost the connection.
 */
static int scan_row(void *ctx, Request *req, const DbResult *row)
{
    Scan *scan = ctx;
    int64_t person = db_i64(row, 0, PERSON);
    if (person != scan->person) {
        scan->person = person;
        scan->person_count++;
        scan->is_person_done = false;
    }
    if (scan->is_person_done || is_full(scan)) {
        return 0;
    }
    arena_clear(scan->row_arena);
    return scan_record(scan, req, row);
}

/** Runs the statement again behind the last person, until it gives no more. */
static int scan_all(Pix *pix, Request *req, Scan *scan)
{
    SearchStatement chosen;
    search_statement_choose(req->arena, scan->search->authorities, &scan->criteria, &chosen);
    int64_t batch = scan->search->limit > 0 ? FIRST_BATCH : BATCH_MAX;
    batch = MAX(batch, (int64_t)MIN(scan->search->limit, BATCH_MAX / 2) * 2);
    _cleanup_(db_releasep) DbConn *conn = NULL;
    int rc = db_acquire(pix->config.pool, req, &conn);
    for (bool is_end = false; rc == 0 && !is_end; batch = MIN(batch * BATCH_GROWTH, BATCH_MAX)) {
        DbParams params;
        search_statement_bind(&chosen, req->arena, scan->person, batch, &params);
        scan->person_count = 0;
        rc = db_stream(conn, req, chosen.statement, &params, scan_row, scan);
        is_end = scan->person_count < batch || is_full(scan);
    }
    return rc;
}

/** @param ret_count  untouched on failure; NULL if not wanted */
static int run_search(Pix *pix, Request *req, const PatientSearch *search, FoundPatientFn found,
                      void *ctx, uint64_t *ret_count)
{
    Scan scan = {.search = search,
                 .found = found,
                 .ctx = ctx,
                 .row_arena = arena_new(),
                 .person = search->after_person};
    criteria_make(req->arena, search, &scan.criteria);
    int rc = scan.criteria.is_hopeless ? 0 : scan_all(pix, req, &scan);
    arena_free(scan.row_arena);
    if (rc == 0 && ret_count) {
        *ret_count = scan.found_count;
    }
    return rc;
}

int patient_search(Pix *pix, Request *req, const PatientSearch *search, FoundPatientFn found,
                   void *ctx)
{
    return run_search(pix, req, search, found, ctx, NULL);
}

static int let_go_by(void *ctx, Request *req, const FoundPatient *patient)
{
    (void)ctx;
    (void)req;
    (void)patient;
    return 0;
}

int patient_search_count(Pix *pix, Request *req, const PatientSearch *search, uint64_t *ret_count)
{
    PatientSearch all = *search;
    all.after_person = 0;
    all.limit = 0;
    return run_search(pix, req, &all, let_go_by, NULL, ret_count);
}
