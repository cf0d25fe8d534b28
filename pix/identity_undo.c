/**
 * Taking back: a link, a merge, an identifier. History is never removed: what is undone says so,
 * and undoing adds rows of its own. Changes may be undone in any order: an identifier goes to where
 * the changes that are left take it.
 */
#include "pix/identity_rows.h"

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

/* All rows of one change have its transaction's time, and one target. */
#define LINK_COLUMNS                                                                               \
    "id, identifier, coalesce(from_person, 0), to_person, coalesce(other, 0), merge IS NOT NULL, " \
    "undone_at IS NOT NULL"

static const DbStatement select_change = {
    "undo_select_change",
    "SELECT " LINK_COLUMNS " FROM patient_link WHERE (linked_at, to_person, source, message_id) ="
    " (SELECT linked_at, to_person, source, message_id FROM patient_link WHERE id = $1::int8)"
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

/* ---- what is left of history ---- */

static const DbStatement select_history = {
    "undo_select_history",
    "SELECT coalesce(l.from_person, 0), l.to_person, l.undone_at IS NOT NULL, l.undoes IS NOT NULL,"
    " coalesce(x.is_xad_pid, false) FROM patient_link l LEFT JOIN patient_merge m ON m.id = l.merge"
    " LEFT JOIN patient_identifier x ON x.id = m.subsumed"
    " WHERE l.identifier = $1::int8 ORDER BY l.id",
};
enum { HISTORY_FROM, HISTORY_TO, HISTORY_IS_UNDONE, HISTORY_IS_UNDO, HISTORY_IS_FOLLOWED };

/* Where the XAD-PID of a person went with a merge that is in force. */
static const DbStatement select_successor = {
    "undo_select_successor",
    "SELECT l.to_person, m.id, m.survivor FROM patient_link l"
    " JOIN patient_merge m ON m.id = l.merge AND m.subsumed = l.identifier AND m.undone_at IS NULL"
    " JOIN patient_identifier x ON x.id = m.subsumed AND x.is_xad_pid"
    " WHERE l.from_person = $1::int8 ORDER BY l.id DESC LIMIT 1",
};

/** Whether no change before this row led to or from its person: it was made for an identifier that
 * began with what was undone. */
static bool is_new_place(const DbResult *history, int row)
{
    int64_t person = db_i64(history, row, HISTORY_TO);
    bool is_new = true;
    for (int i = 0; i < row; i++) {
        is_new &=
            db_i64(history, i, HISTORY_FROM) != person && db_i64(history, i, HISTORY_TO) != person;
    }
    return is_new;
}

/** The person that the changes which nobody undid take an identifier to, in their order; a merge of
 * XAD-PIDs takes along whoever was there. 0: it began with what was undone. */
static int64_t replay(const DbResult *history)
{
    int64_t person = db_rows(history) > 0 ? db_i64(history, 0, HISTORY_FROM) : 0;
    for (int row = 0; row < db_rows(history); row++) {
        int64_t to = db_i64(history, row, HISTORY_TO);
        if (db_bool(history, row, HISTORY_IS_UNDO)) {
            person = person == 0 && is_new_place(history, row) ? to : person;
        } else if (!db_bool(history, row, HISTORY_IS_UNDONE) &&
                   (!db_bool(history, row, HISTORY_IS_FOLLOWED) ||
                    db_i64(history, row, HISTORY_FROM) == person)) {
            person = to;
        }
    }
    return person;
}

/** Appends rows to those that are locked. */
static void add_rows(Arena *arena, IdentityRows *rows, const IdentityRow *more, size_t count)
{
    IdentityRow *grown = ARENA_ARRAY(arena, IdentityRow, rows->count + count);
    for (size_t i = 0; i < rows->count + count; i++) {
        grown[i] = i < rows->count ? rows->items[i] : more[i - rows->count];
    }
    *rows = (IdentityRows){grown, rows->count + count};
}

/** A person of its own for identifiers that began with what is undone; one for all of them. */
static int open_person(Pix *pix, UndoState *state, Request *req, DbConn *conn, int64_t *ret_person)
{
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
        add_rows(req->arena, &state->rows, &state->new_person.xad_pid, 1);
        state->has_new_person = true;
    }
    *ret_person = state->new_person.person;
    return 0;
}

/** From a person whose XAD-PID was merged away since to the one who has it now, as if the
 * identifier had followed then; ret_person 0: there is none. */
