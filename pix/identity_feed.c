/**
 * The feed of one patient (ITI TF-2 3.8.4.1.3, 3.30.6, 3.44.4.1.3, 3.104.4.1.3), whatever surface
 * it came through.
 *
 * A feed that changes nothing is a look-up and an audit event. Else one transaction: locks on the
 * match keys and names, so that two records of one new patient cannot miss each other; reading what
 * is known; deciding, which is pure; writing.
 */
#include <stdlib.h>
#include <string.h>

#include "pix/feed_match.h"
#include "pix/search.h"

#define IDENTIFIERS_MAX 100
/** First key of the advisory locks of feeds; the registry has 1 and 2. */
#define LOCK_CLASS "3"

/** One identifier of the feed with its record. */
typedef struct FedRecord {
    const Identifier *identifier;
    const IdentityRow *row; /* NULL: new */
    int64_t id;             /* of row, or allocated */
    Str held;               /* demographics_write() of what is held; data NULL: no record */
    Str held_profile;
    Str record;                  /* what is held after this feed */
    const MatchProfile *profile; /* of record; NULL: not made yet */
    int64_t keys[MATCH_KEYS_MAX];
    size_t key_count;
    bool is_changed;
} FedRecord;

/** A feed at work; made anew for each attempt. */
typedef struct FeedState {
    const IdentityFeed *feed;
    FedRecord *records;
    size_t count;
    IdentityRows found;    /* of the identifiers named */
    Candidates candidates; /* of all records */
    int64_t *persons;      /* those that become one, the one that stays first */
    size_t person_count;   /* 0: a new person */
    int64_t target;
    bool is_minting;
    int64_t minted_id;
    bool awaits_announcement; /* of minted_id */
    IdentityRows locked;
} FeedState;

/* ---- reading ---- */

static const DbStatement select_fed = {
    "feed_select",
    "SELECT " IDENTITY_COLUMNS ", d.record, d.match_profile,"
    " (SELECT x.is_announced FROM patient_identifier x"
    "  WHERE x.person = i.person AND x.is_xad_pid AND x.survivor IS NULL)"
    " FROM unnest($1::int4[], $2::text[]) AS n (authority, value)"
    " JOIN patient_identifier i ON i.authority = n.authority AND i.value = n.value"
    " LEFT JOIN patient_demographics d ON d.identifier = i.id",
};
enum {
    FED_RECORD = IDENTITY_COLUMN_COUNT,
    FED_PROFILE,
    FED_IS_ANNOUNCED /* NULL: the person has no XAD-PID */
};

static const DbStatement lock_keys = {
    "feed_lock",
    "SELECT pg_advisory_xact_lock(" LOCK_CLASS ", key) FROM"
    " (SELECT DISTINCT hashint8(k) AS key FROM unnest($1::int8[]) k"
    "  UNION SELECT hashtext(v) FROM unnest($2::text[]) v ORDER BY key) keys",
};

static const DbStatement select_awaited = {
    "feed_select_awaited",
    "SELECT i.person FROM unnest($1::int4[], $2::text[]) AS n (authority, value)"
    " JOIN awaited_link w ON w.authority = n.authority AND w.value = n.value"
    " JOIN patient_identifier i ON i.authority = w.other_authority AND i.value = w.other_value"
    "  AND i.survivor IS NULL",
};

static const DbStatement allocate = {
    "feed_allocate",
    "SELECT nextval('person_id'), nextval('patient_identifier_id_seq')"
    " FROM generate_series(1, $1::int4)",
};

static void bind_names(FeedState *state, Request *req, DbParams *params)
{
    Identifier *names = ARENA_ARRAY(req->arena, Identifier, state->count);
    for (size_t i = 0; i < state->count; i++) {
        names[i] = *state->records[i].identifier;
    }
    db_params_init(params, req->arena);
    identity_bind_names(params, req->arena, names, state->count);
}

/** Takes over the rows of select_fed, and says what is wrong with the identifiers. */
static int read_found(FeedState *state, Request *req, const DbResult *result)
{
    identity_rows_read(req->arena, result, &state->found);
    int rc = 0;
    for (size_t i = 0; i < state->count; i++) {
        FedRecord *record = &state->records[i];
        record->row = identity_rows_find(&state->found, record->identifier);
        if (!record->row) {
            continue;
        }
        int row = (int)(record->row - state->found.items);
        record->id = record->row->id;
        if (!db_is_null(result, row, FED_RECORD)) {
            record->held = db_text(result, row, FED_RECORD);
            record->held_profile = db_text(result, row, FED_PROFILE);
        }
        if (record->row->survivor != 0) {
            rc = identity_add_subsumed(req, record->identifier, record->row);
        }
    }
    return rc;
}

