#include "pix/person_view.h"

#include "lib/hl7/cx.h"

static void bind_number(DbParams *params, Arena *arena, const PersonNumber *number)
{
    db_params_init(params, arena);
    db_param_i32(params, number->authority);
    db_param_text(params, number->value);
}

/* ---- a person ---- */

static const DbStatement select_identifiers = {
    "person_view_identifiers",
    "SELECT i.id, i.authority, i.value, i.person, i.is_xad_pid, i.is_announced, i.created_at,"
    " i.merged_at, survivor.value, record.record, record.updated_at, i.id = asked.id"
    " FROM patient_identifier asked JOIN patient_identifier i ON i.person = asked.person"
    " LEFT JOIN patient_identifier survivor ON survivor.id = i.survivor"
    " LEFT JOIN patient_demographics record ON record.identifier = i.id"
    " WHERE asked.authority = $1::int4 AND asked.value = $2::text"
    " ORDER BY i.is_xad_pid DESC, i.survivor NULLS FIRST, i.authority, i.id",
};

enum {
    COLUMN_ID,
    COLUMN_AUTHORITY,
    COLUMN_VALUE,
    COLUMN_PERSON,
    COLUMN_IS_XAD_PID,
    COLUMN_IS_ANNOUNCED,
    COLUMN_CREATED,
    COLUMN_MERGED,
    COLUMN_SURVIVOR,
    COLUMN_RECORD,
    COLUMN_UPDATED,
    COLUMN_IS_ASKED,
};

static PersonIdentifier read_identifier(const DbResult *rows, int row)
{
    return (PersonIdentifier){
        .id = db_i64(rows, row, COLUMN_ID),
        .number = {db_i32(rows, row, COLUMN_AUTHORITY), db_text(rows, row, COLUMN_VALUE)},
        .person = db_i64(rows, row, COLUMN_PERSON),
        .is_xad_pid = db_bool(rows, row, COLUMN_IS_XAD_PID),
        .is_announced = db_bool(rows, row, COLUMN_IS_ANNOUNCED),
        .is_asked = db_bool(rows, row, COLUMN_IS_ASKED),
        .known_since_us = db_timestamp(rows, row, COLUMN_CREATED),
        .merged_us = db_timestamp_or(rows, row, COLUMN_MERGED, INT64_MIN),
        .survivor = db_text(rows, row, COLUMN_SURVIVOR),
        .record = {!db_is_null(rows, row, COLUMN_RECORD), db_text(rows, row, COLUMN_RECORD)},
        .updated_us = db_timestamp_or(rows, row, COLUMN_UPDATED, INT64_MIN),
    };
}

int person_view_identifiers(DbConn *conn, Request *req, const PersonNumber *asked,
                            PersonIdentifier **ret_identifiers, size_t *ret_count)
{
    DbParams params;
    DbResult *rows = NULL;
    bind_number(&params, req->arena, asked);
    int rc = db_exec(conn, req, &select_identifiers, &params, &rows);
    if (rc < 0) {
        return rc;
    }
    *ret_count = (size_t)db_rows(rows);
    *ret_identifiers = ARENA_ARRAY(req->arena, PersonIdentifier, *ret_count);
    for (size_t i = 0; i < *ret_count; i++) {
        (*ret_identifiers)[i] = read_identifier(rows, (int)i);
    }
    return 0;
}

static const DbStatement select_xad_pid = {
    "person_view_xad_pid",
    "SELECT x.id, x.value FROM patient_identifier asked LEFT JOIN patient_identifier x"
    " ON x.person = asked.person AND x.is_xad_pid AND x.survivor IS NULL"
    " WHERE asked.authority = $1::int4 AND asked.value = $2::text",
};

int person_view_xad_pid(DbConn *conn, Request *req, const PersonNumber *asked,
                        PersonXadPid *ret_xad_pid)
{
    DbParams params;
    DbResult *rows = NULL;
    bind_number(&params, req->arena, asked);
    int rc = db_exec(conn, req, &select_xad_pid, &params, &rows);
    if (rc < 0) {
        return rc;
    }
    *ret_xad_pid = (PersonXadPid){.is_known = db_rows(rows) > 0, .value = STR_EMPTY};
    if (ret_xad_pid->is_known && !db_is_null(rows, 0, 0)) {
        ret_xad_pid->id = db_i64(rows, 0, 0);
        ret_xad_pid->value = db_text(rows, 0, 1);
    }
    return 0;
}