static int follow(UndoState *state, Request *req, DbConn *conn, const IdentityRow *row,
                  int64_t person, int64_t *ret_person)
{
    static const Uuid none;
    DbParams params;
    DbResult *result = NULL;
    db_params_init(&params, req->arena);
    db_param_i64(&params, person);
    int rc = db_exec(conn, req, &select_successor, &params, &result);
    *ret_person = rc == 0 && db_rows(result) == 1 ? db_i64(result, 0, 0) : 0;
    if (*ret_person == 0) {
        return rc;
    }
    PersonChange change = {.row = row,
                           .to_person = *ret_person,
                           .reason = LINK_REASON_merge,
                           .other = db_i64(result, 0, 2),
                           .merge = db_i64(result, 0, 1)};
    rc = identity_queue_history(req, conn, &change, person, &none, state->source);
    return rc < 0 ? rc : db_sync(conn, req, NULL);
}

/** Where the history that is left has an identifier; the person is locked. */
static int find_place(Pix *pix, UndoState *state, Request *req, DbConn *conn,
                      const IdentityRow *row, int64_t *ret_person)
{
    DbParams params;
    DbResult *history = NULL;
    db_params_init(&params, req->arena);
    db_param_i64(&params, row->id);
    int rc = db_sync(conn, req, NULL);
    rc = rc < 0 ? rc : db_exec(conn, req, &select_history, &params, &history);
    int64_t next = rc == 0 ? replay(history) : 0;
    if (rc == 0 && next == 0) {
        return open_person(pix, state, req, conn, ret_person);
    }
    while (rc == 0 && next != 0) {
        IdentityRows more = {0};
        *ret_person = next;
        next = 0;
        rc = identity_lock_persons(conn, req, ret_person, 1, &more);
        add_rows(req->arena, &state->rows, more.items, more.count);
        if (rc == 0 && !identity_rows_xad_pid(&state->rows, *ret_person)) {
            rc = follow(state, req, conn, row, *ret_person, &next);
        }
    }
    return rc;
}

/** Takes an identifier from the person that a change brought it to, to where the history that is
 * left has it. */
static int settle(Pix *pix, UndoState *state, Request *req, DbConn *conn, const LinkRow *link)
{
    const IdentityRow *row = identity_rows_by_id(&state->rows, link->identifier);
    if (!row || row->survivor != 0 || row->is_xad_pid) {
        return 0; /* what was merged away goes with its survivor */
    }
    int64_t place = 0;
    int rc = find_place(pix, state, req, conn, row, &place);
    /* where it stays after all, but a merge had taken its documents along: these come to it */
    bool stays = rc == 0 && place == row->person;
    int64_t left = stays && link->is_part_of_merge ? link->from_person : row->person;
    if (rc < 0 || place == left || left == 0) {
        return rc;
    }
    IdentityRow leaving = *row;
    leaving.person = left;
    PersonChange change = {.row = &leaving,
                           .to_person = place,
                           .reason = LINK_REASON_undo,
                           .other = link->other,
                           .undoes = link->id};
    rc = identity_change_person(pix, req, conn, &state->rows, &change, state->source, NULL);
    rc = rc < 0 ? rc : identity_queue_person(pix, req, conn, left);
    return rc < 0 ? rc : identity_queue_person(pix, req, conn, place);
}

/* ---- links ---- */

