#include "pix/identity_rows.h"

#include "lib/base/clock.h"
#include "lib/base/fail.h"
#include "lib/base/random.h"

const char *const link_reason_names[LINK_REASON_COUNT] = {
#define LINK_REASON(name, text) #name,
#include "pix/link_reasons.def"
#undef LINK_REASON
};

/* ---- rows ---- */

static const DbStatement select_by_name = {
    "identity_select_by_name",
    "SELECT " IDENTITY_COLUMNS " FROM unnest($1::int4[], $2::text[]) AS n (authority, value)"
    " JOIN patient_identifier i ON i.authority = n.authority AND i.value = n.value",
};

static const DbStatement lock_persons = {
    "identity_lock_persons",
    "SELECT " IDENTITY_COLUMNS " FROM patient_identifier i"
    " WHERE i.person = ANY ($1::int8[]) ORDER BY i.id FOR NO KEY UPDATE",
};

void identity_rows_read(Arena *arena, const DbResult *result, IdentityRows *ret_rows)
{
    size_t count = (size_t)db_rows(result);
    IdentityRow *items = ARENA_ARRAY(arena, IdentityRow, count);
    for (size_t i = 0; i < count; i++) {
        int row = (int)i;
        items[i] = (IdentityRow){
            .id = db_i64(result, row, 0),
            .authority = db_i32(result, row, 1),
            .value = db_text(result, row, 2),
            .person = db_i64(result, row, 3),
            .survivor = db_i64(result, row, 4),
            .merged_us = db_is_null(result, row, 5) ? 0 : db_timestamp(result, row, 5),
            .is_xad_pid = db_bool(result, row, 6),
            .is_announced = db_bool(result, row, 7),
        };
    }
    *ret_rows = (IdentityRows){items, count};
}

const IdentityRow *identity_rows_find(const IdentityRows *rows, const Identifier *identifier)
{
    for (size_t i = 0; i < rows->count; i++) {
        if (rows->items[i].authority == identifier->authority->id &&
            str_equal(rows->items[i].value, identifier->value)) {
            return &rows->items[i];
        }
    }
    return NULL;
}

const IdentityRow *identity_rows_by_id(const IdentityRows *rows, int64_t id)
{
    for (size_t i = 0; i < rows->count; i++) {
        if (rows->items[i].id == id) {
            return &rows->items[i];
        }
    }
    return NULL;
}

const IdentityRow *identity_rows_xad_pid(const IdentityRows *rows, int64_t person)
{
    for (size_t i = 0; i < rows->count; i++) {
        const IdentityRow *row = &rows->items[i];
        if (row->person == person && row->is_xad_pid && row->survivor == 0) {
            return row;
        }
    }
    return NULL;
}

void identity_bind_names(DbParams *params, Arena *arena, const Identifier *identifiers,
                         size_t count)
{
    int32_t *authorities = ARENA_ARRAY(arena, int32_t, count);
    Str *values = ARENA_ARRAY(arena, Str, count);
    for (size_t i = 0; i < count; i++) {
        authorities[i] = identifiers[i].authority->id;
        values[i] = identifiers[i].value;
    }
    db_param_i32_array(params, authorities, count);
    db_param_text_array(params, values, count);
}

int identity_lookup(DbConn *conn, Request *req, const Identifier *identifiers, size_t count,
                    IdentityRows *ret_rows)
{
    DbParams params;
    DbResult *result = NULL;
    db_params_init(&params, req->arena);
    identity_bind_names(&params, req->arena, identifiers, count);
    int rc = db_exec(conn, req, &select_by_name, &params, &result);
    if (rc == 0) {
        identity_rows_read(req->arena, result, ret_rows);
    }
    return rc;
}

/* ---- locks ---- */

int identity_lock_persons(DbConn *conn, Request *req, const int64_t *persons, size_t count,
                          IdentityRows *ret_rows)
{
    DbParams params;
    DbResult *results[2] = {NULL};
    db_params_init(&params, req->arena);
    db_param_i64_array(&params, persons, count);
    int rc = 0;
    /* again: only a new statement sees what came to the persons while the first one waited */
    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(results); i++) {
        rc = db_queue(conn, req, &lock_persons, &params);
    }
    rc = rc < 0 ? rc : db_sync(conn, req, results);
    if (rc == 0) {
        identity_rows_read(req->arena, results[1], ret_rows);
    }
    return rc;
}

