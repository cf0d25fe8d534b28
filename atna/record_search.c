#include "atna/record_search.h"

/* ---- SQL ---- */

/*
 * Statements are planned once, for any values (lib/db), so each one is written so that it can be
 * carried out in one way only: WALK follows the index of event_at through a range; BY_KEYS takes
 * the records of some sets of keys (OFFSET 0 keeps the planner from merging the subquery), and then
 * tests them. Which of the two is faster depends on how many records the range has.
 */
#define COLUMNS "chain, sequence, received_at, event_at, sender, defects, raw, hash"

#define WALK(what, rest)                                                                           \
    "SELECT " what " FROM audit_record WHERE event_at >= $1::timestamptz AND event_at <="          \
    " $4::timestamptz AND " CRITERIA rest

/* The index meets three sets at once; of fewer sets the first one stands for those that lack. */
#define BY_KEYS(what, rest)                                                                        \
    "SELECT " what " FROM (SELECT * FROM audit_record WHERE keys && $9::int8[] AND keys &&"        \
    " $10::int8[] AND keys && $11::int8[] OFFSET 0) AS found WHERE " CRITERIA rest

#define KEY_SET(n) " AND (cardinality(" n "::int8[]) = 0 OR keys && " n "::int8[])"

#define CRITERIA                                                                                   \
    "(event_at, chain, sequence) > ($1::timestamptz, $2::int4, $3::int8)"                          \
    " AND (event_at, chain, sequence) <= ($4::timestamptz, $5::int4, $6::int8)"                    \
    " AND sequence <= coalesce(($7::int8[])[array_position($8::int4[], chain)], 0)" KEY_SET("$9")  \
        KEY_SET("$10") KEY_SET("$11") KEY_SET("$12") KEY_SET("$13") KEY_SET("$14") KEY_SET("$15")  \
            KEY_SET("$16") " AND (cardinality($17::text[]) = 0 OR event_id = ANY ($17::text[]))"   \
                           " AND (cardinality($18::text[]) = 0 OR event_types && $18::text[])"     \
                           " AND (cardinality($19::text[]) = 0 OR action = ANY ($19::text[]))"     \
                           " AND (cardinality($20::text[]) = 0 OR sender = ANY ($20::text[]))"     \
                           " AND (cardinality($21::int4[]) = 0 OR outcome = ANY ($21::int4[]))"    \
                           " AND kind < $22::int4"                                                 \
                           " AND (length($24::bytea) = 0 OR position($24::bytea IN raw) > 0)"

#define ROWS " ORDER BY event_at, chain, sequence LIMIT $23::int8"
#define COUNTED " LIMIT $23::int8"

static const DbStatement walk_rows = {"audit_walk_rows", WALK(COLUMNS, ROWS)};
static const DbStatement key_rows = {"audit_key_rows", BY_KEYS(COLUMNS, ROWS)};
static const DbStatement walk_count = {"audit_walk_count",
                                       "SELECT count(*) FROM (" WALK("1", COUNTED) ") AS counted"};
static const DbStatement key_count = {
    "audit_key_count", "SELECT count(*) FROM (" BY_KEYS("1", COUNTED) ") AS counted"};

/* The record that is so many behind a place: the end of a window. */
static const DbStatement select_window = {
    "audit_window",
    "SELECT event_at, chain, sequence FROM audit_record WHERE event_at >= $1::timestamptz"
    " AND (event_at, chain, sequence) > ($1::timestamptz, $2::int4, $3::int8)"
    " ORDER BY event_at, chain, sequence OFFSET $4::int8 LIMIT 1",
};

/* Whether a range has so many records, by the index alone. */
static const DbStatement select_is_long = {
    "audit_is_long",
    "SELECT event_at FROM audit_record WHERE event_at BETWEEN $1::timestamptz AND"
    " $2::timestamptz ORDER BY event_at OFFSET $3::int8 LIMIT 1",
};

static const DbStatement select_bounds = {
    "audit_bounds",
    "SELECT array_agg(id ORDER BY id), array_agg(sequence ORDER BY id) FROM audit_chain",
};

static const DbStatement select_one = {
    "audit_one",
    "SELECT " COLUMNS " FROM audit_record WHERE chain = $1::int4 AND sequence = $2::int8",
};

