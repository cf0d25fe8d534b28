#include "pix/feed_match.h"

#include <stdlib.h>

/* Of a larger block (test patients, unknown dates) only so many are looked at. Each key has its own
 * share, so that none keeps out who is found by another. */
#define CANDIDATES_PER_KEY "1000"

static const DbStatement select_candidates = {
    "match_select_candidates",
    "SELECT i.id, i.person, d.match_profile"
    " FROM (SELECT DISTINCT block.identifier FROM unnest($1::int8[]) AS named (key)"
    "       CROSS JOIN LATERAL (SELECT identifier FROM match_key WHERE key = named.key"
    "                           LIMIT " CANDIDATES_PER_KEY ") block) k"
    " CROSS JOIN LATERAL (SELECT id, person FROM patient_identifier"
    "                     WHERE id = k.identifier AND survivor IS NULL OFFSET 0) i"
    " CROSS JOIN LATERAL (SELECT match_profile FROM patient_demographics"
    "                     WHERE identifier = i.id OFFSET 0) d",
};

static const DbStatement insert_proposal = {
    "match_insert_proposal",
    "INSERT INTO link_decision (one, other, score, evidence)"
    " SELECT least($1::int8, $2::int8), greatest($1::int8, $2::int8), $3::int8 / 1000.0, $4::text"
    " WHERE NOT EXISTS"
    "  (SELECT FROM patient_identifier a JOIN patient_identifier mine ON mine.person = a.person"
    "   JOIN link_decision d ON mine.id IN (d.one, d.other)"
    "   JOIN patient_identifier theirs ON theirs.id = d.one + d.other - mine.id"
    "   JOIN patient_identifier b ON b.person = theirs.person"
    "   WHERE a.id = $1::int8 AND b.id = $2::int8)"
    " ON CONFLICT DO NOTHING",
};

static const DbStatement select_barred = {
    "match_select_barred",
    "SELECT a.person, b.person FROM patient_identifier a"
    " JOIN link_decision d ON a.id IN (d.one, d.other) AND d.verdict = 'different'"
    " JOIN patient_identifier b ON b.id = d.one + d.other - a.id"
    " WHERE a.person = ANY ($1::int8[]) AND b.person = ANY ($1::int8[]) AND a.person <> b.person",
};

int candidates_queue(Request *req, DbConn *conn, const int64_t *keys, size_t key_count)
{
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_i64_array(&params, keys, key_count);
    return db_queue(conn, req, &select_candidates, &params);
}

/** Best first; equal scores by age, so that the order does not depend on the database's. */
static int compare_candidates(const void *a, const void *b)
{
    const Candidate *one = a;
    const Candidate *other = b;
    if (one->match.score != other->match.score) {
        return one->match.score > other->match.score ? -1 : 1;
    }
    return (one->identifier > other->identifier) - (one->identifier < other->identifier);
}

void candidates_read(const MatchConfig *config, Arena *arena, const DbResult *result,
                     const MatchProfile *profile, const IdentityRows *own,
                     Candidates *ret_candidates)
{
    size_t rows = (size_t)db_rows(result);
    Candidate *items = ARENA_ARRAY(arena, Candidate, rows);
    size_t count = 0;
    for (size_t i = 0; i < rows; i++) {
        int64_t id = db_i64(result, (int)i, 0);
        const MatchProfile *other = match_profile_read(arena, db_text(result, (int)i, 2));
        if (!other || identity_rows_by_id(own, id)) {
            continue;
        }
        Match match = match_compare(config, arena, profile, other);
        if (match.verdict != MATCH_DIFFERENT) {
            items[count++] = (Candidate){id, db_i64(result, (int)i, 1), match};
        }
    }
    qsort(items, count, sizeof(*items), compare_candidates);
    *ret_candidates = (Candidates){items, count};
}

int candidates_queue_proposal(Request *req, DbConn *conn, int64_t identifier,
                              const Candidate *candidate)
{
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_i64(&params, identifier);
    db_param_i64(&params, candidate->identifier);
    db_param_i64(&params, (int64_t)(candidate->match.score * 1000));
    db_param_text(&params, candidate->match.evidence);
    return db_queue(conn, req, &insert_proposal, &params);
}

static bool is_separated(const DbResult *verdicts, int64_t one, int64_t other)
{
    for (int row = 0; row < db_rows(verdicts); row++) {
        if (db_i64(verdicts, row, 0) == one && db_i64(verdicts, row, 1) == other) {
            return true;
        }
    }
    return false;
}

int candidates_check_verdicts(DbConn *conn, Request *req, const int64_t *persons, size_t count,
                              bool *ret_is_barred)
{
    DbParams params;
    DbResult *result = NULL;
    db_params_init(&params, req->arena);
    db_param_i64_array(&params, persons, count);
    int rc = db_exec(conn, req, &select_barred, &params, &result);
    if (rc < 0) {
        return rc;
    }
    for (size_t i = 0; i < count; i++) {
        ret_is_barred[i] = false;
        for (size_t j = 0; j < i && !ret_is_barred[i]; j++) {
            ret_is_barred[i] = !ret_is_barred[j] && is_separated(result, persons[j], persons[i]);
        }
    }
    return 0;
}