/* ---- numbers ---- */

static const DbStatement select_known = {
    "person_view_known",
    "SELECT authority, id FROM patient_identifier WHERE value = $1::text"
    " AND authority = ANY ($2::int4[]) ORDER BY authority",
};

int person_view_known(DbConn *conn, Request *req, Str value, const int32_t *authorities,
                      size_t authority_count, KnownNumber **ret_known, size_t *ret_count)
{
    DbParams params;
    DbResult *rows = NULL;
    db_params_init(&params, req->arena);
    db_param_text(&params, value);
    db_param_i32_array(&params, authorities, authority_count);
    int rc = db_exec(conn, req, &select_known, &params, &rows);
    if (rc < 0) {
        return rc;
    }
    *ret_count = (size_t)db_rows(rows);
    *ret_known = ARENA_ARRAY(req->arena, KnownNumber, *ret_count);
    for (size_t i = 0; i < *ret_count; i++) {
        (*ret_known)[i] = (KnownNumber){db_i32(rows, (int)i, 0), db_i64(rows, (int)i, 1)};
    }
    return 0;
}

static const DbStatement select_waiting = {
    "person_view_waiting",
    "SELECT i.authority, i.value, i.created_at FROM patient_identifier i"
    " WHERE i.survivor IS NULL AND NOT i.is_xad_pid AND NOT EXISTS (SELECT FROM"
    " patient_identifier x WHERE x.person = i.person AND x.is_xad_pid AND x.survivor IS NULL)"
    " ORDER BY i.id LIMIT $1::int8",
};

int person_view_waiting(DbConn *conn, Request *req, int64_t limit, WaitingIdentifier **ret_waiting,
                        size_t *ret_count)
{
    DbParams params;
    DbResult *rows = NULL;
    db_params_init(&params, req->arena);
    db_param_i64(&params, limit);
    int rc = db_exec(conn, req, &select_waiting, &params, &rows);
    if (rc < 0) {
        return rc;
    }
    *ret_count = (size_t)db_rows(rows);
    *ret_waiting = ARENA_ARRAY(req->arena, WaitingIdentifier, *ret_count);
    for (size_t i = 0; i < *ret_count; i++) {
        (*ret_waiting)[i] = (WaitingIdentifier){
            .number = {db_i32(rows, (int)i, 0), db_text(rows, (int)i, 1)},
            .since_us = db_timestamp(rows, (int)i, 2),
        };
    }
    return 0;
}

/* ---- rows ---- */

static const DbStatement select_chain = {
    "person_view_chain",
    "SELECT m.id FROM patient_identifier named JOIN patient_identifier m ON"
    " m.id = coalesce(named.survivor, named.id)"
    " OR m.survivor = coalesce(named.survivor, named.id) WHERE named.id = $1::int8",
};

int person_view_chain(DbConn *conn, Request *req, int64_t id, int64_t **ret_ids, size_t *ret_count)
{
    DbResult *rows = NULL;
    int rc = db_exec_id(conn, req, &select_chain, id, &rows);
    if (rc < 0) {
        return rc;
    }
    *ret_count = (size_t)db_rows(rows);
    *ret_ids = ARENA_ARRAY(req->arena, int64_t, *ret_count);
    for (size_t i = 0; i < *ret_count; i++) {
        (*ret_ids)[i] = db_i64(rows, (int)i, 0);
    }
    return 0;
}

static const DbStatement select_cx = {
    "person_view_cx",
    "SELECT a.oid, i.value FROM patient_identifier i"
    " JOIN assigning_authority a ON a.id = i.authority WHERE i.id = $1::int8",
};

int person_view_cx(DbConn *conn, Request *req, int64_t id, Str *ret_cx)
{
    DbResult *rows = NULL;
    int rc = db_exec_id(conn, req, &select_cx, id, &rows);
    if (rc == 0) {
        *ret_cx = db_rows(rows) > 0
                      ? hl7_cx_format(req->arena, db_text(rows, 0, 1), db_text(rows, 0, 0))
                      : STR_EMPTY;
    }
    return rc;
}
