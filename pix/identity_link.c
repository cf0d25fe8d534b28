/**
 * Links and their undoing by somebody's word (ITI TF-2 3.30.6.6, 3.30.6.7; commands; the review
 * queue). A local identifier changes its person, and its documents go with it (3.64.4.1.3).
 */
#include <string.h>

#include "pix/identity_rows.h"

/** A link at work. */
typedef struct LinkState {
    const IdentityLink *link;
    IdentityRows rows; /* of the persons of both, locked */
    const IdentityRow *one;
    const IdentityRow *other;
} LinkState;

static LinkReason find_reason(const char *name)
{
    for (size_t i = 0; i < LINK_REASON_COUNT; i++) {
        if (strcmp(link_reason_names[i], name) == 0) {
            return (LinkReason)i;
        }
    }
    return LINK_REASON_manual;
}

static const DbStatement insert_awaited = {
    "link_insert_awaited",
    "INSERT INTO awaited_link (authority, value, other_authority, other_value)"
    " VALUES ($1::int4, $2::text, $3::int4, $4::text), ($3::int4, $4::text, $1::int4, $2::text)"
    " ON CONFLICT DO NOTHING",
};

static const DbStatement delete_awaited = {
    "link_delete_awaited",
    "DELETE FROM awaited_link WHERE (authority, value, other_authority, other_value)"
    " IN (($1::int4, $2::text, $3::int4, $4::text), ($3::int4, $4::text, $1::int4, $2::text))",
};

static int queue_awaited(const LinkState *state, Request *req, DbConn *conn,
                         const DbStatement *statement)
{
    const IdentityLink *link = state->link;
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_i32(&params, link->one.authority->id);
    db_param_text(&params, link->one.value);
    db_param_i32(&params, link->other.authority->id);
    db_param_text(&params, link->other.value);
    return db_queue(conn, req, statement, &params);
}

/* ---- checks ---- */

static int check_row(Request *req, const IdentityLink *link, const Identifier *identifier,
                     const IdentityRow *row)
{
    if (!row) {
        return link->is_lenient ? 0 : identity_add_unknown(req, identifier);
    }
    if (row->survivor != 0) {
        return identity_add_subsumed(req, identifier, row);
    }
    if (row->is_xad_pid) {
        return error_add(&req->errors, ERR_HL7_DATA_TYPE, identifier->location,
                         "\"%.*s\" is an identifier of the affinity domain: persons are joined by "
                         "a merge (A40) of it, not by a link",
                         STR_ARG(identifier->value));
    }
    return 0;
}

static int check_link(Request *req, const LinkState *state)
{
    int one_rc = check_row(req, state->link, &state->link->one, state->one);
    int other_rc = check_row(req, state->link, &state->link->other, state->other);
    return one_rc < 0 ? one_rc : other_rc;
}

/* ---- together ---- */

static int move(Pix *pix, const LinkState *state, Request *req, DbConn *conn,
                const IdentityRow *row, int64_t to_person, LinkReason reason, int64_t other)
{
    PersonChange change = {.row = row, .to_person = to_person, .reason = reason, .other = other};
    return identity_change_person(pix, req, conn, &state->rows, &change, &state->link->source,
                                  NULL);
}

/** Moves every identifier of the younger person. */
static int move_all(Pix *pix, const LinkState *state, Request *req, DbConn *conn, LinkReason reason)
{
    bool is_other_younger = state->other->person > state->one->person;
    const IdentityRow *stays = is_other_younger ? state->one : state->other;
    const IdentityRow *goes = is_other_younger ? state->other : state->one;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < state->rows.count; i++) {
        const IdentityRow *row = &state->rows.items[i];
        if (row->person == goes->person && row->survivor == 0 && !row->is_xad_pid) {
            rc = move(pix, state, req, conn, row, stays->person, reason, stays->id);
        }
    }
    return rc;
}

static int tell_both(Pix *pix, Request *req, DbConn *conn, int64_t one, int64_t other)
{
    int rc = identity_queue_person(pix, req, conn, one);
    return rc < 0 ? rc : identity_queue_person(pix, req, conn, other);
}

static int link_same(Pix *pix, LinkState *state, Request *req, DbConn *conn)
{
    if (!state->one || !state->other) {
        return queue_awaited(state, req, conn, &insert_awaited);
    }
    LinkReason reason = find_reason(state->link->reason);
    int rc = identity_queue_verdict(req, conn, state->one->id, state->other->id, "same",
                                    state->link->source.name);
    if (rc < 0 || state->one->person == state->other->person) {
        return rc;
    }
    rc = state->link->moves_all ? move_all(pix, state, req, conn, reason)
                                : move(pix, state, req, conn, state->other, state->one->person,
                                       reason, state->one->id);
    return rc < 0 ? rc : tell_both(pix, req, conn, state->one->person, state->other->person);
}

/* ---- apart ---- */

static const DbStatement select_origin = {
    "link_select_origin",
    "SELECT l.from_person FROM patient_link l"
    " WHERE l.identifier = $1::int8 AND l.to_person = $2::int8 AND l.undone_at IS NULL"
    "  AND l.from_person <> l.to_person AND l.reason NOT IN ('unlink', 'undo')"
    "  AND EXISTS (SELECT FROM patient_identifier x WHERE x.person = l.from_person"
    "              AND x.is_xad_pid AND x.survivor IS NULL)"
    " ORDER BY l.id DESC LIMIT 1",
};

