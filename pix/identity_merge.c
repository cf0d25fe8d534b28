/**
 * Merges and changes of identifiers (ITI TF-2 3.8.4.2, 3.30.6.4, 3.30.6.5, 3.44.4.2, 3.104.4.2).
 *
 * In the affinity domain a merge rewrites no object: the subsumed identifier points to its survivor
 * (3.8.4.2.4), and the local identifiers of its person follow. In a hospital's domain the documents
 * of the subsumed identifier become the survivor's (3.64.4.1.3). Other hospitals do not follow: the
 * two meet at the survivor's person, or, where others are linked with the subsumed one alone, at
 * theirs, so that these are cross-referenced with the survivor (3.8.4.2.3) and stay where they are.
 */
#include "lib/base/clock.h"
#include "pix/identity_rows.h"

/** A merge at work. */
typedef struct MergeState {
    const IdentityMerge *merge;
    IdentityRows rows; /* of both persons, locked */
    const IdentityRow *subsumed;
    const IdentityRow *survivor;
    bool is_done; /* nothing is to change, and that is no error */
} MergeState;

/* A survivor that a change of identifier brings (A47): with the record of the one it replaces. In
 * the affinity domain of a person of its own, since each has one XAD-PID; the merge then joins the
 * two. */
static const DbStatement insert_survivor = {
    "merge_insert_survivor",
    "WITH made AS (INSERT INTO patient_identifier (authority, value, person, is_xad_pid)"
    "  VALUES ($1::int4, $2::text, CASE WHEN $4::boolean THEN nextval('person_id') ELSE $3::int8 "
    "END,"
    "   $4::boolean) RETURNING id, person),"
    " record AS (INSERT INTO patient_demographics (identifier, updated_at, birth_date, sex,"
    "  postal_code, phones, match_profile, record)"
    "  SELECT made.id, updated_at, birth_date, sex, postal_code, phones, match_profile, record"
    "  FROM made, patient_demographics WHERE identifier = $5::int8),"
    " names AS (INSERT INTO patient_name (identifier, family, given)"
    "  SELECT made.id, family, given FROM made, patient_name WHERE identifier = $5::int8),"
    " keys AS (INSERT INTO match_key (key, identifier)"
    "  SELECT key, made.id FROM made, match_key WHERE identifier = $5::int8"
    "   AND key = ANY ($6::int8[]))"
    " SELECT id, person FROM made",
};

/* A subsumed identifier that nobody knew (ITI-104). */
static const DbStatement insert_subsumed = {
    "merge_insert_subsumed",
    "INSERT INTO patient_identifier (authority, value, person, is_xad_pid, survivor, merged_at)"
    " VALUES ($1::int4, $2::text, $3::int8, $4::boolean, $5::int8, now()) RETURNING id",
};

static const DbStatement select_profile = {
    "merge_select_profile",
    "SELECT match_profile FROM patient_demographics WHERE identifier = $1::int8",
};

static const DbStatement point_to_survivor = {
    "merge_point_to_survivor",
    "UPDATE patient_identifier SET survivor = $2::int8, merged_at = coalesce(merged_at, now()),"
    " person = $3::int8"
    " WHERE id = $1::int8 OR survivor = $1::int8",
};

static const DbStatement insert_merge = {
    "merge_insert",
    "INSERT INTO patient_merge (subsumed, survivor, node, source, message_id)"
    " VALUES ($1::int8, $2::int8, $3::int4, $4::text, $5::text) RETURNING id",
};

static const DbStatement set_submission_set = {
    "merge_set_submission_set",
    "UPDATE patient_merge SET submission_set = $2::uuid WHERE id = $1::int8",
};

/* ---- what may be merged ---- */

static bool is_affinity_domain(const MergeState *state)
{
    return state->merge->survivor.authority->is_affinity_domain;
}

/** Faults of one of the two in a strict merge: unknown, or merged away. */
static int check_usable(Request *req, const Identifier *identifier, const IdentityRow *row)
{
    if (!row) {
        return identity_add_unknown(req, identifier);
    }
    return row->survivor != 0 ? identity_add_subsumed(req, identifier, row) : 0;
}

