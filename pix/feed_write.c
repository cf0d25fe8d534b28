/** What a feed leaves once it is decided: identifiers, records with what search and matching find
 * them by, history, proposals, and who is told. All of it is queued. */
#include "pix/feed_state.h"
#include "pix/search.h"

/* ---- records ---- */

static const DbStatement insert_identifier = {
    "feed_insert_identifier",
    "INSERT INTO patient_identifier (id, authority, value, person, is_xad_pid)"
    " OVERRIDING SYSTEM VALUE VALUES ($1::int8, $2::int4, $3::text, $4::int8, $5::boolean)",
};

static const DbStatement upsert_record = {
    "feed_upsert_record",
    "INSERT INTO patient_demographics (identifier, birth_date, sex, postal_code, phones,"
    " match_profile, record)"
    " VALUES ($1::int8, $2::text, $3::text, $4::text, $5::text[], $6::text, $7::text)"
    " ON CONFLICT (identifier) DO UPDATE SET updated_at = now(), birth_date = excluded.birth_date,"
    " sex = excluded.sex, postal_code = excluded.postal_code, phones = excluded.phones,"
    " match_profile = excluded.match_profile, record = excluded.record",
};

static const DbStatement insert_names = {
    "feed_insert_names",
    "INSERT INTO patient_name (identifier, family, given)"
    " SELECT $1::int8, family, given FROM unnest($2::text[], $3::text[]) AS n (family, given)",
};

static const DbStatement delete_names = {
    "feed_delete_names",
    "DELETE FROM patient_name WHERE identifier = $1::int8",
};

static const DbStatement insert_keys = {
    "feed_insert_keys",
    "INSERT INTO match_key (key, identifier) SELECT key, $1::int8 FROM unnest($2::int8[]) AS key",
};

static const DbStatement delete_keys = {
    "feed_delete_keys",
    "DELETE FROM match_key WHERE identifier = $1::int8 AND key = ANY ($2::int8[])",
};

static const DbStatement delete_awaited = {
    "feed_delete_awaited",
    "DELETE FROM awaited_link w USING unnest($1::int4[], $2::text[]) AS n (authority, value)"
    " WHERE (w.authority = n.authority AND w.value = n.value)"
    " OR (w.other_authority = n.authority AND w.other_value = n.value)",
};

static int queue_identifier(const FeedState *state, Request *req, DbConn *conn,
                            const FedRecord *record)
{
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_i64(&params, record->id);
    db_param_i32(&params, record->identifier->authority->id);
    db_param_text(&params, record->identifier->value);
    db_param_i64(&params, state->target);
    db_param_bool(&params, record->identifier->authority->is_affinity_domain);
    return db_queue(conn, req, &insert_identifier, &params);
}

static int queue_search_row(Request *req, DbConn *conn, const FedRecord *record)
{
    Demographics demographics;
    SearchRow row = {0};
    demographics_read(record->record, &demographics);
    search_row_make(req->arena, &demographics, &row);
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_i64(&params, record->id);
    db_param_text(&params, row.birth_date);
    db_param_text(&params, row.sex);
    db_param_text(&params, row.postal_code);
    db_param_text_array(&params, row.phones, row.phone_count);
    db_param_text(&params, match_profile_write(req->arena, record->profile));
    db_param_text(&params, record->record);
    int rc = db_queue(conn, req, &upsert_record, &params);
    if (rc < 0 || row.name_count == 0) {
        return rc;
    }
    DbParams names;
    db_params_init(&names, req->arena);
    db_param_i64(&names, record->id);
    db_param_text_array(&names, row.families, row.name_count);
    db_param_text_array(&names, row.givens, row.name_count);
    return db_queue(conn, req, &insert_names, &names);
}

static int queue_keys(Request *req, DbConn *conn, const DbStatement *statement, int64_t id,
                      const int64_t *keys, size_t count)
{
    if (count == 0) {
        return 0;
    }
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_i64(&params, id);
    db_param_i64_array(&params, keys, count);
    return db_queue(conn, req, statement, &params);
}

/** What search and matching had of the record until now. */
static int queue_forget(const Pix *pix, Request *req, DbConn *conn, const FedRecord *record)
{
    const MatchProfile *held = match_profile_read(req->arena, record->held_profile);
    int64_t keys[MATCH_KEYS_MAX];
    size_t count = held ? match_profile_keys(&pix->config.match, held, keys) : 0;
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_i64(&params, record->id);
    int rc = db_queue(conn, req, &delete_names, &params);
    return rc < 0 ? rc : queue_keys(req, conn, &delete_keys, record->id, keys, count);
}

static int queue_record(const Pix *pix, const FeedState *state, Request *req, DbConn *conn,
                        const FedRecord *record)
{
    int rc = record->row ? 0 : queue_identifier(state, req, conn, record);
    if (rc < 0 || !record->is_changed) {
        return rc;
    }
    rc = record->held.data ? queue_forget(pix, req, conn, record) : 0;
    rc = rc < 0 ? rc : queue_search_row(req, conn, record);
    return rc < 0
               ? rc
               : queue_keys(req, conn, &insert_keys, record->id, record->keys, record->key_count);
}

/* ---- persons ---- */