/** What is held of each identifier after this feed. */
static void update_records(FeedState *state, Request *req)
{
    for (size_t i = 0; i < state->count; i++) {
        FedRecord *record = &state->records[i];
        Demographics held = {0};
        demographics_read(record->held, &held);
        if (!record->identifier->is_quoted) {
            demographics_update(&held, &state->feed->demographics);
        }
        Str before = record->record;
        record->record = demographics_write(req->arena, &held);
        if (!str_equal(before, record->record)) {
            record->profile = NULL;
        }
        record->is_changed = !record->held.data || !str_equal(record->held, record->record);
    }
}

/** Identifiers of the affinity domain that a revision names and nobody knows stay unknown
 * (TF-2 3.8.4.1.4). */
static void drop_unknown_xad_pids(FeedState *state)
{
    size_t kept = 0;
    for (size_t i = 0; i < state->count; i++) {
        const FedRecord *record = &state->records[i];
        bool is_dropped = state->feed->is_revision && !record->row &&
                          record->identifier->authority->is_affinity_domain;
        if (!is_dropped) {
            state->records[kept++] = *record;
        }
    }
    state->count = kept;
}

/** Whether all is known already: the same person, the same records, an XAD-PID that was handed out.
 */
static bool is_repeated(const Pix *pix, const FeedState *state, const DbResult *result)
{
    for (size_t i = 0; i < state->count; i++) {
        const FedRecord *record = &state->records[i];
        if (!record->row || record->is_changed ||
            record->row->person != state->records[0].row->person) {
            return false;
        }
        int row = (int)(record->row - state->found.items);
        bool has_xad_pid = !db_is_null(result, row, FED_IS_ANNOUNCED);
        if (has_xad_pid ? !db_bool(result, row, FED_IS_ANNOUNCED)
                        : pix->config.pid_owner == PID_OWNER_SELF) {
            return false;
        }
    }
    return true;
}

static int read_fed(FeedState *state, Request *req, DbConn *conn, DbResult **ret_result)
{
    DbParams params;
    bind_names(state, req, &params);
    int rc = db_exec(conn, req, &select_fed, &params, ret_result);
    rc = rc < 0 ? rc : read_found(state, req, *ret_result);
    if (rc == 0) {
        drop_unknown_xad_pids(state);
        update_records(state, req);
    }
    return rc;
}

/** Normal forms and keys of what has changed. XAD-PIDs match by their demographics only where their
 * owner feeds them. */
static void make_profiles(const Pix *pix, FeedState *state, Request *req)
{
    for (size_t i = 0; i < state->count; i++) {
        FedRecord *record = &state->records[i];
        if (record->profile) {
            continue; /* the locks were waited for, and nothing has changed */
        }
        Demographics demographics;
        demographics_read(record->record, &demographics);
        record->profile = match_profile_new(req->arena, &demographics);
        bool is_matched = !record->identifier->authority->is_affinity_domain ||
                          pix->config.pid_owner == PID_OWNER_EXTERNAL;
        record->key_count =
            is_matched ? match_profile_keys(&pix->config.match, record->profile, record->keys) : 0;
    }
}

static size_t collect_keys(const FeedState *state, Request *req, int64_t **ret_keys)
{
    size_t count = 0;
    *ret_keys = ARENA_ARRAY(req->arena, int64_t, state->count * MATCH_KEYS_MAX);
    for (size_t i = 0; i < state->count; i++) {
        for (size_t k = 0; k < state->records[i].key_count; k++) {
            (*ret_keys)[count++] = state->records[i].keys[k];
        }
    }
    return count;
}

static int queue_locks(FeedState *state, Request *req, DbConn *conn, const int64_t *keys,
                       size_t key_count)
{
    Str *names = ARENA_ARRAY(req->arena, Str, state->count);
    for (size_t i = 0; i < state->count; i++) {
        const Identifier *identifier = state->records[i].identifier;
        names[i] = str_printf(req->arena, "%d %.*s", identifier->authority->id,
                              STR_ARG(identifier->value));
    }
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_i64_array(&params, keys, key_count);
    db_param_text_array(&params, names, state->count);
    return db_queue(conn, req, &lock_keys, &params);
}

enum { READ_LOCKS, READ_FED, READ_CANDIDATES, READ_AWAITED, READ_ALLOCATED, READ_COUNT };