/** The same merge again: the subsumed one points to this survivor, directly or through others. */
static bool is_repeated(const MergeState *state)
{
    return state->subsumed && state->survivor && state->subsumed->survivor != 0 &&
           (state->subsumed->survivor == state->survivor->id);
}

static int add_repeated(Request *req, const MergeState *state)
{
    Str time = clock_iso8601(req->arena, state->subsumed->merged_us);
    return error_add(&req->errors, ERR_HL7_UNKNOWN_KEY_IDENTIFIER, state->merge->subsumed.location,
                     "this merge was already done at %.*s: treat as done", STR_ARG(time));
}

/** Every case of TF-2 3.8.4.2.4 in which nothing may change. */
static int check_strict(Request *req, const MergeState *state)
{
    if (is_repeated(state)) {
        return add_repeated(req, state);
    }
    int subsumed_rc = check_usable(req, &state->merge->subsumed, state->subsumed);
    int survivor_rc = check_usable(req, &state->merge->survivor, state->survivor);
    return subsumed_rc < 0 ? subsumed_rc : survivor_rc;
}

/** TF-2 3.30.6.4.4, 3.30.6.5.4: what is not known, or was merged before, is no error. */
static int check_lenient(Request *req, MergeState *state)
{
    const IdentityMerge *merge = state->merge;
    if (!state->subsumed || is_repeated(state)) {
        state->is_done = true;
        return 0;
    }
    if (state->subsumed->survivor != 0) {
        return identity_add_subsumed(req, &merge->subsumed, state->subsumed);
    }
    if (state->survivor && state->survivor->survivor != 0) {
        return identity_add_subsumed(req, &merge->survivor, state->survivor);
    }
    if (merge->kind == MERGE_CHANGE && state->survivor) {
        return error_add(&req->errors, ERR_HL7_DUPLICATE_KEY_IDENTIFIER, merge->survivor.location,
                         "identifier \"%.*s\" is in use by a patient already; to join two patients "
                         "send ADT^A40",
                         STR_ARG(merge->survivor.value));
    }
    return 0;
}

/** TF-2 3.104.4.1.3: what is not known is made, and a repeated request is good. */
static int check_upsert(Request *req, MergeState *state)
{
    if (is_repeated(state)) {
        state->is_done = true;
        return 0;
    }
    int subsumed_rc =
        state->subsumed ? check_usable(req, &state->merge->subsumed, state->subsumed) : 0;
    int survivor_rc =
        state->survivor ? check_usable(req, &state->merge->survivor, state->survivor) : 0;
    return subsumed_rc < 0 ? subsumed_rc : survivor_rc;
}

static int check_merge(Request *req, MergeState *state)
{
    if (state->merge->kind == MERGE_UPSERT) {
        return check_upsert(req, state);
    }
    bool is_lenient = state->merge->kind == MERGE_LENIENT || state->merge->kind == MERGE_CHANGE;
    return is_lenient ? check_lenient(req, state) : check_strict(req, state);
}

static int check_pair(Request *req, const IdentityMerge *merge)
{
    int survivor_rc = identity_check_value(&req->errors, &merge->survivor);
    int subsumed_rc = identity_check_value(&req->errors, &merge->subsumed);
    if (survivor_rc < 0 || subsumed_rc < 0) {
        return survivor_rc < 0 ? survivor_rc : subsumed_rc;
    }
    if (merge->subsumed.authority->id != merge->survivor.authority->id) {
        return error_add(&req->errors, ERR_HL7_UNKNOWN_KEY_IDENTIFIER,
                         merge->subsumed.authority_location,
                         "the two identifiers have different assigning authorities; merge "
                         "identifiers of one authority");
    }
    if (str_equal(merge->subsumed.value, merge->survivor.value)) {
        return error_add(&req->errors, ERR_HL7_UNKNOWN_KEY_IDENTIFIER, merge->subsumed.location,
                         "the identifier to be merged is the surviving one; nothing to merge");
    }
    return 0;
}