bool identity_rows_are_current(const IdentityRows *found, const IdentityRows *locked)
{
    for (size_t i = 0; i < found->count; i++) {
        const IdentityRow *row = identity_rows_by_id(locked, found->items[i].id);
        if (!row || row->person != found->items[i].person) {
            return false;
        }
    }
    return true;
}

int identity_add_raced(Request *req)
{
    return error_add(&req->errors, ERR_HL7_RECORD_LOCKED, NULL,
                     "the patient is being changed by others; send the message again");
}

int identity_lock_by_name(DbConn *conn, Request *req, const Identifier *identifiers, size_t count,
                          IdentityRows *ret_rows)
{
    IdentityRows found = {0};
    int rc = db_queue_begin(conn, req);
    rc = rc < 0 ? rc : identity_lookup(conn, req, identifiers, count, &found);
    if (rc < 0) {
        return rc;
    }
    int64_t *persons = ARENA_ARRAY(req->arena, int64_t, found.count);
    for (size_t i = 0; i < found.count; i++) {
        persons[i] = found.items[i].person;
    }
    rc = identity_lock_persons(conn, req, persons, found.count, ret_rows);
    if (rc == 0 && !identity_rows_are_current(&found, ret_rows)) {
        rc = identity_add_raced(req);
    }
    return rc;
}

/* ---- transactions ---- */

#define ATTEMPTS_MAX 8

int identity_run(Pix *pix, Request *req, IdentityStep step, void *ctx)
{
    _cleanup_(db_releasep) DbConn *conn = NULL;
    const ErrorList before = req->errors;
    int rc = db_acquire(pix->config.pool, req, &conn);
    if (rc < 0) {
        return rc;
    }
    for (int attempts = 1;; attempts++) {
        rc = step(ctx, pix, req, conn);
        if (rc == 0) {
            return 0;
        }
        bool is_raced = db_is_raced(conn, rc) || rc == -(int)ERR_HL7_RECORD_LOCKED;
        bool is_worth_another = attempts < ATTEMPTS_MAX && is_raced;
        if (db_rollback(conn, req) < 0 || !is_worth_another) {
            return rc;
        }
        error_list_rewind(&req->errors, &before);
    }
}

int identity_commit(Pix *pix, Request *req, DbConn *conn)
{
    fail_point("identity.written");
    int rc = db_commit(conn, req, NULL);
    fail_point("identity.committed");
    if (rc == 0 && pix->subscribers) {
        subscribers_wake(pix->subscribers);
    }
    return rc;
}

/* ---- new persons ---- */

static const DbStatement allocate_person = {
    "identity_allocate_person",
    "SELECT nextval('person_id'), nextval('patient_identifier_id_seq')",
};

static const DbStatement insert_xad_pid = {
    "identity_insert_xad_pid",
    "INSERT INTO patient_identifier (id, authority, value, person, is_xad_pid, is_announced)"
    " OVERRIDING SYSTEM VALUE"
    " VALUES ($1::int8, $2::int4, $3::text, $4::int8, true, $5::boolean)",
};