/** BEGIN, locks, and all that the decision depends on: one round trip. */
static int read_state(FeedState *state, Request *req, DbConn *conn, DbResult *results[READ_COUNT])
{
    int64_t *keys;
    size_t key_count = collect_keys(state, req, &keys);
    DbParams names;
    DbParams wanted;
    bind_names(state, req, &names);
    db_params_init(&wanted, req->arena);
    db_param_i32(&wanted, (int32_t)state->count + 1);
    int rc = db_queue_begin(conn, req);
    rc = rc < 0 ? rc : queue_locks(state, req, conn, keys, key_count);
    rc = rc < 0 ? rc : db_queue(conn, req, &select_fed, &names);
    rc = rc < 0 ? rc : candidates_queue(req, conn, keys, key_count);
    rc = rc < 0 ? rc : db_queue(conn, req, &select_awaited, &names);
    rc = rc < 0 ? rc : db_queue(conn, req, &allocate, &wanted);
    return rc < 0 ? rc : db_sync(conn, req, results);
}

/* ---- deciding ---- */

/** Whether this is one of the persons that become one. */
static bool is_chosen(const FeedState *state, int64_t person)
{
    for (size_t i = 0; i < state->person_count; i++) {
        if (state->persons[i] == person) {
            return true;
        }
    }
    return false;
}

static void add_person(FeedState *state, int64_t person)
{
    if (!is_chosen(state, person)) {
        state->persons[state->person_count++] = person;
    }
}

/** The candidates of the record that this feed brings, those of the feed itself left out. What it
 * quotes was matched when its own source fed it. */
static void match_records(const Pix *pix, FeedState *state, Request *req, const DbResult *result)
{
    const FedRecord *own = &state->records[0];
    for (size_t i = 0; i < state->count; i++) {
        const FedRecord *record = &state->records[i];
        bool is_better = own->identifier->is_quoted && !record->identifier->is_quoted;
        if (record->key_count > 0 && (own->key_count == 0 || is_better)) {
            own = record;
        }
    }
    candidates_read(&pix->config.match, req->arena, result, own->profile, &state->found,
                    &state->candidates);
}

/** The XAD-PID that the message itself names, NULL if none. */
static const FedRecord *find_named_xad_pid(const FeedState *state)
{
    for (size_t i = 0; i < state->count; i++) {
        if (state->records[i].identifier->authority->is_affinity_domain) {
            return &state->records[i];
        }
    }
    return NULL;
}

/**
 * The persons that become one: those of the identifiers named, that of an XAD-PID first, of links
 * that waited for them, and of all who match.
 */
static void collect_persons(FeedState *state, Request *req, const DbResult *awaited)
{
    size_t room = state->count + (size_t)db_rows(awaited) + state->candidates.count;
    state->persons = ARENA_ARRAY(req->arena, int64_t, room);
    const FedRecord *named = find_named_xad_pid(state);
    if (named && named->row) {
        add_person(state, named->row->person);
    }
    for (size_t i = 0; i < state->count; i++) {
        if (state->records[i].row) {
            add_person(state, state->records[i].row->person);
        }
    }
    for (int row = 0; row < db_rows(awaited); row++) {
        add_person(state, db_i64(awaited, row, 0));
    }
    for (size_t i = 0; i < state->candidates.count; i++) {
        if (state->candidates.items[i].match.verdict == MATCH_SAME) {
            add_person(state, state->candidates.items[i].person);
        }
    }
}

/** Leaves out whom a verdict separates from those before. */
static int drop_barred(FeedState *state, Request *req, DbConn *conn)
{
    if (state->person_count < 2) {
        return 0;
    }
    bool *is_barred = ARENA_ARRAY(req->arena, bool, state->person_count);
    int rc = candidates_check_verdicts(conn, req, state->persons, state->person_count, is_barred);
    if (rc < 0) {
        return rc;
    }
    size_t kept = 0;
    for (size_t i = 0; i < state->person_count; i++) {
        if (!is_barred[i]) {
            state->persons[kept++] = state->persons[i];
        }
    }
    state->person_count = kept;
    return 0;
}

