/**
 * Taking back: a link, a merge, an identifier. History is never removed: what is undone says so,
 * and undoing adds rows of its own.
 */
#include "pix/identity_rows.h"

/* ---- links ---- */

/** A row of patient_link that is to be undone. */
typedef struct LinkRow {
    int64_t id;
    int64_t identifier;
    int64_t from_person; /* 0: it was new */
    int64_t to_person;
    int64_t other; /* 0: none */
    bool is_part_of_merge;
    bool is_undone;
} LinkRow;

typedef struct LinkRows {
    LinkRow *items;
    size_t count;
} LinkRows;

/* All rows of one change have its transaction's time. */
#define LINK_COLUMNS                                                                               \
    "id, identifier, coalesce(from_person, 0), to_person, coalesce(other, 0), merge IS NOT NULL, " \
    "undone_at IS NOT NULL"

static const DbStatement select_change = {
    "undo_select_change",
    "SELECT " LINK_COLUMNS " FROM patient_link WHERE id = $1::int8 OR (linked_at ="
    " (SELECT linked_at FROM patient_link WHERE id = $1::int8) AND identifier IN"
    " (SELECT id FROM patient_identifier WHERE person ="
    "  (SELECT to_person FROM patient_link WHERE id = $1::int8)))"
    " ORDER BY id",
};

static const DbStatement select_of_merge = {
    "undo_select_of_merge",
    "SELECT " LINK_COLUMNS " FROM patient_link WHERE merge = $1::int8 ORDER BY id",
};

static const DbStatement select_persons = {
    "undo_select_persons",
    "SELECT DISTINCT person FROM patient_identifier WHERE id = ANY ($1::int8[])",
};

static const DbStatement mark_undone = {
    "undo_mark_link",
    "UPDATE patient_link SET undone_at = now() WHERE id = $1::int8",
};

static int read_links(DbConn *conn, Request *req, const DbStatement *statement, int64_t id,
                      LinkRows *ret_rows)
{
    DbParams params;
    DbResult *result = NULL;
    db_params_init(&params, req->arena);
    db_param_i64(&params, id);
    int rc = db_exec(conn, req, statement, &params, &result);
    if (rc < 0) {
        return rc;
    }
    size_t count = (size_t)db_rows(result);
    ret_rows->items = ARENA_ARRAY(req->arena, LinkRow, count);
    ret_rows->count = count;
    for (size_t i = 0; i < count; i++) {
        int row = (int)i;
        ret_rows->items[i] = (LinkRow){
            .id = db_i64(result, row, 0),
            .identifier = db_i64(result, row, 1),
            .from_person = db_i64(result, row, 2),
            .to_person = db_i64(result, row, 3),
            .other = db_i64(result, row, 4),
            .is_part_of_merge = db_bool(result, row, 5),
            .is_undone = db_bool(result, row, 6),
        };
    }
    return 0;
}

/** Locks the present persons of the identifiers, and those that they go back to. */
static int lock_links(DbConn *conn, Request *req, const LinkRows *links, IdentityRows *ret_rows)
{
    int64_t *identifiers = ARENA_ARRAY(req->arena, int64_t, links->count);
    for (size_t i = 0; i < links->count; i++) {
        identifiers[i] = links->items[i].identifier;
    }
    DbParams params;
    DbResult *result = NULL;
    db_params_init(&params, req->arena);
    db_param_i64_array(&params, identifiers, links->count);
    int rc = db_exec(conn, req, &select_persons, &params, &result);
    if (rc < 0) {
        return rc;
    }
    size_t count = (size_t)db_rows(result);
    int64_t *persons = ARENA_ARRAY(req->arena, int64_t, count + links->count);
    for (size_t i = 0; i < count; i++) {
        persons[i] = db_i64(result, (int)i, 0);
    }
    for (size_t i = 0; i < links->count; i++) {
        persons[count + i] = links->items[i].from_person;
    }
    return identity_lock_persons(conn, req, persons, count + links->count, ret_rows);
}

static int queue_id(Request *req, DbConn *conn, const DbStatement *statement, int64_t id)
{
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_i64(&params, id);
    return db_queue(conn, req, statement, &params);
}