/** Key sets in BY_KEYS. */
#define INDEXED_KEY_SETS 3
/** A range of so many records is walked, rather than looked up by a key that may have more. */
#define WALKED_AT_MOST 50000
/** What a page looks at before it asks the index of keys, and then at a time. */
#define FIRST_WINDOW 10000
#define LAST_WINDOW 200000
/** Of the records of a key so many are read at a time, where each needs a test of its own. */
#define TESTED_AT_A_TIME 2000

RecordSearch record_search_of(int64_t from_us, int64_t to_us)
{
    return (RecordSearch){.from_us = from_us, .to_us = to_us};
}

/** How few records have a key of this kind, the fewest first. */
static int rank_of(AuditKeyKind kind)
{
    static const int ranks[AUDIT_KEY_KIND_COUNT] = {
        [AUDIT_KEY_PATIENT] = 0, [AUDIT_KEY_OBJECT] = 1, [AUDIT_KEY_USER] = 2,
        [AUDIT_KEY_NODE] = 3,    [AUDIT_KEY_EVENT] = 4,  [AUDIT_KEY_SOURCE] = 5,
        [AUDIT_KEY_LOGIN] = 2,
    };
    return ranks[kind];
}

bool record_search_add(RecordSearch *search, AuditKeyKind kind, KeySet keys)
{
    if (search->key_set_count == RECORD_KEY_SETS_MAX) {
        return false;
    }
    size_t at = search->key_set_count++;
    while (at > 0 && rank_of(kind) < rank_of(search->kinds[at - 1])) {
        search->key_sets[at] = search->key_sets[at - 1];
        search->kinds[at] = search->kinds[at - 1];
        at--;
    }
    search->key_sets[at] = keys;
    search->kinds[at] = kind;
    return true;
}

/* ---- one statement ---- */

/** A part of the order: behind one place, up to and with the other. */
typedef struct Range {
    RecordPlace after;
    RecordPlace last;
} Range;

/** One search on its way. */
typedef struct Reading {
    DbConn *conn;
    Request *req;
    const RecordSearch *search;
    const RecordBounds *bounds;
    FoundRecordFn found;
    void *ctx;
    Arena *arena; /* of one record */
    uint64_t wanted;
    uint64_t count; /* records that were handed out */
    uint64_t rows;  /* that the last statement gave */
    RecordPlace last;
    bool has_more;
} Reading;

static Range whole_range(const RecordSearch *search)
{
    return (Range){.after = {search->from_us, 0, 0}, .last = {search->to_us, 0, 0}};
}

static void add_place(DbParams *params, const RecordPlace *place)
{
    db_param_timestamp(params, place->event_us);
    db_param_i32(params, place->chain);
    db_param_i64(params, place->sequence);
}

static void add_texts(DbParams *params, const TextSet *texts)
{
    db_param_text_array(params, texts->items, texts->count);
}

static void make_params(const Reading *reading, const Range *range, uint64_t limit,
                        DbParams *ret_params)
{
    const RecordSearch *search = reading->search;
    const RecordBounds *bounds = reading->bounds;
    db_params_init(ret_params, reading->req->arena);
    add_place(ret_params, &range->after);
    add_place(ret_params, &range->last);
    db_param_i64_array(ret_params, bounds->sequences, bounds->count);
    db_param_i32_array(ret_params, bounds->chains, bounds->count);
    for (size_t i = 0; i < RECORD_KEY_SETS_MAX; i++) {
        bool is_lacking = i >= search->key_set_count && i < INDEXED_KEY_SETS;
        const KeySet *set = &search->key_sets[is_lacking ? 0 : i];
        db_param_i64_array(ret_params, set->keys, set->count);
    }
    add_texts(ret_params, &search->event_ids);
    add_texts(ret_params, &search->event_types);
    add_texts(ret_params, &search->actions);
    add_texts(ret_params, &search->senders);
    db_param_i32_array(ret_params, search->outcomes, search->outcome_count);
    db_param_i32(ret_params, search->only_messages ? AUDIT_KIND_OTHER_XML : INT16_MAX + 1);
    db_param_i64(ret_params, (int64_t)MIN(limit, (uint64_t)INT64_MAX));
    db_param_bytes(ret_params, search->text);
}