Str identity_mint(Arena *arena)
{
    /* letters and digits that nobody takes for another one (Crockford's Base32) */
    static const char alphabet[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    unsigned char bytes[13];
    random_bytes(bytes, sizeof(bytes));
    char *text = arena_alloc(arena, sizeof(bytes));
    for (size_t i = 0; i < sizeof(bytes); i++) {
        text[i] = alphabet[bytes[i] % 32];
    }
    return (Str){text, sizeof(bytes)};
}

int identity_queue_xad_pid(Pix *pix, Request *req, DbConn *conn, int64_t person, int64_t id,
                           Str value)
{
    bool has_registries = subscribers_has_registries(pix->subscribers);
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_i64(&params, id);
    db_param_i32(&params, pix->authority_id);
    db_param_text(&params, value);
    db_param_i64(&params, person);
    db_param_bool(&params, !has_registries);
    int rc = db_queue(conn, req, &insert_xad_pid, &params);
    if (rc == 0 && has_registries) {
        rc = db_sync(conn, req, NULL);
        rc =
            rc < 0 ? rc : subscribers_queue_xad_pid(pix->subscribers, req, conn, person, id, value);
    }
    return rc;
}

int identity_new_person(Pix *pix, Request *req, DbConn *conn, NewPerson *ret_person)
{
    DbResult *result = NULL;
    int rc = db_exec(conn, req, &allocate_person, NULL, &result);
    if (rc < 0) {
        return rc;
    }
    *ret_person = (NewPerson){.person = db_i64(result, 0, 0)};
    if (pix->config.pid_owner != PID_OWNER_SELF) {
        return 0;
    }
    ret_person->xad_pid = (IdentityRow){
        .id = db_i64(result, 0, 1),
        .authority = pix->authority_id,
        .value = identity_mint(req->arena),
        .person = ret_person->person,
        .is_xad_pid = true,
    };
    return identity_queue_xad_pid(pix, req, conn, ret_person->person, ret_person->xad_pid.id,
                                  ret_person->xad_pid.value);
}

/* ---- changes ---- */

static const DbStatement insert_history = {
    "identity_insert_history",
    "INSERT INTO patient_link (identifier, from_person, to_person, reason, score, other, undoes,"
    " merge, submission_set, node, source, message_id)"
    " VALUES ($1::int8, nullif($2::int8, 0), $3::int8, $4::text, nullif($5::int8, 0) / 1000.0,"
    " nullif($6::int8, 0), nullif($7::int8, 0), nullif($8::int8, 0), $9::uuid, $10::int4,"
    " $11::text, $12::text)",
};

/* Also what was merged into it. */
static const DbStatement update_person = {
    "identity_update_person",
    "UPDATE patient_identifier SET person = $2::int8 WHERE id = $1::int8 OR survivor = $1::int8",
};

static const DbStatement insert_verdict = {
    "identity_insert_verdict",
    "INSERT INTO link_decision (one, other, verdict, decided_at, decided_by)"
    " VALUES (least($1::int8, $2::int8), greatest($1::int8, $2::int8), $3::text, now(), $4::text)"
    " ON CONFLICT (one, other) DO UPDATE SET verdict = excluded.verdict,"
    " decided_at = excluded.decided_at, decided_by = excluded.decided_by",
};

Str identity_cx(Arena *arena, const Authorities *authorities, int32_t authority, Str value)
{
    const AssigningAuthority *found = authorities_by_id(authorities, authority);
    return found ? hl7_cx_format(arena, value, found->oid) : STR_EMPTY;
}

static bool is_zero(const Uuid *uuid)
{
    static const Uuid zero;
    return uuid_equal(*uuid, zero);
}

int identity_queue_history(Request *req, DbConn *conn, const PersonChange *change,
                           int64_t from_person, const Uuid *submission_set,
                           const IdentitySource *source)
{
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_i64(&params, change->row->id);
    db_param_i64(&params, from_person);
    db_param_i64(&params, change->to_person);
    db_param_text(&params, str_from(link_reason_names[change->reason]));
    db_param_i64(&params, (int64_t)(change->score * 1000));
    db_param_i64(&params, change->other);
    db_param_i64(&params, change->undoes);
    db_param_i64(&params, change->merge);
    if (is_zero(submission_set)) {
        db_param_null(&params);
    } else {
        db_param_uuid(&params, *submission_set);
    }
    db_param_i32(&params, req->principal ? req->principal->node_id : 0);
    db_param_text(&params, source->name);
    db_param_text(&params, req->message_id);
    return db_queue(conn, req, &insert_history, &params);
}

/** Moves the documents of a local identifier, and tells other registries. */
static int move_documents(Pix *pix, Request *req, DbConn *conn, const IdentityRows *rows,
                          const PersonChange *change, Uuid *ret_submission_set)
{
    const IdentityRow *from = identity_rows_xad_pid(rows, change->row->person);
    const IdentityRow *to = identity_rows_xad_pid(rows, change->to_person);
    if (!from || !to || change->row->is_xad_pid) {
        return 0;
    }
    const Authorities *authorities = authority_directory_hold(pix->authorities, req->arena);
    const IdentityRow *named = change->renamed_to ? change->renamed_to : change->row;
    PatientMove move = {
        .from_patient = from->id,
        .to_patient = to->id,
        .to_identifier = hl7_cx_format(req->arena, to->value, pix->authority_oid),
        .local_identifier = identity_cx(req->arena, authorities, named->authority, named->value),
        .subsumed_identifier = STR_EMPTY,
        .source_id = str_from(pix->config.manager_oid),
    };
    if (change->renamed_to) {
        move.subsumed_identifier =
            identity_cx(req->arena, authorities, change->row->authority, change->row->value);
    }
    size_t moved = 0;
    int rc = db_sync(conn, req, NULL);
    if (rc == 0 && pix->mover) {
        rc = pix->mover->move(pix->mover->ctx, req, conn, &move, ret_submission_set, &moved);
    }
    if (rc == 0 && subscribers_has_registries(pix->subscribers)) {
        rc = subscribers_queue_move(pix->subscribers, req, conn, change->to_person, from->value,
                                    to->value, move.local_identifier, move.subsumed_identifier);
    }
    return rc;
}

int identity_change_person(Pix *pix, Request *req, DbConn *conn, const IdentityRows *rows,
                           const PersonChange *change, const IdentitySource *source,
                           Uuid *ret_submission_set)
{
    Uuid submission_set = {0};
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_i64(&params, change->row->id);
    db_param_i64(&params, change->to_person);
    int rc = db_queue(conn, req, &update_person, &params);
    rc = rc < 0 ? rc : move_documents(pix, req, conn, rows, change, &submission_set);
    rc = rc < 0 ? rc
                : identity_queue_history(req, conn, change, change->row->person, &submission_set,
                                         source);
    if (rc == 0 && ret_submission_set) {
        *ret_submission_set = submission_set;
    }
    return rc;
}

int identity_queue_events(Pix *pix, Request *req, DbConn *conn, const IdentitySource *source)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < source->event_count; i++) {
        rc = audit_queue_event(pix->config.audit, conn, req, &source->events[i]);
    }
    return rc;
}