/** Undoes one identifier's way, and keeps matching from linking it again. */
static int undo_link(Pix *pix, UndoState *state, Request *req, DbConn *conn, const LinkRow *link)
{
    int rc = queue_id(req, conn, &mark_undone, link->id);
    rc = rc < 0 ? rc : settle(pix, state, req, conn, link);
    if (rc == 0 && link->other != 0) {
        rc = identity_queue_verdict(req, conn, link->identifier, link->other, "different",
                                    state->source->name);
    }
    return rc;
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
    "  person = $2::int8"
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

/** The documents that a merge in a hospital's domain moved, back to their identifier.
 * @param row  the one that was merged, still where its survivor is */
static int move_documents_back(Pix *pix, UndoState *state, Request *req, DbConn *conn,
                               const MergeRow *merge, const IdentityRow *row, int64_t place,
                               Uuid *ret_submission_set)
{
    const IdentityRow *from = identity_rows_xad_pid(&state->rows, row->person);
    const IdentityRow *to = identity_rows_xad_pid(&state->rows, place);
    const IdentityRow *kept = identity_rows_by_id(&state->rows, row->survivor);
    if (!from || !to || !kept || !merge->has_submission_set) {
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

static int queue_restore(Request *req, DbConn *conn, const MergeRow *merge, int64_t place)
{
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_i64(&params, merge->subsumed);
    db_param_i64(&params, place);
    return db_queue(conn, req, &restore_chain, &params);
}

/** The link by which a merge took its subsumed identifier along. */
static const LinkRow *link_of_subsumed(const LinkRows *links, const MergeRow *merge)
{
    for (size_t i = 0; i < links->count; i++) {
        if (links->items[i].identifier == merge->subsumed) {
            return &links->items[i];
        }
    }
    return NULL;
}

/** The subsumed identifier is active again: an XAD-PID at its own person, another one where its
 * history has it, with the documents that the merge took. */
static int restore_subsumed(Pix *pix, UndoState *state, Request *req, DbConn *conn,
                            const MergeRow *merge, const LinkRow *link)
{
    Uuid submission_set = {0};
    const IdentityRow *row = identity_rows_by_id(&state->rows, merge->subsumed);
    if (!row || !link) {
        return row ? queue_restore(req, conn, merge, row->person) : 0;
    }
    int64_t place = link->from_person;
    int rc = 0;
    if (!row->is_xad_pid) {
        rc = find_place(pix, state, req, conn, row, &place);
        rc = rc < 0
                 ? rc
                 : move_documents_back(pix, state, req, conn, merge, row, place, &submission_set);
    }
    PersonChange change = {
        .row = row, .to_person = place, .reason = LINK_REASON_undo, .undoes = link->id};
    rc = rc < 0 ? rc : queue_restore(req, conn, merge, place);
    rc = rc < 0 ? rc
                : identity_queue_history(req, conn, &change, row->person, &submission_set,
                                         state->source);
    rc = rc < 0 ? rc : identity_queue_person(pix, req, conn, row->person);
    return rc < 0 ? rc : identity_queue_person(pix, req, conn, place);
}

/* History stays: patient_link names identifiers by numbers that are not used again. */
static const DbStatement remove_identifier = {
    "undo_remove_identifier",
    "WITH names AS (DELETE FROM patient_name WHERE identifier = $1::int8),"
    " keys AS (DELETE FROM match_key WHERE identifier = $1::int8),"
    " record AS (DELETE FROM patient_demographics WHERE identifier = $1::int8)"
    " DELETE FROM patient_identifier WHERE id = $1::int8",
};

/* What was done since with an identifier that a change of identifier brought. */
static const DbStatement select_used = {
    "undo_select_used",
    "SELECT FROM patient_merge m WHERE m.id = $2::int8 AND"
    " (EXISTS (SELECT FROM patient_demographics d"
    "   WHERE d.identifier = $1::int8 AND d.updated_at > m.merged_at)"
    "  OR EXISTS (SELECT FROM patient_link l WHERE l.identifier = $1::int8"
    "   AND l.undoes IS NULL AND l.undone_at IS NULL AND l.merge IS NULL)"
    "  OR EXISTS (SELECT FROM patient_merge other WHERE other.undone_at IS NULL"
    "   AND $1::int8 IN (other.subsumed, other.survivor)))",
};

/** Takes the identifier that began with the merge out of use, unless it was used since. */
static int retire_survivor(Request *req, DbConn *conn, const MergeRow *merge)
{
    DbParams params;
    DbResult *result = NULL;
    db_params_init(&params, req->arena);
    db_param_i64(&params, merge->survivor);
    db_param_i64(&params, merge->id);
    int rc = db_sync(conn, req, NULL);
    rc = rc < 0 ? rc : db_exec(conn, req, &select_used, &params, &result);
    return rc < 0 || db_rows(result) > 0 ? rc
                                         : queue_id(req, conn, &remove_identifier, merge->survivor);
}

/** Whether this is the row of history with which the merge's survivor began. */
static bool is_beginning(const LinkRow *link, const MergeRow *merge)
{
    return link->identifier == merge->survivor && link->from_person == 0;
}

static int undo_merge(Pix *pix, UndoState *state, Request *req, DbConn *conn)
{
    MergeRow merge = {0};
    LinkRows links = {0};
    int rc = read_merge(state, req, conn, &merge);
    rc = rc < 0 ? rc : read_links(conn, req, &select_of_merge, merge.id, &links);
    rc = rc < 0 ? rc : lock_links(conn, req, &links, &state->rows);
    rc = rc < 0 ? rc : queue_id(req, conn, &mark_merge_undone, merge.id);
    for (size_t i = 0; rc == 0 && i < links.count; i++) {
        if (!is_beginning(&links.items[i], &merge)) {
            rc = queue_id(req, conn, &mark_undone, links.items[i].id);
        }
    }
    rc = rc < 0 ? rc
                : restore_subsumed(pix, state, req, conn, &merge, link_of_subsumed(&links, &merge));
    rc = rc < 0 ? rc : db_sync(conn, req, NULL);
    rc = rc < 0 ? rc : lock_links(conn, req, &links, &state->rows); /* as they are now */
    for (size_t i = 0; rc == 0 && i < links.count; i++) {
        const LinkRow *link = &links.items[i];
        if (is_beginning(link, &merge)) {
            rc = retire_survivor(req, conn, &merge);
        } else if (link->identifier != merge.subsumed) {
            rc = settle(pix, state, req, conn, link);
        }
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

static const DbStatement select_merged = {
    "undo_select_merged",
    "SELECT FROM patient_merge WHERE (survivor = $1::int8 OR subsumed = $1::int8)"
    " AND undone_at IS NULL LIMIT 1",
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