static void read_row(Arena *arena, const DbResult *row, FoundRecord *ret_record)
{
    AuditSender sender = {.transport = AUDIT_OWN};
    *ret_record = (FoundRecord){
        .chain = db_i32(row, 0, 0),
        .sequence = db_i64(row, 0, 1),
        .received_us = db_timestamp(row, 0, 2),
        .event_us = db_timestamp(row, 0, 3),
        .sender = db_text(row, 0, 4),
        .defects = (uint64_t)db_i64(row, 0, 5),
        .raw = db_text(row, 0, 6),
        .hash = db_text(row, 0, 7),
    };
    bool is_known = audit_sender_parse(ret_record->sender, &sender);
    record_read(arena, ret_record->raw, !is_known || sender.transport != AUDIT_OWN,
                ret_record->received_us, &ret_record->content);
}

static int take_row(void *ctx, Request *req, const DbResult *row)
{
    Reading *reading = ctx;
    const RecordSearch *search = reading->search;
    FoundRecord record;
    arena_clear(reading->arena);
    read_row(reading->arena, row, &record);
    reading->rows++;
    reading->last = (RecordPlace){record.event_us, record.chain, record.sequence};
    if (search->is_match && !search->is_match(search->match_ctx, &record)) {
        return 0;
    }
    if (reading->count == reading->wanted) {
        reading->has_more = true;
        return 0;
    }
    reading->count++;
    return reading->found(reading->ctx, req, &record);
}

static int run_rows(Reading *reading, const DbStatement *statement, const Range *range,
                    uint64_t limit)
{
    DbParams params;
    make_params(reading, range, limit, &params);
    reading->rows = 0;
    return db_stream(reading->conn, reading->req, statement, &params, take_row, reading);
}

/** @return 1 and the end of the next window of so many records; 0: the range has no more than that;
 *          or a negative ErrorCode */
static int find_window(const Reading *reading, const Range *range, int64_t records,
                       RecordPlace *ret_last)
{
    DbParams params;
    DbResult *rows = NULL;
    db_params_init(&params, reading->req->arena);
    add_place(&params, &range->after);
    db_param_i64(&params, records - 1);
    int rc = db_exec(reading->conn, reading->req, &select_window, &params, &rows);
    if (rc < 0 || db_rows(rows) == 0) {
        return rc;
    }
    const RecordPlace last = {db_timestamp(rows, 0, 0), db_i32(rows, 0, 1), db_i64(rows, 0, 2)};
    if (last.event_us >= range->last.event_us) {
        return 0;
    }
    *ret_last = last;
    return 1;
}

/** Which statement is the better one for all of a range: @return 1 by keys, 0 walk, or negative */
static int choose_keys(const Reading *reading, const Range *range)
{
    DbParams params;
    DbResult *rows = NULL;
    if (reading->search->key_set_count == 0) {
        return 0;
    }
    db_params_init(&params, reading->req->arena);
    db_param_timestamp(&params, range->after.event_us);
    db_param_timestamp(&params, range->last.event_us);
    db_param_i64(&params, WALKED_AT_MOST);
    int rc = db_exec(reading->conn, reading->req, &select_is_long, &params, &rows);
    return rc < 0 ? rc : db_rows(rows);
}

/* ---- searches ---- */

int record_search_bounds(DbConn *conn, Request *req, RecordBounds *ret_bounds)
{
    DbParams params;
    DbResult *rows = NULL;
    int32_t *chains = NULL;
    int64_t *sequences = NULL;
    db_params_init(&params, req->arena);
    int rc = db_exec(conn, req, &select_bounds, &params, &rows);
    if (rc < 0) {
        return rc;
    }
    ret_bounds->count = db_i32_array(rows, 0, 0, req->arena, &chains);
    (void)db_i64_array(rows, 0, 1, req->arena, &sequences);
    ret_bounds->chains = chains;
    ret_bounds->sequences = sequences;
    return 0;
}

int record_search_each(DbConn *conn, Request *req, const RecordSearch *search,
                       const RecordBounds *bounds, FoundRecordFn found, void *ctx)
{
    _cleanup_(arena_freep) Arena *arena = arena_new();
    Reading reading = {.conn = conn,
                       .req = req,
                       .search = search,
                       .bounds = bounds,
                       .found = found,
                       .ctx = ctx,
                       .arena = arena,
                       .wanted = UINT64_MAX};
    const Range range = whole_range(search);
    int by_keys = choose_keys(&reading, &range);
    return by_keys < 0 ? by_keys
                       : run_rows(&reading, by_keys ? &key_rows : &walk_rows, &range, UINT64_MAX);
}

