/**
 * The feed of one patient (ITI TF-2 3.8.4.1.3, 3.30.6, 3.44.4.1.3, 3.104.4.1.3), whatever surface
 * it came through.
 *
 * A feed that changes nothing is a look-up and an audit event. Else one transaction: locks on the
 * match keys and names, so that two records of one new patient cannot miss each other; reading what
 * is known; deciding, which is pure; writing (feed_write.c).
 */
#include <string.h>

#include "pix/feed_state.h"

/** First key of the advisory locks of feeds; the registry has 1 and 2. */
#define LOCK_CLASS "3"

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

void feed_state_bind_names(const FeedState *state, Request *req, DbParams *params)
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
    feed_state_bind_names(state, req, &params);
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
    feed_state_bind_names(state, req, &names);
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

bool feed_state_is_chosen(const FeedState *state, int64_t person)
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
    if (!feed_state_is_chosen(state, person)) {
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

const FedRecord *feed_state_named_xad_pid(const FeedState *state)
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
    const FedRecord *named = feed_state_named_xad_pid(state);
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
    const FedRecord *named = feed_state_named_xad_pid(state);
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
    rc = feed_write(pix, state, req, conn, db_rows(results[READ_AWAITED]) > 0);
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
    if (feed->identifier_count > FEED_IDENTIFIERS_MAX) {
        return error_add(&req->errors, ERR_HL7_DATA_TYPE, feed->identifiers[0].location,
                         "the message has %zu identifiers of one patient; send at most %d",
                         feed->identifier_count, FEED_IDENTIFIERS_MAX);
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