int identity_queue_person(Pix *pix, Request *req, DbConn *conn, int64_t person)
{
    if (!subscribers_has_consumers(pix->subscribers)) {
        return 0;
    }
    int rc = db_sync(conn, req, NULL);
    return rc < 0 ? rc : subscribers_queue_person(pix->subscribers, req, conn, person);
}

int identity_queue_verdict(Request *req, DbConn *conn, int64_t one, int64_t other,
                           const char *verdict, Str decided_by)
{
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_i64(&params, one);
    db_param_i64(&params, other);
    db_param_text(&params, str_from(verdict));
    db_param_text(&params, decided_by);
    return db_queue(conn, req, &insert_verdict, &params);
}

/* ---- errors ---- */

int identity_check_value(ErrorList *errors, const Identifier *identifier)
{
    Str value = identifier->value;
    if (str_is_empty(value) || str_equal(value, STR("\"\""))) {
        return error_add(errors, ERR_HL7_REQUIRED_FIELD_MISSING, identifier->location,
                         "the identifier is empty; send the patient's identifier");
    }
    if (value.len > HL7_CX_ID_MAX_BYTES) {
        return error_add(errors, ERR_HL7_DATA_TYPE, identifier->location,
                         "the identifier has %zu bytes; send at most %d", value.len,
                         HL7_CX_ID_MAX_BYTES);
    }
    for (size_t i = 0; i < value.len; i++) {
        if ((unsigned char)value.data[i] < ' ' || value.data[i] == 0x7f) {
            return error_add(errors, ERR_HL7_DATA_TYPE, identifier->location,
                             "the identifier holds a control character; send printing "
                             "characters only");
        }
    }
    return 0;
}

int identity_add_unknown(Request *req, const Identifier *identifier)
{
    return error_add(&req->errors, ERR_HL7_UNKNOWN_KEY_IDENTIFIER, identifier->location,
                     "identifier \"%.*s\" is not known here; feed it with ADT^A04 before merging",
                     STR_ARG(identifier->value));
}

int identity_add_subsumed(Request *req, const Identifier *identifier, const IdentityRow *row)
{
    return error_add(&req->errors, ERR_HL7_UNKNOWN_KEY_IDENTIFIER, identifier->location,
                     "identifier \"%.*s\" was merged into another at %.*s and cannot be used "
                     "again; send the surviving identifier",
                     STR_ARG(identifier->value),
                     STR_ARG(clock_iso8601(req->arena, row->merged_us)));
}