/** The rest of a page by the index of keys. */
static int read_by_keys(Reading *reading, Range range)
{
    const bool is_tested = reading->search->is_match != NULL;
    int rc = 0;
    do {
        uint64_t limit = is_tested ? TESTED_AT_A_TIME : reading->wanted - reading->count + 1;
        rc = run_rows(reading, &key_rows, &range, limit);
        bool is_end = reading->rows < limit;
        range.after = reading->last;
        if (is_end || !is_tested) {
            break;
        }
    } while (rc == 0 && !reading->has_more);
    return rc;
}

/** Window after window, until the page is full or the range is over. */
static int read_page(Reading *reading, Range range)
{
    const RecordPlace end = range.last;
    int64_t window = FIRST_WINDOW;
    for (;;) {
        int has_window = find_window(reading, &range, window, &range.last);
        int rc = has_window < 0
                     ? has_window
                     : run_rows(reading, &walk_rows, &range,
                                reading->search->is_match ? UINT64_MAX
                                                          : reading->wanted - reading->count + 1);
        if (rc < 0 || has_window == 0 || reading->has_more) {
            return rc;
        }
        range = (Range){.after = range.last, .last = end};
        if (reading->search->key_set_count > 0) {
            return read_by_keys(reading, range);
        }
        window = MIN(4 * window, LAST_WINDOW);
    }
}

int record_search_page(DbConn *conn, Request *req, const RecordSearch *search,
                       const RecordBounds *bounds, const RecordPlace *after, size_t limit,
                       FoundRecordFn found, void *ctx, bool *ret_has_more)
{
    _cleanup_(arena_freep) Arena *arena = arena_new();
    Reading reading = {.conn = conn,
                       .req = req,
                       .search = search,
                       .bounds = bounds,
                       .found = found,
                       .ctx = ctx,
                       .arena = arena,
                       .wanted = limit};
    Range range = whole_range(search);
    if (after) {
        range.after = *after;
    }
    int rc = read_page(&reading, range);
    if (rc == 0) {
        *ret_has_more = reading.has_more;
    }
    return rc;
}

static int count_found(void *ctx, Request *req, const FoundRecord *record)
{
    (void)ctx;
    (void)req;
    (void)record;
    return 0;
}

/** Each record needs a test: read, and counted here. */
static int count_tested(Reading *reading, const DbStatement *statement, const Range *range,
                        uint64_t most, uint64_t *ret_count)
{
    _cleanup_(arena_freep) Arena *arena = arena_new();
    reading->arena = arena;
    reading->found = count_found;
    reading->wanted = UINT64_MAX;
    int rc = run_rows(reading, statement, range, most ? most + 1 : UINT64_MAX);
    if (rc == 0) {
        *ret_count = most && reading->rows > most ? most + 1 : reading->count;
    }
    return rc;
}

int record_search_count(DbConn *conn, Request *req, const RecordSearch *search,
                        const RecordBounds *bounds, uint64_t most, uint64_t *ret_count)
{
    Reading reading = {.conn = conn, .req = req, .search = search, .bounds = bounds};
    const Range range = whole_range(search);
    DbParams params;
    DbResult *rows = NULL;
    int by_keys = choose_keys(&reading, &range);
    if (by_keys < 0) {
        return by_keys;
    }
    if (search->is_match) {
        return count_tested(&reading, by_keys ? &key_rows : &walk_rows, &range, most, ret_count);
    }
    make_params(&reading, &range, most ? most + 1 : UINT64_MAX, &params);
    int rc = db_exec(conn, req, by_keys ? &key_count : &walk_count, &params, &rows);
    if (rc == 0) {
        *ret_count = (uint64_t)db_i64(rows, 0, 0);
    }
    return rc;
}

int record_search_one(DbConn *conn, Request *req, int32_t chain, int64_t sequence,
                      FoundRecordFn found, void *ctx)
{
    DbParams params;
    DbResult *rows = NULL;
    FoundRecord record;
    db_params_init(&params, req->arena);
    db_param_i32(&params, chain);
    db_param_i64(&params, sequence);
    int rc = db_exec(conn, req, &select_one, &params, &rows);
    if (rc < 0 || db_rows(rows) == 0) {
        return rc;
    }
    read_row(req->arena, rows, &record);
    return found(ctx, req, &record);
}