/* ---- steps ---- */

static int lock_pair(MergeState *state, Request *req, DbConn *conn)
{
    const Identifier pair[] = {state->merge->subsumed, state->merge->survivor};
    int rc = identity_lock_by_name(conn, req, pair, ARRAY_LEN(pair), &state->rows);
    state->subsumed = identity_rows_find(&state->rows, &pair[0]);
    state->survivor = identity_rows_find(&state->rows, &pair[1]);
    return rc;
}

/** The keys under which matching finds an identifier. */
static int read_keys(Pix *pix, Request *req, DbConn *conn, int64_t id,
                     int64_t ret_keys[MATCH_KEYS_MAX], size_t *ret_count)
{
    DbParams params;
    DbResult *result = NULL;
    db_params_init(&params, req->arena);
    db_param_i64(&params, id);
    int rc = db_exec(conn, req, &select_profile, &params, &result);
    if (rc < 0) {
        return rc;
    }
    const MatchProfile *profile =
        db_rows(result) == 1 ? match_profile_read(req->arena, db_text(result, 0, 0)) : NULL;
    *ret_count = profile ? match_profile_keys(&pix->config.match, profile, ret_keys) : 0;
    return 0;
}

/** The free identifier that another one changes into. */
static int make_survivor(Pix *pix, MergeState *state, Request *req, DbConn *conn)
{
    int64_t keys[MATCH_KEYS_MAX];
    size_t key_count;
    int rc = read_keys(pix, req, conn, state->subsumed->id, keys, &key_count);
    if (rc < 0) {
        return rc;
    }
    const Identifier *named = &state->merge->survivor;
    DbParams params;
    DbResult *result = NULL;
    db_params_init(&params, req->arena);
    db_param_i32(&params, named->authority->id);
    db_param_text(&params, named->value);
    db_param_i64(&params, state->subsumed->person);
    db_param_bool(&params, named->authority->is_affinity_domain);
    db_param_i64(&params, state->subsumed->id);
    db_param_i64_array(&params, keys, key_count);
    rc = db_exec(conn, req, &insert_survivor, &params, &result);
    if (rc < 0) {
        return rc;
    }
    IdentityRow *row = ARENA_NEW(req->arena, IdentityRow);
    *row = (IdentityRow){.id = db_i64(result, 0, 0),
                         .authority = named->authority->id,
                         .value = named->value,
                         .person = db_i64(result, 0, 1)};
    state->survivor = row;
    return 0;
}

/** The unknown identifier that is merged away as soon as it is known. */
static int make_subsumed(MergeState *state, Request *req, DbConn *conn)
{
    const Identifier *named = &state->merge->subsumed;
    DbParams params;
    DbResult *result = NULL;
    db_params_init(&params, req->arena);
    db_param_i32(&params, named->authority->id);
    db_param_text(&params, named->value);
    db_param_i64(&params, state->survivor->person);
    db_param_bool(&params, named->authority->is_affinity_domain);
    db_param_i64(&params, state->survivor->id);
    int rc = db_exec(conn, req, &insert_subsumed, &params, &result);
    if (rc < 0) {
        return rc;
    }
    IdentityRow *row = ARENA_NEW(req->arena, IdentityRow);
    *row = (IdentityRow){.id = db_i64(result, 0, 0),
                         .authority = named->authority->id,
                         .value = named->value,
                         .person = state->survivor->person};
    state->subsumed = row;
    return 0;
}

static int queue_pointer(const MergeState *state, Request *req, DbConn *conn)
{
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_i64(&params, state->subsumed->id);
    db_param_i64(&params, state->survivor->id);
    db_param_i64(&params, state->survivor->person);
    return db_queue(conn, req, &point_to_survivor, &params);
}