/** An undo at work. */
typedef struct UndoState {
    char kind;
    int64_t id;
    const IdentitySource *source;
    IdentityRows rows; /* locked */
    bool has_new_person;
    NewPerson new_person; /* for identifiers that began with the link */
} UndoState;

/** The person that an identifier goes back to; a new one for those that were new then. */
static int find_destination(Pix *pix, UndoState *state, Request *req, DbConn *conn,
                            const LinkRow *link, int64_t *ret_person)
{
    if (link->from_person != 0) {
        *ret_person = link->from_person;
        return 0;
    }
    if (pix->config.pid_owner == PID_OWNER_EXTERNAL) {
        return error_add(&req->errors, ERR_HL7_UNKNOWN_KEY_IDENTIFIER, NULL,
                         "the identifier began with this link and has no other identifier of the "
                         "affinity domain to go to; let the owner of that domain feed one for it");
    }
    if (!state->has_new_person) {
        int rc = identity_new_person(pix, req, conn, &state->new_person);
        if (rc < 0) {
            return rc;
        }
        IdentityRow *rows = ARENA_ARRAY(req->arena, IdentityRow, state->rows.count + 1);
        for (size_t i = 0; i < state->rows.count; i++) {
            rows[i] = state->rows.items[i];
        }
        rows[state->rows.count] = state->new_person.xad_pid;
        state->rows = (IdentityRows){rows, state->rows.count + 1};
        state->has_new_person = true;
    }
    *ret_person = state->new_person.person;
    return 0;
}

/** Takes one identifier back to where it came from, and keeps matching from linking it again. */
static int undo_link(Pix *pix, UndoState *state, Request *req, DbConn *conn, const LinkRow *link)
{
    const IdentityRow *row = identity_rows_by_id(&state->rows, link->identifier);
    int64_t destination = 0;
    if (!row || row->survivor != 0 || row->person != link->to_person ||
        link->from_person == link->to_person) {
        return 0; /* a later change took it elsewhere: that one is undone by itself */
    }
    int rc = find_destination(pix, state, req, conn, link, &destination);
    PersonChange change = {.row = row,
                           .to_person = destination,
                           .reason = LINK_REASON_undo,
                           .other = link->other,
                           .undoes = link->id};
    rc = rc < 0
             ? rc
             : identity_change_person(pix, req, conn, &state->rows, &change, state->source, NULL);
    rc = rc < 0 ? rc : queue_id(req, conn, &mark_undone, link->id);
    if (rc == 0 && link->other != 0) {
        rc = identity_queue_verdict(req, conn, link->identifier, link->other, "different",
                                    state->source->name);
    }
    rc = rc < 0 ? rc : identity_queue_person(pix, req, conn, link->to_person);
    return rc < 0 ? rc : identity_queue_person(pix, req, conn, destination);
}

static int check_links(Request *req, const UndoState *state, const LinkRows *links)
{
    for (size_t i = 0; i < links->count; i++) {
        const LinkRow *link = &links->items[i];
        if (link->id != state->id) {
            continue;
        }
        if (link->is_undone) {
            return error_add(&req->errors, ERR_HL7_UNKNOWN_KEY_IDENTIFIER, NULL,
                             "link L%lld was undone already", (long long)state->id);
        }
        if (link->is_part_of_merge) {
            return error_add(&req->errors, ERR_HL7_UNKNOWN_KEY_IDENTIFIER, NULL,
                             "link L%lld is part of a merge; undo the merge", (long long)state->id);
        }
        return 0;
    }
    return error_add(&req->errors, ERR_HL7_UNKNOWN_KEY_IDENTIFIER, NULL, "there is no link L%lld",
                     (long long)state->id);
}

static int undo_links(Pix *pix, UndoState *state, Request *req, DbConn *conn)
{
    LinkRows links = {0};
    int rc = read_links(conn, req, &select_change, state->id, &links);
    rc = rc < 0 ? rc : check_links(req, state, &links);
    rc = rc < 0 ? rc : lock_links(conn, req, &links, &state->rows);
    for (size_t i = 0; rc == 0 && i < links.count; i++) {
        if (!links.items[i].is_undone && !links.items[i].is_part_of_merge) {
            rc = undo_link(pix, state, req, conn, &links.items[i]);
        }
    }
    return rc;
}