/** The candidate by whom a person came in, NULL if it was named by the message. */
static const Candidate *find_match(const FeedState *state, int64_t person)
{
    for (size_t i = 0; i < state->candidates.count; i++) {
        const Candidate *candidate = &state->candidates.items[i];
        if (candidate->person == person && candidate->match.verdict == MATCH_SAME) {
            return candidate;
        }
    }
    return NULL;
}

static bool is_named(const FeedState *state, int64_t id)
{
    for (size_t i = 0; i < state->count; i++) {
        if (state->records[i].row && state->records[i].row->id == id) {
            return true;
        }
    }
    return false;
}

/** Whether an identifier of another person comes along. */
static bool comes_along(const FeedState *state, const IdentityRow *row)
{
    if (!feed_state_is_chosen(state, row->person) || row->person == state->target ||
        row->survivor != 0 || row->is_xad_pid) {
        return false;
    }
    /* under an XAD-PID that the message gave, only what the message named */
    bool is_assigned = feed_state_named_xad_pid(state) != NULL &&
                       identity_rows_xad_pid(&state->locked, row->person) != NULL;
    return !is_assigned || is_named(state, row->id);
}

static int move_identifiers(Pix *pix, const FeedState *state, Request *req, DbConn *conn)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < state->locked.count; i++) {
        const IdentityRow *row = &state->locked.items[i];
        if (!comes_along(state, row)) {
            continue;
        }
        const Candidate *match = find_match(state, row->person);
        PersonChange change = {
            .row = row,
            .to_person = state->target,
            .reason = match ? LINK_REASON_match : LINK_REASON_feed,
            .score = match ? match->match.score : 0,
            .other = state->records[0].id,
        };
        rc = identity_change_person(pix, req, conn, &state->locked, &change, &state->feed->source,
                                    NULL);
    }
    return rc;
}

/** History of the new identifiers that joined somebody. */
static int queue_joined(const FeedState *state, Request *req, DbConn *conn)
{
    static const Uuid none;
    const Candidate *match = find_match(state, state->target);
    bool is_new_person = state->person_count == 0;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < state->count && !is_new_person; i++) {
        const FedRecord *record = &state->records[i];
        if (record->row) {
            continue;
        }
        const IdentityRow row = {.id = record->id};
        PersonChange change = {
            .row = &row,
            .to_person = state->target,
            .reason = match ? LINK_REASON_match : LINK_REASON_feed,
            .score = match ? match->match.score : 0,
            .other = match ? match->identifier : 0,
        };
        rc = identity_queue_history(req, conn, &change, 0, &none, &state->feed->source);
    }
    return rc;
}

/** Most proposals that one feed makes: of patients with a name that many have, as those of tests,
 * nobody could decide on all pairs. */
#define PROPOSALS_MAX 5

/** Proposals to people who did not join: the best of each, the best ones. */
static int queue_proposals(const FeedState *state, Request *req, DbConn *conn)
{
    int rc = 0;
    int made = 0;
    for (size_t i = 0; rc == 0 && i < state->candidates.count && made < PROPOSALS_MAX; i++) {
        const Candidate *candidate = &state->candidates.items[i];
        bool is_one =
            candidate->person == state->target || feed_state_is_chosen(state, candidate->person);
        for (size_t j = 0; j < i && !is_one; j++) {
            is_one = state->candidates.items[j].person == candidate->person;
        }
        if (!is_one) {
            made++;
            rc = candidates_queue_proposal(req, conn, state->records[0].id, candidate);
        }
    }
    return rc;
}

static bool changes_the_set(const FeedState *state)
{
    for (size_t i = 0; i < state->count; i++) {
        if (!state->records[i].row) {
            return true;
        }
    }
    return state->is_minting || state->person_count > 1;
}

static int tell_persons(Pix *pix, const FeedState *state, Request *req, DbConn *conn)
{
    if (!changes_the_set(state)) {
        return 0;
    }
    int rc = identity_queue_person(pix, req, conn, state->target);
    for (size_t i = 0; rc == 0 && i < state->person_count; i++) {
        if (state->persons[i] != state->target) {
            rc = identity_queue_person(pix, req, conn, state->persons[i]);
        }
    }
    return rc;
}

/* ---- the whole ---- */

int feed_write(Pix *pix, const FeedState *state, Request *req, DbConn *conn, bool has_awaited)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < state->count; i++) {
        rc = queue_record(pix, state, req, conn, &state->records[i]);
    }
    if (rc == 0 && state->is_minting) {
        rc = identity_queue_xad_pid(pix, req, conn, state->target, state->minted_id,
                                    identity_mint(req->arena));
    }
    rc = rc < 0 ? rc : move_identifiers(pix, state, req, conn);
    rc = rc < 0 ? rc : queue_joined(state, req, conn);
    rc = rc < 0 ? rc : queue_proposals(state, req, conn);
    if (rc == 0 && has_awaited) {
        DbParams names;
        feed_state_bind_names(state, req, &names);
        rc = db_queue(conn, req, &delete_awaited, &names);
    }
    rc = rc < 0 ? rc : tell_persons(pix, state, req, conn);
    return rc < 0 ? rc : identity_queue_events(pix, req, conn, &state->feed->source);
}