static int insert_row(const MergeState *state, Request *req, DbConn *conn, int64_t *ret_merge)
{
    DbParams params;
    DbResult *result = NULL;
    db_params_init(&params, req->arena);
    db_param_i64(&params, state->subsumed->id);
    db_param_i64(&params, state->survivor->id);
    db_param_i32(&params, req->principal ? req->principal->node_id : 0);
    db_param_text(&params, state->merge->source.name);
    db_param_text(&params, req->message_id);
    int rc = db_exec(conn, req, &insert_merge, &params, &result);
    if (rc == 0) {
        *ret_merge = db_i64(result, 0, 0);
    }
    return rc;
}

/** (a) within the affinity domain: the local identifiers of the subsumed one's person follow; their
 * documents do by the pointer. */
static int join_persons(const MergeState *state, Request *req, DbConn *conn, int64_t merge)
{
    static const Uuid none;
    static const DbStatement join = {
        "merge_join_persons",
        "UPDATE patient_identifier SET person = $2::int8 WHERE person = $1::int8",
    };
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < state->rows.count; i++) {
        const IdentityRow *row = &state->rows.items[i];
        if (row->person != state->subsumed->person || row->survivor != 0) {
            continue;
        }
        PersonChange change = {.row = row,
                               .to_person = state->survivor->person,
                               .reason = LINK_REASON_merge,
                               .other = state->survivor->id,
                               .merge = merge};
        rc = identity_queue_history(req, conn, &change, row->person, &none, &state->merge->source);
    }
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_i64(&params, state->subsumed->person);
    db_param_i64(&params, state->survivor->person);
    return rc < 0 ? rc : db_queue(conn, req, &join, &params);
}

/** Whether a person has other local identifiers than this one. */
static bool has_others(const MergeState *state, const IdentityRow *row)
{
    for (size_t i = 0; i < state->rows.count; i++) {
        const IdentityRow *other = &state->rows.items[i];
        if (other->person == row->person && other->id != row->id && other->survivor == 0 &&
            !other->is_xad_pid) {
            return true;
        }
    }
    return false;
}

static PersonChange change_of_merge(const MergeState *state, const IdentityRow *row,
                                    int64_t to_person, int64_t merge)
{
    return (PersonChange){
        .row = row,
        .to_person = to_person,
        .reason = state->merge->kind == MERGE_CHANGE ? LINK_REASON_change : LINK_REASON_merge,
        .other = row == state->survivor ? state->subsumed->id : state->survivor->id,
        .merge = merge,
    };
}

/** (b) in a hospital's domain: the survivor first, if it joins those who are linked with the
 * subsumed one; then the documents of that one. */
static int move_subsumed(Pix *pix, MergeState *state, Request *req, DbConn *conn, int64_t merge)
{
    const IdentitySource *source = &state->merge->source;
    int rc = 0;
    if (state->survivor->person != state->subsumed->person && has_others(state, state->subsumed) &&
        !has_others(state, state->survivor)) {
        PersonChange joins =
            change_of_merge(state, state->survivor, state->subsumed->person, merge);
        rc = identity_change_person(pix, req, conn, &state->rows, &joins, source, NULL);
        IdentityRow *joined = ARENA_NEW(req->arena, IdentityRow);
        *joined = *state->survivor;
        joined->person = state->subsumed->person;
        state->survivor = joined;
    }
    Uuid submission_set = {0};
    PersonChange change = change_of_merge(state, state->subsumed, state->survivor->person, merge);
    change.renamed_to = state->survivor;
    rc = rc < 0 ? rc
                : identity_change_person(pix, req, conn, &state->rows, &change, source,
                                         &submission_set);
    if (rc < 0) {
        return rc;
    }
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_i64(&params, merge);
    db_param_uuid(&params, submission_set);
    return db_queue(conn, req, &set_submission_set, &params);
}

/** History of a survivor that began with the merge, and ends when that is undone. */
static int queue_made(const MergeState *state, Request *req, DbConn *conn, int64_t merge)
{
    static const Uuid none;
    const PersonChange change =
        change_of_merge(state, state->survivor, state->survivor->person, merge);
    return identity_queue_history(req, conn, &change, 0, &none, &state->merge->source);
}