static int lock_persons(FeedState *state, Request *req, DbConn *conn)
{
    if (state->person_count == 0) {
        return 0;
    }
    /* also those of identifiers that stay where they are, since a verdict bars them */
    size_t count = state->person_count;
    int64_t *persons = ARENA_ARRAY(req->arena, int64_t, count + state->found.count);
    memcpy(persons, state->persons, count * sizeof(*persons));
    for (size_t i = 0; i < state->found.count; i++) {
        persons[count++] = state->found.items[i].person;
    }
    int rc = identity_lock_persons(conn, req, persons, count, &state->locked);
    if (rc < 0) {
        return rc;
    }
    bool is_current = identity_rows_are_current(&state->found, &state->locked);
    for (size_t i = 0; i < state->person_count; i++) {
        bool is_there = false;
        for (size_t row = 0; row < state->locked.count; row++) {
            is_there |= state->locked.items[row].person == state->persons[i];
        }
        is_current &= is_there;
    }
    return is_current ? 0 : identity_add_raced(req);
}

/** Whether the message names an identifier of this person. */
static bool is_person_named(const FeedState *state, int64_t person)
{
    for (size_t i = 0; i < state->found.count; i++) {
        if (state->found.items[i].person == person) {
            return true;
        }
    }
    return false;
}

/** Persons whose XAD-PIDs others own stay as they are: their owner says who is who, in a message
 * that names the XAD-PID and whom it is for. */
static void drop_owned_elsewhere(const Pix *pix, FeedState *state, const FedRecord *named)
{
    size_t kept = 0;
    bool has_xad_pid = named != NULL;
    for (size_t i = 0; i < state->person_count; i++) {
        int64_t person = state->persons[i];
        bool has_one = identity_rows_xad_pid(&state->locked, person) != NULL;
        bool is_said = named && is_person_named(state, person);
        bool is_barred =
            has_one && has_xad_pid && !is_said && pix->config.pid_owner == PID_OWNER_EXTERNAL;
        has_xad_pid |= has_one;
        if (!is_barred) {
            state->persons[kept++] = person;
        }
    }
    state->person_count = kept;
}

/** The person that stays: of the XAD-PID named, else with an XAD-PID, else the oldest. */
static int64_t choose_target(const FeedState *state, const FedRecord *named)
{
    if (named && named->row) {
        return named->row->person;
    }
    int64_t target = 0;
    bool target_has_one = false;
    for (size_t i = 0; i < state->person_count; i++) {
        int64_t person = state->persons[i];
        bool has_one = identity_rows_xad_pid(&state->locked, person) != NULL;
        if (target == 0 || (has_one && !target_has_one) ||
            (has_one == target_has_one && person < target)) {
            target = person;
            target_has_one = has_one;
        }
    }
    return target;
}

/** A message that names a new XAD-PID opens a person of its own where those found have one. */
static void decide_target(const Pix *pix, FeedState *state, int64_t new_person)
{
    const FedRecord *named = find_named_xad_pid(state);
    bool names_new = named && !named->row;
    drop_owned_elsewhere(pix, state, named);
    state->target = choose_target(state, named);
    bool target_has_one =
        state->target != 0 && identity_rows_xad_pid(&state->locked, state->target) != NULL;
    if (state->target == 0 || (names_new && target_has_one)) {
        state->target = new_person;
        target_has_one = false;
    }
    state->is_minting = !target_has_one && !names_new && pix->config.pid_owner == PID_OWNER_SELF;
}

/* ---- writing ---- */

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
    if (!is_chosen(state, row->person) || row->person == state->target || row->survivor != 0 ||
        row->is_xad_pid) {
        return false;
    }
    /* under an XAD-PID that the message gave, only what the message named */
    bool is_assigned = find_named_xad_pid(state) != NULL &&
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
        bool is_one = candidate->person == state->target || is_chosen(state, candidate->person);
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

static int write_state(Pix *pix, FeedState *state, Request *req, DbConn *conn,
                       const DbResult *awaited)
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
    if (rc == 0 && db_rows(awaited) > 0) {
        DbParams names;
        bind_names(state, req, &names);
        rc = db_queue(conn, req, &delete_awaited, &names);
    }
    rc = rc < 0 ? rc : tell_persons(pix, state, req, conn);
    return rc < 0 ? rc : identity_queue_events(pix, req, conn, &state->feed->source);
}

/* ---- the whole ---- */

static void take_allocated(FeedState *state, const DbResult *allocated)
{
    for (size_t i = 0; i < state->count; i++) {
        if (!state->records[i].row) {
            state->records[i].id = db_i64(allocated, (int)i, 1);
        }
    }
    state->minted_id = db_i64(allocated, (int)state->count, 1);
}

