#include "pix/found_identifiers.h"
#include "pix/pix_state.h"
#include "pix/search_private.h"
#include "pix/sight.h"

/** How many persons the first statement of a search with a limit gives; the next ones give more,
 * for criteria that few of them meet. */
#define FIRST_BATCH 64
#define BATCH_GROWTH 4
/** Of one statement at most: it sorts its rows before it sends the first. */
#define BATCH_MAX 16384

/** Records whose rules are read in one round trip. */
#define HELD_MAX 512

enum { PERSON, UPDATED_AT, RECORD, AUTHORITIES, NUMBERS, XAD_PID, RECORD_AUTHORITY };

/** One record of a person, with the active identifiers of that person. */
typedef struct Record {
    int64_t person;
    int64_t updated_us;
    int64_t xad_pid;   /* row; 0: none */
    int32_t authority; /* that the record was told under */
    Str text;          /* demographics_write(); empty: none is held */
    int32_t *authorities;
    Str *numbers;
    size_t count;
} Record;

/** A search on its way through the rows. */
typedef struct Scan {
    const PatientSearch *search;
    Criteria criteria;
    FoundPatientFn found;
    void *ctx;
    bool is_limited;       /* the reader may not see everything */
    Arena *row_arena;      /* cleared for each row */
    Arena *held_arena;     /* cleared for each batch of rules */
    Record held[HELD_MAX]; /* that meet the criteria, for all that is known of their persons */
    size_t held_count;
    int64_t person;       /* of the last row; 0 before the first */
    int64_t person_count; /* of the running statement */
    int64_t done_person;  /* it was found, or has no identifier that is wanted */
    uint64_t found_count;
} Scan;

static bool is_full(const Scan *scan)
{
    return scan->search->limit > 0 && scan->found_count >= scan->search->limit;
}

static Record read_record(Arena *arena, const DbResult *row)
{
    Record record = {.person = db_i64(row, 0, PERSON), .xad_pid = db_i64(row, 0, XAD_PID)};
    if (!db_is_null(row, 0, RECORD)) {
        record.updated_us = db_timestamp(row, 0, UPDATED_AT);
        record.text = db_text(row, 0, RECORD);
    }
    record.authority = db_i32(row, 0, RECORD_AUTHORITY);
    record.count = db_i32_array(row, 0, AUTHORITIES, arena, &record.authorities);
    (void)db_text_array(row, 0, NUMBERS, arena, &record.numbers);
    return record;
}

/** The person's identifiers of the first so many targets; of none: all. */
static void set_identifiers(const Scan *scan, const Record *record, size_t target_count,
                            FoundPatient *patient)
{
    FoundIdentifier *identifiers;
    patient->identifier_count = found_identifiers_make(
        scan->row_arena, scan->search->authorities, record->authorities, record->numbers,
        record->count, scan->search->targets, target_count, &identifiers);
    patient->identifiers = identifiers;
}

/** The record, with all identifiers of the person. */
static FoundPatient patient_of(const Scan *scan, const Record *record)
{
    FoundPatient patient = {.person = record->person, .updated_us = record->updated_us};
    demographics_read(record->text, &patient.demographics);
    set_identifiers(scan, record, 0, &patient);
    return patient;
}

static bool is_met(const Scan *scan, const FoundPatient *patient)
{
    return criteria_are_met(scan->row_arena, &scan->criteria, scan->search->authorities, patient);
}

/** The record meets the criteria: its person is found, or has no identifier that is wanted. */
static int take(Scan *scan, Request *req, const Record *record, FoundPatient *patient)
{
    if (scan->search->target_count > 0) {
        set_identifiers(scan, record, scan->search->target_count, patient);
    }
    scan->done_person = record->person;
    if (patient->identifier_count == 0) {
        return 0;
    }
    scan->found_count++;
    return scan->found(scan->ctx, req, patient);
}

/* ---- what the reader may see ---- */

static void hold(Scan *scan, const Record *record)
{
    Arena *arena = scan->held_arena;
    Record *held = &scan->held[scan->held_count++];
    *held = *record;
    held->text = str_dup(arena, record->text);
    held->authorities = ARENA_ARRAY(arena, int32_t, record->count);
    held->numbers = ARENA_ARRAY(arena, Str, record->count);
    for (size_t i = 0; i < record->count; i++) {
        held->authorities[i] = record->authorities[i];
        held->numbers[i] = str_dup(arena, record->numbers[i]);
    }
}