static int tell(Pix *pix, const MergeState *state, Request *req, DbConn *conn, int64_t left_person)
{
    int rc = 0;
    if (is_affinity_domain(state) && subscribers_has_registries(pix->subscribers)) {
        rc = db_sync(conn, req, NULL);
        rc = rc < 0 ? rc
                    : subscribers_queue_merge(pix->subscribers, req, conn, state->survivor->person,
                                              state->subsumed->value, state->survivor->value);
    }
    rc = rc < 0 ? rc : identity_queue_person(pix, req, conn, state->survivor->person);
    if (rc == 0 && left_person != state->survivor->person) {
        rc = identity_queue_person(pix, req, conn, left_person);
    }
    return rc;
}

static int write_merge(Pix *pix, MergeState *state, Request *req, DbConn *conn)
{
    int64_t merge = 0;
    int rc = 0;
    bool is_made = !state->survivor;
    if (is_made) {
        rc = make_survivor(pix, state, req, conn);
    } else if (!state->subsumed) {
        rc = make_subsumed(state, req, conn);
    }
    rc = rc < 0 ? rc : insert_row(state, req, conn, &merge);
    rc = rc < 0 || !is_made ? rc : queue_made(state, req, conn, merge);
    int64_t survivors_person = rc < 0 ? 0 : state->survivor->person;
    if (is_affinity_domain(state)) {
        rc = rc < 0 ? rc : queue_pointer(state, req, conn);
        rc = rc < 0 ? rc : join_persons(state, req, conn, merge);
    } else {
        rc = rc < 0 ? rc : move_subsumed(pix, state, req, conn, merge);
        rc = rc < 0 ? rc : queue_pointer(state, req, conn);
    }
    int64_t left_person = rc == 0 && survivors_person != state->survivor->person ? survivors_person
                          : rc == 0 ? state->subsumed->person
                                    : 0;
    return rc < 0 ? rc : tell(pix, state, req, conn, left_person);
}

/** IdentityStep of a merge. */
static int merge_step(void *ctx, Pix *pix, Request *req, DbConn *conn)
{
    MergeState *state = ctx;
    *state = (MergeState){.merge = state->merge};
    int rc = lock_pair(state, req, conn);
    rc = rc < 0 ? rc : check_merge(req, state);
    if (rc == 0 && !state->is_done) {
        rc = write_merge(pix, state, req, conn);
    }
    rc = rc < 0 ? rc : identity_queue_events(pix, req, conn, &state->merge->source);
    return rc < 0 ? rc : identity_commit(pix, req, conn);
}

/** ITI-104 of two identifiers that nobody knows: the survivor is fed first, as a patient. */
static int feed_survivor(Pix *pix, Request *req, const IdentityMerge *merge)
{
    const Authorities *authorities = authority_directory_hold(pix->authorities, req->arena);
    bool is_known = false;
    const Identifier *const pair[] = {&merge->survivor, &merge->subsumed};
    for (size_t i = 0; i < ARRAY_LEN(pair) && !is_known; i++) {
        CrossReference reference;
        int rc = identity_find_all(pix, req, authorities, pair[i], &reference);
        if (rc < 0) {
            return rc;
        }
        is_known = reference.is_known || !str_is_empty(reference.subsumed_by);
    }
    if (is_known) {
        return 0;
    }
    IdentityFeed feed = {.identifiers = &merge->survivor, .identifier_count = 1};
    feed.source.name = merge->source.name;
    if (merge->demographics) {
        feed.demographics = *merge->demographics;
    }
    return identity_feed(pix, req, &feed, NULL);
}

int identity_merge(Pix *pix, Request *req, const IdentityMerge *merge)
{
    int rc = check_pair(req, merge);
    if (rc == 0 && merge->kind == MERGE_UPSERT) {
        rc = feed_survivor(pix, req, merge);
    }
    MergeState state = {.merge = merge};
    return rc < 0 ? rc : identity_run(pix, req, merge_step, &state);
}