/** The person that an identifier came from, 0 if it began with this one. */
static int find_origin(Request *req, DbConn *conn, const IdentityRow *row, int64_t *ret_person)
{
    DbParams params;
    DbResult *result = NULL;
    db_params_init(&params, req->arena);
    db_param_i64(&params, row->id);
    db_param_i64(&params, row->person);
    int rc = db_exec(conn, req, &select_origin, &params, &result);
    if (rc == 0) {
        *ret_person = db_rows(result) == 1 ? db_i64(result, 0, 0) : 0;
    }
    return rc;
}

/** Appends rows to those that are locked. */
static void add_rows(Arena *arena, IdentityRows *rows, const IdentityRow *more, size_t count)
{
    IdentityRow *grown = ARENA_ARRAY(arena, IdentityRow, rows->count + count);
    memcpy(grown, rows->items, rows->count * sizeof(*grown));
    memcpy(grown + rows->count, more, count * sizeof(*grown));
    *rows = (IdentityRows){grown, rows->count + count};
}

/** Where an identifier goes that leaves its person: back, or to a new one. Its XAD-PID is among
 * state->rows afterwards. */
static int open_destination(Pix *pix, LinkState *state, Request *req, DbConn *conn, int64_t origin,
                            const Identifier *leaving, int64_t *ret_person)
{
    if (origin != 0) {
        IdentityRows more = {0};
        int rc = identity_lock_persons(conn, req, &origin, 1, &more);
        add_rows(req->arena, &state->rows, more.items, more.count);
        *ret_person = origin;
        return rc;
    }
    if (pix->config.pid_owner == PID_OWNER_EXTERNAL) {
        return error_add(&req->errors, ERR_HL7_UNKNOWN_KEY_IDENTIFIER, leaving->location,
                         "\"%.*s\" has no other identifier of the affinity domain to go to; let "
                         "the owner of that domain feed one for it together with this identifier",
                         STR_ARG(leaving->value));
    }
    NewPerson made;
    int rc = identity_new_person(pix, req, conn, &made);
    if (rc == 0) {
        add_rows(req->arena, &state->rows, &made.xad_pid, 1);
        *ret_person = made.person;
    }
    return rc;
}

/** Takes the one of the two out that came later; with no history it is `other`. */
static int separate(Pix *pix, LinkState *state, Request *req, DbConn *conn)
{
    int64_t one_origin = 0;
    int64_t other_origin = 0;
    int64_t person = state->one->person;
    int64_t destination = 0;
    int rc = find_origin(req, conn, state->other, &other_origin);
    rc = rc < 0 || other_origin != 0 ? rc : find_origin(req, conn, state->one, &one_origin);
    bool leaves_one = one_origin != 0;
    IdentityRow leaving = leaves_one ? *state->one : *state->other;
    const IdentityRow *stays = leaves_one ? state->other : state->one;
    int64_t stays_id = stays->id;
    rc = rc < 0
             ? rc
             : open_destination(pix, state, req, conn, leaves_one ? one_origin : other_origin,
                                leaves_one ? &state->link->one : &state->link->other, &destination);
    rc = rc < 0 ? rc
                : move(pix, state, req, conn, &leaving, destination,
                       find_reason(state->link->reason), stays_id);
    return rc < 0 ? rc : tell_both(pix, req, conn, person, destination);
}

static int link_different(Pix *pix, LinkState *state, Request *req, DbConn *conn)
{
    int rc = queue_awaited(state, req, conn, &delete_awaited);
    if (rc < 0 || !state->one || !state->other) {
        return rc;
    }
    rc = identity_queue_verdict(req, conn, state->one->id, state->other->id, "different",
                                state->link->source.name);
    rc = rc < 0 ? rc : db_sync(conn, req, NULL);
    return rc < 0 || state->one->person != state->other->person ? rc
                                                                : separate(pix, state, req, conn);
}

/* ---- the whole ---- */

/** IdentityStep of a link. */
static int link_step(void *ctx, Pix *pix, Request *req, DbConn *conn)
{
    LinkState *state = ctx;
    *state = (LinkState){.link = state->link};
    const Identifier pair[] = {state->link->one, state->link->other};
    int rc = identity_lock_by_name(conn, req, pair, ARRAY_LEN(pair), &state->rows);
    state->one = identity_rows_find(&state->rows, &pair[0]);
    state->other = identity_rows_find(&state->rows, &pair[1]);
    rc = rc < 0 ? rc : check_link(req, state);
    if (rc == 0) {
        rc = state->link->kind == LINK_SAME ? link_same(pix, state, req, conn)
                                            : link_different(pix, state, req, conn);
    }
    rc = rc < 0 ? rc : identity_queue_events(pix, req, conn, &state->link->source);
    return rc < 0 ? rc : identity_commit(pix, req, conn);
}

int identity_link(Pix *pix, Request *req, const IdentityLink *link)
{
    LinkState state = {.link = link};
    bool is_same_identifier = link->one.authority->id == link->other.authority->id &&
                              str_equal(link->one.value, link->other.value);
    if (is_same_identifier) {
        return error_add(&req->errors, ERR_HL7_DATA_TYPE, link->other.location,
                         "both identifiers are the same; name two");
    }
    return identity_run(pix, req, link_step, &state);
}
