#include "pix/link_view.h"

#include "lib/hl7/cx.h"

/** A weight in hundredths, as score_of() wants it. */
#define HUNDREDTHS(column) "round(" column "::numeric * 100)::int8"

static LinkScore score_of(const DbResult *rows, int row, int column)
{
    return db_is_null(rows, row, column)
               ? (LinkScore){0}
               : (LinkScore){true, (double)db_i64(rows, row, column) / 100};
}

/** Authority and value, in this column and the next. */
static PersonNumber person_number_of(const DbResult *rows, int row, int column)
{
    return db_is_null(rows, row, column)
               ? (PersonNumber){.value = STR_EMPTY}
               : (PersonNumber){db_i32(rows, row, column), db_text(rows, row, column + 1)};
}

/* ---- history ---- */

static const DbStatement select_links = {
    "link_view_links",
    "SELECT l.id, l.linked_at, i.authority, i.value, l.from_person, l.to_person, l.reason,"
    " " HUNDREDTHS("l.score") ", other.authority, other.value, l.source, l.message_id,"
                              " l.undone_at, l.undoes, l.merge FROM patient_link l"
                              " JOIN patient_identifier i ON i.id = l.identifier"
                              " LEFT JOIN patient_identifier other ON other.id = l.other"
                              " WHERE l.identifier = ANY ($1::int8[]) OR l.from_person = $2::int8"
                              " OR l.to_person = $2::int8 ORDER BY l.id",
};

enum {
    LINK_ID,
    LINK_AT,
    LINK_NUMBER,
    LINK_FROM = LINK_NUMBER + 2,
    LINK_TO,
    LINK_REASON_NAME,
    LINK_SCORE,
    LINK_OTHER,
    LINK_SOURCE = LINK_OTHER + 2,
    LINK_MESSAGE,
    LINK_UNDONE,
    LINK_UNDOES,
    LINK_MERGE,
};

int link_view_links(DbConn *conn, Request *req, const int64_t *identifiers, size_t identifier_count,
                    int64_t person, LinkRecord **ret_links, size_t *ret_count)
{
    DbParams params;
    DbResult *rows = NULL;
    db_params_init(&params, req->arena);
    db_param_i64_array(&params, identifiers, identifier_count);
    db_param_i64(&params, person);
    int rc = db_exec(conn, req, &select_links, &params, &rows);
    if (rc < 0) {
        return rc;
    }
    *ret_count = (size_t)db_rows(rows);
    *ret_links = ARENA_ARRAY(req->arena, LinkRecord, *ret_count);
    for (int row = 0; row < db_rows(rows); row++) {
        (*ret_links)[row] = (LinkRecord){
            .id = db_i64(rows, row, LINK_ID),
            .at_us = db_timestamp(rows, row, LINK_AT),
            .number = person_number_of(rows, row, LINK_NUMBER),
            .from_person = db_i64(rows, row, LINK_FROM),
            .to_person = db_i64(rows, row, LINK_TO),
            .reason = db_text(rows, row, LINK_REASON_NAME),
            .score = score_of(rows, row, LINK_SCORE),
            .other = person_number_of(rows, row, LINK_OTHER),
            .source = db_text(rows, row, LINK_SOURCE),
            .message_id = db_text(rows, row, LINK_MESSAGE),
            .undone_us = db_timestamp_or(rows, row, LINK_UNDONE, INT64_MIN),
            .undoes = db_i64(rows, row, LINK_UNDOES),
            .merge = db_i64(rows, row, LINK_MERGE),
        };
    }
    return 0;
}

static const DbStatement select_merges = {
    "link_view_merges",
    "SELECT m.id, m.merged_at, subsumed.authority, subsumed.value, survivor.authority,"
    " survivor.value, m.source, m.message_id, m.undone_at FROM patient_merge m"
    " LEFT JOIN patient_identifier subsumed ON subsumed.id = m.subsumed"
    " LEFT JOIN patient_identifier survivor ON survivor.id = m.survivor"
    " WHERE m.subsumed = ANY ($1::int8[]) OR m.survivor = ANY ($1::int8[]) ORDER BY m.id",
};

int link_view_merges(DbConn *conn, Request *req, const int64_t *identifiers,
                     size_t identifier_count, MergeRecord **ret_merges, size_t *ret_count)
{
    DbParams params;
    DbResult *rows = NULL;
    db_params_init(&params, req->arena);
    db_param_i64_array(&params, identifiers, identifier_count);
    int rc = db_exec(conn, req, &select_merges, &params, &rows);
    if (rc < 0) {
        return rc;
    }
    *ret_count = (size_t)db_rows(rows);
    *ret_merges = ARENA_ARRAY(req->arena, MergeRecord, *ret_count);
    for (int row = 0; row < db_rows(rows); row++) {
        (*ret_merges)[row] = (MergeRecord){
            .id = db_i64(rows, row, 0),
            .at_us = db_timestamp(rows, row, 1),
            .subsumed = person_number_of(rows, row, 2),
            .survivor = person_number_of(rows, row, 4),
            .source = db_text(rows, row, 6),
            .message_id = db_text(rows, row, 7),
            .undone_us = db_timestamp_or(rows, row, 8, INT64_MIN),
        };
    }
    return 0;
}