/* ---- merges ---- */

/** A row of patient_merge. */
typedef struct MergeRow {
    int64_t id;
    int64_t subsumed;
    int64_t survivor;
    Uuid submission_set;
    bool has_submission_set;
    bool is_undone;
} MergeRow;

static const DbStatement select_merge = {
    "undo_select_merge",
    "SELECT id, subsumed, survivor, submission_set, undone_at IS NOT NULL FROM patient_merge"
    " WHERE id = $1::int8",
};

static const DbStatement mark_merge_undone = {
    "undo_mark_merge",
    "UPDATE patient_merge SET undone_at = now() WHERE id = $1::int8",
};

/* The chains anew, from the merges that are left: of the one undone, and of what was merged into
 * it.
 */
static const DbStatement restore_chain = {
    "undo_restore_chain",
    "WITH RECURSIVE below (id) AS ("
    "  SELECT $1::int8"
    "  UNION SELECT m.subsumed FROM patient_merge m JOIN below ON m.survivor = below.id"
    "   WHERE m.undone_at IS NULL)"
    " UPDATE patient_identifier i SET"
    "  survivor = nullif($1::int8, i.id),"
    "  merged_at = CASE WHEN i.id = $1::int8 THEN NULL ELSE i.merged_at END,"
    "  person = coalesce((SELECT l.from_person FROM patient_link l"
    "   WHERE l.merge = $2::int8 AND l.identifier = $1::int8), i.person)"
    " WHERE i.id IN (SELECT id FROM below)",
};

static int read_merge(UndoState *state, Request *req, DbConn *conn, MergeRow *ret_merge)
{
    DbParams params;
    DbResult *result = NULL;
    db_params_init(&params, req->arena);
    db_param_i64(&params, state->id);
    int rc = db_exec(conn, req, &select_merge, &params, &result);
    if (rc < 0) {
        return rc;
    }
    if (db_rows(result) == 0 || db_bool(result, 0, 4)) {
        return error_add(&req->errors, ERR_HL7_UNKNOWN_KEY_IDENTIFIER, NULL,
                         db_rows(result) == 0 ? "there is no merge M%lld"
                                              : "merge M%lld was undone already",
                         (long long)state->id);
    }
    *ret_merge = (MergeRow){.id = db_i64(result, 0, 0),
                            .subsumed = db_i64(result, 0, 1),
                            .survivor = db_i64(result, 0, 2),
                            .has_submission_set = !db_is_null(result, 0, 3)};
    if (ret_merge->has_submission_set) {
        ret_merge->submission_set = db_uuid(result, 0, 3);
    }
    return 0;
}

/** The documents that a merge in a hospital's domain moved, back to identifier and patient. */
static int move_documents_back(Pix *pix, UndoState *state, Request *req, DbConn *conn,
                               const MergeRow *merge, const LinkRow *link, Uuid *ret_submission_set)
{
    static const Uuid none;
    const IdentityRow *from = identity_rows_xad_pid(&state->rows, link->to_person);
    const IdentityRow *to = identity_rows_xad_pid(&state->rows, link->from_person);
    const IdentityRow *row = identity_rows_by_id(&state->rows, merge->subsumed);
    const IdentityRow *kept = identity_rows_by_id(&state->rows, merge->survivor);
    *ret_submission_set = none;
    if (!from || !to || !row || !kept || !merge->has_submission_set) {
        return 0;
    }
    const Authorities *authorities = authority_directory_hold(pix->authorities, req->arena);
    PatientMove move = {
        .from_patient = from->id,
        .to_patient = to->id,
        .to_identifier = hl7_cx_format(req->arena, to->value, pix->authority_oid),
        .local_identifier = identity_cx(req->arena, authorities, row->authority, row->value),
        .subsumed_identifier = identity_cx(req->arena, authorities, kept->authority, kept->value),
        .source_id = str_from(pix->config.manager_oid),
    };
    size_t moved = 0;
    int rc = db_sync(conn, req, NULL);
    if (rc == 0 && pix->mover) {
        rc = pix->mover->move_back(pix->mover->ctx, req, conn, &merge->submission_set, &move,
                                   ret_submission_set, &moved);
    }
    return rc;
}