/** Leaves of the record what may be seen. @return false: nothing of it may */
static bool cut_to_sight(const Sight *sight, Record *record)
{
    size_t kept = 0;
    for (size_t i = 0; i < record->count; i++) {
        if (sight_has_id(sight, record->authorities[i])) {
            record->authorities[kept] = record->authorities[i];
            record->numbers[kept++] = record->numbers[i];
        }
    }
    record->count = kept;
    return kept > 0 && sight_has_id(sight, record->authority);
}

/** What follows from a number may be seen as a number of its own authority. */
static void cut_derived(const Sight *sight, FoundPatient *patient, Arena *arena)
{
    FoundIdentifier *seen = ARENA_ARRAY(arena, FoundIdentifier, patient->identifier_count);
    size_t kept = 0;
    for (size_t i = 0; i < patient->identifier_count; i++) {
        if (sight_has(sight, patient->identifiers[i].authority)) {
            seen[kept++] = patient->identifiers[i];
        }
    }
    patient->identifiers = seen;
    patient->identifier_count = kept;
}

/** A record that meets the criteria must still do so with what is seen of its person. */
static int take_seen(Scan *scan, Request *req, Request *passing, Record *record)
{
    Sight sight;
    arena_clear(scan->row_arena);
    int rc = sight_open(passing, scan->search->authorities, record->xad_pid, record->authorities,
                        record->count, &sight);
    if (rc < 0 || !cut_to_sight(&sight, record)) {
        return rc;
    }
    FoundPatient patient = patient_of(scan, record);
    cut_derived(&sight, &patient, scan->row_arena);
    return is_met(scan, &patient) ? take(scan, req, record, &patient) : 0;
}

static int take_held(Scan *scan, Request *req, Request *passing)
{
    int64_t *patients = ARENA_ARRAY(scan->held_arena, int64_t, scan->held_count);
    for (size_t i = 0; i < scan->held_count; i++) {
        patients[i] = scan->held[i].xad_pid;
    }
    int rc = access_prepare(passing, patients, scan->held_count);
    for (size_t i = 0; i < scan->held_count && rc == 0; i++) {
        if (scan->held[i].person != scan->done_person && !is_full(scan)) {
            rc = take_seen(scan, req, passing, &scan->held[i]);
        }
    }
    return rc;
}

/** Decides on the records that are held, with one round trip, also if there are none. */
static int let_go(Scan *scan, Request *req)
{
    Request passing = access_passing(req, scan->held_arena);
    int rc = take_held(scan, req, &passing);
    access_passed(req, &passing);
    scan->held_count = 0;
    arena_clear(scan->held_arena);
    return rc;
}

/* ---- rows ---- */

static int scan_record(Scan *scan, Request *req, const DbResult *row)
{
    Record record = read_record(scan->row_arena, row);
    FoundPatient patient = patient_of(scan, &record);
    if (!is_met(scan, &patient)) {
        return 0;
    }
    if (!scan->is_limited) {
        return take(scan, req, &record, &patient);
    }
    hold(scan, &record);
    return scan->held_count == HELD_MAX ? let_go(scan, req) : 0;
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
    }
    if (person == scan->done_person || is_full(scan)) {
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
        rc = rc == 0 && scan->is_limited ? let_go(scan, req) : rc;
        is_end = scan->person_count < batch || is_full(scan);
    }
    return rc;
}

/** @param ret_count  untouched on failure; NULL if not wanted */
static int run_search(Pix *pix, Request *req, const PatientSearch *search, FoundPatientFn found,
                      void *ctx, uint64_t *ret_count)
{
    Arena *arena = arena_new();
    Scan *scan = ARENA_NEW(arena, Scan);
    *scan = (Scan){.search = search,
                   .found = found,
                   .ctx = ctx,
                   .is_limited = sight_is_limited(req),
                   .row_arena = arena_new(),
                   .held_arena = arena_new(),
                   .person = search->after_person};
    criteria_make(req->arena, search, &scan->criteria);
    int rc = scan->criteria.is_hopeless ? 0 : scan_all(pix, req, scan);
    if (rc == 0 && ret_count) {
        *ret_count = scan->found_count;
    }
    arena_free(scan->row_arena);
    arena_free(scan->held_arena);
    arena_free(arena);
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