/** The records of a feed, nothing read yet. */
static void start_state(FeedState *state, const IdentityFeed *feed, Request *req)
{
    *state = (FeedState){.feed = feed, .count = feed->identifier_count};
    state->records = ARENA_ARRAY(req->arena, FedRecord, state->count);
    for (size_t i = 0; i < state->count; i++) {
        state->records[i].identifier = &feed->identifiers[i];
    }
}

static int record_only(Pix *pix, FeedState *state, Request *req, DbConn *conn)
{
    int rc = db_queue_begin(conn, req);
    rc = rc < 0 ? rc : identity_queue_events(pix, req, conn, &state->feed->source);
    return rc < 0 ? rc : db_commit(conn, req, NULL);
}

/** Reads again under the locks, decides and writes. */
static int change(Pix *pix, FeedState *state, Request *req, DbConn *conn)
{
    DbResult *results[READ_COUNT] = {0};
    make_profiles(pix, state, req);
    int rc = read_state(state, req, conn, results);
    rc = rc < 0 ? rc : read_found(state, req, results[READ_FED]);
    if (rc < 0) {
        return rc;
    }
    update_records(state, req);
    make_profiles(pix, state, req);
    take_allocated(state, results[READ_ALLOCATED]);
    match_records(pix, state, req, results[READ_CANDIDATES]);
    collect_persons(state, req, results[READ_AWAITED]);
    rc = drop_barred(state, req, conn);
    rc = rc < 0 ? rc : lock_persons(state, req, conn);
    if (rc < 0) {
        return rc;
    }
    decide_target(pix, state, db_i64(results[READ_ALLOCATED], 0, 0));
    rc = write_state(pix, state, req, conn, results[READ_AWAITED]);
    return rc < 0 ? rc : identity_commit(pix, req, conn);
}

/** IdentityStep of a feed. */
static int feed_step(void *ctx, Pix *pix, Request *req, DbConn *conn)
{
    FeedState *state = ctx;
    DbResult *result = NULL;
    start_state(state, state->feed, req);
    int rc = read_fed(state, req, conn, &result);
    if (rc < 0) {
        return rc;
    }
    if (state->count == 0 || is_repeated(pix, state, result)) {
        return record_only(pix, state, req, conn);
    }
    rc = change(pix, state, req, conn);
    if (rc == 0 && subscribers_has_registries(pix->subscribers)) {
        const IdentityRow *held = identity_rows_xad_pid(&state->locked, state->target);
        state->minted_id = held ? held->id : state->minted_id;
        state->awaits_announcement = state->is_minting || (held && !held->is_announced);
    }
    return rc;
}

static int check_feed(Request *req, const IdentityFeed *feed)
{
    int rc = 0;
    if (feed->identifier_count > IDENTIFIERS_MAX) {
        return error_add(&req->errors, ERR_HL7_DATA_TYPE, feed->identifiers[0].location,
                         "the message has %zu identifiers of one patient; send at most %d",
                         feed->identifier_count, IDENTIFIERS_MAX);
    }
    const Identifier *xad_pid = NULL;
    for (size_t i = 0; i < feed->identifier_count; i++) {
        const Identifier *identifier = &feed->identifiers[i];
        int fault = identity_check_value(&req->errors, identifier);
        if (fault == 0 && identifier->authority->is_affinity_domain) {
            fault = xad_pid && !str_equal(xad_pid->value, identifier->value)
                        ? error_add(&req->errors, ERR_HL7_DATA_TYPE, identifier->location,
                                    "the message names more than one identifier of the affinity "
                                    "domain; send one message for each patient")
                        : 0;
            xad_pid = identifier;
        }
        rc = fault < 0 ? fault : rc;
    }
    Arena *arena = req->arena;
    if (rc == 0 && demographics_write(arena, &feed->demographics).len > DEMOGRAPHICS_MAX_BYTES) {
        rc = error_add(&req->errors, ERR_HL7_DATA_TYPE, NULL,
                       "the demographics have more than %d bytes; send less",
                       DEMOGRAPHICS_MAX_BYTES);
    }
    return rc;
}

int identity_feed(Pix *pix, Request *req, const IdentityFeed *feed, bool *ret_is_new)
{
    int rc = check_feed(req, feed);
    if (rc < 0) {
        return rc;
    }
    FeedState state = {.feed = feed};
    rc = identity_run(pix, req, feed_step, &state);
    if (rc == 0 && state.awaits_announcement) {
        rc = subscribers_await_announcement(pix->subscribers, req, state.minted_id);
    }
    if (rc == 0 && ret_is_new) {
        *ret_is_new = state.count > 0 && !state.records[0].row;
    }
    return rc;
}