static int queue_restore(Request *req, DbConn *conn, const MergeRow *merge)
{
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_i64(&params, merge->subsumed);
    db_param_i64(&params, merge->id);
    int rc = queue_id(req, conn, &mark_merge_undone, merge->id);
    return rc < 0 ? rc : db_queue(conn, req, &restore_chain, &params);
}

/** The identifiers that followed a merge of XAD-PIDs go back; their documents never moved. */
static int return_followers(Request *req, DbConn *conn, const MergeRow *merge,
                            const LinkRows *links)
{
    static const DbStatement give_back = {
        "undo_give_back",
        "UPDATE patient_identifier SET person = $2::int8"
        " WHERE (id = $1::int8 OR survivor = $1::int8) AND person = $3::int8",
    };
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < links->count; i++) {
        const LinkRow *link = &links->items[i];
        if (link->identifier == merge->subsumed || link->from_person == 0) {
            continue;
        }
        DbParams params;
        db_params_init(&params, req->arena);
        db_param_i64(&params, link->identifier);
        db_param_i64(&params, link->from_person);
        db_param_i64(&params, link->to_person);
        rc = db_queue(conn, req, &give_back, &params);
    }
    return rc;
}

/** History of what goes back, and the mark at what is undone. */
static int queue_undone(UndoState *state, Request *req, DbConn *conn, const LinkRows *links,
                        const Uuid *submission_set)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < links->count; i++) {
        const LinkRow *link = &links->items[i];
        const IdentityRow row = {.id = link->identifier};
        PersonChange change = {.row = &row,
                               .to_person = link->from_person,
                               .reason = LINK_REASON_undo,
                               .undoes = link->id};
        rc = identity_queue_history(req, conn, &change, link->to_person, submission_set,
                                    state->source);
        rc = rc < 0 ? rc : queue_id(req, conn, &mark_undone, link->id);
    }
    return rc;
}

/** The survivor that had joined the subsumed one's person goes back to its own. */
static int return_survivor(Pix *pix, UndoState *state, Request *req, DbConn *conn,
                           const LinkRow *link)
{
    const IdentityRow *row = identity_rows_by_id(&state->rows, link->identifier);
    if (!row || row->survivor != 0 || row->person != link->to_person) {
        return 0; /* a later change took it elsewhere */
    }
    PersonChange change = {
        .row = row, .to_person = link->from_person, .reason = LINK_REASON_undo, .undoes = link->id};
    int rc = identity_change_person(pix, req, conn, &state->rows, &change, state->source, NULL);
    return rc < 0 ? rc : queue_id(req, conn, &mark_undone, link->id);
}

/** A merge in a hospital's domain: the documents first, then the survivor, if it had joined others.
 */
static int undo_local_merge(Pix *pix, UndoState *state, Request *req, DbConn *conn,
                            const MergeRow *merge, const LinkRows *links)
{
    Uuid submission_set = {0};
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < links->count; i++) {
        if (links->items[i].identifier == merge->subsumed) {
            rc = move_documents_back(pix, state, req, conn, merge, &links->items[i],
                                     &submission_set);
            const LinkRows one = {&links->items[i], 1};
            rc = rc < 0 ? rc : queue_undone(state, req, conn, &one, &submission_set);
        }
    }
    for (size_t i = 0; rc == 0 && i < links->count; i++) {
        if (links->items[i].identifier != merge->subsumed) {
            rc = return_survivor(pix, state, req, conn, &links->items[i]);
        }
    }
    return rc;
}

static int undo_merge(Pix *pix, UndoState *state, Request *req, DbConn *conn)
{
    static const Uuid none;
    MergeRow merge;
    LinkRows links = {0};
    int rc = read_merge(state, req, conn, &merge);
    rc = rc < 0 ? rc : read_links(conn, req, &select_of_merge, merge.id, &links);
    rc = rc < 0 ? rc : lock_links(conn, req, &links, &state->rows);
    rc = rc < 0 ? rc : queue_restore(req, conn, &merge);
    const IdentityRow *subsumed = identity_rows_by_id(&state->rows, merge.subsumed);
    if (rc == 0 && subsumed && subsumed->is_xad_pid) {
        rc = return_followers(req, conn, &merge, &links);
        rc = rc < 0 ? rc : queue_undone(state, req, conn, &links, &none);
    } else if (rc == 0) {
        rc = undo_local_merge(pix, state, req, conn, &merge, &links);
    }
    for (size_t i = 0; rc == 0 && i < links.count; i++) {
        rc = identity_queue_person(pix, req, conn, links.items[i].from_person);
        rc = rc < 0 ? rc : identity_queue_person(pix, req, conn, links.items[i].to_person);
    }
    return rc;
}