static const DbStatement select_patients = {
    "link_view_patients",
    "SELECT a.oid, i.value FROM patient_identifier i"
    " JOIN assigning_authority a ON a.id = i.authority WHERE i.id IN"
    " (SELECT unnest(ARRAY[identifier, other]) FROM patient_link WHERE $1::text = 'L' AND id ="
    " $2::int8 UNION ALL SELECT unnest(ARRAY[subsumed, survivor]) FROM patient_merge"
    " WHERE $1::text = 'M' AND id = $2::int8)",
};

int link_view_patients(DbConn *conn, Request *req, char kind, int64_t id, Str **ret_patients,
                       size_t *ret_count)
{
    DbParams params;
    DbResult *rows = NULL;
    db_params_init(&params, req->arena);
    db_param_text(&params, (Str){&kind, 1});
    db_param_i64(&params, id);
    int rc = db_exec(conn, req, &select_patients, &params, &rows);
    if (rc < 0) {
        return rc;
    }
    *ret_count = (size_t)db_rows(rows);
    *ret_patients = ARENA_ARRAY(req->arena, Str, *ret_count);
    for (int row = 0; row < db_rows(rows); row++) {
        (*ret_patients)[row] =
            hl7_cx_format(req->arena, db_text(rows, row, 1), db_text(rows, row, 0));
    }
    return 0;
}

/* ---- pairs ---- */

#define SELECT_PAIRS                                                                               \
    "SELECT d.id, d.proposed_at, " HUNDREDTHS(                                                     \
        "d.score") ", d.evidence, d.verdict, d.decided_at,"                                        \
                   " d.decided_by, one.authority, one.value, one_record.record, other.authority, " \
                   "other.value,"                                                                  \
                   " other_record.record FROM link_decision d JOIN patient_identifier one ON "     \
                   "one.id = d.one"                                                                \
                   " JOIN patient_identifier other ON other.id = d.other"                          \
                   " LEFT JOIN patient_demographics one_record ON one_record.identifier = d.one"   \
                   " LEFT JOIN patient_demographics other_record ON other_record.identifier = "    \
                   "d.other"

enum {
    PAIR_NUMBER,
    PAIR_PROPOSED,
    PAIR_SCORE,
    PAIR_EVIDENCE,
    PAIR_VERDICT,
    PAIR_DECIDED,
    PAIR_DECIDED_BY,
    PAIR_ONE,
    PAIR_OTHER = PAIR_ONE + 3,
};

static const DbStatement select_open = {
    "link_view_open",
    SELECT_PAIRS " WHERE d.verdict IS NULL ORDER BY d.id LIMIT $1::int8",
};

static const DbStatement select_open_of = {
    "link_view_open_of",
    SELECT_PAIRS " WHERE d.verdict IS NULL AND (d.one = ANY ($1::int8[])"
                 " OR d.other = ANY ($1::int8[])) ORDER BY d.id",
};

static const DbStatement select_pair = {"link_view_pair", SELECT_PAIRS " WHERE d.id = $1::int8"};

static LinkSide side_of(const DbResult *rows, int row, int column)
{
    return (LinkSide){
        .number = person_number_of(rows, row, column),
        .record = {!db_is_null(rows, row, column + 2), db_text(rows, row, column + 2)},
    };
}

static int read_pairs(DbConn *conn, Request *req, const DbStatement *statement,
                      const DbParams *params, LinkPair **ret_pairs, size_t *ret_count)
{
    DbResult *rows = NULL;
    int rc = db_exec(conn, req, statement, params, &rows);
    if (rc < 0) {
        return rc;
    }
    *ret_count = (size_t)db_rows(rows);
    *ret_pairs = ARENA_ARRAY(req->arena, LinkPair, *ret_count);
    for (int row = 0; row < db_rows(rows); row++) {
        (*ret_pairs)[row] = (LinkPair){
            .number = db_i64(rows, row, PAIR_NUMBER),
            .proposed_us = db_timestamp(rows, row, PAIR_PROPOSED),
            .score = score_of(rows, row, PAIR_SCORE),
            .evidence = db_text(rows, row, PAIR_EVIDENCE),
            .verdict = db_text(rows, row, PAIR_VERDICT),
            .decided_us = db_timestamp_or(rows, row, PAIR_DECIDED, INT64_MIN),
            .decided_by = db_text(rows, row, PAIR_DECIDED_BY),
            .one = side_of(rows, row, PAIR_ONE),
            .other = side_of(rows, row, PAIR_OTHER),
        };
    }
    return 0;
}

int link_view_open(DbConn *conn, Request *req, int64_t limit, LinkPair **ret_pairs,
                   size_t *ret_count)
{
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_i64(&params, limit);
    return read_pairs(conn, req, &select_open, &params, ret_pairs, ret_count);
}

int link_view_open_of(DbConn *conn, Request *req, const int64_t *identifiers,
                      size_t identifier_count, LinkPair **ret_pairs, size_t *ret_count)
{
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_i64_array(&params, identifiers, identifier_count);
    return read_pairs(conn, req, &select_open_of, &params, ret_pairs, ret_count);
}

int link_view_pair(DbConn *conn, Request *req, int64_t number, LinkPair **ret_pair)
{
    LinkPair *pairs = NULL;
    size_t count = 0;
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_i64(&params, number);
    int rc = read_pairs(conn, req, &select_pair, &params, &pairs, &count);
    if (rc == 0) {
        *ret_pair = count > 0 ? pairs : NULL;
    }
    return rc;
}