/* ---- the whole ---- */

/** IdentityStep of an undo. */
static int undo_step(void *ctx, Pix *pix, Request *req, DbConn *conn)
{
    UndoState *state = ctx;
    state->rows = (IdentityRows){0};
    state->has_new_person = false;
    int rc = db_queue_begin(conn, req);
    rc = rc < 0               ? rc
         : state->kind == 'M' ? undo_merge(pix, state, req, conn)
                              : undo_links(pix, state, req, conn);
    rc = rc < 0 ? rc : identity_queue_events(pix, req, conn, state->source);
    return rc < 0 ? rc : identity_commit(pix, req, conn);
}

int identity_undo(Pix *pix, Request *req, char kind, int64_t id, const IdentitySource *source)
{
    UndoState state = {.kind = kind, .id = id, .source = source};
    return identity_run(pix, req, undo_step, &state);
}

/* ---- removal ---- */

/* History stays: patient_link names identifiers by numbers that are not used again. */
static const DbStatement remove_identifier = {
    "undo_remove_identifier",
    "WITH names AS (DELETE FROM patient_name WHERE identifier = $1::int8),"
    " keys AS (DELETE FROM match_key WHERE identifier = $1::int8),"
    " record AS (DELETE FROM patient_demographics WHERE identifier = $1::int8)"
    " DELETE FROM patient_identifier WHERE id = $1::int8",
};

static const DbStatement select_merged = {
    "undo_select_merged",
    "SELECT FROM patient_merge WHERE survivor = $1::int8 OR subsumed = $1::int8 LIMIT 1",
};

/** A removal at work. */
typedef struct Removal {
    const Identifier *identifier;
    const IdentitySource *source;
} Removal;

static int check_removable(Request *req, DbConn *conn, const Identifier *identifier,
                           const IdentityRow *row)
{
    if (!row) {
        return identity_add_unknown(req, identifier);
    }
    if (row->survivor != 0) {
        return identity_add_subsumed(req, identifier, row);
    }
    DbParams params;
    DbResult *result = NULL;
    db_params_init(&params, req->arena);
    db_param_i64(&params, row->id);
    int rc = db_exec(conn, req, &select_merged, &params, &result);
    if (rc < 0) {
        return rc;
    }
    if (row->is_xad_pid || db_rows(result) > 0) {
        return error_add(&req->errors, ERR_HL7_DUPLICATE_KEY_IDENTIFIER, identifier->location,
                         "identifier \"%.*s\" cannot be removed: %s", STR_ARG(identifier->value),
                         row->is_xad_pid ? "documents are filed under it"
                                         : "others were merged into it; ask the operator of this "
                                           "network to undo the merge first");
    }
    return 0;
}

/** IdentityStep of a removal. */
static int remove_step(void *ctx, Pix *pix, Request *req, DbConn *conn)
{
    const Removal *removal = ctx;
    IdentityRows rows = {0};
    int rc = identity_lock_by_name(conn, req, removal->identifier, 1, &rows);
    const IdentityRow *row = identity_rows_find(&rows, removal->identifier);
    rc = rc < 0 ? rc : check_removable(req, conn, removal->identifier, row);
    rc = rc < 0 ? rc : queue_id(req, conn, &remove_identifier, row->id);
    rc = rc < 0 ? rc : identity_queue_person(pix, req, conn, row->person);
    rc = rc < 0 ? rc : identity_queue_events(pix, req, conn, removal->source);
    return rc < 0 ? rc : identity_commit(pix, req, conn);
}

int identity_remove(Pix *pix, Request *req, const Identifier *identifier,
                    const IdentitySource *source)
{
    Removal removal = {identifier, source};
    return identity_run(pix, req, remove_step, &removal);
}
